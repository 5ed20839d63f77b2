"""Decoding and inference, in a process of their own, so that no photo can end or stop the daemon.

Decoders are large C libraries that meet arbitrary bytes. What they and the model do to their process - crash it, fill
its memory, never return - happens to a child here:

- A photo with which the process died is tried once more, alone in a fresh process, so that the guilty can be told from
  those that were in hand beside it. When that dies too, it is an `UnreadablePhotoError`.
- A photo that takes more than `deadlines.CPU_LIMIT` is one at once, and the process is killed. So it is when nothing
  moves for `deadlines.REST_LIMIT`, which may be another photo's fault: that counts as a death.
- An answer that makes no sense (`validation`) is a death, too: the process is ended, as the channel is out of step.
- A death by a signal from outside (SIGKILL where memory runs out, or an administrator's) says nothing about the photo:
  that is a `SetbackError`, and the photo is tried again later. So is what the daemon itself lacks to hand it on.
- The process has a limit on its memory, and is what the kernel kills first where memory runs out.

It also leaves the daemon's interpreter free for answers, can be in the idle scheduling class as a whole, and gives all
of the model's memory back when it ends after a rest. `wire` is what is spoken; `worker` is the child.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from facewatchd.errors import FacewatchError, ModelError, OutOfMemoryError, UnreadablePhotoError
from facewatchd.inference import deadlines
from facewatchd.inference.deadlines import HINT, AnswerDeadline, DiedError, LoadDeadline
from facewatchd.inference.validation import InvalidAnswerError
from facewatchd.inference.wire import AHEAD, Analysis, Channel, Setup, receive_analysis, receive_info, receive_threads
from facewatchd.system import malloc, scheduling
from facewatchd.values import ModelInfo

log = logging.getLogger(__name__)

LOADS = 5
"""Times that a process is started whose loading a signal ends."""
PARTING = 5.0
"""Seconds in which a process that let go of a channel must have ended, before it is killed."""
_OWN = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS}
    | {signal.SIGXFSZ, signal.SIGXCPU}
)
"""Signals that a process brings upon itself."""


class NoModelError(ModelError):
    """The model cannot be loaded: no photo is to blame."""


class ClosedError(FacewatchError):
    """The daemon ends."""

    kind = "not-ready"


def _closed() -> ClosedError:
    return ClosedError("the daemon is stopping", "try again when it runs")


class SetbackError(FacewatchError):
    """A photo could not be looked at for a reason that need not be its own: it is to be tried again later, alone."""

    kind = "not-ready"

    def __init__(self, message: str, hint: str, *, counts: bool = False) -> None:
        """``counts``: the photo was alone with its process, and there was memory to spare."""
        super().__init__(message, hint)
        self.counts = counts


class WaitEndedError(Exception):
    """What a callable that is called while a photo waits raises to have it wait no more."""


class Inference:
    """A process that is started when it is needed, and as often. Any thread may ask.

    ``parallel``: photos that it looks at at the same time. `AHEAD` more are sent to it and wait there, so that it never
    waits for one.
    """

    def __init__(
        self,
        setup: Setup,
        parallel: int,
        beat: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``beat`` is called now and then by who waits for a photo: it takes its time, and is looked after."""
        self._setup = setup
        self._beat = beat
        self._channels = parallel + AHEAD
        self._clock = clock
        self._condition = threading.Condition()
        self._in_hand = 0
        self._alone = False
        self._suspects = 0
        self._closed = False
        self._loading = False
        self._process: _Process | None = None
        self.info: ModelInfo | None = None
        """What the model is: as the first process says, unless it is known before. Later ones must say the same."""
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

    def analyse(
        self, data: bytes | int, waiting: Callable[[], None] = lambda: None, *, alone: bool = False
    ) -> Analysis:
        """Decode a photo, find and embed its faces. ``data``: its bytes, or a descriptor of its file.

        ``alone``: with no other photo in hand, from the start.

        ``waiting`` is called each second until the answer comes, but for a photo that is alone. What it raises is
        raised, and the answer passed over.

        Raises `UnreadablePhotoError` for what cannot be decoded, or brought the process down twice, `SetbackError`,
        `ModelError` where inference failed, `NoModelError`, and `ClosedError` at the end.
        """
        if alone:
            with self._condition:
                self._suspects += 1
        else:
            try:
                with self._turn(alone=False) as process:
                    return process.analyse(data, self._beat, waiting)
            except (DiedError, OutOfMemoryError) as exc:
                log.debug("%s with this photo in hand: it is tried again, alone", exc)
        plenty = malloc.has_spare_memory()
        try:
            with self._turn(alone=True) as process:
                return process.analyse(data, self._beat)
        except DiedError as exc:
            if self._closed:
                raise _closed() from exc
            if exc.from_outside:
                counts = plenty and malloc.has_spare_memory()
                raise SetbackError(f"its process {exc}, from outside", "it is tried again", counts=counts) from exc
            raise UnreadablePhotoError(f"crashed: its process {exc}, twice with this photo in hand", HINT) from exc

    def attempt(self, data: bytes | int, beat: Callable[[], None]) -> Analysis | None:
        """Decode a photo like `analyse`, but once. Raises what `analyse` raises otherwise.

        None where the process died, lacks memory, has no model, or cannot be given the photo.
        """
        try:
            with self._turn(alone=False) as process:
                return process.analyse(data, beat)
        except (DiedError, OutOfMemoryError, NoModelError, SetbackError) as exc:
            log.debug("%s with a photo for the index in hand", exc)
            return None

    def effort(self) -> tuple[float, bool] | None:
        """Seconds of processor time that the process took so far, and whether it runs or could; None without one."""
        process = self._process
        return None if process is None or self._loading else process.effort()

    @contextlib.contextmanager
    def _turn(self, *, alone: bool) -> Iterator[_Process]:
        with self._condition:
            while not self._condition.wait_for(
                lambda: self._closed or self._is_free(alone=alone), deadlines.LOOK_EVERY
            ):
                self._beat()
            self._suspects -= alone
            self._in_hand += 1
            self._alone = alone
        again = False
        try:
            yield self._running()
        except (DiedError, OutOfMemoryError):
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
        return self._in_hand == 0 or (self._in_hand < self._channels and self._lives())

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
                    raise process.death()
                log.warning("the process for %s %s: it is started again", self._setup.purpose, process.death())
                self._discard()
                process = None
            return process or self._load()

    def _load(self) -> _Process:
        """Start a process; one that a signal ends meanwhile is started again, some times."""
        self._loading = True
        try:
            for left in reversed(range(LOADS)):
                try:
                    return self._load_once()
                except DiedError as exc:
                    if self._closed:
                        raise _closed() from exc
                    if not (left and exc.by_signal):
                        name = self._setup.pack.name
                        raise NoModelError(
                            f"the model {name} cannot be loaded: its process {exc}", "see `facewatchd doctor`"
                        ) from exc
                    log.warning("the process for %s %s while it loaded: it is started again", self._setup.purpose, exc)
            raise AssertionError
        finally:
            with self._condition:
                self._loading = False
                self._condition.notify_all()

    def _load_once(self) -> _Process:
        try:
            process = self._process = _Process(self._setup, self._channels)
            if self._closed:  # `close` may have come too early to end it
                process.kill()
            process.load(self._setup, self.info, self._beat)
            self.info = process.info
            if self._setup.idle:  # not before: a load of 1 s would take minutes beside programs that always compute
                process.make_idle()
            self._confinement = process.confinement
        except (NoModelError, DiedError) as exc:
            self._discard()
            if self._closed:
                raise _closed() from exc
            raise
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
            self._in_hand = self._channels  # nobody's turn until it is gone
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
    """One child and its channels. `load` comes first, `end` last."""

    info: ModelInfo
    confinement: str
    """`Confinement.state`, as the process says it."""

    def __init__(self, setup: Setup, channels: int) -> None:
        """Start it. Raises `NoModelError`."""
        self._all: list[Channel] = []
        self._threads: dict[Channel, int] = {}
        self._killed = False
        self._ended_by_us = False
        self._life = -1
        try:
            self._popen = self._start(setup, channels)
        except (OSError, MemoryError) as exc:
            self._close()
            raise NoModelError(
                f"no process can be started for the model: {_reason(exc)}", "free some memory, or raise `ulimit -n`"
            ) from exc
        self._free = list(self._all)
        self._owed: set[Channel] = set()
        """Lines of photos that were given up: on each an answer comes that nobody waits for."""

    def _start(self, setup: Setup, channels: int) -> subprocess.Popen[bytes]:
        with contextlib.ExitStack() as theirs:
            life, self._life = os.pipe()  # its end of file is how the child learns that the daemon is no more
            theirs.callback(os.close, life)
            passed = [life]
            for _ in range(channels):
                ours, end = socket.socketpair()
                self._all.append(Channel(ours))
                passed.append(theirs.enter_context(end).fileno())
            command = [sys.executable, "-P", "-m", "facewatchd.inference.worker", setup.purpose, *map(str, passed)]
            return subprocess.Popen(
                command,
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=setup.idle,
            )

    def load(self, setup: Setup, known: ModelInfo | None, beat: Callable[[], None]) -> None:
        """Wait until the model is loaded, with a ``beat`` each second. Raises `NoModelError`, and `DiedError`.

        ``known``: what the model must be, where that is known.
        """
        try:
            for channel in self._all:
                channel.before_receive = LoadDeadline(channel, beat)
            self._all[0].send_json(setup.to_json())
            self.info, self.confinement = receive_info(self._all[0], setup.pack)
            if self.info != (known or self.info):
                raise InvalidAnswerError("another model than before")
            self._threads = receive_threads(self._all, self._popen.pid)
        except ModelError as exc:
            raise NoModelError(exc.message, exc.hint) from exc
        except (InvalidAnswerError, TimeoutError) as exc:
            self.kill()
            raise NoModelError(
                f"the model {setup.pack.name} cannot be loaded: its process says nonsense ({exc})"
                if isinstance(exc, InvalidAnswerError)
                else f"the model {setup.pack.name} was not loaded in {deadlines.LOAD_LIMIT:.0f} s",
                "see `facewatchd doctor`",
            ) from exc
        except (OSError, EOFError) as exc:
            raise self.death() from exc

    def make_idle(self) -> None:
        """Have it leave the processors to others. It cannot do so itself once it is confined."""
        scheduling.make_idle(self._popen.pid)

    def analyse(
        self, data: bytes | int, beat: Callable[[], None], waiting: Callable[[], None] = lambda: None
    ) -> Analysis:
        """``waiting`` may raise to give the photo up: the channel then owes an answer, which is passed over later."""
        channel = self._free.pop()
        try:
            if channel in self._owed:
                self._drain(channel, beat, waiting)
            channel.expect_silence()
            self._hand_on(channel, data)
            self._owed.add(channel)
            channel.before_receive = watch = AnswerDeadline(self, channel, self._threads[channel], beat)
            watch.wait_for_beginning(waiting)
            self._owed.discard(channel)
            return receive_analysis(channel, self.info.dim)
        except InvalidAnswerError as exc:
            self.kill()
            raise DiedError(f"answered nonsense: {exc}") from exc
        except (FacewatchError, DiedError, WaitEndedError):
            raise
        except Exception as exc:  # no answer: the channel would be out of step
            raise self.death() from exc
        finally:
            self._free.insert(0 if channel in self._owed else len(self._free), channel)

    def _drain(self, channel: Channel, beat: Callable[[], None], waiting: Callable[[], None]) -> None:
        """Receive and pass over the answer about a photo that was given up."""
        channel.before_receive = watch = AnswerDeadline(self, channel, self._threads[channel], beat)
        try:
            watch.wait_for_beginning(waiting)
            receive_analysis(channel, self.info.dim)
        except UnreadablePhotoError as exc:
            if self._killed:  # the photo that was given up hangs, not the one that waits behind it
                raise DiedError("hung") from exc
        except FacewatchError:
            pass
        self._owed.discard(channel)

    def _hand_on(self, channel: Channel, data: bytes | int) -> None:
        try:
            channel.send_photo(data)
        except (BrokenPipeError, ConnectionResetError):
            raise
        except (OSError, MemoryError) as exc:
            hint = (
                "raise `ulimit -f`" if getattr(exc, "errno", 0) == errno.EFBIG else "free memory, or raise `ulimit -n`"
            )
            raise SetbackError(f"it cannot be handed to its process: {_reason(exc)}", hint) from exc

    @property
    def pid(self) -> int:
        return self._popen.pid

    def effort(self) -> tuple[float, bool]:
        """Processor time of all threads so far, in seconds, and whether any of them runs or could."""
        works = [deadlines.work(stat) for stat in Path(f"/proc/{self._popen.pid}/task").glob("*/stat")]
        return sum(seconds for seconds, _ in works), any(is_runnable for _, is_runnable in works)

    def is_alive(self) -> bool:
        return not self._killed and self._popen.poll() is None

    def kill(self) -> None:
        """End it at once; who waits for an answer sees the end of the channel."""
        self._killed = True  # it may take its time to go
        if self._popen.poll() is not None:
            return
        self._ended_by_us = True
        self._popen.kill()
        scheduling.make_normal(self._popen.pid)  # on a busy machine one of the idle class would hardly get to its end
        for channel in self._all:
            with contextlib.suppress(OSError):
                channel.socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """End it, and let go of everything. Nobody may be waiting for an answer."""
        self.kill()
        self._popen.wait()
        self._close()

    def _close(self) -> None:
        if self._life >= 0:
            os.close(self._life)
        for channel in self._all:
            channel.close()

    def death(self) -> DiedError:
        """How it ended; one that let go of a channel though it lives is ended."""
        if not self._killed:
            scheduling.make_normal(self._popen.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(PARTING)
        self.kill()
        code = self._popen.wait()
        if code >= 0:
            return DiedError(f"ended with {code}")
        number = signal.Signals(-code)
        outside = not self._ended_by_us and number not in _OWN
        return DiedError(f"was ended by {number.name}", by_signal=not self._ended_by_us, from_outside=outside)


def _reason(exc: Exception) -> str:
    return getattr(exc, "strerror", None) or "there is not enough memory"
