"""`facewatch-query` against a scripted daemon on a real Unix socket: in process, and as one with pipes or a pty."""

from __future__ import annotations

import base64
import io
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facewatchd import __version__
from facewatchd.client import app as client
from facewatchd.client import connection as rpc
from facewatchd.client.connection import MAX_LINE, Connection, RemoteError
from facewatchd.client.query import MAX_BYTES
from facewatchd.console.arguments import INTERRUPTED
from facewatchd.errors import DeadlineError, NoDaemonError, TooLargeError, UsageError, WrongListenerError
from facewatchd.pictures import labelled, sheet
from facewatchd.system import peer_credentials
from facewatchd.text import printable
from tests.support.fake_daemon import DEADLINE, FakeDaemon, error, reply, run_with_terminal
from tests.support.replies import answer, match, query_face


def command(daemon: FakeDaemon | None, arguments: Sequence[str | bytes | Path]) -> list[str | bytes | Path]:
    start: list[str | bytes | Path] = [sys.executable, "-m", "facewatchd.client.app"]
    return [*start, *(["--socket", daemon.path] if daemon else []), *arguments]


def run(
    daemon: FakeDaemon | None, *arguments: str | bytes | Path, given: bytes = b"", **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run the command as a process with pipes."""
    return subprocess.run(
        command(daemon, arguments), input=given, capture_output=True, timeout=DEADLINE, check=False, **options
    )


def run_on_terminal(daemon: FakeDaemon, *arguments: str | bytes | Path, **environment: str) -> tuple[int, bytes, bytes]:
    """Run the command with its standard output on a pseudo-terminal; return status, output and standard error."""
    return run_with_terminal(command(daemon, arguments), **environment)


# What is sent


def test_photos_go_by_absolute_path_and_only_given_options_are_sent(ask: Any, daemon: FakeDaemon) -> None:
    assert ask("a/../anna.jpg", "ünï.jpg") == client.NOTHING_FOUND
    assert daemon.requests[0]["method"] == "query"
    assert daemon.params() == {"photos": [{"path": os.path.abspath("anna.jpg")}, {"path": os.path.abspath("ünï.jpg")}]}


def test_every_option_is_sent(ask: Any, daemon: FakeDaemon) -> None:
    ask(
        "-n",
        "0",
        "a.jpg",
        "--threshold",
        "-0.25",
        "--face",
        "2",
        "-d",
        "x",
        "--dir",
        "/y",
        "--min-size",
        "50",
        "--exact",
    )
    assert daemon.params() == {
        "photos": [{"path": os.path.abspath("a.jpg")}], "top": 0, "threshold": -0.25, "face": 2,
        "dirs": [os.path.abspath("x"), "/y"], "min_size": 50, "exact": True,
    }  # fmt: skip


def test_people_dates_and_restrictions_are_sent(ask: Any, daemon: FakeDaemon) -> None:
    ask(
        *("@Anna Bell", "a.jpg#2", "face:7", "--with", "b.jpg", "--with", "@Ben", "--without", "c.jpg#0", "--strict"),
        *("--only", "--faces", "2-5", "--since", "2019-06", "--until", "2020", "--sort", "-date", "--new", "mail"),
    )
    here = os.path.abspath
    assert daemon.params() == {
        "who": [{"person": "Anna Bell"}, {"path": here("a.jpg"), "face": 2}, {"face_id": 7}],
        "with": [{"path": here("b.jpg")}, {"person": "Ben"}], "without": [{"path": here("c.jpg"), "face": 0}],
        "strict": True, "only": True, "faces_min": 2, "faces_max": 5, "since": "2019-06", "until": "2020",
        "sort": "-date", "new": "mail", "top": 0,
    }  # fmt: skip


def test_faces_without_an_upper_end_send_none(ask: Any, daemon: FakeDaemon) -> None:
    ask("a.jpg", "--faces", "2-")
    assert daemon.params() == {"photos": [{"path": os.path.abspath("a.jpg")}], "faces_min": 2}


@pytest.mark.parametrize(
    ("parameter", "arguments"),
    [("who", ["@anna"]), ("with", ["--with", "@ben"]), ("faces_min", ["--faces", "2"]), ("since", ["--since", "2019"])],
)
def test_a_daemon_of_an_earlier_version_is_named_with_the_option(
    ask: Any, daemon: FakeDaemon, capfd: Any, parameter: str, arguments: list[str]
) -> None:
    words = f"unknown parameter '{parameter}'; known here: photos, faces"
    if parameter == "who":
        words = "give exactly one of photos, faces, embedding"
    daemon.script = lambda request: error(request, "", words, code=-32602)
    assert ask("a.jpg", *arguments) == client.NOT_READY
    out, err = capfd.readouterr()
    assert out == ""
    assert arguments[0][:3] in err.replace("@NAME", "@anna")
    assert err.endswith("; start it again after an upgrade\n")


@pytest.mark.parametrize(
    ("arguments", "photos", "seconds"),
    [
        (["--wait", "a.jpg"], ["a.jpg"], 60),
        (["a.jpg", "--wait"], ["a.jpg"], 60),
        (["--wait", "5", "a.jpg"], ["a.jpg"], 5),
        (["--wait=0.5", "a.jpg"], ["a.jpg"], 0.5),
        (["--wait", "--exact", "a.jpg"], ["a.jpg"], 60),
        (["--wait", "--", "5"], ["5"], 60),
        (["--wait", "-0", "-n", "0", "a.jpg"], ["a.jpg"], 60),
        (["-0", "--wait", "0", "a.jpg"], ["a.jpg"], 0),
    ],
)
def test_wait_takes_a_number_and_never_a_photo(
    ask: Any, daemon: FakeDaemon, arguments: list[str], photos: list[str], seconds: float
) -> None:
    ask(*arguments)
    params = daemon.params()
    assert [photo["path"] for photo in params["photos"]] == [os.path.abspath(photo) for photo in photos]
    assert 0 <= seconds - params["wait"] < 4


def test_after_two_dashes_there_are_only_photos(ask: Any, daemon: FakeDaemon) -> None:
    ask("--exact", "a.jpg", "--", "--json", "-x.jpg")
    expected = [os.path.abspath(name) for name in ("a.jpg", "--json", "-x.jpg")]
    assert [photo["path"] for photo in daemon.params()["photos"]] == expected
    assert daemon.params()["exact"] is True


def test_stdin_is_sent_as_bytes(daemon: FakeDaemon) -> None:
    daemon.script = lambda request: reply(request, answer(b"/a.jpg", query=[query_face(None)]))
    done = run(daemon, "--json", "-", given=b"\xff\xd8 picture")
    assert done.returncode == client.FOUND, done.stderr
    assert daemon.params()["photos"] == [{"data": base64.b64encode(b"\xff\xd8 picture").decode()}]
    assert json.loads(done.stdout)["query"][0]["photo"] == "-"


def test_a_pipe_named_by_dev_fd_is_sent_as_bytes(daemon: FakeDaemon) -> None:
    run(daemon, "/dev/fd/0", given=b"picture")
    assert daemon.params()["photos"] == [{"data": base64.b64encode(b"picture").decode()}]


def test_a_named_pipe_is_read_here(daemon: FakeDaemon, ask: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    writer = threading.Thread(target=(tmp_path / "pipe.jpg").write_bytes, args=(b"picture",), name="writer")
    writer.start()
    ask(tmp_path / "pipe.jpg")
    writer.join(DEADLINE)
    assert daemon.params()["photos"] == [{"data": base64.b64encode(b"picture").decode()}]


def test_names_that_are_not_utf8_go_as_path_bytes(daemon: FakeDaemon, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.jpg"
    done = run(daemon, path, "-d", path, "-d", tmp_path, "--json")
    assert daemon.params()["photos"] == [{"path_bytes": base64.b64encode(path).decode()}]
    assert daemon.params()["dirs"] == [{"path_bytes": base64.b64encode(path).decode()}, str(tmp_path)]
    assert json.loads(done.stdout)["query"][0]["photo"].endswith("/\ufffd.jpg")


def test_bytes_follow_where_the_daemon_cannot_read_the_path(ask: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"picture")
    daemon.script = lambda request: (
        error(request, "unreadable-photo")
        if "path" in request["params"]["photos"][0]
        else reply(request, answer(b"/b"))
    )
    assert ask(tmp_path / "a.jpg", tmp_path / "gone.jpg") == client.FOUND
    assert [request["params"]["photos"] for request in daemon.requests] == [
        [{"path": str(tmp_path / "a.jpg")}, {"path": str(tmp_path / "gone.jpg")}],
        [{"data": base64.b64encode(b"picture").decode()}, {"path": str(tmp_path / "gone.jpg")}],
    ]


def test_only_the_bytes_of_the_photo_follow_that_the_daemon_names(
    ask: Any, daemon: FakeDaemon, tmp_path: Path, capfd: Any
) -> None:
    for name in ("a.jpg", "b\x1b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(name.encode())

    def script(request: dict[str, Any]) -> bytes:
        if any("data" in photo for photo in request["params"]["photos"]):
            return error(request, "unreadable-photo", "photo 2: not an image")
        return error(request, "unreadable-photo", f"{tmp_path}/b\\x1b.jpg: cannot be read: Permission denied")

    daemon.script = script
    assert ask(*(tmp_path / name for name in ("a.jpg", "b\x1b.jpg", "c.jpg"))) == client.WRONG
    sent = [[list(photo) for photo in request["params"]["photos"]] for request in daemon.requests]
    assert sent == [[["path"]] * 3, [["path"], ["data"], ["path"]]]
    assert capfd.readouterr().err == f"facewatch-query: {tmp_path}/b\\x1b.jpg: not an image; what to do\n"


def test_a_photo_that_nobody_can_read_is_asked_for_once(
    ask: Any, daemon: FakeDaemon, tmp_path: Path, capfd: Any
) -> None:
    daemon.script = lambda request: error(request, "unreadable-photo", "there is no file /x")
    assert ask(tmp_path / "gone.jpg") == client.WRONG
    assert len(daemon.requests) == 1
    assert capfd.readouterr() == ("", "facewatch-query: there is no file /x; what to do\n")


def test_bytes_that_are_no_photo_end_it_and_the_error_names_the_file(
    ask: Any, daemon: FakeDaemon, tmp_path: Path, capfd: Any
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"picture")
    daemon.script = lambda request: error(request, "unreadable-photo", "not an image")
    assert ask(tmp_path / "a.jpg") == client.WRONG
    assert len(daemon.requests) == 2
    assert capfd.readouterr().err == f"facewatch-query: {tmp_path}/a.jpg: not an image; what to do\n"


def test_photos_too_large_for_one_line_are_refused_here(
    ask: Any, daemon: FakeDaemon, tmp_path: Path, capfd: Any
) -> None:
    with open(tmp_path / "huge.jpg", "wb") as file:
        file.truncate(MAX_BYTES + 1)
    daemon.script = lambda request: error(request, "unreadable-photo", "permission denied")
    assert ask(tmp_path / "huge.jpg") == client.WRONG
    assert "permission denied" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("pair", "named"),
    [
        ("photos 1 and 2", "standard input and b.jpg"),
        ("@Anna and photo 2", "@Anna and b.jpg"),
        ("photo 1 and @Anna", "standard input and @Anna"),
        ("face 5 and photo 7", "face 5 and photo 7"),
        ("/a and photo 1/c.jpg and @Anna", "/a and photo 1/c.jpg and @Anna"),
    ],
)
def test_whos_that_are_not_one_person_are_named_as_they_were_given(
    daemon: FakeDaemon, tmp_path: Path, pair: str, named: str
) -> None:
    (tmp_path / "b.jpg").touch()
    words = "do not look like one person (similarity 0.00)"
    daemon.script = lambda request: error(request, "", f"{pair} {words}", code=-32602)
    done = run(daemon, "-", "b.jpg", "@anna", given=b"x", cwd=tmp_path, env={**os.environ, "PYTHONPATH": ROOT})
    assert (done.returncode, done.stderr.decode()) == (client.WRONG, f"facewatch-query: {named} {words}\n")


# What is printed


def test_piped_each_match_is_a_line(ask: Any, daemon: FakeDaemon, capfdbinary: Any) -> None:
    names = [b"/p/plain.jpg", "/p/ü.jpg".encode(), b"/p/\xff.jpg", b"/p/tab\tnew\nline\\.jpg"]
    daemon.script = lambda request: reply(request, answer(*names))
    assert ask("anna.jpg") == client.FOUND
    out, err = capfdbinary.readouterr()
    assert out.split(b"\n") == [
        b"0.742\t1,2,30,40\t/p/plain.jpg",
        b"0.742\t1,2,30,40\t" + names[1],
        b"0.742\t1,2,30,40\t/p/\xff.jpg",
        b"0.742\t1,2,30,40\t/p/tab\\tnew\\nline\\\\.jpg",
        b"",
    ]
    assert err == b""


@pytest.mark.parametrize(("option", "end"), [("-l", b"\n"), ("-0", b"\0"), ("-l0", b"\0"), ("--print0", b"\0")])
def test_paths_are_raw_and_come_once(ask: Any, daemon: FakeDaemon, capfdbinary: Any, option: str, end: bytes) -> None:
    daemon.script = lambda request: reply(request, answer(b"/\xff\n.jpg", b"/b.jpg", b"/\xff\n.jpg"))
    assert ask(option, "anna.jpg") == client.FOUND
    assert capfdbinary.readouterr().out == b"/\xff\n.jpg" + end + b"/b.jpg" + end


def test_json_is_the_daemons_document_with_the_users_names(ask: Any, daemon: FakeDaemon, capfd: Any) -> None:
    document = answer(b"/a\xff.jpg", b"/b.jpg")
    daemon.script = lambda request: reply(request, document)
    assert ask("anna.jpg", "--json") == client.FOUND
    out, err = capfd.readouterr()
    assert json.loads(out) == {**document, "query": [query_face("anna.jpg", 1, 3)]}
    assert base64.b64decode(json.loads(out)["matches"][0]["path_bytes"]) == b"/a\xff.jpg"
    assert out.isascii()
    assert err == ""


def test_with_all_faces_each_entry_gets_its_photo(ask: Any, daemon: FakeDaemon, capfd: Any) -> None:
    entries = [query_face("x", 0, 2), query_face("x", 1, 2), query_face("y", 0, 1), query_face("z", 0, 1)]
    daemon.script = lambda request: reply(request, answer(query=entries))
    ask("--face", "all", "a.jpg", "b.jpg", "c.jpg", "--json")
    assert [entry["photo"] for entry in json.loads(capfd.readouterr().out)["query"]] == [
        "a.jpg",
        "a.jpg",
        "b.jpg",
        "c.jpg",
    ]


def test_with_one_face_a_photo_each_entry_is_the_next_photo(ask: Any, daemon: FakeDaemon, capfd: Any) -> None:
    daemon.script = lambda request: reply(request, answer(query=[query_face(None, 0, 2), query_face(None, 1, 2)]))
    ask("a.jpg", "b.jpg", "--json")
    assert [entry["photo"] for entry in json.loads(capfd.readouterr().out)["query"]] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("which", ["all", "largest"])
def test_a_photo_without_a_face_among_others_is_named(ask: Any, daemon: FakeDaemon, capfd: Any, which: str) -> None:
    faceless = {"photo": "/x", "face": None, "faces": 0}
    entries = [faceless, query_face(None, 0, 1), faceless, query_face(None, 1, 2)]
    daemon.script = lambda request: reply(request, answer(b"/m.jpg", query=entries))
    assert ask("a.jpg", "b.jpg", "c.jpg", "d.jpg", "-v", "--face", which) == client.FOUND
    lines = capfd.readouterr().err.splitlines()
    if which == "all":
        assert [line[:8] for line in lines[:4]] == [f"query {number}:" for number in range(4)]
        lines = [line[:5] + line[7:] for line in lines]
    assert lines[0] == "query: no face on a.jpg, which is left out"
    assert lines[1].startswith("query: the one face on b.jpg at ")
    assert lines[2] == "query: no face on c.jpg, which is left out"
    assert lines[3].startswith("query: face 1 (of 0 to 1, left to right) on d.jpg at ")


def test_a_terminal_gets_the_face_a_table_and_a_summary(daemon: FakeDaemon) -> None:
    daemon.script = lambda request: reply(
        request, answer(matches=[match(b"/p/a.jpg", 0.742), match(b"/evil\x1b[2J\n\xff.jpg", -0.1)])
    )
    status, out, err = run_on_terminal(daemon, "anna.jpg", NO_COLOR="1")
    assert status == client.FOUND
    assert out.decode() == (
        "SIMILARITY  BOX        PATH\n"
        "0.742       1,2 30x40  /p/a.jpg\n"
        "-0.100      1,2 30x40  /evil\\x1b[2J\\x0a\\xff.jpg\n"
    )
    assert err.decode() == (
        "query: face 1 (of 0 to 2, left to right) on anna.jpg at 10,20 80x90, score 0.89\n"
        "2 of 2 photos; 18431 faces searched, 0 pending, 14 ms\n"
    )


def sure(word: str, *reasons: str, **near: dict[str, Any]) -> dict[str, Any]:
    """What the daemon says of an explained match."""
    return {"verdict": word, "reasons": list(reasons), **near}


def explained(*matches: dict[str, Any], count: float | None = 0.0, basis: str = "estimate") -> dict[str, Any]:
    return {**answer(matches=list(matches)), "expected_false": {"count": count, "basis": basis}}


def test_a_terminal_has_a_word_for_each_match_and_says_how_many_are_expected_wrong(daemon: FakeDaemon) -> None:
    matches = [match(b"/a.jpg") | sure("sure"), match(b"/b.jpg") | sure("look", "small")]
    daemon.script = lambda request: reply(request, explained(*matches, count=1.2))
    _, out, err = run_on_terminal(daemon, "anna.jpg", NO_COLOR="1")
    params = daemon.requests[-1]["params"]
    assert params["verdicts"] is True
    assert "explain" not in params, "the reasons would be read from the catalog"
    assert out.decode() == (
        "SIMILARITY  VERDICT  BOX        PATH\n"
        "0.742       sure     1,2 30x40  /a.jpg\n"
        "0.742       look     1,2 30x40  /b.jpg\n"
    )
    assert err.decode().splitlines()[1:] == [
        "about 1 of these 2 is somebody else",
        "2 of 2 photos; 18431 faces searched, 0 pending, 14 ms",
    ]


def test_a_daemon_of_an_earlier_version_is_asked_without_verdicts(daemon: FakeDaemon) -> None:
    """It goes on running after an upgrade, until it is started again."""

    def script(request: dict[str, Any]) -> bytes:
        if "verdicts" in request["params"]:
            return error(request, "", "unknown parameter 'verdicts'; known here: photos, faces", code=-32602)
        return reply(request, answer(b"/a.jpg"))

    daemon.script = script
    status, out, _ = run_on_terminal(daemon, "anna.jpg", NO_COLOR="1")
    assert status == 0
    assert b"/a.jpg" in out
    daemon.script = lambda request: error(request, "", "unknown parameter 'explain'; known: photos", code=-32602)
    status, _, err = run_on_terminal(daemon, "--explain", "anna.jpg", NO_COLOR="1")
    assert status == 5
    assert b"an earlier version, without --explain; start it again after an upgrade" in err


def test_explained_each_match_has_its_reasons(daemon: FakeDaemon) -> None:
    matches = [
        match(b"/a.jpg") | sure("sure", rival={"face_id": 1, "similarity": 0.2}),
        match(b"/b.jpg")
        | sure(
            "look",
            *("small", "blurred", "child", "rival", "closer"),
            rival={"face_id": 1, "similarity": 0.41},
            closer={"face_id": 2, "similarity": 0.5, "path": "/c\x1b.jpg"},
        ),
    ]
    daemon.script = lambda request: reply(request, explained(*matches))
    _, out, err = run_on_terminal(daemon, "--explain", "anna.jpg", NO_COLOR="1")
    assert daemon.requests[-1]["params"]["explain"] is True
    assert b"small children look alike to the model" in err
    assert out.decode().splitlines()[1:] == [
        "0.742       sure     1,2 30x40  /a.jpg",
        "0.742       look     1,2 30x40  /b.jpg  (small, blurred, a small child's face, another face on it matches "
        "(0.410), more like the person on /c\\x1b.jpg (0.500))",
    ]


@pytest.mark.parametrize(
    ("shown", "count", "basis", "said"),
    [
        (87, 2.1, "estimate", "about 2 of these 87 are somebody else"),
        (87, 0.6, "estimate", "about 1 of these 87 is somebody else"),
        (87, 0.4, "estimate", "probably none of them is somebody else"),
        (87, 0.0, "estimate", "probably none of them is somebody else"),
        (87, 2.3, "at-most", "up to 3 of these 87 are somebody else"),
        (87, 0.2, "at-most", "up to 1 of these 87 is somebody else"),
        (87, 0.05, "at-most", "probably none of them is somebody else"),
        (3, 3.0, "at-most", "up to 3 of these 3 are somebody else"),
        (1, 0.9, "estimate", "it may well be somebody else"),
        (1, 0.1, "estimate", "it is probably the same person"),
        (87, None, "unknown", "how many of them are somebody else cannot be told: too few other faces are known"),
        (0, 0.0, "estimate", None),
    ],
)
def test_how_many_are_expected_wrong_in_words(
    ask: Any, daemon: FakeDaemon, capfd: Any, shown: int, count: float | None, basis: str, said: str | None
) -> None:
    matches = [match(b"/%d.jpg" % at) | sure("likely") for at in range(shown)]
    daemon.script = lambda request: reply(request, explained(*matches, count=count, basis=basis))
    ask("--explain", "anna.jpg")
    assert capfd.readouterr().err.splitlines()[:1] == ([said] if said else [])
    ask("--explain", "-q", "anna.jpg")
    assert capfd.readouterr().err == ""


def test_the_query_photo_alone_says_nothing_of_others(ask: Any, daemon: FakeDaemon, capfd: Any) -> None:
    daemon.script = lambda request: reply(request, explained(match(b"/a.jpg", itself=True) | sure("sure")))
    ask("--explain", "anna.jpg")
    assert capfd.readouterr().err == ""


def test_what_the_user_said_is_not_expected_to_be_wrong(ask: Any, daemon: FakeDaemon, capfd: Any) -> None:
    said = match(b"/a.jpg", confirmed=True) | sure("sure")
    daemon.script = lambda request: reply(request, explained(said))
    ask("--explain", "anna.jpg")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("arguments", [[], ["-l"], ["-0"]])
def test_in_a_pipe_no_reasons_are_asked_for_that_are_not_printed(
    ask: Any, daemon: FakeDaemon, capfd: Any, arguments: list[str]
) -> None:
    daemon.script = lambda request: reply(request, explained(match(b"/a.jpg") | sure("likely"), count=0.9))
    ask("anna.jpg", "--explain", *arguments)
    params = daemon.requests[-1]["params"]
    assert ("explain" in params, params.get("verdicts")) == (False, True)
    assert "it may well be somebody else" in capfd.readouterr().err
    ask("anna.jpg", "--explain", "--quiet", *arguments)
    assert not {"explain", "verdicts"} & daemon.requests[-1]["params"].keys()
    ask("anna.jpg", "--explain", "--json")
    assert daemon.requests[-1]["params"]["explain"] is True


@pytest.mark.parametrize("child", [True, False])
def test_a_terminal_says_of_a_small_child_who_is_asked_for_that_they_look_alike(
    daemon: FakeDaemon, child: bool
) -> None:
    document = explained(match(b"/a.jpg") | sure("look"), count=0.9)
    asked = {**document, "query": [query_face("anna.jpg", 0, 1) | {"child": child}]}
    daemon.script = lambda request: reply(request, asked)
    _, _, err = run_on_terminal(daemon, "anna.jpg", NO_COLOR="1")
    line = "small children look alike to the model: at its threshold about one pair in three matches"
    assert (line in err.decode().splitlines()) is child
    _, _, err = run_on_terminal(daemon, "anna.jpg", "--quiet", NO_COLOR="1")
    assert err == b""


@pytest.mark.parametrize("arguments", [[], ["-l"], ["-0"], ["--json"], ["-v"]])
def test_in_a_pipe_nothing_is_explained_that_was_not_asked_for(
    ask: Any, daemon: FakeDaemon, arguments: list[str]
) -> None:
    daemon.script = lambda request: reply(request, answer(b"/a.jpg"))
    ask("anna.jpg", *arguments)
    assert not {"explain", "verdicts"} & daemon.requests[-1]["params"].keys()


def test_in_a_pipe_the_lines_stay_as_they_are(ask: Any, daemon: FakeDaemon, capfd: Any) -> None:
    daemon.script = lambda request: reply(request, explained(match(b"/a.jpg") | sure("look", "small")))
    ask("--explain", "anna.jpg")
    assert capfd.readouterr().out == "0.742\t1,2,30,40\t/a.jpg\n"


def test_a_person_has_a_header_and_confirmed_matches_say_so(daemon: FakeDaemon) -> None:
    matches = [
        match(b"/a.jpg", 0.9, person="Anna", confirmed=True, **sure("sure")),
        match(b"/b.jpg", None, person="Anna", confirmed=True, box=None, score=None, face_id=None, **sure("sure")),
        match(b"/c.jpg", 0.6, person="Anna", confirmed=False, **sure("likely")),
    ]
    query = [{"person": "Anna", "references": 12}]
    daemon.script = lambda request: reply(request, answer(matches=matches, query=query))
    status, out, err = run_on_terminal(daemon, "@anna", NO_COLOR="1")
    assert status == client.FOUND
    assert daemon.params()["who"] == [{"person": "anna"}]
    assert out.decode() == (
        "SIMILARITY  VERDICT    BOX        PATH\n"
        "0.900       confirmed  1,2 30x40  /a.jpg\n"
        "-           confirmed  -          /b.jpg\n"
        "0.600       likely     1,2 30x40  /c.jpg\n"
    )
    assert err.decode().splitlines()[0] == "query: Anna, 12 references"
    done = run(daemon, "@anna")
    assert done.stdout == b"0.900\t1,2,30,40\t/a.jpg\n\t\t/b.jpg\n0.600\t1,2,30,40\t/c.jpg\n"
    assert done.stderr == b""
    document = json.loads(run(daemon, "@anna", "--json").stdout)
    assert document["query"] == query
    assert [entry["similarity"] for entry in document["matches"]] == [0.9, None, 0.6]


def test_a_question_for_a_person_of_whom_nothing_is_known_says_so(daemon: FakeDaemon) -> None:
    unknown = {"person": "Ben", "references": 0, "photos": 0}
    query = [{"person": "Anna", "references": 0, "photos": 1}]
    daemon.script = lambda request: reply(request, {**answer(query=query), "without": [{**unknown, "who": 0}]})
    done = run(daemon, "@anna", "--without", "@ben")
    assert done.stderr == b"no face of Ben is known now: see facewatchd people show Ben\n"
    assert run(daemon, "@anna", "--without", "@ben", "-q").stderr == b""


def test_names_dates_and_bursts_have_their_places(daemon: FakeDaemon) -> None:
    exif = {"taken": "2019-06-30T12:00:00", "taken_from": "exif"}
    mtime = {"taken": "2021-01-02T00:00:00", "taken_from": "mtime"}
    matches = [
        match(b"/a.jpg", person="Zoë 山", confirmed=True, similar=["/a1", "/a2"], copies=["/c"], **exif),
        match(b"/b.jpg", **mtime),
    ]
    daemon.script = lambda request: reply(request, answer(matches=matches))
    _, out, _ = run_on_terminal(daemon, "anna.jpg", NO_COLOR="1", LC_ALL="C.UTF-8")
    assert out.decode() == (
        "SIMILARITY  VERDICT    DATE         BOX        PERSON  PATH\n"
        "0.742       confirmed  2019-06-30   1,2 30x40  Zoë 山  /a.jpg  (+1 copy, +2 in its burst)\n"
        "0.742                  2021-01-02~  1,2 30x40          /b.jpg\n"
    )
    daemon.script = lambda request: reply(request, answer(matches=[match(b"/b.jpg", **mtime)]))
    _, out, _ = run_on_terminal(daemon, "anna.jpg", NO_COLOR="1")
    assert b"DATE" not in out, "when files were written is asked for by nobody"
    for option in ("--since=2019", "--until=2022", "--sort=-date"):
        assert b"2021-01-02~" in run_on_terminal(daemon, "anna.jpg", option, NO_COLOR="1")[1]


def test_with_others_each_has_a_column(daemon: FakeDaemon) -> None:
    def term(similarity: float | None, **changes: Any) -> dict[str, Any]:
        return match(b"/", similarity, **changes)

    matches = [
        match(b"/a.jpg", 0.61, terms=[term(0.9), term(0.61), term(0.7, confirmed=True, person="Ben")]),
        match(b"/b.jpg", None, terms=[term(0.8), term(0.7), term(None, box=None, score=None, face_id=None)]),
    ]
    query = [{"person": "Anna", "references": 2}]
    daemon.script = lambda request: reply(request, answer(matches=matches, query=query))
    arguments = ("@anna", "--with", "photos/a-name-that-is-long.jpg#1", "--with", "@ben")
    _, out, _ = run_on_terminal(daemon, *arguments, NO_COLOR="1", LC_ALL="C.UTF-8")
    assert out.decode() == (
        "SIMILARITY  @anna  a-name-that-is-…  @ben    BOX        PATH\n"
        "0.610       0.900  0.610             0.700*  1,2 30x40  /a.jpg\n"
        "-           0.800  0.700             -       1,2 30x40  /b.jpg\n"
    )


def test_an_entry_says_which_who_it_is_of(ask: Any, daemon: FakeDaemon, capfd: Any) -> None:
    """Also where a photo has no entry, or several, and for those who are to be on the photo too."""
    entries = [{**query_face(None, 1, 2), "who": 1}, {**query_face(None, 0, 2), "who": 2}]
    others = {"with": [{**query_face(None), "who": 1}], "without": [{**query_face(None), "who": 0}]}
    daemon.script = lambda request: reply(request, answer(b"/m.jpg", query=entries, **others))
    arguments = ("face:3", "a.jpg#1", "b.jpg", "--with", "c.jpg", "--with", "d.jpg", "--without", "e.jpg")
    assert ask(*arguments, "--json") == client.FOUND
    document = json.loads(capfd.readouterr().out)
    named = {name: [entry["photo"] for entry in document[name]] for name in ("query", "with", "without")}
    assert named == {"query": ["a.jpg", "b.jpg"], "with": ["d.jpg"], "without": ["e.jpg"]}
    entries[0]["who"] = 7
    assert ask(*arguments) == client.NOT_READY
    assert "has another form" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("count", "paths", "options", "words"),
    [
        (1, ["/a"], [], "undecided: a face is too poor to tell on 1 photo (--strict leaves them out): /a\n"),
        (5, ["/a", "/b", "/c", "/d"], [],
         "undecided: a face is too poor to tell on 5 photos (--strict leaves them out): /a, /b, /c and 2 more\n"),
        (2, ["/a", "/b\x1b"], ["--strict"], "left out: a face is too poor to tell on 2 photos: /a, /b\\x1b\n"),
        (2, ["/a", "/b"], ["-q"], ""),
        (2, ["/a", "/b"], ["--json"], ""),
        (0, [], [], ""),
    ],
)  # fmt: skip
def test_photos_with_faces_too_poor_to_tell_are_named_in_one_line(
    ask: Any, daemon: FakeDaemon, capfd: Any, count: int, paths: list[str], options: list[str], words: str
) -> None:
    undecided = {"count": count, "paths": paths}
    daemon.script = lambda request: reply(request, answer(b"/m.jpg", undecided=undecided))
    assert ask("a.jpg", "--without", "b.jpg", *options) == client.FOUND
    out, err = capfd.readouterr()
    assert err == words
    assert "--json" not in options or json.loads(out)["undecided"] == undecided


def test_a_terminal_says_how_many_there_are_which_is_the_query_and_what_has_copies(daemon: FakeDaemon) -> None:
    matches = [match(b"/p/a.jpg", 1.0, itself=True, copies=["/q/a.jpg"]), match(b"/p/b.jpg", copies=["/1", "/2"])]
    daemon.script = lambda request: reply(request, answer(matches=matches, total=106, faces=363))
    _, out, err = run_on_terminal(daemon, "anna.jpg", NO_COLOR="1")
    assert out.decode() == (
        "SIMILARITY  BOX        PATH\n"
        "1.000       1,2 30x40  /p/a.jpg  (the query photo, +1 copy)\n"
        "0.742       1,2 30x40  /p/b.jpg  (+2 copies)\n"
    )
    assert err.decode().splitlines()[1] == "2 of 106 photos; -n 0 shows all; 363 faces searched, 0 pending, 14 ms"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], True), (["-l"], True), (["-0"], True), (["-q"], False), (["-l", "-q"], False), (["--json"], False)],
)
def test_an_answer_that_was_cut_says_so_in_a_pipe(
    ask: Any, daemon: FakeDaemon, capfd: Any, arguments: list[str], said: bool
) -> None:
    daemon.script = lambda request: reply(request, answer(b"/a.jpg", b"/b.jpg", total=106))
    assert ask("anna.jpg", *arguments) == client.FOUND
    assert capfd.readouterr().err == ("2 of 106 photos; -n 0 shows all\n" if said else "")
    daemon.script = lambda request: reply(request, answer(b"/a.jpg", b"/b.jpg"))
    assert ask("anna.jpg", *arguments) == client.FOUND
    assert capfd.readouterr().err == "", "nothing is left out"


def test_with_all_faces_each_match_says_whose_it_is(daemon: FakeDaemon, ask: Any, capfd: Any) -> None:
    also = [{"of": 0, "similarity": 0.6, "box": [9, 9, 9, 9], "score": 0.5, "face_id": 3}]
    matches = [match(b"/both", 0.9, of=1, also=also), match(b"/one", 0.8, of=0, also=[])]
    query = [query_face("x", 0, 2), query_face("x", 1, 2)]
    daemon.script = lambda request: reply(request, answer(query=query, matches=matches))
    _, out, err = run_on_terminal(daemon, "--face", "all", "anna.jpg", NO_COLOR="1")
    assert out.decode() == (
        "SIMILARITY  BOX        QUERY  PATH\n0.900       1,2 30x40  1,0    /both\n0.800       1,2 30x40  0      /one\n"
    )
    assert [line[:8] for line in err.decode().splitlines()[:2]] == ["query 0:", "query 1:"]
    assert ask("--face", "all", "anna.jpg") == client.FOUND
    assert capfd.readouterr().out == "0.900\t1,2,30,40\t/both\n0.800\t1,2,30,40\t/one\n"


def test_copies_are_shown_each_by_itself_if_asked_for(ask: Any, daemon: FakeDaemon) -> None:
    ask("anna.jpg", "--no-collapse")
    assert daemon.params()["collapse"] is False


def test_colour_is_for_terminals_that_know_it(daemon: FakeDaemon) -> None:
    daemon.script = lambda request: reply(request, answer(b"/p/a.jpg"))
    coloured = run_on_terminal(daemon, "anna.jpg")[1]
    assert b"\x1b[1;32m0.742     \x1b[0m" in coloured
    assert re.sub(rb"\x1b\[[0-9;]*m", b"", coloured) == run_on_terminal(daemon, "anna.jpg", NO_COLOR="1")[1]
    assert b"\x1b" not in run_on_terminal(daemon, "anna.jpg", TERM="dumb")[1]
    assert b"\x1b" not in run(daemon, "anna.jpg").stdout


def test_quiet_and_verbose(daemon: FakeDaemon) -> None:
    daemon.script = lambda request: reply(request, answer(b"/p/a.jpg", pending=7, complete=False))
    status, out, err = run_on_terminal(daemon, "-q", "anna.jpg")
    assert (status, err) == (client.FOUND, b"")
    assert b"/p/a.jpg" in out
    verbose = run(daemon, "-v", "anna.jpg").stderr.decode()
    assert "query: face 1" in verbose
    assert "model buffalo_l, threshold 0.4, by the index" in verbose


def test_paths_on_a_terminal_cannot_steer_it(daemon: FakeDaemon) -> None:
    daemon.script = lambda request: reply(request, answer(b"/\x1b]0;x\x07.jpg"))
    assert run_on_terminal(daemon, "-l", "-q", "anna.jpg")[1] == b"/\\x1b]0;x\\x07.jpg\n"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pending": 7}, "not complete: 7 photos are not searchable yet; --wait waits for them\n"),
        ({"undated": 1}, "not complete: the date of 1 photo is still to be read; --wait waits for it\n"),
        ({"undated": 3}, "not complete: the dates of 3 photos are still to be read; --wait waits for them\n"),
        (
            {"pending": 1, "undated": 2},
            "not complete: 1 photo is not searchable yet, and the dates of 2 photos are still to be read; --wait waits"
            " for them\n",
        ),
        (
            {"pending": 0},
            "not complete: a directory is out of reach, or only looked at now and then; see: facewatchd status\n",
        ),
    ],
)
def test_an_incomplete_answer_says_so_also_in_a_pipe(
    ask: Any, daemon: FakeDaemon, capfd: Any, changes: dict[str, Any], words: str
) -> None:
    daemon.script = lambda request: reply(request, answer(complete=False, **changes))
    assert ask("anna.jpg") == client.NOTHING_FOUND
    assert capfd.readouterr() == ("", words)
    assert ask("anna.jpg", "--json") == client.NOTHING_FOUND
    assert capfd.readouterr().err == ""


def test_printable_hides_what_steers_a_terminal_and_nothing_else() -> None:
    assert printable("Zoë 日本 👩\u200d🚀\u202f\xa0.jpg") == "Zoë 日本 👩\u200d🚀\u202f\xa0.jpg"
    assert printable(b"\xff\xc2\x9b\x7f") == "\\xff\\x9b\\x7f"
    assert printable("a\u202egpj.exe\u2028") == "a\\u202egpj.exe\\u2028"


# --list-faces

FACES = {"faces": [{"box": [1, 2, 30, 40], "score": 0.8765, "landmarks": []}, {"box": [50, 6, 7, 8], "score": 0.5}]}


def test_list_faces_piped_and_as_json(ask: Any, daemon: FakeDaemon, capfd: Any) -> None:
    daemon.script = lambda request: reply(request, FACES)
    assert ask("--list-faces", "anna.jpg") == client.FOUND
    assert daemon.requests[0]["method"] == "faces"
    assert daemon.params() == {"path": os.path.abspath("anna.jpg")}
    assert capfd.readouterr() == ("0\t1,2,30,40\t0.876\n1\t50,6,7,8\t0.500\n", "")
    assert ask("--list-faces", "anna.jpg", "--json") == client.FOUND
    assert json.loads(capfd.readouterr().out) == {"photo": "anna.jpg", **FACES}


def test_list_faces_on_a_terminal(daemon: FakeDaemon) -> None:
    daemon.script = lambda request: reply(request, FACES)
    status, out, err = run_on_terminal(daemon, "--list-faces", "anna.jpg", NO_COLOR="1")
    assert (status, err) == (client.FOUND, b"")
    assert out.decode() == "FACE  BOX        SCORE\n0     1,2 30x40  0.876\n1     50,6 7x8   0.500\n"


def test_list_faces_says_what_speaks_against_a_face(ask: Any, daemon: FakeDaemon, capfd: Any) -> None:
    words = {"quality": ["small", "too blurred to tell"], "norm": 6.5}
    faces = {"faces": [FACES["faces"][0], {**FACES["faces"][1], **words}]}
    daemon.script = lambda request: reply(request, faces)
    assert ask("--list-faces", "anna.jpg") == client.FOUND
    lines = "0\t1,2,30,40\t0.876\n1\t50,6,7,8\t0.500\tsmall, too blurred to tell\n"
    assert capfd.readouterr() == (lines, "")
    _, out, _ = run_on_terminal(daemon, "--list-faces", "anna.jpg", NO_COLOR="1")
    assert out.decode() == (
        "FACE  BOX        SCORE  QUALITY\n"
        "0     1,2 30x40  0.876  \n"
        "1     50,6 7x8   0.500  small, too blurred to tell\n"
    )


def test_a_question_with_a_face_that_is_too_blurred_says_so(ask: Any, daemon: FakeDaemon, capfd: Any) -> None:
    blurred = {**query_face(None), "quality": ["too blurred to tell"], "left_out": False}
    entries = [{**blurred, "left_out": True}, query_face(None), blurred]
    daemon.script = lambda request: reply(request, answer(b"/m.jpg", query=entries))
    assert ask("a.jpg", "b.jpg", "c.jpg") == client.FOUND
    told = "query: the one face on {} at 10,20 80x90, score 0.89, too blurred to tell{}\n"
    err = told.format("a.jpg", ", which is left out") + told.format("c.jpg", ": the matches may be of any person")
    assert capfd.readouterr() == ("0.742\t1,2,30,40\t/m.jpg\n", err)
    for quiet in ("-q", "--json"):
        ask("a.jpg", "b.jpg", "c.jpg", quiet)
        assert capfd.readouterr().err == ""


def test_list_faces_of_a_photo_without_any(ask: Any, daemon: FakeDaemon, capfd: Any) -> None:
    daemon.script = lambda request: reply(request, {"faces": []})
    assert ask("--list-faces", "anna.jpg") == client.NO_FACE
    assert capfd.readouterr().err.startswith("facewatch-query: no face found on anna.jpg; ")


def named(name: str | None, similarity: float | None, verdict: str, *runner_up: Any, confirmed: bool = False) -> Any:
    next_ = dict(zip(("name", "similarity"), runner_up, strict=True)) if runner_up else None
    own = {"name": name, "similarity": similarity, "verdict": verdict, "confirmed": confirmed, "runner_up": next_}
    return {"box": [1, 2, 30, 40], "score": 0.8765, "names": own}


NAMED = {
    "faces": [
        named("Zoë\x1b", 0.7421, "sure", "Ben", 0.31),
        named("Anna", None, "sure", confirmed=True),
        named("Ben", 0.5, "look"),
        {**named(None, None, "unknown", "Anna", 0.4), "quality": ["small"]},
    ]
}


def test_list_faces_says_who_they_are(ask: Any, daemon: FakeDaemon, capfd: Any) -> None:
    daemon.script = lambda request: reply(request, NAMED)
    assert ask("--list-faces", "--who", "anna.jpg") == client.FOUND
    assert daemon.params() == {"path": os.path.abspath("anna.jpg"), "names": True}
    lines = [line.split("\t") for line in capfd.readouterr().out.splitlines()]
    assert [line[3:] for line in lines] == [
        ["Zoë\x1b", "0.742", "sure", "Ben", "0.310"],
        ["Anna", "", "confirmed", "", ""],
        ["Ben", "0.500", "look", "", ""],
        ["", "", "unknown", "Anna", "0.400", "small"],
    ]
    assert ask("--list-faces", "--who", "anna.jpg", "--json") == client.FOUND
    assert json.loads(capfd.readouterr().out) == {"photo": "anna.jpg", **NAMED}
    _, out, _ = run_on_terminal(daemon, "--list-faces", "--who", "anna.jpg", NO_COLOR="1", LC_ALL="C.UTF-8")
    assert [line.rstrip() for line in out.decode().splitlines()] == [
        "FACE  BOX        SCORE  NAME     SIMILARITY  VERDICT    RUNNER-UP   QUALITY",
        "0     1,2 30x40  0.876  Zoë\\x1b  0.742       sure       Ben 0.310",
        "1     1,2 30x40  0.876  Anna     -           confirmed  -",
        "2     1,2 30x40  0.876  Ben      0.500       look       -",
        "3     1,2 30x40  0.876  unknown  -           -          Anna 0.400  small",
    ]
    daemon.script = lambda request: error(request, "", "unknown parameter 'names'; known: path", code=-32602)
    assert ask("--list-faces", "--who", "anna.jpg") == client.NOT_READY
    assert "without --who; start it again" in capfd.readouterr().err


def test_where_nobody_has_a_name_a_terminal_says_how_to_begin(daemon: FakeDaemon) -> None:
    faces = [named(None, None, "unknown"), named(None, None, "unknown")]
    daemon.script = lambda request: reply(request, {"faces": faces if "names" in request["params"] else FACES["faces"]})
    words = b"there is no named person to compare a face with; to name one: facewatchd people add NAME PHOTO\n"
    assert run_on_terminal(daemon, "--list-faces", "--who", "a.jpg")[2] == words
    assert run_on_terminal(daemon, "--list-faces", "--who", "-q", "a.jpg")[2] == b""
    faces[0] = named(None, None, "unknown", "Anna", 0.1)
    assert run_on_terminal(daemon, "--list-faces", "--who", "a.jpg")[2] == b""
    assert run_on_terminal(daemon, "--list-faces", "a.jpg")[2] == b""


def test_the_names_are_drawn_and_doubtful_ones_have_a_question_mark(
    ask: Any, daemon: FakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (400, 200), "grey").save(tmp_path / "a.png")
    drawn: list[labelled.Labelled] = []
    draw = labelled.draw
    monkeypatch.setattr(labelled, "draw", lambda photo, faces: drawn.extend(faces) or draw(photo, faces))
    daemon.script = lambda request: reply(request, NAMED)
    assert ask("--list-faces", "--who", tmp_path / "a.png", "--sheet", tmp_path / "s.png") == client.FOUND
    assert [(face.number, face.name) for face in drawn] == [(0, "Zoë\x1b"), (1, "Anna"), (2, "Ben?"), (3, "")]


def test_list_faces_draws_the_photo_with_their_numbers(
    ask: Any, daemon: FakeDaemon, tmp_path: Path, capfd: Any
) -> None:
    Image.new("RGB", (400, 200), "grey").save(tmp_path / "a.png")
    daemon.script = lambda request: reply(request, FACES)
    assert ask("--list-faces", tmp_path / "a.png", "--sheet", tmp_path / "s.png") == client.FOUND
    assert capfd.readouterr() == ("0\t1,2,30,40\t0.876\n1\t50,6,7,8\t0.500\n", "")
    with Image.open(tmp_path / "s.png") as image:
        assert image.size == (1200, 600)
        assert len(image.getcolors(1 << 16)) > 4
    before = (tmp_path / "a.png").read_bytes()
    daemon.requests.clear()
    assert ask("--list-faces", tmp_path / "a.png", "--sheet", tmp_path / "a.png") == client.WRONG
    assert (daemon.requests, (tmp_path / "a.png").read_bytes()) == ([], before)


def test_list_faces_sends_bytes_too(ask: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"picture")
    daemon.script = lambda request: (
        error(request, "unreadable-photo") if "path" in request["params"] else reply(request, FACES)
    )
    assert ask("--list-faces", tmp_path / "a.jpg") == client.FOUND
    assert daemon.requests[1]["params"] == {"data": base64.b64encode(b"picture").decode()}


# --sheet


Sheets = list[tuple[sheet.Question, list[sheet.Tile]]]


def watch_sheets(monkeypatch: pytest.MonkeyPatch) -> Sheets:
    """The questions and tiles of the sheets that are drawn from now on."""
    drawn: Sheets = []
    draw = sheet.draw

    def watched(question: sheet.Question, tiles: list[sheet.Tile], *others: Any, **options: Any) -> Any:
        drawn.append((question, tiles))
        return draw(question, tiles, *others, **options)

    monkeypatch.setattr(sheet, "draw", watched)
    return drawn


def test_a_sheet_is_drawn_besides_the_matches(
    ask: Any, daemon: FakeDaemon, tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (200, 200), "red").save(tmp_path / "a.png")
    path = os.fsencode(tmp_path / "a.png")
    daemon.script = lambda request: reply(request, answer(path, path, b"/gone.jpg"))
    drawn = watch_sheets(monkeypatch)
    assert ask(tmp_path / "a.png", "--sheet", tmp_path / "s.png") == client.FOUND
    assert capfd.readouterr() == (f"0.742\t1,2,30,40\t{tmp_path}/a.png\n" * 2 + "0.742\t1,2,30,40\t/gone.jpg\n", "")
    assert daemon.requests[0]["params"]["verdicts"] is True
    ((question, tiles),) = drawn
    assert (question.title, [tile.name for tile in tiles]) == ("a.png", ["a.png", "a.png", "gone.jpg"])
    assert question.portraits[0].source == (path, None), "the user's own file"
    with Image.open(tmp_path / "s.png") as image:
        assert image.getpixel((150, 150)) == (255, 0, 0)


def test_a_sheet_of_many_matches_is_several_pictures(ask: Any, daemon: FakeDaemon, tmp_path: Path, capfd: Any) -> None:
    daemon.script = lambda request: reply(request, answer(*[b"/gone.jpg"] * 60))
    assert ask("-l", "a.jpg", "--sheet", tmp_path / "s.png") == client.FOUND
    assert capfd.readouterr().err == (
        f"3 pages: {tmp_path}/s.png to {tmp_path}/s-3.png; a .pdf holds them in one file\n"
    )
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["s-2.png", "s-3.png", "s.png"]


def test_more_matches_than_pictures_are_left_out(
    ask: Any, daemon: FakeDaemon, tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheet, "MOST_PICTURES", 1)
    daemon.script = lambda request: reply(request, answer(*[b"/gone.jpg"] * 60))
    assert ask("-l", "a.jpg", "--sheet", tmp_path / "s.png") == client.FOUND
    assert capfd.readouterr().err == "the last 40 matches would not fit: ask for fewer with --top, or for a .pdf\n"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ([], ""),
        (["--without", "@ben", "--only"], "without Ben · nobody else"),
        (["--faces", "1", "--min-size", "80"], "1 face · from 80 pixels"),
        (["--faces", "2-", "--since", "2016", "--until", "2017-06"], "2 or more faces · since 2016 · until 2017-06"),
        (["--faces", "2-4", "--new", "mail"], "2 to 4 faces · new for mail"),
    ],
)
def test_a_sheet_tells_what_was_asked(
    ask: Any, daemon: FakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], line: str
) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    paths = (b"/home/anna/Pictures/1.jpg", b"/home/anna/Pictures/2016/2.jpg")
    people = [query_face("/x/a.jpg"), query_face("/x/b.jpg"), query_face("/x/c.jpg")]
    people = [{**entry, "who": number} for number, entry in enumerate(people)]
    people.append({"photo": None, "person": "Dora", "references": 2, "who": 3})
    ben = {"photo": None, "person": "Ben", "references": 2, "who": 0}
    others = {"without": [ben]} if "--without" in options else {}

    def script(request: dict[str, Any]) -> bytes:
        is_person = request["method"] == "person"
        return reply(request, {"statements": []} if is_person else answer(*paths, query=people, **others))

    daemon.script = script
    drawn = watch_sheets(monkeypatch)
    assert ask("-q", "a.jpg", "b.jpg", "c.jpg#2", "@dora", *options, "--sheet", tmp_path / "s.png") == client.FOUND
    ((question, tiles),) = drawn
    assert question.title == "a.jpg, b.jpg, c.jpg#2 and 1 more"
    assert question.lines[0] == line
    assert question.lines[1] == "2 photos · most alike first · below ~/Pictures"
    assert [tile.folder for tile in tiles] == ["", "2016"]


def jpeg(colour: str) -> dict[str, Any]:
    """The daemon's picture of a face."""
    file = io.BytesIO()
    Image.new("RGB", (160, 160), colour).save(file, "JPEG")
    return {"jpeg": base64.b64encode(file.getvalue()).decode(), "width": 160, "height": 160}


def test_a_sheet_of_persons_begins_with_their_clearest_faces(
    ask: Any, daemon: FakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (200, 200), "green").save(tmp_path / "small.png")

    def script(request: dict[str, Any]) -> bytes:
        params = request["params"]
        if request["method"] == "person":
            return reply(request, {"best": 17}) if params["name"] == "Anna" else error(request, "unknown-person")
        if request["method"] == "thumbnail":
            return reply(request, jpeg("red")) if params["face_id"] == 17 else error(request, "unknown-face")
        query = [{"photo": None, "person": "Anna", "references": 2, "who": 0}]
        others = [{"photo": None, "person": "Ben", "references": 0, "who": 0}, {**query_face(None), "who": 1}]
        return reply(request, answer(b"/gone.jpg", query=query, **{"with": others}))

    daemon.script = script
    drawn = watch_sheets(monkeypatch)
    photo = tmp_path / "small.png"
    assert ask("@anna", "--with", "@ben", "--with", photo, "--sheet", tmp_path / "s.png") == client.FOUND
    ((question, tiles),) = drawn
    assert (question.title, question.lines[0]) == ("Anna", "with Ben · with small.png")
    assert [(each.face_id, each.source and each.source.path, each.label) for each in question.portraits] == [
        (17, None, ""),
        (None, os.fsencode(photo), "with"),
    ]
    assert [tile.number for tile in tiles] == ["0.742"]
    with Image.open(tmp_path / "s.png") as image:
        assert image.getpixel((150, 150))[0] > 250


def test_a_sheet_of_a_face_by_its_id_begins_with_it(
    ask: Any, daemon: FakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"photo": None, "face_id": 8, "who": 0, "box": [1, 2, 30, 40], "score": 0.9}
    asked: list[int] = []

    def script(request: dict[str, Any]) -> bytes:
        if request["method"] == "thumbnail":
            asked.append(request["params"]["face_id"])
            return reply(request, jpeg("red"))
        return reply(request, answer(b"/gone.jpg", query=[entry]))

    daemon.script = script
    drawn = watch_sheets(monkeypatch)
    assert ask("face:8", "--sheet", tmp_path / "s.png") == client.FOUND
    ((question, _),) = drawn
    assert (question.title, question.portraits) == ("face:8", (sheet.Portrait(face_id=8),))
    assert asked == [8, 9], "and that of the match, whose photo is gone"


@pytest.mark.parametrize("broken", [{}, {"jpeg": 1}, {"jpeg": "?"}, {"jpeg": "bm8="}, []])
def test_a_daemons_picture_that_is_none_leaves_a_word(
    ask: Any, daemon: FakeDaemon, tmp_path: Path, broken: Any
) -> None:
    daemon.script = lambda request: reply(request, broken if request["method"] == "thumbnail" else answer(b"/gone.jpg"))
    assert ask("a.jpg", "-l", "--sheet", tmp_path / "s.png") == client.FOUND


@pytest.mark.parametrize("verbose", [True, False])
def test_those_who_are_to_be_there_too_are_named(ask: Any, daemon: FakeDaemon, capfd: Any, verbose: bool) -> None:
    others = {
        "with": [{"photo": None, "person": "Ben", "references": 3, "who": 0}],
        "without": [{**query_face(None, 1, 2), "who": 0}],
    }
    daemon.script = lambda request: reply(request, answer(b"/m.jpg", **others))
    ask("a.jpg", "--with", "@ben", "--without", "c.jpg#1", *(["-v"] if verbose else []))
    lines = capfd.readouterr().err.splitlines()[1:3]
    told = ["with: Ben, 3 references", "without: face 1 (of 0 to 1, left to right) on c.jpg at 10,20 80x90, score 0.89"]
    assert lines == (told if verbose else [])


def test_a_sheet_of_a_photo_from_stdin(daemon: FakeDaemon, tmp_path: Path) -> None:
    Image.new("RGB", (200, 200), "red").save(tmp_path / "a.png")
    daemon.script = lambda request: reply(request, answer(query=[query_face(None)]))
    done = run(daemon, "-", "--sheet", tmp_path / "s.png", given=(tmp_path / "a.png").read_bytes())
    assert (done.returncode, done.stderr) == (client.NOTHING_FOUND, b"")
    with Image.open(tmp_path / "s.png") as image:
        assert image.getpixel((150, 150)) == (255, 0, 0)


# Exit statuses


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        ("no-face", -32001, client.NO_FACE),
        ("unreadable-photo", -32000, client.WRONG),
        ("too-large", -32004, client.WRONG),
        ("bad-embedding", -32002, client.WRONG),
        ("not-ready", -32003, client.NOT_READY),
        ("timeout", -32006, client.NOT_READY),
        ("internal", -32007, client.NOT_READY),
        ("", -32602, client.WRONG),
        ("", -32601, client.NOT_READY),
    ],
)
def test_the_kind_of_error_is_the_exit_status(
    ask: Any, daemon: FakeDaemon, capfd: Any, kind: str, code: int, status: int
) -> None:
    daemon.script = lambda request: error(request, kind, "bad\x1b[2J\nthing", code)
    assert ask("anna.jpg") == status
    own = "; the daemon is of another version: restart it" if code == rpc.METHOD_NOT_FOUND else ""
    hint = "; what to do" if kind else own
    assert capfd.readouterr() == ("", f"facewatch-query: bad\\x1b[2J\\x0athing{hint}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--exact"],
        ["--no-such-option", "a.jpg"],
        ["a.jpg", "--top"],
        ["a.jpg", "--top", "-1"],
        ["a.jpg", "--threshold", "nan"],
        ["a.jpg", "--threshold", "1.5"],
        ["a.jpg", "--face", "left"],
        ["a.jpg", "--min-size", "2.5"],
        ["a.jpg", "--wait=soon"],
        ["a.jpg", "--wait", "-1"],
        ["a.jpg", "--json", "-l"],
        ["a.jpg", "-q", "-v"],
        ["-", "-"],
        ["a.jpg", "--list-faces", "--top", "0"],
        ["a.jpg", "b.jpg", "--list-faces"],
        ["a.jpg", "--sheet", "sheet.txt"],
        ["a.jpg", "--sheet", "/no/such/directory/sheet.png"],
    ],
)
def test_wrong_usage_is_one_line_and_asks_nothing(
    ask: Any, daemon: FakeDaemon, capfd: Any, arguments: list[str]
) -> None:
    assert ask(*arguments) == client.WRONG
    out, err = capfd.readouterr()
    assert re.fullmatch(r"facewatch-query: [^\n]+; [^\n]+\n", err), err
    assert (out, daemon.requests) == ("", [])


