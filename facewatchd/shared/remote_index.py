"""The index of an archive whose graph does not fit this machine's memory: the shared engine, held against the catalog.

Nothing is kept here but a count. A question goes to the engine, for the faces of this machine alone, and what it gives
is made true of the catalog:

- **What the engine has and the catalog lacks** is left out: the embedding of each face that it names is read from the
  catalog, and compared there. So a similarity is exact, although the engine keeps half precision, for which it is asked
  from a slightly lower threshold on (`MARGIN`), and nothing that is written in the engine can make a wrong answer.
- **What the catalog has and the engine lacks** is read from the catalog and compared: the faces of the contents that
  are in the outbox, and of those that are not sent, as no photo shows them or faces of them are to be found again
  (`OutboxReader.unsent`).

**That nothing else is lacking** the lineage tells (`store.outbox`): with its answer the engine says which push it holds
last. Where that is one of those that the catalog noted, the engine holds whatever is not in the outbox. Else one of the
two is a backup that was restored, this machine was removed, or another process sends in its name.

**A change during a question.** The outbox and the lineages are read before the engine is asked and after it. A content
that is in neither list was sent before the question. To be lost, it would have to be sent as gone, and once more, in
between; then the engine's lineage is in neither reading, and the engine is asked again.

**Otherwise every face is compared** with the catalog's rows (`CatalogIndex`): where the engine does not answer in time,
holds another lineage, is still to get everything, or gives as many faces as it was asked for. That is slow, and never
wrong; `status` says so, and work that asks for many faces waits meanwhile (`Status.is_slow`).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from facewatchd.shared.link import Link, LinkError
from facewatchd.shared.values import Detail, Near, Whose
from facewatchd.store import index
from facewatchd.store.catalog import Catalog
from facewatchd.store.catalog_index import CatalogIndex
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.index import Above, Embeddings, Ids, KeepOn, Status, Upkeep, always, compared
from facewatchd.text import counted

if TYPE_CHECKING:
    from facewatchd.store.embedded import Embedded
    from facewatchd.values import Embedding

log = logging.getLogger(__name__)

MARGIN: Final = 0.001
"""By how much the engine is asked for less. It rounds both embeddings to 11 bits, so a similarity errs by at most
2 * 2**-11 = 0.00098; by up to 0.00017 as measured (`FoundFace.embedding`)."""
MOST: Final = 100_000
"""Faces of one question, for each embedding. Above that, to compare all of the catalog is not much slower."""
MOST_UNSENT, UNSENT_OF = 5000, 64
"""Every face is compared where more contents than these, and than one for so many faces, are unsent."""
ATTEMPTS: Final = 3
"""Questions to the engine, where its lineage is unknown: a push may have ended just then."""
AGAIN_AFTER: Final = 10.0
"""Seconds in which only `maintain` asks an engine that gave no answer: each question would wait for it anew."""
LOST: Final = "the shared engine does not hold what this machine sent last; if this goes on: facewatchd shared resync"
PAGE: Final = 500
"""Contents that are fetched at a time to be held against the catalog, and faces in one statement of SQL."""
TOLERANCE: Final = 2e-3
"""How far a component of an embedding of the engine may be from the catalog's: half precision, of numbers below 1."""


@dataclass(frozen=True, slots=True)
class _Unsent:
    """What is not in the engine at one moment, and which pushes it may hold."""

    contents: frozenset[int]
    lineages: frozenset[str]
    problem: str
    """Why the engine cannot be asked; else empty."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found for one embedding."""

    above: Above
    is_cut: bool
    """Whether the engine has more than it was asked for,"""
    least: float
    """and the least similarity of those that it named."""


