"""The catalog as a backup or a bad disk may leave it: what it knows is true, or it is set aside and begun anew."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import invariant
from tests.support.albums import shoot
from tests.support.library import (
    NO_CHECKPOINT,
    Library,
    asked,
    committed,
    embeddings,
    expect_not_embedded,
    files_of,
    portray,
)
from tests.support.processes import Daemon, until

Resumed = Callable[..., Daemon]


# From a backup


def restore(library: Library, directory: Path) -> set[str]:
    """Put the early catalog, which was closed in order, in the place of the one there; return what it knows."""
    shutil.copy(files_of(library.early) / "catalog.sqlite3", directory / "catalog.sqlite3")
    return committed(files_of(library.early))


def expect_sound(catalog: Path) -> None:
    with closing(sqlite3.connect(catalog)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_catalog_from_a_backup_under_a_later_index(library: Library, resumed: Resumed) -> None:
    daemon = resumed(library.late)
    directory = files_of(daemon.data)
    known = restore(library, directory)
    with asked(daemon, library.photo):
        daemon.start()
        daemon.settle()
    assert "built again from the catalog" in daemon.log.read_text()
    invariant.check(daemon)
    expect_not_embedded(daemon, known)


def test_a_catalog_from_a_backup_under_a_later_write_ahead_log(library: Library, resumed: Resumed) -> None:
    """After a kill -9 the log is still there, and SQLite lays its pages over those of whatever catalog it finds."""
    daemon = resumed(library.killed)
    directory = files_of(daemon.data)
    assert (directory / "catalog.sqlite3-wal").stat().st_size > 100_000
    known = restore(library, directory)
    with asked(daemon, library.photo):
        daemon.start()
        daemon.settle()
        assert daemon.status()["problems"] == []
    invariant.check(daemon)
    expect_not_embedded(daemon, known)
    expect_sound(directory / "catalog.sqlite3")


def test_face_ids_that_are_given_a_second_time_after_a_restore(
    library: Library, resumed: Resumed, tmp_path: Path
) -> None:
    """All ids that the later index knows are in use again when the process is killed before a new index is written."""
    more = tmp_path / "more photos"
    portray(more, 30, 2000)
    daemon = resumed(library.late, more)
    directory = files_of(daemon.data)
    later = max(invariant.recorded(directory / "catalog.sqlite3").faces)
    known = restore(library, directory)
    daemon.hook(NO_CHECKPOINT)
    with asked(daemon, library.photo):
        daemon.start()
        daemon.settle()
        daemon.kill()
        assert max(invariant.recorded(directory / "catalog.sqlite3").faces) > later
        daemon.unhook()
        daemon.start()
        daemon.settle()
        assert daemon.embedded() == 0
    invariant.check(daemon)
    expect_not_embedded(daemon, known)


# Damaged


PAGE = 16384


def overwritten(data: bytes) -> bytes:
    return os.urandom(len(data))


def without_header(data: bytes) -> bytes:
    return bytes(PAGE) + data[PAGE:]


def cut(data: bytes) -> bytes:
    return data[: len(data) // PAGE // 2 * PAGE]


def every_page(data: bytes) -> bytes:
    pages = (data[at : at + PAGE] for at in range(PAGE, len(data), PAGE))
    return data[:PAGE] + b"".join(b"\xa5" * 200 + page[200:] for page in pages)


def one_page(data: bytes) -> bytes:
    at = len(data) // PAGE // 2 * PAGE
    return data[:at] + b"\xa5" * 200 + data[at + 200 :]


@pytest.mark.parametrize(
    ("damage", "after_a_kill"),
    [(without_header, False), (cut, False), (overwritten, True), (every_page, True)],
)
def test_a_damaged_catalog_is_set_aside_at_the_start_byte_for_byte(
    library: Library, resumed: Resumed, damage: Callable[[bytes], bytes], after_a_kill: bool
) -> None:
    """And everything is indexed anew. After a kill -9 the write-ahead log belongs to it, and is kept with it."""
    daemon = resumed(library.killed if after_a_kill else library.late)
    catalog = files_of(daemon.data) / "catalog.sqlite3"
    log = catalog.with_name("catalog.sqlite3-wal")
    catalog.write_bytes(damage(catalog.read_bytes()))
    damaged = catalog.read_bytes(), log.read_bytes() if log.exists() else b""
    with asked(daemon, library.photo):
        daemon.start()
        daemon.settle()
        assert daemon.status()["problems"] == []
    (kept,) = aside(catalog)
    kept_log = kept.with_name(kept.name + "-wal")
    assert kept.read_bytes() == damaged[0]
    assert (kept_log.read_bytes() if kept_log.exists() else b"") == damaged[1]
    assert str(kept) in daemon.log.read_text()
    invariant.check(daemon)
    assert set(embeddings(daemon).values()) == {1}


@pytest.mark.parametrize("damage", [every_page, one_page])
def test_a_catalog_damaged_behind_its_header_is_set_aside_at_the_latest_on_the_second_start(
    library: Library, resumed: Resumed, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """It was closed in order, so that not all of it is read at the start."""
    more = tmp_path / "more"
    shoot(more / "new.jpg", [1], 999)  # something to write
    daemon = resumed(library.late, more)
    catalog = files_of(daemon.data) / "catalog.sqlite3"
    catalog.write_bytes(damage(catalog.read_bytes()))
    for _ in range(3):
        process = daemon.launch()
        until(lambda ended=process.poll: ended() is not None or aside(catalog) or is_settled(daemon), deadline=30)
        if aside(catalog):
            break
        if process.poll() is None and (status := daemon.status())["state"] == "degraded":
            assert any("damaged" in problem for problem in status["problems"])
        daemon.kill()
    until(lambda: daemon.call("status"))
    invariant.check(daemon)
    assert aside(catalog)


def aside(catalog: Path) -> list[Path]:
    return list(catalog.parent.glob("catalog.sqlite3.damaged-*[0-9]"))


def is_settled(daemon: Daemon) -> bool:
    return daemon.status()["state"] in ("idle", "degraded")
