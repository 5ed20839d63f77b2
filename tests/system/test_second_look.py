"""Second looks by a daemon: what they find, and that they keep nothing waiting, nothing twice, and nothing lost."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facewatchd.photos import crops
from tests.support import drawn_faces, invariant, packs, samples
from tests.support.albums import shoot
from tests.support.paths import SHARED
from tests.support.processes import Daemon, children, until

ON = "second_look = true"
SLOW = """
import sys
if "indexing" in sys.argv:
    import time
    from facewatchd.models import second_look
    def slow(model, image, ways, config, goes_on, look_again=second_look.look_again):
        def goes_on_slowly():
            time.sleep(0.5)
            return goes_on()
        return look_again(model, image, ways, config, goes_on_slowly)
    second_look.look_again = slow
"""
"""A hook: each part of a second look takes half a second more."""
IMPATIENT = """
import sys
if "run" in sys.argv:
    from facewatchd.daemon import supervisor
    from facewatchd.indexing import backoff, idle_thread
    supervisor.TICK = supervisor.BUSY_TICK = 0.2
    idle_thread.LOOK_EVERY = 0.1
    backoff.DELAYS = (0.1,)
"""
"""A hook: the daemon looks more often at whether there is something to do."""


def lying(path: Path, persons: list[int], quarters: int, seed: int = 0) -> Path:
    """Write a photo that lies, turned by so many quarters clockwise: its faces are seen only when it is turned back."""
    image = samples.noise(seed, 320, 240)
    for place, person in enumerate(persons):
        drawn_faces.draw_face(image, (12 + 100 * place, 60, 88, 88), person, collar=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rot90(image, -quarters)).save(path, quality=95)
    return path


def blank(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(samples.noise(seed, 320, 240)).save(path)
    return path


def wide(path: Path, person: int) -> Path:
    """Write a panorama on which a face is too small for the whole."""
    image = np.full((400, 9000, 3), 90, np.uint8)
    drawn_faces.draw_face(image, (6400, 120, 60, 60), person)
    Image.fromarray(image).save(path, quality=95)
    return path


def looks(daemon: Daemon) -> tuple[int, int]:
    """Second looks that were taken, and photos that are worth one."""
    said = daemon.status()["second_look"]
    return said["done"], said["photos"]


def rests(daemon: Daemon) -> bool:
    done, photos = looks(daemon)
    return done == photos


def why(daemon: Daemon, path: Path) -> dict[str, Any]:
    result: dict[str, Any] = daemon.call("why", path=str(path))
    return result


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Iterator[Daemon]:
    """A daemon that has taken all second looks at an album of every kind, and was killed and started again."""
    home = tmp_path_factory.mktemp("looked")
    photos = home / "photos"
    shoot(photos / "upright.jpg", [1, 2], 1)
    lying(photos / "left.jpg", [1], 1, 2)
    lying(photos / "down.jpg", [3, 4], 2, 3)
    shutil.copy(photos / "down.jpg", photos / "down-copy.jpg")
    wide(photos / "wide.jpg", 5)
    blank(photos / "blank.png", 6)
    with Daemon(home / "home", photos, model="tiny", model_root=tiny_root, faces=ON) as daemon:
        daemon.hook(IMPATIENT)
        daemon.count_embeddings()
        daemon.start()
        daemon.settle()
        until(lambda: rests(daemon))
        daemon.kill()
        daemon.start()
        daemon.settle()
        yield daemon


def test_each_photo_that_is_worth_it_is_looked_at_once(looked: Daemon) -> None:
    assert looks(looked) == (4, 4), "a content once, whatever it found, and not the upright one"
    assert sorted(looked.embeddings().values()) == [1, 2, 2, 2, 2], "once for each look, over two starts"
    assert "second look: 4 of 4 photos" in looked.control("status").stdout
    assert looked.status()["state"] == "idle"


def test_what_is_found_counts_like_any_face(looked: Daemon) -> None:
    (photos,) = looked.roots
    assert looked.paths(photos / "upright.jpg", face="all") == {photos / "upright.jpg", photos / "left.jpg"}
    assert looked.paths(photos / "down-copy.jpg", face="all") == {photos / "down.jpg", photos / "down-copy.jpg"}
    assert looked.status()["faces"] == 6
    assert looked.call("verify")["count"] == 0


def test_why_says_which_look_found_a_face(looked: Daemon) -> None:
    (photos,) = looked.roots
    assert [face["look"] for face in why(looked, photos / "upright.jpg")["faces"]] == ["first", "first"]
    (left,) = why(looked, photos / "left.jpg")["faces"]
    assert left["look"] == "turned-270"
    assert [face["look"] for face in why(looked, photos / "down.jpg")["faces"]] == ["turned-180"] * 2
    (small,) = why(looked, photos / "wide.jpg")["faces"]
    assert small["look"] == "tile"
    assert np.abs(np.subtract(small["box"], (6400, 120, 60, 60))).max() < 8
    said = looked.control("why", photos / "left.jpg").stdout
    assert "found at the second look: turned by 270 degrees" in said
    assert "a second look was taken too, turned" in said


def test_a_photo_and_its_faces_are_pictured_by_the_look_that_finds_them(looked: Daemon) -> None:
    (photos,) = looked.roots
    for name in ("left.jpg", "down.jpg", "wide.jpg"):
        for face in why(looked, photos / name)["faces"]:
            for params in ({"size": crops.KEPT_FACE}, {"size": crops.KEPT_PHOTO, "photo": True}):
                looked.call("thumbnail", face_id=face["face_id"], **params)
    assert looked.process is not None
    words = [Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0") for child in children(looked.process.pid)]
    assert not [each for each in words if b"pictures" in each], "none was made for a client"


def test_a_photo_without_a_face_stays_one(looked: Daemon) -> None:
    (photos,) = looked.roots
    assert why(looked, photos / "blank.png")["state"] == "no-face"
    assert "a second look was taken too" in why(looked, photos / "blank.png")["reason"]
    listed = looked.call("photos", state="no-face")["photos"]
    assert [Path(photo["path"]).name for photo in listed] == ["blank.png"]


def test_to_embed_again_is_to_look_again(looked: Daemon) -> None:
    (photos,) = looked.roots
    before = {face["face_id"] for face in why(looked, photos / "left.jpg")["faces"]}
    looked.call("scan", paths=[str(photos / "left.jpg")], force=True)
    looked.settle()
    assert {face["face_id"] for face in why(looked, photos / "left.jpg")["faces"]} == before, "found all the time"
    until(lambda: rests(looked))
    (again,) = why(looked, photos / "left.jpg")["faces"]
    assert (again["face_id"], again["look"]) == (*before, "turned-270")
    assert max(looked.embeddings().values()) == 4, "twice, each with a second look"
    invariant.check(looked)


def test_a_new_photo_does_not_wait_for_second_looks(tmp_path: Path, tiny_root: Path) -> None:
    photos = tmp_path / "photos"
    for seed in range(6):
        blank(photos / f"{seed}.png", seed)
    daemon = Daemon(tmp_path / "home", photos, model="tiny", model_root=tiny_root, faces=ON, resources="threads = 1")
    with daemon:
        daemon.hook(IMPATIENT)
        daemon.hook(SLOW.replace("range(1)", "range(50)"))
        daemon.count_embeddings()
        daemon.start()
        daemon.settle()
        until(lambda: len(daemon.embeddings()) == 6 and max(daemon.embeddings().values()) == 2)
        begun = sum(daemon.embeddings().values())
        new = shoot(photos / "new.jpg", [1], 77)
        until(lambda: why(daemon, new)["state"] == "indexed", deadline=45)
        assert looks(daemon) == (0, 6), "one takes 75 s"
        until(lambda: sum(daemon.embeddings().values()) > begun + 1)
        assert daemon.stop() == 0


def test_nothing_is_looked_at_while_indexing_is_paused(tmp_path: Path, tiny_root: Path) -> None:
    photos = tmp_path / "photos"
    lying(photos / "left.jpg", [1], 1)
    with Daemon(tmp_path / "home", photos, model="tiny", model_root=tiny_root, faces=ON) as daemon:
        daemon.hook(IMPATIENT)
        daemon.hook(SLOW)
        daemon.count_embeddings()
        daemon.start()
        until(lambda: max(daemon.embeddings().values(), default=0) == 2)
        daemon.call("pause")
        assert daemon.status()["state"] == "paused"
        blank(photos / "other.png", 5)
        until(lambda: daemon.status()["pending"] == 1)
        assert looks(daemon) == (0, 1)
        (photos / "other.png").unlink()
        daemon.call("resume")
        until(lambda: rests(daemon))
        assert daemon.status()["faces"] == 1


def test_kills_lose_nothing_and_repeat_nothing(tmp_path: Path, tiny_root: Path) -> None:
    """The daemon, or its inference process, is killed whenever a second look has begun."""
    photos = tmp_path / "photos"
    for number in range(8):
        lying(photos / f"{number}.jpg", [1 + number], 1 + number % 3, number)
    with Daemon(tmp_path / "home", photos, model="tiny", model_root=tiny_root, faces=ON) as daemon:
        daemon.hook(IMPATIENT)
        daemon.hook(SLOW.replace("0.5", "0.1"))
        daemon.count_embeddings()
        daemon.start()
        daemon.settle()
        kills = 0
        while kills < 6:
            begun = sum(daemon.embeddings().values())
            if rests(daemon):
                break
            until(lambda begun=begun: sum(daemon.embeddings().values()) > begun or rests(daemon))
            kills += 1
            if kills % 2:
                daemon.kill()
                daemon.start()
            else:
                for process in daemon.children("indexing"):
                    os.kill(process, signal.SIGKILL)
        until(lambda: rests(daemon))
        assert daemon.status()["faces"] == 8
        assert sum(daemon.embeddings().values()) <= 16 + kills
        invariant.check(daemon)


def test_a_photo_with_which_the_process_dies_counts_as_looked_at(tmp_path: Path, tiny_root: Path) -> None:
    photos = tmp_path / "photos"
    lying(photos / "left.jpg", [1], 1)
    wide(photos / "deadly-wide.jpg", 3)
    with Daemon(tmp_path / "home", photos, model="tiny", model_root=tiny_root, faces=ON) as daemon:
        daemon.hook(IMPATIENT)
        daemon.hook(DEADLY)
        daemon.start()
        daemon.settle()
        until(lambda: rests(daemon))
        assert why(daemon, photos / "deadly-wide.jpg")["state"] == "no-face", "as it was"
        assert why(daemon, photos / "left.jpg")["state"] == "indexed"
        assert "a second look failed and is left out" in why(daemon, photos / "deadly-wide.jpg")["reason"]
        assert daemon.status()["failed"] == 0
        assert "the second look at" in daemon.log.read_text()
        daemon.kill()
        daemon.start()
        daemon.settle()
        assert rests(daemon), "it is not tried again"


DEADLY = """
import sys
if "indexing" in sys.argv:
    import os, signal
    from facewatchd.models import second_look
    def deadly(model, image, ways, config, goes_on, look_again=second_look.look_again):
        if image.shape[1] > 8000:
            os.kill(os.getpid(), signal.SIGABRT)
        return look_again(model, image, ways, config, goes_on)
    second_look.look_again = deadly
