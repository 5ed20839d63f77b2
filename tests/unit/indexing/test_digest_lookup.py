"""Digests that are known without reading a file, and paths that wait for one that is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewatchd.indexing.digest_lookup import DigestLookup
from facewatchd.indexing.in_flight import InFlight
from facewatchd.scan.work_queue import Depth, Item, WorkQueue
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.values import Stamp
from tests.support.galleries import DIM, photo


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(tmp_path / "catalog.sqlite3", "test-00000000", DIM)
    yield catalog
    catalog.close()


NOW = Stamp(1, 5, 100, 1_700_000_000_123_456_789, 1_700_000_000_123_456_789)


def recorded(catalog: Catalog, path: bytes, digest: bytes, stamp: Stamp = NOW) -> None:
    known = photo(path, digest, [])
    catalog.record([Outcome(path, stamp, digest, known.width, known.height, [])])


def test_a_file_is_known_by_another_name_with_its_stamp(catalog: Catalog) -> None:
    queue = WorkQueue(0.0)
    digests = DigestLookup(catalog, queue)
    recorded(catalog, b"/p/a", b"d1")
    assert digests.digest(b"/p/b", NOW) == b"d1"
    for number in range(len(NOW)):
        other = Stamp(*(value + (place == number) for place, value in enumerate(NOW)))
        assert digests.digest(b"/p/b", other) is None


def test_a_file_that_was_forgotten_is_known_by_its_stamp(catalog: Catalog) -> None:
    digests = DigestLookup(catalog, WorkQueue(0.0))
    recorded(catalog, b"/p/a", b"d1")
    digests.forgotten(b"/p/a", NOW, Depth.STAMP)
    catalog.record([Outcome(b"/p/a", None)])
    assert digests.digest(b"/p/b", NOW) == b"d1"
    recorded(catalog, b"/p/c", b"d2")
    assert digests.digest(b"/p/b", NOW) is None  # two contents with one stamp


def test_a_name_that_was_written_to_does_not_count(catalog: Catalog) -> None:
    queue = WorkQueue(0.0)
    digests = DigestLookup(catalog, queue)
    recorded(catalog, b"/p/a", b"d1")
    queue.touch(b"/p/a", settle=False, depth=Depth.BYTES)
    assert digests.digest(b"/p/b", NOW) is None
    (item,) = queue.take(1)
    assert digests.digest(b"/p/b", NOW) is None
    queue.done(item.path)
    assert digests.digest(b"/p/b", NOW) == b"d1"
    digests.forgotten(b"/p/a", NOW, Depth.BYTES)
    catalog.record([Outcome(b"/p/a", None)])
    assert digests.digest(b"/p/b", NOW) is None


def test_a_coarse_clock_tells_nothing(catalog: Catalog) -> None:
    coarse = NOW._replace(mtime_ns=1_700_000_000_000_000_000, ctime_ns=1_700_000_000_010_000_000)
    recorded(catalog, b"/p/a", b"d1", coarse)
    assert DigestLookup(catalog, WorkQueue(0.0)).digest(b"/p/b", coarse) is None


def test_a_path_that_waited_is_told_what_it_held_and_how_the_other_failed() -> None:
    in_flight = InFlight()
    first, second = Item(b"/a", Depth.BYTES), Item(b"/b", Depth.FACES)
    assert in_flight.claim(b"d1", first, NOW)
    assert not in_flight.claim(b"d1", second, NOW)
    failure = Outcome(b"/a", NOW, b"d1", error="damaged")
    assert in_flight.release(b"/a", failure) == [Item(b"/b", Depth.STAMP)]
    told = in_flight.digested(b"/b")
    assert told is not None
    assert (told.stamp, told.digest, told.failure) == (NOW, b"d1", failure)
    assert in_flight.digested(b"/b") is None


def test_faces_that_were_not_embedded_again_still_are_to_be() -> None:
    in_flight = InFlight()
    assert in_flight.claim(b"d1", Item(b"/a", Depth.STAMP), NOW)
    assert not in_flight.claim(b"d1", Item(b"/b", Depth.FACES), NOW)
    assert in_flight.release(b"/a", Outcome(b"/a", NOW, b"d1")) == [Item(b"/b", Depth.FACES)]
    assert in_flight.digested(b"/b") is None


@given(st.lists(st.integers(0, 5), max_size=60), st.lists(st.integers(0, 1), min_size=6, max_size=6))
def test_every_path_that_waits_gets_its_turn(order: list[int], contents_of: list[int]) -> None:
    """Six names of three files claim their file, then its content, and release both; each step may come at any time."""
    in_flight = InFlight()
    left = {number: ["file", "content", "release"] for number in range(6)}
    waiting: set[int] = set()

    def step(number: int) -> None:
        item = Item(b"%d" % number, Depth.STAMP)
        if not left[number] or number in waiting:
            return
        key = {"file": number % 3, "content": b"%d" % contents_of[number % 3]}.get(left[number][0])
        if key is None:
            waiting.difference_update(int(woken.path) for woken in in_flight.release(item.path))
        elif not in_flight.claim(key, item, NOW):
            waiting.add(number)
            return
        left[number].pop(0)

    for number in order:
        step(number)
    for _ in range(100):
        for number in left:
            step(number)
    assert not any(left.values())
    assert not waiting
