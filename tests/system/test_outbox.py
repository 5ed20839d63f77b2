"""What a daemon would send to a shared engine, over its socket; and what none of that changes without one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import signal
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facewatchd.client.connection import RemoteError
from facewatchd.errors import FacewatchError
from facewatchd.shared import wire
from facewatchd.shared.values import SharedContent
from tests.support.albums import album, shoot
from tests.support.processes import Daemon, until

Start = Callable[..., Daemon]

SHARED = 'url = "postgresql://nobody@127.0.0.1:1/none"\nname = "here"'
"""A shared engine that is not there: the daemon does not ask it."""


class Engine:
    """What an engine would hold of one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.rows: dict[bytes, SharedContent] = {}
        self.sent: list[bytes] = []

    def push(self, wait: float = 0.0) -> int:
        """Take what changed; return how much that was."""
        batch = wire.read_batch(self.daemon.call("outbox", wait=wait))
        token = secrets.token_hex(16)
        self.daemon.call("outbox_sending", lineage=token)
        for change in batch.changes:
            self.sent.append(change.content.digest)
            self.rows.pop(change.content.digest, None)
            if not change.content.is_gone:
                self.rows[change.content.digest] = change.content
        self.daemon.call("outbox_sent", seqs=[change.seq for change in batch.changes], lineage=token)
        return len(batch.changes)

    def level(self) -> set[str]:
        """Take everything; return the names of the photos that it knows."""
        while self.push():
            pass
        return {Path(path.decode()).name for content in self.rows.values() for path in content.paths}


def _names(daemon: Daemon) -> set[str]:
    """The photos with a face, as a query sees them."""
    return {Path(each["path"]).name for each in daemon.call("photos", state="indexed")["photos"]}


def test_the_engine_follows_the_disk_over_kills(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    kept, dropped = tmp_path / "kept", tmp_path / "dropped"
    album(kept, 3)
    album(dropped, 2, first_seed=20)
    (tmp_path / "shown").mkdir()
    shown = shoot(tmp_path / "shown" / "query.jpg", [3], seed=90)
    daemon = start(kept, dropped, model="tiny", model_root=tiny_root, shared=SHARED)
    daemon.settle()
    engine = Engine(daemon)
    machine = daemon.data / "machine"
    assert stat.S_IMODE(machine.stat().st_mode) == 0o600
    assert engine.level() == _names(daemon)
    # What the user says, and photos that are only shown, stay here.
    daemon.call("assign", name="Anna", who=[{"path": str(shown)}])
    daemon.call("assign", name="Anna", who=[{"path": str(kept / "0000.jpg")}])
    assert engine.push() == 0
    # A rename, a copy and a deletion, told while a request waits, and after a kill between push and note.
    (kept / "0001.jpg").rename(kept / "renamed.jpg")
    assert until(lambda: engine.push(wait=10.0))
    assert until(lambda: engine.level() == {"0000.jpg", "renamed.jpg", "0002.jpg", "0001.jpg"} or not daemon.settle())
    (kept / "0002.jpg").unlink()
    daemon.settle()
    before = wire.read_batch(daemon.call("outbox"))
    daemon.call("outbox_sending", lineage="ab" * 16)
    daemon.kill()
    daemon.start()
    again = wire.read_batch(daemon.call("outbox"))
    assert [change.seq for change in again.changes] == [change.seq for change in before.changes]
    assert (again.lineages[-1], again.machine) == ("ab" * 16, machine.read_text().strip())
    daemon.settle()
    assert "0002.jpg" not in engine.level()
    # A directory that is not configured any more.
    text = daemon.config.read_text()
    daemon.config.write_text(text.replace(json.dumps([str(kept), str(dropped)]), json.dumps([str(kept)])))
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: engine.level() and {Path(p.decode()).parent for c in engine.rows.values() for p in c.paths} == {kept})
    assert len(engine.rows) == 2
    digests = {digest.hex() for digest in engine.sent}
    assert daemon.call("query", photos=[{"path": str(shown)}], digests=True)["matches"] is not None
    assert _digest(shown) not in digests


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=32).hexdigest()


def test_what_is_indexed_already_is_sent_when_an_engine_is_configured(
    start: Start, tmp_path: Path, tiny_root: Path
) -> None:
    root = tmp_path / "photos"
    album(root, 4)
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()
    with pytest.raises(RemoteError, match="no shared engine is configured"):
        daemon.call("outbox")
    assert not (daemon.data / "machine").exists()
    assert _outbox(daemon) == []
    assert daemon.stop() == 0
    plain = daemon.config.read_text()
    daemon.config.write_text(f"{plain}[shared]\n{SHARED}\n")
    daemon.start()
    assert daemon.call("outbox")["backlog"] == 4
    engine = Engine(daemon)
    assert len(engine.level()) == 4
    assert daemon.embedded() == 0
    # Without it nothing is noted any more, and with it again everything is sent once more.
    assert daemon.stop() == 0
    daemon.config.write_text(plain)
    daemon.start()
    (root / "0000.jpg").unlink()
    daemon.settle()
    assert _outbox(daemon) == []
    assert daemon.stop() == 0
    daemon.config.write_text(f"{plain}[shared]\n{SHARED}\n")
    daemon.start()
    batch = daemon.call("outbox")
    assert (batch["lineages"], batch["backlog"]) == ([], 3)


def _outbox(daemon: Daemon) -> list[Any]:
    """What there is of an outbox in the catalog."""
    (path,) = daemon.data.glob("*/catalog.sqlite3")
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return [
            *db.execute("SELECT * FROM outbox"),
            *db.execute("SELECT * FROM meta WHERE key LIKE 'outbox%'"),
            *db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'"),
        ]


def test_a_daemon_stops_while_a_request_waits(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    album(root, 1)
    daemon = start(root, model="tiny", model_root=tiny_root, shared=SHARED)
    daemon.settle()
    engine = Engine(daemon)
    engine.level()
    thread = threading.Thread(target=lambda: _ask(daemon))
    thread.start()
    until(lambda: daemon.status())
    started = time.monotonic()
    assert daemon.stop() == 0
    thread.join(30.0)
    assert not thread.is_alive()
    assert time.monotonic() - started < 20
    assert "did not end in time" not in daemon.log.read_text()


def _ask(daemon: Daemon) -> None:
    with contextlib.suppress(FacewatchError):  # the daemon ends meanwhile
        daemon.call("outbox", wait=300)
