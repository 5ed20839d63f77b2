"""The photos that `facewatch-query` sends, and the answer read into values. Standard library only.

A photo is sent by its path, so that the daemon can answer for an indexed one from its catalog. Its bytes are sent
instead where the path leads to nothing for the daemon: standard input, a pipe, ``/dev/fd/63``; and for a file that the
daemon reports as unreadable and that this user can read.
"""

from __future__ import annotations

import _thread
import binascii
import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

from facewatchd.client.connection import MAX_LINE, RemoteError
from facewatchd.errors import FacewatchError, TooLargeError, UnreadablePhotoError, UsageError
from facewatchd.matches import Also, Box, Match, PhotoFace

STDIN = "-"
MAX_BYTES = MAX_LINE // 4 * 3 - 65536
"""Bytes of the largest photo that fits into a line in base64, with 64 KiB for the rest of the request."""

_OF_THIS_PROCESS = ("/dev/", "/proc/")
_STAT_TIMEOUT = 2.0
"""Seconds for a disk to answer with the type of a file."""


class QueryPhoto:
    """A photo as the user named it. ``data`` is None while it can be sent by its path."""

    def __init__(self, argument: str) -> None:
        """Read the photo now if its path leads to nothing for the daemon.

        Raises `UnreadablePhotoError` or `TooLargeError` where that fails, `UsageError` for a terminal or a directory.
        """
        self.argument = argument
        self.path = os.path.abspath(argument)
        self.data: bytes | None = None
        if argument == STDIN:
            self.data = _read_stdin()
        elif stat.S_ISDIR(_mode(self.path)):
            raise UsageError(f"{argument} is a directory", "name a photo; to search below a directory only: -d DIR")
        elif self.path.startswith(_OF_THIS_PROCESS) or _is_fifo(self.path):
            self.data = self._read()

    @property
    def name(self) -> str:
        """The photo's name in a message."""
        return "standard input" if self.argument == STDIN else self.argument

    @property
    def text(self) -> str:
        """The user's argument as valid Unicode, for a JSON document."""
        return _utf8(self.argument)

    def param(self) -> dict[str, str]:
        """Return the photo as a parameter of a request."""
        if self.data is None:
            return path_param(self.path)
        return {"data": binascii.b2a_base64(self.data, newline=False).decode("ascii")}

    def send_bytes(self) -> bool:
        """Read the file, so that its bytes are sent from now on. False where they already were, or cannot be read."""
        if self.data is not None or not _is_regular(self.path):
            return False
        try:
            self.data = self._read()
        except UnreadablePhotoError:
            return False
        return True

    def _read(self) -> bytes:
        try:
            with open(self.path, "rb") as file:
                return _read_limited(file, self.name)
        except OSError as exc:
            raise _unreadable(self.name, exc) from exc


class QueryFace(NamedTuple):
    """A face that was searched for."""

    photo: QueryPhoto
    number: int
    """From 0, left to right."""
    faces: int
    """How many the photo has."""
    box: Box
    score: float
    quality: str = ""
    """What can be said against it, in words."""
    left_out: bool = False
    """Whether it is not searched for, because it is too blurred."""
    child: bool = False
    """Whether the daemon said that it is a small child's."""


class Faceless(NamedTuple):
    """A photo of several that has no face and is left out of the search."""

    photo: QueryPhoto


class ExpectedFalse(NamedTuple):
    """How many of the matches are expected to show somebody else."""

    number: float | None
    """None where that cannot be told."""
    at_most: bool
    """Whether there may be fewer, but hardly more."""


class Answer:
    """The result of a ``query``: as values, and as the document that ``--json`` prints."""

    def __init__(self, document: Any, photos: Sequence[QueryPhoto], *, every_face: bool) -> None:
        """Read the daemon's document; in ``document`` the photos have the names that the user gave.

        Raises `FacewatchError` for a document of another shape.
        """
        with reading_answer():
            self.query = _query_entries(document["query"], photos, every_face=every_face)
            self.matches = [_match(item) for item in document["matches"]]
            self.total = int(document["total"])
            self.threshold = float(document["threshold"])
            self.model = str(document["model"])
            self.faces = int(document["faces"])
            self.pending = int(document["pending"])
            self.complete = bool(document["complete"])
            self.exact = bool(document["exact"])
            self.elapsed_ms = float(document["elapsed_ms"])
            self.expected_false = _expected_false(document.get("expected_false"))
        named = [{**entry, "photo": used.photo.text} for entry, used in zip(document["query"], self.query, strict=True)]
        self.document: dict[str, Any] = {**document, "query": named}


