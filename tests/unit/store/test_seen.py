"""What was shown by name: noted once, kept over restarts, harmless when it is damaged."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from facewatchd.errors import StorageError
from facewatchd.store import seen as seen_module
from facewatchd.store.seen import SeenStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "seen.sqlite3"


@pytest.fixture
def seen(path: Path) -> Iterator[SeenStore]:
    with contextlib.closing(SeenStore(path)) as seen:
        yield seen


MANY = [b"%d" % number for number in range(1200)]


def test_each_name_has_its_own(seen: SeenStore, path: Path) -> None:
    assert seen.of("mail", MANY) == set()
    assert seen.note("mail", MANY[:700]) == 700
    assert seen.note("mail", MANY[600:800]) == 100
    assert seen.note("phone", MANY[:1]) == 1
    assert seen.of("mail", MANY) == set(MANY[:800])
    assert seen.of("phone", MANY) == {MANY[0]}
    assert seen.of("Mail", MANY) == set()
    seen.note("f\u00fcr mich", MANY[:2])
    assert seen.of("fu\u0308r mich", MANY) == set(MANY[:2]), "however it is typed"
    seen.close()
    assert seen.of("mail", MANY) == set(MANY[:800]), "over a restart"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_shown_is_carried_over_to_other_bytes(seen: SeenStore, path: Path) -> None:
    seen.carry([(b"1", b"2")])
    assert not path.exists(), "nothing was shown yet"
    seen.note("mail", [b"1"])
    seen.note("phone", [b"9"])
    seen.carry([(b"1", b"2"), (b"2", b"3")])
    assert (seen.of("mail", [b"2", b"3"]), seen.of("phone", [b"2", b"3"])) == ({b"2", b"3"}, set())


def test_what_others_may_read_is_made_private_with_its_log(seen: SeenStore, path: Path) -> None:
    seen.note("mail", MANY[:1])
    seen.close()
    path.chmod(0o644)
    seen.note("mail", MANY[1:2])
    files = list(path.parent.glob(f"{path.name}*"))
    assert len(files) == 3
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}


def test_the_name_that_was_not_used_for_longest_makes_room(seen: SeenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(seen_module.time, "time", lambda: float(next(clock)))
    monkeypatch.setattr(seen_module, "MOST_NAMES", 2)
    for name in ("a", "b", "a", "c"):
        seen.note(name, [b"1"])
    assert [bool(seen.of(name, [b"1"])) for name in "abc"] == [True, False, True]


def test_a_damaged_file_is_set_aside(seen: SeenStore, path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)
    assert seen.note("mail", MANY[:1]) == 1
    (aside,) = path.parent.glob("seen.sqlite3.damaged-*")
    assert aside.read_bytes() == b"no database at all" * 1000


def test_a_file_that_cannot_be_opened_or_written_is_one_line(seen: SeenStore, path: Path) -> None:
    path.mkdir()
    with pytest.raises(StorageError, match="what was printed before"):
        seen.of("mail", MANY)
    path.rmdir()
    seen.note("mail", MANY[:1])
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TRIGGER full BEFORE INSERT ON seen BEGIN SELECT raise(ABORT, 'disk full'); END;")
    with pytest.raises(StorageError, match="disk full"):
        seen.note("mail", MANY)
    assert seen.of("mail", MANY) == set(MANY[:1])