def test_stdin_that_is_empty_or_a_terminal_is_refused(daemon: FakeDaemon) -> None:
    done = run(daemon, "-")
    assert done.returncode == client.WRONG
    assert done.stderr == b"facewatch-query: standard input is empty; pipe a photo in\n"
    ours, theirs = pty.openpty()
    done = subprocess.run(command(daemon, ["-"]), stdin=theirs, capture_output=True, timeout=DEADLINE, check=False)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == client.WRONG
    assert b"'-' reads the photo from standard input" in done.stderr


def test_no_daemon(tmp_path: Path, capfd: Any) -> None:
    expected = f"facewatch-query: no daemon answers on {tmp_path}/s; start it: facewatchd run DIR\n"
    assert client.main(["--socket", f"{tmp_path}/s", "a.jpg"]) == client.NO_DAEMON
    assert capfd.readouterr() == ("", expected)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/s")
    assert client.main(["--socket", f"{tmp_path}/s", "a.jpg"]) == client.NO_DAEMON
    assert capfd.readouterr() == ("", expected)


def test_the_default_socket_is_in_the_runtime_directory(tmp_path: Path) -> None:
    done = run(None, "a.jpg", env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)})
    assert done.returncode == client.NO_DAEMON
    assert f"no daemon answers on {tmp_path}/facewatchd/socket".encode() in done.stderr


