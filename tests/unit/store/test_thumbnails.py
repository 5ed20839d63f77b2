"""What is kept of thumbnails: within its size, whole or not at all, and no byte longer than a photo shows it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from facewatchd.matches import Box
from facewatchd.photos.crops import Crop, Thumbnail
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.store.thumbnails import KEPT_SIZE, ThumbnailStore
from tests.support.galleries import photo, stamp, unit
from tests.support.paths import PROJECT

DAY = 86400.0
CROP = Crop(160, Box(1, 2, 30, 40))
WHOLE = Crop(400)
MOST = 1 << 20


def made(number: int, length: int = 5000) -> Thumbnail:
    """A thumbnail whose bytes no other has; they are no JPEG, which is for others to check."""
    return Thumbnail((b"thumbnail %08d " % number) * (length // 19), 160, 160)


def digest(number: int) -> bytes:
    return b"%032d" % number


class Clock:
    """Tells the time that it is set to."""

    now = 20000 * DAY

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "thumbnails.sqlite3"


@pytest.fixture
def store(path: Path, clock: Clock) -> Iterator[ThumbnailStore]:
    with closing(ThumbnailStore(path, MOST, clock)) as store:
        yield store


def files_with(directory: Path, number: int) -> set[str]:
    """The files that hold bytes of a thumbnail."""
    return {path.name for path in directory.iterdir() if b"thumbnail %08d" % number in path.read_bytes()}


def kept(store: ThumbnailStore, count: int, crop: Crop = CROP) -> list[int]:
    return [number for number in range(count) if store.get(digest(number), crop) is not None]


def test_what_was_kept_is_there_after_a_restart_for_its_owner_alone(path: Path, store: ThumbnailStore) -> None:
    assert not path.exists(), "made when it is needed"
    assert store.get(digest(1), CROP) is None
    store.put(digest(1), CROP, made(1))
    whole = Crop(320)
    store.put(digest(1), whole, made(2))
    store.fill(digest(2), [(CROP, made(3)), (Crop(160, Box(0, 0, 5, 5)), made(4))])
    store.close()
    again = ThumbnailStore(path, MOST)
    assert (again.get(digest(1), CROP), again.get(digest(1), whole)) == (made(1), made(2))
    assert (again.get(digest(2), CROP), again.get(digest(2), Crop(160, Box(0, 0, 5, 5)))) == (made(3), made(4))
    assert again.get(digest(1), Crop(161, CROP.box)) is again.get(digest(3), CROP) is None
    assert again.digests() == {digest(1), digest(2)}
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    again.close()


def test_large_ones_are_not_kept(store: ThumbnailStore) -> None:
    store.put(digest(1), Crop(KEPT_SIZE + 1), made(1))
    assert store.get(digest(1), Crop(KEPT_SIZE + 1)) is None


def test_the_file_stays_within_its_size_and_what_was_not_used_for_longest_goes_first(
    path: Path, store: ThumbnailStore, clock: Clock
) -> None:
    store.fill(digest(1000), [(CROP, made(1000))])
    for number in range(100):
        store.put(digest(number), CROP, made(number))
    clock.now += DAY
    assert kept(store, 10) == list(range(10)), "and used today"
    clock.now += DAY
    for number in range(100, 300):
        store.put(digest(number), CROP, made(number))
        assert path.stat().st_size <= MOST
    there = kept(store, 300)
    assert len(there) > 100
    assert store.get(digest(1000), CROP) is None, "what nothing asked for goes before all"
    assert there[-1] == 299
    assert not set(there) & set(range(10, 100))
    assert not set(there) & set(range(10)) or set(range(100, 300)) <= set(there)


def test_what_is_made_while_indexing_only_fills_room_that_is_there(store: ThumbnailStore) -> None:
    store.put(digest(0), CROP, made(0))
    for number in range(1, 400):
        store.fill(digest(number), [(CROP, made(number))])
    there = kept(store, 400)
    assert there == list(range(len(there)))
    assert 100 < len(there) < 250


def test_a_photo_takes_the_room_of_nothing_and_leaves_it_to_all_others(path: Path, store: ThumbnailStore) -> None:
    store.fill(digest(1000), [(CROP, made(1000)), (WHOLE, made(1001))])
    assert store.get(digest(1000), WHOLE) == made(1001)
    for number in range(60):
        store.fill(digest(number), [(CROP, made(number)), (WHOLE, made(number + 500, 20_000))])
    before = len(_whole(path))
    assert 20 < before < 60, "as many as there is room for"
    for number in range(10):
        store.put(digest(number), Crop(300), made(number, 20_000))
    for number in range(60, 90):
        store.fill(digest(number), [(CROP, made(number))])
    assert kept(store, 90, Crop(300)) == list(range(10))
    assert digest(1000) in _whole(path), "it was asked for"
    assert len(_whole(path)) < before
    assert kept(store, 90) == list(range(90)), "no face made room"
    for number in range(90, 400):
        store.fill(digest(number), [(CROP, made(number)), (WHOLE, made(number + 500))])
    assert _whole(path) == [digest(1000)]
    faces = kept(store, 400)
    assert faces == list(range(len(faces))), "nor did it for another face"
    assert path.stat().st_size <= MOST


def _whole(path: Path) -> list[bytes]:
    """The contents whose photos are kept; nothing is asked for by that."""
    with closing(sqlite3.connect(path)) as db:
        return [each for (each,) in db.execute("SELECT digest FROM thumbnail WHERE crop = '400' ORDER BY id")]


def test_what_was_asked_for_stays_so_when_its_photo_is_indexed_again(store: ThumbnailStore) -> None:
    first, both = digest(0), [(CROP, made(0)), (WHOLE, made(1))]
    store.fill(first, both)
    assert [store.get(first, crop) for crop, _ in both] == [made(0), made(1)]
    store.fill(first, both)
    for number in range(1, 400):
        store.fill(digest(number), [(CROP, made(number + 1)), (WHOLE, made(number + 500))])
    for number in range(400, 500):
        store.put(digest(number), CROP, made(number))
    assert [store.get(first, crop) for crop, _ in both] == [made(0), made(1)]


def test_less_room_than_before_is_kept_to_from_the_start(path: Path, store: ThumbnailStore) -> None:
    for number in range(100):
        store.put(digest(number), CROP, made(number))
    store.close()
    with closing(ThumbnailStore(path, MOST // 4)) as less:
        assert 0 < len(kept(less, 100)) < 60
    assert path.stat().st_size <= MOST // 4
    assert files_with(path.parent, 0) == set()
    ThumbnailStore(path, 0).close()
    assert list(path.parent.iterdir()) == [], "none is kept"


def test_no_byte_of_what_is_removed_stays(path: Path, store: ThumbnailStore) -> None:
    for number in range(20):
        store.put(digest(number), CROP, made(number))
        store.put(digest(number), Crop(640), made(number, 40_000))
    assert files_with(path.parent, 7)
    store.remove([digest(7), digest(8), digest(99)])
    assert files_with(path.parent, 7) == files_with(path.parent, 8) == set()
    assert kept(store, 20) == [number for number in range(20) if number not in (7, 8)]
    assert files_with(path.parent, 9)


def test_what_is_damaged_is_made_again(path: Path, store: ThumbnailStore) -> None:
    """A changed byte of a picture, and a file that is torn or something else."""
    store.put(digest(1), CROP, made(1))
    store.put(digest(2), CROP, made(2))
    store.close()
    data = path.read_bytes()
    path.write_bytes(data.replace(b"thumbnail 00000001", b"thumbnail 00000009", 1))
    assert store.get(digest(1), CROP) is None
    assert store.get(digest(2), CROP) == made(2)
    store.close()
    half, noise = data[: len(data) // 2], os.urandom(8192)
    for torn in (half, data[:100], b"", b"no database" * 1000, noise, data[:4096] + noise):
        path.write_bytes(torn)
        assert store.get(digest(2), CROP) in (None, made(2))
        store.put(digest(3), CROP, made(3))
        if store.get(digest(3), CROP) is None:  # what was damaged came to light, and the next one is kept
            store.put(digest(3), CROP, made(3))
        assert store.get(digest(3), CROP) == made(3)
        store.close()


def test_a_place_that_cannot_be_written_keeps_nothing_and_harms_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(ThumbnailStore(tmp_path / "none" / "thumbnails.sqlite3", MOST)) as store:
        for number in range(3):
            store.put(digest(number), CROP, made(number))
            assert store.get(digest(number), CROP) is None
        store.fill(digest(1), [(CROP, made(1))])
        store.remove([digest(1)])
        assert store.digests() == set()
    assert [record.message.split(":")[0] for record in caplog.records] == [
        f"pictures are not kept in {tmp_path}/none/thumbnails.sqlite3"
    ]


KILLED = """
import os, signal, sys
from pathlib import Path
from facewatchd.store.thumbnails import ThumbnailStore
from tests.unit.store.test_thumbnails import CROP, MOST, digest, made
store = ThumbnailStore(Path(sys.argv[1]), MOST)
for number in range(int(sys.argv[2])):
    store.put(digest(number), CROP, made(number))
    if number % 10 == 9:
        store.remove([digest(number - 5)])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("count", [1, 37, 90])
