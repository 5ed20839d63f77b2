"""Albums of 300 matches: how large the file is, and how long it takes.

The first time, the daemon has pictured the photos and their faces as it does while it indexes, and nothing else;
*again*, it has made all that the album asked for. The photos are few pictures many times, each with other bytes, and
every face counts as a match.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks import album
from tests.benchmarks.daemons import Daemon, running
from tests.benchmarks.kernel import family
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median

MATCHES = 300
MOST_BYTES, MOST_SECONDS = 10_000_000, 3.0
"""The aim."""


def run(options: Options) -> Iterator[Report]:
    count = 40 if options.quick else MATCHES
    report = Report(
        f"Albums of {count} matches", ("photos", "MB", "seconds", "again", "processor s", "again", "of it the daemon's")
    )
    for name, photos in (("1.9 megapixels", album.mixed(options)), ("12 to 24 megapixels", album.phone(options))):
        place = Path(tempfile.mkdtemp(dir=options.work))
        try:
            root = _copies(place / "photos", photos, count)
            with running(place / "home", [root], options.pack, resources="idle_priority = false") as daemon:
                daemon.until(lambda status: status["state"] == "idle" and status["photos"] == count)
                question = _question(daemon)
                first, *more = [_save(daemon, place / "album.html", question, count) for _ in range(options.rounds(10))]
            size = (place / "album.html").stat().st_size
        finally:
            shutil.rmtree(place)
        again = more or [first]
        seconds, processor = (median([one[at] for one in again]) for at in (0, 1))
        report.row(name, size / 1e6, first[0], seconds, first[1], processor, first[2])
        report.check(f"bytes, {name}", size, MOST_BYTES)
        report.check(f"seconds, {name}", first[0], MOST_SECONDS)
    report.notes.append(f"Files in the page cache, {os.cpu_count()} cores; again: the median of {len(again)}.")
    yield report


def _copies(root: Path, photos: list[Path], count: int) -> Path:
    root.mkdir(parents=True)
    for number in range(count):
        source = photos[number % len(photos)]
        (root / f"IMG_{number:04}{source.suffix}").write_bytes(album.marked(source.read_bytes(), number))
    return root


def _question(daemon: Daemon) -> int:
    """A face of which there are matches."""
    for path in sorted(daemon.call("photos", state="indexed", limit=1)["photos"], key=str):
        return int(daemon.call("faces", path=path["path"])["faces"][0]["face_id"])
    raise SystemExit("no photo has a face")


def _save(daemon: Daemon, file: Path, face: int, count: int) -> tuple[float, float, float]:
    """Seconds that the command takes, seconds of a processor, and those of them that the daemon takes."""
    before, children, started = _processor(daemon), os.times(), time.perf_counter()
    options = ["--quiet", "--threshold=-1", "--no-collapse", f"--top={count}", f"--socket={daemon.socket}"]
    command = [sys.executable, "-m", "facewatchd.client.app", *options, f"--html={file}", f"face:{face}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - started, os.times()
    own = after.children_user + after.children_system - children.children_user - children.children_system
    theirs = _processor(daemon) - before
    return seconds, own + theirs, theirs


def _processor(daemon: Daemon) -> float:
    """Seconds of a processor that the daemon and its processes have taken, threads that ended included."""
    ticks = 0
    for pid in family(daemon.pid):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
