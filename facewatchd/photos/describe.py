"""From an open photo to what its headers say (`Description`): nothing is decoded."""

from __future__ import annotations

from typing import BinaryIO

from facewatchd.errors import UnreadablePhotoError
from facewatchd.photos import decode, exif, metadata, region_files, taken, tiff, xmp
from facewatchd.photos.description import Description
from facewatchd.photos.files import DiskError
from facewatchd.photos.metadata import Metadata
from facewatchd.photos.regions import Named
from facewatchd.photos.signatures import SNIFF_BYTES, format_of
from facewatchd.values import Taken


def describe(file: BinaryIO, *, names: bool = False) -> Description:
    """Read the headers of a photo. ``file`` is read from its beginning, whatever its position. ``names``: also what is
    said about people.

    Of an animation or a document, the first frame or page is described. Raises `UnreadablePhotoError`, and `DiskError`.
    """
    try:
        found, orientation = _read(file)
    except DiskError:
        raise
    except Exception as exc:
        raise UnreadablePhotoError("its headers are damaged", "try to open it in an image viewer") from exc
    size = found.width, found.height
    if not all(size):
        raise UnreadablePhotoError("its headers do not say how large it is", "try to open it in an image viewer")
    width, height = reversed(size) if orientation in exif.SIDEWAYS else size
    named = region_files.from_xmp(found.packets).named if names else Named()
    return Description(width, height, orientation, _taken(found), named)


def taken_in(file: BinaryIO) -> Taken | None:
    """Return the date in a photo; None where there is none, whatever is wrong with it. Raises `DiskError`."""
    try:
        return _taken(_read(file)[0])
    except DiskError:
        raise
    except Exception:  # noqa: BLE001 - the decoders raise exceptions of many types for damaged bytes
        return None


def _taken(found: Metadata) -> Taken | None:
    return taken.in_bytes(exif.dates(found.exif), xmp.values(found.packets, taken.XMP_NAMES))


def _read(file: BinaryIO) -> tuple[Metadata, int]:
    """The metadata of a photo, and its orientation."""
    file.seek(0)
    name = format_of(file.read(SNIFF_BYTES))
    if name is None:
        raise ValueError("no photo")
    if name in metadata.FORMATS:
        found = metadata.of(name, file)
        if name != "TIFF":
            return found, exif.orientation(found.exif)
        page = next(tiff.pages(file, decode.MAX_FRAMES))
        return found._replace(width=page.page.imagewidth, height=page.page.imagelength), page.orientation
    opened = decode.opened(name, file)
    return Metadata(exif.reader(opened.exif), opened.packets, opened.width, opened.height), opened.orientation
