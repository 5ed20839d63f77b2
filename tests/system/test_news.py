"""What is new: subscriptions, ``--new`` and ``--follow``, with the daemon and its client as processes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facewatchd.errors import FacewatchError
from tests.support import tiny_pack
from tests.support.albums import shoot
from tests.support.processes import DEADLINE, Daemon, until
from tests.support.subscribers import Subscriber

PERSON, OTHER = 1, 2


class Library:
    """A daemon on one directory. Each test has photos of its own, all of one person; those before it are deleted."""

    def __init__(self, daemon: Daemon, root: Path, outside: Path) -> None:
        self.daemon = daemon
        self.root = root
        self.outside = outside
        self._seeds = iter(range(100, 10_000))
        self._tests = iter(range(1000))
        self.home = root / "none"
        """Where the photos of the test are."""
        self.photos: list[Path] = []
        self.asked = Path()

    def begin(self) -> None:
        """Have two photos of the person, and one to ask with."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.home = self.root / str(next(self._tests))
        self.photos = [self.add(f"{n}.jpg") for n in range(2)]
        self.asked = shoot(self.outside / "query.png", [PERSON], 99)
        self.daemon.settle()

    def add(self, name: str, *persons: int) -> Path:
        """Write a new photo, all at once; by default of the person."""
        seed = next(self._seeds)
        (self.home / name).parent.mkdir(parents=True, exist_ok=True)
        return shoot(self.outside / f"{seed}.jpg", persons or [PERSON], seed).rename(self.home / name)

    def subscribe(self, **params: Any) -> Subscriber:
        return Subscriber(self.daemon.socket, **{"photos": [{"path": str(self.asked)}], **params})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Iterator[Library]:
    directory = tmp_path_factory.mktemp("news")
    for name in ("photos", "outside"):
        (directory / name).mkdir()
    with Daemon(directory / "home", directory / "photos", model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        yield Library(daemon, directory / "photos", directory / "outside")


@pytest.fixture
def library(shared: Library) -> Library:
    shared.begin()
    return shared


# subscribe


def test_what_arrives_moves_and_goes_is_sent(library: Library) -> None:
    with library.subscribe() as subscriber:
        assert subscriber.resumed
        subscriber.level()
        assert subscriber.methods() == [], "what was there before is not sent"
        new = library.add("new.jpg", OTHER, PERSON)
        library.add("of nobody asked for.jpg", OTHER)
        subscriber.until(lambda: str(new) in subscriber.known)
        match = subscriber.sent[-1][1]["match"]
        assert match["similarity"] > 0.5
        assert match["box"][0] > 100, "the second face on it"
        shutil.copy(new, library.home / "copy.jpg")
        moved = new.rename(library.home / "moved.jpg")
        subscriber.until(lambda: subscriber.methods()[1:] == ["moved"])
        _, params = next(each for each in subscriber.sent if each[0] == "moved")
        assert params["from"] == str(new)
        assert params["to"] in (str(moved), str(library.home / "copy.jpg"))
        library.daemon.settle()
        (library.home / "copy.jpg").unlink()
        moved.unlink()
        library.photos[0].unlink()
        subscriber.until(lambda: {str(library.photos[0])} <= {each[1].get("path") for each in subscriber.sent})
        assert set(subscriber.methods()[2:]) <= {"moved", "gone"}
        subscriber.until(lambda: not subscriber.known)


def test_a_subscriber_that_comes_back_after_a_restart_misses_nothing(library: Library) -> None:
    with library.subscribe() as subscriber:
        subscriber.level()
    one = library.add("one.jpg")
    library.daemon.settle()
    library.daemon.kill()
    two = library.add("two.jpg")
    library.photos[0].rename(library.home / "renamed.jpg")
    library.daemon.start()
    with library.subscribe(since=subscriber.cursor) as again:
        assert again.resumed
        again.until(lambda: {str(one), str(two), str(library.home / "renamed.jpg")} <= again.known)
        assert sorted(again.methods()) == ["match", "match", "moved"]
        again.level()
    library.daemon.call("scan", paths=[str(library.root)], force=True)
    library.daemon.settle()
    three = library.add("three.jpg")
    with library.subscribe(since=again.cursor) as last:
        last.until(lambda: str(three) in last.known)
        assert last.methods() == ["match"], "what is embedded again is not new"


def test_an_unknown_cursor_brings_everything_again(library: Library) -> None:
    with library.subscribe() as subscriber:
        subscriber.level()
    uuid, _, rest = subscriber.cursor.partition(".")
    for since in (f"{uuid[::-1]}.{rest}", f"{uuid}.999999.1"):
        with library.subscribe(since=since) as again:
            assert not again.resumed
            again.level()
            assert again.known == {str(path) for path in library.photos}
            assert again.cursor == subscriber.cursor


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"since": "2019"}, "since must be a cursor; the date of a query is taken_since here"),
        ({"photos": [{"path": "/nowhere.jpg"}]}, "/nowhere.jpg"),
        ({"dirs": ["/nowhere"]}, "/nowhere is not watched"),
    ],
)
def test_what_cannot_be_followed_is_an_error_and_the_connection_goes_on(
    library: Library, params: dict[str, Any], words: str
) -> None:
    with pytest.raises(FacewatchError, match=words):
        library.daemon.call("subscribe", **{"photos": [{"path": str(library.asked)}], **params})


