"""Every query of the catalog. A reader sees one consistent state and is used by one thread at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from facewatchd.errors import UnknownFaceError
from facewatchd.matches import Box
from facewatchd.models.base import are_unit, is_norm, is_unit
from facewatchd.photos import likeness
from facewatchd.photos.taken import is_stated
from facewatchd.store.catalog_rows import (
    LACKS_FACES,
    ContentFaces,
    Counts,
    Looks,
    PhotoRecord,
    RecordedPhoto,
    Seen,
    ShownFaces,
    ShownOn,
    ToSeeAgain,
    face_of,
    photo_record,
)
from facewatchd.store.embedded import MOST_COPIES, Embedded, Shown
from facewatchd.store.journal import Journal
from facewatchd.store.outbox import OutboxReader
from facewatchd.values import CANNOT_READ, Face, Identity, PhotoState, Stamp, Taken, TakenFrom, Ways, is_within

if TYPE_CHECKING:
    pass

T = TypeVar("T")

_BATCH = 500
"""Variables in one statement; SQLite allows 32,766, and longer statements are not faster."""
_FEW = 20_000
"""Up to so many photos of one state are found by their contents, and sorted, for each page. Of more, a page is read in
the order of paths, past photos of other states: 50 for each of the page, where 20,000 of a million have the state."""


_PHOTO = """
SELECT path, device, inode, size, mtime_ns, ctime_ns, content_id, coalesce(photo.error, content.error),
    photo.error IS NULL AND unsupported,
    (SELECT count(*) FROM face WHERE face.content_id = photo.content_id), coalesce(second_look, 0),
    coalesce(fetched, 0)
