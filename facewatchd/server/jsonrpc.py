"""JSON-RPC 2.0 (https://www.jsonrpc.org/specification), one UTF-8 JSON text a line, with no socket in sight.

Bytes become lines (`LineBuffer`), a line becomes requests, each request one call, and what the call returns or raises
becomes a reply (`answer`). No line that a client can send makes `answer` raise; a reply is always strict, plain-ASCII
JSON on one line.

A large line is parsed without the photos in it (`payload`), one line at a time, so that other clients are answered
meanwhile.

Stricter than Python's json: UTF-8 only, no NaN or Infinity, also not by overflow (1e999), a bounded number of
values. Parameters go by name (`params.read` checks them): a list of them is refused. JSON-RPC's own errors carry
no ``data``; ours do, ``{"kind", "hint"}``.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, cast

from facewatchd.errors import FacewatchError
from facewatchd.server import payload
from facewatchd.server.stream import Stream, Streaming

log = logging.getLogger(__name__)

MAX_LINE = 64 << 20
"""Bytes of one line without its newline (facewatchd-protocol(7))."""
MAX_VALUES = 1_000_000
"""Values in one line: 64 MiB of ``[],`` would become more than a gigabyte of lists."""
MAX_BATCH = 1000
"""Requests in one line: their replies are held until the last one is made."""
MAX_REPLIES = MAX_LINE
"""Bytes of a batch's replies from which on no more of it is carried out: one query can have megabytes of matches."""

CODES: Mapping[str, int] = {
    "unreadable-photo": -32000,
    "no-face": -32001,
    "bad-embedding": -32002,
    "not-ready": -32003,
    "too-large": -32004,
    "unknown-face": -32005,
    "timeout": -32006,
    "internal": -32007,
    "unknown-person": -32008,
}
"""The code of each kind of `FacewatchError`."""

Call = Callable[[str, dict[str, object]], object]
"""From method and named parameters to the reply's ``result``."""


class ProtocolError(FacewatchError):
    """A request that cannot be served as it was sent; ``code`` is JSON-RPC's own."""

    code: ClassVar[int] = -32600


class ParseError(ProtocolError):
    """Not a JSON text."""

    code = -32700


class InvalidRequestError(ProtocolError):
    """JSON, but not a JSON-RPC 2.0 request."""


class MethodNotFoundError(ProtocolError):
    """No method of this name."""

    code = -32601

    def __init__(self, method: str) -> None:
        super().__init__(f"no method {quote(method)}")


class ParamsError(ProtocolError):
    """A parameter that is missing, unknown, of the wrong type or out of range; the message names it."""

    code = -32602


class LineTooLongError(FacewatchError):
    """A line with more bytes than the limit: where the next line begins is not known, so the connection ends."""

    kind = "too-large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"a request line of more than {limit} bytes", "send the photo by its path, or a smaller one")


class BatchTooLargeError(FacewatchError):
    """The replies so far have reached `MAX_REPLIES` bytes."""

    kind = "too-large"

    def __init__(self) -> None:
        super().__init__(f"the batch has more than {MAX_REPLIES} bytes of replies", "send its requests one a line")


