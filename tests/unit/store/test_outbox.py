"""The outbox: whatever happens to a catalog and on the way, the engine holds in the end what photos show."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from facewatchd.errors import NotReadyError
from facewatchd.store import outbox
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.store.embedded import Embedded, Shown
from facewatchd.store.outbox import MOST_LINEAGES, Outbox
from facewatchd.values import Face, Look, Stamp, Taken, TakenFrom, Ways
from tests.support.galleries import BOX, DIM, face, photo, stamp, unit

MODEL = "test-00000000"
ROWS = unit(np.random.default_rng(5).normal(size=(12, DIM)))


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(tmp_path / "catalog.sqlite3", MODEL, DIM, sends=True)
    yield catalog
    catalog.close()


def of(catalog: Catalog) -> Outbox:
    assert catalog.outbox is not None
    return catalog.outbox


def waiting(catalog: Catalog) -> list[bytes]:
    with catalog.reading() as reader:
        return [digest for _, digest in reader.outbox.first(1000)]


def told(shown: Shown | None) -> object:
    """What the engine is told, as values that can be compared."""
    if shown is None:
        return None
    one = shown.embedded
    faces = [
        (face_id, each.box, each.score, each.landmarks.tobytes(), each.embedding.tobytes(), each.norm, each.look)
        for face_id, each in zip(shown.face_ids, one.faces, strict=True)
    ]
    dates = one.taken, one.is_dated, shown.written
    return one.width, one.height, one.second_look, dates, one.picture, faces, tuple(shown.paths)


def truth(path: Path) -> dict[bytes, object]:
    """What the engine is to hold, read without the code that is tested."""
    found: dict[bytes, object] = {}
    columns = "id, digest, width, height, second_look, taken, taken_offset, taken_from, picture"
    with contextlib.closing(sqlite3.connect(path)) as db:
        contents = db.execute(f"SELECT {columns} FROM content WHERE error IS NULL AND width > 0").fetchall()
        for content_id, digest, width, height, second, at, offset, source, picture in contents:
            paths = tuple(p for (p,) in db.execute("SELECT path FROM photo WHERE content_id = ?", (content_id,)))
            rows = db.execute(
                "SELECT id, x, y, w, h, score, landmarks, embedding, norm, look FROM face WHERE content_id = ?"
                " ORDER BY x, y, id",
                (content_id,),
            ).fetchall()
            if paths and rows:
                taken = Taken(at, offset, TakenFrom(source)) if source else None
                faces = [(row[0], row[1:5], *row[5:9], row[9] or Look.FIRST) for row in rows]
                sql = "SELECT min(mtime_ns) FROM photo WHERE content_id = ?"
                dates = taken, source is not None, db.execute(sql, (content_id,)).fetchone()[0]
                found[digest] = (width, height, second, dates, picture, faces, tuple(sorted(paths)))
    return found


class Engine:
    """What one machine's rows in an engine come to: a push is a transaction with its token."""

    def __init__(self) -> None:
        self.rows: dict[bytes, object] = {}
        self.lineage = ""

    def push(self, changes: dict[bytes, object], lineage: str) -> None:
        for digest, content in changes.items():
            if content is None:
                self.rows.pop(digest, None)
            else:
                self.rows[digest] = content
        self.lineage = lineage


# Which changes count


def test_a_new_photo_with_faces_is_to_be_sent_and_one_without_is_not(catalog: Catalog) -> None:
    catalog.record([photo(b"/p/a", b"d1", ROWS[:2]), photo(b"/p/none", b"d0", [])])
    catalog.record([Outcome(b"/p/torn", stamp(3), b"d2", error="torn"), Outcome(b"/p/text", stamp(4))])
    assert waiting(catalog) == [b"d1"]


def test_what_no_photo_shows_is_never_in_the_outbox(catalog: Catalog) -> None:
    """A photo that was shown to the daemon is recorded without its path; an import waits for its photos."""
    catalog.record([dataclasses.replace(photo(b"", b"shown", ROWS[:1]), stamp=None)])
    content = Embedded(b"imported", 640, 480, 0, None, True, None, [face(ROWS[1])])
    catalog.adopt([content])
    catalog.record_taken([(1, Taken(1.5e9, None, TakenFrom.EXIF)), (2, None)])
    catalog.record_second_look(b"shown", Ways.TURNED, [dataclasses.replace(face(ROWS[2]), look=Look.TURNED_90)])
    catalog.collect_orphans(older_than=-1e10)
    assert waiting(catalog) == []


