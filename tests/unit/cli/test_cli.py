"""`facewatchd` and its control commands against a scripted daemon: in process, with pipes, and on a pseudo-terminal."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from facewatchd import __version__
from facewatchd.cli import app as cli
from facewatchd.client import connection
from facewatchd.client import status as overview
from facewatchd.console import progress
from facewatchd.console.arguments import INTERRUPTED
from facewatchd.errors import FacewatchError
from tests.support import processes, replies, tiny_pack
from tests.support.fake_daemon import DEADLINE, FakeDaemon, error, reply, run_with_terminal
from tests.support.replies import status
from tests.support.terminals import Terminal

Run = Callable[..., int]


def indexing(pending: int, examined: int, **changes: Any) -> dict[str, Any]:
    rates = {"photos_per_s": 2.5, "examined": examined, "read": 0, "embedded": 0}
    return status(state="indexing", pending=pending, rates=rates, **changes)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "socket") as fake:
        fake.script = lambda request: reply(request, status())
        yield fake


@pytest.fixture
def run(daemon: FakeDaemon) -> Run:
    """Run a control command in this process."""
    return lambda *arguments: cli.main([*map(os.fspath, arguments), "--socket", str(daemon.path)])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have --follow look without a pause."""
    monkeypatch.setattr(overview, "INTERVAL", 0.001)


def answering(daemon: FakeDaemon, result: Any) -> None:
    daemon.script = lambda request: reply(request, result)


def command(daemon: FakeDaemon, *arguments: str | bytes) -> list[str | bytes | Path]:
    return [sys.executable, "-m", "facewatchd", *arguments, "--socket", daemon.path]


# Usage


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["status", "more"],
        ["status", "--jso"],
        ["why"],
        ["why", "a.jpg", "b.jpg"],
        ["pause", "now"],
        ["verify", "--fix"],
        ["models"],
        ["models", "drop"],
        ["models", "fetch"],
        ["models", "fetch", "a", "b"],
        ["run", "-v", "-q"],
        ["run", "--model"],
        ["service"],
        ["service", "start"],
    ],
)
def test_wrong_usage_is_one_line_and_2(arguments: list[str], capfd: Any) -> None:
    assert cli.main(arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(r"facewatchd: [^\n]+; see facewatchd[a-z ]* --help\n", err)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["status", "--help"], ["models", "--help"], ["models", "fetch", "-h"]]
)
def test_help(arguments: list[str], capfd: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 0
    out, err = capfd.readouterr()
    assert out.startswith(f"usage: facewatchd {' '.join(arguments[:-1])}".rstrip())
    assert err == ""


def test_help_names_every_command(capfd: Any) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    out = capfd.readouterr().out
    for name in ("run", "status", "photos", "scan", "why", "pause", "resume", "verify", "models", "doctor"):
        assert re.search(rf"^    {name}  ", out, re.MULTILINE)


def test_version(capfd: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capfd.readouterr() == (f"facewatchd {__version__}\n", "")


# Nobody there, and errors


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["status", "--follow"], ["scan"], ["why", "a.jpg"], ["pause"], ["resume"], ["verify"]],
)
def test_no_daemon_is_4(tmp_path: Path, arguments: list[str], capfd: Any) -> None:
    assert cli.main([*arguments, "--socket", f"{tmp_path}/s"]) == 4
    assert capfd.readouterr() == (
        "",
        f"facewatchd: no daemon answers on {tmp_path}/s; start it: facewatchd run DIR\n",
    )


@pytest.mark.parametrize(
    ("kind", "code", "expected"),
    [("", -32602, 2), ("unreadable-photo", -32000, 2), ("internal", -32007, 1), ("", -32601, 1)],
)
def test_errors_of_the_daemon(daemon: FakeDaemon, run: Run, capfd: Any, kind: str, code: int, expected: int) -> None:
    daemon.script = lambda request: error(request, kind, "no\x1bgood", code)
    assert run("scan") == expected
    own = "; the daemon is of another version: restart it" if code == connection.METHOD_NOT_FOUND else ""
    hint = "; what to do" if kind else own
    assert capfd.readouterr() == ("", f"facewatchd: no\\x1bgood{hint}\n")


