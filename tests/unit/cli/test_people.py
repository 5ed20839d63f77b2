"""``facewatchd people``, of a daemon that is played here: what is sent, and what is printed."""

from __future__ import annotations

import base64
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from facewatchd.cli import app as cli
from facewatchd.client import opening
from tests.support.fake_daemon import DEADLINE, FakeDaemon, error, reply, run_with_terminal

PEOPLE = [
    {"name": "Anna", "born": None, "hidden": False, "references": 12, "photos": 30, "unplaced": 0},
    {"name": "Zoë\t山", "born": None, "hidden": False, "references": 1, "photos": 1, "unplaced": 2},
]
SAID = {"name": "Anna", "is": True, "new": False, "said": 2, "known": 0, "moved": [], "largest": [],
        "without_face": [], "refused": []}  # fmt: skip


def statement(**changes: Any) -> dict[str, Any]:
    return {
        "id": 1, "is": True, "paths": [{"path": "/p/a.jpg"}], "digest": "0123456789abcdef" * 4, "box": [1, 2, 30, 40],
        "relative_box": [0.1, 0.1, 0.2, 0.2], "face_id": 9, "source": "user", "at": 1561888800.0, "placed": True,
    } | changes  # fmt: skip


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with FakeDaemon(tmp_path / "socket") as daemon:
        yield daemon


@pytest.fixture
def people(fake: FakeDaemon) -> Callable[..., int]:
    """Run the command with a result of the daemon, in this process."""

    def run(result: dict[str, Any], *arguments: str) -> int:
        fake.requests.clear()
        fake.script = lambda request: reply(request, result)
        return cli.main(["people", *arguments, "--socket", str(fake.path)])

    return run


def command(fake: FakeDaemon, *arguments: str) -> list[str | bytes | Path]:
    return [sys.executable, "-m", "facewatchd", "people", *arguments, "--socket", fake.path]


@pytest.mark.parametrize("name", [[], ["list"]])
def test_the_list_as_lines_document_and_table(people: Any, fake: FakeDaemon, capfd: Any, name: list[str]) -> None:
    assert people({"people": PEOPLE}, *name) == 0
    assert fake.requests[0]["method"] == "people"
    assert capfd.readouterr() == ("Anna\t12\t30\nZoë\\t山\t1\t1\n", "")
    assert people({"people": PEOPLE}, *name, "--json") == 0
    assert json.loads(capfd.readouterr().out) == {"people": PEOPLE}
    _, out, err = run_with_terminal(command(fake, *name), NO_COLOR="1", LC_ALL="C.UTF-8")
    assert err == b""
    assert [line.rstrip() for line in out.decode().splitlines()] == [
        "PERSON     REFERENCES  PHOTOS",
        "Anna       12          30",
        "Zoë\\x09山  1           1  (2 faces not found now)",
    ]


def test_the_list_says_of_whom_no_face_is_found(people: Any, fake: FakeDaemon, capfd: Any) -> None:
    away = [{**PEOPLE[1], "name": f"P{number}", "references": 0} for number in range(5)]
    assert people({"people": [*PEOPLE, *away]}) == 0
    told = "facewatchd: no face of P0, P1, P2 and 2 more is found now: "
    assert capfd.readouterr().err == f"{told}wait until the photos are indexed, or add one again\n"


def test_the_list_says_when_a_person_was_born_and_who_is_hidden(people: Any, fake: FakeDaemon, capfd: Any) -> None:
    described = {"people": [PEOPLE[0] | {"born": "2001-05"}, PEOPLE[1] | {"name": "Zoë", "hidden": True}]}
    assert people(described) == 0
    assert capfd.readouterr() == ("Anna\t12\t30\t2001-05\t\nZoë\t1\t1\t\thidden\n", "")
    _, out, _ = run_with_terminal(command(fake), NO_COLOR="1", LC_ALL="C.UTF-8")
    assert [line.rstrip() for line in out.decode().splitlines()[1:]] == [
        "Anna    12          30  (born 2001-05)",
        "Zoë     1           1  (hidden, 2 faces not found now)",
    ]
    fake.script = lambda request: reply(
        request, {**PEOPLE[0], "born": "1999", "hidden": True, "statements": [], "next": None}
    )
    _, out, _ = run_with_terminal(command(fake, "show", "anna"), NO_COLOR="1")
    assert out.splitlines() == [b"Anna: 12 references, confirmed on 30 photos, born 1999, hidden"]