FROM photo LEFT JOIN content ON content.id = content_id
"""


_WORTH_TWO_LOOKS = "FROM content INDEXED BY content_second_look WHERE second_look != 0 AND orphaned IS NULL"
"""The condition of that index is said in full: SQLite does not conclude it from another."""
_UNDATED = (
    "FROM content INDEXED BY content_undated WHERE taken_from IS NULL AND content.error IS NULL AND orphaned IS NULL"
)
_HAS_FACES = "EXISTS (SELECT 1 FROM face WHERE face.content_id = content.id)"
_CONTENT_OF_STATE = {
    PhotoState.INDEXED: f"content.error IS NULL AND {_HAS_FACES}",
    PhotoState.NO_FACE: f"content.error IS NULL AND NOT {_HAS_FACES}",
    PhotoState.FAILED: "content.error IS NOT NULL AND unsupported = 0",
    PhotoState.UNSUPPORTED: "content.error IS NOT NULL AND unsupported = 1",
}
"""The contents whose photos are in a state; `photo_record` says the same of one photo."""
_BY_CONTENT = "FROM content CROSS JOIN photo ON content_id = content.id WHERE"
"""The contents of a state first, then their photos."""
_BY_PATH = """
FROM photo CROSS JOIN content ON content.id = content_id
WHERE (content_id IS NOT NULL OR photo.error IS NOT NULL) AND
"""
"""All photos in the order of their paths: the index `photo_shown` has every column of `photo` that is needed."""


class CatalogReader:
    """Queries on a connection of `Catalog.reading`."""

    def __init__(
        self,
        db: sqlite3.Connection,
        translated: Callable[[], AbstractContextManager[None]],
        dim: int,
        note_damaged: Callable[[int], None],
        uuid: str,
    ) -> None:
        """``translated`` turns the exceptions of SQLite into `StorageError`. ``dim``: numbers of an embedding.
        ``uuid``: the catalog's.

        ``note_damaged`` is called with the id of each face that is left out because its row is damaged: its embedding
        is not ``dim`` finite numbers of unit length, its landmarks are no points, or its norm is no length.
        """
        self._db = db
        self._translated = translated
        self._dim = dim
        self._note_damaged = note_damaged
        self._uuid = uuid
        self.journal = Journal(self._all, uuid)
        self.outbox = OutboxReader(self._all)

    def showing(self, shown: Mapping[int, Collection[bytes]]) -> CatalogReader:
        """A reader for which some contents are shown by these paths, and no others are shown."""
        return _Showing(self._db, self._translated, self._dim, self._note_damaged, self._uuid, shown)

    def _all(self, sql: str, *values: object) -> list[Any]:
        with self._translated():
            return self._db.execute(sql, values).fetchall()

    def _among(self, sql: str, values: Sequence[object], rest: str = "", *more: object) -> Iterator[Any]:
        """The rows of a statement that ends in IN, for any number of ``values``.

        ``rest`` of the statement follows these, and has the values ``more``; it is asked for `_BATCH` at a time.
        """
        for part in _batches(values):
            yield from self._all(f"{sql} ({_marks(part)}){rest}", *part, *more)

    # Photos

    def photo(self, path: bytes) -> PhotoRecord | None:
        rows = self._all(f"{_PHOTO} WHERE path = ?", path)
        return photo_record(rows[0]) if rows else None

    def stamp(self, path: bytes) -> Stamp | None:
        rows = self._all(f"{_STAMP} WHERE path = ?", path)
        return Stamp(*rows[0][1:]) if rows else None

    def recorded(self, directory: bytes) -> dict[bytes, Stamp]:
        """Stamps of the files that are known directly in a directory."""
        return {path: Stamp(*numbers) for path, *numbers in self.rows(directory)}

    def rows(self, directory: bytes) -> list[tuple[bytes, int, int, int, int, int]]:
        """The same as plain rows: path, and the five numbers of `Stamp`."""
        return self._all(f"{_STAMP} WHERE directory = ?", directory)

    def linked(self, inode: int) -> dict[bytes, Stamp]:
        """Stamps of the files that were recorded with this inode number: hard links of one file, as a rule."""
        rows = self._all(f"{_STAMP} WHERE inode = ?", inode)
        return {path: Stamp(*stamp) for path, *stamp in rows}

    def with_stamp(self, stamp: Stamp, limit: int) -> dict[bytes, bytes | None]:
        """At most ``limit`` paths with this stamp, each with the digest of its content, or None."""
        rows = self._all(
            "SELECT path, digest FROM photo LEFT JOIN content ON content.id = content_id WHERE device = ? AND inode = ?"
            " AND size = ? AND mtime_ns = ? AND ctime_ns = ? LIMIT ?",
            *stamp,
            limit,
        )
        return dict(rows)

    def directories(self, start: bytes) -> list[bytes]:
        """The directory itself and those below it in which files are known."""
        sql = "SELECT DISTINCT directory FROM photo WHERE directory = ? OR directory > ? AND directory < ?"
        return [directory for (directory,) in self._all(sql, start, *below(start))]

    def paths(self, directory: bytes) -> list[bytes]:
        """Every known path below a directory."""
        return [path for (path,) in self._all("SELECT path FROM photo WHERE path > ? AND path < ?", *below(directory))]

    def outside(self, directories: Sequence[bytes]) -> list[bytes]:
        """Known paths that lie below none of the directories."""
        inside = " OR ".join("(path > ? AND path < ?)" for _ in directories)
        bounds = [bound for directory in directories for bound in below(directory)]
        return [path for (path,) in self._all(f"SELECT path FROM photo WHERE NOT ({inside})", *bounds)]

    def count_photos(self, directory: bytes) -> int:
        """How many photos are known below a directory."""
        sql = "SELECT count(*) FROM photo WHERE path > ? AND path < ? AND (content_id IS NOT NULL OR error IS NOT NULL)"
        return int(self._all(sql, *below(directory))[0][0])

    def unread(self, directory: bytes) -> list[bytes]:
        """Paths below a directory that could not be read: a disk error, or a missing right (`CANNOT_READ`)."""
        sql = "SELECT path FROM photo WHERE path > ? AND path < ? AND content_id IS NULL AND error GLOB ?"
        return [path for (path,) in self._all(sql, *below(directory), f"{CANNOT_READ}*")]

    def in_state(self, state: PhotoState, after: bytes, limit: int) -> list[tuple[bytes, str | None]]:
        """The first ``limit`` photos in a state with paths after ``after``, in the order of paths, each with its error.

        Empty for the states that the catalog does not have: pending and unknown.
        """
        if state is PhotoState.EXCLUDED:
            sql = "SELECT path, NULL FROM photo WHERE content_id IS NULL AND error IS NULL AND path > ?"
            return self._all(f"{sql} ORDER BY path LIMIT ?", after, limit)
        if state not in _CONTENT_OF_STATE:
            return []
        found = self._all(
            f"SELECT path, content.error {self._source(state)} AND path > ? ORDER BY path LIMIT ?", after, limit
        )
        if state is PhotoState.FAILED:  # those of which not even the bytes are known
            sql = "SELECT path, error FROM photo WHERE error IS NOT NULL AND path > ? ORDER BY path LIMIT ?"
            found = sorted(found + self._all(sql, after, limit))[:limit]
        return found

    def _source(self, state: PhotoState) -> str:
        """The tables of a query for the photos in a state: by contents where they are few, else by path."""
        condition = _CONTENT_OF_STATE[state]
        few = f"SELECT count(*) FROM (SELECT 1 {_BY_CONTENT} {condition} LIMIT {_FEW})"
        return f"{_BY_CONTENT if self._all(few)[0][0] < _FEW else _BY_PATH} {condition}"

    def root(self, path: bytes) -> Identity | None:
        """The root's identity at its last good walk."""
        rows = self._all("SELECT device, inode FROM root WHERE path = ?", path)
        return Identity(*rows[0]) if rows else None

    def counts(self) -> Counts:
        rows = self._all(
            "SELECT (SELECT count(*) FROM photo WHERE content_id IS NOT NULL OR error IS NOT NULL),"
            " (SELECT count(*) FROM face), (SELECT count(*) FROM photo WHERE error IS NOT NULL),"
            # failed contents first, of which there are few
            " (SELECT count(*) FROM content CROSS JOIN photo ON content_id = content.id"
            " WHERE content.error IS NOT NULL AND NOT unsupported AND photo.error IS NULL),"
            f" (SELECT count(*) {_WORTH_TWO_LOOKS} AND second_look < 0),"
            f" (SELECT count(*) {_WORTH_TWO_LOOKS} AND second_look > 0),"
            f" (SELECT count(*) {_UNDATED})"
        )
        photos, faces, unread, undecoded, *contents = rows[0]
        return Counts(photos, faces, unread + undecoded, *contents)

    def count_undated(self) -> int:
        """The number of contents of photos whose bytes were not read for a date yet."""
        return int(self._all(f"SELECT count(*) {_UNDATED}")[0][0])

    def are_undated(self, contents: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of some contents was not read for a date yet."""
        return np.isin(contents, np.array([content for (content,) in self._all(f"SELECT id {_UNDATED}")], np.int64))

    def undated(self, directories: Sequence[bytes]) -> NDArray[np.int64]:
        """Contents with photos in some directories that are to be read for a date, those of the newest photos first."""
        inside, bounds = _inside(directories)
        rows = self._all(
            f"SELECT content.id {_UNDATED.replace(' WHERE', ' CROSS JOIN photo ON content_id = content.id WHERE', 1)}"
            f" AND width != ?{inside} GROUP BY content.id ORDER BY max(mtime_ns) DESC, content.id DESC",
            LACKS_FACES,
            *bounds,
        )
        return np.array([content for (content,) in rows], np.int64)

    def to_see_again(self, directories: Sequence[bytes], after: tuple[int, int] | None, limit: int) -> list[ToSeeAgain]:
        """A page of the contents with photos in some directories at which a second look is to be taken, those with the
        newest photos first.

        ``after``: ``newest`` and ``content_id`` of the last one of the page before.
        """
        inside, bounds = _inside(directories)
        rows = self._all(
            "SELECT content.id, digest, second_look, max(mtime_ns) AS newest, max(ctime_ns), width, height"
            " FROM content INDEXED BY content_second_look CROSS JOIN photo ON content_id = content.id"
            f" WHERE second_look != 0 AND second_look > 0 AND orphaned IS NULL AND width != ?{inside}"
            " GROUP BY content.id HAVING ? OR (newest, content.id) < (?, ?)"
            " ORDER BY newest DESC, content.id DESC LIMIT ?",
            LACKS_FACES,
            *bounds,
            after is None,
            *(after or (0, 0)),
            limit,
        )
        return [ToSeeAgain(content_id, digest, Ways(ways), *rest) for content_id, digest, ways, *rest in rows]

    def hidden(self, before: float) -> list[bytes]:
        """The digests of the contents that no photo has shown since a time, as Unix time, or earlier."""
        return [digest for (digest,) in self._all("SELECT digest FROM content WHERE orphaned <= ?", before)]

    def contents_with(self, digests: Collection[bytes]) -> dict[bytes, int]:
        """The contents of some digests that have not failed and lack no faces, by digest."""
        sql = f"SELECT digest, id FROM content WHERE error IS NULL AND width != {LACKS_FACES} AND digest IN"
        return dict(self._among(sql, sorted(digests)))

    def known_digests(self, digests: Collection[bytes]) -> set[bytes]:
        """Those of some digests that contents have."""
        return {digest for (digest,) in self._among("SELECT digest FROM content WHERE digest IN", sorted(digests))}

    def transactions(self) -> int:
        """The number of transactions since the catalog was opened. While it is the same, so is every answer."""
        return int(self._all("SELECT value FROM meta WHERE key = 'transactions'")[0][0])

    # Contents and faces

    def has_content(self, digest: bytes) -> bool:
        """Whether these bytes need not be embedded."""
        return bool(self._all("SELECT 1 FROM content WHERE digest = ? AND width != ?", digest, LACKS_FACES))

    def faces(self, content_id: int) -> list[tuple[int, Face]] | None:
        """The faces of a content with their ids, left to right; None where the row of one is damaged."""
        rows = self._all(f"{_FACE} WHERE content_id = ? ORDER BY x, y, id", content_id)
        found = list(self._sound(rows))
        return found if len(found) == len(rows) else None

    def _sound(self, rows: Iterable[Sequence[Any]]) -> Iterator[tuple[int, Face]]:
        """The faces of rows with their ids; damaged rows are left out."""
        for row in rows:
            try:
                face = face_of(row)
                is_sound = is_unit(face.embedding, self._dim) and (face.norm is None or is_norm(face.norm))
            except ValueError:  # bytes that are no whole number of floats, or of points
                is_sound = False
            if is_sound:
                yield row[0], face
            else:
                self._note_damaged(row[0])

    def note_damaged(self, face_ids: Iterable[int]) -> None:
        """Have the content of some faces embedded again: a row of it cannot be true."""
        for face_id in face_ids:
            self._note_damaged(face_id)

    def embedded(self, after: int, limit: int) -> tuple[list[Embedded], int | None]:
        """The contents that were embedded and that photos show, of the next ``limit`` ones by id that come after one.

        Those of which the row of a face is damaged are left out. Also returns the id to go on after; None at the end.
        """
        rows = self._all(
            f"{_EMBEDDED} AND id > ? AND orphaned IS NULL ORDER BY id LIMIT ?",
            after,
            limit,
        )
        found = []
        for content_id, *row in rows:
            if (faces := self.faces(content_id)) is not None:
                found.append(_embedded(row, [face for _, face in faces]))
        return found, rows[-1][0] if len(rows) == limit else None

    def shown(self, digest: bytes) -> Shown | None:
        """A content with its faces and photos; None where no photo shows it, no face is on it, or one is damaged."""
        rows = self._all(f"{_EMBEDDED} AND digest = ?", digest)
        if not rows:
            return None
        ((content_id, *row),) = rows
        sql = "SELECT path FROM photo WHERE content_id = ? ORDER BY path LIMIT ?"
        paths = [path for (path,) in self._all(sql, content_id, MOST_COPIES)]
        faces = self.faces(content_id) if paths else None
        if not faces:
            return None
        ids, found = zip(*faces, strict=True)
        ((_, _, written),) = self.dates_of_files([content_id])
        return Shown(_embedded(row, found), ids, paths, written)

    def paths_of(self, digests: Sequence[bytes]) -> dict[bytes, list[bytes]]:
        """The photos of each content, by digest; contents without any are left out."""
        found: dict[bytes, list[bytes]] = {}
        sql = "SELECT digest, path FROM content JOIN photo ON content_id = content.id WHERE digest IN"
        for digest, path in self._among(sql, digests, " ORDER BY path"):
            found.setdefault(digest, []).append(path)
        return found

    def content(self, digest: bytes) -> int | None:
        """The id of a content that has not failed and lacks no faces; else None."""
        rows = self._all(
            "SELECT id FROM content WHERE digest = ? AND error IS NULL AND width != ?", digest, LACKS_FACES
        )
        return int(rows[0][0]) if rows else None

    def photos_below(self, directory: bytes | None, after: bytes, limit: int) -> list[RecordedPhoto]:
        """The first ``limit`` photos that could be decoded, with paths after ``after``, in the order of paths.

        ``directory``: those below it, or the one of that path; None: all.
        """
        first, last = (b"", b"\xff") if directory is None else below(directory)
        rows = self._all(
            "SELECT path, device, inode, size, mtime_ns, ctime_ns, digest FROM photo CROSS JOIN content"
            " ON content.id = content_id WHERE path > ? AND path < ? AND (path > ? OR path = ?)"
            " AND content.error IS NULL ORDER BY path LIMIT ?",
            max(after, (directory or b"")[:-1]),
            last,
            first,
            directory or b"",
            limit,
        )
        return [RecordedPhoto(path, Stamp(*stamp), digest) for path, *stamp, digest in rows]

    def photos_of(self, digests: Collection[bytes]) -> dict[bytes, list[RecordedPhoto]]:
        """The photos of each content, in the order of their paths, by digest; contents without any are left out."""
        found: dict[bytes, list[RecordedPhoto]] = {}
        for part in _batches(sorted(digests)):
            sql = (
                "SELECT path, device, inode, size, mtime_ns, ctime_ns, digest FROM content JOIN photo"
                f" ON content_id = content.id WHERE digest IN ({_marks(part)}) ORDER BY path"
            )
            for path, *stamp, digest in self._all(sql, *part):
                found.setdefault(digest, []).append(RecordedPhoto(path, Stamp(*stamp), digest))
        return found

    def describe(self, content_id: int) -> tuple[bytes, int, int]:
        """The digest of a content that is there, and the width and height of the upright photo in pixels."""
        ((digest, width, height),) = self._all("SELECT digest, width, height FROM content WHERE id = ?", content_id)
        return digest, width, height

    def content_of(self, face_id: int) -> int:
        """The content that a face is on. Raises `UnknownFaceError`."""
        rows = self._all("SELECT content_id FROM face INDEXED BY face_shown WHERE id = ?", face_id)
        if not rows:
            raise UnknownFaceError(f"there is no face {face_id}", "face ids change when a photo is embedded again")
        return int(rows[0][0])

    def content_faces(self, digests: Sequence[bytes]) -> dict[bytes, ContentFaces]:
        """The contents with these digests, and where the faces on them are; unknown ones are left out."""
        found: dict[bytes, ContentFaces] = {}
        for part in _batches(digests):
            rows = self._all(
                "SELECT digest, content.id, width, height, face.id, x, y, w, h"
                f" FROM content LEFT JOIN face ON content_id = content.id WHERE digest IN ({_marks(part)})",
                *part,
            )
            for digest, content_id, width, height, face_id, *box in rows:
                sized = max(width, 0), max(height, 0)
                content = found.setdefault(digest, ContentFaces(content_id, *sized, []))
                if face_id is not None:
                    content.faces.append((face_id, Box(*box)))
        return found

    def digests_shown(self, paths: Sequence[bytes], face_ids: Sequence[int]) -> set[bytes]:
        """The digests of the contents that some photos have, and that some faces are on."""
        of_photos = "SELECT digest FROM photo JOIN content ON content.id = content_id WHERE path IN"
        of_faces = "SELECT digest FROM face INDEXED BY face_shown JOIN content ON content.id = content_id"
        found = {digest for (digest,) in self._among(of_photos, paths)}
        found.update(digest for (digest,) in self._among(f"{of_faces} WHERE face.id IN", face_ids))
        return found

    def faces_of(self, face_ids: Sequence[int]) -> dict[int, Face]:
        """The faces with these ids; those that are unknown or damaged are left out."""
        return dict(self._sound(self._among(f"{_FACE} WHERE id IN", face_ids)))

    def beside(self, face_ids: Sequence[int]) -> dict[int, dict[int, Face]]:
        """For each of some faces, all faces of its content, by id; those that are unknown or damaged are left out."""
        shown = self.contents_of(face_ids)
        faces: dict[int, dict[int, Face]] = {}
        for part in _batches(sorted(set(shown.contents.tolist()))):
            rows = self._all(
                f"SELECT content_id, {_FACE.removeprefix('SELECT ')} WHERE content_id IN ({_marks(part)})", *part
            )
            contents = {row[1]: row[0] for row in rows}
            for face_id, face in self._sound([row[1:] for row in rows]):
                faces.setdefault(contents[face_id], {})[face_id] = face
        return {
            face_id: faces.get(content, {})
            for face_id, content in zip(shown.ids.tolist(), shown.contents.tolist(), strict=True)
        }

    def contents_of(self, face_ids: Sequence[int], min_size: int = 0) -> ShownFaces:
        """The contents that faces are on. Faces smaller than ``min_size`` pixels on the shorter side, and unknown ones,
        are left out."""
        rows: list[Any] = []
        for part in _batches(sorted(face_ids)):
            # The table's own pages hold the embeddings: this index has hundreds of times as many faces a page.
            rows += self._all(
                f"SELECT id, content_id, {_NORM} FROM face INDEXED BY face_shown WHERE id IN ({_marks(part)})"
                " AND w >= ? AND h >= ? ORDER BY id",
                *part,
                min_size,
                min_size,
            )
        columns = list(zip(*rows, strict=True)) or [(), (), ()]
        return ShownFaces(*(np.array(column, kind) for column, kind in zip(columns, ("i8", "i8", "f8"), strict=True)))

    def shown_on(self, content_ids: Sequence[int], min_size: int = 0) -> ShownOn:
        """All faces on some contents with at least ``min_size`` pixels on the shorter side."""
        rows: list[Any] = []
        for part in _batches(content_ids):
            # From the ids in one index to the rest in the other, as in `contents_of`.
            rows += self._all(
                f"SELECT id, content_id, {_NORM}, min(w, h) FROM face INDEXED BY face_shown WHERE w >= ? AND h >= ?"
                f" AND id IN (SELECT id FROM face INDEXED BY face_content WHERE content_id IN ({_marks(part)}))",
                min_size,
                min_size,
                *part,
            )
        columns = list(zip(*rows, strict=True)) or [()] * 4
        kinds = ("i8", "i8", "f8", "i8")
        return ShownOn(*(np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)))

    def count_copies(self, content_ids: Sequence[int], directories: Sequence[bytes] = ()) -> dict[int, int]:
        """The number of photos of each content in some directories (none given: anywhere); zeros are left out."""
        inside, bounds = _inside(directories)
        sql = "SELECT content_id, count(*) FROM photo WHERE content_id IN"
        return dict(self._among(sql, content_ids, f"{inside} GROUP BY content_id", *bounds))

    def copies(self, content_ids: Sequence[int], directories: Sequence[bytes] = ()) -> dict[int, list[bytes]]:
        """The photos of each content in some directories (none given: anywhere)."""
        inside, bounds = _inside(directories)
        found: dict[int, list[bytes]] = {}
        sql = "SELECT content_id, path FROM photo WHERE content_id IN"
        for content_id, path in self._among(sql, content_ids, f"{inside} ORDER BY path", *bounds):
            found.setdefault(content_id, []).append(path)
        return found

    def digests(self, content_ids: Sequence[int]) -> dict[int, bytes]:
        """The digest of each content."""
        return dict(self._among("SELECT id, digest FROM content WHERE id IN", content_ids))

    def contents_at(self, paths: Sequence[bytes]) -> dict[bytes, int]:
        """The content that each of some paths shows; those that show none are left out."""
        sql = "SELECT path, content_id FROM photo WHERE path IN"
        return dict(self._among(sql, paths, " AND content_id IS NOT NULL"))

    def faces_on(self, content_ids: Sequence[int]) -> list[int]:
        """The ids of the faces of some contents."""
        return [face_id for (face_id,) in self._among("SELECT id FROM face WHERE content_id IN", content_ids)]

    def arrivals(self, face_ids: Sequence[int]) -> dict[int, int]:
        """The line of the journal that says that a face came to its content; 0 where it came with it."""
        return dict(self._among("SELECT id, arrival FROM face WHERE id IN", face_ids))

    def boxes(self, face_ids: Sequence[int]) -> dict[int, Seen]:
        """Where each face is, and how well it was seen."""
        rows = self._among("SELECT id, x, y, w, h, score, norm FROM face WHERE id IN", face_ids)
        return {face_id: Seen(Box(*box), score, norm) for face_id, *box, score, norm in rows}

    def taken(self, content_ids: Sequence[int]) -> list[tuple[int, float, int | None, str]]:
        """The dates in the bytes of contents, of those that have one: id, and `Taken`."""
        sql = "SELECT id, taken, taken_offset, taken_from FROM content WHERE taken IS NOT NULL AND id IN"
        return [(content, *taken) for content, *taken in self._among(sql, content_ids) if is_stated(*taken)]

    def dates_of_files(self, content_ids: Sequence[int]) -> list[tuple[int, float | None, int]]:
        """For each content, the earliest date in a name of its photos, and their earliest mtime in nanoseconds."""
        sql = "SELECT content_id, min(named), min(mtime_ns) FROM photo WHERE content_id IN"
        return list(self._among(sql, content_ids, " GROUP BY content_id"))

    def pictures(self, contents: NDArray[np.int64]) -> tuple[NDArray[np.float64], list[bytes | None]]:
        """Width and height of contents, in their order, of shape (n, 2); and their fingerprints, where known."""
        sql = "SELECT id, width, height, picture FROM content WHERE id IN"
        rows = {id_: rest for id_, *rest in self._among(sql, contents.tolist())}
        found = [rows[content] for content in contents.tolist()]
        sizes = np.array([(width, height) for width, height, _ in found], np.float64).reshape(-1, 2)
        return sizes, [_fingerprint(picture) for *_, picture in found]

    def looks(self, face_ids: Sequence[int]) -> Looks:
        """What some faces look like."""
        sql = "SELECT id, embedding, x, y, w, h, norm, sharpness FROM face WHERE id IN"
        columns = list(self._among(sql, sorted(face_ids), " ORDER BY id"))
        ids, embeddings = self._matrix([row[:2] for row in columns])
        if len(ids) < len(columns):
            sound = set(ids.tolist())
            columns = [row for row in columns if row[0] in sound]
        numbers = np.array([(0, 0, 0, 0, None, None), *(row[2:] for row in columns)], np.float64)
        nothing = np.full((1, self._dim), np.nan, np.float32)
        return Looks(np.insert(ids, 0, 0), np.vstack([nothing, embeddings]), *np.split(numbers, [4, 5], axis=1))

    def face_ids(self) -> NDArray[np.int64]:
        """Every face id, ascending. Shape (n,)."""
        # Unordered, SQLite takes them from an index: the table's pages hold all the embeddings.
        with self._translated():
            rows = self._db.execute("SELECT id FROM face")
            return np.sort(np.fromiter((face_id for (face_id,) in rows), np.int64))

    def every_face(self) -> ShownOn:
        """What `shown_on` has, of all faces of the catalog."""
        with self._translated():
            sql = f"SELECT id, content_id, {_NORM}, min(w, h) FROM face INDEXED BY face_shown"
            kinds = np.dtype([("id", "i8"), ("content", "i8"), ("norm", "f8"), ("size", "i8")])
            rows = np.fromiter(self._db.execute(sql), kinds)
        return ShownOn(rows["id"], rows["content"], rows["norm"], rows["size"])

    def sizes_of(self, face_ids: Sequence[int]) -> ShownOn:
        """What `shown_on` has, of some faces; those that are unknown are left out."""
        sql = f"SELECT id, content_id, {_NORM}, min(w, h) FROM face INDEXED BY face_shown WHERE id IN"
        columns = list(zip(*self._among(sql, face_ids), strict=True)) or [()] * 4
        kinds = ("i8", "i8", "f8", "i8")
        return ShownOn(*(np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)))

    def grouped(self) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """The faces that were looked at for groups, and the group of each, 0 for none; and the highest id of a group.

        Two arrays of shape (n,), and the highest id that was ever given to a group.
        """
        with self._translated():
            kinds = np.dtype([("face", "i8"), ("group", "i8")])
            rows = np.fromiter(self._db.execute("SELECT face_id, group_id FROM grouped"), kinds)
        last = self._all("SELECT value FROM meta WHERE key = 'last_group'")
        return rows["face"], rows["group"], int(last[0][0]) if last else 0

    def count_ungrouped(self) -> int:
        """Faces that are still to be looked at for groups."""
        rows = self._all("SELECT (SELECT count(*) FROM face) - (SELECT count(*) FROM grouped)")
        return int(rows[0][0])

    def orphans(self) -> NDArray[np.int64]:
        """The contents that no photo shows. Shape (n,)."""
        return np.array(self._all("SELECT id FROM content WHERE orphaned IS NOT NULL"), np.int64).reshape(-1)

    def last_face_id(self) -> int:
        """The highest id that was ever given to a face."""
        rows = self._all("SELECT seq FROM sqlite_sequence WHERE name = 'face'")
        return int(rows[0][0]) if rows else 0

    def embeddings(self, batch: int = 4096) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Every face in the order of ids: ids of shape (n,) and embeddings of shape (n, dim), n at most ``batch``.

        Those whose row is damaged are left out.
        """
        last = -1
        while rows := self._all("SELECT id, embedding FROM face WHERE id > ? ORDER BY id LIMIT ?", last, batch):
            yield self._matrix(rows)
            last = rows[-1][0]

    def embeddings_of(self, face_ids: Iterable[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The embeddings of some faces, as `embeddings` gives them; unknown ids are left out too."""
        sql = "SELECT id, embedding FROM face WHERE id IN"
        return self._matrix(list(self._among(sql, sorted(face_ids), " ORDER BY id")))

    def _matrix(self, rows: Sequence[tuple[int, bytes]]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Ids and embeddings of rows; damaged rows are left out."""
        sized = [(face_id, blob) for face_id, blob in rows if len(blob) == 4 * self._dim]
        ids = np.array([face_id for face_id, _ in sized], np.int64)
        matrix = np.frombuffer(b"".join(blob for _, blob in sized), np.float32).reshape(len(sized), self._dim)
        sound = are_unit(matrix)
        if len(sized) == len(rows) and sound.all():
            return ids, matrix
        for face_id in {face_id for face_id, _ in rows} - set(ids[sound].tolist()):
            self._note_damaged(face_id)
        return ids[sound], matrix[sound]

    def check(self) -> list[str]:
        """What SQLite's own checks find wrong with the file; empty where nothing is."""
        findings = [text for (text,) in self._all("PRAGMA quick_check(20)") if text != "ok"]
        return findings + [
            f"row {row} of table {table} refers to a row that is missing"
            for table, row, *_ in self._all("PRAGMA foreign_key_check")
        ]


class _Showing(CatalogReader):
    """Of contents that some paths show, or showed before."""

    def __init__(
        self,
        db: sqlite3.Connection,
        translated: Callable[[], AbstractContextManager[None]],
        dim: int,
        note_damaged: Callable[[int], None],
        uuid: str,
        shown: Mapping[int, Collection[bytes]],
    ) -> None:
        super().__init__(db, translated, dim, note_damaged, uuid)
        self._shown = shown

    def copies(self, content_ids: Sequence[int], directories: Sequence[bytes] = ()) -> dict[int, list[bytes]]:
        found: dict[int, list[bytes]] = {}
        for content in content_ids:
            inside = [path for path in sorted(self._shown.get(content, ())) if _is_inside(path, directories)]
            if inside:
                found[content] = inside
        return found

    def count_copies(self, content_ids: Sequence[int], directories: Sequence[bytes] = ()) -> dict[int, int]:
        return {content: len(paths) for content, paths in self.copies(content_ids, directories).items()}

    def dates_of_files(self, content_ids: Sequence[int]) -> list[tuple[int, float | None, int]]:
        known = {content: (content, named, mtime) for content, named, mtime in super().dates_of_files(content_ids)}
        return [known.get(content, (content, None, 0)) for content in content_ids]


def _is_inside(path: bytes, directories: Sequence[bytes]) -> bool:
    return not directories or any(is_within(path, each) for each in directories)


_STAMP = "SELECT path, device, inode, size, mtime_ns, ctime_ns FROM photo"
_NORM = "coalesce(norm, 9e999)"  # which SQLite reads as infinity
_FACE = "SELECT id, x, y, w, h, score, landmarks, embedding, norm, look, sharpness FROM face"
_EMBEDDED = (
    "SELECT id, digest, width, height, second_look, taken, taken_offset, taken_from, picture FROM content"
    " WHERE error IS NULL AND width > 0"
)


def _embedded(row: Sequence[Any], faces: Sequence[Face]) -> Embedded:
    """The content of a row of `_EMBEDDED` without its id."""
    digest, width, height, second_look, at, offset, source, picture = row
    is_dated = source == "" or (source is not None and at is not None and is_stated(at, offset, source))
    taken = Taken(at, offset, TakenFrom(source)) if source and is_dated else None
    return Embedded(digest, width, height, second_look, taken, is_dated, _fingerprint(picture), faces)


def below(directory: bytes) -> tuple[bytes, bytes]:
    """Bounds, both exclusive, of the paths below a directory: '0' is the byte after '/'."""
    prefix = directory.rstrip(b"/")
    return prefix + b"/", prefix + b"0"


def _inside(directories: Sequence[bytes]) -> tuple[str, list[bytes]]:
    """A condition on a photo's path, to be put behind others, and its values; empty where there is no directory."""
    if not directories:
        return "", []
    bounds = [bound for directory in directories for bound in (directory, *below(directory))]
    values = ", ".join("(?, ?, ?)" for _ in directories)  # of which there may be more than an expression may be deep
    given = f"WITH given(own, low, high) AS (VALUES {values}) SELECT 1 FROM given"
    return f" AND EXISTS ({given} WHERE path = own OR path > low AND path < high)", bounds


def _fingerprint(kept: bytes | None) -> bytes | None:
    """The fingerprint of a picture as it is kept; None also where it cannot be one."""
    return kept if kept is not None and len(kept) == likeness.BYTES else None


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _batches(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]
