"""The methods of the outbox: what facewatch-share is given, and what it says of it."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facewatchd.api import outbox
from facewatchd.api.outbox import Sending
from facewatchd.api.parameters import (
    OutboxMarkParameters,
    OutboxParameters,
    OutboxSendingParameters,
    OutboxSentParameters,
)
from facewatchd.errors import NotReadyError, StorageError, UsageError
from facewatchd.indexing.writer import Writer
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.shared import wire
from facewatchd.shared.wire import Batch
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.store.embedded import MOST_COPIES
from facewatchd.store.gallery import Gallery
from facewatchd.store.hnsw import HnswIndex
from facewatchd.threads.liveness import Liveness
from facewatchd.values import ModelInfo
from tests.support.galleries import DIM, photo, stamp, unit

INFO = ModelInfo("test-00000000", "test", DIM, 0.4)
ROWS = unit(np.random.default_rng(7).normal(size=(9, DIM)))
MACHINE = "0123456789abcdef" * 2
TOKENS = [f"{number:032x}" for number in range(5)]
DIGESTS = [bytes([number]) * 32 for number in range(9)]


class Place:
    """A catalog with its writer, and the methods."""

    def __init__(self, directory: Path, *, sends: bool = True, machine: str | None = MACHINE) -> None:
        self.catalog = Catalog(directory / "catalog.sqlite3", INFO.id, DIM, sends=sends)
        self.gallery = Gallery(self.catalog, HnswIndex(self.catalog, directory))
        self.writer = Writer(self.gallery, Liveness())
        self.writer.start()
        self.has_seen_all = True
        self.methods = Sending(self.catalog, self.writer, INFO, machine, lambda: 3, lambda: self.has_seen_all)

    def close(self) -> None:
        self.methods.close()
        self.writer.stop()
        self.catalog.close()

    def batch(self, limit: int = 64, wait: float = 0.0) -> Batch:
        """The reply, as facewatch-share reads it."""
        return wire.read_batch(self.methods.outbox(OutboxParameters(limit, wait)))

    def push(self, token: str, limit: int = 64) -> Batch:
        batch = self.batch(limit)
        self.methods.outbox_sending(OutboxSendingParameters(token))
        self.methods.outbox_sent(OutboxSentParameters(tuple(each.seq for each in batch.changes), token))
        return batch


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with contextlib.closing(Place(tmp_path)) as place:
        yield place


def test_a_content_is_told_with_what_it_has_here(place: Place) -> None:
    path = b"/p/\xff\n.jpg"
    place.gallery.record([photo(path, DIGESTS[0], ROWS[:2])])
    batch = place.batch()
    assert (batch.model, batch.dim, batch.machine, batch.lineages) == (INFO.id, DIM, MACHINE, ())
    assert (batch.backlog, batch.pending) == (1, 3)
    (change,) = batch.changes
    content = change.content
    assert (content.digest, content.face_ids, content.paths) == (DIGESTS[0], (1, 2), (path,))
    assert content.embedded is not None
    assert np.array_equal(np.stack([each.embedding for each in content.embedded.faces]), ROWS[:2])


def test_a_push_is_noted_and_what_it_brought_is_not_given_again(place: Place) -> None:
    place.gallery.record([photo(b"/p/%d" % number, DIGESTS[number], ROWS[:1]) for number in range(3)])
    first = place.push(TOKENS[0], limit=2)
    assert [change.content.digest for change in first.changes] == DIGESTS[:2]
    second = place.push(TOKENS[1], limit=2)
    assert [change.content.digest for change in second.changes] == DIGESTS[2:3]
    assert (second.lineages, second.backlog) == ((TOKENS[0],), 1)
    place.gallery.record([Outcome(b"/p/0", None)])
    (gone,) = place.batch().changes
    assert gone.content.is_gone
    assert gone.seq > 3


DAMAGES = (
    "face SET score = 1.5",
    "face SET score = 9e999",
    "face SET x = -1",
    "face SET w = 99999",
    "face SET norm = 9e999",
    "face SET sharpness = -1",
    "face SET look = 'squint'",
    "face SET landmarks = CAST(x'0000c07f' || substr(landmarks, 5) AS BLOB)",
    "content SET second_look = 9",
    "content SET width = 1",
    "content SET digest = x'00'",
)


@pytest.mark.parametrize("change", DAMAGES)
def test_a_row_that_cannot_be_true_keeps_nothing_else_back(place: Place, change: str) -> None:
    place.gallery.record([photo(b"/p/0", DIGESTS[0], ROWS[:2]), photo(b"/p/1", DIGESTS[1], ROWS[2:3])])
    table = change.split()[0]
    sql(place, f"UPDATE {change} WHERE {'content_id' if table == 'face' else 'id'} = 1")
    told = place.push(TOKENS[0])
    assert [each.content.digest for each in told.changes if not each.content.is_gone] == [DIGESTS[1]]
    if "digest" not in change:
        assert place.catalog.damaged_faces, "its photo is read again"
        assert place.gallery.set_aside(sorted(place.catalog.damaged_faces)) == [b"/p/0"]
    place.push(TOKENS[1])
    place.gallery.record([photo(b"/p/0", DIGESTS[0], ROWS[:2])])
    (healed,) = place.push(TOKENS[2]).changes
    assert (healed.content.digest, len(healed.content.face_ids)) == (DIGESTS[0], 2)
    assert place.batch().backlog == 0


@pytest.mark.parametrize("date", ["1e11, taken_from = 'exif'", "NULL, taken_from = 'exif'", "0, taken_from = 'clock'"])
def test_a_date_that_cannot_be_true_is_left_out(place: Place, date: str) -> None:
    place.gallery.record([photo(b"/p/0", DIGESTS[0], ROWS[:1])])
    sql(place, f"UPDATE content SET taken = {date}")
    (change,) = place.batch().changes
    assert change.content.embedded is not None
    assert change.content.embedded.taken is None
    assert not place.catalog.damaged_faces


def test_damaged_rows_of_the_outbox_itself_go(place: Place) -> None:
    place.gallery.record([photo(b"/p/0", DIGESTS[0], ROWS[:1]), photo(b"/p/1", DIGESTS[1], ROWS[1:2])])
    sql(place, "UPDATE outbox SET digest = x'0011' WHERE seq = 1")
    sql(place, "UPDATE meta SET value = 'zz' WHERE key = 'outbox_lineages'")
    batch = place.batch(limit=1)
    assert [each.content.digest for each in batch.changes] == [DIGESTS[1]]
    assert (batch.lineages, batch.backlog) == ((), 1)


def sql(place: Place, statement: str) -> None:
    """Change rows behind the daemon's back."""
    with contextlib.closing(sqlite3.connect(place.catalog.path, isolation_level=None)) as db:
        assert db.execute(statement).rowcount


