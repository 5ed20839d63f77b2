"""What happened to photos since a line of the journal: which content arrived, which path moved, and which is gone.

A `Follower` compares two states of the catalog, before and after a page of lines of the journal (`Journal.shown_at`).
So it does not matter in which order the halves of a rename were recorded, nor how many transactions they took:

- A content that a path shows, and that none showed before, has arrived.
- Where a path no longer shows a content that others show, the photo has moved to these: it was renamed, or a copy of it
  was deleted.
- Where no path is left, that is held back for `HOLD` seconds: the path of a renamed photo may be recorded as gone
  before the new one is found. If the content comes back meanwhile, it has moved, else it is gone. Nothing is gone while
  paths wait to be examined, for `MOST_HOLD` seconds at most.
- A content that took the place of one with the same faces, at a path that showed that one before the page, is no
  photo that has arrived: something was written into the file beside the picture.
- A content with new faces is looked at again.

A photo is a content. If copies count as photos of their own, a path that begins to show a content has arrived, unless
another path that showed it is missing: then that one has moved.

`Follower.safe` is the number of the line behind which nothing was told yet: a reader that was told everything so far
and goes on from there misses nothing. It lies before what is held back. So a reader that comes back may have been told
of lines that are told again, and two of which may cancel each other by now, as where a photo came and went. Therefore
each path in lines that were there when it came back counts as one that the reader may know of.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.journal import Entry
from facewatchd.values import is_within

PAGE = 1000
"""Lines that are looked at together: of a page, the faces of all contents are compared at once."""
HOLD = 5.0
"""Seconds for which a path that is missing is held back: of 1,200 photos in a directory that was renamed, also while no
daemon ran, none was taken for gone (`tests/benchmarks/README.md`)."""
MOST_HOLD = 60.0
"""The same while paths wait to be examined."""


@dataclass(slots=True)
class Happened:
    """What a page of lines says."""

    arrived: dict[int, frozenset[bytes]] = field(default_factory=dict)
    """Contents, and the paths that have begun to show them."""
    replaced: dict[int, frozenset[bytes]] = field(default_factory=dict)
    """Contents, and the paths that have begun to show them in the place of others with the same faces."""
    got_faces: dict[int, int] = field(default_factory=dict)
    """Contents that were shown before and got faces, and the first line that says so."""
    moved: dict[int, list[tuple[bytes, bytes | None]]] = field(default_factory=dict)
    """Contents, and the paths that no longer show them, each with the one that took its place where that is known."""
    gone: dict[int, frozenset[bytes]] = field(default_factory=dict)
    """Contents, and the paths that no longer show them."""

    @property
    def left(self) -> set[bytes]:
        """The paths that moved or are gone. By now another content may be there."""
        moved = {path for moves in self.moved.values() for path, _ in moves}
        return moved.union(*self.gone.values())

    def __bool__(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.arrived or self.replaced or self.got_faces or self.moved or self.gone)


@dataclass(slots=True)
class _Held:
    paths: frozenset[bytes]
    told: frozenset[bytes]
    """Those of which the reader was surely told."""
    seq: int
    """The first line of the page that says so."""
    since: float
    """Of the monotonic clock."""


class Follower:
    """Follows the journal from a line on. Not for several threads."""

    def __init__(
        self,
        seq: int,
        directories: Sequence[bytes] = (),
        *,
        collapse: bool = True,
        resumes: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``directories``: what lies elsewhere does not count. ``collapse``: whether copies are one photo.

        ``resumes``: whether the reader may have been told of later lines.
        """
        self._seq = seq
        self._directories = directories
        self._collapse = collapse
        self._clock = clock
        self._held: dict[int, _Held] = {}
        self._told_before: int | None = None if resumes else 0
        """The last line of which the reader may have been told before; None until that is looked up."""
        self.level = False
        """Whether the last page was the end of the journal."""

    @property
    def safe(self) -> int:
        """The line from which to go on after everything so far was told."""
        return min([self._seq, *(held.seq - 1 for held in self._held.values())])

    @property
    def due_in(self) -> float | None:
        """Seconds until something that is held back may be told; None where nothing is."""
        since = min((held.since for held in self._held.values()), default=None)
        return None if since is None else max(0.0, since + HOLD - self._clock())

    def misses_nothing(self, reader: CatalogReader) -> bool:
        """Whether no line was removed that has not been read."""
        return reader.journal.reaches(self._seq)

    def next(self, reader: CatalogReader, *, pending: bool) -> Happened:
        """Say what the next page of lines tells. ``pending``: whether paths wait to be examined."""
        if self._told_before is None:
            self._told_before = reader.journal.last()
        entries = reader.journal.after(self._seq, PAGE)
        self.level = len(entries) < PAGE
        happened = Happened()
        if entries:
            self._compare(reader, entries, happened)
            self._seq = entries[-1].seq
        if self.level:
            self._let_go(happened, MOST_HOLD if pending else HOLD)
        return happened

    def _compare(self, reader: CatalogReader, entries: Sequence[Entry], happened: Happened) -> None:
        lines: dict[int, list[Entry]] = {}
        for entry in entries:
            lines.setdefault(entry.content_id, []).append(entry)
        contents = list(lines)
        now = reader.copies(contents)
        before = self._inside(reader.journal.shown_at(self._seq, now, contents))
        after = self._inside(reader.journal.shown_at(entries[-1].seq, now, contents))
        again = _again(entries) & frozenset().union(*before.values())
        passing = self._inside({content: [each.path for each in own if each.path] for content, own in lines.items()})
        for content, own in lines.items():
            held = self._held.pop(content, None)
            was = before[content] | (held.told if held else frozenset())
            lost = (was | (held.paths if held else frozenset())) - after[content]
            if self._told_before and self._seq < self._told_before:
                lost |= passing[content] - after[content]
            rest = self._place(content, was, after[content], lost, happened)
            if rest:
                since = held.since if held else self._clock() - min(HOLD, max(0.0, time.time() - own[0].at))
                self._held[content] = _Held(rest, rest & was, held.seq if held else own[0].seq, since)
            if (arrived := happened.arrived.get(content, frozenset())) & again:
                happened.replaced[content] = arrived & again
                # A copy of it elsewhere is new only where copies are photos of their own.
                if self._collapse or not arrived - again:
                    del happened.arrived[content]
                else:
                    happened.arrived[content] = arrived - again
            faces = [entry.seq for entry in own if entry.path is None]
            if faces and after[content] and content not in happened.arrived:
                happened.got_faces[content] = faces[0]

    def _place(
        self,
        content: int,
        was: frozenset[bytes],
        now: frozenset[bytes],
        lost: frozenset[bytes],
        happened: Happened,
    ) -> frozenset[bytes]:
        """Note what is new of a content; return the paths of those ``lost`` that are to be held back."""
        begun = now - was
        if not self._collapse:
            pairs = list(zip(sorted(lost & was), sorted(begun), strict=False))
            if pairs:
                happened.moved[content] = [*pairs]
            if rest := begun - {new for _, new in pairs}:
                happened.arrived[content] = rest
            return lost - {old for old, _ in pairs}
        if not now:
            return lost
        if not was:
            happened.arrived[content] = begun
        if lost:
            happened.moved[content] = [(path, None) for path in sorted(lost)]
        return frozenset()

    def _inside(self, shown: Mapping[int, Iterable[bytes]]) -> dict[int, frozenset[bytes]]:
        return {content: frozenset(path for path in paths if self._counts(path)) for content, paths in shown.items()}

    def _counts(self, path: bytes) -> bool:
        return not self._directories or any(is_within(path, each) for each in self._directories)

    def _let_go(self, happened: Happened, hold: float) -> None:
        now = self._clock()
        due = [content for content, held in self._held.items() if now >= held.since + hold]
        for content in due[:PAGE]:
            happened.gone[content] = self._held.pop(content).paths


def _again(entries: Sequence[Entry]) -> set[bytes]:
    """The paths at which each content took the place of one with the same faces."""
    other = {entry.path for entry in entries if entry.path is not None and entry.shown and not entry.again}
    return {entry.path for entry in entries if entry.path is not None and entry.again} - other
