"""What the soak measured: a table while it runs, then a verdict, a JSON file and a plot."""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

WARM_UP = 60.0
"""Seconds of a process's life that say nothing about growth."""
LONG_ENOUGH = 120.0
"""Seconds after that from which they do."""
GROWTH_MB = 40.0
"""What a process may grow in one life, however long, besides what its faces take."""
FACE_KB = 2.0
"""What a face may take in memory: its vector, its neighbours in the index, and its ids."""
GROWTH_FILES = 10
"""By how many open files a process may grow in one life: connections come and go."""


@dataclass(frozen=True)
class Sample:
    """What a daemon and its children take at one moment."""

    at: float
    """Seconds since the soak began."""
    pid: int
    rss_mb: float
    children_mb: float
    files: int
    children_files: int
    faces: int


def look(at: float, pid: int, children: Sequence[int], faces: int) -> Sample | None:
    """Take a sample; None where the process has gone."""
    try:
        rss, files = _rss_mb(pid), _files(pid)
    except OSError:
        return None
    children_mb = children_files = 0.0
    for child in children:
        with contextlib.suppress(OSError):
            children_mb += _rss_mb(child)
            children_files += _files(child)
    return Sample(at, pid, rss, round(children_mb, 1), files, int(children_files), faces)


def _rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise ProcessLookupError(pid)