def test_an_import_is_sent_when_its_photo_comes(catalog: Catalog) -> None:
    catalog.adopt([Embedded(b"imported", 640, 480, 0, None, True, None, [face(ROWS[1])])])
    catalog.record([Outcome(b"/p/a", stamp(1), b"imported")])
    with catalog.reading() as reader:
        shown = reader.shown(b"imported")
    assert waiting(catalog) == [b"imported"]
    assert shown is not None
    assert (list(shown.paths), list(shown.face_ids)) == ([b"/p/a"], [1])


CHANGES = {
    "a copy": lambda catalog: catalog.record([Outcome(b"/p/b", stamp(2), b"d1")]),
    "a rename": lambda catalog: catalog.record([Outcome(b"/p/a", None), Outcome(b"/p/b", stamp(1), b"d1")]),
    "the last photo deleted": lambda catalog: catalog.record([Outcome(b"/p/a", None)]),
    "other bytes": lambda catalog: catalog.record([photo(b"/p/a", b"d2", [])]),
    "no photo any more": lambda catalog: catalog.record([Outcome(b"/p/a", stamp(9))]),
    "embedded again": lambda catalog: catalog.record([photo(b"/p/a", b"d1", ROWS[4:5])]),
    "embedded again without a face": lambda catalog: catalog.record([photo(b"/p/a", b"d1", [])]),
    "embedded again with an error": lambda catalog: catalog.record([Outcome(b"/p/a", stamp(1), b"d1", error="torn")]),
    "a damaged face": lambda catalog: catalog.set_aside([1]),
    "another date of the file": lambda catalog: catalog.record(
        [Outcome(b"/p/a", stamp(1)._replace(mtime_ns=9), b"d1")]
    ),
    "a second look": lambda catalog: catalog.record_second_look(b"d1", Ways.TURNED, None),
    "a face of a second look": lambda catalog: catalog.record_second_look(
        b"d1", Ways.TURNED, [dataclasses.replace(face(ROWS[8], BOX._replace(x=300)), look=Look.TURNED_90)]
    ),
    "a face's row": lambda catalog: catalog._db.execute("UPDATE face SET score = 0.5 WHERE id = 1"),
    "a date": lambda catalog: catalog.record_taken([(1, Taken(1.5e9, None, TakenFrom.EXIF))]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_what_is_shown_takes_a_new_number(catalog: Catalog, name: str) -> None:
    written = dataclasses.replace(photo(b"/p/a", b"d1", ROWS[:1]), worth=Ways.TURNED)
    catalog.record([written])
    catalog._db.execute("UPDATE content SET taken_from = NULL")
    with catalog.reading() as reader:
        ((before, _),) = reader.outbox.first(10)
    CHANGES[name](catalog)
    with catalog.reading() as reader:
        ((after, digest),) = reader.outbox.first(10)
    assert after > before
    assert digest == b"d1"


def test_where_other_bytes_come_that_are_known_both_contents_are_noted(catalog: Catalog) -> None:
    catalog.record([photo(b"/p/a", b"d1", ROWS[:1]), photo(b"/p/b", b"d2", ROWS[1:2])])
    of(catalog).sending("one")
    of(catalog).sent(range(10), "one")
    catalog.record([Outcome(b"/p/a", stamp(5), b"d2")])
    assert sorted(waiting(catalog)) == [b"d1", b"d2"]


def test_what_changes_nothing_that_is_sent_is_not_noted(catalog: Catalog) -> None:
    catalog.record([photo(b"/p/a", b"d1", ROWS[:1])])
    of(catalog).sending("one")
    of(catalog).sent([1, 2, 3], "one")
    catalog.record([Outcome(b"/p/a", stamp(7, ctime_ns=9), b"d1")])
    catalog.set_devices([(b"/p/a", 7)])
    catalog.record_groups([(1, 3)], 3)
    catalog.collect_orphans()
    assert waiting(catalog) == []


def test_a_transaction_that_fails_leaves_nothing_in_the_outbox(catalog: Catalog) -> None:
    with pytest.raises(Exception, match="cannot write"):
        catalog.record([photo(b"/p/a", b"d1", ROWS[:1]), Outcome(b"/p/b", stamp(2), b"d2", "wide", 1, [])])  # type: ignore[arg-type]
    assert waiting(catalog) == []


# Tokens and numbers


def test_a_change_on_its_way_stays(catalog: Catalog) -> None:
    catalog.record([photo(b"/p/a", b"d1", ROWS[:1]), photo(b"/p/b", b"d2", ROWS[1:2])])
    with catalog.reading() as reader:
        seqs = [seq for seq, _ in reader.outbox.first(10)]
    of(catalog).sending("one")
    catalog.record([Outcome(b"/p/c", stamp(3), b"d1")])
    of(catalog).sent(seqs, "one")
    assert waiting(catalog) == [b"d1"]
    of(catalog).sent(seqs, "one")  # the answer was lost
    assert waiting(catalog) == [b"d1"]


def test_tokens_are_kept_until_one_is_answered(catalog: Catalog) -> None:
    def lineages() -> list[str]:
        with catalog.reading() as reader:
            return reader.outbox.lineages()

    assert lineages() == []
    for token in "abc":
        of(catalog).sending(token)
    assert lineages() == ["a", "b", "c"]
    of(catalog).sent([], "b")
    assert lineages() == ["b", "c"]
    with pytest.raises(NotReadyError):
        of(catalog).sent([], "a")
    for number in range(100):
        of(catalog).sending(str(number))
    assert (len(lineages()), lineages()[0], lineages()[-1]) == (MOST_LINEAGES, "b", "99")


def test_a_push_from_before_a_restored_backup_deletes_nothing(catalog: Catalog) -> None:
    catalog.record([photo(b"/p/a", b"d1", ROWS[:1])])
    with pytest.raises(NotReadyError):
        of(catalog).sent([1, 2, 3], "of the later one")
    assert waiting(catalog) == [b"d1"]


# When an engine is configured, and no more


def test_a_catalog_that_sends_nothing_keeps_no_outbox(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite3"
    catalog = Catalog(path, MODEL, DIM)
    catalog.record([photo(b"/p/a", b"d1", ROWS[:1])])
    with catalog.reading() as reader:
        assert (reader.outbox.first(9), reader.outbox.rest()) == ([], None)
    assert catalog.outbox is None
    catalog.close()


def test_everything_shown_is_sent_at_first_and_again_after_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "REST", 2)
    path = tmp_path / "catalog.sqlite3"
    digests = [b"d%d" % number for number in range(5)]
    first = Catalog(path, MODEL, DIM)
    first.record([photo(b"/p/" + digest, digest, ROWS[:1]) for digest in digests])
    first.record([photo(b"/p/none", b"none", []), dataclasses.replace(photo(b"", b"shown", ROWS[:1]), stamp=None)])
    first.close()
    for sends in (True, False, True):
        catalog = Catalog(path, MODEL, DIM, sends=sends)
        with catalog.reading() as reader:
            assert (reader.outbox.rest() is not None, reader.outbox.count()) == (sends, 0)
            assert reader.outbox.lineages() == []
        if sends:
            with catalog.reading() as reader:
                assert reader.outbox.count_rest(reader.outbox.rest() or (0, 0)) == 6
            of(catalog).mark_rest()
            assert waiting(catalog) == digests[:2]
            of(catalog).sending("lineage")
            of(catalog).mark_rest()
            of(catalog).mark_rest()
            assert waiting(catalog) == digests
            with catalog.reading() as reader:
                assert reader.outbox.rest() is None
        catalog.close()


def test_of_an_earlier_version_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite3"
    catalog = Catalog(path, MODEL, DIM)
    catalog.record([photo(b"/p/a", b"d1", ROWS[:1])])
    catalog.close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript("DROP TABLE outbox; ALTER TABLE content DROP COLUMN fetched; PRAGMA user_version = 6;")
    catalog = Catalog(path, MODEL, DIM, sends=True)
    of(catalog).mark_rest()
    assert waiting(catalog) == [b"d1"]
    catalog.close()


def test_digests_are_marked_unless_everything_will_be_sent_anyhow(catalog: Catalog) -> None:
    catalog.record([photo(b"/p/a", b"d1", ROWS[:1])])
    of(catalog).sending("one")
    of(catalog).sent([1, 2, 3], "one")
    of(catalog).mark_all()
    of(catalog).mark([b"d1", b"gone", b"gone"])
    assert waiting(catalog) == []
    of(catalog).release()
    assert waiting(catalog) == [b"gone"]
    of(catalog).mark_rest()
    of(catalog).mark([b"d1"])
    assert waiting(catalog) == [b"gone", b"d1"]


def test_a_thread_is_woken_by_a_transaction(catalog: Catalog) -> None:
    kept = of(catalog)
    seen = kept.changes
    assert not kept.wait(seen, 0.01)
    catalog.record([photo(b"/p/a", b"d1", ROWS[:1])])
    assert kept.wait(seen, 0.0)
    kept.close()
    assert not kept.wait(kept.changes, 60.0)


# Everything together


PATHS = st.sampled_from([b"/p/a", b"/p/b", b"/p/c", b"/q/d"])
DIGESTS = st.sampled_from([b"d1", b"d2", b"d3"])
EMBEDDINGS = st.lists(st.sampled_from(range(len(ROWS))), max_size=3, unique=True)


def faces_of(rows: list[int], look: Look = Look.FIRST) -> list[Face]:
    return [dataclasses.replace(face(ROWS[row], BOX._replace(x=40 * row)), look=look) for row in rows]


def written(number: int) -> Stamp:
    """Of a file that was written to later than those of lower numbers."""
    return stamp(number)._replace(mtime_ns=number)


class Sending(RuleBasedStateMachine):
    """A catalog, an engine and what goes between them, with kills and restored backups on both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="outbox-"))
        self.path = self.directory / "catalog.sqlite3"
        self.catalog = Catalog(self.path, MODEL, DIM, sends=True)
        self.engine = Engine()
        self.attached = False
        self.backup: Path | None = None
        self.engine_backup: tuple[dict[bytes, object], str] = ({}, "")
        self.tokens = 0
        self.inode = 0

    def teardown(self) -> None:
        with contextlib.suppress(Exception):
            self.catalog.close()
        shutil.rmtree(self.directory)

    # The catalog's operations

    @rule(path=PATHS, digest=DIGESTS, rows=EMBEDDINGS, worth=st.sampled_from(list(Ways)))
    def embeds(self, path: bytes, digest: bytes, rows: list[int], worth: Ways) -> None:
        self.inode += 1
        taken = Taken(1e9 + self.inode, None, TakenFrom.EXIF) if self.inode % 3 else None
        self.catalog.record(
            [Outcome(path, written(self.inode), digest, 640, 480, faces_of(rows), worth=worth, taken=taken)]
        )

    @rule(path=PATHS, digest=DIGESTS)
    def finds_a_copy(self, path: bytes, digest: bytes) -> None:
        self.inode += 1
        self.catalog.record([Outcome(path, written(self.inode), digest)])

    @rule(path=PATHS, to=PATHS)
    def renames(self, path: bytes, to: bytes) -> None:
        with self.catalog.reading() as reader:
            record = reader.photo(path)
            digest = None if not record or not record.content_id else reader.describe(record.content_id)[0]
        if digest and path != to:
            self.inode += 1
            self.catalog.record([Outcome(to, written(self.inode), digest), Outcome(path, None)])

    @rule(path=PATHS)
    def deletes(self, path: bytes) -> None:
        self.catalog.record([Outcome(path, None)])

    @rule(path=PATHS, digest=DIGESTS)
    def fails(self, path: bytes, digest: bytes) -> None:
        self.inode += 1
        self.catalog.record([Outcome(path, written(self.inode), digest, error="torn")])

    @rule(digest=DIGESTS, rows=EMBEDDINGS)
    def is_shown_a_photo(self, digest: bytes, rows: list[int]) -> None:
        self.catalog.record([Outcome(b"", None, digest, 640, 480, faces_of(rows))])

    @rule(digest=DIGESTS, ways=st.sampled_from([Ways.TURNED, Ways.TILES]), rows=st.none() | EMBEDDINGS)
    def looks_again(self, digest: bytes, ways: Ways, rows: list[int] | None) -> None:
        look = sorted(ways.looks)[0]
        self.catalog.record_second_look(digest, ways, None if rows is None else faces_of(rows, look))

    @rule(digest=DIGESTS, rows=EMBEDDINGS)
    def imports(self, digest: bytes, rows: list[int]) -> None:
        self.catalog.adopt([Embedded(digest, 640, 480, 0, None, False, None, faces_of(rows))])

    @rule()
    def reads_dates(self) -> None:
        self.catalog.record_taken([(number, Taken(1.5e9, None, TakenFrom.EXIF)) for number in range(9)])

    @rule(data=st.data())
    def sets_a_face_aside(self, data: st.DataObject) -> None:
        with self.catalog.reading() as reader:
            ids = reader.face_ids().tolist()
        if ids:
            self.catalog.set_aside([data.draw(st.sampled_from(ids))])

    @rule(kept=st.sets(DIGESTS))
    def collects(self, kept: set[bytes]) -> None:
        self.catalog.collect_orphans(-1e12, lambda digest: digest in kept)

    # The way between them

    def attach(self) -> None:
        with self.catalog.reading() as reader:
            known = reader.outbox.lineages()
        if self.engine.lineage not in known:
            of(self.catalog).mark_all()
            of(self.catalog).mark(sorted(self.engine.rows))
        self.attached = True

    def push(self, limit: int, stops_after: int) -> int:
        """Send a batch; the process ends after so many steps. Returns how many changes there were."""
        if not self.attached:
            self.attach()
        of(self.catalog).mark_rest()
        with self.catalog.reading() as reader:
            changes = reader.outbox.first(limit)
            contents = {digest: told(reader.shown(digest)) for _, digest in changes}
        self.tokens += 1
        token = f"t{self.tokens}"
        steps = (
            lambda: of(self.catalog).sending(token),
            lambda: self.engine.push(contents, token),
            lambda: of(self.catalog).sent([seq for seq, _ in changes], token),
        )
        for step in steps[:stops_after]:
            step()
        self.attached = self.attached and stops_after == len(steps)
        return len(changes)

    def holds(self) -> bool:
        with self.catalog.reading() as reader:
            return reader.outbox.holds()

    @rule()
    def has_seen_everything(self) -> None:
        of(self.catalog).release()

    @rule(limit=st.integers(1, 3), stops_after=st.integers(0, 3))
    def sends(self, limit: int, stops_after: int) -> None:
        self.push(limit, stops_after)

    @rule(limit=st.integers(1, 3), path=PATHS)
    def changes_while_it_sends(self, limit: int, path: bytes) -> None:
        if not self.attached:
            self.attach()
        with self.catalog.reading() as reader:
            changes = reader.outbox.first(limit)
            contents = {digest: told(reader.shown(digest)) for _, digest in changes}
        self.tokens += 1
        of(self.catalog).sending(f"t{self.tokens}")
        self.catalog.record([Outcome(path, None)])
        self.engine.push(contents, f"t{self.tokens}")
        of(self.catalog).sent([seq for seq, _ in changes], f"t{self.tokens}")

    # Kills and backups

    @rule(sends=st.booleans())
    def is_started_again(self, sends: bool) -> None:
        """Nothing counts that was in memory. With ``sends`` false, one run goes by without an engine."""
        self.catalog.close()
        if not sends:
            silent = Catalog(self.path, MODEL, DIM)
            silent.record([Outcome(b"/p/a", None), photo(b"/q/d", b"d3", ROWS[:1])])
            silent.close()
        self.catalog = Catalog(self.path, MODEL, DIM, sends=True)
        self.attached = False

    @rule()
    def is_backed_up(self) -> None:
        self.backup = self.directory / "backup.sqlite3"
        with (
            contextlib.closing(sqlite3.connect(self.path)) as db,
            contextlib.closing(sqlite3.connect(self.backup)) as to,
        ):
            db.backup(to)

    @precondition(lambda self: self.backup)
    @rule()
    def is_restored(self) -> None:
        assert self.backup
        self.catalog.close()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        shutil.copy(self.backup, self.path)
        self.catalog = Catalog(self.path, MODEL, DIM, sends=True)
        self.attached = False

    @rule()
    def is_made_anew(self) -> None:
        self.catalog.close()
        self.path.unlink()
        self.catalog = Catalog(self.path, MODEL, DIM, sends=True)
        self.attached = False

    @rule()
    def the_engine_is_backed_up(self) -> None:
        self.engine_backup = dict(self.engine.rows), self.engine.lineage

    @rule()
    def the_engine_is_restored(self) -> None:
        self.engine.rows, self.engine.lineage = dict(self.engine_backup[0]), self.engine_backup[1]
        self.attached = False

    @rule(limit=st.integers(1, 4))
    def everything_is_sent(self, limit: int) -> None:
        while self.push(limit, 3):
            pass
        while self.holds():
            of(self.catalog).release()
            self.push(limit, 3)
        while self.push(limit, 3):
            pass
        assert self.engine.rows == truth(self.path)
        with self.catalog.reading() as reader:
            assert (reader.outbox.count(), reader.outbox.rest()) == (0, None)


Sending.TestCase.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
test_the_engine_holds_what_is_true = Sending.TestCase