@pytest.mark.parametrize(
    ("words", "complaint", "status"),
    [
        (None, "hung up", client.NO_DAEMON),
        (b"220 mail ready\n", "is not facewatchd", client.NO_DAEMON),
        (b"[1]\n", "is not facewatchd", client.NO_DAEMON),
        (b'{"jsonrpc":"2.0","id":77,"result":1}\n', "is not facewatchd", client.NO_DAEMON),
        (b'{"jsonrpc":"2.0","id":1,"result":{"matches":3}}\n', "has another form", client.NOT_READY),
        (b'{"jsonrpc":"2.0","id":1,"result":{"query":[],"matches":[3]}}\n', "has another form", client.NOT_READY),
        (b'{"jsonrpc":"2.0","id":1,"result":null}\n', "has another form", client.NOT_READY),
        (b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"not JSON"}}\n', "not JSON", client.NOT_READY),
    ],
)
def test_strange_answers_are_one_line(
    ask: Any, daemon: FakeDaemon, capfd: Any, words: bytes | None, complaint: str, status: int
) -> None:
    daemon.script = lambda request: words
    assert ask("a.jpg") == status
    out, err = capfd.readouterr()
    assert complaint in err
    assert (out, err.count("\n")) == ("", 1)


def test_more_query_faces_than_photos_make_no_sense(ask: Any, daemon: FakeDaemon, capfd: Any) -> None:
    daemon.script = lambda request: reply(request, answer(query=[query_face("a"), query_face("b")]))
    assert ask("a.jpg") == client.NOT_READY
    assert "has another form" in capfd.readouterr().err


