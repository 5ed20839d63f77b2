"""How long pictures of faces take that were made while indexing, that are kept, and that are to be made."""

from __future__ import annotations

import io
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image

from facewatchd.client.connection import Connection
from facewatchd.matches import Box
from facewatchd.photos import crops, thumbnail
from tests.benchmarks import filling
from tests.benchmarks.daemons import PATIENCE, Daemon, running
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median
from tests.support import samples

PHOTOS = 60
SIZE = (4032, 3024)
CONNECTIONS = 6
"""As many as a browser opens to one place."""
OTHER = 2 * crops.FACE
"""Pixels of a picture that is not made while indexing."""
KEPT: dict[str, object] = {"size": crops.KEPT_FACE}
WHOLE: dict[str, object] = {"size": 1280, "photo": True}


def run(options: Options) -> Iterator[Report]:
    count = 6 if options.quick else PHOTOS
    report = Report(
        f"Pictures of {count} faces, each on a photo of 12 megapixels",
        ("photos", "pictures", f"all, on {CONNECTIONS} connections (s)", "one (ms)", "a query meanwhile, at most (ms)"),
    )
    with tempfile.TemporaryDirectory(dir=options.work) as place:
        for kind in ("JPEG", "HEIC"):
            root = Path(place) / kind
            _photos(root, kind, count)
            with running(
                Path(place) / f"home {kind}", [root], options.pack, resources="idle_priority = false"
            ) as daemon:
                daemon.until(lambda status: status["state"] == "idle" and status["photos"] == count)
                _measure(report, daemon, kind, sorted(root.iterdir()))
    report.notes = [f"Beside indexing, to picture {words}." for words in _beside_indexing()]
    yield report


def _beside_indexing() -> Iterator[str]:
    pixels = np.asarray(_picture())
    for side in (200, 600):
        crop = crops.of_face(Box(1500, 1200, side, side))
        times = [_timed(partial(thumbnail.of_pixels, pixels, crop, *SIZE)) for _ in range(20)]
        yield f"a face of {side} pixels: {1000 * median(times):.1f} ms"
    whole, across = crops.of_photo(), pixels.swapaxes(0, 1)
    size = whole.size, whole.size * SIZE[1] // SIZE[0]
    ways: dict[str, Callable[[], object]] = {
        "the photo": partial(thumbnail.of_pixels, pixels, whole, *SIZE),
        "it where EXIF data turn it": partial(thumbnail.of_pixels, across, whole, *SIZE[::-1]),
        "it of all its rows": lambda: Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, None, 2.0),
    }
    for name, way in ways.items():
        yield f"{name}: {1000 * median([_timed(way) for _ in range(20)]):.1f} ms"


def _measure(report: Report, daemon: Daemon, kind: str, photos: Sequence[Path]) -> None:
    ids = [daemon.call("why", path=str(photo))["faces"][0]["face_id"] for photo in photos]
    asks: list[tuple[str, dict[str, object], dict[str, object]]] = [
        ("made while indexing", KEPT, KEPT),
        (f"of {crops.FACE} pixels, made of those", {}, {}),
        (f"of {OTHER} pixels, never made before", {"size": OTHER}, {"size": OTHER + 1}),
        ("the same again", {"size": OTHER}, {"size": OTHER}),
        ("whole photos at 1280, which are not kept", WHOLE, WHOLE),
    ]
    for name, params, alone in asks:
        daemon.call("thumbnail", face_id=ids[0], size=17)  # so that there is a process
        done = threading.Event()
        with ThreadPoolExecutor(CONNECTIONS + 1) as threads:
            longest = threads.submit(_longest_query, daemon, ids[0], done)
            began = time.perf_counter()
            parts = [ids[number::CONNECTIONS] for number in range(CONNECTIONS)]
            list(threads.map(partial(_ask, daemon, params), parts))
            took = time.perf_counter() - began
            done.set()
        one = median(_ask(daemon, alone, ids[:20]))
        report.row(kind, name, took, 1000 * one, 1000 * longest.result())


def _ask(daemon: Daemon, params: dict[str, object], ids: Sequence[int]) -> list[float]:
    """Ask one after the other; return the seconds that each took."""
    with Connection(daemon.socket, timeout=PATIENCE) as connection:
        return [_timed(partial(connection.call, "thumbnail", face_id=face_id, **params)) for face_id in ids]


def _longest_query(daemon: Daemon, face_id: int, done: threading.Event) -> float:
    longest = 0.0
    with Connection(daemon.socket, timeout=PATIENCE) as connection:
        while not done.wait(0.01):
            longest = max(longest, _timed(partial(connection.call, "query", faces=[face_id], top=20)))
    return longest


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _picture() -> Image.Image:
    """InsightFace's photo of six people, as large as a phone's and with the noise of its sensor."""
    with Image.open(samples.group_photo()) as image:
        large = np.asarray(image.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC), np.float32)
    noise = np.random.default_rng(1).normal(0, 4, (*large.shape[:2], 1)).astype(np.float32)
    return Image.fromarray((large + noise).clip(0, 255).astype(np.uint8))


def _photos(root: Path, kind: str, count: int) -> None:
    root.mkdir()
    if kind == "JPEG":
        source = root.with_suffix(".jpg")
        _picture().save(source, quality=90)
        filling.copies(root, count, source)
        return
    buffer = io.BytesIO()
    pillow_heif.from_pillow(_picture()).save(buffer, quality=60)
    for number in range(count):  # a box that is passed over makes the bytes others
        box = struct.pack(">I4sI", 12, b"free", number)
        (root / f"IMG_{number:05d}.heic").write_bytes(buffer.getvalue() + box)
