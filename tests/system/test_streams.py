"""Exit statuses and results of both commands whatever the locale is, and whatever the standard streams lead to."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_daemon import DEADLINE, FakeDaemon, error, reply
from tests.support.replies import answer, status

NAMES = ["/p/日本.jpg".encode(), "/p/ü.jpg".encode(), b"/p/\xfc\xff.jpg", b"/p/plain.jpg"]
QUERY = f"{sys.executable} -m facewatchd.client.app"
CONTROL = f"{sys.executable} -m facewatchd"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "socket") as fake:
        fake.script = lambda request: reply(request, answer(*NAMES))
        yield fake


@pytest.fixture(scope="module")
def latin_1(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What makes a process run in a Latin-1 locale."""
    if not shutil.which("localedef"):
        pytest.skip("no locale can be made here")
    place = tmp_path_factory.mktemp("locales")
    name = place / "de_DE.ISO-8859-1"
    made = subprocess.run(
        ["localedef", "-c", "-i", "de_DE", "-f", "ISO-8859-1", name], capture_output=True, check=False
    )
    if not (name / "LC_CTYPE").exists():
        pytest.skip(f"no locale can be made here: {made.stderr!r}")
    return {"LOCPATH": str(place), "LC_ALL": name.name}


ENVIRONMENTS = {
    "ascii": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "c": {"LC_ALL": "C"},
    "posix": {"LC_ALL": "POSIX", "PYTHONUTF8": "0"},
    "latin-1 streams": {"PYTHONIOENCODING": "latin-1"},
    "ascii streams": {"PYTHONIOENCODING": "ascii:strict"},
    "utf-8 mode": {"LC_ALL": "C", "PYTHONUTF8": "1"},
    "latin-1": {},
}


@pytest.fixture(params=ENVIRONMENTS)
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    variables = ENVIRONMENTS[request.param] or request.getfixturevalue("latin_1")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    return {**kept, **variables}


def _run(line: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["sh", "-c", line], capture_output=True, timeout=DEADLINE, check=False, **options)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize("option", ["", "-l", "-0"])
def test_all_matches_are_printed_in_any_locale(daemon: FakeDaemon, environment: dict[str, str], option: str) -> None:
    done = _run(f"{QUERY} --socket {daemon.path} {option} a.jpg", env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    end = b"\0" if option == "-0" else b"\n"
    assert [line.rpartition(b"\t")[2] for line in done.stdout.split(end)] == [*NAMES, b""]


def test_names_are_sent_as_they_are_in_any_locale(
    daemon: FakeDaemon, environment: dict[str, str], tmp_path: Path
) -> None:
    done = _run(f"{QUERY} --socket {daemon.path} -d /p/日本 ü.jpg", env=environment, cwd=tmp_path)
    assert done.returncode == 0
    assert daemon.params() == {"photos": [{"path": f"{tmp_path}/ü.jpg"}], "dirs": ["/p/日本"]}


def test_what_is_wrong_with_a_name_is_said_in_any_locale(daemon: FakeDaemon, environment: dict[str, str]) -> None:
    daemon.script = lambda request: error(request, "no-face", "no face on /p/日本.jpg")
    done = _run(f"{QUERY} --socket {daemon.path} 日本.jpg", env=environment)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (3, b"", 1)


def test_status_in_any_locale(daemon: FakeDaemon, environment: dict[str, str]) -> None:
    root = {"path": "/p/日本", "state": "watching", "photos": 3}
    daemon.script = lambda request: reply(request, status(roots=[root]))
    done = _run(f"{CONTROL} status --socket {daemon.path}", env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"/p/" in done.stdout


def test_a_configuration_means_utf8_in_any_locale(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "日本ü").mkdir()
    (tmp_path / "config.toml").write_text(f'directories = ["{tmp_path}/日本ü"]\n', encoding="utf-8")
    code = "import os, sys; from facewatchd import config; from pathlib import Path; "
    code += "sys.stdout.buffer.write(os.fsencode(config.load(Path(sys.argv[1])).directories[0]))"
    command = [sys.executable, "-c", code, str(tmp_path / "config.toml")]
    assert subprocess.check_output(command, env=environment) == os.fsencode(tmp_path / "日本ü")


REDIRECTIONS = ["2>&-", ">&-", ">/dev/full", "2>/dev/full", ">&- 2>&-", "<&- >&- 2>&-", "<&-", ">/dev/full 2>/dev/full"]


@pytest.mark.parametrize("streams", REDIRECTIONS)
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ("a.jpg", 0),
        ("--json a.jpg", 0),
        ("--list-faces faces.jpg", 0),
        ("nothing.jpg", 1),
        ("--nonsense", 2),
        ("", 2),
        ("unreadable.jpg", 2),
        ("a.jpg --sheet nowhere/sheet.txt", 2),
        ("faceless.jpg", 3),
        ("late.jpg", 5),
        ("--help", 0),
        ("--version", 0),
    ],
)
def test_exit_statuses_whatever_the_streams_lead_to(
    daemon: FakeDaemon, tmp_path: Path, arguments: str, status: int, streams: str
) -> None:
    daemon.script = _answer_by_name
    done = _run(f"{QUERY} --socket {daemon.path} {arguments} {streams}", cwd=tmp_path)
    unwritten = ">/dev/full" in streams.split() or ">&-" in streams.split()
    expected = 2 if unwritten and status == 0 else status
    assert done.returncode == expected, done.stderr
    assert b"Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == (1 if expected > 1 and "2>" not in streams else 0)


