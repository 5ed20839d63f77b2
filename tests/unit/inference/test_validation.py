"""Answers of an inference process, changed at random: each is read as values that can be, or refused as nonsense."""

from __future__ import annotations

import contextlib
import io
import json
import math
import socket
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from facewatchd.errors import FacewatchError
from facewatchd.inference import validation
from facewatchd.inference.validation import ERRORS, MOST_FACES_AGAIN, MOST_TEXT, InvalidAnswerError
from facewatchd.inference.wire import (
    Again,
    Analysis,
    Channel,
    receive_analysis,
    receive_description,
    receive_info,
    receive_named,
    receive_picture,
    receive_threads,
)
from facewatchd.models.base import MOST_NORM, UNIT_TOLERANCE
from facewatchd.models.registry import Pack
from facewatchd.photos import likeness
from facewatchd.photos.crops import Crop, Thumbnail
from facewatchd.photos.files import MAX_PIXELS
from facewatchd.photos.regions import MOST, SIDECARS, SOURCES_OF, XMP, Named, clean_name
from facewatchd.photos.taken import IN_BYTES, MOST_OFFSET, is_possible
from facewatchd.values import Look, ModelInfo, Taken, Ways


def saved(mode: str = "RGB", size: tuple[int, int] = (3, 2), kind: str = "JPEG", **options: Any) -> bytes:
    """A small picture as a file."""
    buffer = io.BytesIO()
    Image.new(mode, size, "red" if mode == "RGB" else None).save(buffer, kind, **options)
    return buffer.getvalue()


JPEG = saved()
DIM = 3
WIDTH, HEIGHT = 320, 240
FACE = {
    "box": [1, 2, 30, 40],
    "score": 0.9,
    "landmarks": [[5.0, 5.5]] * 5,
    "norm": 8.25,
    "look": "first",
    "sharpness": 9.5,
}
SEEN: dict[str, Any] = {
    "width": WIDTH,
    "height": HEIGHT,
    "faces": [FACE, {**FACE, "box": [300, 200, 20, 40], "norm": None}],
    "worth": 2,
    "taken": {"at": 1561896000.25, "offset": 120, "source": "exif"},
    "picture": "0123456789abcdef",
    "thumbnails": [[3, 2, len(JPEG)]] * 3,
}
NAMED = {
    "regions": [["Anna", "mwg", [0.1, 0.2, 0.3, 0.4], [320, 240.5], ""], ["Bob", "microsoft", None, [0, 0], ""]],
    "aside": ["a region with a negative side"],
}
DESCRIPTION = {"width": WIDTH, "height": HEIGHT, "orientation": 6, "taken": SEEN["taken"], "named": NAMED}
ROWS = np.array([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]], "<f4").tobytes()
PACK = Pack("tiny", None, "tiny-00000000", 0.4)
PLACEMENT = {"detector": "cpu", "recogniser": "cpu", "reason": ""}
MODEL = {"id": PACK.id, "name": PACK.name, "dim": DIM, "threshold": PACK.threshold, "quality": None}
INFO = {"model": MODEL, "placement": PLACEMENT, "confinement": "full"}

NUMBERS = st.one_of(
    st.integers(-2, 400),
    st.floats(-2, 2),
    st.sampled_from([2**31, 2**63, 2**70, -(2**70), 10**400, MAX_PIXELS, MAX_PIXELS + 1, 1e308, -0.0, 1e-320]),
    st.floats(),
)
VALUES = st.recursive(
    st.one_of(
        NUMBERS, NUMBERS, st.none(), st.booleans(), st.text(max_size=8), st.sampled_from(["ModelError", "\ud800"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(st.sampled_from(["width", "height", "faces", "box", "score", "error", "message"]), inner),
    ),
    max_leaves=8,
)


@st.composite
def changed_documents(draw: st.DrawFn, document: Any) -> Any:
    """A JSON document of which a value or two are others, are missing, or come twice."""
    changed = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 2))):
        kinds = _places(changed)
        if not kinds:
            break
        holder, key = draw(st.sampled_from(kinds[draw(st.sampled_from(sorted(kinds)))]))
        action = draw(st.sampled_from(["replace", "replace", "replace", "remove", "repeat"]))
        if action == "replace":
            holder[key] = draw(VALUES)
        elif action == "remove":
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, holder[key])
        else:
            holder[draw(st.sampled_from(["error", "faces", "score", "other"]))] = holder[key]
    return changed


