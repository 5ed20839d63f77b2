"""The method ``regions``: what other programs wrote about the people on recorded photos, and what it would say.

Photos are gone through in the order of their paths, in pages: one takes `PAGE_TIME` or little more. A photo's packets
and the files beside it are read in the process that decodes photos (idle class), as anybody may have made them; what
it answers is checked. Nothing is said here: a client says what it wants with ``import_people``.

What is said of a photo is said of its bytes. So the names of all copies are held together, where the first of them
stands: each name is told with the first copy that has it.

A photo that has changed since it was indexed is left out, because its faces may be elsewhere, and so is one that cannot
be read, or whose disk does not answer.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from facewatchd.api.parameters import RegionsParameters
from facewatchd.errors import FacewatchError, UnreadablePhotoError
from facewatchd.inference.failures import ClosedError, NoModelError
from facewatchd.inference.pool import Inference
from facewatchd.people import sidecars
from facewatchd.people.known import KnownFaces, Resolver
from facewatchd.people.proposals import Finding, Name, OnPhoto, findings
from facewatchd.people.statements import RelativeBox, name_key
from facewatchd.people.store import PeopleStore
from facewatchd.photos import files
from facewatchd.photos.description import Description
from facewatchd.photos.regions import PICASA, TAKEOUT, XMP, Named, Region, readings
from facewatchd.scan.roots import Roots
from facewatchd.server.params import encode_path
from facewatchd.store.catalog import Catalog
from facewatchd.store.catalog_rows import ContentFaces, RecordedPhoto
from facewatchd.text import printable
from facewatchd.threads.bounded_calls import READING, NotAnsweringError
from facewatchd.values import Stamp, is_within

PAGE: Final = 500
"""Photos that one page reads at most."""
PAGE_TIME: Final = 1.0
"""Seconds after which a page reads no further photo."""


class RegionReader:
    """Any thread may call the method."""

    def __init__(
        self, catalog: Catalog, inference: Inference, roots: Roots, people: PeopleStore, resolver: Resolver
    ) -> None:
        """``inference``: the process that reads the files."""
        self._catalog = catalog
        self._inference = inference
        self._roots = roots
        self._people = people
        self._resolver = resolver

    def regions(self, params: RegionsParameters) -> dict[str, object]:
        """Return the ``photos`` with names of one page, how many were ``read`` and left out, and the ``next`` path.

        Raises `UnreadablePhotoError` for a directory that is not watched or not there, and `StorageError` where it is
        not known what was said.
        """
        self._people.people()
        if params.dir is not None and self._roots.of(params.dir) is None:
            raise UnreadablePhotoError(
                f"{printable(params.dir)} lies in no watched directory", "name one that is watched, or one below it"
            )
        with self._catalog.reading() as reader:
            photos = reader.photos_below(params.dir, params.after, PAGE)
            digests = {photo.digest for photo in photos}
            contents, copies = reader.content_faces(sorted(digests)), reader.photos_of(digests)
        if params.dir is not None and not photos and not params.after:
            self._require_directory(params.dir)
        page = _Page(self._inference, self._roots, self._resolver.known(), contents)
        deadline = time.monotonic() + PAGE_TIME
        found: list[dict[str, object]] = []
        following, read = None, 0
        for photo in photos:
            if read and time.monotonic() > deadline:
                break
            same = [each for each in copies[photo.digest] if params.dir is None or is_within(each.path, params.dir)]
            if photo.path == same[0].path:
                found += page.copies(same)
            following, read = photo.path, read + 1
        ended = read == len(photos) < PAGE
        after = None if ended or following is None else encode_path(following)
        return {"photos": found, "read": read, "left_out": page.left_out, "next": after}

    def _require_directory(self, path: bytes) -> None:
        """Raise `UnreadablePhotoError` where there is no directory and its disk answers."""
        try:
            is_there = self._roots.calls.run(path, lambda: os.path.isdir(path), READING)
        except NotAnsweringError:
            return
        if not is_there:
            raise UnreadablePhotoError(
                f"{printable(path)} is no directory, and no photo that was indexed", "check its name"
            )


@dataclass(frozen=True, slots=True)
class _Directory:
    """What was read of a directory that some photos are in."""

    names: sidecars.Folded
    """See `sidecars.by_folded_name`."""
    sections: sidecars.Folded
    """The names of photos in Picasa's file."""
    picasa: Mapping[str, Sequence[Region]]
    """By section."""
    aside: list[str]
    """Why something in Picasa's file was left out, until it was told with a photo."""


