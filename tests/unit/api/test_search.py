"""A query from its parameters to the reply's values: which faces count, which photos match, and what is refused.

The catalog and the index are real; the query process is played here, and tells what it was asked.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from facewatchd.api import faces, replies
from facewatchd.api.faces import FaceFinder
from facewatchd.api.parameters import QueryParameters, Source
from facewatchd.api.search import Answer, Searcher
from facewatchd.errors import BadEmbeddingError, NoFaceError, UnreadablePhotoError
from facewatchd.inference.pool import Inference
from facewatchd.inference.wire import Analysis
from facewatchd.matches import Box
from facewatchd.photos import files
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.server.params import read
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.store.scoring import Search
from facewatchd.threads.bounded_calls import DiskCalls
from facewatchd.values import Face, ModelInfo, Quality, Stamp
from tests.support.galleries import DIM, face
from tests.support.known_people import scorer

TABLE = Quality(clear=10, slope=0.1, floor=7)
INFO = ModelInfo("test-00000000", "test", DIM, 0.5, TABLE)
ANNA, BEN = np.eye(2, DIM, dtype=np.float32)
SMALL, LARGE = Box(0, 0, 30, 40), Box(50, 0, 90, 120)
FACES = {b"anna": [face(ANNA, LARGE)], b"ben": [face(BEN, LARGE)], b"both": [face(ANNA, SMALL), face(BEN, LARGE)]}
FACES |= {
    b"nobody": [],
    b"blurred": [face(ANNA, LARGE, norm=6.5)],
    b"crowd": [face(BEN, LARGE, norm=6.9), face(ANNA, SMALL, norm=12.0)],
}
"""What the query process finds on a photo with these bytes."""


class PlayedInference:
    """Finds `FACES`, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def analyse(self, data: bytes | int) -> Analysis:
        content = Path(f"/proc/self/fd/{data}").read_bytes() if isinstance(data, int) else bytes(data)
        self.asked.append(content)
        if content not in FACES:
            raise UnreadablePhotoError("it is no image", "check it")
        return Analysis(640, 480, FACES[content])


@pytest.fixture
def inference() -> PlayedInference:
    return PlayedInference()


@pytest.fixture
def finder(gallery: Gallery, inference: PlayedInference) -> FaceFinder:
    return FaceFinder(gallery.catalog, cast(Inference, inference), DiskCalls())


@pytest.fixture
def library(gallery: Gallery, tmp_path: Path) -> dict[str, Path]:
    """Photos on the disk, by what is on them; those of Anna and of both are recorded."""
    paths = {name.decode(): tmp_path / f"{name.decode()}.jpg" for name in FACES}
    for name, path in paths.items():
        path.write_bytes(name.encode())
    gallery.record([recorded(paths[name]) for name in ("anna", "both")])
    return paths


def recorded(path: Path) -> Outcome:
    content = path.read_bytes()
    return Outcome(bytes(path), Stamp.of(path.stat()), files.digest(content), 640, 480, FACES[content])


def search(gallery: Gallery, finder: FaceFinder, *, quality: Quality | None = TABLE, **params: object) -> Answer:
    return Searcher(gallery, finder, scorer(gallery, INFO), INFO).search(
        read(QueryParameters, params), Search(0.5, quality=quality)
    )


def by_path(*paths: Path) -> list[dict[str, str]]:
    return [{"path": str(path)} for path in paths]


Library = dict[str, Path]


def test_a_recorded_photo_is_answered_without_the_model(
    gallery: Gallery, finder: FaceFinder, inference: PlayedInference, library: Library
) -> None:
    answer = search(gallery, finder, photos=by_path(library["anna"]))
    assert inference.asked == []
    assert [(match.path, match.itself) for match in answer.found.matches] == [
        (bytes(library["anna"]), True),
        (bytes(library["both"]), False),
    ]


