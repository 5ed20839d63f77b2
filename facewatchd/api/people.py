"""The methods about people: they list what was said of faces, and say, describe, rename, merge, forget and take back.

Something said of a photo is said of its bytes, so the photo may lie anywhere. Where the catalog does not have it, its
faces are recorded there without a path, and stay for as long as something is said of them. A face that would be a poor
reference is left out of what is said, with the reason, unless it is wanted ``anyway``. Everything else that cannot be
done raises, and then nothing is said.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from facewatchd.api.dates import period
from facewatchd.api.faces import FaceFinder, PhotoFaces
from facewatchd.api.parameters import (
    AssignParameters,
    DescribeParameters,
    ForgetParameters,
    IgnoreParameters,
    MergeParameters,
    NoParameters,
    PersonParameters,
    RenameParameters,
    Source,
    Subject,
    UndoParameters,
)
from facewatchd.errors import (
    BadNameError,
    NameTakenError,
    NoFaceError,
    NotLastStepError,
    UnknownFaceError,
    UnreadablePhotoError,
)
from facewatchd.matches import Box
from facewatchd.people.known import KnownFaces, Place, Resolver
from facewatchd.people.statements import (
    DRAWN,
    USER,
    Ignored,
    NewStatement,
    Person,
    RelativeBox,
    Statement,
    proper_name,
    same_face,
)
from facewatchd.people.store import PeopleStore
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.server.params import encode_path
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.dates import dates_of
from facewatchd.text import printable
from facewatchd.values import Face, Quality, TakenFrom

NOT_BORN = "none"
"""In the place of a date of birth: that none is known any more."""


class Refusal(Protocol):
    """Says why a face would be a poor reference for a person, in words; empty where it would be a good one."""

    def __call__(
        self, face: Face, name: str, person: Person | None, taken: Sequence[Face], moved: Mapping[int, Face]
    ) -> str:
        """``person``: None where no person has that name yet. ``taken``: the faces that are said to be the person in
        the same breath, and are not refused. ``moved``: all that are said to be, of those that the catalog has, by id.
        """


@dataclass(frozen=True, slots=True)
class _Said:
    """A statement that is to be made, and what it is about."""

    who: int
    """Index into the WHOs that were named,"""
    number: int | None
    """and of the face on that photo; None where it is by id, or of no face."""
    face: Face | None
    digest: bytes
    box: RelativeBox | None
    face_id: int | None = None
    source: str = USER
    seen: PhotoFaces | None = None
    """The photo; None for a face by its id."""
    beside: int = 0
    """Other faces on the photo, where this one was taken for its size."""
    group: int | None = None
    """The group of unknown faces that it was named by."""


class People:
    """Any thread may call the methods."""

    def __init__(
        self,
        store: PeopleStore,
        resolver: Resolver,
        catalog: Catalog,
        finder: FaceFinder,
        refusal: Refusal,
        table: Quality | None,
        record: Callable[[Outcome], object],
        members: Callable[[int], Sequence[int]] = lambda group: (),
        ignored: Callable[[int | None], Sequence[int]] = lambda group: (),
    ) -> None:
        """``table``: by which a face that is too blurred is not a photo's largest one.

        ``record`` has a photo recorded that a client showed (`Gallery.record_shown`), and waits for it. ``members``:
        the unknown faces of a group (`Unknown.members`). ``ignored``: the ignored ones of a group, or all
        (`Unknown.ignored`).
        """
        self._store = store
        self._resolver = resolver
        self._catalog = catalog
        self._finder = finder
        self._refusal = refusal
        self._table = table
        self._record = record
        self._members = members
        self._ignored = ignored

    def count(self) -> int | None:
        """Return how many people have names; None where people.sqlite3 cannot be used."""
        return len(self._store.people().people) if self._store.is_readable else None

    # What is known

    def people(self, _: NoParameters) -> dict[str, object]:
        """Return the ``people``, by name."""
        self._store.people()  # raises where they cannot be read
        known = self._resolver.known()
        by_person: dict[int, list[Statement]] = {person.id: [] for person in known.people.people}
        for statement in known.people.statements:
            by_person[statement.person].append(statement)
        with self._catalog.reading() as reader:
            shown = _Shown.among(reader, (place for place in known.places.values()))
        return {"people": [_person(person, by_person[person.id], known, shown) for person in known.people.people]}

    def person(self, params: PersonParameters) -> dict[str, object]:
        """Return what is known of one person, with a page of the ``statements`` in the order of their ids."""
        person = self._store.people().require(params.name)
        known = self._resolver.known()
        statements = known.people.of(person.id)
        page = [statement for statement in statements if statement.id > params.after]
        page, rest = page[: params.limit], page[params.limit :]
        places = (place for each in statements if (place := known.places.get(each.id)) is not None)
        with self._catalog.reading() as reader:
            shown = _Shown.among(reader, places)
            listed = self._statements(reader, page, known)
        described = _person(person, statements, known, shown)
        earlier = self._store.people().earlier_names(person)
        return {**described, "earlier_names": earlier, "statements": listed, "next": page[-1].id if rest else None}

    def _statements(
        self, reader: CatalogReader, page: Sequence[Statement], known: KnownFaces
    ) -> list[dict[str, object]]:
        places = {each.id: place for each in page if (place := known.places.get(each.id)) is not None}
        contents = sorted({place.content for place in places.values()})
        paths = reader.copies(contents)
        sizes = reader.content_faces([each.digest for each in page if each.id in places])
        listed = []
        for each in page:
            place, content = places.get(each.id), sizes.get(each.digest)
            sized = content is not None and min(content.width, content.height) > 0
            box = each.box.pixels(content.width, content.height) if content and sized and each.box else None
            listed.append(
                {
                    "id": each.id,
                    "is": each.is_person,
                    "paths": [encode_path(path) for path in paths.get(place.content, ())] if place else [],
                    "digest": each.digest.hex(),
                    "box": box,
                    "relative_box": each.box,
                    "face_id": place.face if place else None,
                    "source": each.source,
                    "at": round(each.at, 3),
                    "placed": not known.is_unplaced(each),
                }
            )
        return listed

    # Saying

    def assign(self, params: AssignParameters) -> dict[str, object]:
        """Say that faces are, or are not, a person; return how much was ``said``, and what was ``refused``.

        Raises `UnreadablePhotoError`, `NoFaceError`, `UnknownFaceError`, `StorageError` or `ParamsError`, and
        `UnknownPersonError` for a name of whom faces are not.
        """
        with _as_parameters():
            name = proper_name(params.name)
        people = self._store.people()
        person = people.named(name) if params.is_ else people.require(name)
        found = list(self._found(params))
        apart = frozenset(params.except_)
        if found and all(each.face_id in apart for each in found):
            raise ParamsError("all of the faces are in except", "leave one that is not")
        refused = self._refused(found, name, person, apart) if params.is_ and not params.anyway else {}
        new = [
            NewStatement(params.is_ != (each.face_id in apart), each.digest, each.box, each.source)
            for index, each in enumerate(found)
            if index not in refused
        ]
        result: dict[str, object] = {"name": person.name if person else name, "is": params.is_, "new": False}
        counts: dict[str, object] = {"said": 0, "known": 0, "moved": [], "step": None}
        if new:
            self._record_unknown(each.seen for index, each in enumerate(found) if index not in refused)
            with self._store.noting_step() as step:
                said = self._store.say(name, new, USER)
            result |= {"name": said.person.name, "new": said.is_new}
            counts = {"said": said.added, "known": said.known, "moved": list(said.moved), "step": _first(step)}
        return {
            **result,
            **counts,
            "except": sum(each.face_id in apart for each in found),
            "largest": [
                {"who": each.who, "face": each.number, "faces": each.beside + 1} for each in found if each.beside
            ],
            "without_face": sorted({each.who for each in found if each.box is None}),
            "refused": [
                {"who": found[index].who, "face": found[index].number, "reason": reason}
                for index, reason in refused.items()
            ],
        }

    def _record_unknown(self, photos: Iterable[PhotoFaces | None]) -> None:
        """Have the photos recorded that are not, before something is said of them. Raises `StorageError`."""
        outcomes = {seen.digest: seen.to_record() for seen in photos if seen is not None}
        for outcome in outcomes.values():
            if outcome is not None:
                self._record(outcome)

    def _refused(self, found: Sequence[_Said], name: str, person: Person | None, apart: Set[int]) -> dict[int, str]:
        """The indices of the faces that would be poor references, with the reasons. ``apart``: no reference at all."""
        reasons: dict[int, str] = {}
        taken: list[Face] = []
        moved = {each.face_id: each.face for each in found if each.face_id is not None and each.face is not None}
        for index, each in enumerate(found):
            if each.face is None or each.face_id in apart:
                continue
            if each.group is not None:  # the user saw them together: a group is refused for none of its faces
                if person is not None and each.face_id in self._resolver.known().rejected.get(person.id, ()):
                    reasons[index] = f"face {each.face_id} was said not to be {person.name}"
                continue
            if reason := self._refusal(each.face, name, person, taken, moved):
                reasons[index] = reason
            else:
                taken.append(each.face)
        return reasons

    def ignore(self, params: IgnoreParameters) -> dict[str, object]:
        """Say that the user does not care about faces, or does again; return of how many that is new.

        Raises `UnreadablePhotoError`, `NoFaceError`, `UnknownFaceError` or `StorageError`.
        """
        members = self._members if params.is_ else self._ignored_members
        found = list(self._named(params.who, are_one=False, members=members))
        in_group = () if params.is_ else frozenset(self._ignored(None))
        faces: list[Ignored] = []
        for each in found:
            if each.box is None:
                raise NoFaceError("no face was found on a photo", "only a face can be ignored")
            is_of_group = each.group is not None if params.is_ else each.face_id in in_group
            faces.append(Ignored(each.digest, each.box, is_of_group, is_ignored=params.is_))
        self._record_unknown(each.seen for each in found)
        with self._store.noting_step() as step:
            said = self._store.ignore(faces)
        return {"said": said, "known": len(faces) - said, "step": _first(step)}

    def _ignored_members(self, group: int) -> Sequence[int]:
        """The faces of a group that are ignored; where none is, its others. Raises `UnknownFaceError`."""
        return self._ignored(group) or self._members(group)

    def _found(self, params: AssignParameters) -> Iterator[_Said]:
        if params.box:
            yield self._in_box(params)
        else:
            yield from self._named(params.who, are_one=params.is_, members=self._members)

    def _named(
        self, subjects: Sequence[Subject], *, are_one: bool, members: Callable[[int], Sequence[int]]
    ) -> Iterator[_Said]:
        """The faces that are named. ``are_one``: whether they are said to be one person. ``members``: of a group."""
        for who, subject in enumerate(subjects):
            if subject.face_id is not None:
                yield from self._by_ids(who, [subject.face_id])
                continue
            if subject.group is not None:
                yield from self._by_ids(who, members(subject.group), subject.group)
                continue
            seen, picked = self._pick(subjects, who)
            if are_one and len(picked) > 1:
                raise ParamsError("several faces of one photo are not one person: name each by its number")
            for index in picked:
                box = RelativeBox.of(seen.faces[index].box, seen.width, seen.height)
                beside = len(seen.faces) - 1 if subject.face == "largest" else 0
                yield _Said(
                    who, index, seen.faces[index], seen.digest, box, seen.id_of(index), seen=seen, beside=beside
                )
            if not picked:
                yield _without_face(who, subject, seen)

    def _pick(self, subjects: Sequence[Subject], who: int) -> tuple[PhotoFaces, list[int]]:
        """The faces of a photo, and which of them are meant. Of several photos, errors number one without a path."""
        subject = subjects[who]
        source = Source(subject.path, subject.data)
        try:
            if subject.face == "none":
                return self._finder.see(source), []
            return self._finder.pick(source, subject.face, self._table)
        except (UnreadablePhotoError, NoFaceError) as exc:
            photos = [at for at, each in enumerate(subjects) if each.path is not None or each.data is not None]
            if subject.data is None or len(photos) == 1:
                raise
            raise type(exc)(f"photo {photos.index(who) + 1}: {exc.message}", exc.hint) from exc

    def _by_ids(self, who: int, face_ids: Sequence[int], group: int | None = None) -> Iterator[_Said]:
        with self._catalog.reading() as reader:
            faces, shown = reader.faces_of(face_ids), reader.contents_of(face_ids)
            content_of = dict(zip(shown.ids.tolist(), shown.contents.tolist(), strict=True))
            for face_id in face_ids:
                if face_id in faces and face_id in content_of:
                    face, (digest, width, height) = faces[face_id], reader.describe(content_of[face_id])
                    yield _Said(who, None, face, digest, RelativeBox.of(face.box, width, height), face_id, group=group)
                elif group is None:
                    raise UnknownFaceError(
                        f"there is no face {face_id}", "face ids change when a photo is embedded again"
                    )

    def _in_box(self, params: AssignParameters) -> _Said:
        """What is said of the box on the one photo: of the face in it where one is found."""
        if len(params.who) > 1 or (params.who[0].path is None and params.who[0].data is None):
            raise ParamsError("box must be of one photo in who")
        seen = self._finder.see(Source(params.who[0].path, params.who[0].data))
        given = Box(*params.box)
        if given.w < 1 or given.h < 1 or given.x + given.w > seen.width or given.y + given.h > seen.height:
            raise ParamsError(f"box must lie on the photo, which has {seen.width} x {seen.height} pixels")
        drawn = RelativeBox.of(given, seen.width, seen.height)
        boxes = [RelativeBox.of(face.box, seen.width, seen.height) for face in seen.faces]
        index = max(range(len(boxes)), key=lambda index: drawn.overlap(boxes[index]), default=None)
        if index is None or not same_face(drawn, boxes[index]):
            return _Said(0, None, None, seen.digest, drawn, source=DRAWN, seen=seen)
        return _Said(0, index, seen.faces[index], seen.digest, boxes[index], seen.id_of(index), seen=seen)

    # Changing who there is

    def rename(self, params: RenameParameters) -> dict[str, object]:
        """Give a person another name. Raises `UnknownPersonError`, `StorageError` or `ParamsError`."""
        before = self._store.people().require(params.name)
        with _as_parameters(), self._store.noting_step() as step:
            renamed = self._store.rename(params.name, params.new)
        return {"name": renamed.name, "before": before.name, "step": _first(step)}

    def describe(self, params: DescribeParameters) -> dict[str, object]:
        """Say when a person was born, and whether the person is hidden.

        Raises `UnknownPersonError`, `StorageError`, and `ParamsError` for a date that cannot be.
        """
        person = self._store.people().require(params.name)
        born, hidden = person.born, person.hidden if params.hidden is None else params.hidden
        if params.born is not None:
            born = None if params.born == NOT_BORN else params.born
            if born is not None:
                period("born", born)
        with self._store.noting_step() as step:
            described = self._store.describe(person.name, born, hidden)
        return {"name": described.name, "born": described.born, "hidden": described.hidden, "step": _first(step)}

    def merge(self, params: MergeParameters) -> dict[str, object]:
        """Make one person of two. Raises `UnknownPersonError`, `StorageError` or `ParamsError`."""
        with _as_parameters(), self._store.noting_step() as step:
            before, into = self._store.merge(params.name, params.into)
        statements = len(self._store.people().of(into.id))
        return {"name": into.name, "before": before.name, "statements": statements, "step": _first(step)}

    def forget(self, params: ForgetParameters) -> dict[str, object]:
        """Delete a person for good. Raises `UnknownPersonError`, `StorageError`."""
        forgotten = self._store.forget(params.name)
        return {
            "name": forgotten.person.name,
            "statements": forgotten.statements,
            "backups": forgotten.backups,
        }

    def undo(self, params: UndoParameters) -> dict[str, object]:
        """Take back the last call that said, described, renamed or merged something.

        Raises `StorageError`, and `ParamsError` where the call that is meant was not the last.
        """
        with _as_parameters():
            undone = self._store.undo(params.step)
        if undone is None:
            return {"action": None, "names": [], "statements": 0, "at": None}
        return {
            "action": undone.action,
            "names": list(undone.names),
            "statements": undone.statements,
            "at": round(undone.at, 3),
        }


def _first(step: Sequence[int]) -> int | None:
    return next(iter(step), None)


def _without_face(who: int, subject: Subject, seen: PhotoFaces) -> _Said:
    if isinstance(subject.face, int):
        name = "" if subject.path is None else f"{printable(subject.path)}: "
        raise NoFaceError(f"{name}no face was found", "without its number, the person is said to be on the photo")
    return _Said(who, None, None, seen.digest, None, seen=seen)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What photos show of the places of statements."""

    days: Mapping[int, str | None]
    """When each content was taken that a photo has: a date; None where only the file has one."""
    norms: Mapping[int, float]
    """How much the recogniser saw of each face on these."""

    @classmethod
    def among(cls, reader: CatalogReader, places: Iterable[Place]) -> _Shown:
        found = list(places)
        contents = np.array(sorted(reader.count_copies(sorted({place.content for place in found}))), np.int64)
        taken = dates_of(reader, contents).taken()
        days = {
            content: None if each.source is TakenFrom.MTIME else each.day
            for content, each in zip(contents.tolist(), taken, strict=True)
        }
        faces = reader.contents_of([place.face for place in found if place.face is not None and place.content in days])
        return cls(days, dict(zip(faces.ids.tolist(), np.nan_to_num(faces.norms, posinf=0.0).tolist(), strict=True)))


def _person(person: Person, statements: Sequence[Statement], known: KnownFaces, shown: _Shown) -> dict[str, object]:
    confirmed = {known.places[each.id].content for each in statements if each.is_person and each.id in known.places}
    references = known.confirmed.get(person.id, frozenset())
    photos = confirmed & shown.days.keys()
    days = sorted(day for content in photos if (day := shown.days[content]) is not None)
    return {
        "name": person.name,
        "born": person.born,
        "hidden": person.hidden,
        "references": len(references),
        "photos": len(photos),
        "first": days[0] if days else None,
        "last": days[-1] if days else None,
        "best": max(sorted(references & shown.norms.keys()), key=shown.norms.__getitem__, default=None),
        "unplaced": sum(known.is_unplaced(each) for each in statements),
    }


@contextlib.contextmanager
def _as_parameters() -> Iterator[None]:
    """Raise what is wrong with a name, or a step, as what is wrong with a parameter."""
    try:
        yield
    except (BadNameError, NameTakenError, NotLastStepError) as exc:
        raise ParamsError(exc.message, exc.hint) from exc
