"""What a user said of faces, with whole daemons: it holds whatever happens to the photos, the model and the daemon."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facewatchd.client.connection import RemoteError
from facewatchd.config import Config
from facewatchd.doctor import machine
from facewatchd.errors import StorageError
from tests.support import drawn_faces, tiny_pack
from tests.support.albums import shoot
from tests.support.paths import PROJECT
from tests.support.processes import Daemon

SHARED = PROJECT.parent / "shared"
Box = tuple[int, int, int, int]


def who(path: Path, face: int | None = None) -> dict[str, Any]:
    return {"path": str(path)} | ({} if face is None else {"face": face})


def say(daemon: Daemon, name: str, *photos: dict[str, Any], is_person: bool = True, **params: Any) -> dict[str, Any]:
    answer: dict[str, Any] = daemon.call("assign", name=name, who=list(photos), **{"is": is_person}, **params)
    return answer


def listed(daemon: Daemon) -> dict[str, tuple[int, int, int]]:
    """References, photos and statements that find no face, by name."""
    return {
        each["name"]: (each["references"], each["photos"], each["unplaced"]) for each in daemon.call("people")["people"]
    }


def shown(daemon: Daemon, name: str, **params: Any) -> set[Path]:
    """The photos that answer a question for a person by name."""
    answer = daemon.call("query", who=[{"person": name}], top=0, collapse=False, **params)
    return {Path(match["path"]) for match in answer["matches"]}


# A model


def test_names_hold_over_a_switch_of_the_model_and_back(tmp_path: Path) -> None:
    """`opencv` and `scrfd25g_mfn` draw their boxes differently, and find other faces."""
    if not (SHARED / "photos").is_dir():
        pytest.skip("there is no ../shared with photos and packs")
    root = tmp_path / "photos"
    root.mkdir()
    for name in ("biden_1.jpg", "biden_2.jpg", "obama_1.jpg", "obama_2.jpg", "obama_and_biden.jpg"):
        shutil.copy(SHARED / "photos" / name, root)
    both = root / "obama_and_biden.jpg"  # on which he is the first from the left
    with Daemon(tmp_path / "home", root) as daemon:
        daemon.start()
        daemon.settle()
        say(daemon, "Joe Biden", who(root / "biden_1.jpg"))
        say(daemon, "Barack Obama", who(root / "obama_1.jpg"), who(root / "obama_2.jpg"))
        say(daemon, "Barack Obama", who(both, 0), is_person=False)
        say(daemon, "Somebody", who(both, 0), anyway=True)
        before = _faces_said(daemon)
        assert {name: len(faces) for name, faces in before.items()} == {
            "Joe Biden": 1,
            "Barack Obama": 3,
            "Somebody": 1,
        }
        assert daemon.stop() == 0
    for pack in ("scrfd25g_mfn", None):
        where = {"model": pack, "model_root": SHARED / "insightface"} if pack else {}
        with Daemon(tmp_path / "home", root, **where) as daemon:  # type: ignore[arg-type]
            daemon.start()
            daemon.settle()
            assert daemon.status()["people"] == 3
            now = _faces_said(daemon)
            assert now.keys() == before.keys()
            for name, faces in now.items():
                for (path, is_person, box), (other_path, other_is_person, other) in zip(
                    faces, before[name], strict=True
                ):
                    assert (path, is_person) == (other_path, other_is_person)
                    assert abs(box[0] - other[0]) < other[2] / 4, "the same face"
            assert {unplaced for *_, unplaced in listed(daemon).values()} == {0}
            assert both not in shown(daemon, "Joe Biden"), "the user said that it is somebody"
            assert both in shown(daemon, "somebody")
            assert daemon.stop() == 0


def _faces_said(daemon: Daemon) -> dict[str, list[tuple[str, bool, Box]]]:
    """For each person the photos of what was said, what it says, and the box of the face that it finds now."""
    found = {}
    for name in listed(daemon):
        statements = daemon.call("person", name=name)["statements"]
        assert all(each["placed"] and each["face_id"] for each in statements)
        rows = []
        for each in statements:
            (path,) = (path["path"] for path in each["paths"])
            faces = {face["face_id"]: face["box"] for face in daemon.call("why", path=path)["faces"]}
            rows.append((path, each["is"], tuple(faces[each["face_id"]])))
        found[name] = sorted(rows)
    return found


# What happens to photos


def test_a_rejected_face_stays_rejected_whatever_happens(tmp_path: Path, tiny_root: Path) -> None:
    """Through kill -9, a rename, a copy, `scan --force`, the deletion and return of the photo, and other models."""
    root, aside = tmp_path / "photos", tmp_path / "aside.jpg"
    anna = shoot(root / "anna.jpg", [1], 1)
    twin = shoot(root / "twin.jpg", [2, 1], 2)
    other = shoot(root / "other.jpg", [1], 3)
    another_root = tmp_path / "another model"
    tiny_pack.build(another_root, seed=1)

    def expect(daemon: Daemon, *photos: Path) -> None:
        daemon.settle()
        assert shown(daemon, "Anna") == set(photos)
        assert listed(daemon)["Anna"] == (1, 1, 0)

    home = tmp_path / "home"
    with Daemon(home, root, model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        daemon.settle()
        say(daemon, "Anna", who(anna))
        assert shown(daemon, "Anna") == {anna, twin, other}
        say(daemon, "Anna", who(twin, 1), is_person=False)
        daemon.kill()
        daemon.start()
        expect(daemon, anna, other)
        twin = twin.rename(root / "renamed.jpg")
        copy = root / "sub/copy.jpg"
        copy.parent.mkdir()
        shutil.copy(twin, copy)
        expect(daemon, anna, other)
        daemon.call("scan", paths=[str(root)], force=True)
        expect(daemon, anna, other)
        shutil.copy(twin, aside)
        twin.unlink()
        copy.unlink()
        expect(daemon, anna, other)
        shutil.copy(aside, root / "back.jpg")
        expect(daemon, anna, other)
        assert daemon.stop() == 0
    for model_root in (another_root, tiny_root):
        with Daemon(home, root, model="tiny", model_root=model_root) as daemon:
            daemon.start()
            expect(daemon, anna, other)
            assert daemon.stop() == 0
    assert len(list((home / "data").glob("tiny-*"))) == 2, "two models"


# One daemon for what leaves no trace for the others


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Iterator[tuple[Daemon, Path]]:
    directory = tmp_path_factory.mktemp("said")
    root = directory / "photos"
    for person in drawn_faces.PERSONS:
        shoot(root / f"{person}.jpg", [person], person)
    with Daemon(directory / "home", root, model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        daemon.settle()
        yield daemon, root


def held(daemon: Daemon) -> bytes:
    """The bytes of all files in the data directory."""
    return b"\n".join(path.read_bytes() for path in daemon.data.rglob("*") if path.is_file())


def test_what_is_forgotten_leaves_no_byte(place: tuple[Daemon, Path]) -> None:
    daemon, root = place
    people = daemon.data / "people.sqlite3"
    assert say(daemon, "Holunder", who(root / "3.jpg"))["new"]
    assert stat.S_IMODE(people.stat().st_mode) == 0o600
    daemon.call("rename_person", name="Holunder", new="Brombeere")
    say(daemon, "Himbeere", who(root / "4.jpg"))
    say(daemon, "Himbeere", who(root / "5.jpg"), is_person=False)
    daemon.call("merge_people", name="Himbeere", into="Brombeere")
    say(daemon, "Stachelbeere", who(root / "6.jpg"))
    names = (b"Holunder", b"Brombeere", b"Himbeere")
    assert all(name in held(daemon) for name in names)
    backups = [path.name for path in daemon.data.glob("people-*")]
    assert len(backups) == 1
    forgotten = daemon.call("forget_person", name="brombeere")
    assert (forgotten["name"], forgotten["statements"], forgotten["backups"]) == ("Brombeere", 3, 1)
    assert not any(name in held(daemon) for name in names)
    assert not any(name in daemon.log.read_bytes() for name in names)
    assert [path.name for path in daemon.data.glob("people-*")] == backups
    assert b"Stachelbeere" in held(daemon)
    assert daemon.call("undo")["action"] is None
    with pytest.raises(RemoteError) as error:
        daemon.call("person", name="Brombeere")
    assert error.value.kind == "unknown-person"
    daemon.call("forget_person", name="Stachelbeere")


def test_the_status_has_a_number_and_no_name(place: tuple[Daemon, Path]) -> None:
    daemon, root = place
    before = daemon.status()["people"]
    say(daemon, "Heidelbeere", who(root / "7.jpg"))
    status = daemon.status()
    assert status["people"] == before + 1
    assert "Heidelbeere" not in str(status)
    assert status["problems"] == []
    daemon.call("undo")
    assert daemon.status()["people"] == before


def test_a_photo_that_is_nowhere_in_the_library(place: tuple[Daemon, Path], tmp_path: Path) -> None:
    """It is said of the bytes, which are recorded; when they come into the library, it is a photo of the person."""
    daemon, root = place
    photo = shoot(tmp_path / "visitor.jpg", [8], 900)
    assert say(daemon, "Visitor", who(photo))["said"] == 1
    assert listed(daemon)["Visitor"] == (1, 0, 0)
    assert shown(daemon, "Visitor") == {root / "8.jpg"}
    shutil.copy(photo, root / "visitor.jpg")
    daemon.settle()
    assert listed(daemon)["Visitor"] == (1, 1, 0)
    assert shown(daemon, "Visitor") == {root / "visitor.jpg", root / "8.jpg"}
    daemon.call("forget_person", name="Visitor")
    (root / "visitor.jpg").unlink()
    daemon.settle()


def test_a_person_without_a_face(place: tuple[Daemon, Path]) -> None:
    daemon, root = place
    back = shoot(root / "back.jpg", [], 901)
    daemon.settle()
    assert say(daemon, "Shy", who(back))["without_face"] == [0]
    assert say(daemon, "Shy", who(root / "9.jpg"), box=[200, 10, 60, 60])["said"] == 1
    assert listed(daemon)["Shy"] == (0, 2, 0)
    answer = daemon.call("query", who=[{"person": "Shy"}])
    assert {Path(match["path"]) for match in answer["matches"]} == {back, root / "9.jpg"}
    assert {match["similarity"] for match in answer["matches"]} == {None}
    daemon.call("forget_person", name="Shy")
    back.unlink()
    daemon.settle()


# A file that is not understood


def test_a_file_that_is_not_understood_is_told_and_left_alone(tmp_path: Path, tiny_root: Path) -> None:
    photo = shoot(tmp_path / "photos/a.jpg", [1], 1)
    with Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        daemon.settle()
        say(daemon, "Anna", who(photo))
        assert daemon.stop() == 0
        people = daemon.data / "people.sqlite3"
        whole = people.read_bytes()
        people.write_bytes(b"no database " * 1000)
        _expect_no_names(daemon, people, photo)
        assert people.read_bytes() == b"no database " * 1000
        people.write_bytes(whole)
        daemon.start()
        assert listed(daemon).keys() == {"Anna"}
        assert stat.S_IMODE(people.stat().st_mode) == 0o600


def _expect_no_names(daemon: Daemon, people: Path, photo: Path) -> None:
    daemon.start()
    daemon.settle()
    (problem,) = daemon.status()["problems"]
    assert str(people) in problem
    assert daemon.status()["people"] is None
    assert daemon.paths(photo) == {photo}, "questions go on"
    asked: dict[str, dict[str, Any]] = {
        "people": {},
        "undo": {},
        "assign": {"name": "Bert", "who": [who(photo)]},
        "query": {"who": [{"person": "Anna"}]},
    }
    for method, params in asked.items():
        with pytest.raises(RemoteError, match=r"people\.sqlite3"):
            daemon.call(method, **params)
    assert daemon.stop() == 0
    with pytest.raises(StorageError, match=r"people\.sqlite3"):
        list(machine.people(Config(data_dir=daemon.data)))