@pytest.mark.parametrize(
    ("arguments", "sent", "out"),
    [
        (["--born", "2001-05"], {"born": "2001-05"}, "born 2001-05, not hidden"),
        (["--born", "none", "--hide"], {"born": "none", "hidden": True}, "no date of birth, hidden"),
        (["--show"], {"hidden": False}, "no date of birth, not hidden"),
    ],
)
def test_a_person_is_described(
    people: Any, fake: FakeDaemon, capfd: Any, arguments: list[str], sent: dict[str, Any], out: str
) -> None:
    born = sent.get("born")
    result = {"name": "Anna", "born": None if born == "none" else born, "hidden": sent.get("hidden", False)}
    assert people(result, "describe", "@anna", *arguments) == 0
    assert (fake.requests[0]["method"], fake.params()) == ("describe_person", {"name": "anna", **sent})
    assert capfd.readouterr() == (f"Anna: {out}\n", "")
    assert people(result, "describe", "anna", *arguments, "--json") == 0
    assert json.loads(capfd.readouterr().out) == result


def test_without_people_a_terminal_says_how_to_begin(fake: FakeDaemon) -> None:
    fake.script = lambda request: reply(request, {"people": []})
    status, out, err = run_with_terminal(command(fake))
    assert (status, out) == (0, b"")
    assert err == b"no person has a name; to give one: facewatchd people add NAME PHOTO\n"


@pytest.mark.parametrize(("action", "is_person"), [("add", True), ("not", False)])
def test_faces_are_sent_as_questions_send_them(people: Any, fake: FakeDaemon, action: str, is_person: bool) -> None:
    Path("b.jpg#1").touch()
    assert people(SAID, action, "@Anna Bell", "a.jpg", "a.jpg#2", "face:7", "b.jpg#1") == 0
    here = Path.cwd()
    who = [{"path": f"{here}/a.jpg"}, {"path": f"{here}/a.jpg", "face": 2}, {"face_id": 7}, {"path": f"{here}/b.jpg#1"}]
    expected = {"name": "Anna Bell", "who": who} | ({} if is_person else {"is": False})
    assert (fake.requests[0]["method"], fake.params()) == ("assign", expected)


def test_behind_two_dashes_names_and_photos_are_taken_as_they_are(fake: FakeDaemon) -> None:
    sent: list[dict[str, Any]] = []

    def script(request: dict[str, Any]) -> bytes:
        sent.append(request["params"])
        return error(request, "internal")

    def params(*arguments: str) -> dict[str, Any]:
        command, *rest = arguments
        assert cli.main(["people", command, "--socket", str(fake.path), *rest]) == 1
        return sent.pop()

    fake.script = script
    who = [{"path": f"{Path.cwd()}/-a.jpg"}, {"path": f"{Path.cwd()}/--box"}]
    for name in ("-x", "./-x", "--yes", "--"):
        assert params("add", "--", name, "-a.jpg", "--box") == {"name": name, "who": who}
        assert params("add", f"@{name}", "--", "-a.jpg", "--box") == {"name": name, "who": who}
        assert params("not", "--", name, "-a.jpg", "--box") == {"name": name, "who": who, "is": False}
        assert params("rename", "--", name, f".{name}") == {"name": name, "new": f".{name}"}
        assert params("merge", "--", name, name) == {"name": name, "into": name}
        assert params("forget", "--", name) == params("show", "--", name) == {"name": name}
        assert params("describe", "--hide", "--", name) == {"name": name, "hidden": True}


def test_a_box_and_poor_references_are_sent(people: Any, fake: FakeDaemon) -> None:
    people(SAID, "add", "Anna", "a.jpg", "--box", "10,20,30,40", "--anyway")
    assert (fake.params()["box"], fake.params()["anyway"]) == ([10, 20, 30, 40], True)


def test_a_box_may_be_written_as_in_the_table_and_is_taken_back_by_not(people: Any, fake: FakeDaemon) -> None:
    for box in ("10,20,30,40", "10,20 30x40"):
        people(SAID | {"is": False}, "not", "Anna", "a.jpg", "--box", box)
        assert (fake.params()["box"], fake.params()["is"]) == ([10, 20, 30, 40], False)


