"""Which files are left alone: hidden ones, unfinished ones, bins and thumbnails, and what the user's patterns name.

A watched directory itself may have any name: who wants the photos of a bin names the bin.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

import pathspec

_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
# Of browsers, download managers and copying programs. Lower case, as all names below: they are compared so.
_UNFINISHED = (
    *(b".part", b".partial", b".filepart", b".crdownload", b".download", b".opdownload", b".!ut", b".!qb", b".!bt"),
    *(b".aria2", b".tmp", b".temp", b"~"),
)
_UNFINISHED_DIRECTORIES = (b".download", b".crdownload")
"""A browser's directory for one file that it still fetches."""
_BINS = frozenset(
    {
        *(b"#recycle", b"@recycle", b"@recycle.bin", b"network trash folder", b"trashbox"),  # NAS systems
        *(b"$recycle.bin", b"recycler", b"recycled", b"system volume information"),  # Windows
        *(b"lost+found", b"found.000"),
    }
)
"""Most bins of Unix desktops, and of Samba, have hidden names."""
_SNAPSHOTS = frozenset({b"#snapshot", b"@snapshot", b"~snapshot", b"@recently-snapshot"})
_THUMBNAILS = frozenset({b"@eadir", b"@__thumb", b"__macosx"})
_DIRECTORIES = {
    **dict.fromkeys(_BINS, "a bin for deleted files"),
    **dict.fromkeys(_SNAPSHOTS, "earlier states of the files beside it"),
    **dict.fromkeys(_THUMBNAILS, "thumbnails and other files that a system made"),
}
_NEWLINE = str.maketrans("\n", "\0")
"""What pathspec's regular expressions take for the end of a path is made a character that is in none."""


class Exclusion:
    """The rule for one set of patterns. Patterns are matched against the path below the watched directory."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """Raise ValueError, with the reason, for a pattern that gitignore would not take."""
        try:
            spec = pathspec.GitIgnoreSpec.from_lines(line.strip("\n").translate(_NEWLINE) for line in patterns)
        except re.error as exc:  # pathspec turns patterns into regular expressions: [z-a] is none
            raise ValueError(str(exc)) from exc
        self._spec = spec
        # What none of these finds is not excluded. To ask the whole of each file costs as much as the rest of a walk.
        self._searches = [pattern.regex.search for pattern in spec.patterns if pattern.include and pattern.regex]

    def excludes(self, relative: bytes, *, is_directory: bool = False) -> str:
        """Say why the path is left alone, or return an empty string where it is not.

        Only the path's own name and the patterns are looked at: a walk asks for each directory on its way.
        """
        name = relative[relative.rfind(b"/") + 1 :]
        if name.startswith(b"."):
            return "hidden"
        name = name.lower()
        if is_directory:
            if name in _DIRECTORIES:
                return _DIRECTORIES[name]
            if name.endswith(_UNFINISHED_DIRECTORIES):
                return "an unfinished download"
        elif name.endswith(_UNFINISHED) or name.startswith(b"~syncthing~"):
            return "an unfinished or backup file"
        if self._searches:
            text = relative.decode(_ENCODING, _ERRORS) + ("/" if is_directory else "")
            text = text.translate(_NEWLINE) if "\n" in text else text
            for search in self._searches:
                if search(text):
                    return "named by `exclude`" if self._spec.match_file(text) else ""
        return ""
