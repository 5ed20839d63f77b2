"""``facewatchd photos``, of a daemon that is played here."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facewatchd.cli import app as cli
from tests.support.fake_daemon import DEADLINE, FakeDaemon, error, reply, run_with_terminal

PHOTOS = [
    {"path": "/p/ü.jpg", "state": "failed", "reason": "torn"},
    {"path": "/p/a\tb\nc\\.jpg", "state": "failed", "reason": "a pipe\x1b[2J\nor\ttwo"},
    {"path": "/p/\ufffd", "path_bytes": base64.b64encode(b"/p/\xff").decode(), "state": "failed", "reason": "torn"},
]


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeDaemon]:
    """A daemon with three files, one on each page."""
    with FakeDaemon(tmp_path / "socket") as daemon:

        def script(request: dict[str, Any]) -> bytes:
            after = request["params"].get("after")
            at = 0 if after is None else int(after["path"])
            cursor = {"path": str(at + 1)} if at + 1 < len(PHOTOS) else None
            return reply(request, {"photos": PHOTOS[at : at + 1], "next": cursor})

        daemon.script = script
        yield daemon


def command(fake: FakeDaemon, *options: str) -> list[str | bytes | Path]:
    return [sys.executable, "-m", "facewatchd", "photos", "--state", "failed", *options, "--socket", fake.path]


def test_lines_paths_and_the_document_of_several_pages(fake: FakeDaemon) -> None:
    def run(*options: str) -> bytes:
        done = subprocess.run(command(fake, *options), capture_output=True, timeout=DEADLINE, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout

    assert run() == (
        "/p/ü.jpg\ttorn\n".encode()
        + b"/p/a\\tb\\nc\\\\.jpg\ta pipe\\x1b[2J\\x0aor\\x09two\n"
        + b"/p/\xff\ttorn\n"
    )  # fmt: skip
    assert run("-0") == "/p/ü.jpg\0/p/a\tb\nc\\.jpg\0/p/".encode() + b"\xff\0"
    assert json.loads(run("--json")) == {"photos": PHOTOS}
    assert run("--json").count(b"\n") == 1
    assert [request["params"].get("after") for request in fake.requests[:3]] == [None, {"path": "1"}, {"path": "2"}]


def test_on_a_terminal(fake: FakeDaemon) -> None:
    code, shown, said = run_with_terminal(command(fake))
    assert (code, said) == (0, b"")
    assert shown == (
        "/p/ü.jpg: torn\n".encode()
        + b"/p/a\\x09b\\x0ac\\.jpg: a pipe\\x1b[2J\\x0aor\\x09two\n"
        + b"/p/\\xff: torn\n"
    )  # fmt: skip
    code, shown, _ = run_with_terminal(command(fake, "--json"))
    assert json.loads(shown) == {"photos": PHOTOS}


def test_none_is_no_error_and_said_on_a_terminal(fake: FakeDaemon) -> None:
    fake.script = lambda request: reply(request, {"photos": [], "next": None})
    assert run_with_terminal(command(fake)) == (0, b"", b"no file is in the state failed\n")
    for options, expected in (((), b""), (("-0",), b""), (("--json",), b'{"photos": []}\n')):
        done = subprocess.run(command(fake, *options), capture_output=True, timeout=DEADLINE, check=True)
        assert (done.stdout, done.stderr) == (expected, b"")


@pytest.mark.parametrize(
    ("arguments", "wording"),
    [
        ([], "--state"),
        (["--state"], "--state"),
        (["--state", "faild"], "did you mean failed?"),
        (["--state", "unknown"], "'unknown' is not indexed, pending"),
        (["--state", ""], "--state: the value is empty"),
        (["--state", "failed", "more"], "more"),
        (["--state", "failed", "-0", "--json"], "exclude each other"),
    ],
)
def test_wrong_usage(arguments: list[str], wording: str, capfd: Any) -> None:
    assert cli.main(["photos", *arguments]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert wording in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("result", [{}, [], None, "x", {"photos": 7, "next": None}, {"photos": [{}], "next": None}])
@pytest.mark.parametrize("option", ["-0", ""])
def test_an_answer_that_makes_no_sense_is_one_line(fake: FakeDaemon, capfd: Any, result: Any, option: str) -> None:
    fake.script = lambda request: reply(request, result)
    arguments = ["photos", "--state", "failed", *option.split(), "--socket", str(fake.path)]
    assert cli.main(arguments) == 1
    expected = "the daemon's answer has another form than this client expects; restart it: it may be of another version"
    assert capfd.readouterr() == ("", f"facewatchd: {expected}\n")


def test_no_daemon_and_its_errors(fake: FakeDaemon, tmp_path: Path, capfd: Any) -> None:
    assert cli.main(["photos", "--state", "failed", "--socket", f"{tmp_path}/none"]) == 4
    fake.script = lambda request: error(request, "", "no method 'photos'", -32601)
    assert cli.main(["photos", "--state", "failed", "--socket", str(fake.path)]) == 1
    assert capfd.readouterr().err.splitlines()[-1] == (
        "facewatchd: no method 'photos'; the daemon is of another version: restart it"
    )


@pytest.mark.parametrize("option", ["", "-0", "--json"])
def test_a_reader_that_goes_away_ends_it_quietly(fake: FakeDaemon, option: str) -> None:
    endless = {"photos": PHOTOS * 300, "next": {"path": "/"}}
    fake.script = lambda request: reply(request, endless)
    words = subprocess.list2cmdline([str(word) for word in command(fake, *option.split())])
    done = subprocess.run(
        ["sh", "-c", f"({words}; echo $? >&2) | head -c 1"], capture_output=True, timeout=DEADLINE, check=False
    )
    assert done.stderr == b"0\n"


@pytest.mark.parametrize("streams", ["2>&-", ">&-", ">/dev/full", "<&- >&- 2>&-"])
@pytest.mark.parametrize("option", ["", "-0", "--json"])
def test_closed_streams(fake: FakeDaemon, option: str, streams: str) -> None:
    words = subprocess.list2cmdline([str(word) for word in command(fake, *option.split())])
    done = subprocess.run(["sh", "-c", f"{words} {streams}"], capture_output=True, timeout=DEADLINE, check=False)
    assert done.returncode == (2 if ">&-" in streams.split() or ">/dev/full" in streams else 0)
    assert b"Traceback" not in done.stderr