def test_places_are_bounded_and_given_back(library: Library) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(64):
            stack.enter_context(library.subscribe()).level()
        with pytest.raises(FacewatchError, match="all 64 subscriptions are in use"):
            library.daemon.call("subscribe", photos=[{"path": str(library.asked)}])
        for _ in range(70):  # more than there are places for short connections
            assert library.daemon.status()["state"]
    until(lambda: library.daemon.call("subscribe", photos=[{"path": str(library.asked)}]))


def test_only_what_lies_in_the_directories(library: Library) -> None:
    (library.home / "in").mkdir()
    library.daemon.settle()
    with library.subscribe(dirs=[str(library.home / "in")]) as subscriber:
        subscriber.level()
        library.add("out.jpg")
        inside = library.photos[0].rename(library.home / "in" / "0.jpg")
        subscriber.until(lambda: subscriber.known == {str(inside)})
        assert subscriber.methods() == ["match"], "it is new there"
        inside.rename(library.home / "0.jpg")
        subscriber.until(lambda: not subscriber.known)
        assert subscriber.methods() == ["match", "gone"]


def test_a_photo_that_was_sent_is_not_needed_again(library: Library) -> None:
    import base64

    data = base64.b64encode(library.asked.read_bytes()).decode()
    with library.subscribe(photos=[{"data": data}]) as subscriber:
        library.asked.unlink()
        new = library.add("new.jpg")
        subscriber.until(lambda: str(new) in subscriber.known)


def test_a_client_that_stands_still_holds_up_nobody(library: Library) -> None:
    with library.subscribe() as still, library.subscribe() as subscriber:
        new = library.add("new.jpg")
        subscriber.until(lambda: str(new) in subscriber.known)
        subscriber.level()
        assert library.daemon.stop() == 0
        assert subscriber.next() is None
        still.until(lambda: str(new) in still.known)
    library.daemon.start()


# --new


def lines(library: Library, *arguments: str | Path, status: int = 0) -> list[str]:
    result = library.daemon.query(library.asked, "-l", *arguments)
    assert result.returncode == status, result.stderr
    return sorted(result.stdout.splitlines())


def names(*paths: Path) -> list[str]:
    return sorted(map(str, paths))


def test_new_as_cron_runs_it(library: Library) -> None:
    def new(name: str = "mail", *arguments: str | Path, status: int = 0) -> list[str]:
        return lines(library, "--new", name, *arguments, status=status)

    assert new() == names(*library.photos)
    assert new(status=1) == []
    one = library.add("one.jpg")
    library.photos[0].rename(library.home / "renamed.jpg")
    shutil.copy(library.photos[1], library.home / "copy.jpg")
    library.daemon.settle()
    library.daemon.call("scan", paths=[str(library.root)], force=True)
    library.daemon.settle()
    assert library.daemon.stop() == 0
    library.daemon.start()
    library.daemon.settle()
    assert new() == names(one)
    assert new(status=1) == []
    assert new("phone") == names(one, library.home / "renamed.jpg", library.home / "1.jpg")