def test_of_whole_photos(people: Any, fake: FakeDaemon, capfd: Any) -> None:
    who = [{"path": f"{Path.cwd()}/{name}.jpg", "face": "none"} for name in "ab"]
    said = SAID | {"without_face": [0, 1]}
    assert people(said, "add", "Anna", "a.jpg", "b.jpg", "--whole") == 0
    assert fake.params() == {"name": "Anna", "who": who}
    assert people(said | {"is": False}, "not", "Anna", "a.jpg", "b.jpg", "--whole") == 0
    assert fake.params() == {"name": "Anna", "who": who, "is": False}
    assert capfd.readouterr() == ("Anna: 2 photos added\nAnna: 2 photos said not to show Anna\n", "")


def test_bytes_follow_where_the_daemon_cannot_read_the_path(fake: FakeDaemon) -> None:
    Path("a.jpg").write_bytes(b"picture")
    fake.script = lambda request: (
        error(request, "unreadable-photo") if "path" in request["params"]["who"][0] else reply(request, SAID)
    )
    assert cli.main(["people", "add", "Anna", "a.jpg", "--socket", str(fake.path)]) == 0
    assert fake.requests[1]["params"]["who"] == [{"data": base64.b64encode(b"picture").decode()}]


@pytest.mark.parametrize(
    ("action", "result", "out"),
    [
        ("add", SAID | {"new": True}, "Anna is new: 2 faces added\n"),
        ("add", SAID | {"said": 1, "known": 1}, "Anna: 1 face added, 1 known already\n"),
        ("add", SAID | {"said": 0, "known": 1}, "Anna: no face added, 1 known already\n"),
        ("add", SAID | {"moved": ["Ben", "C\x1b"]}, "Anna: 2 faces added, taken from Ben, C\\x1b\n"),
        ("not", SAID | {"is": False, "said": 1}, "Anna: 1 face said not to be Anna\n"),
    ],
)
def test_what_was_said_is_one_line(people: Any, capfd: Any, action: str, result: dict[str, Any], out: str) -> None:
    assert people(result, action, "anna", "a.jpg", "b.jpg") == 0
    assert capfd.readouterr() == (out, "")
    assert people(result, action, "anna", "a.jpg", "--json") == 0
    assert json.loads(capfd.readouterr().out) == result


def test_what_is_left_out_is_named_with_its_reason_and_fails(people: Any, capfd: Any) -> None:
    refused = [{"who": 1, "face": 2, "reason": "small"}, {"who": 2, "face": None, "reason": "blurred"}]
    assert people(SAID | {"refused": refused, "without_face": [0]}, "add", "Anna", "a.jpg", "b.jpg#2", "face:7") == 1
    assert capfd.readouterr() == (
        "Anna: 2 faces and photos added\n",
        "facewatchd: no face was found on a.jpg: it is said that Anna is on it\n"
        "facewatchd: b.jpg, face 2 is left out: small; --anyway takes it\n"
        "facewatchd: face:7 is left out: blurred; --anyway takes it\n",
    )


def test_of_a_photo_of_several_people_it_is_said_which_face_was_taken(people: Any, capfd: Any) -> None:
    largest = [{"who": 1, "face": 2, "faces": 3}]
    assert people(SAID | {"largest": largest}, "add", "Anna", "a.jpg", "b.jpg") == 0
    err = "facewatchd: b.jpg shows 3 faces, and the largest was taken: b.jpg#2\n"
    assert capfd.readouterr() == ("Anna: 2 faces added\n", err)
    assert people(SAID | {"largest": largest, "is": False}, "not", "Anna", "a.jpg", "b.jpg") == 0
    assert capfd.readouterr().err == err.replace("\n", "; --whole says it of them all\n")


