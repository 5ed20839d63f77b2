"""The socket's place: refused at the start where others could put their socket there, and kept up while it runs.

What stands in the daemon's way is never deleted, and its log says what it is. Who is at the other end, both ends know
from the kernel: the daemon answers nobody else, and the client sends nothing to anybody else.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import invariant
from tests.support.albums import album, shoot
from tests.support.clients import Client
from tests.support.processes import Daemon, until

Start = Callable[..., Daemon]

IMPATIENT = """
import sys
if "run" in sys.argv:
    from facewatchd.server import listener as server
    server.LOOK = 0.3
"""
"""It is 5 seconds, and so it stays with --full."""
NOBODY = 65534


# At the start


def link_to_a_file(run: Path) -> None:
    run.mkdir(mode=0o700)
    (run / "precious").write_text("mine")
    (run / "socket").symlink_to("precious")


def link_to_nothing(run: Path) -> None:
    run.mkdir(mode=0o700)
    (run / "socket").symlink_to("nothing")


def plain_file(run: Path) -> None:
    run.mkdir(mode=0o700)
    (run / "socket").write_text("mine")


def directory(run: Path) -> None:
    run.mkdir(mode=0o700)
    (run / "socket").mkdir()


def linked_directory(run: Path) -> None:
    (run.parent / "elsewhere").mkdir(mode=0o700)
    run.symlink_to("elsewhere")


def link_to_no_directory(run: Path) -> None:
    run.symlink_to("nothing")


def group_may_write(run: Path) -> None:
    run.mkdir()
    run.chmod(0o770)


def all_may_write(run: Path) -> None:
    run.mkdir()
    run.chmod(0o707)


PLACES: dict[Callable[[Path], None], str] = {
    link_to_a_file: "is no socket",
    link_to_nothing: "is no socket",
    plain_file: "is no socket",
    directory: "is no socket",
    linked_directory: "is a symbolic link",
    link_to_no_directory: "cannot listen",
    group_may_write: "can be written to by others",
    all_may_write: "can be written to by others",
}


def test_a_place_that_is_not_safe_is_refused_at_the_start(tmp_path: Path, tiny_root: Path) -> None:
    album(tmp_path / "photos", 1)
    daemons = {}
    try:
        for prepare in PLACES:
            daemon = Daemon(tmp_path / prepare.__name__, tmp_path / "photos", model="tiny", model_root=tiny_root)
            prepare(daemon.socket.parent)
            daemons[prepare] = daemon, tree(daemon.socket.parent), daemon.launch()
        for prepare, (daemon, before, process) in daemons.items():
            assert process.wait(60) == 1, prepare.__name__
            last = daemon.log.read_text().splitlines()[-1]
            assert PLACES[prepare] in last
            assert "; " in last, "it says what to do"
            assert "Traceback" not in daemon.log.read_text()
            assert tree(daemon.socket.parent) == before
    finally:
        for daemon, _, _ in daemons.values():
            daemon.__exit__()


def tree(run: Path) -> dict[Path, tuple[int, int]]:
    """What lies there, and in what state."""
    return {path: (path.lstat().st_mode, path.lstat().st_ino) for path in (run, *run.glob("*"))}


# While it runs


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path, pytestconfig: pytest.Config) -> Iterator[Daemon]:
    place = tmp_path_factory.mktemp("sockets")
    album(place / "photos", 5)
    daemon = Daemon(place / "home", place / "photos", model="tiny", model_root=tiny_root)
    if not pytestconfig.getoption("--full"):
        daemon.hook(IMPATIENT)
    with daemon:
        daemon.start()
        daemon.settle()
        yield daemon
        invariant.check(daemon)
        assert not daemon.socket.exists()


@pytest.fixture
def daemon(serving: Daemon) -> Iterator[Daemon]:
    """The daemon. A client that was connected before is answered all the time, and at the end a new one."""
    with Client(serving.socket) as before:
        yield serving
        assert before.call("status")["photos"] == 5
    until(lambda: answers(serving))
    assert stat.S_IMODE(serving.socket.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(serving.socket.lstat().st_mode) == 0o600
    invariant.check_catalog(serving)


def answers(daemon: Daemon) -> bool:
    return bool(daemon.call("status", 10.0)["photos"] == 5)


def is_unreachable(daemon: Daemon) -> bool:
    result = daemon.control("status")
    return result.returncode == 4 and len(result.stderr.splitlines()) == 1


@contextlib.contextmanager
def asleep(daemon: Daemon) -> Iterator[None]:
    """What is done meanwhile, the daemon sees all at once."""
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.process.send_signal(signal.SIGCONT)


class Log:
    """What the daemon says from now on."""

    def __init__(self, daemon: Daemon) -> None:
        self._file = daemon.log
        self._begin = len(self._file.read_bytes())

    def count(self, words: str) -> int:
        return self._file.read_bytes()[self._begin :].decode().count(words)


def test_its_file_is_removed(daemon: Daemon) -> None:
    log = Log(daemon)
    for times in (1, 2):
        daemon.socket.unlink()
        until(lambda: answers(daemon))
        assert log.count(f"{daemon.socket} was taken away: listening there again") == times


def test_its_directory_is_removed(daemon: Daemon) -> None:
    with asleep(daemon):
        shutil.rmtree(daemon.socket.parent)
    until(lambda: answers(daemon))


def test_its_file_is_moved_away(daemon: Daemon) -> None:
    """It is left where it is now."""
    moved = daemon.socket.rename(daemon.socket.with_name("moved"))
    until(lambda: answers(daemon))
    assert moved.is_socket()
    moved.unlink()


def test_its_directory_is_moved_and_a_link_put_in_its_place(daemon: Daemon) -> None:
    run, log = daemon.socket.parent, Log(daemon)
    with asleep(daemon):
        away = run.rename(run.with_name("away"))
        run.symlink_to(away)
    until(lambda: log.count(f"{run} is a symbolic link; "))
    assert answers(daemon), "its own socket is still there"
    run.unlink()
    until(run.is_dir)
    assert (away / "socket").is_socket(), "left alone: who knows whose it is by now"
    shutil.rmtree(away)


@pytest.mark.parametrize("prepare", [link_to_a_file, link_to_nothing, plain_file, directory])
def test_something_else_is_put_in_its_place(daemon: Daemon, prepare: Callable[[Path], None]) -> None:
    run, log = daemon.socket.parent, Log(daemon)
    with asleep(daemon):
        shutil.rmtree(run)
        prepare(run)
    before = tree(run)
    until(lambda: log.count(f"{daemon.socket} is there and is no socket; "))
    assert is_unreachable(daemon)
    assert tree(run) == before
    daemon.socket.rename(run / "aside")
    until(lambda: answers(daemon))
    assert os.path.lexists(run / "aside")
    assert log.count("is there and is no socket") == 1, "it says so once"


def test_somebody_else_listens_in_its_place(daemon: Daemon) -> None:
    log = Log(daemon)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(daemon.home / "other"))
        other.listen()
        (daemon.home / "other").rename(daemon.socket)
        inode = daemon.socket.lstat().st_ino
        until(lambda: log.count(f"another daemon answers on {daemon.socket}; "))
        assert daemon.socket.lstat().st_ino == inode
    until(lambda: answers(daemon))  # the other one ended, and left its file


def test_its_directory_is_opened_to_others(daemon: Daemon) -> None:
    run, log = daemon.socket.parent, Log(daemon)
    run.chmod(0o770)
    until(lambda: log.count(f"{run} can be written to by others; "))
    assert answers(daemon), "its own socket is still there, and it looks who comes"
    assert any("can be written to by others" in problem for problem in daemon.status()["problems"])
    daemon.socket.unlink()
    assert is_unreachable(daemon)
    assert is_unreachable(daemon), "in such a place it would not have begun to listen, either"
    run.chmod(0o700)
    until(lambda: answers(daemon))
    assert log.count("can be written to by others") == 1, "it says so once"
    until(lambda: log.count("nothing is wrong with the socket"))
    assert daemon.status()["problems"] == []


def test_what_is_in_its_place_at_the_end_is_left_there(tmp_path: Path, start: Start, tiny_root: Path) -> None:
    album(tmp_path / "photos", 1)
    daemon = start(tmp_path / "photos", model="tiny", model_root=tiny_root)
    daemon.settle()
    daemon.socket.unlink()
    daemon.socket.write_text("mine")
    assert daemon.stop() == 0
    assert daemon.socket.read_text() == "mine"


# Who is at the other end

STRANGER = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX) as client:
    client.settimeout(60)
    client.connect(sys.argv[1])
    try:
        client.sendall(b'{"jsonrpc":"2.0","id":1,"method":"status"}\\n')
        print(client.recv(100))
    except (BrokenPipeError, ConnectionResetError):
        print(b"")
"""


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that other users may enter, but not write to."""
    try:
        subprocess.run(["true"], user=NOBODY, group=NOBODY, extra_groups=[], check=True)
    except OSError:
        pytest.skip("needs the right to become another user")
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        Path(place).chmod(0o755)
        yield Path(place)


def test_another_user_is_refused_even_where_the_modes_let_them_in(
    open_place: Path, tmp_path: Path, tiny_root: Path
) -> None:
    album(tmp_path / "photos", 2)
    daemon = Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root)
    daemon.socket = open_place / "socket"
    with daemon:
        daemon.start()
        daemon.socket.chmod(0o666)
        stranger = [sys.executable, "-S", "-c", STRANGER, daemon.socket]
        result = subprocess.run(stranger, capture_output=True, text=True, timeout=60, check=False)
        assert (result.stdout, result.stderr) == ("b''\n", "")
        assert f"a connection by user {NOBODY} was refused" in daemon.log.read_text()
        daemon.socket.chmod(0o600)
        result = subprocess.run(stranger, capture_output=True, text=True, timeout=60, check=False)
        assert "PermissionError" in result.stderr, "and so it is without these modes"
        invariant.check(daemon)


IMPOSTOR = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(sys.argv[1])
    listener.listen()
    print("listens", flush=True)
    listener.settimeout(60)
    while True:
        client, _ = listener.accept()
        print(client.recv(100), flush=True)
        client.close()
"""


def test_nothing_is_sent_to_another_users_process(open_place: Path, tmp_path: Path) -> None:
    open_place.chmod(0o1777)  # a directory like /tmp: the daemon is away, and somebody else takes its place
    path = open_place / "socket"
    photo = shoot(tmp_path / "photo.jpg", [1], 1)
    command = [sys.executable, "-S", "-c", IMPOSTOR, path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as impostor:
        try:
            assert impostor.stdout is not None
            assert impostor.stdout.readline() == b"listens\n"
            query = [sys.executable, "-c", "import sys; from facewatchd.client.app import main; sys.exit(main())"]
            for asked in (
                [*query, str(photo)],
                [*query, "-", "--wait"],
                [sys.executable, "-m", "facewatchd", "status"],
            ):
                with photo.open("rb") as file:
                    result = subprocess.run(
                        [*asked, "--socket", path], stdin=file, capture_output=True, text=True, timeout=60, check=False
                    )
                assert result.returncode == 4
                (line,) = result.stderr.splitlines()
                assert f"belongs to user {NOBODY}, so nothing was sent; " in line
                assert impostor.stdout.readline() == b"b''\n"
        finally:
            impostor.kill()