def test_what_a_cut_answer_left_out_is_still_new(library: Library) -> None:
    more = [library.add(f"more {number}.jpg") for number in range(3)]
    library.daemon.settle()
    printed: list[str] = []
    for count in (2, 2, 1):
        part = lines(library, "--new", "mail", "-n", "2")
        assert len(part) == count
        printed += part
    assert sorted(printed) == names(*library.photos, *more)
    assert lines(library, "--new", "mail", status=1) == []


def test_one_name_for_several_questions_loses_nothing(library: Library) -> None:
    assert lines(library, "--new", "mail") == names(*library.photos)
    other = library.add("other.jpg", OTHER)
    library.daemon.settle()
    result = library.daemon.query(other, "-l", "--new", "mail")
    assert str(other) in result.stdout.splitlines()


def test_what_nobody_read_is_printed_again(library: Library) -> None:
    """The client is killed before it has written, or its reader is gone."""
    read, write = os.pipe()
    os.close(read)
    code = "import sys; from facewatchd.client.app import main; sys.exit(main())"
    command = [sys.executable, "-c", code, str(library.asked), "-l", "--new", "mail"]
    subprocess.run([*command, "--socket", str(library.daemon.socket)], stdout=write, check=False, timeout=DEADLINE)
    os.close(write)
    assert lines(library, "--new", "mail") == names(*library.photos)


