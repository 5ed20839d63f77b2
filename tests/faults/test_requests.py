"""Requests at random, by the thousand: each is answered as JSON-RPC 2.0 and the protocol say, and nothing stays behind.

The lines come from `grammar`; what must be answered to one is worked out here from its text, with nothing of the
daemon's own.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support import drawn_faces, invariant
from tests.support.albums import album, shoot
from tests.support.clients import SPARE, Client, Usage, expect_as_before, forget_peak, peak, request
from tests.support.grammar import Grammar
from tests.support.processes import Daemon

PARSE, INVALID, NO_METHOD, BAD_PARAMS = -32700, -32600, -32601, -32602
RESULTS: dict[str, set[str]] = {
    "status": {"version", "pid", "uptime_s", "state", "model", "roots", "photos", "faces", "pending", "failed"},
    "query": {"query", "matches", "total", "threshold", "model", "faces", "pending", "complete", "exact", "elapsed_ms"},
    "faces": {"faces"},
    "why": {"path", "state", "reason", "faces"},
    "scan": {"queued"},
    "wait": {"pending", "seconds"},
    "pause": {"state"},
    "resume": {"state"},
    "verify": {"problems"},
    "photos": {"photos", "next"},
}
"""What the protocol has in the result of each method."""
KINDS: dict[str, set[str]] = {
    "query": {"unreadable-photo", "no-face", "bad-embedding", "too-large", "unknown-face", "unknown-person"},
    "faces": {"unreadable-photo", "too-large"},
    "scan": {"unreadable-photo"},
}
"""What may be wrong with a request that is well-formed; with those of other methods, nothing."""
CONNECTIONS = 4
LINES = 4
"""Of one example."""


class World:
    """A daemon on a directory of photos and of things that look like photos."""

    def __init__(self, place: Path, tiny_root: Path) -> None:
        self.photos = place / "photos"
        self.who = album(self.photos, 12, people=3)
        self.who[shoot(self.photos / "two.jpg", [1, 2], 77)] = 1
        (self.photos / "0011.jpg").rename(os.fsdecode(os.fsencode(self.photos) + b"/caf\xe9.jpg"))
        shoot(self.photos / "nobody.jpg", [], 78)
        os.mkfifo(self.photos / "pipe.jpg")
        (self.photos / "half.jpg").write_bytes((self.photos / "0001.jpg").read_bytes()[:3000])
        (self.photos / ".hidden.jpg").write_bytes((self.photos / "0001.jpg").read_bytes())
        self.failed = [self.photos / "pipe.jpg", self.photos / "half.jpg"]
        self.outside = shoot(place / "outside.jpg", [3], 79)
        self.daemon = Daemon(place / "home", self.photos, model="tiny", model_root=tiny_root)

    def grammar(self) -> Grammar:
        """To be asked once the photos are indexed."""
        photos = [os.fsencode(path) for path in (*self.who, self.photos / "nobody.jpg")]
        near = [self.photos / name for name in ("pipe.jpg", "half.jpg", ".hidden.jpg", "none.jpg")]
        others = [os.fsencode(path) for path in (*near, self.outside, self.daemon.socket, self.daemon.home)]
        others += [os.fsencode(self.photos) + rest for rest in (b"", b"/", b"//./0001.jpg", b"/0001.jpg/inside")]
        others += [b"/", b"", b"relative.jpg", b"/nul\0l", b"/" + b"x" * 5000, b"/\xff\xfe", b"/a\nb", b"/etc/../"]
        others += [b"/dev/zero", b"/dev/null", b"/proc/self/mem", b"/proc/self/maps", b"/proc/self/fd/0"]
        files = [path.read_bytes() for path in (self.outside, self.photos / "two.jpg")]
        known = [self.daemon.call("why", path=str(path)) for path in self.who]
        faces = [face["face_id"] for photo in known for face in photo["faces"]]
        embedding = [float(value) for value in range(-drawn_faces.DIM // 2, drawn_faces.DIM // 2)]
        return Grammar(photos, others, [*files, b"no photo", HUGE], faces, embedding)


HUGE = b"BM" + bytes(12) + b"\x28\0\0\0" + (50_000).to_bytes(4, "little") * 2 + b"\1\0\x18\0" + bytes(24)
"""The head of a BMP of 2500 megapixels."""


class Owed(NamedTuple):
    """The reply that a request must get."""

    id: object
    method: str
    code: int | None
    """Of the error that it must be; None for a request that may be carried out."""


def owed_to(line: bytes) -> list[Owed] | Owed | None:
    """Work out from its text what must be replied to a line: nothing, a reply, or several in a list."""
    try:
        message = json.loads(line.decode("utf-8"), parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        return Owed(None, "", PARSE)
    if isinstance(message, list) and message:
        return [owed for item in message if (owed := _owed_to_one(item)) is not None] or None
    return _owed_to_one(message)


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(text)
    return value


def _owed_to_one(item: Any) -> Owed | None:
    if not isinstance(item, dict):
        return Owed(None, "", INVALID)
    id_, method = item.get("id"), item.get("method")
    is_id = id_ is None or type(id_) in (str, int, float)
    if item.get("jsonrpc") != "2.0" or not isinstance(method, str) or not is_id:
        return Owed(id_ if is_id else None, "", INVALID)
    if "id" not in item:
        return None
    if not isinstance(item.get("params", {}), dict):
        return Owed(id_, method, BAD_PARAMS)
    return Owed(id_, method, None if method in RESULTS else NO_METHOD)


class Conversation:
    """Asks one daemon over a few connections, and holds every reply against what is owed."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._clients: list[Client] = []
        self.lines = 0
        self.outcomes: Counter[tuple[str, object]] = Counter()
        """How often a method had a result (None), or an error of this kind or code."""

    def close(self) -> None:
        while self._clients:
            self._clients.pop().close()

    def exchange(self, lines: Sequence[bytes]) -> None:
        """Send the lines in turn over all connections, and only then read."""
        while len(self._clients) < CONNECTIONS:
            self._clients.append(Client(self._daemon.socket))
        try:
            for number, line in enumerate(lines):
                self._clients[number % CONNECTIONS].send(line + b"\n")
            for number, line in enumerate(lines):
                if (owed := owed_to(line)) is not None:
                    self._hear(self._clients[number % CONNECTIONS], owed)
            for client in self._clients:  # and nothing else came
                assert client.ask(request("status", "the end"))["id"] == "the end"
        except BaseException:
            self.close()  # replies may be on their way
            raise
        self.lines += len(lines)

    def _hear(self, client: Client, owed: list[Owed] | Owed) -> None:
        reply = client.receive()
        assert isinstance(reply, list) == isinstance(owed, list), reply
        pairs = zip(reply, owed, strict=True) if isinstance(owed, list) else [(reply, owed)]
        for each, due in pairs:
            self._check(each, due)

    def _check(self, reply: Any, owed: Owed) -> None:
        assert (reply["id"], type(reply["id"])) == (owed.id, type(owed.id)), (reply, owed)
        if "result" in reply:
            assert owed.code is None, (reply, owed)
            assert reply["result"].keys() >= RESULTS[owed.method], (reply, owed)
            self.outcomes[owed.method, None] += 1
            return
        error = reply["error"]
        outcome = error["data"]["kind"] if "data" in error else error["code"]
        allowed = {BAD_PARAMS} | KINDS.get(owed.method, set()) if owed.code is None else {owed.code}
        assert outcome in allowed, (reply, owed)
        self.outcomes[owed.method if owed.code is None else "", outcome] += 1


