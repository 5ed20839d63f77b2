"""The index of the daemon: a graph in memory, its checkpoint on the disk, and exact answers beside it.

**An answer.** A search for a person wants every face from a threshold on, and hnswlib gives the ``k`` most alike. So
``k`` grows until the last of them is below the threshold (`_broadened`). A person who is on very many photos is found
more surely, and soon also faster, by comparing all faces (`MANY`). Then, where an exact answer is asked for, and while
there is no graph, `ExactSearch` does that, from the checkpoint's file and from memory. Where it cannot, the catalog's
own rows are read, and the graph is then asked for up to half of all faces.

**At the start** (`prepared`) the checkpoint is used if its digest is right and each of its embeddings is that of the
catalog: all are compared, as two faces that a restored catalog numbered the other way round are found by no sample.
Exact answers come from the file from then on. Then hnswlib loads it, what the catalog has and the graph lacks is added,
what the catalog lacks is deleted, and the graph is used (`adopt`). Without a checkpoint the graph is built anew.

**Tombstones.** hnswlib only marks what is deleted. The graph is built anew beside the old one when tombstones are many
(`REBUILD_AT`), or old (`PURGE_AFTER`): they are embeddings of deleted faces, and lie in the file too.

**Failure.** The catalog is written first and is right. A graph of which a change fails is given up and made again from
the catalog, while answers are exact. Where a change of `ExactSearch` fails, exact answers come from the catalog until
the next checkpoint.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facewatchd.errors import DamagedError
from facewatchd.store.catalog import Catalog
from facewatchd.store.catalog_index import CatalogIndex
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.checkpoint import Checkpoint, Origin
from facewatchd.store.exact import ExactSearch
from facewatchd.store.graph import SAME, Graph, UnreachableError
from facewatchd.store.index import Above, Embeddings, Ids, KeepOn, Status, Upkeep, always
from facewatchd.store.schedule import CheckpointSchedule
from facewatchd.store.stored import StoredVectors
from facewatchd.text import counted, one_line

if TYPE_CHECKING:
    from facewatchd.values import Embedding

log = logging.getLogger(__name__)

FIRST_K = 256
SMALL_K = 64
GROWTH = 2.5
"""How many neighbours are asked for first, fewer of few faces, and by how much more each time the last was still above
the threshold. Up to `graph.EF` of them cost nothing."""
MANY, MANY_OF = 1000, 64
"""Every face is compared instead of asking for more than so many neighbours and than one in so many of all faces. Of
the first neighbours of a person with 7,480 among 120,000 faces, hnswlib finds 0.997 of 640, 0.984 of 1,600, 0.950 of
4,000 and 0.93 of 10,000, in 2, 3, 5 and 29 ms of processor time; to compare all takes 26 ms (the album of
`tests.benchmarks.combining`)."""
FEW = 8
"""Where the first answer has fewer faces above the threshold, more are asked for, which makes hnswlib's search broader.
Of a million faces, one in a thousand of the people who are on few photos is not found at first, one in six thousand
then."""
IDLE = 6
"""References of one person, in a row, that find nothing new, after which no more is asked for. Of 14 people on some 400
photos each, with 50 references, among 200,000 made-up faces: 6 find 0.9990 of the faces in 53 ms of a processor, 4 find
0.9978 in 46, and to ask for more with all of them finds 0.9995 in 126."""
BATCH = 512
"""Faces in one statement of SQL."""
REBUILD_AT = 0.2
"""Share of tombstones from which the graph is built anew: above it hnswlib loses recall (and at 0.99 it crashed)."""
REBUILD_FROM = 500
"""Fewer tombstones never ask for it: a small index is searched exactly anyway."""
PURGE_AFTER = 24 * 3600.0
"""Seconds after which a graph with any tombstone is built anew."""
TOLERANCE = 1e-3
"""How far a component of a stored embedding may be from the catalog's: hnswlib scales them to unit length again."""


