"""The faces on one photo that a client names or sends: from the catalog where it has them, else from the query process.

A photo that is recorded and unchanged, or whose bytes are recorded under another name, is answered from the catalog,
without the model. Any other photo is read and put through the query process. Where the photo's disk does not answer,
the recorded faces count.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from facewatchd.api.parameters import Source
from facewatchd.errors import NoFaceError, UnreadablePhotoError
from facewatchd.indexing.embedder import outcome
from facewatchd.inference.pool import Inference
from facewatchd.inference.wire import Analysis
from facewatchd.photos import contents, files
from facewatchd.photos.contents import Content
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.text import counted, printable
from facewatchd.threads.bounded_calls import READING, DiskCalls, NotAnsweringError
from facewatchd.values import Face, Quality, Stamp

MOST_SENT = 32
"""Photos of clients of which it is kept what was found on them: some KB for each face."""
_ANY = Stamp(0, 0, 0, 0, 0)
"""Stands for the stamp of a file whose disk does not answer: it counts as unchanged."""


@dataclass(frozen=True, slots=True)
class PhotoFaces:
    """The faces of a photo, left to right, and the photo's bytes."""

    faces: list[Face]
    digest: bytes
    """Of the bytes."""
    width: int
    """Pixels of the upright photo, as ``height``."""
    height: int
    content: int | None = None
    """The content in the catalog that the faces are of,"""
    ids: tuple[int, ...] = ()
    """and their ids."""
    analysis: Analysis | None = None
    """What the query process found on a photo that is not recorded."""

    def id_of(self, index: int) -> int | None:
        """Return the id of a face; None where the photo is not recorded."""
        return self.ids[index] if self.ids else None

    @classmethod
    def recorded(cls, reader: CatalogReader, content: int) -> PhotoFaces | None:
        """Return those of a content; None where the row of one is damaged."""
        faces = reader.faces(content)
        if faces is None:
            return None
        digest, width, height = reader.describe(content)
        return cls([face for _, face in faces], digest, width, height, content, tuple(number for number, _ in faces))

    @classmethod
    def analysed(cls, digest: bytes, analysis: Analysis) -> PhotoFaces:
        """Return what the query process found on a photo that is not recorded."""
        return cls(analysis.faces, digest, analysis.width, analysis.height, analysis=analysis)

    def to_record(self) -> Outcome | None:
        """Return what records the content without a photo; None where it is recorded."""
        if (found := self.analysis) is None:
            return None
        return outcome(b"", None, self.digest, found)


class FaceFinder:
    """Any thread may ask."""

    def __init__(self, catalog: Catalog, inference: Inference, calls: DiskCalls) -> None:
        self._catalog = catalog
        self._inference = inference
        self._calls = calls
        self._sent: OrderedDict[bytes, PhotoFaces] = OrderedDict()
        """What was found on the photos that clients sent last, by digest: one who looks through an answer, page by page
        or by other thresholds, sends the same photo each time, and the model takes longest."""
        self._sent_lock = threading.Lock()

    def pick(self, source: Source, which: int | str, quality: Quality | None = None) -> tuple[PhotoFaces, list[int]]:
        """Return the faces of a photo, and the indices of those that are asked for: "all", the "largest", or one.

        A face that is too blurred is the largest only where all are.
        No index where there is no face. Raises what `see` raises, and `NoFaceError` for an index beyond the last.
        """
        seen = self.see(source)
        with _naming(source):
            return seen, _pick(seen.faces, which, quality)

    def see(self, source: Source) -> PhotoFaces:
        """Return the faces of a photo. Raises `UnreadablePhotoError`, which names the path where there is one."""
        if source.path is not None and (known := self._recorded(source.path)) is not None:
            return known
        with _naming(source):
            return self._looked_at(source)

    def _looked_at(self, source: Source) -> PhotoFaces:
        if source.path is None:
            assert source.data is not None
            digest = files.digest(source.data)
            return self._known_content(digest) or self._seen_before(digest) or self._analysed(digest, source.data)
        with opened(self._calls, source.path) as content:
            known = self._known_content(content.digest)
            if known is None:
                known = PhotoFaces.analysed(content.digest, self._inference.analyse(content.descriptor))
                self._calls.run(source.path, content.confirm, READING)
            return known

    def _seen_before(self, digest: bytes) -> PhotoFaces | None:
        with self._sent_lock:
            if digest in self._sent:
                self._sent.move_to_end(digest)
            return self._sent.get(digest)

    def _analysed(self, digest: bytes, data: bytes) -> PhotoFaces:
        seen = PhotoFaces.analysed(digest, self._inference.analyse(data))
        with self._sent_lock:
            self._sent[digest] = seen
            if len(self._sent) > MOST_SENT:
                self._sent.popitem(last=False)
        return seen

    def _known_content(self, digest: bytes) -> PhotoFaces | None:
        with self._catalog.reading() as reader:
            content = reader.content(digest)
            return None if content is None else PhotoFaces.recorded(reader, content)

    def _recorded(self, path: bytes) -> PhotoFaces | None:
        """The recorded faces of a photo that is unchanged, or whose disk does not answer."""
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
                if unchanged and (known := PhotoFaces.recorded(reader, record.content_id)) is not None:
                    return known
        return None


@contextlib.contextmanager
def opened(calls: DiskCalls, path: bytes) -> Iterator[Content]:
    """Open and digest a photo. Raises what `contents.opened` does, but `UnreadablePhotoError` where the file is gone,
    and `NotAnsweringError` where its disk does not answer."""
    with contextlib.ExitStack() as stack:

        def enter() -> tuple[Content, contextlib.ExitStack]:
            with contextlib.ExitStack() as opening:
                content = opening.enter_context(contents.opened(path))
                return content, opening.pop_all()

        try:
            content, opened = calls.run(path, enter, READING, lambda late: late[1].close())
        except OSError as exc:
            raise UnreadablePhotoError(f"cannot be read: {exc.strerror}", "check the path") from exc
        stack.enter_context(opened)
        yield content


class Remembering(FaceFinder):
    """Looks at each photo once, and keeps no bytes of those that were sent. For one thread."""

    def __init__(self, finder: FaceFinder) -> None:
        self._finder = finder
        self._known: dict[Source, PhotoFaces] = {}

    def without_bytes(self, source: Source) -> Source:
        """Look at a photo that was sent; return what stands for it from now on. Raises as `see` does."""
        if source.data is None:
            return source
        stand_in = Source(data=files.digest(source.data))
        self._known[stand_in] = self._finder.see(source)
        return stand_in

    def see(self, source: Source) -> PhotoFaces:
        if source not in self._known:
            self._known[source] = self._finder.see(source)
        return self._known[source]


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
    """Put the photo's path in front of an error's message. A photo that was sent as bytes has no name here."""
    try:
        yield
    except (UnreadablePhotoError, NoFaceError) as exc:
        if source.path is None:
            raise
        raise type(exc)(f"{printable(source.path)}: {exc.message}", exc.hint) from exc


def _pick(faces: Sequence[Face], which: int | str, quality: Quality | None) -> list[int]:
    def rank(index: int) -> tuple[bool, int]:
        face = faces[index]
        return quality is None or not quality.is_too_blurred(face.norm), face.box.w * face.box.h

    if which == "all":
        return list(range(len(faces)))
    if which == "largest":
        return [max(range(len(faces)), key=rank)] if faces else []
    index = int(which)
    if faces and index >= len(faces):
        raise NoFaceError(
            f"there is no face {index}: the photo has {counted(len(faces), 'face')}", "they count from 0, left to right"
        )
    return [index] if faces else []
