"""Which model is chosen, and where its files are."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from facewatchd.config import Faces
from facewatchd.errors import ModelError, UsageError
from facewatchd.models import install as files
from facewatchd.models import registry
from tests.support import packs, tiny_pack
from tests.support.packs import assert_nothing_installed, assert_one_line, choose

ID = re.compile(r"[A-Za-z0-9._-]+-[0-9a-f]{8}")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "insightface"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pip find nothing."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


# Find


def test_packs_are_chosen_without_importing_what_runs_them(tmp_path: Path) -> None:
    tiny_pack.build(tmp_path)
    heavy = ("insightface", "onnxruntime", "cv2", "requests", "onnx", "skimage")
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


def test_auto_falls_back_on_opencv_with_one_clear_line(root: Path, said: list[str]) -> None:
    packs.link_opencv(root)
    pack = choose("auto", root, said)
    assert (pack.name, pack.directory, pack.threshold) == ("opencv", root / "models/opencv", 0.40)
    (line,) = said
    assert line.startswith("using the model opencv, licence: any use (MIT, Apache-2.0); the model buffalo_l is not ")
    assert "Connection refused" in line
    assert "models fetch buffalo_l" in line
    assert "--model buffalo_l" in line


def test_auto_stays_with_opencv_once_the_data_is_built_with_it(root: Path, said: list[str]) -> None:
    packs.link_opencv(root)
    tiny_pack.build(root, "buffalo_l")
    opencv = registry.find("opencv", root)
    assert opencv is not None
    assert choose("auto", root, said, opencv.spec) == opencv
    assert said == []


def test_the_two_files_are_the_pack_opencv_wherever_they_are(root: Path, tmp_path: Path) -> None:
    (tmp_path / "zoo").symlink_to(packs.opencv_root() / "models/opencv")
    packs.link_opencv(root)
    there, pack = registry.find(str(tmp_path / "zoo"), root), registry.find("opencv", root)
    assert there is not None
    assert pack is not None
    assert (there.name, there.id, there.directory) == ("opencv", pack.id, tmp_path / "zoo")
    assert ID.fullmatch(pack.id)


@pytest.mark.usefixtures("no_index")
def test_auto_without_anything_names_the_reasons_and_the_ways_out(root: Path, said: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        choose("auto", root, said)
    assert_one_line(caught.value, "buffalo_l", "Connection refused", "pip cannot fetch", "facewatchd models fetch FILE")
    assert_nothing_installed(root)


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
    assert_one_line(caught.value, "'nobody'", "tiny", "buffalo_l", "opencv")


@pytest.mark.parametrize("last", [None, "dlib"])
def test_dlib_is_not_part_of_this_version(root: Path, said: list[str], last: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        choose("dlib", root, said, last)
    assert_one_line(caught.value, "dlib", 'model = "opencv"')
    assert caught.value.exit_status == 2


# List


def test_the_list_has_what_is_there_and_what_can_be_had(root: Path) -> None:
    directory = tiny_pack.build(root)
    (root / "models/.buffalo_l.partial-1").mkdir()
    listed = {each.name: each for each in registry.list_packs(root)}
    assert set(listed) == {"tiny", "opencv", *files.RELEASED}
    tiny = listed["tiny"]
    assert (tiny.installed, tiny.where, tiny.threshold, tiny.dim) == (True, str(directory), 0.4, None)
    assert tiny.size == sum(path.stat().st_size for path in directory.iterdir())
    absent = listed["buffalo_l"]
    assert (absent.installed, absent.size, absent.dim, absent.threshold) == (False, None, 512, 0.41)
    assert absent.where == "facewatchd models fetch buffalo_l"


def test_other_files_than_those_chosen_are_not_loaded(tmp_path: Path) -> None:
    directory = tiny_pack.build(tmp_path)
    pack = registry.find(str(directory), tmp_path)
    assert pack is not None
    assert pack.load(1, Faces()).info.id == pack.id
    shutil.rmtree(directory)
    tiny_pack.build(tmp_path, seed=1)
    with pytest.raises(ModelError, match="are others than when it was chosen"):
        pack.load(1, Faces())