def test_what_was_printed_is_not_new_to_another_model(tmp_path: Path, tiny_root: Path) -> None:
    another_root = tmp_path / "another model"
    tiny_pack.build(another_root, seed=1)
    home, root, outside = (tmp_path / name for name in ("home", "photos", "outside"))
    root.mkdir()
    outside.mkdir()
    with Daemon(home, root, model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        library = Library(daemon, root, outside)
        library.begin()
        with library.subscribe() as subscriber:
            subscriber.level()
        assert lines(library, "--new", "mail") == names(*library.photos)
        assert daemon.stop() == 0
    with Daemon(home, root, model="tiny", model_root=another_root) as daemon:
        daemon.start()
        daemon.settle()
        library.daemon = daemon
        assert lines(library) == names(*library.photos)
        assert lines(library, "--new", "mail", status=1) == []
        with library.subscribe(since=subscriber.cursor) as again:
            assert not again.resumed, "another model has another catalog"
            again.until(lambda: again.known == set(map(str, library.photos)))


# --follow


class Following:
    """A facewatch-query --follow whose lines are read as they come."""

    def __init__(self, library: Library, *arguments: str) -> None:
        code = "import sys; from facewatchd.client.app import main; sys.exit(main())"
        command = [sys.executable, "-c", code, str(library.asked), "--follow", *arguments]
        self.process = subprocess.Popen(
            [*command, "--socket", str(library.daemon.socket)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=library.daemon.environment,
        )
        self._read = b""

    def __enter__(self) -> Following:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def lines(self, count: int, end: bytes = b"\n") -> list[str]:
        """The next lines; fails where they do not come."""
        assert self.process.stdout is not None
        while self._read.count(end) < count:
            assert select.select([self.process.stdout], [], [], DEADLINE)[0], self._read
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            assert data, "it ended"
            self._read += data
        *found, self._read = self._read.split(end, count)
        return [line.decode() for line in found]


def test_follow_prints_the_answer_and_what_arrives_over_a_restart(library: Library) -> None:
    with Following(library, "-l") as following:
        assert sorted(following.lines(2)) == names(*library.photos)
        one = library.add("one.jpg")
        assert following.lines(1) == names(one)
        library.daemon.kill()
        two = library.add("two.jpg")
        library.daemon.start()
        assert following.lines(1) == names(two)
        three = library.add("three.jpg")
        assert following.lines(1) == names(three)


def test_follow_prints_json_lines_with_moves(library: Library) -> None:
    with Following(library, "--json") as following:
        (first,) = map(json.loads, following.lines(1))
        assert first["total"] == 2
        one = library.add("one.jpg")
        (match,) = map(json.loads, following.lines(1))
        assert match["match"]["path"] == str(one)
        moved = one.rename(library.home / "moved.jpg")
        (move,) = map(json.loads, following.lines(1))
        assert move["moved"] == {"from": str(one), "to": str(moved)}
        moved.unlink()
        (gone,) = map(json.loads, following.lines(1))
        assert gone["gone"] == {"path": str(moved)}
        assert gone["cursor"]


def test_a_follower_with_a_name_that_is_killed_misses_nothing(library: Library) -> None:
    with Following(library, "-0", "--new", "phone") as following:
        assert sorted(following.lines(2, b"\0")) == names(*library.photos)
        one = library.add("one.jpg")
        assert following.lines(1, b"\0") == names(one)
        until(lambda: not new(library, "phone", str(one)))
    two = library.add("two.jpg")
    library.daemon.settle()
    with Following(library, "-0", "--new", "phone") as following:
        assert following.lines(1, b"\0") == names(two)


def new(library: Library, name: str, path: str) -> bool:
    """Whether a photo was not acknowledged yet."""
    answer = library.daemon.call("query", photos=[{"path": str(library.asked)}], new=name)
    return path in {match["path"] for match in answer["matches"]}


def test_follow_ends_with_its_reader_and_with_ctrl_c(library: Library) -> None:
    with Following(library, "-l") as following:
        following.lines(2)
        assert following.process.stdout is not None
        following.process.stdout.close()
        assert following.process.wait(DEADLINE) == 0, "at once, without a match to write"
    with Following(library, "-l") as following:
        following.lines(2)
        following.process.send_signal(signal.SIGINT)
        assert following.process.wait(DEADLINE) == 130


def test_follow_goes_on_when_the_photo_it_asked_with_is_gone_or_another_one(library: Library) -> None:
    excluded = shoot(library.outside / "excluded.png", [OTHER], 98)
    with Following(library, "-l", "--without", str(excluded)) as following:
        assert sorted(following.lines(2)) == names(*library.photos)
        library.daemon.kill()
        shoot(library.asked, [OTHER], 97)
        excluded.unlink()
        library.add("other.jpg", OTHER)
        library.add("both.jpg", PERSON, OTHER)
        library.daemon.start()
        one = library.add("one.jpg")
        assert following.lines(1) == names(one)


def test_follow_says_what_no_later_try_would_change(library: Library) -> None:
    library.daemon.call("assign", name="Visitor", who=[{"path": str(shoot(library.outside / "v.png", [3], 96))}])
    with Following(library, "-l", "--without", "@visitor") as following:
        following.lines(2)
        library.daemon.call("forget_person", name="Visitor")
        library.daemon.kill()
        library.daemon.start()
        assert following.process.wait(DEADLINE) == 2
        assert following.process.stderr is not None
        assert b"there is no person 'visitor'" in following.process.stderr.read()


def test_each_photo_of_a_person_runs_a_command_at_once(library: Library, tmp_path: Path) -> None:
    """As the README has it: with xargs, a name, and a person of whom more is said meanwhile."""
    daemon, told = library.daemon, tmp_path / "told"
    told.touch()
    daemon.call("assign", name="Anna", who=[{"path": str(photo)} for photo in library.photos])
    client = "import sys; from facewatchd.client.app import main; sys.exit(main())"
    script = '"$@" | xargs -0 -n1 sh -c \'echo "$1" >> "$0"\' ' + str(told)
    command = ["sh", "-c", script, "sh", sys.executable, "-c", client, "--follow", "-l0", "@anna"]
    pipe = subprocess.Popen([*command, "--socket", str(daemon.socket)], env=daemon.environment, start_new_session=True)
    try:
        until(lambda: sorted(told.read_text().splitlines()) == names(*library.photos))
        one = library.add("one.jpg")
        until(lambda: told.read_text().splitlines()[2:] == names(one))
        other = library.add("other.jpg", OTHER)
        daemon.settle()
        daemon.call("assign", name="Anna", who=[{"path": str(other)}], anyway=True)
        two = library.add("two.jpg", OTHER)
        until(lambda: told.read_text().splitlines()[3:] == names(two))
    finally:
        os.killpg(pipe.pid, signal.SIGTERM)
        pipe.wait(DEADLINE)
        daemon.call("forget_person", name="Anna")
