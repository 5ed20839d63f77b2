"""What can be said against a face as evidence, in words for users.

How sure the recogniser is of a face is told by the norm of its embedding, where the model's table says what that means
(`values.Quality`). Its size says less: 17 faces, sharp and of 100 pixels or more, were scaled down, and the median
similarity to themselves was 0.97 at 40 pixels, 0.94 at 32, 0.85 at 24 and 0.75 at 20 (SCRFD 2.5G with MobileFaceNet).
"""

from __future__ import annotations

from facewatchd.matches import TOO_BLURRED, Box
from facewatchd.values import Quality

BLURRED = "blurred"
"""It needs more similarity than others to match."""
SMALL = "small"
SMALL_SIDE = 32
"""Pixels of a box's shorter side below which a face is small."""


def words(box: Box, norm: float | None, table: Quality | None) -> list[str]:
    """Return what can be said against a face; empty where nothing can, or nothing is known."""
    found = [SMALL] if min(box.w, box.h) < SMALL_SIDE else []
    if table is not None and table.is_too_blurred(norm):
        found.append(TOO_BLURRED)
    elif table is not None and table.extra(norm) > 0:
        found.append(BLURRED)
    return found
