"""Decoding and inference, in a process of their own, so that no photo can end or stop the daemon.

Decoders are large C libraries that meet arbitrary bytes. What they and the model do to their process - crash it, fill
its memory, never return - happens to a child here:

- A photo with which the process died is tried once more, alone in a fresh process, so that the guilty can be told from
  those that were in hand beside it. When that dies too, it is an `UnreadablePhotoError`.
- A photo that takes more than `CPU_LIMIT` is one at once, and the process is killed. So it is when nothing moves for
  `REST_LIMIT`, which may be another photo's fault: that counts as a death.
- The process has a limit on its memory, and is what the kernel kills first where memory runs out.

It also leaves the daemon's interpreter free for answers, can be in the idle scheduling class as a whole, and gives all
of the model's memory back when it ends after a rest. `wire` is what is spoken; `worker` is the child.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from facewatchd import priority
from facewatchd.errors import FacewatchError, ModelError, OutOfMemoryError, UnreadablePhotoError
from facewatchd.inference.wire import AHEAD, Line, Seen, Setup, receive_info, receive_seen
from facewatchd.records import ModelInfo

log = logging.getLogger(__name__)

CPU_LIMIT = 300.0
"""Seconds of CPU that one photo may take: 250 megapixels of HEIC take a slow machine less than a minute."""
REST_LIMIT = 300.0
"""Seconds for which its thread may rest. On a busy machine one in the idle class mostly waits: that is no rest."""
LOAD_LIMIT = 600.0
"""Seconds in which the model must be loaded."""
LOOK_EVERY = 1.0
"""Seconds between two looks at how long a photo takes."""
_TICKS = os.sysconf("SC_CLK_TCK")
_HINT = "try to open it in an image viewer"


class NoModelError(ModelError):
    """The model cannot be loaded: no photo is to blame."""


class ClosedError(FacewatchError):
    """The daemon ends."""

    kind = "not-ready"


def _closed() -> ClosedError:
    return ClosedError("the daemon is stopping", "try again when it runs")


class WaitEndedError(Exception):
    """What a callable that is called while a photo waits raises to have it wait no more."""


class _DiedError(Exception):
    """The process ended, or was ended for another photo's sake, with this one in hand."""


