"""From a file to upright RGB pixels: read, recognise, digest, decode. The one module that opens images with Pillow.

Rules:

- What a file is, its content says; its name only says what it claims to be. Only the decoder that the content
  asks for is run.
- A path is looked at before it is opened, and the open file again: pipes, sockets and devices neither block us
  nor notice us.
- The stamp that `read` returns belongs to exactly the bytes that it returns.
- The size in the header is held against `MAX_PIXELS` before anything is decoded, and only an image's first frame
  is. A picture is decoded whole or not at all.
- Orientation is applied once. HEIF and AVIF carry it in their container: pillow-heif turns the picture itself,
  Pillow hands AVIF's on as EXIF, and TIFFs come out of Pillow upright.
- Whatever a decoder raises becomes an `UnreadablePhotoError` with a reason for people.

Importing this module sets Pillow's process-wide switches: the bomb limit, one decoding thread a call (the callers
are the daemon's threads, and it promised how many there are), and silence for its warnings, its log and libtiff,
which writes a line to standard error for every damaged row: what matters is in the exception. `catch_warnings`
around each call would be the usual way, but is not safe with several threads.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import io
import logging
import math
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, Final, cast

import pillow_heif
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,  # noqa: F401  (these register their formats; Pillow else imports every plugin it has)
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
    _imaging,
)

from facewatchd import jpeg
from facewatchd.errors import FacewatchError, OutOfMemoryError, TooLargeError, UnreadablePhotoError
from facewatchd.records import CANNOT_READ, Stamp
from facewatchd.signatures import HEADER_BYTES, claimed_pixels, format_of
from facewatchd.upright import TRANSPOSITIONS, upright_rgb

if TYPE_CHECKING:
    from facewatchd.records import Pixels

MAX_PIXELS: Final = 250_000_000
"""Width times height that is still decoded."""
MAX_BYTES: Final = 1 << 30
"""File size that is still read."""
SNIFF_BYTES: Final = 512
"""How much of a file `sniff` reads: every signature, and an `ftyp` box with all its brands."""

_SUFFIXES: Final = tuple(
    b".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .avif .avifs .heic .heics .heif .heifs .hif .tif .tiff .bmp .dib "
    b".gif".split()
)

_ORIENTATION_TAG: Final = 0x0112
_NEW_SUBFILE_TYPE_TAG: Final = 254
_BITS_PER_SAMPLE_TAG: Final = 258
_TILE_SIZE_TAGS: Final = (322, 323)
_OPEN_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_PASSING: Final = frozenset(
    {errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.EINTR}
)
"""Errors that say nothing about the file: another program's lease, descriptors or memory used up, a server gone."""
_AWAY: Final = frozenset(
    {errno.EIO, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ESHUTDOWN, errno.EHOSTDOWN, errno.EREMOTEIO}
)
"""Errors of a disk or server that went away, or of a bad sector: nobody can tell which."""
_KINDS: Final = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_DAMAGED_HINT: Final = "try to open it in an image viewer, or copy it again from where it came"

Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow warns from here, and refuses from twice as many
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif)\b")
logging.getLogger("PIL").setLevel(logging.CRITICAL)


def _silence_libtiff() -> None:
    """Unset libtiff's error handler, for which Pillow has no call; found through the extension that links it."""
    with suppress(OSError, AttributeError):  # built otherwise: then damaged TIFFs are noisy
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
        set_handler.argtypes = [ctypes.c_void_p]
        set_handler.restype = ctypes.c_void_p
        set_handler(None)


_silence_libtiff()


class ChangedWhileReadError(FacewatchError):
    """The bytes cannot be had just now, which says nothing about the photo: read it again when it rests."""

    kind = UnreadablePhotoError.kind


class DiskError(UnreadablePhotoError):
    """The disk failed, or is away, though the file is there."""


def read(path: bytes) -> tuple[bytes, Stamp]:
    """Read a regular file whole; the stamp is that of the very bytes returned.

    Raises FileNotFoundError where it is gone, `ChangedWhileReadError` where it must be read again later,
    `TooLargeError` above `MAX_BYTES`, and `UnreadablePhotoError` for all else.
    """
    with regular_file(path) as descriptor:
        stamp = Stamp.of(os.fstat(descriptor))
        if stamp.size > MAX_BYTES:
            raise TooLargeError(f"the file has {stamp.size / 1e9:.1f} GB, and {MAX_BYTES >> 30} GiB is the limit")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(stamp.size)
        if len(data) != stamp.size or Stamp.of(os.fstat(descriptor)) != stamp:
            raise ChangedWhileReadError("the file changed while it was read", "try again when it is complete")
        return data, stamp


