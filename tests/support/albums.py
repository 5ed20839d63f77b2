"""Albums of made-up people for the pack ``tiny``: as many photos as a test wants, each with known faces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tests.support import drawn_faces, samples

SIZE = (320, 240)


def shoot(path: Path, persons: Sequence[int], seed: int, *, size: tuple[int, int] = SIZE) -> Path:
    """Write a photo with these persons, left to right; another ``seed`` gives other bytes."""
    width, height = size
    image = samples.noise(seed, width, height)
    side = 88
    for place, person in enumerate(persons):
        drawn_faces.draw_face(image, (12 + place * (side + 12), 40 + seed % 60, side, side), person)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=92)
    return path


def album(directory: Path, count: int, *, people: int = 10, first_seed: int = 0) -> dict[Path, int]:
    """``count`` photos of one person each, in turn; returns the person on each."""
    return {shoot(directory / f"{n:04d}.jpg", [1 + n % people], first_seed + n): 1 + n % people for n in range(count)}
