"""The search of a query: which faces it asks with, one embedding for each person, and the photos that match.

Several photos, or several faces by id, are the same person: their embeddings are averaged, unless they do not look like
one person (`linkage`), which is an error. With ``face`` "all" every face is a person of its own, and the similarity of
a photo is that to the most similar of them.

A face that is too blurred to tell (`values.Quality`) stands for a person only where it was named, by its number or its
id, or where no other face is there. Otherwise it is left out, and the answer says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from facewatchd.api import linkage
from facewatchd.api.faces import FaceFinder
from facewatchd.api.parameters import QueryParameters, Source
from facewatchd.api.scoring import Scorer
from facewatchd.errors import BadEmbeddingError, NoFaceError, UnknownFaceError, UnreadablePhotoError
from facewatchd.models.base import unit_length
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.store import results
from facewatchd.store.candidates import Question
from facewatchd.store.gallery import Gallery
from facewatchd.store.results import Found
from facewatchd.store.scoring import Search, Wanted
from facewatchd.text import printable
from facewatchd.values import Face, ModelInfo, Quality

if TYPE_CHECKING:
    from facewatchd.values import Embedding


@dataclass(frozen=True, slots=True)
class Used:
    """A face that a query asks with, or a photo without one: an entry of the answer's ``query``."""

    face: Face | None
    content: int | None
    """The content in the catalog that the face is on; None where the photo is not recorded."""
    photo: Source | None = None
    index: int | None = None
    """Of the face on the photo, left to right."""
    count: int = 0
    """Faces on the photo."""
    face_id: int | None = None
    """Where the face was named by its id."""
    left_out: bool = False
    """Whether the face is not searched for, because it is too blurred."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query asked with, and the photos that were found."""

    used: list[Used]
    entries: list[int | None]
    """Index into ``used`` of each person that `Match.of` counts; None for an embedding that the query gave."""
    found: Found
    wanted: list[Wanted]
    """Each person that `Match.of` counts."""
    search: Search
    """As it was carried out."""


