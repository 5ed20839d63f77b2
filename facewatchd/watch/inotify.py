"""watchdog's inotify observer, made to say what it hides: the one module that imports watchdog.

An `EventStream` is one inotify queue with its threads: a reader, an emitter for each watch, and a dispatcher, which
calls ``tell(path, settle, written)``. watchdog 7.1 has these holes, which are closed or made visible here:

- An overflow of the queue is only logged. `_Reader` reports it, once watchdog has set its watches again.
- Its bookkeeping loses paths when a directory is moved out of a watched one, and then a KeyError ends the reader, with
  a traceback, or leaves an emitter that never ends. `_Reader` reports its end, `_Emitter` always ends.
- The same bookkeeping takes two directories that were exchanged for one another. `EventStream.paths` shows it.
- A handler that raises ends the dispatcher.
- Moves from and to elsewhere look like deletes and creates, unless the emitter is the full one.

Names of watchdog's that are used and not documented: ``InotifyFD.handle_event``, ``_inotify_fd``, ``_is_reading`` and
``_lock``, ``InotifyEmitter._inotify``, ``InotifyWatchGroup._active_callbacks_by_watch``.

A `Heartbeat` proves that events still flow.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from watchdog import events
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.observers.inotify import InotifyFullEmitter
from watchdog.observers.inotify_c import InotifyEvent, InotifyFD

logger = logging.getLogger(__name__)

Watch: TypeAlias = ObservedWatch
Tell: TypeAlias = Callable[[bytes, bool, bool], None]

# Without this list the daemon's own reads would be events. FileModifiedEvent is what makes watchdog ask for IN_ATTRIB.
_EVENTS: list[type[events.FileSystemEvent]] = [
    *(events.FileCreatedEvent, events.FileModifiedEvent, events.FileClosedEvent, events.FileAttribEvent),
    *(events.FileMovedEvent, events.FileDeletedEvent),
    *(events.DirCreatedEvent, events.DirMovedEvent, events.DirDeletedEvent, events.DirAttribEvent),
]
_AT_REST = (events.EVENT_TYPE_MOVED, events.EVENT_TYPE_DELETED)
_JOIN_SECONDS = 10.0


class EventStream:
    """One inotify queue and its threads, which run from the start to `close`."""

    def __init__(self, lost: Callable[[], None], ended: Callable[[], None]) -> None:
        """Open the queue; OSError (EMFILE) where none can be had.

        ``lost`` is called when events were lost, the watches standing again; ``ended`` when no more will come. Both
        are called from the reader's thread.
        """
        self._reader = _Reader(lost, ended)
        self._reader.start()
        self._observer = _Observer(self._reader)
        self._observer.start()

    def watch_tree(self, directory: bytes, tell: Tell) -> Watch:
        """Watch a real path and all below it; the watches are set on return.

        ``tell(path, settle, written)`` is called for files and directories; ``settle`` is False for directories and
        for what is at rest: moved or deleted; ``written`` is True for a file that was closed after it was open for
        writing: its bytes may have changed where its stamp has not, by a write through a mapping. OSError where the
        directory itself cannot be watched; below it, that is silent, and only what the kernel shows of the
        `descriptor` tells.
        """
        return self._observer.schedule(_Handler(tell), os.fsdecode(directory), recursive=True, event_filter=_EVENTS)

    def watch_closes(self, directory: bytes, tell: Tell) -> Watch:
        """Watch for files right in the directory that are closed after they were open for writing."""
        kinds: list[type[events.FileSystemEvent]] = [events.FileClosedEvent]
        return self._observer.schedule(_Handler(tell), os.fsdecode(directory), event_filter=kinds)

    def unwatch(self, watch: Watch) -> None:
        """Remove a watch; one that is not there is no error."""
        with contextlib.suppress(KeyError):
            self._observer.unschedule(watch)

    def is_full(self) -> bool:
        """Whether the user has no more watches: tried on a directory that holds no photos."""
        try:
            self.unwatch(self.watch_closes(b"/proc", lambda _path, _settle, _written: None))
        except OSError as exc:
            return exc.errno == errno.ENOSPC
        return False

    def is_alive(self) -> bool:
        """Whether the threads that every event passes are alive."""
        return self._observer.is_alive() and self._reader.is_alive()

    def follows(self, watch: Watch) -> bool:
        """Whether the thread of this watch is alive: it ends when the directory is removed."""
        return any(emitter.watch == watch and emitter.is_alive() for emitter in tuple(self._observer.emitters))

    def paths(self, watch: Watch) -> dict[int, bytes]:
        """Say which path the events of each watch descriptor of a tree are told under.

        watchdog may be wrong: of two directories that were exchanged (``renameat2``) each is told under the other's.
        """
        for emitter in tuple(self._observer.emitters):
            if emitter.watch == watch and isinstance(emitter, _Emitter):
                return emitter.paths()
        return {}

    @property
    def descriptor(self) -> int:
        """The inotify descriptor, as in ``/proc/self/fdinfo``."""
        return self._reader.descriptor

    def close(self) -> None:
        """Stop and join every thread, and close the queue."""
        self._observer.stop()
        self._observer.join(_JOIN_SECONDS)


class Heartbeat:
    """The heartbeat: a file that is opened and closed, and the event that must follow. Times are the clock's seconds.

    Nothing is written, so that neither a full disk nor a sleeping one matters.
    """

    def __init__(self, path: Path, every: float, deadline: float, clock: Callable[[], float]) -> None:
        self.watch: Watch | None = None
        self.missed = 0
        """Beats in a row that were not heard."""
        self._path = Path(os.path.realpath(path.parent)) / path.name
        self._every = every
        self._deadline = deadline
        self._clock = clock
        self._due_at = 0.0
        self._sent_at: float | None = None
        self._last_event = 0.0

    def listen(self, stream: EventStream, now: float) -> None:
        """Watch the file's directory. To be called before the roots are watched: of two masks the later one holds."""
        self.reset(now)
        try:
            self.watch = stream.watch_closes(os.fsencode(self._path.parent), self._hear)
        except OSError as exc:
            logger.warning("no heartbeat for the file system events, %s cannot be watched: %s", self._path.parent, exc)

    def reset(self, now: float) -> None:
        """Expect nothing until the next beat; each miss in a row doubles the time to it, up to an hour."""
        self._sent_at = None
        self._due_at = now + min(self._every * 2 ** min(self.missed, 12), max(3600.0, self._every))

    def beat(self, now: float) -> None:
        """Send one if it is time."""
        if self.watch is None or self._sent_at is not None or now < self._due_at:
            return
        self._sent_at = now  # before it is sent: it may be heard at once
        try:
            os.close(
                os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
            )
        except OSError as exc:
            logger.debug("no heartbeat: %s", exc)
            self.reset(now)

    def is_missing(self, now: float) -> bool:
        """Whether nothing at all was heard since the beat, in the time that it was given; counts the misses."""
        sent_at = self._sent_at
        if sent_at is None or now - max(sent_at, self._last_event) <= self._deadline:
            return False
        self.missed += 1
        return True

    def felt(self) -> None:
        """Note that some event came: a beat that waits behind thousands of them is not missing."""
        self._last_event = self._clock()

    def _hear(self, path: bytes, _settle: bool, _written: bool) -> None:
        if path == os.fsencode(self._path):
            self.missed = 0
            self.reset(self._clock())


