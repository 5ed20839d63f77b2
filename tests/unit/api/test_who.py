"""WHO: what a question names people by, and what is asked for them. The catalog and the index are real."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from facewatchd.api import replies
from facewatchd.api.faces import FaceFinder
from facewatchd.api.parameters import QueryParameters
from facewatchd.api.search import Answer, Searcher
from facewatchd.errors import BadEmbeddingError, NoFaceError, UnknownFaceError, UnknownPersonError
from facewatchd.inference.pool import Inference
from facewatchd.inference.wire import Analysis
from facewatchd.matches import Box
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.server.params import read
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.store.scoring import Search
from facewatchd.threads.bounded_calls import DiskCalls
from facewatchd.values import Face, ModelInfo
from tests.support.galleries import DIM, face, stamp
from tests.support.known_people import PlayedResolver, scorer

INFO = ModelInfo("test-00000000", "test", DIM, 0.5)
ANNA, BEN, CARL, SELDOM = np.eye(4, DIM, dtype=np.float32)
OLD_ANNA = (ANNA * 0.3 + SELDOM * np.sqrt(1 - 0.09)).astype(np.float32)
"""Like Anna by more than the limit of one person, and by less than a match."""
LEFT, RIGHT = Box(0, 0, 60, 80), Box(200, 0, 90, 90)
SENT = {
    b"anna": [face(ANNA)],
    b"ben": [face(BEN)],
    b"old": [face(OLD_ANNA)],
    b"none": [],
    b"both": [face(ANNA, LEFT), face(BEN, RIGHT)],
}


class Album:
    """A catalog of photos by name, whose faces have names of their own, and what was said of them."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery
        self.resolver = PlayedResolver()
        finder = FaceFinder(gallery.catalog, cast(Inference, self), DiskCalls())
        self.searcher = Searcher(gallery, finder, scorer(gallery, INFO, self.resolver), INFO)

    def analyse(self, data: bytes) -> Analysis:
        return Analysis(640, 480, SENT[bytes(data)])

    def add(self, name: str, *faces: Face) -> list[int]:
        """Record a photo; return the ids of its faces."""
        path = f"/{name}".encode()
        self.gallery.record([Outcome(path, stamp(1), path, 640, 480, list(faces))])
        with self.gallery.catalog.reading() as reader:
            return [face_id for face_id, _ in reader.faces(self.content(name)) or []]

    def content(self, name: str) -> int:
        with self.gallery.catalog.reading() as reader:
            record = reader.photo(f"/{name}".encode())
        assert record is not None
        assert record.content_id is not None
        return record.content_id

    def ask(self, search: Search | None = None, **params: object) -> Answer:
        return self.searcher.search(read(QueryParameters, params), search or Search(0.5))

    def names(self, **params: object) -> list[str]:
        return [match.path.decode()[1:] for match in self.ask(**params).found.matches]


@pytest.fixture
def album(gallery: Gallery) -> Album:
    return Album(gallery)


def data(name: str, **more: object) -> dict[str, object]:
    import base64

    return {"data": base64.b64encode(name.encode()).decode(), **more}


def who(*whos: dict[str, Any]) -> list[dict[str, Any]]:
    return list(whos)


def test_every_way_of_naming_the_same_person(album: Album) -> None:
    (anna,) = album.add("a", face(ANNA))
    album.add("b", face(BEN))
    album.add("both", face(ANNA, LEFT), face(BEN, RIGHT))
    album.resolver.say({1: [anna]})
    ways: list[dict[str, Any]] = [
        data("anna"), data("both", face=0), {"face_id": anna}, {"person": "Person 1"},
        {"embedding": ANNA.tolist()},
    ]  # fmt: skip
    for way in ways:
        assert sorted(album.names(who=[way])) == ["a", "both"], way
    assert sorted(album.names(who=ways)) == ["a", "both"]


