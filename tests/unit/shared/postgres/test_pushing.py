"""What a machine pushes is what the engine then has, however often it is pushed; and nobody writes for another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from facewatchd.shared.engine import EngineError, Trouble
from facewatchd.shared.postgres.engine import PostgresEngine
from facewatchd.shared.postgres.pushing import difference
from facewatchd.shared.postgres.schema import schema_of
from facewatchd.shared.values import Pushed, SharedContent, Whose
from tests.support.engine_server import Database
from tests.support.galleries import DIM, unit
from tests.support.shared_faces import MODEL, connected, content, digest, faces_in, gone, token

if TYPE_CHECKING:
    import psycopg

ROWS = unit(np.random.default_rng(1).normal(size=(60, DIM)))
SCHEMA = schema_of(MODEL)


@pytest.fixture
def nas(engine: Database) -> Iterator[PostgresEngine]:
    with connected(engine, "nas", dim=DIM) as connection:
        yield connection


def push(engine: PostgresEngine, *contents: SharedContent) -> Pushed:
    return engine.push(contents, token(), 0, 0)


def written(engine: Database) -> set[tuple[bytes, int, str]]:
    """Each row of a face, and which transaction wrote it."""
    with engine.connect() as db:
        return set(db.execute(f"SELECT digest, n, xmin::text FROM {SCHEMA}.face").fetchall())


def paths(engine: Database) -> dict[bytes, bytes]:
    with engine.connect() as db:
        return dict(db.execute(f"SELECT path, digest FROM {SCHEMA}.photo").fetchall())


def test_the_same_again_writes_nothing(engine: Database, nas: PostgresEngine) -> None:
    contents = [content(n, ROWS[2 * n : 2 * n + 2]) for n in range(5)]
    assert push(nas, *contents) == Pushed(written=5)
    before = written(engine)
    assert push(nas, *contents) == Pushed()
    assert written(engine) == before
    assert faces_in(nas) == 10


def test_a_rename_moves_no_embedding(engine: Database, nas: PostgresEngine) -> None:
    push(nas, content(1, ROWS[:2], [b"/a", b"/b"]))
    before = written(engine)
    assert push(nas, content(1, ROWS[:2], [b"/a", b"/c", b"/d"])).written == 0
    assert written(engine) == before
    assert set(paths(engine)) == {b"/a", b"/c", b"/d"}
    assert nas.machines()[0].photos == 3


def test_a_photo_that_shows_another_content_now(engine: Database, nas: PostgresEngine) -> None:
    """The path is told of with the content that it shows now, whether that is sent before or after the other one."""
    push(nas, content(1, ROWS[:1], [b"/a", b"/b"]), content(2, ROWS[1:2], [b"/c"]))
    push(nas, content(2, ROWS[1:2], [b"/a", b"/c"]))
    assert paths(engine) == {b"/a": digest(2), b"/b": digest(1), b"/c": digest(2)}
    push(nas, content(1, ROWS[:1], [b"/b"]))
    assert paths(engine) == {b"/a": digest(2), b"/b": digest(1), b"/c": digest(2)}
    push(nas, content(1, ROWS[:1], [b"/a", b"/b"]), content(2, ROWS[1:2], [b"/c"]))
    assert paths(engine) == {b"/a": digest(1), b"/b": digest(1), b"/c": digest(2)}
    assert nas.machines()[0].photos == 3


def test_the_longest_path_and_any_bytes(engine: Database, nas: PostgresEngine) -> None:
    long = b"/" + b"/".join(bytes([n]) * 255 for n in range(240, 255)) + b"/\xff'\n\\"
    push(nas, content(1, ROWS[:1], [long, b"/%s{}"]))
    assert set(paths(engine)) == {long, b"/%s{}"}
    push(nas, content(1, ROWS[:1], [long]))
    (found,) = nas.nearest(ROWS[:1], [0.9], 9, Whose.OWN).contents
    assert found.paths == (long,)
    push(nas, content(1, ROWS[:1], [b"/a"]))
    assert set(paths(engine)) == {b"/a"}


def test_what_is_gone_leaves_no_row(engine: Database, nas: PostgresEngine) -> None:
    push(nas, content(1, ROWS[:2]), content(2, ROWS[2:3]))
    assert push(nas, gone(1), gone(7)) == Pushed(deleted=1)
    assert [row[0] for row in written(engine)] == [digest(2)]
    assert set(paths(engine)) == {b"/srv/2.jpg"}
    assert (faces_in(nas), nas.digests(b"", 9)) == (1, [digest(2)])


def test_faces_that_were_found_anew_replace_the_others(nas: PostgresEngine) -> None:
    push(nas, content(1, ROWS[:3], first_id=1))
    assert push(nas, content(1, ROWS[3:5], first_id=9)) == Pushed(written=1)
    near = nas.nearest(ROWS[:5], [0.99] * 5, 9, Whose.OWN)
    assert [hits.face_ids.tolist() for hits in near.hits] == [[], [], [], [9], [10]]
    assert faces_in(nas) == 2


def test_a_content_without_faces_is_told_of_too(nas: PostgresEngine) -> None:
    push(nas, content(1, []))
    (found,) = nas.contents([digest(1)]).contents
    assert found.faces == []


def test_two_machines_with_the_same_photo(engine: Database, nas: PostgresEngine) -> None:
    with connected(engine, "laptop", dim=DIM) as laptop:
        for each in (nas, laptop):
            push(each, content(1, ROWS[:1], [b"/%d" % id(each)]))
        near = nas.nearest(ROWS[:1], [0.9], 9, Whose.ALL)
        assert {(each.machine, each.paths) for each in near.contents} == {
            (machine.key, (b"/%d" % id(nas if machine.is_self else laptop),)) for machine in near.machines
        }
        push(nas, gone(1))
        assert len(laptop.nearest(ROWS[:1], [0.9], 9, Whose.OWN).contents) == 1


def test_a_failure_in_between_leaves_all_as_it_was(engine: Database, nas: PostgresEngine) -> None:
    push(nas, content(1, ROWS[:1]))
    broken = ROWS[1].copy()
    broken[3] = np.nan  # pgvector refuses it, after the content was written
    with pytest.raises(EngineError) as raised:
        push(nas, content(1, ROWS[2:3]), content(2, [broken]))
    assert raised.value.trouble is Trouble.NOT_TAKEN
    assert nas.digests(b"", 9) == [digest(1)]
    assert len(nas.nearest(ROWS[:1], [0.9], 9, Whose.OWN).contents) == 1
    assert push(nas, content(2, ROWS[2:3])) == Pushed(written=1), "the connection is of use"


def test_only_the_last_one_that_attached_may_push(engine: Database) -> None:
    machine = token()
    with connected(engine, dim=DIM) as old, connected(engine, dim=DIM) as new:
        epoch = old.attach(machine, "nas", []).epoch
        push(old, content(1, ROWS[:1]))
        assert new.attach(machine, "nas", []).epoch > epoch
        for call in (lambda: push(old, content(2, ROWS[1:2])), lambda: old.attach(machine, "nas", [], epoch)):
            with pytest.raises(EngineError, match="another process sends") as raised:
                call()
            assert raised.value.trouble is Trouble.FENCED
        assert len(old.nearest(ROWS[:1], [0.9], 9, Whose.OWN).contents) == 1, "it still asks"
        push(new, content(2, ROWS[1:2]))
        assert new.digests(b"", 9) == sorted([digest(1), digest(2)])


def test_a_connection_that_broke_fences_nobody(engine: Database) -> None:
    machine = token()
    with connected(engine, dim=DIM) as old, connected(engine, dim=DIM) as again:
        epoch = old.attach(machine, "nas", []).epoch
        assert again.attach(machine, "nas", [], epoch).epoch == epoch
        push(again, content(1, ROWS[:1]))


def test_an_engine_restored_to_an_earlier_epoch_takes_the_same_process(engine: Database) -> None:
    machine, last = token(), token()
    with connected(engine, dim=DIM) as nas:
        nas.attach(machine, "nas", [])
        epoch = nas.attach(machine, "nas", []).epoch
        nas.push([], last, 0, 0)
        with engine.connect() as db:
            db.execute(f"UPDATE {SCHEMA}.machine SET epoch = 1, lineage = 'before'")
        attached = nas.attach(machine, "nas", [last], epoch)
        assert (attached.epoch > epoch, attached.is_known) == (True, False)
        push(nas, content(1, ROWS[:1]))


def test_the_lineage_tells_whether_one_side_was_restored(engine: Database) -> None:
    machine, first, second = token(), token(), token()
    with connected(engine, dim=DIM) as nas:
        assert not nas.attach(machine, "nas", [first]).is_known, "nothing was sent yet"
        nas.push([], first, 0, 0)
        assert nas.attach(machine, "nas", [first, second]).is_known
        nas.push([], second, 0, 0)
        assert nas.attach(machine, "nas", [first, second]).is_known, "a crash between the two commits"
        assert not nas.attach(machine, "nas", [first]).is_known


def test_a_name_that_another_machine_has(engine: Database, nas: PostgresEngine) -> None:
    with connected(engine, dim=DIM) as other:
        with pytest.raises(EngineError, match="another machine is called nas, and runs: heard of in") as raised:
            other.attach(token(), "nas", [])
        assert raised.value.trouble is Trouble.NAME_TAKEN
        assert "remove" not in str(raised.value), "a machine that runs"
        with engine.connect() as db:
            db.execute(f"UPDATE {SCHEMA}.machine SET seen = seen - interval '10 minutes'")
        with pytest.raises(EngineError, match=r"another machine is called nas; .*if it is gone, .*shared remove nas"):
            other.attach(token(), "nas", [])
        assert other.remove("nas")
        assert not other.remove("nas")
        other.attach(token(), "nas", [])
    with pytest.raises(EngineError) as push_after:
        push(nas, content(1, ROWS[:1]))
    assert push_after.value.trouble is Trouble.REMOVED


def test_a_machine_that_is_called_otherwise_keeps_its_rows(engine: Database) -> None:
    machine = token()
    with connected(engine, dim=DIM) as nas:
        nas.attach(machine, "nas", [])
        push(nas, content(1, ROWS[:1]))
        nas.attach(machine, "attic", [])
        assert [(each.name, each.faces) for each in nas.machines()] == [("attic", 1)]


def test_a_machine_that_was_removed_comes_back_only_where_that_is_wanted(engine: Database) -> None:
    machine, last = token(), token()
    with connected(engine, dim=DIM) as nas, connected(engine, dim=DIM) as other:
        epoch = nas.attach(machine, "nas", []).epoch
        nas.push([content(1, ROWS[:1])], last, 0, 0)
        assert other.remove("nas")
        assert (faces_in(other), other.machines()) == (0, [])
        for before in (epoch, None):
            with pytest.raises(EngineError) as raised:
                nas.attach(machine, "nas", [last], before)
            assert raised.value.trouble is Trouble.REMOVED
        assert not nas.attach(machine, "nas", [last], takes_back=True).is_known
        push(nas, content(1, ROWS[:1]))
        assert faces_in(nas) == 1
        assert not nas.attach(machine, "nas", [last]).is_known


def test_a_machine_is_removed_with_what_it_sent_of_other_models(engine: Database) -> None:
    machine = token()
    with connected(engine, dim=DIM) as nas, connected(engine, dim=DIM, model="before-00000000") as before:
        before.attach(machine, "an earlier name", [])
        push(before, content(1, ROWS[:1]))
        nas.attach(machine, "nas", [])
        with connected(engine, "laptop", dim=DIM, model="before-00000000") as laptop:
            push(laptop, content(2, ROWS[1:2]))
            assert nas.remove("nas")
            assert [each.name for each in before.machines()] == ["laptop"]
            with pytest.raises(EngineError) as raised:
                push(before, content(3, ROWS[2:3]))
            assert raised.value.trouble is Trouble.REMOVED


def test_what_a_machine_says_of_itself(engine: Database, nas: PostgresEngine) -> None:
    with connected(engine, "laptop", dim=DIM) as laptop:
        laptop.push([content(1, ROWS[:2])], token(), 7, 9)
        mine, other = laptop.machines()
        assert (mine.name, mine.faces, mine.photos, mine.backlog, mine.pending, mine.is_self) == (
            *("laptop", 2, 1, 7, 9),
            True,
        )
        assert 0 <= mine.as_of_s < 60
        assert (other.name, other.is_self) == ("nas", False)


def test_one_that_only_asks_writes_nothing(engine: Database) -> None:
    machine = token()
    with connected(engine, dim=DIM) as nas, connected(engine, dim=DIM) as asker:
        asker.recognise(machine)
        assert asker.machines() == []
        nas.attach(machine, "nas", [])
        push(nas, content(1, ROWS[:1]))
        assert asker.nearest(ROWS[:1], [0.9], 9, Whose.OTHERS).contents == ()
        assert len(asker.nearest(ROWS[:1], [0.9], 9, Whose.OWN).contents) == 1
        assert asker.machines()[0].is_self


# Any history

Truth = dict[int, SharedContent]


class Pushing(RuleBasedStateMachine):
    """Random changes on a machine, of which some batches are pushed, some twice, and some out of order."""

    engine: PostgresEngine
    db: psycopg.Connection[Any]

    def __init__(self) -> None:
        super().__init__()
        self.engine.attach(token(), token(), [])
        self.truth: Truth = {}
        self.unsent: list[int] = []
        self.sent: list[SharedContent] = []

    @rule(number=st.integers(0, 5), first=st.integers(0, 5), faces=st.integers(0, 3))
    def embed(self, number: int, first: int, faces: int) -> None:
        before = self.truth.get(number)
        shown = before.paths if before is not None and before.paths else (b"/%d" % number,)
        self._show(number, shown)
        self.truth[number] = content(number, ROWS[first : first + faces], shown)
        self._change(number)

    @rule(number=st.integers(0, 5), shown=st.sets(st.integers(0, 7), max_size=3))
    def show(self, number: int, shown: set[int]) -> None:
        names = tuple(b"/%d" % each for each in sorted(shown))
        self._show(number, names)
        if (before := self.truth.get(number)) is not None and before.embedded is not None:
            self.truth[number] = SharedContent(before.digest, before.embedded, before.face_ids, names)
            self._change(number)

    def _show(self, number: int, names: tuple[bytes, ...]) -> None:
        """A path shows one content."""
        for other, each in list(self.truth.items()):
            if other != number and set(each.paths) & set(names):
                left = tuple(path for path in each.paths if path not in names)
                self.truth[other] = SharedContent(each.digest, each.embedded, each.face_ids, left)
                self._change(other)

    def _change(self, number: int) -> None:
        self.unsent = [each for each in self.unsent if each != number] + [number]

    @rule(count=st.integers(1, 4), is_twice=st.booleans(), data=st.data())
    def send(self, count: int, is_twice: bool, data: st.DataObject) -> None:
        batch = data.draw(st.permutations(self.unsent))[:count]
        contents = [self.truth[number] for number in batch]
        for _ in range(1 + is_twice):
            push(self.engine, *contents)
        self.unsent = [number for number in self.unsent if number not in batch]

    @rule()
    def send_all_that_is_true(self) -> None:
        push(self.engine, *self.truth.values())
        self.unsent = []

    @invariant()
    def counters_are_right(self) -> None:
        (mine,) = [each for each in self.engine.machines() if each.is_self]
        (counted,) = self.db.execute(
            f"SELECT (SELECT count(*) FROM {SCHEMA}.face WHERE machine = %(key)s),"
            f" (SELECT count(*) FROM {SCHEMA}.photo WHERE machine = %(key)s)",
            {"key": mine.key},
        ).fetchall()
        assert (mine.faces, mine.photos) == counted

    @invariant()
    def one_of_equal_faces_leads(self) -> None:
        sql = f"SELECT count(*) FILTER (WHERE leads) FROM {SCHEMA}.face GROUP BY machine, same"
        assert {leaders for (leaders,) in self.db.execute(sql).fetchall()} <= {1}

    @invariant()
    def what_is_sent_is_there(self) -> None:
        if self.unsent:
            return
        alive = {each.digest: each for each in self.truth.values() if not each.is_gone}
        assert self.engine.digests(b"", 99) == sorted(alive)
        near = self.engine.nearest(ROWS[:1], [-1.0], 999, Whose.OWN)
        shown = {each.digest: each for each in near.contents}
        for known, each in alive.items():
            assert each.embedded is not None
            if each.embedded.faces:
                assert shown[known].paths == tuple(sorted(each.paths))
                assert shown[known].written == each.written
                assert tuple(face.face_id for face in shown[known].faces) == each.face_ids
        assert set(shown) == {known for known, each in alive.items() if each.embedded and each.embedded.faces}


def test_whatever_happens_the_engine_has_what_was_sent(
    engine: Database, monkeypatch: pytest.MonkeyPatch, nas: PostgresEngine
) -> None:
    with engine.connect() as db:
        monkeypatch.setattr(Pushing, "db", db, raising=False)
        monkeypatch.setattr(Pushing, "engine", nas, raising=False)
        run_state_machine_as_test(Pushing, settings=settings(max_examples=10, stateful_step_count=20, deadline=None))


def test_nothing_is_written_of_nothing() -> None:
    made = difference([], {}, {})
    assert (made.dropped, made.written, made.hidden, made.shown) == ([], [], [], [])


@pytest.mark.parametrize("table", ["content", "face", "photo"])
def test_what_the_server_rejects_is_told_apart_and_the_connection_goes_on(
    engine: Database, nas: PostgresEngine, table: str
) -> None:
    with engine.connect() as db:
        db.execute(
            f"CREATE FUNCTION public.no() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN IF NEW.digest = '\\x{digest(2).hex()}' THEN RAISE 'not this one'; END IF; RETURN NEW; END $$;"
            f"CREATE TRIGGER no BEFORE INSERT ON {SCHEMA}.{table} FOR EACH ROW EXECUTE FUNCTION public.no()"
        )
    with pytest.raises(EngineError, match="does not take it: not this one") as caught:
        push(nas, *(content(n, ROWS[n : n + 1]) for n in range(4)))
    assert caught.value.trouble is Trouble.NOT_TAKEN
    assert faces_in(nas) == 0
    assert push(nas, content(1, ROWS[1:2]), content(3, ROWS[3:4])) == Pushed(written=2)
