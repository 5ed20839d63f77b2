"""Stop-watches."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

from facewatchd.config import Faces
from facewatchd.models.registry import Pack
from facewatchd.photos import decode
from tests.benchmarks.report import median


def timed(function: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def inference(pack: Pack, photo: Path, rounds: int) -> float:
    """Seconds that decoding and the model take for a photo, with one thread; the median."""
    model = pack.load(1, Faces())
    data = photo.read_bytes()
    return median([timed(lambda: model.faces(decode.decode(io.BytesIO(data)))) for _ in range(rounds + 1)][1:])
