"""Names of links and copies in one directory, kept apart also where case and normal form do not tell names apart.

A photo keeps its name. Where another file has it, a number is put before the suffix: ``IMG_0001 (2).jpg``. Names are
bytes; most are UTF-8.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

LONGEST: Final = 255
"""Bytes of a name on Linux's file systems."""
NAME_REFUSED: Final = frozenset({errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG})
"""Errors of a file system that takes no such name, but perhaps a plain one."""
_LONGEST_PLAIN: Final = 140
"""Bytes of a name that eCryptfs takes, the least of the file systems in use (143)."""
_LONGEST_SUFFIX: Final = 16
"""Bytes up to which what stands behind the last dot is a suffix."""
_NOT_PLAIN: Final = r'[\x00-\x1f\x7f<>:"/\\|?*\udc80-\udcff]'
"""What FAT, exFAT and NTFS take in no name, and bytes that are not UTF-8."""


class Names:
    """The names that are taken in a directory."""

    def __init__(self, taken: Iterable[bytes]) -> None:
        self._taken = set(map(folded, taken))

    def take(self, name: bytes) -> bytes:
        """Return the name, or the first numbered one that is free, and take it."""
        free = next(each for each in numbered(name) if folded(each) not in self._taken)
        self._taken.add(folded(free))
        return free


def numbered(name: bytes) -> Iterator[bytes]:
    """Yield the name, then the same with a number from 2 on, each at most `LONGEST` bytes long."""
    stem, suffix = os.path.splitext(name)
    if len(suffix) > _LONGEST_SUFFIX:
        stem, suffix = name, b""
    yield _cut(stem, LONGEST - len(suffix)) + suffix
    for number in itertools.count(2):
        end = b" (%d)%s" % (number, suffix)
        yield _cut(stem, LONGEST - len(end)) + end


def folded(name: bytes) -> str:
    """Return what two names share that a file system may take for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", _text(name)).casefold())


def plain(name: bytes) -> bytes:
    """Return the name as every file system takes it, for one that refused it as it is."""
    stem, suffix = os.path.splitext(re.sub(_NOT_PLAIN, "_", _text(name)))
    return (_cut(stem.encode(), _LONGEST_PLAIN - len(suffix.encode())) + suffix.encode()).rstrip(b" .") or b"_"


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _cut(stem: bytes, length: int) -> bytes:
    """Cut a name between two characters."""
    text = _text(stem)
    while len(stem) > length:
        text = text[:-1]
        stem = text.encode("utf-8", "surrogateescape")
    return stem
