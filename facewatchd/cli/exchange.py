"""``facewatchd export FILE`` and ``facewatchd import FILE``: the backup of what a user said, and of faces.

`api.export_format` describes the lines. They come from the daemon, and go to it, in pages: the memory that a million
faces take is that of one page. A file is read twice: everything in it is checked before anything of it is imported.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import json
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from facewatchd.client.answer import reading_answer
from facewatchd.client.connection import INVALID_PARAMS, Connection, RemoteError
from facewatchd.console.arguments import Parser
from facewatchd.console.progress import advancing
from facewatchd.console.streams import on_terminal, say, write
from facewatchd.errors import UsageError
from facewatchd.system import atomic_files
from facewatchd.text import counted, one_line, printable

STANDARD = "-"
MOST_LINE = 32 << 20
"""Bytes of a line: that of a photo with 10,000 faces."""
BLOCK = 4 << 20
"""Bytes of lines that are sent at once; a longer line is sent alone."""
MOST_PEOPLE = 45 << 20
"""Bytes of what is said, which is sent at once: as base64 it fits into the protocol's longest line. Some 250,000
statements."""
TIMEOUT = 600.0
"""Seconds for one block: what is recorded goes into the index, and the disk may be slow."""

_PEOPLE = ("person", "statement", "ignored", "photo")
_CONTENT = "content"
_KINDS = ("format", *_PEOPLE, _CONTENT, "end")


def add_export_options(parser: Parser) -> None:
    """Add the options of ``export``."""
    parser.description = (
        "Write everything that you said of people to a new file that only you can read, as JSON lines: a backup of what"
        " cannot be made again. `facewatchd import` takes it back, on this machine or another one, wherever the photos"
        " lie then: they are known by their bytes. It names people and tells which photos they are on."
    )
    parser.add_argument("file", metavar="FILE", help="the file to make, which must not be there; - is standard output")
    parser.add_argument(
        "--embeddings",
        action="store_true",
        help="also all faces: an import on a machine with the same model then has nothing to embed",
    )


def add_import_options(parser: Parser) -> None:
    """Add the options of ``import``."""
    parser.description = (
        "Say what an export says, beside what was said here: people of one name are one person, and of two statements"
        " that contradict each other the later one counts. Faces in it are taken where they are of the model that runs:"
        " their photos are then not embedded. Nothing is imported of a file in which a line is wrong. To import again"
        " changes nothing; `facewatchd people undo` takes the names back."
    )
    parser.add_argument("file", metavar="FILE", help="what export wrote; - is standard input")


# Export


def export(options: argparse.Namespace) -> int:
    """Write everything that was said of people, and with --embeddings all faces."""
    with Connection(options.socket, TIMEOUT) as daemon:
        if options.file == STANDARD:
            numbers = _exported(daemon, write, embeddings=options.embeddings)
        else:
            numbers = _export_to_file(daemon, Path(options.file), embeddings=options.embeddings)
    if options.file != STANDARD or not on_terminal():
        what = f"{counted(numbers['person'], 'person', 'people')}, {counted(numbers['statement'], 'statement')}"
        faces = f", {counted(numbers[_CONTENT], 'photo')} with their faces" if options.embeddings else ""
        where = "" if options.file == STANDARD else f": {printable(options.file)}"
        say(f"{what}{faces}{where}")
    return 0


def _export_to_file(daemon: Connection, path: Path, *, embeddings: bool) -> dict[str, int]:
    try:
        if os.path.lexists(path):  # else that is noticed only when everything is written
            raise FileExistsError
        with atomic_files.written(path, lambda _: False, mode=0o600) as file:

            def write_to_file(data: bytes) -> bool:
                file.write(data)
                return True

            return _exported(daemon, write_to_file, embeddings=embeddings)
    except FileExistsError as exc:
        raise UsageError(f"{path} is there already", "name a new file") from exc
    except OSError as exc:
        raise UsageError(f"cannot write {path}: {one_line(exc)}", "name another file") from exc


def _exported(daemon: Connection, write_out: Callable[[bytes], bool], *, embeddings: bool) -> dict[str, int]:
    """Write all lines; return how many there are of each kind. Stops where the reader is gone."""
    numbers = dict.fromkeys((*_PEOPLE, _CONTENT), 0)
    with advancing("export", " photos") as progress:
        for page in _pages(daemon, embeddings=embeddings):
            for line in page:
                numbers[next(iter(line))] = numbers.get(next(iter(line)), 0) + 1
            if not write_out(b"".join(map(_line, page))):
                return numbers
            if progress and numbers[_CONTENT]:
                progress(numbers[_CONTENT], 0)
    del numbers["format"]
    if not numbers["ignored"]:
        del numbers["ignored"]  # as version 1 has it
    write_out(_line({"end": numbers}))
    return numbers


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode("ascii") + b"\n"


def _pages(daemon: Connection, *, embeddings: bool) -> Iterator[list[dict[str, Any]]]:
    version: int | None = None
    for part in ("people", "photos", *(["contents"] if embeddings else [])):
        after: int | None = 0
        while after is not None:
            seen = {} if part == "contents" else {"version": version}
            answer = daemon.call("export", part=part, after=after, embeddings=embeddings, **seen)
            with reading_answer():
                page, after, version = list(answer["lines"]), answer["next"], answer["version"]
            yield page


# Import


@dataclass(slots=True)
class _Contents:
    """What the first reading of a file found."""

    model: str | None = None
    """The id of the model whose faces are in it."""
    people: bytearray = field(default_factory=bytearray)
    """The lines of what was said; in the place of each other line before the last of them is an empty one, so that a
    line's number is its place."""
    numbers: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_KINDS, 0))
    lines: int = 0
    copied: int = 0
    """Lines in ``people``."""

    def take(self, line: bytes, entry: dict[str, Any], kind: str) -> None:
        """Note a line."""
        self.lines += 1
        if self.numbers["end"]:
            raise UsageError(f"line {self.lines}: there is more after the end")
        self.numbers[kind] += 1
        if (kind == "format") != (self.lines == 1):
            raise UsageError(f"line {self.lines}: " + ("a second header" if kind == "format" else "there is no header"))
        if kind == "format":
            model = entry.get("model")
            self.model = model if isinstance(model, str) else None
        if kind == "end":
            self._compare(entry["end"])
        if kind in (*_PEOPLE, "format"):
            self.people += b"\n" * (self.lines - 1 - self.copied) + line.rstrip(b"\n") + b"\n"
            self.copied = self.lines
        if len(self.people) > MOST_PEOPLE:
            raise UsageError(f"there are more than {MOST_PEOPLE >> 20} MiB of statements", "import them in two files")

    def _compare(self, written: object) -> None:
        found = {kind: self.numbers[kind] for kind in (*_PEOPLE, _CONTENT)}
        if isinstance(written, dict) and "ignored" not in written:  # of version 1
            written = {**written, "ignored": 0}
        if written != found:
            raise UsageError(f"line {self.lines}: lines are missing: {written} were written, and {found} are here")


