"""SIGHUP: the configuration is read again, and what can count at once does."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.albums import album
from tests.support.processes import Daemon, until
from tests.support.terminals import Terminal

Start = Callable[..., Daemon]


def _reload(daemon: Daemon, **top: object) -> str:
    """Give the configuration other keys at its top, send SIGHUP, and return what was logged of it."""
    tables = daemon.config.read_text().partition("\n[")[2]
    keys = {"directories": [], "model": "tiny", "model_root": str(daemon.home.parent)}
    lines = [f"{key} = {json.dumps(value, default=str)}" for key, value in (keys | top).items()]
    daemon.config.write_text("\n".join(lines) + f"\n[{tables}")
    return _hang_up(daemon)


def _hang_up(daemon: Daemon) -> str:
    before = len(daemon.log.read_text())
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)

    def said() -> str:
        text = daemon.log.read_text()[before:]
        return text if "the configuration" in text else ""

    return until(said)


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Three directories of photos, none of them like another."""
    directories = tmp_path / "one", tmp_path / "two", tmp_path / "three"
    for number, directory in enumerate(directories):
        album(directory, 3, first_seed=10 * number)
    return directories


def _photos(daemon: Daemon) -> dict[str, int]:
    return {Path(root["path"]).name: root["photos"] for root in daemon.status()["roots"]}


def test_directories_come_and_go(start: Start, places: tuple[Path, Path, Path], tiny_root: Path) -> None:
    one, two, three = places
    daemon = start(one, two, model="tiny", model_root=tiny_root)
    assert daemon.settle()["photos"] == 6
    embedded = daemon.embedded()
    assert "1 directory" not in _reload(daemon, directories=[two, three], model_root=tiny_root)
    assert daemon.settle()["photos"] == 6
    assert _photos(daemon) == {"two": 3, "three": 3}
    assert daemon.embedded() == embedded + 3, "only what is new"
    gone = next(one.iterdir())
    assert daemon.call("why", path=str(gone))["state"] == "unknown"
    assert not {path for path in daemon.paths(gone) if one in path.parents}
    # What is added is followed, what went is not.
    album(three / "later", 1, first_seed=50)
    album(one / "later", 1, first_seed=51)
    until(lambda: daemon.status()["photos"] == 7)
    assert daemon.settle()["photos"] == 7
    # Back again, and nothing is embedded twice.
    embedded = daemon.embedded()
    _reload(daemon, directories=[one, two, three], model_root=tiny_root)
    until(lambda: daemon.settle()["photos"] == 11)
    assert daemon.embedded() == embedded + 1
    # The next start finds what it left.
    assert daemon.stop() == 0
    daemon.start()
    assert daemon.settle()["photos"] == 11
    assert daemon.embedded() == 0


