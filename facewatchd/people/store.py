"""people.sqlite3: the people that a user named, and what the user said of faces. It cannot be made again.

- **Only what the user does writes it.** Each call that says something is one transaction, on the disk when the call
  returns (synchronous=FULL), and one step that `undo` takes back. Where the disk is full, nothing of it is said. The
  file is made by the first one. After each, the log's pages are written to the file, so that the file alone is whole
  whenever the daemon rests, and a copy of it is a backup.
- **It is never written over where it is not understood**: a file that is damaged, of a later version or another
  program's, or that is missing while there are backups of it. The daemon then runs without names: `trouble` says why,
  and every call raises that.
- **What is forgotten leaves nothing.** The rows are deleted, everything before is settled (no step is left that could
  be taken back), the backups are deleted, the file is written anew without the deleted bytes, and a new backup is made.
  A note in the file has the rest of this done at the next opportunity where it cannot be done at once.

Any thread may call. `people` takes no lock and does not read the disk. The other calls exclude each other, and hold
their lock while they write.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path

from facewatchd.errors import DamagedError, NameTakenError, NotLastStepError, StorageError
from facewatchd.people import schema, snapshot
from facewatchd.people.backup import Backups
from facewatchd.people.examine import examine, has_log, log_belongs, log_of, way_back
from facewatchd.people.plan import Said, planned
from facewatchd.people.snapshot import Snapshot
from facewatchd.people.statements import Ignored, NewStatement, Person, Statement, proper_name, same_face
from facewatchd.store import recovery
from facewatchd.store.catalog import translated
from facewatchd.system import atomic_files, ownership
from facewatchd.values import Identity

log = logging.getLogger(__name__)

RETRY = 60.0
"""Seconds after which a backup that failed is tried again."""


class Action(StrEnum):
    """What a step did."""

    SAY = "say"
    DESCRIBE = "describe"
    RENAME = "rename"
    MERGE = "merge"
    IGNORE = "ignore"
    BRING_BACK = "bring back"


@dataclass(frozen=True, slots=True)
class Undone:
    """What a call of `undo` took back."""

    action: Action
    at: float
    """When it had been done, as Unix time."""
    names: tuple[str, ...]
    """The people that it was about, by their names now; those that it had made, by their names then."""
    statements: int
    """Statements; of faces that were ignored or brought back, so many."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a call of `forget` deleted."""

    person: Person
    statements: int
    backups: int


