"""The protocol without a socket: lines, JSON-RPC, parameters."""

from __future__ import annotations

import base64
import gc
import json
import logging
import os
import time
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewatchd import errors
from facewatchd.errors import FacewatchError
from facewatchd.server import jsonrpc
from facewatchd.server.jsonrpc import (
    CODES,
    LineBuffer,
    LineTooLongError,
    MethodNotFoundError,
    ParamsError,
    answer,
    error_line,
)
from facewatchd.server.params import MAX_INT, Params, encode_path

PARSE, INVALID, NO_METHOD, BAD_PARAMS = -32700, -32600, -32601, -32602


class Service:
    """A real small service: adds, echoes and fails."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, method: str, values: dict[str, object]) -> object:
        self.calls.append(method)
        params = Params(values)
        match method:
            case "add":
                numbers = params.ints("numbers", low=-MAX_INT)
                params.finish()
                return sum(numbers)
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
        return Params(held).text("missing")

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


# Parameters


def test_params_that_are_right() -> None:
    photos = [{"path": "/é"}, {"data": "aGVs\nbG8="}]
    params = Params(
        {
            "text": "t", "number": 0.25, "whole": 1, "top": 5, "flag": True, "face": "all", "other": 2,
            "photos": photos, "embedding": [1, -0.5], "faces": [1, MAX_INT], "null": None,
            "dirs": ["/a", {"path": "x", "path_bytes": "L/8="}],
        }
    )  # fmt: skip
    assert params.text("text") == "t"
    assert params.optional_number("number", -1, 1) == 0.25
    whole = params.optional_number("whole", -1, 1)
    assert (whole, type(whole)) == (1.0, float)
    assert params.optional_int("top") == 5
    assert params.flag("flag") is True
    assert params.int_or_word("face", ["largest", "all"]) == "all"
    assert params.int_or_word("other", ["largest", "all"]) == 2
    first, second = params.objects("photos")
    assert first.path() == "/é".encode()
    assert second.optional_data("data") == b"hello"
    second.finish()
    assert params.numbers("embedding") == [1.0, -0.5]
    assert params.ints("faces") == [1, MAX_INT]
    assert params.paths("dirs") == [b"/a", b"/\xff"]
    assert params.one_of("faces", "null") == "faces"
    params.finish()


def test_params_that_are_absent() -> None:
    params = Params({"null": None})
    for name in ("null", "missing"):
        assert params.raw(name) is None
        assert params.optional_text(name) is None
        assert params.optional_number(name, 0, 1) is None
        assert params.optional_int(name) is None
        assert params.optional_data(name) is None
        assert params.int_or_word(name, ["a"]) is None
        assert params.flag(name, default=True) is True
        assert not params.numbers(name) + params.ints(name)
        assert not params.objects(name)
        assert not params.paths(name)
        with pytest.raises(ParamsError, match=f"{name} must be a string"):
            params.text(name)
    assert params.optional_path() is None
    with pytest.raises(ParamsError, match="path must be an absolute path"):
        params.path()
    with pytest.raises(ParamsError, match="exactly one of a, b"):
        params.one_of("a", "b")


@pytest.mark.parametrize(
    ("read", "wrong"),
    [
        (lambda p: p.text("x"), [1, True, [], {}]),
        (lambda p: p.flag("x"), [0, 1, "true", []]),
        (lambda p: p.optional_number("x", -1, 1), ["1", True, 1.01, -2, [], float("nan"), 10**400]),
        (lambda p: p.optional_int("x", 1, 9), [0, 10, 1.0, True, "1", 10**400]),
        (lambda p: p.optional_int("x"), [-1, MAX_INT + 1]),
        (lambda p: p.int_or_word("x", ["all"]), ["most", 1.5, True, -1, []]),
        (lambda p: p.optional_data("x"), ["a", "é", "a*==", 1]),
        (lambda p: p.numbers("x"), [1, {}, ["1"], [None], [True], [10**400], [float("nan")], [[1.0]]]),
        (lambda p: p.ints("x"), [1, {}, "12", [1.0], [None], [True], [10**400], [-1]]),
        (lambda p: p.objects("x"), [{}, "x", [1], [None], [[]]]),
        (lambda p: p.paths("x"), ["/a", [1], ["a"], ["/a\0"], [{}], [{"path": "/a", "mode": 1}], ["/\ud800"], [""]]),
    ],
    ids=range(11),
)
def test_params_that_are_wrong_are_named(read: Any, wrong: list[object]) -> None:
    for value in wrong:
        with pytest.raises(ParamsError, match=r"\bx\b.*(must be|unknown)|'x\[0\].mode'"):
            read(Params({"x": value}))


@pytest.mark.parametrize("values", [{"path": "a"}, {"path": "/\0"}, {"path": 1}, {"path_bytes": "YQ=="}, {"path": ""}])
def test_path_that_is_none(values: dict[str, object]) -> None:
    with pytest.raises(ParamsError, match="path"):
        Params(values).path()


def test_nested_params_say_where() -> None:
    (photo,) = Params({"photos": [{"path": 3, "typo": 1}]}).objects("photos")
    with pytest.raises(ParamsError, match=r"photos\[0\]\.path must be a string"):
        photo.path()
    with pytest.raises(ParamsError, match=r"'photos\[0\]\.typo'; known here: path"):
        photo.finish()


def test_unknown_parameter_reaches_the_client_by_name() -> None:
    reply = ask(request(numbers=[], nmubers=[1]))
    assert reply["error"]["code"] == BAD_PARAMS
    assert reply["error"]["message"] == "unknown parameter 'nmubers'; known here: numbers"
    assert "data" not in reply["error"]


@given(st.binary().map(lambda tail: b"/" + tail.replace(b"\0", b"")))
def test_paths_survive_the_way_there_and_back(path: bytes) -> None:
    encoded = encode_path(path)
    assert Params(json.loads(json.dumps(encoded))).path() == b"/" + os.path.normpath(path).lstrip(b"/")
    assert ("path_bytes" in encoded) == (path.decode("utf-8", "replace").encode() != path)


def test_path_that_is_not_utf8_shows_replacement_characters() -> None:
    encoded = encode_path(b"/caf\xe9")
    assert encoded == {"path": "/caf\ufffd", "path_bytes": base64.b64encode(b"/caf\xe9").decode()}
    assert encode_path("/\ufffd".encode()) == {"path": "/\ufffd"}


def test_line_limit_is_the_contracts() -> None:
    assert jsonrpc.MAX_LINE == 64 * 1024 * 1024
