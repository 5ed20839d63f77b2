"""What a benchmark says: a table for people, with bounds that its figures are held against, and the same as JSON."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

Value = str | int | float


@dataclass
class Check:
    """A figure and the bound that it is to keep."""

    what: str
    value: float
    bound: float
    at_least: bool = False

    @property
    def kept(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        word = "at least" if self.at_least else "at most"
        return f"{'ok  ' if self.kept else 'MISS'} {self.what}: {_text(self.value)}, {word} {_text(self.bound)}"


@dataclass
class Report:
    """One benchmark's outcome."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[Value]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """How it was measured: what a reader must know to believe the figures."""

    def row(self, *values: Value) -> None:
        self.rows.append(values)

    def check(self, what: str, value: float, bound: float, *, at_least: bool = False) -> None:
        self.checks.append(Check(what, value, bound, at_least))

    def markdown(self) -> str:
        cells = [[_text(value) for value in row] for row in (self.columns, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        cells.insert(1, ["-" * width for width in widths])
        lines = [f"| {' | '.join(map(str.ljust, row, widths))} |" for row in cells]
        return "\n".join([f"## {self.title}", "", *lines, "", *self.notes, *map(str, self.checks), ""])


def machine() -> dict[str, Value]:
    """What the figures depend on besides the code."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("numpy", "hnswlib")},
        **_runtime(),
    }


def save(reports: Sequence[Report], path: Path) -> None:
    """Write everything as JSON."""
    documents = [asdict(report) | {"kept": all(check.kept for check in report.checks)} for report in reports]
    path.write_text(json.dumps({"machine": machine(), "reports": documents}, indent=1) + "\n")


def percentile(values: Sequence[float], percent: float) -> float:
    """By the nearest rank: a value that was measured."""
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def _text(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else value


def _runtime() -> dict[str, str]:
    """The version of ONNX Runtime by the name of its distribution, of which there are several."""
    names = importlib.metadata.packages_distributions().get("onnxruntime", [])
    return {name: importlib.metadata.version(name) for name in names}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
