"""kill -9 at bad moments: the next start goes on, what was committed is not embedded again, and all is level."""

from __future__ import annotations

import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.support import invariant
from tests.support.albums import album, shoot
from tests.support.library import committed, embeddings
from tests.support.prober import Prober
from tests.support.processes import Daemon, fill, small_disk, until

Start = Callable[..., Daemon]
Moment = Callable[[Daemon, random.Random, int], None]


def expect_whole(daemon: Daemon, who: dict[Path, int]) -> None:
    """Every photo is searchable, and catalog, index and disk agree. The daemon is stopped then."""
    daemon.settle(120)
    photo, person = next(iter(who.items()))
    assert daemon.paths(photo) >= {path for path, other in who.items() if other == person}
    invariant.check(daemon)


# A hundred kills


def test_killed_a_hundred_times_in_an_import(
    tmp_path: Path, tiny_root: Path, amount: Callable[[int, int], int], chance: random.Random
) -> None:
    kills, count = amount(8, 100), amount(300, 1000)
    who = scattered_album(tmp_path / "photos", count)
    daemon = Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root)
    daemon.count_embeddings()
    daemon.hook(FREQUENT_CHECKPOINTS)
    moments = [MOMENTS[number % len(MOMENTS)] for number in range(kills)]
    chance.shuffle(moments)
    once_committed: dict[str, int] = {}
    with daemon, Prober(daemon, next(iter(who))) as prober:
        for moment in moments:
            daemon.launch()
            moment(daemon, chance, max(2, 2 * count // kills))
            daemon.kill()
            counts = embeddings(daemon)
            for digest in committed_in(daemon.data.glob("*/catalog.sqlite3")):
                once_committed.setdefault(digest, counts[digest])
            expect_no_more(once_committed, counts)
        daemon.start()
        expect_whole(daemon, who)
    expect_no_more(once_committed, embeddings(daemon))
    prober.expect(answers=kills // 2)


FREQUENT_CHECKPOINTS = """
import sys
if "run" in sys.argv:
    from facewatchd.indexing import maintenance
    from facewatchd.store import schedule
    schedule.CHANGES, schedule.REST, maintenance.LOOK_EVERY = 10, 0, 0.1
"""


def scattered_album(root: Path, count: int) -> dict[Path, int]:
    """Photos in several directories; every tenth has the bytes of another."""
    who: dict[Path, int] = {}
    for n in range(count):
        path, person = root / f"{n % 7}" / f"{n:04d}.jpg", 1 + n % 10
        if n % 10 == 9:
            shutil.copy(root / f"{(n - 1) % 7}" / f"{n - 1:04d}.jpg", path)
            person = 1 + (n - 1) % 10
        else:
            shoot(path, [person], n)
        who[path] = person
    return who


def committed_in(catalogs: Iterable[Path]) -> set[str]:
    return {digest for catalog in catalogs for digest in committed(catalog.parent)}


def expect_no_more(once_committed: dict[str, int], counts: dict[str, int]) -> None:
    """What was in the catalog at a kill was not embedded since."""
    again = [digest for digest, count in once_committed.items() if counts[digest] != count]
    assert not again, f"{len(again)} contents that were committed were embedded again"


def listening(daemon: Daemon) -> None:
    until(lambda: daemon.call("status"), every=0.01)


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def in_start_up(_: Daemon, chance: random.Random, __: int) -> None:
    pause(chance.uniform(0, 1))


def in_walk(daemon: Daemon, chance: random.Random, _: int) -> None:
    listening(daemon)
    pause(chance.uniform(0, 0.1))


def in_import(daemon: Daemon, chance: random.Random, most: int) -> None:
    """When some photos went through the model, fewer than ``most``."""
    listening(daemon)
    wanted = chance.randrange(1, most)
    until(lambda: daemon.embedded() >= wanted or daemon.status()["state"] == "idle", every=0.002)
    pause(chance.uniform(0, 0.02))


def in_checkpoint(daemon: Daemon, chance: random.Random, _: int) -> None:
    """Shortly after an index was begun to be written; one of those that the last kills left does not count."""
    before = time.time_ns()

    def begun() -> bool:
        return any(path.stat().st_mtime_ns > before for path in daemon.data.glob("*/index.*.new"))

    listening(daemon)
    until(lambda: begun() or daemon.status()["state"] == "idle", every=0.001)
    pause(chance.uniform(0, 0.01))


MOMENTS: list[Moment] = [in_start_up, in_walk, in_import, in_checkpoint]


# Ends and dead ends


def test_sigterm_in_an_import_ends_cleanly_and_soon(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    who = album(root, 300)
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    daemon.count_embeddings()
    with daemon, Prober(daemon, next(iter(who))) as prober:
        daemon.start()
        until(lambda: daemon.status()["photos"] >= 20, every=0.01)
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(5) == 0
        assert len(committed_in(daemon.data.glob("*/catalog.sqlite3"))) < 300, "it ended in the middle"
        daemon.start()
        expect_whole(daemon, who)
    prober.expect()
    invariant.check_embedded_once(daemon)


def test_queries_do_not_wait_for_the_backlog(tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    who = album(root, 300)
    with Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root) as daemon:
        with Prober(daemon, next(iter(who))) as prober:
            daemon.start()
            until(lambda: daemon.status()["photos"] >= 20, every=0.01)
            live = shoot(root / "live.jpg", [3], 9999)
            until(lambda: daemon.call("why", path=str(live))["state"] == "indexed")
            assert daemon.status()["pending"] > 0, "what is new goes first"
        prober.expect(answers=3)
        assert prober.incomplete == prober.answers, "it was not all there yet, and the answers say so"
        expect_whole(daemon, {**who, live: 3})


def test_on_a_full_disk_it_ends_soon_and_starts_again(tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    who = album(root, 60)
    with small_disk(tmp_path / "disk") as disk:
        daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
        daemon.data = disk / "data"
        with daemon:
            daemon.start()
            daemon.settle()
            fill(disk / "filler")
            more = album(root / "more", 150, first_seed=1000)
            until(lambda: daemon.status()["state"] == "degraded")
            assert daemon.process is not None
            daemon.process.send_signal(signal.SIGTERM)
            assert daemon.process.wait(8) == 0
            daemon.start()
            photo, person = next(iter(who.items()))
            assert daemon.paths(photo) >= {path for path, other in who.items() if other == person}
            assert daemon.stop() == 0
            (disk / "filler").unlink()
            daemon.start()
            expect_whole(daemon, who | more)
