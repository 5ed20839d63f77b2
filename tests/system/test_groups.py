"""Unknown faces with a daemon: grouped while nothing else is to be done, named, ignored, and the same after a kill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.albums import shoot
from tests.support.processes import Daemon, until

COUNTS = {1: 4, 2: 3, 3: 2, 4: 1}
"""Photos of each person."""


@pytest.fixture
def daemon(tmp_path: Path, tiny_root: Path) -> Iterator[Daemon]:
    for person, count in COUNTS.items():
        for number in range(count):
            shoot(tmp_path / "photos" / f"{person}-{number}.jpg", [person], 10 * person + number)
    with Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        daemon.settle()
        yield daemon


def groups(daemon: Daemon) -> dict[int, int]:
    """The faces of each group, when all faces were looked at."""

    def looked() -> Any:
        answer = daemon.call("unknown")
        return answer if answer["groups"] and not answer["unseen"] else None

    return {each["id"]: each["faces"] for each in until(looked)["groups"]}


def people_on(daemon: Daemon, group: int) -> set[str]:
    """The names of the photos of a group begin with the person's number."""
    return {Path(each["path"]).name[0] for each in daemon.call("group", id=group)["faces"]}


def test_unknown_people_are_listed_named_and_taken_back(daemon: Daemon) -> None:
    found = groups(daemon)
    assert list(found.values()) == [4, 3, 2]
    assert [people_on(daemon, group) for group in found] == [{"1"}, {"2"}, {"3"}]
    first, second, third = found
    lines = [line.split("\t") for line in daemon.control("people", "unknown").stdout.splitlines()]
    assert [line[:3] for line in lines] == [[f"group:{id_}", str(count), str(count)] for id_, count in found.items()]
    photo, _, number = lines[0][-1].rpartition("#")
    assert (Path(photo).name[0], number) == ("1", "0")
    assert daemon.control("people", "unknown", "-0", "-n", "1").stdout == f"{lines[0][-1]}\0"
    asked = daemon.query("-l", f"group:{second}").stdout.splitlines()
    assert {Path(path).name for path in asked} == {"2-0.jpg", "2-1.jpg", "2-2.jpg"}

    said = daemon.control("people", "add", "Anna", f"group:{first}")
    assert (said.returncode, said.stdout) == (0, "Anna is new: 4 faces added\n")
    assert list(groups(daemon)) == [second, third]
    assert daemon.control("people", "undo").returncode == 0
    assert groups(daemon) == found

    said = daemon.control("people", "ignore", f"group:{second}")
    assert said.stdout == "3 faces are ignored from now on\n"
    assert list(groups(daemon)) == [first, third]
    assert daemon.control("people", "unknown", "--ignored").stdout.startswith(f"group:{second}\t")
    shoot(daemon.roots[0] / "2-9.jpg", [2], 99)
    daemon.settle()
    until(lambda: daemon.call("unknown", ignored=True)["groups"][0]["faces"] == 4)
    assert list(groups(daemon)) == [first, third]
    assert daemon.control("people", "add", "Cara", f"group:{third}").returncode == 0
    said = daemon.control("people", "ignore", "--not", f"group:{second}", f"group:{first}")
    assert said.stdout == "4 faces brought back, 4 were not ignored\n"
    assert groups(daemon) == {first: 4, second: 4}
    assert daemon.control("people", "unknown", "--ignored").stdout == ""
    assert daemon.control("people", "undo").stdout == "4 faces are ignored again\n"
    assert list(groups(daemon)) == [first]

    gone = daemon.query("group:999")
    assert (gone.returncode, gone.stderr.count("\n")) == (2, 1)
    assert "there is no group 999" in gone.stderr


def test_groups_keep_their_ids_over_renames_and_a_new_index_and_grow(daemon: Daemon) -> None:
    found = groups(daemon)
    first, second, _ = found
    daemon.call("assign", name="Bert", who=[{"group": second}])
    for number in range(4):
        (daemon.roots[0] / f"1-{number}.jpg").rename(daemon.roots[0] / f"1-renamed-{number}.jpg")
    daemon.settle()
    daemon.stop()
    for checkpoint in daemon.data.glob("*/index.*"):
        checkpoint.unlink()
    daemon.start()
    shoot(daemon.roots[0] / "1-new.jpg", [1], 98)
    daemon.settle()
    until(lambda: groups(daemon).get(first) == 5)
    assert people_on(daemon, first) == {"1"}
    assert second not in groups(daemon)
    daemon.call("undo")
    assert groups(daemon)[second] == found[second]


def test_a_kill_loses_no_group_and_no_id_is_given_again(
    tmp_path: Path, tiny_root: Path, start: Callable[..., Daemon]
) -> None:
    root = tmp_path / "photos"
    for person in range(1, 7):
        for number in range(4):
            shoot(root / f"{person}-{number}.jpg", [person], 10 * person + number)
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()
    seen: dict[int, set[str]] = {}
    for _ in range(4):
        answer = until(lambda: daemon.call("unknown"))
        for each in answer["groups"]:
            assert seen.setdefault(each["id"], people_on(daemon, each["id"])) == people_on(daemon, each["id"])
        shoot(root / f"1-{len(seen)}{answer['unseen']}.jpg", [1], 200 + len(seen))
        daemon.kill()
        daemon.start()
    daemon.settle()
    found = groups(daemon)
    assert sorted(found.values())[:5] == [4] * 5
    for group in found:
        assert len(people_on(daemon, group)) == 1
        assert seen.get(group, people_on(daemon, group)) == people_on(daemon, group)
    assert seen.keys() <= found.keys()


def test_faces_that_may_be_a_person_are_suggested_and_answered(daemon: Daemon) -> None:
    daemon.control("people", "add", "Anna", str(daemon.roots[0] / "1-0.jpg"))
    lines = [line.split("\t") for line in daemon.control("people", "suggest", "anna").stdout.splitlines()]
    assert {Path(path).name for _, _, path in lines} == {"1-1.jpg", "1-2.jpg", "1-3.jpg"}
    assert all(who.startswith("face:") and float(similarity) > 0.5 for who, similarity, _ in lines)
    first = daemon.control("people", "suggest", "-0", "-n", "1", "@Anna").stdout
    assert first == f"{lines[0][0]}\0"
    assert daemon.control("people", "not", "Anna", lines[0][0]).returncode == 0
    daemon.control("people", "add", "Anna", *(who for who, *_ in lines[1:]))
    assert daemon.call("suggestions", person="Anna")["total"] == 0
    assert (
        daemon.control("people", "suggest", "Anna").stdout,
        daemon.control("people", "suggest", "Ben").returncode,
    ) == ("", 2)


def test_faces_that_wait_for_time_are_counted(tmp_path: Path, tiny_root: Path) -> None:
    for number in range(3):
        shoot(tmp_path / "photos" / f"{number}.jpg", [1], number)
    with Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root) as daemon:
        daemon.hook(
            "from facewatchd.indexing.group_faces import GroupFaces\n"
            "GroupFaces._next = lambda self: None  # there is no time\n"
        )
        daemon.start()
        daemon.settle()
        assert daemon.call("unknown") == {"groups": [], "next": None, "total": 0, "unseen": 3}
        asked = daemon.control("people", "unknown")
        assert (asked.returncode, asked.stdout) == (0, "")
        assert "3 faces still to be looked at" in asked.stderr