@pytest.mark.parametrize("arguments", [["status"], ["scan"], ["why", "a"], ["pause"], ["verify"]])
@pytest.mark.parametrize("result", [{}, [], None, "x"])
def test_an_answer_that_makes_no_sense_is_one_line(
    daemon: FakeDaemon, run: Run, capfd: Any, arguments: list[str], result: Any
) -> None:
    answering(daemon, result)
    assert run(*arguments) == 1
    expected = "the daemon's answer has another form than this client expects; restart it: it may be of another version"
    assert capfd.readouterr() == ("", f"facewatchd: {expected}\n")


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setitem(sys.modules, "facewatchd.doctor.checks", None)
    monkeypatch.delattr("facewatchd.doctor.checks", raising=False)
    assert cli.main(["doctor"]) == 1
    assert re.fullmatch(r"facewatchd: [^\n]+; install it again: [^\n]+\n", capfd.readouterr().err)


def test_ctrl_c_is_quiet(daemon: FakeDaemon) -> None:
    asked = threading.Event()

    def never(_: dict[str, Any]) -> bytes:
        asked.set()
        return b""

    daemon.script = never
    process = subprocess.Popen(command(daemon, "verify"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert asked.wait(DEADLINE)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=DEADLINE) == (b"", b"")
    assert process.returncode == INTERRUPTED


def test_control_commands_start_on_the_standard_library(daemon: FakeDaemon) -> None:
    code = (
        "import sys; from facewatchd.cli.app import main; main(sys.argv[1:])\n"
        "names = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(*sorted(name for name in names if getattr(sys.modules[name], '__file__', None)), file=sys.stderr)"
    )
    root = str(Path(cli.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {root!r})\n{code}", "status", "--socket",
         daemon.path],
        capture_output=True, text=True, timeout=DEADLINE, check=True,
    )  # fmt: skip
    assert done.stderr.split() == ["facewatchd"]
    assert "12345" in done.stdout


