"""Regions: the names that other programs wrote about the faces on a photo, and where on it they stand.

`region_files` reads them from bytes in the process that decodes photos; here are the values, and the rule by which a
region is turned with its photo:

By the guidelines of the Metadata Working Group (2.0, section 5.9) a region lies on the picture as it is stored, before
it is turned by EXIF's orientation. Some programs wrote it for the picture as it is shown. Where
`mwg-rs:AppliedToDimensions` has the sides of one of the two, and they differ, that decides. Elsewhere `readings`
returns both, and the faces on the photo must decide: what each version of each program did is not known.
"""

from __future__ import annotations

import math
import unicodedata
from typing import Final, NamedTuple

from facewatchd.photos.exif import SIDEWAYS

MOST: Final = 10_000
"""Regions of one file: those of all photos of a directory are in one ``.picasa.ini``."""
MOST_NAME: Final = 200
"""Characters of a name."""
MWG, MICROSOFT, PICASA, TAKEOUT = SOURCES = ("mwg", "microsoft", "picasa", "takeout")
XMP = "xmp"
"""A kind of file, beside `PICASA` and `TAKEOUT`: it has regions of the sources `MWG` and `MICROSOFT`."""
SOURCES_OF = {XMP: (MWG, MICROSOFT), PICASA: (PICASA,), TAKEOUT: (TAKEOUT,)}
SIDECARS = tuple(SOURCES_OF)
"""The kinds of files that lie beside photos, and the sources of what they say."""
_SAME_SIDES: Final = 0.02
"""By how much two ratios of sides may differ, as logarithms, that count as the same: the sides of pictures that were
made smaller are rounded."""


class Area(NamedTuple):
    """A rectangle: its upper left corner and its sides, as parts of a picture's width and height. Points have none."""

    x: float
    y: float
    w: float
    h: float


class Region(NamedTuple):
    """One name, and where it stands."""

    name: str
    source: str
    """One of `SOURCES`."""
    area: Area | None
    """On the picture as the program saw it; None: the file does not say where."""
    applied: tuple[float, float] = (0.0, 0.0)
    """Width and height of the picture as the program saw it; zeros: not known."""
    photo: str = ""
    """The file name of the photo that it is about; empty: that which the file belongs to."""


class Named(NamedTuple):
    """What a file says about people."""

    regions: tuple[Region, ...] = ()
    aside: tuple[str, ...] = ()
    """Why something was left out, for users; each reason once."""


_BREAKS: Final = frozenset({"Cc", "Zl", "Zp"})
_UNSEEN: Final = frozenset({"Cf", "Cs", "Co", "Cn"})
"""Categories of Unicode: controls and breaks of lines; and what is not seen, is private, or is no character."""
_JOINER = "\u200d"
"""Joins the parts of an emoji, and letters of some scripts."""


def clean_name(text: str) -> str:
    """Return a name on one line, without control characters, in Unicode's composed form (NFC)."""
    kept = "".join(" " if unicodedata.category(each) in _BREAKS else each for each in text)
    kept = "".join(each for each in kept if each == _JOINER or unicodedata.category(each) not in _UNSEEN)
    return unicodedata.normalize("NFC", " ".join(kept.split()))


def readings(region: Region, width: int, height: int, orientation: int) -> tuple[Area, ...]:
    """Where a region may stand on the upright photo, the likeliest place first; empty where its file does not say.

    ``width`` and ``height``: pixels of the upright photo. ``orientation``: EXIF's, 1 to 8.
    """
    if region.area is None:
        return ()
    stored = upright(region.area, orientation)
    if orientation == 1:
        return (stored,)
    if orientation in SIDEWAYS and all(region.applied):
        ratio = math.log(region.applied[0] / region.applied[1])
        as_shown, as_stored = abs(ratio - math.log(width / height)), abs(ratio - math.log(height / width))
        if as_stored <= _SAME_SIDES < as_shown:
            return (stored,)
        if as_shown <= _SAME_SIDES < as_stored:
            return (region.area,)
    return (stored, region.area)


def upright(area: Area, orientation: int) -> Area:
    """Turn an area of the stored picture as EXIF's orientation turns the picture."""
    left, top, right, bottom = area.x, area.y, area.x + area.w, area.y + area.h
    if orientation in (2, 3):
        left, right = 1 - right, 1 - left
    if orientation in (3, 4):
        top, bottom = 1 - bottom, 1 - top
    if orientation in SIDEWAYS:
        left, top, right, bottom = top, left, bottom, right
        if orientation in (6, 7):
            left, right = 1 - right, 1 - left
        if orientation in (7, 8):
            top, bottom = 1 - bottom, 1 - top
    return Area(left, top, right - left, bottom - top)