def test_changes_of_names_are_one_line(people: Any, fake: FakeDaemon, capfd: Any) -> None:
    sheet = opening.private_file("Anna", ".png")
    sheet.touch()
    assert people({"before": "Anna", "name": "Anna Bell"}, "rename", "anna", "Anna Bell") == 0
    assert fake.params() == {"name": "anna", "new": "Anna Bell"}
    assert people({"before": "Ben", "name": "Anna", "statements": 12}, "merge", "ben", "@anna") == 0
    assert fake.params() == {"name": "ben", "into": "anna"}
    assert people({"name": "Anna", "statements": 12, "backups": 2}, "forget", "anna") == 0
    assert people({"name": "Anna", "statements": 1, "backups": 0}, "forget", "anna", "--yes") == 0
    assert capfd.readouterr() == (
        "Anna is now Anna Bell\n"
        "Ben is now Anna: 12 statements\n"
        "forgot Anna: 12 statements and 2 backups deleted\n"
        "forgot Anna: 1 statement deleted\n",
        "",
    )
    assert not sheet.exists(), "it shows the person, and has the name"


@pytest.mark.parametrize(
    ("result", "out"),
    [
        ({"action": "say", "names": ["Anna"], "statements": 3}, "took back 3 statements about Anna\n"),
        ({"action": "say", "names": ["Anna"], "statements": 0}, "took back the description of Anna\n"),
        ({"action": "describe", "names": ["Anna"], "statements": 0}, "took back the description of Anna\n"),
        ({"action": "rename", "names": ["Anna"], "statements": 0}, "took back the renaming of Anna\n"),
        ({"action": "merge", "names": ["Ben", "Anna"], "statements": 0}, "took back the merging of Ben, Anna\n"),
    ],
)
def test_what_was_taken_back(people: Any, capfd: Any, result: dict[str, Any], out: str) -> None:
    assert people({**result, "at": 1.0}, "undo") == 0
    assert capfd.readouterr() == (out, "")


def test_nothing_to_take_back_fails(people: Any, capfd: Any) -> None:
    assert people({"action": None, "names": [], "statements": 0, "at": None}, "undo") == 1
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("facewatchd: there is nothing to take back; ")


def test_show_reads_all_pages(fake: FakeDaemon, capfdbinary: Any) -> None:
    pages = [
        [statement(), statement(**{"is": False}, paths=[{"path": "/p/\ufffd", "path_bytes": "L3AvCf8="}])],
        [statement(box=None, placed=False, source="xmp"), statement(paths=[], placed=False)],
    ]

    def script(request: dict[str, Any]) -> bytes:
        at = request["params"].get("after", 0)
        return reply(request, {**PEOPLE[0], "statements": pages[at], "next": 1 if at == 0 else None})

    fake.script = script
    arguments = ["people", "show", "anna", "--socket", str(fake.path)]
    assert cli.main(arguments) == 0
    out = capfdbinary.readouterr().out
    assert [line.split(b"\t") for line in out.splitlines()] == [
        [b"is", b"1,2,30,40", b"user", b"2019-06-30", b"/p/a.jpg"],
        [b"is not", b"1,2,30,40", b"user", b"2019-06-30", b"/p/\\t\xff"],
        [b"is", b"", b"xmp", b"2019-06-30", b"/p/a.jpg", b"no face found there now"],
        [b"is", b"1,2,30,40", b"user", b"2019-06-30", b"", b"no photo now, b2sum -l 256: 0123456789ab"],
    ]
    assert [request["params"] for request in fake.requests] == [{"name": "anna"}, {"name": "anna", "after": 1}]
    assert cli.main([*arguments, "--json"]) == 0
    assert json.loads(capfdbinary.readouterr().out) == {**PEOPLE[0], "statements": [*pages[0], *pages[1]]}
    status, shown, _ = run_with_terminal(command(fake, "show", "anna"), NO_COLOR="1", TZ="UTC")
    assert status == 0
    lines = shown.decode().splitlines()
    assert lines[0] == "Anna: 12 references, confirmed on 30 photos"
    assert lines[1].split() == ["FACE", "BOX", "SAID", "BY", "ON", "PATH"]
    assert lines[3].endswith("/p/\\x09\\xff")


