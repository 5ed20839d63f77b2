"""What the daemon and facewatch-share say to each other comes through as it was, and nothing else is let in."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewatchd.matches import Box
from facewatchd.shared import wire
from facewatchd.shared.engine import EngineError, Trouble
from facewatchd.shared.forms import FormError
from facewatchd.shared.values import Detail, FoundContent, FoundFace, Hits, MachineState, Near, SharedContent
from facewatchd.shared.wire import Batch, Change, LinkStatus, State
from facewatchd.values import Look
from tests.support.fake_engine import FakeServer
from tests.support.shared_contents import DIM, content, embeddings

MACHINE = "ab" * 16


def through_json(value: object) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))


def near(detail: Detail = Detail.EMBEDDINGS) -> Any:
    server = FakeServer()
    server.add("cd" * 16, "nas", [content(1), content(2, faces=3)])
    engine = server.connect()
    asked = embeddings(content(1))
    return through_json(wire.near(engine.nearest(asked, [0.5] * len(asked), 10, detail=detail)))


def test_a_batch_comes_through() -> None:
    changes = (Change(7, content(1, faces=2, paths=(b"/a.jpg", b"/\xff.jpg"))), Change(9, SharedContent(b"\1" * 32)))
    sent = Batch("model-id", DIM, MACHINE, ("01" * 16, "02" * 16), changes, 12, 3)
    got = wire.read_batch(through_json(wire.batch(sent)))
    assert (got.model, got.dim, got.machine, got.lineages, got.backlog, got.pending) == (
        "model-id", DIM, MACHINE, sent.lineages, 12, 3,
    )  # fmt: skip
    assert [each.seq for each in got.changes] == [7, 9]
    first, gone = (each.content for each in got.changes)
    assert first.fingerprint == changes[0].content.fingerprint
    assert first.paths == changes[0].content.paths
    assert first.written == changes[0].content.written
    assert gone.is_gone
    assert gone.digest == b"\1" * 32


@pytest.mark.parametrize("detail", Detail)
def test_what_was_found_comes_through(detail: Detail) -> None:
    server = FakeServer()
    server.add("cd" * 16, "nas", [content(1), content(2, faces=3, paths=(b"/\xff",))], backlog=4)
    asked = np.concatenate([embeddings(content(1)), embeddings(content(2, faces=3))])
    sent = server.connect().nearest(asked, [0.5] * len(asked), 10, detail=detail)
    got = wire.read_near(through_json(wire.near(sent)), DIM, len(asked))
    assert [(each.name, each.faces, each.backlog) for each in got.machines] == [("nas", 4, 4)]
    assert [each.digest for each in got.contents] == [each.digest for each in sent.contents]
    assert [each.paths for each in got.contents] == [each.paths for each in sent.contents]
    assert [each.written for each in got.contents] == [each.written for each in sent.contents]
    for mine, theirs in zip(got.hits, sent.hits, strict=True):
        assert mine.contents.tolist() == theirs.contents.tolist()
        assert mine.face_ids.tolist() == theirs.face_ids.tolist()
        assert mine.similarities.tolist() == theirs.similarities.tolist()
    for mine, theirs in zip(got.contents, sent.contents, strict=True):
        assert [each.box for each in mine.faces] == [each.box for each in theirs.faces]
        assert [each.embedding is None for each in mine.faces] == [each.embedding is None for each in theirs.faces]


def test_whole_contents_and_a_status_come_through() -> None:
    server = FakeServer()
    server.add("cd" * 16, "nas", [content(1, faces=2)])
    found = server.connect().contents([content(1).digest])
    (got,) = wire.read_whole(through_json(wire.whole(found)), DIM).contents
    assert (
        SharedContent(got.digest, got, (1, 2)).fingerprint
        == SharedContent(got.digest, found.contents[0], (1, 2)).fingerprint
    )
    status = LinkStatus(State.BEHIND, "why", "what to do", False, "here", 3, 4, tuple(server.connect().machines()))
    read = wire.read_status(through_json(status.asdict()))
    assert read.state is State.BEHIND
    assert (read.reason, read.hint, read.sends, read.name, read.backlog, read.pending) == (
        "why", "what to do", False, "here", 3, 4,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["a\u00a0b", "\u200b", "\u4e2d", "x" * 64])
def test_whatever_the_engine_lets_through_comes_through(name: str) -> None:
    """One machine that writes something odd must not keep the answers of all others away."""
    most = (1 << 63) - 1
    machine = MachineState(most, name, 1 << 48, 1 << 48, 1 << 48, 1 << 48, 1e11, is_self=False)
    face = FoundFace(most, Box(0, 0, 1, 1), 1.0, None, Look.FIRST, None)
    found = FoundContent(most, bytes(32), (b"/" + b"\xff" * 4095, b"/a//../\xc3"), 1, 1, -4, None, False, None, (face,))
    hits = Hits(np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([most]), np.array([1.01], np.float32))
    got = wire.read_near(through_json(wire.near(Near((machine,), (found,), (hits,)))), DIM, 1)
    assert got.machines == (machine,)
    assert got.contents[0].faces[0].face_id == most


@pytest.mark.parametrize("trouble", Trouble)
def test_trouble_is_raised_again_where_it_is_read(trouble: Trouble) -> None:
    with pytest.raises(EngineError) as caught:
        wire.raise_trouble(through_json(wire.trouble(EngineError(trouble, "on\ntwo lines", "do\tthis"))))
    assert (caught.value.trouble, str(caught.value)) == (trouble, "on two lines; do this")
    assert wire.state_of(trouble) in (State.UNREACHABLE, State.REFUSED)


def _put(path: list[Any], value: object) -> Callable[[Any], None]:
    def put(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = value

    return put


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["machines"], []),
        (["machines", 0, "name"], "a\nb"),
        (["machines", 0, "faces"], -1),
        (["contents", 0, "machine"], 99),
        (["contents", 0, "digest"], "00"),
        (["contents", 0, "paths"], ["relative.jpg"]),
        (["contents", 0, "paths"], ["/a\0b"]),
        (["contents", 0, "paths"], [{"path": "/a\0b"}]),
        (["contents", 0, "paths"], [{"path": "relative.jpg"}]),
        (["contents", 0, "paths"], [{"path": "/\ud800"}]),
        (["contents", 0, "paths"], [{"path": 3}]),
        (["contents", 0, "paths"], [{"path": "/a", "path_bytes": "/"}]),
        (["contents", 0, "width"], 0),
        (["contents", 0, "taken"], [1e30, 0, "exif"]),
        (["contents", 0, "faces", 0, "box"], [0, 0, 100_000, 5]),
        (["contents", 0, "faces", 0, "score"], 2),
        (["contents", 0, "faces", 0, "look"], "sideways"),
        (["contents", 0, "faces", 0, "embedding"], "AAAA"),
        (["hits"], []),
        (["hits", 0, "contents"], "AAAAAAAAAAA="),
        (["hits", 0, "similarities"], ""),
        (["cut"], 1),
    ],
)
def test_what_cannot_be_is_refused(path: list[Any], value: object) -> None:
    document = near()
    _put(path, value)(document)
    with pytest.raises(FormError):
        wire.read_near(document, DIM, 1)


def test_hits_on_what_is_not_there_are_refused() -> None:
    document = near()
    for contents, faces in (([5], [0]), ([0], [5]), ([-2], [0])):
        broken = copy.deepcopy(document)
        hit = broken["hits"][0]
        hit["contents"] = wire.forms.text_of(np.array(contents, "<i8").tobytes())
        hit["faces"] = wire.forms.text_of(np.array(faces, "<i8").tobytes())
        hit["face_ids"] = wire.forms.text_of(np.array([1], "<i8").tobytes())
        hit["similarities"] = wire.forms.text_of(np.array([0.9], "<f4").tobytes())
        with pytest.raises(FormError):
            wire.read_near(broken, DIM, 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_no_answer_raises_anything_else(data: st.DataObject) -> None:
    document = data.draw(st.sampled_from([near(), near(Detail.HITS)]))
    at, key = document, "hits"
    for _ in range(data.draw(st.integers(0, 4))):
        if not isinstance(at, (dict, list)) or not at:
            break
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if isinstance(at[key], (dict, list)) and data.draw(st.booleans()):
            at = at[key]
        else:
            break
    if key in (at if isinstance(at, dict) else range(len(at))):
        at[key] = data.draw(JSON)
    try:
        wire.read_near(document, DIM, 1)
    except FormError:
        return
