"""Packs that are chosen, and what an error of one looks like."""

from __future__ import annotations

from pathlib import Path

from facewatchd.errors import FacewatchError
from facewatchd.models import registry
from facewatchd.models.install import Download

UNREACHABLE = "http://127.0.0.1:9/"


def assert_one_line(error: FacewatchError, *mentions: str) -> None:
    line = str(error)
    assert "\n" not in line
    assert error.hint
    for mention in mentions:
        assert mention in line


def assert_nothing_installed(root: Path) -> None:
    assert [*(root / "models").glob("*"), *(root / "models").glob(".*")] == []


def choose(
    spec: str, root: Path, said: list[str], last: str | None = None, base_url: str = UNREACHABLE
) -> registry.Pack:
    return registry.choose(spec, root, last, notify=said.append, download=Download(base_url=base_url))
