"""Questions about several people, asked of a daemon through its socket: with, without, only, and so many faces."""

from __future__ import annotations

import base64
import itertools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from facewatchd.client.connection import INVALID_PARAMS, RemoteError
from tests.support import samples
from tests.support.albums import shoot
from tests.support.clients import Client, request
from tests.support.processes import Daemon

ANNA, BEN, CLEO, DORA = 1, 2, 3, 4
ALBUM = {
    "anna": [ANNA], "anna-too": [ANNA], "ben": [BEN], "cleo": [CLEO], "anna ben": [ANNA, BEN], "ben anna": [BEN, ANNA],
    "twice": [ANNA, ANNA], "three": [BEN, CLEO, ANNA], "cleo ben": [CLEO, BEN], "dora": [DORA], "nobody": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Iterator[Daemon]:
    """Knows the album, with a copy of one photo, and who Ben is; Dora stands on a photo without a face."""
    directory = tmp_path_factory.mktemp("questions")
    root = directory / "photos"
    for seed, (name, persons) in enumerate(ALBUM.items()):
        shoot(root / f"{name}.jpg", persons, seed)
    (root / "backup").mkdir()
    shutil.copy(root / "anna ben.jpg", root / "backup" / "anna ben.jpg")
    with Daemon(directory / "home", root, model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        daemon.settle()
        daemon.call("assign", name="Ben", who=[photo(daemon, "ben")])
        daemon.call("assign", name="Dora", who=[photo(daemon, "dora"), photo(daemon, "nobody")])
        yield daemon


def photo(daemon: Daemon, name: str, face: int | None = None) -> dict[str, Any]:
    return {"path": str(daemon.roots[0] / f"{name}.jpg"), **({} if face is None else {"face": face})}


@pytest.fixture
def who(daemon: Daemon) -> dict[int, dict[str, Any]]:
    return {ANNA: photo(daemon, "anna"), BEN: {"person": "ben"}, CLEO: photo(daemon, "three", 1)}


def names(answer: dict[str, Any]) -> set[str]:
    return {Path(match["path"]).stem for match in answer["matches"]}


def albums(wanted: Sequence[int], unwanted: Sequence[int] = (), *, only: bool = False) -> set[str]:
    """The photos of the album that show these people, each with a face of its own, and none of the others."""
    return {
        name
        for name, there in ALBUM.items()
        if all(there.count(person) >= list(wanted).count(person) for person in wanted)
        and not set(there) & set(unwanted)
        and (not only or len(there) == len(wanted))
    }


def test_every_combination_of_three_people(daemon: Daemon, who: dict[int, dict[str, Any]]) -> None:
    people = (ANNA, BEN, CLEO)
    for count in (1, 2, 3):
        for wanted in itertools.permutations(people, count):
            rest = [person for person in people if person not in wanted]
            for unwanted in [(), *itertools.combinations(rest, 1), tuple(rest)]:
                for only in (False, True):
                    answer = daemon.call(
                        "query",
                        who=[who[wanted[0]]],
                        **{"with": [who[person] for person in wanted[1:]]},
                        without=[who[person] for person in unwanted],
                        only=only,
                        top=0,
                    )
                    expected = albums(wanted, unwanted, only=only)
                    assert names(answer) == expected, (wanted, unwanted, only)
                    assert answer["total"] == len(expected)
                    assert ("undecided" in answer) == bool(unwanted)


def test_a_match_carries_the_face_of_each_person(daemon: Daemon, who: dict[int, dict[str, Any]]) -> None:
    answer = daemon.call("query", who=[who[ANNA]], **{"with": [who[CLEO], who[BEN]]})
    (match,) = answer["matches"]
    assert Path(match["path"]).stem == "three"
    lefts = [term["box"][0] for term in match["terms"]]
    assert sorted(range(3), key=lefts.__getitem__) == [2, 1, 0], "Ben, Cleo and Anna stand left to right"
    assert len({term["face_id"] for term in match["terms"]}) == 3
    assert [(term["person"], term["confirmed"]) for term in match["terms"]] == [
        (None, False),
        (None, False),
        ("Ben", False),
    ]
    assert match["similarity"] == min(term["similarity"] for term in match["terms"])
    assert match["box"] == match["terms"][0]["box"]
    assert [entry["who"] for entry in answer["with"]] == [0, 1]
    assert (answer["with"][1]["person"], answer["with"][1]["references"]) == ("Ben", 1)
    assert [(entry["face"], entry["faces"]) for entry in answer["query"]] == [(0, 1)]


def test_the_same_person_twice_is_two_faces(daemon: Daemon, who: dict[int, dict[str, Any]]) -> None:
    assert names(daemon.call("query", who=[who[ANNA]], **{"with": [who[ANNA]]})) == {"twice"}
    assert names(daemon.call("query", who=[who[ANNA]], **{"with": [who[ANNA]] * 2})) == set()
    assert names(daemon.call("query", who=[who[ANNA]], without=[who[ANNA]])) == set()


def test_how_many_faces_are_on_it(daemon: Daemon, who: dict[int, dict[str, Any]]) -> None:
    def found(**params: Any) -> set[str]:
        return names(daemon.call("query", who=[who[ANNA]], top=0, **params))

    counted = {name: len(there) for name, there in ALBUM.items() if ANNA in there}
    for low, high in itertools.combinations_with_replacement(range(4), 2):
        assert found(faces_min=low, faces_max=high) == {name for name, count in counted.items() if low <= count <= high}
    assert found(faces_min=2) == {name for name, count in counted.items() if count >= 2}
    assert found(faces_max=0) == set()


def test_directories_copies_and_top(daemon: Daemon, who: dict[int, dict[str, Any]]) -> None:
    root = daemon.roots[0]
    question = {"who": [who[ANNA]], "with": [who[BEN]]}
    (match,) = daemon.call("query", **question, dirs=[str(root / "backup")])["matches"]
    assert (match["path"], match["copies"]) == (str(root / "backup" / "anna ben.jpg"), [])
    cut = daemon.call("query", **question, top=1)
    assert (len(cut["matches"]), cut["total"]) == (1, 3)
    apart = daemon.call("query", **question, collapse=False)
    assert (len(apart["matches"]), apart["total"]) == (4, 4)
    assert daemon.call("query", **question, exact=True)["exact"] is True


def test_a_person_who_stands_on_a_photo_without_a_face(daemon: Daemon, who: dict[int, dict[str, Any]]) -> None:
    answer = daemon.call("query", who=[{"person": "Dora"}])
    assert [Path(match["path"]).stem for match in answer["matches"]] == ["dora", "nobody"]
    assert [match["confirmed"] for match in answer["matches"]] == [True, True]
    bare = answer["matches"][1]
    assert {name: bare[name] for name in ("similarity", "box", "score", "face_id", "norm", "person")} == {
        "similarity": None, "box": None, "score": None, "face_id": None, "norm": None, "person": "Dora",
    }  # fmt: skip
    assert names(daemon.call("query", who=[{"person": "Dora"}], faces_max=0)) == {"nobody"}
    assert names(daemon.call("query", who=[{"person": "Dora"}], only=True)) == {"dora", "nobody"}
    assert names(daemon.call("query", who=[{"person": "Dora"}], without=[{"person": "Dora"}])) == set()
    explained = daemon.call("query", who=[{"person": "Dora"}], explain=True)
    assert [match["verdict"] for match in explained["matches"]] == ["sure", "sure"]


def test_every_face_of_a_photo_may_be_unwanted(daemon: Daemon, who: dict[int, dict[str, Any]]) -> None:
    both = photo(daemon, "cleo ben") | {"face": "all"}
    assert names(daemon.call("query", who=[who[ANNA]], without=[both])) == {"anna", "anna-too", "twice"}
    assert names(daemon.call("query", who=[who[ANNA]], **{"with": [both]})) == {"anna ben", "ben anna", "three"}
    either = daemon.call("query", who=[both])
    assert names(either) == {"ben", "cleo", "anna ben", "ben anna", "three", "cleo ben"}
    assert all("also" in match for match in either["matches"])


def test_words_for_how_sure_it_is_go_by_the_least_sure_face(daemon: Daemon, who: dict[int, dict[str, Any]]) -> None:
    answer = daemon.call("query", who=[who[ANNA]], **{"with": [who[BEN]]}, explain=True)
    assert {match["verdict"] for match in answer["matches"]} <= {"sure", "likely", "look"}
    assert answer["expected_false"]["basis"] in ("unknown", "at-most")


# Real photos


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Knows the labelled photos."""
    directory = tmp_path_factory.mktemp("public")
    shutil.copytree(samples.PHOTOS, directory / "photos")
    with Daemon(directory / "home", directory / "photos", model="scrfd25g_mfn", model_root=samples.PACKS) as daemon:
        daemon.start()
        daemon.settle()
        yield daemon


@samples.needs_shared
@samples.needs_packs
def test_labelled_photos_of_two_people(public: Daemon) -> None:
    """For each two people: both, one without the other, both and nobody else, asked with their own photos."""
    there = samples.people()
    alone = {persons[0]: name for name, persons in there.items() if len(persons) == 1}

    def asked(person: str) -> dict[str, str]:
        return {"path": str(public.roots[0] / alone[person])}

    def found(**params: Any) -> set[str]:
        return {Path(match["path"]).name for match in public.call("query", top=0, collapse=False, **params)["matches"]}

    for one, other in itertools.permutations(alone, 2):
        question = {"who": [asked(one)], "with": [asked(other)]}
        both = {name for name, persons in there.items() if {one, other} <= set(persons)}
        assert found(**question) == both, (one, other)
        assert found(**question, only=True) == {name for name in both if len(there[name]) == 2}
        alone_of_them = {name for name, persons in there.items() if one in persons and other not in persons}
        assert found(who=[asked(one)], without=[asked(other)]) == alone_of_them, (one, other)
    for person in alone:
        assert found(who=[asked(person)], only=True) == {name for name in there if there[name] == [person]}


# What cannot be asked


@pytest.mark.parametrize(
    ("params", "kind", "words"),
    [
        ({"with": [{"path": "/nowhere.jpg"}]}, "unreadable-photo", "/nowhere.jpg: cannot be read"),
        ({"with": [{"person": "Bn"}]}, "unknown-person", "there is no person 'Bn'"),
        ({"without": [{"face_id": 999_999}]}, "unknown-face", "there is no face 999999"),
        ({"without": [{"embedding": [0.5]}]}, "bad-embedding", "the embedding must be"),
        ({"with": [{"embedding": []}]}, "bad-embedding", "the embedding must be"),
        ({"with": [{"path": "ben", "face": 5}]}, "no-face", "there is no face 5: the photo has 1 face"),
        ({"with": [{"path": "nobody"}]}, "no-face", "nobody.jpg: no face was found"),
        ({"with": [{"data": base64.b64encode(b"no photo").decode()}]}, "unreadable-photo", ""),
        ({"faces_min": 3, "faces_max": 2}, INVALID_PARAMS, "faces_min is 3, which is more than faces_max: 2"),
        ({"faces_min": -1}, INVALID_PARAMS, "faces_min must be a whole number"),
        ({"only": 1}, INVALID_PARAMS, "only must be true or false"),
        ({"with": {"person": "Ben"}}, INVALID_PARAMS, "with must be a list"),
        ({"with": [["person"]]}, INVALID_PARAMS, "with[0] must be an object"),
        ({"without": [{}]}, INVALID_PARAMS, "give exactly one of without[0].path"),
        ({"without": [{"person": 5}]}, INVALID_PARAMS, "without[0].person must be text"),
        ({"without": [{"person": "x" * 201}]}, INVALID_PARAMS, "without[0].person must be text"),
        ({"with": [{"person": "Ben"}] * 51}, INVALID_PARAMS, "with must be a list of at most 50, not of 51"),
        ({"with": [{"face_id": 1, "face": "most"}]}, INVALID_PARAMS, "with[0].face must be"),
        ({"with": [{"path": "relative.jpg"}]}, INVALID_PARAMS, "with[0].path must be an absolute path"),
    ],
)
def test_a_wrong_question_is_told_why(daemon: Daemon, params: dict[str, Any], kind: object, words: str) -> None:
    for who in itertools.chain(*(each for each in params.values() if isinstance(each, list))):
        if isinstance(who, dict) and who.get("path") in ALBUM:
            who["path"] = photo(daemon, who["path"])["path"]
    with pytest.raises(RemoteError) as error:
        daemon.call("query", who=[photo(daemon, "anna")], **params)
    assert (error.value.kind or error.value.code) == kind
    assert words in error.value.message
    assert "\n" not in str(error.value)


def test_a_name_that_nobody_has_brings_the_nearest_ones(daemon: Daemon) -> None:
    with pytest.raises(RemoteError) as error:
        daemon.call("query", who=[{"person": "Dorra"}])
    assert error.value.hint.startswith("did you mean Dora? ")


def test_very_many_whos_are_answered_or_refused_at_once(daemon: Daemon) -> None:
    anna, ben = photo(daemon, "anna"), photo(daemon, "ben")
    same = daemon.call("query", who=[anna] * 1000, **{"with": [ben] * 50}, without=[{"person": "Dora"}] * 50)
    assert same["matches"] == []
    assert len(same["query"]) == 1000
    with pytest.raises(RemoteError, match="do not look like one person"):
        daemon.call("query", who=[anna, *[{"person": "Ben"}] * 999])
    with pytest.raises(RemoteError, match="who must be a list of at most 1000, not of 1001"):
        daemon.call("query", who=[anna] * 1001)
    with pytest.raises(RemoteError, match="at most 50 names can be one person"):
        daemon.call("query", who=[{"person": f"person {number}"} for number in range(1000)])
    given = daemon.call("query", who=[{"embedding": [1.0] * daemon.status()["model"]["dim"]}] * 1000)
    assert given["query"] == []


def test_numbers_that_json_cannot_hold_are_refused(daemon: Daemon) -> None:
    for raw in ("NaN", "Infinity", "1e999", "null", "true", '"1"'):
        line = request("query", 1, who=[{"embedding": ["RAW", 1]}]).replace(b'"RAW"', raw.encode())
        with Client(daemon.socket) as client:
            assert client.ask(line)["error"]["code"] in (-32700, INVALID_PARAMS), raw
