"""What all benchmarks are told."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from facewatchd.models import registry

SHARED = Path(__file__).resolve().parents[3] / "shared"
SHARED_NUMBERS = SHARED / "faces" / "faces.npz"
SHARED_PACK = SHARED / "insightface" / "models" / "scrfd25g_mfn"


@dataclass(frozen=True)
class Options:
    pack: registry.Pack
    photos: Path | None
    """A directory of the user's own photos."""
    faces: tuple[int, ...]
    """Sizes of the made-up galleries."""
    quick: bool
    work: Path
    """Where to put what is made."""
    numbers: tuple[Path, ...] = ()
    """Files of labelled faces, as numbers."""

    def rounds(self, usual: int) -> int:
        """How often to measure."""
        return max(1, usual // 10) if self.quick else usual


def find_pack(spec: str | None) -> registry.Pack:
    """The pack that was named; else the test pack beside the project, else what the daemon would take."""
    if spec is None:
        spec = str(SHARED_PACK) if SHARED_PACK.is_dir() else "auto"
    return registry.choose(spec, Path("~/.insightface").expanduser(), notify=_say)


def _say(line: str) -> None:
    print(line, file=sys.stderr)
