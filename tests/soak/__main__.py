"""A long run under churn, queries and faults: ``python -m tests.soak [--minutes 20 | --hours 24]``.

Four writers change photos in two directories, a fifth in one that is mounted and unmounted. Each asks again and again,
with a wait, and knows exactly what is there. Other clients ask all the time. Meanwhile the daemon is killed, ended,
frozen, and loses its index, its events, the last byte of its disk and its child processes. In the calm half of the run
its process is left alive, so that growth shows. Every minute or so all rest, and the catalog is held against the disk.

A miss is: an answer that calls itself complete and lacks what is there, or shows what is not; one that is not complete
though nothing was in the way; no answer from a daemon that was up; a check that fails. The exit status is 1 after
any, or after growth beyond the bounds in `soak_report`.

Filling and unmounting disks takes rights: be root, or run it under ``unshare -Urm``.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from facewatchd.errors import FacewatchError
from tests.soak.clients import ANCHOR, Gate, Visitor, Writer
from tests.soak.faults import PARTIAL, SILENT, SLOW, Disk, Excuses, Faults
from tests.soak.report import Record, header, line, look, plot, say
from tests.support import invariant, tiny_pack
from tests.support.albums import shoot
from tests.support.churn import Churner
from tests.support.processes import Daemon

SAMPLE = 2.0
SETTLE = 60.0
FAULT_PAUSE = (1.0, 6.0)
PHASES = 4
"""Every second part of the run, from the first on, is calm."""


class Meter(threading.Thread):
    """Takes samples, and prints a row now and then."""

    def __init__(self, daemon: Daemon, record: Record, every: float) -> None:
        super().__init__(name="meter")
        self._facewatchd = daemon
        self._record = record
        self._every = every
        self._status: dict[str, Any] = {}
        self._stopping = threading.Event()

    def run(self) -> None:
        say(header())
        row_at = self._every
        while not self._stopping.wait(SAMPLE):
            self._sample()
            if self._record.seconds >= row_at:
                row_at += self._every
                say(line(self._record.end_row(self._status)))

    def stop(self) -> None:
        self._stopping.set()
        self.join()
        say(line(self._record.end_row(self._status)))

    def _sample(self) -> None:
        process = self._facewatchd.process
        if process is None or process.poll() is not None:
            return
        try:
            self._status = self._facewatchd.call("status", SAMPLE)
        except (FacewatchError, OSError):
            return  # it is frozen, or on its way: for others to judge
        faces = int(self._status["faces"])
        if sample := look(round(self._record.seconds, 1), process.pid, self._facewatchd.children(), faces):
            self._record.samples.append(sample)


class Soak:
    """The run: set up, `run`, and it is over."""

    def __init__(self, work: Path, out: Path, seconds: float, seed: int, stack: ExitStack) -> None:
        self.record = Record(seed)
        self._seconds = seconds
        self._out = out
        self._random = random.Random(seed)
        self._excuses = Excuses()
        self._gate, self._mount_gate = Gate(), Gate()
        self._pause = threading.Event()
        data = self._disk(stack, work / "data disk", f"{256 + int(seconds / 90)}m")
        photos = self._disk(stack, work / "photo disk", "512m")
        roots = [work / "one", work / "two"]
        self._anchors = {shoot(root / "anchor.jpg", [ANCHOR], number) for number, root in enumerate(roots)}
        self._mounted = work / "mounted"
        if photos:
            shoot(photos.path / "photos" / "anchor.jpg", [ANCHOR], 9)
            self._mounted.mkdir()
            photos.show_at(self._mounted)
            stack.callback(photos.hide_at, self._mounted)
            roots.append(self._mounted)
        tiny_pack.build(work / "insightface")
        self.daemon = stack.enter_context(Daemon(work / "home", *roots, model="tiny", model_root=work / "insightface"))
        self.daemon.data = (data.path if data else work) / "data"
        self._faults = Faults(self.daemon, self._excuses, self._random)
        if data:
            self._faults.may_fill(data.path)
        if photos:
            self._faults.may_unmount(lambda: self._unmounted(photos))
        self._clients = [*self._writers(work, roots, photos), *self._visitors(work)]

    def _disk(self, stack: ExitStack, path: Path, size: str) -> Disk | None:
        disk = Disk(path, size)
        stack.callback(disk.close)
        if not disk.is_mounted:
            say(f"without {path.name}: mounting one takes rights")
        return disk if disk.is_mounted else None

    def _writers(self, work: Path, roots: Sequence[Path], photos: Disk | None) -> list[Writer]:
        seed = self.record.seed
        client = (self.daemon, self.record, self._excuses, seed)
        churners = [
            Churner(number, roots[:2], work / f"outside {number}", range(3 * number + 1, 3 * number + 4), seed)
            for number in range(4)
        ]
        writers = [Writer(churner, [self._gate], *client) for churner in churners]
        if photos:
            churner = Churner(4, [self._mounted], self._mounted / ".outside", [13, 14], seed)
            writers.append(Writer(churner, [self._gate, self._mount_gate], *client))
        return writers

    def _visitors(self, work: Path) -> list[Visitor]:
        client = (self.daemon, self.record, self._excuses, self.record.seed)
        photos = [shoot(work / "questions" / f"{person}.jpg", [person], 400 + person) for person in range(1, 16)]
        return [Visitor(number, self._anchors, photos, *client) for number in range(3)]

    @contextmanager
    def _unmounted(self, photos: Disk) -> Iterator[None]:
        with self._mount_gate.closed():
            photos.hide_at(self._mounted)
            try:
                yield
            finally:
                photos.show_at(self._mounted)

    def run(self, every: float) -> bool:
        """Go on for the time that was given; True when all was well."""
        self.daemon.start()
        self.daemon.settle()
        meter = Meter(self.daemon, self.record, every)
        threads = [*self._clients, meter]
        for thread in threads:
            thread.start()
        try:
            self._rough_and_calm()
        except KeyboardInterrupt:
            say("interrupted: settling")
        finally:
            for client in self._clients:
                client.stop()
            for client in self._clients:
                client.join()
            meter.stop()
        self._settle(restart=True)
        self.record.slowest_stop = self._faults.slowest_stop
        return not self.record.misses and not self.record.growth()

    def _rough_and_calm(self) -> None:
        settle_at = SETTLE
        while self.record.seconds < self._seconds:
            calm = int(PHASES * self.record.seconds / self._seconds) % 2 == 0
            self._pause.wait(self._random.uniform(*FAULT_PAUSE))
            self._commit(calm)
            if self.record.seconds >= settle_at:
                self._settle(restart=not calm)
                settle_at = self.record.seconds + SETTLE

    def _commit(self, calm: bool) -> None:
        try:
            if name := self._faults.commit(gentle=calm):
                self.record.fault(name)
        except (AssertionError, FacewatchError, OSError) as exc:
            self.record.miss(f"after a fault: {exc}")
        process = self.daemon.process
        if process is None or process.poll() is not None:
            self.record.miss("the daemon is not running")
            self.daemon.start()

    def _settle(self, *, restart: bool) -> None:
        """Have all rest, and hold the catalog against the disk; with a restart the index too."""
        with self._gate.closed():
            churners = [client.churner for client in self._clients if isinstance(client, Writer)]
            for churner in churners:
                churner.complete()
            failed = [path for churner in churners for path in churner.failed()]
            try:
                invariant.check_catalog(self.daemon, failed=failed)
                if restart:
                    with self._excuses.given(SILENT, PARTIAL, SLOW):
                        invariant.check(self.daemon, failed=failed)
                        self.daemon.start()
                self.record.settles += 1
            except (AssertionError, FacewatchError) as exc:
                self.record.miss(f"settled: {exc}")
            self._keep_log()

    def _keep_log(self) -> None:
        """Take the daemon's log out of what the next check looks at."""
        with (self._out / "daemon.log").open("ab") as kept:
            kept.write(self.daemon.log.read_bytes())
        self.daemon.log.write_bytes(b"")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=20.0, help="how long (default 20)")
    length.add_argument("--hours", type=float, help="the same in hours")
    parser.add_argument("--seed", type=int, default=0, help="another one changes other things (default 0)")
    parser.add_argument("--out", type=Path, default=Path("soak"), help="directory for the results (default ./soak)")
    parser.add_argument("--row", type=float, default=60.0, metavar="SECONDS", help="a row of the table (default 60)")
    options = parser.parse_args()
    seconds = 3600 * options.hours if options.hours else 60 * options.minutes
    options.out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="soak-"))
    with ExitStack() as stack:
        soak = Soak(work, options.out, seconds, options.seed, stack)
        fine = soak.run(options.row)
    record = soak.record
    record.write_json(options.out / "soak.json")
    if not plot(record, options.out / "soak.png"):
        say("no plot: matplotlib is not installed (pip install 'facewatchd[bench]')")
    say("\n".join([record.summary(), *record.growth(), "fine" if fine else f"NOT fine; see {work} and {options.out}"]))
    if fine:
        shutil.rmtree(work)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
