"""Several query photos, asked of a daemon: of one person they are one question, of several people a mistake."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from facewatchd.client.connection import INVALID_PARAMS, RemoteError
from facewatchd.errors import FacewatchError
from tests.support import samples
from tests.support.albums import shoot
from tests.support.processes import Daemon


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Iterator[Daemon]:
    """Knows photos of three people, those of the first two alone and together."""
    directory = tmp_path_factory.mktemp("people")
    root = directory / "photos"
    for seed, (name, persons) in enumerate(
        [("anna 1", [1]), ("anna 2", [1]), ("anna 3", [1]), ("bea 1", [2]), ("bea 2", [2]), ("both", [1, 2])]
    ):
        shoot(root / f"{name}.jpg", persons, seed)
    Image.new("RGB", (400, 300), "white").save(root / "blank.jpg")
    with Daemon(directory / "home", root, model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        daemon.settle()
        yield daemon


def names(daemon: Daemon, *names: str) -> list[Path]:
    return [daemon.roots[0] / f"{name}.jpg" for name in names]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["anna 1", "bea 1"], ["anna 1", "bea 1"]),
        (["bea 1", "anna 1"], ["bea 1", "anna 1"]),
        (["anna 1", "anna 2", "bea 1", "anna 3"], ["anna 1", "bea 1"]),
        (["bea 2", "anna 1", "anna 2"], ["bea 2", "anna 1"]),
        (["anna 1", "blank", "bea 2"], ["anna 1", "bea 2"]),
        (["anna 1", "anna 2", "bea 1", "bea 2"], ["anna 1", "bea 1"]),
    ],
)
@pytest.mark.parametrize("options", [[], ["-q"], ["--json"], ["--exact", "--threshold", "-1"]])
def test_photos_of_several_people_are_not_mixed(
    daemon: Daemon, asked: list[str], said: list[str], options: list[str]
) -> None:
    done = daemon.query(*options, *names(daemon, *asked))
    assert (done.returncode, done.stdout) == (2, "")
    one, other = names(daemon, *said)
    expected = f"facewatch-query: {one} and {other} do not look like one person (similarity 0.0"
    assert done.stderr.startswith(expected), done.stderr
    assert done.stderr.endswith("; ask for photos of both with --with, or of either with --face all\n")
    assert done.stderr.count("\n") == 1


def test_each_by_itself_or_all_with_every_face(daemon: Daemon) -> None:
    both = names(daemon, "anna 1", "bea 1")
    for photo in both:
        assert daemon.query(photo).returncode == 0
    done = daemon.query("--face", "all", *both)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 6


@pytest.mark.parametrize("asked", [["anna 1", "anna 2", "anna 3"], ["anna 1", "anna 1"], ["anna 1", "blank"]])
def test_photos_of_one_person_are_one_question(daemon: Daemon, asked: list[str]) -> None:
    done = daemon.query(*names(daemon, *asked))
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 4


def test_which_face_decides(daemon: Daemon) -> None:
    anna, both = names(daemon, "anna 1", "both")
    assert daemon.query(anna, both, "--face", 0).returncode == 0
    assert daemon.query(both, anna, "--face", 0).returncode == 0
    bea = names(daemon, "bea 1")[0]
    assert daemon.query(bea, both, "--face", 0).returncode == 2


def test_photos_that_were_sent_as_bytes_are_named(daemon: Daemon) -> None:
    anna, bea = names(daemon, "anna 1", "bea 1")
    with bea.open("rb") as file:
        done = daemon.query(anna, "-", stdin=file)
    assert done.returncode == 2
    assert done.stderr.startswith(f"facewatch-query: {anna} and standard input do not look like one person")


def test_the_protocol_says_so_of_faces_and_bytes(daemon: Daemon) -> None:
    anna, bea = names(daemon, "anna 1", "bea 1")
    ids = [daemon.call("why", path=str(path))["faces"][0]["face_id"] for path in (anna, bea)]
    with pytest.raises(RemoteError, match=f"^faces {ids[0]} and {ids[1]} do not look like one person") as caught:
        daemon.call("query", faces=ids)
    assert caught.value.code == INVALID_PARAMS
    assert daemon.call("query", faces=ids, face="all")["total"] == 6
    data = [{"data": base64.b64encode(path.read_bytes()).decode()} for path in (anna, bea)]
    with pytest.raises(FacewatchError, match=r"^photos 1 and 2 do not look like one person"):
        daemon.call("query", photos=data)


@samples.needs_shared
@samples.needs_packs
def test_real_photos(tmp_path: Path) -> None:
    obama, obama_later, rose = (samples.PHOTOS / f"{name}.jpg" for name in ("obama_1", "obama_3", "rose_leslie_1"))
    root = tmp_path / "photos"
    root.mkdir()
    shutil.copy(obama, root)
    with Daemon(tmp_path / "home", root, model="scrfd25g_mfn", model_root=samples.PACKS) as daemon:
        daemon.start()
        daemon.settle()
        done = daemon.query(obama, rose)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{obama} and {rose} do not look like one person" in done.stderr
        assert daemon.query(obama, obama_later).returncode == 0
        assert daemon.query(obama, obama_later, rose).returncode == 2
        assert daemon.query(obama, rose, "--face", "all").returncode == 0
