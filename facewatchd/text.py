"""Text of messages: names on one line without control characters, and numbers with their nouns."""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNSHOWABLE = "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
"""C0 and C1 controls, line and paragraph separators, bidirectional controls, and lone surrogates.

Not compiled at import: that takes longer than most queries, and most results are not printed for a terminal.
"""


def printable(text: str | bytes) -> str:
    """Return text, or a path in bytes, on one line and without control characters."""
    if isinstance(text, bytes):  # whatever the locale says: most names are UTF-8
        text = text.decode("utf-8", "surrogateescape")
    return re.sub(_UNSHOWABLE, _escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    if 0xDC80 <= code <= 0xDCFF:  # os.fsdecode's stand-in for a byte that is not UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"


def counted(number: int, one: str, more: str = "") -> str:
    """Word a number and its noun: ``1 photo``, ``2 photos``, ``0 directories``."""
    return f"{number} {one if number == 1 else more or one + 's'}"


def some(names: Sequence[str], most: int = 3) -> str:
    """Word the first of several names and the number of the others: ``a``, ``a and b``, ``a, b, c and 4 more``."""
    return listed([*names[:most], *([f"{len(names) - most} more"] if len(names) > most else [])])


def listed(words: Sequence[str]) -> str:
    """Return words as a list: ``a``, ``a and b``, ``a, b and c``; empty without any."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def one_line(reason: object, limit: int = 200) -> str:
    """Return the message of a library's error on one line; of an OSError, without number and file."""
    words = reason.strerror if isinstance(reason, OSError) and reason.strerror else reason
    text = " ".join(str(words).split()) or type(reason).__name__
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
