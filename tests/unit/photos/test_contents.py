"""A photo's bytes as an open file and a digest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from facewatchd.errors import UnreadablePhotoError
from facewatchd.photos import contents
from facewatchd.photos import files as photos
from facewatchd.values import Stamp


def test_an_empty_file_is_given_to_no_decoder(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(UnreadablePhotoError, match="the file is empty"), contents.opened(bytes(tmp_path / "empty.jpg")):
        pass


def test_a_content_is_the_digest_of_an_open_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(os.urandom(3 * contents.CHUNK + 17))
    with contents.opened(os.fsencode(path)) as content:
        assert content.digest == photos.digest(path.read_bytes())
        assert content.stamp == Stamp.of(path.stat())
        content.confirm()
        path.unlink()
        assert os.pread(content.descriptor, 5, 0)


@pytest.mark.parametrize("same_stamp", [False, True])
def test_bytes_that_change_before_they_are_decoded_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, same_stamp: bool
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"before")
    first = Stamp.of(path.stat())
    if same_stamp:  # the second write comes within the same tick of the file system's clock
        monkeypatch.setattr(contents.Stamp, "of", lambda _: first)
    with contents.opened(os.fsencode(path)) as content:
        path.write_bytes(b"after!")
        with pytest.raises(photos.ChangedWhileReadError):
            content.confirm()
