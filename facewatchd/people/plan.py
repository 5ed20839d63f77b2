"""The rows that a call of `say` adds: decided here, and written by the store.

What an import brings was said at another time, and perhaps by a clock that is wrong or of people who have other names
by now. To import again changes nothing, so what counts here stays unless the other was said later:

- of the same time, to a thousandth of a second as an export has it;
- where the other is of a time to come: how late it was said is not known.

What is said here of another person, to the same time, is known where the import does not say it of that one as well:
the person was renamed or merged since. A new person of whom nothing is left to be said is not made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from facewatchd.people.snapshot import Snapshot
from facewatchd.people.statements import NewStatement, Person, Statement, added, name_key, proper_name


@dataclass(frozen=True, slots=True)
class Said:
    """What a call of `say` did for one person."""

    person: Person
    is_new: bool
    """Whether the call made the person."""
    added: int
    known: int
    """Statements that were there already."""
    outdated: int
    """Statements that contradict what stays."""
    moved: tuple[str, ...]
    """The names of those whose faces became this person's."""


@dataclass(slots=True)
class Plan:
    """The rows that a call of `say` adds. New people have negative ids until they are written."""

    people: dict[str, Person] = field(default_factory=dict)
    """The new ones, by `name_key`."""
    described: list[Person] = field(default_factory=list)
    """Those who are there already, as they are to be described."""
    statements: list[Statement] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    counting: dict[bytes, tuple[Statement, ...]] = field(default_factory=dict)
    """What would then count of the photos that it is about."""


def planned(
    snapshot: Snapshot,
    said: Iterable[tuple[str, Sequence[NewStatement]]],
    source: str,
    described: Mapping[str, Person],
    now: float,
) -> Plan:
    """Return what is to be written so that all of it is said, where ``snapshot`` is what counts until now.

    ``described``: by `name_key`, when people were born, and whether they are hidden. Of people who are there already,
    that counts which is set. ``now``: Unix time. Raises `BadNameError`.
    """
    plan, said = Plan(), list(said)
    told = {
        (snapshot.by_key[key].id, new.digest, new.is_person, new.at)
        for key, statements in ((name_key(proper_name(name)), statements) for name, statements in said)
        if key in snapshot.by_key
        for new in statements
        if new.at is not None
    }
    for name, statements in said:
        proper, key = proper_name(name), name_key(proper_name(name))
        known = snapshot.by_key.get(key) or plan.people.get(key)
        about = described.get(key, Person(0, proper))
        person = known or Person(-1 - len(plan.people), proper, about.born, about.hidden)
        if known is None:
            plan.people[key] = person
        else:
            plan.described += _described_anew(known, about)
        counts = _plan_statements(plan, snapshot, person, statements, source, now, told)
        is_made = known is None and (bool(counts[0]) or not statements)
        if known is None and not is_made:
            del plan.people[key]
        plan.said.append(Said(person, is_made, *counts))
    return plan


def _described_anew(known: Person, about: Person) -> list[Person]:
    anew = replace(known, born=about.born or known.born, hidden=about.hidden or known.hidden)
    return [] if anew == known else [anew]


def _plan_statements(
    plan: Plan,
    snapshot: Snapshot,
    person: Person,
    statements: Sequence[NewStatement],
    source: str,
    now: float,
    told: Collection[tuple[int, bytes, bool, float | None]],
) -> tuple[int, int, int, tuple[str, ...]]:
    """``told``: what the call says of people who are there: their ids, and digest, ``is_person`` and time."""
    known, outdated, first = 0, 0, len(plan.statements)
    moved: dict[int, None] = {}
    for new in statements:
        before = plan.counting.get(new.digest) or snapshot.by_digest.get(new.digest, ())
        if any(each.says(new, person.id) or _is_same(each, new, told) for each in before):
            known += 1
            continue
        at = now if new.at is None else min(new.at, now)
        statement = Statement(0, person.id, new.is_person, new.digest, new.box, new.source or source, at)
        replaced = [each for each in before if statement.replaces(each)]
        if any(_stays(each, new, now) for each in replaced):
            outdated += 1
            continue
        moved |= {each.person: None for each in replaced if each.person != person.id}
        plan.statements.append(statement)
        plan.counting[new.digest] = added(before, statement)
    names = {each.id: each.name for each in (*snapshot.people, *plan.people.values())}
    return len(plan.statements) - first, known, outdated, tuple(names[each] for each in moved)


def _is_same(said: Statement, new: NewStatement, told: Collection[tuple[int, bytes, bool, float | None]]) -> bool:
    """Whether a statement that counts is the new one, said of a person who had another name then."""
    is_same = said.id > 0 and said.at_as_exported == new.at and said.says(new, said.person)
    return is_same and (said.person, new.digest, new.is_person, new.at) not in told


def _stays(said: Statement, new: NewStatement, now: float) -> bool:
    """Whether a statement that the new one contradicts counts all the same."""
    if new.at is None:
        return False
    if not said.id:  # of the same call
        return said.at > new.at
    return new.at > now or said.at_as_exported >= new.at
