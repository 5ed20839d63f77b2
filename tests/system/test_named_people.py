"""People on real photos, with a daemon: named by a few faces, each is found on all photos, and nobody else is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import samples
from tests.support.processes import Daemon

pytestmark = samples.needs_shared

NAMED_BY = {
    "Obama": ["obama_1.jpg", "obama_2.jpg", "two_people.jpg#0"],
    "Biden": ["biden_1.jpg"],
    "Alex": ["alex_lacamoire_1.png", "alex_lacamoire_2.jpg"],
    "Kit": ["kit_harington_1.jpg"],
    "Rose": ["rose_leslie_1.jpg"],
    "Lin": ["lin_manuel_miranda_1.png"],
}
WORDS = {"sure", "likely", "look"}


@pytest.fixture(
    scope="module",
    params=[pytest.param("scrfd25g_mfn", marks=[samples.needs_packs, pytest.mark.full]), "opencv"],
)
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Has indexed the labelled photos. Each test leaves it without people."""
    directory = tmp_path_factory.mktemp("named")
    shutil.copytree(samples.PHOTOS, directory / "photos")
    root = None if request.param == "opencv" else samples.PACKS
    with Daemon(directory / "home", directory / "photos", model=request.param, model_root=root) as daemon:
        daemon.start()
        daemon.settle()
        yield daemon


@pytest.fixture
def album(daemon: Daemon) -> Iterator[Daemon]:
    yield daemon
    for person in daemon.call("people")["people"]:
        daemon.call("forget_person", name=person["name"])


def who(daemon: Daemon, name: str) -> dict[str, Any]:
    """A photo of the album, or one of its faces by number: ``photo#0``."""
    photo, _, number = name.partition("#")
    return {"path": str(daemon.roots[0] / photo)} | ({"face": int(number)} if number else {})


def add(daemon: Daemon, name: str, *photos: str, **params: Any) -> list[str]:
    """Say that faces are a person; return why some are refused."""
    refused = daemon.call("assign", name=name, who=[who(daemon, photo) for photo in photos], **params)["refused"]
    return [each["reason"] for each in refused]


def ask(daemon: Daemon, name: str, **params: Any) -> list[dict[str, Any]]:
    matches: list[dict[str, Any]] = daemon.call("query", who=[{"person": name}], top=0, **params)["matches"]
    return matches


def photos(matches: list[dict[str, Any]]) -> list[str]:
    """The names of the photos, copies included."""
    return [Path(path).name for match in matches for path in (match["path"], *match["copies"], *match["similar"])]


def name_all(daemon: Daemon) -> None:
    for name, faces in NAMED_BY.items():
        assert add(daemon, name, *faces) == []


def test_each_person_is_found_on_all_photos_and_on_no_other(album: Daemon) -> None:
    name_all(album)
    for name, faces in NAMED_BY.items():
        matches = ask(album, name, verdicts=True)
        expected = {file for file, persons in samples.people().items() if name.lower() in persons}
        assert set(photos(matches)) == expected, name
        confirmed = [match["confirmed"] for match in matches]
        assert confirmed == sorted(confirmed, reverse=True), "those that the user said come first"
        assert {face.partition("#")[0] for face in faces} <= set(photos(matches[: confirmed.count(True)]))
        assert {match["person"] for match in matches} == {name}
        assert {match["verdict"] for match in matches if match["confirmed"]} == {"sure"}


def test_who_is_on_a_photo(album: Daemon) -> None:
    name_all(album)
    for file, persons in samples.people().items():
        faces = album.call("faces", path=str(album.roots[0] / file), names=True)["faces"]
        named = [face["names"] for face in faces]
        assert [each["name"] for each in named] == [None if name == "other" else name.title() for name in persons], file
        for each in named:
            assert each["verdict"] in (WORDS if each["name"] else {"unknown"})
            assert each["runner_up"] is not None
            assert each["runner_up"]["name"] != each["name"]


def test_a_stranger_is_unknown_and_a_copy_in_other_bytes_is_known(album: Daemon, tmp_path: Path) -> None:
    name_all(album)
    for stranger in (samples.group_photo(), samples.astronaut()):
        for face in album.call("faces", path=str(stranger), names=True)["faces"]:
            assert face["names"]["name"] is None
    for copy in samples.derived(tmp_path, samples.PHOTOS / "obama_1.jpg", "copy"):
        faces = album.call("faces", path=str(copy), names=True)["faces"]
        assert [face["names"]["name"] for face in faces] == ["Obama"]


def test_a_face_of_another_person_is_refused_and_taken_anyway(album: Daemon) -> None:
    name_all(album)
    (reason,) = add(album, "Biden", "obama_3.jpg")
    assert reason.startswith("it is more like Obama (similarity ")
    (reason,) = add(album, "Barack", "obama_4.jpg")
    assert reason.startswith("it is like Obama (similarity ")
    (reason,) = add(album, "Biden", "alex_lacamoire_3.jpg")
    assert "Alex" in reason
    assert add(album, "Biden", "obama_3.jpg", anyway=True) == []
    biden = ask(album, "Biden")
    assert "obama_3.jpg" in photos([match for match in biden if match["confirmed"]])
    assert {"obama_1.jpg", "obama_2.jpg"}.isdisjoint(photos(biden)), "these are Obama's, whatever Biden's faces say"
    assert "obama_3.jpg" not in photos(ask(album, "Obama")), "a face is one person's"
    assert add(album, "Obama", "obama_3.jpg") == [], "and can be put right"
    assert "obama_3.jpg" in photos(ask(album, "Obama"))


def test_faces_of_two_people_do_not_become_one(album: Daemon) -> None:
    (reason,) = add(album, "Kit", "kit_harington_1.jpg", "rose_leslie_1.jpg", "kit_and_rose.jpg#1")
    assert reason.startswith("it does not look like Kit's other faces")
    assert "rose_leslie_1.jpg" not in photos(ask(album, "Kit"))


def test_no_holds_whatever_it_scores_and_is_taken_back(album: Daemon) -> None:
    add(album, "Obama", "obama_1.jpg", "obama_2.jpg")
    before = set(photos(ask(album, "Obama")))
    album.call("assign", name="Obama", who=[who(album, "obama_4.jpg")], **{"is": False})
    again = {"obama_4.jpg", "two_people.jpg"}  # the same picture, beside another
    assert set(photos(ask(album, "Obama"))) == before - again
    assert "obama_4.jpg" not in photos(ask(album, "Obama", threshold=-1.0, exact=True))
    (face,) = album.call("faces", path=str(album.roots[0] / "obama_4.jpg"), names=True)["faces"]
    assert face["names"]["name"] is None
    album.call("undo")
    assert set(photos(ask(album, "Obama"))) == before


def test_a_photo_and_a_name_are_one_person(album: Daemon) -> None:
    add(album, "Obama", "obama_1.jpg")
    both = album.call("query", who=[{"person": "obama"}, who(album, "obama_2.jpg")], top=0)
    assert set(photos(both["matches"])) == {file for file, names in samples.people().items() if "obama" in names}
    entry = both["query"][0]
    assert (entry["person"], entry["references"]) == ("Obama", 1)
