"""What can be said against a face as evidence, in words for users.

How sure the recogniser is of a face is told by the norm of its embedding, where the model's table says what that means
(`values.Quality`). Its size (`values.SMALL_SIDE`) says less.
"""

from __future__ import annotations

from facewatchd.matches import TOO_BLURRED, Box
from facewatchd.values import SMALL_SIDE, Quality

BLURRED = "blurred"
"""It needs more similarity than others to match."""
SMALL = "small"


def words(box: Box, norm: float | None, table: Quality | None) -> list[str]:
    """Return what can be said against a face; empty where nothing can, or nothing is known."""
    found = [SMALL] if min(box.w, box.h) < SMALL_SIDE else []
    if table is not None and table.is_too_blurred(norm):
        found.append(TOO_BLURRED)
    elif table is not None and table.extra(norm) > 0:
        found.append(BLURRED)
    return found
