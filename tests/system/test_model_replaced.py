"""A pack whose files are replaced while the model is not loaded: two models' embeddings are never mixed."""

from __future__ import annotations

import shutil
from pathlib import Path

from facewatchd.store.data_directory import LastRun
from tests.support import invariant, tiny_pack
from tests.support.albums import album, shoot
from tests.support.processes import DEADLINE, Daemon, until


def test_a_pack_replaced_while_unloaded_is_said_and_nothing_is_recorded(tmp_path: Path) -> None:
    models = tmp_path / "insightface"
    pack = tiny_pack.build(models)
    aside = tmp_path / "first"
    root = tmp_path / "photos"
    photos = sorted(album(root, 4, people=2))
    resources = "unload_after = 1\nidle_priority = false"
    with Daemon(
        tmp_path / "home", root, model="tiny", model_root=models, insightface=True, resources=resources
    ) as daemon:
        daemon.hook(
            "import sys\nif 'run' in sys.argv:\n    from facewatchd.daemon import supervisor\n"
            "    supervisor.TICK = 0.5\n"
        )
        daemon.hook(
            "if 'run' in sys.argv:\n    from facewatchd.indexing import workers\n    workers.MODEL_RETRY = 0.5\n"
        )
        daemon.start()
        daemon.settle()
        found = daemon.paths(photos[0])
        until(lambda: not daemon.children())
        pack.rename(aside)
        tiny_pack.build(models, seed=1)
        new = shoot(root / "new.jpg", [1], 900)
        said = "the files of the model tiny in"
        until(lambda: any(said in problem for problem in daemon.status()["problems"]))
        assert daemon.paths(photos[0]) == found, "what is indexed is answered from the catalog"
        assert not daemon.call("query", photos=[{"path": str(photos[0])}])["complete"]
        result = daemon.query(shoot(tmp_path / "strange.jpg", [1], 901))
        assert result.returncode in (2, 5)
        assert said in result.stderr
        shutil.rmtree(pack)
        aside.rename(pack)
        until(lambda: new in daemon.paths(photos[0]))
        invariant.check(daemon)


def test_data_of_a_model_that_is_no_more_is_told_of_once_and_left_alone(tmp_path: Path, tiny_root: Path) -> None:
    (tmp_path / "photos").mkdir()
    with Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root) as daemon:
        old = daemon.data / "dlib-0a1b2c3d/catalog.sqlite3"
        old.parent.mkdir(parents=True)
        old.write_bytes(b"x" * 2_000_000)
        LastRun("dlib").remember(daemon.data)
        for _ in range(2):
            daemon.start()
            assert daemon.stop() == 0
        (line,) = [line for line in daemon.log.read_text().splitlines() if "dlib" in line]
    assert "the model dlib is not part of facewatchd any more: all photos are indexed again with tiny" in line
    assert f"{daemon.data}/dlib-* (2 MB)" in line
    assert old.read_bytes() == b"x" * 2_000_000


def test_a_configuration_with_a_model_that_is_no_more_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    daemon = Daemon(tmp_path / "home", tmp_path / "photos", model="dlib")
    assert daemon.launch().wait(DEADLINE) == 2
    (line,) = daemon.log.read_text().splitlines()
    assert "the model dlib is not part of facewatchd any more" in line
    assert 'model = "opencv"' in line
