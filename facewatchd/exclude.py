"""Which files are left alone: hidden ones, unfinished ones, and what the user's gitignore patterns name."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pathspec

_UNFINISHED = (b".part", b".tmp", b"~")


class Exclusion:
    """The rule for one set of patterns. Patterns are matched against the path below the watched directory."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """Raise ValueError, with the reason, for a pattern that gitignore would not take."""
        self._spec = pathspec.GitIgnoreSpec.from_lines(patterns)

    def excludes(self, relative: bytes, *, is_directory: bool = False) -> str:
        """Say why the path is left alone, or return an empty string where it is not.

        Only the path's own name and the patterns are looked at: a walk asks for each directory on its way.
        """
        name = os.path.basename(relative)
        if name.startswith(b"."):
            return "hidden"
        if not is_directory and name.lower().endswith(_UNFINISHED):
            return "an unfinished or backup file"
        if self._spec.match_file(os.fsdecode(relative) + ("/" if is_directory else "")):
            return "named by `exclude`"
        return ""

    def excludes_any_part(self, relative: bytes) -> str:
        """Say why the file or one of the directories on its way from the watched directory is left alone."""
        parts = relative.split(b"/")
        for depth in range(1, len(parts)):
            if reason := self.excludes(b"/".join(parts[:depth]), is_directory=True):
                return f"in {os.fsdecode(parts[depth - 1])}/, {reason}"
        return self.excludes(relative)
