"""The methods about people, on a real store and a real catalog; the query process is played."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from facewatchd.api.faces import FaceFinder
from facewatchd.api.parameters import METHODS
from facewatchd.api.people import People
from facewatchd.api.scoring import Scorer
from facewatchd.errors import NoFaceError, StorageError, UnknownFaceError, UnknownPersonError, UnreadablePhotoError
from facewatchd.inference.pool import Inference
from facewatchd.inference.wire import Analysis
from facewatchd.matches import Box
from facewatchd.people.known import Resolver
from facewatchd.people.statements import NewStatement, RelativeBox
from facewatchd.people.store import PeopleStore
from facewatchd.photos import files
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.server.params import read
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.store.scoring import Search
from facewatchd.threads.bounded_calls import DiskCalls
from facewatchd.values import Face, ModelInfo, Quality, Stamp
from tests.support.galleries import DIM, face, unit

TABLE = Quality(clear=10, slope=0.1, floor=7)
INFO = ModelInfo("test-00000000", "test", DIM, 0.5, TABLE)
LEFT, RIGHT = Box(100, 100, 100, 100), Box(400, 100, 90, 90)
ROW = np.eye(1, DIM, dtype=np.float32)[0]
WIDTH, HEIGHT = 640, 480


@dataclass
class PlayedInference:
    """Finds what the test says on every photo that is not recorded."""

    faces: list[Face] = field(default_factory=list)

    def analyse(self, photo: bytes | int) -> Analysis:
        if not isinstance(photo, int) and photo[:6] == b"broken":
            raise UnreadablePhotoError("it is broken")
        return Analysis(WIDTH, HEIGHT, self.faces)


@dataclass
class Place:
    directory: Path
    gallery: Gallery
    inference: PlayedInference
    store: PeopleStore
    people: People

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        table: dict[str, Callable[[Any], object]] = {
            "people": self.people.people,
            "person": self.people.person,
            "assign": self.people.assign,
            "rename_person": self.people.rename,
            "describe_person": self.people.describe,
            "merge_people": self.people.merge,
            "forget_person": self.people.forget,
            "undo": self.people.undo,
        }
        return cast(dict[str, Any], table[method](read(METHODS[method].parameters, params)))

    def add(self, name: str, *who: dict[str, Any], **params: Any) -> dict[str, Any]:
        return self.call("assign", name=name, who=list(who), **params)

    def record(
        self,
        name: str,
        boxes: Sequence[Box] = (LEFT, RIGHT),
        norms: Sequence[float] = (),
        turn: int = 0,
        content: bytes = b"",
    ) -> dict[str, Any]:
        """A photo of the catalog, as a WHO. ``turn``: the faces of another have a similarity of 0.8 to these.

        ``content``: its bytes, where they are not those of its name.
        """
        content = content or name.encode()
        row = unit((ROW + 0.5 * np.eye(1, DIM, turn)[0])[None])[0] if turn else ROW
        path = self.directory / name
        path.write_bytes(content)
        faces = [face(row, box, norm) for box, norm in zip(boxes, [*norms, *[20.0] * 9], strict=False)]
        digest = files.digest(content)
        self.gallery.record([Outcome(bytes(path), Stamp.of(path.stat()), digest, WIDTH, HEIGHT, faces)])
        return {"path": str(path)}

    def listed(self) -> dict[str, tuple[int, int, int]]:
        """References, photos and unplaced statements of each person."""
        return {
            each["name"]: (each["references"], each["photos"], each["unplaced"])
            for each in self.call("people")["people"]
        }


@pytest.fixture
def place(tmp_path: Path, gallery: Gallery) -> Iterator[Place]:
    store = PeopleStore(tmp_path / "people.sqlite3")
    inference = PlayedInference()
    directory = tmp_path / "photos"
    directory.mkdir()
    finder = FaceFinder(gallery.catalog, cast(Inference, inference), DiskCalls())
    resolver = Resolver(store, gallery)
    refusal = Scorer(gallery, resolver, INFO).refusal
    gallery.is_named = store.names
    people = People(store, resolver, gallery.catalog, finder, refusal, TABLE, gallery.record_shown)
    yield Place(directory, gallery, inference, store, people)
    store.close()


def test_faces_of_photos_are_a_person(place: Place) -> None:
    one, other = place.record("one"), place.record("other")
    assert place.add("Anna", one, {**other, "face": 1}) == {
        "name": "Anna",
        "is": True,
        "new": True,
        "said": 2,
        "known": 0,
        "moved": [],
        "except": 0,
        "step": 1,
        "largest": [{"who": 0, "face": 0, "faces": 2}],
        "without_face": [],
        "refused": [],
    }
    assert place.listed() == {"Anna": (2, 2, 0)}
    again = place.add("ANNA", {**one, "face": 0})
    assert (again["name"], again["new"], again["said"], again["known"]) == ("Anna", False, 0, 1)
    assert again["step"] is None
    assert place.people.count() == 1


def test_one_person_is_listed_with_what_was_said(place: Place) -> None:
    photo = place.record("IMG_20110304_101112")
    place.add("Anna", photo)
    place.add("Anna", {**photo, "face": 1}, **{"is": False})
    person = place.call("person", name="anna")
    first, second = person.pop("statements")
    assert person == {
        "name": "Anna",
        "born": None,
        "hidden": False,
        "references": 1,
        "photos": 1,
        "first": "2011-03-04",
        "last": "2011-03-04",
        "best": 1,
        "unplaced": 0,
        "earlier_names": [],
        "next": None,
    }
    assert first["paths"] == [photo]
    assert (first["is"], tuple(first["box"]), first["face_id"], first["placed"]) == (True, LEFT, 1, True)
    assert (second["is"], tuple(second["box"]), second["face_id"], second["source"]) == (False, RIGHT, 2, "user")
    assert first["digest"] == files.digest(b"IMG_20110304_101112").hex()
    page = place.call("person", name="anna", limit=1)
    assert page["next"] == first["id"]
    assert place.call("person", name="anna", after=page["next"])["statements"] == [second]


def test_the_date_of_a_file_is_no_year_of_a_person(place: Place) -> None:
    place.add("Anna", place.record("one"))
    (anna,) = place.call("people")["people"]
    assert (anna["photos"], anna["first"], anna["last"]) == (1, None, None)


def test_a_face_by_its_id(place: Place) -> None:
    photo = place.record("one")
    assert place.add("Anna", {"face_id": 2})["said"] == 1
    assert place.add("Anna", {**photo, "face": 1})["known"] == 1
    with pytest.raises(UnknownFaceError, match="there is no face 99"):
        place.add("Anna", {"face_id": 2}, {"face_id": 99})


def test_a_photo_that_is_not_in_the_catalog_tells_at_once_for_as_long_as_it_is_named(place: Place) -> None:
    place.inference.faces = [face(ROW, LEFT, 20.0)]
    assert place.add("Anna", {"data": "bmV3"})["said"] == 1
    (statement,) = place.call("person", name="Anna")["statements"]
    assert (statement["paths"], statement["placed"], statement["box"]) == ([], True, LEFT)
    assert statement["relative_box"] == pytest.approx((100 / 640, 100 / 480, 100 / 640, 100 / 480))
    assert place.listed() == {"Anna": (1, 0, 0)}
    place.gallery.collect(-1.0)
    assert place.listed() == {"Anna": (1, 0, 0)}
    place.record("new", [LEFT])
    assert place.listed() == {"Anna": (1, 1, 0)}, "the same bytes"
    place.gallery.record([Outcome(str(place.directory / "new").encode(), None)])
    place.call("forget_person", name="Anna")
    place.gallery.collect(-1.0)
    with place.gallery.catalog.reading() as reader:
        assert reader.counts().faces == 0


def test_what_was_said_of_photos_holds_when_their_metadata_is_written_anew(place: Place) -> None:
    """The bytes are others, and so is the digest; the picture is not. Three times, and a week after each."""
    place.add("Anna", place.record("one", [LEFT]))
    place.add("Anna", place.record("other", [LEFT], turn=1), **{"is": False})
    place.record("third", [LEFT], turn=2)
    scorer = Scorer(place.gallery, Resolver(place.store, place.gallery), INFO)
    anna = place.store.people().require("Anna").id

    def found() -> set[bytes]:
        with place.gallery.catalog.reading() as reader:
            scored = scorer.scored(reader, scorer.wanted_person(anna), Search(INFO.threshold))
            paths = reader.copies(scored.contents.tolist())
        return {os.path.basename(path) for each in paths.values() for path in each}

    assert found() == {b"one", b"third"}
    for rating in range(3):
        place.record("one", [LEFT], content=b"one, rated %d" % rating)
        place.record("other", [LEFT], turn=1, content=b"other, rated %d" % rating)
        place.gallery.collect(-1.0)
        assert found() == {b"one", b"third"}
    assert place.listed() == {"Anna": (1, 0, 0)}, "its photo has other bytes"
    place.record("one", [], content=b"cut to the landscape")
    assert found() == {b"third"}


@pytest.mark.parametrize("said", [{}, {"is": False}, {"box": [0, 0, 30, 30]}])
def test_whatever_is_said_of_a_photo_elsewhere_it_is_recorded(place: Place, said: dict[str, Any]) -> None:
    place.add("Anna", place.record("one"))
    place.inference.faces = [face(ROW, LEFT, 20.0)] if said else []
    place.add("Anna", {"data": "bmV3"}, **said)
    assert place.listed()["Anna"][2] == 0
    with place.gallery.catalog.reading() as reader:
        assert reader.has_content(files.digest(b"new"))


def test_what_is_refused_is_not_recorded(place: Place) -> None:
    place.inference.faces = [face(ROW, LEFT, 6.0)]
    assert place.add("Anna", {"data": "bmV3"})["said"] == 0
    with place.gallery.catalog.reading() as reader:
        assert not reader.has_content(files.digest(b"new"))


def test_of_a_photo_that_another_model_saw_the_faces_are_recorded_when_it_is_named_again(place: Place) -> None:
    place.inference.faces = [face(ROW, LEFT, 20.0)]
    place.store.say("Anna", [NewStatement(True, files.digest(b"new"), RelativeBox.of(LEFT, WIDTH, HEIGHT))], "user")
    assert place.listed() == {"Anna": (0, 0, 1)}
    assert place.add("Anna", {"data": "bmV3"})["known"] == 1
    assert place.listed() == {"Anna": (1, 0, 0)}


def test_of_several_photos_the_one_without_a_path_is_numbered(place: Place) -> None:
    photo, broken = place.record("one"), {"data": "YnJva2Vu"}
    with pytest.raises(UnreadablePhotoError, match=r"^it is broken"):
        place.add("Anna", broken, {"face_id": 1})
    with pytest.raises(UnreadablePhotoError, match=r"^photo 2: it is broken"):
        place.add("Anna", photo, {"face_id": 1}, broken)
    assert place.listed() == {}


def test_a_person_on_a_photo_without_a_face(place: Place) -> None:
    photo = place.record("back", [])
    assert place.add("Anna", photo)["without_face"] == [0]
    assert place.listed() == {"Anna": (0, 1, 0)}
    with pytest.raises(NoFaceError, match="back: no face was found"):
        place.add("Anna", {**photo, "face": 0})
    place.add("Anna", photo, **{"is": False})
    assert place.listed() == {"Anna": (0, 0, 0)}


def test_a_person_on_a_photo_whatever_faces_it_has(place: Place) -> None:
    photo = place.record("one")
    said = place.add("Anna", {**photo, "face": "none"})
    assert (said["said"], said["without_face"], said["largest"]) == (1, [0], [])
    place.add("Anna", photo, box=[300, 300, 50, 60])
    assert place.listed() == {"Anna": (0, 1, 0)}
    place.add("Anna", photo, box=[305, 300, 50, 60], **{"is": False})
    assert [each["is"] for each in place.call("person", name="Anna")["statements"]] == [True, False]
    place.add("Anna", photo)
    assert place.listed() == {"Anna": (1, 1, 0)}
    place.add("Anna", {**photo, "face": "none"}, **{"is": False})
    assert place.listed() == {"Anna": (0, 0, 0)}


def test_a_box_where_no_face_was_found(place: Place) -> None:
    photo = place.record("one", [LEFT])
    assert place.add("Anna", photo, box=[400, 200, 50, 60])["said"] == 1
    assert place.listed() == {"Anna": (0, 1, 0)}
    (statement,) = place.call("person", name="Anna")["statements"]
    assert (tuple(statement["box"]), statement["face_id"], statement["source"]) == ((400, 200, 50, 60), None, "drawn")
    place.add("Bert", photo, box=[105, 100, 100, 100])
    assert place.listed()["Bert"] == (1, 1, 0), "a face was found there"
    for box in ([0, 0, 0, 9], [600, 0, 41, 9], [0, 0, 1, 481]):
        with pytest.raises(ParamsError, match="640 x 480"):
            place.add("Carl", photo, box=box)
    with pytest.raises(ParamsError, match="one photo"):
        place.add("Carl", photo, photo, box=[1, 1, 9, 9])


def test_poor_references_are_refused_unless_they_are_wanted_anyway(place: Place) -> None:
    good, poor = place.record("good", [LEFT]), place.record("poor", [LEFT], [6.0])
    said = place.add("Anna", poor, good)
    assert said["said"] == 1
    assert said["refused"] == [{"who": 0, "face": 0, "reason": "it is too blurred to tell"}]
    alone = place.add("Bert", poor)
    assert (alone["said"], alone["new"]) == (0, False)
    assert set(place.listed()) == {"Anna"}
    assert place.add("Anna", poor, anyway=True)["said"] == 1
    assert place.add("Anna", poor, **{"is": False})["refused"] == [], "a poor face can be rejected"


def test_a_face_that_is_like_another_person_is_refused_but_not_for_being_that_person_s(place: Place) -> None:
    photo = place.record("one")
    place.add("Anna", photo)
    (refused,) = place.add("Bert", place.record("other"))["refused"]
    assert refused["reason"].startswith("it is like Anna")
    assert place.add("Bert", photo)["moved"] == ["Anna"], "the user corrects what was said"


def test_all_faces_of_a_person_are_another_in_one_call(place: Place) -> None:
    """None of them speaks for the person who they were until now."""
    photos = [place.record(f"photo {turn}", [LEFT], turn=turn) for turn in range(1, 4)]
    place.add("Anna", *photos[:2])
    assert place.add("Bert", *photos[:2])["moved"] == ["Anna"]
    place.add("Bert", photos[2])
    (refused, _) = place.add("Carl", *photos[:2])["refused"]
    assert refused["reason"].startswith("it is like Bert"), "as the other face of his is"


def test_all_or_nothing_is_said(place: Place) -> None:
    photo = place.record("one")
    for other, error in (
        ({"path": str(place.directory / "gone")}, UnreadablePhotoError),
        ({"data": "YnJva2Vu"}, UnreadablePhotoError),
        ({**photo, "face": 7}, NoFaceError),
        ({**photo, "face": "all"}, ParamsError),
    ):
        with pytest.raises(error):
            place.add("Anna", photo, other)
    assert place.listed() == {}


def test_all_faces_of_a_photo_are_not_a_person(place: Place) -> None:
    photo = place.record("one")
    with pytest.raises(UnknownPersonError, match="'Anna'"):
        place.add("Anna", {**photo, "face": "all"}, **{"is": False})
    place.add("Anna", place.record("other"))
    assert place.add("Anna", {**photo, "face": "all"}, **{"is": False})["said"] == 2


def test_a_face_moves_and_undo_moves_it_back(place: Place) -> None:
    photo = place.record("one")
    place.add("Anna", photo)
    assert place.add("Bert", photo)["moved"] == ["Anna"]
    assert place.listed() == {"Anna": (0, 0, 0), "Bert": (1, 1, 0)}
    undone = place.call("undo")
    assert (undone["action"], undone["names"], undone["statements"]) == ("say", ["Bert"], 1)
    assert place.listed() == {"Anna": (1, 1, 0)}
    place.call("undo")
    assert place.call("undo") == {"action": None, "names": [], "statements": 0, "at": None}


def test_renaming_merging_and_forgetting(place: Place) -> None:
    place.add("Anna", place.record("one"))
    place.add("Bert", place.record("other"), anyway=True)
    with pytest.raises(ParamsError, match="'Anna' already"):
        place.call("rename_person", name="Bert", new=" ANNA ")
    for name in ("\n", "a\tb", "   "):
        with pytest.raises(ParamsError, match="a name"):
            place.call("rename_person", name="Bert", new=name)
        with pytest.raises(ParamsError, match="a name"):
            place.add(name, place.record("one"))
    assert place.call("rename_person", name="bert", new="Robert") == {
        "name": "Robert",
        "before": "Bert",
        "step": 3,
    }
    assert place.call("merge_people", name="Robert", into="Anna") == {
        "name": "Anna",
        "before": "Robert",
        "statements": 2,
        "step": 4,
    }
    with pytest.raises(ParamsError, match="one person already"):
        place.call("merge_people", name="Anna", into="Anna")
    assert place.call("forget_person", name="anna") == {"name": "Anna", "statements": 2, "backups": 1}
    for method, params in (
        ("person", {}),
        ("rename_person", {"new": "x"}),
        ("merge_people", {"into": "x"}),
        ("forget_person", {}),
    ):
        with pytest.raises(UnknownPersonError):
            place.call(method, name="Anna", **params)


def test_a_person_is_described_and_undo_takes_it_back(place: Place) -> None:
    place.add("Anna", place.record("one"))
    assert place.call("describe_person", name="anna", born="2001-05") == {
        "name": "Anna",
        "born": "2001-05",
        "hidden": False,
        "step": 2,
    }
    assert place.call("describe_person", name="anna", hidden=True) == {
        "name": "Anna",
        "born": "2001-05",
        "hidden": True,
        "step": 3,
    }
    assert place.call("describe_person", name="anna", hidden=True)["step"] is None, "it says nothing new"
    place.call("describe_person", name="anna", born="none", hidden=False)
    (listed,) = place.call("people")["people"]
    assert (listed["born"], listed["hidden"]) == (None, False)
    assert place.call("undo")["action"] == "describe"
    described = place.call("person", name="anna")
    assert (described["born"], described["hidden"]) == ("2001-05", True)
    for born in ("2001-13", "2001-02-29", "20010501", "0000", "young"):
        with pytest.raises(ParamsError, match=f"born {born} is no date"):
            place.call("describe_person", name="anna", born=born)
    with pytest.raises(UnknownPersonError):
        place.call("describe_person", name="Bert", born="2001")


def test_only_the_last_step_is_taken_back(place: Place) -> None:
    photo = place.record("one")
    steps = [
        place.add("Anna", photo)["step"],
        place.add("Bert", {**photo, "face": 1}, anyway=True)["step"],
        place.call("rename_person", name="Bert", new="Berta")["step"],
        place.call("merge_people", name="Berta", into="Anna")["step"],
    ]
    assert place.call("rename_person", name="Anna", new="Anna")["step"] is None
    for step in (*steps[:-1], 99, 0):
        with pytest.raises(ParamsError, match="cannot be taken back any more"):
            place.call("undo", step=step)
    undone = [place.call("undo", step=step)["action"] for step in reversed(steps)]
    assert undone == ["merge", "rename", "say", "say"]
    with pytest.raises(ParamsError, match="cannot be taken back any more"):
        place.call("undo", step=steps[0])
    again = place.add("Anna", photo)["step"]
    assert again not in steps, "a step that was taken back is never meant by a later one"


def test_of_some_faces_of_a_group_the_opposite_is_said_in_the_same_step(place: Place) -> None:
    first, second, third = (place.record(name) and number for number, name in enumerate(("a", "b", "c"), 1))
    faces = [{"face_id": number} for number in (first, second, third)]
    result = place.add("Anna", *faces, **{"except": [second, 99]})
    assert (result["said"], result["except"], result["new"]) == (3, 1, True)
    statements = place.call("person", name="Anna")["statements"]
    assert {each["face_id"]: each["is"] for each in statements} == {first: True, second: False, third: True}
    with pytest.raises(ParamsError, match="all of the faces are in except"):
        place.add("Bert", *faces[:2], **{"except": [first, second]})
    assert place.listed().keys() == {"Anna"}
    place.call("undo", step=result["step"])
    assert place.listed() == {}


def test_the_clearest_face_that_a_photo_shows_stands_for_a_person(place: Place) -> None:
    photos = [place.record("one", norms=[12.0, 30.0]), place.record("two", norms=[25.0, 5.0])]
    place.add("Anna", *({**photo, "face": 0} for photo in photos))
    (anna,) = place.call("people")["people"]
    seen = place.call("person", name="Anna")["statements"]
    assert anna["best"] == seen[1]["face_id"]
    place.gallery.record([Outcome(photos[1]["path"].encode(), None)])
    assert place.call("person", name="Anna")["best"] == seen[0]["face_id"]
    place.gallery.record([Outcome(photos[0]["path"].encode(), None)])
    (anna,) = place.call("people")["people"]
    assert (anna["best"], anna["first"], anna["last"], anna["photos"]) == (None, None, None, 0)


def test_copies_are_one_photo_and_deleted_ones_none(place: Place) -> None:
    photo = place.record("one")
    place.add("Anna", photo)
    copy = place.directory / "copy"
    stamp = Stamp(1, 2, 3, 4, 5)
    place.gallery.record([Outcome(bytes(copy), stamp, files.digest(b"one"))])
    assert place.listed() == {"Anna": (1, 1, 0)}
    (statement,) = place.call("person", name="Anna")["statements"]
    assert statement["paths"] == [{"path": str(copy)}, photo]
    for path in (str(copy), photo["path"]):
        place.gallery.record([Outcome(path.encode(), None)])
    assert place.listed() == {"Anna": (1, 0, 0)}


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, gallery: Gallery) -> None:
    path = tmp_path / "people.sqlite3"
    path.write_bytes(b"no database")
    store = PeopleStore(path)
    people = People(
        store,
        Resolver(store, gallery),
        gallery.catalog,
        cast(FaceFinder, SimpleNamespace()),
        lambda face, name, person, taken, moved: "",
        None,
        gallery.record_shown,
    )
    assert people.count() is None
    calls: dict[str, Callable[[Any], object]] = {"people": people.people, "undo": people.undo}
    for name, method in calls.items():
        with pytest.raises(StorageError, match=r"people\.sqlite3"):
            method(read(METHODS[name].parameters, {}))
