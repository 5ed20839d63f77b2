"""The photos of other machines beside those of the catalog, for one question.

**One answer, not two.** What the shared engine found is not answered for by itself and merged afterwards: bursts and
copies may lie on several machines, and skip, order and total are of all photos. So the stages of a question
(`store.results`) are carried out once, with a reader and an index that have the contents of other machines beside those
of the catalog. What they say of a photo does not depend on which machine has it.

- Contents and faces of other machines have ids from `ELSEWHERE` on, by their position in the arrays of `Others`.
- A content that the catalog has too, by its digest, is the catalog's: its faces there count, and the photos of other
  machines are further copies of it. So it is found also where no photo of this machine shows it any more.
  Where it has no face there, as before a second look, it counts as one that the catalog lacks.
- A content that several other machines have is that of the one that found most faces on it.
- Embeddings of faces that were not found come when they are read, in one call for all contents: bursts need them, and
  the reasons of an answer. Where that call fails, such a face counts as one whose row is damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facewatchd.matches import Place
from facewatchd.photos.taken import in_name
from facewatchd.shared.values import FoundContent, FoundFace, Near
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.catalog_rows import Looks, Seen, ShownFaces, ShownOn
from facewatchd.store.embedded import Embedded
from facewatchd.store.index import Above, Embeddings, Searchable
from facewatchd.store.result_reader import ELSEWHERE
from facewatchd.values import Face, is_within

if TYPE_CHECKING:
    from facewatchd.values import Embedding

Ids = NDArray[np.int64]
Fetch = Callable[[Sequence[bytes]], Sequence[Embedded]]
"""Returns whole contents by their digests; those that cannot be had are left out."""
_NEVER = (1 << 63) - 1


@dataclass(slots=True)
class _Shown:
    """The photos of other machines that show a content."""

    names: list[bytes] = field(default_factory=list)
    """As `Place.name` has them."""
    written: int = _NEVER
    """When the earliest was last written to, in nanoseconds."""

    def inside(self, directories: Sequence[bytes]) -> list[bytes]:
        """Those in some directories (none given: all)."""
        if not directories:
            return self.names
        return [name for name in self.names if any(is_within(name, each) for each in directories)]

    def named(self, earlier: float | None = None) -> float | None:
        """The earliest date in their names, and one that is known already."""
        return min((date for date in (earlier, *map(in_name, self.names)) if date is not None), default=None)


@dataclass(frozen=True)
class Others:
    """What the engine found that the catalog lacks. c contents, f faces; rows are positions in these arrays."""

    contents: Sequence[FoundContent]
    shown: Sequence[_Shown]
    """The photos of each."""
    copies: Mapping[int, _Shown]
    """The photos that other machines have of contents of the catalog, by id."""
    hits: Mapping[bytes, Above]
    """The faces that are alike to each embedding that was asked for, by its bytes."""
    fetch: Fetch

    @classmethod
    def of(cls, near: Near, asked: Embeddings, reader: CatalogReader, fetch: Fetch) -> Others:
        """Take apart what is known here and what is not.

        ``asked``: the embeddings that ``near`` answers. Shape (m, dim).
        """
        hosts = {machine.key: machine.name for machine in near.machines if not machine.is_self}
        shown: dict[bytes, _Shown] = {}
        chosen: dict[bytes, int] = {}
        for number, content in enumerate(near.contents):
            if (host := hosts.get(content.machine)) is not None:
                photos = shown.setdefault(content.digest, _Shown())
                photos.names += [Place(host, path).name for path in content.paths]
                photos.written = min(photos.written, content.written)
                before = chosen.setdefault(content.digest, number)
                if len(content.faces) > len(near.contents[before].faces):
                    chosen[content.digest] = number
        known = reader.contents_with(shown)
        with_faces = set(reader.shown_on(sorted(known.values())).contents.tolist())
        known = {digest: content for digest, content in known.items() if content in with_faces}
        chosen = {digest: number for digest, number in chosen.items() if digest not in known}
        numbers = list(chosen.values())
        exact = near.exact or not any(machine.faces for machine in near.machines if not machine.is_self)
        return cls(
            [near.contents[number] for number in numbers],
            [shown[digest] for digest in chosen],
            {content: shown[digest] for digest, content in known.items()},
            _hits(near, numbers, asked, exact=exact),
            fetch,
        )

    @cached_property
    def faces(self) -> list[FoundFace]:
        """Those of the contents, in their order. Length f."""
        return [face for content in self.contents for face in content.faces]

    @cached_property
    def begins(self) -> Ids:
        """The first face of each content, and f. Shape (c + 1,)."""
        return _begins(self.contents)

    @cached_property
    def content_rows(self) -> Ids:
        """The content of each face. Shape (f,)."""
        return np.repeat(np.arange(len(self.contents)), np.diff(self.begins))

    @cached_property
    def sizes(self) -> Ids:
        """Pixels of each box's shorter side. Shape (f,)."""
        return np.array([min(face.box.w, face.box.h) for face in self.faces], np.int64)

    @cached_property
    def norms(self) -> NDArray[np.float64]:
        """`Face.norm`, infinite where it is not known. Shape (f,)."""
        return np.array([np.inf if face.norm is None else face.norm for face in self.faces])

    @cached_property
    def embeddings(self) -> dict[int, Embedding]:
        """What is known of them, by the row of the face; `need` adds to it."""
        return {row: face.embedding for row, face in enumerate(self.faces) if face.embedding is not None}

    @cached_property
    def _fetched(self) -> set[int]:
        """Rows of contents that were fetched."""
        return set()

    def with_digests(self, digests: Collection[bytes]) -> frozenset[int]:
        """The ids of the contents with some digests."""
        return frozenset(row + ELSEWHERE for row, each in enumerate(self.contents) if each.digest in digests)

    def faces_on(self, rows: Iterable[int]) -> Ids:
        """The rows of the faces of some contents, in their order."""
        ranges = [np.arange(self.begins[row], self.begins[row + 1]) for row in rows]
        return np.concatenate([np.empty(0, np.int64), *ranges])

    def need(self, rows: Ids) -> None:
        """Fetch the embeddings of some faces, and of all others on their contents, where they are not there."""
        missing = [row for row in rows.tolist() if row not in self.embeddings]
        wanted = set(self.content_rows[missing].tolist()) - self._fetched
        if not wanted:
            return
        self._fetched.update(wanted)
        by_digest = {self.contents[row].digest: row for row in wanted}
        for content in self.fetch(list(by_digest)):
            row = by_digest.get(content.digest)
            if row is None:
                continue
            same = {(face.box, face.look): face.embedding for face in content.faces}
            for face in range(self.begins[row], self.begins[row + 1]):
                found = self.faces[face]
                if (embedding := same.get((found.box, found.look))) is not None:
                    self.embeddings[face] = embedding


