"""What a call that says something is to write: decided here, and written by the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from facewatchd.people.snapshot import Snapshot
from facewatchd.people.statements import NewStatement, Person, Statement, added, name_key, proper_name

PLACES: Final = 3
"""Of the seconds of a time, in an export."""


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
    """Statements that contradict one that was said later, or at the same time but under another name since."""
    moved: tuple[str, ...]
    """The names of those whose faces became this person's."""


@dataclass(slots=True)
class Plan:
    """What a call of `say` is to write. New people have negative ids until they are written."""

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

    A person who is new is not made where everything that is said of that person is outdated: the earlier name of one
    who was renamed or merged.
    """
    plan = Plan()
    for number, (name, statements) in enumerate(said):
        proper, key = proper_name(name), name_key(proper_name(name))
        known = snapshot.by_key.get(key) or plan.people.get(key)
        about = described.get(key, Person(0, proper))
        person = known or Person(-1 - number, proper, about.born, about.hidden)
        if known is not None:
            plan.described += _described_anew(known, about)
        counts = _plan_statements(plan, snapshot, person, statements, source, now)
        _, _, outdated, _ = counts
        is_new = known is None and (not outdated or outdated < len(statements))
        if is_new:
            plan.people[key] = person
        plan.said.append(Said(person, is_new, *counts))
    return plan


def _described_anew(known: Person, about: Person) -> list[Person]:
    anew = replace(known, born=about.born or known.born, hidden=about.hidden or known.hidden)
    return [] if anew == known else [anew]


def _plan_statements(
    plan: Plan, snapshot: Snapshot, person: Person, statements: Sequence[NewStatement], source: str, now: float
) -> tuple[int, int, int, tuple[str, ...]]:
    known, outdated, first = 0, 0, len(plan.statements)
    moved: dict[int, None] = {}
    for new in statements:
        before = plan.counting.get(new.digest) or snapshot.by_digest.get(new.digest, ())
        if any(each.says(new, person.id) for each in before):
            known += 1
            continue
        at = now if new.at is None else new.at
        statement = Statement(0, person.id, new.is_person, new.digest, new.box, new.source or source, at)
        replaced = [each for each in before if statement.replaces(each)]
        if new.at is not None and any(_stays(each, new.at) for each in replaced):
            outdated += 1
            continue
        moved |= {each.person: None for each in replaced if each.person != person.id}
        plan.statements.append(statement)
        plan.counting[new.digest] = added(before, statement)
    names = {each.id: each.name for each in (*snapshot.people, *plan.people.values(), person)}
    return len(plan.statements) - first, known, outdated, tuple(names[each] for each in moved)


def _stays(said: Statement, at: float) -> bool:
    """Whether a statement stays where one that was said at another time contradicts it.

    Of the same time as an export has it, the one that was here before the call stays: the other may be itself, under a
    name that the person had then.
    """
    before, then = round(said.at, PLACES), round(at, PLACES)
    return before > then or (before == then and bool(said.id))