class Searcher:
    """Any thread may ask."""

    def __init__(self, gallery: Gallery, finder: FaceFinder, scorer: Scorer, info: ModelInfo) -> None:
        self._gallery = gallery
        self._finder = finder
        self._scorer = scorer
        self._info = info
        self._limit = linkage.limit(info.threshold)
        """From which similarity on two faces may be one person's."""

    def search(self, asked: QueryParameters, search: Search) -> Answer:
        """Return the photos that match. ``search``: the limits, with what the query does not say filled in.

        Raises `UnreadablePhotoError`, `NoFaceError`, `UnknownFaceError`, `BadEmbeddingError` or `ParamsError`.
        """
        used = [*self._on_photos(asked, search.quality), *self._by_id(asked.faces)]
        if search.quality is not None and not (asked.faces or isinstance(asked.face, int)):
            used = _without_blurred(used, search.quality)
        embeddings, norms, entries = self._embeddings(asked, used)
        own = frozenset(each.content for each in used if each.content is not None)
        wanted = [Wanted(row[None], (norm,), own=own) for row, norm in zip(embeddings, norms, strict=True)]
        search = replace(search, own_paths=frozenset(each.path for each in asked.photos if each.path is not None))
        with self._gallery.catalog.reading() as reader:
            question = Question([[self._scorer.scored(reader, each, search) for each in wanted]])
            found = results.found(reader, question, search)
        return Answer(used, entries, found, wanted, search)

    def _on_photos(self, asked: QueryParameters, quality: Quality | None) -> Iterator[Used]:
        for number, source in enumerate(asked.photos, 1):
            try:
                seen, picked = self._finder.pick(source, asked.face, quality)
            except (UnreadablePhotoError, NoFaceError) as exc:
                if source.path is not None or len(asked.photos) == 1:
                    raise
                raise type(exc)(f"photo {number}: {exc.message}", exc.hint) from exc
            for index in picked:
                yield Used(seen.faces[index], seen.content, source, index, len(seen.faces))
            if not picked:
                yield Used(None, seen.content, source)

    def _by_id(self, face_ids: Sequence[int]) -> Iterator[Used]:
        with self._gallery.catalog.reading() as reader:
            known = reader.faces_of(face_ids)
            shown = reader.contents_of(face_ids)
            contents = dict(zip(shown.ids.tolist(), shown.contents.tolist(), strict=True))
        for face_id in face_ids:
            if face_id not in known:
                raise UnknownFaceError(f"there is no face {face_id}", "face ids change when a photo is embedded again")
            yield Used(known[face_id], contents.get(face_id), face_id=face_id)

    def _embeddings(
        self, asked: QueryParameters, used: Sequence[Used]
    ) -> tuple[list[Embedding], list[float | None], list[int | None]]:
        """An embedding for each person who is asked about, its norm, and the index of that person's entry in ``used``.

        Several faces of one person count as the clearest of them.
        """
        if not (asked.photos or asked.faces):
            return [self._given(asked.embedding)], [None], [None]
        faces = {entry: each.face for entry, each in enumerate(used) if each.face is not None and not each.left_out}
        if not faces:
            raise _no_face(asked.photos)
        entries, embeddings = list(faces), [face.embedding for face in faces.values()]
        norms = [face.norm for face in faces.values()]
        if asked.face == "all":
            return embeddings, norms, list(entries)
        self._require_one_person(asked, entries, embeddings)
        mean = unit_length(np.mean(embeddings, axis=0))
        if mean is None:
            raise BadEmbeddingError("the faces have nothing in common", "query them one at a time")
        known = [norm for norm in norms if norm is not None]
        return [mean], [max(known) if len(known) == len(norms) else None], [entries[0]]

    def _given(self, values: Sequence[float]) -> Embedding:
        with np.errstate(over="ignore"):  # too large for a float32 is infinite, which `unit_length` refuses
            unit = unit_length(np.array(values, np.float32))
        if len(values) != self._info.dim or unit is None:
            raise BadEmbeddingError(
                f"the embedding must be {self._info.dim} finite numbers, not all zero",
                f"the model is {self._info.name}",
            )
        return unit

    def _require_one_person(self, asked: QueryParameters, entries: list[int], embeddings: list[Embedding]) -> None:
        """Raise `ParamsError` where the faces do not look like one person: their mean would be like no person."""
        clusters = linkage.clusters(embeddings, self._limit)
        if len(clusters) == 1:
            return
        (one, *_) = most = max(clusters, key=len)
        other = next(index for index in range(len(embeddings)) if index not in most)
        similarity = round(float(embeddings[one] @ embeddings[other]), 2) + 0.0  # which is no -0.0
        pair = _name_pair(asked, *sorted((entries[one], entries[other])))
        raise ParamsError(
            f"{pair} do not look like one person (similarity {similarity:.2f})",
            "ask for each person by itself, or for all with --face all",
        )


def _without_blurred(used: Sequence[Used], quality: Quality) -> list[Used]:
    """Mark the faces that are too blurred as left out, unless all are."""
    blurred = [each.face is not None and quality.is_too_blurred(each.face.norm) for each in used]
    if all(each.face is None or is_blurred for each, is_blurred in zip(used, blurred, strict=True)):
        return list(used)
    return [replace(each, left_out=is_blurred) for each, is_blurred in zip(used, blurred, strict=True)]


def _name_pair(asked: QueryParameters, one: int, other: int) -> str:
    """Name two of the photos, or faces, that a query asks with. Photos sent as bytes have numbers, from 1."""
    if asked.faces:
        return f"faces {asked.faces[one]} and {asked.faces[other]}"
    paths = asked.photos[one].path, asked.photos[other].path
    if paths[0] is None or paths[1] is None:
        return f"photos {one + 1} and {other + 1}"
    return f"{printable(paths[0])} and {printable(paths[1])}"


def _no_face(sources: Sequence[Source]) -> NoFaceError:
    hint = "try one where the face is larger and in focus"
    if len(sources) > 1:
        return NoFaceError(f"no face was found on any of the {len(sources)} photos", hint)
    path = sources[0].path
    return NoFaceError("no face was found" if path is None else f"{printable(path)}: no face was found", hint)
