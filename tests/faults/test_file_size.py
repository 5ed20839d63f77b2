"""A limit on the size of files that the daemon may write (`ulimit -f`): no photo is blamed for it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from facewatchd.client.connection import RemoteError
from tests.support import invariant
from tests.support.albums import album, shoot
from tests.support.processes import Daemon, until

BYTES = 1 << 20
LIMITED = ("bash", "-c", f'ulimit -f {BYTES >> 10} && exec "$@"', "bash")
"""What runs a command that may write so many bytes into a file, and into a file in memory."""
QUICK = """
import sys
if "run" in sys.argv:
    from facewatchd.indexing import backoff, workers as indexer, writer
    writer.RETRY, indexer.STORAGE_RETRY = 0.2, 0.2
    backoff.DELAYS = (0.1, 0.2)
"""


def test_no_photo_is_blamed_for_a_limit_on_the_size_of_files(tmp_path: Path, tiny_root: Path) -> None:
    """Large photos are handed on, until the catalog has reached the limit; without it the rest is done."""
    root = tmp_path / "photos"
    large = [shoot(root / f"large {number}.jpg", [1], number) for number in range(2)]
    for photo in large:
        with photo.open("ab") as file:
            file.write(bytes(2 * BYTES))
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    daemon.hook(QUICK)
    daemon.prefix = LIMITED
    with daemon:
        daemon.start()
        until(lambda: daemon.paths(large[0]) == set(large))
        expect_said_and_not_blamed(daemon, large[0])
        more = album(root / "more", 60, first_seed=100)
        until(lambda: "raise `ulimit -f`, which is 1024 kB now" in str(daemon.status()["problems"]))
        states = [daemon.call("why", path=str(path))["state"] for path in more]
        assert set(states) <= {"pending", "indexed"}
        assert "pending" in states
        assert daemon.status()["failed"] == 0
        assert daemon.paths(large[0]) >= set(large), "questions are answered"
        with pytest.raises(RemoteError, match="ulimit -f"):  # at once: its faces cannot be recorded
            daemon.call("assign", name="Anna", who=[{"path": str(daemon.home / "small.jpg")}])
        assert daemon.stop() == 0
        assert not (daemon.data / "reserve").exists(), "what cannot be had is not taken for had"
        daemon.prefix = ()
        daemon.start()
        until(lambda: (daemon.data / "reserve").stat().st_size)
        invariant.check(daemon)


def expect_said_and_not_blamed(daemon: Daemon, photo: Path) -> None:
    """A photo that is sent as bytes cannot be handed on: that is said, and no other is hindered."""
    sent = base64.b64encode(photo.read_bytes() + b"\0").decode()
    with pytest.raises(RemoteError, match="File too large") as caught:
        daemon.call("query", photos=[{"data": sent}])
    assert (caught.value.kind, caught.value.hint) == ("not-ready", "raise `ulimit -f`")
    small = shoot(daemon.home / "small.jpg", [1], 9)
    assert daemon.paths(small) >= {photo}
