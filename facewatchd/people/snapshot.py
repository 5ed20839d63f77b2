"""The people and the statements that count at one moment, worked out from the rows of people.sqlite3."""

from __future__ import annotations

import difflib
import sqlite3
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from facewatchd.errors import UnknownPersonError
from facewatchd.people.statements import Ignored, Ledger, Person, RelativeBox, Statement, by_name, name_key

SUGGESTED = 3
"""Most names that are suggested in place of one that nobody has."""
_STATEMENT = "SELECT step, id, person, is_person, digest, x, y, w, h, source, at FROM statement"
_DESCRIPTION = "SELECT person, name, born, hidden FROM description"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that counts at one moment."""

    version: int = 0
    """Of the same file, another one after each change, and never the same again."""
    step: int = 0
    """The id of the last step that can be taken back; 0 where there is none."""
    people: tuple[Person, ...] = ()
    """In the order of their names."""
    statements: tuple[Statement, ...] = ()
    """In the order of their ids."""
    by_digest: Mapping[bytes, tuple[Statement, ...]] = field(default_factory=dict)
    by_key: Mapping[str, Person] = field(default_factory=dict)
    """By `name_key`."""
    merged: Mapping[int, int] = field(default_factory=dict)
    """The person that another one was merged into, by id."""
    ignored: Mapping[bytes, tuple[Ignored, ...]] = field(default_factory=dict)
    """Whether faces are ignored, by the digest of their photo, in the order in which it was said: what counts of it."""
    names: Mapping[int, frozenset[str]] = field(default_factory=dict)
    """All names that each person ever had, by id, also of people who were merged into others."""

    @property
    def digests(self) -> set[bytes]:
        """The photos of which something was said."""
        return {*self.by_digest, *self.ignored}

    def named(self, name: str) -> Person | None:
        """Return the person of a name, without regard to case; None where there is none."""
        return self.by_key.get(name_key(name.strip()))

    def require(self, name: str) -> Person:
        """Return the person of a name. Raises `UnknownPersonError`."""
        if (person := self.named(name)) is None:
            near = difflib.get_close_matches(name_key(name.strip()), self.by_key, SUGGESTED)
            suggested = f"did you mean {' or '.join(self.by_key[key].name for key in near)}? " if near else ""
            raise UnknownPersonError(
                f"there is no person {name.strip()!r}", f"{suggested}`facewatchd people list` lists them"
            )
        return person

    def current(self, person: int) -> Person | None:
        """Return the person with an id, or the one that it was merged into; None where there is none any more."""
        while person in self.merged:
            person = self.merged[person]
        return next((each for each in self.people if each.id == person), None)

    def earlier_names(self, person: Person) -> list[str]:
        """Return the names by which a person was known before, or one who was merged into them, that nobody has now."""
        names = {name for each, had in self.names.items() if self.current(each) == person for name in had}
        return sorted(name for name in names if self.named(name) is None)

    def of(self, person: int) -> list[Statement]:
        """Return the statements about a person, by id."""
        return [statement for statement in self.statements if statement.person == person]


def read(db: sqlite3.Connection, before: Snapshot) -> Snapshot:
    """Work out what counts from all rows. ``before``: what counted until now."""
    (version,) = db.execute("SELECT value FROM meta WHERE key = 'changes'").fetchone()
    mergers = db.execute("SELECT step, person, into_person FROM merger ORDER BY step").fetchall()
    described = [_described(row) for row in db.execute(f"{_DESCRIPTION} ORDER BY id")]
    latest = dict(described)
    names: dict[int, set[str]] = {}
    for number, person in described:
        names.setdefault(number, set()).add(person.name)
    merged = {person: into for _, person, into in mergers}
    people = tuple(by_name(person for person in latest.values() if person.id not in merged))
    # The same objects as before: whether a photo's statements changed is then seen without comparing them.
    known = {each.id: each for each in before.statements}
    ledger, waiting = Ledger(known), deque(mergers)
    for step, *row in db.execute(f"{_STATEMENT} ORDER BY id"):
        while waiting and step is not None and waiting[0][0] < step:
            ledger.merge(*waiting.popleft()[1:])
        ledger.say(_statement(row, known))
    for _, person, into in waiting:
        ledger.merge(person, into)
    by_digest = ledger.by_digest
    statements = sorted((each for said in by_digest.values() for each in said), key=lambda each: each.id)
    by_key = {name_key(person.name): person for person in people}
    (step,) = db.execute("SELECT coalesce(max(id), 0) FROM step").fetchone()
    ignored, every = _ignored(db, before), {number: frozenset(had) for number, had in names.items()}
    return Snapshot(version, step, people, tuple(statements), by_digest, by_key, merged, ignored, every)


def _ignored(db: sqlite3.Connection, before: Snapshot) -> Mapping[bytes, tuple[Ignored, ...]]:
    found: dict[bytes, tuple[Ignored, ...]] = {}
    for digest, x, y, w, h, in_group, at, is_ignored in db.execute(
        "SELECT digest, x, y, w, h, in_group, at, is_ignored FROM ignored ORDER BY id"
    ):
        new = Ignored(digest, RelativeBox(x, y, w, h), bool(in_group), at, bool(is_ignored))
        found[digest] = (*(each for each in found.get(digest, ()) if not new.contradicts(each)), new)
    return before.ignored if before.ignored == found else found


def _described(row: Sequence[Any]) -> tuple[int, Person]:
    number, name, born, hidden = row
    return number, Person(number, name, born, bool(hidden))


def _statement(row: Sequence[Any], before: Mapping[int, Statement]) -> Statement:
    number, person, is_person, digest, x, y, w, h, source, at = row
    known = before.get(number)
    if known is not None and known.person == person:
        return known
    box = None if x is None else RelativeBox(x, y, w, h)
    return Statement(number, person, bool(is_person), digest, box, source, at)