def sniff(path: bytes) -> bool:
    """Whether a regular file begins as a photo does; False as well for what cannot be read."""
    try:
        with regular_file(path) as descriptor:
            return looks_like_photo(os.pread(descriptor, SNIFF_BYTES, 0))
    except (FileNotFoundError, FacewatchError):
        return False


def is_photo_name(path: bytes) -> bool:
    """Whether the name ends as photos' names do, in any case."""
    return path.lower().endswith(_SUFFIXES)


def looks_like_photo(head: bytes) -> bool:
    """Whether bytes that begin so are of a format that `decode` reads. 32 bytes will do, `SNIFF_BYTES` are better."""
    return format_of(head) is not None


def digest(data: bytes) -> bytes:
    """The 32 bytes that name this content: BLAKE2b."""
    return hashlib.blake2b(data, digest_size=32).digest()


def opened(descriptor: int) -> BinaryIO:
    """A file object to decode from, with a position of its own: a descriptor that was passed on shares its position.

    The descriptor is closed with it. The file is not mapped into memory, and nor is it by a decoder, which gets no
    descriptor: a mapped file that somebody cuts short ends the process.
    """
    return cast("BinaryIO", io.BufferedReader(_Positioned(descriptor), 1 << 16))


class _Positioned(io.RawIOBase):
    """Reads from a descriptor by position. Raises `DiskError`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            count = os.preadv(self._descriptor, [buffer], self._position)
        except OSError as exc:  # the disk's or the server's, as the file is open: no decoder may take it for damage
            raise DiskError(f"{CANNOT_READ}: {exc.strerror}", "check its permissions and its disk") from exc
        self._position += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence)
        if start is None:
            start = os.fstat(self._descriptor).st_size
        if start + offset < 0:
            raise ValueError("a position before the file's beginning")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def decode(file: BinaryIO) -> Pixels:
    """Decode the first frame to RGB, upright, in full size: uint8 (height, width, 3), contiguous and read-only.

    ``file`` is read from its beginning, whatever its position: `opened`, or bytes in an `io.BytesIO`.

    What is transparent is white, as viewers show it: the colour stored there is arbitrary. 16-bit images are
    scaled down, and so are whole numbers and floats of more bits, by the smallest usual range that holds them.

    Raises `TooLargeError` above `MAX_PIXELS`, judged by the header, and `UnreadablePhotoError`.
    """
    head = _head(file)
    if not head:
        raise UnreadablePhotoError("the file is empty", _DAMAGED_HINT)
    name = format_of(head)
    if name is None:
        raise UnreadablePhotoError("not an image that facewatchd reads", "see the README for the formats")
    try:
        if name in ("AVIF", "HEIF") and claimed_pixels(_head(file, HEADER_BYTES)) > MAX_PIXELS:
            raise _too_large()
        pixels = _decode_as(name, file)
    except UnreadablePhotoError:
        raise
    except Image.DecompressionBombError as exc:
        raise _too_large() from exc
    except Exception as exc:
        # Decoders meet arbitrary bytes here, and there is hardly a type that none of them has raised.
        raise _unreadable(name, exc) from exc
    if not pixels.size:
        raise UnreadablePhotoError(f"the {name} image has no pixels", _DAMAGED_HINT)
    return pixels


def pixels_of(file: BinaryIO) -> int:
    """Width times height, by the header, of what `decode` would decode; 0 where that cannot be told."""
    name = format_of(_head(file))
    if name is not None:
        with suppress(Exception), _image(name, file) as image:
            return image.width * image.height
    return 0


def _head(file: BinaryIO, length: int = SNIFF_BYTES) -> bytes:
    file.seek(0)
    return file.read(length)


def _image(name: str, file: BinaryIO) -> Image.Image:
    """Open an image; its file stays open when it is closed."""
    file.seek(0)
    return Image.open(file, formats=(name,))


@contextmanager
def regular_file(path: bytes) -> Iterator[int]:
    """Open a regular file for reading and translate what goes wrong with it, then and while it is used."""
    try:
        _require_regular(os.stat(path))  # opening a device or a pipe is already felt at its other end
        descriptor = os.open(path, _OPEN_FLAGS)
        try:
            _require_regular(os.fstat(descriptor))
            yield descriptor
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except NotADirectoryError as exc:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from exc
    except (OSError, ValueError, MemoryError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
        if isinstance(exc, OSError) and exc.errno in _PASSING:
            raise ChangedWhileReadError(f"the file cannot be read now: {reason}", "try again later") from exc
        away = isinstance(exc, OSError) and exc.errno in _AWAY
        error = DiskError if away else UnreadablePhotoError
        raise error(f"{CANNOT_READ}: {reason}", "check its permissions and its disk") from exc


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((words for test, words in _KINDS if test(status.st_mode)), "something else")
        raise UnreadablePhotoError(f"not a file but {kind}")


def _decode_as(name: str, file: BinaryIO) -> Pixels:
    pixels = _ordinary_jpeg(file) if name == "JPEG" else None
    if pixels is None:
        image, orientation, depth = _loaded(name, file)
        pixels = upright_rgb(image, orientation, depth)
    pixels.flags.writeable = False
    return pixels


def _ordinary_jpeg(file: BinaryIO) -> Pixels | None:
    """Decode a JPEG in colour that nothing is wrong with; None for all others."""
    with _image("JPEG", file) as image:
        if image.mode != "RGB":
            return None
        orientation = _orientation(image)
    file.seek(0)
    return jpeg.decode(file.read(), orientation)


def _loaded(name: str, file: BinaryIO) -> tuple[Image.Image, int, int]:
    """The image without its decoder, its orientation, and its `_depth`."""
    with _image(name, file) as image:
        if _is_camera_raw(image):
            raise UnreadablePhotoError("a camera's raw file, which facewatchd does not read", "export it as JPEG")
        if _tile_pixels(image) > MAX_PIXELS:
            raise _too_large()
        image.load()
        # WebP's and AVIF's decoders hold copies of all the pixels for as long as the file object lives.
        return image._new(image.im), _orientation(image), _depth(image)


def _is_camera_raw(image: Image.Image) -> bool:
    """Whether a TIFF's first image is a reduced one: raw formats (NEF, ARW, DNG) put a thumbnail there."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    subfile_type = image.tag_v2.get(_NEW_SUBFILE_TYPE_TAG, 0)
    return isinstance(subfile_type, int) and bool(subfile_type & 1)