def _begins(contents: Sequence[FoundContent]) -> Ids:
    return np.cumsum([0, *(len(content.faces) for content in contents)], dtype=np.int64)


def _hits(near: Near, numbers: Sequence[int], asked: Embeddings, *, exact: bool) -> dict[bytes, Above]:
    """The faces on some contents, by ``numbers``, that are alike to each embedding."""
    begins = np.full(len(near.contents), -1, np.int64)
    begins[list(numbers)] = _begins([near.contents[number] for number in numbers])[:-1]
    found: dict[bytes, Above] = {}
    for embedding, hits in zip(asked, near.hits, strict=True):
        first = begins[hits.contents]
        is_new = first >= 0
        faces = first[is_new] + hits.faces[is_new]
        found[embedding.tobytes()] = Above(faces + ELSEWHERE, np.clip(hits.similarities[is_new], -1.0, 1.0), exact)
    return found


class IndexOfBoth:
    """The faces of the catalog's index, and those of other machines that were asked for."""

    def __init__(self, own: Searchable, others: Callable[[], Others]) -> None:
        """``others``: waits for the engine; so the own index is asked first."""
        self._own = own
        self._others = others

    def above(self, embedding: Embedding, threshold: float, *, exact: bool = False) -> Above:
        return self._joined(self._own.above(embedding, threshold, exact=exact), embedding, threshold)

    def above_each(self, embeddings: Embeddings, threshold: float, *, exact: bool = False) -> list[Above]:
        own = self._own.above_each(embeddings, threshold, exact=exact)
        return [self._joined(above, embedding, threshold) for above, embedding in zip(own, embeddings, strict=True)]

    def _joined(self, own: Above, embedding: Embedding, threshold: float) -> Above:
        found = self._others().hits.get(np.asarray(embedding, np.float32).tobytes())
        if found is None:
            return own
        reach = found.similarities >= threshold
        return Above(
            np.concatenate([own.ids, found.ids[reach]]),
            np.concatenate([own.similarities, found.similarities[reach]]),
            own.exact and found.exact,
        )