def test_a_wait_that_ends_too_early_prints_what_there_is(ask: Any, daemon: FakeDaemon, capfd: Any) -> None:
    daemon.script = lambda request: reply(request, answer(b"/a.jpg", pending=3, complete=False))
    assert ask("a.jpg", "--wait", "0") == client.NOT_READY
    out, err = capfd.readouterr()
    assert out == "0.742\t1,2,30,40\t/a.jpg\n"
    assert "facewatch-query: not everything is searchable after 0 s, 3 photos are pending; wait longer" in err


def test_a_wait_that_ends_before_the_disk_was_walked_is_too_short(ask: Any, daemon: FakeDaemon, capfd: Any) -> None:
    daemon.script = lambda request: reply(request, answer(b"/a.jpg", pending=0, complete=False))
    assert ask("a.jpg", "--wait", "0") == client.NOT_READY
    assert "not everything is searchable after 0 s" in capfd.readouterr().err


def test_a_directory_out_of_reach_is_no_wait_too_short(ask: Any, daemon: FakeDaemon) -> None:
    daemon.script = lambda request: reply(request, answer(b"/a.jpg", pending=0, complete=False))
    assert ask("a.jpg", "--wait", "1000") == client.FOUND


def test_photos_that_came_after_the_wait_are_no_failure(ask: Any, daemon: FakeDaemon) -> None:
    daemon.script = lambda request: reply(request, answer(b"/a.jpg", pending=3, complete=False))
    assert ask("a.jpg", "--wait", "1000") == client.FOUND