def _tile_pixels(image: Image.Image) -> int:
    """How many pixels one tile of a TIFF has: it is decoded whole, however small the image."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 0
    sides = [image.tag_v2.get(tag, 0) for tag in _TILE_SIZE_TAGS]
    return math.prod(side for side in sides if isinstance(side, int))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation that is still to be applied to a loaded image, 1 to 8."""
    if image.format == "HEIF":
        return 1
    if image.format == "AVIF":
        image.info.pop("xmp", None)  # Pillow falls back on it, but only the container's word counts
    with suppress(Exception):  # broken EXIF is common, and no reason not to read a photo
        value = image.getexif().get(_ORIENTATION_TAG, 1)
        if value in TRANSPOSITIONS:
            return int(value)
    return 1


def _depth(image: Image.Image) -> int:
    """Bits that a sample of a 16-bit image uses: 12-bit TIFFs come in the same mode."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(_BITS_PER_SAMPLE_TAG)
        if isinstance(bits, tuple) and bits and bits[0] in range(9, 16):
            return int(bits[0])
    return 16


def _too_large() -> TooLargeError:
    return TooLargeError(f"the image has more than {MAX_PIXELS // 1_000_000} megapixels", "make a smaller copy of it")


def _unreadable(name: str, exc: Exception) -> UnreadablePhotoError:
    """Word what a decoder raised."""
    if isinstance(exc, MemoryError):
        return OutOfMemoryError(f"there is not enough memory for the {name} image", "make a smaller copy of it")
    if isinstance(exc, EOFError) or "truncat" in str(exc).lower():
        return UnreadablePhotoError(f"the {name} image is truncated", _DAMAGED_HINT)
    detail = "" if isinstance(exc, UnidentifiedImageError) else " ".join(str(exc).split())[:160]
    return UnreadablePhotoError(
        f"the {name} image is damaged or truncated" + (f" ({detail})" if detail else ""), _DAMAGED_HINT
    )
