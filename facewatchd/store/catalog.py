"""The catalog: what is known of photos, their contents and their faces, in SQLite.

One thread writes, through the methods of `Catalog`; any thread reads, through `Catalog.reading`. What a method commits
is on the disk (synchronous=FULL) before it returns. SQLite's errors are raised as `StorageError`, or as `DamagedError`
where the file is damaged or not a catalog of this model.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facewatchd.errors import DamagedError, RefusedError, StorageError
from facewatchd.matches import Box, overlap
from facewatchd.models.second_look import news
from facewatchd.photos.taken import in_name
from facewatchd.store import journal, recovery, schema
from facewatchd.store.catalog_reader import CatalogReader, below
from facewatchd.store.catalog_rows import LACKS_FACES, LEFT_OUT, Counts
from facewatchd.store.embedded import WAIT_FOR_PHOTO, Embedded
from facewatchd.store.outbox import Outbox
from facewatchd.store.references import ITSELF
from facewatchd.system import ownership
from facewatchd.values import Face, Identity, Look, Stamp, Taken, Ways

if TYPE_CHECKING:
    from facewatchd.store.index import Embeddings
    from facewatchd.values import Embedding

IDLE_READERS = 4
"""Connections that are kept open for the next readers; each holds up to 2 MB of pages."""
_VOID = -1
"""A ctime that no file has."""
KEEP_ORPHANS = 7 * 24 * 3600.0
"""Seconds for which the faces of a content without photos are kept: deleted photos are often restored."""
SAME_FACE = 0.5
"""Overlap from which on a face that is found when a photo is embedded again is one that was there before."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be recorded of one path.

    - ``stamp`` None: the file is gone.
    - With ``digest``: the file has that content. The content is new where ``faces`` is given, or has failed where
      ``error`` is; otherwise it is in the catalog already.
    - Without ``digest``: the file could not be read (``error``), or is no photo.

    An empty path records a content without a photo, for example of a file that was renamed while it was read.
    """

    path: bytes
    stamp: Stamp | None
    digest: bytes | None = None
    width: int = 0
    height: int = 0
    faces: Sequence[Face] | None = None
    error: str | None = None
    unsupported: bool = False
    """Whether ``error`` is about a format that is not read, and not about broken bytes."""
    worth: Ways = Ways.NONE
    """The ways in which a new content is worth a second look."""
    taken: Taken | None = None
    """The date in a new content; None: there is none."""
    picture: bytes | None = None
    """`photos.likeness.fingerprint` of a new content."""
    elsewhere: Embedded | None = None
    """The new content as another machine embedded it, where that is how its faces are known."""

    @classmethod
    def fetched(cls, path: bytes, stamp: Stamp, content: Embedded) -> Outcome:
        """Return what records that a file has a content that another machine embedded."""
        return cls(
            path,
            stamp,
            content.digest,
            content.width,
            content.height,
            content.faces,
            worth=Ways(max(content.second_look, 0)),
            taken=content.taken,
            picture=content.picture,
            elsewhere=content,
        )

    @property
    def second_look(self) -> int:
        """The column of a new content, and"""
        return int(self.worth) if self.elsewhere is None else self.elsewhere.second_look

    @property
    def dated(self) -> tuple[float | None, int | None, str | None]:
        """those of its date."""
        if self.elsewhere is not None and not self.elsewhere.is_dated:
            return None, None, None
        return _dated(self.taken)


@dataclass(slots=True)
class Changes:
    """The faces that a transaction added and removed."""

    added: list[int] = field(default_factory=list)
    embeddings: list[Embedding] = field(default_factory=list)
    stacked: Embeddings | None = None
    """The embeddings as one array; None where there are none."""
    removed: list[int] = field(default_factory=list)
    unknown: set[bytes] = field(default_factory=set)
    """Paths of which nothing was recorded, because their content was removed after it had been found in the catalog."""
    same: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Digests of contents that took each other's place at a path and have the same faces: the earlier and the later."""


@dataclass(frozen=True, slots=True)
class _Counted:
    asked: tuple[int, tuple[bytes, ...]]
    """The number of transactions when it was counted, and the directories."""
    counts: Counts
    photos: dict[bytes, int]


@contextlib.contextmanager
def translated(doing: str, what: str = "the catalog", hint: str = recovery.DAMAGED_HINT) -> Iterator[None]:
    """Raise SQLite's exceptions as `StorageError`; ``doing`` completes "cannot ...", ``what`` "... is damaged".

    ``hint``: what is to be done where it is damaged.
    """
    try:
        yield
    except (sqlite3.Error, OverflowError, UnicodeError, MemoryError) as exc:
        raise _translation(doing, exc, what, hint) from exc


