"""The comparison of one directory with its records."""

from __future__ import annotations

import pytest

from facewatchd.scan.compare import Difference, compare, is_unchanged
from facewatchd.scan.work_queue import Depth
from facewatchd.values import Stamp


def stamp(size: int = 1, *, device: int = 1, ctime_ns: int = 5) -> Stamp:
    return Stamp(device, 7, size, 3, ctime_ns)


def test_only_what_is_new_changed_or_gone_is_looked_at() -> None:
    disk = {b"/same": stamp(), b"/new": stamp(), b"/larger": stamp(2), b"/touched": stamp(ctime_ns=6)}
    known = {b"/same": stamp(), b"/larger": stamp(), b"/touched": stamp(), b"/gone": stamp()}
    assert compare(disk, known) == Difference([b"/new", b"/larger", b"/touched"], [b"/gone"])


def test_another_device_number_alone_is_no_change() -> None:
    assert compare({b"/a": stamp(device=9)}, {b"/a": stamp(device=1)}) == Difference([], [])


def test_force_looks_at_everything() -> None:
    assert compare({b"/a": stamp()}, {b"/a": stamp()}, Depth.FACES) == Difference([b"/a"], [])


@pytest.mark.parametrize("depth", Depth)
def test_a_walk_and_a_worker_ask_the_same_of_a_file(depth: Depth) -> None:
    for recorded in (None, stamp(), stamp(2)):
        records = {} if recorded is None else {b"/a": recorded}
        examined = compare({b"/a": stamp()}, records, depth).examine
        assert examined == ([] if is_unchanged(stamp(), recorded, depth) else [b"/a"])
