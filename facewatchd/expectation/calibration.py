"""What was measured of a recogniser beyond its threshold: `calibration.json`, which a benchmark writes.

``python -m tests.benchmarks expectation FILE.npz`` makes the file from labelled faces and prints how well it predicts
sets that were left out; tests/benchmarks/README.md has the sets, their sizes and that table.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from facewatchd.values import Embedding

FILE = Path(__file__).with_name("calibration.json")
FIRST, STEP = -1.0, 0.25
"""The z of the first number of a tail table, and the distance to the next."""


@dataclass(frozen=True, slots=True)
class ChildProbe:
    """Tells a small child's face from its embedding."""

    weights: NDArray[np.float32]
    """Shape (dim,)."""
    bias: float
    median: float
    spread: float
    """Of the similarities of one small child to others: z is measured from the one in units of the other."""

    def of(self, embeddings: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether each of (n, dim) is a small child's face. Shape (n,)."""
        found: NDArray[np.bool_] = embeddings @ self.weights + self.bias > 0
        return found


@dataclass(frozen=True, slots=True)
class Calibration:
    """Of one recogniser; or for those that were not measured, the more cautious of each number."""

    tail: NDArray[np.float64]
    """Logarithms of the share of strangers whose z is at least `FIRST`, `FIRST` + `STEP`, ..."""
    measured: bool
    child: ChildProbe | None = None

    def share(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the share of strangers from each z on; beyond the table it goes on as the last step."""
        at = (np.asarray(z) - FIRST) / STEP
        last = len(self.tail) - 1
        beyond = np.maximum(at - last, 0) * (self.tail[-1] - self.tail[-2])
        shares: NDArray[np.float64] = np.exp(np.interp(at, np.arange(last + 1), self.tail) + beyond)
        return shares

    def are_children(self, embeddings: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether each of (n, dim) is a small child's, as `is_child` tells. Shape (n,)."""
        return np.zeros(len(embeddings), np.bool_) if self.child is None else self.child.of(embeddings)

    def is_child(self, embedding: Embedding) -> bool:
        """Whether the face is a small child's, as far as that can be told; False where it cannot."""
        return self.child is not None and bool(self.child.of(embedding[None])[0])


@cache
def _measured() -> Any:
    return json.loads(FILE.read_text())


def of(pack: str, dim: int) -> Calibration:
    """Return the calibration of a pack by its name; of one that was not measured, the most cautious tail table."""
    document = _measured()
    for each in document.values():
        if pack.lower() in each["packs"] and len(each["child"]["weights"]) == dim:
            return read(each)
    return Calibration(np.max([np.array(each["tail"]) for each in document.values()], axis=0), measured=False)


def read(document: Any) -> Calibration:
    """Return the calibration that a part of the file holds."""
    child = document["child"]
    probe = ChildProbe(np.array(child["weights"], np.float32), child["bias"], child["median"], child["spread"])
    return Calibration(np.array(document["tail"]), measured=True, child=probe)
