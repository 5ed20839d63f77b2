"""Photos that are bad for the process that looks at them: it dies, hangs, fills its memory, and the daemon goes on."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import invariant
from tests.support.albums import album, shoot
from tests.support.processes import Daemon, until

DIES = {
    "is killed": ("os.kill(os.getpid(), signal.SIGKILL)", "ended by SIGKILL, from outside"),
    "crashes": ("ctypes.string_at(0)", "ended by SIGSEGV, twice"),
    "aborts": ("os.abort()", "ended by SIGABRT, twice"),
    "exits": ("os._exit(0)", "ended with 0, twice"),
}
HANGS = {
    "spins": ("while True: pass", "hangs"),
    "spins and lets nobody else run": ("re.match('(a+)+$', 'a' * 40 + 'b')", "hangs"),
    "waits for ever": ("threading.Event().wait()", "its process hung, twice"),
    "waits for ever and lets nobody else run": ("ctypes.PyDLL(None).sleep(1 << 30)", "its process hung, twice"),
}
FAILS = {
    "takes all memory": ("bytearray(1 << 36)", "not enough memory"),
    "raises": ("raise RuntimeError('odd')", "internal error: odd"),
}
DOES = DIES | HANGS | FAILS
"""What a decoder does with the bad photo, and what is said of it then."""


class Library:
    """Good photos, a bad one of each kind outside, and a daemon whose decoders find them bad."""

    def __init__(self, directory: Path, tiny_root: Path) -> None:
        self.root = directory / "photos"
        self.who = album(self.root, 12)
        self.good = shoot(directory / "good.jpg", [1], 600)
        self.bad: dict[str, Path] = {}
        for number, what in enumerate(DOES):
            self.bad[what] = Path(shutil.copy(self.good, directory / f"{what}.jpg"))
            with self.bad[what].open("ab") as file:
                file.write(b"\0" * (1001 + number))
        self.daemon = Daemon(
            directory / "home", self.root, model="tiny", model_root=tiny_root, resources="threads = 3\nunload_after = 0"
        )
        self.daemon.hook(BAD)
        for what, path in self.bad.items():
            self.daemon.hook(CASE.format(size=path.stat().st_size, does=DOES[what][0]))

    def add_bad(self, what: str, name: str = "bad.jpg") -> Path:
        return Path(shutil.copy(self.bad[what], self.root / name))

    def expect_the_rest(self) -> None:
        photo, person = next(iter(self.who.items()))
        assert self.daemon.paths(photo) == {path for path, other in self.who.items() if other == person}


BAD = """
import ctypes, os, re, signal, sys, threading
if {"indexing", "queries"} & set(sys.argv):
    from facewatchd.photos import decode as photos
    cases = {}
    def bad(file, decode=photos.decode):
        if (size := file.seek(0, os.SEEK_END)) in cases:
            os.write(2, b"in hand\\n")
            exec(cases[size])
        return decode(file)
    photos.decode = bad
if "run" in sys.argv:
    from facewatchd.inference import deadlines
    deadlines.CPU_LIMIT, deadlines.REST_LIMIT, deadlines.LOOK_EVERY = 0.5, 1.0, 0.1
    from facewatchd.indexing import backoff
    backoff.DELAYS = (0.1, 0.2, 0.4)
"""
CASE = """
if {{"indexing", "queries"}} & set(sys.argv):
    cases[{size}] = {does!r}
"""
PATIENT = """
if "run" in sys.argv:
    deadlines.CPU_LIMIT = deadlines.REST_LIMIT = 1e9
