"""Which faces of the running model the statements are about.

The statements on a photo are held against the faces that the model found on the same bytes. A statement is about the
face whose box it overlaps by `SAME_FACE` or more. Where several statements and faces overlap, the pairs that overlap
most come first; a face has at most one statement about each person, and is at most one person.

A statement that finds no face is kept and counts as *unplaced*: its photo is not in the catalog, or the model sees no
face there. Where the photo is in the catalog, the person then stands on it without a face. A statement without a box,
and one of a box that the user drew, ask for no face and are not unplaced there.

`Resolver.known` is brought up to date when it is asked: it reads from the catalog the photos with statements that have
changed since, as the hub tells, and those whose statements have changed. Where the hub dropped changes, it reads all
photos with statements again. A thread, `KeepKnown`, asks it after each change, so that no question has to wait for that
and no change is dropped because nothing was asked. What else follows from what is known is worked out there as well.

Whoever is said not to be on a photo, without a box, is none of the faces that any model finds there.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from facewatchd.errors import StorageError
from facewatchd.people.snapshot import Snapshot
from facewatchd.people.statements import DRAWN, SAME_FACE, Ignored, Person, RelativeBox, Statement
from facewatchd.people.store import PeopleStore
from facewatchd.store.catalog_rows import ContentFaces
from facewatchd.store.gallery import Gallery
from facewatchd.store.hub import Change, MissedChangesError
from facewatchd.threads.liveness import Liveness

QUIET = 0.5
"""Seconds for which changes are gathered: an import has up to some twenty transactions a second."""
PART = 500
"""Contents that are read between two signs of life: each may be a seek of a disk."""
LOOK_EVERY = 60.0
"""Seconds after which a wait for changes begins anew."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a statement is in the catalog."""

    content: int
    face: int | None
    """None: no face is found there."""


@dataclass(frozen=True, slots=True)
class KnownFaces:
    """The statements as the faces and contents of the running model's catalog. By person: a `Person.id`."""

    people: Snapshot = field(default_factory=Snapshot)
    """What was said, of which the rest is made."""
    confirmed: Mapping[int, frozenset[int]] = field(default_factory=dict)
    """Face ids, by person."""
    rejected: Mapping[int, frozenset[int]] = field(default_factory=dict)
    """Face ids, by person."""
    photos: Mapping[int, frozenset[int]] = field(default_factory=dict)
    """Content ids on which a person stands without a face, by person."""
    places: Mapping[int, Place] = field(default_factory=dict)
    """By `Statement.id`; none for a statement whose photo is not in the catalog."""
    person_of: Mapping[int, int] = field(default_factory=dict)
    """The person that each confirmed face is."""
    unplaced: int = 0
    """Statements that find no face."""
    ignored: frozenset[int] = frozenset()
    """Faces that are ignored, and are no person,"""
    ignored_in_group: frozenset[int] = frozenset()
    """and those of them that are ignored with their group."""
    brought_back: frozenset[int] = frozenset()
    """Faces that are not ignored, even where their group is."""

    def is_unplaced(self, statement: Statement) -> bool:
        """Whether a statement finds no face, though it is about one."""
        place = self.places.get(statement.id)
        return place is None or (place.face is None and asks_for_face(statement))


def asks_for_face(statement: Statement) -> bool:
    """Whether a statement is about a face that a model found."""
    return statement.box is not None and statement.source != DRAWN


def placed(statements: Sequence[Statement], faces: Iterable[tuple[int, RelativeBox]]) -> dict[int, int]:
    """Return the face id of each statement on one content that finds a face, by `Statement.id`.

    ``faces``: those on the content, with their boxes.
    """
    pairs = [
        (overlap, statement.id, statement, face_id)
        for face_id, box in faces
        for statement in statements
        if statement.box is not None and (overlap := statement.box.overlap(box)) >= SAME_FACE
    ]
    found: dict[int, int] = {}
    taken: dict[int, list[Statement]] = {}
    for _, number, statement, face_id in sorted(pairs, key=lambda pair: pair[:2], reverse=True):
        on_face = taken.setdefault(face_id, [])
        if number not in found and not any(_exclude(statement, other) for other in on_face):
            found[number] = face_id
            on_face.append(statement)
    return found


def _exclude(one: Statement, other: Statement) -> bool:
    return one.person == other.person or (one.is_person and other.is_person)


class _Groups:
    """Sets of ids by person, of which frozen copies are handed out."""

    def __init__(self) -> None:
        self._sets: dict[int, set[int]] = {}
        self._frozen: dict[int, frozenset[int]] = {}

    def change(self, gone: Iterable[tuple[int, int]], new: Iterable[tuple[int, int]]) -> None:
        """Remove and add pairs of a person and an id."""
        touched = set()
        for person, member in gone:
            self._sets[person].discard(member)
            touched.add(person)
        for person, member in new:
            self._sets.setdefault(person, set()).add(member)
            touched.add(person)
        if touched:
            kept = {person: members for person, members in self._frozen.items() if person not in touched}
            self._frozen = kept | {person: frozenset(self._sets[person]) for person in touched if self._sets[person]}

    def frozen(self) -> Mapping[int, frozenset[int]]:
        """Return them as they are now. People without a member are left out."""
        return self._frozen


