"""Devices that ONNX Runtime was built for, against the processor, in turns: each network, and whole photos.

A device that shares the processor (OpenVINO) is measured in processor time of one thread, a graphics card in seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from facewatchd.config import Faces
from facewatchd.errors import ModelError
from facewatchd.models.base import Model
from facewatchd.models.devices import DEVICES
from facewatchd.photos import decode
from tests.benchmarks import album
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median

if TYPE_CHECKING:
    from facewatchd.values import Pixels

COLUMNS = ("what", "device", "processor ms", "device ms", "ratio", "least cosine")
Clock = Callable[[], float]


def run(options: Options) -> Iterator[Report]:
    report = Report(f"Devices, {options.pack.name}", COLUMNS)
    pixels = []
    for photo in album.mixed(options, 8 if options.quick else 32):
        with photo.open("rb") as file:
            pixels.append(decode.decode(file))
    for name in options.pack.devices():
        try:
            _measure(report, options, name, pixels)
        except ModelError as exc:
            report.notes.append(str(exc))
    report.notes.append("Medians of runs in turns. Photos are decoded before, and run once so that each size was seen.")
    yield report


def _measure(report: Report, options: Options, name: str, photos: list[Pixels]) -> None:
    from facewatchd.models import sessions  # not before the backend has said that there is an ONNX Runtime

    clock: Clock = time.perf_counter if DEVICES[name].is_card else time.process_time
    model = options.pack.load(1, Faces())
    parts = model.parts()
    for part, (session, network, make_sample) in parts.items():
        sample = make_sample()
        feed = {session.get_inputs()[0].name: sample}
        there = sessions.on_device(name, network, 1)
        alike = sessions.agreement(session, there, sample)
        times = [_seconds(clock, lambda on: on.run(None, feed), session, there) for _ in range(options.rounds(30))]  # noqa: B023
        _row(report, part, name, times, alike)
    placement = sessions.placed(name, parts, 1)
    moved = options.pack.load(1, Faces(), placement)
    alike = min(_least_cosine(model, moved, photo) for photo in photos)
    times = [_seconds(clock, lambda on: on.faces(photo), model, moved) for photo in photos]  # noqa: B023
    _row(report, f"a photo, {placement.where}", name, times, alike)


def _row(report: Report, what: str, name: str, times: list[tuple[float, float]], alike: float) -> None:
    mine, its = (1000 * median([pair[which] for pair in times]) for which in (0, 1))
    report.row(what, name, mine, its, median([pair[1] / pair[0] for pair in times]), f"{alike:.6f}")


def _seconds(clock: Clock, work: Callable[[Any], object], one: object, other: object) -> tuple[float, float]:
    before = clock()
    work(one)
    between = clock()
    work(other)
    return between - before, clock() - between


def _least_cosine(model: Model, moved: Model, photo: Pixels) -> float:
    """The least cosine of a face's embeddings by both."""
    pairs = zip(model.faces(photo), moved.faces(photo), strict=True)
    return min((float(np.dot(one.embedding, other.embedding)) for one, other in pairs), default=1.0)
