"""Which photo is tried again alone after its process died, and that no other photo waits for that without end."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from facewatchd.config import Faces
from facewatchd.errors import OutOfMemoryError
from facewatchd.inference import pool
from facewatchd.inference.failures import DiedError
from facewatchd.inference.pool import Inference
from facewatchd.inference.wire import Analysis, Setup
from facewatchd.models.devices import Placement
from facewatchd.models.registry import Pack
from facewatchd.values import ModelInfo

PACK = Pack("none", Path("/nonexistent"), "none-00000000", 0.5)
ANSWER = Analysis(1, 1, [])
DEADLINE = 20.0


class Process:
    """In the place of `ChildProcess`: raises each of ``errors`` once, and then answers."""

    info = ModelInfo("none-00000000", "none", 2, 0.5)
    placement = Placement()
    confinement = ""
    errors: list[Exception]

    def __init__(self, setup: Setup, channels: int) -> None:
        pass

    def load(self, setup: Setup, known: ModelInfo | None, beat: Callable[[], None]) -> None:
        pass

    def analyse(self, data: object, *_: object) -> Analysis:
        if self.errors:
            raise self.errors.pop(0)
        return ANSWER

    def is_alive(self) -> bool:
        return True

    def kill(self) -> None:
        pass

    def end(self) -> None:
        pass


@pytest.fixture
def inference(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inference]:
    monkeypatch.setattr(pool, "ChildProcess", Process)
    monkeypatch.setattr(Process, "errors", [], raising=False)
    inference = Inference(Setup("queries", PACK, Faces(), 1, idle=False), 1)
    yield inference
    inference.close()


def expect_an_answer(inference: Inference) -> None:
    """Another photo is admitted. Where it is not, closing lets its thread end."""
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(inference.analyse, b"another")
        try:
            assert answer.result(DEADLINE) == ANSWER
        finally:
            inference.close()


@pytest.mark.parametrize("error", [DiedError("ended"), OutOfMemoryError("too large", "")])
def test_a_photo_that_is_tried_once_keeps_no_other_waiting(inference: Inference, error: Exception) -> None:
    Process.errors.append(error)
    assert inference.attempt(b"photo", lambda: None) is None
    expect_an_answer(inference)


def test_a_start_that_fails_keeps_no_photo_waiting(inference: Inference, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the process dies with a photo in hand while another thread calls `start`."""

    def died() -> Process:
        raise DiedError("ended")

    with monkeypatch.context() as patch:
        patch.setattr(inference, "_running", died)
        with pytest.raises(DiedError):
            inference.start()
    expect_an_answer(inference)


def test_without_descriptors_the_second_try_is_made_and_keeps_no_other_waiting(inference: Inference) -> None:
    """The files that say how much memory is free cannot be opened then."""
    Process.errors.append(DiedError("ended"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        assert inference.analyse(b"photo") == ANSWER
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    expect_an_answer(inference)