@dataclass(slots=True)
class _OnPhoto:
    """Where the statements on one photo are. Pairs begin with the person."""

    places: dict[int, Place] = field(default_factory=dict)
    confirmed: list[tuple[int, int]] = field(default_factory=list)
    rejected: list[tuple[int, int]] = field(default_factory=list)
    photos: list[tuple[int, int]] = field(default_factory=list)
    unplaced: int = 0
    ignored: dict[int, bool] = field(default_factory=dict)
    """Faces, and whether each is ignored with its group."""
    brought_back: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, statements: Sequence[Statement], ignored: Sequence[Ignored], content: ContentFaces | None) -> _OnPhoto:
        if content is None:
            return cls(unplaced=len(statements))
        made, number, (width, height) = cls(), content.content_id, content[1:3]
        boxes = [(id_, RelativeBox.of(box, width, height)) for id_, box in content.faces if width and height]
        faces = placed(statements, boxes)
        for statement in statements:
            face = faces.get(statement.id)
            made.places[statement.id] = Place(number, face)
            made.unplaced += face is None and asks_for_face(statement)
            if face is not None:
                (made.confirmed if statement.is_person else made.rejected).append((statement.person, face))
            elif statement.is_person:
                made.photos.append((statement.person, number))
            elif statement.box is None:
                made.rejected += [(statement.person, id_) for id_, _ in content.faces]
        people = {face for _, face in made.confirmed}
        for each in ignored:
            best = max(((each.box.overlap(box), id_) for id_, box in boxes), default=(0.0, 0))
            if best[0] < SAME_FACE or best[1] in people:
                continue
            if each.is_ignored:
                made.brought_back.discard(best[1])
                made.ignored[best[1]] = each.in_group or made.ignored.get(best[1], False)
            else:
                made.ignored.pop(best[1], None)
                made.brought_back.add(best[1])
        return made


