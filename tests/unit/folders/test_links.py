"""A directory of links: what a call makes and removes, and that it touches nothing of the user's."""

from __future__ import annotations

import errno
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from facewatchd.errors import UsageError
from facewatchd.folders import links
from facewatchd.folders.links import Filled, Photo, fill
from facewatchd.folders.names import folded

LIST = ".facewatch-links"


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Two of one name, and another."""
    made = [tmp_path / name for name in ("a/IMG_1.jpg", "b/IMG_1.jpg", "b/other.png")]
    for path in made:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(path))
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def put(folder: Path, *photos: Path, question: str = "@anna", removing: bool = False) -> Filled:
    return fill(bytes(folder), [Photo(bytes(photo)) for photo in photos], question, removing=removing)


def targets(folder: Path) -> dict[str, str]:
    """The links in a directory."""
    return {path.name: str(path.readlink()) for path in folder.iterdir() if path.is_symlink()}


def test_links_are_absolute_and_apart(folder: Path, photos: list[Path]) -> None:
    assert put(folder, *photos) == Filled(made=3, present=0, removed=0, held=0)
    assert targets(folder) == {
        "IMG_1.jpg": str(photos[0]), "IMG_1 (2).jpg": str(photos[1]), "other.png": str(photos[2])
    }  # fmt: skip
    assert [path.read_bytes() for path in photos] == [bytes(path) for path in photos]


def test_the_same_again_is_not_linked_twice(folder: Path, photos: list[Path]) -> None:
    put(folder, *photos)
    before = targets(folder)
    assert put(folder, *photos).made == 0
    assert targets(folder) == before


def test_a_copy_of_a_photo_that_is_linked_is_not_linked(folder: Path, photos: list[Path]) -> None:
    put(folder, photos[0])
    shown = Photo(bytes(photos[2]), (bytes(photos[0]),))
    assert fill(bytes(folder), [shown], "@anna", removing=True) == Filled(0, 1, 0, 0)
    assert targets(folder) == {"IMG_1.jpg": str(photos[0])}


def test_a_photo_in_the_directory_itself_is_not_linked(photos: list[Path]) -> None:
    assert put(photos[0].parent, photos[0]) == Filled(0, 1, 0, 0)
    assert {path.name for path in photos[0].parent.iterdir()} == {"IMG_1.jpg"}


def test_nothing_is_removed_unless_that_is_asked_for(folder: Path, photos: list[Path]) -> None:
    put(folder, *photos)
    assert put(folder, photos[0]).held == 2
    assert len(targets(folder)) == 3
    assert put(folder, photos[0], removing=True) == Filled(0, 1, 2, 0)
    assert targets(folder) == {"IMG_1.jpg": str(photos[0])}
    assert put(folder, removing=True).removed == 1
    assert targets(folder) == {}


def test_a_link_of_two_questions_goes_with_the_second(folder: Path, photos: list[Path]) -> None:
    put(folder, photos[0], photos[1])
    put(folder, photos[1], photos[2], question="@ben")
    assert put(folder, removing=True).removed == 1
    assert set(targets(folder).values()) == {str(photos[1]), str(photos[2])}
    assert put(folder, question="@ben", removing=True).removed == 2


def test_a_photo_that_moved_takes_its_name_along(folder: Path, photos: list[Path]) -> None:
    put(folder, photos[0], photos[1])
    moved = photos[1].rename(photos[2].parent.parent / photos[1].name)
    assert put(folder, photos[0], moved, removing=True) == Filled(1, 1, 1, 0)
    assert targets(folder) == {"IMG_1.jpg": str(photos[0]), "IMG_1 (2).jpg": str(moved)}


def test_what_the_user_did_to_a_link_makes_it_the_users(folder: Path, photos: list[Path]) -> None:
    put(folder, *photos)
    (folder / "IMG_1.jpg").rename(folder / "beach.jpg")
    (folder / "IMG_1 (2).jpg").unlink()
    (folder / "IMG_1 (2).jpg").write_bytes(b"edited")
    (folder / "other.png").unlink()
    (folder / "other.png").symlink_to("/elsewhere")
    assert put(folder, photos[0], photos[1], removing=True) == Filled(made=1, present=1, removed=0, held=0)
    assert put(folder, removing=True).removed == 1
    assert targets(folder) == {"beach.jpg": str(photos[0]), "other.png": "/elsewhere"}
    assert (folder / "IMG_1 (2).jpg").read_bytes() == b"edited"


def test_a_users_link_counts_as_a_link_to_the_photo(folder: Path, photos: list[Path]) -> None:
    (folder / "mine.jpg").symlink_to("../a/IMG_1.jpg")
    assert put(folder, photos[0]) == Filled(0, 1, 0, 0)
    assert set(os.listdir(folder)) == {"mine.jpg"}, "nothing of ours, so no list"


def test_a_file_that_comes_meanwhile_is_not_replaced(folder: Path, photos: list[Path]) -> None:
    make = os.symlink

    def raced(target: bytes, path: bytes) -> None:
        if path.endswith(b"/IMG_1.jpg") and not os.path.lexists(path):
            Path(os.fsdecode(path)).write_bytes(b"just now")
        make(target, path)

    with mock.patch.object(os, "symlink", raced):
        put(folder, photos[0])
    assert (folder / "IMG_1.jpg").read_bytes() == b"just now"
    assert targets(folder) == {"IMG_1 (2).jpg": str(photos[0])}
    assert put(folder, removing=True).removed == 1, "the list has the name that it got"


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EPERM, "no symbolic link can be made in"),
        (errno.ENOSPC, "No space left on device; 1 of 3 links were made"),
    ],
)
def test_where_links_cannot_be_made(folder: Path, photos: list[Path], number: int, message: str) -> None:
    make, calls = os.symlink, iter(range(9))

    def failing(target: bytes, path: bytes) -> None:
        if next(calls):
            raise OSError(number, os.strerror(number))
        make(target, path)

    with mock.patch.object(os, "symlink", failing), pytest.raises(UsageError, match=message):
        put(folder, *photos)
    assert len(targets(folder)) == 1
    put(folder, *photos)
    assert put(folder, removing=True).removed == 3


def test_a_name_that_the_file_system_refuses_is_made_plain(folder: Path, tmp_path: Path) -> None:
    odd, make = tmp_path / "12:30.jpg", os.symlink

    def refusing(target: bytes, path: bytes) -> None:
        if b":" in os.path.basename(path):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        make(target, path)

    with mock.patch.object(os, "symlink", refusing):
        put(folder, odd)
        assert targets(folder) == {"12_30.jpg": str(odd)}
        assert put(folder, removing=True).removed == 1


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{", '{"is": "links of facewatch-query", "version": 2, "links": []}', "[" * 100_000,
        '{"is": "links of facewatch-query", "version": 1, "links": [{"name": "../x", "target": "y", "questions": []}]}',
    ],
)  # fmt: skip
def test_a_list_that_is_not_ours_stops_everything(folder: Path, photos: list[Path], text: str) -> None:
    (folder / LIST).write_text(text)
    with pytest.raises(UsageError, match="the list of the links that were made there: it is damaged"):
        put(folder, *photos, removing=True)
    assert os.listdir(folder) == [LIST]
    assert (folder / LIST).read_text() == text


def test_names_that_are_not_utf8(folder: Path, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/\xff\xe9.jpg"))
    put(folder, odd)
    assert put(folder, odd).present == 1
    assert put(folder, removing=True).removed == 1
    assert os.listdir(folder) == [LIST]


PHOTOS = [Photo(f"/p/{name}".encode()) for name in ("a/I.jpg", "b/I.jpg", "c/i.JPG", "a/x.png", "b/y.png", "b/x.PNG")]
ANSWERS = st.sets(st.sampled_from(PHOTOS))
QUESTIONS = st.sampled_from(["@anna", "@ben"])


class Crash(BaseException):
    """The process is killed."""


@contextmanager
def crash_after(steps: int) -> Iterator[None]:
    """Have the process end in place of a step that changes the disk."""
    left = iter(range(steps))

    def stepping(function: object) -> object:
        def step(*arguments: object, **options: object) -> object:
            if next(left, None) is None:
                raise Crash
            return function(*arguments, **options)  # type: ignore[operator]

        return step

    with (
        mock.patch.object(os, "symlink", stepping(os.symlink)),
        mock.patch.object(os, "unlink", stepping(os.unlink)),
        mock.patch.object(links.atomic_files, "written", stepping(links.atomic_files.written)),
    ):
        yield


class LinkedDirectory(RuleBasedStateMachine):
    """A user and several questions share a directory."""

    @initialize()
    def begin(self) -> None:
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        self.answers: dict[str, set[Photo]] = defaultdict(set)
        self.users: dict[str, str | bytes] = {}
        """What is the user's: a link's target or a file's bytes, by name."""
        self.owners: dict[str, set[str]] = defaultdict(set)
        """By target: the questions that it may be linked for."""
        self.numbers = iter(range(1_000_000))

    def teardown(self) -> None:
        if hasattr(self, "temporary"):
            self.temporary.cleanup()

    def ours(self) -> list[str]:
        return sorted(name for name in targets(self.folder) if name not in self.users)

    @rule(question=QUESTIONS, answer=ANSWERS)
    def the_answer_changes(self, question: str, answer: set[Photo]) -> None:
        self.answers[question] = answer

    @rule(question=QUESTIONS, removing=st.booleans())
    def a_call(self, question: str, removing: bool) -> None:
        wanted = sorted(self.answers[question])
        fill(bytes(self.folder), wanted, question, removing=removing)
        now = targets(self.folder)
        asked = {os.fsdecode(photo.path) for photo in wanted}
        assert asked <= set(now.values())
        for target in asked:
            self.owners[target].add(question)
        if removing:
            for target in self.owners.keys() - asked:
                self.owners[target].discard(question)
        mine = [now[name] for name in self.ours()]
        assert len(mine) == len(set(mine)), "a photo is linked once"
        assert all(self.owners[target] for target in mine)

    @rule(question=QUESTIONS, removing=st.booleans(), steps=st.integers(0, 8))
    def a_call_that_is_killed(self, question: str, removing: bool, steps: int) -> None:
        for photo in self.answers[question]:
            self.owners[os.fsdecode(photo.path)].add(question)
        try:
            with crash_after(steps):
                fill(bytes(self.folder), sorted(self.answers[question]), question, removing=removing)
        except Crash:
            return

    @precondition(lambda self: self.ours())
    @rule(data=st.data(), act=st.sampled_from(["rename", "delete", "replace", "lead elsewhere"]))
    def the_user_changes_a_link(self, data: st.DataObject, act: str) -> None:
        name = data.draw(st.sampled_from(self.ours()))
        path = self.folder / name
        if act == "rename":
            name = f"beach {next(self.numbers)}.jpg"
            self.users[name] = str(path.readlink())
            path.rename(self.folder / name)
            return
        path.unlink()
        if act == "replace":
            path.write_bytes(b"edited")
            self.users[name] = b"edited"
        elif act == "lead elsewhere":
            path.symlink_to("/elsewhere")
            self.users[name] = "/elsewhere"

    @rule(name=st.sampled_from(["I.jpg", "I (2).jpg", "X.png", "y.png"]), is_link=st.booleans())
    def the_user_puts_something_there(self, name: str, is_link: bool) -> None:
        path = self.folder / name
        if any(folded(name.encode()) == folded(other.encode()) for other in os.listdir(self.folder)):
            return
        if is_link:
            path.symlink_to("/elsewhere")
        else:
            path.write_bytes(b"mine")
        self.users[name] = "/elsewhere" if is_link else b"mine"

    @precondition(lambda self: self.users)
    @rule(data=st.data())
    def the_user_removes_something(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.users)))
        (self.folder / name).unlink()
        del self.users[name]

    @invariant()
    def nothing_of_the_users_is_touched(self) -> None:
        if not hasattr(self, "folder"):
            return
        for name, was in self.users.items():
            path = self.folder / name
            assert (str(path.readlink()) if path.is_symlink() else path.read_bytes()) == was
        names = [folded(os.fsencode(name)) for name in os.listdir(self.folder)]
        assert len(names) == len(set(names))


LinkedDirectory.TestCase.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
TestLinkedDirectory = LinkedDirectory.TestCase
