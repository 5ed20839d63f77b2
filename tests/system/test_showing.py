"""``--show`` with a daemon that makes the pictures, on an emulated terminal."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facewatchd.pictures import terminal
from tests.support.albums import shoot
from tests.support.emulator import Emulator
from tests.support.processes import Daemon

ANNA, BEN = 1, 2
PATIENT = "from facewatchd.console import terminal; terminal.DEADLINE = 60.0"  # however busy the machine is
COMMAND = [
    sys.executable,
    "-c",
    f"{PATIENT}; from facewatchd.client.app import main; raise SystemExit(main())",
    "--show",
]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Iterator[Daemon]:
    place = tmp_path_factory.mktemp("showing")
    for number, persons in enumerate(([ANNA], [ANNA], [BEN, ANNA], [BEN])):
        shoot(place / "photos" / f"{number}.jpg", persons, number)
    with Daemon(place / "home", place / "photos", model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        daemon.settle()
        daemon.call("assign", name="Anna", who=[{"path": str(place / "photos" / "0.jpg")}])
        yield daemon


@pytest.fixture
def window() -> Iterator[Emulator]:
    emulator = Emulator(100, 60, kitty=True)
    yield emulator
    emulator.close()


def pictured(daemon: Daemon, side: int, **params: Any) -> Image.Image:
    """What the daemon makes, as large as it is shown."""
    return terminal.fitted(base64.b64decode(daemon.call("thumbnail", size=192, **params)["jpeg"]), side).convert("RGB")


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one.convert("RGB"), int) - np.asarray(other, int)).mean())


def show(daemon: Daemon, window: Emulator, *arguments: str | Path) -> None:
    status, complaints = window.run([*COMMAND, "--socket", daemon.socket, *arguments])
    assert status == 0, complaints
    assert window.is_as_before()
    assert window.left_input() == b""


def test_the_face_that_was_asked_for_and_those_that_match(daemon: Daemon, window: Emulator) -> None:
    photo = daemon.roots[0] / "1.jpg"
    show(daemon, window, photo)
    answer = daemon.call("query", photos=[{"path": str(photo)}])
    side = window.pictures[0][2].width
    wanted = [{"path": str(photo), "box": answer["query"][0]["box"]}]
    wanted += [{"face_id": match["face_id"]} for match in answer["matches"]]
    assert len(wanted) == len(window.pictures) == 4
    for (_, _, drawn), params in zip(window.pictures, wanted, strict=True):
        assert difference(drawn, pictured(daemon, side, **params)) < 1
    assert difference(window.pictures[0][2], pictured(daemon, side, face_id=answer["matches"][-1]["face_id"])) > 5


def test_two_people_are_shown_on_one_picture(daemon: Daemon, window: Emulator) -> None:
    show(daemon, window, "@anna", "--with", daemon.roots[0] / "3.jpg")
    (match,) = daemon.call("query", who=[{"person": "Anna"}], **{"with": [{"path": str(daemon.roots[0] / "3.jpg")}]})[
        "matches"
    ]
    left, top, right, bottom = (
        edge(
            [box[0], box[1], box[0] + box[2], box[1] + box[3]][side] for box in (term["box"] for term in match["terms"])
        )
        for side, edge in enumerate((min, min, max, max))
    )
    around = [left, top, right - left, bottom - top]
    assert len(window.pictures) == 3, "Anna, Ben, and the photo of both"
    side = window.pictures[0][2].width
    assert difference(window.pictures[2][2], pictured(daemon, side, path=match["path"], box=around)) < 1
    lines = "\n".join(window.text())
    assert "query" in lines
    assert "with" in lines
    assert "Anna" in lines