def test_the_deadline_of_a_call(daemon: FakeDaemon) -> None:
    daemon.script = lambda request: b""
    with Connection(daemon.path, timeout=0.05) as connection, pytest.raises(DeadlineError, match=r"within 0\.05 s"):
        connection.call("status")


# rpc


def test_calls_on_one_connection_and_a_reply_in_pieces(daemon: FakeDaemon) -> None:
    big = "x" * (3 << 20)
    daemon.script = lambda request: reply(request, [request["params"], big])
    with Connection(daemon.path) as connection:
        for number in range(3):
            assert connection.call("scan", paths=["ü\udcff"], method=number) == [
                {"paths": ["ü\udcff"], "method": number},
                big,
            ]
    assert [request["id"] for request in daemon.requests] == [1, 2, 3]


def test_a_remote_error_carries_everything(daemon: FakeDaemon) -> None:
    daemon.script = lambda request: error(request, "not-ready", "starting", -32003)
    with Connection(daemon.path) as connection:
        with pytest.raises(RemoteError) as caught:
            connection.call("status")
        assert (caught.value.code, caught.value.kind, caught.value.message, caught.value.hint) == (
            -32003, "not-ready", "starting", "what to do",
        )  # fmt: skip
        daemon.script = lambda request: reply(request, "fine")
        assert connection.call("status") == "fine"


