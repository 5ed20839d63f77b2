"""`wait` is a barrier: what was written before the call is in the answer, and nothing that was gone by then.

What is promised, precisely: a file that lies under its name when the call is made, and is left alone until the answer,
is found under that name and as it is; what was deleted, replaced or renamed before the call is not found as it was.
What others write, move and delete meanwhile may be in the answer or not. Where that cannot be promised, ``complete``
is false. Nothing is ever written where the photos are.

Several tests run the daemon *blind*: in a user namespace that allows no inotify instance, so that no event helps it.
"""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from facewatchd.errors import FacewatchError
from tests.support import drawn_faces, invariant
from tests.support.albums import album, shoot
from tests.support.churn import ALIKE, Churner, tree
from tests.support.mounting import obedient
from tests.support.processes import Daemon, fill, small_disk, until

LONG = 60.0
"""Seconds of a wait that is expected to end by itself."""

NO_EVENTS = "echo 0 > /proc/sys/user/max_inotify_instances || exit 1"
READ_ONLY = 'while [ "$1" != -- ]; do mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 1; shift; done'


def blind(*read_only: Path) -> list[str]:
    """Run by this, the daemon hears of nothing, and cannot write in these directories."""
    script = f'{NO_EVENTS}; {READ_ONLY}; shift; exec "$@"'
    prefix = ["unshare", "-Urm", "sh", "-c", script, "sh", *map(str, read_only), "--"]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("user and mount namespaces, which this needs, are not allowed here")
    return prefix


def ask(daemon: Daemon, person: int, **params: Any) -> Any:
    """Query for every photo of a person."""
    embedding = drawn_faces.embedding(person).tolist()
    return daemon.call("query", 2 * LONG, embedding=embedding, top=0, threshold=ALIKE, collapse=False, **params)


def shown(answer: Any) -> set[Path]:
    return {Path(match["path"]) for match in answer["matches"]}


@pytest.fixture
def two_roots(tmp_path: Path) -> list[Path]:
    """Two roots that are never empty: an empty one counts as offline."""
    roots = [tmp_path / "one", tmp_path / "two"]
    for number, root in enumerate(roots):
        shoot(root / "anchor.jpg", [15], number)
    return roots


# Four writers


class Writer(threading.Thread):
    """Changes something and asks at once, so many times."""

    def __init__(self, daemon: Daemon, churner: Churner, photos: dict[int, Path], rounds: int) -> None:
        """``photos``: one of each person, to ask with."""
        super().__init__(name=f"writer for {churner.persons}")
        self.misses: list[str] = []
        self.overlooked = 0
        """Answers that lacked what only the index overlooked: that is its recall, and not how fresh it is."""
        self.rounds = 0
        self._daemon = daemon
        self._churner = churner
        self._photos = photos
        self._wanted = rounds

    def run(self) -> None:
        try:
            while self.rounds < self._wanted and not self.misses:
                self._hold(self._churner.step())
                self.rounds += 1
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is no answer
            self.misses.append(f"round {self.rounds}: {exc!r}")

    def _hold(self, done: str) -> None:
        """Hold what is found against what there is."""
        first, *others = self._churner.persons
        found = {first: self._ask_first(first)} | {person: shown(ask(self._daemon, person)) for person in others}
        for person, paths in found.items():
            there = self._churner.photos_of(person)
            if paths < there:
                paths = shown(ask(self._daemon, person, exact=True))
                self.overlooked += paths == there
            if paths != there:
                lost, invented = sorted(there - paths), sorted(paths - there)
                self.misses.append(f"round {self.rounds}, {done}: not found {lost}, found though not there {invented}")

    def _ask_first(self, person: int) -> set[Path]:
        """Ask with a wait, which is a barrier for the questions after it too: each time in another way."""
        if self.rounds % 8 == 4:
            options = ["--wait", "-q", "-l", "-n", "0", "--no-collapse", "--threshold", str(ALIKE)]
            result = self._daemon.query(*options, self._photos[person])
            assert result.returncode == (0 if result.stdout else 1), result
            assert not result.stderr
            return set(map(Path, result.stdout.splitlines()))
        if self.rounds % 3 == 2:
            assert self._daemon.call("wait", 2 * LONG, timeout=LONG)["complete"] is True
            return shown(ask(self._daemon, person))
        answer = ask(self._daemon, person, wait=LONG)
        assert answer["complete"] is True
        return shown(answer)


