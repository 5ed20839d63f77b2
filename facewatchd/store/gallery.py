"""Photos and faces: the catalog, and the index that follows it.

The catalog is written first, then the index follows, then the change is published to the hub. What a crash leaves
between catalog and index is made up for by `Index.maintain`. The writer's thread alone calls what changes both
(`record`, `record_shown`, `adopt`, `set_aside`, `collect`); any thread may search.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from facewatchd.errors import RefusedError
from facewatchd.models.base import is_unit
from facewatchd.photos import crops
from facewatchd.photos.crops import Thumbnail
from facewatchd.store.catalog import KEEP_ORPHANS, Catalog, Changes, Outcome
from facewatchd.store.embedded import Embedded
from facewatchd.store.hub import Change, Hub
from facewatchd.store.index import Index
from facewatchd.store.thumbnails import ThumbnailStore
from facewatchd.values import Face, Ways


class Gallery:
    def __init__(self, catalog: Catalog, index: Index, thumbnails: ThumbnailStore | None = None) -> None:
        self.catalog = catalog
        self.index = index
        self.thumbnails = thumbnails
        """None: pictures are not kept."""
        self.hub = Hub()
        """Says what each transaction changed."""
        self.changed = threading.Event()
        """Set when the index changes, or a damaged face is read, for the thread that maintains both."""
        self.is_named: Callable[[bytes], bool] = lambda digest: False
        """Whether the user said something of a content, by its digest: then it stays also without a photo."""
        self.on_same: Callable[[Sequence[tuple[bytes, bytes]]], object] = lambda pairs: None
        """Called with `Changes.same`, on the thread that records."""
        catalog.on_damaged_face = self.changed.set

    def record(self, outcomes: Sequence[Outcome]) -> set[bytes]:
        """Record in one transaction what was found of some paths; return those to look at again: `Changes.unknown`.

        Raises `RefusedError` for an embedding that is not one of this model, and what `Catalog.record` raises.
        """
        self._require_embeddings(face for outcome in outcomes for face in outcome.faces or ())
        changes = self.catalog.record(outcomes)
        if changes.same:
            self.on_same(changes.same)
        paths = [outcome.path for outcome in outcomes]
        self._follow(changes, [path for path in paths if path and path not in changes.unknown])
        return changes.unknown

    def keep_thumbnails(self, digest: bytes, faces: Sequence[Face], thumbnails: Sequence[Thumbnail]) -> None:
        """Keep the pictures of a content that `crops.while_indexing` names, if there is room. Any thread may call."""
        if self.thumbnails is not None and thumbnails:
            made = crops.while_indexing(face.box for face in faces)
            self.thumbnails.fill(digest, list(zip(made, thumbnails, strict=True)))

    def forget_thumbnails(self, hidden_since: float) -> None:
        """Delete the pictures of contents that no photo shows, and none has shown since a time. Any thread may call."""
        if self.thumbnails is not None:
            with self.catalog.reading() as reader:
                hidden = reader.hidden(hidden_since)
            self.thumbnails.remove(hidden)

    def forget_strange_thumbnails(self) -> None:
        """Delete the pictures of contents that the catalog does not know. Any thread may call."""
        if self.thumbnails is not None:
            kept = self.thumbnails.digests()
            with self.catalog.reading() as reader:
                kept -= reader.known_digests(kept)
            self.thumbnails.remove(kept)

    def record_shown(self, outcome: Outcome) -> None:
        """Record the content of a photo that a client showed, without its path, where it is not known yet.

        Raises as `record` does.
        """
        assert outcome.digest is not None
        with self.catalog.reading() as reader:
            known = reader.has_content(outcome.digest)
        if not known:
            self.record([outcome])

    def record_second_look(self, digest: bytes, ways: Ways, found: Sequence[Face] | None) -> int:
        """Record what a second look at a content found (`Catalog.record_second_look`); return how many faces are new.

        Raises `RefusedError` as `record` does.
        """
        self._require_embeddings(found or ())
        changes = self.catalog.record_second_look(digest, ways, found)
        paths: list[bytes] = []
        if changes.added:
            with self.catalog.reading() as reader:
                content_id = reader.content(digest)
                paths = [] if content_id is None else reader.copies([content_id]).get(content_id, [])
        self._follow(changes, paths)
        return len(changes.added)

    def adopt(self, contents: Sequence[Embedded]) -> int:
        """Record contents that another catalog of this model embedded (`Catalog.adopt`); return how many are new.

        Raises `RefusedError` as `record` does.
        """
        self._require_embeddings(face for content in contents for face in content.faces)
        changes, new = self.catalog.adopt(contents)
        self._follow(changes, [])
        return new

    def _require_embeddings(self, faces: Iterable[Face]) -> None:
        if not all(is_unit(face.embedding, self.catalog.dim) for face in faces):
            raise RefusedError(
                f"an embedding is not {self.catalog.dim} finite numbers of unit length", "please report it"
            )

    def set_aside(self, face_ids: Sequence[int]) -> list[bytes]:
        """Remove faces whose rows are damaged; return the photos that are to be looked at: `Catalog.set_aside`."""
        removed, photos = self.catalog.set_aside(face_ids)
        self._follow(Changes(removed=removed), photos)
        return photos

    def collect(self, older_than: float = KEEP_ORPHANS) -> None:
        """Remove the contents that no photo has shown for so many seconds, with their faces; not those `is_named`."""
        self._follow(Changes(removed=self.catalog.collect_orphans(older_than, self.is_named)), [])
        self.hub.publish(Change(collected=True))

    def _follow(self, changes: Changes, paths: Sequence[bytes]) -> None:
        if changes.removed:
            self.index.remove(np.array(changes.removed, np.int64))
        if changes.stacked is not None:
            self.index.add(np.array(changes.added, np.int64), changes.stacked)
        if changes.added or changes.removed:
            self.changed.set()
        if paths or changes.added or changes.removed:
            self.hub.publish(
                Change(tuple(paths), tuple(changes.added), tuple(changes.embeddings), tuple(changes.removed))
            )
