"""The store of what was said: steps, undo, forgetting, backups, and files that are left alone."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from facewatchd.errors import BadNameError, NameTakenError, StorageError, UnknownPersonError
from facewatchd.people import schema
from facewatchd.people.statements import Ignored, NewStatement, RelativeBox
from facewatchd.people.store import Action, PeopleStore
from facewatchd.store import recovery

LEFT, RIGHT = RelativeBox(0.1, 0.1, 0.2, 0.2), RelativeBox(0.6, 0.1, 0.2, 0.2)
DAY = 24 * 3600.0
START = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people.sqlite3"


@pytest.fixture
def reopen(path: Path, clock: Clock) -> Iterator[Callable[[], PeopleStore]]:
    stores: list[PeopleStore] = []

    def reopen() -> PeopleStore:
        for store in stores:
            store.close()
        stores.append(PeopleStore(path, clock))
        return stores[-1]

    yield reopen
    for store in stores:
        store.close()


@pytest.fixture
def store(reopen: Callable[[], PeopleStore]) -> PeopleStore:
    return reopen()


def yes(digest: bytes = b"one", box: RelativeBox | None = LEFT, at: float | None = None) -> NewStatement:
    return NewStatement(True, digest, box, at=at)


def no(digest: bytes = b"one", box: RelativeBox | None = LEFT) -> NewStatement:
    return NewStatement(False, digest, box)


def told(store: PeopleStore) -> set[tuple[str, bool, bytes, RelativeBox | None]]:
    people = store.people()
    names = {person.id: person.name for person in people.people}
    return {(names[each.person], each.is_person, each.digest, each.box) for each in people.statements}


def test_nothing_is_made_until_something_is_said(store: PeopleStore, path: Path) -> None:
    assert store.people().people == ()
    assert store.undo() is None
    store.tend()
    assert not path.exists()
    assert store.trouble == ""


def test_what_was_said_is_there_after_a_restart(
    store: PeopleStore, reopen: Callable[[], PeopleStore], path: Path
) -> None:
    said = store.say(" Anna", [yes(), yes(b"two", None)], "user")
    assert (said.person.name, said.is_new, said.added, said.known, said.moved) == ("Anna", True, 2, 0, ())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = reopen()
    assert told(again) == {("Anna", True, b"one", LEFT), ("Anna", True, b"two", None)}
    assert again.people().named("ANNA") == again.people().people[0]
    assert again.people().statements[0].at == START


def test_what_is_there_already_adds_nothing(store: PeopleStore) -> None:
    store.say("Anna", [yes()], "user")
    before = store.people()
    said = store.say("anna", [yes(box=RelativeBox(0.11, 0.1, 0.2, 0.2))], "user")
    assert (said.person.name, said.is_new, said.added, said.known) == ("Anna", False, 0, 1)
    assert store.people() is before


def test_a_face_moves_to_another_person_and_back(store: PeopleStore) -> None:
    store.say("Anna", [yes()], "user")
    assert store.say("Bert", [yes()], "user").moved == ("Anna",)
    assert told(store) == {("Bert", True, b"one", LEFT)}
    undone = store.undo()
    assert undone is not None
    assert (undone.action, undone.names, undone.statements) == (Action.SAY, ("Bert",), 1)
    assert told(store) == {("Anna", True, b"one", LEFT)}
    assert store.people().named("Bert") is None, "the step made the person"


def test_undo_takes_back_whole_calls_one_after_another(store: PeopleStore, reopen: Callable[[], PeopleStore]) -> None:
    states = [told(store)]
    store.say("Anna", [yes(), yes(b"two")], "user")
    states.append(told(store))
    store.say_all([("Bert", [yes(b"three")]), ("Anna", [no()])], "import")
    states.append(told(store))
    store.rename("Bert", "Berta")
    states.append(told(store))
    store.merge("Berta", "Anna")
    assert told(store) == {
        ("Anna", True, b"two", LEFT),
        ("Anna", False, b"one", LEFT),
        ("Anna", True, b"three", LEFT),
    }
    store = reopen()
    for action, names in (
        (Action.MERGE, {"Anna", "Berta"}),
        (Action.RENAME, {"Bert"}),
        (Action.SAY, {"Anna", "Bert"}),
        (Action.SAY, {"Anna"}),
    ):
        undone = store.undo()
        assert undone is not None
        assert (undone.action, set(undone.names)) == (action, names)
        assert told(store) == states.pop()
    assert store.undo() is None
    assert store.people().people == ()


def test_a_merged_name_is_free_and_the_later_statement_counts(store: PeopleStore) -> None:
    store.say("Anna", [yes()], "user")
    store.say("Ana", [no(), yes(b"two")], "user")
    store.merge("Ana", "Anna")
    assert told(store) == {("Anna", False, b"one", LEFT), ("Anna", True, b"two", LEFT)}
    assert store.say("Ana", [yes(b"three")], "user").is_new
    with pytest.raises(NameTakenError):
        store.merge("anna", "Anna")


def test_names_that_are_taken_unknown_or_none(store: PeopleStore) -> None:
    store.say("Anna", [yes()], "user")
    store.say("Bert", [], "import")
    with pytest.raises(NameTakenError, match="merge"):
        store.rename("Bert", "ANNA")
    assert store.rename("Anna", "ANNA").name == "ANNA"
    for call in (store.forget, lambda name: store.rename(name, "X"), lambda name: store.merge(name, "Bert")):
        with pytest.raises(UnknownPersonError, match="'Nobody'"):
            call("Nobody")
    with pytest.raises(BadNameError):
        store.say_all([("Carl", [yes()]), ("\n", [yes()])], "user")
    assert store.people().named("Carl") is None, "all of a call or nothing"


def test_an_older_statement_takes_the_place_of_no_later_one(store: PeopleStore) -> None:
    store.say("Anna", [no()], "user")
    said = store.say("Anna", [yes(at=START - 1), yes(b"two", at=START - 1)], "import")
    assert (said.added, said.outdated) == (1, 1)
    assert told(store) == {("Anna", False, b"one", LEFT), ("Anna", True, b"two", LEFT)}
    assert store.say("Anna", [yes()], "user").added == 1, "whatever the clock says"


def test_birth_and_hiding(store: PeopleStore, reopen: Callable[[], PeopleStore]) -> None:
    store.say("Anna", [], "user")
    store.describe("Anna", "2019-06", True)
    store.rename("Anna", "Anne")
    (person,) = reopen().people().people
    assert (person.name, person.born, person.hidden) == ("Anne", "2019-06", True)


def test_earlier_names_are_those_that_nobody_has_now(store: PeopleStore, reopen: Callable[[], PeopleStore]) -> None:
    for name in ("Anna", "Ben", "Carl"):
        store.say(name, [yes(name.encode())], "user")
    store.rename("Anna", "Anne")
    store.rename("Anne", "ANNE")
    store.rename("Ben", "Benno")
    store.merge("Benno", "Anne")
    store.rename("Carl", "Ben")
    known = reopen().people()
    assert known.earlier_names(known.require("Anne")) == ["Anna", "Benno"]
    assert known.earlier_names(known.require("Ben")) == ["Carl"]
    store = reopen()
    store.undo()
    store.undo()
    known = store.people()
    assert known.earlier_names(known.require("Benno")) == ["Ben"]


def bytes_of(directory: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file())


def test_what_is_forgotten_is_in_no_file(store: PeopleStore, path: Path, clock: Clock) -> None:
    for number in range(300):
        store.say(f"Person {number}", [yes(b"%d" % number)], "user")
        clock.now += DAY / 10
    store.say("Zwetschge", [yes(b"a"), yes(b"b"), no(b"c")], "user")
    clock.now += 8 * DAY
    store.rename("Zwetschge", "Quitte")
    store.say("Mispel", [yes(b"d")], "user")
    store.merge("Mispel", "Quitte")
    store.say("Person 1", [yes(b"a")], "user")
    assert b"Zwetschge" in bytes_of(path.parent)
    forgotten = store.forget("quitte")
    assert forgotten.backups > 1
    assert forgotten.statements == 3
    held = bytes_of(path.parent)
    assert not any(name in held for name in (b"Zwetschge", b"Quitte", b"Mispel"))
    assert b"Person 299" in held
    assert len(store.people().people) == 300
    assert ("Person 1", True, b"a", LEFT) in told(store), "what it took over stays"
    assert store.undo() is None, "what is forgotten is final"
    assert [copy.name for copy in path.parent.glob("people-*")] == [_backup(clock)]


def test_names_that_sqlite_copied_are_overwritten_too(store: PeopleStore, path: Path) -> None:
    """Where it spreads rows anew over pages, `secure_delete` leaves copies: with these, without VACUUM, of the 20th."""
    random = Random(11)
    names = [f"Name{number:04d}{'y' * random.randrange(170)}" for number in range(80)]
    store.say_all([(name, []) for name in names], "user")
    for name in random.sample(names, 40):
        store.rename(name, name + "z" * random.randrange(1, 15))
    left = [person.name for person in store.people().people]
    random.shuffle(left)
    for name in left[:20]:
        store.forget(name)
        assert name[:8].encode() not in path.read_bytes()


@pytest.mark.parametrize("is_settled", [False, True])
def test_a_face_that_moved_to_the_forgotten_person_does_not_move_back(store: PeopleStore, is_settled: bool) -> None:
    store.say("Anna", [yes()], "user")
    if is_settled:
        store.say("Carl", [], "user")
        store.forget("Carl")
    store.say("Bert", [yes()], "user")
    store.forget("Bert")
    assert told(store) == set()
    assert store.people().named("Anna") is not None


def _backup(clock: Clock) -> str:
    from datetime import datetime

    return f"people-{datetime.fromtimestamp(clock.now).astimezone().date()}.sqlite3"


def copies(path: Path) -> dict[str, int]:
    """The backups, each with the number of its statements."""
    found = {}
    for copy in sorted(path.parent.glob("people-*")):
        with closing(sqlite3.connect(copy)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
            ((found[copy.name],),) = db.execute("SELECT count(*) FROM statement").fetchall()
    return found


def test_a_backup_a_day_while_it_changes(store: PeopleStore, path: Path, clock: Clock) -> None:
    store.say("Anna", [yes()], "user")
    first = _backup(clock)
    assert stat.S_IMODE((path.parent / first).stat().st_mode) == 0o600
    store.say("Bert", [yes(b"two")], "user")
    assert copies(path) == {first: 1}
    clock.now += DAY
    store.tend()
    second = _backup(clock)
    assert copies(path) == {first: 1, second: 2}, "the day before, it changed after the copy"
    clock.now += 30 * DAY
    store.tend()
    assert copies(path) == {first: 1, second: 2}, "it did not change"
    clock.now -= 60 * DAY
    store.say("Carl", [yes(b"three")], "user")
    assert copies(path) == {_backup(clock): 3, first: 1}, "the clock was set back"


def test_of_earlier_days_a_copy_a_week_stays(store: PeopleStore, path: Path, clock: Clock) -> None:
    days = []
    for number in range(100):
        days.append(_backup(clock))
        store.say("Anna", [yes(b"%d" % number)], "user")
        held = list(copies(path))
        assert held[-1] == days[-1], "of today"
        assert held[:-1] == days[:-1:7][-4:], "and of four weeks before"
        clock.now += DAY


def test_the_copy_of_the_day_holds_what_the_days_before_brought(
    store: PeopleStore, reopen: Callable[[], PeopleStore], path: Path, clock: Clock
) -> None:
    for number in range(200):
        store.say("Anna", [yes(b"%d" % number)], "user")
        clock.now += 6 * DAY / 200
    assert max(copies(path).values()) > 150
    clock.now += DAY
    reopen()
    assert max(copies(path).values()) == 200


def test_a_backup_is_a_way_back(
    store: PeopleStore, reopen: Callable[[], PeopleStore], path: Path, clock: Clock
) -> None:
    store.say("Anna", [yes()], "user")
    backup = path.parent / _backup(clock)
    store.close()
    path.unlink()
    lost = reopen()
    assert backup.name in lost.trouble
    for call in (lost.people, lambda: lost.say("Bert", [yes()], "user")):
        with pytest.raises(StorageError, match=backup.name):
            call()
    assert not path.exists()
    path.write_bytes(backup.read_bytes())
    assert told(reopen()) == {("Anna", True, b"one", LEFT)}


@pytest.mark.parametrize("damage", ["foreign", "newer", "empty", "garbage", "flipped", "cut"])
def test_a_file_that_is_not_understood_is_left_alone(
    store: PeopleStore, reopen: Callable[[], PeopleStore], path: Path, damage: str
) -> None:
    store.say_all([(f"Person {number}", [yes(b"%d" % number)]) for number in range(200)], "user")
    store.close()
    data = bytearray(path.read_bytes())
    if damage in ("foreign", "newer"):
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA application_id = 7" if damage == "foreign" else "PRAGMA user_version = 99")
    elif damage == "flipped":
        data[5000:9000] = bytes(255 - byte for byte in data[5000:9000])
        path.write_bytes(data)
    else:
        path.write_bytes({"empty": b"", "garbage": b"no database " * 999, "cut": data[: len(data) // 2]}[damage])
    before = path.read_bytes()
    again = reopen()
    assert str(path) in again.trouble
    assert "\n" not in again.trouble
    for call in (again.people, again.undo, lambda: again.say("Anna", [yes()], "user"), lambda: again.forget("Anna")):
        with pytest.raises(StorageError):
            call()
    again.tend()
    assert path.read_bytes() == before


@pytest.mark.parametrize("is_backup", [False, True])
def test_the_log_of_a_killed_process_is_not_laid_over_a_backup(
    store: PeopleStore, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_backup: bool
) -> None:
    store.say("Anna", [yes()], "user")
    backup = path.read_bytes()
    store.say("Bert", [yes(b"two")], "user")
    monkeypatch.setattr(recovery, "empty_log", lambda db: None)
    store.say("Carl", [yes(b"three")], "user")
    store.say("Dora", [yes(b"four")], "user")
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(path.with_name("people.sqlite3-wal"), other)
    (other / path.name).write_bytes(backup if is_backup else path.read_bytes())
    monkeypatch.undo()
    again = PeopleStore(other / path.name)
    try:
        names = [person.name for person in again.people().people]
        assert names == (["Anna"] if is_backup else ["Anna", "Bert", "Carl", "Dora"])
        assert len(list(other.glob("*-wal.foreign-*"))) == is_backup
        again.forget("Anna")
        assert b"Anna" not in bytes_of(other)
    finally:
        again.close()


def test_a_backup_that_others_may_read_is_made_private_with_its_log(
    store: PeopleStore, reopen: Callable[[], PeopleStore], path: Path
) -> None:
    store.say("Anna", [yes()], "user")
    store.close()
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).touch()
        path.with_name(name).chmod(0o644)
    again = reopen()
    again.say("Bert", [yes(b"two")], "user")
    files = list(path.parent.glob(f"{path.name}*"))
    assert len(files) == 3
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}


def test_a_file_that_is_removed_meanwhile_takes_no_statement(store: PeopleStore, path: Path) -> None:
    store.say("Anna", [yes()], "user")
    path.rename(path.with_name("elsewhere"))
    with pytest.raises(StorageError, match="removed or replaced"):
        store.say("Bert", [yes()], "user")
    assert store.people().named("Bert") is None
    store.tend()
    assert "removed or replaced" in store.trouble
    path.with_name("elsewhere").rename(path)
    store.tend()
    assert store.trouble == ""
    store.say("Bert", [yes()], "user")


def test_a_file_that_is_put_there_meanwhile_is_not_replaced(store: PeopleStore, path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"mine")
    with pytest.raises(StorageError, match="put there"):
        store.say("Anna", [yes()], "user")
    assert path.read_bytes() == b"mine"


def test_a_backup_before_a_migration(
    store: PeopleStore, reopen: Callable[[], PeopleStore], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.say("Anna", [yes()], "user")
    store.close()
    before = path.read_bytes()
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    monkeypatch.setattr(schema, "MIGRATIONS", {3: "ALTER TABLE person ADD COLUMN note TEXT;"})
    assert told(reopen()) == {("Anna", True, b"one", LEFT)}
    backup = path.with_name("people.sqlite3.before-v4")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    with closing(sqlite3.connect(backup)) as copy:
        assert copy.execute("PRAGMA user_version").fetchone() == (3,)
        assert copy.execute("SELECT name FROM description").fetchall() == [("Anna",)]
    assert before != path.read_bytes()


def test_a_file_without_ignored_faces_gets_them(
    store: PeopleStore, reopen: Callable[[], PeopleStore], path: Path
) -> None:
    store.say("Anna", [yes()], "user")
    store.close()
    with closing(sqlite3.connect(path)) as db:
        db.executescript("DROP TABLE ignored; PRAGMA user_version = 1;")
    again = reopen()
    assert told(again) == {("Anna", True, b"one", LEFT)}
    assert again.ignore([Ignored(b"two", LEFT, in_group=False)]) == 1
    assert reopen().people().ignored.keys() == {b"two"}


def test_faces_that_a_file_says_are_ignored_still_are(
    store: PeopleStore, reopen: Callable[[], PeopleStore], path: Path
) -> None:
    store.ignore([Ignored(b"two", LEFT, in_group=True)])
    before = store.people().ignored
    store.close()
    with closing(sqlite3.connect(path)) as db:
        db.executescript("ALTER TABLE ignored DROP COLUMN is_ignored; PRAGMA user_version = 2;")
    again = reopen()
    assert again.people().ignored == before
    assert again.ignore([Ignored(b"two", LEFT, in_group=False, is_ignored=False)]) == 1


def test_faces_are_brought_back_at_any_time(
    store: PeopleStore, reopen: Callable[[], PeopleStore], clock: Clock
) -> None:
    def ignored() -> set[bytes]:
        return {digest for digest, said in reopen().people().ignored.items() for each in said if each.is_ignored}

    ignore = [Ignored(b"one", LEFT, in_group=True), Ignored(b"one", RIGHT, in_group=False)]
    back = [Ignored(b"one", LEFT, in_group=False, is_ignored=False)]
    assert store.ignore(back) == 0, "nothing was said of it"
    store.ignore(ignore)
    clock.now += DAY
    store.say("Anna", [yes()], "user")
    assert reopen().ignore(back) == 1
    (right, left) = reopen().people().ignored[b"one"]
    assert (right.box, right.is_ignored, left.box, left.is_ignored) == (RIGHT, True, LEFT, False)
    again = reopen()
    assert again.ignore(back) == 0, "it is known"
    assert again.say_all([], "import", ignored=[Ignored(b"one", LEFT, in_group=True, at=START)]) == []
    assert [each.is_ignored for each in again.people().ignored[b"one"]] == [True, False], "said before"
    undone = again.undo()
    assert undone is not None
    assert (undone.action, undone.statements) == (Action.BRING_BACK, 1)
    assert all(each.is_ignored for each in reopen().people().ignored[b"one"])
    again = reopen()
    again.ignore([Ignored(b"one", box, in_group=False, is_ignored=False) for box in (LEFT, RIGHT)])
    assert not ignored()
    assert reopen().ignore(ignore) == 2, "and ignored again"
    assert ignored() == {b"one"}


def test_faces_are_ignored_once_and_it_is_taken_back(store: PeopleStore, reopen: Callable[[], PeopleStore]) -> None:
    alone, together = Ignored(b"one", LEFT, in_group=False), Ignored(b"one", LEFT, in_group=True)
    other = Ignored(b"one", RelativeBox(0.6, 0.1, 0.2, 0.2), in_group=False)
    assert store.ignore([alone, other, alone]) == 2
    assert store.ignore([alone]) == 0, "no step"
    assert store.ignore([together]) == 1, "its whole group is more"
    assert [each.in_group for each in reopen().people().ignored[b"one"]] == [False, False, True]
    again = reopen()
    undone = again.undo()
    assert undone is not None
    assert (undone.action, undone.statements, undone.names) == (Action.IGNORE, 1, ())
    assert len(again.people().ignored[b"one"]) == 2
    again.undo()
    assert not reopen().people().ignored


def test_what_is_ignored_stays_where_a_person_is_forgotten(
    store: PeopleStore, reopen: Callable[[], PeopleStore]
) -> None:
    store.ignore([Ignored(b"one", LEFT, in_group=True)])
    store.say("Anna", [yes()], "user")
    store.forget("Anna")
    assert store.undo() is None
    assert reopen().people().ignored.keys() == {b"one"}


def test_no_migration_without_its_backup(
    store: PeopleStore, reopen: Callable[[], PeopleStore], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.say("Anna", [yes()], "user")
    store.close()
    before = path.read_bytes()
    path.with_name("people.sqlite3.before-v4").mkdir()
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    monkeypatch.setattr(schema, "MIGRATIONS", {3: "ALTER TABLE person ADD COLUMN note TEXT;"})
    again = reopen()
    assert "people.sqlite3" in again.trouble
    with pytest.raises(StorageError):
        again.people()
    assert path.read_bytes() == before


def test_a_migration_that_fails_changes_nothing(
    store: PeopleStore, reopen: Callable[[], PeopleStore], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.say("Anna", [yes()], "user")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "VERSION", schema.VERSION + 1)
        patch.setattr(schema, "MIGRATIONS", {3: "CREATE TABLE more(id INTEGER) STRICT; DROP TABLE none_such;"})
        assert reopen().trouble
    assert told(reopen()) == {("Anna", True, b"one", LEFT)}


def test_several_threads_say_something_at_once(store: PeopleStore, reopen: Callable[[], PeopleStore]) -> None:
    def say(number: int) -> None:
        for turn in range(5):
            store.say(f"Person {number % 3}", [yes(b"%d %d" % (number, turn))], "user")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(say, range(6)))
    said = told(store)
    assert len(said) == 30
    assert told(reopen()) == said


def test_forgetting_is_ended_later_where_another_process_reads(store: PeopleStore, path: Path, clock: Clock) -> None:
    store.say("Zwetschge", [yes()], "user")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM description").fetchall()
        with pytest.raises(StorageError, match=r"forgotten, but .* tried again"):
            store.forget("Zwetschge")
        assert store.people().people == ()
    clock.now += 61
    store.tend()
    assert store.trouble == ""
    assert b"Zwetschge" not in bytes_of(path.parent)
