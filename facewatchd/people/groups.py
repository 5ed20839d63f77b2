"""Groups of the faces of one model: those that seem to be one person's, whether the person has a name or not.

**What a group is made of.** Every face is looked at once, in the order of ids: its `NEAREST` neighbours in the index
tell which groups and single faces come into question. It joins the one that leaves most to spare by `grouping.Rule`,
and then whatever of these is one with that group now. So groups grow with new faces, and each face costs one search
and the means of a few groups, however many faces there are. What it costs does not grow with a group either: its mean
is taken of at most `SAMPLE` of its faces.

**Names are not part of it.** A face stays in its group when the user names it, and when the person is recognised on it:
who asks for unknown faces is shown the rest (`api.unknown`). So a group that was named is back under its id when the
name is taken back, and a group of which a part was named goes on with the rest.

**What keeps groups apart** (`Groups._is_forbidden`):

- what the user said: a group never holds a face that is a person and one that is not that person, nor faces of two
  people. Where something is said later, the group is taken apart: each face goes with the one that is most alike to
  it of those of which something was said (`Groups._split`);
- two faces of one photo are two people, unless these two are as alike as two single faces must be: a collage, a mirror;
- what the user ignores does not take a group of other faces with it (`Said.ignored`).

**Ids** are never given twice in a catalog. Where two groups become one, the larger one's id stays, of equal ones the
lower; where a group is taken apart, the largest part keeps it. A group ends when its last face is gone. A face that
is embedded again, or whose photo comes back, finds its group by its neighbours.

The catalog's table ``grouped`` keeps the groups. It is a cache of what the faces say, but for the ids; faces without
a row are still to be looked at. `Groups.now` has only what was written: an id that was seen is never given again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from facewatchd.people.grouping import Rule, Summary, summary

if TYPE_CHECKING:
    from facewatchd.store.catalog_rows import ShownOn
    from facewatchd.store.index import Ids

NEAREST = 32
"""Neighbours of a face that are looked at."""
SAMPLE = 64
"""Faces of a group of which its mean is taken."""
SUMMARIES = 4096
"""Means of groups that are kept in memory: 8 MB for 512 dimensions."""
SHARED = 16
"""Photos on which two groups have faces that are looked at."""
UNSEEN, ALONE = -1, 0
"""In the place of a group's id: the face is still to be looked at, or is in none."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the user said of faces, by id."""

    person_of: Mapping[int, int] = field(default_factory=dict)
    """The person that a face is."""
    not_of: Mapping[int, frozenset[int]] = field(default_factory=dict)
    """The people that a face is not."""
    ignored: frozenset[int] = frozenset()
    """Faces that are ignored with their group."""

    def people(self, faces: Iterable[int]) -> set[int]:
        """Return who some faces are."""
        return {self.person_of[face] for face in faces if face in self.person_of}

    def nobody(self, faces: Iterable[int]) -> set[int]:
        """Return who some of the faces are not."""
        return {person for face in faces if face in self.not_of for person in self.not_of[face]}

    def contradicts(self, faces: Sequence[int]) -> bool:
        """Whether faces are two people, or one is a person and another is not that person."""
        people = self.people(faces)
        return len(people) > 1 or bool(people & self.nobody(faces))

    def changed(self, other: Said) -> set[int]:
        """Return the faces of which the other says something else."""
        pairs: tuple[tuple[Mapping[int, object], Mapping[int, object]], ...] = (
            (self.person_of, other.person_of),
            (self.not_of, other.not_of),
        )
        found = set(self.ignored ^ other.ignored)
        for one, another in pairs:
            found |= {face for face in one.keys() | another.keys() if one.get(face) != another.get(face)}
        return found


