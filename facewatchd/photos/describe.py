"""Reads the headers of an open photo (`Description`); nothing is decoded."""

from __future__ import annotations

from typing import BinaryIO

from facewatchd.errors import UnreadablePhotoError
from facewatchd.photos import decode, exif, metadata, region_files, taken, tiff, xmp
from facewatchd.photos.description import Description
from facewatchd.photos.files import MAX_PIXELS, DiskError
from facewatchd.photos.metadata import Metadata
from facewatchd.photos.regions import Named
from facewatchd.photos.signatures import SNIFF_BYTES, format_of
from facewatchd.values import Taken

_HINT = "try to open it in an image viewer"


def describe(file: BinaryIO, *, names: bool = False) -> Description:
    """Read the headers of a photo. ``file`` is read from its beginning, whatever its position. ``names``: also what is
    said about people.

    Of an animation or a document, the first frame or page is described. Raises `UnreadablePhotoError`, `TooLargeError`
    and `DiskError`.
    """
    try:
        found, orientation = _read(file)
        width, height, orientation = _size(file, found, orientation)
    except DiskError:
        raise
    except Exception as exc:
        raise UnreadablePhotoError("its headers are damaged", _HINT) from exc
    if not width or not height:
        raise UnreadablePhotoError("its headers do not say how large it is", _HINT)
    if width * height > MAX_PIXELS:
        raise decode.too_large()
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
        return found, exif.orientation(found.exif)
    opened = decode.opened(name, file)
    return Metadata(exif.reader(opened.exif), opened.packets, opened.width, opened.height), opened.orientation


def _size(file: BinaryIO, found: Metadata, orientation: int) -> tuple[int, int, int]:
    """Width and height of the upright photo, and its orientation."""
    width, height = found.width, found.height
    if found.is_tiff:
        page = next(tiff.pages(file, decode.MAX_FRAMES))
        width, height, orientation = page.page.imagewidth, page.page.imagelength, page.orientation
    return (height, width, orientation) if orientation in exif.SIDEWAYS else (width, height, orientation)
