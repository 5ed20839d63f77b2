"""Names from the shell, with a daemon: to say who faces are, to ask, to correct, and to take it back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from facewatchd.cli import app as cli
from facewatchd.client import app as client
from tests.support.albums import shoot
from tests.support.processes import Daemon, until

ANNA, BEN, CLEO, DORA = 1, 2, 3, 4
ALBUM = {
    "anna": [ANNA], "anna-too": [ANNA], "ben": [BEN], "both": [ANNA, BEN], "three": [BEN, ANNA, CLEO],
    "twice": [ANNA, ANNA], "dora": [DORA],
}  # fmt: skip
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Iterator[Daemon]:
    """A daemon that has indexed the album; each test leaves it without people."""
    directory = tmp_path_factory.mktemp("naming")
    for seed, (name, persons) in enumerate(ALBUM.items()):
        shoot(directory / "photos" / f"{name}.jpg", persons, seed)
    Image.new("RGB", (300, 200), "grey").save(directory / "photos" / "empty.jpg")
    with Daemon(directory / "home", directory / "photos", model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        daemon.settle()
        yield daemon


@pytest.fixture
def run(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run a command among the photos; return its status, output and standard error."""
    monkeypatch.chdir(daemon.roots[0])

    def run(command: str, *arguments: str) -> tuple[int, str, str]:
        main = client.main if command == "query" else lambda words: cli.main([command, *words])
        status = main([*arguments, "--socket", str(daemon.socket)])
        out, err = capfd.readouterr()
        return status, out, err

    yield run
    while daemon.call("undo")["action"] is not None:
        pass
    for person in daemon.call("people")["people"]:
        daemon.call("forget_person", name=person["name"])


@pytest.fixture
def found(run: Run) -> Callable[..., set[str]]:
    """The names of the photos that answer a question."""

    def found(*arguments: str) -> set[str]:
        _, out, err = run("query", "-l", "-n", "0", *arguments)
        assert err == ""
        return {Path(line).stem for line in out.splitlines()}

    return found


def test_from_a_first_name_to_questions_of_several(run: Run, found: Callable[..., set[str]]) -> None:
    assert run("people", "add", "Anna", "anna.jpg") == (0, "Anna is new: 1 face added\n", "")
    assert run("people", "add", "anna", "both.jpg#0", "anna.jpg") == (0, "Anna: 1 face added, 1 known already\n", "")
    assert run("people", "add", "Ben", "three.jpg#0") == (0, "Ben is new: 1 face added\n", "")
    assert run("people") == (0, "Anna\t2\t2\nBen\t1\t1\n", "")
    assert found("@ANNA") == {"anna", "anna-too", "both", "three", "twice"}
    assert found("@anna", "--with", "@ben") == {"both", "three"}
    assert found("@anna", "--with", "@ben", "--without", "three.jpg#2") == {"both"}
    assert found("@anna", "--with", "@ben", "--only") == {"both"}
    assert found("@anna", "--without", "@ben") == {"anna", "anna-too", "twice"}
    assert found("@anna", "--only") == {"anna", "anna-too"}
    assert found("@anna", "--with", "@anna") == {"twice"}, "one face is not two people"
    assert found("@anna", "--faces", "2") == {"both", "twice"}
    assert found("@anna", "--faces", "2-") == {"both", "twice", "three"}
    assert found("@ben", "anna.jpg", "--face", "all") >= {"anna", "ben"}
    status, _, err = run("query", "-v", "@anna", "--with", "ben.jpg")
    assert (status, [line.split(" ")[0] for line in err.splitlines()[:2]]) == (0, ["query:", "with:"])
    assert err.startswith("query: Anna, ")
    confirmed = [match["confirmed"] for match in json.loads(run("query", "@anna", "--json")[1])["matches"]]
    assert confirmed == [True, True, False, False, False]


def test_a_face_by_its_id_is_the_face_by_its_number(run: Run, found: Callable[..., set[str]]) -> None:
    match = json.loads(run("query", "three.jpg#2", "--json")[1])["matches"][0]
    assert found(f"face:{match['face_id']}") == found("three.jpg#2") == {"three"}
    shutil.copy("dora.jpg", "../@dora")
    assert found("../@dora") == {"dora"}
    (Path("..") / "@dora").unlink()
    assert run("query", "three.jpg#3")[0] == client.NO_FACE
    assert run("query", "face:999999")[0] == client.WRONG


