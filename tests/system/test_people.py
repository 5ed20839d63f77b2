"""The main job, as processes: photos come in, and each person is found from each photo, and nobody else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.support import drawn_faces, samples
from tests.support.processes import Daemon, until

Start = Callable[..., Daemon]

BOTH_PACKS = [
    pytest.param("scrfd25g_mfn", id="scrfd25g_mfn", marks=samples.needs_packs),
    "opencv",
]
LARGE_PACK_IN_FULL = [
    pytest.param("scrfd25g_mfn", id="scrfd25g_mfn", marks=[samples.needs_packs, pytest.mark.full]),
    "opencv",
]
"""For how photos arrive, which is the same for every pack; what each finds, the photos that are moved in tell."""


def expect_everybody(daemon: Daemon, directory: Path, who: dict[str, list[str]]) -> None:
    """Ask from every face on every photo; the answer must be that person's photos and no other."""
    photos_of: dict[str, set[Path]] = {}
    for name, persons in who.items():
        for person in persons:
            photos_of.setdefault(person, set()).add(directory / name)
    for name, persons in who.items():
        assert len(daemon.call("faces", path=str(directory / name))["faces"]) == len(persons), name
        for index, person in enumerate(persons):
            found = daemon.paths(directory / name, face=index)
            assert found == photos_of[person], f"{person}, asked from {name}"


def copy_one_by_one(daemon: Daemon, names: Iterable[str], target: Path) -> None:
    for count, name in enumerate(names, 1):
        shutil.copy(samples.PHOTOS / name, target)
        until(lambda wanted=count: daemon.status()["photos"] == wanted)


def copy_in_a_burst(_: Daemon, names: Iterable[str], target: Path) -> None:
    for name in names:
        shutil.copy(samples.PHOTOS / name, target)


@samples.needs_shared
@pytest.mark.parametrize("model", LARGE_PACK_IN_FULL)
@pytest.mark.parametrize("copy", [copy_one_by_one, copy_in_a_burst])
def test_labelled_photos_that_come_in(
    start: Start, tmp_path: Path, model: str, copy: Callable[[Daemon, Iterable[str], Path], None]
) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    daemon = start(root, model=model, model_root=None if model == "opencv" else samples.PACKS)
    assert daemon.settle()["photos"] == 0
    who = samples.people()
    copy(daemon, who, root)
    status = daemon.settle()
    assert (status["photos"], status["failed"]) == (len(who), 0)
    expect_everybody(daemon, root, who)


@samples.needs_shared
@pytest.mark.parametrize("model", BOTH_PACKS)
def test_labelled_photos_in_a_directory_that_is_moved_in(start: Start, tmp_path: Path, model: str) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    daemon = start(root, model=model, model_root=None if model == "opencv" else samples.PACKS)
    shutil.copytree(samples.PHOTOS, tmp_path / "outside" / "deep" / "er")
    (tmp_path / "outside").rename(root / "album")
    until(lambda: daemon.status()["photos"] == len(samples.people()))
    daemon.settle()
    expect_everybody(daemon, root / "album" / "deep" / "er", samples.people())


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A group photo of six and a portrait, each as six files."""
    directory = tmp_path_factory.mktemp("crew")
    samples.derived(directory, samples.group_photo(), "group")
    samples.derived(directory, samples.astronaut(), "astronaut")
    return directory


@pytest.fixture(scope="module", params=["burst", "moved in"])
def arrived(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, crew: Path
) -> Iterator[tuple[Daemon, Path]]:
    """A daemon that has indexed the crew, which came while it ran, and the directory that the photos are in: to ask."""
    directory = tmp_path_factory.mktemp("arrived")
    root = directory / "photos"
    root.mkdir()
    with Daemon(directory / "home", root) as daemon:
        daemon.start()
        if request.param == "burst":
            for photo in crew.iterdir():
                shutil.copy(photo, root)
            place = root
        else:
            shutil.copytree(crew, directory / "new")
            place = (directory / "new").rename(root / "new")
        until(lambda: daemon.status()["photos"] == 12)
        daemon.settle()
        yield daemon, place


def test_photos_that_packages_ship(arrived: tuple[Daemon, Path]) -> None:
    daemon, place = arrived
    groups, portraits = set(place.glob("group*")), set(place.glob("astronaut*"))
    assert (len(groups), len(portraits)) == (6, 6)
    for photo in portraits:
        assert len(daemon.call("faces", path=str(photo))["faces"]) == 1
        assert daemon.paths(photo) == portraits, photo.name
    for photo in sorted(groups):
        faces = daemon.call("faces", path=str(photo))["faces"]
        assert len(faces) == 6
        for index in range(6):
            answer = daemon.call("query", photos=[{"path": str(photo)}], face=index, top=0)
            found = [match["path"] for match in answer["matches"]]
            assert set(found) == set(map(str, groups)), f"face {index} of {photo.name}"
            assert len(found) == 6, "one face of each photo: the others on it are other people"


def test_boxes_lie_on_the_upright_picture(arrived: tuple[Daemon, Path]) -> None:
    daemon, place = arrived
    boxes = {}
    for name in ("astronaut.png", "astronaut turned.jpg", "astronaut upside down.webp"):
        faces = daemon.call("faces", path=str(place / name))["faces"]
        (boxes[name],) = (face["box"] for face in faces)
    straight = boxes.pop("astronaut.png")
    for name, box in boxes.items():
        assert box == pytest.approx(straight, abs=12), name


def test_the_query_photo_need_not_be_indexed_or_readable_by_the_daemon(
    start: Start, tmp_path: Path, crew: Path
) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    shutil.copy(crew / "astronaut small.png", root / "astronaut.png")
    daemon = start(root)
    daemon.settle()
    result = daemon.query("-l", crew / "astronaut turned.jpg")
    assert (result.returncode, result.stdout) == (0, f"{root / 'astronaut.png'}\n")
    with (crew / "astronaut low.jpg").open("rb") as photo:
        piped = daemon.query("-l", "-", stdin=photo)
    assert (piped.returncode, piped.stdout) == (0, f"{root / 'astronaut.png'}\n")
    assert daemon.query("-l", "--face", "2", crew / "group.jpg").returncode == 1


def test_a_path_is_answered_by_its_bytes(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    import numpy as np
    from PIL import Image

    root = tmp_path / "photos"
    root.mkdir()
    image = samples.noise(1)
    drawn_faces.draw_face(image, (80, 60, 96, 96), 3)
    names = [b"plain.png", b"latin \xe9.png", b"new\nline.png", "grüße 日本.png".encode(), b"tab\t'\"$(x).png"]
    for name in names:
        with open(os.path.join(os.fsencode(root), name), "wb") as file:
            Image.fromarray(np.asarray(image)).save(file, "PNG")
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()
    result = daemon.query("-0", "--no-collapse", root / "plain.png", errors="surrogateescape")
    assert result.returncode == 0, result.stderr
    found = {os.path.basename(os.fsencode(path)) for path in result.stdout.split("\0") if path}
    assert found == set(names)