def test_a_face_of_one_who_counts_before_that_of_the_question(album: Album) -> None:
    album.add("b", face(BEN))
    assert album.names(who=[data("both")]) == ["b"], "Ben's is larger"
    assert album.names(who=[data("both")], face=0) == []
    assert album.names(who=[data("both", face=1)], face=0) == ["b"]
    assert album.names(who=[data("both", face="largest")], face="all") == ["b"]
    album.add("two", face(ANNA, LEFT), face(BEN, RIGHT))
    assert album.names(who=[data("anna")], face=0, **{"with": [data("both")]}) == ["two"], "Ben: in with the largest"


def test_a_person_answers_with_every_reference_and_says_so(album: Album) -> None:
    (anna,), (old,) = album.add("a", face(ANNA)), album.add("old", face(OLD_ANNA))
    album.add("b", face(BEN))
    album.resolver.say({1: [anna, old]})
    answer = album.ask(who=[{"person": "person 1"}])
    assert {(match.path, match.person, match.confirmed) for match in answer.found.matches} == {
        (b"/a", "person 1", True),
        (b"/old", "person 1", True),
    }
    document: Any = replies.answer(answer, 0.5, INFO, None)
    assert document["query"] == [{"photo": None, "person": "person 1", "references": 2, "photos": 0, "who": 0}]
    assert [match["of"] for match in document["matches"]] == [0, 0]
    assert album.names(who=[data("anna")]) == ["a"], "one photo of hers finds only one of them"


def test_photos_join_a_person_as_further_references(album: Album) -> None:
    (anna,) = album.add("a", face(ANNA))
    album.add("old", face(OLD_ANNA))
    album.resolver.say({1: [anna]})
    person = {"person": "person 1"}
    assert album.names(who=[person]) == ["a"]
    assert album.names(who=[person, data("old")]) == ["a", "old"]
    document: Any = replies.answer(album.ask(who=[person, data("old")]), 0.5, INFO, None)
    assert [entry["who"] for entry in document["query"]] == [0, 1]
    with pytest.raises(ParamsError, match=r"^@person 1 and photo 1 do not look like one person \(similarity 0.00\)"):
        album.ask(who=[person, data("ben")])
    assert sorted(album.names(who=[person, data("old")], face="all")) == ["a", "old"], "each is a person of its own"


def test_two_names_are_one_person_only_if_they_look_like_one(album: Album) -> None:
    (anna,), (old,), (ben,) = (
        album.add(name, face(row)) for name, row in zip("aob", (ANNA, OLD_ANNA, BEN), strict=True)
    )
    album.resolver.say({1: [anna], 2: [old], 3: [ben]})
    assert album.names(who=[{"person": "person 1"}, {"person": "person 2"}]) == ["a", "o"]
    with pytest.raises(ParamsError, match=r"^@person 1 and @person 3 do not look like one person"):
        album.ask(who=[{"person": "person 1"}, {"person": "person 3"}])


def test_a_person_without_any_face(album: Album) -> None:
    album.add("a", face(ANNA))
    album.add("b", face(BEN))
    album.resolver.say({}, photos={1: [album.content("b")]})
    (match,) = album.ask(who=[{"person": "person 1"}]).found.matches
    assert (match.path, match.similarity, match.face_id, match.person, match.confirmed) == (
        b"/b",
        None,
        None,
        "person 1",
        True,
    )
    answer = album.ask(who=[{"person": "person 1"}, data("anna")])
    assert [(match.path, match.similarity) for match in answer.found.matches] == [
        (b"/b", None),
        (b"/a", pytest.approx(1)),
    ]
    document: Any = replies.answer(answer, 0.5, INFO, None)
    assert {name: document["matches"][0][name] for name in ("similarity", "box", "score", "face_id", "quality")} == {
        "similarity": None, "box": None, "score": None, "face_id": None, "quality": [],
    }  # fmt: skip