@pytest.mark.parametrize("sighted", [True, False], ids=["events", "blind on a read-only mount"])
def test_four_writers_are_never_missed_and_nothing_is_written_where_the_photos_are(
    tmp_path: Path, tiny_root: Path, two_roots: list[Path], amount: Callable[[int, int], int], sighted: bool
) -> None:
    photos = {person: shoot(tmp_path / f"person {person}.jpg", [person], 500 + person) for person in range(1, 13)}
    with Daemon(tmp_path / "home", *two_roots, model="tiny", model_root=tiny_root) as daemon:
        daemon.prefix = obedient() if sighted else blind(*two_roots)
        daemon.start()
        churners = [
            Churner(number, two_roots, tmp_path / f"outside {number}", range(3 * number + 1, 3 * number + 4), seed=1)
            for number in range(4)
        ]
        writers = [Writer(daemon, churner, photos, amount(5, 125)) for churner in churners]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert [miss for writer in writers for miss in writer.misses] == []
        assert sum(writer.overlooked for writer in writers) <= sum(writer.rounds for writer in writers) / 100
        failed = [path for churner in churners for path in churner.failed()]
        invariant.check_catalog(daemon, failed=failed)
        with write_protected(*two_roots) as before:
            daemon.control("scan", "--force", *two_roots)
            invariant.check_catalog(daemon, failed=failed)
            assert daemon.control("verify", "--repair").returncode == 0
            assert daemon.stop() == 0
            daemon.start()
            invariant.check(daemon, failed=failed)
            assert tree(*two_roots) == before


@contextmanager
def write_protected(*roots: Path) -> Iterator[dict[Path, tuple[object, ...]]]:
    """Take the right to write from every directory and file, and say what is there then."""
    before = {path: path.stat().st_mode for path in tree(*roots) if not path.is_symlink()}
    for path, mode in before.items():
        path.chmod(mode & ~0o222)
    try:
        yield tree(*roots)
    finally:
        for path, mode in before.items():
            path.chmod(mode)


# Movers: what a walk can miss


class Mover(threading.Thread):
    """Moves photos and directories between the directory that a walk sees first and the one that it sees last."""

    def __init__(self, first: Path, last: Path, photos: list[Path]) -> None:
        super().__init__(name="mover")
        self.moves = 0
        self._places = (first, last)
        self._directories = [first / "moved", last / "moved too"]
        for directory in self._directories:
            directory.mkdir()
        self._photos = photos
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(0.004):
            photos = self._photos if self.moves % 10 else self._directories
            photo = photos.pop(0)
            photos.append(photo.rename(self._other(photo) / photo.name))
            self.moves += 1

    def _other(self, photo: Path) -> Path:
        first, last = self._places
        return last if photo.parent == first else first

    def __enter__(self) -> Mover:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join()


def test_what_was_moved_before_the_call_is_found_though_more_is_moved_past_the_walk(
    tmp_path: Path, tiny_root: Path, two_roots: list[Path], amount: Callable[[int, int], int]
) -> None:
    first, last = two_roots[0] / "a", two_roots[0] / "z"
    photo = shoot(tmp_path / "photo.jpg", [2], 1)
    copies = [copy for place in (first, last) for copy in copies_of(photo, place, amount(100, 1000))]
    resting, moving = copies[::2], copies[1::2]
    lone = shoot(first / "lone.jpg", [1], 2)
    with Daemon(tmp_path / "home", *two_roots, model="tiny", model_root=tiny_root) as daemon:
        daemon.prefix = blind()
        daemon.start()
        daemon.settle()
        with Mover(first, last, moving) as mover:
            for number in range(amount(4, 60)):
                lone = lone.rename((first, last)[number % 2] / f"lone {number}.jpg")
                assert shown(ask(daemon, 1, wait=LONG)) == {lone}
                assert shown(ask(daemon, 2)) >= set(resting)
        assert mover.moves >= 10
        invariant.check(daemon)


def copies_of(photo: Path, directory: Path, count: int) -> list[Path]:
    directory.mkdir()
    return [Path(shutil.copy(photo, directory / f"{directory.name} {n:04d}.jpg")) for n in range(count)]


# Looks that began before the call, and end after the walk


