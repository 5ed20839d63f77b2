"""Real directories, real events, real limits (in namespaces of their own), each waited for with a deadline."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from watchdog.events import FileSystemEvent

from facewatchd.system.mounts import Mounts
from facewatchd.values import RootState
from facewatchd.watch import inotify
from facewatchd.watch.coverage import not_watched
from facewatchd.watch.event_source import Intervals
from facewatchd.watch.watcher import Watcher
from tests.support.paths import PROJECT
from tests.support.processes import until

DEADLINE = 15.0
QUICK = Intervals(poll=0.2, retry=0.3, heartbeat=0.1, deadline=2.0)


class Heard:
    """What a watcher has called, in order."""

    def __init__(self) -> None:
        self.touches: list[tuple[bytes, bool]] = []
        self.written: list[bytes] = []
        self.rescans: list[bytes] = []
        self.changed = threading.Condition()

    def touch(self, path: bytes, settle: bool, written: bool) -> None:
        with self.changed:
            self.touches.append((path, settle))
            if written:
                self.written.append(path)
            self.changed.notify_all()

    def rescan(self, root: bytes) -> None:
        with self.changed:
            self.rescans.append(root)
            self.changed.notify_all()

    def wait(self, is_so: Callable[[], object], deadline: float = DEADLINE) -> None:
        end = time.monotonic() + deadline
        with self.changed:
            while not is_so():
                assert time.monotonic() < end, (self.touches[-20:], self.rescans[-20:])
                self.changed.wait(0.02)

    def wait_touch(self, path: Path | bytes, settle: bool) -> None:
        self.wait(lambda: (os.fsencode(path), settle) in self.touches)

    def forget(self) -> None:
        with self.changed:
            self.touches.clear()
            self.written.clear()
            self.rescans.clear()


class Setup:
    """Makes watchers on a root, and stops them."""

    def __init__(self, tmp_path: Path) -> None:
        self.heard = Heard()
        self.root = tmp_path / "root"
        self.root.mkdir()
        self.elsewhere = tmp_path / "elsewhere"
        self.elsewhere.mkdir()
        self.data = tmp_path / "data"
        self.data.mkdir()
        self.watchers: list[Watcher] = []
        self.mounts = Mounts()

    def start(
        self, *roots: Path, intervals: Intervals = QUICK, rescan_every: float = 3600.0, tick: float = 0.05
    ) -> Watcher:
        watcher = self.make(*roots, rescan_every=rescan_every, tick=tick, intervals=intervals)
        watcher.start()
        return watcher

    def make(self, *roots: Path, rescan_every: float = 3600.0, **settings: Any) -> Watcher:
        """A watcher that is not started, with the intervals that it has by default."""
        paths = [os.fsencode(root) for root in roots or (self.root,)]
        heard, heartbeat = self.heard, self.data / "heartbeat"
        watcher = Watcher(
            paths, heard.touch, heard.rescan, heartbeat, rescan_every=rescan_every, mounts=self.mounts, **settings
        )
        self.watchers.append(watcher)
        return watcher

    def state(self, root: Path | None = None) -> RootState:
        return self.watchers[-1].states()[os.fsencode(root or self.root)]


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    before = set(threading.enumerate())
    made = Setup(tmp_path)
    yield made
    for watcher in made.watchers:
        watcher.stop()
    made.mounts.close()
    leaked = [thread.name for thread in threading.enumerate() if thread not in before]
    assert not leaked


def held_reader(watcher: Watcher) -> threading.Lock:
    """watchdog's own lock, without which its reader takes no event from the kernel's queue."""
    stream = watcher._source.stream
    assert stream is not None
    return stream._reader._lock


def inotify_descriptors() -> int:
    names = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            names.append(str(entry.readlink()))
        except OSError:
            continue
    return names.count("anon_inode:inotify")


# Events


def test_a_new_file_is_touched_until_it_is_closed(setup: Setup) -> None:
    setup.start()
    photo = setup.root / "a.jpg"
    with photo.open("wb", buffering=0) as file:
        file.write(b"half")
        setup.heard.wait_touch(photo, True)
        setup.heard.forget()
        file.write(b"more")
        setup.heard.wait_touch(photo, True)
        setup.heard.forget()
    setup.heard.wait_touch(photo, True)
    assert setup.state() is RootState.WATCHING
    assert setup.heard.rescans == []


def test_only_a_close_after_writing_says_that_it_was_written(setup: Setup) -> None:
    (setup.root / "moved.jpg").touch()
    setup.start()
    with (setup.root / "a.jpg").open("wb", buffering=0) as file:
        file.write(b"half")
        setup.heard.wait_touch(setup.root / "a.jpg", True)
        (setup.root / "a.jpg").chmod(0o600)
        (setup.root / "moved.jpg").rename(setup.root / "b.jpg")
        setup.heard.wait_touch(setup.root / "b.jpg", False)
        assert setup.heard.written == []
    setup.heard.wait(lambda: setup.heard.written == [os.fsencode(setup.root / "a.jpg")])


def test_reading_is_no_event(setup: Setup) -> None:
    photo = setup.root / "a.jpg"
    photo.write_bytes(b"x")
    setup.start()
    photo.read_bytes()
    os.listdir(setup.root)
    (setup.root / "last.jpg").touch()
    setup.heard.wait_touch(setup.root / "last.jpg", True)
    assert {path for path, _ in setup.heard.touches} == {os.fsencode(setup.root / "last.jpg")}


def test_a_rename_touches_the_new_name_then_the_old_at_rest(setup: Setup) -> None:
    (setup.root / "a.jpg").touch()
    setup.start()
    (setup.root / "a.jpg").rename(setup.root / "b.jpg")
    setup.heard.wait_touch(setup.root / "a.jpg", False)
    assert setup.heard.touches == [
        (os.fsencode(setup.root / "b.jpg"), False),
        (os.fsencode(setup.root / "a.jpg"), False),
    ]


def test_files_moved_in_and_out_and_deleted_are_at_rest(setup: Setup) -> None:
    (setup.root / "out.jpg").touch()
    (setup.root / "gone.jpg").touch()
    (setup.elsewhere / "in.jpg").touch()
    setup.start()
    (setup.elsewhere / "in.jpg").rename(setup.root / "in.jpg")
    (setup.root / "out.jpg").rename(setup.elsewhere / "out.jpg")
    (setup.root / "gone.jpg").unlink()
    for name in ("in.jpg", "out.jpg", "gone.jpg"):
        setup.heard.wait_touch(setup.root / name, False)
    assert all(not settle for _, settle in setup.heard.touches)


def test_a_chmod_of_file_or_directory_is_touched(setup: Setup) -> None:
    (setup.root / "a.jpg").touch()
    (setup.root / "sub").mkdir()
    setup.start()
    (setup.root / "a.jpg").chmod(0o600)
    setup.root.chmod(0o700)
    (setup.root / "sub").chmod(0o700)
    setup.heard.wait_touch(setup.root / "a.jpg", True)
    setup.heard.wait_touch(setup.root / "sub", False)
    assert os.fsencode(setup.root) not in {path for path, _ in setup.heard.touches}


def test_a_hard_link_is_touched(setup: Setup) -> None:
    (setup.elsewhere / "a.jpg").touch()
    setup.start()
    os.link(setup.elsewhere / "a.jpg", setup.root / "b.jpg")
    setup.heard.wait_touch(setup.root / "b.jpg", True)


def test_nested_directories_made_with_files_at_once(setup: Setup) -> None:
    setup.start()
    for number in range(20):
        deep = setup.root / f"d{number}" / "b" / "c"
        deep.mkdir(parents=True)
        (deep / "x.jpg").touch()
    for number in range(20):
        setup.heard.wait_touch(setup.root / f"d{number}", False)
    setup.heard.forget()
    (setup.root / "d7" / "b" / "c" / "later.jpg").touch()
    setup.heard.wait_touch(setup.root / "d7" / "b" / "c" / "later.jpg", True)


def test_a_directory_moved_in_is_touched_and_followed(setup: Setup) -> None:
    (setup.elsewhere / "d" / "e").mkdir(parents=True)
    (setup.elsewhere / "d" / "e" / "x.jpg").touch()
    setup.start()
    (setup.elsewhere / "d").rename(setup.root / "d")
    setup.heard.wait_touch(setup.root / "d", False)
    (setup.root / "d" / "e" / "y.jpg").touch()
    setup.heard.wait_touch(setup.root / "d" / "e" / "y.jpg", True)
    assert not any(path.endswith(b"x.jpg") for path, _ in setup.heard.touches)


def test_a_directory_moved_within_is_touched_twice_and_followed(setup: Setup) -> None:
    (setup.root / "d" / "e").mkdir(parents=True)
    (setup.root / "d" / "e" / "x.jpg").touch()
    setup.start()
    (setup.root / "d").rename(setup.root / "f")
    setup.heard.wait_touch(setup.root / "d", False)
    assert {path for path, _ in setup.heard.touches} == {os.fsencode(setup.root / name) for name in ("d", "f")}
    (setup.root / "f" / "e" / "y.jpg").touch()
    setup.heard.wait_touch(setup.root / "f" / "e" / "y.jpg", True)


def test_a_directory_moved_out_and_another_of_its_name(setup: Setup) -> None:
    (setup.root / "d").mkdir()
    setup.start()
    (setup.root / "d").rename(setup.elsewhere / "d")
    setup.heard.wait_touch(setup.root / "d", False)
    setup.heard.forget()
    (setup.root / "d").mkdir()
    setup.heard.wait_touch(setup.root / "d", False)
    (setup.root / "d" / "new.jpg").touch()
    setup.heard.wait_touch(setup.root / "d" / "new.jpg", True)
    (setup.elsewhere / "d").rename(setup.root / "back")
    setup.heard.wait_touch(setup.root / "back", False)
    (setup.root / "back" / "again.jpg").touch()
    setup.heard.wait_touch(setup.root / "back" / "again.jpg", True)
    assert setup.watchers[0].rebuilds == 0


def test_a_name_that_is_not_utf8(setup: Setup) -> None:
    root = setup.root / os.fsdecode(b"\xff dir")
    root.mkdir()
    setup.start(root)
    photo = os.fsencode(root) + b"/caf\xe9.jpg"
    Path(os.fsdecode(photo)).touch()
    setup.heard.wait_touch(photo, True)


def test_a_linked_root_keeps_its_configured_name_and_may_be_pointed_elsewhere(setup: Setup, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(setup.root)
    setup.start(link)
    (setup.root / "a.jpg").touch()
    setup.heard.wait_touch(link / "a.jpg", True)
    link.unlink()
    link.symlink_to(setup.elsewhere)
    setup.heard.wait(lambda: os.fsencode(link) in setup.heard.rescans)
    setup.heard.forget()
    (setup.elsewhere / "b.jpg").touch()
    setup.heard.wait_touch(link / "b.jpg", True)


def test_a_callback_that_raises_stops_nothing(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    watcher = setup.start()
    touch = setup.heard.touch

    def raises(path: bytes, settle: bool, written: bool) -> None:
        touch(path, settle, written)
        raise ValueError("a bug")

    setup.heard.touch = raises  # type: ignore[method-assign]
    watcher.stop()
    watcher = setup.start()
    with caplog.at_level(logging.ERROR):
        (setup.root / "a.jpg").touch()
        setup.heard.wait_touch(setup.root / "a.jpg", True)
        (setup.root / "b.jpg").touch()
        setup.heard.wait_touch(setup.root / "b.jpg", True)
    assert watcher.alive()
    assert "an event was lost" in caplog.text


# Roots that go, come back and change


def test_a_root_removed_and_made_again(setup: Setup) -> None:
    watcher = setup.start()
    for number in range(3):
        setup.root.rmdir()
        setup.heard.wait(lambda: setup.state() is RootState.OFFLINE)
        assert "is not there" in watcher.problems()[0]
        assert setup.heard.rescans == []
        setup.root.mkdir()
        setup.heard.wait(lambda: setup.heard.rescans)
        assert setup.state() is RootState.WATCHING
        (setup.root / "x.jpg").touch()
        setup.heard.wait_touch(setup.root / "x.jpg", True)
        (setup.root / "x.jpg").unlink()
        setup.heard.wait_touch(setup.root / "x.jpg", False)
        setup.heard.forget()
        assert watcher.problems() == [], number


def test_a_root_replaced_between_two_looks(setup: Setup) -> None:
    """The new directory often has the old one's inode number, so only the dead watch tells."""
    setup.start()
    for _ in range(5):
        setup.root.rmdir()
        setup.root.mkdir()
        setup.heard.wait(lambda: setup.heard.rescans)
        setup.heard.wait(lambda: setup.state() is RootState.WATCHING)
        setup.heard.forget()
        (setup.root / "x.jpg").touch()
        setup.heard.wait(lambda: setup.heard.touches or setup.heard.rescans)
        (setup.root / "x.jpg").unlink()
        setup.heard.wait_touch(setup.root / "x.jpg", False)
        setup.heard.forget()


