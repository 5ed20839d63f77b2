"""The hub of changes: complete, in order, and harmless for the writer."""

from __future__ import annotations

import dataclasses
import select
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from facewatchd.errors import RefusedError
from facewatchd.store import hub as hub_module
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.store.hub import Bell, Change, Hub, MissedChangesError
from tests.support.galleries import DIM, photo, stamp, unit


def change(number: int) -> Change:
    return Change(added=(number,))


def test_each_subscription_gets_every_change_in_order() -> None:
    hub = Hub()
    hub.publish(change(0))
    one, other = hub.subscribe(), hub.subscribe()
    for number in range(1, 6):
        hub.publish(change(number))
    assert one.take(0) == [change(number) for number in range(1, 6)]
    hub.publish(change(6))
    assert one.take(0) == [change(6)]
    assert other.take(0) == [change(number) for number in range(1, 7)]
    assert one.take(0) == []


def test_what_is_closed_gets_no_more() -> None:
    hub = Hub()
    subscription = hub.subscribe()
    subscription.close()
    subscription.close()
    hub.publish(change(1))
    assert subscription.take(0) == []


def test_a_slow_subscriber_loses_changes_is_told_and_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "MOST", 3)
    hub = Hub()
    slow, quick = hub.subscribe(), hub.subscribe()
    taken: list[Change] = []
    for number in range(5):
        hub.publish(change(number))
        taken += quick.take(0)
    assert taken == [change(number) for number in range(5)]
    with pytest.raises(MissedChangesError):
        slow.take(0)
    assert slow.take(0) == [change(4)], "what came after those that were dropped"
    hub.publish(change(5))
    assert slow.take(0) == [change(5)]


def test_a_subscriber_that_stands_still_does_not_hold_up_the_writer() -> None:
    hub = Hub()
    subscription, working, go_on = hub.subscribe(), threading.Event(), threading.Event()

    def work() -> int:
        taken = len(subscription.take(60))
        working.set()
        assert go_on.wait(60)
        return taken + len(subscription.take(60))

    with ThreadPoolExecutor() as pool:
        result = pool.submit(work)
        hub.publish(change(1))
        assert working.wait(60)
        for number in range(100):
            hub.publish(change(number))
        go_on.set()
        assert result.result(60) == 101


def test_the_gallery_publishes_what_was_committed_once_it_can_be_found(gallery: Gallery) -> None:
    subscription = gallery.hub.subscribe()
    rows = unit(np.random.default_rng(1).normal(size=(3, DIM)))
    gallery.record([photo(b"/a", b"a", rows[:2]), photo(b"/b", b"b", rows[2:])])
    gallery.record([photo(b"/a", b"a", rows[:1])])
    gallery.record([Outcome(b"/c", stamp(3), b"a"), Outcome(b"/d", stamp(4), b"unknown")])
    gallery.record([Outcome(b"/b", None)])
    gallery.set_aside([3])
    first, again, copied, gone, damaged = subscription.take(0)
    assert (first.paths, first.added, first.removed) == ((b"/a", b"/b"), (1, 2, 3), ())
    assert np.array_equal(np.stack(first.embeddings), rows)
    assert (again.paths, again.added, again.removed) == ((b"/a",), (4,), (1, 2))
    assert (copied.paths, copied.added, copied.removed) == ((b"/c",), (), ())
    assert (gone.paths, gone.added, gone.removed) == ((b"/b",), (), ())
    assert (damaged.paths, damaged.removed) == ((), (3,))
    gallery.catalog._db.execute("UPDATE content SET orphaned = 1 WHERE orphaned IS NOT NULL")
    gallery.collect()
    assert subscription.take(0) == [Change(collected=True)], "the faces of /b were removed before"


def test_nothing_is_published_of_a_transaction_that_failed(gallery: Gallery) -> None:
    subscription = gallery.hub.subscribe()
    row = unit(np.ones(DIM))
    too_large = dataclasses.replace(photo(b"/b", b"b", []), width=1 << 70)
    with pytest.raises(RefusedError):
        gallery.record([photo(b"/a", b"a", [row]), too_large])
    assert subscription.take(0) == []


def test_a_bell_is_rung_by_what_is_published_until_it_is_taken_down() -> None:
    hub = Hub()
    with Bell(hub) as bell, Bell(hub) as other:
        assert not is_rung(bell)
        hub.publish(change(1))
        hub.publish(change(2))
        assert is_rung(bell)
        bell.hush()
        assert not is_rung(bell)
        assert is_rung(other)
        hub.publish(change(3))
        assert is_rung(bell)
    hub.publish(change(4))


def is_rung(bell: Bell) -> bool:
    return bool(select.select([bell], [], [], 0)[0])