@pytest.mark.parametrize(
    ("kind", "status"),
    [("unknown-person", 2), ("unknown-face", 2), ("no-face", 2), ("unreadable-photo", 2), ("internal", 1)],
)
def test_errors_are_one_line_each_with_its_status(fake: FakeDaemon, capfd: Any, kind: str, status: int) -> None:
    fake.script = lambda request: error(request, kind, "what\nhappened")
    for arguments in (["show", "x"], ["add", "x", "a.jpg"], ["forget", "x", "--yes"]):
        assert cli.main(["people", *arguments, "--socket", str(fake.path)]) == status
        assert capfd.readouterr() == ("", "facewatchd: what\\x0ahappened; what to do\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["add"], ["add", "x"], ["add", "", "a.jpg"], ["add", "@", "a.jpg"], ["add", "\udcff", "a.jpg"],
        ["add", "x", "@y"], ["add", "x", "-", "-"],
        ["add", "x", "a.jpg", "--box", "1,2,3"], ["add", "x", "a.jpg", "--box", "1,2,0,4"],
        ["add", "x", "a.jpg", "--box=-1,2,3,4"], ["add", "x", "face:y"], ["not", "x", "a.jpg", "--anyway"],
        ["add", "x", "a.jpg#1", "--box", "1,2,3,4"], ["add", "x", "a.jpg", "b.jpg", "--box", "1,2,3,4"],
        ["not", "x", "face:1", "--box", "1,2,3,4"], ["add", "x", "a.jpg#1", "--whole"],
        ["not", "x", "face:1", "--whole"],
        ["add", "x", "a.jpg", "--whole", "--box", "1,2,3,4"], ["not", "x", "a.jpg", "--box", "1,2 3"],
        ["describe", "x"], ["describe", "x", "--born", "2001-13"], ["describe", "x", "--born", "May"],
        ["describe", "x", "--hide", "--show"], ["describe", "--hide"],
        ["rename", "x"], ["merge", "x"], ["show"], ["anna"], ["--yes"], ["forget"],
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line_and_asks_nothing(fake: FakeDaemon, capfd: Any, arguments: list[str]) -> None:
    assert cli.main(["people", *arguments]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n"), fake.requests) == ("", 1, [])
    assert err.startswith("facewatchd: ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["add", "x"], "WHO is missing: name a photo, PHOTO#N, face:ID or group:ID; "),
        (["not", "x"], "WHO is missing: name a photo, PHOTO#N, face:ID or group:ID; "),
        (["add", "-x", "a.jpg"], "unknown option -x; see facewatchd people add --help; if it is no option, put --"),
        (["forget", "-Dash"], "unknown option -Dash; see facewatchd people forget --help; if it is no option, put --"),
        (["forget", "--yess"], "unknown option --yess: did you mean --yes?"),
        (["add", "--boks=1,2,3,4"], "unknown option --boks: did you mean --box?"),
        (["undo", "-x"], "unknown option -x; see facewatchd people undo --help\n"),
        (["undo", "--", "-x"], "unrecognized arguments: -x; "),
    ],
)
def test_an_error_says_what_is_wanted(fake: FakeDaemon, capfd: Any, arguments: list[str], words: str) -> None:
    assert cli.main(["people", *arguments]) == 2
    assert words in capfd.readouterr().err


@pytest.mark.parametrize(("typed", "status"), [(b"y\n", 0), (b"Yes\n", 0), (b"\n", 1), (b"n\n", 1), (b"\x04", 1)])
def test_on_a_terminal_to_forget_is_asked_for_once_more(fake: FakeDaemon, typed: bytes, status: int) -> None:
    result = {"name": "Anna Bell", "statements": 1, "backups": 0}
    fake.script = lambda request: reply(request, result)
    process, ours, said = forgetting(fake)
    assert said.startswith(b"delete Anna Bell, all")
    assert [request["method"] for request in fake.requests] == ["person"]
    os.write(ours, typed)
    assert process.wait(DEADLINE) == status
    os.close(ours)
    assert [request["method"] for request in fake.requests][1:] == (["forget_person"] if status == 0 else [])


def test_on_a_terminal_nobody_is_asked_about_a_person_that_is_not_there(fake: FakeDaemon) -> None:
    fake.script = lambda request: error(request, "unknown-person", "there is no person 'anna'")
    process, ours, said = forgetting(fake)
    assert said.startswith(b"facewatchd: there is no person 'anna'; ")
    assert process.wait(DEADLINE) == 2
    os.close(ours)


def forgetting(fake: FakeDaemon) -> tuple[subprocess.Popen[bytes], int, bytes]:
    """The command on a terminal, our end of the terminal, and what was said until the question or an end of a line."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command(fake, "forget", "anna"), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    while not said.endswith((b"[y/N] ", b"\n")):
        said += os.read(ours, 1000)
    return process, ours, said
