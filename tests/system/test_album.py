"""Albums from the command to the file: pictures of real photos, whatever these are called; nothing else is touched."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from PIL import Image

from tests.support.albums import shoot
from tests.support.emulator import Emulator
from tests.support.processes import Daemon

ODD = [
    b"<script>alert(1)</script>.jpg".replace(b"/", b"\\"),
    b"a b#c?d%41 'e' \"f\".jpg",
    b"one\ntwo\x1b[2J.jpg",
    b"not utf-8 \xff\xfe.jpg",
    "\u202egnp.jpg".encode(),
]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Iterator[Daemon]:
    """Photos of one person under odd names, with a copy of one; two of her with another person; one of a third."""
    home = tmp_path_factory.mktemp("albums")
    root = home / "photos"
    for number, name in enumerate(ODD):
        shoot(root / f"{number}.jpg", [1], number, size=(640, 480)).rename(root / os.fsdecode(name))
    (root / "copy.jpg").write_bytes((root / os.fsdecode(ODD[0])).read_bytes())
    for number in range(2):
        shoot(root / f"2019-06-3{number} both.jpg", [1, 2], 20 + number, size=(640, 480))
    shoot(root / "other.jpg", [3], 30)
    with Daemon(home / "home", root, model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        daemon.settle()
        yield daemon


@pytest.fixture
def root(daemon: Daemon) -> Path:
    return daemon.roots[0]


def pictures(page: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    images = [Image.open(io.BytesIO(base64.b64decode(each))) for each in found]
    assert all(image.format == "JPEG" for image in images)
    return images


def files(page: str) -> list[bytes]:
    return [unquote_to_bytes(unescape(url)) for url in re.findall(r'href="file://([^"]+)"', page)]


def test_on_a_terminal_it_is_said_what_was_written(daemon: Daemon, root: Path, tmp_path: Path) -> None:
    emulator, place = Emulator(), tmp_path / "anna.html"
    command = [sys.executable, "-c", "from facewatchd.client.app import main; raise SystemExit(main())"]
    try:
        for more, said in (([], [f"{place}: 2 photos, 0.1 MB; --open shows it"]), (["-q"], [])):
            words = [*command, *more, "--socket", daemon.socket, "-n", "2", "--html", place, root / "copy.jpg"]
            status, complaints = emulator.run(words)
            assert (status, re.findall(r"\S*html.*", complaints)) == (0, said), complaints
    finally:
        emulator.close()


def test_an_album_shows_faces_and_photos_and_leads_to_the_files(daemon: Daemon, root: Path, tmp_path: Path) -> None:
    place = tmp_path / "anna.html"
    done = daemon.query(root / "copy.jpg", "--html", place, errors="surrogateescape")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 7)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    page = place.read_text()
    shown = pictures(page)
    assert len(shown) == 1 + 2 * 7
    for image in (*shown[:1], *shown[1::2]):
        assert image.width == image.height
        assert np.asarray(image.convert("RGB")).std() > 20
    assert all(image.size == (640, 480) for image in shown[2::2])
    linked = files(page)
    assert all(map(os.path.exists, linked))
    assert {os.path.basename(path) for path in linked} == {
        *ODD,
        b"copy.jpg",
        b"2019-06-30 both.jpg",
        b"2019-06-31 both.jpg",
    }
    assert page.count("<script>") == 1
    assert "<summary>1 copy</summary>" in page
    # The boxes are those that the daemon found, in per cent of the photo.
    matches = json.loads(daemon.query(root / "copy.jpg", "--json").stdout)["matches"]
    drawn = re.findall(r'box-match" x="([0-9.]+)%" y="([0-9.]+)%"', page)
    assert [(float(x), float(y)) for x, y in drawn] == [
        (pytest.approx(match["box"][0] / 6.4, abs=0.01), pytest.approx(match["box"][1] / 4.8, abs=0.01))
        for match in matches
    ]


def test_the_same_answer_gives_the_same_album(daemon: Daemon, root: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "1.html", tmp_path / "2.html"
    for place in (one, other, other):  # the last replaces an album
        assert daemon.query(root / "copy.jpg", "--html", place, "--json").returncode == 0
    assert one.read_bytes() == other.read_bytes()


def test_people_together_are_shown_side_by_side(daemon: Daemon, root: Path, tmp_path: Path) -> None:
    for name, face in (("Anna <b>", "#0"), ("Ben", "#1")):
        assert daemon.control("people", "add", name, f"{root}/2019-06-30 both.jpg{face}").returncode == 0
    try:
        place = tmp_path / "both.html"
        arguments = ["@Anna <b>", "--with", "@ben", "--sort", "date", "--explain", "--json", "--html", place]
        done = daemon.query(*arguments)
        assert (done.returncode, json.loads(done.stdout)["total"]) == (0, 2)
        page = place.read_text()
        assert "<h1>Anna &lt;b&gt;</h1>" in page
        assert page.count('<li class="face together"') == 2
        assert '<h2 id="y2019">2019</h2>' in page
        assert ">Ben</text>" in page
        assert len(pictures(page)) == 2 + 3 * 2
    finally:
        for _ in range(2):
            daemon.call("undo")


def test_a_photo_from_standard_input_is_shown(daemon: Daemon, root: Path, tmp_path: Path) -> None:
    with (root / "other.jpg").open("rb") as photo:
        assert daemon.query("-", "--html", tmp_path / "a.html", stdin=photo).returncode == 0
    assert "The person on a photo" in (tmp_path / "a.html").read_text()
    assert len(pictures((tmp_path / "a.html").read_text())) == 3


def test_nothing_found_is_told(daemon: Daemon, root: Path, tmp_path: Path) -> None:
    done = daemon.query(root / "other.jpg", "--since", "2050", "--html", tmp_path / "a.html")
    assert done.returncode == 1
    assert "No photo matches." in (tmp_path / "a.html").read_text()


def test_nothing_of_the_users_is_overwritten(daemon: Daemon, root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("<title>mine</title>")
    (tmp_path / "photo.html").write_bytes((root / "other.jpg").read_bytes())
    before = {path: path.read_bytes() for path in (*tmp_path.iterdir(), *root.iterdir())}
    for target in (tmp_path / "mine.html", tmp_path / "photo.html", root / "other.jpg", tmp_path):
        done = daemon.query(root / "copy.jpg", "--html", target)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert str(target) in done.stderr
    assert {path: path.read_bytes() for path in (*tmp_path.iterdir(), *root.iterdir())} == before


def test_a_photo_that_is_gone_says_so(tmp_path: Path, tiny_root: Path, start: Callable[..., Daemon]) -> None:
    """The daemon learns of it only later: until then the photo is found, and cannot be shown."""
    photos = [shoot(tmp_path / "photos" / f"{number}.jpg", [1], number) for number in range(2)]
    daemon = start(tmp_path / "photos", model="tiny", model_root=tiny_root, resources="thumbnails = 0")
    daemon.settle()
    daemon.call("pause")
    shoot(photos[1], [2], 9)
    assert daemon.query(photos[0], "--html", tmp_path / "a.html").returncode == 0
    page = (tmp_path / "a.html").read_text()
    assert len(pictures(page)) == 3
    assert "it changed since its faces were found" in page
