"""What ``--link-to``, ``--copy-to`` and ``--sync`` do about photos of other machines."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facewatchd.client import app
from tests.support.fake_daemon import FakeDaemon, reply
from tests.support.replies import answer, match, shared, status

AWAY = {"host": "nas", "face_id": None, "size": [400, 300]}
REACHED = shared()
NOT_REACHED = shared(state="unreachable", reason="it does not answer")
Answers = Callable[..., None]


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Photos of this machine."""
    files = [tmp_path / f"{number}.jpg" for number in range(3)]
    for file in files:
        file.write_bytes(file.name.encode())
    return files


@pytest.fixture
def answers(daemon: FakeDaemon) -> Answers:
    """Have the daemon answer with these matches, and with what it says of the shared engine."""

    def answers(*matches: dict[str, Any], shared: dict[str, Any] | None = REACHED, **changes: Any) -> None:
        document = answer(matches=list(matches), shared=shared, **changes)
        daemon.script = lambda request: reply(request, document if request["method"] == "query" else status(roots=[]))

    return answers


def here(path: Path, **changes: Any) -> dict[str, Any]:
    return match(os.fsencode(path), host=None, **changes)


@pytest.mark.parametrize("option", ["--link-to", "--copy-to"])
def test_only_what_is_here_is_put_into_a_directory(
    ask: Callable[..., int], answers: Answers, photos: list[Path], tmp_path: Path, option: str, capfd: Any
) -> None:
    """The path of a photo of another machine leads to another photo here, which is left alone."""
    there = [match(os.fsencode(path), **AWAY) for path in photos[1:]]
    answers(here(photos[0]), *there, match(b"/srv/x.jpg", **{**AWAY, "host": "old"}))
    folder = tmp_path / "anna"
    assert ask(option, folder, "q.jpg") == app.FOUND
    assert [name for name in os.listdir(folder) if not name.startswith(".")] == ["0.jpg"]
    said = capfd.readouterr().err
    assert said == (
        f"facewatch-query: {folder}: 2 on nas and 1 on old, left out: only what is on this machine can be in it\n"
    )


@pytest.mark.parametrize("option", ["--link-to", "--copy-to"])
def test_no_directory_is_made_for_photos_of_other_machines_alone(
    ask: Callable[..., int], answers: Answers, tmp_path: Path, option: str
) -> None:
    answers(match(b"/srv/x.jpg", **AWAY))
    assert ask(option, tmp_path / "anna", "q.jpg") == app.FOUND
    assert not (tmp_path / "anna").exists()


def test_a_link_stays_while_the_shared_engine_is_away(
    ask: Callable[..., int], answers: Answers, photos: list[Path], tmp_path: Path, capfd: Any
) -> None:
    folder = tmp_path / "anna"
    answers(*map(here, photos))
    ask("--link-to", folder, "--sync", "q.jpg")
    answers(here(photos[0]), shared=NOT_REACHED, complete=False)
    ask("--link-to", folder, "--sync", "q.jpg")
    assert sorted(path.name for path in folder.glob("*.jpg")) == ["0.jpg", "1.jpg", "2.jpg"]
    assert "2 links that match no more stayed, as the shared engine was not reached" in capfd.readouterr().err
    answers(here(photos[0]), shared=None)
    ask("--link-to", folder, "--sync", "q.jpg")
    assert [path.name for path in folder.glob("*.jpg")] == ["0.jpg"], "without it, what is here counts"


@pytest.mark.parametrize("state", ["ok", "behind"])
def test_a_photo_that_is_left_on_another_machine_alone_is_no_link_any_more(
    ask: Callable[..., int], answers: Answers, photos: list[Path], tmp_path: Path, state: str
) -> None:
    """Also where another machine has photos that it did not send yet: they are not of this machine."""
    folder = tmp_path / "anna"
    answers(*map(here, photos[:2]))
    ask("--link-to", folder, "--sync", "q.jpg")
    answers(here(photos[0]), match(os.fsencode(photos[1]), **AWAY), shared={**REACHED, "state": state}, complete=False)
    ask("--link-to", folder, "--sync", "q.jpg")
    assert [path.name for path in folder.glob("*.jpg")] == ["0.jpg"]
