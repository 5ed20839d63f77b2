"""From an open photo to upright RGB pixels. The one module that opens images with Pillow.

Rules:

- Only the decoder of the format that the first bytes name is run. What it refuses is repaired if nothing of the picture
  is missing (`jpeg.continued`, `png.essential`), or given to a second decoder (`jpeg.decode_deep`, `tiff`).
- The size in the header is compared with `MAX_PIXELS` before anything is decoded.
- A picture is decoded whole or not at all. Of an animation or a document it is the first frame or page that is not
  blank, of the first `MAX_FRAMES`.
- Orientation is applied once: the container's, else EXIF's. XMP's is ignored, as viewers do. Pillow and tifffile apply
  that of TIFFs.
- Whatever a decoder raises becomes an `UnreadablePhotoError` with a reason for users, or an `UnsupportedPhotoError`
  where nothing is wrong with the file.

Importing this module sets Pillow's process-wide switches: the limit against decompression bombs, one decoding thread a
call (the number of threads is the caller's to choose), and no output from its warnings, its log, and libtiff, which
writes a line to standard error for every damaged row. What matters is in the exceptions. ``catch_warnings`` around each
call would be the usual way, but is not safe with several threads.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import logging
import math
import re
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import pillow_heif
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,  # noqa: F401  (these register their formats; Pillow else imports every plugin it has)
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    MpoImagePlugin,  # noqa: F401  (the JPEG plugin imports it when the first photo of several pictures comes)
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
    _imaging,
)
from pillow_heif import as_plugin as heif_plugin

from facewatchd.errors import OutOfMemoryError, TooLargeError, UnreadablePhotoError, UnsupportedPhotoError
from facewatchd.photos import exif, jpeg, png, tiff
from facewatchd.photos.files import MAX_PIXELS
from facewatchd.photos.signatures import HEADER_BYTES, SNIFF_BYTES, claimed_pixels, foreign_kind, format_of
from facewatchd.photos.upright import contrast, turned, upright_rgb

if TYPE_CHECKING:
    from facewatchd.values import Pixels

MAX_FRAMES: Final = 64
"""Frames or pages that are looked at for one that is not blank."""
MAX_SEARCH: Final = 10.0
"""Seconds after which no further frame or page is looked at."""
MIN_CONTRAST: Final = 48
"""The least difference, of 255, between the dark and the light parts of a frame that is not blank."""

_BITS_PER_SAMPLE_TAG: Final = 258
_TILE_SIZE_TAGS: Final = (322, 323)
_LATER_BRANDS: Final = frozenset({b"mif2", b"mif3", b"1pic", b"miaf", b"MiHE", b"MiHB"})
"""Major brands that mean the same as mif1."""
_DAMAGED_HINT: Final = "try to open it in an image viewer, or copy it again from where it came"
_EXPORT_HINT: Final = "export it as JPEG"

Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow warns from here, and refuses from twice as many
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif)\b")
logging.getLogger("PIL").setLevel(logging.CRITICAL)


def _leave_orientation(info: dict[Any, Any]) -> int | None:
    """In place of pillow-heif's: that sets the orientation in EXIF data to 1 where it finds one, and takes XMP's."""
    del info
    return None


heif_plugin.set_orientation = _leave_orientation  # type: ignore[attr-defined]


def _silence_libtiff() -> None:
    """Unset libtiff's error handler, for which Pillow has no call; found through the extension that links it."""
    with suppress(OSError, AttributeError):  # built otherwise: then damaged TIFFs are noisy
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
        set_handler.argtypes = [ctypes.c_void_p]
        set_handler.restype = ctypes.c_void_p
        set_handler(None)


_silence_libtiff()


def load() -> None:
    """Import what else is imported with the first photo that needs it: its files may be out of reach by then."""
    jpeg.load()
    tiff.load()
    Image.preinit()
    contrast(Image.new("RGB", (8, 8)))  # numpy imports a part of itself


