"""Files that appear whole or not at all, in a directory of ours and in a user's."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from facewatchd.system import atomic_files


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o644)
    atomic_files.aside(path).write_text("left behind by a process that was killed")
    atomic_files.write(path, b"new")
    assert path.read_bytes() == atomic_files.read(path) == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        atomic_files.write(path, b"new")
    with pytest.raises(OSError, match="No space left"), atomic_files.written(path, lambda _: True) as file:
        file.write(b"new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("supported", [True, False], ids=["renameat2", "neither renameat2 nor links"])
def test_what_is_not_ours_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:
    if not supported:

        def refused(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(atomic_files, "_rename", refused)
        monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "file"

    def is_ours(found: Path) -> bool:
        return found.read_bytes().startswith(b"ours")

    for content in (b"ours, first", b"ours, again"):
        with atomic_files.written(path, is_ours) as file:
            file.write(content)
        assert path.read_bytes() == content
    path.write_bytes(b"the user's")
    with pytest.raises(FileExistsError), atomic_files.written(path, is_ours) as file:
        file.write(b"ours, third")
    assert path.read_bytes() == b"the user's"
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError), atomic_files.written(path, is_ours) as file:
        file.write(b"ours, fourth")
    assert os.listdir(tmp_path) == ["file"]


def test_new_files_of_a_user_have_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_files.written(tmp_path / "file", lambda _: False) as file:
            file.write(b"a sheet")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is a named pipe"):
        atomic_files.read(tmp_path / "pipe")
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(OSError, match="symbolic links"):
        atomic_files.read(tmp_path / "link")
    assert atomic_files.read(tmp_path / "link", follow=True) == b"text"
