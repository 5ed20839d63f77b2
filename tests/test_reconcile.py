"""The pure decisions: what to look at, which root to believe, what may be forgotten."""

from __future__ import annotations

import pytest

from facewatchd.reconcile import Difference, RootView, compare, may_forget, root_state
from facewatchd.records import Identity, RootState, Stamp

HERE = Identity(device=1, inode=10)
ELSEWHERE = Identity(device=2, inode=2)


def stamp(size: int = 1, *, device: int = 1, ctime_ns: int = 5) -> Stamp:
    return Stamp(device, 7, size, 3, ctime_ns)


def test_only_what_is_new_changed_or_gone_is_looked_at() -> None:
    disk = {b"/same": stamp(), b"/new": stamp(), b"/larger": stamp(2), b"/touched": stamp(ctime_ns=6)}
    known = {b"/same": stamp(), b"/larger": stamp(), b"/touched": stamp(), b"/gone": stamp()}
    assert compare(disk, known) == Difference([b"/new", b"/larger", b"/touched"], [b"/gone"])


def test_another_device_number_alone_is_no_change() -> None:
    assert compare({b"/a": stamp(device=9)}, {b"/a": stamp(device=1)}) == Difference([], [])


def test_force_looks_at_everything() -> None:
    assert compare({b"/a": stamp()}, {b"/a": stamp()}, force=True) == Difference([b"/a"], [])


@pytest.mark.parametrize(
    ("view", "recorded", "then", "state"),
    [
        (RootView(None, True, False, 5), 5, HERE, RootState.OFFLINE),
        (RootView(None, True, False, 0), 0, None, RootState.OFFLINE),
        (RootView(HERE, False, False, 0), 5, HERE, RootState.UNREADABLE),
        (RootView(HERE, True, True, 0), 0, None, RootState.WATCHING),
        (RootView(HERE, True, True, 5), 5, HERE, RootState.OFFLINE),
        (RootView(ELSEWHERE, True, True, 5), 5, HERE, RootState.OFFLINE),
        (RootView(ELSEWHERE, True, False, 5), 5, HERE, RootState.OFFLINE),
        (RootView(ELSEWHERE, True, False, 3), 5, HERE, RootState.OFFLINE),
        (RootView(ELSEWHERE, True, False, 2), 5, HERE, RootState.WATCHING),
        (RootView(HERE, True, False, 5), 5, HERE, RootState.WATCHING),
    ],
)
def test_a_root_is_believed_unless_it_may_be_a_mount_point_without_its_disk(
    view: RootView, recorded: int, then: Identity | None, state: RootState
) -> None:
    assert root_state(view, recorded, then) is state


@pytest.mark.parametrize(
    ("device", "nearest", "then", "now", "forget"),
    [
        (1, 1, 1, 1, True),  # deleted from the root's own file system
        (1, 5, 1, 5, True),  # the same after a boot that numbered the devices anew
        (2, 2, 1, 1, True),  # deleted from a disk that is mounted inside the root
        (2, 1, 1, 1, False),  # that disk is away
        (2, 5, 1, 5, False),  # that disk is away, after a boot
        (2, 7, 1, 5, True),  # that disk is there with another number
    ],
)
def test_a_photo_on_a_disk_inside_the_root_is_kept_while_the_disk_is_away(
    device: int, nearest: int, then: int, now: int, forget: bool
) -> None:
    assert may_forget(device, nearest, then, now) is forget
