"""The shared engine in the place of an index: its answers are those of a scan of the catalog, whatever happens."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from numpy.typing import NDArray

from facewatchd.api.outbox import Sending
from facewatchd.api.parameters import (
    OutboxMarkParameters,
    OutboxParameters,
    OutboxSendingParameters,
    OutboxSentParameters,
)
from facewatchd.errors import FacewatchError
from facewatchd.shared import remote_index, wire
from facewatchd.shared.engine import EngineError, Trouble
from facewatchd.shared.link import Link, LinkError
from facewatchd.shared.pushing import Pusher
from facewatchd.shared.remote_index import RemoteIndex
from facewatchd.shared.values import Detail, Near, SharedContent, Whole, Whose
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.store.embedded import Embedded
from facewatchd.store.gallery import Gallery
from facewatchd.store.index import Above, Status, Upkeep
from facewatchd.values import Face, Ways
from tests.support.fake_engine import FakeEngine, FakeServer
from tests.support.galleries import BOX, DIM, face, photo, stamp, unit
from tests.support.shared_machines import INFO

MACHINE, NAME = "a" * 32, "archive"
ROWS = unit(np.random.default_rng(7).normal(size=(10, DIM)))
EDGE = 1e-5
"""A threshold this far from a similarity is decided by single precision, and not by half."""
ALIKE = ROWS @ ROWS.T


class CatalogOutbox:
    """`shared.outbox.Outbox` without a socket: JSON goes both ways all the same."""

    def __init__(self, catalog: Catalog) -> None:
        self._sending = Sending(catalog, cast(Any, self), INFO, MACHINE, lambda: 0, lambda: True)

    trouble = ""

    def call(self, work: Callable[[None], object]) -> None:
        """`Writer.call`."""
        work(None)

    def batch(self, limit: int, wait: float, after: int = 0) -> wire.Batch:
        return wire.read_batch(self._sending.outbox(OutboxParameters(limit=limit, wait=0.0, after=after)))

    def sending(self, lineage: str) -> None:
        self._sending.outbox_sending(OutboxSendingParameters(lineage=lineage))

    def sent(self, seqs: Sequence[int], lineage: str) -> None:
        self._sending.outbox_sent(OutboxSentParameters(seqs=tuple(seqs), lineage=lineage))

    def mark(self, digests: Sequence[bytes]) -> None:
        self._sending.outbox_mark(OutboxMarkParameters(digests=tuple(each.hex() for each in digests)))

    def mark_all(self) -> None:
        self._sending.outbox_mark(OutboxMarkParameters(all=True))

    def interrupt(self) -> None:
        return

    def close(self) -> None:
        return


class HalfEngine(FakeEngine):
    """It keeps embeddings in half precision, as the real one does."""

    def push(self, contents: Sequence[SharedContent], lineage: str, backlog: int, pending: int) -> Any:
        return super().push([_halved(each) for each in contents], lineage, backlog, pending)


def _halved(content: SharedContent) -> SharedContent:
    if content.embedded is None:
        return content
    faces = [dataclasses.replace(each, embedding=half(each.embedding)) for each in content.embedded.faces]
    return dataclasses.replace(content, embedded=dataclasses.replace(content.embedded, faces=faces))


def half(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows.astype(np.float16).astype(np.float32)


class ServerLink:
    """A `Link` to a `FakeServer`, in which something may happen just before and just after the engine answers."""

    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.before: Callable[[], object] = lambda: None
        self.after: Callable[[], object] = lambda: None
        self.asked = 0

    def nearest(
        self,
        embeddings: NDArray[np.float32],
        thresholds: Sequence[float],
        most: int,
        whose: Whose = Whose.OTHERS,
        detail: Detail = Detail.CONTENTS,
        seconds: float | None = None,
        *,
        exact: bool = False,
    ) -> Near:
        self.asked += 1
        before, self.before = self.before, lambda: None
        after, self.after = self.after, lambda: None
        before()
        try:
            engine = FakeEngine(self.server)
            engine.recognise(MACHINE)
            near = engine.nearest(half(embeddings), thresholds, most, whose, detail, exact=exact)
        except EngineError as exc:
            raise LinkError(wire.state_of(exc.trouble), exc.message, exc.hint) from exc
        after()
        return wire.read_near(wire.near(near), DIM, len(embeddings))

    def contents(self, digests: Sequence[bytes], seconds: float | None = None, whose: Whose = Whose.ALL) -> Whole:
        try:
            engine = FakeEngine(self.server)
            engine.recognise(MACHINE)
            return engine.contents(digests, whose)
        except EngineError as exc:
            raise LinkError(wire.state_of(exc.trouble), exc.message, exc.hint) from exc


@pytest.fixture(autouse=True)
def ask_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_index, "AGAIN_AFTER", 0.0)


class Archive:
    """A catalog, its index, and what sends it to a server."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.server = FakeServer()
        self.link = ServerLink(self.server)
        self.slow = 0
        self.forgotten = 0
        self.open()

    def open(self) -> None:
        self.catalog = Catalog(self.path, INFO.id, DIM, sends=True)
        self.outbox = CatalogOutbox(self.catalog)
        self.index = RemoteIndex(
            self.catalog, cast(Link, self.link), forget_local=self._forget, on_slow=self._note_slow
        )
        self.gallery = Gallery(self.catalog, self.index)
        self.pusher = Pusher(NAME)
        self.engine: HalfEngine | None = None

    def _forget(self) -> None:
        self.forgotten += 1

    def _note_slow(self) -> None:
        self.slow += 1

    def push(self, limit: int = 100) -> None:
        """One step of the sender; what it raises is what the sender would wait for."""
        try:
            batch = self.outbox.batch(limit, 0.0)
            self.pusher.know(batch)
            if self.engine is None or self.engine.is_closed:
                self.server._refuse()
                self.engine = HalfEngine(self.server)
                self.pusher.attach(self.engine, self.outbox, batch)
                batch = self.outbox.batch(limit, 0.0)
            if not self.pusher.compare_if_due(self.engine, self.outbox, batch):
                self.pusher.push(self.engine, self.outbox, batch)
        except FacewatchError:
            self.engine = None

    def send(self) -> None:
        """Send everything, unless the server refuses it."""
        for _ in range(20):
            self.push()
            if not self.outbox.batch(1, 0.0).backlog:
                break

    def scan(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """All faces of the catalog."""
        with self.catalog.reading() as reader:
            parts = list(reader.embeddings())
        none = np.empty(0, np.int64), np.empty((0, DIM), np.float32)
        ids, rows = zip(none, *parts, strict=True)
        return np.concatenate(ids), np.concatenate(rows)


@pytest.fixture
def archive(tmp_path: Path) -> Any:
    archive = Archive(tmp_path / "catalog.sqlite3")
    yield archive
    archive.catalog.close()


def ids(above: Above) -> list[int]:
    return sorted(above.ids.tolist())


def record(archive: Archive, count: int = 6) -> None:
    """Face ``n + 1`` is row ``n``."""
    archive.gallery.record([photo(b"/p/%d" % at, b"d%031d" % at, ROWS[at : at + 1], at) for at in range(count)])


def test_before_anything_is_sent_every_face_is_compared_and_it_is_said(archive: Archive) -> None:
    record(archive)
    above = archive.index.above(ROWS[2], -1.0)
    assert (ids(above), above.exact) == ([1, 2, 3, 4, 5, 6], True)
    status = archive.index.status()
    assert (status.faces, status.tombstones, status.ready, status.is_slow) == (6, 0, True, True)
    assert "photos of this machine are still to be sent" in status.problem
    assert archive.link.asked == 0
    assert archive.slow == 1


def test_what_was_sent_is_asked_of_the_engine_and_what_was_not_is_added(archive: Archive) -> None:
    record(archive, 4)
    archive.send()
    archive.index.maintain(Upkeep())
    archive.gallery.record([photo(b"/p/new", b"n" * 32, ROWS[4:5], 90)])
    archive.gallery.record([Outcome(b"/p/0", None)])
    above = archive.index.above(ROWS[2], -1.0)
    assert ids(above) == [1, 2, 3, 4, 5]
    assert archive.index.status() == Status(5, 0, ready=True)
    archive.gallery.collect(older_than=-1e10)
    assert ids(archive.index.above(ROWS[2], -1.0)) == [2, 3, 4, 5], "the engine has the first one still"
    assert archive.index.status().faces == 4


def test_the_similarity_is_the_catalogs_and_the_most_alike_come_first(archive: Archive) -> None:
    record(archive)
    archive.send()
    above = archive.index.nearest(ROWS[3], -1.0, 3)
    order = np.argsort(-ALIKE[3, :6])[:3]
    assert above.ids.tolist() == (order + 1).tolist()
    np.testing.assert_allclose(above.similarities, ALIKE[3, order], atol=1e-6)


def test_half_precision_decides_no_threshold(archive: Archive) -> None:
    record(archive, len(ROWS))
    archive.send()
    known, rows = archive.scan()
    for asked in ROWS:
        similarities = rows @ asked
        for similarity in similarities.tolist():
            for threshold in (similarity - EDGE, similarity + EDGE):
                assert ids(archive.index.above(asked, threshold)) == known[similarities >= threshold].tolist()


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_is_sent_during_a_question_is_found(archive: Archive, when: str) -> None:
    record(archive, 2)
    archive.send()
    record(archive, 4)
    setattr(archive.link, when, archive.push)
    assert ids(archive.index.above(ROWS[2], -1.0)) == archive.scan()[0].tolist()
    assert archive.outbox.batch(1, 0.0).backlog == 0
    assert not archive.index.status().is_slow


def test_an_engine_from_a_backup_is_not_believed(archive: Archive) -> None:
    record(archive, 2)
    archive.send()
    backup = archive.server.backup()
    record(archive, 4)
    archive.send()
    archive.server.restore(backup)
    assert ids(archive.index.above(ROWS[2], -1.0)) == archive.scan()[0].tolist()
    assert archive.index.status().problem.endswith(remote_index.LOST)


@pytest.mark.parametrize("trouble", list(Trouble))
def test_without_the_engine_the_answer_is_a_scan_and_says_why(archive: Archive, trouble: Trouble) -> None:
    record(archive)
    archive.send()
    archive.server.trouble = EngineError(trouble, "the server is in a cupboard", "open it")
    above = archive.index.above(ROWS[2], -1.0)
    assert (ids(above), above.exact) == ([1, 2, 3, 4, 5, 6], True)
    status = archive.index.status()
    assert status.is_slow
    assert status.overdue
    assert status.problem.endswith(": the server is in a cupboard")
    archive.server.trouble = None
    archive.index.maintain(Upkeep())
    assert not archive.index.status().is_slow


def test_an_engine_that_gave_no_answer_is_not_waited_for_by_the_next_question(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_index, "AGAIN_AFTER", 3600.0)
    record(archive)
    archive.send()
    archive.server.trouble = EngineError(Trouble.LATE, "no answer in 2 s", "")
    for _ in range(3):
        assert ids(archive.index.above(ROWS[2], -1.0)) == [1, 2, 3, 4, 5, 6]
    assert archive.link.asked == 1
    archive.server.trouble = None
    archive.index.maintain(Upkeep())
    assert ids(archive.index.above(ROWS[2], -1.0)) == [1, 2, 3, 4, 5, 6]
    assert archive.link.asked == 3


def test_files_of_an_index_of_before_go_only_once_the_engine_holds_everything(archive: Archive) -> None:
    record(archive)
    archive.index.maintain(Upkeep())
    assert archive.forgotten == 0
    archive.send()
    archive.gallery.record([photo(b"/p/new", b"n" * 32, ROWS[9:], 90)])
    archive.index.maintain(Upkeep())
    assert archive.forgotten == 0
    archive.send()
    archive.index.maintain(Upkeep())
    assert archive.forgotten == 1


def test_more_hits_than_are_asked_for_are_counted_by_a_scan(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_index, "MOST", 3)
    record(archive)
    archive.send()
    above = archive.index.above(ROWS[2], -1.0)
    assert (ids(above), above.exact) == ([1, 2, 3, 4, 5, 6], True)
    assert not archive.index.status().is_slow


def test_many_contents_that_are_not_sent_are_not_read_one_by_one(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_index, "MOST_UNSENT", 2)
    record(archive, 1)
    archive.send()
    record(archive, 6)
    assert ids(archive.index.above(ROWS[2], -1.0)) == sorted(archive.scan()[0].tolist())
    assert archive.index.status().is_slow


def test_verify_finds_what_the_engine_lacks_and_what_differs_there(archive: Archive) -> None:
    record(archive)
    archive.send()
    assert archive.index.differences() == []
    own = archive.server.machines[MACHINE].contents
    del own[b"d%031d" % 1]
    wrong = own[b"d%031d" % 2]
    assert wrong.embedded is not None
    other = dataclasses.replace(wrong.embedded, faces=[face(ROWS[9])])
    own[wrong.digest] = dataclasses.replace(wrong, embedded=other)
    assert archive.index.differences() == [
        "1 photo is missing from the shared engine",
        "1 photo has other faces in the shared engine than in the catalog",
    ]
    archive.index.maintain(Upkeep(), rebuild=True)
    archive.send()
    assert archive.index.differences() == []
    archive.server.trouble = EngineError(Trouble.LATE, "no answer in 2 s", "")
    assert archive.index.differences() == [
        "the shared engine cannot be compared with the catalog now: no answer in 2 s"
    ]


def test_what_a_stranger_wrote_makes_no_wrong_answer(archive: Archive) -> None:
    record(archive)
    archive.send()
    content = archive.server.machines[MACHINE].contents[b"d%031d" % 1]
    assert content.embedded is not None
    lie = dataclasses.replace(content.embedded, faces=[face(ROWS[2]), face(ROWS[2])])
    archive.server.machines[MACHINE].contents[content.digest] = dataclasses.replace(
        content, embedded=lie, face_ids=(5, 999)
    )
    assert ids(archive.index.above(ROWS[2], 0.99)) == [3]


# Everything together

PATHS = st.sampled_from([b"/p/a", b"/p/b", b"/p/c", b"/q/d"])
DIGESTS = st.sampled_from([b"%032d" % number for number in range(4)])
FACES = st.lists(st.sampled_from(range(len(ROWS))), max_size=3, unique=True)


def faces_of(rows: list[int]) -> list[Face]:
    return [face(ROWS[row], BOX._replace(x=40 * row)) for row in rows]


class Questions(RuleBasedStateMachine):
    """A catalog, its sender, a server, and questions; changes come between the steps of a question too."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="facewatchd-"))
        self.archive = Archive(self.directory / "catalog.sqlite3")
        self.number = 0
        self.kept: Path | None = None
        self.backup: Any = None

    def teardown(self) -> None:
        self.archive.catalog.close()
        shutil.rmtree(self.directory)

    def _stamp(self) -> Any:
        self.number += 1
        return stamp(self.number)

    def _put(self, path: bytes, digest: bytes, rows: list[int]) -> None:
        with self.archive.catalog.reading() as reader:
            known = reader.has_content(digest)
        outcome = Outcome(path, self._stamp(), digest)
        if not known:
            outcome = Outcome(path, self._stamp(), digest, 640, 480, faces_of(rows))
        self.archive.gallery.record([outcome])

    @rule(path=PATHS, digest=DIGESTS, rows=FACES)
    def put(self, path: bytes, digest: bytes, rows: list[int]) -> None:
        self._put(path, digest, rows)

    @rule(path=PATHS)
    def delete(self, path: bytes) -> None:
        self.archive.gallery.record([Outcome(path, None)])

    @rule(digest=DIGESTS, rows=FACES)
    def import_one(self, digest: bytes, rows: list[int]) -> None:
        self.archive.gallery.adopt([Embedded(digest, 640, 480, 0, None, True, None, faces_of(rows))])

    @rule()
    def collect(self) -> None:
        self.archive.gallery.collect(older_than=-1e10)

    @rule(digest=DIGESTS, row=st.sampled_from(range(len(ROWS))))
    def look_again(self, digest: bytes, row: int) -> None:
        self.archive.gallery.record_second_look(digest, Ways.TURNED, faces_of([row]))

    @rule(at=st.integers(0, 9))
    def set_a_damaged_face_aside(self, at: int) -> None:
        known = self.archive.scan()[0].tolist()
        if known:
            self.archive.gallery.set_aside([known[at % len(known)]])

    @rule(limit=st.integers(1, 4))
    def push(self, limit: int) -> None:
        self.archive.push(limit)

    @rule()
    def send(self) -> None:
        if self.archive.server.trouble is None and not self._is_removed():
            self.archive.send()

    def _is_removed(self) -> bool:
        own = self.archive.server.machines.get(MACHINE)
        return own is not None and own.is_removed

    @rule(limit=st.integers(1, 4))
    def push_without_an_answer(self, limit: int) -> None:
        self.archive.server.lose_next_answer = True
        self.archive.push(limit)
        self.archive.server.lose_next_answer = False

    @rule(is_away=st.booleans())
    def away(self, is_away: bool) -> None:
        error = EngineError(Trouble.UNREACHABLE, "no route to the server", "")
        self.archive.server.trouble = error if is_away else None

    @rule()
    def restart(self) -> None:
        self.archive.catalog.close()
        self.archive.open()

    @rule()
    def keep_the_catalog(self) -> None:
        self.archive.catalog.close()
        self.kept = Path(shutil.copyfile(self.archive.path, self.directory / "kept"))
        self.archive.open()

    @precondition(lambda self: self.kept is not None)
    @rule()
    def restore_the_catalog(self) -> None:
        self.archive.catalog.close()
        shutil.copyfile(self.kept or "", self.archive.path)
        self.archive.open()

    @rule()
    def keep_the_server(self) -> None:
        self.backup = self.archive.server.backup()

    @precondition(lambda self: self.backup is not None)
    @rule()
    def restore_the_server(self) -> None:
        self.archive.server.restore(self.backup)
        self.archive.engine = None

    @rule()
    def be_removed(self) -> None:
        if self.archive.server.trouble is None:
            FakeEngine(self.archive.server).remove(NAME)

    @rule()
    def resync(self) -> None:
        self.archive.pusher.resync()
        self.archive.engine = None

    @rule(path=PATHS, digest=DIGESTS, rows=FACES)
    def be_taken_over(self, path: bytes, digest: bytes, rows: list[int]) -> None:
        """A copy of the data directory sends something else in this machine's name."""
        if self.archive.server.trouble is None and not self._is_removed():
            other = HalfEngine(self.archive.server)
            other.attach(MACHINE, NAME, ())
            content = Embedded(digest, 640, 480, 0, None, True, None, faces_of(rows))
            other.push([SharedContent(digest, content, tuple(range(1, len(rows) + 1)), (path,))], "f" * 32, 0, 0)

    @rule(
        when=st.sampled_from(["before", "after"]),
        steps=st.lists(
            st.one_of(st.tuples(PATHS, st.none() | DIGESTS, FACES), st.integers(1, 4)), min_size=1, max_size=5
        ),
        row=st.sampled_from(range(len(ROWS))),
    )
    def ask_while_something_changes(self, when: str, steps: list[Any], row: int) -> None:
        def change() -> None:
            for step in steps:
                if isinstance(step, int):
                    self.archive.push(step)
                elif step[1] is None:
                    self.delete(step[0])
                else:
                    self._put(*step)

        before = set(self.archive.scan()[0].tolist())
        setattr(self.archive.link, when, change)
        found = set(self.archive.index.above(ROWS[row], -1.0).ids.tolist())
        setattr(self.archive.link, when, lambda: None)
        after = set(self.archive.scan()[0].tolist())
        assert before & after <= found <= before | after

    @invariant()
    def the_answer_is_that_of_a_scan(self) -> None:
        known, rows = self.archive.scan()
        asked = ROWS[[self.number % len(ROWS), 3]]
        # the threshold lies beside a similarity that there may be
        similarity = float(ALIKE[self.number % len(ROWS), 3 + self.number % 5])
        for threshold in (-1.0, similarity + EDGE, similarity - EDGE):
            for embedding, above in zip(asked, self.archive.index.above_each(asked, threshold), strict=True):
                similarities = rows @ embedding
                assert ids(above) == known[similarities >= threshold].tolist()
                np.testing.assert_allclose(
                    above.similarities, similarities[np.searchsorted(known, above.ids)], atol=1e-6
                )
        first = self.archive.index.nearest(asked[0], -1.0, 2)
        expected = np.sort(rows @ asked[0])[::-1][:2]
        np.testing.assert_allclose(first.similarities, expected, atol=1e-6)
        assert self.archive.index.status().faces == len(known)


TestQuestions = Questions.TestCase
TestQuestions.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