"""
"""A hook: the indexing process dies of a second look at a panorama."""


def test_photos_that_are_out_of_reach_are_looked_at_later(tmp_path: Path, tiny_root: Path) -> None:
    here, away = tmp_path / "here", tmp_path / "away"
    blank(here / "blank.png", 1)
    lying(away / "left.jpg", [1], 1)
    with Daemon(tmp_path / "home", here, away, model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        daemon.settle()
        assert looks(daemon) == (0, 2), "off"
        assert not daemon.status()["second_look"]["on"]
        assert "second look" not in daemon.control("status").stdout
        daemon.stop()
        away.rename(tmp_path / "unplugged")
        daemon.config.write_text(daemon.config.read_text().replace("second_look = false", ON))
        daemon.hook(IMPATIENT)
        daemon.start()
        until(lambda: looks(daemon) == (1, 2))
        assert why(daemon, away / "left.jpg")["state"] == "no-face"
        (tmp_path / "unplugged").rename(away)
        daemon.call("scan")
        until(lambda: rests(daemon))
        assert why(daemon, away / "left.jpg")["state"] == "indexed"


def test_the_model_is_unloaded_afterwards(tmp_path: Path, tiny_root: Path) -> None:
    photos = tmp_path / "photos"
    lying(photos / "left.jpg", [1], 1)
    with Daemon(
        tmp_path / "home", photos, model="tiny", model_root=tiny_root, faces=ON, resources="unload_after = 1"
    ) as daemon:
        daemon.hook(IMPATIENT)
        daemon.start()
        until(lambda: rests(daemon) and daemon.status()["faces"])
        until(lambda: not daemon.children("indexing"))


def test_a_file_that_is_written_to_meanwhile_keeps_none_of_its_old_faces(tmp_path: Path, tiny_root: Path) -> None:
    photos = tmp_path / "photos"
    photo = lying(photos / "photo.jpg", [1], 1)
    new = shoot(tmp_path / "new.jpg", [2], 5).read_bytes()
    with Daemon(tmp_path / "home", photos, model="tiny", model_root=tiny_root, faces=ON) as daemon:
        daemon.hook(IMPATIENT)
        daemon.hook(SLOW)
        daemon.count_embeddings()
        daemon.start()
        until(lambda: max(daemon.embeddings().values(), default=0) == 2)
        photo.write_bytes(new)
        daemon.settle()
        until(lambda: rests(daemon))
        (face,) = why(daemon, photo)["faces"]
        assert face["look"] == "first"
        invariant.check(daemon)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the packs and photos of ../shared are not here")
@pytest.mark.parametrize("pack", ["scrfd25g_mfn", "opencv"])
def test_a_real_model_finds_lying_and_small_faces(tmp_path: Path, pack: str) -> None:
    root = samples.PACKS
    if pack == "opencv":
        packs.link_opencv(root := tmp_path / "models")
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("sideways_no_exif.jpg", "panorama_20000x2000_faces_200px.jpg"):
        shutil.copy(SHARED / "inputs" / name, photos)
    asked = photos / "obama_2.jpg"
    shutil.copy(samples.PHOTOS / asked.name, asked)
    with Image.open(samples.PHOTOS / "obama_1.jpg") as image:
        image.transpose(Image.Transpose.ROTATE_180).save(photos / "down.jpg", quality=92)
        image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(photos / "mirrored.jpg", quality=92)
    with Daemon(tmp_path / "home", photos, model=pack, model_root=root, faces=ON) as daemon:
        daemon.start()
        daemon.settle()
        until(lambda: rests(daemon), deadline=180)
        assert daemon.paths(asked) == {*photos.iterdir()}
        found = {path.name: [face["look"] for face in why(daemon, path)["faces"]] for path in photos.iterdir()}
        assert found == {
            "sideways_no_exif.jpg": ["turned-90"], "panorama_20000x2000_faces_200px.jpg": ["tile"] * 3,
            "obama_2.jpg": ["first"], "down.jpg": ["turned-180"], "mirrored.jpg": ["turned-180"],
        }  # fmt: skip
