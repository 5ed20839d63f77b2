"""watchdog's inotify observer, with its silent failures reported: the one module that imports watchdog.

An `EventStream` is one inotify instance with its threads: a reader, an emitter for each watch, and a dispatcher, which
calls ``tell(path, settle, written)``. watchdog 7.1 fails silently in these ways:

- An overflow of the kernel's queue is only logged. `_Reader` reports it, once watchdog has set its watches again.
- Its bookkeeping loses paths when a directory is moved out of a watched one. Then a KeyError ends the reader, with a
  traceback, or leaves an emitter that never ends. `_Reader` reports its end, and `_Emitter` always ends.
- The same bookkeeping confuses two directories that were exchanged with ``renameat2``. `EventStream.paths` shows it.
- A handler that raises ends the dispatcher. `_Handler` raises nothing.
- Moves from and to unwatched directories look like deletes and creates, unless the emitter is InotifyFullEmitter.

Names of watchdog's that are used and not documented: ``InotifyFD.handle_event``, ``_inotify_fd``, ``_is_reading`` and
``_lock``, ``InotifyEmitter._inotify``, ``InotifyWatchGroup._active_callbacks_by_watch``. So the version is pinned to
7.x, and a test fails when one of them is gone.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import warnings
from collections.abc import Callable
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
    """One inotify instance and its threads, which run from the start to `close`."""

    def __init__(self, lost: Callable[[], None], ended: Callable[[], None]) -> None:
        """Open the inotify instance; OSError (EMFILE) where the user has no more.

        ``lost`` is called when events were lost, after the watches were set again; ``ended`` when no more will come.
        Both are called on the reader's thread.
        """
        self._reader = _Reader(lost, ended)
        self._reader.start()
        self._observer = _Observer(self._reader)
        self._observer.start()

    def watch_tree(self, directory: bytes, tell: Tell) -> Watch:
        """Watch a real path and all below it; the watches are set on return.

        ``tell(path, settle, written)`` is called for files and directories. ``settle`` is False for directories and
        for files that were moved or deleted. ``written`` is True for a file that was closed after it was open for
        writing: its bytes may have changed where its stamp has not, by a write through a mapping. Raises OSError where
        the directory itself cannot be watched. A directory below it that cannot be watched is missing without an error
        from what the kernel shows of the `descriptor`.
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
        """Whether the user has no more inotify watches: tried on ``/proc``, which holds no photos."""
        try:
            self.unwatch(self.watch_closes(b"/proc", lambda _path, _settle, _written: None))
        except OSError as exc:
            return exc.errno == errno.ENOSPC
        return False

    def is_alive(self) -> bool:
        """Whether the reader and the dispatcher run."""
        return self._observer.is_alive() and self._reader.is_alive()

    def follows(self, watch: Watch) -> bool:
        """Whether the emitter of this watch runs: it ends when the directory is removed."""
        return any(emitter.watch == watch and emitter.is_alive() for emitter in tuple(self._observer.emitters))

    def paths(self, watch: Watch) -> dict[int, bytes]:
        """The path under which watchdog reports the events of each watch descriptor of a tree.

        It may be wrong: of two directories that were exchanged (``renameat2``) each is reported under the other's.
        """
        for emitter in tuple(self._observer.emitters):
            if emitter.watch == watch and isinstance(emitter, _Emitter):
                return emitter.paths()
        return {}

    @property
    def descriptor(self) -> int:
        """The file descriptor of the inotify instance."""
        return self._reader.descriptor

    def close(self) -> None:
        """Stop and join every thread, and close the inotify instance."""
        self._observer.stop()
        self._observer.join(_JOIN_SECONDS)


class WatchdogLog(logging.Handler):
    """Passes watchdog's own log lines on as debug lines while it is installed: the watcher words what they mean."""

    def __init__(self) -> None:
        super().__init__()
        self._source = logging.getLogger("watchdog")
        self._before: tuple[bool, int] | None = None

    def install(self) -> None:
        """Begin."""
        self._before = (self._source.propagate, self._source.level)
        self._source.addHandler(self)
        self._source.propagate = False
        self._source.setLevel(logging.WARNING)
        # A harmless race: the event of a new directory comes after the walk that has found it already. Where warnings
        # are errors, it would end the reader.
        warnings.filterwarnings("ignore", "Callback with id ", RuntimeWarning, r"watchdog\.")

    def emit(self, record: logging.LogRecord) -> None:
        """Log a line of watchdog's as one of ours."""
        logger.debug("watchdog: %s", record.getMessage())

    def remove(self) -> None:
        """Put watchdog's logger back as it was."""
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
            return  # below a directory that moved, which is walked anyway
        settle = not event.is_directory and event.event_type not in _AT_REST
        written = event.event_type == events.EVENT_TYPE_CLOSED
        try:
            for path in (event.dest_path, event.src_path):
                if path:
                    self._tell(os.fsencode(path), settle, written)
        except Exception:
            logger.exception("an event was lost: %r", event)
