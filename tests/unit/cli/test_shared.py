"""``facewatchd shared`` against a scripted facewatch-share, beside a scripted daemon."""

from __future__ import annotations

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
from tests.support.fake_daemon import DEADLINE, FakeDaemon, error, reply, run_with_terminal
from tests.support.replies import status

Run = Callable[..., int]


def machine(name: str, faces: int = 210_000, **changes: Any) -> dict[str, Any]:
    known = {"key": 1, "photos": faces // 4, "backlog": 0, "pending": 0, "as_of_s": 2.5, "is_self": False}
    return {"name": name, "faces": faces, **known, **changes}


EVERYONE = [
    machine("laptop", 8000, is_self=True, backlog=3),
    machine("nas", backlog=1, pending=20),
    machine("old", 1, photos=1, as_of_s=3 * 7 * 86400.0),
]


def state(**changes: Any) -> dict[str, Any]:
    document = {
        "state": "ok", "reason": "", "hint": "", "sends": True, "name": "laptop", "backlog": 0, "pending": 0,
        "machines": EVERYONE,
    }  # fmt: skip
    return document | changes


def results(request: dict[str, Any]) -> bytes:
    method = request["method"]
    if method == "remove":
        return reply(request, {"removed": request["params"]["name"], "machines": []})
    return reply(request, {"status": state(), "machines": {"machines": EVERYONE}, "resync": {"contents": 1200}}[method])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The daemon's socket."""
    return tmp_path / "socket"


@pytest.fixture
def share(place: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(place.with_name("socket.share")) as fake:
        fake.script = results
        yield fake


@pytest.fixture
def daemon(place: Path) -> Iterator[FakeDaemon]:
    """One that runs, for what is told of an engine that cannot be used."""
    with FakeDaemon(place) as fake:
        yield fake


@pytest.fixture
def run(place: Path) -> Run:
    return lambda *arguments: cli.main(["shared", *arguments, "--socket", str(place)])


def on_terminal(place: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "facewatchd", "shared", *arguments, "--socket", str(place)]
    done, out, err = run_with_terminal(command, NO_COLOR="1")
    assert err == b""
    return done, out.decode()


@pytest.mark.usefixtures("daemon")
def test_the_state_in_a_few_lines(share: FakeDaemon, run: Run, capfd: Any) -> None:
    assert run() == 0
    assert capfd.readouterr().out.splitlines() == [
        "engine  ok",
        "this    laptop, everything sent",
        "others  2 machines, 210001 faces",
    ]
    behind = state(state="behind", reason="the engine's disk is full", hint="make room", backlog=3, pending=1)
    share.script = lambda request: reply(request, behind)
    assert run("status") == 0
    assert capfd.readouterr().out.splitlines()[:2] == [
        "engine  behind: the engine's disk is full; make room",
        "this    laptop, 3 photos to be sent, 1 photo to be indexed",
    ]
    share.script = lambda request: reply(request, state(state="refused", reason="removed", machines=[]))
    assert run() == 0
    assert capfd.readouterr().out == "engine  refused: removed\nthis    laptop, nothing waits here\n"
    away = state(state="unreachable", reason="no route to nas.lan\x1b[2J", machines=[], sends=False)
    share.script = lambda request: reply(request, away)
    assert run("status") == 0
    assert capfd.readouterr().out.splitlines() == [
        "engine  unreachable: no route to nas.lan\\x1b[2J",
        "this    laptop, which sends nothing (shared.send)",
    ]
    assert run("status", "--json") == 0
    assert json.loads(capfd.readouterr().out) == away


def test_machines_in_a_table_and_in_a_pipe(share: FakeDaemon, run: Run, place: Path, capfdbinary: Any) -> None:
    assert on_terminal(place, "machines") == (
        0,
        "MACHINE  FACES   PHOTOS  HEARD OF     STILL TO COME\n"
        "laptop   8000    2000    just now     3 photos to be sent  (this machine)\n"
        "nas      210000  52500   just now     1 photo to be sent, 20 photos to be indexed\n"
        "old      1       1       3 weeks ago  -\n",
    )
    assert run("machines") == 0
    assert capfdbinary.readouterr().out == (
        b"laptop\t8000\t2000\t3\t0\t2.5\nnas\t210000\t52500\t1\t20\t2.5\nold\t1\t1\t0\t0\t1814400.0\n"
    )
    assert run("machines", "--json") == 0
    assert json.loads(capfdbinary.readouterr().out) == {"machines": EVERYONE}


def test_a_machine_is_removed_and_it_is_said_what_went(share: FakeDaemon, run: Run, capfd: Any) -> None:
    assert run("remove", "old") == 0
    assert capfd.readouterr() == ("removed old: 1 face on 1 photo\n", "")
    assert share.requests[-1]["params"] == {"name": "old"}
    assert run("remove", "old", "--json") == 0
    printed = json.loads(capfd.readouterr().out)
    assert (printed["removed"], printed["faces"], printed["photos"]) == ("old", 1, 1)


def test_removing_this_machine_says_that_nothing_is_sent_any_more(share: FakeDaemon, run: Run, capfd: Any) -> None:
    assert run("remove", "laptop") == 0
    assert "nothing is sent from here again until: facewatchd shared resync" in capfd.readouterr().err


def test_an_unknown_machine_is_named_with_those_there_are(share: FakeDaemon, run: Run, capfd: Any) -> None:
    assert run("remove", "nass") == 1
    assert capfd.readouterr().err == (
        "facewatchd: no machine nass has sent anything: did you mean nas?; those that have: laptop, nas, old\n"
    )
    assert [request["method"] for request in share.requests] == ["machines"]
    many = [machine(f"m{number}\x1b") for number in range(13)]
    share.script = lambda request: reply(request, {"machines": many})
    assert run("remove", "x") == 1
    err = capfd.readouterr().err
    assert "m9\\x1b, 3 more\n" in err
    assert "\x1b" not in err
    share.script = lambda request: reply(request, {"machines": []})
    assert run("remove", "x") == 1
    assert capfd.readouterr().err.endswith("those that have: none\n")


def test_of_a_machine_that_runs_it_is_said_that_it_was_removed_all_the_same(
    share: FakeDaemon, run: Run, capfd: Any
) -> None:
    assert run("remove", "nas") == 0
    assert share.requests[-1]["params"] == {"name": "nas"}
    assert capfd.readouterr().err == (
        "facewatchd: it runs (heard of just now), and sends nothing again until there: facewatchd shared resync\n"
    )
    assert run("remove", "old") == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "standing", "given", "is_removed"),
    [
        ("nas", "which runs (heard of just now): 210000 faces on 52500 photos", b"y\n", True),
        ("old", "heard of 3 weeks ago: 1 face on 1 photo", b"n\n", False),
        ("laptop", "this machine: 8000 faces on 2000 photos", b"\n", False),
        ("old", "heard of 3 weeks ago: 1 face on 1 photo", b"\x04", False),
    ],
)
def test_a_terminal_is_asked(
    share: FakeDaemon, place: Path, name: str, standing: str, given: bytes, is_removed: bool
) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "facewatchd", "shared", "remove", name, "--socket", str(place)]
    with subprocess.Popen(command, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE) as process:
        os.close(theirs)
        asked = os.read(ours, 1000)
        os.write(ours, given)
        out = process.communicate(timeout=DEADLINE)[0]
    os.close(ours)
    assert asked == f"remove {name}, {standing}? [y/N] ".encode()
    assert process.returncode == (0 if is_removed else 1)
    assert out.startswith(f"removed {name}: ".encode()) is is_removed
    assert ("remove" in [request["method"] for request in share.requests]) is is_removed


