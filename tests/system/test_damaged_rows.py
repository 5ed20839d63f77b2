"""Face rows that cannot be: left out of every answer, removed, and their photos are read again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.albums import shoot
from tests.support.damaged_rows import DAMAGES, damage
from tests.support.drawn_faces import embedding
from tests.support.invariant import catalog_of, check
from tests.support.processes import Daemon, until

QUICK = """
import sys
if "run" in sys.argv:
    from facewatchd.indexing import maintenance
    maintenance.LOOK_EVERY = 0.2
"""
PAUSED = """
if "run" in sys.argv:
    from facewatchd.scan.work_queue import WorkQueue
    WorkQueue._take_ready = lambda self, limit, now: ([], True)
"""


def library(root: Path) -> list[Path]:
    """A photo of two people for each damage, and one more."""
    return [shoot(root / f"{number}.jpg", [number + 1, beside(number)], 600) for number in range(len(DAMAGES) + 1)]


def beside(number: int) -> int:
    """The second person on a photo, who is on others too."""
    return 12 + number % 4


def damage_all(daemon: Daemon) -> None:
    """Damage one face on each photo but the last, each in another way."""
    catalog = catalog_of(daemon)
    for number, change in enumerate(DAMAGES.values()):
        damage(catalog, change, f"id = (SELECT max(id) FROM face WHERE content_id = {number + 1})")


def found(daemon: Daemon, person: int, **params: object) -> set[str]:
    answer = daemon.call("query", embedding=embedding(person).tolist(), top=0, **params)
    return {Path(match["path"]).name for match in answer["matches"]}


def expect_healed(daemon: Daemon, photos: list[Path]) -> None:
    def is_healed() -> bool:
        status = daemon.status()
        return (status["state"], status["faces"], status["problems"]) == ("idle", 2 * len(photos), [])

    until(is_healed)
    assert daemon.call("verify")["problems"] == []
    for number, path in enumerate(photos):
        assert found(daemon, number + 1) == {path.name}
        assert found(daemon, beside(number)) == {photos[at].name for at in range(number % 4, len(photos), 4)}
    check(daemon)


@pytest.fixture
def daemon(tmp_path: Path, tiny_root: Path) -> Iterator[Daemon]:
    """One whose maintenance looks more often, on a directory that is still empty."""
    (tmp_path / "photos").mkdir()
    daemon = Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root)
    daemon.hook(QUICK)
    with daemon:
        yield daemon


@pytest.mark.parametrize("index", ["kept", "lost"])
def test_a_daemon_that_starts_with_damaged_rows_answers_and_heals(daemon: Daemon, index: str) -> None:
    photos = library(daemon.roots[0])
    daemon.start()
    daemon.settle()
    assert daemon.stop() == 0
    damage_all(daemon)
    if index == "lost":
        for path in daemon.data.glob("*/index.*"):
            path.unlink()
    daemon.hook(PAUSED)
    daemon.start()
    until(lambda: daemon.status()["index"]["ready"])
    assert found(daemon, len(photos), exact=True) == {photos[-1].name}
    (listed, _) = daemon.call("query", photos=[{"path": str(photos[0])}], face="all")["query"]
    assert listed["faces"] == 2, "what the catalog lacks, the model sees"
    until(lambda: "damaged in the catalog" in daemon.log.read_text())
    daemon.kill()  # before any photo was read again
    daemon.unhook()
    daemon.start()
    expect_healed(daemon, photos)


def test_rows_that_are_damaged_while_it_runs(daemon: Daemon) -> None:
    photos = library(daemon.roots[0])
    daemon.start()
    daemon.settle()
    damage_all(daemon)
    assert found(daemon, len(photos), exact=True) == {photos[-1].name}
    listed = daemon.call("query", photos=[{"path": str(photo)} for photo in photos], face="all")
    assert [entry["faces"] for entry in listed["query"]] == [2] * (2 * len(photos)), "each row is read"
    expect_healed(daemon, photos)


def test_photos_on_a_disk_that_is_away_heal_when_it_is_back(daemon: Daemon, tmp_path: Path) -> None:
    (root,), away = daemon.roots, tmp_path / "away"
    photos = library(root)
    daemon.start()
    daemon.settle()
    assert daemon.stop() == 0
    damage_all(daemon)
    root.rename(away)
    root.mkdir()
    daemon.start()
    until(lambda: "damaged in the catalog" in daemon.log.read_text())
    assert found(daemon, 1) == {photos[0].name}, "the other face on it"
    root.rmdir()
    away.rename(root)
    daemon.call("scan")
    expect_healed(daemon, photos)
