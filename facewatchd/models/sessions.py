"""ONNX Runtime sessions: how each is made, and which device computes it.

A model is loaded on the processor first, so that what is wrong with a pack is found there, whatever the machine has.
`placed` then decides for each part whether a device computes it, in three steps:

1. A session is made for the device. ONNX Runtime falls back to the processor, with a line in its own log at most, where
   a library, a driver or the card is missing; so the session is asked what it runs on.
2. Both sessions compute a photo of six people (`reference`): the detector all of it, the recogniser a face on it. A
   device is trusted where the cosine of both results is `SAME` or more, for each output of the network by itself: in
   one cosine of all, boxes and landmarks would outweigh the scores. Embeddings of several devices may then lie in one
   data directory.
3. Both compute it a few times more, and the part stays on the processor unless the device is faster. OpenVINO, which
   computes on the processor too, is measured in processor time, which other programs disturb least.

`device_trial` calls it once a start, in a process of its own. The processes that look at photos then make their
sessions by what it decided, with `on_device`.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from facewatchd.config import CPU
from facewatchd.errors import ModelError
from facewatchd.models.devices import DEVICES, Device, Placement, to_install
from facewatchd.text import one_line

PROCESSOR = "CPUExecutionProvider"
SAME = 0.999
"""Least cosine of a device's result with the processor's. OpenVINO has 1.000000 for SCRFD, MobileFaceNet and SFace."""
ZERO = 0.001
"""An output of the processor whose numbers are all this small or smaller has no direction: the device's may then differ
by as much. On the reference photo the largest numbers of each output of YuNet and SCRFD are 0.005 and more."""
FASTER = 0.95
"""A device is used from this share of the processor's time: a smaller gain is not worth its memory and its start."""
_RUNS = 7
"""Runs of both in turns, which other programs disturb alike: the median of their differences decides."""
_REASON = 200
"""Characters of ONNX Runtime's message that are repeated."""
_ERRORS, _FATAL = 3, 4
"""Severities from which ONNX Runtime logs."""


class Part(NamedTuple):
    """A detector or a recogniser on the processor, and what it is tried with."""

    session: Any
    """An `onnxruntime.InferenceSession`."""
    model: str | bytes
    """The path of the ONNX file, or its bytes."""
    sample: Callable[[], NDArray[Any]]
    """Makes the input that both are compared with."""


def options(threads: int, severity: int = _ERRORS) -> Any:
    """Return the `onnxruntime.SessionOptions` of a session that logs from a severity."""
    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads = threads
    made.inter_op_num_threads = 1
    made.log_severity_level = severity
    # Threads that spin burn a core between two photos.
    made.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return made


def offered() -> tuple[str, ...]:
    """The devices that the installed ONNX Runtime was built for; whether one works, only a session tells."""
    available = set(onnxruntime.get_available_providers())
    return tuple(name for name, device in DEVICES.items() if device.provider in available)


def on_processor(model: str | bytes, threads: int) -> Any:
    """Return an `onnxruntime.InferenceSession` for a model on the processor."""
    return onnxruntime.InferenceSession(model, options(threads), providers=[PROCESSOR])


def on_device(name: str, model: str | bytes, threads: int, parallel: int = 1) -> Any:
    """Return an `onnxruntime.InferenceSession` for a model on a device. Raises `ModelError` where it runs elsewhere.

    ``parallel``: how many threads run it at the same time.
    """
    device = DEVICES[name]
    if name not in offered():
        raise ModelError(f"the installed ONNX Runtime has no {device.provider}", to_install(name))
    given = _openvino(threads, parallel) if name == "openvino" else {}
    try:
        with _quiet():
            _find_libraries(name)
            made = onnxruntime.InferenceSession(
                model,
                options(threads, _FATAL),
                providers=[(device.provider, given)],
                enable_fallback=0,  # else it would go on with the processor after a failed run
            )
    except Exception as exc:  # ONNX Runtime's exceptions have no common class
        raise _failure(exc, device) from exc
    runs_on = made.get_providers()[0]
    if runs_on != device.provider:
        raise ModelError(f"a session that was made for it runs on {runs_on}", _hint(device))
    return made


