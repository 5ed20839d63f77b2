"""A directory of copies."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from facewatchd.errors import UsageError
from facewatchd.folders import copies, links
from facewatchd.folders.copies import Filled, fill
from facewatchd.system import atomic_files

TAKEN = 1_500_000_000_123_456_789
"""Nanoseconds: a photo's date."""


@pytest.fixture
def photo(tmp_path: Path) -> Callable[..., Path]:
    def photo(name: str, data: bytes = b"", mtime: int = TAKEN) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data or os.fsencode(name) * 1000)
        os.utime(path, ns=(mtime, mtime))
        return path

    return photo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def put(folder: Path, *photos: Path) -> Filled:
    return fill(bytes(folder), [bytes(photo) for photo in photos])


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(params=["by the kernel", "by reading"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to copy."""
    if request.param == "by reading":
        monkeypatch.setattr(os, "copy_file_range", failing(errno.EXDEV))


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.usefixtures("way")
def test_copies_have_the_bytes_the_dates_and_names_of_their_own(folder: Path, photo: Callable[..., Path]) -> None:
    photos = [photo("a/IMG_1.jpg"), photo("b/IMG_1.jpg", mtime=TAKEN + 1), photo("b/img_1.JPG")]
    photos[0].chmod(0o444)
    assert put(folder, *photos) == Filled(made=3, present=0)
    copies = [folder / name for name in ("IMG_1.jpg", "IMG_1 (2).jpg", "img_1 (3).JPG")]
    assert held(folder) == {copy.name: one.read_bytes() for copy, one in zip(copies, photos, strict=True)}
    assert [copy.stat().st_mtime_ns for copy in copies] == [TAKEN, TAKEN + 1, TAKEN]
    assert copies[0].stat().st_mode & 0o777 == 0o444


def test_the_same_again_is_not_copied_twice(folder: Path, photo: Callable[..., Path]) -> None:
    photos = [photo("a/IMG_1.jpg"), photo("b/IMG_1.jpg"), photo("b/copy.jpg", b"a/IMG_1.jpg" * 1000, TAKEN + 5)]
    assert put(folder, *photos) == Filled(2, 1)
    before = held(folder)
    (folder / "IMG_1.jpg").rename(folder / "beach.jpg")
    assert put(folder, *photos) == Filled(0, 3)
    assert held(folder) == {"beach.jpg": before["IMG_1.jpg"], "IMG_1 (2).jpg": before["IMG_1 (2).jpg"]}


def test_a_file_of_the_same_size_is_no_copy(folder: Path, photo: Callable[..., Path]) -> None:
    (folder / "mine.jpg").write_bytes(b"x" * 11_000)
    assert put(folder, photo("a/IMG_1.jpg")) == Filled(1, 0)


def test_no_file_is_replaced(folder: Path, photo: Callable[..., Path]) -> None:
    (folder / "IMG_1.jpg").write_bytes(b"mine")
    (folder / "IMG_1 (2).jpg").symlink_to("nowhere")
    put(folder, photo("a/IMG_1.jpg"))
    assert (folder / "IMG_1.jpg").read_bytes() == b"mine"
    assert (folder / "IMG_1 (2).jpg").is_symlink()
    assert (folder / "IMG_1 (3).jpg").read_bytes() == b"a/IMG_1.jpg" * 1000


def test_a_file_that_comes_meanwhile_is_not_replaced(folder: Path, photo: Callable[..., Path]) -> None:
    one, copy = photo("a/IMG_1.jpg"), copies._copy_bytes

    def raced(*arguments: Any) -> None:
        (folder / "IMG_1.jpg").write_bytes(b"just now")
        copy(*arguments)

    with mock.patch.object(copies, "_copy_bytes", raced):
        assert put(folder, one) == Filled(1, 0)
    assert held(folder) == {"IMG_1.jpg": b"just now", "IMG_1 (2).jpg": one.read_bytes()}


def test_two_calls_at_a_time_copy_a_photo_once(folder: Path, photo: Callable[..., Path]) -> None:
    photos = [photo(f"a/{number}.jpg") for number in range(20)]
    with ThreadPoolExecutor(4) as pool:
        filled = [done.result() for done in [pool.submit(put, folder, *photos) for _ in range(4)]]
    assert sorted(each.made for each in filled) == [0, 0, 0, 20]
    assert len(held(folder)) == 20


@pytest.mark.usefixtures("way")
def test_when_the_disk_is_full_what_is_whole_stays(folder: Path, photo: Callable[..., Path]) -> None:
    photos = [photo(f"a/{number}.jpg") for number in range(3)]
    sync, calls = os.fsync, iter(range(9))

    def full(descriptor: int) -> None:
        if next(calls) == 2:  # the first copy is synced, and its directory
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with mock.patch.object(os, "fsync", full), pytest.raises(UsageError) as error:
        put(folder, *photos)
    assert str(error.value).endswith("No space left on device; 1 of 3 photos copied; make room and ask again")
    assert held(folder) == {"0.jpg": photos[0].read_bytes()}
    assert put(folder, *photos) == Filled(2, 1)


def test_what_cannot_be_read_is_left_out_and_named(folder: Path, photo: Callable[..., Path], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UsageError) as error:
        put(folder, tmp_path / "gone.jpg", photo("a/1.jpg"), tmp_path / "pipe.jpg")
    assert f"cannot copy {tmp_path}/gone.jpg: No such file or directory, and 1 more; 1 copied" in str(error.value)
    assert set(held(folder)) == {"1.jpg"}


def test_a_photo_that_changes_meanwhile_is_left_out(folder: Path, photo: Callable[..., Path]) -> None:
    one, copy = photo("a/1.jpg"), os.copy_file_range

    def changing(*arguments: Any) -> int:
        done = copy(*arguments)
        one.write_bytes(b"more" * 9000)
        return done

    with mock.patch.object(os, "copy_file_range", changing), pytest.raises(UsageError, match="it changed while"):
        put(folder, one)
    assert held(folder) == {}


def test_a_name_that_the_file_system_refuses_is_made_plain(folder: Path, photo: Callable[..., Path]) -> None:
    one = photo(os.fsdecode(b"a/12:30 \xff.jpg"))
    rename = os.link

    def refusing(call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(source: Any, target: Any, *rest: Any, **options: Any) -> Any:
            if ":" in os.path.basename(target):
                failing(errno.EINVAL)()
            return call(source, target, *rest, **options)

        return checked

    from facewatchd.system import atomic_files

    with (
        mock.patch.object(atomic_files, "_rename", refusing(atomic_files._rename)),
        mock.patch.object(os, "link", refusing(rename)),
        mock.patch.object(atomic_files, "_create", refusing_create(atomic_files._create)),
    ):
        assert put(folder, one) == Filled(1, 0)
    assert set(held(folder)) == {"12_30 _.jpg"}


def refusing_create(create: Callable[..., int]) -> Callable[..., int]:
    def checked(path: Path, mode: int) -> int:
        if ":" in path.name:
            failing(errno.EINVAL)()
        return create(path, mode)

    return checked


@pytest.mark.parametrize("folders", [copies, links])
def test_what_a_killed_call_left_is_removed(folder: Path, photo: Callable[..., Path], folders: Any) -> None:
    """What is being written, a file that only has a similar name, a link, a directory and a file elsewhere stay."""
    left = folder / ".facewatch-23ce215f.tmp"
    left.write_bytes(b"half of a photo")
    kept = [folder / name for name in (".facewatch-23ce215.tmp", ".facewatch-23CE215F.tmp", "a.facewatch-23ce215f.tmp")]
    for path in kept:
        path.write_bytes(b"the user's")
    kept.append(photo("elsewhere/.facewatch-00000001.tmp"))
    kept.append(folder / ".facewatch-00000002.tmp")
    kept[-1].symlink_to(kept[-2])
    kept.append(folder / ".facewatch-00000003.tmp")
    kept[-1].mkdir()
    with atomic_files.written(folder / "album.html", lambda _: False):
        if folders is copies:
            put(folder, photo("a.jpg"))
        else:
            links.fill(bytes(folder), [links.Photo(bytes(photo("a.jpg")))], "@anna", removing=False)
    assert (folder / "album.html").exists()
    assert not left.exists()
    assert all(path.exists() for path in kept)
