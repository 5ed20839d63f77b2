"""Questions over several machines: daemons, facewatch-share, and a real engine, against one daemon with all photos."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facewatchd.client.connection import RemoteError
from tests.support import drawn_faces, samples
from tests.support.engine_server import Server
from tests.support.processes import Daemon, until
from tests.support.shared_machines import Machine

ANNA, BEN, CARL = 1, 2, 3
PHOTOS = {f"{number:02}": persons for number, persons in enumerate([
    [ANNA], [ANNA], [ANNA, BEN], [ANNA, BEN], [BEN], [BEN, CARL], [ANNA, CARL], [ANNA, BEN, CARL], [CARL], [ANNA],
])}  # fmt: skip
"""By the name of the file."""
TIMEOUT = 2.0
"""Seconds that a question waits for the engine, unless the configuration says otherwise."""
SPLIT = {"nas": ["00", "02", "04", "06", "08", "07"], "laptop": ["01", "03", "05", "07", "09"]}
"""One photo is on both."""
QUESTIONS: list[dict[str, Any]] = [
    {},
    {"face": "all", "min_size": 30},
    {"with": [BEN]},
    {"without": [BEN]},
    {"without": [CARL], "with": [BEN]},
    {"only": True},
    {"faces_min": 2, "faces_max": 2},
    {"sort": "date"},
    {"sort": "-date", "top": 3, "skip": 1},
    {"since": "2005", "sort": "-date"},
    {"until": "2007-06"},
    {"min_size": 100},
    {"top": 3, "skip": 2},
    {"collapse": False},
    {"threshold": -1.0},
    {"exact": True},
    {"explain": True},
    {"years": True},
    {"digests": True},
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path, engine_server: Server) -> Iterator[dict[str, Any]]:
    """Two machines that share photos, one of them without an index of its own, and a daemon that has all of them."""
    directory = tmp_path_factory.mktemp("shared")
    database = engine_server.new_database()
    with ExitStack() as stack:
        stack.callback(database.drop)
        every = directory / "all"
        every.mkdir()
        for seed, (name, persons) in enumerate(PHOTOS.items()):
            draw(every / f"{name}.jpg", persons, seed)
        machines = {}
        for host, names in SPLIT.items():
            root = directory / host
            root.mkdir()
            for name in names:
                shutil.copy2(every / f"{name}.jpg", root)
            shared = 'index = "shared"' if host == "nas" else ""
            machine = Machine(
                directory / f"home {host}", database.url(), root, name=host, model_root=tiny_root, shared=shared
            )
            machines[host] = stack.enter_context(machine)
        whole = stack.enter_context(Daemon(directory / "home", every, model="tiny", model_root=tiny_root))
        whole.start()
        for machine in machines.values():
            machine.start()
        for machine in machines.values():
            machine.settle()
            machine.reach("ok")
        whole.settle()
        yield {**machines, "all": whole, "root": every}


def draw(path: Path, persons: list[int], seed: int) -> None:
    """A photo whose faces are covered from above, each photo's more, so that no two are alike to the same degree."""
    image = samples.noise(seed, 320, 240)
    for at, person in enumerate(persons):
        x, y = 12 + 100 * at, 40 + seed
        drawn_faces.draw_face(image, (x, y, 88, 88), person)
        image[y : y + 2 * seed, x : x + 88] = drawn_faces.WARM
    Image.fromarray(image).save(path, quality=95)
    os.utime(path, (1_000_000_000 + seed * 40_000_000,) * 2)


def question(place: dict[str, Any], asked: dict[str, Any], who: int) -> dict[str, Any]:
    def photo(person: int) -> dict[str, Any]:
        name = next(name for name, persons in PHOTOS.items() if persons == [person])
        return {"data": base64.b64encode((place["root"] / f"{name}.jpg").read_bytes()).decode()}

    named = {name: [photo(person) for person in asked[name]] for name in ("with", "without") if name in asked}
    return {"who": [photo(who)], "top": 0, **asked, **named}