def local_path(argument: str) -> str:
    """Return the path of a ``file:`` URL, as file managers copy it; any other argument as it is.

    Raises `UsageError` for a URL of another machine or of no file's name, and for an empty name, which else would be
    the current directory. A file by that very name wins.
    """
    if not argument:
        raise UsageError("a name is empty", "name a file or a directory: perhaps a shell variable is unset")
    scheme, colon, rest = argument.partition(":/")
    if not colon or scheme.lower() not in ("file", "http", "https") or os.path.lexists(argument):
        return argument
    host, _, path = rest[1:].partition("/") if rest.startswith("/") else ("", "", rest)
    if scheme.lower() != "file" or host not in ("", "localhost"):
        raise UsageError(f"{argument} is not on this machine", "save the photo, and name the file")
    from urllib.parse import unquote_to_bytes

    name = os.fsdecode(unquote_to_bytes(f"/{path}".encode("utf-8", "surrogateescape")))
    if "\0" in name:
        raise UsageError(f"{argument} is not a file name", "a name cannot hold %00")
    return name


def path_param(path: str) -> dict[str, str]:
    """Return a path as a parameter: absolute, and base64 where it is not UTF-8."""
    absolute = os.fsencode(os.path.abspath(path))
    try:
        return {"path": absolute.decode("utf-8")}
    except UnicodeDecodeError:
        return {"path_bytes": binascii.b2a_base64(absolute, newline=False).decode("ascii")}


def ask(call: Callable[[], Any], photos: Sequence[QueryPhoto]) -> Any:
    """Make the call; where the daemon cannot read a photo, make it again with the bytes.

    The error does not name one of several photos, so the bytes of all that were sent by path are read.
    """
    while True:
        try:
            return call()
        except RemoteError as error:
            if error.kind == UnreadablePhotoError.kind and _send_bytes(photos):
                continue
            message = _named(error, photos)
            raise RemoteError(message, error.hint, code=error.code, kind=error.kind) from error


def _named(error: RemoteError, photos: Sequence[QueryPhoto]) -> str:
    """Put the name of the photo into an error. The daemon numbers photos that were sent as bytes, from 1."""
    if not error.kind:
        return _with_both_named(error.message, photos)
    if len(photos) == 1:
        return error.message if photos[0].data is None else f"{photos[0].name}: {error.message}"
    number, colon, message = error.message.removeprefix("photo ").partition(": ")
    if not (error.message.startswith("photo ") and colon and number.isdecimal() and 0 < int(number) <= len(photos)):
        return error.message
    return f"{photos[int(number) - 1].name}: {message}"


def _with_both_named(message: str, photos: Sequence[QueryPhoto]) -> str:
    """Replace the numbers of two photos, with which a message begins, by their names."""
    words = message.split(" ", 4)
    if len(words) < 5 or (words[0], words[2]) != ("photos", "and") or not (words[1] + words[3]).isdecimal():
        return message
    try:
        return f"{photos[int(words[1]) - 1].name} and {photos[int(words[3]) - 1].name} {words[4]}"
    except IndexError:
        return message


def _send_bytes(photos: Sequence[QueryPhoto]) -> bool:
    changed = [photo.send_bytes() for photo in photos]
    return any(changed)


@contextlib.contextmanager
def reading_answer() -> Iterator[None]:
    """Raise `FacewatchError` where the block reads an answer of another shape than the protocol's."""
    try:
        yield
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as exc:
        raise FacewatchError(
            "the daemon's answer has another form than this client expects", "restart it: it may be of another version"
        ) from exc


def photo_faces(document: Any) -> list[PhotoFace]:
    """Read the result of ``faces``, left to right."""
    with reading_answer():
        return [PhotoFace(*_seen(face)) for face in document["faces"]]


def _seen(face: Any) -> tuple[Box, float, str]:
    return Box(*map(int, face["box"])), float(face["score"]), ", ".join(map(str, face.get("quality", ())))


