"""What the commands say to people: each message names what it is about, once, and what to do."""

from __future__ import annotations

import argparse
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facewatchd.cli import app as cli
from facewatchd.client import app as client
from facewatchd.client import arguments as query_arguments
from facewatchd.client.status import Status, text
from facewatchd.console.arguments import Parser
from facewatchd.scan.scanner import out_of_reach
from tests.support.fake_daemon import FakeDaemon, error, reply
from tests.support.replies import answer


@pytest.fixture
def ask(tmp_path: Path) -> Any:
    with FakeDaemon(tmp_path / "socket") as fake:

        def ask(script: Any, *arguments: str) -> int:
            fake.script = script
            fake.requests.clear()
            return client.main(["--socket", str(fake.path), *arguments])

        yield ask


# Which photo it is


def test_bytes_among_several_photos_are_named(ask: Any, tmp_path: Path, capfd: Any) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"x")
    photos = [str(tmp_path / name) for name in ("a.jpg", "b.jpg")]

    def script(request: dict[str, Any]) -> bytes:
        by_path = "path" in request["params"]["photos"][0]
        return error(request, "unreadable-photo", "anything" if by_path else "photo 2: the file is empty")

    assert ask(script, *photos) == client.WRONG
    assert capfd.readouterr().err == f"facewatch-query: {photos[1]}: the file is empty; what to do\n"


# What is wanted


@pytest.mark.parametrize("option", ["-n", "--top", "--min-size", "--face", "--threshold"])
@pytest.mark.parametrize("value", ["-1", "-7", "-1.5", "-1e3"])
def test_a_number_that_cannot_be_is_named_with_what_is_wanted(ask: Any, capfd: Any, option: str, value: str) -> None:
    if option == "--threshold" and value == "-1":
        return
    assert ask(None, option, value, "a.jpg") == client.WRONG
    err = capfd.readouterr().err
    assert f"'{value}' is " in err
    assert "expected one argument" not in err


