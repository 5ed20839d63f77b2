"""The configuration: every key, every kind of mistake; and what is excluded."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from facewatchd import config, paths
from facewatchd.config import Config, Faces, Query, Resources, Shared, Watch
from facewatchd.errors import UsageError
from facewatchd.ignore import Exclusion

EVERYTHING = """
directories = ["{photos}", "~/more"]
exclude = ["*.png", "/private/"]
model = "antelopev2"
model_root = "~/models"
[faces]
min_size = 64
min_score = 0.6
second_look = false
detector_size = 320
[query]
top = 0
threshold = 0.45
[resources]
threads = 3
idle_priority = false
unload_after = 0
[watch]
settle = 0.5
rescan = 60
[shared]
url = "postgresql://facewatch@nas.lan/facewatch?sslmode=verify-full"
name = "laptop"
index = "shared"
send = true
timeout = 0.5
"""
ENGINE = 'url = "postgresql://localhost/f"'
SECRET = "s3cret"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let nothing of the machine's own configuration be seen."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    return home


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    directory = tmp_path / "photos"
    directory.mkdir()
    return directory


def write(directory: Path, text: str) -> Path:
    path = directory / "config.toml"
    path.write_text(text)
    return path


def refusal(tmp_path: Path, text: str) -> str:
    """What is said of a file."""
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        config.load(path, needs_directories=False)
    assert caught.value.exit_status == 2
    assert caught.value.hint
    words = str(caught.value)
    assert str(path) in words
    assert "\n" not in words
    return words


# What is right


def test_every_key_is_read(tmp_path: Path, photos: Path, home: Path) -> None:
    loaded = config.load(write(tmp_path, EVERYTHING.format(photos=photos)))
    assert loaded == Config(
        directories=(photos, home / "more"),
        exclude=("*.png", "/private/"),
        model="antelopev2",
        model_root=home / "models",
        data_dir=paths.data_path(),
        socket=paths.socket_path(),
        faces=Faces(min_size=64, min_score=0.6, second_look=False, detector_size=320),
        query=Query(top=0, threshold=0.45),
        resources=Resources(threads=3, idle_priority=False, unload_after=0),
        watch=Watch(settle=0.5, rescan=60),
        shared=Shared(
            url="postgresql://facewatch@nas.lan/facewatch?sslmode=verify-full",
            name="laptop",
            index="shared",
            send=True,
            timeout=0.5,
        ),
    )


def test_only_directories_must_be_there(tmp_path: Path, photos: Path, home: Path) -> None:
    loaded = config.load(write(tmp_path, f'directories = ["{photos}"]'))
    assert asdict(loaded.faces) == {"min_size": 40, "min_score": 0.5, "second_look": True, "detector_size": None}
    assert asdict(loaded.query) == {"top": 20, "threshold": None}
    assert asdict(loaded.resources) == {
        "threads": len(os.sched_getaffinity(0)), "idle_priority": True, "device": "auto", "thumbnails": 3000,
        "unload_after": 300,
    }  # fmt: skip
    assert (loaded.model, loaded.model_root) == ("auto", home / ".insightface")
    assert loaded.shared is None
    assert loaded.data_dir == home / ".local/share/facewatchd"
    assert loaded.socket == home / "run/facewatchd/socket"


def test_the_default_place_need_not_exist_but_a_named_file_must(tmp_path: Path, photos: Path) -> None:
    assert config.load(None, directories=(photos,)).directories == (photos,)
    with pytest.raises(UsageError, match=r"there is no configuration file .*/none\.toml"):
        config.load(tmp_path / "none.toml", directories=(photos,))


def test_the_default_place_is_read(home: Path, photos: Path) -> None:
    directory = home / ".config/facewatchd"
    directory.mkdir(parents=True)
    write(directory, f'directories = ["{photos}"]\nmodel = "opencv"')
    assert config.load(None).model == "opencv"


def test_flags_win_and_none_is_no_flag(tmp_path: Path, photos: Path) -> None:
    path = write(tmp_path, f'directories = ["{photos}"]\nmodel = "opencv"\n[query]\ntop = 5')
    other = tmp_path / "other"
    loaded = config.load(path, directories=(other,), model="buffalo_l", data_dir=Path("data"), socket=None)
    assert loaded.directories == (other,)
    assert loaded.model == "buffalo_l"
    assert loaded.data_dir == Path.cwd() / "data"
    assert loaded.socket == paths.socket_path()
    assert loaded.query.top == 5
    assert config.load(path, directories=None, model=None).model == "opencv"


def test_more_processors_than_threads_are_allowed(monkeypatch: pytest.MonkeyPatch, photos: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4096))
    assert config.load(None, directories=(photos,)).resources.threads == 1024


# Directories


def test_no_directory_is_refused_where_one_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path, "directories = []")
    with pytest.raises(UsageError, match=r"no directory to watch; name one .* or set `directories` in .*config\.toml"):
        config.load(path)
    assert config.load(path, needs_directories=False).directories == ()


def test_directories_are_absolute_and_each_there_once(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    loaded = config.load(None, directories=(Path("photos"), photos, Path("photos/../photos/.")))
    assert loaded.directories == (photos,)


def test_a_directory_that_is_not_there_now_is_kept(photos: Path) -> None:
    assert config.load(None, directories=(photos / "unplugged",)).directories == (photos / "unplugged",)


def test_a_file_is_no_directory(photos: Path) -> None:
    file = photos / "a.jpg"
    file.touch()
    with pytest.raises(UsageError, match=r"a\.jpg is not a directory; "):
        config.load(None, directories=(file,))


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_nested_directories_are_refused(photos: Path, order: slice) -> None:
    inner = photos / "2024"
    with pytest.raises(UsageError, match=r"photos/2024 lies inside .*/photos; name only the outer one"):
        config.load(None, directories=(photos, inner)[order])


def test_a_name_that_begins_the_same_is_not_nested(photos: Path) -> None:
    sibling = photos.with_name("photos-old")
    assert config.load(None, directories=(photos, sibling)).directories == (photos, sibling)


def test_directories_nested_by_a_link_are_refused(tmp_path: Path, photos: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(photos / "2024")
    (photos / "2024").mkdir()
    with pytest.raises(UsageError, match=r"link lies inside"):
        config.load(None, directories=(photos, link))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every directory")
def test_a_directory_that_may_not_be_looked_at_is_kept(photos: Path) -> None:
    inner = photos / "closed" / "inner"
    inner.mkdir(parents=True)
    inner.parent.chmod(0)
    try:
        assert config.load(None, directories=(inner,)).directories == (inner,)
    finally:
        inner.parent.chmod(0o700)


# Mistakes in the file


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("directory = ['/x']", "`directory`"),
        ("[faces]\nmin_sise = 3", "`faces.min_sise`"),
        ("[query]\ntops = 3", "`query.tops`"),
        ("[resources]\nthread = 3", "`resources.thread`"),
        ("[watch]\nresettle = 3", "`watch.resettle`"),
        ("[face]\nmin_size = 3", "`face`"),
        ("min_size = 3", "`min_size`"),
    ],
)
def test_an_unknown_key_is_named_with_those_that_are_known(tmp_path: Path, text: str, key: str) -> None:
    words = refusal(tmp_path, text)
    assert words.startswith(f"unknown key {key} in ")
    assert "; the keys here are: " in words


def test_the_known_keys_of_a_table_are_listed(tmp_path: Path) -> None:
    assert refusal(tmp_path, "[watch]\nx = 1").endswith("the keys here are: rescan, settle")
    known = "directories, exclude, faces, model, model_root, query, resources, shared, watch"
    assert refusal(tmp_path, "x = 1").endswith(f"the keys here are: {known}")


LISTS = "it must be a list of strings, none of them empty"
TEXT = "it must be a string that is not empty"


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("directories = '/x'", "directories", LISTS),
        ("directories = [3]", "directories", LISTS),
        ("directories = ['']", "directories", LISTS),
        ('directories = ["/a\\u0000b"]', "directories", LISTS),
        ("exclude = 'x'", "exclude", LISTS),
        ("model = 3", "model", TEXT),
        ("model = ''", "model", TEXT),
        ("model_root = []", "model_root", TEXT),
        ("faces = 3", "faces", "it must be a table"),
        ("query = []", "query", "it must be a table"),
        ("resources = 'x'", "resources", "it must be a table"),
        ("watch = true", "watch", "it must be a table"),
        ("shared = true", "shared", "it must be a table"),
        (f"[shared]\n{ENGINE}\nsend = 1", "shared.send", "it must be true or false"),
        (f"[shared]\n{ENGINE}\nindex = 'both'", "shared.index", 'it must be "local", "shared"'),
        ("[shared]\nurl = 3", "shared.url", "it must be a `postgresql://` URI without a password"),
        ("[resources]\nidle_priority = 1", "resources.idle_priority", "it must be true or false"),
        ("[resources]\nidle_priority = 'yes'", "resources.idle_priority", "it must be true or false"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(tmp_path: Path, text: str, key: str, expected: str) -> None:
    words = refusal(tmp_path, text)
    assert words.startswith(f"`{key}` in ")
    assert words.endswith(expected)


def test_somebody_elses_home_must_exist(tmp_path: Path) -> None:
    for line in ("directories = ['~nobody-here/x']", "model_root = '~nobody-here'"):
        assert "`~name` that of a user who exists" in refusal(tmp_path, line)


NUMBERS: list[tuple[str, str, float, float, bool]] = [
    ("faces", "min_size", 1, 10_000, True),
    ("faces", "min_score", 0.01, 1, False),
    ("query", "top", 0, 1_000_000, True),
    ("query", "threshold", -1, 1, False),
    ("resources", "threads", 1, 1024, True),
    ("resources", "unload_after", 0, 1e9, False),
    ("watch", "settle", 0, 3600, False),
    ("watch", "rescan", 1, 1e9, False),
    ("shared", "timeout", 0.05, 60, False),
]


def load_number(tmp_path: Path, table: str, key: str, value: object) -> Any:
    text = f'model = "fixed"\n[{table}]\n{ENGINE if table == "shared" else ""}\n{key} = {value}'
    loaded = config.load(write(tmp_path, text), needs_directories=False)
    return getattr(getattr(loaded, table), key)


@pytest.mark.parametrize(("table", "key", "low", "high", "whole"), NUMBERS)
def test_a_number_is_taken_at_both_ends_of_its_range(
    tmp_path: Path, table: str, key: str, low: float, high: float, whole: bool
) -> None:
    for value in (low, high):
        loaded = load_number(tmp_path, table, key, int(value) if whole else value)
        assert loaded == value
        assert isinstance(loaded, int if whole else float)


@pytest.mark.parametrize(("table", "key", "low", "high", "whole"), NUMBERS)
def test_a_number_out_of_its_range_is_refused(
    tmp_path: Path, table: str, key: str, low: float, high: float, whole: bool
) -> None:
    kind = "a whole number" if whole else "a number"
    step = 1 if whole else 0.001
    wrong: list[object] = [low - step, high + 1, "nan", "-inf", "true", '"3"', "[3]", "1979-05-27"]
    for value in wrong + ([low + 0.5] if whole else []):
        engine = ENGINE if table == "shared" else ""
        words = refusal(tmp_path, f"[{table}]\n{engine}\n{key} = {value}")
        assert words.startswith(f"`{table}.{key}` in ")
        assert words.endswith(f"; it must be {kind} from {low:.10g} to {high:.10g}")


@pytest.mark.parametrize("number", ["9" * 5000, "0x" + "f" * 5000, "9" * 4000])
def test_a_number_of_thousands_of_digits_is_refused_on_one_short_line(tmp_path: Path, number: str) -> None:
    words = refusal(tmp_path, f"[query]\ntop = {number}")
    assert len(words) < len(str(tmp_path)) + 300


def test_the_detector_takes_multiples_of_32(tmp_path: Path) -> None:
    assert load_number(tmp_path, "faces", "detector_size", 64) == 64
    assert load_number(tmp_path, "faces", "detector_size", 4096) == 4096
    for value in (32, 650, 640.5, 4128):
        words = refusal(tmp_path, f"[faces]\ndetector_size = {value}")
        assert words.endswith("it must be a whole number from 64 to 4096, a multiple of 32")


@pytest.mark.parametrize("model", ["", 'model = "auto"'])
def test_a_threshold_needs_a_model_that_it_is_for(tmp_path: Path, photos: Path, model: str) -> None:
    file = write(tmp_path, f'directories = ["{photos}"]\n{model}\n[query]\nthreshold = 0.41\n')
    with pytest.raises(UsageError) as caught:
        config.load(file)
    assert f"`query.threshold` in {file} is 0.41" in str(caught.value)
    assert '"auto"' in str(caught.value)
    assert "\n" not in str(caught.value)
    assert config.load(file, model="buffalo_l").query.threshold == 0.41, "a flag fixes the model as well"


def test_a_flag_may_take_the_thresholds_model_away(tmp_path: Path, photos: Path) -> None:
    file = write(tmp_path, f'directories = ["{photos}"]\nmodel = "opencv"\n[query]\nthreshold = 0.93\n')
    assert config.load(file).query.threshold == 0.93
    with pytest.raises(UsageError, match=r"`query\.threshold`"):
        config.load(file, model="auto")


def test_with_another_model_the_threshold_waits_for_it() -> None:
    running = Config(model="opencv", query=Query(top=5, threshold=0.92))
    taken, waiting = config.apply_reload(
        running, replace(running, model="buffalo_l", query=Query(top=6, threshold=0.41))
    )
    assert taken.query == Query(top=6, threshold=0.92)
    assert waiting == ["model", "query.threshold"]
    taken, waiting = config.apply_reload(running, replace(running, query=Query(top=5, threshold=0.95)))
    assert (taken.query.threshold, waiting) == (0.95, [])


# The shared engine


def test_only_the_address_of_an_engine_must_be_there(tmp_path: Path) -> None:
    loaded = config.load(write(tmp_path, f"[shared]\n{ENGINE}"), needs_directories=False).shared
    assert loaded == Shared("postgresql://localhost/f", socket.gethostname(), "local", True, 2.0)
    assert refusal(tmp_path, "[shared]").startswith("`shared.url` in ")
    assert " is missing; it must be a `postgresql://` URI" in refusal(tmp_path, "[shared]\nname = 'x'")


@pytest.mark.parametrize(
    "text",
    [
        f"[shared]\nurl = 'postgresql://u:{SECRET}@nas.lan/f?sslmode=verify-full'",
        f"[shared]\nurl = ['postgresql://u:{SECRET}@nas.lan/f']",
        f"[shared]\nurl = 'host=nas.lan password={SECRET}'",
        f"[shared]\nurl = 'mysql://u:{SECRET}@nas.lan/f'",
        f"[shared]\n{ENGINE}\nname = 'postgresql://u:{SECRET}@nas.lan/f'",
        f"shared = 'postgresql://u:{SECRET}@nas.lan/f'",
        f"shared = 'host=nas.lan password={SECRET}'",
        f"[shared]\n{ENGINE}\npassword = '{SECRET}'",
        f"[shared]\nurl = 'postgresql://u:{SECRET}@nas.lan/f",
    ],
)
def test_no_message_repeats_a_password(tmp_path: Path, text: str) -> None:
    assert SECRET not in refusal(tmp_path, text)


def test_an_unsafe_address_is_refused(tmp_path: Path) -> None:
    words = refusal(tmp_path, "[shared]\nurl = 'postgresql://nas.lan/f?sslmode=require'")
    assert words.startswith("`shared.url` in ")
    assert "leads to nas.lan with sslmode=require" in words
    assert "; write sslmode=verify-full" in words


@pytest.mark.parametrize("name", ["", "a:b", "a/b", "a\\nb", "\\u202e", "x" * 65, " a", "a ", "\\u007f", "\\u2028"])
def test_a_name_that_no_machine_can_have_is_refused(tmp_path: Path, name: str) -> None:
    words = refusal(tmp_path, f'[shared]\n{ENGINE}\nname = "{name}"')
    assert words.startswith("`shared.name` in ")
    assert "without `:`, `/`" in words


@pytest.mark.parametrize("name", ["x" * 64, "laptop", "Büro PC", "nas.lan", "家"])
def test_a_machine_may_have_any_other_name(tmp_path: Path, name: str) -> None:
    loaded = config.load(write(tmp_path, f"[shared]\n{ENGINE}\nname = '{name}'"), needs_directories=False)
    assert loaded.shared is not None
    assert loaded.shared.name == name


def test_a_host_name_that_cannot_be_the_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "gethostname", lambda: "")
    with pytest.raises(UsageError, match=r"host name is '', .*; set `shared\.name`"):
        config.load(write(tmp_path, f"[shared]\n{ENGINE}"), needs_directories=False)
    assert config.load(write(tmp_path, f"[shared]\n{ENGINE}\nname = 'x'"), needs_directories=False).shared


def test_photos_that_only_the_engine_would_find_are_sent(tmp_path: Path) -> None:
    words = refusal(tmp_path, f"[shared]\n{ENGINE}\nindex = 'shared'\nsend = false")
    assert "no photo here would be found" in words


def test_an_engine_that_comes_or_goes_and_its_index_wait_for_a_restart() -> None:
    engine = Shared("postgresql://localhost/f", "a", "local", True, 2.0)
    other = Shared("postgresql://localhost/g", "b", "shared", False, 3.0)
    none, some = Config(), Config(shared=engine)
    assert config.apply_reload(none, some) == (none, ["shared"])
    assert config.apply_reload(some, none) == (some, ["shared"])
    assert config.apply_reload(none, none) == (none, [])
    taken, waiting = config.apply_reload(some, replace(some, shared=other))
    assert taken.shared == replace(other, index="local", send=True)
    assert waiting == ["shared.index", "shared.send"]


@pytest.mark.parametrize("text", ["directories = [", "a = 1\na = 2", "= 3", "x = " + "[" * 5000])
def test_broken_toml_is_one_line(tmp_path: Path, text: str) -> None:
    assert "is not valid TOML" in refusal(tmp_path, text)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*Is a directory"):
        config.load(tmp_path)
    path = tmp_path / "latin1.toml"
    path.write_bytes(b"model = '\xe4'")
    with pytest.raises(UsageError, match=r"latin1\.toml is not UTF-8 text: byte 9 is not; save it as UTF-8"):
        config.load(path)


@pytest.mark.parametrize("kind", ["fifo", "socket", "device", "directory", "loop", "below a file"])
def test_a_configuration_of_an_odd_kind_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "config.toml"
    with socket.socket(socket.AF_UNIX) as listening:
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "socket":
            listening.bind(str(path))
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "directory":
            path.mkdir()
        elif kind == "loop":
            path.symlink_to(path)
        else:
            path.write_text("")
            path /= "config.toml"
        with pytest.raises(UsageError) as refused:
            config.load(path)
    assert str(refused.value).count(str(path)) == 1
    assert "Errno" not in str(refused.value)


def test_a_configuration_may_be_a_link_or_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """Links come from collections of dotfiles, the mark from editors of other systems."""
    (tmp_path / "elsewhere").write_bytes(b"\xef\xbb\xbfmodel = 'opencv'\r\ndirectories = ['/']\r\n")
    (tmp_path / "config.toml").symlink_to("elsewhere")
    assert config.load(tmp_path / "config.toml").model == "opencv"


def test_no_configuration_is_read_from_the_null_device() -> None:
    assert config.load(Path(os.devnull), needs_directories=False).directories == ()


def test_a_home_that_is_a_file_has_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert config.load(None, needs_directories=False).directories == ()


# Excluding


@pytest.mark.parametrize("pattern", ["!", "[z-a]", "a\\\\"])
def test_a_pattern_that_gitignore_would_not_take_is_refused(tmp_path: Path, pattern: str) -> None:
    words = refusal(tmp_path, f'exclude = ["{pattern}"]')
    assert words.startswith("`exclude` in ")
    assert "it must be a list of gitignore patterns (" in words


@pytest.mark.parametrize(
    ("name", "is_directory", "reason"),
    [
        (b"a.jpg", False, ""),
        (b".a.jpg", False, "hidden"),
        (b"x/.thumbnails", True, "hidden"),
        (b"a.jpg.part", False, "an unfinished or backup file"),
        (b"a.TMP", False, "an unfinished or backup file"),
        (b"a.jpg~", False, "an unfinished or backup file"),
        (b"album.part", True, ""),
        (b"\xff\xfe.jpg", False, ""),
    ],
)
def test_what_is_left_alone_without_patterns(name: bytes, is_directory: bool, reason: str) -> None:
    assert Exclusion().excludes(name, is_directory=is_directory) == reason


@pytest.mark.parametrize(
    ("patterns", "name", "is_directory", "excluded"),
    [
        (["*.png"], b"a/b.png", False, True),
        (["*.png"], b"a/b.PNG", False, False),
        (["*.png"], b"a\nb.png", False, True),
        (["*.png"], b"a\nb/c\nd.png", False, True),
        (["*.png"], b"a.png\n", False, False),
        (["*.png\n"], b"a.png", False, True),
        (["a\nb.png"], b"a\nb.png", False, True),
        (["a/**/b.png"], b"a/c\nd/b.png", False, True),
        (["raw/"], b"a\nb/raw", True, True),
        (["*.png"], b"\xff.png", False, True),
        (["*.png", "!keep.png"], b"keep.png", False, False),
        (["/raw"], b"raw", True, True),
        (["/raw"], b"a/raw", True, False),
        (["raw/"], b"raw", False, False),
        (["raw/"], b"a/raw", True, True),
        (["# comment", ""], b"comment", False, False),
    ],
)
def test_patterns_are_gitignores(patterns: list[str], name: bytes, is_directory: bool, excluded: bool) -> None:
    reason = Exclusion(patterns).excludes(name, is_directory=is_directory)
    assert reason == ("named by `exclude`" if excluded else "")
