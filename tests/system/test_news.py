"""What is new: subscriptions, ``--new`` and ``--follow``, with the daemon and its client as processes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
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
TOP = 3
"""Photos in an answer, where nothing else is said."""


class Library:
    """A daemon on one directory. Each test has photos of its own, all of one person; those before it are deleted."""

    def __init__(self, daemon: Daemon, root: Path, outside: Path, model_root: str) -> None:
        self.daemon = daemon
        self.model_root = model_root
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
    with Daemon(
        directory / "home", directory / "photos", model="tiny", model_root=tiny_root, query=f"top = {TOP}"
    ) as daemon:
        daemon.start()
        yield Library(daemon, directory / "photos", directory / "outside", str(tiny_root))


@pytest.fixture
def library(shared: Library) -> Library:
    shared.begin()
    return shared


# subscribe


def test_what_arrives_moves_and_goes_is_sent(library: Library) -> None:
    """To a subscriber, to one of a directory, and to ``--follow --json``."""
    (library.home / "in").mkdir()
    with (
        library.subscribe() as subscriber,
        library.subscribe(dirs=[str(library.home / "in")]) as below,
        Following(library, "--json") as following,
    ):
        for each in (subscriber, below):
            assert each.resumed
            each.level()
            assert each.methods() == [], "what was there before is not sent"
        (first,) = map(json.loads, following.lines(1))
        assert first["total"] == 2
        assert "digests" not in first
        new = library.add("new.jpg", OTHER, PERSON)
        library.add("of nobody asked for.jpg", OTHER)
        subscriber.until(lambda: str(new) in subscriber.known)
        match = subscriber.sent[-1][1]["match"]
        assert match["similarity"] > 0.5
        assert match["box"][0] > 100, "the second face on it"
        (line,) = map(json.loads, following.lines(1))
        assert line["match"]["path"] == str(new)
        library.daemon.settle()
        moved = new.rename(library.home / "in" / "moved.jpg")
        subscriber.until(lambda: subscriber.methods() == ["match", "moved"])
        below.until(lambda: below.known == {str(moved)})
        assert below.methods() == ["match"], "it is new there"
        (line,) = map(json.loads, following.lines(1))
        assert line["moved"] == {"from": str(new), "to": str(moved)}
        copy = Path(shutil.copy(moved, library.home / "copy.jpg"))
        library.daemon.settle()
        moved.unlink()
        subscriber.until(lambda: subscriber.methods() == ["match", "moved", "moved"])
        assert subscriber.known == {str(copy)}
        (line,) = map(json.loads, following.lines(1))
        assert line["moved"] == {"from": str(moved), "to": str(copy)}
        for photo in (copy, *library.photos):
            photo.unlink()
        subscriber.until(lambda: subscriber.methods()[3:] == ["gone"] * 3)
        assert not subscriber.known
        gone = list(map(json.loads, following.lines(3)))
        assert {line["gone"]["path"] for line in gone} == {str(copy), *map(str, library.photos)}
        assert all(line["cursor"] for line in gone)
        below.until(lambda: below.methods() == ["match", "gone"])


def test_nothing_is_missed_nor_sent_again_over_a_restart(library: Library) -> None:
    """By subscribers, ``--new``, and ``--follow``, whatever becomes of its process and its photo."""
    passing = shoot(library.outside / "passing.png", [PERSON], 98)
    excluded = shoot(library.outside / "excluded.png", [OTHER], 97)
    with library.subscribe() as subscriber:
        subscriber.level()
    assert lines(library, "--new", "over a restart") == names(*library.photos)
    with (
        library.subscribe() as still,
        Following(library, "-l") as following,
        Following(library, "-l", "--without", str(excluded), asked=str(passing)) as without_photo,
        Following(library, "-l") as stopped,
    ):
        for each in (following, without_photo, stopped):
            assert sorted(each.lines(2)) == names(*library.photos)
        stopped.process.send_signal(signal.SIGSTOP)
        one = library.add("one.jpg")
        assert following.lines(1) == without_photo.lines(1) == names(one)
        library.daemon.settle()
        library.daemon.kill()
        shoot(passing, [OTHER], 96)
        excluded.unlink()
        two = library.add("two.jpg")
        library.add("of nobody asked for.jpg", OTHER)
        renamed = library.photos[0].rename(library.home / "renamed.jpg")
        library.daemon.start()
        stopped.process.send_signal(signal.SIGCONT)
        assert following.lines(1) == without_photo.lines(1) == names(two)
        assert sorted(stopped.lines(2)) == names(one, two)
        still.until(lambda: str(one) in still.known)
        with library.subscribe(since=subscriber.cursor) as again:
            assert again.resumed
            again.until(lambda: {str(one), str(two), str(renamed)} <= again.known)
            assert sorted(again.methods()) == ["match", "match", "moved"]
            again.level()
        assert lines(library, "--new", "over a restart") == names(one, two)
        library.daemon.call("scan", paths=[str(library.root)], force=True)
        library.daemon.settle()
        three = library.add("three.jpg")
        with library.subscribe(since=again.cursor) as last:
            last.until(lambda: str(three) in last.known)
            assert last.methods() == ["match"], "what is embedded again is not new"
        for each in (following, without_photo, stopped):
            assert each.lines(1) == names(three)
        assert lines(library, "--new", "over a restart") == names(three)


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
        ({"taken_since": "2019-99"}, "^taken_since 2019-99 is no date"),
        ({"until": "2019-99"}, "^until 2019-99 is no date"),
        ({"taken_since": "2019", "until": "2018"}, "until 2018 is before taken_since 2019"),
    ],
)
def test_what_cannot_be_followed_is_an_error_and_the_connection_goes_on(
    library: Library, params: dict[str, Any], words: str
) -> None:
    with pytest.raises(FacewatchError, match=words):
        library.daemon.call("subscribe", **{"photos": [{"path": str(library.asked)}], **params})


def test_places_are_bounded_and_given_back(library: Library) -> None:
    asked = [{"path": str(library.asked)}]
    with contextlib.ExitStack() as stack:
        for _ in range(64):
            stack.enter_context(library.subscribe())
        with pytest.raises(FacewatchError, match="all 64 subscriptions are in use"):
            library.daemon.call("subscribe", photos=asked)
        for _ in range(70):  # more than there are places for short connections
            assert library.daemon.call("wait", timeout=0) is not None
    until(lambda: library.daemon.call("subscribe", photos=asked))


def test_a_photo_that_was_sent_is_not_needed_again(library: Library) -> None:
    import base64

    data = base64.b64encode(library.asked.read_bytes()).decode()
    with library.subscribe(photos=[{"data": data}]) as subscriber:
        library.asked.unlink()
        new = library.add("new.jpg")
        subscriber.until(lambda: str(new) in subscriber.known)


# --new


def lines(library: Library, *arguments: str | Path, status: int = 0) -> list[str]:
    result = library.daemon.query(library.asked, "-l", *arguments)
    assert result.returncode == status, result.stderr
    return sorted(result.stdout.splitlines())


def names(*paths: Path) -> list[str]:
    return sorted(map(str, paths))


def test_new_as_cron_runs_it(library: Library) -> None:
    def new(name: str = "mail", *, status: int = 0) -> list[str]:
        return lines(library, "--new", name, status=status)

    assert new() == names(*library.photos)
    assert new(status=1) == []
    one = library.add("one.jpg")
    library.photos[0].rename(library.home / "renamed.jpg")
    shutil.copy(library.photos[1], library.home / "copy.jpg")
    library.daemon.settle()
    library.photos[1].write_bytes(library.photos[1].read_bytes() + b"rating: 5")  # behind the picture
    library.daemon.settle()
    assert new() == names(one)
    there = [library.home / name for name in ("renamed.jpg", "1.jpg", "copy.jpg")]
    assert new("phone") == names(one, *there), "by now, the copy has other bytes"


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


class Proxy(threading.Thread):
    """Passes a client's first connections on to the daemon, and leaves the one after them without an answer."""

    def __init__(self, path: Path, daemon: Path, passed: int) -> None:
        super().__init__(daemon=True)
        self._daemon = daemon
        self._passed = passed
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self.asked = b""
        """What was asked on the last connection."""

    def run(self) -> None:
        with self._listener:
            for _ in range(self._passed):
                client, _ = self._listener.accept()
                with client, client.makefile("rb") as lines, socket.socket(socket.AF_UNIX) as daemon:
                    daemon.connect(str(self._daemon))
                    daemon.sendall(lines.readline())
                    with daemon.makefile("rb") as replies:
                        client.sendall(replies.readline())
            client, _ = self._listener.accept()
            with client, client.makefile("rb") as lines:
                self.asked = lines.readline()
                lines.readline()  # until the client is dead


