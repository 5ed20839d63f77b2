"""The protocol without a socket: lines, JSON-RPC, parameters."""

from __future__ import annotations

import gc
import json
import logging
import time
import weakref
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewatchd import errors
from facewatchd.errors import FacewatchError
from facewatchd.fields import MAX_INT, ListOf, Whole, optional, required
from facewatchd.server import jsonrpc
from facewatchd.server.jsonrpc import (
    CODES,
    LineBuffer,
    LineTooLongError,
    MethodNotFoundError,
    answer,
    error_line,
)
from facewatchd.server.params import read

PARSE, INVALID, NO_METHOD, BAD_PARAMS = -32700, -32600, -32601, -32602


@dataclass(frozen=True, slots=True)
class Numbers:
    numbers: tuple[int, ...] = optional(ListOf(Whole(low=-MAX_INT)), "What is added.", ())


@dataclass(frozen=True, slots=True)
class Missing:
    missing: int = required(Whole(), "Not sent.")


class Service:
    """A real small service: adds, echoes and fails."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, method: str, values: dict[str, object]) -> object:
        self.calls.append(method)
        match method:
            case "add":
                return sum(read(Numbers, values).numbers)
            case "echo":
                return values
            case "none":
                return None
            case "infinite":
                return {"similarity": float("inf")}
            case "object":
                return object()
            case "crash":
                raise KeyError("secret\ndetail")
            case "no-face":
                raise errors.NoFaceError("no face\non it", "send another")
        raise MethodNotFoundError(method)


def request(method: object = "add", id_: object = 1, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}


def ask(message: object, service: Service | None = None) -> Any:
    line = message if isinstance(message, bytes) else json.dumps(message).encode()
    reply = answer(line, service or Service())
    return None if reply is None else strict(reply)


def strict(reply: bytes) -> Any:
    """Decode a reply line, and insist that it is one line of ASCII and strict JSON."""
    assert reply.endswith(b"\n")
    assert reply.count(b"\n") == 1
    reply.decode("ascii")

    def refuse(name: str) -> None:
        raise AssertionError(name)

    return json.loads(reply, parse_constant=refuse)


def code(message: object) -> int:
    reply = ask(message)
    assert reply["jsonrpc"] == "2.0"
    assert "result" not in reply
    assert reply["error"]["message"]
    assert "\n" not in reply["error"]["message"]
    number: int = reply["error"]["code"]
    return number


# Lines


def test_lines_one_byte_at_a_time() -> None:
    text = b"one\n\ntwo\r\nthree"
    buffer = LineBuffer()
    lines = [line for i in range(len(text)) for line in buffer.feed(text[i : i + 1])]
    assert lines == [b"one", b"", b"two\r"]
    assert buffer.pending == 5
    assert buffer.take() == b"three"
    assert buffer.pending == 0
    assert buffer.feed(b"four\n") == [b"four"]


@given(st.lists(st.binary(max_size=20)))
def test_lines_do_not_depend_on_the_pieces(pieces: list[bytes]) -> None:
    buffer = LineBuffer()
    lines = [line for piece in pieces for line in buffer.feed(piece)]
    assert [*lines, buffer.take()] == b"".join(pieces).split(b"\n")


@pytest.mark.parametrize("last", [b"x", b"x\n"])
def test_line_of_the_limit_is_taken_and_one_byte_more_is_not(last: bytes) -> None:
    buffer = LineBuffer(limit=10)
    assert buffer.feed(b"0123456789") == []
    assert buffer.feed(b"\n0123456789\n") == [b"0123456789", b"0123456789"]
    assert buffer.feed(b"0123456789") == []
    with pytest.raises(LineTooLongError, match="10 bytes"):
        buffer.feed(last)


def test_long_line_costs_time_in_proportion_to_its_length() -> None:
    def seconds(size: int) -> float:
        buffer = LineBuffer()
        piece = b"x" * 64
        begin = time.process_time()
        for _ in range(size // len(piece)):
            buffer.feed(piece)
        assert buffer.feed(b"\n") == [b"x" * size]
        return time.process_time() - begin

    small = min(seconds(1 << 20) for _ in range(3))
    assert seconds(16 << 20) < 16 * small * 4  # quadratic would be 256 times


# Requests


def test_result() -> None:
    assert ask(request(numbers=[1, 2])) == {"jsonrpc": "2.0", "id": 1, "result": 3}
    assert ask({"jsonrpc": "2.0", "id": "a", "method": "none"}) == {"jsonrpc": "2.0", "id": "a", "result": None}
    assert ask(json.dumps(request(numbers=[4])).encode() + b" \r") == {"jsonrpc": "2.0", "id": 1, "result": 4}


@pytest.mark.parametrize("id_", ["x", "", "\ud800é\n", 0, -7, 2.5, 10**300, None])
def test_id_comes_back(id_: object) -> None:
    reply = ask(request(id_=id_, numbers=[1]))
    assert reply["id"] == id_
    assert reply["result"] == 1


@pytest.mark.parametrize("id_", [True, [], {}, [1]])
def test_id_of_another_type_is_refused(id_: object) -> None:
    assert code(request(id_=id_)) == INVALID
    assert ask(request(id_=id_))["id"] is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"{",
        b"nonsense",
        b'{"jsonrpc": "2.0", "method": "add", "params": {}, "id": 1} {}',
        b'\xef\xbb\xbf{"jsonrpc": "2.0", "method": "none", "id": 1}',
        b'{"jsonrpc": "2.0", "method": "none", "id": "\xff"}',
        '{"jsonrpc": "2.0", "method": "none", "id": 1}'.encode("utf-16"),
        b'{"jsonrpc": "2.0", "method": "none", "id": NaN}',
        b'{"jsonrpc": "2.0", "method": "echo", "id": 1, "params": {"x": -Infinity}}',
        b'{"jsonrpc": "2.0", "method": "echo", "id": 1, "params": {"x": 1e999}}',
        b'{"jsonrpc": "2.0", "method": "none", "id": ' + b"1" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b"[" + b"[]," * 1_000_000 + b"[]]",
        b"\x00",
    ],
    ids=range(17),
)
def test_not_json(line: bytes) -> None:
    assert code(line) == PARSE
    assert ask(line)["id"] is None


@pytest.mark.parametrize(
    "message",
    [
        1,
        "add",
        None,
        [],
        {},
        {"id": 1, "method": "add"},
        {"jsonrpc": 2.0, "id": 1, "method": "add"},
        {"jsonrpc": "2.0", "id": 1},
        {"jsonrpc": "2.0", "id": 1, "method": 5},
        {"jsonrpc": "2.0", "method": ["add"]},
        [request()] * 1001,
    ],
)
def test_not_a_request(message: object) -> None:
    assert code(message) == INVALID


def test_broken_request_keeps_the_id_that_can_be_made_out() -> None:
    assert ask({"id": 7, "method": "add"})["id"] == 7


def test_unknown_method_is_named_in_one_line() -> None:
    message = request(method="no\nsuch" + "\ud800" * 500)
    assert code(message) == NO_METHOD
    text = ask(message)["error"]["message"]
    assert "no\\nsuch" in text
    assert len(text) < 500


@pytest.mark.parametrize("params", [[], [1, 2], "x", 3, None, True])
def test_params_that_are_no_object(params: object) -> None:
    assert code({"jsonrpc": "2.0", "id": 1, "method": "add", "params": params}) == BAD_PARAMS


@pytest.mark.parametrize("method", ["add", "crash", "no-face", "unknown", "infinite"])
@pytest.mark.parametrize("params", [{}, []])
def test_notification_is_carried_out_and_not_replied_to(method: str, params: object) -> None:
    service = Service()
    assert ask({"jsonrpc": "2.0", "method": method, "params": params}, service) is None
    assert service.calls == ([method] if params == {} else [])


def test_batch() -> None:
    service = Service()
    batch = [
        request(id_=1, numbers=[1]),
        {"jsonrpc": "2.0", "method": "add"},
        "nonsense",
        request(id_=2, method="nothing"),
        [request(id_=4)],
        request(id_=3, numbers=[3]),
    ]
    replies = ask(batch, service)
    assert [reply["id"] for reply in replies] == [1, None, 2, None, 3]
    assert [reply.get("result") for reply in replies] == [1, None, None, None, 3]
    assert [reply["error"]["code"] for reply in replies if "error" in reply] == [INVALID, NO_METHOD, INVALID]
    assert service.calls == ["add", "add", "nothing", "add"]


def test_batch_of_notifications_gets_no_reply() -> None:
    assert ask([{"jsonrpc": "2.0", "method": "add"}] * 3) is None


def test_batch_with_too_much_to_say_is_not_carried_out_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonrpc, "MAX_REPLIES", 2000)
    service = Service()
    replies = ask([request(method="echo", id_=number, x="x" * 900) for number in range(5)], service)
    assert [reply["id"] for reply in replies] == [0, 1, 2, 3, 4]
    assert [reply["error"]["data"]["kind"] for reply in replies if "error" in reply] == ["too-large"] * 2
    assert service.calls == ["echo"] * 3


def test_refused_request_is_not_kept_in_memory() -> None:
    """A line may have 64 MiB; an exception that is part of a cycle would hold it until the next collection."""
    values: list[weakref.ref[object]] = []

    class Parameters(dict[str, object]):
        pass

    def refuse(method: str, params: dict[str, object]) -> object:
        held = Parameters(params)
        values.append(weakref.ref(held))
        return read(Missing, held)

    gc.disable()
    try:
        assert strict(answer(json.dumps(request()).encode(), refuse) or b"")["error"]["code"] == BAD_PARAMS
        assert [value() for value in values] == [None]
    finally:
        gc.enable()


# Errors of ours


def kinds() -> dict[str, type[FacewatchError]]:
    found = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, FacewatchError)]
    return {each.kind: each for each in found}


def test_every_kind_has_a_code_of_its_own() -> None:
    assert set(kinds()) == set(CODES)
    assert sorted(CODES.values(), reverse=True) == list(range(-32000, -32000 - len(CODES), -1))


@pytest.mark.parametrize("kind", CODES)
def test_error_carries_kind_and_hint(kind: str) -> None:
    def fail(method: str, params: dict[str, object]) -> object:
        raise kinds()[kind]("what\nhappened", "do\nthis")

    reply = strict(answer(json.dumps(request()).encode(), fail) or b"")
    data = {"kind": kind, "hint": "do this"}
    assert reply["error"] == {"code": CODES[kind], "message": "what happened", "data": data}
    assert reply["id"] == 1


@pytest.mark.parametrize("method", ["crash", "infinite", "object"])
def test_unexpected_failure_is_logged_and_told_without_details(method: str, caplog: pytest.LogCaptureFixture) -> None:
    reply = ask(request(method=method))
    assert reply["error"]["code"] == CODES["internal"]
    assert reply["error"]["data"]["kind"] == "internal"
    assert "secret" not in json.dumps(reply)
    assert "Traceback" not in json.dumps(reply)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None


def test_error_line_has_no_id() -> None:
    reply = strict(error_line(LineTooLongError(10)))
    assert reply["id"] is None
    assert reply["error"]["data"]["kind"] == "too-large"


# Anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
METHODS = st.sampled_from(["add", "echo", "none", "infinite", "object", "no-face", "crash", "nothing"])
REQUEST = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | JSON,
        "method": METHODS | JSON,
        "params": st.dictionaries(st.sampled_from(["numbers", "x"]), JSON, max_size=2) | JSON,
        "id": st.integers() | JSON,
    },
)
LINE = (REQUEST | st.lists(REQUEST | JSON, max_size=4) | JSON).map(lambda value: json.dumps(value).encode())


@given(
    LINE | st.binary() | st.tuples(LINE, st.binary(max_size=3), st.integers(0, 60)).map(lambda t: t[0][: t[2]] + t[1])
)
def test_any_line_is_answered_with_json_or_not_at_all(line: bytes) -> None:
    logging.disable(logging.ERROR)
    try:
        reply = answer(line, Service())
    finally:
        logging.disable(logging.NOTSET)
    if reply is None:
        assert b"jsonrpc" in line
        return
    message = strict(reply)
    for each in message if isinstance(message, list) else [message]:
        assert each["jsonrpc"] == "2.0"
        assert ("result" in each) != ("error" in each)
        assert "id" in each


@given(st.lists(st.integers(-(2**62), 2**62)), st.integers() | st.text())
def test_well_formed_requests_are_answered_right(numbers: list[int], id_: object) -> None:
    assert ask(request(id_=id_, numbers=numbers)) == {"jsonrpc": "2.0", "id": id_, "result": sum(numbers)}


def test_unknown_parameter_reaches_the_client_by_name() -> None:
    reply = ask(request(numbers=[], nmubers=[1]))
    assert reply["error"]["code"] == BAD_PARAMS
    assert reply["error"]["message"] == "unknown parameter 'nmubers'; known here: numbers"
    assert "data" not in reply["error"]


def test_line_limit_is_the_contracts() -> None:
    assert jsonrpc.MAX_LINE == 64 * 1024 * 1024
