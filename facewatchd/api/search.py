"""From a query's parameters to its matches: whose faces are asked about, and who looks like them.

A photo that is indexed and unchanged, or whose bytes are known under another name, is answered from the catalog;
any other is read, decoded and put through the query model. Where its disk does not answer, what the catalog has of it
counts. Several photos, or several faces by id, are the same person: their embeddings are averaged, unless they do not
look like one person (`linkage`), which is an error. With ``face`` "all" every face is a person of its own, and a match
is as alike as it is to the nearest of them. Which one that is, its ``of`` says: an index into the answer's ``query``.
"""

from __future__ import annotations

import base64
import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from facewatchd.api import linkage
from facewatchd.api.parameters import QueryParameters, Source
from facewatchd.errors import BadEmbeddingError, NoFaceError, UnknownFaceError, UnreadablePhotoError
from facewatchd.inference.pool import Inference
from facewatchd.matches import Also, Match
from facewatchd.models import registry
from facewatchd.models.base import unit_length
from facewatchd.photos import contents, files
from facewatchd.photos.contents import Content
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.server.params import encode_path
from facewatchd.store.catalog import Catalog
from facewatchd.store.gallery import Gallery
from facewatchd.store.results import Search
from facewatchd.text import counted, printable
from facewatchd.threads.bounded_calls import READING, DiskCalls, NotAnsweringError
from facewatchd.values import Face, ModelInfo, Stamp

if TYPE_CHECKING:
    from facewatchd.values import Embedding

_ANY = Stamp(0, 0, 0, 0, 0)
"""Stands for a stamp that cannot be had."""


@dataclass(frozen=True, slots=True)
class PhotoFaces:
    """The faces of a photo, left to right, and the content in the catalog that they are of."""

    faces: list[Face]
    content: int | None = None


@dataclass(slots=True)
class _QueriedFaces:
    """Whom a query asks about."""

    used: list[dict[str, object]] = field(default_factory=list)
    """The answer's ``query``."""
    faces: list[Face] = field(default_factory=list)
    entries: list[int] = field(default_factory=list)
    """Index into ``used`` of each of the faces."""
    contents: set[int] = field(default_factory=set)
    """The contents that they are on, as far as they are in the catalog."""

    def add(self, entry: dict[str, object], face: Face | None) -> None:
        if face is not None:
            self.faces.append(face)
            self.entries.append(len(self.used))
        self.used.append(entry)