def test_what_was_printed_by_a_client_that_dies_before_it_says_so_is_printed_again(
    library: Library, tmp_path: Path
) -> None:
    proxy = Proxy(tmp_path / "socket", library.daemon.socket, passed=1)
    proxy.start()
    with Following(library, "-l", "--new", "dies", socket_path=tmp_path / "socket") as client:
        assert sorted(client.lines(2)) == names(*library.photos)
        until(lambda: b'"seen"' in proxy.asked)
    proxy.join(DEADLINE)
    assert lines(library, "--new", "dies") == names(*library.photos)
    assert lines(library, "--new", "dies", status=1) == []


# --follow


class Following:
    """A facewatch-query --follow whose lines are read as they come."""

    def __init__(
        self, library: Library, *arguments: str, asked: str | None = None, socket_path: Path | None = None
    ) -> None:
        code = "import sys; from facewatchd.client.app import main; sys.exit(main())"
        command = [sys.executable, "-c", code, asked or str(library.asked), "--follow", *arguments]
        self.process = subprocess.Popen(
            [*command, "--socket", str(socket_path or library.daemon.socket)],
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

    def error(self) -> str:
        """Everything that it says on standard error until it ends."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()


def test_under_another_model_and_back_only_what_is_new_is_printed(library: Library, tmp_path: Path) -> None:
    """Though a subscriber that keeps an account is sent everything again."""
    daemon, another = library.daemon, tmp_path / "another model"
    tiny_pack.build(another, seed=1)
    config = daemon.config.read_text()
    library.photos += [library.add(f"more {number}.jpg") for number in range(TOP)]
    daemon.settle()
    with (
        library.subscribe() as subscriber,
        Following(library, "-l") as following,
        Following(library, "--json", "--no-collapse") as documents,
        Following(library, "-l", "--new", "models") as named,
    ):
        subscriber.level()
        assert set(following.lines(TOP)) < set(names(*library.photos)), "the others are none that arrived either"
        assert json.loads(documents.lines(1)[0])["total"] == len(library.photos)
        assert sorted(named.lines(len(library.photos))) == names(*library.photos)
        until(lambda: not new(library, "models", str(library.photos[0])))
        for number, root in enumerate((str(another), library.model_root)):
            assert daemon.stop() == 0
            assert number or subscriber.next() is None
            daemon.config.write_text(config.replace(library.model_root, root))
            daemon.start()
            one = library.add(f"new {number}.jpg")
            assert following.lines(1) == named.lines(1) == names(one)
            assert json.loads(documents.lines(1)[0])["match"]["path"] == str(one)
            expected = {str(one), *([] if number else map(str, library.photos))}
            with library.subscribe(since=subscriber.cursor) as again:
                assert again.resumed is bool(number), "another model has another catalog"
                while not expected <= again.known:
                    assert again.next()
        daemon.settle()
        assert lines(library, "--new", "models", status=1) == []


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


def test_a_wait_that_is_too_short_goes_on_with_what_arrives(library: Library) -> None:
    library.daemon.call("pause")
    one = library.add("one.jpg")
    with Following(library, "-l", "--wait", "0.1") as following:
        assert sorted(following.lines(2)) == names(*library.photos)
        library.daemon.call("resume")
        assert following.lines(1) == names(one)
        following.process.send_signal(signal.SIGINT)
        said = following.error()
    assert "not everything is searchable after 0.1 s" in said
    assert "is printed when it is found" in said


def test_a_person_is_followed_under_another_name_until_it_is_forgotten(library: Library) -> None:
    """And no name is ever in the daemon's log."""
    daemon = library.daemon
    other = library.add("other.jpg", OTHER)
    daemon.settle()
    daemon.call("assign", name="Anouk", who=[{"path": str(photo)} for photo in library.photos])
    daemon.call("assign", name="Beatrix", who=[{"path": str(other)}])
    with Following(library, "-l", asked="@anouk") as following, Following(library, "-l", asked="@Beatrix") as undone:
        assert sorted(following.lines(2)) == names(*library.photos)
        assert undone.lines(1) == names(other)
        first = library.add("first.jpg")
        assert following.lines(1) == names(first)
        daemon.call("rename_person", name="Anouk", new="Clothilde")
        one = library.add("one.jpg")
        assert following.lines(1) == names(one)
        daemon.call("merge_people", name="Clothilde", into="Beatrix")
        two = library.add("two.jpg")
        assert following.lines(1) == names(two)
        while undone.lines(1) != names(two):
            pass  # the one before is printed too where it was looked at after the merger
        with pytest.raises(FacewatchError, match="there is no person 'Anouk'"):
            daemon.call("query", who=[{"person": "Anouk"}])
        daemon.call("forget_person", name="Beatrix")
        for each in (following, undone):
            assert each.process.wait(DEADLINE) == 2, "at once, without a photo that arrives"
            assert "a person who is asked for is not known any more" in each.error()
    until(lambda: "the stream has ended (unknown-person)" in daemon.log.read_text())
    said = daemon.log.read_text().casefold()
    assert not [name for name in ("anouk", "beatrix", "clothilde") if name in said]


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
        until(lambda: str(two) in told.read_text())
        # The other one is told of where it was looked at after it had been named.
        assert [line for line in told.read_text().splitlines()[3:] if line != str(other)] == names(two)
    finally:
        os.killpg(pipe.pid, signal.SIGTERM)
        pipe.wait(DEADLINE)
        daemon.call("forget_person", name="Anna")
