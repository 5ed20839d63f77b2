"""How long after a photo was written it is found, when the daemon has nothing else to do."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from facewatchd.config import Watch
from tests.benchmarks import filling, kernel, timing
from tests.benchmarks.daemons import Daemon, running
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median

ROUNDS = 20
COLD_ROUNDS = 3
UNLOAD_AFTER = 3
ALLOWED = 0.3
EVERY = 0.003
"""Seconds between two questions whether it is there."""


def run(options: Options) -> Iterator[Report]:
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        place = Path(name)
        source = min(options.photos.rglob("*.jp*g"), default=None) if options.photos else None
        spare = filling.copies(place / "spare", 4 * ROUNDS + 10, source)
        inference = timing.inference(options.pack, spare[0], options.rounds(30))
        root = place / "photos"
        root.mkdir()
        spare.pop().rename(root / "known.jpg")
        yield _warm(options, place, root, spare, inference)
        yield _cold(options, place, root, spare, inference)


def _warm(options: Options, place: Path, root: Path, spare: list[Path], inference: float) -> Report:
    report = Report(
        "From a photo's close to its being found", ("written", "median (s)", "worst (s)", "beyond the base (s)")
    )
    base = Watch().settle + inference
    with running(place / "home", [root], options.pack) as daemon:
        face = _known_face(daemon, root)
        for way in (_rename, _write):
            taken = [_until_found(daemon, face, root, spare.pop(), way) for _ in range(options.rounds(ROUNDS))]
            name = "aside, then renamed" if way is _rename else "in place"
            report.row(name, median(taken), max(taken), median(taken) - base)
            report.check(f"s beyond settling and its own inference, {name}, median", median(taken) - base, ALLOWED)
            report.check(f"s beyond settling and its own inference, {name}, worst", max(taken) - base, ALLOWED)
    report.notes = [
        f"Settling takes {Watch().settle:g} s, and decoding and inference of this photo alone {inference:.3f} s on one",
        f"thread: the base. Asked every {1000 * EVERY:g} ms by a query for a face on it. A file that is renamed is at",
        "rest, and need not settle.",
    ]
    return report


def _cold(options: Options, place: Path, root: Path, spare: list[Path], inference: float) -> Report:
    report = Report("The same after the model was unloaded", ("what", "seconds"))
    taken = []
    with running(place / "home", [root], options.pack, resources=f"unload_after = {UNLOAD_AFTER}") as daemon:
        face = _known_face(daemon, root)
        for _ in range(options.rounds(COLD_ROUNDS)):
            while len(kernel.family(daemon.pid)) > 1:
                time.sleep(0.1)
            taken.append(_until_found(daemon, face, root, spare.pop(), _rename))
    report.row("until it is found, median", median(taken))
    report.row("until it is found, worst", max(taken))
    report.row("beyond its own inference, median: to start a process and load", median(taken) - inference)
    report.notes = ["Renamed: it is at rest, and need not settle."]
    return report


def _known_face(daemon: Daemon, root: Path) -> int:
    """The id of a face on the photo that is there from the start; the models are loaded then."""
    daemon.until(lambda status: status["state"] == "idle" and status["photos"] == len(os.listdir(root)))
    faces = daemon.call("why", path=str(root / "known.jpg"))["faces"]
    if not faces:
        raise SystemExit("this model finds no face on the photo")
    daemon.call("faces", path=str(root / "known.jpg"))
    return int(faces[0]["face_id"])


def _until_found(daemon: Daemon, face: int, root: Path, photo: Path, way: Callable[[Path, Path], None]) -> float:
    """Put a photo there; return the seconds until it is among the matches."""
    target = root / photo.name
    way(photo, target)
    closed = time.perf_counter()
    while str(target) not in _found(daemon, face):
        time.sleep(EVERY)
    return time.perf_counter() - closed


def _found(daemon: Daemon, face: int) -> set[str]:
    return {match["path"] for match in daemon.call("query", faces=[face], top=0, collapse=False)["matches"]}


def _rename(photo: Path, target: Path) -> None:
    photo.rename(target)


def _write(photo: Path, target: Path) -> None:
    target.write_bytes(photo.read_bytes())