@pytest.fixture
def slow_catalog(tmp_path: Path, tiny_root: Path, two_roots: list[Path]) -> Iterator[SlowCatalog]:
    daemon = Daemon(tmp_path / "home", *two_roots, model="tiny", model_root=tiny_root)
    daemon.prefix = blind()
    daemon.hook(WALKS_SHOWN)
    with daemon:
        daemon.start()
        daemon.settle()
        yield SlowCatalog(daemon, two_roots[0])


WALKS_SHOWN = """
import sys
if "run" in sys.argv:
    from facewatchd.scan import scanner
    def shown(self, root, request, scan=scanner.Scanner._scan_root):
        print("walk begins", file=sys.stderr, flush=True)
        scan(self, root, request)
        print("walk ends", file=sys.stderr, flush=True)
    scanner.Scanner._scan_root = shown
"""


class SlowCatalog:
    """A blind daemon, and another program that may hold the catalog's lock."""

    def __init__(self, daemon: Daemon, root: Path) -> None:
        self.daemon = daemon
        self.root = root

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing can be written to the catalog meanwhile."""
        with closing(sqlite3.connect(invariant.catalog_of(self.daemon), isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            yield
            db.execute("ROLLBACK")

    def look_at(self, path: Path, looks: int) -> None:
        """Have the daemon look, and wait until it has."""
        before = self._examined()
        self.daemon.call("scan", paths=[str(path)])
        until(lambda: self._examined() >= before + looks)

    def _examined(self) -> int:
        return int(self.daemon.status()["rates"]["examined"])

    def walks(self, word: str = "ends") -> int:
        return self.daemon.log.read_text().count(f"walk {word}")


def test_a_photo_deleted_while_it_was_in_hand(slow_catalog: SlowCatalog) -> None:
    daemon, root = slow_catalog.daemon, slow_catalog.root
    copy = root / "copy.jpg"
    with ThreadPoolExecutor() as pool:
        with slow_catalog.held():
            shutil.copy(root / "anchor.jpg", copy)
            slow_catalog.look_at(copy, 1)
            copy.unlink()
            walks = slow_catalog.walks()
            answer = pool.submit(ask, daemon, 15, wait=LONG)
            until(lambda: slow_catalog.walks() >= walks + 2)
        assert copy not in shown(answer.result())
    invariant.check(daemon)


def test_a_directory_that_was_away_while_its_photos_were_in_hand(slow_catalog: SlowCatalog) -> None:
    daemon, root = slow_catalog.daemon, slow_catalog.root
    photo = shoot(root / "directory" / "photo.jpg", [1], 10)
    daemon.settle()
    with ThreadPoolExecutor() as pool:
        with slow_catalog.held():
            away = photo.parent.rename(root.parent / "away")
            slow_catalog.look_at(photo.parent, 2)
            away.rename(photo.parent)
            walks = slow_catalog.walks()
            answer = pool.submit(ask, daemon, 1, wait=LONG)
            until(lambda: slow_catalog.walks() >= walks + 2)
        assert shown(answer.result()) == {photo}
    invariant.check(daemon)


def test_a_daemon_that_ends_in_the_middle_of_a_walk_promises_nothing(slow_catalog: SlowCatalog) -> None:
    daemon = slow_catalog.daemon
    last = daemon.roots[-1]
    for number in range(3000):
        (last / f"{number:04d}").mkdir()
    photo = shoot(last / "2999" / "photo.jpg", [1], 10)
    with ThreadPoolExecutor() as pool:
        walks = slow_catalog.walks("begins")
        waiting = pool.submit(ask, daemon, 1, wait=LONG)
        until(lambda: slow_catalog.walks("begins") >= walks + len(daemon.roots), every=0.005)
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGTERM)
        try:
            answer = waiting.result()
        except FacewatchError:
            answer = {"complete": False, "matches": []}
    assert shown(answer) == {photo} or answer["complete"] is False
    assert daemon.process.wait(LONG) == 0
    daemon.start()
    assert shown(ask(daemon, 1, wait=LONG)) == {photo}
    invariant.check(daemon)


# What cannot be promised


@pytest.fixture
def humble(tmp_path: Path, tiny_root: Path, two_roots: list[Path]) -> Iterator[Daemon]:
    """A daemon for which permissions hold."""
    with Daemon(tmp_path / "home", *two_roots, model="tiny", model_root=tiny_root) as daemon:
        daemon.prefix = obedient()
        daemon.start()
        expect_complete(daemon)
        yield daemon


def expect_complete(daemon: Daemon) -> None:
    """In both words, at the latest when the watcher has looked again."""
    until(lambda: ask(daemon, 1, wait=LONG)["complete"])
    until(lambda: daemon.call("wait", 2 * LONG, timeout=LONG)["complete"])


def expect_incomplete(daemon: Daemon, wait: float = LONG) -> None:
    """In both words."""
    assert ask(daemon, 1, wait=wait)["complete"] is False
    assert daemon.call("wait", 2 * LONG, timeout=wait)["complete"] is False


def test_it_says_when_there_was_no_time_and_when_it_is_paused(humble: Daemon, two_roots: list[Path]) -> None:
    photos = {shoot(two_roots[0] / "photo.jpg", [1], 1)}
    expect_incomplete(humble, wait=0)
    assert shown(ask(humble, 1, wait=LONG)) == photos
    humble.call("pause")
    photos.add(shoot(two_roots[1] / "another.jpg", [1], 2))
    expect_incomplete(humble, wait=0.5)
    humble.call("resume")
    assert shown(ask(humble, 1, wait=LONG)) == photos
    expect_complete(humble)
    invariant.check(humble)


def test_it_says_when_a_root_or_a_directory_is_out_of_reach(humble: Daemon, two_roots: list[Path]) -> None:
    root, other = two_roots
    directory = root / "directory"
    shoot(directory / "inside.jpg", [2], 1)
    photos: set[Path] = set()
    for place, fault in ((root, "away"), (root, "empty"), (root, "unreadable"), (directory, "unreadable")):
        expect_complete(humble)
        with out_of_reach(place, fault):
            photos.add(shoot(other / f"{len(photos)}.jpg", [1], len(photos)))
            answer = ask(humble, 1, wait=LONG)
            assert shown(answer) == photos, f"{place.name} {fault}: what is within reach is as fresh as ever"
            assert answer["complete"] is False, (place, fault)
            expect_incomplete(humble)
    expect_complete(humble)
    invariant.check(humble)


@contextmanager
def out_of_reach(directory: Path, fault: str) -> Iterator[None]:
    away = directory.with_name("away")
    mode = directory.stat().st_mode
    if fault == "unreadable":
        directory.chmod(0)
    else:
        directory.rename(away)
    if fault == "empty":
        directory.mkdir()
    try:
        yield
    finally:
        if fault == "empty":
            directory.rmdir()
        if fault == "unreadable":
            directory.chmod(mode)
        else:
            away.rename(directory)


def test_it_says_when_nothing_can_be_written(tmp_path: Path, tiny_root: Path, two_roots: list[Path]) -> None:
    with small_disk(tmp_path / "disk") as disk:
        daemon = Daemon(tmp_path / "home", *two_roots, model="tiny", model_root=tiny_root)
        daemon.data = disk / "data"
        with daemon:
            daemon.start()
            expect_complete(daemon)
            fill(disk / "filler")
            who = album(two_roots[0] / "more", 60)
            until(lambda: daemon.status()["state"] == "degraded")
            expect_incomplete(daemon, wait=0.5)
            (disk / "filler").unlink()
            assert shown(ask(daemon, 1, wait=LONG)) == {path for path, person in who.items() if person == 1}
            expect_complete(daemon)
            invariant.check(daemon)


def test_the_exit_status_of_a_query_that_waits(humble: Daemon, tmp_path: Path, two_roots: list[Path]) -> None:
    query = shoot(tmp_path / "query.jpg", [1], 1)

    def ends_with(status: int, *options: str) -> str:
        result = humble.query("-l", *options, query)
        assert result.returncode == status, result
        return str(result.stdout + result.stderr)

    photo = shoot(two_roots[0] / "photo.jpg", [1], 2)
    assert ends_with(0, "--wait") == f"{photo}\n"
    moved = photo.rename(two_roots[1] / "moved.jpg")
    assert ends_with(0, "--wait", "30") == f"{moved}\n"
    humble.call("pause")
    shoot(two_roots[0] / "another.jpg", [1], 3)
    late = ends_with(5, "--wait", "0.7")
    assert late.startswith(f"{moved}\n"), "what there is so far"
    assert "not everything is searchable after 0.7 s" in late
    humble.call("resume")
    with out_of_reach(two_roots[0], "away"):
        assert "a directory is out of reach" in ends_with(0, "--wait")
        moved.unlink()
        (two_roots[0].with_name("away") / "another.jpg").unlink()
    expect_complete(humble)
    assert ends_with(1, "--wait") == ""
    invariant.check(humble)