def test_a_kill_leaves_whole_thumbnails(path: Path, count: int) -> None:
    command = [sys.executable, "-c", KILLED, str(path), str(count)]
    assert subprocess.run(command, cwd=PROJECT, check=False).returncode == -9
    with closing(ThumbnailStore(path, MOST)) as store:
        for number in range(count):
            found = store.get(digest(number), CROP)
            assert found == (None if number % 10 == 4 and number + 5 < count else made(number))
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


class Kept(RuleBasedStateMachine):
    """Puts, fills, removals, restarts and damage in any order: what comes back is what went in, within the size."""

    @initialize()
    def begin(self) -> None:
        self.place = tempfile.TemporaryDirectory()
        self.path = Path(self.place.name) / "thumbnails.sqlite3"
        self.clock = Clock()
        self.store = ThumbnailStore(self.path, 1 << 18, self.clock)
        self.removed: set[int] = set()

    @rule(number=st.integers(0, 15), length=st.integers(100, 60_000))
    def put(self, number: int, length: int) -> None:
        self.store.put(digest(number), CROP, made(number, length))
        self.removed.discard(number)

    @rule(number=st.integers(0, 15), length=st.integers(100, 60_000))
    def fill(self, number: int, length: int) -> None:
        self.store.fill(digest(number), [(CROP, made(number, length)), (WHOLE, made(number, length))])
        self.removed.discard(number)

    @rule(numbers=st.sets(st.integers(0, 15)))
    def remove(self, numbers: set[int]) -> None:
        self.store.remove([digest(number) for number in numbers])
        self.removed |= numbers
        for number in numbers:
            assert files_with(self.path.parent, number) == set()

    @rule(number=st.integers(0, 15), crop=st.sampled_from([CROP, WHOLE]))
    def get(self, number: int, crop: Crop) -> None:
        found = self.store.get(digest(number), crop)
        if found is not None:
            assert number not in self.removed
            assert found.jpeg.startswith(made(number, 100).jpeg)
            assert len(set(found.jpeg.split(b"thumbnail"))) == 2

    @rule()
    def a_day_passes(self) -> None:
        self.clock.now += DAY

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = ThumbnailStore(self.path, 1 << 18, self.clock)

    @invariant()
    def is_within_its_size(self) -> None:
        if self.path.exists():
            assert self.path.stat().st_size <= 1 << 18

    def teardown(self) -> None:
        self.store.close()
        self.place.cleanup()