class Resolver:
    """Any thread may ask."""

    def __init__(self, store: PeopleStore, gallery: Gallery) -> None:
        self._store = store
        self._catalog = gallery.catalog
        self._changes = gallery.hub.subscribe(embeddings=False)
        self._hub = gallery.hub
        store.on_change = self._on_change
        self._lock = threading.Lock()
        self._known = KnownFaces()
        self._contents: dict[bytes, ContentFaces] = {}
        """The contents with statements that are in the catalog, by digest."""
        self._digest_of_face: dict[int, bytes] = {}
        """The content that each of their faces is on."""
        self._on_photo: dict[bytes, _OnPhoto] = {}
        self._confirmed, self._rejected, self._photos = _Groups(), _Groups(), _Groups()
        self._is_read = False
        """Whether the catalog was read, and no change was missed since."""

    def known(self, beat: Callable[[], object] = lambda: None) -> KnownFaces:
        """Return where everything that was said is now. Empty where people.sqlite3 cannot be used.

        ``beat``: called after each part of what is read. Raises `StorageError` where the catalog cannot be read.
        """
        try:
            people = self._store.people()
        except StorageError:
            return KnownFaces()
        with self._lock:
            stale = self._stale(people, beat)
            if stale or people is not self._known.people:
                self._known = self._updated(people, stale)
            return self._known

    def wait(self, timeout: float) -> None:
        """Wait until the catalog or what was said changes, at most so many seconds."""
        self._changes.wait(timeout)

    def wake(self) -> None:
        """End a `wait`."""
        self._changes.put(Change())

    def _on_change(self) -> None:
        self.wake()
        self._hub.ring()

    def require_readable(self) -> None:
        """Raise `StorageError` where people.sqlite3 cannot be used."""
        self._store.people()

    def person(self, name: str) -> Person:
        """Return the person of a name. Raises `UnknownPersonError`; `StorageError` where the file cannot be used."""
        return self._store.people().require(name)

    def current(self, person: int) -> Person | None:
        """Return what `Snapshot.current` does. Raises `StorageError` where the file cannot be used."""
        return self._store.people().current(person)

    def close(self) -> None:
        """Get no more changes of the catalog."""
        self._changes.close()

    def _stale(self, people: Snapshot, beat: Callable[[], object]) -> set[bytes]:
        """Read the photos with statements that have changed, and return their digests and those whose statements have.

        Where that fails, all are read the next time.
        """
        was_read, self._is_read = self._is_read, False
        changes: list[Change] = []
        try:
            changes = self._changes.take(0)
        except MissedChangesError:
            was_read = False
            with contextlib.suppress(MissedChangesError):
                self._changes.take(0)  # what came since is read with all the rest
        stale = self._changed(changes, people) if was_read else people.digests | self._known.people.digests
        self._read(sorted(stale), beat)
        self._is_read = True
        return stale

    def _changed(self, changes: Iterable[Change], people: Snapshot) -> set[bytes]:
        stale: set[bytes] = set()
        pairs: tuple[tuple[Mapping[bytes, object], Mapping[bytes, object]], ...] = (
            (self._known.people.by_digest, people.by_digest),
            (self._known.people.ignored, people.ignored),
        )
        for before, now in pairs:
            if before is not now:
                stale.update(digest for digest, said in now.items() if before.get(digest) != said)
                stale |= before.keys() - now.keys()
        paths: set[bytes] = set()
        faces: set[int] = set()
        for change in changes:
            paths.update(change.paths)
            faces.update(change.added)
            stale.update(self._digest_of_face[face] for face in change.removed if face in self._digest_of_face)
            if change.collected:
                stale.update(digest for digest, content in self._contents.items() if not content.faces)
        if (paths or faces) and (people.by_digest or people.ignored):
            with self._catalog.reading() as reader:
                shown = reader.digests_shown(sorted(paths), sorted(faces))
            stale.update(digest for digest in shown if digest in people.by_digest or digest in people.ignored)
        return stale

    def _read(self, stale: Sequence[bytes], beat: Callable[[], object]) -> None:
        """Read the contents with these digests."""
        if not stale:
            return
        found: dict[bytes, ContentFaces] = {}
        with self._catalog.reading() as reader:
            for start in range(0, len(stale), PART):
                found |= reader.content_faces(stale[start : start + PART])
                beat()
        for digest in stale:
            before, now = self._contents.pop(digest, None), found.get(digest)
            if before is not None:
                for face_id, _ in before.faces:
                    self._digest_of_face.pop(face_id, None)
            if now is None:
                continue
            if before is not None and before.content_id == now.content_id and not now.width:
                now = now._replace(width=before.width, height=before.height)  # it lacks a face, and is read again soon
            self._contents[digest] = now
            self._digest_of_face |= {face_id: digest for face_id, _ in now.faces}

    def _updated(self, people: Snapshot, stale: set[bytes]) -> KnownFaces:
        before = [self._on_photo.pop(digest) for digest in stale if digest in self._on_photo]
        now = {
            digest: _OnPhoto.of(
                people.by_digest.get(digest, ()), people.ignored.get(digest, ()), self._contents.get(digest)
            )
            for digest in stale
            if digest in people.by_digest or digest in people.ignored
        }
        self._on_photo |= now
        for groups, pairs in (
            (self._confirmed, "confirmed"),
            (self._rejected, "rejected"),
            (self._photos, "photos"),
        ):
            groups.change(_each(before, pairs), _each(now.values(), pairs))
        places, person_of = dict(self._known.places), dict(self._known.person_of)
        for photo in before:
            for number in photo.places:
                del places[number]
            for _, face in photo.confirmed:
                del person_of[face]
        for photo in now.values():
            places |= photo.places
            person_of |= {face: person for person, face in photo.confirmed}
        unplaced = self._known.unplaced
        unplaced += sum(photo.unplaced for photo in now.values()) - sum(photo.unplaced for photo in before)
        ignored = self._ignored(before, now.values())
        frozen = (self._confirmed.frozen(), self._rejected.frozen(), self._photos.frozen())
        return KnownFaces(people, *frozen, places, person_of, unplaced, *ignored)

    def _ignored(
        self, gone: Collection[_OnPhoto], new: Collection[_OnPhoto]
    ) -> tuple[frozenset[int], frozenset[int], frozenset[int]]:
        """The faces that are ignored, with their group, and brought back: the same objects where nothing changed."""
        less = frozenset(face for photo in gone for face in (*photo.ignored, *photo.brought_back))
        more = {face: in_group for photo in new for face, in_group in photo.ignored.items()}
        back = {face for photo in new for face in photo.brought_back}
        known = self._known.ignored, self._known.ignored_in_group, self._known.brought_back
        if not less and not more and not back:
            return known
        in_group = {face for face in more if more[face]}
        return (known[0] - less) | more.keys(), (known[1] - less) | in_group, (known[2] - less) | back


def _each(photos: Iterable[_OnPhoto], pairs: str) -> list[tuple[int, int]]:
    return [pair for photo in photos for pair in getattr(photo, pairs)]


class KeepKnown(threading.Thread):
    """The thread that keeps a resolver, and the references of the people, up to date."""

    def __init__(self, resolver: Resolver, follow: Callable[[], object], liveness: Liveness) -> None:
        """``follow``: called when the resolver is up to date."""
        super().__init__(name="names")
        self._resolver = resolver
        self._follow = follow
        self._liveness = liveness
        self._ending = threading.Event()

    def run(self) -> None:
        while not self._ending.is_set():
            self._liveness.beat()
            with contextlib.suppress(StorageError):  # of which the state of the daemon tells
                self._resolver.known(self._liveness.beat)
                self._follow()
            self._liveness.rest()
            self._resolver.wait(LOOK_EVERY)
            self._ending.wait(QUIET)

    def stop(self) -> None:
        """End the thread."""
        self._ending.set()
        self._resolver.wake()
        if self.ident is not None:
            self.join()