def _answer_by_name(request: dict[str, object]) -> bytes:
    sent = str(request["params"])
    for name, kind in (("unreadable", "unreadable-photo"), ("faceless", "no-face"), ("late", "not-ready")):
        if name in sent:
            return error(request, kind)
    if "faces.jpg" in sent:
        return reply(request, {"faces": [{"box": [1, 2, 3, 4], "score": 0.5, "landmarks": []}]})
    return reply(request, answer(*([] if "nothing" in sent else NAMES)))


@pytest.mark.parametrize("streams", REDIRECTIONS)
@pytest.mark.parametrize(
    ("arguments", "status"),
    [("status", 0), ("why gone.jpg", 2), ("nonsense", 2), ("scan --socket /nowhere/at/all", 4), ("--help", 0)],
)
def test_exit_statuses_of_the_control(
    daemon: FakeDaemon, tmp_path: Path, arguments: str, status: int, streams: str
) -> None:
    daemon.script = lambda request: (
        error(request, "unreadable-photo") if request["method"] == "why" else reply(request, _status())
    )
    socket = "" if "--socket" in arguments or arguments == "--help" else f"--socket {daemon.path}"
    done = _run(f"{CONTROL} {arguments} {socket} {streams}", cwd=tmp_path)
    unwritten = status == 0 and (">/dev/full" in streams.split() or ">&-" in streams.split())
    assert done.returncode == (2 if unwritten else status), done.stderr
    assert b"Traceback" not in done.stderr


def _status() -> dict[str, object]:
    return status()


@pytest.mark.parametrize("arguments", ["a.jpg", "--help", "-0 a.jpg"])
def test_a_reader_that_goes_away_is_no_error(daemon: FakeDaemon, arguments: str) -> None:
    daemon.script = lambda request: reply(request, answer(*NAMES * 2000))
    done = _run(f"({QUERY} --socket {daemon.path} {arguments}; echo $? >&2) | head -c 1")
    assert done.stderr == b"0\n"


def test_following_ends_when_nothing_reads_on_and_nothing_changes(daemon: FakeDaemon) -> None:
    daemon.script = lambda request: reply(request, _status())
    done = _run(f"{CONTROL} status --follow --socket {daemon.path} | head -n 1")
    assert (done.returncode, len(done.stdout.splitlines()), done.stderr) == (0, 1, b"")


def test_all_matches_are_written_to_a_pipe_that_does_not_block(daemon: FakeDaemon) -> None:
    """As other programs leave one behind: what does not fit into it at once is not lost."""
    daemon.script = lambda request: reply(request, answer(*[b"/p/%06d.jpg" % number for number in range(20_000)]))
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    command = [*QUERY.split(), "--socket", str(daemon.path), "-l", "a.jpg"]
    with subprocess.Popen(command, stdout=writer) as process, open(reader, "rb") as results:
        os.close(writer)
        select.select([results], [], [], DEADLINE)  # by then the pipe is full, or about to be
        assert len(results.read().splitlines()) == 20_000
        assert process.wait(DEADLINE) == 0


@pytest.mark.parametrize(("streams", "closed"), [("2>&-", [2]), (">&- 2>&-", [1, 2]), ("<&- >&- 2>&-", [0, 1, 2])])
def test_a_child_gets_the_null_device_for_each_closed_stream(tmp_path: Path, streams: str, closed: list[int]) -> None:
    """Else the first file that it opens would be its standard error."""
    child = 'for n in 0 1 2; do led="$led $(readlink /proc/$$/fd/$n)"; done; echo $led > descriptors'
    (tmp_path / "start.py").write_text(
        "import subprocess\n"
        "from facewatchd.console.streams import open_standard_streams\n"
        "open_standard_streams()\n"
        f"subprocess.run(['sh', '-c', {child!r}])\n"
    )
    assert _run(f"{sys.executable} start.py {streams}", cwd=tmp_path).returncode == 0
    led = (tmp_path / "descriptors").read_text().split()
    assert len(led) == 3
    assert {led[descriptor] for descriptor in closed} == {"/dev/null"}
