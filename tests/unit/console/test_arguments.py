"""Arguments that cannot be meant: one line that names them, exit 2, and nothing is started or written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from facewatchd.cli import app as cli
from facewatchd.client import app as client


@pytest.fixture(autouse=True)
def _in_an_empty_place(tmp_path: Path, new_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)


def refusal(capfd: Any, main: Any, *arguments: str) -> str:
    """Run a command that is to be refused, and return the one line that it says."""
    assert main(arguments) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1, captured.err
    assert os.listdir() == []
    return str(captured.err)


# Empty ones, as of a variable that is not set


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.jpg", "--sheet", ""], ["a.jpg", "--sheet="], ["--socket", "", "a.jpg"], ["-d", "", "a.jpg"],
        ["-n", "", "a.jpg"], ["--threshold=", "a.jpg"], ["--face", "", "a.jpg"], ["--wait=", "a.jpg"],
        [""], ["a.jpg", ""], ["--list-faces", ""], ["--", ""],
    ],
)  # fmt: skip
def test_an_empty_argument_of_a_query(capfd: Any, arguments: list[str]) -> None:
    assert "empty" in refusal(capfd, client.main, *arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", ""], ["run", "--", ""], ["run", ".", "--data-dir", ""], ["run", ".", "--config="],
        ["run", ".", "--model", ""], ["run", ".", "--socket", ""], ["status", "--socket", ""], ["scan", ""],
        ["why", ""], ["models", "list", "--config", ""], ["models", "fetch", ""], ["service", "install", ""],
        ["service", "install", ".", "--data-dir="], ["doctor", "--config", ""],
    ],
)  # fmt: skip
def test_an_empty_argument_is_not_the_current_directory(capfd: Any, arguments: list[str]) -> None:
    assert "the value is empty" in refusal(capfd, cli.main, *arguments)


# Misspelt and misplaced ones


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--list-faces", "a.jpg", "--top", "3"], "--list-faces searches nothing"),
        (["--list-faces", "a.jpg", "b.jpg"], "--list-faces takes one photo"),
        (["--json", "-l", "a.jpg"], "--json and --paths or --print0 exclude each other"),
        (["--no-colapse", "a.jpg"], "unknown option --no-colapse: did you mean --no-collapse?"),
    ],
)
def test_what_is_known_is_not_called_unknown(capfd: Any, arguments: list[str], words: str) -> None:
    assert refusal(capfd, client.main, *arguments).startswith(f"facewatch-query: {words}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--verison"], "unknown option --verison: did you mean --version?"),
        (["--socket", "/run/s", "status"], "--socket stands after its command: facewatchd run --socket"),
        (["--json", "status"], "--json stands after its command: facewatchd status --json"),
        (["--config=c.toml", "run"], "--config stands after its command: facewatchd run --config"),
        (
            ["models", "--config", "c.toml", "list"],
            "--config stands after its command: facewatchd models list --config",
        ),
        (["-x", "status"], "unknown option -x"),
        (["stauts"], "there is no command 'stauts': did you mean status?"),
        (["models", "lst"], "there is no command 'lst': did you mean list?"),
    ],
)
def test_what_stands_where_a_command_should(capfd: Any, arguments: list[str], words: str) -> None:
    assert words in refusal(capfd, cli.main, *arguments)


# Values


@pytest.mark.parametrize("option", ["-n", "--top", "--min-size", "--face", "--threshold"])
@pytest.mark.parametrize("value", ["-inf", "inf", "nan", "-nan", "1e400", "99999999999999999999", "-1e999"])
def test_a_number_without_end_is_named(capfd: Any, option: str, value: str) -> None:
    err = refusal(capfd, client.main, option, value, "a.jpg")
    assert f"'{value}' is " in err


def test_a_whole_number_that_is_too_large_is_told_the_largest(capfd: Any) -> None:
    assert "from 0 to 999999999" in refusal(capfd, client.main, "-n", "1000000000", "a.jpg")


@pytest.mark.parametrize("url", ["file:///tmp/a%00b.jpg", "file://localhost/%00"])
def test_a_url_that_names_no_file(capfd: Any, url: str) -> None:
    assert "cannot hold %00" in refusal(capfd, client.main, url)


@pytest.mark.parametrize("name", ["x" * 300, "~nobody-of-this-name/pack", "loop"])
@pytest.mark.parametrize("command", [["models", "fetch"], ["run", "/", "--data-dir", "/nowhere/d", "--model"]])
def test_a_name_that_is_no_model(capfd: Any, tmp_path: Path, command: list[str], name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "facewatchd", *command, name],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
