"""The pixels of a photo that is drawn: from its file, or from bytes where the file cannot be read a second time."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, NamedTuple

from facewatchd.errors import FacewatchError
from facewatchd.photos import contents, decode, files

if TYPE_CHECKING:
    from facewatchd.values import Pixels


class Source(NamedTuple):
    """The bytes of a photo: ``data``, or where that is None the file's."""

    path: bytes
    data: bytes | None = None


def pixels(source: Source) -> Pixels | str:
    """Return the decoded photo, or one word for the reason why there is none."""
    try:
        if source.data is not None:
            return decode.decode(io.BytesIO(source.data))
        with contents.opened(source.path) as content, files.opened(os.dup(content.descriptor)) as file:
            decoded = decode.decode(file)
            content.confirm()
            return decoded
    except FileNotFoundError:
        return "missing"
    except FacewatchError:
        return "unreadable"
