"""A daemon on a directory whose disk and rights come and go, and what is expected of it meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support import invariant
from tests.support.albums import shoot
from tests.support.mounting import obedient
from tests.support.processes import Daemon, until

NO_SECOND_LOOK = """
import sys
if "run" in sys.argv:
    from facewatchd.scan import schedule
    schedule.LOOK_AGAIN = 3600.0
"""
"""What comes back must be noticed by itself, not by the look after ten seconds."""

TICK = """
import sys
if "run" in sys.argv:
    from facewatchd.watch import watcher
    watcher.Watcher.__init__.__kwdefaults__["tick"] = 0.4
"""
"""What is mounted is looked at more often than every two seconds."""

QUICK = """
import sys
if "run" in sys.argv:
    from facewatchd.watch import watcher
    watcher.Watcher.__init__.__kwdefaults__["intervals"] = watcher.Intervals(poll=0.3, retry=1.0)
"""
"""Directories that are not watched are polled, and tried again, in a second, instead of fifteen and 300."""


class Place:
    """A daemon on the root "photos", which obeys permissions, and counts what it embeds."""

    def __init__(self, directory: Path, tiny_root: Path, *hooks: str) -> None:
        self.root = directory / "photos"
        self.root.mkdir(exist_ok=True)
        self.query = shoot(directory / "query.png", [1], 9999)
        self.daemon = Daemon(directory / "home", self.root, model="tiny", model_root=tiny_root)
        self.daemon.prefix = obedient()
        self.daemon.count_embeddings()
        for hook in (TICK, *hooks):
            self.daemon.hook(hook)

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self.daemon.__exit__()

    def start(self) -> None:
        self.daemon.start()
        self.daemon.call("wait", 65, timeout=60)

    def found(self) -> set[Path]:
        """Where person 1 is."""
        return self.daemon.paths(self.query)

    def complete(self) -> bool:
        """What an answer says of itself."""
        return bool(self.daemon.call("query", photos=[{"path": str(self.query)}])["complete"])

    def state(self) -> str:
        return str(self.daemon.status()["roots"][0]["state"])

    def problems(self) -> str:
        return "\n".join(self.daemon.status()["problems"])

    def expect_well(self) -> None:
        """Nothing is wrong any more, and answers are complete."""
        until(lambda: (self.state(), self.problems(), self.complete()) == ("watching", "", True))

    def expect_out_of_reach(self, *words: str) -> None:
        """The status says what is wrong, and no answer claims to be complete."""
        until(lambda: all(word in self.problems() for word in words))
        assert not self.complete()
        assert not self.daemon.call("wait", timeout=30)["complete"]
        assert all(word in self.problems() for word in words), "also after a walk"

    def expect_whole(self, *, again: int = 0) -> None:
        """The promise, but for so many contents that were embedded again. Ends the daemon."""
        self.expect_well()
        self.check(again=again)

    def check(self, *, again: int = 0) -> None:
        """The same, while there are problems."""
        invariant.check(self.daemon)
        counts = self.daemon.embeddings()
        asked = invariant.digest(self.query)
        assert asked
        counts.pop(asked.hex(), None)  # not for the index
        assert counts.total() - len(counts) == again


def unmount_when_idle(daemon: Daemon, unmount: Callable[[], bool]) -> None:
    """A plain umount works whenever nothing is to be done."""
    until(lambda: daemon.status()["state"] == "idle")
    until(unmount, deadline=20)