class _Page:
    def __init__(
        self, inference: Inference, roots: Roots, known: KnownFaces, contents: Mapping[bytes, ContentFaces]
    ) -> None:
        self._inference = inference
        self._roots = roots
        self._known = known
        self._contents = contents
        self._keys = {person.id: name_key(person.name) for person in known.people.people}
        self._directories: dict[bytes, _Directory] = {}
        self.left_out = 0
        """Photos that cannot be read, or have changed."""

    def copies(self, photos: Sequence[RecordedPhoto]) -> Iterator[dict[str, object]]:
        """What is written about the photos of one content; nothing where there is nothing."""
        digest, content = photos[0].digest, self._contents.get(photos[0].digest)
        if content is None or not content.width:
            self.left_out += len(photos)
            return
        names: list[list[Name]] = []
        first: dict[str, bytes] = {}
        aside: dict[bytes, dict[str, None]] = {}
        description: Description | None = None
        for photo in photos:
            described = self._described(photo, description)
            if described is None:
                self.left_out += 1
                continue
            named = [*([described.named] if description is None else []), *self._beside(photo.path)]
            description = described
            names += (each := [_names(each.regions, content, described.orientation) for each in named])
            first = {name_key(name.name): photo.path for group in each for name in group} | first
            aside[photo.path] = {reason: None for each in named for reason in each.aside}
        found = findings(names, self._on_photo(digest, content))
        for path, reasons in aside.items():
            own = [_finding(each, content) for each in found if first[name_key(each.name)] == path]
            if own or reasons:
                yield {**encode_path(path), "digest": digest.hex(), "findings": own, "aside": list(reasons)}

    def _described(self, photo: RecordedPhoto, before: Description | None) -> Description | None:
        """What a photo's bytes say; None where they are others by now. ``before``: what those of a copy say."""
        try:
            with self._opened(photo.path) as descriptor:
                if not Stamp.of(os.fstat(descriptor)).same_bytes(photo.stamp):
                    return None
                return before or self._inference.describe(descriptor, names=True)
        except (ClosedError, NoModelError):
            raise
        except (FacewatchError, OSError):
            return None

    @contextlib.contextmanager
    def _opened(self, path: bytes) -> Iterator[int]:
        def opened() -> int:
            with files.regular_file(path) as descriptor:
                return os.dup(descriptor)

        descriptor = self._roots.calls.run(path, opened, READING, os.close)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _beside(self, path: bytes) -> Iterator[Named]:
        """What the files beside a photo say of it."""
        directory, name = os.path.split(path)
        beside = self._directory(directory)
        for sidecar in sidecars.xmp(name, beside.names):
            yield self._sidecar(os.path.join(directory, sidecar), XMP)
        section = sidecars.section(name, beside.sections, beside.names)
        yield Named(tuple(beside.picasa[section]) if section is not None else (), tuple(beside.aside))
        beside.aside.clear()
        if (found := sidecars.takeout(name, beside.names)) is not None:
            yield self._sidecar(os.path.join(directory, found), TAKEOUT)

    def _directory(self, directory: bytes) -> _Directory:
        if directory not in self._directories:
            try:
                listed = self._roots.calls.run(directory, lambda: os.listdir(directory), READING)
            except (NotAnsweringError, OSError):
                listed = []
            names = sidecars.by_folded_name(listed)
            ini = sidecars.picasa(names)
            named = Named() if ini is None else self._sidecar(os.path.join(directory, ini), PICASA)
            regions: dict[str, list[Region]] = {}
            for each in named.regions:
                regions.setdefault(each.photo, []).append(each)
            aside = [f".picasa.ini: {each}" for each in named.aside]
            self._directories[directory] = _Directory(names, sidecars.by_folded_name(regions), regions, aside)
        return self._directories[directory]

    def _sidecar(self, path: bytes, kind: str) -> Named:
        try:
            with self._opened(path) as descriptor:
                return self._inference.names(descriptor, kind)
        except (ClosedError, NoModelError):
            raise
        except (FacewatchError, OSError) as exc:
            reason = exc.message if isinstance(exc, FacewatchError) else str(exc.strerror)
            return Named(aside=(f"{printable(os.path.basename(path))}: {reason}",))

    def _on_photo(self, digest: bytes, content: ContentFaces) -> OnPhoto:
        keys, said = self._keys, self._known.people.by_digest.get(digest, ())
        ids = {face for face, _ in content.faces}
        places = self._known.places
        faceless = {
            keys[each.person]
            for each in said
            if each.is_person and (place := places.get(each.id)) is not None and place.face is None
        }
        rejected: dict[int, frozenset[str]] = {}
        absent: dict[str, list[RelativeBox | None]] = {}
        for each in said:
            if each.is_person or (place := places.get(each.id)) is None:
                continue
            if place.face is None:
                absent.setdefault(keys[each.person], []).append(each.box)
            else:
                rejected[place.face] = rejected.get(place.face, frozenset()) | {keys[each.person]}
        return OnPhoto(
            [(face, RelativeBox.of(box, content.width, content.height)) for face, box in content.faces],
            {face: keys[person] for face in ids if (person := self._known.person_of.get(face)) is not None},
            rejected,
            frozenset(faceless),
            absent,
        )


def _names(regions: Sequence[Region], content: ContentFaces, orientation: int) -> list[Name]:
    return [
        Name(
            each.name,
            each.source,
            tuple(RelativeBox(*area) for area in readings(each, content.width, content.height, orientation)),
        )
        for each in regions
    ]


def _finding(found: Finding, content: ContentFaces) -> dict[str, object]:
    box = None if found.box is None else list(found.box.pixels(content.width, content.height))
    relative = None if found.box is None else [round(part, 6) for part in found.box]
    return {
        "name": found.name,
        "source": found.source,
        "verdict": found.verdict,
        "face_id": found.face,
        "box": box,
        "relative": relative,
        "against": found.against,
    }