class LineBuffer:
    """Cuts a stream of bytes into lines. Each byte is searched once, however small the pieces."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._rest = bytearray()

    @property
    def pending(self) -> int:
        """Bytes of the line that has begun and not ended."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that ``data`` completes, without their newlines.

        Raises `LineTooLongError` as soon as a line has more bytes than the limit, ended or not. Lines before it
        in the same ``data`` are lost; there are none when ``data`` is not longer than the limit.
        """
        *ends, rest = data.split(b"\n")
        lines = []
        for end in ends:
            self._append(end)
            lines.append(self.take())
        self._append(rest)
        return lines

    def take(self) -> bytes:
        """Return and forget the line that has begun: at the end of the stream, the last one may lack its newline."""
        # A large line is not copied: that would hold the interpreter's lock. Nothing else holds or changes it.
        line = bytes(self._rest) if len(self._rest) < payload.LARGE else cast(bytes, self._rest)
        self.clear()
        return line

    def clear(self) -> None:
        """Forget the line that has begun."""
        self._rest = bytearray()

    def _append(self, data: bytes) -> None:
        if len(self._rest) + len(data) > self._limit:
            raise LineTooLongError(self._limit)
        self._rest += data


@dataclass(frozen=True, slots=True)
class Request:
    """One well-formed request."""

    method: str
    id: str | float | None
    notification: bool
    """It has no id: it is carried out without a reply."""
    params: object

    @classmethod
    def of(cls, message: object) -> Request:
        """Read a decoded JSON value. Raises `InvalidRequestError`."""
        if not isinstance(message, dict):
            raise InvalidRequestError("a request must be an object")
        if message.get("jsonrpc") != "2.0":
            raise InvalidRequestError('"jsonrpc" must be "2.0"')
        method = message.get("method")
        if not isinstance(method, str):
            raise InvalidRequestError('"method" must be a string')
        if "id" in message and not _is_id(message["id"]):
            raise InvalidRequestError('"id" must be a string, a number or null')
        return cls(method, message.get("id"), "id" not in message, message.get("params", {}))

    def arguments(self) -> dict[str, object]:
        """Return the parameters by name. Raises `ParamsError` for anything but an object."""
        if not isinstance(self.params, dict):
            raise ParamsError("params must be an object: parameters go by name")
        return self.params


def decode(line: bytes) -> object:
    """Read a line as one JSON value: an object is a request, a list a batch of 1 to `MAX_BATCH`.

    `Request.of` checks their content. In the place of a large photo stands a `Payload`. Raises `ParseError` or
    `InvalidRequestError`.
    """
    if len(line) < payload.LARGE:
        message = _parsed(line)
    else:
        with _large:
            message = _parsed_large(line)
    if isinstance(message, list) and not 1 <= len(message) <= MAX_BATCH:
        raise InvalidRequestError(f"a batch must hold 1 to {MAX_BATCH} requests")
    return message


_large = threading.Lock()
"""Held while a large line is parsed, so that one thread at a time keeps the interpreter busy with that."""


def _parsed_large(line: bytes) -> object:
    line, payloads = payload.cut(line)
    if len(line) > MAX_VALUES and sum(map(line.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise ParseError(f"more than {MAX_VALUES} values in one line")

    def put_back(values: dict[str, Any]) -> dict[str, Any]:
        if isinstance(key := values.get("data"), str) and key in payloads:
            values["data"] = payloads[key]
        return values

    # Functions written in Python, so that other threads can run while many values are read.
    return _parsed(line, object_hook=put_back, parse_int=lambda text: int(text))


def _parsed(line: bytes, **hooks: Any) -> object:
    try:
        message: object = json.loads(str(line, "utf-8"), parse_float=_finite, parse_constant=_refuse_constant, **hooks)
    except RecursionError as exc:
        raise ParseError("not JSON that can be read: nested too deep") from exc
    except UnicodeDecodeError as exc:
        raise ParseError(f"not UTF-8 at byte {exc.start}") from exc
    except json.JSONDecodeError as exc:
        raise ParseError(f"not JSON: {exc}") from exc
    except ValueError as exc:  # ours, and int's own for more than 4300 digits
        raise ParseError("not JSON: NaN, Infinity or a number out of range") from exc
    return message


def answer(line: bytes, call: Call) -> bytes | Streaming | None:
    """Serve every request of a line, in order, and return the reply with its newline; None where all are notifications.

    The requests of a batch that follow after `MAX_REPLIES` bytes of replies are refused. A request that begins a
    `Stream` stands alone on its line, and has an id.

    ``call`` may raise `MethodNotFoundError`, `ParamsError` and any `FacewatchError`. Any other exception is logged with
    its traceback, and the client is told of an internal error.
    """
    try:
        message = decode(line)
    except ProtocolError as exc:
        return error_line(exc)
    if not isinstance(message, list):
        reply = _answer_one(message, call)
        return reply if reply is None or isinstance(reply, Streaming) else reply + b"\n"
    replies: list[bytes] = []
    size = 0
    for item in message:
        reply = _answer_one(item, call if size < MAX_REPLIES else _refuse_more)
        if isinstance(reply, Streaming):
            reply = _failure(_id_of(item), InvalidRequestError("a stream cannot begin inside a batch"))
        if reply is not None:
            replies.append(reply)
            size += len(reply)
    return b"[" + b",".join(replies) + b"]\n" if replies else None


def _refuse_more(_method: str, _params: Mapping[str, object]) -> NoReturn:
    raise BatchTooLargeError


def error_line(error: FacewatchError) -> bytes:
    """Return the reply, with its newline, to a line in which no request could be made out."""
    return _failure(None, error) + b"\n"


def notification(method: str, params: Mapping[str, object]) -> bytes:
    """Return a notification with its newline."""
    return _encode({"jsonrpc": "2.0", "method": method, "params": params}) + b"\n"


def _answer_one(message: object, call: Call) -> bytes | Streaming | None:
    try:
        request = Request.of(message)
    except InvalidRequestError as exc:
        return _failure(_id_of(message), exc)
    try:
        result = call(request.method, request.arguments())
        if request.notification:
            return None
        if isinstance(result, Stream):
            return Streaming(_success(request.id, result.result) + b"\n", result.run)
        return _success(request.id, result)
    except FacewatchError as exc:  # not kept any longer: its traceback holds the request, of up to 64 MiB
        return None if request.notification else _failure(request.id, exc)
    except Exception as exc:
        log.exception("%s failed", quote(request.method))
        unexpected = FacewatchError(f"internal error ({type(exc).__name__})", "see the daemon's log")
        return None if request.notification else _failure(request.id, unexpected)


def _success(id_: object, result: object) -> bytes:
    return _encode({"jsonrpc": "2.0", "id": id_, "result": result})


def _failure(id_: object, error: FacewatchError) -> bytes:
    body: dict[str, object]
    if isinstance(error, ProtocolError):
        body = {"code": error.code, "message": _one_line(str(error))}
    else:
        kind = error.kind if error.kind in CODES else "internal"
        data = {"kind": kind, "hint": _one_line(error.hint)}
        body = {"code": CODES[kind], "message": _one_line(error.message), "data": data}
    return _encode({"jsonrpc": "2.0", "id": id_, "error": body})


def _encode(reply: Mapping[str, object]) -> bytes:
    return json.dumps(reply, allow_nan=False, separators=(",", ":")).encode("ascii")


def _is_id(value: object) -> bool:
    return value is None or (isinstance(value, (str, int, float)) and not isinstance(value, bool))


def _id_of(message: object) -> object:
    """Return the id of a broken request, so far as it has one."""
    value = message.get("id") if isinstance(message, dict) else None
    return value if _is_id(value) else None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def quote(text: str) -> str:
    """Return a name that a client sent, fit for a message: quoted, escaped and not too long."""
    return repr(text if len(text) <= 60 else text[:60] + "…")