def import_(options: argparse.Namespace) -> int:
    """Say what an export says, and record its faces where they are of the model that runs."""
    name = "standard input" if options.file == STANDARD else printable(options.file)
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(Connection(options.socket, TIMEOUT))
        file = stack.enter_context(_opened(options.file))
        with reading_answer():
            model = str(daemon.call("status")["model"]["id"])
        try:
            contents = _read(file, lambda header: daemon.call("import_people", data=_base64(header), check=True))
            takes_faces = contents.model == model
            _check(daemon, file, contents, takes_faces=takes_faces)
            _import_people(daemon, contents)
            if takes_faces:
                _import_faces(daemon, file, contents)
        except UsageError as exc:
            raise UsageError(f"{name}: {exc.message}", exc.hint or "nothing of it was imported") from exc
        except RemoteError as exc:
            if exc.code == INVALID_PARAMS and exc.message.startswith("line "):
                raise UsageError(f"{name}: {exc.message}", exc.hint) from exc
            raise
    if contents.numbers[_CONTENT] and not takes_faces:
        photos = counted(contents.numbers[_CONTENT], "photo")
        say(f"the faces of {photos} are left out: they are of the model {printable(str(contents.model))}, not {model}")
    return 0


@contextlib.contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    """Open the file, of which a copy is made where it can be read only once."""
    if name == STANDARD:
        if sys.stdin is None:
            raise UsageError("standard input is closed", "name a file")
        with _copied(sys.stdin.buffer) as file:
            yield file
        return
    try:
        with open(name, "rb") as source:
            if stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                yield source
            else:
                with _copied(source) as file:
                    yield file
    except OSError as exc:
        raise UsageError(f"cannot read {name}: {one_line(exc)}", "name a file that export wrote") from exc