def test_a_request_over_the_limit_is_not_sent(daemon: FakeDaemon) -> None:
    with Connection(daemon.path) as connection, pytest.raises(TooLargeError):
        connection.call("query", data="x" * MAX_LINE)
    assert daemon.requests == []


def test_a_refusal_is_read_although_the_request_broke_off(tmp_path: Path) -> None:
    """A daemon may answer an over-long line before its end, and hang up."""

    def refuse() -> None:
        with listener.accept()[0] as connection:
            connection.sendall(error({"id": None}, "too-large", "a request line too long"))
            connection.shutdown(socket.SHUT_RDWR)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        thread = threading.Thread(target=refuse, name="refuser")
        thread.start()
        with Connection(tmp_path / "s") as connection, pytest.raises(RemoteError, match="too long"):
            connection.call("query", data="x" * (8 << 20))
        thread.join(DEADLINE)


def test_a_full_queue_of_connections_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(tmp_path / "s"))
        listener.listen(0)
        first.connect(str(tmp_path / "s"))
        with pytest.raises(DeadlineError), Connection(tmp_path / "s", timeout=0.1):
            pass


def test_nothing_is_sent_to_another_user(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    other = os.geteuid() + 1
    monkeypatch.setattr(peer_credentials, "user", lambda _: other)
    with (
        pytest.raises(WrongListenerError, match=f"belongs to user {other}, so nothing was sent"),
        Connection(daemon.path),
    ):
        pass
    monkeypatch.setattr(rpc, "_owner", lambda _: other)
    monkeypatch.setattr(os, "geteuid", lambda: 0)  # root may ask a user's daemon in the user's own directory
    with Connection(daemon.path) as connection:
        connection.call("status")
    assert len(daemon.requests) == 1


def test_socket_paths_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too long"), Connection(tmp_path / ("x" * 200)):
        pass
    with pytest.raises(NoDaemonError), Connection(tmp_path):
        pass


# As a process


def test_version_and_help() -> None:
    done = run(None, "--version")
    assert (done.returncode, done.stdout) == (0, f"facewatch-query {__version__}\n".encode())
    done = run(None, "--help")
    assert done.returncode == 0
    for option in b"--top --threshold --face --list-faces --dir --min-size --sheet -l -0 --json --wait --exact".split():
        assert option in done.stdout


def test_help_and_a_query_need_only_the_standard_library(daemon: FakeDaemon) -> None:
    program = (
        "import sys; from facewatchd.client import app as client\n"
        "try: status = client.main(sys.argv[1:])\n"
        "except SystemExit as exc: status = exc.code\n"
        "names = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "foreign = sorted(name for name in names if getattr(sys.modules[name], '__file__', None))\n"
        "print(status, *foreign, file=sys.stderr)\n"
    )
    for arguments, status in ((["--help"], 0), (["--socket", str(daemon.path), "anna.jpg"], 1)):
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {ROOT!r})\n{program}", *arguments],
            capture_output=True, timeout=DEADLINE, check=False,
        )  # fmt: skip
        assert done.stderr.decode().split() == [str(status), "facewatchd"]


