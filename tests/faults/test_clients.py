"""Clients that send too much, too little or nonsense, that stay or leave at bad moments: the others never notice.

One daemon serves all of it. After each test it must be as before: the same process, no file, thread or memory more, its
answers right, and the catalog equal to the disk. What becomes of the socket's place is in `test_sockets.py`,
requests at random are in `test_requests.py`.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support import invariant
from tests.support.albums import album, shoot
from tests.support.clients import Client, Usage, expect_as_before, forget_peak, peak, request
from tests.support.processes import Daemon, until

MIB = 1 << 20
LIMIT = 64 * MIB
"""That of facewatchd-protocol(7): bytes of one line."""
PLACES = 64
"""Those of facewatchd-protocol(7): connections."""
PARSE, INVALID, NO_METHOD, BAD_PARAMS = -32700, -32600, -32601, -32602
STATUS = request("status", 1)

Amount = Callable[[int, int], int]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path, pytestconfig: pytest.Config) -> Iterator[Daemon]:
    place = tmp_path_factory.mktemp("clients")
    photos = place / "photos"
    album(photos, 30)
    (photos / "0029.jpg").rename(os.fsdecode(not_utf8(photos)))
    daemon = Daemon(place / "home", photos, model="tiny", model_root=tiny_root)
    if not pytestconfig.getoption("--full"):
        daemon.hook(IMPATIENT)
    with daemon:
        daemon.start()
        daemon.settle()
        with Client(daemon.socket) as client:  # what is loaded once, is loaded now
            unknown = shoot(place / "unknown.jpg", [1], 999).read_bytes()
            client.call("query", photos=[{"data": base64.b64encode(unknown).decode()}])
        yield daemon
        invariant.check(daemon)


IMPATIENT = """
import sys
if "run" in sys.argv:
    from facewatchd.server import listener as server
    server.Server.__init__.__kwdefaults__["line_deadline"] = 10.0
    server.UNFINISHED = 0.3
