"""Photos in request lines: large base64 strings are cut out before a line is parsed, and decoded in parts.

json and binascii hold the interpreter's lock while they work on one string: 0.1 to 0.5 s for 64 MiB, in which no other
client is answered. So no step here works on more than `WINDOW` bytes; between two steps other threads can run. Only
strings called ``data`` are cut out: another string of 64 MiB still takes 0.5 s in one step.
"""

from __future__ import annotations

import binascii
import json
import re
import secrets
from typing import Final, cast

LARGE: Final = 1 << 18
"""Bytes from which on a string is cut out."""
MOST: Final = 10_000
"""Strings called ``data`` that are looked at; further ones stay in the line."""
PART: Final = 1 << 20
"""Bytes of base64 that are decoded at once; a multiple of 4."""
WINDOW: Final = 1 << 22
"""Bytes that are searched at once."""

_KEY: Final = b'"data"'
_OPENING: Final = re.compile(rb'[ \t\r\n]{0,64}:[ \t\r\n]{0,64}"')
_LONGEST_ESCAPE: Final = 6
_CUT_ESCAPE: Final = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")


class Payload:
    """A base64 string that is not decoded yet."""

    def __init__(self, encoded: bytes | memoryview, *, is_escaped: bool) -> None:
        """``is_escaped``: it may hold JSON's escapes, as in ``\\/``."""
        self._encoded = memoryview(encoded)
        self._is_escaped = is_escaped

    def decode(self) -> bytes:
        """Return the bytes. Line breaks are skipped; anything else that is not base64 raises ValueError."""
        decoded = bytearray(3 * len(self._encoded) // 4 + 3)
        filled = at = 0
        rest = b""
        while at < len(self._encoded):
            part = bytes(self._encoded[at : at + PART])
            at += len(part)
            at -= (left := self._cut_escape(part) if at < len(self._encoded) else 0)
            text = self._unescaped(part[: len(part) - left])
            text = rest + text.replace(b"\n", b"").replace(b"\r", b"")
            whole = len(text) if at >= len(self._encoded) else len(text) // 4 * 4
            piece = binascii.a2b_base64(text[:whole], strict_mode=True)
            rest = text[whole:]
            if len(piece) < whole // 4 * 3 and at < len(self._encoded):
                raise ValueError("padding before the end")
            decoded[filled : filled + len(piece)] = piece
            filled += len(piece)
        del decoded[filled:]
        return cast(bytes, decoded)  # never changed from here on: a copy would take as long as all of the above

    def _cut_escape(self, part: bytes) -> int:
        """How many bytes at the end of a part are the beginning of an escape."""
        escape = _CUT_ESCAPE.search(part, len(part) - _LONGEST_ESCAPE) if self._is_escaped else None
        return len(part) - escape.start() if escape else 0

    def _unescaped(self, part: bytes) -> bytes:
        if self._is_escaped and b"\\" in part:
            text: str = json.loads(b'"' + part + b'"')
            return text.encode("ascii")
        return part


def cut(line: bytes) -> tuple[bytes, dict[str, Payload]]:
    """Cut large strings called ``data`` out of a JSON text; return the rest of the text, and the strings by key.

    In the place of each string stands its key. Only characters that are a string in every valid JSON text are cut out,
    so a text that is not valid JSON stays invalid.
    """
    view = memoryview(line)
    name = secrets.token_hex(16)
    pieces: list[bytes | memoryview] = []
    payloads: dict[str, Payload] = {}
    done = at = 0
    for _ in range(MOST):
        if (at := _find(line, _KEY, at)) < 0:
            break
        at += len(_KEY)
        opening = _OPENING.match(line, at)
        if opening is None:
            continue
        start = opening.end()
        end = _find(line, b'"', start)
        if end < 0:
            break
        at = end
        if end - start < LARGE or line[end - 1 : end] == b"\\":  # an escaped quote: it is no base64
            continue
        key = f"{name}-{len(payloads)}"
        pieces += [view[done:start], key.encode("ascii")]
        payloads[key] = Payload(view[start:end], is_escaped=True)
        done = end
    pieces.append(view[done:])
    return b"".join(pieces), payloads


def _find(line: bytes, what: bytes, at: int) -> int:
    """`bytes.find`, in steps."""
    while at < len(line):
        found = line.find(what, at, at + WINDOW + len(what) - 1)
        if found >= 0:
            return found
        at += WINDOW
    return -1