def told(answer: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What an answer says of each photo: its name, and not where it is."""
    return [
        (
            Path(match["path"]).name,
            match["box"],
            pytest.approx(match["similarity"], abs=2e-3),
            match["of"],
            match["itself"],
            match["taken"],
            match["taken_from"],
            [(term["box"], pytest.approx(term["similarity"], abs=2e-3)) for term in match.get("terms", ())],
            sorted((also["of"], also["box"]) for also in match.get("also", ())),
        )
        for match in answer["matches"]
    ]


@pytest.mark.parametrize("asked", QUESTIONS, ids=str)
@pytest.mark.parametrize("host", SPLIT)
def test_the_answer_of_each_machine_is_that_of_one_that_has_all(
    place: dict[str, Any], host: str, asked: dict[str, Any]
) -> None:
    params = question(place, asked, ANNA)
    answer = place[host].daemon.call("query", **params)
    whole = place["all"].call("query", **params)
    assert answer["shared"]["state"] == "ok", answer["shared"]
    if asked.get("collapse", True):
        assert told(answer) == told(whole)
        assert (answer["total"], answer["complete"]) == (whole["total"], True)
    else:
        assert {row[0] for row in told(answer)} == {row[0] for row in told(whole)}
        assert answer["total"] == whole["total"] + 1, "the photo that both have"
    assert answer.get("years") == whole.get("years")
    assert sorted(answer.get("digests", ())) == sorted(whole.get("digests", ()))


def names(answer: dict[str, Any]) -> set[tuple[str | None, str]]:
    return {(match["host"], Path(match["path"]).stem) for match in answer["matches"]}


WITH_ANNA = {name for name, persons in PHOTOS.items() if ANNA in persons}


def test_a_person_with_a_name_is_found_on_all_machines(place: dict[str, Any]) -> None:
    laptop, root = place["laptop"].daemon, place["laptop"].daemon.roots[0]
    for name, photo in (("Anna", "01"), ("Anna", "09"), ("Ben", "05")):
        laptop.call("assign", name=name, who=[{"path": str(root / f"{photo}.jpg"), "face": 0}], anyway=True)
    try:
        answer = laptop.call("query", who=[{"person": "Anna"}], top=0)
        assert {name for _, name in names(answer)} == WITH_ANNA
        assert {host for host, _ in names(answer)} == {None, "nas"}
        both = laptop.call("query", who=[{"person": "Anna"}], **{"with": [{"person": "Ben"}]}, top=0)
        assert {name for _, name in names(both)} == {"02", "03", "07"}
        alone = laptop.call("query", who=[{"person": "Anna"}], without=[{"person": "Ben"}], strict=True, top=0)
        assert {name for _, name in names(alone)} == WITH_ANNA - {"02", "03", "07"}
    finally:
        for name in ("Anna", "Ben"):
            laptop.call("forget_person", name=name)


def test_what_was_printed_of_other_machines_is_not_printed_again(place: dict[str, Any]) -> None:
    laptop = place["laptop"].daemon
    asked = question(place, {"new": "mail"}, ANNA)
    first = laptop.call("query", **asked)
    assert {name for _, name in names(first)} == WITH_ANNA
    laptop.call("seen", name="mail", shown=first["shown"])
    assert laptop.call("query", **asked)["matches"] == []


def test_directories_of_other_machines(place: dict[str, Any]) -> None:
    laptop, nas = place["laptop"].daemon, place["nas"].daemon.roots[0]
    there = laptop.call("query", **question(place, {"dirs": [f"nas:{nas}"]}, ANNA))
    on_nas = {name for name in SPLIT["nas"] if ANNA in PHOTOS[name]}
    assert names(there) == {("nas", name) for name in on_nas}
    here = laptop.call("query", **question(place, {"dirs": [f"laptop:{laptop.roots[0]}"]}, ANNA))
    assert "shared" not in here
    assert {Path(match["path"]).stem for match in here["matches"]} == WITH_ANNA & set(SPLIT["laptop"])
    with pytest.raises(RemoteError, match="the shared engine knows no machine 'attic': it knows nas"):
        laptop.call("query", **question(place, {"dirs": ["attic:/"]}, ANNA))


def test_a_photo_of_both_machines_is_one_match_that_names_the_other_copy(place: dict[str, Any]) -> None:
    answer = place["laptop"].daemon.call("query", **question(place, {}, ANNA))
    (match,) = [match for match in answer["matches"] if Path(match["path"]).stem == "07"]
    assert match["host"] is None
    assert isinstance(match["face_id"], int)
    assert match["elsewhere"] == [{"host": "nas", "path": str(place["nas"].daemon.roots[0] / "07.jpg")}]


def test_a_machine_whose_faces_the_engine_lost_finds_them_without_an_index_of_its_own(place: dict[str, Any]) -> None:
    laptop, nas = place["laptop"], place["nas"]
    asked = question(place, {"shared": False}, ANNA)
    before = nas.daemon.call("query", **asked)
    assert before["matches"]
    laptop.call("remove", name="nas")
    try:
        after = nas.daemon.call("query", **asked)
        assert told(after) == told(before)
        assert "does not hold what this machine sent last" in str(nas.daemon.call("status")["problems"])
    finally:
        nas.call("resync")
    until(
        lambda: {host for host, _ in names(laptop.daemon.call("query", **question(place, {}, ANNA)))} == {None, "nas"}
    )
    nas.settle()
    assert told(nas.daemon.call("query", **asked)) == told(before)
    until(lambda: nas.daemon.call("query", **asked) and not nas.daemon.call("status")["problems"])


def comparable(answer: dict[str, Any]) -> dict[str, Any]:
    """Without what says how long it took, and what only answers over several machines have."""
    several = ("host", "elsewhere", "similar_elsewhere", "size")
    matches = [{key: each for key, each in match.items() if key not in several} for match in answer["matches"]]
    left_out = ("elapsed_ms", "shared", "complete")
    return {key: each for key, each in answer.items() if key not in left_out} | {"matches": matches}


def test_this_machine_answers_whatever_becomes_of_the_engine(place: dict[str, Any]) -> None:
    """It is the last test: facewatch-share is stopped, and then ended."""
    machine: Machine = place["nas"]
    asked = question(place, {}, ANNA)
    alone = machine.daemon.call("query", **asked, shared=False)
    assert "shared" not in alone
    assert "host" not in alone["matches"][0]
    process = machine.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        begin = time.monotonic()
        late = machine.daemon.call("query", **asked)
        waited = time.monotonic() - begin
        begin = time.monotonic()
        for _ in range(3):
            assert "did not answer" in machine.daemon.call("query", **asked)["shared"]["reason"]
        again = time.monotonic() - begin
    finally:
        process.send_signal(signal.SIGCONT)
    assert waited < TIMEOUT + 10, "of which 10 for a busy machine"
    assert again < max(3.0, 1.5 * waited), "only the first question has waited"
    assert (late["shared"]["state"], late["complete"]) == ("unreachable", False)
    assert "did not answer" in late["shared"]["reason"]
    assert comparable(late) == comparable(alone)
    until(lambda: machine.daemon.call("query", **asked)["shared"]["state"] == "ok")
    machine.kill_share()
    off = machine.daemon.call("query", **asked)
    assert (off["shared"]["state"], off["complete"]) == ("off", False)
    assert "facewatch-share does not run; start it" in off["shared"]["reason"]
    assert comparable(off) == comparable(alone)
    assert any("every face is compared here" in problem for problem in machine.daemon.status()["problems"])
    assert machine.daemon.call("query", **asked, shared=False)["complete"]


def test_without_an_engine_a_question_over_several_machines_is_an_error(place: dict[str, Any]) -> None:
    for asked in ({"shared": True}, {"dirs": ["nas:/srv"]}):
        with pytest.raises(RemoteError, match=r"no shared engine is configured: add \[shared\] with its url"):
            place["all"].call("query", **question(place, asked, ANNA))
