"""The process boundary: photos are decoded, and faces found in them, in a child process, never in the daemon.

Decoders are large C libraries that read bytes which anybody may have made. A photo can crash the process that decodes
it, fill its memory, keep it busy for ever, or take it over. The rules here have one aim: such a photo costs a restart
of the child and is reported as unreadable, while the daemon and all other photos are unharmed.

**One process, several photos at a time.** An `Inference` starts its process when a photo comes, and again when that
process has died. The process serves several channels (`wire`), each with a thread of its own and one photo at a time.
There is one channel more than threads that may compute at once (`AHEAD`), so that the next photo has already arrived
when a thread becomes free. A photo is sent as an open descriptor: the process has no right to open files
(`confinement`). Two `Inference` objects exist in the daemon: one for indexing, whose process is in the idle scheduling
class as a whole, and one for queries. Because the work is done elsewhere, the daemon's own interpreter stays free for
answers; because the process ends after a rest (`release_after`), all memory of the model goes back to the system.

**Time.** A photo may use `deadlines.CPU_LIMIT` seconds of processor time; a photo that uses more is unreadable at once,
and the process is killed. The time for which it waits for a processor does not count, as a process in the idle class
may wait for hours; but a thread that neither computes nor waits for a processor for `deadlines.REST_LIMIT` seconds
hangs: its process is killed, which counts as a death.

**Which photo is to blame.** When the process dies, every photo that it had in hand fails with `DiedError`. Each of them
is then tried once more, alone: no other photo is sent before its answer. If the process dies again, that photo is to
blame, and is an `UnreadablePhotoError`. The same is done when memory runs out, as another photo may have taken it.
While photos wait to be tried alone, no other photo is admitted. `Inference.attempt` does not try again.

**Deaths that say nothing of the photo.** A signal from outside (SIGKILL of the kernel when memory runs out, or of an
administrator) is a `SetbackError`: the photo is tried again later. So is a failure to hand the photo over because the
daemon itself has no descriptors or memory left. The process sets a limit on its own memory, and asks the kernel to be
ended first when the machine runs out.

**Answers are not trusted.** Every length, type and range is checked (`validation`). An answer that breaks a rule counts
as a death, because after it the channel may be out of step: the next answer could be taken for another photo's.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from facewatchd.errors import OutOfMemoryError, UnreadablePhotoError
from facewatchd.inference import deadlines
from facewatchd.inference.deadlines import HINT
from facewatchd.inference.failures import ClosedError, DiedError, NoModelError, SetbackError
from facewatchd.inference.process import ChildProcess
from facewatchd.inference.wire import AHEAD, Again, Analysis, Headers, Pictured, Setup, Sidecar
from facewatchd.photos.crops import Crop
from facewatchd.photos.description import Description
from facewatchd.photos.regions import Named
from facewatchd.system import malloc
from facewatchd.values import ModelInfo

log = logging.getLogger(__name__)

T = TypeVar("T")

LOADS = 5
"""Times that a process is started whose loading is ended by a signal."""


class Inference:
    """A process that is started whenever it is needed, and the photos that are sent to it. Any thread may call.

    ``parallel``: photos that the process works on at the same time; `AHEAD` more wait in it.
    """

    def __init__(
        self,
        setup: Setup,
        parallel: int,
        beat: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``beat`` is called each second by a thread that waits here, as its sign of life."""
        self._setup = setup
        self._beat = beat
        self._channels = parallel + AHEAD
        self._clock = clock
        self._condition = threading.Condition()
        self._in_hand = 0
        """Photos that are admitted and have no answer yet."""
        self._alone = False
        """Whether the one in hand is tried alone."""
        self._suspects = 0
        """Photos that are to be tried alone, and are not admitted yet."""
        self._closed = False
        self._loading = False
        self._process: ChildProcess | None = None
        self.info: ModelInfo | None = None
        """What the model is: as the first process says, unless it is known before. Later ones must say the same."""
        self.placement = setup.placement
        """The devices that compute the model: as the first process says, unless it is known before."""
        self._confinement = ""
        self._starting = threading.Lock()
        self._used_at = clock()

    def start(self) -> ModelInfo:
        """Have the model loaded; return what it is. Raises `NoModelError`, and `ClosedError` after `close`."""
        with self._admitted() as process:
            assert process.info is not None
            return process.info

    @property
    def confinement(self) -> str:
        """How far the latest process is confined, as it says itself: `Confinement.state`; empty before the first."""
        return self._confinement

    def analyse(
        self, data: bytes | int, waiting: Callable[[], None] = lambda: None, *, alone: bool = False
    ) -> Analysis:
        """Decode a photo, and find and embed its faces. ``data``: its bytes, or a descriptor of its file.

        ``alone``: with no other photo in hand, from the start. ``waiting`` is called each second until the answer
        comes, but for a photo that is tried alone; what it raises is raised, and the answer is then passed over.

        Raises `UnreadablePhotoError` for a photo that cannot be decoded or with which the process died twice,
        `SetbackError`, `ModelError` where inference failed, `NoModelError`, and `ClosedError` after `close`.
        """
        return self._retried(
            lambda process: process.analyse(data, self._beat, waiting),
            lambda process: process.analyse(data, self._beat),
            alone=alone,
        )

    def picture(self, data: bytes | int, crop: Crop) -> Pictured:
        """Make a thumbnail of a photo. ``data`` is that of `analyse`, which says what is raised."""

        def ask(process: ChildProcess) -> Pictured:
            return process.picture(data, crop, self._beat)

        return self._retried(ask, ask)

    def _retried(
        self, ask: Callable[[ChildProcess], T], ask_again: Callable[[ChildProcess], T], *, alone: bool = False
    ) -> T:
        """Ask the process about a photo, and once more, ``alone``, where it dies or lacks memory."""
        if alone:
            with self._condition:
                self._suspects += 1
        else:
            try:
                with self._admitted(retried=True) as process:
                    return ask(process)
            except (DiedError, OutOfMemoryError) as exc:
                log.debug("%s with this photo in hand: it is tried again, alone", exc)
        plenty = malloc.has_spare_memory()
        try:
            with self._admitted(alone=True) as process:
                return ask_again(process)
        except DiedError as exc:
            if self._closed:
                raise ClosedError from exc
            if exc.from_outside:
                counts = plenty and malloc.has_spare_memory()
                raise SetbackError(f"its process {exc}, from outside", "it is tried again", counts=counts) from exc
            raise UnreadablePhotoError(f"crashed: its process {exc}, twice with this photo in hand", HINT) from exc

    def attempt(self, data: bytes | int, beat: Callable[[], None]) -> Analysis | None:
        """What `analyse` returns and raises, but the photo is tried only once.

        None where the process died, lacks memory, has no model, or cannot be given the photo.
        """
        try:
            with self._admitted() as process:
                return process.analyse(data, beat)
        except (DiedError, OutOfMemoryError, NoModelError, SetbackError) as exc:
            log.debug("%s with a photo for the index in hand", exc)
            return None

    def look_again(self, data: int, again: Again, waiting: Callable[[], None]) -> Analysis:
        """Take a second look at a photo, of which only what `second_look.look_again` finds is returned.

        ``waiting`` is called each second until the answer comes. Raises what `_once` raises.
        """
        return self._once(lambda process: process.analyse(data, self._beat, waiting, again))

    def describe(
        self, data: bytes | int, waiting: Callable[[], None] = lambda: None, *, names: bool = False
    ) -> Description:
        """Read the headers of a photo, without decoding it. ``data`` and ``waiting`` are those of `analyse`.

        ``names``: also what they say about people. Raises `UnreadablePhotoError`, and what `_once` raises.
        """
        return self._once(lambda process: process.describe(data, Headers(names), self._beat, waiting))

    def names(self, data: int, kind: str, waiting: Callable[[], None] = lambda: None) -> Named:
        """Read what a file that lies beside photos says about people. ``kind``: one of `regions.SIDECARS`.

        Raises what `_once` raises.
        """
        return self._once(lambda process: process.names(data, Sidecar(kind), self._beat, waiting))

    def _once(self, ask: Callable[[ChildProcess], T]) -> T:
        """Ask the process about a photo that is not tried again here, as no other photo may wait for it.

        Raises what `analyse` raises; a death of the process and a lack of memory are a `SetbackError`. A death counts
        unless it came from outside; the others count where there is memory to spare.
        """
        plenty = malloc.has_spare_memory()
        try:
            with self._admitted() as process:
                return ask(process)
        except DiedError as exc:
            if self._closed:
                raise ClosedError from exc
            counts = not exc.from_outside or (plenty and malloc.has_spare_memory())
            raise SetbackError(f"its process {exc}", "it is tried again", counts=counts) from exc
        except OutOfMemoryError as exc:
            counts = plenty and malloc.has_spare_memory()
            raise SetbackError(exc.message, exc.hint or "it is tried again", counts=counts) from exc

    def effort(self) -> tuple[float, bool] | None:
        """Seconds of processor time that the process has used, and whether it is runnable; None without a process."""
        process = self._process
        return None if process is None or self._loading else process.effort()

    @contextlib.contextmanager
    def _admitted(self, *, alone: bool = False, retried: bool = False) -> Iterator[ChildProcess]:
        """Wait until a photo may be sent, and hold its place until the block ends.

        ``retried``: the caller tries the photo again, alone, where the process died or lacked memory.
        """
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
            again = retried
            raise
        finally:
            with self._condition:
                self._suspects += again  # before another photo can be admitted
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
        """Whether the process can take another photo. One that died is replaced as soon as it has no photo in hand."""
        return self._process is not None and not self._loading and self._process.is_alive()

    def _running(self) -> ChildProcess:
        with self._starting:
            if self._closed:
                raise ClosedError
            process = self._process
            if process is not None and not process.is_alive():
                if self._in_hand > 1:  # the threads that wait for the others in hand have yet to see it
                    raise process.death()
                log.warning("the process for %s %s: it is started again", self._setup.purpose, process.death())
                self._discard()
                process = None
            return process or self._load()

    def _load(self) -> ChildProcess:
        """Start a process; one that a signal ends while it loads is started again, `LOADS` times in all."""
        self._loading = True
        try:
            for left in reversed(range(LOADS)):
                try:
                    return self._load_once()
                except DiedError as exc:
                    if self._closed:
                        raise ClosedError from exc
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

    def _load_once(self) -> ChildProcess:
        try:
            setup = replace(self._setup, placement=self.placement)
            process = self._process = ChildProcess(setup, self._channels)
            if self._closed:  # `close` may have come too early to end it
                process.kill()
            process.load(setup, self.info, self._beat)
            self.info, self.placement = process.info, process.placement
            if self._setup.idle:  # not before: a load of 1 s would take minutes beside programs that always compute
                process.make_idle()
            self._confinement = process.confinement
        except (NoModelError, DiedError) as exc:
            self._discard()
            if self._closed:
                raise ClosedError from exc
            raise
        return process

    def _discard(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def release_after(self, seconds: float) -> bool:
        """End a process that was given no photo for so many seconds; return whether one was ended."""
        with self._condition:
            if self._in_hand or self._clock() - self._used_at < seconds or self._process is None:
                return False
            self._in_hand = self._channels  # no photo is admitted until it has ended
        self._discard()
        with self._condition:
            self._in_hand = 0
            self._condition.notify_all()
        return True

    def close(self, grace: float = 0.0) -> None:
        """Admit no more photos, give those in hand ``grace`` seconds, and end the process.

        Threads that wait for it, and later calls, get a `ClosedError`.
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