class WatchdogLog(logging.Handler):
    """Takes watchdog's own log lines while it is installed: what they tell is told better by those who use this."""

    def __init__(self) -> None:
        super().__init__()
        self._source = logging.getLogger("watchdog")
        self._before: tuple[bool, int] | None = None

    def install(self) -> None:
        """Keep watchdog's lines and warnings from the user."""
        self._before = (self._source.propagate, self._source.level)
        self._source.addHandler(self)
        self._source.propagate = False
        self._source.setLevel(logging.WARNING)
        # A harmless race: the event of a new directory comes after the walk that has found it already. Where warnings
        # are errors, it would end the reader.
        warnings.filterwarnings("ignore", "Callback with id ", RuntimeWarning, r"watchdog\.")

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a line on as one of ours, for those who debug."""
        logger.debug("watchdog: %s", record.getMessage())

    def remove(self) -> None:
        """Put the logger back as it was."""
        if self._before is not None:
            self._source.removeHandler(self)
            self._source.propagate, self._source.level = self._before
            self._before = None


class _Reader(InotifyFD):
    def __init__(self, lost: Callable[[], None], ended: Callable[[], None]) -> None:
        super().__init__()
        self.name = "watcher-reader"
        self._lost = lost
        self._ended = ended

    @property
    def descriptor(self) -> int:
        return self._inotify_fd

    def handle_event(self, event: InotifyEvent) -> None:
        super().handle_event(event)
        if event.is_queue_overflow:
            self._lost()

    def run(self) -> None:
        try:
            super().run()
        except Exception as exc:  # noqa: BLE001 - whatever it was, no more events come
            logger.warning("the reader of file system events ended: %r", exc)
        finally:
            with self._lock:
                self._is_reading = False  # or close() would leave the descriptors to a thread that is no more
            self._ended()


class _Emitter(InotifyFullEmitter):
    def on_thread_start(self) -> None:
        self.name = f"watcher-emitter {self.watch.path!r}"
        super().on_thread_start()

    def run(self) -> None:
        try:
            super().run()
        except Exception as exc:  # noqa: BLE001 - whatever it was, `follows` tells
            logger.warning("the watch of %r ended: %r", self.watch.path, exc)

    def paths(self) -> dict[int, bytes]:
        """Each watch descriptor's path."""
        group = self._inotify
        watches = group._active_callbacks_by_watch.copy() if group is not None else {}  # another thread changes it
        return {int(number): path for number, path in watches.items()}

    def on_thread_stop(self) -> None:
        group = self._inotify
        while group is not None:
            try:
                group.deactivate()
            except KeyError:  # a path that the bookkeeping has lost; each is raised once, and then forgotten
                continue
            break
        super().on_thread_stop()


class _Observer(BaseObserver):
    """watchdog's InotifyObserver, with the reader and the emitters above."""

    def __init__(self, reader: _Reader) -> None:
        super().__init__(_Emitter, inotify_fd=reader)
        self.name = "watcher-events"
        self._reader = reader

    def on_thread_stop(self) -> None:
        super().on_thread_stop()
        self._reader.stop()
        self._reader.join(_JOIN_SECONDS)


class _Handler(events.FileSystemEventHandler):
    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def dispatch(self, event: events.FileSystemEvent) -> None:
        if event.is_synthetic:
            return  # below a directory that moved: whoever is told of the directory looks through it
        settle = not event.is_directory and event.event_type not in _AT_REST
        written = event.event_type == events.EVENT_TYPE_CLOSED
        try:
            for path in (event.dest_path, event.src_path):
                if path:
                    self._tell(os.fsencode(path), settle, written)
        except Exception:
            logger.exception("an event was lost: %r", event)