def decode(file: BinaryIO) -> Pixels:
    """Decode a photo to RGB, upright, in full size: uint8 (height, width, 3), read-only.

    Not always contiguous: where EXIF data turns or mirrors a JPEG, it is a view of the pixels as they are stored.

    ``file`` is read from its beginning, whatever its position: `files.opened`, or bytes in an `io.BytesIO`.

    What is transparent is white, as viewers show it: the colour stored there is arbitrary. 16-bit images are
    scaled down, and so are whole numbers and floats of more bits, by the smallest usual range that holds them.

    Raises `TooLargeError` above `MAX_PIXELS`, judged by the header, and `UnreadablePhotoError`.
    """
    return reduced(file, lambda width, height: 1.0).pixels


class Reduced(NamedTuple):
    """The pixels of a photo, perhaps fewer than it has."""

    pixels: Pixels
    """As `decode` returns them."""
    width: int
    """Of the upright photo in full size, as ``height``."""
    height: int


def reduced(file: BinaryIO, least: Callable[[int, int], float]) -> Reduced:
    """Decode a photo as `decode` does, but a JPEG at a smaller scale where that suffices, which takes less time.

    ``least``: returns the least scale for a photo of this width and height, upright and in full size. Raises as
    `decode` does.
    """
    head = _head(file)
    if not head:
        raise UnreadablePhotoError("the file is empty", _DAMAGED_HINT)
    name = format_of(head)
    if name is None:
        if kind := foreign_kind(head):
            raise UnsupportedPhotoError(f"not an image that facewatchd reads: {kind}", "formats: man facewatchd")
        raise UnreadablePhotoError("not an image that facewatchd reads", "formats: man facewatchd")
    try:
        if name in ("AVIF", "HEIF") and claimed_pixels(_head(file, HEADER_BYTES)) > MAX_PIXELS:
            raise too_large()
        photo = _decode_as(name, file, least)
    except UnreadablePhotoError:
        raise
    except Image.DecompressionBombError as exc:
        raise too_large() from exc
    except Exception as exc:
        # The decoders raise exceptions of many types for damaged bytes, so all are caught.
        raise _unreadable(name, exc) from exc
    if not photo.pixels.size:
        raise UnreadablePhotoError(f"the {name} image has no pixels", _DAMAGED_HINT)
    photo.pixels.flags.writeable = False
    return photo


def pixels_of(file: BinaryIO) -> int:
    """Width times height, by the header, of what `decode` would decode; 0 where that cannot be told."""
    name = format_of(_head(file))
    if name == "TIFF":
        with suppress(Exception):
            return tiff.largest(file)
    if name is not None:
        with suppress(Exception), _image(name, file) as image:
            return image.width * image.height
    if name == "JPEG":
        with suppress(Exception):
            data = _whole(file)
            found = jpeg.layout(data[jpeg.begin(data) :])
            return found.width * found.height
    return 0


def _head(file: BinaryIO, length: int = SNIFF_BYTES) -> bytes:
    file.seek(0)
    return file.read(length)