def test_bytes_that_are_recorded_under_another_name_are_answered_without_the_model(
    gallery: Gallery, finder: FaceFinder, inference: PlayedInference, library: Library, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(b"anna")
    assert len(finder.see(Source(path=bytes(copy))).faces) == 1
    assert len(finder.see(Source(data=b"anna")).faces) == 1
    assert inference.asked == []


def test_a_photo_that_is_new_or_changed_goes_through_the_model(
    finder: FaceFinder, inference: PlayedInference, library: Library
) -> None:
    assert finder.see(Source(path=bytes(library["ben"]))).content is None
    library["anna"].write_bytes(b"both")
    library["both"].unlink()
    assert len(finder.see(Source(path=bytes(library["anna"]))).faces) == 2, "of its bytes, which are recorded"
    assert inference.asked == [b"ben"]


def test_a_link_to_a_recorded_photo_is_that_photo(
    finder: FaceFinder, inference: PlayedInference, library: Library, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(library["anna"])
    assert finder.see(Source(path=bytes(tmp_path / "link"))).content is not None
    assert inference.asked == []


def test_the_largest_face_counts_unless_the_query_says_which(
    gallery: Gallery, finder: FaceFinder, library: Library
) -> None:
    both = by_path(library["both"])
    assert paths(search(gallery, finder, photos=both)) == ["both"], "Ben's is larger"
    assert paths(search(gallery, finder, photos=both, face=0)) == ["anna", "both"]
    assert [used.index for used in search(gallery, finder, photos=both, face="all").used] == [0, 1]
    with pytest.raises(NoFaceError, match=r"both.jpg: there is no face 2: the photo has 2 faces"):
        search(gallery, finder, photos=both, face=2)


def test_a_face_that_is_too_blurred_stands_for_a_person_only_where_it_was_asked_for(
    gallery: Gallery, finder: FaceFinder, library: Library
) -> None:
    def asked(names: list[str], **params: object) -> tuple[list[tuple[int | None, bool]], list[str]]:
        answer = search(gallery, finder, photos=by_path(*(library[name] for name in names)), **params)
        return [(used.index, used.left_out) for used in answer.used], paths(answer)

    anna, ben = ["anna", "both"], ["both"]
    assert asked(["crowd"]) == ([(1, False)], anna), "the largest of those that can be told"
    assert asked(["crowd"], quality=None) == ([(0, False)], ben), "with a threshold of the user's, the largest"
    assert asked(["crowd"], face=0) == ([(0, False)], ben), "named"
    assert asked(["crowd"], face="all") == ([(0, True), (1, False)], anna)
    both = search(gallery, finder, photos=by_path(library["crowd"]), face="all")
    assert {both.who.entries[match.of or 0] for match in both.found.matches} == {1}, "the second of the query's entries"
    assert asked(["blurred"]) == ([(0, False)], anna), "the only one"
    assert asked(["blurred", "nobody"]) == ([(0, False), (None, False)], anna)
    assert asked(["blurred", "ben"]) == ([(0, True), (0, False)], ben), "and whether they are one person is not asked"
    with pytest.raises(ParamsError, match="do not look like one person"):
        asked(["blurred", "ben"], quality=None)


def test_what_a_blurred_question_finds(gallery: Gallery, finder: FaceFinder, library: Library) -> None:
    """The photos of Anna are compared with faces that are 0.7 like hers; the floor asks for 0.8."""
    like = np.array([0.7, 0, np.sqrt(1 - 0.49)] + [0] * (DIM - 3), np.float32)
    FACES[b"half"], FACES[b"half blurred"] = [face(like, LARGE, norm=10)], [face(like, LARGE, norm=5)]
    try:
        for name in ("half", "half blurred"):
            library[name] = library["anna"].with_name(f"{name}.jpg")
            library[name].write_bytes(name.encode())
        gallery.record([recorded(library[name]) for name in ("half", "half blurred")])
        half = by_path(library["half"])
        assert paths(search(gallery, finder, photos=half)) == ["anna", "both", "half"]
        assert paths(search(gallery, finder, photos=by_path(library["half blurred"]))) == ["half", "half blurred"]
        assert "half blurred" in paths(search(gallery, finder, photos=half, quality=None))
        several = search(gallery, finder, photos=by_path(library["half blurred"], library["half"]))
        assert paths(several) == ["anna", "both", "half", "half blurred"], "a photo of the question is no other person"
        ids = [match.face_id for match in several.found.matches if match.path.endswith(b"half blurred.jpg")]
        assert paths(search(gallery, finder, faces=ids)) == ["half", "half blurred"], "named by its id"
        assert paths(search(gallery, finder, embedding=like.tolist())) == ["anna", "both", "half"]
    finally:
        del FACES[b"half"], FACES[b"half blurred"]


def paths(answer: Answer) -> list[str]:
    return sorted(Path(match.path.decode()).stem for match in answer.found.matches)


def test_with_all_a_match_says_which_entry_it_is_of(gallery: Gallery, finder: FaceFinder, library: Library) -> None:
    answer = search(gallery, finder, photos=by_path(library["nobody"], library["ben"], library["anna"]), face="all")
    reply = replies.answer(answer, 0.5, INFO, None)
    queried = cast(list[dict[str, object]], reply["query"])
    assert [(entry["face"], entry["faces"]) for entry in queried] == [(None, 0), (0, 1), (0, 1)]
    matches = cast(list[dict[str, object]], reply["matches"])
    of = {Path(str(match["path"])).stem: match["of"] for match in matches}
    assert of["anna"] == 2, "an index into the entries, not into the faces"
    also = {Path(str(match["path"])).stem: match["also"] for match in matches}
    assert also["anna"] == []
    assert len(cast(list[object], also["both"])) == 1


def test_the_reply_has_what_the_contract_says(gallery: Gallery, finder: FaceFinder, library: Library) -> None:
    reply = replies.answer(search(gallery, finder, photos=by_path(library["anna"])), 0.5, INFO, None)
    assert list(reply) == ["query", "matches", "total", "threshold", "model", "exact"]
    seen = {"box": [50, 0, 90, 120], "score": 0.9, "norm": None, "quality": []}
    assert reply["query"] == [
        {"photo": str(library["anna"]), "face": 0, "faces": 1, **seen, "left_out": False, "who": 0}
    ]
    (match, _) = cast(list[dict[str, object]], reply["matches"])
    own = {"face_id", "of", "person", "confirmed", "itself", "copies", "similar", "taken", "taken_from"}
    assert match.keys() == {"path", "similarity", *seen, *own}


@pytest.mark.parametrize(
    ("photos", "message"),
    [
        (["nobody"], r"^/.*/nobody.jpg: no face was found$"),
        (["nobody", "nobody"], r"^no face was found on any of the 2 photos$"),
    ],
)
def test_photos_without_a_face(
    gallery: Gallery, finder: FaceFinder, library: Library, photos: list[str], message: str
) -> None:
    with pytest.raises(NoFaceError) as error:
        search(gallery, finder, photos=by_path(*(library[name] for name in photos)))
    assert error.match(message.removesuffix("$"))


def test_a_photo_that_cannot_be_read_is_named_by_its_path_or_its_number(
    gallery: Gallery, finder: FaceFinder, library: Library, tmp_path: Path
) -> None:
    with pytest.raises(UnreadablePhotoError, match=r"gone.jpg: cannot be read: No such file or directory"):
        search(gallery, finder, photos=by_path(tmp_path / "gone.jpg"))
    with pytest.raises(UnreadablePhotoError, match=r"^it is no image"):
        search(gallery, finder, photos=[{"data": "AAAA"}])
    with pytest.raises(UnreadablePhotoError, match=r"^photo 2: it is no image"):
        search(gallery, finder, photos=[*by_path(library["anna"]), {"data": "AAAA"}])


def test_photos_of_two_people_are_refused_unless_they_are_asked_apart(
    gallery: Gallery, finder: FaceFinder, library: Library
) -> None:
    two = by_path(library["anna"], library["ben"])
    with pytest.raises(ParamsError, match=r"anna.jpg and /.*/ben.jpg do not look like one person \(similarity 0.00\)"):
        search(gallery, finder, photos=two)
    assert paths(search(gallery, finder, photos=two, face="all")) == ["anna", "both"]


@pytest.mark.parametrize("values", [np.zeros(DIM), np.ones(DIM - 1), np.full(DIM, 1e300)])
def test_an_embedding_that_is_none_is_refused(
    gallery: Gallery, finder: FaceFinder, values: NDArray[np.float64]
) -> None:
    with pytest.raises(BadEmbeddingError, match=f"must be {DIM} finite numbers, not all zero"):
        search(gallery, finder, embedding=values.tolist())


def test_an_embedding_of_any_length_is_scaled(gallery: Gallery, finder: FaceFinder, library: Library) -> None:
    answer = search(gallery, finder, embedding=(ANNA * 7).tolist())
    assert answer.used == []
    assert [(match.similarity, match.of) for match in answer.found.matches] == [(pytest.approx(1.0), 0)] * 2
    reply = replies.answer(answer, 0.5, INFO, None)
    assert [match["of"] for match in cast(list[dict[str, object]], reply["matches"])] == [None, None]


def test_a_face_of_the_reply() -> None:
    landmarks = np.arange(10, dtype=np.float32).reshape(5, 2) / 3
    reply = replies.face(Face(SMALL, 0.98765, landmarks, ANNA, 6.98765), TABLE)
    assert reply["norm"] == 6.988
    assert reply["quality"] == ["small", "too blurred to tell"]
    assert reply["box"] == [0, 0, 30, 40]
    assert reply["score"] == 0.9877
    assert reply["landmarks"] == [[0.0, 0.3], [0.7, 1.0], [1.3, 1.7], [2.0, 2.3], [2.7, 3.0]]


def test_bytes_that_are_sent_again_go_through_the_model_once(
    gallery: Gallery, finder: FaceFinder, inference: PlayedInference, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = {name: base64.b64encode(name).decode("ascii") for name in (b"anna", b"ben", b"both")}

    def ask(*names: bytes) -> list[bytes]:
        inference.asked.clear()
        for name in names:
            search(gallery, finder, photos=[{"data": sent[name]}])
        return inference.asked

    monkeypatch.setattr(faces, "MOST_SENT", 2)
    assert ask(b"anna", b"anna", b"ben", b"anna", b"ben") == [b"anna", b"ben"]
    assert ask(b"both", b"ben") == [b"both"]
    assert ask(b"anna") == [b"anna"]


def test_bytes_that_are_no_photo_are_looked_at_again(
    gallery: Gallery, finder: FaceFinder, inference: PlayedInference
) -> None:
    for _ in range(2):
        with pytest.raises(UnreadablePhotoError):
            search(gallery, finder, photos=[{"data": base64.b64encode(b"no photo").decode("ascii")}])
    assert inference.asked == [b"no photo"] * 2