def test_a_directory_above_takes_the_place_of_one_below(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    album(tmp_path / "all" / "below", 3)
    album(tmp_path / "all" / "beside", 2, first_seed=20)
    daemon = start(tmp_path / "all" / "below", model="tiny", model_root=tiny_root)
    assert daemon.settle()["photos"] == 3
    embedded = daemon.embedded()
    _reload(daemon, directories=[tmp_path / "all"], model_root=tiny_root)
    until(lambda: daemon.settle()["photos"] == 5)
    assert daemon.embedded() == embedded + 2
    album(tmp_path / "all" / "below" / "later", 1, first_seed=30)
    until(lambda: daemon.status()["photos"] == 6)


def test_exclusions_and_defaults_of_queries(start: Start, places: tuple[Path, Path, Path], tiny_root: Path) -> None:
    one, _, _ = places
    album(one / "raw", 2, first_seed=40)
    daemon = start(one, model="tiny", model_root=tiny_root, query="top = 1")
    assert daemon.settle()["photos"] == 5
    photo = next(path for path in one.iterdir() if path.is_file())
    ask = {"photos": [{"path": str(photo)}], "threshold": -1}
    assert len(daemon.call("query", **ask)["matches"]) == 1
    daemon.config.write_text(daemon.config.read_text().replace("top = 1", "top = 2"))
    _reload(daemon, directories=[one], exclude=["raw/"], model_root=tiny_root)
    until(lambda: daemon.settle()["photos"] == 3)
    assert len(daemon.call("query", **ask)["matches"]) == 2
    _reload(daemon, directories=[one], model_root=tiny_root)
    until(lambda: daemon.settle()["photos"] == 5)


def test_photos_in_a_bin_that_an_earlier_version_indexed_are_let_go_of(
    tmp_path: Path, places: tuple[Path, Path, Path], tiny_root: Path
) -> None:
    one, _, _ = places
    album(one / "@eaDir" / "a.jpg", 2, first_seed=40)
    (one / "new.jpg.crdownload").write_bytes(next(one.glob("*.jpg")).read_bytes())
    with Daemon(tmp_path / "home", one, model="tiny", model_root=tiny_root) as daemon:
        daemon.hook("from facewatchd import ignore as exclude\nexclude._DIRECTORIES = {}\n")
        daemon.start()
        assert daemon.settle()["photos"] == 5
        daemon.stop()
        daemon.unhook()
        daemon.start()
        assert daemon.settle()["photos"] == 3
        assert daemon.call("verify")["problems"] == []
        thumbnail = next((one / "@eaDir" / "a.jpg").iterdir())
        thumbnail.rename(thumbnail.with_name("renamed.jpg"))
        assert daemon.settle()["photos"] == 3
        told = daemon.call("why", path=str(thumbnail.with_name("renamed.jpg")))
        assert told["state"] == "excluded"
        assert "in @eaDir/: thumbnails" in told["reason"]
        assert daemon.call("why", path=str(one / "new.jpg.crdownload"))["state"] == "excluded"


def test_what_waits_for_a_restart_is_said(start: Start, places: tuple[Path, Path, Path], tiny_root: Path) -> None:
    daemon = start(places[0], model="tiny", model_root=tiny_root, faces="min_size = 50")
    text = daemon.config.read_text()
    text = text.replace("idle_priority = false", "idle_priority = false\nthreads = 1\nunload_after = 9")
    daemon.config.write_text(text.replace("min_size = 50", "min_size = 60"))
    said = _hang_up(daemon)
    until(lambda: "`resources.threads` changed: that counts when the daemon is started again" in daemon.log.read_text())
    assert "`faces.min_size` changed" in daemon.log.read_text()
    assert "unload_after" not in daemon.log.read_text()
    assert "read again: 1 directory" in said


def test_a_shared_engine_waits_for_a_restart(start: Start, places: tuple[Path, Path, Path], tiny_root: Path) -> None:
    daemon = start(places[0], model="tiny", model_root=tiny_root)
    without = daemon.config.read_text()
    daemon.config.write_text(f"{without}\n[shared]\nurl = 'postgresql://localhost/f'\n")
    _hang_up(daemon)
    until(lambda: "`shared` changed: that counts when the daemon is started again" in daemon.log.read_text())
    assert "shared" not in daemon.status()
    daemon.config.write_text(f"{without}\n[shared]\nurl = 'postgresql://nas.lan/f?sslmode=require'\n")
    assert "leads to nas.lan with sslmode=require" in _hang_up(daemon)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("directories = [", "is not valid TOML"),
        ("directories = []", "no directory to watch"),
        ('directories = ["/nowhere/at/all"]', "there is no directory /nowhere/at/all"),
        ('directory = ["/tmp"]', "unknown key `directory`"),
    ],
)
def test_a_wrong_configuration_changes_nothing(
    start: Start, places: tuple[Path, Path, Path], tiny_root: Path, broken: str, message: str
) -> None:
    daemon = start(places[0], model="tiny", model_root=tiny_root)
    daemon.settle()
    right = daemon.config.read_text()
    daemon.config.write_text(broken)
    said = _hang_up(daemon)
    assert said.startswith("facewatchd: the configuration was not taken over: ")
    assert message in said
    lines = [
        line for line in said.splitlines() if not line.startswith("facewatchd: idle: ")
    ]  # what a first import says
    assert len(lines) == 1
    assert _photos(daemon) == {"one": 3}
    daemon.config.write_text(right)
    assert "read again" in _hang_up(daemon)


def test_the_threshold_that_counts_is_told(start: Start, places: tuple[Path, Path, Path], tiny_root: Path) -> None:
    """By `status`, also after a reload; one that is for no model changes nothing."""
    daemon = start(places[0], model="tiny", model_root=tiny_root, query="threshold = 0.75")
    assert daemon.status()["model"]["threshold"] == 0.75
    assert "a match from 0.75" in daemon.control("status").stdout
    right = daemon.config.read_text()
    daemon.config.write_text(right.replace("0.75", "-1").replace('model = "tiny"', 'model = "auto"'))
    said = _hang_up(daemon)
    assert "`query.threshold`" in said
    assert daemon.status()["model"]["threshold"] == 0.75
    daemon.config.write_text(right.replace("0.75", "0.8"))
    assert "read again" in _hang_up(daemon)
    assert daemon.status()["model"]["threshold"] == 0.8
    photo = str(next(places[0].iterdir()))
    assert daemon.call("query", photos=[{"path": photo}])["threshold"] == 0.8
    daemon.config.write_text(right.replace("threshold = 0.75", ""))
    assert "read again" in _hang_up(daemon)
    assert daemon.status()["model"]["threshold"] == daemon.call("query", photos=[{"path": photo}])["threshold"] != 0.8


def test_directories_of_the_command_line_stay(tmp_path: Path, tiny_root: Path, places: tuple[Path, Path, Path]) -> None:
    """Relative ones too, although the daemon leaves the directory it was started in."""
    daemon = Daemon(tmp_path / "home", places[0], model="tiny", model_root=tiny_root)
    with daemon, daemon.log.open("ab") as log:
        command = [*daemon.command, "two"]
        daemon.process = subprocess.Popen(command, stdout=log, stderr=log, env=daemon.environment, cwd=tmp_path)
        until(lambda: daemon.status()["photos"] == 3)
        assert "changed" not in _hang_up(daemon)
        assert _photos(daemon) == {"two": 3}
        assert daemon.stop() == 0


def test_a_terminal_that_goes_ends_the_daemon(tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    album(root, 3)
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    with Terminal(daemon.command) as terminal:
        terminal.until(rb"listening on [^\r\n]*\r\n")
        terminal.process.send_signal(signal.SIGHUP)
        assert terminal.close() == 0