def _query_entries(entries: Any, photos: Sequence[QueryPhoto], *, every_face: bool) -> list[QueryFace | Faceless]:
    """Return the entries with the photo that each is of: they come in the order of the photos.

    Each photo has one entry, or with ``--face all`` one a face, numbered upwards from 0. ``face`` is null where the
    photo has none.
    """
    found: list[QueryFace | Faceless] = []
    position, last = 0, None
    for entry in entries:
        number = entry["face"]
        if found and (not every_face or number is None or last is None or number <= last):
            position += 1
        photo, last = photos[position], number
        if number is None:
            found.append(Faceless(photo))
        else:
            left_out, child = (bool(entry.get(name, False)) for name in ("left_out", "child"))
            found.append(QueryFace(photo, int(number), int(entry["faces"]), *_seen(entry), left_out, child))
    return found


def path_of(entry: Any) -> bytes:
    """Return the path in a document of the daemon: UTF-8 there, whatever the locale's encoding of names."""
    encoded = entry.get("path_bytes")
    return str(entry["path"]).encode() if encoded is None else binascii.a2b_base64(encoded)


def _match(item: Any) -> Match:
    encoded = item.get("copies_bytes")
    copies = map(str.encode, item["copies"]) if encoded is None else map(binascii.a2b_base64, encoded)
    of = None if item["of"] is None else int(item["of"])
    also = tuple(Also(int(other["of"]), *_matched(other)) for other in item.get("also", ()))
    verdict = str(item.get("verdict", ""))
    similarity, box, score, face_id = _matched(item) if item["face_id"] is not None else (None, None, None, None)
    return Match(
        path_of(item),
        similarity,
        box,
        score,
        face_id,
        of,
        bool(item["itself"]),
        tuple(copies),
        also,
        verdict=verdict,
        reasons=_reasons(item),
    )


def _expected_false(item: Any) -> ExpectedFalse | None:
    if item is None:
        return None
    count = item["count"]
    return ExpectedFalse(None if count is None else float(count), item["basis"] != "estimate")


def _reasons(item: Any) -> tuple[str, ...]:
    """Why a match may be wrong, in words."""

    def word(reason: str) -> str:
        near = item.get(reason)
        if near is None:
            return _REASONS.get(reason, reason)
        name = f" {os.fsdecode(path_of(near))}" if "path" in near else ""
        return f"{_REASONS.get(reason, reason)}{name} ({float(near['similarity']):.3f})"

    return tuple(word(str(reason)) for reason in item.get("reasons", ()))


CHILD = "a small child's face"
_REASONS = {
    "child": CHILD,
    "rival": "another face on it matches",
    "closer": "more like the person on",
}
"""What is said of the protocol's reasons that do not speak for themselves."""


def _matched(item: Any) -> tuple[float, Box, float, int]:
    return float(item["similarity"]), Box(*map(int, item["box"])), float(item["score"]), int(item["face_id"])


def _read_stdin() -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("'-' reads the photo from standard input, which is a terminal or closed", "pipe one in")
    try:
        data = _read_limited(sys.stdin.buffer, "standard input")
    except OSError as exc:
        raise _unreadable("standard input", exc) from exc
    if not data:
        raise UnreadablePhotoError("standard input is empty", "pipe a photo in")
    return data


def _read_limited(file: BinaryIO, name: str) -> bytes:
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise TooLargeError(
            f"{name} has more than the {MAX_BYTES >> 20} MiB that can be sent",
            "put the photo where the daemon can read it",
        )
    return data


def _unreadable(name: str, exc: OSError) -> UnreadablePhotoError:
    return UnreadablePhotoError(f"cannot read {name}: {exc.strerror or exc}", "name a photo that you can read")


def _utf8(text: str) -> str:
    return os.fsencode(text).decode("utf-8", "replace")


def _is_fifo(path: str) -> bool:
    return stat.S_ISFIFO(_mode(path))


def _is_regular(path: str) -> bool:
    return stat.S_ISREG(_mode(path))


def _mode(path: str) -> int:
    """Return the mode of a file; 0 where there is none, or its disk does not answer: the daemon may know the photo.

    The system call may never return, so another thread makes it. `threads.bounded_calls` does the same for the daemon;
    it is not used here because its import adds a third to the client's start (12 ms of processor time to 37).
    """
    modes = []
    looked = _thread.allocate_lock()
    looked.acquire()

    def look() -> None:
        try:
            modes.append(os.stat(path).st_mode)
        except (OSError, ValueError):
            modes.append(0)
        looked.release()

    _thread.start_new_thread(look, ())
    looked.acquire(timeout=_STAT_TIMEOUT)
    return modes[0] if modes else 0
