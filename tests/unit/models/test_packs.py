"""Which model is chosen, and where its files are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from facewatchd.config import Faces
from facewatchd.errors import ModelError, UsageError
from facewatchd.models import install as files
from facewatchd.models import registry
from facewatchd.models.dlib import WEIGHTS, install
from tests.support import tiny_pack
from tests.support.packs import assert_nothing_installed, assert_one_line, choose

ID = re.compile(r"[A-Za-z0-9._-]+-[0-9a-f]{8}")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "insightface"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def no_dlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facewatchd.models.dlib.installed", lambda: False)


@pytest.fixture
def dlib_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facewatchd.models.dlib.installed", lambda: True)


# Find


def test_packs_are_chosen_without_importing_what_runs_them(tmp_path: Path) -> None:
    tiny_pack.build(tmp_path)
    heavy = ("insightface", "onnxruntime", "cv2", "requests", "_dlib_pybind11", "skimage")
    program = (
        "import sys; from pathlib import Path; from facewatchd.models import registry\n"
        "root = Path(sys.argv[1]); registry.choose('tiny', root, notify=print); registry.list_packs(root)\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_pack_is_found_by_name_directory_and_id(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tiny_pack.build(root)
    pack = registry.find("tiny", root)
    assert pack == registry.Pack("tiny", directory, pack.id if pack else "", registry.GENERIC.threshold)
    assert ID.fullmatch(pack.id)
    monkeypatch.chdir(root)
    for spec in (str(directory), pack.id, pack.spec, "./models/tiny", "models/tiny/"):
        assert registry.find(spec, root) == pack
    assert registry.find("other", root) is None
    assert registry.find("", root) is None
    assert registry.find("./other", root) is None


def test_the_id_follows_the_weights_and_nothing_else(tmp_path: Path) -> None:
    directory = tiny_pack.build(tmp_path)
    first = registry.find("tiny", tmp_path)
    assert first is not None
    (directory / "genderage.onnx").write_bytes(b"not used here")
    (directory / "README.txt").write_text("not weights")
    assert registry.find("tiny", tmp_path) == first
    elsewhere = registry.find(str(tiny_pack.build(tmp_path / "elsewhere")), tmp_path)
    assert elsewhere is not None
    assert elsewhere.id == first.id
    tiny_pack.build(tmp_path, seed=1)
    second = registry.find("tiny", tmp_path)
    assert second is not None
    assert second.id != first.id
    assert second.id.rpartition("-")[0] == first.id.rpartition("-")[0] == "tiny"


def test_an_id_is_a_plain_file_name(tmp_path: Path) -> None:
    pack = registry.find("my pack (1)", tiny_pack.build(tmp_path, "my pack (1)").parents[1])
    assert pack is not None
    assert pack.name == "my pack (1)"
    assert ID.fullmatch(pack.id)


def test_files_one_directory_below_are_found_and_load(root: Path) -> None:
    """As antelopev2.zip is unpacked by InsightFace itself, which then cannot load it."""
    directory = tiny_pack.build(root, "nested")
    inner = directory / "nested"
    inner.mkdir()
    for path in directory.glob("*.onnx"):
        path.rename(inner / path.name)
    pack = registry.find("nested", root)
    assert pack is not None
    assert pack.directory == directory
    assert pack == registry.find(pack.spec, root)
    assert pack.load(1, Faces()).info.id == pack.id


def test_thresholds_have_a_source() -> None:
    assert registry.known("buffalo_l").threshold == 0.41
    assert registry.known("AuraFace").dim == 512
    assert registry.known("somebody's") is registry.GENERIC
    for about in registry.KNOWN.values():
        assert 0 < about.threshold < 1
        assert about.source


# Choose


def test_auto_keeps_to_the_model_of_the_data(root: Path, said: list[str]) -> None:
    tiny_pack.build(root, "buffalo_l")
    tiny = registry.find("tiny", tiny_pack.build(root).parents[1])
    assert tiny is not None
    for last in (tiny.spec, tiny.name, tiny.id):
        assert choose("auto", root, said, last) == tiny
    assert said == []


def test_auto_takes_the_default_where_it_is_installed(root: Path, said: list[str]) -> None:
    tiny_pack.build(root, "buffalo_l")
    assert choose("auto", root, said).name == "buffalo_l"
    assert said == []


def test_auto_says_that_the_data_s_model_is_gone(root: Path, said: list[str]) -> None:
    tiny_pack.build(root, "buffalo_l")
    assert choose("auto", root, said, "/media/usb/mine").name == "buffalo_l"
    assert len(said) == 1
    assert "/media/usb/mine" in said[0]


@pytest.mark.usefixtures("dlib_there")
def test_auto_falls_back_on_dlib_with_one_clear_line(root: Path, said: list[str]) -> None:
    pack = choose("auto", root, said)
    assert (pack.name, pack.directory, pack.threshold) == ("dlib", None, 0.92)
    assert ID.fullmatch(pack.id)
    (line,) = [line for line in said if line != registry.LICENCE_NOTE]
    assert "dlib" in line
    assert "Connection refused" in line
    assert "models fetch buffalo_l" in line
    assert "--model buffalo_l" in line
    assert_nothing_installed(root)


@pytest.mark.usefixtures("dlib_there")
def test_auto_stays_with_dlib_once_the_data_is_built_with_it(root: Path, said: list[str]) -> None:
    tiny_pack.build(root, "buffalo_l")
    assert choose("auto", root, said, "dlib").name == "dlib"


@pytest.mark.usefixtures("no_dlib")
def test_auto_without_anything_names_the_three_ways_out(root: Path, said: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        choose("auto", root, said)
    assert_one_line(caught.value, "buffalo_l", "network", "facewatchd models fetch", "-m pip install 'dlib-bin>=")


@pytest.mark.usefixtures("dlib_there")
def test_a_named_model_that_cannot_be_fetched_is_no_other_model(root: Path, said: list[str]) -> None:
    with pytest.raises(ModelError, match="buffalo_s"):
        choose("buffalo_s", root, said)


@pytest.mark.parametrize("spec", ["bufalo_l", "", "./nowhere", "~/nowhere", "/nonexistent/pack"])
def test_an_unknown_model_is_wrong_usage(root: Path, said: list[str], spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose(spec, root, said)
    assert_one_line(caught.value)
    assert caught.value.exit_status == 2


def test_the_names_that_would_do_are_listed(root: Path, said: list[str]) -> None:
    tiny_pack.build(root)
    with pytest.raises(UsageError) as caught:
        choose("nobody", root, said)
    assert_one_line(caught.value, "'nobody'", "tiny", "buffalo_l", "dlib")


@pytest.mark.usefixtures("no_dlib")
def test_dlib_by_name_says_what_to_install(root: Path, said: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        choose("dlib", root, said)
    assert_one_line(caught.value, "-m pip install 'dlib-bin>=")


def test_dlib_s_id_stands_for_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    first = registry._dlib().id
    assert registry._dlib().id == first
    monkeypatch.setitem(WEIGHTS, "dlib_face_recognition_resnet_model_v1.dat", "0" * 64)
    assert registry._dlib().id != first


# List


def test_the_list_has_what_is_there_and_what_can_be_had(root: Path) -> None:
    directory = tiny_pack.build(root)
    (root / "models/.buffalo_l.partial-1").mkdir()
    listed = {each.name: each for each in registry.list_packs(root)}
    assert set(listed) == {"tiny", "dlib", *files.RELEASED}
    tiny = listed["tiny"]
    assert (tiny.installed, tiny.where, tiny.threshold, tiny.dim) == (True, str(directory), 0.4, None)
    assert tiny.size == sum(path.stat().st_size for path in directory.iterdir())
    absent = listed["buffalo_l"]
    assert (absent.installed, absent.size, absent.dim, absent.threshold) == (False, None, 512, 0.41)
    assert absent.where == "facewatchd models fetch buffalo_l"


@pytest.mark.usefixtures("no_dlib")
def test_the_list_says_how_to_install_dlib(root: Path) -> None:
    (dlib,) = [each for each in registry.list_packs(root) if each.name == "dlib"]
    assert (dlib.installed, dlib.size, dlib.where) == (False, None, install())
