"""The monitor: which thread ended, which hangs, and that nothing is taken for done between two looks."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from facewatchd.api.parameters import NoParameters
from facewatchd.api.status import Status
from facewatchd.health import monitor as module
from facewatchd.health.monitor import Monitor
from facewatchd.server import jsonrpc
from facewatchd.server.listener import Server
from facewatchd.store.catalog_rows import Counts
from facewatchd.store.index import Status as IndexStatus
from facewatchd.threads.liveness import Liveness
from facewatchd.values import ModelInfo


@dataclass
class Parts:
    """Parts that are well, as far as the monitor asks them; a test changes what it is about."""

    idle: Callable[[], bool] = lambda: True
    pending: Callable[[], int] = lambda: 0

    def monitor(self, server: Server, liveness: Liveness | None = None, **others: Any) -> Monitor:
        parts = self

        class Scanner:
            @property
            def idle(self) -> bool:
                return parts.idle()

            def is_alive(self) -> bool:
                return True

        class Queue:
            paused = False

            def __len__(self) -> int:
                return parts.pending()

        thread = {"is_alive": lambda: True, "trouble": ""}
        catalog = SimpleNamespace(damage="", damaged_faces=set())
        fields: dict[str, Any] = {
            "gallery": SimpleNamespace(
                catalog=catalog, index=SimpleNamespace(status=lambda: IndexStatus(0, 0, ready=True))
            ),
            "roots": SimpleNamespace(paths=(), links=SimpleNamespace(outside=list)),
            "queue": Queue(),
            "scanner": Scanner(),
            "writer": SimpleNamespace(**thread),
            "sampler": SimpleNamespace(**thread),
            "maintenance": SimpleNamespace(**thread),
            "indexer": SimpleNamespace(
                alive=lambda: True, trouble="", waits=str, waits_briefly=str, rates=lambda: {"examined": 3.0}
            ),
            "second_looks": SimpleNamespace(alive=lambda: True),
            "dates": SimpleNamespace(alive=lambda: True),
            "group_faces": SimpleNamespace(alive=lambda: True),
            "watcher": SimpleNamespace(alive=lambda: True, looks=lambda: True, states=dict, problems=list),
            "server": server,
            "liveness": liveness or Liveness(),
            "people": SimpleNamespace(trouble=""),
            "keep_known": SimpleNamespace(**thread),
        }
        return Monitor(**(fields | others))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "run" / "socket", lambda line: jsonrpc.answer(line, lambda *_: None))
    server.start()
    yield server
    server.stop()


def test_all_is_well(server: Server) -> None:
    monitor = Parts().monitor(server)
    assert (monitor.ended(), monitor.hung(), monitor.examined()) == ("", "", 3)
    assert monitor.report().complete


def test_a_status_tells_of_the_index_as_it_was_at_one_moment(server: Server) -> None:
    """It becomes level with the catalog between two looks."""
    looks = iter([IndexStatus(0, 0, ready=False), IndexStatus(5, 1, ready=True)])
    catalog = SimpleNamespace(
        damage="", damaged_faces=set(), counts=lambda _: (Counts(photos=2, faces=5, failed=0), {})
    )
    gallery = SimpleNamespace(catalog=catalog, index=SimpleNamespace(status=lambda: next(looks)))
    monitor = Parts().monitor(server, gallery=gallery)
    info = ModelInfo("test-00000000", "test", 24, 0.5)
    status = Status(monitor, info, "cpu", lambda: 0.5, lambda *_: "", str, lambda: 0, "a catalog").status(
        NoParameters()
    )
    assert status["index"] == {"faces": 0, "tombstones": 0, "ready": False}


def test_a_status_tells_of_more_faces_than_the_threshold_bears_and_that_is_no_failure(server: Server) -> None:
    catalog = SimpleNamespace(
        damage="", damaged_faces=set(), counts=lambda _: (Counts(photos=2, faces=5000, failed=0), {})
    )
    index = SimpleNamespace(status=lambda: IndexStatus(5000, 0, ready=True))
    monitor = Parts().monitor(server, gallery=SimpleNamespace(catalog=catalog, index=index))
    info = ModelInfo("test-00000000", "test", 24, 0.5)
    states = []
    for line in ("", "too many"):
        told = Status(
            monitor,
            info,
            "cpu",
            lambda: 0.6,
            lambda *asked, line=line: f"{line}{asked}" if line else "",
            str,
            lambda: 0,
            "a catalog",
        )
        status = told.status(NoParameters())
        states.append(status["state"])
        assert status["problems"] == (["too many(5000, 0.6)"] if line else [])
    assert states[0] == states[1] != "degraded"


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("writer", "the writer"),
        ("sampler", "the sampler"),
        ("keep_known", "the thread for names"),
        ("maintenance", "the index maintenance"),
        ("scanner", "the scanner"),
    ],
)
def test_a_thread_that_ended_is_named(server: Server, part: str, name: str) -> None:
    ended = SimpleNamespace(is_alive=lambda: False)
    assert Parts().monitor(server, **{part: ended}).ended() == name


def test_second_looks_that_ended_are_named_and_need_not_be_on(server: Server) -> None:
    ended = SimpleNamespace(alive=lambda: False)
    assert Parts().monitor(server, second_looks=ended).ended() == "the thread for second looks"
    assert Parts().monitor(server, dates=ended).ended() == "the thread for dates"
    assert Parts().monitor(server, second_looks=None).ended() == ""


def test_a_server_that_stopped_has_ended(server: Server) -> None:
    monitor = Parts().monitor(server)
    server.stop()
    assert monitor.ended() == "the server"


def test_a_thread_without_a_sign_of_life_hangs(server: Server) -> None:
    clock = SimpleNamespace(now=0.0)
    liveness = Liveness(lambda: clock.now)
    monitor = Parts().monitor(server, liveness)
    goes_on, beaten = threading.Event(), threading.Event()

    def work() -> None:
        liveness.beat()
        beaten.set()
        goes_on.wait()

    thread = threading.Thread(target=work, name="worker-1")
    thread.start()
    assert beaten.wait(60)
    hung = []
    while clock.now < module.SILENCE + 10:
        clock.now += 5  # looks that are too far apart count as a stop of the process
        hung.append(monitor.hung())
    assert hung[-1] == "worker-1"
    assert (hung.index("worker-1") + 1) * 5 > module.SILENCE
    goes_on.set()
    thread.join()
    assert monitor.hung() == "", "a thread that ended hangs no more"


def test_a_watcher_that_looks_no_more_hangs(server: Server) -> None:
    watcher = SimpleNamespace(looks=lambda: False)
    assert Parts().monitor(server, watcher=watcher).hung() == "the watcher"


def test_a_server_that_answers_nothing_hangs_and_one_without_a_socket_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REPLY_SECONDS", 0.2)
    path = tmp_path / "socket"
    mute = SimpleNamespace(path=path)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen()
        assert Parts().monitor(mute).hung() == "the server"  # type: ignore[arg-type]
    path.unlink()
    assert Parts().monitor(mute).hung() == "", "its file was removed: it is made again"  # type: ignore[arg-type]


def test_a_walk_that_ends_between_two_looks_is_not_overlooked(server: Server) -> None:
    looks = iter([True, False])  # idle, and then a walk was asked for
    assert Parts(idle=lambda: next(looks)).monitor(server).report().scanning
    looks = iter([False, True])  # a walk that filled the queue and ended after the queue was looked at
    assert Parts(idle=lambda: next(looks)).monitor(server).report().scanning
