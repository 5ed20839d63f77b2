"""What commands and daemon say to people, said by a real daemon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from facewatchd.client import app as client
from tests.support.albums import shoot
from tests.support.processes import Daemon, until

Start = Callable[..., Daemon]


def test_a_query_names_the_photo_that_is_wrong(start: Start, tmp_path: Path, tiny_root: Path, capfd: Any) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    shoot(root / "anna.jpg", [1], 1)
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (400, 300), "white").save(other / "blank.jpg")
    (other / "empty.jpg").touch()
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()

    def says(*arguments: object) -> str:
        client.main(["--socket", str(daemon.socket), *map(str, arguments)])
        out, err = capfd.readouterr()
        assert out == ""
        assert len(err.splitlines()) == 1, err
        return str(err)

    absent, blank, empty = other / "absent.jpg", other / "blank.jpg", other / "empty.jpg"
    for arguments in ([blank], [blank, "--list-faces"]):
        line = says(*arguments)
        assert "no face" in line
        assert line.count("blank.jpg") == 1
    assert "no face was found on any of the 2 photos" in says(blank, blank)
    for path, reason in ((absent, "No such file"), (empty, "empty;")):
        for arguments in ([path], [path, "--list-faces"], [root / "anna.jpg", path], [path, root / "anna.jpg"]):
            line = says(*arguments)
            assert reason in line
            assert line.count(path.name) == 1, line
    line = says(root / "anna.jpg", "--face", 7)
    assert line.count("anna.jpg") == 1
    assert "the photo has 1 face;" in line


def test_after_the_first_import_the_daemon_says_what_there_is(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    shoot(root / "anna.jpg", [1], 1)
    daemon = start(root, model="tiny", model_root=tiny_root)
    until(lambda: "facewatch-query PHOTO" in daemon.log.read_text())
    assert "idle: 1 photo, 1 face; to find a person: facewatch-query PHOTO" in daemon.log.read_text()
