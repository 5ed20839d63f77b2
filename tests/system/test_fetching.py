"""Packs are fetched, tried in a process and put in place, from files and from a local server in the network's place."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from facewatchd.config import Faces
from facewatchd.errors import ModelError, UsageError
from facewatchd.models import install as files
from facewatchd.models import registry
from facewatchd.models.install import Download
from tests.support import drawn_faces, tiny_pack
from tests.support.packs import UNREACHABLE, assert_nothing_installed, assert_one_line, choose
from tests.support.release import Release


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "insightface"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def release() -> Iterator[Release]:
    release = Release()
    yield release
    release.close()


@pytest.fixture(scope="module")
def tiny_zip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tiny_pack.build(tmp_path_factory.mktemp("zipped"))
    return zipped({path.name: path.read_bytes() for path in directory.iterdir()})


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def members(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_auto_fetches_the_default(root: Path, said: list[str], release: Release, tiny_zip: bytes) -> None:
    release.offer("/buffalo_l.zip", tiny_zip)
    pack = choose("auto", root, said, base_url=release.base_url)
    assert pack == registry.find("buffalo_l", root)
    assert pack.threshold == 0.41
    assert sum("non-commercial" in line for line in said) == 1


def test_auto_fetches_the_model_of_the_data_again(
    root: Path, said: list[str], release: Release, tiny_zip: bytes
) -> None:
    release.offer("/buffalo_s.zip", tiny_zip)
    tiny_pack.build(root, "buffalo_l")
    gone = str(root / "models/buffalo_s")
    pack = choose("auto", root, said, gone, base_url=release.base_url)
    assert (pack.name, pack.spec) == ("buffalo_s", gone)
    assert said[0] == f"the model {gone}, which the data was built with, is not there any more"
    shutil.rmtree(gone)
    said.clear()
    assert choose("auto", root, said, gone, base_url=UNREACHABLE).name == "buffalo_l"
    assert len(said) == 2
    assert "buffalo_s.zip cannot be downloaded" in said[1]


def test_a_released_name_is_fetched(root: Path, said: list[str], release: Release, tiny_zip: bytes) -> None:
    release.offer("/antelopev2.zip", tiny_zip)
    assert choose("antelopev2", root, said, base_url=release.base_url).name == "antelopev2"
    assert choose("antelopev2", root, said, base_url=UNREACHABLE).name == "antelopev2"
    assert release.asked == ["/antelopev2.zip"]


def fetch(
    source: str | Path,
    root: Path,
    said: list[str],
    progress: Callable[[int, int], None] | None = None,
    **download: object,
) -> registry.Pack:
    where = Download(**download)  # type: ignore[arg-type]
    return registry.fetch(str(source), root, notify=said.append, progress=progress, download=where)


def test_progress_is_told_to_the_end(root: Path, said: list[str], release: Release, tiny_zip: bytes) -> None:
    release.offer("/buffalo_s.zip", tiny_zip)
    steps: list[tuple[int, int]] = []
    fetch("buffalo_s", root, said, base_url=release.base_url, progress=lambda *step: steps.append(step))
    assert steps[-1] == (len(tiny_zip), len(tiny_zip))


@pytest.mark.parametrize("below", ["", "inner/"])
def test_a_zip_file_is_installed_flat_or_nested(
    tmp_path: Path, root: Path, said: list[str], tiny_zip: bytes, below: str
) -> None:
    archive = tmp_path / "mine.zip"
    archive.write_bytes(zipped({below + name: content for name, content in members(tiny_zip).items()}))
    pack = fetch(archive, root, said)
    assert pack == registry.find("mine", root)
    assert sorted(path.name for path in (root / "models/mine").iterdir()) == ["det_tiny.onnx", "rec_tiny.onnx"]
    assert [path.name for path in (root / "models").iterdir()] == ["mine"]
    assert said == [f"the model mine is in {root}/models/mine; its licence is not known here; ask the pack's author"]


def test_a_directory_is_copied_without_what_is_no_part_of_a_pack(tmp_path: Path, root: Path, said: list[str]) -> None:
    source = tiny_pack.build(tmp_path / "from")
    (source / "holiday.jpg").write_bytes(b"")
    fetch(source, root, said)
    shutil.rmtree(source)
    pack = registry.find("tiny", root)
    assert pack is not None
    assert pack.load(1, Faces()).info.dim == drawn_faces.DIM
    assert not (root / "models/tiny/holiday.jpg").exists()


def test_a_pack_that_is_there_and_loads_is_left_alone(root: Path, said: list[str]) -> None:
    directory = tiny_pack.build(root, "buffalo_l")
    before = sorted(directory.iterdir())
    assert fetch("buffalo_l", root, said, base_url=UNREACHABLE).directory == directory
    assert sorted(directory.iterdir()) == before
    assert said == [f"the model buffalo_l is already in {directory}"]


def test_a_pack_that_does_not_load_is_replaced_and_kept(
    root: Path, said: list[str], release: Release, tiny_zip: bytes
) -> None:
    release.offer("/buffalo_l.zip", tiny_zip)
    directory = tiny_pack.build(root, "buffalo_l")
    (directory / "rec_tiny.onnx").unlink()
    fetch("buffalo_l", root, said, base_url=release.base_url).load(1, Faces())
    (kept,) = (root / "models").glob(".*.replaced-*")
    assert [path.name for path in kept.iterdir()] == ["det_tiny.onnx"]
    assert any(str(kept) in line for line in said)


def test_an_empty_directory_in_the_way_does_not_matter(
    root: Path, said: list[str], release: Release, tiny_zip: bytes
) -> None:
    (root / "models/buffalo_l").mkdir(parents=True)
    release.offer("/buffalo_l.zip", tiny_zip)
    assert fetch("buffalo_l", root, said, base_url=release.base_url).load(1, Faces()).info.name == "buffalo_l"


def broken_zip(archive: bytes) -> bytes:
    return archive[: len(archive) // 2]


def without_recognition(archive: bytes) -> bytes:
    return zipped({name: content for name, content in members(archive).items() if not name.startswith("rec")})


def without_models(archive: bytes) -> bytes:
    return zipped({"readme.txt": archive})


def damaged_inside(archive: bytes) -> bytes:
    middle = len(archive) // 2
    return archive[:middle] + bytes(byte ^ 255 for byte in archive[middle : middle + 64]) + archive[middle + 64 :]


@pytest.mark.parametrize("damage", [broken_zip, without_recognition, without_models, damaged_inside])
def test_what_does_not_load_is_not_installed(
    root: Path, said: list[str], release: Release, tiny_zip: bytes, damage: Callable[[bytes], bytes]
) -> None:
    release.offer("/buffalo_l.zip", damage(tiny_zip))
    with pytest.raises(ModelError) as caught:
        fetch("buffalo_l", root, said, base_url=release.base_url)
    assert_one_line(caught.value)
    assert_nothing_installed(root)


def test_a_download_that_ends_early_is_not_installed(
    root: Path, said: list[str], release: Release, tiny_zip: bytes
) -> None:
    release.offer("/buffalo_l.zip", tiny_zip, claimed=len(tiny_zip) + 1000)
    with pytest.raises(ModelError, match=r"buffalo_l\.zip cannot be downloaded"):
        fetch("buffalo_l", root, said, base_url=release.base_url)
    assert_nothing_installed(root)


def test_ctrl_c_in_a_download_leaves_nothing(root: Path, said: list[str], release: Release, tiny_zip: bytes) -> None:
    release.offer("/buffalo_l.zip", tiny_zip)

    def interrupt(_done: int, _total: int) -> None:
        assert [path.name for path in (root / "models").iterdir()] == [f".buffalo_l.partial-{os.getpid()}"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("buffalo_l", root, said, base_url=release.base_url, progress=interrupt)
    assert_nothing_installed(root)


def test_what_a_killed_fetch_left_is_removed_by_the_next(tmp_path: Path, root: Path, said: list[str]) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    abandoned = root / "models" / f".buffalo_l.partial-{dead.pid}"
    running = root / "models" / f".buffalo_l.partial-{os.getppid()}"
    for leftover in (abandoned, running):
        (leftover / "pack").mkdir(parents=True)
    fetch(tiny_pack.build(tmp_path / "from"), root, said)
    assert not abandoned.exists()
    assert running.exists()


@pytest.mark.parametrize(
    ("base_url", "reason"),
    [(UNREACHABLE, "Connection refused"), ("http://models.invalid/", "models.invalid"), ("release", "404 Not Found")],
)
def test_a_network_fault_is_one_line_with_its_reason(
    root: Path, said: list[str], release: Release, base_url: str, reason: str
) -> None:
    with pytest.raises(ModelError) as caught:
        fetch("buffalo_l", root, said, base_url=release.base_url if base_url == "release" else base_url)
    assert_one_line(caught.value, reason, "buffalo_l.zip")
    assert len(str(caught.value)) < 400
    assert_nothing_installed(root)


def test_a_server_that_says_nothing_is_given_up(root: Path, said: list[str], release: Release) -> None:
    given_up = threading.Event()
    release.answers["/buffalo_l.zip"] = lambda _: (given_up.wait(30), None)[1]
    try:
        with pytest.raises(ModelError, match="timed out"):
            fetch("buffalo_l", root, said, base_url=release.base_url, timeout=(5.0, 0.2))
    finally:
        given_up.set()


@pytest.mark.parametrize("path", ["../outside.onnx", "/tmp/outside.onnx", "a/../../outside.onnx", "..\\outside.onnx"])
def test_a_zip_file_cannot_write_outside(
    tmp_path: Path, root: Path, said: list[str], tiny_zip: bytes, path: str
) -> None:
    archive = tmp_path / "evil.zip"
    archive.write_bytes(zipped({**members(tiny_zip), path: b"x"}))
    with pytest.raises(ModelError, match="leads out"):
        fetch(archive, root, said)
    assert_nothing_installed(root)
    assert not list(tmp_path.rglob("*outside*"))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, root: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SIZE_LIMIT", 1 << 20)
    archive = tmp_path / "bomb.zip"
    archive.write_bytes(zipped({"det.onnx": bytes(2 << 20)}))
    with pytest.raises(ModelError, match="no face pack"):
        fetch(archive, root, said)
    assert_nothing_installed(root)


def test_an_endless_download_is_cut_off(
    root: Path, said: list[str], release: Release, tiny_zip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SIZE_LIMIT", 1000)
    release.offer("/buffalo_l.zip", tiny_zip)
    with pytest.raises(ModelError, match="no face pack"):
        fetch("buffalo_l", root, said, base_url=release.base_url)
    assert_nothing_installed(root)


def test_a_source_that_is_none_is_wrong_usage(tmp_path: Path, root: Path, said: list[str]) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no zip")
    for source in ("bufalo_l", text, tmp_path / "missing.zip"):
        with pytest.raises(UsageError) as caught:
            fetch(source, root, said)
        assert_one_line(caught.value, str(source))
    assert not root.exists()


def test_a_directory_without_models_is_refused(tmp_path: Path, root: Path, said: list[str]) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(ModelError, match="no ONNX files"):
        fetch(tmp_path / "photos", root, said)
    assert_nothing_installed(root)


def test_a_root_that_cannot_be_written_is_one_line(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError) as caught:
        fetch(tiny_pack.build(tmp_path / "from"), tmp_path / "file", said)
    assert_one_line(caught.value, "tiny", "model_root")
