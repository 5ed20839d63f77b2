"""The methods of an export and an import: ``export``, ``import_people`` and ``import_contents``.

Lines go through the socket, in pages and blocks: the daemon may run where it does not see the file, and neither side
holds more than one of them. What users said is one block, because all of it is said, or nothing. Faces are recorded
block by block: they could be made again, and what is there already is passed over.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from facewatchd.api import export_format
from facewatchd.api.export_format import LineError
from facewatchd.api.parameters import ExportParameters, ImportContentsParameters, ImportPeopleParameters
from facewatchd.errors import NotReadyError
from facewatchd.indexing.writer import Writer
from facewatchd.people.snapshot import Snapshot
from facewatchd.people.statements import Ignored, NewStatement, Person, Statement, name_key
from facewatchd.people.store import PeopleStore
from facewatchd.scan.roots import Roots
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.shared import forms
from facewatchd.store.catalog import Catalog
from facewatchd.store.embedded import Embedded
from facewatchd.store.gallery import Gallery
from facewatchd.values import ModelInfo

SOURCE: Final = "import"
"""Of statements without a source of their own; every line has one."""
STATEMENTS: Final = 2000
"""In one page."""
DIGESTS: Final = 500
"""In one page."""
CONTENTS: Final = 64
"""In one page: with three faces of 512 numbers each, 600 kB."""
SHOWN: Final = 20
"""Paths of photos that are not here, in a reply."""


@contextlib.contextmanager
def _worded() -> Iterator[None]:
    """Raise a `LineError` as the protocol's error."""
    try:
        yield
    except LineError as exc:
        raise ParamsError(str(exc), "nothing of it was imported") from exc


@dataclass(slots=True)
class _Block:
    """What lines of people, statements and photos say. People are named by `name_key`."""

    people: dict[str, Person] = field(default_factory=dict)
    statements: dict[str, list[NewStatement]] = field(default_factory=dict)
    paths: dict[bytes, list[str]] = field(default_factory=dict)
    """Of photos, by digest."""
    ignored: list[Ignored] = field(default_factory=list)

    @classmethod
    def read(cls, data: bytes, first: int) -> _Block:
        """Read lines. Raises `ParamsError`."""
        block = cls()
        with _worded():
            for number, entry in export_format.lines(data, first):
                export_format.read(number, entry, block._take)
        return block

    def _take(self, entry: dict[str, Any]) -> None:
        if "format" in entry:
            export_format.read_header(entry)
        elif "person" in entry:
            person = export_format.read_person(entry)
            if name_key(person.name) in self.people:
                raise LineError(f"there are two people of the name {person.name!r}")
            self.people[name_key(person.name)] = person
        elif "statement" in entry:
            name, statement = export_format.read_statement(entry)
            if name_key(name) not in self.people:
                raise LineError(f"there is no line before it for the person {name!r}")
            self.statements.setdefault(name_key(name), []).append(statement)
        elif "ignored" in entry:
            self.ignored.append(export_format.read_ignored(entry))
        elif "photo" in entry:
            digest, self.paths[digest] = export_format.read_photo(entry)
        else:
            raise LineError("it is no line of a person, a statement or a photo")

    @property
    def count(self) -> int:
        """The number of statements."""
        return sum(map(len, self.statements.values()))

    @property
    def digests(self) -> set[bytes]:
        """Of the photos that the statements are about."""
        return {statement.digest for said in self.statements.values() for statement in said}

    def leave_out_what_contradicts(self, before: Snapshot) -> int:
        """Leave out the statements that would replace something that was said; return how many.

        Of people who are here, only a date of birth is taken, where none is known. New ones of whom nothing is left to
        be said are left out.
        """
        number = self.count
        for key in self.people.keys() & before.by_key.keys():
            known = before.by_key[key]
            self.people[key] = replace(self.people[key], born=known.born or self.people[key].born, hidden=known.hidden)
        for key, said in self.statements.items():
            person = before.by_key[key].id if key in before.by_key else -1
            self.statements[key] = [new for new in said if not _contradicts(new, person, before)]
            if not self.statements[key] and key not in before.by_key:
                del self.people[key]
        return number - self.count

    def said(self) -> Iterator[tuple[str, list[NewStatement]]]:
        """Each person's statements, the earliest first: of two that contradict each other, the later one counts."""
        for key, person in self.people.items():
            yield person.name, sorted(self.statements.get(key, ()), key=lambda new: new.at or 0.0)


def _contradicts(new: NewStatement, person: int, people: Snapshot) -> bool:
    """Whether a statement would take the place of one that says otherwise."""
    made = Statement(0, person, new.is_person, new.digest, new.box, "", math.inf)
    before = people.by_digest.get(new.digest, ())
    return any(made.replaces(each) and not each.says(new, person) for each in before)


def _ignored(people: Snapshot) -> list[Ignored]:
    return [each for digest in sorted(people.ignored) for each in people.ignored[digest] if each.is_ignored]