def _translation(doing: str, exc: Exception, what: str, hint: str) -> StorageError:
    name = getattr(exc, "sqlite_errorname", "") or ""
    if name.startswith(schema.DAMAGE):
        return DamagedError(f"cannot {doing}: {what} is damaged ({exc})", hint)
    if isinstance(exc, MemoryError):
        return StorageError(f"cannot {doing}: there is not enough memory", "free some memory")
    # Python's sqlite3 raises its own errors, which have no code, for values of a type or size that SQLite lacks.
    code = getattr(exc, "sqlite_errorcode", None)
    if code is None or code & 0xFF in schema.REFUSED:
        return RefusedError(f"cannot {doing}: {exc}", "please report it")
    return StorageError(f"cannot {doing}: {exc}", _hint(name))


def _hint(name: str) -> str:
    if name.startswith("SQLITE_FULL"):
        return "free some disk space"
    most, _ = resource.getrlimit(resource.RLIMIT_FSIZE)  # SQLite does not tell a file that it may not make longer
    limit = "" if most == resource.RLIM_INFINITY else f"raise `ulimit -f`, which is {most >> 10} kB now, or "
    return f"{limit}check the disk of the data directory"


class Catalog:
    """An open catalog. Close it when done."""

    def __init__(self, path: Path, model_id: str, dim: int, *, sends: bool = False) -> None:
        """Open or create it for a model whose embeddings have ``dim`` numbers.

        ``sends``: whether a shared engine is told of what is in it, so that an `Outbox` is kept. Raises `DamagedError`
        for a file that is no catalog of this model.
        """
        self.path = path
        self.dim = dim
        self._idle_readers: list[sqlite3.Connection] = []
        self._readers_lock = threading.Lock()
        self._closed = False
        self._counted: _Counted | None = None
        self.outbox: Outbox | None = None
        """None where no shared engine is told of what is in the catalog."""
        self.made_due = 0
        """Transactions since it was opened that recorded a photo at which a second look is to be taken."""
        self.damage = ""
        """The last error about damage that SQLite raised since the catalog was opened; empty where none was."""
        self.damaged_faces: set[int] = set()
        """Faces that readers left out because their rows are damaged, until they are removed (`set_aside`)."""
        self.on_damaged_face: Callable[[], object] = lambda: None
        """Called by the reading thread when one is added to `damaged_faces`."""
        ownership.make_private(path)
        with translated(f"open {path}"):
            if path.exists() and path.stat().st_size:
                recovery.examine(path, model_id)
            self._db = schema.connect_writer(str(path))
            try:
                self._prepare(model_id)
                if sends:
                    self.outbox = Outbox.begin(self._db, self._transaction)
                else:
                    Outbox.end(self._db, self._transaction)
            except BaseException:
                self._db.close()
                raise
        path.chmod(0o600)

    def _prepare(self, model_id: str) -> None:
        if not self._db.execute("SELECT 1 FROM sqlite_schema").fetchone():
            schema.create(self._db, model_id)
        schema.migrate(self._db)
        self._scrub()
        recovery.begin_session(self._db, self.path)
        (self.uuid,) = self._db.execute("SELECT value FROM meta WHERE key = 'uuid'").fetchone()
        self._note_clean(False)

    def _scrub(self) -> None:
        """Overwrite, once, what was deleted before `secure_delete` was on; at the next start if the disk is full."""
        if not self._db.execute("SELECT 1 FROM meta WHERE key = 'scrubbed'").fetchone():
            with contextlib.suppress(sqlite3.OperationalError):
                self._db.execute("VACUUM")
                self._db.execute("INSERT INTO meta VALUES ('scrubbed', 1)")

    def _note_clean(self, clean: bool) -> None:
        self._db.execute(
            "INSERT INTO meta VALUES ('clean', ?) ON CONFLICT DO UPDATE SET value = excluded.value", (clean,)
        )

    @contextlib.contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            with translated(doing):
                yield
        except DamagedError as exc:
            self.damage = exc.message
            raise

    def close(self) -> None:
        """Close every connection. Unless damage was seen, note that the catalog was closed in order."""
        if not self.damage:
            with contextlib.suppress(sqlite3.Error):
                self._note_clean(True)
        with self._readers_lock:
            self._closed = True
            idle, self._idle_readers = self._idle_readers, []
        for db in idle:
            db.close()
        self._db.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[CatalogReader]:
        """A reader of one consistent state: that of its first statement.

        Its methods raise SQLite's errors as `StorageError`.
        """
        db = self._begun()
        try:
            yield CatalogReader(db, self._reads, self.dim, self._note_damaged, self.uuid)
        finally:
            with contextlib.suppress(sqlite3.Error):
                db.execute("COMMIT")
            with self._readers_lock:
                keep = not self._closed and len(self._idle_readers) < IDLE_READERS
                if keep:
                    self._idle_readers.append(db)
            if not keep:
                db.close()

    def _note_damaged(self, face_id: int) -> None:
        if face_id not in self.damaged_faces:
            self.damaged_faces.add(face_id)
            self.on_damaged_face()

    def _begun(self) -> sqlite3.Connection:
        """A connection that has begun a transaction."""
        with self._readers_lock:
            db = self._idle_readers.pop() if self._idle_readers else None
        with self._reads():
            db = db or schema.connect_reader(str(self.path))
            try:
                db.execute("BEGIN")
            except BaseException:
                db.close()
                raise
        return db

    def _reads(self) -> contextlib.AbstractContextManager[None]:
        return self._translated("read the catalog")

    def counts(self, directories: Sequence[bytes]) -> tuple[Counts, dict[bytes, int]]:
        """Count everything, and the photos below each directory; counted again only after another transaction."""
        with self.reading() as reader:
            known, asked = self._counted, (reader.transactions(), tuple(directories))
            if known is None or known.asked != asked:
                photos = {directory: reader.count_photos(directory) for directory in directories}
                known = self._counted = _Counted(asked, reader.counts(), photos)
        return known.counts, known.photos

    @contextlib.contextmanager
    def _transaction(self, doing: str) -> Iterator[None]:
        with self._translated(doing):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute(recovery.COUNT)
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise
        if self.outbox is not None:
            self.outbox.committed()

    def record(self, outcomes: Sequence[Outcome]) -> Changes:
        """Write all outcomes in one transaction."""
        changes = Changes()
        with self._transaction("write to the catalog"):
            for outcome in outcomes:
                self._record(outcome, changes)
            if changes.embeddings:  # before the commit: after it, the index must not be left behind for lack of memory
                changes.stacked = np.stack(changes.embeddings)
            is_due = any(outcome.digest and self._is_due(outcome.digest) for outcome in outcomes)
        self.made_due += is_due  # after the commit: a reader that sees the number sees the photo
        return changes

    def _is_due(self, digest: bytes) -> bool:
        """Whether a second look is to be taken at a content."""
        sql = "SELECT 1 FROM content WHERE digest = ? AND second_look > 0"
        return self._db.execute(sql, (digest,)).fetchone() is not None

    def _record(self, outcome: Outcome, changes: Changes) -> None:
        row = self._db.execute("SELECT content_id FROM photo WHERE path = ?", (outcome.path,)).fetchone()
        before = row[0] if row else None
        content_id = self._content(outcome, changes) if outcome.digest else None
        if outcome.digest and content_id is None:
            changes.unknown.add(outcome.path)
            return
        if outcome.stamp is None:
            self._db.execute("DELETE FROM photo WHERE path = ?", (outcome.path,))
        else:
            self._db.execute(
                "INSERT INTO photo(path, directory, device, inode, size, mtime_ns, ctime_ns, content_id, error, named)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(path) DO UPDATE SET device = excluded.device,"
                " inode = excluded.inode, size = excluded.size, mtime_ns = excluded.mtime_ns,"
                " ctime_ns = excluded.ctime_ns, content_id = excluded.content_id, error = excluded.error,"
                " named = excluded.named",
                (
                    outcome.path,
                    os.path.dirname(outcome.path),
                    *outcome.stamp,
                    content_id,
                    None if content_id else _storable(outcome.error),
                    in_name(outcome.path) if content_id else None,
                ),
            )
        shows = None if outcome.stamp is None else content_id
        if before != shows:
            if before is not None:
                journal.append(self._db, before, outcome.path, shown=False)
            if shows is not None:
                again = before is not None and self._have_same_faces(before, shows, changes)
                journal.append(self._db, shows, outcome.path, shown=True, again=again)
        for orphan in {before, content_id} - {None} if before != content_id else ():
            self._db.execute(
                "UPDATE content SET orphaned = ? WHERE id = ?"
                " AND NOT EXISTS (SELECT 1 FROM photo WHERE content_id = content.id)",
                (time.time(), orphan),
            )

    def _have_same_faces(self, before: int, now: int, changes: Changes) -> bool:
        """Whether two contents are one picture: of the same size and look, and with the same faces at the same places.

        Contents that were recorded before pictures had a fingerprint have none, and are told by their faces.
        """
        sql = "SELECT DISTINCT width, height FROM content WHERE id IN (?, ?)"
        if len(self._db.execute(sql, (before, now)).fetchall()) > 1:
            return False
        sql = "SELECT DISTINCT picture FROM content WHERE id IN (?, ?) AND picture IS NOT NULL"
        if len(self._db.execute(sql, (before, now)).fetchall()) > 1:
            return False
        reader = CatalogReader(self._db, self._reads, self.dim, self._note_damaged, self.uuid)
        ours, theirs = ([face for _, face in reader.faces(content) or ()] for content in (before, now))
        same = 0 < len(ours) == len(theirs) and all(
            any(
                overlap(one.box, other.box) >= SAME_FACE and float(one.embedding @ other.embedding) >= ITSELF
                for other in theirs
            )
            for one in ours
        )
        if same:
            digests = reader.digests([before, now])
            changes.same.append((digests[before], digests[now]))
        return same

    def _content(self, outcome: Outcome, changes: Changes) -> int | None:
        """The id of the outcome's content; None where that was removed, or lost a face, after it had been found."""
        sql = "SELECT id, width = ? FROM content WHERE digest = ?"
        known, lacks_faces = self._db.execute(sql, (LACKS_FACES, outcome.digest)).fetchone() or (None, False)
        if outcome.faces is None and outcome.error is None:
            if known is None or lacks_faces:
                return None
            self._db.execute("UPDATE content SET orphaned = NULL WHERE id = ? AND orphaned IS NOT NULL", (known,))
            return int(known)
        faces, replaced = list(outcome.faces or ()), {}
        if known is not None:
            replaced = self._arrivals("content_id = ?", known)
            faces = self._replace_faces(known, outcome, changes)
        (content_id,) = self._db.execute(
            "INSERT INTO content(digest, width, height, error, unsupported, second_look, taken, taken_offset,"
            " taken_from, picture, fetched) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET width = excluded.width, height = excluded.height, error = excluded.error,"
            " unsupported = excluded.unsupported, second_look = excluded.second_look, taken = excluded.taken,"
            " taken_offset = excluded.taken_offset, taken_from = excluded.taken_from, picture = excluded.picture,"
            " fetched = excluded.fetched, orphaned = NULL RETURNING id",
            (
                outcome.digest,
                outcome.width,
                outcome.height,
                _storable(outcome.error),
                outcome.unsupported,
                outcome.second_look,
                *outcome.dated,
                outcome.picture,
                outcome.elsewhere is not None,
            ),
        ).fetchone()
        # A content that lost a damaged face gets it back: that is none that came.
        self._insert_faces(content_id, faces, changes, replaced, came=known is not None and not lacks_faces)
        return int(content_id)

    def _arrivals(self, condition: str, *values: object) -> dict[Box, int]:
        """Where some faces are, each with its ``arrival``."""
        rows = self._db.execute(f"SELECT x, y, w, h, arrival FROM face WHERE {condition}", values).fetchall()
        return {Box(*box): arrival for *box, arrival in rows}

    def _replace_faces(self, content_id: int, outcome: Outcome, changes: Changes) -> list[Face]:
        """Remove the faces of a content that is embedded again; return those of the outcome that are to be recorded.

        Until the second look is taken again, faces that it found before stay, and what they show to be a misreading is
        not recorded.
        """
        reader = CatalogReader(self._db, self._reads, self.dim, self._note_damaged, self.uuid)
        known = {face: face_id for face_id, face in reader.faces(content_id) or ()}
        right, lower = outcome.width, outcome.height
        again = [
            face
            for face in known
            if face.look in outcome.worth.looks
            and (face.box.x + face.box.w <= right and face.box.y + face.box.h <= lower)
        ]
        kept, misread = news(dict(enumerate(outcome.faces or ())), again)
        stay = {known[face] for face in kept}
        rows = self._db.execute("SELECT id FROM face WHERE content_id = ?", (content_id,)).fetchall()
        gone = [face_id for (face_id,) in rows if face_id not in stay]
        self._db.executemany("DELETE FROM face WHERE id = ?", [(face_id,) for face_id in gone])
        changes.removed += gone
        return [face for number, face in enumerate(outcome.faces or ()) if number not in set(misread)]

    def record_second_look(self, digest: bytes, ways: Ways, found: Sequence[Face] | None) -> Changes:
        """Note that a second look at a content was taken in these ways, and record the faces that are news
        (`second_look.news`). ``found`` is None where it failed and is left out.

        Faces that an earlier look in these ways found stay where they were found again, else they are removed. The
        content stays due where it was embedded again meanwhile and is worth other ways. Nothing is written where the
        content is not in the catalog any more, or is to be embedded again.
        """
        changes = Changes()
        with self.reading() as reader:  # this thread alone writes: what is read stays so
            content_id = reader.content(digest)
            known = None if content_id is None else reader.faces(content_id)
        if content_id is None or known is None:
            return changes
        added: list[Face] = []
        replaced: dict[Box, int] = {}
        if found is not None:
            earlier = {_sameness(face): face_id for face_id, face in known if face.look in ways.looks}
            fresh, changes.removed = news({id_: face for id_, face in known if face.look not in ways.looks}, found)
            added = [face for face in fresh if earlier.pop(_sameness(face), None) is None]
            for face_id in earlier.values():  # what else is removed was misread, and nobody was told of it
                replaced |= self._arrivals("id = ?", face_id)
            changes.removed += earlier.values()
        with self._transaction("note a second look"):
            self._db.executemany("DELETE FROM face WHERE id = ?", [(face_id,) for face_id in changes.removed])
            self._insert_faces(content_id, added, changes, replaced)
            sql = "UPDATE content SET second_look = {} WHERE id = ? AND second_look > 0 AND second_look & ~? = 0"
            self._db.execute(sql.format("-second_look" if found is not None else LEFT_OUT), (content_id, int(ways)))
            if changes.embeddings:
                changes.stacked = np.stack(changes.embeddings)
        return changes

    def adopt(self, contents: Iterable[Embedded]) -> tuple[Changes, int]:
        """Record contents that another catalog of this model embedded, and return how many of them are new.

        A content that is known here in any way is left as it is. The others wait for their photos for `WAIT_FOR_PHOTO`
        seconds: they are orphaned from a time to come.
        """
        changes, new = Changes(), 0
        with self._transaction("import faces"):
            for content in contents:
                row = self._db.execute(
                    "INSERT INTO content(digest, width, height, second_look, taken, taken_offset, taken_from, picture,"
                    " orphaned) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id",
                    (
                        content.digest,
                        content.width,
                        content.height,
                        content.second_look,
                        *(_dated(content.taken) if content.is_dated else (None, None, None)),
                        content.picture,
                        time.time() + WAIT_FOR_PHOTO,
                    ),
                ).fetchone()
                if row is not None:
                    new += 1
                    self._insert_faces(row[0], content.faces, changes, {}, came=False)
            if changes.embeddings:
                changes.stacked = np.stack(changes.embeddings)
        return changes, new

    def _insert_faces(
        self, content_id: int, faces: Sequence[Face], changes: Changes, replaced: Mapping[Box, int], came: bool = True
    ) -> None:
        """Record faces of a content. Each that is where one of those ``replaced`` was has the ``arrival`` of that one.

        The others have a line of the journal where they ``came`` to a content that was there before.
        """
        line = 0
        for face in faces:
            arrival = next((replaced[box] for box in replaced if overlap(box, face.box) >= SAME_FACE), None)
            if arrival is None and came:
                line = line or journal.append(self._db, content_id, None, shown=True)
            changes.added.append(self._insert_face(content_id, face, line if arrival is None else arrival))
            changes.embeddings.append(face.embedding)

    def _insert_face(self, content_id: int, face: Face, arrival: int) -> int:
        cursor = self._db.execute(
            "INSERT INTO face(content_id, x, y, w, h, score, landmarks, embedding, norm, look, sharpness, arrival)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                content_id,
                *face.box,
                face.score,
                np.ascontiguousarray(face.landmarks, dtype=np.float32).tobytes(),
                np.ascontiguousarray(face.embedding, dtype=np.float32).tobytes(),
                face.norm,
                None if face.look is Look.FIRST else str(face.look),
                face.sharpness,
                arrival,
            ),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def record_taken(self, dates: Iterable[tuple[int, Taken | None]]) -> None:
        """Record the dates in some contents, by id, that were read for them since they were embedded."""
        with self._transaction("note dates"):
            self._db.executemany(
                "UPDATE content SET taken = ?, taken_offset = ?, taken_from = ? WHERE id = ? AND taken_from IS NULL",
                [(*_dated(taken), content_id) for content_id, taken in dates],
            )

    def record_groups(self, groups: Iterable[tuple[int, int]], last: int) -> None:
        """Record the group of some faces, 0 for none; those that are gone are passed over.

        ``last``: the highest id that was ever given to a group.
        """
        with self._transaction("note groups of faces"):
            self._db.executemany(
                "INSERT OR REPLACE INTO grouped SELECT id, ? FROM face INDEXED BY face_shown WHERE id = ?",
                [(group, face_id) for face_id, group in groups],
            )
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('last_group', ?)", (last,))

    def set_aside(self, face_ids: Sequence[int]) -> tuple[list[int], list[bytes]]:
        """Remove faces whose rows are damaged, and mark their contents to be embedded again.

        Returns the faces that were removed, and the photos with those contents. The stamps of the photos equal no
        file's from then on, so each walk has them examined; the rest of their rows stays until then.
        """
        removed: list[int] = []
        photos: set[bytes] = set()
        with self._transaction("set damaged faces aside"):
            for face_id in face_ids:
                sql = "DELETE FROM face WHERE id = ? RETURNING content_id"
                for content in self._db.execute(sql, (face_id,)).fetchall():
                    removed.append(face_id)
                    self._db.execute("UPDATE content SET width = ? WHERE id = ?", (LACKS_FACES, *content))
                    sql = "UPDATE photo SET ctime_ns = ? WHERE content_id = ? RETURNING path"
                    photos.update(path for (path,) in self._db.execute(sql, (_VOID, *content)))
        self.damaged_faces.difference_update(face_ids)
        return removed, sorted(photos)

    def collect_orphans(
        self, older_than: float = KEEP_ORPHANS, is_kept: Callable[[bytes], bool] = lambda digest: False
    ) -> list[int]:
        """Delete the contents that no photo has had for ``older_than`` seconds; return the ids of their faces.

        Their embeddings are overwritten in the file. SQLite's log, which may hold older pages, is emptied.
        ``is_kept``: whether a content stays all the same, by its digest.
        """
        before, faces = time.time() - older_than, list[int]()
        with self._transaction("collect old content"):
            journal.prune(self._db, before)
            old = self._db.execute("SELECT id, digest FROM content WHERE orphaned < ?", (before,)).fetchall()
            for content_id in (content_id for content_id, digest in old if not is_kept(digest)):
                rows = self._db.execute("SELECT id FROM face WHERE content_id = ?", (content_id,))
                faces += [face_id for (face_id,) in rows]
                self._db.execute("DELETE FROM content WHERE id = ?", (content_id,))
        with self._translated("empty the log"):
            recovery.empty_log(self._db)
        return faces

    def set_root(self, path: bytes, identity: Identity) -> None:
        """Record the identity of a root at its last good walk."""
        with self._transaction("note a root"):
            self._db.execute(
                "INSERT INTO root VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET device = excluded.device,"
                " inode = excluded.inode WHERE device != excluded.device OR inode != excluded.inode",
                (path, *identity),
            )

    def renumber(self, root: bytes, before: int, now: int) -> None:
        """Record another device number for the photos below a root whose file system has got one."""
        with self._transaction("note devices"):
            self._db.execute(
                "UPDATE photo SET device = ? WHERE device = ? AND path > ? AND path < ?", (now, before, *below(root))
            )

    def set_devices(self, items: Iterable[tuple[bytes, int]]) -> None:
        """Record device numbers of photos, (path, device), of which nothing else changed: after a boot or a mount."""
        with self._transaction("note devices"):
            self._db.executemany("UPDATE photo SET device = ? WHERE path = ?", [(dev, path) for path, dev in items])


def _dated(taken: Taken | None) -> tuple[float | None, int | None, str]:
    """The columns ``taken``, ``taken_offset`` and ``taken_from``."""
    return (None, None, "") if taken is None else (taken.at, taken.offset, str(taken.source))


def _sameness(face: Face) -> tuple[object, ...]:
    """What is equal of two looks that found the same, however often."""
    return face.look, face.box, face.embedding.tobytes()


def _storable(text: str | None) -> str | None:
    """Without lone surrogates, which SQLite refuses, and which errors of libraries about odd names may hold."""
    return None if text is None else text.encode("utf-8", "replace").decode()