class Searcher:
    """Answers queries; any thread may ask."""

    def __init__(self, gallery: Gallery, inference: Inference, info: ModelInfo, calls: DiskCalls) -> None:
        self._gallery = gallery
        self._catalog: Catalog = gallery.catalog
        self._inference = inference
        self._info = info
        self._calls = calls
        self._limit = linkage.limit(info.threshold, registry.known(info.name).unrelated)
        """From which similarity on two faces may be one person's."""

    def see(self, source: Source) -> PhotoFaces:
        """Tell what faces are on one photo. Raises `UnreadablePhotoError`, which names the path where there is one."""
        if source.path is not None and (known := self._recorded(source.path)) is not None:
            return known
        with _naming(source):
            return self._looked_at(source)

    def _looked_at(self, source: Source) -> PhotoFaces:
        if source.path is None:
            assert source.data is not None
            return self._known_content(files.digest(source.data)) or PhotoFaces(
                self._inference.analyse(source.data).faces
            )
        with self._opened(source.path) as content:
            known = self._known_content(content.digest)
            if known is None:
                known = PhotoFaces(self._inference.analyse(content.descriptor).faces)
                self._calls.run(source.path, content.confirm, READING)
            return known

    @contextlib.contextmanager
    def _opened(self, path: bytes) -> Iterator[Content]:
        with contextlib.ExitStack() as stack:

            def enter() -> tuple[Content, contextlib.ExitStack]:
                with contextlib.ExitStack() as opening:
                    content = opening.enter_context(contents.opened(path))
                    return content, opening.pop_all()

            try:
                content, opened = self._calls.run(path, enter, READING, lambda late: late[1].close())
            except OSError as exc:
                raise UnreadablePhotoError(f"cannot be read: {exc.strerror}", "check the path") from exc
            stack.enter_context(opened)
            yield content

    def _known_content(self, digest: bytes) -> PhotoFaces | None:
        with self._catalog.reading() as reader:
            content = reader.content(digest)
            faces = None if content is None else reader.faces(content)
            return None if faces is None else PhotoFaces([face for _, face in faces], content)

    def _recorded(self, path: bytes) -> PhotoFaces | None:
        """The faces that the catalog has of a photo that is unchanged, or cannot be looked at."""
        try:
            stamps = self._calls.run(path, lambda: _stamps(path))
        except NotAnsweringError:
            if (known := self._recorded_as({path: _ANY})) is None:
                raise
            return known
        return self._recorded_as(stamps)

    def _recorded_as(self, stamps: Mapping[bytes, Stamp | None]) -> PhotoFaces | None:
        """The faces of the first of a photo's names that is recorded, if its stamp is still the same."""
        with self._catalog.reading() as reader:
            for name, stamp in stamps.items():
                record = reader.photo(name)
                if record is None or record.content_id is None or record.error is not None:
                    continue
                if stamp is None:
                    return None
                unchanged = stamp is _ANY or stamp.same_bytes(record.stamp)
                faces = reader.faces(record.content_id) if unchanged else None
                if faces is not None:
                    return PhotoFaces([face for _, face in faces], record.content_id)
        return None

    def query(self, asked: QueryParameters, search: Search) -> dict[str, object]:
        """Return the contract's ``query``, ``matches``, ``total``, ``threshold``, ``model``, ``exact`` and time."""
        started = time.perf_counter()
        people = self._people(asked)
        embeddings, entries = self._embeddings(asked, people)
        own_paths = frozenset(source.path for source in asked.photos if source.path is not None)
        search = replace(search, own=frozenset(people.contents), own_paths=own_paths)
        found = self._gallery.nearest(np.stack(embeddings), search)
        return {
            "query": people.used,
            "matches": [_match(match, entries, several=asked.face == "all") for match in found.matches],
            "total": found.total,
            "threshold": search.threshold,
            "model": self._info.name,
            "exact": found.exact,
            "elapsed_ms": round((time.perf_counter() - started) * 1000, 2),
        }

    def _embeddings(self, asked: QueryParameters, people: _QueriedFaces) -> tuple[list[Embedding], list[int | None]]:
        """An embedding for each person who is asked about, and which entry of ``query`` stands for that person."""
        if not (asked.photos or asked.faces):
            return [self._given(asked.embedding)], [None]
        if not people.faces:
            raise _no_face(asked.photos)
        if asked.face == "all":
            return [face.embedding for face in people.faces], list(people.entries)
        self._require_one_person(asked, people)
        return [self._mean(people.faces)], [people.entries[0]]

    def _require_one_person(self, asked: QueryParameters, people: _QueriedFaces) -> None:
        """Raise `ParamsError` where the faces do not look like one person: their mean would be like nobody."""
        embeddings = [face.embedding for face in people.faces]
        clusters = linkage.clusters(embeddings, self._limit)
        if len(clusters) == 1:
            return
        (one, *_) = most = max(clusters, key=len)
        other = next(index for index in range(len(embeddings)) if index not in most)
        similarity = round(float(embeddings[one] @ embeddings[other]), 2) + 0.0  # which is no -0.0
        pair = _name_pair(asked, *sorted((people.entries[one], people.entries[other])))
        raise ParamsError(
            f"{pair} do not look like one person (similarity {similarity:.2f})",
            "ask for each person by itself, or for all with --face all",
        )

    def _people(self, asked: QueryParameters) -> _QueriedFaces:
        people = _QueriedFaces()
        for number, source in enumerate(asked.photos, 1):
            try:
                seen = self.see(source)
                with _naming(source):
                    picks = _pick(seen.faces, asked.face)
            except (UnreadablePhotoError, NoFaceError) as exc:
                if source.path is not None or len(asked.photos) == 1:
                    raise
                raise type(exc)(f"photo {number}: {exc.message}", exc.hint) from exc
            for index in picks:
                people.add(_used(source, seen.faces, index), seen.faces[index])
            if not picks:
                people.add(_used(source, seen.faces, None), None)
            if seen.content is not None:
                people.contents.add(seen.content)
        known = self._known(asked.faces, people)
        for face_id in asked.faces:
            people.add({"photo": None, "face_id": face_id, **_place(known[face_id])}, known[face_id])
        return people

    def _given(self, values: Sequence[float]) -> Embedding:
        with np.errstate(over="ignore"):  # too large for a float32 is infinite, which `unit_length` refuses
            unit = unit_length(np.array(values, np.float32))
        if len(values) != self._info.dim or unit is None:
            raise BadEmbeddingError(
                f"the embedding must be {self._info.dim} finite numbers, not all zero",
                f"the model is {self._info.name}",
            )
        return unit

    def _known(self, face_ids: Sequence[int], people: _QueriedFaces) -> dict[int, Face]:
        """The faces with these ids; ``people`` learn of their contents. Raises `UnknownFaceError`."""
        with self._catalog.reading() as reader:
            known = reader.faces_of(face_ids)
            people.contents.update(reader.contents_of(face_ids)[1].tolist())
        for face_id in face_ids:
            if face_id not in known:
                raise UnknownFaceError(f"there is no face {face_id}", "face ids change when a photo is embedded again")
        return known

    def _mean(self, faces: Sequence[Face]) -> Embedding:
        mean = unit_length(np.mean([face.embedding for face in faces], axis=0))
        if mean is None:
            raise BadEmbeddingError("the faces have nothing in common", "query them one at a time")
        return mean


