"""A subscriber knows which photos there are, whatever is done to the files, to the daemon and to its connection."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.support.albums import shoot
from tests.support.churn import ALIKE, Churner
from tests.support.processes import Daemon, until
from tests.support.subscribers import Subscriber

PERSON = 3
OTHERS = [1, 2, 4]


class Client:
    """A client that keeps its cursor and what it knows, and is cut off now and then."""

    def __init__(self, daemon: Daemon, query: Path, luck: random.Random) -> None:
        self._daemon = daemon
        self._luck = luck
        self._params = {"photos": [{"path": str(query)}], "threshold": ALIKE}
        self._known: set[str] = set()
        self._cursor: str | None = None
        self._subscriber = self._begun()
        self.came_back = 0

    def _begun(self) -> Subscriber:
        return Subscriber(self._daemon.socket, since=self._cursor, known=self._known, **self._params)

    def cut_off(self) -> None:
        """Hang up, and come back with what was kept, perhaps in the middle of a page."""
        for _ in range(self._luck.randrange(4)):
            if self._subscriber.waits(0.2):
                self._subscriber.next()
        self._cursor = self._subscriber.cursor
        self._subscriber.__exit__()
        self._subscriber = until(self._begun)
        assert self._subscriber.resumed
        self.came_back += 1

    def knows(self) -> set[str]:
        """What it knows once it was sent all that there is."""
        while self._subscriber.waits(1.0):
            assert self._subscriber.next() is not None
        return self._known

    def close(self) -> None:
        self._subscriber.__exit__()


def contents(paths: Iterable[Path | str]) -> set[bytes]:
    return {hashlib.blake2b(Path(path).read_bytes()).digest() for path in paths}


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.full), pytest.param(3, marks=pytest.mark.full)])
def test_nothing_is_missed_while_files_churn_and_both_ends_die(
    start: Callable[..., Daemon], tmp_path: Path, tiny_root: Path, amount: Callable[[int, int], int], seed: int
) -> None:
    root, luck = tmp_path / "photos", random.Random(seed)
    churner = Churner(1, [root], tmp_path / "outside", [PERSON, *OTHERS], seed)
    query = shoot(tmp_path / "query.jpg", [PERSON], 999_999)
    daemon = start(root, model="tiny", model_root=tiny_root)
    client = Client(daemon, query, luck)
    parts = amount(6, 12)
    restarts = luck.sample(range(1, parts), amount(2, 3))
    for part in range(parts):
        for _ in range(amount(20, 300)):
            churner.step()
        if part in restarts:
            daemon.kill() if luck.random() < 0.5 else daemon.stop()
            for _ in range(5):
                churner.step()
            daemon.start()
            client.cut_off()
        elif luck.random() < 0.6:
            client.cut_off()
        if part == parts // 2:
            daemon.call("scan", paths=[str(root)], force=True)
    churner.complete()
    daemon.settle()
    there = churner.photos_of(PERSON)
    until(lambda: client.knows() <= set(map(str, there)) and contents(client.knows()) == contents(there))
    assert client.came_back >= len(restarts)
    client.close()