def test_what_waits_already_is_not_sent_twice_where_everything_is(place: Place) -> None:
    place.gallery.record([photo(b"/p/%d" % number, DIGESTS[number], ROWS[:1]) for number in range(4)])
    place.gallery.record([Outcome(b"/p/0", None)])
    backlog = place.methods.outbox_mark(OutboxMarkParameters(all=True))["backlog"]
    assert backlog == 5, "of all contents with faces, and of the one that is gone"
    assert [(change.content.digest, change.content.is_gone) for change in place.batch().changes] == [
        (DIGESTS[0], True),
        *((digest, False) for digest in DIGESTS[1:4]),
    ]


def test_changes_are_given_after_a_number_and_waited_for(place: Place) -> None:
    place.gallery.record([photo(b"/p/%d" % number, DIGESTS[number], ROWS[:1]) for number in range(3)])
    first, *later = place.batch().changes

    def after(seq: int, seconds: float = 0.0) -> Batch:
        return wire.read_batch(place.methods.outbox(OutboxParameters(wait=seconds, after=seq)))

    batch = after(first.seq)
    assert [each.seq for each in batch.changes] == [each.seq for each in later]
    assert batch.backlog == 3
    with ThreadPoolExecutor(1) as threads:
        waits = threads.submit(after, later[-1].seq, 30.0)
        assert not wait([waits], 0.2).done
        place.gallery.record([photo(b"/p/5", DIGESTS[5], ROWS[:1])])
        assert [each.content.digest for each in waits.result(30).changes] == [DIGESTS[5]]


def test_a_push_that_was_never_noted_deletes_nothing(place: Place) -> None:
    place.gallery.record([photo(b"/p/0", DIGESTS[0], ROWS[:1])])
    with pytest.raises(NotReadyError, match="was noted"):
        place.methods.outbox_sent(OutboxSentParameters((1,), TOKENS[0]))
    assert place.batch().backlog == 1


