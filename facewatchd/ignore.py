"""The files that are left alone: hidden and unfinished ones, bins, thumbnails, and those that the user's patterns name.

A watched directory itself may have any name, so the photos in a bin are indexed where the bin is configured.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

import pathspec

_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
# Of browsers, download managers and copying programs. Names here are lower case, and compared in lower case.
_UNFINISHED = (
    *(b".part", b".partial", b".filepart", b".crdownload", b".download", b".opdownload", b".!ut", b".!qb", b".!bt"),
    *(b".fdmdownload", b".dtapart", b".bc!", b".!sync", b".xltd", b".incomplete", b".gstmp"),
    *(b".aria2", b".tmp", b".temp", b"~"),
)
_UNFINISHED_DIRECTORIES = (b".download", b".crdownload")
"""A browser's directory for one file that is still being fetched."""
_BIN = "a bin for deleted files"
_SNAPSHOT = "earlier states of the files beside it"
_THUMBNAIL = "thumbnails and other files that a system made"
_BINS = frozenset(
    {
        *(b"#recycle", b"@recycle", b"@recycle.bin", b"network trash folder", b"trashbox"),  # NAS systems
        *(b"recycle bin", b"files_trashbin"),  # ReadyNAS, Nextcloud
        *(b"$recycle.bin", b"recycler", b"recycled", b"system volume information"),  # Windows
        *(b"lost+found", b"lost.dir"),  # ext4, Android
    }
)
"""Most bins of Unix desktops, and of Samba, have hidden names."""
_NUMBERED_BINS = re.compile(rb"found\.\d{3}|_nas_recycle_.*", re.DOTALL)
"""Of Windows' chkdsk, and of Thecus, one for each RAID."""
_SNAPSHOTS = frozenset({b"#snapshot", b"@snapshot", b"~snapshot", b"@recently-snapshot", b"files_versions"})
_DATED_SNAPSHOT = b"@gmt-"
"""How a shadow copy's name begins, see vfs_shadow_copy2(8)."""
_THUMBNAILS = frozenset({b"@eadir", b"@__thumb", b"__macosx"})
_PREVIEWS = b".lrdata"
"""How Lightroom names its directories of previews."""
_INNER_THUMBNAILS = re.compile(
    rb"\.photoslibrary/resources/(derivatives|proxies)$"
    rb"|\.(photoslibrary|photolibrary|migratedphotolibrary|aplibrary)/thumbnails$"
    rb"|(^|/)appdata_[^/]+/preview$"
)
"""In libraries of Apple's Photos, iPhoto and Aperture, whose photos lie beside them, and in Nextcloud's data."""
_DIRECTORIES = {
    **dict.fromkeys(_BINS, _BIN),
    **dict.fromkeys(_SNAPSHOTS, _SNAPSHOT),
    **dict.fromkeys(_THUMBNAILS, _THUMBNAIL),
}
_NEWLINE = str.maketrans("\n", "\0")
"""pathspec's regular expressions take a newline for the end of a path: NUL, which is in no path, replaces it."""


class Exclusion:
    """The rule for one set of patterns. Patterns are matched against the path below the watched directory."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """Raise ValueError, with the reason, for a pattern that gitignore refuses."""
        try:
            spec = pathspec.GitIgnoreSpec.from_lines(line.strip("\n").translate(_NEWLINE) for line in patterns)
        except re.error as exc:  # pathspec turns patterns into regular expressions: [z-a] is none
            raise ValueError(str(exc)) from exc
        self._spec = spec
        # A path that none of these finds is not excluded; the whole spec takes as long as the rest of a walk.
        self._searches = [pattern.regex.search for pattern in spec.patterns if pattern.include and pattern.regex]

    def excludes(self, relative: bytes, *, is_directory: bool = False) -> str:
        """Return the reason why the path is left alone; an empty string where it is not.

        Only the path itself is examined, not the directories above it: a walk asks for each of them on its way.
        """
        name = relative[relative.rfind(b"/") + 1 :]
        if name.startswith(b"."):
            return "hidden"
        name = name.lower()
        if is_directory:
            if reason := _directory_reason(name, relative):
                return reason
        elif name.endswith(_UNFINISHED) or name.startswith(b"~syncthing~"):
            return "an unfinished or backup file"
        if self._searches:
            text = relative.decode(_ENCODING, _ERRORS) + ("/" if is_directory else "")
            text = text.translate(_NEWLINE) if "\n" in text else text
            for search in self._searches:
                if search(text):
                    return "named by `exclude`" if self._spec.match_file(text) else ""
        return ""


def _directory_reason(name: bytes, relative: bytes) -> str:
    """Return the reason why a directory of this name, in lower case, is left alone; else an empty string."""
    if name in _DIRECTORIES:
        return _DIRECTORIES[name]
    if name.endswith(_UNFINISHED_DIRECTORIES):
        return "an unfinished download"
    if _NUMBERED_BINS.fullmatch(name):
        return _BIN
    if name.startswith(_DATED_SNAPSHOT):
        return _SNAPSHOT
    if name.endswith(_PREVIEWS) or _INNER_THUMBNAILS.search(relative.lower()):
        return _THUMBNAIL
    return ""
