"""Pictures while the process that makes them is killed, dies of a photo or lies, and where they cannot be kept."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from facewatchd.errors import FacewatchError
from tests.support.albums import shoot
from tests.support.processes import Daemon, children, until

SLOW = """
import os, sys, time
if "pictures" in sys.argv:
    from facewatchd.photos import thumbnail
    def slowly(file, crop, make=thumbnail.of_file):
        os.write(2, b"pictured at %d\\n" % crop.size)
        time.sleep(0.5)
        return make(file, crop)
    thumbnail.of_file = slowly
"""
"""Each picture takes half a second, and says in the log that it is made."""
ODD = """
import os, signal, struct, sys, time
if "pictures" in sys.argv:
    from facewatchd.inference import wire
    from facewatchd.photos import thumbnail
    from facewatchd.photos.crops import Thumbnail
    def odd(file, crop, make=thumbnail.of_file):
        made, width, height = make(file, crop)
        if crop.size == 451:
            os.kill(os.getpid(), signal.SIGSEGV)
            time.sleep(60)  # another thread may be the one that takes it
        if crop.size == 452:
            made = made._replace(jpeg=made.jpeg[:2] + b"\\xff\\xe1\\0\\x08Exif\\0\\0" + made.jpeg[2:])
        if crop.size == 453:
            width, height = height, width
        return made, width, height
    thumbnail.of_file = odd
"""
"""A picture of one of these sizes kills its process, or is not what was asked for."""


@pytest.fixture
def daemon(tmp_path: Path, tiny_root: Path) -> Iterator[Daemon]:
    shoot(tmp_path / "photos" / "1.jpg", [1], 1, size=(640, 480))
    shoot(tmp_path / "photos" / "2.jpg", [2], 2, size=(640, 480))
    with Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root) as daemon:
        yield daemon


def begin(daemon: Daemon) -> int:
    """Start it; return the id of a face."""
    daemon.start()
    daemon.settle()
    (face,) = daemon.call("why", path=str(daemon.roots[0] / "1.jpg"))["faces"]
    return int(face["face_id"])


def pictures(daemon: Daemon) -> list[int]:
    """The processes that make pictures."""
    assert daemon.process is not None
    found = []
    for child in children(daemon.process.pid):
        with contextlib.suppress(OSError):
            if b"pictures" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                found.append(child)
    return found


def expect_face(answer: dict[str, object]) -> None:
    with Image.open(io.BytesIO(base64.b64decode(str(answer["jpeg"])))) as image:
        image.load()
        assert image.size == (answer["width"], answer["height"])


def refused(daemon: Daemon, **params: object) -> FacewatchError:
    with pytest.raises(FacewatchError) as raised:
        daemon.call("thumbnail", **params)
    return raised.value


def test_a_process_that_is_killed_meanwhile_costs_no_picture(daemon: Daemon) -> None:
    daemon.hook(SLOW)
    face_id = begin(daemon)
    with ThreadPoolExecutor(2) as threads:
        answers = [
            threads.submit(daemon.call, "thumbnail", face_id=face_id, photo=True, size=size) for size in (440, 441)
        ]
        until(lambda: "pictured at" in daemon.log.read_text())
        (process,) = pictures(daemon)
        os.kill(process, signal.SIGKILL)
        for answer in answers:
            expect_face(answer.result())
    assert pictures(daemon) not in ([], [process])


def test_what_several_ask_for_at_once_is_made_once(daemon: Daemon) -> None:
    daemon.hook(SLOW)
    face_id = begin(daemon)
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(daemon.call, "thumbnail", face_id=face_id, photo=True, size=460) for _ in range(8)]
        assert len({answer.result()["jpeg"] for answer in asked}) == 1
    assert daemon.log.read_text().count("pictured at 460") == 1


def test_a_picture_that_kills_or_is_not_what_was_asked_for_is_refused(daemon: Daemon) -> None:
    daemon.hook(ODD)
    face_id = begin(daemon)
    queries = daemon.call("query", faces=[face_id])["total"]
    for size, reason in ((451, "SIGSEGV"), (452, "an invalid answer"), (453, "is read as 480 x 640")):
        error = refused(daemon, face_id=face_id, photo=True, size=size)
        assert error.kind == "unreadable-photo"
        assert reason in error.message
        assert str(daemon.roots[0] / "1.jpg") in error.message
        expect_face(daemon.call("thumbnail", face_id=face_id, size=50))
    assert daemon.call("query", faces=[face_id])["total"] == queries
    assert daemon.status()["state"] == "idle"


@pytest.mark.parametrize("how", ["torn", "noise"])
def test_what_was_kept_and_is_damaged_is_made_again(daemon: Daemon, how: str) -> None:
    face_id = begin(daemon)
    before = [daemon.call("thumbnail", face_id=face_id, size=size) for size in (160, 40)]
    daemon.stop()
    (file,) = daemon.data.glob("*/thumbnails.sqlite3")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] if how == "torn" else os.urandom(len(data)))
    daemon.start()
    for _ in range(2):
        assert [daemon.call("thumbnail", face_id=face_id, size=size) for size in (160, 40)] == before
    assert "Traceback" not in daemon.log.read_text()


FULL = """
import sys
if "run" in sys.argv:
    import sqlite3
    from facewatchd.store import thumbnails
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")
    thumbnails._insert = full
"""


def test_on_a_full_disk_pictures_are_answered_and_not_kept(daemon: Daemon) -> None:
    daemon.hook(FULL)
    face_id = begin(daemon)
    for size in (160, 40, 40):
        expect_face(daemon.call("thumbnail", face_id=face_id, size=size))
    assert daemon.status()["state"] == "idle"
    assert daemon.log.read_text().count("pictures are not kept") == 1
    (file,) = daemon.data.glob("*/thumbnails.sqlite3")
    assert b"JFIF" not in file.read_bytes()


def test_another_copy_is_shown_where_one_is_gone_has_changed_or_cannot_be_read(daemon: Daemon, tmp_path: Path) -> None:
    root = daemon.roots[0]
    (root / "deeper").mkdir()
    shutil.copy(root / "1.jpg", root / "deeper" / "copy.jpg")
    face_id = begin(daemon)
    shown = daemon.call("thumbnail", face_id=face_id, size=40)
    daemon.call("pause")
    harms: list[Callable[[Path], object]] = [
        Path.unlink,
        lambda path: path.write_bytes((root / "2.jpg").read_bytes()),
        lambda path: path.write_bytes(b""),
        lambda path: (path.unlink(), path.mkdir()),
    ]
    for size, harm in enumerate(harms, 461):
        harm(root / "1.jpg")
        expect_face(daemon.call("thumbnail", face_id=face_id, photo=True, size=size))
        assert daemon.call("thumbnail", face_id=face_id, size=40) == shown
    (root / "deeper" / "copy.jpg").write_bytes((root / "2.jpg").read_bytes())
    error = refused(daemon, face_id=face_id, photo=True, size=470)
    assert error.kind == "unreadable-photo"
    assert str(root / "1.jpg") in error.message
