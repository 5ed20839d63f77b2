"""An error that was not foreseen, in a worker: the photo is tried again, then it has failed; status and why say so."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support import invariant
from tests.support.albums import album, shoot
from tests.support.processes import DEADLINE, Daemon, until

RAISES = """
import os, sys
if "run" in sys.argv:
    from facewatchd.indexing import backoff, in_flight
    backoff.TRIES
    backoff.TRIES = {tries}
    def odd(self, key, item, stamp=None, claim=in_flight.InFlight.claim):
        if item.path.endswith(b"bad.jpg") and os.path.exists({gate!r}):
            raise KeyError("odd")
        return claim(self, key, item, stamp)
    in_flight.InFlight.claim = odd
"""
"""Claiming the digest of one photo fails for as long as a file is there."""


def test_it_has_failed_in_the_end_and_why_and_status_say_so(tmp_path: Path, tiny_root: Path) -> None:
    daemon, bad, gate = prepared(tmp_path, tiny_root, tries=2)
    with daemon:
        daemon.start()
        status = daemon.settle()
        assert (status["failed"], status["pending"], status["state"]) == (1, 0, "idle")
        why = daemon.call("why", path=str(bad))
        assert (why["state"], why["reason"].partition(";")[0]) == ("failed", "internal error: 'odd'")
        log = daemon.log.read_text()
        assert log.count("Traceback") == 1, "once, and not at each try"
        gate.unlink()
        shutil.copy(bad, bad.with_name("copy.jpg"))
        status = daemon.settle()
        assert (status["photos"], status["failed"]) == (5, 1), "the same bytes under another name are read"


def test_until_then_it_is_pending_and_may_still_succeed(tmp_path: Path, tiny_root: Path) -> None:
    daemon, bad, gate = prepared(tmp_path, tiny_root, tries=100)
    with daemon:
        daemon.start()
        until(lambda: "unexpected error" in daemon.log.read_text())
        assert daemon.call("why", path=str(bad))["state"] == "pending"
        status = daemon.status()
        assert (status["failed"], status["pending"] > 0) == (0, True)
        gate.unlink()
        until(lambda: daemon.call("why", path=str(bad))["state"] == "indexed")
        invariant.check_catalog(daemon)


SLOW_ANSWER = """
import os, sys, time
if "run" in sys.argv:
    from facewatchd.api import photos
    def late(self, path, *rest, explain=photos.Photos._explain, **named):
        open({asked!r}, "x").close()
        end = time.monotonic() + 60
        while path in self._queue and time.monotonic() < end:
            time.sleep(0.01)
        return explain(self, path, *rest, **named)
    photos.Photos._explain = late
"""
"""Of the first question after one file, the answer is made once that is no longer waiting."""


def test_what_is_recorded_while_it_is_asked_after_is_not_unknown(tmp_path: Path, tiny_root: Path) -> None:
    root, asked = tmp_path / "photos", tmp_path / "asked"
    album(root, 1)
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    daemon.hook(SLOW_ANSWER.format(asked=str(asked)))
    with daemon, ThreadPoolExecutor(1) as pool:
        daemon.start()
        daemon.settle()
        daemon.call("pause")
        new = shoot(root / "new.jpg", [1], 601)
        until(lambda: daemon.status()["pending"] == 1)
        answer = pool.submit(daemon.call, "why", path=str(new))
        until(asked.exists)
        daemon.call("resume")
        assert answer.result(DEADLINE)["state"] == "pending"
        assert daemon.settle()["photos"] == 2


def prepared(tmp_path: Path, tiny_root: Path, *, tries: int) -> tuple[Daemon, Path, Path]:
    root, gate = tmp_path / "photos", tmp_path / "gate"
    album(root, 3)
    gate.touch()
    bad = shoot(root / "bad.jpg", [1], 600)
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    daemon.hook(RAISES.format(gate=str(gate), tries=tries))
    return daemon, bad, gate
