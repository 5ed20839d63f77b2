"""The server over real sockets, with clients that behave and clients that do not."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from facewatchd.errors import FacewatchError, LockedError
from facewatchd.server import connection, socket_file
from facewatchd.server import listener as server_module
from facewatchd.server.jsonrpc import CODES, MAX_LINE, answer
from facewatchd.server.listener import Server
from facewatchd.system import peer_credentials

PATIENCE = 20.0
"""Seconds after which a test gives up on something that should happen at once."""

Start = Callable[..., Server]


class Service:
    """Echoes; `hold` waits until it is released, `big` replies with so many bytes."""

    def __init__(self) -> None:
        self.held = threading.Semaphore(0)
        self.release = threading.Event()

    def __call__(self, method: str, params: dict[str, object]) -> object:
        if method == "hold":
            self.held.release()
            assert self.release.wait(PATIENCE)
        if method == "big":
            return "x" * int(str(params["size"]))
        return params

    def answer(self, line: bytes) -> bytes | None:
        return answer(line, self)


class Client:
    """One connection."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        with socket_file.address(path) as place:
            self.socket.connect(place)
        self.replies = self.socket.makefile("rb")

    def send(self, method: str, id_: int = 1, **params: object) -> None:
        message = {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> Any:
        line = self.replies.readline()
        assert line.endswith(b"\n"), "closed without a reply"
        return json.loads(line)

    def ask(self, method: str = "echo", id_: int = 1, **params: object) -> Any:
        self.send(method, id_, **params)
        return self.receive()["result"]

    def kind(self) -> str:
        """Receive an error of ours and return its kind."""
        error = self.receive()["error"]
        assert error["code"] == CODES[error["data"]["kind"]]
        return str(error["data"]["kind"])

    def closed(self) -> bool:
        """Wait until the server closes, and say whether it did so without a word more."""
        try:
            return self.replies.read() == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.replies.close()
        self.socket.close()


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "socket"


@pytest.fixture
def start(path: Path, service: Service) -> Iterator[Start]:
    """Start servers on ``path``; all are stopped, and no thread or file descriptor may be left."""
    before = threads(), descriptors()
    servers: list[Server] = []

    def start(**options: Any) -> Server:
        servers.append(Server(path, service.answer, **options))
        servers[-1].start()
        return servers[-1]

    yield start
    service.release.set()
    for each in servers:
        each.stop()
    assert (threads(), descriptors()) == before


@pytest.fixture
def connect(path: Path, start: Start) -> Iterator[Callable[[], Client]]:
    """Make clients of ``path``."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(contextlib.closing(Client(path)))


def threads() -> set[str]:
    return {each.name for each in threading.enumerate()}


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        pause.wait(0.005)


def clients_served() -> int:
    return sum(name.startswith("client-") for name in threads())


# Conversation


def test_a_start_that_fails_leaves_nothing_behind(
    path: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    before = len(os.listdir("/proc/self/fd"))
    server = Server(path, service.answer)
    with monkeypatch.context() as patch:
        patch.setattr(os, "eventfd", none_left)
        with pytest.raises(OSError, match="Too many open files"):
            server.start()
    server.stop()
    assert not path.exists()
    assert len(os.listdir("/proc/self/fd")) == before


def test_requests_are_answered_in_order(start: Start, connect: Callable[[], Client]) -> None:
    start()
    client = connect()
    for number in range(3000):  # more than fits in the kernel's buffers both ways
        client.send("echo", number, number=number)
    for number in range(3000):
        assert client.receive() == {"jsonrpc": "2.0", "id": number, "result": {"number": number}}


def test_error_leaves_the_connection_open(start: Start, connect: Callable[[], Client]) -> None:
    start()
    client = connect()
    client.socket.sendall(b"nonsense\n")
    assert client.receive()["error"]["code"] == -32700
    assert client.ask(x=1) == {"x": 1}


def test_last_line_may_lack_its_newline(start: Start, connect: Callable[[], Client]) -> None:
    start()
    client = connect()
    client.send("echo", 1)
    client.socket.sendall(b'{"jsonrpc":"2.0","id":2,"method":"echo"}')
    client.socket.shutdown(socket.SHUT_WR)
    assert [client.receive()["id"], client.receive()["id"]] == [1, 2]
    assert client.closed()


def test_notification_gets_no_reply(start: Start, connect: Callable[[], Client]) -> None:
    start()
    client = connect()
    client.socket.sendall(b'{"jsonrpc":"2.0","method":"echo"}\n')
    assert client.ask(x=2) == {"x": 2}


def test_garbage_byte_by_byte_and_an_idle_client_do_not_disturb_a_third(
    start: Start, connect: Callable[[], Client]
) -> None:
    start()
    garbage, idle, third = connect(), connect(), connect()
    for byte in os.urandom(500).replace(b"\n", b"\r"):
        garbage.socket.sendall(bytes([byte]))
        assert third.ask(byte=byte) == {"byte": byte}
    garbage.socket.sendall(b"\n")
    assert garbage.receive()["error"]["code"] == -32700
    assert idle.ask() == {}


def test_client_that_waits_for_a_slow_answer_does_not_hold_up_others(
    start: Start, connect: Callable[[], Client], service: Service
) -> None:
    start()
    slow, other = connect(), connect()
    slow.send("hold")
    assert service.held.acquire(timeout=PATIENCE)
    assert other.ask(x=1) == {"x": 1}
    service.release.set()
    assert slow.receive()["result"] == {}


# Bounds


def test_line_of_64_mib_is_answered_and_one_byte_more_is_refused(start: Start, connect: Callable[[], Client]) -> None:
    start()
    head, tail = b'{"jsonrpc":"2.0","id":1,"method":"big","params":{"size":1,"x":"', b'"}}'
    filler = b"x" * (MAX_LINE - len(head) - len(tail))
    client = connect()
    client.socket.sendall(head + filler + tail + b"\n")
    assert client.receive()["result"] == "x"
    client.socket.sendall(head + filler + b"x" + tail + b"\n")
    assert client.kind() == "too-large"
    assert client.closed()
    assert connect().ask(x=1) == {"x": 1}


def test_memory_for_lines_is_shared(
    start: Start, connect: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MEMORY", 100_000)
    monkeypatch.setattr(connection, "FREE", 1000)
    server = start()
    first, second, third = connect(), connect(), connect()
    first.socket.sendall(b"x" * 91_000)
    until(lambda: server._budget.left == 10_000)
    second.socket.sendall(b"x" * 2_000_000)  # read on, so that this ends
    assert second.kind() == "not-ready"
    assert second.closed()
    second.close()
    fourth = connect()
    fourth.socket.sendall(b"x" * 10_900)
    until(lambda: server._budget.left == 100)
    assert third.ask(x="y" * 900) == {"x": "y" * 900}, "small requests always fit"
    first.socket.sendall(b"\n")
    assert first.receive()["error"]["code"] == -32700
    fourth.close()
    until(lambda: server._budget.left == 100_000)
    for _ in range(10):  # what was answered, and what was closed, is free again
        assert len(connect().ask(x="y" * 80_000)["x"]) == 80_000


def test_half_a_line_then_silence_is_closed(start: Start, connect: Callable[[], Client]) -> None:
    start(line_deadline=0.1)
    client = connect()
    client.socket.sendall(b'{"jsonrpc"')
    assert client.kind() == "timeout"
    assert client.closed()


def test_a_byte_now_and_then_does_not_extend_the_deadline(start: Start, connect: Callable[[], Client]) -> None:
    start(line_deadline=0.3)
    client = connect()
    begin = time.monotonic()
    client.socket.settimeout(0.02)
    heard = b""
    while not heard:
        assert time.monotonic() - begin < PATIENCE
        with contextlib.suppress(TimeoutError, BrokenPipeError):
            client.socket.send(b"x")
        with contextlib.suppress(TimeoutError):
            heard = client.socket.recv(1000)
    assert json.loads(heard)["error"]["data"]["kind"] == "timeout"


def test_line_deadline_begins_with_each_line(start: Start, connect: Callable[[], Client], service: Service) -> None:
    """The time that an answer takes is not counted against the line that has already begun."""
    server = start(line_deadline=0.2)
    client = connect()
    client.socket.sendall(b'{"jsonrpc":"2.0",')
    until(lambda: [each.idle_since for each in server._connections] == [None])
    client.socket.sendall(b'"id":1,"method":"hold"}\n{"jsonrpc":"2.0",')
    assert service.held.acquire(timeout=PATIENCE)
    assert not service.release.wait(0.3)
    service.release.set()
    assert client.receive()["id"] == 1
    client.socket.sendall(b'"id":2,"method":"echo"}\n')
    assert client.receive()["id"] == 2


def test_idle_connection_is_closed_without_a_word(start: Start, connect: Callable[[], Client]) -> None:
    start(idle_deadline=0.1)
    client = connect()
    assert client.closed()


def test_idle_deadline_begins_after_each_reply(start: Start, connect: Callable[[], Client], service: Service) -> None:
    start(idle_deadline=0.3)
    client = connect()
    client.send("hold")
    assert not service.release.wait(0.4)
    service.release.set()
    assert client.receive()["result"] == {}
    assert client.ask(x=1) == {"x": 1}
    assert client.closed()


def test_reply_that_is_not_read_ends_the_connection(start: Start, connect: Callable[[], Client]) -> None:
    start(send_deadline=0.1)
    client = connect()
    client.send("big", size=10_000_000)
    begin = client.socket.recv(10)
    until(lambda: clients_served() == 0)
    assert begin.startswith(b"{")
    assert not client.replies.read().endswith(b"\n")


def test_waiting_for_a_reader_costs_nothing(start: Start, connect: Callable[[], Client], service: Service) -> None:
    start()
    client = connect()
    client.send("big", size=10_000_000)
    client.socket.shutdown(socket.SHUT_WR)
    assert client.socket.recv(1)
    begin = time.process_time()
    assert not service.release.wait(0.3)
    assert time.process_time() - begin < 0.1
    assert len(client.replies.read()) > 10_000_000


def test_disconnect_in_mid_reply_is_quiet(
    start: Start, connect: Callable[[], Client], caplog: pytest.LogCaptureFixture
) -> None:
    start()
    client = connect()
    client.send("big", size=10_000_000)
    assert client.socket.recv(10)
    client.close()
    until(lambda: clients_served() == 0)
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert connect().ask(x=1) == {"x": 1}


def test_answer_that_raises_ends_its_connection_only(
    path: Path, start: Start, connect: Callable[[], Client], caplog: pytest.LogCaptureFixture
) -> None:
    def broken(line: bytes) -> bytes | None:
        if b"bad" in line:
            raise KeyError("bad")
        return b"fine\n"

    server = Server(path, broken)
    server.start()
    try:
        other, client = connect(), connect()
        client.socket.sendall(b"bad\n")
        assert client.closed()
        other.socket.sendall(b"good\n")
        assert other.replies.readline() == b"fine\n"
        assert server.alive()
        assert "KeyError" in caplog.text
    finally:
        server.stop()


# Many connections


def test_newcomer_takes_the_place_of_the_longest_idle(start: Start, connect: Callable[[], Client]) -> None:
    start(connections=3)
    clients = [connect() for _ in range(3)]
    for client in reversed(clients):
        assert client.ask(x=1) == {"x": 1}  # now the last one has waited longest
    newcomer = connect()
    assert newcomer.ask(x=2) == {"x": 2}
    assert clients[2].closed()
    assert clients[0].ask(x=3) == {"x": 3}
    assert clients[1].ask(x=4) == {"x": 4}


def test_connections_at_work_are_not_closed_for_a_newcomer(
    start: Start, connect: Callable[[], Client], service: Service
) -> None:
    server = start(connections=2)
    busy, half = connect(), connect()
    half.socket.sendall(b'{"jsonrpc":"2.0",')
    busy.send("hold")
    assert service.held.acquire(timeout=PATIENCE)
    until(lambda: [each.idle_since for each in server._connections] == [None, None])
    refused = connect()
    assert refused.kind() == "not-ready"
    assert refused.closed()
    service.release.set()
    assert busy.receive()["result"] == {}
    half.socket.sendall(b'"id":5,"method":"echo"}\n')
    assert half.receive()["id"] == 5
    assert connect().ask(x=1) == {"x": 1}


def test_newcomer_takes_the_place_of_a_line_that_does_not_end(
    start: Start, connect: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "UNFINISHED", 0.2)
    server = start(connections=2)
    halves = [connect() for _ in range(2)]
    for number, half in enumerate(halves, 1):  # one after the other: each has a thread that notes when its line began
        half.socket.sendall(b'{"jsonrpc":"2.0",')
        until(lambda number=number: sum(each.unfinished_since is not None for each in server._connections) == number)
    assert connect().kind() == "not-ready", "a line that has just begun keeps its place"
    until(lambda: server._connections[0].unfinished_since < time.monotonic() - 0.2)
    newcomer = connect()
    assert newcomer.ask(x=1) == {"x": 1}
    assert halves[0].kind() == "not-ready"
    assert halves[0].closed()
    halves[1].socket.sendall(b'"id":5,"method":"echo"}\n')
    assert halves[1].receive()["id"] == 5


def test_what_is_worked_on_for_nobody_holds_no_place(
    start: Start, connect: Callable[[], Client], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "ABANDONED", 4)
    start(connections=2)
    half_closed = connect()
    half_closed.send("hold")
    half_closed.socket.shutdown(socket.SHUT_WR)  # it still reads
    assert service.held.acquire(timeout=PATIENCE)
    for _ in range(4):
        client = connect()
        client.send("hold")
        assert service.held.acquire(timeout=PATIENCE), "there was no place"
        client.close()
    assert connect().kind() == "not-ready", "there is an end to it"
    service.release.set()
    assert half_closed.receive()["result"] == {}
    until(lambda: clients_served() == 0)
    assert connect().ask(x=1) == {"x": 1}


def test_those_who_leave_are_bounded_too(start: Start, connect: Callable[[], Client]) -> None:
    """A connection that must leave, and does not read its last reply, keeps its thread until the deadline."""
    server = start(connections=2)
    slow = [connect(), connect()]
    newer: list[Client] = []
    for client in slow:
        client.send("big", size=10_000_000)
        assert client.socket.recv(1)
    for _ in slow:
        newer.append(connect())
        assert newer[-1].ask(x=1) == {"x": 1}
    assert [each.leaving for each in server._connections] == [True, True, False, False]
    assert connect().kind() == "not-ready"
    assert newer[0].ask(x=2) == {"x": 2}
    assert len(slow[0].replies.read()) > 10_000_000  # leaving, not broken off
    until(lambda: clients_served() == 3)
    assert connect().ask(x=3) == {"x": 3}


def test_two_hundred_connections(start: Start, connect: Callable[[], Client]) -> None:
    start(connections=64)
    clients = [connect() for _ in range(200)]
    for client in reversed(clients[-30:]):
        assert client.ask(x=1) == {"x": 1}
    assert connect().ask(x=2) == {"x": 2}
    until(lambda: clients_served() <= 64)
    assert all(client.closed() for client in clients[:100])


def test_running_out_of_file_descriptors_passes(
    start: Start, connect: Callable[[], Client], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "PAUSE", 0.05)
    server = start()
    assert connect().ask(x=1) == {"x": 1}
    client = socket.socket(socket.AF_UNIX)
    fill: list[int] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 8, hard))
        with contextlib.suppress(OSError):
            while True:
                fill.append(os.dup(client.fileno()))
        client.connect(os.fspath(server._path))
        until(lambda: "cannot take a connection" in caplog.text)
        while fill:
            os.close(fill.pop())
        client.settimeout(PATIENCE)
        client.sendall(b'{"jsonrpc":"2.0","id":1,"method":"echo"}\n')
        assert client.recv(1000).endswith(b"\n")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in fill:
            os.close(each)
        client.close()


# The end


def test_stop_lets_a_reply_end_and_joins_everything(
    path: Path, start: Start, connect: Callable[[], Client], service: Service
) -> None:
    server = start()
    busy, idle, half = connect(), connect(), connect()
    half.socket.sendall(b'{"jsonrpc":"2.0","id":1,"method":"echo"}')
    busy.send("hold")
    busy.send("echo", 2)
    assert service.held.acquire(timeout=PATIENCE)
    assert idle.ask() == {}
    stopper = threading.Thread(target=server.stop, args=(PATIENCE,), name="stopper")
    stopper.start()
    assert idle.closed()
    assert half.closed()
    assert stopper.is_alive()
    service.release.set()
    assert busy.receive()["id"] == 1
    assert busy.closed()
    stopper.join(PATIENCE)
    assert not server.alive()
    assert not path.exists()
    assert "server" not in threads()
    assert clients_served() == 0


def test_stop_breaks_off_a_reply_that_is_not_read(start: Start, connect: Callable[[], Client]) -> None:
    server = start()
    client = connect()
    client.send("big", size=10_000_000)
    assert client.socket.recv(1)
    begin = time.monotonic()
    server.stop(grace=0.1)
    assert time.monotonic() - begin < 10
    assert clients_served() == 0


def test_stop_reports_an_answer_that_does_not_end(
    start: Start, connect: Callable[[], Client], service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    server = start()
    connect().send("hold")
    assert service.held.acquire(timeout=PATIENCE)
    server.stop(grace=0.05)
    assert "client-1 did not end in time" in caplog.text
    assert not server.alive()
    service.release.set()
    until(lambda: clients_served() == 0)


def test_stop_twice_and_stop_without_start(path: Path, start: Start, service: Service) -> None:
    server = start()
    assert server.alive()
    server.stop()
    server.stop()
    never = Server(path, service.answer)
    never.stop()
    assert not server.alive()
    assert not never.alive()


def test_stop_leaves_a_successors_socket_alone(path: Path, start: Start) -> None:
    server = start()
    path.unlink()
    path.write_text("somebody else's")
    server.stop()
    assert path.read_text() == "somebody else's"


# The socket file


def test_socket_and_directory_are_the_users_alone(path: Path, start: Start) -> None:
    before = os.umask(0)
    try:
        start()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_stale_socket_is_replaced(path: Path, start: Start, connect: Callable[[], Client]) -> None:
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(os.fspath(path))
    assert path.is_socket()
    start()
    assert connect().ask(x=1) == {"x": 1}


def test_live_socket_is_refused_and_not_disturbed(path: Path, start: Start, connect: Callable[[], Client]) -> None:
    start()
    client = connect()
    with pytest.raises(LockedError, match="another daemon answers"):
        start()
    assert client.ask(x=1) == {"x": 1}
    assert connect().ask(x=2) == {"x": 2}


def test_live_socket_with_a_full_backlog_is_refused(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(socket.socket(socket.AF_UNIX))
        deaf.bind(os.fspath(path))
        deaf.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(os.fspath(path))
        with pytest.raises(LockedError, match="another daemon answers"):
            socket_file.listen(path)
    assert path.is_socket()


def test_daemons_that_start_at_once_are_kept_apart(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    with socket_file._locked(path), pytest.raises(LockedError, match="is starting"):
        socket_file.listen(path)
    assert not path.exists()


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("/nowhere")])
def test_what_is_no_socket_is_never_deleted(path: Path, make: Callable[[Path], None]) -> None:
    path.parent.mkdir(mode=0o700)
    make(path)
    with pytest.raises(FacewatchError, match="is no socket") as caught:
        socket_file.listen(path)
    assert "--socket" in caught.value.hint
    assert os.path.lexists(path)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_directory_that_others_may_write_to_is_refused(path: Path, mode: int) -> None:
    path.parent.mkdir()
    path.parent.chmod(mode)
    with pytest.raises(FacewatchError, match="can be written to by others") as caught:
        socket_file.listen(path)
    assert "0700" in caught.value.hint
    assert not path.exists()


def test_sticky_directory_is_accepted(path: Path, start: Start, connect: Callable[[], Client]) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o1777)
    start()
    assert connect().ask(x=1) == {"x": 1}


def test_directory_that_can_be_moved_away_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loose" / "run").mkdir(parents=True, mode=0o700)
    (tmp_path / "loose").chmod(0o777)
    with pytest.raises(FacewatchError, match="moved away"):
        socket_file.listen(tmp_path / "loose" / "run" / "socket")


def test_symbolic_link_as_directory_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    path.parent.symlink_to(tmp_path / "real")
    with pytest.raises(FacewatchError, match="is a symbolic link"):
        socket_file.listen(path)
    assert not list((tmp_path / "real").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to give a directory away")
def test_directory_of_somebody_else_is_refused(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    os.chown(path.parent, 65534, 65534)
    with pytest.raises(FacewatchError, match="belongs to another user"):
        socket_file.listen(path)


def test_file_as_directory_is_refused(path: Path) -> None:
    path.parent.touch()
    with pytest.raises(FacewatchError, match="cannot listen on"):
        socket_file.listen(path)


def test_listener_keeps_its_place_and_says_once_what_is_wrong(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    listener = socket_file.ListeningSocket(path)
    try:
        first = listener.socket
        listener.look()
        assert (listener.socket, listener.trouble, caplog.messages) == (first, "", [])
        path.unlink()
        listener.look()
        assert listener.socket is not first
        assert first.fileno() == -1
        assert caplog.messages == [f"the socket {path} was taken away: listening there again"]
        path.parent.rename(path.parent.with_name("away"))
        path.parent.touch()
        for _ in range(2):
            listener.look()
            assert listener.trouble == f"cannot look after the socket {path}: Not a directory"
        path.parent.unlink()
        path.parent.with_name("away").rename(path.parent)
        listener.look()
        assert listener.trouble == ""
        assert len(caplog.messages) == 3
    finally:
        listener.close()
    assert not path.exists()


def test_long_path_works(tmp_path: Path, service: Service) -> None:
    path = tmp_path.joinpath(*["d" * 60] * 4) / "socket"
    server = Server(path, service.answer)
    server.start()
    client = Client(path)
    try:
        assert client.ask(x=1) == {"x": 1}
        with pytest.raises(LockedError):
            socket_file.listen(path)
    finally:
        client.close()
        server.stop()
    assert not path.exists()


def test_too_long_name_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FacewatchError, match="cannot listen on") as caught:
        socket_file.listen(tmp_path / "run" / ("s" * 200))
    assert "\n" not in str(caught.value)


STRANGER = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
client = socket.socket(socket.AF_UNIX)
client.settimeout(20)
client.connect("/proc/self/fd/" + sys.argv[1])
try:
    client.sendall(b'{"jsonrpc":"2.0","id":1,"method":"echo"}\\n')
    print(client.recv(100))
except (BrokenPipeError, ConnectionResetError):
    print(b"")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to become another user")
def test_another_user_is_not_answered_even_if_the_file_lets_them_in(path: Path, start: Start, tmp_path: Path) -> None:
    start()
    path.chmod(0o666)
    file = os.open(path, os.O_PATH)  # leads past directories that the other user may not enter
    try:
        os.set_inheritable(file, True)
        command = [sys.executable, "-S", "-c", STRANGER, str(file)]
        ended = subprocess.run(command, pass_fds=[file], capture_output=True, text=True, timeout=60, check=False)
    finally:
        os.close(file)
    assert (ended.stdout, ended.stderr) == ("b''\n", "")


def test_only_the_owner_and_root_are_answered(
    start: Start, connect: Callable[[], Client], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start()
    assert connect().ask(x=1) == {"x": 1}
    monkeypatch.setattr(peer_credentials, "user", lambda client: os.geteuid() + 1)
    assert connect().closed()
    assert f"user {os.geteuid() + 1} was refused" in caplog.text
    monkeypatch.setattr(peer_credentials, "user", lambda client: 0)
    assert connect().ask(x=1) == {"x": 1}


def test_root_is_answered_where_the_sandbox_does_not_know_it(
    path: Path, start: Start, connect: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a user namespace of one user, root and all others are one, so the socket's mode must keep the others out."""
    start()
    monkeypatch.setattr(peer_credentials, "user", lambda client: 65534)
    monkeypatch.setattr(peer_credentials, "is_nobody_here", lambda uid: uid == 65534)
    assert connect().ask(x=1) == {"x": 1}
    path.chmod(0o666)
    assert connect().closed()


def test_outside_of_user_namespaces_nobody_is_a_user_like_others() -> None:
    if not any(line.split()[1] == "0" for line in Path("/proc/self/uid_map").read_text().splitlines()):
        pytest.skip("this is a user namespace")
    assert not peer_credentials.is_nobody_here(65534)
