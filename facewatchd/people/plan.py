"""What a call that says something is to write: decided here, and written by the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

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
    """Statements that a later one contradicts."""
    moved: tuple[str, ...]
    """The names of those whose faces became this person's."""


@dataclass(slots=True)
class Plan:
    """What a call of `say` is to write. New people have negative ids until they are written."""

    people: dict[str, Person] = field(default_factory=dict)
    """The new ones, by `name_key`."""
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

    ``described``: by `name_key`, what is known of those who are new. ``now``: Unix time. Raises `BadNameError`.
    """
    plan = Plan()
    for name, statements in said:
        proper, key = proper_name(name), name_key(proper_name(name))
        known = snapshot.by_key.get(key) or plan.people.get(key)
        about = described.get(key, Person(0, proper))
        person = known or Person(-1 - len(plan.people), proper, about.born, about.hidden)
        if known is None:
            plan.people[key] = person
        counts = _plan_statements(plan, snapshot, person, statements, source, now)
        plan.said.append(Said(person, known is None, *counts))
    return plan


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
        if new.at is not None and any(each.at > new.at for each in replaced):
            outdated += 1
            continue
        moved |= {each.person: None for each in replaced if each.person != person.id}
        plan.statements.append(statement)
        plan.counting[new.digest] = added(before, statement)
    names = {each.id: each.name for each in (*snapshot.people, *plan.people.values())}
    return len(plan.statements) - first, known, outdated, tuple(names[each] for each in moved)