def _options(parser: Parser) -> Iterator[tuple[list[str], argparse.Action]]:
    """All options that take a value, of a command and of its commands, each with the words of the command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _options(inner)
        elif action.option_strings and action.nargs is None:
            yield parser.prog.split(), action


_TAKING_A_VALUE = [
    pytest.param(command, name, id=" ".join([*command, name]))
    for parser in (cli.make_parser(), query_arguments.make_parser())
    for command, action in _options(parser)
    for name in action.option_strings
]


@pytest.mark.parametrize("behind", [[], ["--json"], ["--", "a.jpg"]])
@pytest.mark.parametrize(("command", "option"), _TAKING_A_VALUE)
def test_an_option_without_its_value_says_what_it_needs(
    command: list[str], option: str, behind: list[str], capfd: Any
) -> None:
    main = client.main if command == ["facewatch-query"] else cli.main
    assert main([*command[1:], option, *behind]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(rf"{command[0]}: argument [^\n]+: it needs [^\n]+; see [^\n]+ --help\n", err)
    assert option in err
    words = err.partition(": it needs ")[2].partition(";")[0]
    assert re.match(r"(a|one|largest|indexed)\b", words), "words for people, and no metavar"


def test_what_some_options_need(capfd: Any) -> None:
    for arguments, words in (
        (["a.jpg", "-n"], "argument -n/--top: it needs a whole number from 0;"),
        (["a.jpg", "--threshold"], "argument --threshold: it needs a number from -1 to 1;"),
        (["a.jpg", "-d"], "argument -d/--dir: it needs a path;"),
        (["a.jpg", "--sheet"], "argument --sheet: it needs a file;"),
    ):
        assert client.main(arguments) == client.WRONG
        assert words in capfd.readouterr().err
    assert cli.main(["photos", "--state"]) == 2
    assert "argument --state: it needs indexed, pending, no-face, failed, uns" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["photos"], "--state is missing: it needs indexed, pending, no-face, failed, unsupported or excluded; see "),
        (["why"], "PATH is missing: name a path; see facewatchd why --help"),
        (["models", "fetch"], "NAME|ZIP|DIR is missing: name a released pack, or a pack's zip file or directory; see "),
        (["models"], "list|fetch is missing: name list or fetch; see facewatchd models --help"),
        ([], "COMMAND is missing: name run, status, scan, "),
    ],
)
def test_an_argument_that_is_missing_is_named_with_its_values(capfd: Any, arguments: list[str], words: str) -> None:
    assert cli.main(arguments) == 2
    err = capfd.readouterr().err
    assert err.startswith(f"facewatchd: {words}")
    assert len(err.splitlines()) == 1


def test_wait_says_that_its_seconds_may_be_left_out() -> None:
    assert "--wait [SECONDS]" in query_arguments.make_parser().format_help()
    page = Path(client.__file__).parents[1] / "share" / "man" / "man1" / "facewatch-query.1"
    assert re.search(r"\\-\\-wait\\fR \[\\fISECONDS\\fR\]", page.read_text())


# One of a thing


def test_one_photo_is_not_photos(ask: Any, capfd: Any) -> None:
    ask(lambda request: reply(request, answer(b"/a.jpg", pending=1, complete=False)), "a.jpg")
    assert "1 photo is not searchable yet" in capfd.readouterr().err
    ask(lambda request: reply(request, answer(b"/a.jpg", pending=1, complete=False)), "a.jpg", "--wait", "0")
    assert "1 photo is pending" in capfd.readouterr().err
    assert "its photo is kept" in out_of_reach(b"/p", 1, is_there=False)
    assert "its 2 photos are kept" in out_of_reach(b"/p", 2, is_there=False)
    document = {
        "version": "1", "pid": 1, "uptime_s": 1, "state": "idle", "model": {"name": "m", "dim": 2, "threshold": 0.4},
        "roots": [{"path": "/p", "state": "watching", "photos": 1}], "photos": 1, "faces": 1, "pending": 0,
        "failed": 0, "index": {"faces": 1, "tombstones": 1}, "rates": {},
    }  # fmt: skip
    assert not re.search(r"\b1 \w+s\b", text(Status.of(document), colour=False))


# Commands that work


def test_a_package_that_is_missing_is_installed_again_from_where_it_came(tmp_path: Path) -> None:
    code = "import sys; sys.modules['sqlite3'] = None; from facewatchd.cli import app as cli; sys.exit(cli.main())"
    command = [sys.executable, "-c", code, "run", "--model", "tiny", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert f"install it again: {sys.executable} -m pip install --force-reinstall " in done.stderr


# Words that are not quite right


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["stauts"], "did you mean status?"),
        (["serivce", "install"], "did you mean service?"),
        (["models", "fecth"], "did you mean fetch?"),
        (["run", "--modle", "x"], "did you mean --model?"),
        (["run", "--data_dir=x"], "did you mean --data-dir?"),
        (["xyzzy"], "there is no command 'xyzzy'; see facewatchd --help"),
    ],
)
def test_a_misspelt_word_is_answered_with_one_like_it(capfd: Any, arguments: list[str], meant: str) -> None:
    assert cli.main(arguments) == 2
    err = capfd.readouterr().err
    assert meant in err
    assert len(err.splitlines()) == 1


def test_a_misspelt_option_of_a_query(ask: Any, capfd: Any) -> None:
    assert ask(None, "--sheeet=x.png", "a.jpg") == client.WRONG
    assert "unknown option --sheeet: did you mean --sheet?" in capfd.readouterr().err


def test_a_directory_is_no_photo(ask: Any, tmp_path: Path, capfd: Any) -> None:
    assert ask(None, str(tmp_path)) == client.WRONG
    assert capfd.readouterr().err.startswith(f"facewatch-query: {tmp_path} is a directory; name a photo")


def test_a_url_of_a_file_is_the_file(ask: Any, tmp_path: Path) -> None:
    asked: list[Any] = []

    def script(request: dict[str, Any]) -> bytes:
        asked.append(request["params"]["photos"])
        return reply(request, answer())

    for url in ("file:///x/a%20b%C3%BC.jpg", "file://localhost/x/a%20b%C3%BC.jpg", "FILE:///x/a b\u00fc.jpg"):
        ask(script, url)
    assert asked == [[{"path": "/x/a b\u00fc.jpg"}]] * 3
    assert ask(script, "https://example.org/a.jpg") == ask(script, "file://host/a.jpg") == client.WRONG


def test_a_url_is_a_directory_a_sheet_and_a_file_of_every_command(
    ask: Any, tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def script(request: dict[str, Any]) -> bytes:
        asked.append(request["params"])
        return reply(request, answer())

    asked: list[Any] = []
    ask(script, "/a.jpg", "-d", "file:///x/a%20b", "--dir=file://localhost/y", "-dfile:/z")
    assert asked.pop()["dirs"] == ["/x/a b", "/y", "/z"]
    for arguments in (["-d", "https://example.org/"], ["-d", "file://nas/photos"], ["--sheet", "file://nas/a.png"]):
        assert ask(script, "/a.jpg", *arguments) == client.WRONG
        assert f"{arguments[1]} is not on this machine" in capfd.readouterr().err
    assert ask(script, "/a.jpg", "--sheet", f"file://{tmp_path}/no%20where/a.png") == client.WRONG
    assert f"there is no directory {tmp_path}/no where" in capfd.readouterr().err
    assert asked == []
    with FakeDaemon(tmp_path / "control") as fake:
        fake.script = lambda request: reply(request, {"state": "unknown", "reason": "no", "faces": [], "queued": 1})
        for command in ("why", "scan"):
            assert cli.main([command, "file:///x/a%20b.jpg", "--socket", str(fake.path)]) == 0
        assert [request["params"] for request in fake.requests] == [
            {"path": "/x/a b.jpg"}, {"paths": [{"path": "/x/a b.jpg"}]},
        ]  # fmt: skip
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli.main(["run", f"file://{tmp_path}/not%20there", "--model", "tiny"]) == 2
    assert f"there is no directory {tmp_path}/not there" in caplog.text


def test_an_empty_name_is_not_the_current_directory(ask: Any, capfd: Any) -> None:
    for arguments in (["", "a.jpg"], ["a.jpg", "-d", ""], ["a.jpg", "--dir="], ["a.jpg", "--sheet", ""], ["--", ""]):
        assert ask(None, *arguments) == client.WRONG
        assert "is empty" in capfd.readouterr().err
    for command in (["why", ""], ["scan", ""], ["run", ""]):
        assert cli.main(command) == 2
        assert "is empty" in capfd.readouterr().err


# Where nothing can be drawn


@pytest.mark.parametrize(("term", "columns"), [("dumb", 100), ("xterm", 20)])
def test_progress_is_plain_lines_where_no_bar_can_be_drawn(
    monkeypatch: pytest.MonkeyPatch, term: str, columns: int
) -> None:
    code = (
        "from facewatchd.console.progress import *; p = Progress(enabled=True); p.show(3, 5); p.show(4, 4); p.close()\n"
    )
    code += "with downloading('m') as tell: tell(1 << 20, 2 << 20)"
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    subprocess.run([sys.executable, "-c", code], stderr=theirs, env={**os.environ, "TERM": term}, check=True)
    os.close(theirs)
    written = os.read(ours, 65536)
    os.close(ours)
    assert written == b"indexing: 0 of 5 photos\r\nm: 1 of 2 MiB\r\n"


def test_the_recipe_keeps_files_of_one_name_apart(tmp_path: Path) -> None:
    page = (Path(client.__file__).parents[1] / "share" / "man" / "man1" / "facewatch-query.1").read_text()
    found = re.search(r"xargs [^\n]*anna/", page.replace("\\-", "-"))
    assert found is not None
    paths = [tmp_path / "a b" / "1.jpg", tmp_path / "c\nd" / "1.jpg"]
    for number, path in enumerate(paths):
        path.parent.mkdir()
        path.write_bytes(b"%d" % number)
    (tmp_path / "anna").mkdir()
    names = b"".join(os.fsencode(path) + b"\0" for path in paths)
    subprocess.run(found.group(), shell=True, input=names, cwd=tmp_path, check=True)
    copied = sorted(path.read_bytes() for path in (tmp_path / "anna").rglob("*.jpg"))
    assert copied == [b"0", b"1"]


# What goes on


def test_waiting_for_a_paused_daemon_says_so_at_once(ask: Any, capfd: Any) -> None:
    said: list[str] = []

    def script(request: dict[str, Any]) -> bytes:
        if request["method"] == "status":
            return reply(request, {"state": "paused", "pending": 3})
        said.append(capfd.readouterr().err)
        return reply(request, answer(b"/a.jpg"))

    ask(script, "a.jpg", "--wait", "5")
    assert len(said) == 1
    assert "the daemon is paused" in said[0]
    assert "facewatchd resume" in said[0]
    ask(script, "a.jpg", "--wait", "5", "-q")
    assert said[1] == ""


@pytest.mark.parametrize("options", [[], ["-q"]])
def test_after_a_wait_on_a_paused_daemon_resume_is_the_way_out(ask: Any, capfd: Any, options: list[str]) -> None:
    def script(request: dict[str, Any]) -> bytes:
        if request["method"] == "status":
            return reply(request, {"state": state, "pending": 3, "waits": waits})
        return reply(request, answer(b"/a.jpg", pending=3, complete=False))

    state, waits = "paused", ""
    assert ask(script, "a.jpg", "--wait", "0", *options) == client.NOT_READY
    last = capfd.readouterr().err.splitlines()[-1]
    assert "not everything is searchable after 0 s, 3 photos are pending" in last
    assert last.endswith("; the daemon is paused: facewatchd resume")
    state = "indexing"
    assert ask(script, "a.jpg", "--wait", "0", *options) == client.NOT_READY
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1].endswith("; wait longer, or see: facewatchd status")
    assert len(lines) == 1, "that is said once"
    state, waits = "indexing", "others use the processors"
    assert ask(script, "a.jpg", "--wait", "0", *options) == client.NOT_READY
    assert capfd.readouterr().err.endswith("; wait longer: others use the processors\n")
    state = "degraded"
    assert ask(script, "a.jpg", "--wait", "0", *options) == client.NOT_READY
    assert capfd.readouterr().err.endswith("; something is wrong, see: facewatchd status\n")


def test_waiting_on_a_terminal_is_shown_before_the_answer(tmp_path: Path) -> None:
    shown: list[bytes] = []
    ours, theirs = pty.openpty()

    def script(request: dict[str, Any]) -> bytes:
        if request["method"] == "status":
            return reply(request, {"state": "indexing", "pending": 1})
        shown.append(os.read(ours, 65536))
        return reply(request, answer(b"/a.jpg"))

    with FakeDaemon(tmp_path / "socket") as fake:
        fake.script = script
        command = [sys.executable, "-m", "facewatchd.client.app", "--socket", str(fake.path), "a.jpg", "--wait"]
        subprocess.run(command, stderr=theirs, stdout=subprocess.DEVNULL, check=True)
    os.close(theirs)
    os.close(ours)
    assert shown == [b"waiting up to 60 s until everything is searchable; 1 photo is pending\r\n"]