def _places(value: Any, kind: str = "") -> dict[str, list[tuple[Any, Any]]]:
    """Each container with each key in it, all the way down, by kind: there are many landmarks, and one width."""
    places: dict[str, list[tuple[Any, Any]]] = {}
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        inner = f"{kind}/{key}" if isinstance(value, dict) else f"{kind}/[]"
        places.setdefault(inner, []).append((value, key))
        for name, more in _places(value[key], inner).items():
            places.setdefault(name, []).extend(more)
    return places


@st.composite
def changed_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes of which some are others, are missing, or were added; often all are as they were."""
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 12))
        data = data[:at] + draw(st.binary(max_size=12)) + data[at + length :]
    return data


def framed(*frames: bytes) -> bytes:
    return b"".join(struct.pack("!Q", len(frame)) + frame for frame in frames)


def pair(data: bytes) -> tuple[Channel, Channel]:
    """A line on which these bytes have come, and nothing more comes."""
    ours, theirs = (Channel(end) for end in socket.socketpair())
    theirs.socket.settimeout(5)  # a failure, should it ever be more than fits in the kernel's buffer
    theirs.socket.sendall(data)
    theirs.socket.shutdown(socket.SHUT_WR)
    return ours, theirs


def expect_possible(seen: Analysis) -> None:
    assert type(seen.width) is type(seen.height) is int
    assert seen.width > 0
    assert seen.height > 0
    assert seen.width * seen.height <= MAX_PIXELS
    expect_possible_date(seen.taken)
    assert seen.picture is None or (type(seen.picture) is bytes and len(seen.picture) == likeness.BYTES)
    assert len(seen.thumbnails) in (0, len(seen.faces) + 1)
    for thumbnail in seen.thumbnails:
        expect_possible_thumbnail(thumbnail)
    for face in seen.faces:
        x, y, w, h = face.box
        assert {type(each) for each in face.box} == {int}
        assert 0 <= x < x + w <= seen.width
        assert 0 <= y < y + h <= seen.height
        assert type(face.score) is float
        assert 0.0 <= face.score <= 1.0
        assert (face.landmarks.shape, face.landmarks.dtype) == ((5, 2), np.float32)
        assert np.isfinite(face.landmarks).all()
        assert face.sharpness is None or (type(face.sharpness) is float and 0.0 <= face.sharpness < math.inf)
        assert face.norm is None or (type(face.norm) is float and 0.0 < face.norm <= MOST_NORM)
        assert (face.embedding.shape, face.embedding.dtype) == ((DIM,), np.float32)
        assert math.isclose(float(np.linalg.norm(face.embedding.astype(np.float64))), 1.0, abs_tol=2 * UNIT_TOLERANCE)


def expect_possible_date(taken: Taken | None) -> None:
    if taken is not None:
        assert type(taken.at) is float
        assert is_possible(taken.at)
        assert taken.offset is None or (type(taken.offset) is int and abs(taken.offset) <= MOST_OFFSET)
        assert taken.source in IN_BYTES


def expect_told(error: FacewatchError) -> None:
    """An error that the process tells of is one that is known, on one line that can be printed."""
    assert type(error) in ERRORS.values()
    for text in (error.message, error.hint or ""):
        assert len(text) <= MOST_TEXT
        assert len(text.splitlines()) <= 1
        text.encode()


@contextlib.contextmanager
def told_or_nonsense(data: bytes) -> Iterator[Any]:
    """The end at which data arrive; what reading them may raise passes, when it is as it should be."""
    ours, theirs = pair(data)
    try:
        yield ours
    except FacewatchError as exc:
        expect_told(exc)
    except (InvalidAnswerError, EOFError):
        pass
    finally:
        ours.close()
        theirs.close()


def read_seen(data: bytes) -> None:
    with told_or_nonsense(data) as ours:
        expect_possible(receive_analysis(ours, DIM))


@settings(deadline=None, max_examples=300)
@given(
    changed_documents(SEEN),
    st.one_of(st.just(ROWS), changed_bytes(ROWS)),
    st.one_of(st.just(3 * JPEG), changed_bytes(3 * JPEG)),
)
@example(SEEN, ROWS, 3 * JPEG)
def test_a_changed_answer_is_possible_or_nonsense(document: Any, rows: bytes, pictures: bytes) -> None:
    read_seen(framed(json.dumps(document).encode(), rows, pictures))


def test_the_answer_that_is_changed_here_is_sound() -> None:
    ours, theirs = pair(framed(json.dumps(SEEN).encode(), ROWS, 3 * JPEG))
    with ours.socket, theirs.socket:
        assert list(receive_analysis(ours, DIM).thumbnails) == [Thumbnail(JPEG, 3, 2)] * 3


@settings(deadline=None, max_examples=150)
@given(
    changed_documents({"thumbnail": [3, 2, len(JPEG)], "width": WIDTH, "height": HEIGHT}),
    st.one_of(st.just(JPEG), changed_bytes(JPEG)),
)
def test_a_changed_thumbnail_is_one_of_its_size_or_nonsense(document: Any, data: bytes) -> None:
    with told_or_nonsense(framed(json.dumps(document).encode(), data)) as ours:
        seen = receive_picture(ours, Crop(16))
        expect_possible_thumbnail(seen.thumbnail)
        assert 0 < seen.width * seen.height <= MAX_PIXELS


def expect_possible_thumbnail(thumbnail: Thumbnail) -> None:
    with Image.open(io.BytesIO(thumbnail.jpeg)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (thumbnail.width, thumbnail.height))
        assert not image.getexif()
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def exif() -> Image.Exif:
    found = Image.Exif()
    found[0x010E] = "at home"
    return found


@pytest.mark.parametrize(
    "data",
    [
        b"",
        JPEG[:2],
        JPEG[:-1],
        JPEG + b"x",
        JPEG + JPEG,
        JPEG[:-2] + JPEG[JPEG.index(b"\xff\xda") :],
        saved(size=(2, 3)),
        saved("L"),
        saved("CMYK"),
        saved(progressive=True),
        saved(exif=exif()),
        saved(comment=b"at home"),
        saved(icc_profile=b"profile"),
        JPEG.replace(b"JFIF\0", b"JFXX\0"),
        saved(kind="PNG"),
    ],
)
def test_what_is_no_bare_jpeg_of_the_size_is_nonsense(data: bytes) -> None:
    with pytest.raises(InvalidAnswerError):
        validation.jpeg(data, 3, 2)


@pytest.mark.parametrize(
    "options", [{}, {"quality": 100, "subsampling": 0}, {"optimize": True}, {"restart_marker_rows": 1}]
)
def test_a_bare_jpeg_is_passed_on_as_it_is(options: dict[str, Any]) -> None:
    noise = Image.effect_noise((64, 48), 90).convert("RGB")
    buffer = io.BytesIO()
    noise.save(buffer, "JPEG", **options)
    assert validation.jpeg(buffer.getvalue(), 64, 48) == buffer.getvalue()


@settings(deadline=None, max_examples=150)
@given(changed_documents(DESCRIPTION))
@example(DESCRIPTION)
def test_a_changed_description_is_possible_or_nonsense(document: Any) -> None:
    with told_or_nonsense(framed(json.dumps(document).encode())) as ours:
        seen = receive_description(ours)
        assert 0 < seen.width * seen.height <= MAX_PIXELS
        assert seen.orientation in range(1, 9)
        expect_possible_date(seen.taken)
        expect_possible_names(seen.named, SOURCES_OF[XMP])


def expect_possible_names(named: Named, sources: tuple[str, ...]) -> None:
    assert len(named.regions) <= MOST
    for region in named.regions:
        assert region.name == clean_name(region.name) != ""
        assert region.source in sources
        assert all(0 <= side < math.inf for side in region.applied)
        if region.area is not None:
            x, y, w, h = region.area
            assert min(region.area) >= 0
            assert max(x + w, y + h) <= 1.00001


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(SIDECARS), changed_documents({"named": NAMED}))
def test_changed_names_are_possible_or_nonsense(kind: str, document: Any) -> None:
    with told_or_nonsense(framed(json.dumps(document).encode())) as ours:
        expect_possible_names(receive_named(ours, kind), SOURCES_OF[kind])


@settings(deadline=None, max_examples=150)
@given(changed_bytes(framed(json.dumps(SEEN).encode(), ROWS, 3 * JPEG)))
def test_changed_bytes_of_an_answer_are_possible_or_nonsense(data: bytes) -> None:
    read_seen(data)


def answer(looks: list[str], again: Again | None, width: int = WIDTH) -> Analysis:
    faces = [{**FACE, "look": look} for look in looks]
    document = json.dumps({**SEEN, "width": width, "faces": faces, "thumbnails": []}).encode()
    ours, theirs = pair(framed(document, ROWS[:12] * len(looks), b""))
    with ours.socket, theirs.socket:
        return receive_analysis(ours, DIM, again)


@pytest.mark.parametrize(
    ("ways", "possible"),
    [
        (None, {Look.FIRST}),
        (Ways.TURNED, {Look.TURNED_90, Look.TURNED_180, Look.TURNED_270}),
        (Ways.TILES, {Look.TILE}),
        (Ways.BOTH, set(Look) - {Look.FIRST}),
    ],
)
def test_a_face_is_of_a_look_that_was_asked_for(ways: Ways | None, possible: set[Look]) -> None:
    again = None if ways is None else Again(ways, -1, WIDTH, HEIGHT)
    for look in Look:
        with contextlib.nullcontext() if look in possible else pytest.raises(InvalidAnswerError, match="asked for"):
            assert [face.look for face in answer([look], again).faces] == [look]


def test_a_second_look_is_at_as_many_pixels_as_the_first() -> None:
    again = Again(Ways.TILES, -1, WIDTH, HEIGHT)
    assert answer(["tile"], again).width == WIDTH
    with pytest.raises(InvalidAnswerError, match="400 x 240 pixels, not 320 x 240"):
        answer(["tile"], again, width=400)


def test_a_second_look_finds_so_many_faces_at_most() -> None:
    again = Again(Ways.TILES, -1, WIDTH, HEIGHT)
    assert len(answer(["tile"] * MOST_FACES_AGAIN, again).faces) == MOST_FACES_AGAIN
    with pytest.raises(InvalidAnswerError, match="no list of at most"):
        answer(["tile"] * (MOST_FACES_AGAIN + 1), again)
    assert len(answer(["first"] * (MOST_FACES_AGAIN + 1), None).faces) > MOST_FACES_AGAIN


@settings(deadline=None, max_examples=150)
@given(changed_documents({"error": "UnreadablePhotoError", "message": "the JPEG is damaged", "hint": "copy it"}))
def test_a_changed_error_is_one_of_ours_or_nonsense(document: Any) -> None:
    read_seen(framed(json.dumps(document).encode()))


@settings(deadline=None, max_examples=150)
@given(changed_documents(INFO))
@example(INFO)
def test_what_a_process_says_of_its_model_is_the_packs_or_nonsense(document: Any) -> None:
    with told_or_nonsense(framed(json.dumps(document).encode())) as ours:
        info, placement, confinement = receive_info(ours, PACK)
        assert info is not None
        assert placement.where == "cpu"
        assert info == ModelInfo(PACK.id, PACK.name, info.dim, PACK.threshold)
        assert type(info.dim) is int
        assert info.dim > 0
        assert len(confinement.splitlines()) <= 1


@settings(deadline=None, max_examples=100)
@given(changed_documents({"thread": 1}))
def test_what_a_process_says_of_its_threads_is_true_or_nonsense(document: Any) -> None:
    ours, theirs = pair(framed(json.dumps(document).encode()))
    try:
        (thread,) = receive_threads([ours], 1).values()
        assert thread == 1
    except (InvalidAnswerError, EOFError):
        pass
    finally:
        ours.close()
        theirs.close()
