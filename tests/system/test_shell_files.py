"""Completions and man pages: they are the parsers', the shells take them, and they are installed where those look."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from facewatchd import config
from facewatchd.api import parameters
from facewatchd.client import app as client
from facewatchd.console.arguments import INTERRUPTED, Parser, parse
from facewatchd.errors import FacewatchError, LockedError, UsageError
from facewatchd.server import jsonrpc
from facewatchd.server import params as server_params
from tests.support import man_pages, reference_pages, shell_files
from tests.support.fake_daemon import FakeDaemon, reply
from tests.support.paths import PROJECT
from tests.support.terminals import Terminal

COMMANDS = sorted(shell_files.parsers())
PAGES = sorted(place for place in shell_files.files() if place.startswith("man/"))
PHOTOS = ("anna.jpg", "my face.jpg")
CASES = {
    "facewatchd st": {"status"},
    "facewatchd models ": {"list", "fetch"},
    "facewatchd models fetch ant": {"antelopev2"},
    "facewatchd models fetch an": {"antelopev2", "anna.jpg"},
    "facewatchd run --model op": {"opencv"},
    "facewatchd run --model My": {"My Photos"},
    "facewatchd run ": {"My Photos", "other"},
    "facewatchd run other M": {"My Photos"},
    "facewatchd scan --f": {"--force"},
    "facewatchd scan --force my": {"my face.jpg"},
    "facewatch-query --th": {"--threshold"},
    "facewatch-query --face ": {"largest", "all"},
    "facewatch-query --top ": set(),
    "facewatch-query -d ": {"My Photos", "other"},
    "facewatch-query my": {"my face.jpg"},
    "facewatch-query anna.jpg my": {"my face.jpg"},
    "facewatch-query anna.jpg --exa": {"--exact"},
}
"""What is typed in `here`, and what there is to choose from."""
CLEAR_LINE = b"\x15"
BASH = """
source "$1"
read -ra COMP_WORDS <<< "$2"
[[ $2 == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
function=$(complete -p "${COMP_WORDS[0]}" | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$function"
((${#COMPREPLY[@]} == 0)) || printf '%s\\n' "${COMPREPLY[@]}"
"""
"""What readline does: the words of the line, then the function, then what it replies."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two photos and two directories, in which the shells complete."""
    for name in PHOTOS:
        (tmp_path / name).touch()
    for name in ("My Photos", "other"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def installed(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def place(kind: str, command: str) -> Path:
    return shell_files.SHARE / shell_files.PLACES[kind].format(command)


def output(*command: str | Path) -> str:
    """What a command prints; it must have nothing to complain of."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def words_in(place: str) -> str:
    """A man page without its fonts and escapes; its macros stay."""
    text = (shell_files.SHARE / place).read_text()
    text = re.sub(r"\\f[BIR]|\\&", "", text)
    for escape, character in (("\\-", "-"), ("\\(aq", "'"), ("\\(ti", "~"), ("\\(ha", "^"), ("\\(ga", "`")):
        text = text.replace(escape, character)
    return text


def words_of(parser: Parser) -> set[str]:
    """Every option and every subcommand, at any depth."""
    words: set[str] = set()
    for action in parser._actions:
        words |= set(action.option_strings)
        if isinstance(action.choices, dict):
            words |= set(action.choices)
            words |= {word for inner in action.choices.values() for word in words_of(inner)}
    return words


def test_the_files_are_what_the_parsers_make() -> None:
    made = shell_files.files()
    there = {str(path.relative_to(shell_files.SHARE)) for path in shell_files.SHARE.rglob("*") if path.is_file()}
    assert there == {*made, shell_files.PICTURE}
    old = [name for name, text in made.items() if (shell_files.SHARE / name).read_text() != text]
    assert not old, f"a parser or a declaration changed; to write these anew: {shell_files.COMMAND}"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", shell_files.PLACES)
def test_a_file_names_every_option_and_subcommand(kind: str, command: str) -> None:
    text = place(kind, command).read_text()
    if kind == "man":
        text = re.sub(r"\\f[BIR]", "", text).replace("\\-", "-")
    for word in words_of(shell_files.parsers()[command]):
        if kind == "fish" and word.startswith("-"):
            word = f"-l {word[2:]}" if word.startswith("--") else f"-s {word[1:]}"
        assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text), word


def test_a_value_that_nobody_knows_how_to_complete_is_refused() -> None:
    action = shell_files.parsers()["facewatchd"].add_argument("--colour", metavar="RGB")
    with pytest.raises(LookupError, match=r"how to complete RGB"):
        shell_files.say_how_to_complete(action)


# In the shells


@pytest.mark.parametrize("line", CASES)
def test_bash_completes(line: str, here: Path) -> None:
    script = place("bash", line.split()[0])
    listed = output(installed("bash"), "--norc", "-c", BASH, "bash", script, line)
    assert set(listed.splitlines()) == CASES[line]


@pytest.mark.parametrize("line", CASES)
def test_fish_completes(line: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here / ".home"))
    script = place("fish", line.split()[0])
    command = f"source {shlex.quote(str(script))}; complete -C {shlex.quote(line)}"
    listed = output(installed("fish"), "--no-config", "-c", command)
    assert {choice.split("\t")[0].rstrip("/") for choice in listed.splitlines()} == CASES[line]


def test_zsh_completes(here: Path) -> None:
    """At its prompt, because its completions work nowhere else."""
    functions = shell_files.SHARE / "zsh/site-functions"
    with Terminal([installed("zsh"), "-f", "-i"]) as zsh:
        zsh.press(f"PS1='> '; fpath=({shlex.quote(str(functions))} $fpath)\n".encode())
        zsh.press(b"autoload -Uz compinit && compinit -u -D && echo rea''dy\n")
        zsh.until(rb"\nready\r?\n")
        for line, choices in CASES.items():
            if len(choices) == 1:
                completed = line.rpartition(" ")[0] + " " + choices.copy().pop().replace(" ", "\\ ")
                zsh.press(f"{line}\t".encode())
                zsh.until(re.escape(completed).encode())
                zsh.press(CLEAR_LINE)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_finds_no_fault_in_the_syntax(shell: str, command: str) -> None:
    assert output(installed(shell), "-n", place(shell, command)) == ""


# Man pages


@pytest.mark.parametrize("page", PAGES)
def test_man_and_groff_have_no_warning(page: str) -> None:
    path = shell_files.SHARE / page
    output(installed("groff"), "-man", "-ww", "-Tutf8", path)
    output(installed("man"), "--warnings", "-E", "UTF-8", "-l", "-Tutf8", path)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_page_of_a_command_has_every_section(command: str) -> None:
    page = output(installed("groff"), "-man", "-ww", "-Tascii", "-P-cbou", place("man", command))
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "FILES", "EXAMPLES", "SEE ALSO"):
        assert f"\n{section}\n" in page
    assert ("\nCOMMANDS\n" in page) == (command == "facewatchd")


def test_the_page_of_the_configuration_has_every_key() -> None:
    page = words_in("man/man5/facewatchd.toml.5")
    for key in config.KEYS:
        assert f"\n{key.name.rpartition('.')[2]} ({key.type}; ".replace("`", "") in page, key.name
        assert key.meaning.replace("`", "") in page


def test_the_example_of_the_configuration_is_one(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(reference_pages.EXAMPLE)
    assert config.load(file, data_dir=tmp_path, socket=tmp_path / "socket").resources.unload_after == 60


def test_the_page_of_the_configuration_tells_which_keys_wait_for_a_restart() -> None:
    page = words_in("man/man5/facewatchd.toml.5")
    described = dict(re.findall(r"^\.TP\n(\w+) \(.*\)\n(.*)$", page, re.MULTILINE))
    late = {name for name, meaning in described.items() if meaning.endswith(reference_pages.ON_RESTART)}
    faces = {"min_size", "min_score", "second_look", "detector_size"}
    assert late == {"model", "model_root", *faces, "threads", "idle_priority", "device", "thumbnails", "index", "send"}


def test_the_page_of_the_protocol_has_every_method_parameter_and_error() -> None:
    page = words_in("man/man7/facewatchd-protocol.7")
    for name, method in parameters.METHODS.items():
        part = page.partition(f"\n.SS {name}\n")[2].partition("\n.S")[0]
        assert method.result in part, name
        for parameter in method.describe():
            assert f"\n{parameter.name} ({parameter.type.replace('`', '')}; " in part, parameter.name
    for kind, code in jsonrpc.CODES.items():
        assert f"\n{kind} ({code})\n" in page


def test_the_python_example_of_the_protocol_runs(tmp_path: Path) -> None:
    def answer(request: dict[str, Any]) -> bytes:
        server_params.read(parameters.QueryParameters, request["params"])
        return reply(request, {"matches": [{"similarity": 0.5, "path": "/p/a.jpg"}]})

    (tmp_path / "facewatchd").mkdir()
    with FakeDaemon(tmp_path / "facewatchd/socket") as daemon:
        daemon.script = answer
        done = subprocess.run(
            [sys.executable, "-c", reference_pages.PYTHON],
            env={"XDG_RUNTIME_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.stdout, done.stderr) == ("0.5 /p/a.jpg\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_are_right(command: str) -> None:
    for example, _ in man_pages.EXAMPLES[command]:
        name, *arguments = shlex.split(example.partition(" | ")[0])
        assert name == command
        parse(shell_files.parsers()[command], arguments)


@pytest.mark.parametrize(
    ("command", "statuses"),
    [
        (
            "facewatchd",
            {0, FacewatchError.exit_status, *(error.exit_status for error in FacewatchError.__subclasses__())}
            | {INTERRUPTED},
        ),
        ("facewatch-query", {*range(client.NOT_READY + 1), INTERRUPTED}),
        ("facewatch-share", {0, FacewatchError.exit_status, UsageError.exit_status, LockedError.exit_status}),
    ],
)
def test_a_page_has_every_exit_status(command: str, statuses: set[int]) -> None:
    section = place("man", command).read_text().partition(".SH EXIT STATUS")[2].partition(".SH")[0]
    assert {int(status) for status in re.findall(r"\\fB(\d+)\\fR", section)} == statuses


# Where they go


def test_the_wheel_brings_the_files_where_the_shells_and_man_look(tmp_path: Path) -> None:
    wheel = next(WheelBuilder(str(PROJECT)).build(directory=str(tmp_path), versions=["standard"]))
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition(".data/data/share/")[2] for name in names} - {""} == {
        *shell_files.files(),
        shell_files.PICTURE,
    }
    assert not [name for name in names if name.startswith("facewatchd/share/")], "they are there twice"
    package = [path for part in ("page", "pictures") for path in (PROJECT / "facewatchd" / part).rglob("*")]
    drawn = {
        str(path.relative_to(PROJECT)) for path in package if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert {"facewatchd/page/templates/base.html", "facewatchd/page/static/page.css"} < drawn
    assert drawn <= set(names), "what pages and albums are drawn with"


def test_the_source_distribution_has_the_files(tmp_path: Path) -> None:
    archive = next(SdistBuilder(str(PROJECT)).build(directory=str(tmp_path)))
    with tarfile.open(archive) as opened:
        names = {name.partition("/facewatchd/share/")[2] for name in opened.getnames()}
    assert names - {""} == {*shell_files.files(), shell_files.PICTURE}


@pytest.mark.parametrize("command", COMMANDS)
def test_man_finds_the_page_of_a_command_on_the_path(command: str, tmp_path: Path) -> None:
    """As in a virtual environment: by ``bin``, beside which there is ``share``."""
    man, bin_, share = installed("man"), tmp_path / "bin", tmp_path / "share"
    if not subprocess.run([man, "--version"], capture_output=True, text=True, timeout=60).stdout.startswith("man "):
        pytest.skip("man is not man-db's")
    bin_.mkdir()
    share.symlink_to(shell_files.SHARE)
    environment = {"PATH": f"{bin_}:/usr/bin:/bin", "LC_ALL": "C"}
    done = subprocess.run([man, "--where", command], capture_output=True, text=True, timeout=60, env=environment)
    assert Path(done.stdout.strip()).resolve() == place("man", command)