def test_resync(share: FakeDaemon, run: Run, capfd: Any) -> None:
    assert run("resync") == 0
    assert capfd.readouterr().out == "1200 photos to be compared with the engine; see: facewatchd shared status\n"


@pytest.mark.usefixtures("daemon")
def test_what_the_engine_says_is_the_error(share: FakeDaemon, run: Run, capfd: Any) -> None:
    trouble = {"trouble": {"trouble": "unreachable", "message": "no route to nas.lan", "hint": "is it on?"}}
    share.script = lambda request: reply(request, trouble)
    assert run("machines") == 1
    assert capfd.readouterr().err == "facewatchd: no route to nas.lan; is it on?\n"
    share.script = lambda request: error(request, "shared-engine", "wrong password")
    assert run("remove", "nas") == 1
    assert capfd.readouterr().err == "facewatchd: wrong password; what to do\n"


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize("command", [["status"], ["machines"], ["remove", "nas"], ["resync"]])
def test_a_strange_answer_is_one_line(share: FakeDaemon, run: Run, capfd: Any, command: list[str]) -> None:
    for strange in ([], {}, {"machines": [7], "state": "ok", "reason": "", "hint": ""}, {"trouble": 1}):
        share.script = lambda request, strange=strange: reply(request, strange)
        assert run(*command) == 1
        out, err = capfd.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert "another form than this client expects" in err


# Where one of the two does not run


@pytest.mark.parametrize("command", [["status"], ["machines"], ["remove", "nas"], ["resync"]])
def test_without_the_daemon_it_is_said_how_to_start_it(
    share: FakeDaemon, place: Path, run: Run, capfd: Any, command: list[str]
) -> None:
    """facewatch-share has nothing to tell then: it knows neither the model nor what is to be sent."""
    trouble = {"trouble": {"trouble": "unreachable", "message": "no daemon yet", "hint": ""}}
    answers: list[Callable[[dict[str, Any]], bytes]] = [lambda request: error(request, "", "no daemon yet")]
    answers += [lambda request: reply(request, state(state="unreachable") if command == ["status"] else trouble)]
    for script in answers:
        share.script = script
        assert run(*command) == 4
        out, err = capfd.readouterr()
        assert (out, err) == ("", f"facewatchd: no daemon answers on {place}; start it: facewatchd run DIR\n")


def test_without_facewatch_share_it_is_said_how_to_start_it(place: Path, run: Run, capfd: Any) -> None:
    assert run("status") == 4
    assert capfd.readouterr().err == (
        "facewatchd: facewatch-share does not run, nor does facewatchd; start both: facewatchd run DIR, and "
        "facewatch-share\n"
    )
    with FakeDaemon(place) as daemon:
        daemon.script = lambda request: reply(request, status(shared=state(state="off")))
        assert run("machines") == 4
        assert capfd.readouterr().err == (
            "facewatchd: facewatch-share does not run; start it: systemctl --user start facewatch-share, or "
            "facewatch-share in a terminal\n"
        )
        daemon.script = lambda request: reply(request, status())
        assert run("remove", "nas") == 4
        assert capfd.readouterr().err == (
            "facewatchd: no shared engine is configured; write [shared] with its url into the configuration: man "
            "facewatch-share\n"
        )
        daemon.script = lambda request: error(request, "internal")
        assert run("resync") == 4
        assert "facewatch-share does not run; start it: systemctl" in capfd.readouterr().err
