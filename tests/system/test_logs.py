"""Log lines: for people, and for the journal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.albums import album
from tests.support.processes import Daemon, until

SPEAK = """
import logging, sys
from facewatchd.console import logs
logs.to_stderr(int(sys.argv[1]))
log = logging.getLogger("facewatchd.indexing.workers")
log.debug("a"), log.info("b"), log.warning("c"), log.error("d\\nof two lines"), log.critical("e")
logging.getLogger("foreign").info("f")
"""


def _spoken(level: int, *, journal: bool) -> list[str]:
    read, write = os.pipe()
    status = os.fstat(write)
    stream = f"{status.st_dev}:{status.st_ino}" if journal else "1:2"
    environment = os.environ | {"JOURNAL_STREAM": stream}
    with os.fdopen(read) as told:
        subprocess.run([sys.executable, "-c", SPEAK, str(level)], stderr=write, env=environment, check=True)
        os.close(write)
        return told.read().splitlines()


def test_people_read_the_programs_name() -> None:
    assert _spoken(20, journal=False) == [
        *("facewatchd: b", "facewatchd: c", "facewatchd: d", "of two lines", "facewatchd: e"),
    ]


def test_the_journal_reads_levels_and_keeps_names_and_times_itself() -> None:
    assert _spoken(20, journal=True) == ["<6>b", "<4>c", "<3>d", "<3>of two lines", "<2>e"]


def test_debugging_says_where_and_when() -> None:
    (first, *_) = _spoken(10, journal=False)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ MainThread DEBUG facewatchd.indexing.workers: a", first)
    assert _spoken(10, journal=True)[0] == "<7>MainThread facewatchd.indexing.workers: a"


@pytest.fixture
def daemon(tmp_path: Path, tiny_root: Path) -> Iterator[Daemon]:
    album(tmp_path / "photos", 5)
    with Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root) as daemon:
        yield daemon


def test_photos_are_named_only_if_something_is_wrong_with_them(daemon: Daemon) -> None:
    """Whatever happens to them: found, asked for, renamed, copied, deleted, embedded again."""
    (root,) = daemon.roots
    daemon.start()
    daemon.settle()
    photos = sorted(root.iterdir())
    daemon.query(photos[0], "--list-faces")
    daemon.query(photos[1])
    photos[2].rename(root / "renamed.jpg")
    (root / "copy.jpg").write_bytes(photos[0].read_bytes())
    (root / "broken.jpg").write_bytes(photos[0].read_bytes()[:1000])
    photos[3].unlink()
    daemon.call("scan", force=True)
    daemon.settle()
    assert daemon.stop() == 0
    named = set(re.findall(r"[\w.]+\.jpg", daemon.log.read_text()))
    assert named == {"broken.jpg"}


def test_what_ends_the_start_has_a_level_too(daemon: Daemon) -> None:
    daemon.start()
    read, write = os.pipe()
    status = os.fstat(write)
    environment = daemon.environment | {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    with os.fdopen(read) as told:
        second = subprocess.run(daemon.command, stderr=write, env=environment, check=False)
        os.close(write)
        assert second.returncode == 3
        (line,) = told.read().splitlines()
    assert line.startswith("<3>another daemon holds ")
    until(daemon.status)
