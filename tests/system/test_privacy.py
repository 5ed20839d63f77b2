"""Nothing leaves the machine, and nothing is kept but what the README names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support import internet
from tests.support.albums import album
from tests.support.processes import Daemon

FOREIGN_LOAD = """
import sys
from pathlib import Path
from facewatchd.config import Faces
from facewatchd.models import registry
registry.choose("tiny", Path(sys.argv[1]), notify=print).load(1, Faces())
"""


def _as_a_user_has_it(home: Path) -> dict[str, str]:
    """The environment, without what keeps libraries from reporting where tests run."""
    silencing = {"CI", "GITHUB_ACTIONS", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY"}
    kept = {name: value for name, value in os.environ.items() if name not in silencing}
    return {**kept, "HOME": str(home)}


def test_a_model_that_is_loaded_keeps_no_device_id_and_no_reports(tmp_path: Path, tiny_root: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-c", FOREIGN_LOAD, str(tiny_root)]
    subprocess.run(command, env=_as_a_user_has_it(home), check=True, timeout=120)
    assert list(home.rglob("*")) == []


def test_the_daemon_writes_into_its_own_places_only_and_connects_to_nobody(tmp_path: Path, tiny_root: Path) -> None:
    root, home = tmp_path / "photos", tmp_path / "home"
    album(root, 3)
    with Daemon(home, root, model="tiny", model_root=tiny_root, insightface=True) as daemon:
        daemon.environment = _as_a_user_has_it(home) | {"XDG_RUNTIME_DIR": str(home)}
        daemon.start()
        daemon.settle()
        assert daemon.query("--top", "1", next(root.iterdir())).returncode in (0, 1, 3)
        assert daemon.process is not None
        for process in (daemon.process.pid, *daemon.children()):
            assert internet.lines(process) == []
        assert daemon.stop() == 0
    known = {"config.toml", "data", "log", "run"}
    assert {path.name for path in home.iterdir()} == known
