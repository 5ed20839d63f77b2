"""Symbolic links whose targets appear, change and go: what the link shows is followed, or said not to be known."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.albums import album, shoot
from tests.support.places import Place
from tests.support.processes import until

OFTEN = """
import sys
if "run" in sys.argv:
    from facewatchd.scan import schedule
    schedule.LINKS_EVERY = 0.3
"""


@pytest.fixture
def place(tmp_path: Path, tiny_root: Path) -> Iterator[Place]:
    with Place(tmp_path, tiny_root, OFTEN) as place:
        album(place.root / "own", 2, people=1, first_seed=5000)
        yield place


def own(place: Place) -> set[Path]:
    return set((place.root / "own").glob("*.jpg"))


class Annex:
    """A repository of git-annex, as far as files go: photos are links to contents in a hidden directory."""

    def __init__(self, place: Place) -> None:
        self._objects = place.root / ".git" / "annex" / "objects"
        self._place = place

    def add(self, name: str, key: str) -> Path:
        """A link, whose content is not here."""
        link = self._place.root / "album" / name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(os.path.relpath(self._content(key), link.parent))
        return link

    def get(self, key: str, persons: list[int], seed: int) -> None:
        """Bring the content: into a new directory, by a rename, and read only at the end."""
        fetched = shoot(self._place.root / ".git" / "annex" / "tmp" / f"{key}.jpg", persons, seed)
        content = self._content(key)
        content.parent.mkdir(parents=True, exist_ok=True)
        fetched.rename(content)
        content.chmod(0o444)
        content.parent.chmod(0o555)

    def drop(self, key: str) -> None:
        content = self._content(key)
        content.parent.chmod(0o755)
        content.unlink()
        content.parent.rmdir()
        content.parent.parent.rmdir()

    def _content(self, key: str) -> Path:
        return self._objects / key[:2] / key / key


def test_contents_that_are_brought_and_dropped_are_followed(place: Place) -> None:
    annex = Annex(place)
    links = [annex.add(f"{n}.jpg", f"K{n}-sha256") for n in range(4)]
    annex.get("K0-sha256", [1], 100)
    place.start()
    assert place.found() == own(place) | {links[0]}
    place.expect_well()
    annex.get("K1-sha256", [1], 101)
    until(lambda: place.found() == own(place) | {links[0], links[1]})
    annex.drop("K0-sha256")
    until(lambda: place.found() == own(place) | {links[1]})
    assert place.daemon.call("why", path=str(links[0]))["state"] == "unknown"
    annex.get("K0-sha256", [1], 100)
    later = annex.add("later.jpg", "L9-sha256")
    annex.get("L9-sha256", [1], 104)
    again = annex.add("again.jpg", "L9-sha256")
    until(lambda: place.found() == own(place) | {links[0], links[1], later, again})
    place.expect_whole()


def test_a_link_is_followed_through_others(place: Place) -> None:
    """A directory on the way is exchanged, and a link in between is set anew."""
    shoot(place.root / "2023" / "a.jpg", [2], 100)
    shoot(place.root / "2024" / "a.jpg", [1], 101)
    (place.root / "current").symlink_to("2023")
    (place.root / "between.jpg").symlink_to("current/a.jpg")
    (place.root / "first.jpg").symlink_to("between.jpg")
    place.start()
    there = own(place) | {place.root / "2024" / "a.jpg"}
    assert place.found() == there
    _set_anew(place.root / "current", "2024")
    until(lambda: place.found() == there | {place.root / "between.jpg", place.root / "first.jpg"})
    _set_anew(place.root / "between.jpg", "2023/a.jpg")
    until(lambda: place.found() == there)
    _set_anew(place.root / "between.jpg", "nowhere/a.jpg")
    until(lambda: place.daemon.call("why", path=str(place.root / "first.jpg"))["state"] == "unknown")
    shoot(place.root / "away" / "a.jpg", [1], 102).parent.rename(place.root / "nowhere")
    links = {place.root / "between.jpg", place.root / "first.jpg"}
    until(lambda: place.found() == there | links | {place.root / "nowhere" / "a.jpg"})
    place.expect_whole()


def test_a_target_outside_is_looked_at_and_no_answer_is_complete_without_a_wait(place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside" / "a.jpg"
    link = place.root / "link.jpg"
    link.symlink_to(outside)
    place.start()
    assert place.found() == own(place)
    assert f"1 link to files outside of the watched directories, {link} among them" in place.problems()
    assert not place.complete()
    shoot(outside, [1], 100)
    until(lambda: place.found() == own(place) | {link})
    shoot(outside, [2], 101)
    until(lambda: place.found() == own(place))
    shoot(outside, [1], 102)
    answer = place.daemon.call("query", 60, photos=[{"path": str(place.query)}], wait=50)
    assert answer["complete"], "a wait has looked"
    assert str(link) in [match["path"] for match in answer["matches"]]
    outside.unlink()
    until(lambda: place.found() == own(place))
    link.unlink()
    place.expect_whole()


def _set_anew(link: Path, target: str) -> None:
    """At a stroke, as ``ln -sfn`` does."""
    new = link.with_name("new link")
    new.symlink_to(target)
    new.replace(link)