class RemoteIndex:
    """An `index.Index` that is the shared engine. Any thread may call all methods but `maintain`."""

    def __init__(
        self,
        catalog: Catalog,
        link: Link,
        *,
        forget_local: Callable[[], object] = lambda: None,
        on_slow: Callable[[], object] = lambda: None,
    ) -> None:
        """``catalog``: it keeps an outbox.

        ``forget_local``: deletes the files of an index of before; called once the engine holds everything.
        ``on_slow``: called when `maintain` is to be called soon, as the engine cannot be asked any more.
        """
        self._catalog = catalog
        self._link = link
        self._forget_local = forget_local
        self._on_slow = on_slow
        self._rows = CatalogIndex(catalog)
        self._lock = threading.Lock()
        with catalog.reading() as reader:
            self._faces = reader.counts().faces
        self._problem: str | None = None
        """Why the engine could not be asked at the last question; None: it was not asked yet."""
        self._away_until = -math.inf
        self._is_local_forgotten = False

    # Changes: they are in the catalog already, and in its outbox

    def add(self, ids: Ids, embeddings: Embeddings) -> None:
        del embeddings
        with self._lock:
            self._faces += len(ids)

    def remove(self, ids: Ids) -> None:
        with self._lock:
            self._faces -= len(ids)

    # Answers

    def above(self, embedding: Embedding, threshold: float, *, exact: bool = False) -> Above:
        return self.above_each(embedding[None], threshold, exact=exact)[0]

    def above_each(self, embeddings: Embeddings, threshold: float, *, exact: bool = False) -> list[Above]:
        found = self._found(embeddings, threshold, MOST, exact=exact) if len(embeddings) else []
        if found is None or any(each.is_cut for each in found):
            return self._rows.above_each(embeddings, threshold)
        return [each.above for each in found]

    def nearest(self, embedding: Embedding, threshold: float, most: int) -> Above:
        # More than are wanted: those that are in the engine alone are left out, and half precision changes the order.
        found = self._found(embedding[None], threshold, 2 * most + 16, exact=False)
        if found is None:
            return self._rows.nearest(embedding, threshold, most)
        (one,) = found
        first = one.above.first(most)
        if one.is_cut and (len(first.ids) < most or first.similarities[-1] < one.least + MARGIN):
            return self.above(embedding, threshold).first(most)
        return first

    def _found(
        self, embeddings: Embeddings, threshold: float, most: int, *, exact: bool, is_probe: bool = False
    ) -> list[_Found] | None:
        """For each of some embeddings the faces from the threshold on; None where the engine cannot tell them."""
        if time.monotonic() < self._away_until and not is_probe:
            return None
        problem = ""
        for _ in range(ATTEMPTS):
            with self._catalog.reading() as reader:
                before = self._unsent(reader)
            if problem := before.problem:
                break
            try:
                near = self._ask(embeddings, threshold, most, exact=exact)
            except LinkError as exc:
                problem = exc.message
                self._away_until = time.monotonic() + AGAIN_AFTER
                break
            self._away_until = -math.inf
            with self._catalog.reading() as reader:
                after = self._unsent(reader)
                if problem := after.problem:
                    break
                if near.lineage in before.lineages | after.lineages:
                    self._note("")
                    return self._read(reader, embeddings, threshold, near, before.contents | after.contents, most)
            problem = LOST
        self._note(problem)
        return None

    def _ask(self, embeddings: Embeddings, threshold: float, most: int, *, exact: bool) -> Near:
        least = min(max(threshold - MARGIN, -1.01), 1.01)
        thresholds = [least] * len(embeddings)
        return self._link.nearest(embeddings, thresholds, most, Whose.OWN, Detail.HITS, exact=exact)

    def _unsent(self, reader: CatalogReader) -> _Unsent:
        most = self._most_unsent()
        contents = reader.outbox.unsent(most + 1)
        problem = ""
        if reader.outbox.rest() is not None or len(contents) > most:
            problem = "photos of this machine are still to be sent"
        elif self._catalog.damaged_faces:
            problem = "rows of faces are damaged in the catalog"
        return _Unsent(frozenset(contents), frozenset(reader.outbox.lineages()), problem)

    def _read(
        self,
        reader: CatalogReader,
        embeddings: Embeddings,
        threshold: float,
        near: Near,
        unsent: frozenset[int],
        most: int,
    ) -> list[_Found]:
        """Compare what the engine found, and what it cannot know, with the catalog's embeddings."""
        named = np.concatenate([hits.face_ids for hits in near.hits]) if near.hits else np.empty(0, np.int64)
        ids = np.union1d(named, np.array(reader.faces_on(sorted(unsent)), np.int64))
        hits = index.Hits(len(embeddings))
        for start in range(0, len(ids), PAGE):
            known, rows = reader.embeddings_of(ids[start : start + PAGE].tolist())
            hits.add(known, compared(rows, embeddings), threshold)
        return [
            _Found(
                above if near.exact else Above(above.ids, above.similarities, exact=False).first(len(above.ids)),
                near.cut and len(asked.face_ids) >= most,
                float(asked.similarities.min(initial=1.0)),
            )
            for above, asked in zip(hits.above(), near.hits, strict=True)
        ]

    # How it stands

    def _note(self, problem: str) -> None:
        with self._lock:
            before, self._problem = self._problem, problem
        if problem and problem != before:
            log.warning("questions are answered from the catalog, which takes longer: %s", problem)
            self._on_slow()
        elif before and not problem:
            log.info("questions are answered by the shared engine again")

    def status(self) -> Status:
        problem = self._problem
        line = (
            f"every face is compared here for each question, and none is put into a group: {problem}" if problem else ""
        )
        overdue = bool(problem) or not self._is_local_forgotten
        return Status(self._faces, 0, ready=True, overdue=overdue, problem=line, is_slow=bool(problem))

    def maintain(self, upkeep: Upkeep, *, rebuild: bool = False, last: bool = False) -> None:
        """Look how the engine stands; delete the files of an index of before once it holds everything.

        It holds everything where the outbox is empty and the engine has the lineage of the catalog.

        ``rebuild``: have everything compared with the engine and sent where it differs.
        """
        if last:
            return
        if rebuild and (outbox := self._catalog.outbox) is not None:
            upkeep.on_writer(lambda keep_on: outbox.mark_all())
        probe = np.zeros((1, self._catalog.dim), np.float32)
        probe[0, 0] = 1.0
        self._found(probe, 1.0, 1, exact=False, is_probe=True)
        if not (self._problem or self._is_local_forgotten):
            with self._catalog.reading() as reader:
                self._is_local_forgotten = not reader.outbox.count()
            if self._is_local_forgotten:
                self._forget_local()

    def differences(self, keep_on: KeepOn = always) -> list[str]:
        """Hold every embedding of the engine against the catalog's, of the contents that are sent."""
        self.maintain(Upkeep())
        missing = differing = 0
        after: int | None = 0
        try:
            while after is not None and keep_on() and not self._problem:
                with self._catalog.reading() as reader:
                    contents, after = reader.embedded(after, PAGE)
                suspects = self._differing([each.digest for each in contents])
                # What is recorded or sent meanwhile differs too: only what still does is a finding.
                found = self._differing(list(suspects)) if suspects else {}
                missing += sum(not is_there for is_there in found.values())
                differing += sum(found.values())
        except LinkError as exc:
            self._note(exc.message)
        lines = []
        if self._problem:
            lines.append(f"the shared engine cannot be compared with the catalog now: {self._problem}")
        if missing:
            lines.append(f"{counted(missing, 'photo is', 'photos are')} missing from the shared engine")
        if differing:
            photos = counted(differing, "photo has", "photos have")
            lines.append(f"{photos} other faces in the shared engine than in the catalog")
        return lines

    def _differing(self, digests: Sequence[bytes]) -> dict[bytes, bool]:
        """Those of some contents that the engine has not as the catalog has them, and whether it has them at all.

        Raises `LinkError`.
        """
        there = {each.digest: each for each in self._link.contents(digests, whose=Whose.OWN).contents}
        found: dict[bytes, bool] = {}
        with self._catalog.reading() as reader:
            unsent = set(reader.digests(reader.outbox.unsent(self._most_unsent())).values())
            for digest in set(digests) - unsent:
                shown = reader.shown(digest)
                if shown is not None and not (digest in there and _are_alike(there[digest], shown.embedded)):
                    found[digest] = digest in there
        return found

    def _most_unsent(self) -> int:
        return max(MOST_UNSENT, self._faces // UNSENT_OF)


def _are_alike(one: Embedded, other: Embedded) -> bool:
    """Whether two hold the same faces, but for what half precision changes."""
    rows, others = (np.array([face.embedding for face in each.faces]) for each in (one, other))
    return rows.shape == others.shape and float(np.abs(rows - others).max(initial=0.0)) <= TOLERANCE
