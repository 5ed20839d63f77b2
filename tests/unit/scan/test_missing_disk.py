"""Missing-disk detection: which root to believe, and which photos may be forgotten."""

from __future__ import annotations

import pytest

from facewatchd.scan import missing_disk
from facewatchd.scan.missing_disk import (
    Census,
    Devices,
    Missing,
    RootView,
    Surroundings,
    judge,
    may_forget,
    root_state,
)
from facewatchd.values import Identity, RootState, Stamp

HERE = Identity(device=1, inode=10)
ELSEWHERE = Identity(device=2, inode=2)
RENUMBERED = Identity(device=2, inode=10)


def stamp(size: int = 1, *, device: int = 1, ctime_ns: int = 5) -> Stamp:
    return Stamp(device, 7, size, 3, ctime_ns)


@pytest.mark.parametrize(
    ("view", "recorded", "then", "state"),
    [
        (RootView(None, True, False, 5), 5, HERE, RootState.OFFLINE),
        (RootView(None, True, False, 0), 0, None, RootState.OFFLINE),
        (RootView(HERE, False, False, 0), 5, HERE, RootState.UNREADABLE),
        (RootView(HERE, True, True, 0), 0, None, RootState.WATCHING),
        (RootView(HERE, True, True, 5), 5, HERE, RootState.OFFLINE),
        (RootView(HERE, True, True, 5, stayed=True), 5, HERE, RootState.WATCHING),
        (RootView(ELSEWHERE, True, True, 5), 5, HERE, RootState.OFFLINE),
        (RootView(ELSEWHERE, True, False, 5), 5, HERE, RootState.OFFLINE),
        (RootView(ELSEWHERE, True, False, 3), 5, HERE, RootState.OFFLINE),
        (RootView(ELSEWHERE, True, False, 2), 5, HERE, RootState.WATCHING),
        (RootView(HERE, True, False, 5), 5, HERE, RootState.WATCHING),
        # it was offline, or something was mounted there: perhaps another disk with the same numbers
        (RootView(HERE, True, False, 5, doubted=True), 5, HERE, RootState.OFFLINE),
        (RootView(HERE, True, False, 2, doubted=True), 5, HERE, RootState.WATCHING),
        (RootView(HERE, True, False, 5, doubted=True, known=True), 5, HERE, RootState.WATCHING),
        (RootView(HERE, True, False, 1, doubted=True, apart=True), 5, HERE, RootState.OFFLINE),
        (RootView(HERE, True, False, 1, doubted=True, apart=True, known=True), 5, HERE, RootState.WATCHING),
        (RootView(RENUMBERED, True, False, 5, known=True), 5, HERE, RootState.WATCHING),
        (RootView(RENUMBERED, True, False, 5), 5, HERE, RootState.OFFLINE),
        (RootView(ELSEWHERE, True, False, 5, known=True), 5, HERE, RootState.OFFLINE),
    ],
)
def test_a_root_is_believed_unless_it_may_be_a_mount_point_without_its_disk(
    view: RootView, recorded: int, then: Identity | None, state: RootState
) -> None:
    assert root_state(view, recorded, then) is state


ROOT, ROOT_NOW, DISK, DISK_NOW = 1, 5, 2, 7


def file(number: int, device: int, *, ctime_ns: int = 5) -> Stamp:
    return Stamp(device, number, 100, number, ctime_ns)


def album(*devices: int, ctime_ns: int = 5) -> dict[bytes, Stamp]:
    """One photo on each of these devices, by the order."""
    return {f"/{n}".encode(): file(n, device, ctime_ns=ctime_ns) for n, device in enumerate(devices)}


def judged(
    recorded: dict[bytes, Stamp],
    disk: dict[bytes, Stamp],
    nearest: int,
    *,
    then: int = ROOT,
    now: int = ROOT,
    mounted: bool = False,
) -> tuple[list[bytes], list[bytes], dict[bytes, int]]:
    """Which paths are gone, which are kept, and what their devices are now; ``nearest`` is where each missing one lay.

    ``mounted``: whether another disk may be there since the last walk.
    """
    census = Census()
    census.count(disk, recorded)
    missing = {path: Missing(recorded[path], nearest) for path in recorded if path not in disk}
    verdict = judge(missing, census, Devices(frozenset({then}), now, root_remounted=mounted, inside_remounted=mounted))
    assert all(missing_disk.is_away(number) for number in verdict.kept.values())
    return verdict.gone, sorted(verdict.kept), dict(verdict.devices)


def test_what_went_from_the_roots_own_disk_is_gone_also_when_that_was_numbered_anew() -> None:
    assert judged(album(ROOT, ROOT), {}, ROOT) == ([b"/0", b"/1"], [], {})
    assert judged(album(ROOT), {}, ROOT_NOW, now=ROOT_NOW) == ([b"/0"], [], {b"/0": ROOT_NOW})


def test_what_is_the_same_counts_alike_one_by_one_or_all_at_once() -> None:
    recorded = album(ROOT, DISK, DISK)
    one_by_one, at_once = Census(), Census()
    one_by_one.count(recorded, recorded)
    at_once.count_same(ROOT, 1)
    at_once.count_same(DISK, 2)
    at_once.count_same(DISK_NOW, 0)
    for census in (one_by_one, at_once):
        assert census.devices() == {ROOT, DISK}
        assert census.knows(DISK, [])
        assert census.place(DISK, [], ROOT) == DISK
        assert census.lacks_most(DISK, [stamp(), stamp()])
        assert not census.lacks_most(DISK, [stamp()])


