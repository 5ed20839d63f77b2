"""The declared parameters of the methods: every method has them, and what a request leaves out has its default."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from facewatchd.api.methods import Methods
from facewatchd.api.parameters import (
    METHODS,
    AssignParameters,
    PhotosParameters,
    QueryParameters,
    Source,
    WaitParameters,
)
from facewatchd.config import KEYS
from facewatchd.server.jsonrpc import MethodNotFoundError, ParamsError
from facewatchd.server.params import read


@pytest.fixture
def methods() -> Methods:
    return Methods(*(Mock() for _ in range(13)))


def test_every_method_is_declared(methods: Methods) -> None:
    assert methods.table.keys() == METHODS.keys()


@pytest.mark.parametrize("method", METHODS)
def test_a_method_refuses_what_it_does_not_know(methods: Methods, method: str) -> None:
    needed: dict[str, dict[str, Any]] = {
        "query": {"faces": [1]},
        "subscribe": {"faces": [1]},
        "seen": {"name": "mail", "shown": []},
        "faces": {"path": "/a"},
        "group": {"id": 1},
        "ignore": {"who": [{"face_id": 1}]},
        "suggestions": {"person": "Anna"},
        "thumbnail": {"face_id": 1},
        "why": {"path": "/a"},
        "photos": {"state": "failed"},
        "person": {"name": "Anna"},
        "assign": {"name": "Anna", "who": [{"face_id": 1}]},
        "describe_person": {"name": "Anna"},
        "rename_person": {"name": "Anna", "new": "Anne"},
        "merge_people": {"name": "Anna", "into": "Anne"},
        "forget_person": {"name": "Anna"},
        "export": {"part": "people"},
        "import_people": {"data": ""},
        "import_contents": {"data": ""},
        "outbox_sending": {"lineage": "0" * 32},
        "outbox_sent": {"seqs": [], "lineage": "0" * 32},
    }
    values = needed.get(method, {})
    methods.call(method, values)
    with pytest.raises(ParamsError, match=r"^unknown parameter 'typo'; known here: "):
        methods.call(method, {**values, "typo": 1})


def test_a_method_that_is_not_there(methods: Methods) -> None:
    with pytest.raises(MethodNotFoundError):
        methods.call("table", {})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "give exactly one of photos, faces, embedding, who"),
        ({"photos": [{"path": "/a"}], "faces": [1]}, "give exactly one of photos, faces, embedding, who"),
        ({"photos": []}, "photos must be a list that is not empty"),
        ({"photos": [{}]}, "give exactly one of photos[0].path, photos[0].data"),
        ({"faces": [-1]}, "faces[0] must be a whole number of at least 0"),
        ({"faces": [1], "threshold": 2}, "threshold must be a number from -1 to 1"),
        ({"faces": [1], "face": "most"}, 'face must be "largest", "all" or a whole number of at least 0'),
        ({"faces": [1], "wait": 86401}, "wait must be a number from 0 to 86400"),
        ({"embedding": [float("inf")]}, "embedding[0] must be a number"),
        ({"faces": [1], "with": [1]}, "with[0] must be an object with the fields of `who[]`"),
        ({"faces": [1], "with": {}}, "with must be a list"),
        ({"faces": [1], "with": [{"face_id": 1}] * 51}, "with must be a list of at most 50, not of 51"),
        (
            {"faces": [1], "without": [{"path": "/a", "face": -1}]},
            'without[0].face must be "largest", "all" or a whole number of at least 0',
        ),
        (
            {"who": [{"person": "Anna", "face_id": 1}]},
            "give exactly one of who[0].path, who[0].data, who[0].person, who[0].face_id, who[0].group,"
            " who[0].embedding",
        ),
        ({"who": [{"person": ""}]}, "who[0].person must be text of 1 to 200 characters"),
        ({"who": [{"person": "\ud800"}]}, "who[0].person must be text of 1 to 200 characters"),
        ({"who": [{"embedding": [1, None]}]}, "who[0].embedding[1] must be a number"),
        ({"who": [{"face_id": 1 << 63}]}, "who[0].face_id must be a whole number of at least 0"),
        ({"faces": [1], "sort": "size"}, 'sort must be "similarity", "date", "-date", "path"'),
    ],
)
def test_a_query_that_cannot_be_is_told_why(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ParamsError) as caught:
        read(QueryParameters, values)
    assert str(caught.value) == words


@pytest.mark.parametrize("box", [[], [1, 2, 3], [1, 2, 3, 4, 5]])
def test_a_box_has_four_numbers(box: list[int]) -> None:
    with pytest.raises(ParamsError) as caught:
        read(AssignParameters, {"name": "Anna", "who": [{"face_id": 1}], "box": box})
    assert str(caught.value) == f"box must be a list of 4, not of {len(box)}"


def test_defaults() -> None:
    query = read(QueryParameters, {"faces": [7]})
    assert (query.face, query.top, query.threshold, query.collapse, query.wait) == ("largest", None, None, True, None)
    assert read(WaitParameters, {}).timeout == 60
    page = read(PhotosParameters, {"state": "failed"})
    assert (page.after, page.limit) == (b"", 1000)
    assert read(Source, {"path": "/a/../b"}).path == b"/b"


def test_every_declaration_has_a_meaning_and_a_default_in_words() -> None:
    for description in [*KEYS, *(each for method in METHODS.values() for each in method.describe())]:
        assert description.meaning.endswith("."), description
        assert description.default, description
