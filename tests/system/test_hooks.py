"""The helpers of the tests: a hook that replaces nothing fails, and tables of a configuration are merged."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support import hooks
from tests.support.processes import Daemon, until


def run(place: Path, program: str = "print('ran')") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(place)}
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)


WRONG = {
    "a module's constant": "from facewatchd.threads import liveness\nliveness.GONE = 1",
    "one of two": "from facewatchd.threads import liveness\nliveness.Liveness, liveness.GONE = 1, 2",
    "a class's method": "from facewatchd.threads.liveness import Liveness\nLiveness.gone = lambda self: None",
    "by setattr": "from facewatchd.threads.liveness import Liveness\nname = 'gone'\nsetattr(Liveness, name, 1)",
    "a keyword's default": "from facewatchd.server.listener import Server\nServer.__init__.__kwdefaults__['gone'] = 1",
    "in a block": "import sys\nif sys.argv:\n    from facewatchd import config\n    config.GONE = 1",
    "an import": "from facewatchd import gone",
    "not Python": "if",
}


@pytest.mark.parametrize("what", sorted(WRONG))
def test_a_hook_that_replaces_nothing_ends_the_process_and_fails_the_test(tmp_path: Path, what: str) -> None:
    hooks.add(tmp_path / "hook", WRONG[what])
    result = run(tmp_path / "hook")
    assert result.returncode == hooks.STATUS
    assert "ran" not in result.stdout
    assert "Error" in result.stderr
    with pytest.raises(AssertionError, match="a hook failed"):
        hooks.check(tmp_path / "hook")


def test_hooks_replace_what_is_there_one_after_the_other(tmp_path: Path) -> None:
    hooks.add(
        tmp_path,
        "from facewatchd.threads import liveness\nfrom facewatchd.server import listener as server\n"
        "liveness.Liveness.beat = 'replaced'\nnew = 1",
    )
    hooks.add(
        tmp_path, "class Own: pass\nOwn().anything = new\nserver.Server.__init__.__kwdefaults__['connections'] = 3"
    )
    result = run(
        tmp_path,
        "from facewatchd.threads.liveness import Liveness; from facewatchd.server.listener import Server\n"
        "print(Liveness.beat, Server.__init__.__kwdefaults__['connections'])",
    )
    assert (result.returncode, result.stdout) == (0, "replaced 3\n"), result.stderr
    hooks.check(tmp_path)
    hooks.clear(tmp_path)
    assert (
        "replaced"
        not in run(
            tmp_path,
            "from facewatchd.threads.liveness import Liveness; print(Liveness.beat)",
        ).stdout
    )


def test_a_daemon_that_was_used_with_a_wrong_hook_fails_its_test(tmp_path: Path, tiny_root: Path) -> None:
    (tmp_path / "photos").mkdir()

    def use() -> None:
        with Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root) as daemon:
            daemon.hook(
                "import sys\nif 'indexing' in sys.argv:\n    from facewatchd.photos import files\n    files.GONE = 1\n"
            )
            daemon.start()
            (tmp_path / "photos" / "new.jpg").write_bytes(b"\xff\xd8\xff")
            until(lambda: "GONE" in daemon.log.read_text())

    with pytest.raises(AssertionError, match="GONE"):
        use()


def test_a_table_is_merged_with_what_is_usual(tmp_path: Path) -> None:
    daemon = Daemon(
        tmp_path / "home", tmp_path, model="tiny", resources="threads = 3", watch="settle = 1.5", query="top = 9"
    )
    config = tomllib.loads(daemon.config.read_text())
    assert config["resources"] == {"idle_priority": False, "threads": 3}
    assert config["watch"] == {"settle": 1.5}
    assert config["query"] == {"top": 9}
    again = Daemon(tmp_path / "home", tmp_path, model="tiny", resources="idle_priority = true")
    assert tomllib.loads(again.config.read_text())["resources"] == {"idle_priority": True}
