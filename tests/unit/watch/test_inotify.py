"""watchdog's undocumented names, of which `facewatchd.watch.inotify` makes use, and what their values are."""

from __future__ import annotations

import os
import threading
from contextlib import closing
from pathlib import Path

from watchdog.observers.inotify_c import InotifyFD

from facewatchd.watch.inotify import EventStream


def test_the_undocumented_names_of_watchdog_are_as_they_were(tmp_path: Path) -> None:
    """When this fails with a new watchdog, read its changes before the version is allowed in pyproject.toml."""
    (tmp_path / "a").mkdir()
    stream = EventStream(lambda: None, lambda: None)
    with closing(stream):
        watch = stream.watch_tree(os.fsencode(tmp_path), lambda _path, _settle, _written: None)
        reader = stream._reader
        assert callable(InotifyFD.handle_event)
        assert str(Path(f"/proc/self/fd/{reader._inotify_fd}").readlink()) == "anon_inode:inotify"
        assert reader._is_reading is True
        assert isinstance(reader._lock, type(threading.RLock()) | type(threading.Lock()))
        (emitter,) = (each for each in stream._observer.emitters if each.watch == watch)
        group = emitter._inotify  # type: ignore[attr-defined]
        assert sorted(group._active_callbacks_by_watch.values()) == sorted(
            os.fsencode(path) for path in (tmp_path, tmp_path / "a")
        )
        assert sorted(stream.paths(watch).values()) == sorted(group._active_callbacks_by_watch.values())
