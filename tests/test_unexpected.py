"""An error that was not foreseen, in a worker: the photo is tried again, then it has failed; status and why say so."""

from __future__ import annotations

import shutil
from pathlib import Path

import invariant
from albums import album, shoot
from processes import Daemon, until

RAISES = """
import os, sys
if "run" in sys.argv:
    from facewatchd import indexer
    indexer.TRIES
    indexer.TRIES = {tries}
    def odd(self, key, item, stamp=None, claim=indexer.Claims.claim):
        if item.path.endswith(b"bad.jpg") and os.path.exists({gate!r}):
            raise KeyError("odd")
        return claim(self, key, item, stamp)
    indexer.Claims.claim = odd
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


def prepared(tmp_path: Path, tiny_root: Path, *, tries: int) -> tuple[Daemon, Path, Path]:
    root, gate = tmp_path / "photos", tmp_path / "gate"
    album(root, 3)
    gate.touch()
    bad = shoot(root / "bad.jpg", [1], 600)
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    daemon.hook(RAISES.format(gate=str(gate), tries=tries))
    return daemon, bad, gate