def test_what_is_not_a_person_stays_away_until_it_is_taken_back(
    run: Run, found: Callable[..., set[str]], daemon: Daemon
) -> None:
    run("people", "add", "Anna", "anna.jpg")
    assert run("people", "not", "Anna", "anna-too.jpg") == (0, "Anna: 1 face said not to be Anna\n", "")
    assert "anna-too" not in found("@anna")
    shutil.copy("anna-too.jpg", "copy.jpg")
    until(lambda: daemon.status()["photos"] == len(ALBUM) + 2)
    assert not {"anna-too", "copy"} & found("@anna", "--no-collapse")
    shown = [line.split("\t") for line in run("people", "show", "anna")[1].splitlines()]
    assert [(line[0], line[2], Path(line[4]).name) for line in shown] == [
        ("is", "user", "anna.jpg"),
        ("is not", "user", "anna-too.jpg"),
    ]
    assert run("people", "undo") == (0, "took back 1 statement about Anna\n", "")
    assert {"anna-too", "copy"} <= found("@anna", "--no-collapse")
    Path("copy.jpg").unlink()
    until(lambda: daemon.status()["photos"] == len(ALBUM) + 1)


def test_names_change_and_go(run: Run, found: Callable[..., set[str]]) -> None:
    run("people", "add", "Anna", "anna.jpg")
    run("people", "add", "Annie", "anna-too.jpg", "--anyway")
    assert run("people", "rename", "annie", "Ann") == (0, "Annie is now Ann\n", "")
    assert run("people", "rename", "ann", "Anna")[0] == 2, "that is another person"
    assert run("people", "merge", "@ann", "@anna") == (0, "Ann is now Anna: 2 statements\n", "")
    assert run("query", "@ann")[0] == client.WRONG
    assert run("people", "undo") == (0, "took back the merging of Anna, Ann\n", "")
    assert found("@ann")
    status, out, _ = run("people", "forget", "ann")
    assert (status, out.partition(":")[0]) == (0, "forgot Ann")
    assert run("people") == (0, "Anna\t1\t1\n", "")
    for wrong in (["show", "Ann"], ["forget", "Ann"], ["not", "Ann", "ben.jpg"], ["add", "Ben", "ben.jpg#1"]):
        status, out, err = run("people", *wrong)
        assert (status, out, err.count("\n")) == (2, "", 1)


def test_a_hidden_person_is_named_nowhere_and_answers_for_itself(run: Run, found: Callable[..., set[str]]) -> None:
    run("people", "add", "Anna", "anna.jpg")

    def name() -> str:
        return run("query", "--list-faces", "--who", "anna-too.jpg")[1].split("\t")[3]

    def named_in(who: str) -> set[str]:
        document = json.loads(run("query", who, "--json")[1])
        return {match["person"] for match in document["matches"] if match.get("person")}

    assert name() == "Anna"
    assert named_in("anna-too.jpg") == {"Anna"}
    described = ["people", "describe", "@anna", "--born", "2001-05", "--hide"]
    assert run(*described) == (0, "Anna: born 2001-05, hidden\n", "")
    assert name() == ""
    assert "anna-too" in found("@anna")
    assert named_in("anna-too.jpg") == set()
    assert named_in("@anna") == {"Anna"}, "who was asked for by name"
    assert run("people") == (0, "Anna\t1\t1\t2001-05\thidden\n", "")
    assert run("people", "undo") == (0, "took back the description of Anna\n", "")
    assert name() == "Anna"


def test_a_person_on_a_photo_without_a_face(run: Run, found: Callable[..., set[str]]) -> None:
    run("people", "add", "Anna", "anna.jpg")
    status, out, err = run("people", "add", "Anna", "empty.jpg")
    assert (status, out) == (0, "Anna: 1 photo added\n")
    assert err == "facewatchd: no face was found on empty.jpg: it is said that Anna is on it\n"
    assert "empty" in found("@anna")
    lines = [line.split("\t") for line in run("query", "@anna")[1].splitlines()]
    assert ["", "", str(Path("empty.jpg").absolute())] in lines
    assert run("people", "add", "Ben", "empty.jpg", "--box", "10,20,50,60")[0] == 0
    assert found("@ben") == {"empty"}
    assert run("people", "add", "Ben", "empty.jpg", "--box", "10,20,5000,60")[0] == 2
    assert run("people", "not", "Ben", "empty.jpg", "--box", "12,20 50x60")[0] == 0
    assert run("query", "@ben")[0] == client.NOTHING_FOUND


def test_what_was_said_beside_the_faces_of_a_photo_is_taken_back(run: Run, found: Callable[..., set[str]]) -> None:
    assert run("people", "add", "Ann", "dora.jpg", "--whole") == (0, "Ann is new: 1 photo added\n", "")
    assert run("people", "add", "Ann", "three.jpg", "--box", "1,1,40,40") == (0, "Ann: 1 face added\n", "")
    run("people", "add", "Ann", "ben.jpg")
    assert {"dora", "three", "ben"} <= found("@ann")
    assert run("people", "not", "Ann", "dora.jpg", "--whole")[1] == "Ann: 1 photo said not to show Ann\n"
    assert "cleo" not in found("@ann")
    (drawn,) = (line.split("\t") for line in run("people", "show", "ann")[1].splitlines() if "\tdrawn\t" in line)
    assert run("people", "not", "Ann", "three.jpg", "--box", drawn[1])[0] == 0
    assert run("people")[1] == "Ann\t1\t1\n"
    assert run("people", "not", "Ann", "ben.jpg", "--whole")[0] == 0
    assert run("people")[1] == "Ann\t0\t0\n"