def _whole(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _image(name: str, file: BinaryIO) -> Image.Image:
    """Open an image; its file stays open when it is closed."""
    head = _head(file, 12)
    if head[4:8] == b"ftyp" and head[8:12] in _LATER_BRANDS:  # the decoders know them, but Pillow's plugins do not
        file = io.BytesIO(head[:8] + b"mif1" + _whole(file)[12:])
    file.seek(0)
    return Image.open(file, formats=(name,))


class Opened(NamedTuple):
    """What a decoder says of a photo that it has opened."""

    width: int
    """Pixels as they are stored, as ``height``."""
    height: int
    orientation: int
    """That is to be applied to them."""
    exif: bytes
    packets: list[bytes]
    """Of XMP."""


def opened(name: str, file: BinaryIO) -> Opened:
    """Open a photo without decoding it. Raises what the decoder raises."""
    with _image(name, file) as image:
        size, info = image.size, image.info
        orientation = 1 if _has_say(name, file) else _orientation(image)
        return Opened(*size, orientation, info.get("exif") or b"", [info["xmp"]] if info.get("xmp") else [])


def _decode_as(name: str, file: BinaryIO, least: Callable[[int, int], float]) -> Reduced:
    if name == "JPEG":
        return _jpeg(file, least)
    pixels = {"PNG": _png, "TIFF": _tiff}.get(name, partial(_by_pillow, name))(file)
    return _whole_size(pixels)


def _whole_size(pixels: Pixels) -> Reduced:
    height, width = pixels.shape[:2]
    return Reduced(pixels, width, height)


def _by_pillow(name: str, file: BinaryIO) -> Pixels:
    image, orientation = _loaded(name, file)
    return upright_rgb(image, orientation, 16)


def _jpeg(file: BinaryIO, least: Callable[[int, int], float]) -> Reduced:
    data = _whole(file)
    data = data[jpeg.begin(data) :]
    found = jpeg.layout(data)
    if not found.frame:
        raise ValueError("no picture")
    if not found.is_read:
        raise UnsupportedPhotoError("a JPEG of a kind that facewatchd does not read", _EXPORT_HINT)
    if found.width * found.height > MAX_PIXELS:
        raise too_large()
    orientation = exif.orientation(exif.reader(found.exif))
    if not found.is_deep and len(found.components) in (1, 3):
        size = found.width, found.height
        upright = size[::-1] if orientation in exif.SIDEWAYS else size
        pixels = jpeg.decode(data, size, least(*upright) if all(size) else 1.0)
        if pixels is not None:
            return Reduced(turned(pixels, orientation), *upright)
    return _whole_size(_doubtful_jpeg(data, found, orientation))


def _doubtful_jpeg(data: bytes, found: jpeg.Layout, orientation: int) -> Pixels:
    """Decode what libjpeg warns of, and what only other decoders read."""
    digests = set()
    for picture in jpeg.continued(data, found):
        pixels = _deep_jpeg(picture, found) if found.is_deep else _jpeg_by_pillow(picture)
        digests.add(hashlib.blake2b(pixels.data).digest())
    if len(digests) != 1:
        raise EOFError("rows are missing")
    return turned(pixels, orientation)


def _jpeg_by_pillow(data: bytes) -> Pixels:
    with _image("JPEG", io.BytesIO(data)) as image:
        image.load()
        return upright_rgb(image, 1, 16)


def _deep_jpeg(data: bytes, found: jpeg.Layout) -> Pixels:
    try:
        return jpeg.decode_deep(data, found.bits)
    except ImportError as exc:
        kind = f"a JPEG of {found.bits} bits" if found.bits > 8 else "a lossless JPEG"
        raise UnsupportedPhotoError(f"{kind}, which facewatchd does not read here", _EXPORT_HINT) from exc


def _png(file: BinaryIO) -> Pixels:
    if png.is_for_iphones(_head(file)):
        raise UnsupportedPhotoError("a PNG for iPhones, which facewatchd does not read", _EXPORT_HINT)
    if png.has_wrong_pixels(file):
        raise ValueError("wrong pixels")
    try:
        return _by_pillow("PNG", file)
    except (UnreadablePhotoError, Image.DecompressionBombError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - as in `decode`
        essential = png.essential(_whole(file))
    return _by_pillow("PNG", io.BytesIO(essential))


def _tiff(file: BinaryIO) -> Pixels:
    """Decode the first page that is a picture and not blank."""
    first: Pixels | None = None
    deadline = time.monotonic() + MAX_SEARCH
    for page in tiff.pages(file, MAX_FRAMES):
        if page.is_raw:
            raise UnsupportedPhotoError("a camera's raw file, which facewatchd does not read", _EXPORT_HINT)
        if max(page.pixels, page.tile_pixels) > MAX_PIXELS:
            raise too_large()
        pixels = _by_second_decoder(page) if page.needs_second_decoder else _page_by_pillow(page, file)
        if contrast(Image.fromarray(pixels)) >= MIN_CONTRAST or time.monotonic() > deadline:
            return pixels
        first = pixels if first is None else first
    return _by_pillow("TIFF", file) if first is None else first


def _page_by_pillow(page: tiff.Page, file: BinaryIO) -> Pixels:
    try:
        with _image("TIFF", file) as image:
            image.seek(page.number)
            if _tile_pixels(image) > MAX_PIXELS:
                raise too_large()
            image.info.pop("xmp", None)  # Pillow turns by it while it loads
            image.load()
            loaded, depth = image._new(image.im), _depth(image)
    except (UnidentifiedImageError, SyntaxError):  # a mode, or big-endian BigTIFF
        return _by_second_decoder(page)
    return upright_rgb(loaded, 1, depth)


def _by_second_decoder(page: tiff.Page) -> Pixels:
    try:
        return turned(page.decode(), page.orientation)
    except (ImportError, NotImplementedError) as exc:
        raise UnsupportedPhotoError("a TIFF image of a kind that facewatchd does not read", _EXPORT_HINT) from exc


def _loaded(name: str, file: BinaryIO) -> tuple[Image.Image, int]:
    """The first frame that is not blank, without its decoder, and its orientation."""
    has_say = _has_say(name, file)
    with _image(name, file) as image:
        if _tile_pixels(image) > MAX_PIXELS:
            raise too_large()
        image.load()
        orientation = 1 if has_say else _orientation(image)
        if contrast(image) < MIN_CONTRAST and getattr(image, "is_animated", False):
            _seek_picture(image)
        # WebP's and AVIF's decoders hold copies of all the pixels for as long as the file object lives.
        return image._new(image.im), orientation


def _seek_picture(image: Image.Image) -> None:
    """Load the first frame of an animation that is not blank; where none is found, the one that has most contrast.

    Frames are not kept meanwhile: of 250 megapixels, each takes a gigabyte, and GIF's decoder holds two. A frame that
    cannot be decoded ends the animation.
    """
    deadline = time.monotonic() + MAX_SEARCH
    best, most = 0, contrast(image)
    for number in range(1, MAX_FRAMES):
        try:
            image.seek(number)
            image.load()
        except (EOFError, OSError, SyntaxError, ValueError):
            break
        here = contrast(image)
        if here >= MIN_CONTRAST:
            return
        if here > most:
            best, most = number, here
        if time.monotonic() > deadline:
            break
    image.seek(best)
    image.load()


def _has_say(name: str, file: BinaryIO) -> bool:
    """Whether the boxes of a HEIF file say how it is turned or mirrored (ISO/IEC 23008-12, 6.5.10 and 6.5.12)."""
    return name == "HEIF" and re.search(rb"\0\0\0\x09(?:irot|imir)", _head(file, HEADER_BYTES)) is not None


def _tile_pixels(image: Image.Image) -> int:
    """How many pixels one tile of a TIFF has: it is decoded whole, however small the image."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 0
    sides = [image.tag_v2.get(tag, 0) for tag in _TILE_SIZE_TAGS]
    return math.prod(side for side in sides if isinstance(side, int))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation that is still to be applied to a loaded image, 1 to 8."""
    if image.format == "TIFF":
        return 1
    data = image.info.get("exif") or b""  # pillow-heif has None
    if not data and isinstance(text := image.info.get("Raw profile type exif"), str):  # ImageMagick's, in PNG
        with suppress(ValueError):
            data = bytes.fromhex("".join(text.split("\n")[3:]))
    return exif.orientation(exif.reader(data))


def _depth(image: Image.Image) -> int:
    """Bits that a sample of a 16-bit image uses: 12-bit TIFFs come in the same mode."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(_BITS_PER_SAMPLE_TAG)
        if isinstance(bits, tuple) and bits and bits[0] in range(9, 16):
            return int(bits[0])
    return 16


def too_large() -> TooLargeError:
    """The error for a picture of more than `MAX_PIXELS`."""
    return TooLargeError(f"the image has more than {MAX_PIXELS // 1_000_000} megapixels", "make a smaller copy of it")


def _unreadable(name: str, exc: Exception) -> UnreadablePhotoError:
    """Word what a decoder raised: its own words mean nothing to users."""
    if isinstance(exc, MemoryError):
        return OutOfMemoryError(f"there is not enough memory for the {name} image", "make a smaller copy of it")
    if isinstance(exc, EOFError) or "truncat" in str(exc).lower():
        return UnreadablePhotoError(f"the {name} image is truncated", _DAMAGED_HINT)
    return UnreadablePhotoError(f"the {name} image is damaged or truncated", _DAMAGED_HINT)
