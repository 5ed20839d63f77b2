"""The mark by which contact sheets of `facewatch-query` are recognised: the name of the software in their metadata.

- PNG: a ``tEXt`` chunk ``Software`` before the pixels. JPEG and WebP: the EXIF tag ``Software``. PDF: ``Creator`` in
  the information dictionary, which lies directly before the table of its objects.
- Where a sheet has several pictures, the mark of all but the first ends with the number of the page.
- Only the place where the format keeps it counts: a photo that has the same words elsewhere (in a thumbnail, a trailer
  or a comment) is no sheet. A sheet that was saved by an editor, which writes its own name there or none, is a photo.
- A file is read by chunk headers, a few hundred bytes in all, so that the daemon can look at every new photo.

Standard library only: the daemon, and a client that has no Pillow, read it as well.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from typing import Final

from facewatchd.system import atomic_files

SOFTWARE: Final = "facewatch-query contact sheet"
EXIF_SOFTWARE: Final = 0x0131
"""The tag's number, see the Exif standard (CIPA DC-008), 4.6.5."""

_WORDS: Final = SOFTWARE.encode("ascii")
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PDF_CREATOR: Final = b"/Creator (\xfe\xff" + SOFTWARE.encode("utf-16-be") + b")"
_PDF_TAIL: Final = 2048
"""Bytes before the table of a PDF's objects, and at its end, that are looked at.

In a small document the end holds the information dictionary too.
"""
_PDF_END: Final = re.compile(rb"startxref\s+([0-9]{1,12})\s+%%EOF\s*\Z")
_MARK: Final = re.compile(_WORDS + rb"(?:, page ([0-9]{1,4}))?")
_MOST_WORDS: Final = 64
_MOST_CHUNKS: Final = 32
"""Chunks or segments that are looked at; a sheet has fewer than ten."""
_MOST_EXIF: Final = 4096


def mark(page: int = 1) -> str:
    """Return the mark of a sheet's page, from 1."""
    return SOFTWARE if page == 1 else f"{SOFTWARE}, page {page}"


def is_sheet(path: str | bytes | os.PathLike[str]) -> bool:
    """Whether a path leads to a regular file that has the mark. False for what cannot be read."""
    return page_of(path) > 0


def is_later_page(path: str | bytes | os.PathLike[str]) -> bool:
    """Whether a path leads to a page of a sheet that is not its first."""
    return page_of(path) > 1


def page_of(path: str | bytes | os.PathLike[str]) -> int:
    """Return which page of a sheet a path leads to, from 1; 0 for no sheet, and for what cannot be read."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # to open a pipe or a device is already felt at its other end
            return 0
        descriptor = os.open(path, atomic_files.READ_FLAGS)
    except (OSError, ValueError):
        return 0
    try:
        return marked_page(descriptor)
    except OSError:
        return 0
    finally:
        os.close(descriptor)


def has_mark(descriptor: int) -> bool:
    """Whether an open regular file has the mark. Its offset stays as it is. Raises OSError."""
    return marked_page(descriptor) > 0


def marked_page(descriptor: int) -> int:
    """Return which page of a sheet an open regular file is, as `page_of`. Raises OSError."""
    head = os.pread(descriptor, 12, 0)
    if head.startswith(_PNG):
        return _page(_in_png(descriptor))
    if head.startswith(b"\xff\xd8\xff"):
        return _page(_in_jpeg(descriptor))
    if head.startswith(b"RIFF") and head.endswith(b"WEBP"):
        return _page(_in_webp(descriptor))
    if head.startswith(b"%PDF-"):
        return int(_in_pdf(descriptor))
    return 0


def _page(words: bytes) -> int:
    found = _MARK.fullmatch(words)
    return int(found[1] or 1) if found else 0


def _in_pdf(descriptor: int) -> bool:
    """Whether the document is as it was written: an editor appends what it changes, and a table of it."""
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, _PDF_TAIL, max(0, size - _PDF_TAIL))
    if _PDF_CREATOR in tail:
        return True
    end = _PDF_END.search(tail)
    if end is None:
        return False
    table = int(end[1])
    return _PDF_CREATOR in os.pread(descriptor, min(_PDF_TAIL, table), max(0, table - _PDF_TAIL))


def _in_png(descriptor: int) -> bytes:
    """The words where the mark may stand: of the first chunk ``Software``."""
    name = b"Software\0"
    for kind, at, size in _chunks(descriptor, len(_PNG), "big"):
        if kind == b"IDAT":
            break
        if kind == b"tEXt" and size <= len(name) + _MOST_WORDS:
            text = os.pread(descriptor, size, at)
            if text.startswith(name):
                return text.removeprefix(name)
    return b""


def _in_webp(descriptor: int) -> bytes:
    for kind, at, size in _chunks(descriptor, 12, "little"):
        if kind == b"EXIF":
            return _software(os.pread(descriptor, min(size, _MOST_EXIF), at).removeprefix(b"Exif\0\0"))
    return b""


def _chunks(descriptor: int, at: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Kind, place and size of each chunk of a PNG ("big": length, kind, data, CRC) or of a RIFF file ("little")."""
    for _ in range(_MOST_CHUNKS):
        header = os.pread(descriptor, 8, at)
        if len(header) < 8:
            return
        if order == "big":
            size, kind = int.from_bytes(header[:4], "big"), header[4:]
            after = at + 8 + size + 4
        else:
            kind, size = header[:4], int.from_bytes(header[4:], "little")
            after = at + 8 + size + size % 2
        yield kind, at + 8, size
        at = after


def _in_jpeg(descriptor: int) -> bytes:
    at = 2
    for _ in range(_MOST_CHUNKS):
        header = os.pread(descriptor, 4, at)
        if len(header) < 4 or header[0] != 0xFF or header[1] in (0xDA, 0xD9):  # start of scan, end of image
            return b""
        size = int.from_bytes(header[2:], "big")
        if header[1] == 0xE1:
            data = os.pread(descriptor, min(size - 2, _MOST_EXIF) if size > 2 else 0, at + 4)
            if data.startswith(b"Exif\0\0"):
                return _software(data[6:])
        at += 2 + size
    return b""


def _software(exif: bytes) -> bytes:
    """The text of the tag ``Software`` in the first directory of EXIF data, which is a TIFF (TIFF 6.0, section 2)."""
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(exif[:4])
    if order is None:
        return b""

    def number(at: int, size: int) -> int:
        return int.from_bytes(exif[at : at + size], order)  # type: ignore[arg-type]  # one of the two

    directory = number(4, 4)
    for entry in range(directory + 2, directory + 2 + 12 * min(number(directory, 2), 256), 12):
        if number(entry, 2) == EXIF_SOFTWARE and number(entry + 2, 2) == 2:  # ASCII
            length = number(entry + 4, 4)
            start = number(entry + 8, 4) if length > 4 else entry + 8
            return exif[start : start + length].rstrip(b"\0")
    return b""
