"""The contents of a photo's headers as plain values; no decoder is imported here."""

from __future__ import annotations

from typing import NamedTuple

from facewatchd.photos.regions import Named
from facewatchd.values import Taken


class Description(NamedTuple):
    """A photo that was not decoded."""

    width: int
    """Pixels of the upright photo, as ``height``."""
    height: int
    orientation: int
    """1 to 8, as EXIF counts them: how the picture as it is stored is to be turned and mirrored. 1 also where the
    container says it, as then the decoder does so."""
    taken: Taken | None
    named: Named = Named()
    """What its XMP packets say about people; nothing where that was not asked for."""