ROOT = str(Path(client.__file__).parents[2])


def test_a_reader_that_leaves_is_no_error(daemon: FakeDaemon) -> None:
    daemon.script = lambda request: reply(request, answer(*[b"/photo-%d.jpg" % number for number in range(20_000)]))
    process = subprocess.Popen(command(daemon, ["a.jpg"]), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.read(1) == b"0"
    process.stdout.close()
    assert process.stderr
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(DEADLINE) == client.FOUND


def test_results_that_cannot_be_written_are_an_error(daemon: FakeDaemon) -> None:
    daemon.script = lambda request: reply(request, answer(b"/a.jpg"))
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command(daemon, ["a.jpg"]), stdout=full, stderr=subprocess.PIPE, timeout=DEADLINE, check=False
        )
    assert done.returncode == client.WRONG
    assert re.fullmatch(rb"facewatch-query: cannot write the results: No space left on device; [^\n]+\n", done.stderr)


def test_ctrl_c_is_quiet(daemon: FakeDaemon) -> None:
    asked = threading.Event()

    def never(_: dict[str, Any]) -> bytes:
        asked.set()
        return b""

    daemon.script = never
    process = subprocess.Popen(command(daemon, ["a.jpg"]), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert asked.wait(DEADLINE)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=DEADLINE) == (b"", b"")
    assert process.returncode == INTERRUPTED


