"""State, problems and completeness: tables over plain values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from facewatchd.health.report import Report, RootReport
from facewatchd.values import DaemonState, RootState

PHOTOS, MORE = RootReport(b"/photos"), RootReport(b"/more")
WELL = Report(roots=(PHOTOS, MORE))
COUNTS = {b"/photos": 3, b"/more": 1}


def test_nothing_to_report() -> None:
    assert WELL.state == DaemonState.IDLE
    assert WELL.complete
    assert WELL.problems(COUNTS) == []
    assert not WELL.busy
    assert WELL.headline(4, 1) == "idle: 4 photos, 1 face"


# Each line beats those below it.
STATES: list[tuple[dict[str, object], DaemonState]] = [
    ({"writer": "no space"}, DaemonState.DEGRADED),
    ({"index": "no space"}, DaemonState.DEGRADED),
    ({"workers": "no model"}, DaemonState.DEGRADED),
    ({"catalog": "damaged"}, DaemonState.DEGRADED),
    ({"paused": True}, DaemonState.PAUSED),
    ({"index_is_ready": False}, DaemonState.STARTING),
    ({"roots": (PHOTOS, replace(MORE, walked=None))}, DaemonState.STARTING),
    ({"watcher_is_alive": False}, DaemonState.DEGRADED),
    ({"pending": 1}, DaemonState.INDEXING),
    ({"scanning": True}, DaemonState.INDEXING),
    ({}, DaemonState.IDLE),
]


@pytest.mark.parametrize("number", range(len(STATES)))
def test_the_state_is_the_first_that_applies(number: int) -> None:
    report = WELL
    for changes, _ in reversed(STATES[number:]):
        report = replace(report, **changes)  # type: ignore[arg-type]
    assert report.state == STATES[number][1]
    assert replace(WELL, **STATES[number][0]).state == STATES[number][1]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "harmless", [{"socket": "writable by others"}, {"watcher": ("no events",)}, {"damaged_faces": 2}]
)
def test_what_only_is_a_problem_changes_no_state(harmless: dict[str, object]) -> None:
    report = replace(WELL, **harmless)  # type: ignore[arg-type]
    assert report.state == DaemonState.IDLE
    assert report.complete
    assert len(report.problems(COUNTS)) == 1


W, P, O, U = RootState.WATCHING, RootState.POLLING, RootState.OFFLINE, RootState.UNREADABLE  # noqa: E741


@pytest.mark.parametrize(
    ("watched", "walked", "state", "within_reach", "complete"),
    [
        (W, W, W, True, True),
        (P, W, P, True, False),
        (O, W, O, False, False),
        (U, W, U, False, False),
        (None, W, O, False, False),
        (W, None, W, False, False),
        (W, O, O, False, False),
        (W, U, U, False, False),
        (P, O, O, False, False),
        (None, None, O, False, False),
    ],
)
def test_a_root(
    watched: RootState | None, walked: RootState | None, state: RootState, within_reach: bool, complete: bool
) -> None:
    root = RootReport(b"/photos", watched, walked)
    assert root.state == state
    assert root.within_reach is within_reach
    report = Report(roots=(root, MORE))
    assert report.within_reach is within_reach
    assert report.complete is complete
    assert report.walked is (walked is not None)


@pytest.mark.parametrize(
    "changes",
    [
        {"pending": 1},
        {"scanning": True},
        {"links_outside": (b"/photos/link",)},
        {"roots": (PHOTOS, replace(MORE, unreachable=("/more/x cannot be read",)))},
    ],
)
def test_an_answer_is_not_complete(changes: dict[str, object]) -> None:
    assert not replace(WELL, **changes).complete  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "busy"),
    [({"pending": 1}, True), ({"scanning": True}, True), ({"index_is_ready": False}, True), ({"paused": True}, False)],
)
def test_busy(changes: dict[str, object], busy: bool) -> None:
    assert replace(WELL, **changes).busy is busy  # type: ignore[arg-type]


def test_every_problem_is_a_line_in_a_fixed_order() -> None:
    report = Report(
        roots=(
            replace(PHOTOS, walked=O, unreachable=("/photos/x cannot be read",)),
            replace(MORE, watched=O, walked=O),
        ),
        index="the index cannot be built",
        workers="the model cannot be loaded",
        socket="the directory can be written to by others",
        catalog="the catalog is damaged",
        damaged_faces=2,
        watcher=("/more is not there",),
        links_outside=(b"/photos/a", b"/photos/b"),
    )
    lines = report.problems(COUNTS)
    assert lines == [
        "the index cannot be built",
        "the model cannot be loaded",
        "the directory can be written to by others",
        "the catalog is damaged",
        "2 rows of faces are damaged in the catalog: the photos are read again",
        "/photos is empty, or another directory than before: its 3 photos are kept; mount its disk; if this was"
        " done on purpose, run `facewatchd scan --force` on it",
        "/photos/x cannot be read",
        "2 links to files outside of the watched directories, /photos/a among them: nothing tells when those change, so"
        " they are looked at every 15 s",
        "/more is not there",
    ]


def test_the_writer_names_the_damage_itself_and_a_root_that_is_not_walked_yet_may_be_on_its_way() -> None:
    writer = Report(roots=(PHOTOS,), writer="the catalog is damaged", catalog="the catalog is damaged")
    assert writer.problems(COUNTS) == ["the catalog is damaged"]
    early = Report(roots=(PHOTOS, replace(MORE, walked=None)), watcher=("/more is not there",))
    assert early.problems(COUNTS) == []


@pytest.mark.parametrize(
    ("pending", "paused", "waits"), [(0, False, ""), (3, False, "for processors"), (3, True, ""), (0, True, "")]
)
def test_photos_wait_only_where_some_are_pending_and_indexing_is_not_paused(
    pending: int, paused: bool, waits: str
) -> None:
    report = replace(WELL, pending=pending, paused=paused, resources="for processors", resources_briefly="busy")
    assert report.waits == waits
    assert report.waits_briefly == ("busy" if waits else "")


def test_the_headline_says_what_is_pending_and_what_that_waits_for() -> None:
    report = replace(WELL, pending=1, resources="others compute")
    assert report.headline(1, 0) == "indexing: 1 photo, 0 faces, 1 photo pending; others compute"