@contextlib.contextmanager
def _copied(source: BinaryIO) -> Iterator[BinaryIO]:
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(
                tempfile.TemporaryFile(buffering=0)
            )  # without a name; only this user can read it
            while data := memoryview(source.read(BLOCK)):
                while data:
                    data = data[file.write(data) :]
        except OSError as exc:
            hint = "set TMPDIR to a directory with more room, or name a file"
            raise UsageError(f"cannot keep what is read: {one_line(exc)}", hint) from exc
        yield io.BufferedReader(file, BLOCK)


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, dict[str, Any], str]]:
    """Each line, its object, and the kind of it. Raises `UsageError`."""
    file.seek(0)
    number = 0
    while line := file.readline(MOST_LINE + 1):
        number += 1
        line = line if number > 1 else line.removeprefix(b"\xef\xbb\xbf")  # which some editors write
        if len(line) > MOST_LINE:
            raise UsageError(f"line {number}: it has more than {MOST_LINE >> 20} MiB")
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as exc:
            raise UsageError(f"line {number}: it is no JSON object") from exc
        kind = next((kind for kind in _KINDS if kind in entry), None) if isinstance(entry, dict) else None
        if kind is None:
            raise UsageError(f"line {number}: it is no line of an export of facewatchd")
        yield line, entry, kind


def _read(file: BinaryIO, check_header: Callable[[bytes], object]) -> _Contents:
    """Read what is in the file. ``check_header``: called with the first line, as its version says what may follow."""
    contents = _Contents()
    for line, entry, kind in _lines(file):
        contents.take(line, entry, kind)
        if kind == "format":
            check_header(line)
    if not contents.lines:
        raise UsageError("it is empty")
    if not contents.numbers["end"]:
        raise UsageError(f"its end is missing: it was cut off after line {contents.lines}")
    return contents


def _check(daemon: Connection, file: BinaryIO, contents: _Contents, *, takes_faces: bool) -> None:
    """Have the daemon check every line that is to be imported."""
    daemon.call("import_people", data=_base64(contents.people), check=True)
    if takes_faces:
        with advancing("check", " photos") as progress:
            done = 0
            for first, block, number in _blocks(file):
                daemon.call("import_contents", data=_base64(block), first=first, check=True)
                done += number
                if progress:
                    progress(done, contents.numbers[_CONTENT])


def _import_people(daemon: Connection, contents: _Contents) -> None:
    result = daemon.call("import_people", data=_base64(contents.people))
    with reading_answer():
        people, statements = counted(int(result["people"]), "person", "people"), int(result["statements"])
        parts = [f"{int(result['added'])} added", f"{int(result['known'])} said before"]
        if replaced := int(result["replaced"]):
            parts.append(f"{replaced} of before replaced")
        if outdated := int(result["outdated"]):
            parts.append(f"{outdated} left out, as what was said here is no older")
        if described := int(result["described"]):
            parts.append(f"{counted(described, 'person', 'people')} described anew")
        write(f"{people}, {counted(statements, 'statement')}: {', '.join(parts)}\n")
        absent = result["absent"]
        if count := int(absent["count"]):
            names = [printable(str(path)) for path in absent["paths"][:3]]
            more = f": {', '.join(names)}{' ...' if count > len(names) else ''}" if names else ""
            say(f"{counted(count, 'photo')} with statements not found here yet{more}")


def _import_faces(daemon: Connection, file: BinaryIO, contents: _Contents) -> None:
    done = new = 0
    total = contents.numbers[_CONTENT]
    try:
        with advancing("import", " photos") as progress:
            for first, block, number in _blocks(file):
                result = daemon.call("import_contents", data=_base64(block), first=first)
                with reading_answer():
                    new += int(result["new"])
                done += number
                if progress:
                    progress(done, total)
    except KeyboardInterrupt:
        say(f"stopped after the faces of {done} of {counted(total, 'photo')}: import again to go on")
        raise
    write(f"{counted(total, 'photo')} with their faces: {new} added, {total - new} known before\n")


def _blocks(file: BinaryIO) -> Iterator[tuple[int, bytes, int]]:
    """Contents in blocks: the number of the first line, the lines, and how many contents there are in them.

    In the place of each other line between them is an empty one.
    """
    block, first, number = bytearray(), 1, 0
    for at, (line, _, kind) in enumerate(_lines(file), 1):
        if not block:
            first = at
        block += line if kind == _CONTENT else b"\n"
        number += kind == _CONTENT
        if len(block) >= BLOCK:
            yield first, bytes(block), number
            block, number = bytearray(), 0
    if number:
        yield first, bytes(block), number


def _base64(data: bytes | bytearray) -> str:
    return base64.b64encode(data).decode("ascii")