class ReaderOfBoth:
    """A `ResultReader` of the catalog and of other machines."""

    def __init__(self, own: CatalogReader, others: Callable[[], Others]) -> None:
        self._own = own
        self._wait = others

    @property
    def _others(self) -> Others:
        return self._wait()

    def beside(self, face_ids: Sequence[int]) -> dict[int, dict[int, Face]]:
        own, rows = _split(face_ids)
        found, others = self._own.beside(own), self._others
        contents = others.content_rows[rows]
        others.need(others.faces_on(contents.tolist()))
        for row, content in zip(rows.tolist(), contents.tolist(), strict=True):
            on_photo = range(others.begins[content], others.begins[content + 1])
            faces = {face + ELSEWHERE: self._face(face) for face in on_photo if face in others.embeddings}
            found[row + ELSEWHERE] = faces
        return found

    def _face(self, row: int) -> Face:
        """A face, whose landmarks are not known."""
        face = self._others.faces[row]
        nothing = np.zeros((5, 2), np.float32)
        embedding = self._others.embeddings[row]
        return Face(face.box, face.score, nothing, embedding, face.norm, face.look, face.sharpness)

    def contents_of(self, face_ids: Sequence[int], min_size: int = 0) -> ShownFaces:
        own, rows = _split(face_ids)
        rows, others = np.sort(rows), self._others
        rows = rows[others.sizes[rows] >= min_size] if len(rows) else rows
        here = self._own.contents_of(own, min_size)
        return ShownFaces(
            np.concatenate([here.ids, rows + ELSEWHERE]),
            np.concatenate([here.contents, others.content_rows[rows] + ELSEWHERE]),
            np.concatenate([here.norms, others.norms[rows]]),
        )

    def shown_on(self, content_ids: Sequence[int], min_size: int = 0) -> ShownOn:
        own, contents = _split(content_ids)
        others, here = self._others, self._own.shown_on(own, min_size)
        rows = others.faces_on(contents.tolist())
        rows = rows[others.sizes[rows] >= min_size] if len(rows) else rows
        return ShownOn(
            np.concatenate([here.ids, rows + ELSEWHERE]),
            np.concatenate([here.contents, others.content_rows[rows] + ELSEWHERE]),
            np.concatenate([here.norms, others.norms[rows]]),
            np.concatenate([here.sizes, others.sizes[rows]]),
        )

    def count_copies(self, content_ids: Sequence[int], directories: Sequence[bytes] = ()) -> dict[int, int]:
        own, rows = _split(content_ids)
        counts = self._own.count_copies(own, directories)
        for content, places in self._places(own, rows, directories):
            counts[content] = counts.get(content, 0) + len(places)
        return counts

    def copies(self, content_ids: Sequence[int], directories: Sequence[bytes] = ()) -> dict[int, list[bytes]]:
        own, rows = _split(content_ids)
        found = self._own.copies(own, directories)
        for content, places in self._places(own, rows, directories):
            found.setdefault(content, []).extend(places)
        return found

    def _places(
        self, own: Sequence[int], rows: Ids, directories: Sequence[bytes]
    ) -> Iterable[tuple[int, Sequence[bytes]]]:
        """The photos of other machines of some contents, those without any left out."""
        others = self._others
        known = ((content, others.copies[content]) for content in own if content in others.copies)
        new = ((row + ELSEWHERE, others.shown[row]) for row in rows.tolist())
        for content, photos in chain(known, new):
            if inside := photos.inside(directories):
                yield content, inside

    def digests(self, content_ids: Sequence[int]) -> dict[int, bytes]:
        own, rows = _split(content_ids)
        return self._own.digests(own) | {row + ELSEWHERE: self._others.contents[row].digest for row in rows.tolist()}

    def boxes(self, face_ids: Sequence[int]) -> dict[int, Seen]:
        own, rows = _split(face_ids)
        faces = self._others.faces
        return self._own.boxes(own) | {
            row + ELSEWHERE: Seen(faces[row].box, faces[row].score, faces[row].norm) for row in rows.tolist()
        }

    # Dates

    def are_undated(self, contents: NDArray[np.int64]) -> NDArray[np.bool_]:
        undated = self._own.are_undated(contents)
        here = contents < ELSEWHERE
        rows = contents[~here] - ELSEWHERE
        undated[~here] = [not self._others.contents[row].is_dated for row in rows.tolist()]
        return undated

    def taken(self, content_ids: Sequence[int]) -> list[tuple[int, float, int | None, str]]:
        own, rows = _split(content_ids)
        dated = ((row, self._others.contents[row].taken) for row in rows.tolist())
        found = ((row + ELSEWHERE, *taken[:2], str(taken.source)) for row, taken in dated if taken is not None)
        return [*self._own.taken(own), *found]

    def dates_of_files(self, content_ids: Sequence[int]) -> list[tuple[int, float | None, int]]:
        own, rows = _split(content_ids)
        others = self._others
        found = {content: (named, written) for content, named, written in self._own.dates_of_files(own)}
        for content in others.copies.keys() & set(own):
            named, written = found.get(content, (None, _NEVER))
            photos = others.copies[content]
            found[content] = photos.named(named), min(written, photos.written)
        for row in rows.tolist():
            found[row + ELSEWHERE] = others.shown[row].named(), others.shown[row].written
        return [(content, *dates) for content, dates in found.items()]

    # What faces and photos look like

    def pictures(self, contents: NDArray[np.int64]) -> tuple[NDArray[np.float64], list[bytes | None]]:
        here = contents < ELSEWHERE
        sizes, known = self._own.pictures(contents[here])
        rows = [self._others.contents[row] for row in (contents[~here] - ELSEWHERE).tolist()]
        both = np.empty((len(contents), 2))
        both[here] = sizes
        both[~here] = np.array([(each.width, each.height) for each in rows], np.float64).reshape(-1, 2)
        pictures = np.empty(len(contents), object)
        pictures[here] = known
        pictures[~here] = [each.picture for each in rows]
        return both, pictures.tolist()

    def looks(self, face_ids: Sequence[int]) -> Looks:
        own, rows = _split(face_ids)
        here = self._own.looks(own)
        rows, embeddings = self._embeddings(np.sort(rows), here.embeddings.shape[1])
        faces = [self._others.faces[row] for row in rows.tolist()]
        numbers = np.array([(*face.box, face.norm, face.sharpness) for face in faces], np.float64).reshape(-1, 6)
        boxes, norms, sharpness = np.split(numbers, [4, 5], axis=1)
        return Looks(
            np.concatenate([here.ids, rows + ELSEWHERE]),
            np.vstack([here.embeddings, embeddings]),
            np.vstack([here.boxes, boxes]),
            np.vstack([here.norms, norms]),
            np.vstack([here.sharpness, sharpness]),
        )

    def embeddings_of(self, face_ids: Iterable[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        own, rows = _split(face_ids)
        ids, embeddings = self._own.embeddings_of(own)
        rows, others = self._embeddings(np.sort(rows), embeddings.shape[1])
        return np.concatenate([ids, rows + ELSEWHERE]), np.vstack([embeddings, others])

    def _embeddings(self, rows: Ids, dim: int) -> tuple[Ids, Embeddings]:
        """The embeddings of some faces, those that cannot be had left out. Shapes (n,), (n, dim)."""
        others = self._others
        others.need(rows)
        kept = [row for row in rows.tolist() if row in others.embeddings]
        embeddings = np.array([others.embeddings[row] for row in kept], np.float32)
        return np.array(kept, np.int64), embeddings.reshape(len(kept), dim)


def _split(ids: Iterable[int]) -> tuple[list[int], Ids]:
    """The ids of the catalog, and the rows of the others."""
    own: list[int] = []
    rows: list[int] = []
    for each in ids:
        if each < ELSEWHERE:
            own.append(each)
        else:
            rows.append(each - ELSEWHERE)
    return own, np.array(rows, np.int64)
