"""The orientation in EXIF data, whatever whole number type it is stored as."""

from __future__ import annotations

from typing import Final, Literal

SIDEWAYS: Final = frozenset({5, 6, 7, 8})
"""Orientations by which rows become columns."""
_TAG: Final = 0x0112
_ORDERS: Final[dict[bytes, Literal["little", "big"]]] = {b"II": "little", b"MM": "big"}
_SIZES: Final = {1: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4}
"""Bytes of a value by TIFF type: BYTE, SHORT, LONG, SBYTE, UNDEFINED, SSHORT, SLONG."""
_MAX_TAGS: Final = 4096


def orientation(data: bytes) -> int:
    """Return 1 to 8 from the first directory of EXIF data, with or without ``Exif\\0\\0`` before it; 1 by default."""
    while data.startswith(b"Exif\0\0"):
        data = data[6:]
    order = _ORDERS.get(data[:2])
    if order is None:
        return 1
    start = int.from_bytes(data[4:8], order)
    count = min(int.from_bytes(data[start : start + 2], order), _MAX_TAGS)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        entry = data[at : at + 12]
        size = _SIZES.get(int.from_bytes(entry[2:4], order))
        if int.from_bytes(entry[:2], order) == _TAG and size:
            value = int.from_bytes(entry[8 : 8 + size], order)
            return value if 1 <= value <= 8 else 1
    return 1
