"""The thread that puts faces into groups (`people.groups`), and looks again at those of which something was said.

Everything else goes first (`IdleThread`): while photos come in, new faces wait. A piece of its work is some `BATCH`
faces, which are looked at, and then written in one transaction. What was not written when the daemon ended is looked
at again. At the start, and where changes of the catalog were missed, all faces are read from the catalog, without
their embeddings: 0.6 s for 600,000. Faces are looked at only while the index is ready.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from facewatchd.indexing.idle_thread import IdleThread, Parts
from facewatchd.people.groups import Groups, Said
from facewatchd.people.known import KnownFaces
from facewatchd.store.gallery import Gallery
from facewatchd.store.hub import Change, MissedChangesError
from facewatchd.store.index import Ids

BATCH = 64
"""Faces that are looked at, and written, at once: 0.2 s for 600,000 faces."""


class GallerySource:
    """Faces of a gallery, for `Groups`."""

    def __init__(self, gallery: Gallery, are_children: Callable[[NDArray[np.float32]], NDArray[np.bool_]]) -> None:
        self._gallery = gallery
        self.are_children = are_children

    def embeddings(self, faces: Sequence[int]) -> tuple[Ids, NDArray[np.float32]]:
        with self._gallery.catalog.reading() as reader:
            return reader.embeddings_of(faces)

    def nearest(self, embedding: NDArray[np.float32], threshold: float, most: int) -> Ids:
        return self._gallery.index.nearest(embedding, threshold, most).ids


class GroupFaces(IdleThread[list[int]]):
    """A piece of its work is a list of faces."""

    name = "groups"
    has_small_pieces = True

    def __init__(
        self, parts: Parts, groups: Groups, known: Callable[[], KnownFaces], written: Callable[[], object]
    ) -> None:
        """``known``: what the user said. ``written``: called after faces were looked at."""
        super().__init__(parts)
        self._groups = groups
        self._known = known
        self._written = written
        self._changes = parts.gallery.hub.subscribe(embeddings=False)
        self._is_loaded = False
        self._said_of: KnownFaces | None = None
        self._again: set[int] = set()
        """Faces of which something was said since they were looked at."""

    def stop(self) -> None:
        super().stop()
        self._changes.close()

    def _next(self) -> list[int] | None:
        self._follow()
        status = self._gallery.index.status()
        if not status.ready or status.is_slow:
            return None
        return sorted(self._again)[:BATCH] or self._groups.unseen(BATCH) or None

    def _work_on(self, faces: list[int], /) -> None:
        for face in faces:
            self._groups.place(face)
            self._liveness.beat()
        self._write()
        self._again.difference_update(faces)
        self._written()

    def _write(self) -> None:
        """Write what has changed, and show it."""
        if changes := self._groups.changes():
            self._liveness.rest()  # as `Dates` does
            last = self._groups.last
            self._writer.insist(lambda gallery: gallery.catalog.record_groups(changes, last))
        self._groups.publish()

    def _follow(self) -> None:
        """Take over what has changed in the catalog, and what was said."""
        try:
            changes = self._changes.take(0)
        except MissedChangesError:
            self._is_loaded = False
            return self._follow()
        if not self._is_loaded:
            with self._gallery.catalog.reading() as reader:
                self._groups.load(reader.every_face(), *reader.grouped())
            self._is_loaded, self._said_of = True, None
        elif changes:
            self._apply(changes)
        self._hear()
        return None

    def _apply(self, changes: Sequence[Change]) -> None:
        added = [face for change in changes for face in change.added]
        removed = [face for change in changes for face in change.removed]
        if added:
            with self._gallery.catalog.reading() as reader:
                self._groups.add(reader.sizes_of(added))
        self._groups.remove(removed)
        self._again.difference_update(removed)
        if added or removed:
            self._write()

    def _hear(self) -> None:
        """Take over what the user said."""
        known = self._known()
        if known is self._said_of:
            return
        begins = self._said_of is None
        not_of: dict[int, set[int]] = {}
        for person, faces in known.rejected.items():
            for face in faces:
                not_of.setdefault(face, set()).add(person)
        frozen = {face: frozenset(people) for face, people in not_of.items()}
        said = Said(known.person_of, frozen, known.ignored_in_group)
        self._again |= self._groups.begin(said) if begins else self._groups.follow(said)
        self._said_of = known
