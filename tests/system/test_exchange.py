"""Exports and imports, with daemons as processes: nothing said is lost, and nothing that was given is embedded."""

from __future__ import annotations

import json
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.albums import shoot
from tests.support.processes import Daemon, until

Start = Callable[..., Daemon]

PEOPLE = {"Anna": 1, "Bob": 2, "Zoë": 3}


def library(root: Path) -> Path:
    for number in range(4):
        shoot(root / "a" / f"{number}.jpg", [1, 2 + number % 2], number)
    shoot(root / "nobody.jpg", [], 9)
    return root


def name_people(daemon: Daemon, root: Path) -> None:
    for name, person in PEOPLE.items():
        path, face = (root / "a" / "0.jpg", person - 1) if person < 3 else (root / "a" / "1.jpg", 1)
        daemon.call("assign", name=name, who=[{"path": str(path), "face": face}], anyway=True)
    daemon.call("assign", name="Bob", who=[{"path": str(root / "a" / "1.jpg"), "face": 1}], **{"is": False})


def said(daemon: Daemon) -> dict[str, Any]:
    """What was said of each person, without ids and paths."""
    found: dict[str, Any] = {}
    for person in daemon.call("people")["people"]:
        statements = daemon.call("person", name=person["name"])["statements"]
        found[person["name"]] = sorted(
            (each["is"], each["digest"], tuple(each["box"] or ()), each["source"], each["placed"])
            for each in statements
        )
    return found


def answers(daemon: Daemon, root: Path) -> dict[str, set[str]]:
    """The photos of each person, by their names."""
    return {
        name: {
            str(Path(match["path"]).relative_to(root))
            for match in daemon.call("query", who=[{"person": name}], top=0)["matches"]
        }
        for name in PEOPLE
    }


def test_a_library_that_moved_to_another_machine_keeps_its_names_and_embeds_nothing(
    start: Start, tmp_path: Path, tiny_root: Path
) -> None:
    root, backup = library(tmp_path / "photos"), tmp_path / "backup.jsonl"
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()
    name_people(daemon, root)
    before, found = said(daemon), answers(daemon, root)
    assert found["Anna"] == {f"a/{number}.jpg" for number in range(4)}

    result = daemon.control("export", backup, "--embeddings")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr.startswith(f"3 people, 4 statements, 5 photos with their faces: {backup}")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    again = daemon.control("export", backup)
    assert again.returncode == 2
    assert again.stderr == f"facewatchd: {backup} is there already; name a new file\n"
    piped = daemon.control("export", "-")
    kinds = [next(iter(json.loads(line))) for line in piped.stdout.splitlines()]
    assert kinds == ["format", *["person"] * 3, *["statement"] * 4, *["photo"] * 2, "end"]
    daemon.stop()

    moved = tmp_path / "elsewhere" / "pictures"
    shutil.copytree(root, moved / "deeper")
    (tmp_path / "empty").mkdir()
    other = Daemon(tmp_path / "other", tmp_path / "empty", model="tiny", model_root=tiny_root)
    other.count_embeddings()
    with other:
        other.start()
        expect_imported(other, backup)
        status = watch(other, tmp_path / "empty", moved)
        assert (status["photos"], status["faces"], status["failed"]) == (5, 8, 0)
        assert not other.embeddings(), "everything was given"
        assert said(other) == before
        assert answers(other, moved / "deeper") == found
        again = other.control("import", backup)
        assert "0 added, 4 said before" in again.stdout
        assert "5 photos with their faces: 0 added, 5 known before" in again.stdout
        assert said(other) == before


def watch(daemon: Daemon, before: Path, now: Path) -> dict[str, Any]:
    """Have a daemon watch another directory, and return its status when that is indexed."""
    daemon.config.write_text(daemon.config.read_text().replace(str(before), str(now)))
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: daemon.status()["photos"] == 5)
    return daemon.settle()


