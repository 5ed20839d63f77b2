"""Two machines before one engine, as their users ask them: facewatch-query and facewatchd shared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.albums import shoot
from tests.support.engine_server import Server
from tests.support.processes import until
from tests.support.shared_machines import Machine


class Two(NamedTuple):
    """A NAS with three photos of one person, and a laptop with two, of which one is a copy."""

    nas: Machine
    laptop: Machine
    there: list[Path]
    """The photos of the NAS. The laptop has the first too."""
    here: list[Path]

    def remote(self, *numbers: int) -> set[str]:
        return {f"nas:{self.there[number]}" for number in numbers}

    @property
    def local(self) -> set[str]:
        return set(map(str, self.here))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, engine_server: Server, tiny_root: Path) -> Iterator[Two]:
    place = tmp_path_factory.mktemp("two")
    there = [
        shoot(place / "srv" / f"{number}.jpg", persons, number) for number, persons in enumerate([[1], [1, 2], [1]])
    ]
    here = [shoot(place / "photos" / "own.jpg", [1], 9), place / "photos" / "copy.jpg"]
    shutil.copy(there[0], here[1])
    database = engine_server.new_database()
    with (
        Machine(place / "n", database.url(), place / "srv", name="nas", model_root=tiny_root) as nas,
        Machine(place / "l", database.url(), place / "photos", name="laptop", model_root=tiny_root) as laptop,
    ):
        for each in (nas, laptop):
            each.start()
        for each in (nas, laptop):
            each.settle()
        yield Two(nas, laptop, there, here)
    database.drop()


def test_a_question_finds_the_person_on_both_machines(two: Two) -> None:
    photo = two.here[0]
    ask = two.laptop.daemon.query
    asked = ask(photo)
    assert (asked.returncode, asked.stderr) == (0, "")
    assert {line.split("\t")[2] for line in asked.stdout.splitlines()} == two.local | two.remote(1, 2)
    assert set(ask("-l", photo).stdout.splitlines()) == two.local
    assert set(ask("-0", "--hosts", photo).stdout.split("\0")) == two.local | two.remote(1, 2) | {""}
    assert set(ask("--local", "-n", "1", "-l", photo).stdout.splitlines()) == {str(photo)}
    inside = ask("-d", f"nas:{two.there[0].parent}", photo)
    assert {line.split("\t")[2] for line in inside.stdout.splitlines()} == two.remote(0, 1, 2)
    answer = json.loads(ask("--json", photo).stdout)
    assert [(each["name"], each["faces"]) for each in answer["shared"]["machines"]] == [("nas", 4)]
    assert (answer["total"], answer["faces"], answer["complete"]) == (4, 6, True)
    assert {match["host"] for match in answer["matches"]} == {None, "nas"}
    (copy,) = (match for match in answer["matches"] if match["path"] == str(two.here[1]))
    assert copy["elsewhere"] == [{"host": "nas", "path": str(two.there[0])}]


def test_what_was_printed_elsewhere_is_not_new(two: Two) -> None:
    first = two.laptop.daemon.query("--new", "mail", two.here[0])
    assert len(first.stdout.splitlines()) == 4
    assert two.laptop.daemon.query("--new", "mail", two.here[0]).returncode == 1
    of_here = two.laptop.daemon.query("-l", "--new", "paths", two.here[0])
    assert set(of_here.stdout.splitlines()) == two.local
    rest = two.laptop.daemon.query("--new", "paths", two.here[0])
    assert {line.split("\t")[2] for line in rest.stdout.splitlines()} == two.remote(1, 2), "they were not printed yet"


def test_facewatch_share_that_does_not_run_is_one_line(two: Two) -> None:
    assert two.laptop.stop_share() == 0
    try:
        asked = two.laptop.daemon.query(two.here[0])
        assert asked.returncode == 0
        assert {line.split("\t")[2] for line in asked.stdout.splitlines()} == two.local
        assert asked.stderr == (
            "shared engine not asked, searched on this machine only: facewatch-share does not run; start it: systemctl "
            "--user start facewatch-share, or facewatch-share in a terminal\n"
        )
        for command in (["status"], ["machines"], ["remove", "nas"], ["resync"]):
            done = two.laptop.daemon.control("shared", *command)
            assert (done.returncode, done.stdout) == (4, "")
            assert done.stderr == (
                "facewatchd: facewatch-share does not run; start it: systemctl --user start facewatch-share, or "
                "facewatch-share in a terminal\n"
            )
    finally:
        two.laptop.start_share()
        two.laptop.reach("ok")


def test_a_machine_is_taken_out_and_comes_back_when_it_is_told_to(two: Two) -> None:
    control = two.laptop.daemon.control
    lines = [line.split("\t")[:5] for line in control("shared", "machines").stdout.splitlines()]
    assert lines == [["laptop", "2", "2", "0", "0"], ["nas", "4", "3", "0", "0"]]
    assert control("shared", "remove", "lapto").returncode == 1
    removed = control("shared", "remove", "nas")
    assert (removed.returncode, removed.stdout) == (0, "removed nas: 4 faces on 3 photos\n")
    assert "it runs" in removed.stderr
    asked = two.laptop.daemon.query(two.here[0])
    assert {line.split("\t")[2] for line in asked.stdout.splitlines()} == two.local
    unknown = control("shared", "remove", "nas")
    assert unknown.returncode == 1
    assert unknown.stderr.endswith("no machine nas has sent anything; those that have: laptop\n")
    again = two.nas.daemon.control("shared", "resync")
    assert again.stdout.startswith("3 photos to be compared")
    until(lambda: len(control("shared", "machines").stdout.splitlines()) == 2)
    until(lambda: two.laptop.daemon.query(two.here[0]).stdout.count("nas:") == 2)
    assert "everything sent" in control("shared").stdout
