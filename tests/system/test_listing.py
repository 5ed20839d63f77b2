"""``facewatchd photos`` and the method ``photos``: the files in one state, in pages, each with the reason."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facewatchd.api.parameters import MOST_LISTED
from facewatchd.errors import FacewatchError
from facewatchd.values import LISTED_STATES
from tests.support.albums import shoot
from tests.support.fake_daemon import DEADLINE
from tests.support.processes import Daemon, until


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Iterator[Daemon]:
    """A daemon on files in every state but pending."""
    tmp_path = tmp_path_factory.mktemp("library")
    root = tmp_path / "photos"
    root.mkdir()
    shoot(root / "anna.jpg", [1], 1)
    Image.new("RGB", (400, 300), "white").save(root / "blank.png")
    whole = shoot(tmp_path / "whole.jpg", [2], 2).read_bytes()
    for name in ("torn.jpg", os.fsdecode(b"\xff torn\n.jpg")):
        (root / name).write_bytes(whole[:200])
    os.mkfifo(root / "pipe.jpg")
    (root / "notes.txt").write_text("no photo")
    with Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        daemon.settle()
        yield daemon


def listed(daemon: Daemon, state: str, limit: int | None = None) -> list[dict[str, Any]]:
    """What all pages of a state hold."""
    found: list[dict[str, Any]] = []
    after = None
    while True:
        answer = daemon.call("photos", state=state, after=after, limit=limit)
        found += answer["photos"]
        if (after := answer["next"]) is None:
            return found


def test_what_failed_can_be_learnt(library: Daemon) -> None:
    root = os.fsencode(library.roots[0])
    names = [b"\xff torn\n.jpg", b"pipe.jpg", b"torn.jpg"]
    answer = library.call("photos", state="failed")
    assert answer["next"] is None
    assert len(answer["photos"]) == library.status()["failed"] == 3
    assert [path_of(each) for each in answer["photos"]] == [root + b"/" + name for name in sorted(names)]
    for each in answer["photos"]:
        assert each["state"] == "failed"
        assert each["reason"]
        known = library.call("why", **{key: each[key] for key in ("path", "path_bytes") if key in each})
        assert known["state"] == "failed"
        assert known["reason"].startswith(each["reason"])
    for limit in (1, 2, 3, 4, MOST_LISTED):
        assert listed(library, "failed", limit) == answer["photos"]


def path_of(photo: dict[str, Any]) -> bytes:
    return base64.b64decode(photo["path_bytes"]) if "path_bytes" in photo else str(photo["path"]).encode()


def test_every_state_lists_what_why_says(library: Daemon) -> None:
    for path in library.roots[0].iterdir():
        param = {"path_bytes": base64.b64encode(os.fsencode(path)).decode()}
        state = library.call("why", **param)["state"]
        for each in LISTED_STATES:
            assert (os.fsencode(path) in map(path_of, listed(library, each))) == (each == state), (path, each)


def test_what_waits_is_listed_as_pending(library: Daemon) -> None:
    library.control("pause")
    names = [library.roots[0] / f"new {number:02d}.jpg" for number in range(12)]
    for number, path in enumerate(names):
        shoot(path, [3], 10 + number)
    until(lambda: library.status()["pending"] == len(names))
    pending = listed(library, "pending", 5)
    assert [each["path"] for each in pending] == [str(path) for path in names]
    assert all("facewatchd resume" in each["reason"] for each in pending)
    library.control("resume")
    library.settle()
    assert listed(library, "pending") == []
    assert {str(path) for path in names} <= {each["path"] for each in listed(library, "indexed", 4)}
    for path in names:
        path.unlink()
    library.settle()


@pytest.mark.parametrize(
    ("params", "wrong"),
    [
        ({}, "state"),
        ({"state": "unknown"}, "state"),
        ({"state": "Failed"}, "state"),
        ({"state": 7}, "state"),
        ({"state": "failed", "limit": 0}, "limit"),
        ({"state": "failed", "limit": MOST_LISTED + 1}, "limit"),
        ({"state": "failed", "limit": 1.5}, "limit"),
        ({"state": "failed", "after": "relative"}, "after"),
        ({"state": "failed", "after": 7}, "after"),
        ({"state": "failed", "after": {"path": "/a", "state": "failed"}}, "after"),
        ({"state": "failed", "after": {}}, "after"),
        ({"state": "failed", "before": "/a"}, "before"),
    ],
)
def test_wrong_parameters_are_named(library: Daemon, params: dict[str, Any], wrong: str) -> None:
    with pytest.raises(FacewatchError, match=wrong):
        library.call("photos", **params)


def test_a_path_that_was_listed_may_be_given_as_it_is(library: Daemon) -> None:
    first, *rest = library.call("photos", state="failed")["photos"][1:]
    assert library.call("photos", state="failed", after=first["path"])["photos"] == rest


def test_the_command_prints_each_file_with_its_reason(library: Daemon) -> None:
    root = str(library.roots[0])
    lines = library.control("photos", "--state", "failed", errors="surrogateescape").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines[:2]] == [f"{root}/pipe.jpg", f"{root}/torn.jpg"]
    assert all(line.split("\t")[1] for line in lines)
    document = json.loads(library.control("photos", "--state", "failed", "--json").stdout)
    assert document == {"photos": listed(library, "failed")}
    paths = subprocess.run(
        [sys.executable, "-m", "facewatchd", "photos", "--state=failed", "-0", "--socket", library.socket],
        capture_output=True, timeout=DEADLINE, check=True,
    ).stdout  # fmt: skip
    assert paths.split(b"\0") == [*map(path_of, document["photos"]), b""]
    assert "failed: facewatchd photos --state failed" in library.control("status").stdout