def _files(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


@dataclass
class Row:
    """What happened in a minute or so; the last five are counts since the beginning, or as it was at the end."""

    seconds: float
    steps: int
    waits: int
    excused: int
    """Waits whose answer was not complete, for a reason."""
    overlooked: int
    """Waits whose answer lacked what only the index overlooked."""
    queries: int
    slowest_s: float
    faults: int
    misses: int
    photos: int
    faces: int
    rss_mb: float = 0.0
    children_mb: float = 0.0
    files: int = 0
    children_files: int = 0


_COLUMNS = {
    "time": lambda row: f"{int(row.seconds) // 3600}:{int(row.seconds) // 60 % 60:02d}:{int(row.seconds) % 60:02d}",
    "changes": lambda row: row.steps,
    "waits": lambda row: f"{row.waits}-{row.excused}",
    "queries": lambda row: row.queries,
    "slowest": lambda row: f"{row.slowest_s:.1f} s",
    "faults": lambda row: row.faults,
    "misses": lambda row: row.misses,
    "photos": lambda row: row.photos,
    "faces": lambda row: row.faces,
    "RSS": lambda row: f"{row.rss_mb:.0f} MB",
    "children": lambda row: f"{row.children_mb:.0f} MB",
    "files": lambda row: f"{row.files}+{row.children_files}",
}


def header() -> str:
    return " ".join(f"{name:>9}" for name in _COLUMNS)


def line(row: Row) -> str:
    return " ".join(f"{column(row)!s:>9}" for column in _COLUMNS.values())


@dataclass
class Record:
    """Everything that happened. Any thread may add to it."""

    seed: int
    started: float = field(default_factory=time.monotonic)
    rows: list[Row] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    faults: list[tuple[float, str]] = field(default_factory=list)
    misses: list[tuple[float, str]] = field(default_factory=list)
    settles: int = 0
    slowest_stop: float = 0.0
    _counts: Counter[str] = field(default_factory=Counter)
    _slowest: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def count(self, what: str, seconds: float = 0.0) -> None:
        """Count one of a row's figures. Of "queries" the slowest counts, without those that ask for a wait."""
        with self._lock:
            self._counts[what] += 1
            if what == "queries":
                self._slowest = max(self._slowest, seconds)

    def miss(self, text: str) -> None:
        with self._lock:
            self.misses.append((round(self.seconds, 1), text))
        say(f"MISS at {self.seconds:.0f} s: {text}")

    def fault(self, name: str) -> None:
        self.faults.append((round(self.seconds, 1), name))

    def end_row(self, status: dict[str, Any]) -> Row:
        """Add a row for what happened since the last one."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
            slowest, self._slowest = self._slowest, 0.0
        row = Row(
            round(self.seconds, 1),
            counts["steps"],
            counts["waits"],
            counts["excused"],
            counts["overlooked"],
            counts["queries"],
            round(slowest, 3),
            len(self.faults),
            len(self.misses),
            status.get("photos", 0),
            status.get("faces", 0),
        )
        if self.samples:
            last = self.samples[-1]
            row.rss_mb, row.children_mb = last.rss_mb, last.children_mb
            row.files, row.children_files = last.files, last.children_files
        self.rows.append(row)
        return row

    # What it comes to

    def growth(self) -> list[str]:
        """Say of each long life of the process what grew beyond the bounds."""
        findings = []
        for life in self.lives():
            first, last = _quarters(life)
            faces = max(0, last[-1].faces - first[0].faces)
            minutes = (life[-1].at - life[0].at) / 60
            for what in ("rss_mb", "children_mb"):
                grown = _median(last, what) - _median(first, what)
                if grown > GROWTH_MB + faces * FACE_KB / 1024:
                    findings.append(f"{what} grew by {grown:.0f} MB in {minutes:.1f} min, with {faces} faces more")
            for what in ("files", "children_files"):
                if (more := _median(last, what) - _median(first, what)) > GROWTH_FILES:
                    findings.append(f"{what} grew by {more:.0f} in {minutes:.1f} min")
        return findings

    def lives(self) -> list[list[Sample]]:
        """The samples of each process that lived long enough, without its youth."""
        by_pid: dict[int, list[Sample]] = {}
        for sample in self.samples:
            by_pid.setdefault(sample.pid, []).append(sample)
        grown_up = [[each for each in life if each.at - life[0].at > WARM_UP] for life in by_pid.values()]
        return [life for life in grown_up if life and life[-1].at - life[0].at > LONG_ENOUGH]

    def summary(self) -> str:
        """All of it in a paragraph."""
        sums = {
            what: sum(getattr(row, what) for row in self.rows)
            for what in ("steps", "waits", "excused", "overlooked", "queries")
        }
        kinds = ", ".join(f"{count} x {name}" for name, count in Counter(name for _, name in self.faults).most_common())
        rss = [sample.rss_mb for sample in self.samples] or [0.0]
        files = [sample.files for sample in self.samples] or [0]
        lives = [f"{(life[-1].at - life[0].at) / 60:.0f} min: {_change(life)}" for life in self.lives()]
        return (
            f"{self.seconds / 60:.1f} min, seed {self.seed}: {sums['steps']} changes, {sums['waits']} waits "
            f"({sums['excused']} of them not complete, for a reason; {sums['overlooked']} overlooked by the index), "
            f"{sums['queries']} other queries (slowest {max((row.slowest_s for row in self.rows), default=0):.1f} s), "
            f"{len(self.faults)} faults ({kinds}), {self.settles} times settled and held against the disk, "
            f"slowest SIGTERM {self.slowest_stop:.1f} s; {len(self.misses)} misses; RSS {min(rss):.0f} to "
            f"{max(rss):.0f} MB, open files {min(files)} to {max(files)}; long lives: {'; '.join(lives) or 'none'}"
        )

    def write_json(self, path: Path) -> None:
        document = {
            "seed": self.seed,
            "summary": self.summary(),
            "growth": self.growth(),
            "rows": [asdict(row) for row in self.rows],
            "faults": self.faults,
            "misses": self.misses,
            "samples": [asdict(sample) for sample in self.samples],
        }
        path.write_text(json.dumps(document, indent=1) + "\n")


def _quarters(life: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    quarter = max(1, len(life) // 4)
    return life[:quarter], life[-quarter:]


def _median(samples: list[Sample], what: str) -> float:
    return float(statistics.median(getattr(sample, what) for sample in samples))


def _change(life: list[Sample]) -> str:
    first, last = _quarters(life)
    return f"RSS {_median(first, 'rss_mb'):.0f} -> {_median(last, 'rss_mb'):.0f} MB"


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def plot(record: Record, path: Path) -> bool:
    """Draw it all over time; False where matplotlib (the extra ``bench``) is not installed."""
    try:
        import matplotlib as mpl
    except ImportError:
        return False
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(4, 1, sharex=True, figsize=(12, 11), constrained_layout=True)
    _plot_samples(axes[0], record, "memory, MB", {"rss_mb": "daemon", "children_mb": "children"})
    _plot_samples(axes[1], record, "open files", {"files": "daemon", "children_files": "children"})
    _plot_rows(axes[2], record, "a minute", {"steps": "changes", "waits": "waits", "queries": "queries"}, rate=True)
    _plot_rows(axes[3], record, "", {"slowest_s": "slowest answer, s", "misses": "misses so far"})
    axes[3].set_xlabel("minutes")
    top = axes[0].get_ylim()[1]
    for number, name in enumerate(sorted({name for _, name in record.faults})):
        moments = [at / 60 for at, other in record.faults if other == name]
        axes[0].vlines(moments, 0, top, f"C{number + 2}", linewidth=0.7, alpha=0.7, label=name)
    axes[0].set_ylim(0, top)
    for axis in axes:
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    figure.suptitle(record.summary(), fontsize="small", wrap=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
    return True


def _plot_samples(axis: Any, record: Record, name: str, columns: dict[str, str]) -> None:
    minutes = [sample.at / 60 for sample in record.samples]
    for column, label in columns.items():
        axis.plot(minutes, [getattr(sample, column) for sample in record.samples], label=label)
    axis.set_ylabel(name)


def _plot_rows(axis: Any, record: Record, name: str, columns: dict[str, str], *, rate: bool = False) -> None:
    ends = [row.seconds / 60 for row in record.rows]
    lengths = [end - start for start, end in zip([0.0, *ends], ends, strict=False)]
    for column, label in columns.items():
        values = [getattr(row, column) for row in record.rows]
        if rate:
            values = [value / max(length, 0.01) for value, length in zip(values, lengths, strict=True)]
        axis.plot(ends, values, label=label)
    axis.set_ylabel(name)
