"""The ``verify`` method: compares disk, catalog and index with each other, every stamp and every vector."""

from __future__ import annotations

import os

from facewatchd.api.parameters import VerifyParameters
from facewatchd.indexing.maintenance import IndexMaintenance
from facewatchd.indexing.writer import Writer
from facewatchd.scan.compare import compare
from facewatchd.scan.roots import Roots
from facewatchd.scan.walk import walk
from facewatchd.scan.work_queue import WorkQueue
from facewatchd.store.catalog import Catalog
from facewatchd.store.gallery import Gallery
from facewatchd.store.graph import UnreachableError
from facewatchd.text import printable
from facewatchd.threads.bounded_calls import NotAnsweringError
from facewatchd.values import RootState, Stamp

SHOWN = 20
"""Findings of one kind that are named; the rest is only counted."""


class Verifier:
    """Finds differences, and repairs them where asked to."""

    def __init__(
        self, gallery: Gallery, roots: Roots, queue: WorkQueue, writer: Writer, maintenance: IndexMaintenance
    ) -> None:
        self._gallery = gallery
        self._catalog: Catalog = gallery.catalog
        self._roots = roots
        self._queue = queue
        self._writer = writer
        self._maintenance = maintenance

    def verify(self, params: VerifyParameters) -> dict[str, object]:
        """Return what `check` finds."""
        return self.check(repair=params.repair)

    def check(self, *, repair: bool) -> dict[str, object]:
        """Return ``photos``, ``faces``, ``problems`` (a line each), ``count`` of them, ``skipped`` and ``repaired``.

        Paths that wait in the queue are not findings, nor is anything below a directory that is out of reach: those
        directories are ``skipped``. Repairing queues the paths and builds the index anew; SQLite's own findings cannot
        be repaired. A root that stops answering while it is walked is skipped as well.
        """
        with self._catalog.reading() as reader:
            damage = [f"the catalog: {finding}" for finding in reader.check()]
            counts = reader.counts()
        paths, silent = self._disk()
        index = self._index()
        if repair:
            for path in paths:
                self._queue.touch(path, settle=False)
            if index:
                self._maintenance.rebuild()
        problems = damage + _lines(paths) + index
        return {
            "photos": counts.photos,
            "faces": counts.faces,
            "problems": problems,
            "count": len(damage) + len(paths) + len(index),
            "skipped": self._skipped(silent),
            "repaired": repair and bool(paths or index) and not damage,
        }

    def _skipped(self, silent: list[bytes]) -> list[str]:
        roots = [printable(root) for root in self._roots.paths if root in silent or not self._believed(root)]
        inside = [printable(directory) for directory in self._roots.out_of_reach()]
        more = [f"and {len(inside) - SHOWN} more directories"] if len(inside) > SHOWN else []
        return roots + inside[:SHOWN] + more

    def _index(self) -> list[str]:
        """A line for each kind of difference between index and catalog.

        The writer goes on meanwhile, so a difference may only be a record that was written during the comparison. Only
        where one is found, the writer's thread compares once more, between two records.
        """
        try:
            if not self._gallery.index.differences():
                return []
        except UnreachableError:
            pass  # a face was deleted during the comparison
        found: list[str] = []
        self._writer.call(lambda gallery: found.extend(gallery.index.differences(self._writer.goes_on)))
        return found

    def _disk(self) -> tuple[dict[bytes, str], list[bytes]]:
        """Paths whose record differs from the disk, each with the reason; and roots that did not answer."""
        wrong: dict[bytes, str] = {}
        silent: list[bytes] = []
        for root in self._roots.paths:
            if self._believed(root):
                try:
                    wrong |= self._root(root)
                except NotAnsweringError:
                    silent.append(root)
        return wrong, silent

    def _believed(self, root: bytes) -> bool:
        return self._roots.state(root) is RootState.WATCHING

    def _still(self, path: bytes) -> bool:
        """Whether the path differs at a second look: it may have been recorded during the walk."""
        with self._catalog.reading() as reader:
            recorded = reader.stamp(path)

        def look() -> bool:
            try:
                stamp = Stamp.of(os.stat(path))
            except OSError:
                return recorded is not None and self._roots.may_forget(path, recorded)
            return not stamp.same_bytes(recorded)

        return self._roots.calls.run(path, look)

    def _root(self, root: bytes) -> dict[bytes, str]:
        wrong: dict[bytes, str] = {}
        seen: set[bytes] = set()
        unreadable = False
        for listing in self._roots.calls.each(root, walk(root, self._roots.exclusion)):
            unreadable |= listing.error is not None
            seen.add(listing.directory)
            with self._catalog.reading() as reader:
                difference = compare(listing.files, reader.recorded(listing.directory))
            wrong |= dict.fromkeys(difference.examine, "not as it was recorded")
            if listing.error is None:
                wrong |= dict.fromkeys(difference.gone, "recorded, but gone")
        with self._catalog.reading() as reader:
            for directory in reader.directories(root) if not unreadable else []:
                if directory not in seen:
                    wrong |= dict.fromkeys(reader.recorded(directory), "recorded, but gone")
        return {path: reason for path, reason in wrong.items() if path not in self._queue and self._still(path)}


def _lines(paths: dict[bytes, str]) -> list[str]:
    lines = [f"{printable(path)}: {reason}" for path, reason in list(paths.items())[:SHOWN]]
    more = len(paths) - SHOWN
    return lines + ([f"and {more} more files"] if more > 0 else [])