# run


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand in for the daemon; what it is called with."""
    calls: list[Any] = []

    class Daemon:
        @staticmethod
        def run(config: Any, reread: Any, *, verbosity: int) -> int:
            assert reread() == config, "it is read again as it was"
            calls.append((config, verbosity))
            return 3

    monkeypatch.setitem(sys.modules, "facewatchd.daemon.run", Daemon)
    monkeypatch.setattr("facewatchd.daemon.run", Daemon, raising=False)
    return calls


def test_run_hands_everything_to_the_daemon(tmp_path: Path, ran: list[Any]) -> None:
    path = tmp_path / "config.toml"
    path.write_text("directories = ['/not/this']\n[query]\ntop = 7")
    arguments = ["run", f"{tmp_path}/a", "--config", str(path), "--model", "opencv", "--data-dir", f"{tmp_path}/data"]
    assert cli.main([*arguments, "--socket", f"{tmp_path}/s", "-v", f"{tmp_path}/b"]) == 3
    ((loaded, verbosity),) = ran
    assert loaded.directories == (tmp_path / "a", tmp_path / "b")
    assert (loaded.model, loaded.data_dir, loaded.socket) == ("opencv", tmp_path / "data", tmp_path / "s")
    assert loaded.query.top == 7
    assert verbosity == 1


@pytest.mark.parametrize(("option", "expected"), [([], 0), (["-q"], -1), (["-v"], 1)])
def test_run_without_directories_takes_the_configured(
    tmp_path: Path, ran: list[Any], option: list[str], expected: int
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"directories = ['{tmp_path}']")
    assert cli.main(["run", "--config", str(path), *option]) == 3
    assert [(loaded.directories, verbosity) for loaded, verbosity in ran] == [((tmp_path,), expected)]


def test_run_refuses_before_anything_starts(tmp_path: Path, ran: list[Any], capfd: Any) -> None:
    path = tmp_path / "config.toml"
    for text, words in (("", "no directory to watch"), ("directores = []", "unknown key `directores`")):
        path.write_text(text)
        assert cli.main(["run", "--config", str(path)]) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith(f"facewatchd: {words}")
        assert err.count("\n") == 1
    assert ran == []


# status


def test_status_for_people(daemon: FakeDaemon, run: Run, capfd: Any) -> None:
    changes = {"index": {"faces": 18400, "tombstones": 31}, "problems": ["/mnt/nas is\nnot there"], "failed": 2}
    changes |= {"confinement": "partial: no Landlock (Function not implemented)", "undated": 7}
    answering(daemon, indexing(100, 5, **changes))
    assert run("status") == 0
    assert daemon.requests[0]["method"] == "status"
    assert capfd.readouterr() == (
        "facewatchd 0.1.0  indexing, up 2 h 13 min, pid 77\n"
        "model   buffalo_l, 512 dimensions, a match from 0.41\n"
        "photos  12345, 100 pending, 2 failed: facewatchd photos --state failed\n"
        "faces   18431, 18400 and 31 tombstones in the index\n"
        "dates   still to be read: 7 photos\n"
        "rate    2.5 photos a second, about 40 s left\n"
        "sandbox partial: no Landlock (Function not implemented)\n"
        "  watching    12000 photos  /home/u/Pictures\n"
        "  offline       345 photos  /mnt/nas\n"
        "problem: /mnt/nas is\\x0anot there\n",
        "",
    )


def test_status_without_backlog_has_no_rate(daemon: FakeDaemon, run: Run, capfd: Any) -> None:
    assert run("status") == 0
    assert "rate" not in capfd.readouterr().out
    answering(daemon, status(state="indexing", pending=3))
    assert run("status") == 0
    assert "rate    no photo embedded lately\n" in capfd.readouterr().out


def test_status_tells_what_was_not_embedded_here(daemon: FakeDaemon, run: Run, capfd: Any) -> None:
    rates = {"photos_per_s": 0.0, "examined": 100, "read": 100, "embedded": 10, "fetched": 1}
    answering(daemon, status(rates=rates))
    assert run("status") == 0
    assert "fetched 1 photo that other machines had embedded\n" in capfd.readouterr().out


def test_status_shows_paths_that_are_not_utf8(daemon: FakeDaemon, run: Run, capfd: Any) -> None:
    root = {"path": "/\ufffd", "path_bytes": base64.b64encode(b"/\xff").decode(), "state": "watching", "photos": 1}
    answering(daemon, status(roots=[root]))
    assert run("status") == 0
    assert "1 photo   /\\xff\n" in capfd.readouterr().out


def test_status_json_is_the_daemons_answer(daemon: FakeDaemon, run: Run, capfd: Any) -> None:
    answering(daemon, status(more=["ü", 1]))
    assert run("status", "--json") == 0
    out = capfd.readouterr().out
    assert json.loads(out) == status(more=["ü", 1])
    assert out.count("\n") == 1


def test_colour_only_on_a_terminal_that_wants_it(daemon: FakeDaemon) -> None:
    answering(daemon, status(problems=["something"]))
    code, coloured, complaints = run_with_terminal(command(daemon, "status"))
    assert (code, complaints) == (0, b"")
    assert b"\x1b[32midle\x1b[0m" in coloured
    assert b"\x1b[31mproblem: something\x1b[0m" in coloured
    code, plain, _ = run_with_terminal(command(daemon, "status"), NO_COLOR="1")
    assert code == 0
    assert plain == re.sub(rb"\x1b\[\d+m", b"", coloured)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (8000, "2 h 13 min"),
        (90000, "1 d 1 h"),
        (86400, "1 d"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert overview.duration(seconds) == words


# status --follow


@pytest.mark.usefixtures("quick")
def test_follow_in_a_pipe_says_what_changes_until_the_daemon_goes(daemon: FakeDaemon, run: Run, capfd: Any) -> None:
    answers = [
        indexing(3, 1), indexing(3, 2), indexing(2, 3), status(faces=18432), status(faces=18432, uptime_s=9999),
        status(state="degraded", problems=["the disk is full"]),
    ]  # fmt: skip

    def next_answer(request: dict[str, Any]) -> bytes | None:
        return reply(request, answers.pop(0)) if answers else None

    daemon.script = next_answer
    assert run("status", "--follow") == 4
    assert capfd.readouterr() == (
        "indexing: 12345 photos, 3 pending, 0 failed, 18431 faces, 2.5 photos a second, about 1 s left\n"
        "indexing: 12345 photos, 2 pending, 0 failed, 18431 faces, 2.5 photos a second, about 0 s left\n"
        "idle: 12345 photos, 0 pending, 0 failed, 18432 faces\n"
        "degraded: 12345 photos, 0 pending, 0 failed, 18431 faces; the disk is full\n",
        "facewatchd: the daemon went away; start it again: facewatchd run DIR\n",
    )


@pytest.mark.usefixtures("quick")
def test_follow_json_is_a_document_a_line(daemon: FakeDaemon, run: Run, capfd: Any) -> None:
    answers = [status(), status(), status(pending=1)]
    daemon.script = lambda request: reply(request, answers.pop(0)) if answers else None
    assert run("status", "--follow", "--json") == 4
    documents = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [document["pending"] for document in documents] == [0, 1]


def sharing(**changes: Any) -> dict[str, Any]:
    """A status of two machines."""
    return {"shared": replies.sharing(replies.peer("laptop", 9, is_self=True), replies.peer("nas"), **changes)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "ok: 210000 faces on 1 other machine"),
        ({"backlog": 3}, "ok: 210000 faces on 1 other machine, 3 photos to be sent"),
        ({"state": "off", "reason": "it is off\x1b", "hint": "start it"}, "off: it is off\\x1b; start it"),
    ],
)
def test_status_says_how_the_machine_stands_with_the_engine(
    daemon: FakeDaemon, run: Run, capfd: Any, changes: dict[str, Any], words: str
) -> None:
    answering(daemon, status(**sharing(**changes)))
    assert run("status") == 0
    assert f"shared  {words}\n" in capfd.readouterr().out
    answering(daemon, status())
    assert run("status") == 0
    assert "shared" not in capfd.readouterr().out


@pytest.mark.usefixtures("quick")
def test_follow_says_when_the_engine_is_lost_and_is_back(daemon: FakeDaemon, run: Run, capfd: Any) -> None:
    away = sharing(state="unreachable", reason="no route")
    sends = sharing(state="behind", reason="laptop has still to send 3 photos", backlog=3)
    answers = [status(**each) for each in (sharing(), sharing(), away, away, sends, sharing())]
    daemon.script = lambda request: reply(request, answers.pop(0)) if answers else None
    assert run("status", "--follow") == 4
    idle = "idle: 12345 photos, 0 pending, 0 failed, 18431 faces"
    assert capfd.readouterr().out.splitlines() == [
        idle,
        f"{idle}; shared engine unreachable: no route",
        f"{idle}; 3 photos to be sent",
        idle,
    ]


def test_follow_on_a_terminal_is_not_filled_by_what_is_still_to_be_sent(daemon: FakeDaemon) -> None:
    answering(daemon, status(**sharing(state="behind", reason="laptop has 9 photos to send", backlog=9)))
    with Terminal(command(daemon, "status", "--follow")) as terminal:
        terminal.until(rb"shared  [^\n]*behind[^\n]*9 photos to send\r\n")
        answering(daemon, status(**sharing(state="behind", reason="laptop has 8 photos to send", backlog=8)))
        processes.until(lambda: sum(request["method"] == "status" for request in daemon.requests) > 6)
        answering(daemon, status(**sharing(state="behind", reason="the disk is full", hint="make room", backlog=8)))
        words = terminal.until(rb"idle: 12345 photos, 0 pending, 0 failed, 18431 faces([^\n]*)\r\n")[1]
        assert words == b"; shared engine behind: the disk is full; make room"


def test_follow_ends_when_nobody_reads_on(daemon: FakeDaemon) -> None:
    numbers = iter(range(1_000_000))
    daemon.script = lambda request: reply(request, status(photos=next(numbers)))
    process = subprocess.Popen(command(daemon, "status", "--follow"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline().startswith(b"idle: 0 photos")
    process.stdout.close()
    assert process.stderr
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(DEADLINE) == 0


def test_follow_on_a_terminal_draws_a_bar_while_something_is_pending(daemon: FakeDaemon) -> None:
    answering(daemon, indexing(100, 5000))
    with Terminal(command(daemon, "status", "--follow")) as terminal:
        terminal.until(rb"pid 77\r\n")
        terminal.until(rb"watching[^\n]* 12000 photos  /home/u/Pictures\r\n")
        terminal.until(rb"indexing: +0%\|[^\r\n]*\| 0/100 \[")
        answering(daemon, indexing(50, 5050))
        terminal.until(rb"indexing: +50%\|[^\r\n]*\| 50/100 \[[^\r\n]* photos/s\]")
        answering(daemon, indexing(50, 5050, problems=["the disk is full"]))
        terminal.until(rb"\r {20,}\r[^\n]*indexing: 12345 photos, 50 pending[^\n]*; the disk is full\r\n")
        terminal.until(rb"50/100")
        answering(daemon, status())
        terminal.until(rb"\ridle: 12345 photos, 0 pending, 0 failed, 18431 faces\r\n")
        answering(daemon, status(state="paused"))
        assert terminal.until(rb"paused: [^\n]*\n").start() == 0  # and no bar in between
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.close() == 0
        assert terminal.written in (b"", b"^C")


# scan, why, pause, resume, verify


def test_scan_sends_absolute_paths(daemon: FakeDaemon, run: Run, capfd: Any) -> None:
    answering(daemon, {"queued": 3})
    assert run("scan", "a/../b", "--force", "/x") == 0
    assert daemon.requests[0]["method"] == "scan"
    assert daemon.params() == {"force": True, "paths": [{"path": os.path.abspath("b")}, {"path": "/x"}]}
    assert capfd.readouterr() == ("queued 3\n", "")


def test_scan_without_paths_leaves_it_to_the_daemon(daemon: FakeDaemon, run: Run) -> None:
    answering(daemon, {"queued": 2})
    assert run("scan") == 0
    assert daemon.params() == {}


def test_a_path_that_is_not_utf8_goes_as_bytes(daemon: FakeDaemon) -> None:
    answering(daemon, {"path": "x", "state": "unknown", "reason": "it lies in no watched directory", "faces": []})
    done = subprocess.run(
        command(daemon, "why", b"/\xff.jpg"), capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert daemon.params() == {"path_bytes": base64.b64encode(b"/\xff.jpg").decode()}


def test_after_two_dashes_there_is_no_option(daemon: FakeDaemon) -> None:
    answering(daemon, {"queued": 3})
    assert cli.main(["scan", "--socket", str(daemon.path), "a", "--", "--force", "-x.jpg"]) == 0
    expected = [{"path": os.path.abspath(name)} for name in ("a", "--force", "-x.jpg")]
    assert daemon.params() == {"paths": expected}


def test_why(daemon: FakeDaemon, run: Run, capfd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    faces = [{"face_id": 9, "box": [1, 2, 30, 40], "score": 0.8712}]
    answering(daemon, {"path": "/x/a.jpg", "state": "indexed", "reason": "its faces are searchable", "faces": faces})
    assert run("why", "a.jpg") == 0
    assert daemon.params() == {"path": f"{tmp_path}/a.jpg"}
    assert capfd.readouterr() == ("indexed: its faces are searchable\n  face 9 at 1,2 30x40, score 0.87\n", "")
    assert run("why", "--json", "a.jpg") == 0
    assert json.loads(capfd.readouterr().out)["faces"] == faces
    worse = [{**faces[0], "quality": ["small", "too blurred\x1b to tell"]}]
    answering(daemon, {"path": "/x/a.jpg", "state": "indexed", "reason": "x", "faces": worse})
    assert run("why", "a.jpg") == 0
    last = "  face 9 at 1,2 30x40, score 0.87, small, too blurred\\x1b to tell\n"
    assert capfd.readouterr().out == f"indexed: x\n{last}"


@pytest.mark.parametrize(("method", "state"), [("pause", "paused"), ("resume", "indexing")])
def test_pause_and_resume_say_the_state(daemon: FakeDaemon, run: Run, capfd: Any, method: str, state: str) -> None:
    answering(daemon, {"state": state})
    assert run(method) == 0
    assert daemon.requests[0]["method"] == method
    assert capfd.readouterr() == (f"{state}\n", "")


COMPARED = "12 photos and 30 faces compared with the disk and the index"


def test_verify_finds_nothing(daemon: FakeDaemon, run: Run, capfd: Any) -> None:
    answering(daemon, {"photos": 12, "faces": 30, "problems": [], "count": 0, "skipped": [], "repaired": False})
    assert run("verify") == 0
    assert daemon.params() == {}
    assert capfd.readouterr() == (f"{COMPARED}: no difference\n", "")


def test_verify_with_findings_is_1_and_says_what_to_do(daemon: FakeDaemon, run: Run, capfd: Any) -> None:
    problems = ["/x/a\x1b.jpg: recorded, but gone", "3 faces are missing from the index"]
    answering(daemon, {"photos": 12, "faces": 30, "problems": problems, "count": 4, "skipped": [], "repaired": False})
    assert run("verify") == 1
    assert capfd.readouterr() == (
        f"/x/a\\x1b.jpg: recorded, but gone\n3 faces are missing from the index\n{COMPARED}: 4 findings\n",
        "facewatchd: to repair these findings: facewatchd verify --repair\n",
    )
    assert run("verify", "--repair") == 1
    assert "some findings cannot be repaired" in capfd.readouterr().err


def test_verify_that_repairs_is_0(daemon: FakeDaemon, run: Run, capfd: Any) -> None:
    answering(daemon, {"photos": 12, "faces": 30, "problems": ["x"], "count": 1, "skipped": ["/nas"], "repaired": True})
    assert run("verify", "--repair") == 0
    assert daemon.params() == {"repair": True}
    away = "out of reach, and not compared: /nas"
    assert capfd.readouterr() == (f"x\n{away}\n{COMPARED}: 1 finding, repaired or queued for repair\n", "")


# models


@pytest.fixture
def models(tmp_path: Path) -> tuple[str, ...]:
    """A configuration whose model root holds the pack ``tiny``: the arguments that name it."""
    tiny_pack.build(tmp_path / "root")
    path = tmp_path / "config.toml"
    path.write_text(f"model_root = '{tmp_path}/root'")
    return ("--config", str(path))


def test_models_list(daemon: FakeDaemon, run: Run, capfd: Any, models: tuple[str, ...], tmp_path: Path) -> None:
    answering(daemon, status(model={"name": "tiny", "dim": 64, "threshold": 0.4}))
    assert run("models", "list", *models) == 0
    out, err = capfd.readouterr()
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert re.fullmatch(r"MODEL +DIM +THRESHOLD +SIZE +LICENCE +WHERE", rows["MODEL"])
    assert re.fullmatch(rf"tiny +in use +\? +0\.40 +0 MB +unknown +{tmp_path}/root/models/tiny", rows["tiny"])
    assert re.fullmatch(
        r"buffalo_l +512 +0\.\d\d +- +non-commercial +facewatchd models fetch buffalo_l", rows["buffalo_l"]
    )
    assert "any use (MIT, Apache-2.0)" in rows["opencv"]
    assert err == ""


def test_models_list_needs_no_daemon(capfd: Any, models: tuple[str, ...], tmp_path: Path) -> None:
    assert cli.main(["models", "list", *models, "--socket", f"{tmp_path}/s"]) == 0
    out, err = capfd.readouterr()
    assert "tiny" in out
    assert "in use" not in out
    assert err == ""


def test_models_fetch_puts_a_directory_in_place(capfd: Any, tmp_path: Path, models: tuple[str, ...]) -> None:
    given = tiny_pack.build(tmp_path / "elsewhere", "mine", seed=1)
    assert cli.main(["models", "fetch", str(given), *models]) == 0
    out, err = capfd.readouterr()
    assert out == f"mine\t{tmp_path}/root/models/mine\n"
    assert (tmp_path / "root/models/mine/det_tiny.onnx").is_file()
    assert all(line.startswith("facewatchd: ") for line in err.splitlines())
    assert "its licence is not known here" in err


def test_models_fetch_of_nothing_is_2(capfd: Any, tmp_path: Path, models: tuple[str, ...]) -> None:
    assert cli.main(["models", "fetch", f"{tmp_path}/none.zip", *models]) == 2
    assert re.fullmatch(r"facewatchd: there is no model, zip file or directory [^\n]+\n", capfd.readouterr().err)


# Progress


def draw(code: str, columns: int = 100) -> bytes:
    """Run Python on a terminal, and return what was written."""
    start = "import logging, threading\nfrom facewatchd.console import progress\n"
    with Terminal([sys.executable, "-c", start + code], columns) as terminal:
        assert terminal.close() == 0
        return terminal.written


def screen(written: bytes) -> list[str]:
    """What stays on the terminal: carriage return goes back, newline ends a line."""
    lines = [""]
    for character in written.decode().replace("\r\n", "\n"):
        if character == "\n":
            lines.append("")
            column = 0
        elif character == "\r":
            column = 0
        else:
            column = column if lines[-1] else 0
            lines[-1] = lines[-1][:column].ljust(column) + character + lines[-1][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


def test_log_lines_do_not_garble_the_bar_and_nothing_of_it_stays() -> None:
    written = draw(
        "log = logging.getLogger('x'); log.addHandler(progress.TerminalHandler()); log.setLevel('INFO')\n"
        "bar = progress.Progress(enabled=True)\n"
        "def speak(number):\n"
        "    for line in range(20): log.info('thread %d line %d', number, line)\n"
        "for n in range(10):\n"
        "    bar.show(1000 + n, 10 - n)\n"
        "    threads = [threading.Thread(target=speak, args=(n,)) for n in range(2)]\n"
        "    [thread.start() for thread in threads]; [thread.join() for thread in threads]\n"
        "bar.show(1010, 0)\n"
        "log.info('last')"
    )
    assert b"9/10 [" in written
    lines = screen(written)
    assert lines[-2:] == ["last", ""]
    assert sorted(lines[:-2]) == sorted([f"thread {n} line {line}" for n in range(2) for line in range(20)] * 10)


def test_a_bar_counts_from_when_it_appears_and_starts_anew_after_a_restart() -> None:
    written = draw(
        "bar = progress.Progress(enabled=True)\n"
        "bar.show(5000, 4); bar.show(5003, 1); bar.show(5004, 0)\n"
        "bar.show(5004, 8)\n"
        "bar.show(2, 6)\n"
        "bar.close()"
    )
    drawn = re.findall(rb"\d+/\d+ ", written)
    assert list(dict.fromkeys(drawn)) == [b"0/4 ", b"0/8 ", b"0/6 "]
    assert screen(written) == [""]


def test_a_terminal_that_does_not_know_its_size_has_a_bar() -> None:
    written = draw("bar = progress.Progress(enabled=True); bar.show(0, 4); bar.close()", columns=0)
    assert re.search(rb"\rindexing: +0%\|[^\r]{20,}\| 0/4 ", written)


def test_a_download_shows_bytes() -> None:
    written = draw(
        "with progress.downloading('buffalo_l') as draw:\n"
        "    draw(0, 4 << 20); threading.Event().wait(0.15); draw(3 << 20, 4 << 20)"
    )
    assert re.search(rb"buffalo_l: +75%\|[^\r]*\| 3\.00M/4\.00M", written)
    assert screen(written) == [""]


def test_without_a_terminal_nothing_is_drawn(capfd: Any) -> None:
    bar = progress.Progress(enabled=False)
    bar.show(1, 1)
    bar.close()
    with progress.downloading("x") as draw_download:
        assert draw_download is None
    with progress.bars_hidden():
        pass
    assert capfd.readouterr() == ("", "")


def test_the_terminal_handler_formats_like_any_other(capfd: Any) -> None:
    handler = progress.TerminalHandler()
    handler.setFormatter(logging.Formatter("facewatchd: %(message)s"))
    handler.handle(logging.makeLogRecord({"msg": "hello %s", "args": ("you",)}))
    assert capfd.readouterr().err == "facewatchd: hello you\n"


def test_follow_passes_errors_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise FacewatchError("something", "do")

    with pytest.raises(FacewatchError, match="something; do"):
        overview.follow(fail, as_json=False, on_terminal=False, colour=False)


def test_a_stale_socket_is_no_daemon(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/s")
    assert cli.main(["status", "--socket", f"{tmp_path}/s"]) == 4
