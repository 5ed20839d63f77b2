"""``--html``: the answer as an album, with pictures that the daemon makes.

The file has at most `MOST_BYTES`, whatever is asked for. Faces come first; matches that do not fit are left out at the
end. The photos share what is left. They are asked for in batches, each in the largest size in which those that are
still to come would fit, by the bytes that the photos before it took. Where that would be smaller than the smallest of
`_PHOTO_SIZES`, the first photos are in the album, and of the others only the face is. So equal answers give equal
albums.

Nothing is asked of the daemon for a photo of another machine, whose path may be another photo's here: the album draws
its shape, and says where it is.

Of many matches, faces and photos are asked for as the daemon made them while it indexed: a first album then needs no
decoding either, which would take 20 to 50 ms of a processor for each photo.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from facewatchd.client import album_words, drawing
from facewatchd.client.answer import (
    Answer,
    Faceless,
    QueryEntry,
    QueryFace,
    QueryGroup,
    QueryPerson,
    photo_faces,
    reading_answer,
)
from facewatchd.client.connection import RemoteError
from facewatchd.client.connections import Call, Connections
from facewatchd.client.query import ask, local_path, path_param
from facewatchd.client.report import remarks
from facewatchd.console.streams import on_terminal, say, takes_drawing
from facewatchd.matches import Match, any_other_person
from facewatchd.pictures import album, target
from facewatchd.pictures.album import Album, AskedFace, Entry, Picture, SeenFace, Shown
from facewatchd.text import counted, one_line, printable

MOST_BYTES: Final = 9_900_000
"""Below 10 MB, which mail takes as well."""
MOST_MATCHES: Final = 1200
"""About as many faces of the usual size as there is room for."""
_MOST_ASKED: Final = 12
"""Faces that were asked for which are shown."""
_ASKED_SIZE: Final = 256
"""Pixels of a face that was asked for."""
_LARGE_FACES: Final = 200
"""Up to how many matches have faces of `_ASKED_SIZE`. Of more, they have the daemon's usual size."""
_LARGE_PHOTOS: Final = 60
"""Up to how many matches may have photos of more than `MANY_SIZE`: those are decoded for the album."""
_PHOTO_SIZES: Final = (1024, 800, 640, 560, 480, 440, 400, 360, 320)
"""Pixels of the longer side of a photo."""
MANY_SIZE: Final = 400
"""`photos.crops.KEPT_PHOTO`: larger photos are not made while indexing."""
_BATCH: Final = 32
"""Photos that are asked for in one size."""
_BYTES_OF_SIDE: Final = 0.15
"""Bytes of a photo in base64 by the square of its longer side, for the first batch."""
_SPARE: Final = 1.05
"""Times the bytes of the photos before, for which there must be room."""
_NO_ROOM: Final = "The photo is not in this album: there was no room for it."


def check(options: argparse.Namespace) -> None:
    """Make a path of ``options.html``. Raises `UsageError` where no album could be written to it."""
    options.html = Path(local_path(options.html))
    target.check(options.html, drawing.query_photos(options), kind=target.ALBUM)


def write(options: argparse.Namespace, answer: Answer) -> None:
    """Write the answer's album. Raises `UsageError` where it cannot be written, else as `Connections` does."""
    with Connections(options.socket) as daemon:
        whole = _Gathering(options, answer, daemon).album()
    page = album.render(whole)
    target.save_document(options.html, lambda file: file.write(page), mode=target.PRIVATE_MODE, kind=target.ALBUM)
    if not options.quiet and (options.verbose or on_terminal()):
        hint = "" if options.open else "; --open shows it"
        photos = counted(len(whole.entries), "photo")
        say(f"{printable(str(options.html))}: {photos}, {len(page) / 1e6:.1f} MB{hint}")
    if (left_out := len(answer.matches) - len(whole.entries)) and not options.quiet:
        say(f"{printable(str(options.html))} leaves out {drawing.last_of(left_out)}; ask for fewer with --top")


