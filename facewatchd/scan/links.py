"""Symbolic links to files, and where they lead.

A link to a file is read as that file. When the target appears, changes or goes, inotify reports the target's path, and
not the link's. So each link is registered under every path that decides where it leads (its *way*): the links that are
passed, and the file at the end, which need not exist. `Links.through` returns the links that an event concerns.

Inotify reports only what lies in a watched directory. The links whose ways leave the watched directories are in
`Links.outside`. The scanner looks at their targets every `facewatchd.scan.schedule.LINKS_EVERY` seconds, and no answer
is complete while there are any, as a target may have changed since.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Collection, Iterable, Sequence

from sortedcontainers import SortedSet

from facewatchd.values import Stamp, is_within

MOST = 40
"""Links that are followed one after the other; the kernel's limit (path_resolution(7))."""

Way = tuple[bytes, ...]
"""Every path that decides where a link leads. Paths in a watched directory begin as that is configured."""


class Links:
    """The links in the watched directories that walks or workers have seen. Any thread may call."""

    def __init__(self, realpath: Callable[[bytes], bytes] = os.path.realpath) -> None:
        """``realpath`` is called for the watched directories, whose disks may not answer."""
        self._realpath = realpath
        self._lock = threading.Lock()
        self._roots: list[tuple[bytes, bytes]] = []
        """Each watched directory's real path, and the directory as configured."""
        self._ways: dict[bytes, Way] = {}
        self._in_directory: dict[bytes, set[bytes]] = {}
        self._steps: SortedSet[tuple[bytes, bytes]] = SortedSet()
        """Pairs of a path on a way, and the link whose way it is."""
        self._outside: dict[bytes, Stamp | None] = {}
        """Each with the stamp that its target had at the last look; None: there was no target."""

    def follow(self, roots: Sequence[bytes]) -> None:
        """Set the watched directories, and forget the links in others."""
        real = [(self._realpath(root), root) for root in roots]
        with self._lock:
            self._roots = real
            for directory in [each for each in self._in_directory if not any(is_within(each, root) for root in roots)]:
                self._forget_directory(directory)

    def note(self, path: bytes) -> None:
        """Look at a path: register it if it is a link to a file, or broken; else forget it."""
        way, target = self._way(path), _target(path)
        with self._lock:
            self._register(path, way, target)

    def note_directory(self, directory: bytes, links: Collection[bytes]) -> list[bytes]:
        """Register all links that a walk saw in a directory; return the paths on their ways that are watched."""
        ways = {link: self._way(link) for link in links}
        targets = {link: _target(link) for link in links}
        with self._lock:
            for link in self._in_directory.get(directory, set()) - ways.keys():
                self._register(link, ())
            for link, way in ways.items():
                self._register(link, way, targets[link])
            return [step for way in ways.values() for step in way if self._is_watched(step)]

    def keep(self, start: bytes, directories: Collection[bytes]) -> None:
        """Forget the links in directories below ``start`` that are not among those that a walk saw there."""
        with self._lock:
            known = [each for each in self._in_directory if is_within(each, start) and each not in directories]
            for directory in known:
                self._forget_directory(directory)

    def through(self, path: bytes) -> tuple[list[bytes], list[bytes]]:
        """The links whose way passes the path itself, and those whose way passes something below it."""
        with self._lock:
            return self._between((path,), (path + b"\0",)), self._between((path + b"/",), (path + b"0",))

    @property
    def any_outside(self) -> bool:
        """Whether there is a link whose way leaves the watched directories."""
        return bool(self._outside)

    def outside(self) -> list[bytes]:
        """The links whose way leaves the watched directories."""
        with self._lock:
            return sorted(self._outside)

    def changed_outside(self) -> list[bytes]:
        """Look at the targets of the links that are `outside`; return the links whose targets have changed."""
        changed = []
        for link in self.outside():
            stamp = _target(link)
            with self._lock:
                if link in self._outside and self._outside[link] != stamp:
                    self._outside[link] = stamp
                    changed.append(link)
        return changed

    def _between(self, low: tuple[bytes], high: tuple[bytes]) -> list[bytes]:
        return [link for _, link in self._steps.irange(low, high, inclusive=(True, False))]

    def _register(self, link: bytes, way: Way, target: Stamp | None = None) -> None:
        before = self._ways.pop(link, ())
        directory = os.path.dirname(link)
        if before != way:
            self._steps.difference_update((step, link) for step in before)
            self._steps.update((step, link) for step in way)
        if way and not all(map(self._is_watched, way)):
            self._outside.setdefault(link, target)
        else:
            self._outside.pop(link, None)
        if way:
            self._ways[link] = way
            self._in_directory.setdefault(directory, set()).add(link)
        elif before:
            self._in_directory[directory].discard(link)
            if not self._in_directory[directory]:
                del self._in_directory[directory]

    def _forget_directory(self, directory: bytes) -> None:
        for link in list(self._in_directory[directory]):
            self._register(link, ())

    def _is_watched(self, step: bytes) -> bool:
        return any(is_within(step, root) for _, root in self._roots)

    def _way(self, path: bytes) -> Way:
        try:
            if not stat.S_ISLNK(os.lstat(path).st_mode) or os.path.isdir(path):
                return ()
        except OSError:
            return ()
        return tuple(self._as_configured(way_of(path)))

    def _as_configured(self, steps: Iterable[bytes]) -> list[bytes]:
        with self._lock:
            roots = self._roots
        return [
            next(
                (root.rstrip(b"/") + step[len(real.rstrip(b"/")) :] for real, root in roots if is_within(step, real)),
                step,
            )
            for step in steps
        ]


def _target(link: bytes) -> Stamp | None:
    try:
        return Stamp.of(os.stat(link))
    except OSError:
        return None


def way_of(link: bytes) -> list[bytes]:
    """Every real path that decides where a link leads: the links passed, without the first, and the end.

    The end need not exist. Of links that lead in a circle, those that were passed.
    """
    passed: list[bytes] = []
    at = os.path.realpath(os.path.dirname(link))
    names = [os.path.basename(link)]
    while names:
        name = names.pop(0)
        if name == b"..":
            at = os.path.dirname(at)
        if name in (b"", b".", b".."):
            continue
        at = os.path.join(at, name)
        try:
            target = os.readlink(at)
        except OSError:  # no link, or nothing at all
            continue
        if len(passed) > MOST:
            return passed[1:]
        passed.append(at)
        at = b"/" if target.startswith(b"/") else os.path.dirname(at)
        names[:0] = target.split(b"/")
    return [*passed[1:], at]
