"""The supervisor: what systemd, the log and the models are told, round by round. Daemon and signals are played here."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest

from facewatchd.daemon import supervisor
from facewatchd.daemon.supervisor import Supervisor
from facewatchd.errors import UsageError
from facewatchd.health.report import Report, RootReport
from facewatchd.system.signals import Signals
from facewatchd.system.systemd import ServiceManager
from tests.support.managers import Ear

WELL = Report(roots=(RootReport(b"/photos"),))


@dataclass
class PlayedDaemon:
    """Health and daemon in one: what each round finds, and what it was asked to do."""

    rounds: list[Report] = field(default_factory=lambda: [WELL])
    """What each round reports; the last goes on."""
    part_that_ended: str = ""
    part_that_hangs: str = ""
    refuses: bool = False
    released: int = 0
    backed_up: int = 0
    pictures_forgotten: int = 0
    reloads: int = 0

    def report(self) -> Report:
        return self.rounds.pop(0) if len(self.rounds) > 1 else self.rounds[0]

    def headline(self, report: Report) -> str:
        return report.headline(2, 3)

    def examined(self) -> int:
        return 2

    def ended(self) -> str:
        return self.part_that_ended

    def hung(self) -> str:
        return self.part_that_hangs

    def release_models(self) -> None:
        self.released += 1

    def back_up_people(self) -> None:
        self.backed_up += 1

    def forget_pictures(self) -> None:
        self.pictures_forgotten += 1

    def reload(self) -> None:
        self.reloads += 1
        if self.refuses:
            raise UsageError("no such directory", "check it")


class PlayedSignals:
    """Hands out a signal, or none, a round, and SIGTERM at the end."""

    def __init__(self, *taken: signal.Signals | None) -> None:
        self._taken = [*taken, signal.SIGTERM]
        self.pauses: list[float] = []

    def wait(self, seconds: float) -> signal.Signals | None:
        self.pauses.append(seconds)
        return self._taken.pop(0)


class PlayedClock:
    """A second further at each look."""

    def __init__(self, step: float = 1.0) -> None:
        self.now, self.step = 1000.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    with contextlib.closing(Ear(tmp_path / "notify")) as ear:
        yield ear


def run(
    daemon: PlayedDaemon,
    *taken: signal.Signals | None,
    ear: Ear | None = None,
    watchdog: float = 0.0,
    step: float = 1.0,
) -> tuple[int, list[float]]:
    """Supervise until SIGTERM comes; return the exit status and the pauses between rounds."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
            patch.delenv(name, raising=False)
        if ear is not None:
            patch.setenv("NOTIFY_SOCKET", str(ear.path))
            patch.setenv("WATCHDOG_USEC", str(int(watchdog * 1e6)))
        manager = ServiceManager()
    signals = PlayedSignals(*taken)
    overseer = Supervisor(daemon, daemon, manager, cast(Signals, signals), show_progress=False, clock=PlayedClock(step))
    status = overseer.run()
    if ear is not None:
        ear.listen()
    return status, signals.pauses


def test_sigterm_ends_it_and_systemd_hears_how_it_went(ear: Ear) -> None:
    daemon = PlayedDaemon(rounds=[replace(WELL, pending=1), replace(WELL, pending=1), WELL])
    assert run(daemon, None, None, None, ear=ear) == (0, [supervisor.BUSY_TICK] * 2 + [supervisor.TICK] * 2)
    assert ear.heard == [
        "STATUS=indexing: 2 photos, 3 faces, 1 photo pending",
        "STATUS=idle: 2 photos, 3 faces",
        "STOPPING=1",
    ], "the same is said once"
    assert daemon.released == daemon.backed_up == daemon.pictures_forgotten == 4, "once a round"


def test_a_part_that_ended_ends_the_daemon(ear: Ear, caplog: pytest.LogCaptureFixture) -> None:
    assert run(PlayedDaemon(part_that_ended="the writer"), ear=ear) == (1, [])
    assert ear.heard == ["STOPPING=1"]
    (record,) = caplog.records
    assert record.getMessage().startswith("the writer ended unexpectedly: the daemon stops")


def test_the_watchdog_is_pinged_every_quarter_of_its_time_while_nothing_hangs(ear: Ear) -> None:
    _, pauses = run(PlayedDaemon(), *[None] * 7, ear=ear, watchdog=16.0)
    assert pauses == [4.0] * 8
    assert ear.heard.count("WATCHDOG=1") == 4, "the clock is looked at twice a round"


def test_what_hangs_keeps_the_watchdog_waiting_until_it_goes_on(ear: Ear, caplog: pytest.LogCaptureFixture) -> None:
    daemon = PlayedDaemon(part_that_hangs="writer")
    run(daemon, None, ear=ear, watchdog=1.0)
    assert "WATCHDOG=1" not in ear.heard
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert lines == ["writer hangs: systemd starts the daemon again if this goes on"] * 2
    daemon.part_that_hangs = ""
    run(daemon, ear=ear, watchdog=1.0)
    assert "WATCHDOG=1" in ear.heard


@pytest.mark.parametrize("refuses", [False, True])
def test_sighup_has_the_configuration_read_again(ear: Ear, caplog: pytest.LogCaptureFixture, refuses: bool) -> None:
    daemon = PlayedDaemon(refuses=refuses)
    assert run(daemon, signal.SIGHUP, ear=ear)[0] == 0
    assert daemon.reloads == 1
    told = [line for line in ear.heard if not line.startswith(("STATUS=", "MONOTONIC_USEC="))]
    assert told == ["RELOADING=1", "READY=1", "STOPPING=1"]
    refused = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert refused == (["the configuration was not taken over: no such directory; check it"] if refuses else [])


def test_the_first_import_is_told_once_when_it_is_done(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run(PlayedDaemon(rounds=[replace(WELL, scanning=True), WELL, replace(WELL, pending=1), WELL]), *[None] * 3)
    told = [record.getMessage() for record in caplog.records]
    assert told == ["idle: 2 photos, 3 faces; to find a person: facewatch-query PHOTO"]


def test_what_photos_wait_for_is_told_every_ten_minutes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    waits = replace(WELL, pending=1, resources="others compute")
    run(PlayedDaemon(rounds=[waits]), *[None] * 19, step=supervisor.WAITING_TOLD_EVERY / 20)
    assert [record.getMessage() for record in caplog.records] == ["photos wait: others compute"] * 2


def test_signals_are_kept_until_they_are_asked_for() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with Signals.kept() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        assert {signals.wait(60), signals.wait(60)} == {signal.SIGHUP, signal.SIGTERM}
        assert signals.wait(0) is None
        os.kill(os.getpid(), signal.SIGINT)  # nobody asks for this one
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_another_thread_that_takes_a_signal_does_not_hold_up_the_end() -> None:
    """A thread from before does not block them: what is pending in one moment, it may have taken in the next."""
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    usual = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        for _ in range(2000):
            with Signals.kept():
                os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, usual)
        end.set()
        other.join()


def test_a_signal_ends_the_wait() -> None:
    with Signals.kept() as signals:
        later = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
        later.start()
        assert signals.wait(60) == signal.SIGTERM
        later.join()