TestKept = Kept.TestCase
TestKept.settings = settings(deadline=None, max_examples=30, stateful_step_count=25)


@pytest.fixture
def pictured(gallery: Gallery, store: ThumbnailStore) -> Gallery:
    """Photos /0 to /9, each with a face, which are pictured."""
    gallery = Gallery(gallery.catalog, gallery.index, store)
    rows = unit(np.random.default_rng(3).normal(size=(10, gallery.catalog.dim)))
    for number, row in enumerate(rows):
        outcome = photo(b"/%d" % number, digest(number), [row])
        gallery.record([outcome])
        gallery.keep_thumbnails(digest(number), outcome.faces or (), [made(number), made(number + 100)])
        assert store.get(digest(number), WHOLE) == made(number + 100)
    return gallery


def pictures(gallery: Gallery) -> set[int]:
    assert gallery.thumbnails is not None
    return {int(each) for each in gallery.thumbnails.digests()}


def test_a_picture_goes_when_no_photo_shows_it_any_more(pictured: Gallery, tmp_path: Path) -> None:
    pictured.record([Outcome(b"/copy of 2", stamp(2), digest(2))])
    before = time.time()
    pictured.record([Outcome(b"/1", None), Outcome(b"/2", None), Outcome(b"/3", stamp(9), digest(4))])
    pictured.forget_thumbnails(before)
    assert pictures(pictured) == set(range(10)), "they may have been renamed"
    pictured.forget_thumbnails(time.time())
    assert pictures(pictured) == set(range(10)) - {1, 3}
    for number in (1, 3, 101, 103):
        assert files_with(tmp_path, number) == set()
    assert files_with(tmp_path, 2)
    assert files_with(tmp_path, 102)


def test_pictures_of_what_another_catalog_had_go(pictured: Gallery, tmp_path: Path) -> None:
    """The catalog was damaged, or a backup took its place."""
    assert pictured.thumbnails is not None
    pictured.thumbnails.put(digest(77), CROP, made(77))
    pictured.forget_strange_thumbnails()
    assert pictures(pictured) == set(range(10))
    assert files_with(tmp_path, 77) == set()