class _Gathering:
    """Collects what an album shows."""

    def __init__(self, options: argparse.Namespace, answer: Answer, daemon: Connections) -> None:
        self._options, self._answer, self._daemon = options, answer, daemon
        self._matches = answer.matches[:MOST_MATCHES]
        self._shows_progress = not options.quiet and takes_drawing(sys.stderr)
        self._done, self._total = 0, 3 * len(self._matches)

    def album(self) -> Album:
        """Return all that the file is made of."""
        options, answer = self._options, self._answer
        whole = self._within(
            Album(
                title=album_words.title(options, answer),
                leads=album_words.leads(options, answer),
                asked=tuple(self._asked()),
                notes=tuple(remarks(options, answer)),
                entries=tuple(self._entries()),
                about=album_words.about(answer),
                people=album_words.people(answer),
                by_year="date" in (options.sort or ""),
            )
        )
        entries = tuple(self._with_photos(whole.entries, MOST_BYTES - _bytes_of(whole)))
        self._progress(self._total)  # matches that were left out are done as well
        return whole._replace(entries=entries)

    def _within(self, whole: Album) -> Album:
        """Leave matches out at the end until the others fit, and say so."""
        notes = whole.notes
        while True:
            if left_out := len(self._answer.matches) - len(whole.entries):
                words = f"This album leaves out {drawing.last_of(left_out)}: there was no room."
                whole = whole._replace(notes=(words, *notes))
            size = _bytes_of(whole)
            if size <= MOST_BYTES or not whole.entries:
                return whole
            kept = min(len(whole.entries) - 1, len(whole.entries) * MOST_BYTES // size)
            whole = whole._replace(entries=whole.entries[:kept])

    def _asked(self) -> Iterator[AskedFace]:
        """The faces that were asked for."""
        entries = [
            entry
            for entry in (*self._answer.query, *self._answer.others.get("with", ()))
            if not isinstance(entry, Faceless)
        ]
        for entry in entries[:_MOST_ASKED]:
            if (picture := self._picture_of(entry)) is not None:
                yield AskedFace(*album_words.face(entry), picture)
        if (more := len(entries) - _MOST_ASKED) > 0:
            yield AskedFace(f"and {more} more", "", "not shown")

    def _picture_of(self, entry: QueryEntry) -> Shown | None:
        """The face that was asked for; None of people of whom no photo shows a face that is known to be them."""
        if isinstance(entry, (QueryPerson, QueryGroup)):
            face_id = drawing.clearest_face(self._options, entry)
            return None if face_id is None else self._picture({"face_id": face_id})
        if (photo := entry.asked.photo) is None or not isinstance(entry, QueryFace):
            return self._picture({"face_id": entry.asked.who.face_id})
        box = list(entry.box)

        def call() -> Any:
            params = {**photo.param(), "box": box, "size": _ASKED_SIZE}
            return self._result(Call("thumbnail", params))

        try:
            return _shown(ask(call, [photo]))
        except RemoteError as error:
            return _shown(error)

    def _picture(self, params: dict[str, Any]) -> Shown:
        try:
            return _shown(self._result(Call("thumbnail", {**params, "size": _ASKED_SIZE})))
        except RemoteError as error:
            return _shown(error)

    def _result(self, call: Call) -> Any:
        """The result of one request. Raises `RemoteError`."""
        (result,) = self._daemon.results([call])
        if isinstance(result, RemoteError):
            raise result
        return result

    def _entries(self) -> Iterator[Entry]:
        """The matches, without their photos."""
        crops = self._crops()
        names = album_words.people(self._answer)
        named = any_other_person(self._matches, self._answer.asked_names)
        here = [match for match in self._matches if not match.host]
        documents = self._daemon.results(Call("faces", {**_photo_of(each), "names": True}) for each in here)
        for match, shown in zip(self._matches, crops, strict=True):
            self._step()
            said = tuple(album_words.remarks(self._options, match, names, named=named))
            entry = Entry(match, shown, remarks=said, size=match.size)
            document = None if match.host else next(documents)
            if document is not None and not isinstance(document, RemoteError):
                seen = [SeenFace(face.box, face.who.name if face.who else "") for face in photo_faces(document)]
                with reading_answer():
                    size = int(document["width"]), int(document["height"])
                entry = entry._replace(size=size, faces=tuple(seen))
            yield entry
        assert next(documents, None) is None

    def _crops(self) -> list[tuple[Shown, ...]]:
        """The faces of each match; of a photo on which a person stands without a face, the photo.

        None of a photo of another machine.
        """
        size = {"size": _ASKED_SIZE} if len(self._matches) <= _LARGE_FACES else {}
        named = [
            [
                _photo_of(match) if face_id is None else {"face_id": face_id}
                for face_id in ([] if match.host else _face_ids(match))
            ]
            for match in self._matches
        ]
        calls = (Call("thumbnail", {**params, **size}) for each in named for params in each)
        results = map(_shown, self._daemon.results(calls))
        crops = []
        for each in named:
            crops.append(tuple(next(results) for _ in each))
            self._step()
        assert next(results, None) is None
        return crops

    def _with_photos(self, entries: Sequence[Entry], room: int) -> Iterator[Entry]:
        """The matches with their photos, in at most ``room`` bytes."""
        photos = self._photos([entry for entry in entries if not entry.match.host], room)
        for entry in entries:
            self._step()
            yield entry if entry.match.host else entry._replace(photo=next(photos))
        assert next(photos, None) is None

    def _photos(self, entries: Sequence[Entry], room: int) -> Iterator[Shown]:
        """The photos of this machine."""
        used, area = 0, 0
        sizes = [size for size in _PHOTO_SIZES if size <= MANY_SIZE or len(entries) <= _LARGE_PHOTOS]
        for start in range(0, len(entries), _BATCH):
            batch = entries[start : start + _BATCH]
            rate = _SPARE * used / area if area else _BYTES_OF_SIDE
            size = photo_size(sizes, (room - used) / rate, len(entries) - start, len(batch))
            params = {"photo": True, "size": size}
            calls = [Call("thumbnail", {**_photo_of(entry.match), **params}) for entry in batch if size]
            results = map(_shown, self._daemon.results(calls))
            for _ in batch:
                photo = next(results) if size else _NO_ROOM
                if isinstance(photo, Picture) and used + len(photo.jpeg) <= room:
                    used, area = used + len(photo.jpeg), area + size * size
                elif isinstance(photo, Picture):
                    photo = _NO_ROOM
                elif photo != _NO_ROOM:
                    used += len(escape(photo).encode())
                yield photo
            assert next(results, None) is None

    def _step(self) -> None:
        self._done += 1
        self._progress(self._done)

    def _progress(self, done: int) -> None:
        if self._shows_progress and self._total:
            drawing.progress(done, self._total)


def _bytes_of(whole: Album) -> int:
    """How many bytes an album takes whose photos are still to come, with all that is written around them."""
    around = [entry._replace(photo=Picture("", 9999, 9999)) for entry in whole.entries]
    return len(album.render(whole._replace(entries=tuple(around)))) + len(_NO_ROOM) * len(around)


def photo_size(sizes: Sequence[int], room: float, photos: int, batch: int) -> int:
    """Return which of the sizes the photos of the next batch have; 0 where not even they fit.

    ``room``: the sum of the squares of their longer sides. ``photos``: those to come, of which ``batch`` are the next.
    """
    for size in sizes:
        if size * size * photos <= room:
            return size
    return size if size * size * batch <= room else 0


def _shown(document: Any) -> Shown:
    """Return a picture, or in words why there is none."""
    if isinstance(document, RemoteError):
        reason = re.sub(r"\A/.*?: ", "", document.message, flags=re.DOTALL)  # the card has the path
        return printable(one_line(reason))
    with reading_answer():
        return Picture(str(document["jpeg"]), int(document["width"]), int(document["height"]))


def _face_ids(match: Match) -> list[int | None]:
    """The faces that are shown of a match: its own, or those of all people who were asked for together."""
    return [term.face_id for term in match.terms] or [match.face_id]


def _photo_of(match: Match) -> dict[str, Any]:
    """What names a match's photo: one of its faces, else its path."""
    face_id = next((each for each in _face_ids(match) if each is not None), None)
    return path_param(os.fsdecode(match.path)) if face_id is None else {"face_id": face_id}