# --follow


@pytest.mark.parametrize("first", [[], [b"/a-long-name.jpg"]])
def test_on_a_terminal_what_arrives_is_a_row_of_the_table(daemon: FakeDaemon, first: list[bytes]) -> None:
    """Also where there was no row before; the stream ends with an error, which no later try would change."""
    rows = [match(b"/b.jpg", 0.9), match(b"/c.jpg", 0.5, box=[100, 200, 300, 400])]

    def script(request: dict[str, Any]) -> bytes:
        if request["method"] == "query":
            verdict = {"verdict": "sure", "reasons": []}
            return reply(request, answer(matches=[match(path, **verdict) for path in first], cursor="0"))
        sent = [{"method": "match", "params": {"cursor": str(at), "match": row}} for at, row in enumerate(rows, 1)]
        lines = [json.dumps({"jsonrpc": "2.0", **each}).encode() + b"\n" for each in sent]
        return b"".join(
            [reply(request, {"cursor": "0", "resumed": True}), *lines, error({"id": None}, "bad", "the end")]
        )

    daemon.script = script
    status, out, err = run_on_terminal(daemon, "--follow", "a.jpg", NO_COLOR="1")
    assert (status, b"the end" in err) == (client.NOT_READY, True)
    lines = out.decode().splitlines()
    assert len(lines) == 1 + len(first) + len(rows)
    assert lines[0].split()[0] == "SIMILARITY"
    columns = [line.index("/") for line in lines[1:]]
    assert columns[:-1] == [lines[0].index("PATH")] * (len(lines) - 2), "the last row is wider than its table"