def test_a_root_that_goes_is_noticed_before_the_next_tick(setup: Setup) -> None:
    setup.start(tick=60.0)
    setup.root.rmdir()
    setup.heard.wait(lambda: setup.state() is RootState.OFFLINE)


def test_a_root_swapped_for_another_directory(setup: Setup, tmp_path: Path) -> None:
    setup.start()
    setup.root.rename(tmp_path / "old")
    setup.elsewhere.rename(setup.root)
    setup.heard.wait(lambda: setup.heard.rescans)
    (setup.root / "x.jpg").touch()
    setup.heard.wait_touch(setup.root / "x.jpg", True)


def test_a_root_that_is_not_there_yet_beside_one_that_is(setup: Setup, tmp_path: Path) -> None:
    later = tmp_path / "later"
    setup.start(setup.root, later)
    assert (setup.state(), setup.state(later)) == (RootState.WATCHING, RootState.OFFLINE)
    later.mkdir()
    setup.heard.wait(lambda: setup.heard.rescans)
    assert setup.heard.rescans == [os.fsencode(later)]
    assert setup.state(later) is RootState.WATCHING


def test_a_file_in_a_roots_place_is_offline(setup: Setup) -> None:
    setup.root.rmdir()
    setup.root.touch()
    setup.start()
    assert setup.state() is RootState.OFFLINE