def test_everything_is_given_once_more(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facewatchd.store.outbox.REST", 2)
    place.gallery.record([photo(b"/p/%d" % number, DIGESTS[number], ROWS[:1]) for number in range(5)])
    place.push(TOKENS[0])
    assert place.batch().changes == ()
    place.methods.outbox_mark(OutboxMarkParameters((DIGESTS[8].hex(), DIGESTS[1].hex()), all=True))
    found: list[bytes] = []
    backlogs = []
    for token in TOKENS[1:]:
        batch = place.push(token, limit=2)
        found += [change.content.digest for change in batch.changes]
        backlogs.append(batch.backlog)
    assert sorted(found) == sorted([DIGESTS[8], *DIGESTS[:5]])
    assert backlogs == [6, 4, 2, 0]


def test_what_the_catalog_does_not_know_yet_is_not_told_as_gone(place: Place) -> None:
    place.has_seen_all = False
    place.methods.outbox_mark(OutboxMarkParameters(tuple(digest.hex() for digest in DIGESTS[:3])))
    assert (place.batch().changes, place.batch().backlog) == ((), 3)
    place.gallery.record([photo(b"/p/0", DIGESTS[0], ROWS[:1])])
    place.gallery.record([photo(b"/p/1", DIGESTS[1], []), Outcome(b"/p/1", None)])
    (change,) = place.push(TOKENS[0]).changes
    assert (change.content.digest, change.content.is_gone) == (DIGESTS[0], False)
    place.methods.outbox_mark(OutboxMarkParameters((DIGESTS[1].hex(), DIGESTS[2].hex())))
    (change,) = place.push(TOKENS[1]).changes
    assert (change.content.digest, change.content.is_gone) == (DIGESTS[1], True), "its photo was seen to go"
    assert place.batch().backlog == 1
    place.has_seen_all = True
    (change,) = place.push(TOKENS[2]).changes
    assert (change.content.digest, change.content.is_gone) == (DIGESTS[2], True)
    assert place.batch().backlog == 0


def test_a_reply_has_no_more_faces_than_a_line_can_carry(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_FACES", 3)
    place.gallery.record(
        [photo(b"/p/%d" % number, DIGESTS[number], ROWS[:size]) for number, size in enumerate((5, 2, 1, 1))]
    )
    sizes = [len(place.push(token).changes) for token in TOKENS[:3]]
    assert sizes == [1, 2, 1]


def test_a_reply_has_no_more_paths_than_a_line_can_carry(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_FACES", 3)
    for number in range(3):
        copies = [
            Outcome(b"/p/%d/%02d" % (number, copy), stamp(100 * number + copy), DIGESTS[number])
            for copy in range(1, 30)
        ]
        place.gallery.record([photo(b"/p/%d" % number, DIGESTS[number], ROWS[number : number + 1]), *copies])
    assert [len(place.push(token).changes) for token in TOKENS[:3]] == [1, 1, 1], (
        "two have 60 paths, which count as three faces"
    )


def test_of_a_content_with_very_many_copies_the_first_are_told(place: Place) -> None:
    copies = [Outcome(b"/p/%05d" % number, stamp(number), DIGESTS[0]) for number in range(1, MOST_COPIES + 9)]
    place.gallery.record([photo(b"/p/00000", DIGESTS[0], ROWS[:1]), *copies])
    (change,) = place.batch().changes
    assert change.content.paths == tuple(b"/p/%05d" % number for number in range(MOST_COPIES))


def test_a_request_waits_for_a_change(place: Place) -> None:
    replies: list[Batch] = []
    thread = threading.Thread(target=lambda: replies.append(place.batch(wait=60.0)))
    thread.start()
    place.writer.call(lambda gallery: gallery.record([photo(b"/p/none", DIGESTS[1], [])]))
    place.writer.call(lambda gallery: gallery.record([photo(b"/p/0", DIGESTS[0], ROWS[:1])]))
    thread.join(30.0)
    assert [change.content.digest for change in replies[0].changes] == [DIGESTS[0]]
    started = time.monotonic()
    place.push(TOKENS[0])
    assert place.batch(wait=0.05).changes == ()
    assert time.monotonic() - started >= 0.05


def test_the_end_of_the_daemon_ends_a_wait(place: Place) -> None:
    replies: list[Batch] = []
    thread = threading.Thread(target=lambda: replies.append(place.batch(wait=600.0)))
    thread.start()
    place.methods.close()
    thread.join(30.0)
    assert replies[0].changes == ()


def test_while_nothing_can_be_written_it_says_so(place: Place) -> None:
    place.writer.trouble = "the disk is full"
    with pytest.raises(StorageError, match="the disk is full"):
        place.methods.outbox_sending(OutboxSendingParameters(TOKENS[0]))


CALLS: dict[str, Any] = {
    "outbox": OutboxParameters(),
    "outbox_sending": OutboxSendingParameters(TOKENS[0]),
    "outbox_sent": OutboxSentParameters((), TOKENS[0]),
    "outbox_mark": OutboxMarkParameters(all=True),
}


@pytest.mark.parametrize("method", CALLS)
def test_without_a_shared_engine_all_are_refused(tmp_path: Path, method: str) -> None:
    with (
        contextlib.closing(Place(tmp_path, sends=False, machine=None)) as place,
        pytest.raises(UsageError, match="no shared engine is configured"),
    ):
        getattr(place.methods, method)(CALLS[method])


def test_a_machine_that_sends_nothing_still_says_which_it_is(tmp_path: Path) -> None:
    with contextlib.closing(Place(tmp_path, sends=False)) as place:
        place.gallery.record([photo(b"/p/0", DIGESTS[0], ROWS[:1])])
        batch = place.batch(wait=0.01)
        assert (batch.machine, batch.changes, batch.backlog) == (MACHINE, (), 0)
        with pytest.raises(UsageError, match="sends nothing"):
            place.methods.outbox_mark(OutboxMarkParameters(all=True))


@pytest.mark.parametrize("token", ["", "A" * 32, "f" * 31, "g" * 32])
def test_a_token_that_is_none_is_refused(place: Place, token: str) -> None:
    with pytest.raises(ParamsError):
        place.methods.outbox_sending(OutboxSendingParameters(token))
    with pytest.raises(ParamsError):
        place.methods.outbox_mark(OutboxMarkParameters(("xy",)))