def test_whatever_is_asked_is_answered_in_order_and_leaves_nothing_behind(
    tmp_path: Path, tiny_root: Path, amount: Callable[[int, int], int], pytestconfig: pytest.Config
) -> None:
    count = amount(800, 10_000)
    world = World(tmp_path, tiny_root)
    daemon = world.daemon
    with daemon, closing(Conversation(daemon)) as conversation:
        daemon.start()
        daemon.settle()
        usage: list[Usage] = []
        forget_peak(daemon)

        @settings(
            max_examples=count // LINES,
            deadline=None,
            database=None,
            derandomize=not pytestconfig.getoption("--full"),
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(world.grammar().lines(), min_size=LINES, max_size=LINES))
        def converse(lines: list[bytes]) -> None:
            conversation.exchange(lines)
            if conversation.lines >= count // 4:  # what is loaded once, is loaded now
                usage.append(Usage.of(daemon))

        converse()
        assert conversation.lines >= count * 0.9
        conversation.close()
        daemon.call("resume")
        expect_as_before(daemon, usage[0])
        assert peak(daemon) < usage[0].memory + 2 * SPARE.memory
        assert "Traceback" not in daemon.log.read_text()
        assert conversation.outcomes["query", None] > count / 50
        if count >= 10_000:
            expect_all_was_tried(conversation.outcomes)
        photo = world.photos / "0000.jpg"
        daemon.settle()
        assert daemon.paths(photo) == {path for path, person in world.who.items() if person == 1}
        invariant.check(daemon, failed=world.failed)


def expect_all_was_tried(outcomes: Counter[tuple[str, object]]) -> None:
    """The grammar is worth something: every method was carried out, and what can be wrong was wrong."""
    wanted: set[tuple[str, object]] = {(method, None) for method in RESULTS}
    wanted |= {("query", kind) for kind in KINDS["query"]}
    wanted |= {("", code) for code in (PARSE, INVALID, NO_METHOD, BAD_PARAMS)}
    missing = wanted - outcomes.keys()
    assert not missing, (missing, outcomes)