class Inference:
    """A process that is started when it is needed, and as often. Any thread may ask.

    ``lines``: photos that it looks at at the same time. `AHEAD` more are sent to it and wait there, so that it never
    waits for one.
    """

    def __init__(
        self,
        setup: Setup,
        lines: int,
        beat: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``beat`` is called now and then by who waits for a photo: it takes its time, and is looked after."""
        self._setup = setup
        self._beat = beat
        self._lines = lines + AHEAD
        self._clock = clock
        self._condition = threading.Condition()
        self._in_hand = 0
        self._alone = False
        self._suspects = 0
        self._closed = False
        self._loading = False
        self._process: _Process | None = None
        self._confinement = ""
        self._starting = threading.Lock()
        self._used_at = clock()

    def start(self) -> ModelInfo:
        """Have the model loaded, and say what it is. Raises `NoModelError`, and `ClosedError` at the end."""
        with self._turn(alone=False) as process:
            return process.info

    @property
    def confinement(self) -> str:
        """How far the latest process is confined, as it says itself: `Confinement.state`; empty before the first."""
        return self._confinement

    def see(self, data: bytes | int, waiting: Callable[[], None] = lambda: None) -> Seen:
        """Decode a photo, find and embed its faces. ``data``: its bytes, or a descriptor of its file.

        ``waiting`` is called each second until the answer comes. What it raises is raised, and the answer passed over.

        Raises `UnreadablePhotoError` for what cannot be decoded, or brought the process down twice, `ModelError` where
        inference failed, `NoModelError`, and `ClosedError` at the end.
        """

        def beat() -> None:
            self._beat()
            waiting()

        try:
            with self._turn(alone=False) as process:
                return process.see(data, beat)
        except (_DiedError, OutOfMemoryError) as exc:
            log.debug("%s with this photo in hand: it is tried again, alone", exc)
        try:
            with self._turn(alone=True) as process:
                return process.see(data, self._beat)
        except _DiedError as exc:
            if self._closed:
                raise _closed() from exc
            raise UnreadablePhotoError(f"crashed: its process {exc}, twice with this photo in hand", _HINT) from exc

    def attempt(self, data: bytes | int, beat: Callable[[], None]) -> Seen | None:
        """Decode a photo like `see`, but once: None where the process died, lacks memory, or has no model.

        Raises what `see` raises otherwise.
        """
        try:
            with self._turn(alone=False) as process:
                return process.see(data, beat)
        except (_DiedError, OutOfMemoryError, NoModelError) as exc:
            log.debug("%s with a photo for the index in hand", exc)
            return None

    def effort(self) -> tuple[float, bool] | None:
        """Seconds of processor time that the process took so far, and whether it runs or could; None without one."""
        process = self._process
        return None if process is None or self._loading else process.effort()

    @contextlib.contextmanager
    def _turn(self, *, alone: bool) -> Iterator[_Process]:
        with self._condition:
            while not self._condition.wait_for(lambda: self._closed or self._is_free(alone=alone), LOOK_EVERY):
                self._beat()
            self._suspects -= alone
            self._in_hand += 1
            self._alone = alone
        again = False
        try:
            yield self._running()
        except (_DiedError, OutOfMemoryError):
            again = not alone
            raise
        finally:
            with self._condition:
                self._suspects += again  # before anybody else can have a turn
                self._in_hand -= 1
                self._alone = False
                self._used_at = self._clock()
                self._condition.notify_all()

    def _is_free(self, *, alone: bool) -> bool:
        if alone:
            return self._in_hand == 0
        if self._suspects or self._alone:
            return False
        return self._in_hand == 0 or (self._in_hand < self._lines and self._lives())

    def _lives(self) -> bool:
        """Whether the process can take another photo: one that died is replaced when all who had it have seen that."""
        return self._process is not None and not self._loading and self._process.is_alive()

    def _running(self) -> _Process:
        with self._starting:
            if self._closed:
                raise _closed()
            process = self._process
            if process is not None and not process.is_alive():
                if self._in_hand > 1:  # it died just now, and the others have yet to see that
                    raise _DiedError(process.fate())
                log.warning("the process for %s %s: it is started again", self._setup.purpose, process.fate())
                self._discard()
                process = None
            return process or self._load()

    def _load(self) -> _Process:
        self._loading = True
        try:
            process = self._process = _Process(self._setup, self._lines)
            if self._closed:  # `close` may have come too early to end it
                process.kill()
            process.load(self._setup, self._beat)
            if self._setup.idle:  # not before: a load of 1 s would take minutes beside programs that always compute
                process.make_idle()
            self._confinement = process.confinement
        except NoModelError as exc:
            self._discard()
            if self._closed:
                raise _closed() from exc
            raise
        finally:
            with self._condition:
                self._loading = False
                self._condition.notify_all()
        return process

    def _discard(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def release_after(self, seconds: float) -> bool:
        """End a process that nobody asked for so long, and say whether that was done: its memory is free again."""
        with self._condition:
            if self._in_hand or self._clock() - self._used_at < seconds or self._process is None:
                return False
            self._in_hand = self._lines  # nobody's turn until it is gone
        self._discard()
        with self._condition:
            self._in_hand = 0
            self._condition.notify_all()
        return True

    def close(self, grace: float = 0.0) -> None:
        """Take no more photos, give those in hand ``grace`` seconds, and end the process.

        Who waits for it, or asks later, gets a `ClosedError`.
        """
        with self._condition:
            self._closed = True
            self._condition.notify_all()
            if not self._loading:
                self._condition.wait_for(lambda: not self._in_hand, grace)
        if process := self._process:
            process.kill()
        with self._starting:
            self._discard()


class _Process:
    """One child and its lines. `load` comes first, `end` last."""

    info: ModelInfo
    confinement: str
    """`Confinement.state`, as the process says it."""

    def __init__(self, setup: Setup, lines: int) -> None:
        """Start it. Raises `NoModelError`."""
        self._all: list[Line] = []
        self._threads: dict[Line, int] = {}
        self._killed = False
        self._life = -1
        try:
            self._popen = self._start(setup, lines)
        except OSError as exc:
            self._close()
            raise NoModelError(
                f"no process can be started for the model: {exc.strerror}", "free some memory, or raise `ulimit -n`"
            ) from exc
        self._free = list(self._all)
        self._owed: set[Line] = set()
        """Lines of photos that were given up: on each an answer comes that nobody waits for."""

    def _start(self, setup: Setup, lines: int) -> subprocess.Popen[bytes]:
        with contextlib.ExitStack() as theirs:
            life, self._life = os.pipe()  # its end of file is how the child learns that the daemon is no more
            theirs.callback(os.close, life)
            passed = [life]
            for _ in range(lines):
                ours, end = socket.socketpair()
                self._all.append(Line(ours))
                passed.append(theirs.enter_context(end).fileno())
            command = [sys.executable, "-P", "-m", "facewatchd.inference.worker", setup.purpose, *map(str, passed)]
            return subprocess.Popen(
                command,
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=setup.idle,
            )

    def load(self, setup: Setup, beat: Callable[[], None]) -> None:
        """Wait until the model is loaded, with a ``beat`` each second. Raises `NoModelError`."""
        line = self._all[0]
        try:
            line.socket.settimeout(LOAD_LIMIT)
            line.send_json(setup.to_json())
            _wait_for(line, LOAD_LIMIT, beat)
            self.info, self.confinement = receive_info(line)
            self._threads = {each: each.receive_json()["thread"] for each in self._all}
            line.socket.settimeout(None)
        except ModelError as exc:
            raise NoModelError(exc.message, exc.hint) from exc
        except Exception as exc:  # whatever it says, or does not say: it is no use
            raise NoModelError(
                f"the model {setup.pack.name} cannot be loaded: its process {self.fate()}", "see `facewatchd doctor`"
            ) from exc

    def make_idle(self) -> None:
        """Have it leave the processors to others. It cannot do so itself once it is confined."""
        priority.make_idle(self._popen.pid)

    def see(self, data: bytes | int, beat: Callable[[], None]) -> Seen:
        line = self._free.pop()
        try:
            if line in self._owed:
                self._await(line, beat)
                with contextlib.suppress(FacewatchError):
                    receive_seen(line)
            line.send_photo(data)
            self._await(line, beat)
            seen = receive_seen(line)
        except (FacewatchError, _DiedError, WaitEndedError):
            raise
        except Exception as exc:  # no answer, or none that makes sense: the line would be out of step
            raise _DiedError(self.fate()) from exc
        else:
            return seen
        finally:
            self._free.insert(0 if line in self._owed else len(self._free), line)

    def _await(self, line: Line, beat: Callable[[], None]) -> None:
        """`_wait`; while that is not over, and after it was broken off, the line is one of those that owe an answer."""
        self._owed.add(line)
        self._wait(line, beat)
        self._owed.discard(line)

    def _wait(self, line: Line, beat: Callable[[], None]) -> None:
        """Wait for the answer to begin, with a ``beat`` each second; kill the process when it takes too long."""
        poll = select.poll()
        poll.register(line.socket, select.POLLIN)
        thread = Path(f"/proc/{self._popen.pid}/task/{self._threads[line]}/stat")
        begun = before = None
        rests = 0
        while not poll.poll(LOOK_EVERY * 1000):
            beat()
            now, is_runnable = _work(thread)
            if begun is None or before is None:  # most photos are done before it comes to that
                begun = before = now
            rests = 0 if is_runnable or now > before else rests + 1
            before = now
            if now - begun > CPU_LIMIT:
                self.kill()
                raise UnreadablePhotoError(f"hangs: it was not read after {now - begun:.0f} s of work", _HINT)
            if rests * LOOK_EVERY > REST_LIMIT:
                self.kill()
                raise _DiedError("hung")

    def effort(self) -> tuple[float, bool]:
        """Processor time of all threads so far, in seconds, and whether any of them runs or could."""
        works = [_work(stat) for stat in Path(f"/proc/{self._popen.pid}/task").glob("*/stat")]
        return sum(seconds for seconds, _ in works), any(is_runnable for _, is_runnable in works)

    def is_alive(self) -> bool:
        return not self._killed and self._popen.poll() is None

    def kill(self) -> None:
        """End it at once; who waits for an answer sees the end of the line."""
        self._killed = True  # it may take its time to go
        if self._popen.poll() is not None:
            return
        self._popen.kill()
        priority.hurry(self._popen.pid)  # on a busy machine one of the idle class would hardly get to its end
        for line in self._all:
            with contextlib.suppress(OSError):
                line.socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """End it, and let go of everything. Nobody may be waiting for an answer."""
        self.kill()
        self._popen.wait()
        self._close()

    def _close(self) -> None:
        if self._life >= 0:
            os.close(self._life)
        for line in self._all:
            line.close()

    def fate(self) -> str:
        """Say how it ended; one that let go of a line is ended, as it is no use any more."""
        self.kill()
        code = self._popen.wait()
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


def _wait_for(line: Line, seconds: float, beat: Callable[[], None]) -> None:
    """Wait until there is something to receive, with a ``beat`` each `LOOK_EVERY`; not longer than so many seconds."""
    poll = select.poll()
    poll.register(line.socket, select.POLLIN)
    for _ in range(int(seconds / LOOK_EVERY)):  # counted, so that a stop of the process is no time that has passed
        beat()
        if poll.poll(LOOK_EVERY * 1000):
            return
    raise TimeoutError(f"nothing came in {seconds:g} s")


def _work(stat: Path) -> tuple[float, bool]:
    """User and system time of a thread in seconds, and whether it runs or could, of proc_pid_stat(5)."""
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, False
    return (int(fields[11]) + int(fields[12])) / _TICKS, fields[0] == "R"