class PeopleStore:
    """The people of one data directory. Close it when done."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        """Open the file where there is one. ``now``: the clock, in Unix time.

        Raises nothing where the file cannot be used: see `trouble`.
        """
        self._path = path
        self._now = now
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._snapshot = Snapshot()
        self._refusal: StorageError | None = None
        """Why the file is not used."""
        self._backup_trouble = ""
        self._unscrubbed = False
        """Whether the file or a backup may still hold what was forgotten."""
        self._tended: tuple[date, int] | None = None
        """The day, and the version, for which nothing is left to be tended."""
        self._retry = 0.0
        """When `tend` is to try again after a failure."""
        self._opened: Identity | None = None
        """The file that is open."""
        self._base = 0
        """The version of the file by itself, when its log was last empty."""
        self._backups = Backups(path)
        self.on_change: Callable[[], object] = lambda: None
        """Called once something that was said, or taken back, is on the disk. It must not wait."""
        try:
            self._open()
        except StorageError as exc:
            self._refusal = exc
        except OSError as exc:
            self._refusal = StorageError(
                f"cannot read {path}: {exc.strerror}", "no names are known until that is mended: then start again"
            )

    @property
    def trouble(self) -> str:
        """One line on why no names are known, or no backup can be made; empty where all is well."""
        return str(self._refusal) if self._refusal else self._backup_trouble

    @property
    def is_readable(self) -> bool:
        """Whether it is known what was said."""
        return self._refusal is None or self._db is not None

    def names(self, digest: bytes) -> bool:
        """Return whether something is said of the photo with these bytes; True where that cannot be read."""
        return not self.is_readable or digest in self._snapshot.by_digest

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None
                self._refusal = StorageError("the daemon is stopping", "start it again")

    def people(self) -> Snapshot:
        """Return everything that counts. Raises `StorageError` where the file could not be read."""
        if self._refusal is not None and not self.is_readable:
            raise self._refusal
        return self._snapshot

    def _writable(self) -> Snapshot:
        """The same, for a call that writes. Raises `StorageError` where the file cannot be used."""
        if self._refusal is not None:
            raise self._refusal
        return self._snapshot

    # Opening

    def _open(self) -> None:
        ownership.make_private(self._path)
        if not log_belongs(self._path):
            log_file = log_of(self._path)
            aside = recovery.spare_name(log_file, "foreign")
            log.warning("%s is of another state of the names, which seem to be a backup: it is now %s", log_file, aside)
            log_file.rename(aside)
            log_file.with_name(f"{self._path.name}-shm").unlink(missing_ok=True)
        version = examine(self._path)
        if version is None:
            return
        with self._translated("read"):
            self._connect()
            assert self._db is not None
            try:
                if version != schema.VERSION:
                    self._migrate(self._db, version)
                recovery.empty_log(self._db)
                self._snapshot = snapshot.read(self._db, self._snapshot)
                self._note_base()
                self._unscrubbed = self._is_noted_unscrubbed(self._db)
            except BaseException:
                self._db.close()
                self._db = None
                raise
        self.tend()

    def _migrate(self, db: sqlite3.Connection, version: int) -> None:
        recovery.empty_log(db)
        self._backups.make_before_migration(db, schema.VERSION)
        schema.migrate(db, version)

    def _translated(self, doing: str) -> contextlib.AbstractContextManager[None]:
        return translated(f"{doing} {self._path}", "it", way_back(self._path))

    def _connect(self) -> None:
        self._db = schema.connect(str(self._path))
        self._opened = Identity.of(os.stat(self._path))

    def _made(self) -> sqlite3.Connection:
        """The connection; the file is made where there is none. Raises `StorageError`, OSError."""
        if self._db is not None:
            self._require_in_place()
            return self._db
        if os.path.lexists(self._path):
            raise StorageError(f"{self._path} was put there while facewatchd ran", "start facewatchd again to read it")
        new = atomic_files.aside(self._path)
        os.close(atomic_files.create(new))
        try:
            schema.create(str(new))
            atomic_files.put(new, self._path)
        finally:
            new.unlink(missing_ok=True)
        self._connect()
        assert self._db is not None
        return self._db

    def _require_in_place(self) -> None:
        """Raise `StorageError` where the open file has its name no more: what is written to it would be lost."""
        try:
            in_place = Identity.of(os.lstat(self._path)) == self._opened
        except FileNotFoundError:
            in_place = False
        if not in_place:
            raise StorageError(
                f"{self._path} was removed or replaced while facewatchd ran", "put it back, or start facewatchd again"
            )

    @contextlib.contextmanager
    def _step(self, action: Action | None) -> Iterator[tuple[sqlite3.Connection, int | None]]:
        """One transaction, and the id of its step; all calls that write hold the lock around it."""
        try:
            with self._translated("write"):
                db = self._made()
                db.execute("BEGIN IMMEDIATE")
                try:
                    step = None
                    if action is not None:
                        sql = "INSERT INTO step(action, at) VALUES (?, ?)"
                        step = db.execute(sql, (action, self._now())).lastrowid
                    yield db, step
                    db.execute("UPDATE meta SET value = value + 1 WHERE key = 'changes'")
                    db.execute("INSERT OR REPLACE INTO meta VALUES ('base', ?)", (self._base,))
                    now = snapshot.read(db, self._snapshot)
                    db.execute("COMMIT")
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):
                        db.execute("ROLLBACK")
                    raise
        except OSError as exc:
            raise StorageError(f"cannot write {self._path}: {exc.strerror}", "check the disk") from exc
        except DamagedError as exc:
            self._refusal = exc
            raise
        self._snapshot = now
        self.on_change()
        recovery.empty_log(db)
        self._note_base()

    def _note_base(self) -> None:
        if not has_log(self._path):
            self._base = self._snapshot.version

    # Saying

    @contextlib.contextmanager
    def noting_step(self) -> Iterator[list[int]]:
        """Give a list that has the id of the step once the block is left that made it; it stays empty without one.

        The block makes one call: no other thread says anything meanwhile.
        """
        with self._lock:
            before, noted = self._snapshot, list[int]()
            yield noted
            if self._snapshot is not before:
                noted.append(self._snapshot.step)

    def say(self, name: str, statements: Sequence[NewStatement], source: str) -> Said:
        """Say something of a person, who is made where there is none of that name. One step.

        ``source``: a word for what it comes from, never a name. Raises `BadNameError`, `StorageError`.
        """
        return self.say_all([(name, statements)], source)[0]

    def say_all(
        self,
        said: Iterable[tuple[str, Sequence[NewStatement]]],
        source: str,
        described: Mapping[str, Person] | None = None,
        ignored: Sequence[Ignored] = (),
    ) -> list[Said]:
        """Say something of several people, and of faces that are ignored, all in one step.

        ``described``: by `name_key`, when people were born, and whether they are hidden (`plan.planned`). Raises as
        `say`; then nothing is said.
        """
        with self._lock:
            plan = planned(self._writable(), said, source, described or {}, self._now())
            new = _new_of(self._snapshot, ignored)
            if not plan.people and not plan.statements and not plan.described and not new:
                return plan.said
            with self._step(Action.SAY) as (db, step):
                made = {person.id: self._insert_person(db, step, person) for person in plan.people.values()}
                for person in plan.described:
                    self._insert_description(db, step, person.id, person)
                for statement in plan.statements:
                    self._insert_statement(db, step, made.get(statement.person, statement.person), statement)
                self._insert_ignored(db, step, new)
            self.tend()
            return [self._with_person_as_written(each) for each in plan.said]

    def _with_person_as_written(self, said: Said) -> Said:
        person = self._snapshot.named(said.person.name) or said.person
        return Said(person, said.is_new, said.added, said.known, said.outdated, said.moved)

    def _insert_person(self, db: sqlite3.Connection, step: int | None, person: Person) -> int:
        made = db.execute("INSERT INTO person(step) VALUES (?)", (step,)).lastrowid
        assert made is not None
        self._insert_description(db, step, made, person)
        return made

    def _insert_description(self, db: sqlite3.Connection, step: int | None, number: int, person: Person) -> None:
        db.execute(
            "INSERT INTO description(step, person, name, born, hidden) VALUES (?, ?, ?, ?, ?)",
            (step, number, person.name, person.born, person.hidden),
        )

    def _insert_statement(self, db: sqlite3.Connection, step: int | None, person: int, statement: Statement) -> None:
        db.execute(
            "INSERT INTO statement(step, person, is_person, digest, x, y, w, h, source, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                step,
                person,
                statement.is_person,
                statement.digest,
                *(statement.box or (None,) * 4),
                statement.source,
                statement.at,
            ),
        )

    def ignore(self, faces: Sequence[Ignored]) -> int:
        """Say of faces that they are ignored, or all of them that they are not any more. One step.

        Returns of how many that is new. Raises `StorageError`.
        """
        with self._lock:
            new = _new_of(self._writable(), faces)
            if new:
                with self._step(Action.IGNORE if new[0].is_ignored else Action.BRING_BACK) as (db, step):
                    self._insert_ignored(db, step, new)
                self.tend()
            return len(new)

    def _insert_ignored(self, db: sqlite3.Connection, step: int | None, faces: Sequence[Ignored]) -> None:
        db.executemany(
            "INSERT INTO ignored(step, digest, x, y, w, h, in_group, at, is_ignored)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    step,
                    each.digest,
                    *each.box,
                    each.in_group,
                    self._now() if each.at is None else each.at,
                    each.is_ignored,
                )
                for each in faces
            ],
        )

    def describe(self, name: str, born: str | None, hidden: bool) -> Person:
        """Set when a person was born, and whether the person is hidden. One step.

        Raises `UnknownPersonError`, `StorageError`.
        """
        with self._lock:
            person = self._writable().require(name)
            return self._described_as(Action.DESCRIBE, person, Person(person.id, person.name, born, hidden))

    def rename(self, name: str, new: str) -> Person:
        """Give a person another name. One step.

        Raises `UnknownPersonError`, `BadNameError`, `StorageError`, and `NameTakenError` for another person's name.
        """
        with self._lock:
            people, proper = self._writable(), proper_name(new)
            person, other = people.require(name), people.named(proper)
            if other is not None and other.id != person.id:
                raise NameTakenError(
                    f"there is a person {other.name!r} already", "`facewatchd people merge` makes one of two"
                )
            return self._described_as(Action.RENAME, person, Person(person.id, proper, person.born, person.hidden))

    def _described_as(self, action: Action, before: Person, person: Person) -> Person:
        if person != before:
            with self._step(action) as (db, step):
                self._insert_description(db, step, person.id, person)
            self.tend()
        return person

    def merge(self, name: str, into: str) -> tuple[Person, Person]:
        """Make one person of two: all that was said of the first is said of the second, whose name it has. One step.

        Returns both. Where the two contradict each other on a face, the later statement counts. Raises
        `UnknownPersonError`, `StorageError`, and `NameTakenError` where both are the same person.
        """
        with self._lock:
            people = self._writable()
            first, second = people.require(name), people.require(into)
            if first.id == second.id:
                raise NameTakenError(f"{first.name!r} and {second.name!r} are one person already", "name two")
            with self._step(Action.MERGE) as (db, step):
                sql = "INSERT INTO merger(step, person, into_person) VALUES (?, ?, ?)"
                db.execute(sql, (step, first.id, second.id))
            self.tend()
            return first, second

    def undo(self, step: int | None = None) -> Undone | None:
        """Take back the last step that was not taken back; None where there is none, or it was before a `forget`.

        ``step``: the one that is to be taken back. Raises `StorageError`, and `NotLastStepError` where another one is
        the last.
        """
        with self._lock:
            before = self._writable()
            if step is not None and step != before.step:
                raise NotLastStepError(
                    "that cannot be taken back any more: something else was said, or taken back, since",
                    "`facewatchd people undo` takes back the last change",
                )
            if self._db is None:
                return None
            with self._translated("read"):
                row = self._db.execute("SELECT id, action, at FROM step ORDER BY id DESC LIMIT 1").fetchone()
                if row is None:
                    return None
                step, action, at = row
                about = [person for (person,) in self._db.execute(_ABOUT, (step,) * 4)]
                sql = "SELECT (SELECT count(*) FROM statement WHERE step = ?1) + count(*) FROM ignored WHERE step = ?1"
                (statements,) = self._db.execute(sql, (step,)).fetchone()
            with self._step(None) as (db, _):
                db.execute("DELETE FROM step WHERE id = ?", (step,))
            names = {person.id: person.name for person in (*before.people, *self._snapshot.people)}
            self.tend()
            return Undone(Action(action), at, tuple(names[each] for each in about if each in names), statements)

    # Forgetting, and backups

    def forget(self, name: str) -> Forgotten:
        """Delete a person with everything that was said of it, for good: neither file nor backups keep the name.

        Nothing that was done before can be taken back afterwards. Raises `UnknownPersonError`, and `StorageError`, also
        where the person is forgotten but what is deleted cannot be overwritten yet.
        """
        with self._lock:
            before = self._writable()
            person = before.require(name)
            with self._step(None) as (db, _):
                self._settle_without(db, before, person)
                db.execute("INSERT OR REPLACE INTO meta VALUES ('unscrubbed', 1)")
            self._unscrubbed, self._tended = True, None
            try:
                backups = self._scrub()
            except StorageError as exc:
                raise StorageError(
                    f"the person is forgotten, but the name is not overwritten yet: {exc.message}",
                    "that is tried again by itself",
                ) from exc
            return Forgotten(person, len(before.of(person.id)), backups)

    def _settle_without(self, db: sqlite3.Connection, before: Snapshot, person: Person) -> None:
        """Keep only the rows of what counts, without that person, as if all had been said at once and for good."""
        kept = {(each.person, each.id) for each in before.statements if each.person != person.id}
        people = {each.id for each in before.people} - {person.id}
        every = [number for (number,) in db.execute("SELECT id FROM statement")]
        gone = set(every) - {number for _, number in kept}
        db.executemany("DELETE FROM statement WHERE id = ?", [(number,) for number in gone])
        db.executemany("UPDATE statement SET person = ?, step = NULL WHERE id = ?", kept)
        db.execute("DELETE FROM description WHERE id NOT IN (SELECT max(id) FROM description GROUP BY person)")
        for table in ("person", "description", "ignored"):
            db.execute(f"UPDATE {table} SET step = NULL")
        db.executemany(
            "DELETE FROM person WHERE id = ?",
            [(each,) for (each,) in db.execute("SELECT id FROM person").fetchall() if each not in people],
        )
        db.execute("DELETE FROM step")

    def _is_noted_unscrubbed(self, db: sqlite3.Connection) -> bool:
        return db.execute("SELECT 1 FROM meta WHERE key = 'unscrubbed'").fetchone() is not None

    def _scrub(self) -> int:
        """Overwrite what was forgotten; return how many backups were deleted for it. Raises `StorageError`."""
        assert self._db is not None
        try:
            with self._translated("overwrite parts of"):
                removed = self._backups.remove_all()
                self._db.execute("VACUUM")  # secure_delete leaves the bytes of cells that moved to another page
                self._empty_log_wholly()
                self._db.execute("DELETE FROM meta WHERE key = 'unscrubbed'")
                self._unscrubbed = False
                self._backups.make(self._db, self._today())
        except OSError as exc:
            raise StorageError(f"cannot overwrite parts of {self._path}: {exc.strerror}", "check the disk") from exc
        recovery.empty_log(self._db)
        return removed

    def _empty_log_wholly(self) -> None:
        """Raises `StorageError` where another process reads the file, so that the log stays."""
        assert self._db is not None
        (busy, _, _) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StorageError(f"another process reads {self._path}", "end it")

    def tend(self) -> None:
        """Make the backup of the day where it is due, and end what an earlier `forget` could not.

        To be called now and then. `trouble` tells where it fails; it is tried again after `RETRY` seconds.
        """
        with self._lock:
            if self._db is None:
                return
            today, version = self._today(), self._snapshot.version
            try:
                self._require_in_place()
                if self._tended != (today, version):
                    if self._now() < self._retry:
                        return
                    with self._translated("back up"):
                        if self._unscrubbed:
                            self._scrub()
                        elif self._backups.is_due(today, version):
                            self._backups.make(self._db, today)
                self._tended, self._backup_trouble = (today, version), ""
            except StorageError as exc:
                self._note_backup_trouble(str(exc))
            except OSError as exc:
                self._note_backup_trouble(f"cannot back up {self._path}: {exc.strerror}; check the disk")

    def _note_backup_trouble(self, trouble: str) -> None:
        if trouble != self._backup_trouble:
            log.warning("%s", trouble)
        self._backup_trouble = trouble
        self._retry = self._now() + RETRY

    def _today(self) -> date:
        return datetime.fromtimestamp(self._now()).astimezone().date()


def _new_of(people: Snapshot, faces: Iterable[Ignored]) -> list[Ignored]:
    """What is new of what is said of faces, each once.

    A face that is ignored is so once more with its whole group, and is ignored by no import that says so of a time
    before it was brought back. One of which nothing was said is brought back with its group alone.
    """
    new: list[Ignored] = []
    for face in faces:
        known = [*people.ignored.get(face.digest, ()), *(each for each in new if each.digest == face.digest)]
        same = [each for each in known if same_face(each.box, face.box)]
        before = [each for each in same if each.is_ignored]
        if face.is_ignored:
            is_old = any(not each.is_ignored and _is_before(face, each) for each in same)
            is_new = not is_old and not any(each.in_group or not face.in_group for each in before)
        else:
            is_new = bool(before) or (face.in_group and not same)
        if is_new:
            new.append(face)
    return new


def _is_before(one: Ignored, other: Ignored) -> bool:
    return one.at is not None and other.at is not None and one.at <= other.at


_ABOUT = """
SELECT person FROM statement WHERE step = ? UNION SELECT person FROM description WHERE step = ?
UNION SELECT person FROM merger WHERE step = ? UNION SELECT into_person FROM merger WHERE step = ?
"""
