"""Log lines: for people, and for the journal."""

from __future__ import annotations

import os
import re
import subprocess
import sys

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
