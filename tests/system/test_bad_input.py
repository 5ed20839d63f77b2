"""Bad input of each kind, against a running daemon."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facewatchd.client.connection import RemoteError
from facewatchd.errors import LockedError
from tests.support.albums import shoot
from tests.support.processes import Daemon, until

Start = Callable[..., Daemon]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    root.mkdir()
    shoot(root / "good.jpg", [1], 1)
    return root


@pytest.fixture
def daemon(start: Start, root: Path, tiny_root: Path) -> Daemon:
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()
    return daemon


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Iterator[Daemon]:
    """One daemon with one photo, for tests that only ask."""
    place = tmp_path_factory.mktemp("serving")
    shoot(place / "photos" / "good.jpg", [1], 1)
    with Daemon(place / "home", place / "photos", model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        daemon.settle()
        yield daemon


@pytest.fixture
def good(serving: Daemon) -> Path:
    """The photo of `serving`."""
    return serving.roots[0] / "good.jpg"


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def huge_png(path: Path, side: int = 20_000) -> None:
    """A PNG of 400 megapixels in a few hundred kilobytes: it is all black."""
    header = side.to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
    rows = zlib.compress(bytes((side + 1) * side), 1)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def make_bad_files(root: Path) -> dict[Path, str]:
    """Files that cannot be photos, with a word of the reason each must be given."""
    good = (root / "good.jpg").read_bytes()
    files = {
        "empty.jpg": b"",
        "truncated.jpg": good[: len(good) // 2],
        "corrupt.png": b"\x89PNG\r\n\x1a\n" + os.urandom(2000),
        "text.jpeg": b"this is no picture\n" * 50,
    }
    for name, data in files.items():
        (root / name).write_bytes(data)
    huge_png(root / "huge.png")
    os.mkfifo(root / "pipe.jpg")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(root / "socket.jpg"))
    server.close()
    words = dict.fromkeys(files, "") | {"empty.jpg": "empty", "huge.png": "250"}
    return {root / name: word for name, word in (words | {"pipe.jpg": "", "socket.jpg": ""}).items()}


def test_what_is_no_photo_fails_with_its_reason_and_stops_nothing(daemon: Daemon, root: Path) -> None:
    bad = make_bad_files(root)
    (root / "directory.jpg").mkdir()
    shoot(root / "directory.jpg" / "inside.jpg", [1], 2)
    (root / "notes.txt").write_text("not a photo, and nobody says it is")
    until(lambda: daemon.status()["photos"] == len(bad) + 2)
    status = daemon.settle()
    assert status["failed"] == len(bad)
    for path, word in bad.items():
        why = daemon.call("why", path=str(path))
        assert why["state"] == "failed", path.name
        assert word in why["reason"], why
        assert "\n" not in why["reason"]
    assert daemon.call("why", path=str(root / "notes.txt"))["state"] == "excluded"
    assert daemon.paths(root / "good.jpg") == {root / "good.jpg", root / "directory.jpg" / "inside.jpg"}
    read = daemon.status()["rates"]["read"]
    daemon.call("scan")
    daemon.settle()
    assert daemon.status()["rates"]["read"] == read, "a bad file is not tried again until it changes"
    (root / "empty.jpg").write_bytes((root / "directory.jpg" / "inside.jpg").read_bytes())
    until(lambda: root / "empty.jpg" in daemon.paths(root / "good.jpg"))
    assert daemon.call("verify")["problems"] == []


def test_a_device_with_a_photos_name_fails(daemon: Daemon, root: Path) -> None:
    try:
        os.mknod(root / "null.jpg", 0o020666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device needs rights that this user has not")
    until(lambda: daemon.call("why", path=str(root / "null.jpg"))["state"] == "failed")


def test_a_file_with_a_photos_content_is_one_whatever_its_name(daemon: Daemon, root: Path) -> None:
    for name in ("no suffix", "wrong.txt", "UPPER.JPG"):
        (root / name).write_bytes((root / "good.jpg").read_bytes())
    expected = {root / name for name in ("good.jpg", "no suffix", "wrong.txt", "UPPER.JPG")}
    until(lambda: daemon.paths(root / "good.jpg") == expected)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ("", "no directory"),
        ('directories = ["{root}", "{root}/inner"]', "lies inside"),
        ('directories = ["{root}"]\ncolour = "red"', "colour"),
        ('directories = ["{root}"]\n[faces]\nmin_sise = 3', "faces.min_sise"),
        ('directories = ["{root}"]\n[faces]\nmin_size = "big"', "faces.min_size"),
        ('directories = "{root}"', "directories"),
        ("directories = [", "not valid TOML"),
        ('directories = ["{root}/good.jpg"]', "not a directory"),
        ('directories = ["{root}/misspelt"]', "no directory"),
        ('directories = ["Pictures"]', "absolute"),
        ('directories = ["{root}"]\nmodel = "no_such_model"', "no_such_model"),
    ],
)
def test_a_wrong_configuration_ends_in_one_line_before_anything_starts(
    tmp_path: Path, root: Path, config: str, word: str
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(config.replace("{root}", str(root)))
    result = run(tmp_path, "--config", file)
    assert result.returncode == 2, result.stderr
    assert word in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def run(home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "facewatchd", "run", "--data-dir", home / "data", "--socket", home / "run/socket"]
    environment = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home / "nothing")}
    return subprocess.run(
        [*map(str, command), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )


def test_a_model_that_cannot_be_loaded_is_named_with_the_ways_out(tmp_path: Path, root: Path) -> None:
    pack = tmp_path / "broken"
    pack.mkdir()
    (pack / "det.onnx").write_bytes(b"not onnx at all")
    result = run(tmp_path, root, "--model", pack)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "broken" in line
    assert ";" in line, "the reason, then the ways out"
    assert any(way in line for way in ("models fetch", "--model", "pip install")), line


def test_a_second_daemon_on_the_same_data_leaves_the_first_alone(serving: Daemon, good: Path) -> None:
    other = [part if part != str(serving.socket) else str(serving.socket) + "2" for part in serving.command]
    result = subprocess.run(other, capture_output=True, text=True, env=serving.environment, timeout=60, check=False)
    assert result.returncode == LockedError.exit_status == 3
    assert len(result.stderr.splitlines()) == 1
    assert serving.paths(good) == {good}


def test_a_second_daemon_on_the_same_socket_leaves_the_first_alone(serving: Daemon, good: Path, tmp_path: Path) -> None:
    other = [part if part != str(serving.data) else str(tmp_path / "data 2") for part in serving.command]
    result = subprocess.run(other, capture_output=True, text=True, env=serving.environment, timeout=60, check=False)
    assert result.returncode == 3
    assert "another daemon" in result.stderr
    assert serving.paths(good) == {good}


def test_a_stale_socket_is_replaced(daemon: Daemon, root: Path) -> None:
    daemon.kill()
    assert daemon.socket.exists()
    daemon.start()
    assert daemon.paths(root / "good.jpg") == {root / "good.jpg"}
    assert daemon.stop() == 0
    assert not daemon.socket.exists()


@pytest.mark.parametrize(
    ("method", "params", "code", "kind"),
    [
        ("no-such-method", {}, -32601, None),
        ("query", {}, -32602, None),
        ("query", {"embedding": ["one"]}, -32602, None),
        ("query", {"embedding": [0.5]}, -32002, "bad-embedding"),
        ("query", {"embedding": [0.0] * 64}, -32002, "bad-embedding"),
        ("query", {"embedding": [1e300] * 64}, -32002, "bad-embedding"),
        ("query", {"faces": [123456789]}, -32005, "unknown-face"),
        ("query", {"embedding": []}, -32002, "bad-embedding"),
        ("query", {"photos": []}, -32602, None),
        ("query", {"photos": [{"path": "relative.jpg"}]}, -32602, None),
        ("query", {"photos": [{"path": "/no/such/photo.jpg"}]}, -32000, "unreadable-photo"),
        ("query", {"photos": [{"data": "AAAA"}]}, -32000, "unreadable-photo"),
        ("query", {"photos": [{"data": "!"}]}, -32602, None),
        ("query", {"faces": [1], "top": -1}, -32602, None),
        ("query", {"faces": [1], "top": True}, -32602, None),
        ("query", {"faces": [1], "threshold": 7}, -32602, None),
        ("query", {"faces": [1], "colour": "red"}, -32602, None),
        ("why", {"path": "/nul\0l"}, -32602, None),
        ("scan", {"paths": ["/etc"]}, -32000, "unreadable-photo"),
    ],
)
def test_wrong_requests_are_answered_with_an_error(
    serving: Daemon, method: str, params: dict[str, Any], code: int, kind: str | None
) -> None:
    with pytest.raises(RemoteError) as caught:
        serving.call(method, **params)
    assert caught.value.code == code
    if kind is not None:
        assert caught.value.kind == kind
    assert serving.status()["state"] == "idle"


def exchange(daemon: Daemon, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(daemon.socket))
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.mark.parametrize(
    "line", [b"{", b"\xff\xfe", b"[]", b'{"jsonrpc":"2.0","id":1,"method":"query","params":{"embedding":[NaN]}}']
)
def test_malformed_lines_are_answered_and_the_connection_goes_on(serving: Daemon, line: bytes) -> None:
    status = b'{"jsonrpc":"2.0","id":7,"method":"status"}\n'
    first, second = exchange(serving, line + b"\n" + status).splitlines()
    assert json.loads(first)["error"]["code"] in (-32700, -32600)
    assert json.loads(second)["result"]["pid"]


def test_one_sends_garbage_one_idles_and_a_third_is_answered(serving: Daemon, good: Path) -> None:
    stop = threading.Event()
    idle = socket.socket(socket.AF_UNIX)
    idle.connect(str(serving.socket))
    idle.sendall(b'{"jsonrpc":"2.0"')
    sent = 0

    def garble() -> None:
        nonlocal sent
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(serving.socket))
            client.settimeout(5)
            while not stop.is_set():
                client.sendall(b'\x00{["\n'[sent % 5 : sent % 5 + 1])
                if sent % 5 == 4:
                    client.recv(65536)
                sent += 1

    thread = threading.Thread(target=garble)
    thread.start()
    try:
        for _ in range(50):
            assert serving.paths(good) == {good}
    finally:
        stop.set()
        thread.join(20)
        idle.close()
    assert sent > 50


def test_a_full_queue_of_events_is_noticed_and_made_up_for(daemon: Daemon, root: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 50_000:
        pytest.skip(f"the event queue takes {limit} events here")
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        for n in range(limit // 2 + 1000):  # each is two events that are not merged
            (root / f"{n}.tmp").touch()
            (root / f"{n}.tmp").unlink()
        new = shoot(root / "new.jpg", [1], 5)
        gone = (root / "good.jpg").rename(root / "renamed.jpg")
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    until(lambda: daemon.paths(new) == {new, gone})
    assert daemon.call("verify")["problems"] == []
    assert "overflow" in daemon.log.read_text()


def test_a_damaged_catalog_is_set_aside_and_a_damaged_index_built_again(daemon: Daemon, root: Path) -> None:
    assert daemon.stop() == 0
    (directory,) = (path for path in daemon.data.iterdir() if path.is_dir())
    index = directory / "index.hnsw"
    index.write_bytes(index.read_bytes()[:-100])
    daemon.start()
    daemon.settle()
    assert daemon.embedded() == 0
    assert daemon.call("verify")["problems"] == []
    assert daemon.stop() == 0
    damage = b"\xde\xad" * 4096
    (directory / "catalog.sqlite3").write_bytes(damage)
    daemon.start()
    daemon.settle()
    assert daemon.paths(root / "good.jpg") == {root / "good.jpg"}
    (aside,) = directory.glob("catalog.sqlite3.damaged-*")
    assert aside.read_bytes() == damage


def test_photos_are_never_written_to(daemon: Daemon, root: Path) -> None:
    picture = root / "picture.png"
    Image.open(root / "good.jpg").save(picture)
    before = everything_of(root)
    daemon.settle()
    assert daemon.query("--sheet", daemon.home / "sheet.png", picture).returncode == 0
    assert (daemon.home / "sheet.png").stat().st_size > 1000
    assert daemon.control("verify", "--repair").returncode == 0
    assert everything_of(root) == before


def everything_of(root: Path) -> dict[Path, tuple[bytes, int, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in root.iterdir()}


def test_a_time_that_no_database_can_hold(daemon: Daemon, root: Path) -> None:
    strange = shoot(root / "from the future.jpg", [1], 8)
    far = 13_569_465_600  # in the year 2400: more nanoseconds than 63 bits hold
    try:
        os.utime(strange, (far, far))
    except OverflowError:
        pytest.skip("this system cannot set such times")
    until(lambda: strange in daemon.paths(root / "good.jpg"))
    read = daemon.settle()["rates"]["read"]
    daemon.call("scan")
    assert daemon.settle()["rates"]["read"] == read


def test_two_spellings_of_a_path_are_one(serving: Daemon, good: Path) -> None:
    serving.call("scan", paths=[f"{good.parent}//./", f"{good.parent}/x/../good.jpg"])
    serving.settle()
    assert serving.paths(good, dirs=[f"/{good.parent}/./"]) == {good}
    assert serving.call("verify")["problems"] == []


def test_the_data_may_not_lie_among_the_photos(tmp_path: Path, root: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "facewatchd", "run", root, "--data-dir", root / "data"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert result.returncode == 2
    assert "lies inside" in result.stderr
