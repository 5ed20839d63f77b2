"""Blurred faces, with the daemon as a process: they need more to match, or match nothing, and the commands say so."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFilter

from tests.support import samples
from tests.support.drawn_faces import draw_face
from tests.support.invariant import catalog_of
from tests.support.processes import Daemon, until

TABLE = """
if "run" in sys.argv:
    from facewatchd.models import registry
    from facewatchd.values import Quality
    registry.KNOWN.update(tiny=registry.Known(0.4, None, "", Quality(clear=25, slope=0.05, floor=18)))
"""
"""A face that is drawn with full strength has a norm of 28; with 0.8 it has 22 and asks for 0.13 more."""
FAINT, BLURRED = 0.8, 0.6
TOO_BLURRED = "too blurred to tell"
ONLY = "only a query with a lower threshold than 0.40 finds such a face"

_seeds = itertools.count(1)


def draw(path: Path, *faces: tuple[int, int, float], half: bool = False) -> Path:
    """Write a photo of faces, left to right: person, pixels, strength. ``half``: the lower half is the next person's,
    so that the similarity to the person is a half."""
    image = samples.noise(next(_seeds), 900, 420)
    left = 40
    for person, side, strength in faces:
        draw_face(image, (left, 20, side, side), person, strength)
        if half:
            other = samples.noise(0, 900, 420)
            draw_face(other, (left, 20, side, side), person + 1, strength)
            image[20 + side // 2 : 20 + side] = other[20 + side // 2 : 20 + side]
        left += side + 40
    Image.fromarray(image).save(path, quality=95)
    return path


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Iterator[Daemon]:
    home = tmp_path_factory.mktemp("quality")
    root = home / "photos"
    root.mkdir()
    draw(root / "anna.png", (1, 200, 1.0))
    draw(root / "half.png", (1, 200, 1.0), half=True)
    draw(root / "faint.png", (1, 200, FAINT), half=True)
    draw(root / "blurred.png", (1, 200, BLURRED))
    draw(root / "crowd.png", (3, 360, BLURRED), (1, 200, 1.0))
    daemon = Daemon(home / "home", root, model="tiny", model_root=tiny_root)
    daemon.hook(f"import sys\n{TABLE}")
    with daemon:
        daemon.start()
        daemon.settle()
        yield daemon


def found(daemon: Daemon, name: str, *options: str) -> tuple[set[str], str]:
    """The photos that are found, and what is said on standard error."""
    done = daemon.query("-l", *options, daemon.roots[0] / name)
    assert done.returncode == 0, done.stderr
    return {Path(line).stem for line in done.stdout.splitlines()}, done.stderr


def test_what_is_blurred_needs_more_or_matches_nothing(daemon: Daemon) -> None:
    clear = {"anna", "half", "crowd"}
    assert found(daemon, "anna.png") == (clear, "")
    assert found(daemon, "anna.png", "--exact") == (clear, "")
    assert found(daemon, "anna.png", "--threshold", "0.39") == (clear | {"faint", "blurred"}, "")
    assert found(daemon, "anna.png", "--threshold", "0.41") == (clear, "")
    faces = daemon.call("faces", path=str(daemon.roots[0] / "anna.png"))["faces"]
    assert (faces[0]["norm"], faces[0]["quality"]) == (pytest.approx(28, abs=1), [])


def test_a_blurred_face_that_is_asked_with_is_searched_for_and_said(daemon: Daemon) -> None:
    names, said = found(daemon, "blurred.png")
    assert names == {"anna", "crowd", "blurred"}
    assert said.endswith(f", {TOO_BLURRED}: the matches may be of any person\n")
    assert len(said.splitlines()) == 1
    assert found(daemon, "blurred.png", "-q")[1] == ""


def test_a_blurred_face_stands_for_a_person_only_where_it_is_named(daemon: Daemon) -> None:
    assert found(daemon, "crowd.png") == ({"anna", "half", "crowd"}, "")
    assert found(daemon, "crowd.png", "--face", "0")[0] == {"crowd"}
    names, said = found(daemon, "crowd.png", "--face", "all")
    assert names == {"anna", "half", "crowd"}
    assert said.endswith(f", {TOO_BLURRED}, which is left out\n")
    done = daemon.query("-l", daemon.roots[0] / "blurred.png", daemon.roots[0] / "anna.png")
    assert done.stderr.endswith(f", {TOO_BLURRED}, which is left out\n")


def test_the_commands_say_it(daemon: Daemon) -> None:
    root = daemon.roots[0]
    lines = daemon.query("--list-faces", root / "crowd.png").stdout.splitlines()
    assert [line.split("\t")[3:] for line in lines] == [[TOO_BLURRED], []]
    assert [line.split("\t")[3:] for line in daemon.query("--list-faces", root / "faint.png").stdout.splitlines()] == [
        ["blurred"]
    ]
    why = daemon.control("why", root / "crowd.png").stdout.splitlines()
    assert why[0] == f"indexed: its faces are searchable, but for 1 of 2 that is {TOO_BLURRED}: {ONLY}"
    assert why[1].endswith(f", {TOO_BLURRED}")
    assert daemon.control("why", root / "blurred.png").stdout.startswith(
        f"indexed: its face is {TOO_BLURRED}: {ONLY}\n"
    )
    assert daemon.call("verify")["problems"] == []


def test_what_an_earlier_version_recorded_matches_as_before_until_it_is_measured(
    tmp_path: Path, tiny_root: Path
) -> None:
    (tmp_path / "photos").mkdir()
    draw(tmp_path / "photos" / "anna.png", (1, 200, 1.0))
    draw(tmp_path / "photos" / "blurred.png", (1, 200, BLURRED))
    daemon = Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root)
    daemon.hook(f"import sys\n{TABLE}")
    with daemon:
        daemon.start()
        daemon.settle()
        assert daemon.stop() == 0
        with contextlib.closing(sqlite3.connect(catalog_of(daemon), isolation_level=None)) as db:
            assert db.execute("UPDATE face SET norm = NULL").rowcount == 2
        daemon.start()
        daemon.settle()
        assert found(daemon, "anna.png") == found(daemon, "blurred.png") == ({"anna", "blurred"}, "")
        assert daemon.control("scan", "--force").returncode == 0
        until(lambda: daemon.call("faces", path=str(daemon.roots[0] / "blurred.png"))["faces"][0]["norm"])
        daemon.settle()
        assert found(daemon, "anna.png") == ({"anna"}, "")


@samples.needs_shared
@samples.needs_packs
def test_a_photograph_that_is_blurred(tmp_path: Path) -> None:
    """Of biden_1.jpg, blurred by a twentieth of the face, the norm is 43; the floor is 45."""
    root = tmp_path / "photos"
    root.mkdir()
    for name in ("biden_1.jpg", "biden_2.jpg", "obama_1.jpg"):
        shutil.copy(samples.PHOTOS / name, root)
    with Image.open(root / "biden_1.jpg") as image:
        image.filter(ImageFilter.GaussianBlur(15.3)).save(root / "blurred.jpg", quality=95)
    with Daemon(tmp_path / "home", root, model="scrfd25g_mfn", model_root=samples.PACKS) as daemon:
        daemon.start()
        daemon.settle()
        assert found(daemon, "biden_2.jpg") == ({"biden_1", "biden_2"}, "")
        assert TOO_BLURRED in daemon.query("--list-faces", root / "blurred.jpg").stdout
        names_found, said = found(daemon, "blurred.jpg")
        assert names_found == {"blurred"}
        assert TOO_BLURRED in said
        assert "blurred" in found(daemon, "biden_2.jpg", "--threshold", "-1")[0]


def test_a_face_that_is_too_blurred_may_be_that_of_somebody_unwanted(daemon: Daemon, tmp_path: Path) -> None:
    """The third person is on one photo only, too blurred to tell, beside Anna."""
    crowd = daemon.roots[0] / "crowd.png"
    question: dict[str, Any] = {
        "who": [{"path": str(daemon.roots[0] / "anna.png")}],
        "without": [{"path": str(draw(tmp_path / "third.png", (3, 200, 1.0)))}],
    }
    answer = daemon.call("query", **question)
    assert answer["undecided"] == {"count": 1, "paths": [str(crowd)]}
    paths = {match["path"] for match in answer["matches"]}
    assert str(crowd) in paths
    strict = daemon.call("query", **question, strict=True)
    assert {match["path"] for match in strict["matches"]} == paths - {str(crowd)}
    assert (strict["total"], strict["undecided"]) == (answer["total"] - 1, answer["undecided"])
    assert daemon.call("query", **question, threshold=0.3)["undecided"]["count"] == 0, "then norms do not count"
    done = daemon.query("-l", daemon.roots[0] / "anna.png", "--without", tmp_path / "third.png")
    assert set(done.stdout.splitlines()) == paths
    assert str(crowd) in done.stderr
    alone = daemon.call("query", who=question["who"], only=True)
    assert str(crowd) not in {match["path"] for match in alone["matches"]}, "a blurred face is another face"