def test_what_a_disk_mounted_inside_hides_is_kept() -> None:
    assert judged(album(ROOT, ROOT), {}, DISK) == ([], [b"/0", b"/1"], {})


def test_what_went_from_a_disk_inside_is_gone_while_that_is_there() -> None:
    assert judged(album(DISK, DISK), {}, DISK) == ([b"/0", b"/1"], [], {})
    assert judged(album(DISK, DISK), {}, ROOT) == ([], [b"/0", b"/1"], {})


def test_a_disk_inside_with_another_number_is_known_by_one_photo_that_is_as_it_was() -> None:
    recorded = album(DISK, DISK, DISK)
    assert judged(recorded, {b"/0": file(0, DISK_NOW)}, DISK_NOW, mounted=True) == (
        [b"/1", b"/2"],
        [],
        {b"/1": DISK_NOW, b"/2": DISK_NOW},
    )


def test_a_disk_that_numbers_its_files_anew_is_known_by_most_of_the_names() -> None:
    recorded = album(DISK, DISK, DISK)
    here = {path: file(50, DISK_NOW) for path in (b"/0", b"/1")}
    assert judged(recorded, here, DISK_NOW, mounted=True) == ([b"/2"], [], {b"/2": DISK_NOW})
    del here[b"/0"]
    assert judged(recorded, here, DISK_NOW, mounted=True) == ([], [b"/0", b"/2"], {})


@pytest.mark.parametrize("device", [ROOT, DISK])
def test_another_disk_with_the_same_number_is_told_by_its_photos(device: int) -> None:
    recorded = album(device, device, device)
    assert judged(recorded, {}, device, mounted=True) == ([], [b"/0", b"/1", b"/2"], {})
    assert judged(recorded, {b"/0": file(50, device)}, device, mounted=True) == ([], [b"/1", b"/2"], {})
    assert judged(recorded, {b"/0": file(0, device)}, device, mounted=True) == ([b"/1", b"/2"], [], {})
    moved = {b"/a/b": file(2, device, ctime_ns=99)}
    assert judged(recorded, moved, device, mounted=True) == ([b"/0", b"/1", b"/2"], [], {})


def test_a_disk_that_is_away_is_not_taken_for_the_root_when_that_gets_its_number() -> None:
    recorded, disk = {**album(DISK, DISK), b"/own": file(8, ROOT)}, {b"/own": file(8, DISK)}
    assert judged(recorded, disk, DISK, then=ROOT, now=DISK) == ([], [b"/0", b"/1"], {})


@pytest.mark.parametrize("device", [DISK, ROOT])
def test_a_disk_that_was_away_is_known_when_it_is_back_whatever_its_number(device: int) -> None:
    recorded = album(missing_disk.AWAY, missing_disk.AWAY, missing_disk.AWAY - 1)
    assert judged(recorded, {}, DISK) == ([], [b"/0", b"/1", b"/2"], {})
    back = {b"/0": file(0, device)}
    assert judged(recorded, back, device, mounted=True) == ([b"/1"], [b"/2"], {b"/1": device})


def test_each_disk_that_is_away_has_a_number_of_its_own_and_keeps_it() -> None:
    recorded = album(DISK, DISK_NOW, missing_disk.AWAY, missing_disk.AWAY - 1, DISK)
    disk = {b"/3": file(3, 11)}
    census = Census()
    census.count(disk, recorded)
    missing = {path: Missing(recorded[path], ROOT) for path in recorded if path not in disk}
    kept = judge(missing, census, Devices(frozenset({ROOT}), ROOT)).kept
    assert kept[b"/0"] == kept[b"/4"]
    assert kept[b"/2"] == missing_disk.AWAY
    assert len({*kept.values(), missing_disk.AWAY - 1}) == 4
    assert all(map(missing_disk.is_away, kept.values()))
    gone = {path: stamp for path, stamp in recorded.items() if path not in disk}
    assert missing_disk.away_numbers(DISK, gone, census) == dict.fromkeys((b"/0", b"/4"), missing_disk.AWAY - 2)


def test_a_walk_of_a_part_leaves_doubts_to_one_of_the_whole() -> None:
    recorded = album(DISK, DISK)
    missing = {path: Missing(stamp, DISK) for path, stamp in recorded.items()}
    verdict = judge(missing, Census(), Devices(frozenset({ROOT}), ROOT, inside_remounted=True), whole=False)
    assert (verdict.gone, verdict.kept, verdict.unsure) == ([], {}, True)
    assert not judge(missing, Census(), Devices(frozenset({ROOT}), ROOT), whole=False).unsure


def test_the_user_may_say_that_all_is_as_it_should_be() -> None:
    missing = {path: Missing(stamp, ROOT) for path, stamp in album(DISK, ROOT).items()}
    verdict = missing_disk.accept(missing)
    assert (verdict.gone, verdict.kept, verdict.devices) == ([b"/0", b"/1"], {}, [(b"/0", ROOT)])


def test_only_where_the_same_disk_is_there_may_be_forgotten() -> None:
    recorded = file(0, DISK)
    assert may_forget(recorded, Surroundings(b"/", RootState.WATCHING, True, DISK))
    assert not may_forget(recorded, Surroundings(b"/", RootState.WATCHING, True, ROOT))
