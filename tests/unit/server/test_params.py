"""Parameters of requests: bytes, paths, and the words of what is wrong. The other kinds are `fields`'."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewatchd.fields import FieldError, ListOf, Object, optional, required
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.server.params import MAX_PATH, Base64, PathItem, Paths, SplitPath, encode_path, read


@dataclass(frozen=True, slots=True)
class Photo:
    path: bytes = required(SplitPath(), "Where it is.")


@dataclass(frozen=True, slots=True)
class Request:
    photos: tuple[Photo, ...] = optional(ListOf(Object(Photo)), "Photos.", ())
    dirs: tuple[bytes, ...] = optional(Paths(3, 20), "Directories.", ())
    data: bytes = optional(Base64(), "Bytes.", b"")


def test_what_is_right_is_read() -> None:
    values = {
        "photos": [{"path": "/\u00e9"}, {"path": "x", "path_bytes": "L/8="}],
        "dirs": ["/a", {"path": "x", "path_bytes": "L/8="}],
        "data": "aGVs\nbG8=",
    }
    assert read(Request, values) == Request((Photo("/\u00e9".encode()), Photo(b"/\xff")), (b"/a", b"/\xff"), b"hello")


@pytest.mark.parametrize("values", [{}, {"photos": None, "dirs": None, "data": None}])
def test_what_is_absent_or_null_has_its_default(values: dict[str, object]) -> None:
    assert read(Request, values) == Request()


def test_a_path_that_must_be_there_is_missed_by_name() -> None:
    for values in ({}, {"path": None}, {"path": None, "path_bytes": None}):
        with pytest.raises(ParamsError, match=r"^path must be an absolute path$"):
            read(Photo, values)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Base64(), ["a", "\u00e9", "a*==", 1, [], True]),
        (PathItem(), [1, "a", "/a\0", {}, {"path": "/a", "mode": 1}, "/\ud800", "", [], True]),
        (
            Paths(),
            ["/a", [1], ["a"], ["/a\0"], [{}], [{"path": "/a", "mode": 1}], ["/\ud800"], [""], {}],
        ),
    ],
)
def test_what_is_wrong_is_named(kind: Any, wrong: list[object]) -> None:
    for value in wrong:
        with pytest.raises(FieldError, match=r"\bx\b.*must be|unknown name 'x(\[0\])?\.mode'"):
            kind.read(value, "x")


@pytest.mark.parametrize(
    "values",
    [
        {"path": "a"}, {"path": "/\0"}, {"path": 1}, {"path_bytes": "YQ=="}, {"path": ""}, {"path_bytes": "*"},
        {"path": "/a", "path_bytes": ""}, {"path": "/" + "a" * MAX_PATH}, {"path_bytes": "YQ==", "path": 7},
    ],
)  # fmt: skip
def test_path_that_is_none(values: dict[str, object]) -> None:
    with pytest.raises(ParamsError, match="path"):
        read(Photo, values)


def test_paths_are_bounded_in_number_and_length() -> None:
    with pytest.raises(ParamsError, match=r"^dirs must be a list of at most 3, not of 4$"):
        read(Request, {"dirs": ["/a"] * 4})
    with pytest.raises(ParamsError, match=r"^dirs must be paths of at most 20 bytes together, not of 24$"):
        read(Request, {"dirs": ["/" + "a" * 11] * 2})


def test_nested_parameters_say_where() -> None:
    with pytest.raises(ParamsError, match=r"^photos\[0\]\.path must be a string$"):
        read(Request, {"photos": [{"path": 3, "typo": 1}]})
    with pytest.raises(ParamsError, match=r"^photos\[1\]\.path_bytes must be base64$"):
        read(Request, {"photos": [{"path": "/a"}, {"path_bytes": "*"}]})
    with pytest.raises(ParamsError) as caught:
        read(Request, {"photos": [{"path": "/a", "typo": 1}]})
    assert str(caught.value) == "unknown parameter 'photos[0].typo'; known here: path, path_bytes"


def test_a_name_that_no_client_should_send_is_quoted() -> None:
    with pytest.raises(ParamsError) as caught:
        read(Request, {"no\nsuch" + "\ud800" * 500: 1})
    assert "no\\nsuch" in str(caught.value)
    assert len(str(caught.value)) < 500


@given(st.binary().map(lambda tail: b"/" + tail.replace(b"\0", b"")))
def test_paths_survive_the_way_there_and_back(path: bytes) -> None:
    encoded = encode_path(path)
    assert read(Photo, json.loads(json.dumps(encoded))).path == b"/" + os.path.normpath(path).lstrip(b"/")
    assert ("path_bytes" in encoded) == (path.decode("utf-8", "replace").encode() != path)


def test_path_that_is_not_utf8_shows_replacement_characters() -> None:
    encoded = encode_path(b"/caf\xe9")
    assert encoded == {"path": "/caf\ufffd", "path_bytes": base64.b64encode(b"/caf\xe9").decode()}
    assert encode_path("/\ufffd".encode()) == {"path": "/\ufffd"}