def test_dates_choose_and_order_photos_and_a_burst_is_one(
    run: Run, found: Callable[..., set[str]], daemon: Daemon, tmp_path: Path
) -> None:
    """Of dates in EXIF data and in names; three frames of a burst are one photo again."""
    frames = [shoot(tmp_path / f"burst{frame}.jpg", [CLEO], 180) for frame in range(3)]
    dated = [*frames, shoot(tmp_path / "old.jpg", [CLEO], 240)]
    for second, path in enumerate(dated):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = "1999:12:31 23:59:59" if path.stem == "old" else f"2012:05:06 10:00:0{second}"
        with Image.open(path) as image:
            image.save(path, quality=92, exif=exif)
    named = shoot(tmp_path / "IMG_20190630_101112.jpg", [CLEO], 300)
    for path in (*dated, named):
        shutil.move(path, path.name)
    until(lambda: daemon.status()["photos"] == len(ALBUM) + 1 + len(dated) + 1)
    daemon.settle()
    run("people", "add", "Cleo", "three.jpg#2")
    frames_of = {path.stem for path in frames}
    assert found("@cleo", "--until", "1999") == {"old"}
    assert found("@cleo", "--since", "2019-06-30", "--until", "2019-06") == {named.stem}
    assert found("@cleo", "--since", "2012-05-07", "--until", "2019-06-29") == set()
    assert found("@cleo", "--since", "2012-05-06", "--until", "2012", "--no-collapse") == frames_of
    (shown,) = json.loads(run("query", "@cleo", "--since", "2012-05-06", "--until", "2012", "--json")[1])["matches"]
    assert {Path(path).stem for path in (shown["path"], *shown["similar"])} == frames_of
    assert (shown["taken"][:10], shown["taken_from"]) == ("2012-05-06", "exif")
    order = [Path(line).stem for line in run("query", "-l", "@cleo", "--sort", "date")[1].splitlines()]
    assert order == ["old", Path(shown["path"]).stem, named.stem, "three"]
    backwards = [Path(line).stem for line in run("query", "-l", "@cleo", "--sort", "-date")[1].splitlines()]
    assert backwards == order[::-1]
    by_path = [Path(line).stem for line in run("query", "-l", "@cleo", "--sort", "path")[1].splitlines()]
    assert by_path == sorted(order)
    for path in (*dated, named):
        Path(path.name).unlink()
    until(lambda: daemon.status()["photos"] == len(ALBUM) + 1)


def test_a_photo_from_anywhere_tells_who_somebody_is(
    run: Run, found: Callable[..., set[str]], daemon: Daemon, tmp_path: Path
) -> None:
    passport = shoot(tmp_path / "passport.jpg", [ANNA], 98)
    assert run("people", "add", "Anna", str(passport))[1] == "Anna is new: 1 face added\n"
    assert run("people")[1:] == ("Anna\t1\t0\n", "")
    assert found("@anna") == {"anna", "anna-too", "both", "three", "twice"}
    assert found("ben.jpg", "--without", "@anna") == {"ben"}
    out = run("query", "--list-faces", "--who", str(passport))[1]
    assert out.split("\t")[3:6:2] == ["Anna", "confirmed"]
    passport.unlink()
    assert len(found("@anna")) == 5
    assert daemon.status()["photos"] == len(ALBUM) + 1


def test_who_is_on_a_photo_that_is_not_indexed(run: Run, tmp_path: Path) -> None:
    for name in ("anna", "ben"):
        run("people", "add", name.title(), f"{name}.jpg")
    visitor = shoot(tmp_path / "visitor.jpg", [BEN, CLEO, ANNA], 99)
    _, out, _ = run("query", "--list-faces", "--who", str(visitor), "--sheet", str(tmp_path / "who.png"))
    assert [line.split("\t")[3] for line in out.splitlines()] == ["Ben", "", "Anna"]
    assert [line.split("\t")[5] for line in out.splitlines()][1] == "unknown"
    faces = json.loads(run("query", "--list-faces", "--who", "--json", str(visitor))[1])["faces"]
    assert [face["names"]["name"] for face in faces] == ["Ben", None, "Anna"]
    with Image.open(tmp_path / "who.png") as picture:
        assert picture.size == (1200, 900)
    sheet = tmp_path / "sheet.png"
    assert run("query", "@anna", "--sheet", str(sheet))[0] == 0
    assert sheet.stat().st_size > 1000
