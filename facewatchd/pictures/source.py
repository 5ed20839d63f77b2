"""The pixels of a photo that is drawn: from its file, or from bytes where the file cannot be read a second time.

The command that draws decodes by itself: it needs another part of the photo than the daemon's pictures of faces show,
and that takes no longer here (5.7 s of a processor for the sheet of 100 photos of 12 to 24 megapixels) than there (6.6
s; benchmark `sheets`).
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, NamedTuple

from facewatchd.errors import FacewatchError
from facewatchd.photos import contents, decode, files

if TYPE_CHECKING:
    from collections.abc import Callable

    from facewatchd.photos.decode import Reduced
    from facewatchd.values import Pixels


class Source(NamedTuple):
    """The bytes of a photo: ``data``, or where that is None the file's."""

    path: bytes
    data: bytes | None = None


def pixels(source: Source) -> Pixels | str:
    """Return the decoded photo in full size, or one word for the reason why there is none."""
    photo = reduced(source, lambda width, height: 1.0)
    return photo if isinstance(photo, str) else photo.pixels


def reduced(source: Source, least: Callable[[int, int], float]) -> Reduced | str:
    """Return the decoded photo, or one word for the reason why there is none.

    ``least``: the least scale that suffices for a photo of this width and height. A JPEG is decoded at a smaller scale.
    """
    try:
        if source.data is not None:
            return decode.reduced(io.BytesIO(source.data), least)
        with contents.opened(source.path) as content, files.opened(os.dup(content.descriptor)) as file:
            photo = decode.reduced(file, least)
            content.confirm()
            return photo
    except FileNotFoundError:
        return "missing"
    except FacewatchError:
        return "unreadable"
