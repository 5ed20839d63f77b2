"""The method ``thumbnail``: a face with a margin, or a whole photo, as a small JPEG.

A thumbnail is of bytes, not of a path: a file is opened and digested, and counts only if it still has the bytes on
which the face was found. Where one copy of them is gone, has changed or is out of reach, the next one is taken. The
photo is decoded in a process of its own (`Inference` without a model), and checked here again once the picture is made.
What was made of a face is kept while a photo shows it (`ThumbnailStore`); a face that no photo shows any more is not
shown here either.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from facewatchd.api.faces import opened
from facewatchd.api.parameters import ThumbnailParameters
from facewatchd.errors import FacewatchError, UnreadablePhotoError
from facewatchd.inference.pool import Inference
from facewatchd.inference.wire import Pictured
from facewatchd.matches import Box
from facewatchd.photos import crops
from facewatchd.photos.crops import Crop, Thumbnail
from facewatchd.photos.files import ChangedWhileReadError
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.store.catalog import Catalog
from facewatchd.store.results import in_order
from facewatchd.store.thumbnails import ThumbnailStore
from facewatchd.text import printable
from facewatchd.threads.bounded_calls import READING, DiskCalls, NotAnsweringError
from facewatchd.threads.once import Once


@dataclass(frozen=True, slots=True)
class _Shown:
    """A face on the photos that show it."""

    digest: bytes
    """Of their bytes."""
    size: tuple[int, int]
    """Width and height of the upright photo in pixels."""
    box: Box
    paths: list[bytes]
    """The shortest first."""


class Thumbnails:
    """Any thread may call the method."""

    def __init__(self, catalog: Catalog, pictures: Inference, calls: DiskCalls, store: ThumbnailStore) -> None:
        self._catalog = catalog
        self._pictures = pictures
        self._calls = calls
        self._store = store
        self._once = Once[Thumbnail]()

    def thumbnail(self, params: ThumbnailParameters) -> dict[str, object]:
        """Return a ``jpeg`` in base64, and its ``width`` and ``height``.

        Raises `UnknownFaceError`, `UnreadablePhotoError`, `NotAnsweringError`, and what `Inference.picture` raises.
        """
        if params.face_id is not None:
            made = self._of_face(params.face_id, params)
        else:
            if params.box and not (params.box[2] and params.box[3]):
                raise ParamsError("box has no area: give x, y, width and height in pixels")
            crop = Crop(params.size, Box(*params.box) if params.box else None)
            if params.path is not None:
                made = self._of_path(params.path, crop)
            else:
                assert params.data is not None
                made = _on_photo(self._pictures.picture(params.data, crop), crop).thumbnail
        return {"jpeg": base64.b64encode(made.jpeg).decode("ascii"), "width": made.width, "height": made.height}

    def _of_face(self, face_id: int, params: ThumbnailParameters) -> Thumbnail:
        if params.box:
            raise ParamsError("box is for a photo that is named by path or data", "leave it out: the face has one")
        shown = self._shown(face_id)
        kept = crops.of_photo() if params.photo else crops.of_face(shown.box)
        if params.size >= kept.size:
            return self._kept_or_made(shown, kept._replace(size=params.size))
        large = self._kept_or_made(shown, kept)
        if max(large.width, large.height) <= params.size:
            return large
        return self._pictures.picture(large.jpeg, Crop(params.size)).thumbnail

    def _kept_or_made(self, shown: _Shown, crop: Crop) -> Thumbnail:
        if (kept := self._store.get(shown.digest, crop)) is not None:
            return kept
        return self._once.run((shown.digest, crop), lambda: self._of_a_copy(shown, crop))

    def _shown(self, face_id: int) -> _Shown:
        with self._catalog.reading() as reader:
            content = reader.content_of(face_id)
            digest, width, height = reader.describe(content)
            box = reader.boxes([face_id])[face_id].box
            paths = reader.copies([content]).get(content, [])
        if not paths:
            raise UnreadablePhotoError(f"no photo shows face {face_id} any more", "restore the photo to see the face")
        return _Shown(digest, (width, height), box, in_order(paths))

    def _of_a_copy(self, shown: _Shown, crop: Crop) -> Thumbnail:
        """Make a thumbnail of the first copy of a photo that can be read and still has the bytes."""
        first: FacewatchError | None = None
        for path in shown.paths:
            try:
                made = self._made(path, crop, shown)
            except (UnreadablePhotoError, ChangedWhileReadError, NotAnsweringError) as exc:
                first = first or exc
            else:
                self._store.put(shown.digest, crop, made)
                return made
        assert first is not None
        raise first

    def _of_path(self, path: bytes, crop: Crop) -> Thumbnail:
        """Make a thumbnail of a photo by name, which need not be recorded. It is not kept."""
        return self._once.run((path, crop), lambda: self._made(path, crop, None))

    def _made(self, path: bytes, crop: Crop, expected: _Shown | None) -> Thumbnail:
        """Make a thumbnail of a file, which must have the bytes that are ``expected``."""
        self._calls.run(path, lambda: os.path.exists(path))  # to read a photo may take longer than to find no disk
        with _naming(path), opened(self._calls, path) as content:
            if expected is not None and content.digest != expected.digest:
                raise UnreadablePhotoError("it changed since its faces were found", "`facewatchd scan` looks at it now")
            made = self._pictures.picture(content.descriptor, crop)
            self._calls.run(path, content.confirm, READING)
        if expected is None:
            return _on_photo(made, crop).thumbnail
        if (made.width, made.height) != expected.size:
            raise UnreadablePhotoError(
                f"{printable(path)}: it is read as {made.width} x {made.height} pixels, and its faces were found on "
                f"{expected.size[0]} x {expected.size[1]}",
                "`facewatchd scan --force` finds them again",
            )
        return made.thumbnail


def _on_photo(made: Pictured, crop: Crop) -> Pictured:
    """Return what was made of a photo. Raises `ParamsError` where the box that was given is not inside of the photo."""
    if not crop.is_inside(made.width, made.height):
        raise ParamsError(
            f"box is not inside of the photo, which has {made.width} x {made.height} pixels",
            "`faces` tells the boxes of a photo as it is now",
        )
    return made


@contextlib.contextmanager
def _naming(path: bytes) -> Iterator[None]:
    """Put the photo's path in front of an error's message."""
    try:
        yield
    except (UnreadablePhotoError, ChangedWhileReadError) as exc:
        raise type(exc)(f"{printable(path)}: {exc.message}", exc.hint) from exc