"""
"""They are 30 and 5 seconds, and so they stay with --full."""


@pytest.fixture
def daemon(serving: Daemon) -> Iterator[Daemon]:
    """The daemon, which must be none the worse at the end of the test."""
    serving.settle()
    before, process = Usage.of(serving), serving.process
    forget_peak(serving)
    yield serving
    assert process is not None
    assert process.poll() is None
    expect_as_before(serving, before)
    assert answers(serving)
    invariant.check_catalog(serving)
    assert "Traceback" not in serving.log.read_text()


def not_utf8(photos: Path) -> bytes:
    return os.fsencode(photos) + b"/caf\xe9.jpg"


def answers(daemon: Daemon) -> bool:
    """Ask on a new connection, and have the right answer in time."""
    photos = daemon.roots[0]
    answer = daemon.call("query", 10.0, photos=[{"path": str(photos / "0000.jpg")}], top=0)
    return {Path(match["path"]).name for match in answer["matches"]} == {"0000.jpg", "0010.jpg", "0020.jpg"}


# Too much


def test_a_gigabyte_line_is_refused_at_its_limit(daemon: Daemon, amount: Amount) -> None:
    size = amount(160 * MIB, 1024 * MIB)
    before = Usage.of(daemon)
    with Client(daemon.socket) as client:
        sent = 0
        try:
            for _ in range(size // (4 * MIB)):
                client.send(b"x" * (4 * MIB))
                sent += 4 * MIB
                assert sent % (32 * MIB) or answers(daemon)
        except (BrokenPipeError, ConnectionResetError):
            assert sent >= LIMIT
        assert client.kind() == "too-large"
        assert client.is_closed()
    expect_as_before(daemon, before)
    # The buffer of the line, which grows by an eighth at a time, and a query in between.
    assert peak(daemon) < before.memory + 64 * 9 / 8 + 24


def test_a_line_of_just_the_limit_is_answered_and_its_memory_given_back(daemon: Daemon) -> None:
    before = Usage.of(daemon)
    head, tail = b'{"jsonrpc":"2.0","id":1,"method":"faces","params":{"data":"', b'*"}}'
    with Client(daemon.socket) as client:
        for _ in range(3):
            client.send(head + b"A" * (LIMIT - len(head) - len(tail)) + tail + b"\n")
            assert client.receive()["error"]["code"] == BAD_PARAMS
        expect_as_before(daemon, before)  # with the connection still open, and nothing else to do
    # The line, its text, the parameter in it, the bytes that this stands for, and again an eighth.
    assert peak(daemon) < before.memory + 4.5 * 64


def test_large_lines_of_many_sizes_leave_nothing_behind(daemon: Daemon, amount: Amount) -> None:
    """An allocator that keeps what was freed keeps the more, the more sizes and threads it has seen."""
    before = Usage.of(daemon)
    for _ in range(amount(1, 20)):
        with ExitStack() as stack:
            clients = [stack.enter_context(Client(daemon.socket)) for _ in range(4)]
            for size in (1, 3, 10, 20, 31, 40):
                for client in clients:
                    assert client.ask(b"x" * (size * MIB))["error"]["code"] == PARSE
    expect_as_before(daemon, before)


def test_a_line_that_never_ends_is_cut_off_in_time(daemon: Daemon, amount: Amount) -> None:
    """One client goes on sending, another one has fallen silent."""
    deadline = amount(10, 30)
    pause = threading.Event()
    with Client(daemon.socket) as slow, Client(daemon.socket) as silent:
        began = time.monotonic()
        silent.send(b'{"jsonrpc":"2.0",')
        while not slow.has_heard():
            assert time.monotonic() < began + deadline + 20
            with suppress(BrokenPipeError):  # turned away just now
                slow.send(b"x")
            assert answers(daemon)
            pause.wait(0.05)
        assert slow.kind() == silent.kind() == "timeout"
        assert slow.is_closed()
        assert silent.is_closed()
    assert time.monotonic() > began + deadline - 0.1


# Too little


def test_half_a_request_then_silence_holds_up_nobody(daemon: Daemon) -> None:
    """Also where as many clients do so as there are places: soon they have to give them to the next clients."""
    with ExitStack() as stack:
        silent = [stack.enter_context(Client(daemon.socket)) for _ in range(PLACES)]
        for client in silent:
            client.send(b'{"jsonrpc":"2.0","id":1,')
        until(lambda: not any(client.unread() for client in silent))
        until(lambda: answers(daemon), deadline=20)
        # The one that came was let in before the one that makes room for it has heard of that.
        first = until(lambda: [client for client in silent if client.has_heard()])
        for client in first:
            assert "unfinished request" in client.receive()["error"]["message"], "and not because its time was over"


def test_huge_lines_that_do_not_end_hold_up_nobody(daemon: Daemon) -> None:
    """Four of them are all that the daemon keeps in memory."""
    before = Usage.of(daemon).memory
    with ExitStack() as stack:
        huge = [stack.enter_context(Client(daemon.socket)) for _ in range(5)]
        for client in huge[:4]:
            client.send(b"x" * (LIMIT - 1))
        until(lambda: not any(client.unread() for client in huge))
        huge[4].send(b"x" * 4 * MIB)
        assert huge[4].kind() == "not-ready"
        for _ in range(5):
            assert answers(daemon)
    assert peak(daemon) < before + 256 * 9 / 8 + 24
    until(lambda: _code_of_a_huge_line(daemon) == PARSE)  # what they took can be taken again


def _code_of_a_huge_line(daemon: Daemon) -> int:
    with Client(daemon.socket) as client:
        return int(client.ask(b"x" * LIMIT)["error"]["code"])


def test_five_hundred_idle_connections(daemon: Daemon, amount: Amount) -> None:
    before = Usage.of(daemon)
    for _ in range(amount(2, 20)):
        with ExitStack() as stack:
            idle = [stack.enter_context(Client(daemon.socket)) for _ in range(500)]
            assert answers(daemon)
            now = Usage.of(daemon)
            assert now.files <= before.files + 2 * PLACES + 6
            assert now.threads <= before.threads + 2 * PLACES + 6
            assert idle[-1].call("status")["photos"] == 30, "the last to come is still there"
            assert all(client.is_closed() for client in idle[: 500 - PLACES - 1])
    assert answers(daemon)


# Leaving


def test_disconnect_in_mid_reply(daemon: Daemon, amount: Amount) -> None:
    query = json.loads(request("query", 1, faces=[face_id(daemon)], threshold=-1, top=0))
    batch = json.dumps([query] * 100).encode()
    for number in range(amount(12, 500)):
        with Client(daemon.socket) as client:
            client.send(batch + b"\n" + batch[: number * 10])
            assert len(client.socket.recv(10 * (number % 3) + 1)) >= 1
    with Client(daemon.socket) as client:
        assert len(client.ask(batch)) == 100


def face_id(daemon: Daemon) -> int:
    return int(daemon.call("why", path=str(daemon.roots[0] / "0000.jpg"))["faces"][0]["face_id"])


def test_more_clients_gave_up_waiting_than_there_are_places(daemon: Daemon) -> None:
    """While indexing is paused, `--wait` ends with its time only, and Ctrl-C does not end what was asked for."""
    new = daemon.roots[0] / "new.jpg"
    daemon.call("pause")
    try:
        shoot(new, [9], 1234)
        until(lambda: daemon.status()["pending"] == 1)
        for _ in range(2 * PLACES):
            with Client(daemon.socket) as client:
                client.send(request("wait", 1, timeout=86_400) + b"\n")
        assert answers(daemon)
        assert daemon.status()["state"] == "paused"
    finally:
        daemon.call("resume")
    daemon.settle()
    new.unlink()


# Requests


def test_requests_pipelined_are_answered_in_order(daemon: Daemon, amount: Amount) -> None:
    count = amount(3000, 100_000)
    photo = str(daemon.roots[0] / "0001.jpg")
    kinds = [
        (b"nonsense", PARSE),
        (b"[]", INVALID),
        (request("no-such", "id"), NO_METHOD),
        (request("why", 5), BAD_PARAMS),
        (request("why", 6, path=photo), None),
        (STATUS[:-1] + b',"more":1}', None),
    ]
    with Client(daemon.socket) as client:
        lines = b"".join(kinds[n % len(kinds)][0] + b"\n" for n in range(count))
        sender = threading.Thread(target=client.send, args=(lines,))
        sender.start()
        for number in range(count):
            reply = client.receive()
            assert reply.get("error", {}).get("code") == kinds[number % len(kinds)][1], (number, reply)
        sender.join(60)
        assert client.call("status")["photos"] == 30


IDS: list[tuple[str, object]] = [
    ('""', ""),
    ('"x"', "x"),
    ('"\\ud800 é \\n"', "\ud800 é \n"),
    (f'"{"y" * MIB}"', "y" * MIB),
    ("0", 0),
    ("-1", -1),
    ("18446744073709551616", 1 << 64),
    ("1" * 4000, int("1" * 4000)),
    ("1.5", 1.5),
    ("2.0", 2.0),
    ("-1e-300", -1e-300),
    ("1e300", 1e300),
    ("null", None),
]
NO_IDS = [
    ("true", INVALID),
    ("false", INVALID),
    ("[]", INVALID),
    ("{}", INVALID),
    ("[1]", INVALID),
    ('{"a":1}', INVALID),
]
NO_IDS += [("NaN", PARSE), ("-Infinity", PARSE), ("1e999", PARSE), ("1" * 5000, PARSE), ("01", PARSE), ("", PARSE)]


def test_ids_of_every_json_type(daemon: Daemon) -> None:
    with Client(daemon.socket) as client:
        for text, value in IDS:
            reply = client.ask(b'{"jsonrpc":"2.0","method":"status","id":' + text.encode() + b"}")
            assert (reply["id"], type(reply["id"])) == (value, type(value))
            assert reply["result"]["photos"] == 30
        for text, code in NO_IDS:
            reply = client.ask(b'{"jsonrpc":"2.0","method":"status","id":' + text.encode() + b"}")
            assert (reply["id"], reply["error"]["code"]) == (None, code), text
        client.send(b'{"jsonrpc":"2.0","method":"status"}\n')  # none at all: no reply
        assert client.call("status")["photos"] == 30


def test_batches_are_as_the_specification_has_them(daemon: Daemon) -> None:
    """https://www.jsonrpc.org/specification, sections 6 and 7."""
    status, note = STATUS.decode(), '{"jsonrpc":"2.0","method":"status"}'
    batches: list[tuple[str, list[tuple[object, object]]]] = [
        (f"[{status}]", [(1, None)]),
        ("[1,2,3]", [(None, INVALID)] * 3),
        (f'[{status},{note},{{"foo":"boo"}},{{"jsonrpc":"2.0","method":"foo.get","id":"5"}},{status}]',
         [(1, None), (None, INVALID), ("5", NO_METHOD), (1, None)]),
        (f"[[{status}]]", [(None, INVALID)]),
        (f'[{note},{{"jsonrpc":"2.0","method":"why","id":null}}]', [(None, BAD_PARAMS)]),
        (f"[{','.join([status] * 1000)}]", [(1, None)] * 1000),
    ]  # fmt: skip
    with Client(daemon.socket) as client:
        for text, expected in batches:
            replies = client.ask(text.encode())
            assert [(reply["id"], reply.get("error", {}).get("code")) for reply in replies] == expected
        for text, code in [
            ("[]", INVALID),
            (f"[{','.join([status] * 1001)}]", INVALID),
            (f'[{status},{{"jsonrpc"]', PARSE),
        ]:
            assert client.ask(text.encode())["error"]["code"] == code
        client.send(f"[{note},{note}]\n".encode())  # nobody wants an answer
        assert client.call("status")["photos"] == 30


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_deep_nesting(daemon: Daemon, opening: bytes, closing: bytes, amount: Amount) -> None:
    with Client(daemon.socket) as client:
        for depth in (400_000, amount(8, 60) * MIB // len(opening + closing)):
            for line in (opening * depth, opening * depth + b"1" + closing * depth):
                assert client.ask(line)["error"]["code"] == PARSE
        for depth in (2, 10, 200):  # as deep as is read
            nested = opening * depth + b"1" + closing * depth
            for place in (b'"path"', b'"photos"', b'"faces"', b'"embedding"', b'"dirs"', b'"no-such"'):
                for method in (b"query", b"scan", b"why", b"wait"):
                    line = b'{"jsonrpc":"2.0","id":1,"method":"%s","params":{%s:%s}}' % (method, place, nested)
                    assert client.ask(line)["error"]["code"] == BAD_PARAMS, line
            for line, code in [
                (b'{"jsonrpc":"2.0","id":%s,"method":"status"}', INVALID),
                (b'{"jsonrpc":"2.0","id":1,"method":%s}', INVALID),
                (b'{"jsonrpc":"2.0","id":1,"method":"status","params":{"x":%s}}', BAD_PARAMS),
            ]:
                assert client.ask(line % nested)["error"]["code"] == code


def test_lone_surrogates(daemon: Daemon) -> None:
    photos = daemon.roots[0]
    lone = "\ud800 \udfff \udc00\ud800"
    with Client(daemon.socket) as client:
        assert client.ask(request("status", lone))["id"] == lone
        assert client.ask(request(lone, 1))["error"]["code"] == NO_METHOD
        wrong: list[dict[str, Any]] = [
            {"path": f"{photos}/{lone}"},
            {lone: 1},
            {"path": str(photos), lone: 1},
            {"data": lone},
            {"path_bytes": lone},
        ]
        for params in wrong:
            for method in ("faces", "why", "scan", "query", "wait", "pause"):
                assert client.ask(request(method, 1, **params))["error"]["code"] == BAD_PARAMS
        assert client.ask(request("query", 1, faces=[1], face=lone))["error"]["code"] == BAD_PARAMS
        assert client.ask(b'{"jsonrpc":"2.0","id":1,"method":"\xed\xa0\x80"}')["error"]["code"] == PARSE
        # The one kind that means something: how Python spells the bytes of a name that is not UTF-8.
        by_name = client.call("why", path=os.fsdecode(not_utf8(photos)))
        by_bytes = client.call("why", path_bytes=base64.b64encode(not_utf8(photos)).decode())
        assert by_name == by_bytes
        assert by_name["state"] == "indexed"
        assert base64.b64decode(by_name["path_bytes"]) == not_utf8(photos)
