"""What is taken from EXIF data: the orientation, whatever whole number type it is stored as, and dates.

The data may be of any size and in a file (a TIFF is one): only what is asked for is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

from facewatchd.photos.taken import Tags

Read = Callable[[int, int], bytes]
"""Reads at an offset of the data a number of bytes, or what there is of them."""

_ORIENTATION: Final = 0x0112
_CLASSIC: Final = 42
"""The version of TIFF in whose structure EXIF data are; BigTIFF has another."""
SIDEWAYS: Final = frozenset({5, 6, 7, 8})
"""Orientations by which rows become columns."""
_ORDERS: Final[dict[bytes, Literal["little", "big"]]] = {b"II": "little", b"MM": "big"}
_SIZES: Final = {1: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4}
"""Bytes of a value by TIFF type: BYTE, SHORT, LONG, SBYTE, UNDEFINED, SSHORT, SLONG."""
_MAX_TAGS: Final = 4096
_TEXTS: Final = frozenset({1, 2, 7})
"""Types in which dates are stored: ASCII, and what some programs write in its place."""
_MAX_TEXT: Final = 64
"""Bytes of a date that are read."""
_EXIF: Final = 0x8769
"""Of the directory that holds all tags below but `_CHANGED`."""
_CHANGED: Final = {0x0132: "changed"}
_DATES: Final = {
    0x9003: "taken",
    0x9004: "digitized",
    0x9010: "offset",
    0x9011: "offset_taken",
    0x9012: "offset_digitized",
    0x9290: "fraction",
    0x9291: "fraction_taken",
    0x9292: "fraction_digitized",
}
"""Fields of `Tags` by their tags."""


class _Entry(NamedTuple):
    tag: int
    kind: int
    length: int
    value: bytes
    """Four bytes: the value, or where it is."""


def reader(data: bytes) -> Read:
    """Read from bytes, with or without ``Exif\\0\\0`` before them."""
    while data.startswith(b"Exif\0\0"):
        data = data[6:]
    return lambda at, length: data[at : at + length]


def orientation(read: Read) -> int:
    """Return 1 to 8 from the first directory of EXIF data; 1 by default."""
    order = _ORDERS.get(read(0, 2))
    for entry in _entries(read, read(4, 4)) if order else ():
        size = _SIZES.get(entry.kind)
        if entry.tag == _ORIENTATION and size and order:
            value = int.from_bytes(entry.value[:size], order)
            return value if 1 <= value <= 8 else 1
    return 1


def dates(read: Read) -> Tags:
    """Return the tags that say when a photo was taken."""
    order = _ORDERS.get(read(0, 2))
    if order is None or int.from_bytes(read(2, 2), order) != _CLASSIC:
        return Tags()
    entries = list(_entries(read, read(4, 4)))
    inner = next((entry.value for entry in entries if entry.tag == _EXIF), None)  # one: each may be thousands of tags
    found: dict[str, bytes] = {}
    for names, directory in ((_CHANGED, entries), (_DATES, _entries(read, inner) if inner else ())):
        for entry in directory:
            if entry.tag in names:
                found.setdefault(names[entry.tag], _text(read, entry, order))
    return Tags(**found)


def value(read: Read, tag: int, most: int) -> bytes:
    """Return the bytes of a tag of the first directory that is stored as bytes; nothing above ``most`` of them."""
    order = _ORDERS.get(read(0, 2))
    if order is None or int.from_bytes(read(2, 2), order) != _CLASSIC:
        return b""
    found = next((each for each in _entries(read, read(4, 4)) if each.tag == tag and each.kind in _TEXTS), None)
    return b"" if found is None or found.length > most else _bytes(read, found, order, most)


def _entries(read: Read, where: bytes) -> Iterator[_Entry]:
    """The entries of the directory at an offset, which is given as it is stored."""
    order = _ORDERS[read(0, 2)]
    start = int.from_bytes(where, order)
    count = min(int.from_bytes(read(start, 2), order), _MAX_TAGS)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        entry = read(at, 12)
        if len(entry) == 12:
            tag, kind, values = (int.from_bytes(entry[begin:end], order) for begin, end in ((0, 2), (2, 4), (4, 8)))
            yield _Entry(tag, kind, values, entry[8:])


def _text(read: Read, entry: _Entry, order: Literal["little", "big"]) -> bytes:
    return _bytes(read, entry, order, _MAX_TEXT) if entry.kind in _TEXTS else b""


def _bytes(read: Read, entry: _Entry, order: Literal["little", "big"], most: int) -> bytes:
    if entry.length <= len(entry.value):
        return entry.value[: entry.length]
    return read(int.from_bytes(entry.value, order), min(entry.length, most))
