"""The methods that have something done, or wait for it: ``scan``, ``wait``, ``pause`` and ``resume``."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from facewatchd.api.parameters import NoParameters, ScanParameters, WaitParameters
from facewatchd.errors import UnreadablePhotoError
from facewatchd.health.monitor import Monitor
from facewatchd.scan.roots import Roots
from facewatchd.scan.scanner import Scanner
from facewatchd.scan.work_queue import WorkQueue
from facewatchd.text import printable


class Control:
    """Any thread may call the methods."""

    def __init__(
        self,
        monitor: Monitor,
        roots: Roots,
        queue: WorkQueue,
        scanner: Scanner,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """``waiting``: entered by a thread for as long as its request only waits."""
        self._monitor = monitor
        self._roots = roots
        self._queue = queue
        self._scanner = scanner
        self._waiting = waiting

    def scan(self, params: ScanParameters) -> dict[str, object]:
        """Have paths compared with the disk, by default all roots; return how many are ``queued``."""
        paths = params.paths or tuple(self._roots.paths)
        for path in paths:
            if self._roots.of(path) is None:
                raise UnreadablePhotoError(
                    f"{printable(path)} lies in no watched directory", "add its directory to the configuration"
                )
        for path in paths:
            self._scanner.request(path, force=params.force, live=True)
        return {"queued": len(paths)}

    def wait(self, params: WaitParameters) -> dict[str, object]:
        """Wait as `wait_until_done` does; return what is ``pending`` then, the ``seconds``, and ``complete``."""
        started = time.monotonic()
        done = self.wait_until_done(params.timeout)
        return {"pending": len(self._queue), "seconds": round(time.monotonic() - started, 3), "complete": done}

    def wait_until_done(self, timeout: float, *, dates: bool = False) -> bool:
        """Wait until everything that was on the disk at the call is searchable; False where that is not certain.

        ``dates``: wait also until all dates are read that can be read now, whatever is returned.

        The roots are walked, because events may be on their way, and a polled root has none. A file that is moved past
        the walk while it runs counts as written after the call.
        """
        deadline = time.monotonic() + timeout
        with self._waiting():
            self._queue.look_again()  # the walks cannot tell what will be recorded of the paths that are examined now
            requests = [self._scanner.request(root) for root in self._roots.paths]
            walked = [request.done.wait(max(0.0, deadline - time.monotonic())) for request in requests]
            remaining = self._queue.barrier().wait(max(0.0, deadline - time.monotonic()))
            if dates:
                self._monitor.dates.wait(deadline - time.monotonic())
        # A closed queue means that the daemon stops, and the walks may have been cut short.
        failed = self._queue.closed or any(request.failed for request in requests)
        return all(walked) and not remaining and not failed and self._monitor.report().within_reach

    def pause(self, _: NoParameters) -> dict[str, object]:
        """Examine no further paths until `resume`."""
        self._queue.pause()
        return {"state": self._monitor.report().state}

    def resume(self, _: NoParameters) -> dict[str, object]:
        """Go on after `pause`."""
        self._queue.resume()
        return {"state": self._monitor.report().state}