def placed(name: str, parts: Mapping[str, Part], threads: int) -> Placement:
    """Decide which of the parts "detector" and "recogniser" a device computes.

    A part that is missing stays on the processor. Raises `ModelError` where the device is not there, or computes
    something else than the processor.
    """
    where, reasons = {}, []
    for part, (session, model, make_sample) in parts.items():
        there, sample = on_device(name, model, threads), make_sample()
        try:
            alike = agreement(session, there, sample)
        except Exception as exc:  # some drivers fail no sooner than here
            raise _failure(exc, DEVICES[name]) from exc
        if not alike >= SAME:
            raise ModelError(
                f"what its {part} computes has a cosine of {alike:.4f} with what the processor does, below {SAME}",
                f"update {DEVICES[name].distribution} and its drivers, or set `device` to {CPU!r}",
            )
        clock = time.perf_counter if DEVICES[name].is_card else time.process_time
        pairs = [_seconds((session, there), sample, clock) for _ in range(_RUNS)]
        where[part] = name if statistics.median(its - FASTER * mine for mine, its in pairs) < 0 else CPU
        mine, its = (1000 * statistics.median(times) for times in zip(*pairs, strict=True))
        reasons.append(f"{part} {its:.1f} ms, on the processor {mine:.1f}")
    measured = "; ".join(reasons)
    return Placement(**where, reason=measured if name in where.values() else f"{name} is not faster ({measured})")


def _openvino(threads: int, parallel: int) -> dict[str, str]:
    """Its options: with one thread the caller's computes, and each of several callers needs a stream of its own."""
    return {"device_type": "CPU", "num_of_threads": str(threads), "num_streams": str(parallel if threads == 1 else 1)}


def _find_libraries(name: str) -> None:
    """Load CUDA and cuDNN where they were installed by pip, in which ONNX Runtime does not look by itself."""
    if name == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Have ONNX Runtime log nothing: what it reports while it tries a device is told in one line."""
    onnxruntime.set_default_logger_severity(_FATAL)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(_ERRORS)


def _failure(exc: Exception, device: Device) -> ModelError:
    """ONNX Runtime's error on one line, without its middle if it is long: the cause stands before or after the places
    in the source.
    """
    text = one_line(exc, 10_000)
    if len(text) > _REASON:
        text = f"{text[: _REASON // 2]} ... {text[-_REASON // 2 :]}"
    return ModelError(text, _hint(device))


def _hint(device: Device) -> str:
    return f"check {device.needs or device.distribution}; a service needs `facewatchd service install --gpu` for it"


def _run(session: Any, sample: NDArray[Any]) -> list[NDArray[np.float64]]:
    """The outputs of a session."""
    outputs = session.run(None, {session.get_inputs()[0].name: sample})
    return [np.asarray(output, dtype=np.float64) for output in outputs]


def agreement(processor: Any, device: Any, sample: NDArray[Any]) -> float:
    """The least cosine of two sessions' outputs; NaN where one is not finite, zero in one only or of another shape."""
    mine, its = _run(processor, sample), _run(device, sample)
    if [output.shape for output in mine] != [output.shape for output in its]:
        return float("nan")
    return float(np.min([_alike(one.ravel(), other.ravel()) for one, other in zip(mine, its, strict=True)]))


def _alike(mine: NDArray[np.float64], its: NDArray[np.float64]) -> float:
    """The cosine of one output; where the processor's is all but zero, 1 or 0 by the largest difference."""
    if np.abs(mine).max(initial=0.0) <= ZERO:
        return float(np.abs(mine - its).max(initial=0.0) <= ZERO)
    with np.errstate(all="ignore"):
        return float(mine @ its / np.sqrt((mine @ mine) * (its @ its)))


def _seconds(compared: Iterable[Any], sample: NDArray[Any], clock: Callable[[], float]) -> list[float]:
    """How long each session takes for the sample."""
    times = []
    for session in compared:
        before = clock()
        _run(session, sample)
        times.append(clock() - before)
    return times