def expect_imported(other: Daemon, backup: Path) -> None:
    result = other.control("import", backup)
    assert result.returncode == 0, result.stderr
    assert "3 people, 4 statements: 4 added" in result.stdout
    assert "5 photos with their faces: 5 added" in result.stdout
    assert "2 photos with statements not found here yet: a/0.jpg, a/1.jpg" in result.stderr


def test_what_was_wiped_comes_back_and_undo_takes_it_away_again(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    root = library(tmp_path / "photos")
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()
    name_people(daemon, root)
    before, found = said(daemon), answers(daemon, root)
    backup = daemon.control("export", "-").stdout
    daemon.stop()
    shutil.rmtree(daemon.data)
    daemon.start()
    daemon.settle()
    assert said(daemon) == {}
    result = daemon.control("import", "-", input="\ufeff" + backup.replace("\n", "\r\n"))
    assert result.returncode == 0, result.stderr
    assert said(daemon) == before
    assert answers(daemon, root) == found
    assert daemon.control("people", "undo").returncode == 0
    assert said(daemon) == {}

    other_model = [json.loads(line) for line in backup.splitlines()]
    other_model[0]["model"] = "another-00000000"
    content = {"content": "ab" * 32, "width": 1, "height": 1}
    other_model[-1]["end"]["content"] = 1
    file = tmp_path / "other.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in [*other_model[:-1], content, other_model[-1]]))
    result = daemon.control("import", file)
    assert result.returncode == 0, result.stderr
    assert "the faces of 1 photo are left out: they are of the model another-00000000, not tiny" in result.stderr
    assert said(daemon) == before

    described = [each | {"born": "2019-06"} if "person" in each else each for each in other_model]
    file.write_text("".join(json.dumps(line) + "\n" for line in [*described[:-1], content, described[-1]]))
    result = daemon.control("import", file)
    assert "0 added" in result.stdout
    assert f", {len(before)} people described anew\n" in result.stdout
    assert said(daemon) == before
    assert {each["born"] for each in daemon.call("people")["people"]} == {"2019-06"}
    assert daemon.control("people", "undo").returncode == 0
    assert {each["born"] for each in daemon.call("people")["people"]} == {None}


SLOW = """
import sys
if "run" in sys.argv:
    import time
    from facewatchd.store.gallery import Gallery
    def slow(self, contents, adopt=Gallery.adopt):
        result = adopt(self, contents)
        open({path!r}, "a").close()
        time.sleep(1)
        return result
    Gallery.adopt = slow
"""
"""A hook: recording a block takes a second, and that it is recorded is noted in a file."""
SMALL_BLOCKS = "import sys; from facewatchd.cli import app, exchange; exchange.BLOCK = 1; sys.exit(app.main())"
"""A client that sends each line by itself."""


def test_an_import_that_is_ended_half_way_goes_on_when_it_is_repeated(
    start: Start, tmp_path: Path, tiny_root: Path
) -> None:
    root, backup = library(tmp_path / "photos"), tmp_path / "backup"
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()
    name_people(daemon, root)
    assert daemon.control("export", backup, "--embeddings").returncode == 0
    before = said(daemon)
    daemon.stop()
    (tmp_path / "empty").mkdir()
    other = Daemon(tmp_path / "other", tmp_path / "empty", model="tiny", model_root=tiny_root)
    noted = tmp_path / "noted"
    other.hook(SLOW.format(path=str(noted)))
    with other:
        other.start()
        client = importing(other, backup)
        until(noted.exists)
        client.send_signal(signal.SIGINT)
        _, errors = client.communicate(timeout=60)
        assert client.returncode == 130
        assert b"of 5 photos: import again to go on\n" in errors
        noted.unlink()
        client = importing(other, backup)
        until(noted.exists)
        other.kill()
        assert client.wait(60) == 4
        client.communicate()
        other.unhook()
        other.count_embeddings()
        other.start()
        assert len(said(other)) == 3, "what was said comes first"
        result = other.control("import", backup)
        assert result.returncode == 0, result.stderr
        assert "0 added, 4 said before" in result.stdout
        watch(other, tmp_path / "empty", root)
        assert not other.embeddings()
        assert said(other) == before
        assert other.call("verify")["count"] == 0


def importing(daemon: Daemon, backup: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SMALL_BLOCKS, "import", str(backup), "--socket", str(daemon.socket)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=daemon.environment)


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Any:
    place = tmp_path_factory.mktemp("idle")
    root = library(place / "photos")
    with Daemon(place / "home", root, model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        daemon.settle()
        yield daemon


def test_input_that_cannot_be_kept_is_told(idle: Daemon) -> None:
    limited = [
        "prlimit",
        "--fsize=1000",
        sys.executable,
        "-m",
        "facewatchd",
        "import",
        "-",
        "--socket",
        str(idle.socket),
    ]
    result = subprocess.run(limited, input=b"x" * 5000, capture_output=True, env=idle.environment, check=False)
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.startswith(b"facewatchd: cannot keep what is read: File too large; set TMPDIR to ")
    assert result.stderr.count(b"\n") == 1


def exported(daemon: Daemon) -> list[dict[str, Any]]:
    lines = daemon.control("export", "-", "--embeddings").stdout.splitlines()
    return [json.loads(line) for line in lines]


def without(lines: list[dict[str, Any]], at: int) -> list[dict[str, Any]]:
    return lines[:at] + lines[at + 1 :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], "its end is missing: it was cut off after line 7"),
        (lambda lines: without(lines, 2), "line 7: lines are missing"),
        (lambda lines: lines[1:], "line 1: there is no header"),
        (lambda lines: [*lines, lines[1]], "line 9: there is more after the end"),
        (lambda lines: [lines[0] | {"version": 7}, {"what": 1}, *lines[1:]], "line 1: the export has version 7"),
        (lambda lines: [*lines[:2], {"what": 1}, *lines[2:]], "line 3: it is no line of an export of facewatchd"),
        (lambda lines: [*lines[:3], lines[3] | {"width": -1}, *lines[4:]], "line 4: the width is no whole number"),
        (lambda lines: [*lines[:-2], lines[-2] | {"faces": [{}]}, lines[-1]], "line 7: an embedding is no base64"),
        (lambda lines: [], "it is empty"),
    ],
    ids=["cut", "missing", "headless", "more", "newer", "foreign", "wrong", "faceless", "empty"],
)
def test_a_file_that_is_wrong_is_refused_as_a_whole(idle: Daemon, tmp_path: Path, change: Any, message: str) -> None:
    lines = exported(idle)
    lines.insert(1, {"person": "Eve", "born": None, "hidden": False})
    lines[-1]["end"]["person"] = 1
    assert len(lines) == 8
    file = tmp_path / "x.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in change(lines)))
    result = idle.control("import", file)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith(f"facewatchd: {file}: {message}")
    assert idle.call("people")["people"] == []


@pytest.mark.parametrize(
    "data", [b"\0" * 100, b"\xff\xd8\xff\xe0", b"{}\n", b"\n\n"], ids=["zeros", "jpeg", "json", "blank"]
)
def test_what_is_no_export_is_named_as_such(idle: Daemon, tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "x"
    file.write_bytes(data)
    result = idle.control("import", file)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)


def test_a_place_that_cannot_be_read_or_written_is_named(idle: Daemon, tmp_path: Path) -> None:
    missing = idle.control("import", tmp_path / "missing")
    assert missing.returncode == 2
    assert missing.stderr.startswith(f"facewatchd: cannot read {tmp_path / 'missing'}: No such file")
    directory = idle.control("export", tmp_path)
    assert directory.returncode == 2
    assert idle.control("export", tmp_path / "no" / "x").returncode == 2
    assert not list(tmp_path.iterdir())