class HnswIndex:
    """An `index.Index`. Whatever is missing in it is read from the catalog."""

    def __init__(self, catalog: Catalog, directory: Path, threads: int = 1) -> None:
        """``threads`` of the process answer one question exactly."""
        self._catalog = catalog
        self._dim = catalog.dim
        self._checkpoint = Checkpoint(directory)
        self._schedule = CheckpointSchedule()
        self._graph: Graph | None = None
        self._threads = threads
        self._exact = ExactSearch(self._dim, self._catalogued, SAME, threads)
        self._rows = CatalogIndex(catalog)

    def _catalogued(self, ids: Iterable[int]) -> tuple[Ids, Embeddings]:
        with self._catalog.reading() as reader:
            return reader.embeddings_of(ids)

    # Changes

    def add(self, ids: Ids, embeddings: Embeddings) -> None:
        self._change_graph(lambda graph: graph.add(ids, embeddings))
        # After the graph: `ExactSearch` allows for a face in both, not in neither.
        self._change_exact(lambda exact: exact.add(ids, embeddings))

    def remove(self, ids: Ids) -> None:
        self._change_graph(lambda graph: self._delete(graph, ids))
        self._change_exact(lambda exact: exact.remove(ids))

    def _change_graph(self, change: Callable[[Graph], object]) -> None:
        graph = self._graph
        if graph is None:
            return
        try:
            if not graph.tombstones:
                graph.clean_at = time.time()
            change(graph)
        except Exception as exc:  # noqa: BLE001 - whatever it is: the catalog is right, and the graph can be made again
            log.error("the index failed (%s): it is built again from the catalog", one_line(exc))
            self._graph = None

    def _change_exact(self, change: Callable[[ExactSearch], object]) -> None:
        try:
            change(self._exact)
        except Exception as exc:  # noqa: BLE001 - as above
            log.error("exact answers come from the catalog until the index is saved again: %s", one_line(exc))
            self._exact.forget()

    def _delete(self, graph: Graph, ids: Ids) -> None:
        """Delete faces from a graph. A node that stands for other faces too is replaced by one of those."""
        successors = graph.successors(ids)
        while len(successors):
            there, embeddings = self._catalogued(successors.tolist())
            if len(there) == len(successors):
                return graph.delete(ids, there, embeddings)
            ids = np.union1d(ids, np.setdiff1d(successors, there))  # they were removed from the catalog meanwhile
            successors = graph.successors(ids)
        return graph.delete(ids)

    # Answers

    def above(self, embedding: Embedding, threshold: float, *, exact: bool = False) -> Above:
        graph = self._graph
        found = None if exact or graph is None else _broadened(graph, embedding, threshold, self._most(graph))
        return found or self._compared(embedding[None], threshold)[0]

    def above_each(self, embeddings: Embeddings, threshold: float, *, exact: bool = False) -> list[Above]:
        graph = self._graph
        if exact or graph is None:
            return self._compared(embeddings, threshold)
        found = _together(graph, embeddings, threshold, self._threads, self._most(graph))
        rest = [at for at, above in enumerate(found) if above is None]
        if rest:
            for at, above in zip(rest, self._compared(embeddings[rest], threshold), strict=True):
                found[at] = above
        return [above for above in found if above is not None]

    def nearest(self, embedding: Embedding, threshold: float, most: int) -> Above:
        graph = self._graph
        if graph is not None and most <= graph.nodes // 2:
            with contextlib.suppress(UnreachableError):
                ids, similarities = graph.nearest(embedding, most)
                near = similarities >= threshold
                return Above(ids[near], similarities[near], exact=False).first(most)
        return self.above(embedding, threshold).first(most)

    def _most(self, graph: Graph) -> int:
        """The most neighbours that the graph is asked for."""
        half = graph.nodes // 2
        return min(half, max(MANY, graph.nodes // MANY_OF)) if self._exact.ready else half

    def _compared(self, embeddings: Embeddings, threshold: float) -> list[Above]:
        """Compare each embedding with every face."""
        return self._exact.above_each(embeddings, threshold) or self._rows.above_each(embeddings, threshold)

    def status(self) -> Status:
        graph = self._graph
        if graph is None:
            return Status(0, 0, ready=False, overdue=True)
        return Status(len(graph), graph.tombstones, ready=True, unsaved=graph.unsaved, overdue=_worn(graph))

    # Maintenance (one thread)

    def maintain(self, upkeep: Upkeep, *, rebuild: bool = False, last: bool = False) -> None:
        status = self.status()
        if last:
            if self._schedule.is_due_last(status.unsaved, status.faces):
                self.checkpoint(upkeep.keep_on)
        elif rebuild or status.overdue:
            if status.ready:
                log.info("the index is built anew%s", "" if rebuild else ": it holds many deleted faces, or old ones")
            graph = self.prepared(upkeep.paced(), anew=rebuild, threads=upkeep.threads)
            if graph is not None:
                upkeep.on_writer(lambda keep_on: self.adopt(graph, keep_on))
        elif self._schedule.is_due(status.unsaved, status.faces):
            self.checkpoint(upkeep.keep_on)

    def prepared(self, keep_on: KeepOn = always, *, anew: bool = False, threads: int = 1) -> Graph | None:
        """A graph that is level with the catalog: the one on the disk, checked and caught up, or one built anew.

        It is built anew where there is one already. Searches and recording go on meanwhile. None where ``keep_on``
        ended it.
        """
        graph = None if anew or self._graph is not None else self._load(keep_on)
        if graph is None or graph.tombstones > graph.nodes:  # else it will do until a new one is built
            graph = Graph(self._dim)
        return graph if keep_on() and self._catch_up(graph, keep_on, threads) else None

    def adopt(self, graph: Graph, keep_on: KeepOn = always) -> None:
        """Use what was `prepared`, once it has what was recorded meanwhile. On the thread that calls `add`."""
        if self._catch_up(graph, keep_on, threads=1):
            self._graph = graph

    def level(self, keep_on: KeepOn = always, *, anew: bool = False) -> None:
        """`prepared` and `adopt` in one, while nothing is recorded."""
        if (graph := self.prepared(keep_on, anew=anew)) is not None:
            self.adopt(graph, keep_on)

    def _load(self, keep_on: KeepOn) -> Graph | None:
        with self._catalog.reading() as reader:
            origin = Origin(self._catalog.uuid, reader.last_face_id())
        try:
            stored = self._checkpoint.open(self._dim, origin)
            with self._catalog.reading() as reader:
                compared = _compare(reader, stored, keep_on)
            if not compared:
                return None
            self._answer_from(stored)
            return self._checkpoint.load(self._dim)
        except (DamagedError, OSError) as exc:
            self._exact.forget()
            self._checkpoint.discard()
            if origin.last_face_id:
                log.warning("%s: it is built again from the catalog", getattr(exc, "message", exc))
            self._answer_from(None)
            return None

    def _answer_from(self, stored: StoredVectors | None) -> None:
        """Answer exactly from a file, and from memory for what the catalog has beside it."""
        self._exact.begin()
        with self._catalog.reading() as reader:
            recorded = reader.face_ids()
        held = np.empty(0, np.int64) if stored is None else stored.live_ids()
        if stored is not None:
            stored.remove(np.setdiff1d(held, recorded, assume_unique=True))
        self._exact.use(stored, np.setdiff1d(recorded, held, assume_unique=True))

    def _catch_up(self, graph: Graph, keep_on: KeepOn, threads: int) -> bool:
        """Delete what the catalog lacks and add what it has; False when ``keep_on`` ended it.

        It is read in parts, and not in one state of the catalog: hours of building would keep SQLite's log from being
        emptied.
        """
        with self._catalog.reading() as reader:
            recorded = reader.face_ids()
        self._delete(graph, np.setdiff1d(graph.live_ids(), recorded, assume_unique=True))
        missing = np.setdiff1d(recorded, graph.labels(), assume_unique=True)
        for start in range(0, len(missing), BATCH):
            ids, embeddings = self._catalogued(missing[start : start + BATCH].tolist())
            graph.add(ids, embeddings, threads)
            if not keep_on():
                return False
        return True

    def checkpoint(self, keep_on: KeepOn = always) -> None:
        """Write the graph to the disk if it changed since it was written last. Raises `StorageError`."""
        graph = self._graph
        if graph is None or not graph.unsaved:
            return
        with self._catalog.reading() as reader:
            origin = Origin(self._catalog.uuid, reader.last_face_id())
        started = time.monotonic()
        try:
            self._checkpoint.save(graph, origin, keep_on, self._exact.begin)
            self._exact.use(self._checkpoint.stored(self._dim))
        finally:
            self._exact.abandon()
            self._schedule.saved(time.monotonic() - started)

    def differences(self, keep_on: KeepOn = always) -> list[str]:
        """See `Index.differences`. Raises `UnreachableError` for a face that is deleted meanwhile."""
        graph = self._graph
        if graph is None:
            return ["the index is not there yet"]
        with self._catalog.reading() as reader:
            recorded, live = reader.face_ids(), graph.live_ids()
            wrong = 0
            for ids, embeddings in reader.embeddings(BATCH):
                if not keep_on():
                    break
                there = np.isin(ids, live, assume_unique=True)
                if there.any():
                    stored = graph.get(ids[there])
                    wrong += int(np.count_nonzero(np.abs(stored - embeddings[there]).max(axis=1) > TOLERANCE))
        lines = [
            f"{counted(len(ids), 'face')} {'is' if len(ids) == 1 else 'are'} {what} the index"
            for what, ids in (
                ("missing from", np.setdiff1d(recorded, live, assume_unique=True)),
                ("left over in", np.setdiff1d(live, recorded, assume_unique=True)),
            )
            if len(ids)
        ]
        if wrong:
            lines.append(f"{counted(wrong, 'vector')} of the index {'is' if wrong == 1 else 'are'} not the catalog's")
        return lines


def _broadened(graph: Graph, embedding: Embedding, threshold: float, most: int) -> Above | None:
    """Every face from the threshold on, by asking for more and more neighbours, at last ``most``.

    None where all faces are to be compared.
    """
    k = min(FIRST_K, max(SMALL_K, graph.nodes // 4))
    while k <= most:
        try:
            ids, similarities = graph.nearest(embedding, k)
        except UnreachableError:
            return None
        above = int(np.count_nonzero(similarities >= threshold))
        more = int(k * GROWTH)
        if above < len(ids) and (above >= FEW or k > FIRST_K or more > most):
            return Above(ids[:above], similarities[:above], exact=False)
        k = more
    return None


def _together(graph: Graph, embeddings: Embeddings, threshold: float, threads: int, most: int) -> list[Above | None]:
    """`_broadened` for each of several embeddings of one person, for whom it is enough that one finds a face.

    At first all of them are searched for at once, with several threads. Where the last neighbour of one is above the
    threshold, more are asked for: the denser the faces lie around it, the sooner. Of a person on many photos that is so
    for most, and nearly all that one would still find another has found. So it ends when `IDLE` of them in a row have
    found nothing new.
    """
    k = min(FIRST_K, max(SMALL_K, graph.nodes // 4))
    try:
        first = graph.nearest_each(embeddings, k, threads) if k <= most else []
    except UnreachableError:
        first = []
    if not first:
        return [_broadened(graph, embedding, threshold, most) for embedding in embeddings]
    found: list[Above | None] = []
    for ids, similarities in first:
        above = int(np.count_nonzero(similarities >= threshold))
        found.append(Above(ids[:above], similarities[:above], exact=False))
    crowded = [at for at, (ids, similarities) in enumerate(first) if similarities[-1] >= threshold]
    crowded.sort(key=lambda at: -float(first[at][1][-1]))
    known = {face_id for ids, similarities in first for face_id in ids[similarities >= threshold].tolist()}
    idle = 0
    for at in crowded:
        found[at] = more = _broadened(graph, embeddings[at], threshold, most)
        new = set() if more is None else set(more.ids.tolist()) - known
        known |= new
        idle = 0 if new or more is None else idle + 1
        if idle == IDLE:
            break
    return found


def _compare(reader: CatalogReader, stored: StoredVectors, keep_on: KeepOn) -> bool:
    """Hold every embedding of a file against the catalog; False when ``keep_on`` ended it.

    Raises `DamagedError` for one that differs, and for a deleted face that the catalog has again.
    """
    for labels, embeddings in stored.blocks():
        duplicates, at = stored.duplicates(labels)
        ids, rows = np.concatenate([labels, duplicates]), np.concatenate([np.arange(len(labels)), at])
        for start in range(0, len(ids), BATCH):
            part = slice(start, start + BATCH)
            known, expected = reader.embeddings_of(ids[part].tolist())
            if stored.is_removed(known).any():
                raise DamagedError("faces that were deleted are back in the catalog")
            order = np.argsort(ids[part])
            found = rows[part][order[np.searchsorted(ids[part], known, sorter=order)]]
            gaps = np.abs(embeddings[found] - expected)
            if not gaps.max(initial=0.0) <= TOLERANCE:  # nor where one is not a number
                raise DamagedError("the index holds other faces than the catalog")
        if not keep_on():
            return False
    return True


def _worn(graph: Graph) -> bool:
    dead = graph.tombstones
    if dead and time.time() - graph.clean_at > PURGE_AFTER:
        return True
    return dead >= REBUILD_FROM and dead > REBUILD_AT * (dead + graph.nodes)