class Exchange:
    """Any thread may call the methods."""

    def __init__(
        self,
        catalog: Catalog,
        people: PeopleStore,
        writer: Writer,
        roots: Roots,
        info: ModelInfo,
    ) -> None:
        self._catalog = catalog
        self._people = people
        self._writer = writer
        self._roots = roots
        self._info = info
        self._digests: tuple[int, list[bytes]] = (-1, [])
        """The digests that statements name, in their order, and the `Snapshot.version` that they are of."""

    def export(self, params: ExportParameters) -> dict[str, object]:
        """Return a page of ``lines``, the ``next`` one's place, and the ``version`` of the people.

        Raises `NotReadyError` where the people have changed since the first page.
        """
        people = self._people.people()
        if params.version is not None and params.version != people.version:
            raise NotReadyError("people were changed while they were exported", "export again")
        parts = {"people": self._people_page, "photos": self._photos_page, "contents": self._contents_page}
        lines, following = parts[params.part](params, people)
        return {"lines": lines, "next": following, "version": people.version}

    def _people_page(self, params: ExportParameters, people: Snapshot) -> tuple[list[Any], int | None]:
        lines: list[Any] = []
        if not params.after:
            model, version = self._info.id if params.embeddings else None, 2 if _ignored(people) else 1
            lines.append(export_format.header(time.time(), model, version))
            lines += map(export_format.person_line, people.people)
        names = {person.id: person.name for person in people.people}
        end = params.after + STATEMENTS
        page = people.statements[params.after : end]
        lines += [export_format.statement_line(names[said.person], said) for said in page]
        if end < len(people.statements):
            return lines, end
        return [*lines, *map(export_format.ignored_line, _ignored(people))], None

    def _photos_page(self, params: ExportParameters, people: Snapshot) -> tuple[list[Any], int | None]:
        version, digests = self._digests
        if version != people.version:
            self._digests = people.version, (digests := sorted(people.by_digest))
        end = params.after + DIGESTS
        with self._catalog.reading() as reader:
            found = reader.paths_of(digests[params.after : end])
        lines = [{"photo": digest.hex(), "paths": list(map(self._relative, paths))} for digest, paths in found.items()]
        return lines, end if end < len(digests) else None

    def _relative(self, path: bytes) -> str:
        root = self._roots.of(path)
        return path.removeprefix(root or b"").lstrip(b"/").decode("utf-8", "replace")

    def _contents_page(self, params: ExportParameters, _: Snapshot) -> tuple[list[Any], int | None]:
        with self._catalog.reading() as reader:
            page, following = reader.embedded(params.after, CONTENTS)
        return [forms.content(content) for content in page], following

    def import_people(self, params: ImportPeopleParameters) -> dict[str, object]:
        """Say everything that the lines say, in one step; return the numbers of what that was.

        - ``people`` and ``statements``: in the lines.
        - ``added``; ``known``: said before; ``outdated``: contradicted by what is said here and is no older; ``kept``:
          not said, because it contradicts what was said before and that is to stay.
        - ``replaced``: what was said here before, and contradicts what is said now.
        - ``described``: people here whose date of birth, or whether they are hidden, is now another.
        - ``absent``: photos in the lines that are not here, how many, and the paths of some.

        Raises `ParamsError` for a line that is wrong, and `StorageError`. Then nothing is said.
        """
        block = _Block.read(params.data, params.first)
        result: dict[str, object] = {"people": len(block.people), "statements": block.count}
        if params.check:
            return result
        before = self._people.people()
        kept = block.leave_out_what_contradicts(before) if params.keep else 0
        last = max((each.id for each in before.statements), default=0)
        said = self._people.say_all(block.said(), SOURCE, block.people, block.ignored)
        after = self._people.people()
        added = sum(each.id > last for each in after.statements)  # less what lines took from each other
        return result | {
            "added": added,
            "replaced": max(0, len(before.statements) + added - len(after.statements)),
            "described": sum(after.by_key[key] != before.by_key[key] for key in block.people.keys() & before.by_key),
            "known": sum(each.known for each in said),
            "outdated": sum(each.outdated for each in said),
            "kept": kept,
            "absent": self._absent(block),
        }

    def _absent(self, block: _Block) -> dict[str, object]:
        digests = block.digests
        with self._catalog.reading() as reader:
            absent = digests - reader.paths_of(sorted(digests)).keys()
        paths = sorted(block.paths[digest][0] for digest in absent if block.paths.get(digest))
        return {"count": len(absent), "paths": paths[:SHOWN]}

    def import_contents(self, params: ImportContentsParameters) -> dict[str, object]:
        """Record the contents in the lines that are not known here; return how many there are, and how many are new.

        Raises `ParamsError` for a line that is wrong, and `StorageError`. Then none is recorded.
        """
        contents: list[Embedded] = []
        with _worded():
            for number, entry in export_format.lines(params.data, params.first):
                contents.append(export_format.read(number, entry, self._content))
        new: list[int] = []
        if not params.check and contents:

            def adopt(gallery: Gallery) -> None:
                new.append(gallery.adopt(contents))

            self._writer.call(adopt)
        return {"contents": len(contents), "new": sum(new)}

    def _content(self, entry: dict[str, Any]) -> Embedded:
        if "content" not in entry:
            raise LineError("it is no line of a content")
        return forms.read_content(entry, self._info.dim)
