"""The photos that `facewatch-query` sends. Standard library only.

A photo is sent by its path, so that the daemon can answer for an indexed one from its catalog. Its bytes are sent
instead where the path leads to nothing for the daemon: standard input, a pipe, ``/dev/fd/63``; and for a file that the
daemon reports as unreadable and that this user can read.
"""

from __future__ import annotations

import _thread
import binascii
import os
import re
import stat
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from facewatchd.client.connection import MAX_LINE, RemoteError
from facewatchd.errors import TooLargeError, UnreadablePhotoError, UsageError
from facewatchd.text import printable

STDIN = "-"
ON_HOST = r"([^/:]+):(/.*)?"
"""A photo or a directory of another machine, or all of it. A name of this machine that looks so is ``./nas:``."""
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


def photo_path(argument: str) -> str:
    """Return the path of a photo, as `local_path` does. Raises `UsageError` also for ``nas:/srv/x.jpg``, as a photo of
    another machine is printed: only a person or a face is found there."""
    path = local_path(argument)
    if re.fullmatch(ON_HOST, path, re.DOTALL) and not os.path.lexists(path):
        raise UsageError(f"{argument} is not on this machine", "copy the photo here, and name the copy")
    return path


def path_param(path: str) -> dict[str, str]:
    """Return a path as a parameter: absolute, and base64 where it is not UTF-8."""
    absolute = os.fsencode(os.path.abspath(path))
    try:
        return {"path": absolute.decode("utf-8")}
    except UnicodeDecodeError:
        return {"path_bytes": binascii.b2a_base64(absolute, newline=False).decode("ascii")}


def ask(call: Callable[[], Any], photos: Sequence[QueryPhoto]) -> Any:
    """Make the call; where the daemon cannot read a photo, make it again with the bytes.

    Those of the photo that the error names; where it names none, of all that were sent by path.
    """
    while True:
        try:
            return call()
        except RemoteError as error:
            if error.kind == UnreadablePhotoError.kind and _send_bytes(error, photos):
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
    """Replace numbers of photos by their names where a message begins with two WHOs that are not one person."""
    pair, words, rest = message.partition(" do not look like ")
    if not words:
        return message

    def name(number: str) -> str:
        return photos[int(number) - 1].name if 0 < int(number) <= len(photos) else f"photo {number}"

    if both := re.fullmatch(r"photos ([0-9]+) and ([0-9]+)", pair):
        pair = f"{name(both[1])} and {name(both[2])}"
    else:
        one = r"^photo ([0-9]+)(?= and )|(?<= and )photo ([0-9]+)$"
        pair = re.sub(one, lambda found: name(found[1] or found[2]), pair)
    return f"{pair}{words}{rest}"


def _send_bytes(error: RemoteError, photos: Sequence[QueryPhoto]) -> bool:
    if re.match(r"photo [0-9]+: ", error.message):
        return False  # it is about bytes that were sent
    named = [photo for photo in photos if photo.data is None and printable(photo.path) in error.message]
    changed = [photo.send_bytes() for photo in named or photos]
    return any(changed)


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
