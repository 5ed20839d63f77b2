"""An archive without an index of its own: the daemon, facewatch-share and a real engine, against a daemon with one."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.albums import shoot
from tests.support.engine_server import Server
from tests.support.processes import Daemon, until
from tests.support.shared_machines import Machine

ANNA, BEN, CARL = 1, 2, 3
PERSONS = [[ANNA], [ANNA, BEN], [BEN], [BEN, CARL], [ANNA, CARL], [CARL], [ANNA, BEN, CARL], [ANNA]]
QUESTIONS: list[dict[str, Any]] = [
    {},
    {"with": BEN},
    {"without": BEN},
    {"only": True},
    {"threshold": -1.0},
    {"exact": True},
    {"min_size": 100},
    {"top": 2, "skip": 1},
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path, engine_server: Server) -> Iterator[dict[str, Any]]:
    """An archive, and a daemon with an index that watches the same photos."""
    directory = tmp_path_factory.mktemp("archive")
    database = engine_server.new_database()
    with ExitStack() as stack:
        stack.callback(database.drop)
        root = directory / "photos"
        for seed, persons in enumerate(PERSONS):
            shoot(root / f"{seed}.jpg", persons, seed)
        archive = stack.enter_context(
            Machine(
                directory / "home of the archive",
                database.url(),
                root,
                name="archive",
                model_root=tiny_root,
                shared='index = "shared"',
            )
        )
        local = stack.enter_context(Daemon(directory / "home", root, model="tiny", model_root=tiny_root))
        local.start()
        local.settle()
        (directory,) = (path.parent for path in local.data.glob("*/catalog.sqlite3"))
        before = archive.data / directory.name
        before.mkdir(mode=0o700, parents=True)
        for name in ("index.hnsw", "index.json"):
            (before / name).write_bytes(b"of an index of before")
        archive.start()
        archive.settle()
        archive.reach("ok")
        local.settle()
        until(lambda: not archive.daemon.status()["problems"])
        yield {"archive": archive, "local": local, "root": root}


def asked(place: dict[str, Any], question: dict[str, Any], who: int = ANNA) -> dict[str, Any]:
    def photo(person: int) -> list[dict[str, Any]]:
        data = (place["root"] / f"{PERSONS.index([person])}.jpg").read_bytes()
        return [{"data": base64.b64encode(data).decode()}]

    named: dict[str, Any] = {name: photo(question[name]) for name in ("with", "without") if name in question}
    return {"who": photo(who), "top": 0, "shared": False, **question, **named}


def told(answer: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (match["path"], match["box"], pytest.approx(match["similarity"], abs=1e-5), match["itself"])
        for match in answer["matches"]
    ]


def index_files(archive: Machine) -> list[Path]:
    return sorted(archive.data.glob("*/index.*"))


@pytest.mark.parametrize("question", QUESTIONS, ids=str)
def test_the_answer_is_that_of_a_daemon_with_an_index(place: dict[str, Any], question: dict[str, Any]) -> None:
    local = place["local"].call("query", **asked(place, question))
    answer = place["archive"].daemon.call("query", **asked(place, question))
    assert told(answer) == told(local)
    assert (answer["total"], answer["faces"], answer["complete"]) == (local["total"], local["faces"], True)


def test_it_asks_the_engine_and_the_files_of_an_index_of_before_are_deleted(place: dict[str, Any]) -> None:
    archive: Machine = place["archive"]
    answer = archive.daemon.call("query", **asked(place, {"shared": True}))
    assert answer["shared"] == {"state": "ok", "reason": None, "cut": False, "machines": []}
    status = archive.daemon.status()
    assert (status["state"], status["problems"]) == ("idle", [])
    assert status["index"] == {"faces": status["faces"], "tombstones": 0, "ready": True}
    until(lambda: index_files(archive) == [])
    assert archive.daemon.call("verify")["problems"] == []


def test_unknown_people_are_put_into_groups(place: dict[str, Any]) -> None:
    def groups(daemon: Daemon) -> list[tuple[int, ...]]:
        found = daemon.call("unknown")["groups"]
        return sorted((each["faces"], each["photos"]) for each in found)

    until(lambda: groups(place["local"]) and groups(place["archive"].daemon) == groups(place["local"]))


def test_what_changes_is_found_at_once(place: dict[str, Any]) -> None:
    archive: Machine = place["archive"]
    new = shoot(place["root"] / "new.jpg", [ANNA, ANNA], 70)
    archive.daemon.settle()
    answer = archive.daemon.call("query", **asked(place, {}))
    assert str(new) in {match["path"] for match in answer["matches"]}
    new.unlink()
    archive.daemon.settle()
    place["local"].settle()
    assert told(archive.daemon.call("query", **asked(place, {}))) == told(
        place["local"].call("query", **asked(place, {}))
    )
    archive.settle()


def test_without_the_engine_every_face_is_compared_and_it_is_said(place: dict[str, Any]) -> None:
    """It is the last test: facewatch-share is ended and started again."""
    archive: Machine = place["archive"]
    archive.kill_share()
    answer = archive.daemon.call("query", **asked(place, {"shared": True}))
    local = place["local"].call("query", **asked(place, {}))
    assert told(answer) == told(local)
    assert answer["exact"]
    assert answer["shared"]["state"] == "off"
    (problem,) = (line for line in archive.daemon.status()["problems"] if "every face is compared" in line)
    assert "facewatch-share does not run" in problem
    shoot(place["root"] / "while away.jpg", [ANNA], 71)
    archive.daemon.settle()
    answer = archive.daemon.call("query", **asked(place, {}))
    assert str(place["root"] / "while away.jpg") in {match["path"] for match in answer["matches"]}
    archive.start_share()
    archive.settle()
    until(lambda: not archive.daemon.status()["problems"])
    assert index_files(archive) == []
    place["local"].settle()
    assert told(archive.daemon.call("query", **asked(place, {}))) == told(
        place["local"].call("query", **asked(place, {}))
    )
    assert "Traceback" not in archive.logged()
