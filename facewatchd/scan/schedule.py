"""What the scanner walks next: requests, walks that failed, directories that could not be read, and links.

Requests for a path that already waits are one. In order of priority:

- Requests are carried out in the order in which they came.
- A request that failed (the catalog could not be read, a disk did not answer) is repeated after `RETRY` seconds.
- Directories that could not be read are walked again after `LOOK_AGAIN` seconds, and then after twice as long each
  time, up to `LONGEST`.
- Links that lead out of the watched directories are looked at every `LINKS_EVERY` seconds, as there are no events of
  their targets.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from facewatchd.scan.work_queue import Depth

RETRY = 5.0
LOOK_AGAIN = 10.0
LONGEST = 900.0
LINKS_EVERY = 15.0
LINKS_REST = 50
"""Between two looks at links lies at least so many times what the last one took."""


@dataclass(slots=True)
class Request:
    """A path to be walked; ``done`` is set when everything that differs below it is in the work queue."""

    path: bytes
    force: bool = False
    """Whether everything below is to be embedded again, and what is missing taken for gone."""
    live: bool = False
    """Whether what is found goes ahead of the backlog."""
    done: threading.Event = field(default_factory=threading.Event)
    failed: bool = False
    unanswered: bool = False
    """Whether it failed because a disk did not answer."""

    @property
    def depth(self) -> Depth:
        return Depth.FACES if self.force else Depth.STAMP

    def fail(self, *, unanswered: bool = False) -> None:
        """Note that it failed, before `done` is set."""
        self.failed, self.unanswered = True, unanswered


class Schedule:
    """Any thread may `request`; the scanner's thread takes what is `next` and says how it ended."""

    def __init__(self, any_links: Callable[[], bool]) -> None:
        """``any_links``: whether there are links that are to be looked at."""
        self._any_links = any_links
        self._condition = threading.Condition()
        self._requests: OrderedDict[bytes, Request] = OrderedDict()
        self._failed: dict[bytes, Request] = {}
        """What is to be tried again, by path."""
        self._failed_at = 0.0
        self._unread: tuple[bytes, ...] = ()
        """Directories that could not be read."""
        self._unread_pause = LOOK_AGAIN
        self._unread_at = self._links_at = 0.0
        self._busy = False
        self.ended = False

    def request(self, path: bytes, *, force: bool, live: bool) -> Request:
        """Ask for a walk that begins after this call."""
        with self._condition:
            request = self._requests.setdefault(path, Request(path))
            request.force |= force
            request.live |= live
            if self.ended:
                request.fail()
                request.done.set()
            self._condition.notify()
            return request

    @property
    def is_empty(self) -> bool:
        """Whether no request waits."""
        return not self._requests

    @property
    def idle(self) -> bool:
        """Whether no walk runs and no request waits. Requests for a disk that does not answer do not count."""
        with self._condition:
            failed = any(not each.unanswered for each in self._failed.values())
            return not self._busy and not self._requests and not failed

    def end(self) -> None:
        """Have `next` return None from now on."""
        with self._condition:
            self.ended = True
            self._condition.notify()

    def next(self) -> Request | None:
        """Wait for a request. None at the end, and when links are due."""
        with self._condition:
            while not self._requests and not self.ended:
                now = time.monotonic()
                unread_at = self._unread_at if self._unread else math.inf
                links_at = self._links_at if self._any_links() else math.inf
                failed_at = self._failed_at if self._failed else math.inf
                if links_at <= now:
                    self._busy = True
                    return None
                if unread_at <= now:
                    self._unread_pause = min(2 * self._unread_pause, LONGEST)
                    self._requests.update((path, Request(path)) for path in self._unread)
                elif failed_at <= now:
                    self._requests.update(self._failed)
                    self._failed.clear()
                else:
                    pause = min(unread_at, links_at, failed_at) - now
                    self._condition.wait(None if math.isinf(pause) else pause)
            if self.ended:
                self._fail_all()
                return None
            self._busy = True
            return self._requests.popitem(last=False)[1]

    def _fail_all(self) -> None:
        for request in self._requests.values():
            request.fail()
            request.done.set()

    def note_done(self, request: Request | None) -> None:
        """Note that a request, or a look at links, has ended; one that failed is repeated."""
        with self._condition:
            self._busy = False
            if request and request.failed:
                before = self._failed.get(request.path, request)
                both = Request(request.path, request.force or before.force, request.live or before.live)
                both.unanswered = request.unanswered
                self._failed[request.path] = both
                self._failed_at = time.monotonic() + RETRY

    def note_unread(self, directories: Iterable[bytes]) -> None:
        """Note which directories could not be read."""
        self._unread = tuple(directories)

    def put_off_unread(self) -> None:
        """A walk has ended: the pause before directories that could not be read are walked again begins anew."""
        self._unread_at = time.monotonic() + self._unread_pause

    def hasten_unread(self) -> None:
        """A directory could not be read that could be before: begin with the shortest pause."""
        self._unread_pause = LOOK_AGAIN

    def note_links_looked_at(self, seconds: float) -> None:
        """Note how long a look at the links took."""
        self._links_at = time.monotonic() + max(LINKS_EVERY, LINKS_REST * seconds)
