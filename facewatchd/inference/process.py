"""One inference process, as the daemon sees it: started, given photos, ended, and asked how it ended.

`pool` says when one is started and what becomes of a photo; `worker` is what runs in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from facewatchd.errors import FacewatchError, ModelError, UnreadablePhotoError
from facewatchd.inference import deadlines
from facewatchd.inference.deadlines import AnswerDeadline, LoadDeadline
from facewatchd.inference.failures import DiedError, NoModelError, SetbackError, WaitEndedError
from facewatchd.inference.validation import InvalidAnswerError
from facewatchd.inference.wire import (
    Again,
    Analysis,
    Answer,
    Channel,
    Headers,
    Picture,
    Pictured,
    Question,
    Setup,
    Sidecar,
    receive_analysis,
    receive_description,
    receive_info,
    receive_named,
    receive_picture,
    receive_threads,
)
from facewatchd.models.devices import Placement
from facewatchd.photos.crops import Crop
from facewatchd.photos.description import Description
from facewatchd.photos.regions import Named
from facewatchd.system import child_process, scheduling
from facewatchd.values import ModelInfo

PARTING = 5.0
"""Seconds in which a process that closed a channel must have ended, before it is killed."""
_OWN = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS}
    | {signal.SIGXFSZ, signal.SIGXCPU}
)
"""Signals that a process brings upon itself."""


class ChildProcess:
    """One process and its channels. `load` is called first, `end` last."""

    info: ModelInfo | None
    """None without a model."""
    placement: Placement
    """The devices that compute the model, as the process says it."""
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
        self._owed: dict[Channel, Question] = {}
        """Channels on which the answer about an abandoned photo is still to be discarded, with what was asked."""

    def _start(self, setup: Setup, channels: int) -> subprocess.Popen[bytes]:
        with contextlib.ExitStack() as theirs:
            life, self._life = os.pipe()  # by its end of file the child learns that the daemon is gone
            theirs.callback(os.close, life)
            passed = [life]
            for _ in range(channels):
                ours, end = socket.socketpair()
                self._all.append(Channel(ours))
                passed.append(theirs.enter_context(end).fileno())
            command = child_process.command("facewatchd.inference.worker", setup.purpose, *map(str, passed))
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
            self.info, self.placement, self.confinement = receive_info(
                self._all[0], setup.pack if setup.has_model else None
            )
            if self.info != (known or self.info):
                raise InvalidAnswerError("another model than before")
            self._threads = receive_threads(self._all, self._popen.pid)
        except ModelError as exc:
            raise NoModelError(exc.message, exc.hint) from exc
        except (InvalidAnswerError, TimeoutError) as exc:
            self.kill()
            raise NoModelError(
                f"the model {setup.pack.name} cannot be loaded: its process sent an invalid answer ({exc})"
                if isinstance(exc, InvalidAnswerError)
                else f"the model {setup.pack.name} was not loaded in {deadlines.LOAD_LIMIT:.0f} s",
                "see `facewatchd doctor`",
            ) from exc
        except (OSError, EOFError) as exc:
            raise self.death() from exc

    def make_idle(self) -> None:
        """Put it into the idle scheduling class. It cannot do so itself once it is confined."""
        scheduling.make_idle(self._popen.pid)

    def analyse(
        self,
        data: bytes | int,
        beat: Callable[[], None],
        waiting: Callable[[], None] = lambda: None,
        again: Again | None = None,
    ) -> Analysis:
        """Send a photo and wait for the faces on it. ``waiting`` may raise to abandon the photo: its answer is then
        discarded before the channel is used again. ``again``: for a second look.
        """
        answer = self._ask(data, again, beat, waiting)
        assert isinstance(answer, Analysis)
        return answer

    def describe(
        self, data: bytes | int, headers: Headers, beat: Callable[[], None], waiting: Callable[[], None]
    ) -> Description:
        """Send a photo and wait for what its headers say, as `analyse` does."""
        answer = self._ask(data, headers, beat, waiting)
        assert isinstance(answer, Description)
        return answer

    def names(self, data: int, sidecar: Sidecar, beat: Callable[[], None], waiting: Callable[[], None]) -> Named:
        """Send a file that lies beside photos and wait for what it says about people, as `analyse` does."""
        answer = self._ask(data, sidecar, beat, waiting)
        assert isinstance(answer, Named)
        return answer

    def picture(self, data: bytes | int, crop: Crop, beat: Callable[[], None]) -> Pictured:
        """Send a photo and wait for a thumbnail of it, as `analyse` does."""
        answer = self._ask(data, Picture(crop), beat, lambda: None)
        assert isinstance(answer, Pictured)
        return answer

    def _ask(
        self, data: bytes | int, question: Question, beat: Callable[[], None], waiting: Callable[[], None]
    ) -> Answer:
        channel = self._free.pop()
        try:
            if channel in self._owed:
                self._drain(channel, beat, waiting)
            channel.expect_silence()
            self._hand_on(channel, data, question)
            self._owed[channel] = question
            channel.before_receive = watch = AnswerDeadline(self, channel, self._threads[channel], beat)
            watch.wait_for_beginning(waiting)
            del self._owed[channel]
            return self._receive(channel, question)
        except InvalidAnswerError as exc:
            self.kill()
            raise DiedError(f"sent an invalid answer: {exc}") from exc
        except (FacewatchError, DiedError, WaitEndedError):
            raise
        except Exception as exc:  # no answer: the channel would be out of step
            raise self.death() from exc
        finally:
            self._free.insert(0 if channel in self._owed else len(self._free), channel)

    def _receive(self, channel: Channel, question: Question) -> Answer:
        if isinstance(question, Headers):
            return receive_description(channel)
        if isinstance(question, Sidecar):
            return receive_named(channel, question.kind)
        if isinstance(question, Picture):
            return receive_picture(channel, question.crop)
        assert self.info is not None
        return receive_analysis(channel, self.info.dim, question)

    def _drain(self, channel: Channel, beat: Callable[[], None], waiting: Callable[[], None]) -> None:
        """Receive and pass over the answer about a photo that was given up."""
        channel.before_receive = watch = AnswerDeadline(self, channel, self._threads[channel], beat)
        try:
            watch.wait_for_beginning(waiting)
            self._receive(channel, self._owed[channel])
        except UnreadablePhotoError as exc:
            if self._killed:  # the photo that was given up hangs, not the one that waits behind it
                raise DiedError("hung") from exc
        except FacewatchError:
            pass
        del self._owed[channel]

    def _hand_on(self, channel: Channel, data: bytes | int, question: Question) -> None:
        try:
            channel.send_photo(data, question)
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
        """Processor time of all its threads so far, in seconds, and whether any of them is runnable.

        What had not been read when the process was reaped does not count.
        """
        works: list[tuple[float, bool]] = []
        with contextlib.suppress(OSError):
            works += map(deadlines.work, Path(f"/proc/{self._popen.pid}/task").glob("*/stat"))
        return sum(seconds for seconds, _ in works), any(is_runnable for _, is_runnable in works)

    def is_alive(self) -> bool:
        return not self._killed and self._popen.poll() is None

    def kill(self) -> None:
        """Kill it; a thread that waits for an answer sees the end of the channel."""
        self._killed = True  # it may be a while until it has ended
        if self._popen.poll() is not None:
            return
        self._ended_by_us = True
        self._popen.kill()
        scheduling.make_normal(self._popen.pid)  # on a busy machine one of the idle class would hardly get to its end
        for channel in self._all:
            with contextlib.suppress(OSError):
                channel.socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Kill it, wait for its end, and close everything. No thread may be waiting for an answer."""
        self.kill()
        self._popen.wait()
        self._close()

    def _close(self) -> None:
        if self._life >= 0:
            os.close(self._life)
        for channel in self._all:
            channel.close()

    def death(self) -> DiedError:
        """How it ended. It is killed where it closed a channel and still runs after `PARTING` seconds."""
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