class Source(Protocol):
    """Where the faces are."""

    def embeddings(self, faces: Sequence[int]) -> tuple[Ids, NDArray[np.float32]]:
        """Return those of the faces that are there, by ascending id, with their embeddings (n, dim)."""

    def nearest(self, embedding: NDArray[np.float32], threshold: float, most: int) -> Ids:
        """Return the faces that are most alike to one, from a similarity on."""

    def are_children(self, embeddings: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return whether each face is a small child's."""


@dataclass(frozen=True, slots=True, eq=False)
class Now:
    """The groups as they were last written. Arrays of shape (n,), by ascending face id."""

    faces: NDArray[np.int64]
    groups: NDArray[np.int64]
    contents: NDArray[np.int64]
    norms: NDArray[np.float64]
    sizes: NDArray[np.int64]
    unseen: int = 0
    """Faces that are still to be looked at."""

    def chosen(self, which: NDArray[np.bool_]) -> Now:
        """Return the same of some of the faces."""
        faces, groups, contents = self.faces[which], self.groups[which], self.contents[which]
        return Now(faces, groups, contents, self.norms[which], self.sizes[which], self.unseen)

    def of(self, group: int) -> NDArray[np.int64]:
        """Return the faces of a group."""
        found: NDArray[np.int64] = self.faces[self.groups == group]
        return found


def nothing() -> Now:
    """Return no groups."""
    none = np.empty(0, np.int64)
    return Now(none, none, none, np.empty(0), none)


class _Table:
    """What is known of each face without its embedding: arrays by face id."""

    def __init__(self) -> None:
        self.group = np.full(1024, UNSEEN, np.int64)
        self.content = np.zeros(1024, np.int64)
        """0 where there is no such face."""
        self.norm = np.zeros(1024, np.float64)
        self.size = np.zeros(1024, np.int64)

    def add(self, faces: ShownOn) -> None:
        last = int(faces.ids.max(initial=0))
        if last >= len(self.group):
            more = max(last + 1, len(self.group) * 3 // 2) - len(self.group)
            self.group = np.append(self.group, np.full(more, UNSEEN, np.int64))
            self.content = np.append(self.content, np.zeros(more, np.int64))
            self.norm = np.append(self.norm, np.zeros(more, np.float64))
            self.size = np.append(self.size, np.zeros(more, np.int64))
        self.content[faces.ids] = faces.contents
        self.norm[faces.ids] = faces.norms
        self.size[faces.ids] = faces.sizes

    def has(self, face: int) -> bool:
        return 0 <= face < len(self.content) and bool(self.content[face])


class Groups:
    """One thread changes them; any thread may ask for `now`.

    A *key* is the id of a group, or of a face alone the negative of its id.
    """

    def __init__(self, rule: Rule, source: Source) -> None:
        self._rule = rule
        self._source = source
        self._table = _Table()
        self._members: dict[int, set[int]] = {}
        self._summaries: OrderedDict[int, Summary] = OrderedDict()
        self._changed: set[int] = set()
        """Faces whose group is another than the one that is written."""
        self._said = Said()
        self._now = nothing()
        self.last = 0
        """The highest id that was ever given."""

    def now(self) -> Now:
        """Return the groups as they are written."""
        return self._now

    # What there is

    def load(self, faces: ShownOn, grouped: Ids, groups: Ids, last: int) -> None:
        """Take over all faces of a catalog, and the groups that are written there."""
        self._table, self._members, self._changed, self.last = _Table(), {}, set(), last
        self._summaries.clear()
        self._table.add(faces)
        there = np.isin(grouped, faces.ids)
        grouped, groups = grouped[there], groups[there]
        self._table.group[grouped] = groups
        order = np.argsort(groups, kind="stable")
        numbers, starts = np.unique(groups[order], return_index=True)
        parts = np.split(grouped[order], starts)[1:]  # the first one, before all, is empty
        for number, members in zip(numbers.tolist(), parts, strict=True):
            if number > ALONE:
                self._members[number] = set(members.tolist())
        self.publish()

    def add(self, faces: ShownOn) -> None:
        """Take over new faces, which are still to be looked at."""
        self._table.add(faces)

    def remove(self, faces: Iterable[int]) -> None:
        """Take faces out that are gone from the catalog, where their rows go with them."""
        for face in faces:
            if not self._table.has(face):
                continue
            self._leave(face)
            self._table.group[face], self._table.content[face] = UNSEEN, 0
            self._changed.discard(face)

    def unseen(self, most: int) -> list[int]:
        """Return the first of the faces that are still to be looked at."""
        found: list[int] = np.flatnonzero((self._table.group == UNSEEN) & (self._table.content != 0))[:most].tolist()
        return found

    def changes(self) -> list[tuple[int, int]]:
        """Return the faces whose group is to be written, and the group of each."""
        return [(face, int(self._table.group[face])) for face in sorted(self._changed)]

    def publish(self) -> None:
        """Say that `changes` are written: `now` has them."""
        self._changed.clear()
        table = self._table
        faces = np.flatnonzero(table.group > ALONE)
        unseen = int(np.count_nonzero((table.group == UNSEEN) & (table.content != 0)))
        self._now = Now(faces, table.group[faces], table.content[faces], table.norm[faces], table.size[faces], unseen)

    def _leave(self, face: int) -> None:
        group = int(self._table.group[face])
        if group > ALONE:
            members = self._members[group]
            members.discard(face)
            if not members:
                del self._members[group]
            self._summaries.pop(group, None)
        self._summaries.pop(-face, None)

    def _put(self, face: int, group: int) -> None:
        self._leave(face)
        self._table.group[face] = group
        if group > ALONE:
            self._members.setdefault(group, set()).add(face)
            self._summaries.pop(group, None)
        self._changed.add(face)

    def _key(self, face: int) -> int:
        group = int(self._table.group[face])
        return group if group > ALONE else -face

    def _faces(self, key: int) -> Collection[int]:
        return self._members[key] if key > 0 else (-key,)

    # What the user said

    def begin(self, said: Said) -> set[int]:
        """Take over what was said before, after `load`; return a face of each group that contradicts it."""
        self._said = said
        spoken = {int(self._table.group[face]) for face in (*said.person_of, *said.not_of) if self._table.has(face)}
        wrong = (self._members[group] for group in spoken if group > ALONE)
        return {min(members) for members in wrong if said.contradicts([*members])}

    def follow(self, said: Said) -> set[int]:
        """Take over what was said; return the faces of which something else was said, which are to be looked at."""
        changed = {face for face in said.changed(self._said) if self._table.has(face)}
        self._said = said
        return changed

    # Looking at a face

    def place(self, face: int) -> None:
        """Look at a face: for the first time, or because something was said of it."""
        if not self._table.has(face):
            return
        group = int(self._table.group[face])
        if group > ALONE and self._said.contradicts([*self._members[group]]):
            self._split(group)
        if group == UNSEEN:
            self._put(face, ALONE)
        ids, rows = self._source.embeddings([face])
        if not len(ids) or not self._may_join(face):
            return
        near = self._source.nearest(rows[0], self._rule.least, NEAREST).tolist()
        own, others = self._key(face), {self._key(other) for other in near if self._may_join(other)}
        while (best := self._best(own, others - {own})) is not None:
            others = (others - {own, best}) | {own := self._join(own, best)}

    def _may_join(self, face: int) -> bool:
        """Whether a face was looked at, and can be told from others."""
        seen = self._table.has(face) and self._table.group[face] != UNSEEN
        return bool(seen and self._rule.can_tell(self._table.norm[[face]])[0])

    def _best(self, own: int, others: set[int]) -> int | None:
        """The one of several that is one with a group, and leaves most to spare; None where there is none."""
        mine = self._summary(own) if others else None
        if mine is None:
            return None
        found: list[tuple[float, int]] = []
        for other in sorted(others):
            theirs = self._summary(other)
            if theirs is not None and (margin := self._rule.margin(mine, theirs)) >= 0:
                found.append((-margin, other))
        return next((other for _, other in sorted(found) if not self._is_forbidden(own, other)), None)

    def _summary(self, key: int) -> Summary | None:
        """What counts of a group or a face; None where its rows are gone."""
        known = self._summaries.get(key)
        if known is None:
            sample = sorted(self._faces(key))
            if len(sample) > SAMPLE:
                clear = self._rule.are_clear(self._table.norm[sample], self._table.size[sample])
                if clear.any():
                    sample = np.array(sample)[clear].tolist()
                sample = [sample[at] for at in np.linspace(0, len(sample) - 1, SAMPLE).astype(int).tolist()]
            ids, rows = self._source.embeddings(sample)
            if not len(ids):
                return None
            norms, sizes = self._table.norm[ids], self._table.size[ids]
            clear, children = self._rule.are_clear(norms, sizes), self._source.are_children(rows)
            known = self._summaries[key] = summary(rows, self._rule.extras(norms), children, clear)
            if len(self._summaries) > SUMMARIES:
                self._summaries.popitem(last=False)
        self._summaries.move_to_end(key)
        return known

    def _join(self, own: int, other: int) -> int:
        """Make one of two; return its key."""
        kept = max(own, other, key=lambda key: (key > 0, len(self._faces(key)), -key))
        if kept < 0:
            self.last += 1
            kept = self.last
        for key in (own, other):
            if key != kept:
                for face in list(self._faces(key)):
                    self._put(face, kept)
        return kept

    def _is_forbidden(self, one: int, other: int) -> bool:
        """Whether two may not be one, however alike they are."""
        ours, theirs = self._faces(one), self._faces(other)
        if self._said.contradicts([*ours, *theirs]):
            return True
        ignored = [not self._said.ignored.isdisjoint(faces) for faces in (ours, theirs)]
        if ignored[0] != ignored[1] and min(len(ours), len(theirs)) > 1:
            return True
        return self._share_photo(ours, theirs)

    def _share_photo(self, ours: Collection[int], theirs: Collection[int]) -> bool:
        """Whether a photo shows two faces, one of each, that are not alike."""
        one, other = (np.fromiter(faces, np.int64, len(faces)) for faces in (ours, theirs))
        contents = self._table.content
        for content in np.intersect1d(contents[one], contents[other])[:SHARED].tolist():
            pair = [self._source.embeddings(each[contents[each] == content].tolist()) for each in (one, other)]
            (_, rows), (_, others) = pair
            if len(rows) and len(others) and (rows @ others.T).max(axis=1).min() < self._rule.pair:
                return True
        return False

    def _split(self, group: int) -> None:
        """Take apart a group in which what was said contradicts itself."""
        members = np.array(sorted(self._members[group]), np.int64)
        people = self._said.people(members.tolist())
        label = {face: self._label(face, people) for face in members.tolist()}
        seeds = [face for face, each in label.items() if each is not None]
        rest = [face for face, each in label.items() if each is None]
        seed_ids, seed_rows = self._source.embeddings(seeds)
        ids, rows = self._source.embeddings(rest)
        if len(seed_ids):
            for face, nearest in zip(ids.tolist(), seed_ids[(rows @ seed_rows.T).argmax(axis=1)].tolist(), strict=True):
                label[face] = label[nearest]
        parts: dict[object, list[int]] = {}
        for face in members.tolist():
            parts.setdefault(label[face], []).append(face)
        by_size = sorted(parts.values(), key=lambda part: (-len(part), part))
        for part in by_size[1:]:
            number = ALONE
            if len(part) > 1:
                self.last += 1
                number = self.last
            for face in part:
                self._put(face, number)

    def _label(self, face: int, people: set[int]) -> object:
        """What tells a face of which something was said from the other faces of its group; None of any other."""
        if (person := self._said.person_of.get(face)) is not None:
            return person
        denied = self._said.not_of.get(face, frozenset()) & people
        return denied or None