"""


@pytest.fixture
def library(tmp_path: Path, tiny_root: Path) -> Iterator[Library]:
    made = Library(tmp_path, tiny_root)
    with made.daemon:
        yield made


def test_bad_photos_are_set_aside_and_the_rest_goes_on(library: Library) -> None:
    daemon = library.daemon
    daemon.start()
    daemon.settle()
    places = {what: library.add_bad(what, f"bad {number}.jpg") for number, what in enumerate(DOES)}
    library.who |= album(library.root / "more", 30, first_seed=100)
    status = daemon.settle(120)
    assert (status["photos"], status["failed"], status["pending"]) == (42 + len(DOES), len(DOES), 0)
    for what, place in places.items():
        assert DOES[what][1] in daemon.call("why", path=str(place))["reason"]
    library.expect_the_rest()
    shutil.copy(library.good, places["crashes"])
    until(lambda: daemon.call("why", path=str(places["crashes"]))["state"] == "indexed")
    del places["crashes"]
    invariant.check(daemon, failed=places.values())


@pytest.mark.parametrize("what", ["aborts", "spins and lets nobody else run"])
def test_as_a_query_it_is_an_error_and_others_are_answered(library: Library, what: str) -> None:
    library.daemon.start()
    library.daemon.settle()
    result = library.daemon.query(library.bad[what])
    assert result.returncode == 2
    assert DOES[what][1] in result.stderr
    assert result.stderr.count("\n") == 1
    library.expect_the_rest()
    assert library.daemon.query(library.good).returncode == 0


def test_innocent_photos_beside_it_are_not_blamed(library: Library) -> None:
    bad = [library.add_bad("is killed", f"bad {number}.jpg") for number in range(3)]
    for number, path in enumerate(bad):
        with path.open("ab") as file:
            file.write(b"\0" * (1000 + number))
        library.daemon.hook(CASE.format(size=path.stat().st_size, does=DOES["is killed"][0]))
        library.who |= album(library.root / f"more {number}", 20, first_seed=1000 * (number + 1))
    library.daemon.start()
    invariant.check(library.daemon, failed=bad)


def test_killed_from_outside_with_one_photo_in_hand_again_and_again(tmp_path: Path, tiny_root: Path) -> None:
    """By an administrator, or where memory runs out: the photo is tried again, and never blamed for it."""
    gate, root = tmp_path / "gate", tmp_path / "photos"
    gate.touch()
    photo = shoot(root / "new.jpg", [1], 600)
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    daemon.hook(SLOW.format(gate=gate))
    with daemon:
        daemon.start()
        for count in (1, 2, 3):
            until(lambda count=count: daemon.log.read_text().count("in hand") == count)
            for pid in daemon.children("indexing"):
                os.kill(pid, signal.SIGKILL)
        until(lambda: "SIGKILL" in daemon.call("why", path=str(photo))["reason"])
        why = daemon.call("why", path=str(photo))
        assert (why["state"], daemon.status()["failed"]) == ("pending", 0)
        gate.unlink()
        until(lambda: daemon.call("why", path=str(photo))["state"] == "indexed")
        invariant.check(daemon)


def test_killing_the_process_now_and_then_costs_nothing(library: Library) -> None:
    """As the kernel does where memory runs out."""
    library.who |= album(library.root / "more", 200, first_seed=1000)
    daemon = library.daemon
    daemon.start()
    for count in (20, 60, 100):
        until(lambda count=count: daemon.status()["photos"] >= count, every=0.01)
        for pid in daemon.children("indexing"):
            os.kill(pid, signal.SIGKILL)
    daemon.settle()
    library.expect_the_rest()
    invariant.check(daemon)


@pytest.mark.parametrize("what", ["spins", "waits for ever and lets nobody else run"])
def test_sigterm_with_a_photo_in_hand_that_hangs(library: Library, what: str) -> None:
    daemon = library.daemon
    daemon.hook(PATIENT)
    place = library.add_bad(what)
    daemon.start()
    until(lambda: "in hand" in daemon.log.read_text())
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(5) == 0
    place.unlink()
    daemon.start()
    invariant.check(daemon)


def test_sigterm_while_a_model_is_loaded_that_takes_for_ever(library: Library) -> None:
    daemon = library.daemon
    daemon.hook(LOADS_FOR_EVER)
    daemon.start()
    until(lambda: "loading" in daemon.log.read_text())
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(5) == 0
    daemon.unhook()
    daemon.start()
    invariant.check(daemon)


LOADS_FOR_EVER = """
if "indexing" in sys.argv:
    from facewatchd.models.registry import Pack
    def load(*_):
        os.write(2, b"loading\\n")
        threading.Event().wait()
    Pack.load = load
"""


@pytest.mark.parametrize("what", ["spins", "waits for ever and lets nobody else run"])
def test_a_process_that_hangs_does_not_outlive_the_daemon(library: Library, what: str) -> None:
    daemon = library.daemon
    daemon.hook(PATIENT)
    library.add_bad(what)
    daemon.start()
    until(lambda: "in hand" in daemon.log.read_text())
    pids = daemon.children()
    assert len(pids) == 2
    daemon.kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_a_bad_photo_stays_set_aside_over_a_restart(library: Library) -> None:
    place = library.add_bad("crashes")
    library.daemon.start()
    library.daemon.settle()
    assert library.daemon.stop() == 0
    library.daemon.start()
    library.daemon.settle()
    assert not library.daemon.children("indexing"), "nothing had to be looked at"
    invariant.check(library.daemon, failed=[place])


@pytest.mark.parametrize("what", ["touched", "renamed", "replaced", "deleted and restored"])
def test_what_happens_to_a_file_while_it_is_looked_at_costs_no_second_inference(
    tmp_path: Path, tiny_root: Path, what: str
) -> None:
    root, gate = tmp_path / "photos", tmp_path / "gate"
    album(root, 3)
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    daemon.hook(SLOW.format(gate=gate))
    daemon.count_embeddings()
    with daemon:
        daemon.start()
        daemon.settle()
        gate.touch()
        photo = shoot(root / "new.jpg", [1], 600)
        until(lambda: "in hand" in daemon.log.read_text())
        content = invariant.digest(photo)
        assert content is not None
        happens(what, photo)
        gate.unlink()
        daemon.settle()
        assert daemon.embeddings()[content.hex()] == 1
        invariant.check(daemon)
        invariant.check_embedded_once(daemon)


def happens(what: str, photo: Path) -> None:
    if what == "touched":
        os.utime(photo, (1, 1))
    elif what == "renamed":
        photo.rename(photo.with_name("renamed.jpg"))
    elif what == "replaced":
        shoot(photo.parents[1] / "other.jpg", [2], 700).rename(photo)
        shoot(photo.with_name("the first again.jpg"), [1], 600)
    else:
        data = photo.read_bytes()
        photo.unlink()
        photo.write_bytes(data)


SLOW = """
import os, sys, threading
if "indexing" in sys.argv:
    from facewatchd.photos import files as photos
    def slow(photo, opened=photos.opened):  # not when decoders are tried before the first photo
        if os.path.exists("{gate}"):
            os.write(2, b"in hand\\n")
            while os.path.exists("{gate}"):
                threading.Event().wait(0.01)
        return opened(photo)
    photos.opened = slow
"""
