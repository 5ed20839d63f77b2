"""The command that installs what is missing fits how the package was installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from facewatchd.system import installation

PIP = f"{sys.executable} -m pip install"


class Recorded:
    """What pip recorded."""

    def __init__(self, document: object) -> None:
        self.text = None if document is None else json.dumps(document)

    def read_text(self, _: str) -> str | None:
        return self.text


@pytest.mark.parametrize(
    ("document", "command"),
    [
        (None, f"{PIP} 'facewatchd[page]'"),
        ({"url": "file:///home/anna/face%20watch", "dir_info": {}}, f"{PIP} '/home/anna/face watch[page]'"),
        ({"url": "file:///home/anna/f", "dir_info": {"editable": True}}, f"{PIP} -e '/home/anna/f[page]'"),
        (
            {"url": "https://x.example/f.git", "vcs_info": {"vcs": "git", "commit_id": "1"}},
            f"{PIP} 'facewatchd[page] @ git+https://x.example/f.git'",
        ),
        ({"url": "https://x.example/f.whl"}, f"{PIP} 'facewatchd[page] @ https://x.example/f.whl'"),
        ({}, f"{PIP} 'facewatchd[page]'"),
        ([], f"{PIP} 'facewatchd[page]'"),
    ],
)
def test_an_extra_comes_from_where_the_package_came_from(
    document: object, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.metadata.distribution", lambda _: Recorded(document))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert installation.extra("page") == command


@pytest.mark.parametrize(
    ("receipt", "program"), [("uv-receipt.toml", "uv tool install"), ("pipx_metadata.json", "pipx install")]
)
def test_the_program_that_made_the_environment_adds_to_it(
    receipt: str, program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / receipt).touch()
    monkeypatch.setattr("importlib.metadata.distribution", lambda _: Recorded(None))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert installation.extra("page") == f"{program} --force 'facewatchd[page]'"