def test_errors_name_the_who(album: Album) -> None:
    (anna,) = album.add("a", face(ANNA))
    album.resolver.say({1: [anna]})
    good = {"face_id": anna}
    with pytest.raises(UnknownPersonError, match="there is no person 'Persn 1'") as unknown:
        album.ask(who=[good], without=[{"person": "Persn 1"}])
    assert unknown.value.hint.startswith("did you mean person 1? ")
    with pytest.raises(UnknownPersonError) as unknown:
        album.ask(who=[{"person": "Xaver"}])
    assert "did you mean" not in unknown.value.hint
    with pytest.raises(UnknownFaceError, match="there is no face 99"):
        album.ask(who=[good], **{"with": [{"face_id": 99}]})
    with pytest.raises(NoFaceError, match=r"^photo 2: there is no face 7: the photo has 2 faces"):
        album.ask(who=[data("anna")], **{"with": [data("both", face=7)]})
    with pytest.raises(NoFaceError, match=r"^there is no face 7"):
        album.ask(who=[good], **{"with": [data("both", face=7)]})
    with pytest.raises(NoFaceError, match=r"^photo 2: no face was found"):
        album.ask(who=[data("anna")], without=[data("none")])
    with pytest.raises(BadEmbeddingError):
        album.ask(who=[good, {"embedding": []}])
    with pytest.raises(ParamsError, match="at most 50 names"):
        album.ask(who=[{"person": f"p{number}"} for number in range(51)])
    with pytest.raises(ParamsError, match=r"^photos 1 and 2 do not look like one person"):
        album.ask(who=[data("anna"), data("ben")])
    with pytest.raises(ParamsError, match=r"^face 1 and an embedding do not look like one person"):
        album.ask(who=[good, {"embedding": BEN.tolist()}])


def test_the_same_photo_named_twice_is_numbered_twice(album: Album) -> None:
    album.add("a", face(ANNA))
    with pytest.raises(NoFaceError, match=r"^photo 3: no face"):
        album.ask(who=[data("anna"), data("anna")], without=[data("none")])


def test_names_are_put_on_what_the_user_confirmed(album: Album) -> None:
    anna, ben = album.add("both", face(ANNA, LEFT), face(BEN, RIGHT))
    (other,) = album.add("a", face(ANNA))
    album.resolver.say({1: [anna], 2: [ben]})
    answer = album.ask(who=[data("anna")], **{"with": [{"person": "person 2"}]})
    (match,) = answer.found.matches
    assert (match.person, match.confirmed) == ("person 1", False), "she was not asked for by her name"
    assert [(term.face_id, term.person, term.confirmed) for term in match.terms] == [
        (anna, "person 1", False),
        (ben, "person 2", True),
    ]
    (unnamed,) = [match for match in album.ask(who=[data("anna")]).found.matches if match.face_id == other]
    assert (unnamed.person, unnamed.terms) == ("", ())
    document: Any = replies.answer(answer, 0.5, INFO, None)
    assert [entry["person"] for entry in document["with"]] == ["person 2"]
    assert [list(term) for term in document["matches"][0]["terms"]] == [
        ["similarity", "box", "score", "norm", "quality", "face_id", "person", "confirmed"]
    ] * 2


def test_a_photo_without_a_face_is_left_out_where_another_who_has_one(album: Album, tmp_path: Path) -> None:
    album.add("a", face(ANNA))
    answer = album.ask(who=[data("none"), {"embedding": ANNA.tolist()}])
    assert [match.path for match in answer.found.matches] == [b"/a"]
    assert [each.face for each in answer.used] == [None]


def test_two_photos_of_one_person_are_not_told_apart_and_two_brothers_are(album: Album) -> None:
    """The first brother's photo is like the other one's by 0.4, and the photos in the album match both."""
    brother = (ANNA * 0.4 + BEN * np.sqrt(1 - 0.16)).astype(np.float32)
    same = (ANNA * 0.9 + BEN * np.sqrt(1 - 0.81)).astype(np.float32)
    between = (ANNA + brother) / np.linalg.norm(ANNA + brother)
    album.add("near", face((between + 0.2 * ANNA) / np.linalg.norm(between + 0.2 * ANNA)))
    album.add("far", face((between + 0.2 * brother) / np.linalg.norm(between + 0.2 * brother)))
    anna = {"embedding": ANNA.tolist()}
    assert album.names(who=[anna]) == ["near", "far"]
    assert album.names(who=[anna], without=[{"embedding": brother.tolist()}]) == ["near"]
    assert album.names(who=[anna], without=[{"embedding": same.tolist()}]) == []
    assert album.names(who=[anna], without=[anna]) == []