def _stamps(path: bytes) -> dict[bytes, Stamp | None]:
    """The stamps of a path as it is and of its real path; None where there is none."""
    stamps: dict[bytes, Stamp | None] = {}
    for name in dict.fromkeys((path, os.path.realpath(path))):
        try:
            stamps[name] = Stamp.of(os.stat(name))
        except OSError:
            stamps[name] = None
    return stamps


@contextlib.contextmanager
def _naming(source: Source) -> Iterator[None]:
    """Put the photo's path in front of what is wrong with it. What was sent as bytes has no name here."""
    try:
        yield
    except (UnreadablePhotoError, NoFaceError) as exc:
        if source.path is None:
            raise
        raise type(exc)(f"{printable(source.path)}: {exc.message}", exc.hint) from exc


def _name_pair(asked: QueryParameters, one: int, other: int) -> str:
    """Name two of the photos, or faces, that were asked with. Those sent as bytes have numbers, from 1."""
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


def _pick(faces: Sequence[Face], which: int | str) -> list[int]:
    if which == "all":
        return list(range(len(faces)))
    if which == "largest":
        return [max(range(len(faces)), key=lambda index: faces[index].box.w * faces[index].box.h)] if faces else []
    index = int(which)
    if faces and index >= len(faces):
        raise NoFaceError(
            f"there is no face {index}: the photo has {counted(len(faces), 'face')}", "they count from 0, left to right"
        )
    return [index] if faces else []


def _used(source: Source, faces: Sequence[Face], index: int | None) -> dict[str, object]:
    name = source.name()
    entry: dict[str, object] = {"photo": name.pop("path"), **name, "face": index, "faces": len(faces)}
    if index is not None:
        entry |= _place(faces[index])
    return entry


def _place(face: Face) -> dict[str, object]:
    return {"box": list(face.box), "score": round(face.score, 4)}


def _match(match: Match, entries: Sequence[int | None], *, several: bool) -> dict[str, object]:
    """A result as the protocol has it. ``entries``: which entry of ``query`` stands for each person."""
    document: dict[str, object] = {
        **encode_path(match.path),
        **_face(match),
        "of": None if match.of is None else entries[match.of],
        "itself": match.itself,
        "copies": [path.decode("utf-8", "replace") for path in match.copies],
    }
    if not all(map(_is_utf8, match.copies)):
        document["copies_bytes"] = [base64.b64encode(path).decode("ascii") for path in match.copies]
    if several:
        document["also"] = [{"of": entries[other.of], **_face(other)} for other in match.also]
    return document


def _is_utf8(path: bytes) -> bool:
    return "path_bytes" not in encode_path(path)


def _face(match: Match | Also) -> dict[str, object]:
    return {
        "similarity": round(match.similarity, 4),
        "box": list(match.box),
        "score": round(match.score, 4),
        "face_id": match.face_id,
    }