# Health


def test_every_root_is_rescanned_periodically(setup: Setup) -> None:
    setup.start(setup.root, setup.elsewhere, rescan_every=0.3)
    setup.heard.wait(lambda: len(setup.heard.rescans) >= 6)
    expected = {os.fsencode(setup.root), os.fsencode(setup.elsewhere)}
    assert set(setup.heard.rescans) == expected


def lose_a_path(setup: Setup) -> None:
    """Have watchdog's bookkeeping lose the path of a directory that was moved out: a KeyError when its watch ends."""
    (setup.root / "d").rename(setup.elsewhere / "d")
    setup.heard.wait_touch(setup.root / "d", False)
    (setup.root / "d").mkdir()
    (setup.root / "d" / "mark").touch()
    setup.heard.wait_touch(setup.root / "d" / "mark", True)
    (setup.root / "d").rename(setup.root / "f")
    setup.heard.wait_touch(setup.root / "f", False)


def test_a_reader_that_died_is_replaced_at_once(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    (setup.root / "d").mkdir()
    watcher = setup.start(intervals=Intervals(), tick=60.0)
    before = inotify_descriptors()
    lose_a_path(setup)
    (setup.elsewhere / "d").rmdir()
    setup.heard.wait(lambda: watcher.rebuilds == 1 and setup.heard.rescans)
    assert "KeyError" in caplog.text
    setup.heard.forget()
    (setup.root / "x.jpg").touch()
    setup.heard.wait_touch(setup.root / "x.jpg", True)
    assert watcher.alive()
    assert inotify_descriptors() == before


def test_a_reader_that_died_while_it_read_leaves_nothing_open(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = setup.start(intervals=Intervals())
    before = inotify_descriptors()
    check, failures = inotify._Reader._check_inotify_fd, [KeyError("a bug")]

    def fails_once(reader: inotify._Reader) -> bool:
        if failures:
            raise failures.pop()
        return check(reader)

    monkeypatch.setattr(inotify._Reader, "_check_inotify_fd", fails_once)
    (setup.root / "x.jpg").touch()
    setup.heard.wait(lambda: watcher.rebuilds == 1 and setup.heard.rescans)
    (setup.root / "y.jpg").touch()
    setup.heard.wait_touch(setup.root / "y.jpg", True)
    assert inotify_descriptors() == before


def test_stopping_survives_bookkeeping_that_has_lost_a_path(setup: Setup) -> None:
    (setup.root / "d").mkdir()
    watcher = setup.start()
    lose_a_path(setup)
    before = inotify_descriptors()
    watcher.stop()
    assert inotify_descriptors() == before - 1


def test_events_that_stop_silently_are_noticed_by_the_heartbeat(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every thread lives, and yet nothing arrives: polled meanwhile, watched again when a heartbeat is heard."""
    deaf = threading.Event()
    dispatch = inotify._Handler.dispatch

    def may_dispatch(handler: inotify._Handler, event: FileSystemEvent) -> None:
        if not deaf.is_set():
            dispatch(handler, event)

    monkeypatch.setattr(inotify._Handler, "dispatch", may_dispatch)
    watcher = setup.start(intervals=Intervals(poll=0.1, retry=9.0, heartbeat=0.05, deadline=0.3))
    deaf.set()
    setup.heard.wait(lambda: watcher.rebuilds >= 1 and setup.heard.rescans)
    setup.heard.wait(lambda: setup.state() is RootState.POLLING)
    assert any("do not arrive" in line for line in watcher.problems())
    deaf.clear()
    setup.heard.wait(lambda: setup.state() is RootState.WATCHING)
    (setup.root / "x.jpg").touch()
    setup.heard.wait_touch(setup.root / "x.jpg", True)


def test_the_heartbeat_is_heard_and_touches_nothing(setup: Setup) -> None:
    watcher = setup.start(intervals=Intervals(heartbeat=0.05, deadline=0.5))
    heartbeat = setup.data / "heartbeat"
    setup.heard.wait(heartbeat.exists)
    written = heartbeat.stat().st_mtime_ns
    end = time.monotonic() + 1.5
    with pytest.raises(AssertionError):
        setup.heard.wait(lambda: watcher.rebuilds or setup.heard.touches or setup.heard.rescans, end - time.monotonic())
    assert heartbeat.stat().st_mtime_ns == written
    assert heartbeat.stat().st_size == 0


def test_an_overflow_of_the_queue_rescans_everything(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    """A slow callback does not hold up the reader, so watchdog's own lock does, while more is made than fits."""
    watcher = setup.start(setup.root, setup.elsewhere, intervals=Intervals())
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text(encoding="ascii"))
    with held_reader(watcher):
        for number in range(limit // 2):  # three events each: created, closed, deleted
            path = setup.root / f"{number}.jpg"
            path.touch()
            path.unlink()
    setup.heard.wait(lambda: watcher.overflows, 60)
    setup.heard.wait(lambda: {os.fsencode(setup.root), os.fsencode(setup.elsewhere)} <= set(setup.heard.rescans))
    warnings = [record.name for record in caplog.records if "queue of file system events" in record.getMessage()]
    assert warnings == ["facewatchd.watch.watcher"]
    stream = watcher._source.stream
    assert stream is not None
    setup.heard.wait(stream._observer.event_queue.empty, 60)
    setup.heard.forget()
    (setup.root / "after.jpg").touch()
    setup.heard.wait_touch(setup.root / "after.jpg", True)
    assert watcher.alive()


def test_a_directory_that_is_not_watched_has_its_root_polled_until_it_is(setup: Setup) -> None:
    watcher = setup.start(intervals=Intervals(poll=0.1, retry=3600.0))
    root = os.fsencode(setup.root)
    inside = {setup.root.stat().st_ino}
    watcher.directories_seen(root, inside | {setup.elsewhere.stat().st_ino})
    setup.heard.wait(lambda: setup.state() is RootState.POLLING)
    assert "1 directory under" in watcher.problems()[0]
    setup.heard.wait(lambda: len(setup.heard.rescans) >= 2)
    watcher.directories_seen(root, inside)
    setup.heard.wait(lambda: setup.state() is RootState.WATCHING)
    assert watcher.problems() == []


def test_a_directory_that_watchdog_missed_is_watched_once_a_walk_has_listed_it(setup: Setup) -> None:
    """Of a name that was moved out, made and renamed at once: watchdog takes the old watch for the new directory's."""
    (setup.root / "d").mkdir()
    watcher = setup.start()
    (setup.root / "d").rename(setup.elsewhere / "d")
    setup.heard.wait_touch(setup.root / "d", False)
    with held_reader(watcher):
        (setup.root / "d").mkdir()
        (setup.root / "d").rename(setup.root / "f")
    setup.heard.wait_touch(setup.root / "f", False)
    inode = (setup.root / "f").stat().st_ino
    assert inode not in watcher._roots[os.fsencode(setup.root)].watched()
    watcher.directories_seen(os.fsencode(setup.root), {inode}, whole=False)
    setup.heard.wait(lambda: setup.heard.rescans)
    (setup.root / "f" / "x.jpg").touch()
    setup.heard.wait_touch(setup.root / "f" / "x.jpg", True)
    assert setup.state() is RootState.WATCHING


def test_directories_that_watchdog_takes_for_one_another_are_watched_anew_once_walked(setup: Setup) -> None:
    """Of two that were exchanged at once (``renameat2``), each one's events come under the other's name.

    It is so again and again: only where setting the watches anew did not help is there a long pause before it is tried
    once more.
    """
    one, other = setup.root / "one", setup.root / "other"
    exchanged = {os.fsencode(one), os.fsencode(other)}
    for directory in (one, other):
        directory.mkdir()
    watcher = setup.start(intervals=Intervals(poll=0.1, retry=3600.0))
    for number in range(3):
        setup.heard.forget()
        if ctypes.CDLL(None).renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2) != 0:
            pytest.skip("this file system cannot exchange two names")
        setup.heard.wait(lambda: sum(path in exchanged for path, _ in setup.heard.touches) == 4)
        (one / f"x{number}.jpg").touch()
        setup.heard.wait_touch(other / f"x{number}.jpg", True)
        until(lambda: told_rightly(watcher, setup.root, [one, other]))
        until(lambda: setup.state() is RootState.WATCHING)
        assert setup.heard.rescans
        (one / f"y{number}.jpg").touch()
        setup.heard.wait_touch(one / f"y{number}.jpg", True)


def told_rightly(watcher: Watcher, root: Path, directories: list[Path]) -> bool:
    """Have a walk list these directories, as one does while a root is polled; whether their events have their names."""
    seen = {path.stat().st_ino: os.fsencode(path) for path in (root, *directories)}
    watcher.directories_seen(os.fsencode(root), seen)
    return not not_watched(seen, watcher._roots[os.fsencode(root)].watched())


def test_a_directory_that_has_gone_since_the_walk_is_not_missed(setup: Setup) -> None:
    watcher = setup.start()
    root = os.fsencode(setup.root)
    gone = (setup.elsewhere.stat().st_ino, os.fsencode(setup.root / "gone"))
    watcher.directories_seen(root, dict([gone]), whole=False)
    setup.heard.wait(lambda: not watcher._roots[root].coverage.is_pending)
    assert setup.state() is RootState.WATCHING
    assert setup.heard.rescans == []


def test_a_walk_of_a_part_does_not_end_the_polling_of_the_whole(setup: Setup) -> None:
    watcher = setup.start(intervals=Intervals(retry=3600.0))
    root = os.fsencode(setup.root)
    inside = {setup.root.stat().st_ino}
    watcher.directories_seen(root, {setup.elsewhere.stat().st_ino}, whole=False)
    setup.heard.wait(lambda: setup.state() is RootState.POLLING)
    watcher.directories_seen(root, inside, whole=False)
    setup.heard.wait(lambda: not watcher._roots[root].coverage.is_pending)
    assert setup.state() is RootState.POLLING
    watcher.directories_seen(root, inside)
    setup.heard.wait(lambda: setup.state() is RootState.WATCHING)


def test_a_directory_newer_than_its_watch_is_no_reason_to_poll(setup: Setup) -> None:
    watcher = setup.start(intervals=Intervals())
    known = watcher._roots[os.fsencode(setup.root)]
    with held_reader(watcher):
        (setup.root / "d").mkdir()
        watcher.directories_seen(known.path, {path.stat().st_ino for path in (setup.root, setup.root / "d")})
        known.coverage.is_doubted = False
        setup.heard.wait(lambda: known.coverage.is_doubted)
        watcher._tick = 1.0  # for the reader to come first
    setup.heard.wait(lambda: not known.coverage.is_pending)
    assert setup.state() is RootState.WATCHING
    assert setup.heard.rescans == []


def test_a_watcher_that_was_never_started_stops(setup: Setup) -> None:
    watcher = setup.make(Path("/x"))
    assert not watcher.alive()
    watcher.stop()
    watcher.stop()


def test_idle_costs_less_than_one_wakeup_a_second(setup: Setup) -> None:
    setup.make(rescan_every=9999.0).start()

    def switches() -> int:
        total = 0
        for thread in threading.enumerate():
            if thread.name.startswith("watcher-"):
                status = Path(f"/proc/self/task/{thread.native_id}/status").read_text(encoding="ascii")
                total += int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
        return total

    before = switches()
    end = time.monotonic() + 5
    setup.heard.wait(lambda: time.monotonic() > end)
    assert before > 0
    assert switches() - before <= 5


# Limits and mounts, in a process with namespaces of its own

PRELUDE = """
import json, os, subprocess, sys, threading, time
from pathlib import Path
from facewatchd.system.mounts import Mounts
from facewatchd.watch.event_source import Intervals
from facewatchd.watch.watcher import Watcher
where = Path(sys.argv[1])
root = where / "root"
name = os.fsencode(root)
touches, rescans, pause = [], [], threading.Event()
def limit(which, value):
    Path("/proc/sys/user/max_inotify_" + which).write_text(str(value))
def wait(is_so, seconds=15):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, (watcher.states(), watcher.problems(), touches[-9:], rescans[-9:])
        pause.wait(0.02)
def state():
    return str(watcher.states()[name])
def walk(path):
    watcher.directories_seen(name, {os.stat(here).st_ino for here, _, _ in os.walk(root)})
    rescans.append(path)
mounts = Mounts()
watcher = Watcher([name], lambda *told: touches.append(told[:2]), walk, where / "data" / "heartbeat",
                  rescan_every=3600, mounts=mounts, tick=0.05, intervals=Intervals(poll=0.2, retry=0.5))
"""


def in_namespaces(setup: Setup, script: str, *flags: str) -> dict[str, object]:
    """Run a script that prints JSON as root of its own user namespace, where limits can be set and disks mounted."""
    probe = "true" if "-m" not in flags else "mount -t tmpfs none /mnt"
    command = ["unshare", "-U", "-r", *flags]
    try:
        allowed = subprocess.run([*command, "sh", "-c", probe], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare command")
    if allowed.returncode:
        pytest.skip(f"no user namespaces here: {allowed.stderr.decode().strip()}")
    source = PRELUDE + textwrap.dedent(script)
    process = subprocess.run(
        [*command, sys.executable, "-c", source, str(setup.root.parent)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=PROJECT,
    )
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    return dict(json.loads(process.stdout))


def test_the_watch_limit_is_noticed_polled_and_recovered_from(setup: Setup) -> None:
    for number in range(30):
        (setup.root / f"d{number}").mkdir()
    told = in_namespaces(
        setup,
        """
        limit("watches", 20)
        watcher.start()
        silent = state()
        walk(name)
        wait(lambda: "limit reached" in str(watcher.problems()))
        problem, before = watcher.problems()[0], state()
        count = len(rescans)
        wait(lambda: len(rescans) > count + 2)
        limit("watches", 1000)
        wait(lambda: state() == "watching")
        (root / "d29" / "x.jpg").touch()
        wait(lambda: any(path.endswith(b"d29/x.jpg") for path, _ in touches))
        watcher.stop()
        print(json.dumps({"silent": silent, "before": before, "problem": problem, "left": watcher.problems()}))
        """,
    )
    assert told["silent"] == "watching"  # watchdog says nothing: only the walk's directories tell
    assert told["before"] == "polling"
    assert "12 directories under" in str(told["problem"])
    assert "sysctl fs.inotify.max_user_watches=" in str(told["problem"])
    assert told["left"] == []


def test_a_root_above_the_watch_limit_is_polled(setup: Setup) -> None:
    told = in_namespaces(
        setup,
        """
        limit("watches", 1)
        watcher.start()
        before, problem = state(), watcher.problems()
        wait(lambda: len(rescans) >= 2)
        limit("watches", 100)
        wait(lambda: state() == "watching")
        watcher.stop()
        print(json.dumps({"before": before, "problem": problem}))
        """,
    )
    assert told["before"] == "polling"
    assert "inotify watch limit reached" in str(told["problem"])


def test_without_an_inotify_instance_everything_is_polled(setup: Setup) -> None:
    told = in_namespaces(
        setup,
        """
        limit("instances", 0)
        watcher.start()
        before, problems, alive = state(), watcher.problems(), watcher.alive()
        wait(lambda: len(rescans) >= 2)
        limit("instances", 10)
        wait(lambda: state() == "watching")
        (root / "x.jpg").touch()
        wait(lambda: touches)
        watcher.stop()
        print(json.dumps({"before": before, "problems": problems, "alive": alive, "left": watcher.problems()}))
        """,
    )
    assert (told["before"], told["alive"], told["left"]) == ("polling", True, [])
    assert "raise fs.inotify.max_user_instances" in str(told["problems"])


def test_a_disk_mounted_on_a_root_and_unmounted_and_mounted_again(setup: Setup) -> None:
    told = in_namespaces(
        setup,
        """
        def mount():
            subprocess.run(["mount", "-t", "tmpfs", "none", root], check=True)
        def seen(number):
            wait(lambda: rescans)
            wait(lambda: state() == "watching")
            (root / f"{number}.jpg").touch()
            wait(lambda: (os.fsencode(root / f"{number}.jpg"), True) in touches)
            rescans.clear()
        watcher.start()
        mount()
        seen(1)
        subprocess.run(["umount", root], check=True)
        seen(2)
        (root / "sub").mkdir()
        wait(lambda: (os.fsencode(root / "sub"), False) in touches)
        subprocess.run(["mount", "-t", "tmpfs", "none", root / "sub"], check=True)
        seen("sub/3")
        told = {"problems": watcher.problems(), "mounts": [mount.fstype for mount in mounts.now().around(name)][1:]}
        watcher.stop()
        print(json.dumps(told))
        """,
        "-m",
    )
    assert told == {"problems": [], "mounts": ["tmpfs"]}


def test_an_unreadable_root_is_told_and_recovered_from(setup: Setup) -> None:
    """As a user without root's rights over files."""
    if os.getuid() == 0:
        for directory in (setup.root, setup.data, setup.root.parent):
            os.chown(directory, 65534, 65534)
        for parent in setup.root.parents:
            if not parent.stat().st_mode & 0o1:
                parent.chmod(parent.stat().st_mode | 0o1)
    script = PRELUDE + textwrap.dedent(
        """
        if os.getuid() == 0:  # the standard library may be out of another user's reach, so only now
            os.setgroups([])
            os.setresgid(*[65534] * 3)
            os.setresuid(*[65534] * 3)
        watcher.start()
        root.chmod(0)
        wait(lambda: state() == "unreadable")
        problem = watcher.problems()[0]
        rescans.clear()
        root.chmod(0o700)
        wait(lambda: state() == "watching" and rescans)
        (root / "x.jpg").touch()
        wait(lambda: touches)
        watcher.stop()
        print(problem)
        """
    )
    process = subprocess.run(
        [sys.executable, "-c", script, str(setup.root.parent)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=PROJECT,
    )
    assert process.returncode == 0, process.stderr
    assert "cannot be read by this user" in process.stdout
