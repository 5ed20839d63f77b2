"""The units that are written: the right paths, whatever is in them, and nothing else changed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewatchd import paths as places
from facewatchd.cli import app as cli
from facewatchd.config import Config
from facewatchd.doctor import unit
from facewatchd.service import desktop, lines, units
from tests.support.paths import PROJECT

SOURCES = PROJECT / "systemd"
needs_verify = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")


@pytest.fixture
def home(new_home: Path) -> Path:
    """A new user's home, with photos and without a configuration."""
    (new_home / "My Pictures").mkdir()
    return new_home


def _service(*arguments: str | Path) -> int:
    return cli.main(["service", *map(str, arguments)])


def _lines(unit: Path) -> dict[str, str]:
    return {key: value for key, _, value in (line.partition("=") for line in unit.read_text().splitlines())}


def test_install_writes_both_units_and_tells_what_comes_next(
    home: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = tiny_root / "models" / "tiny"
    assert _service("install", home / "My Pictures", "--model", pack) == 0
    service, socket = places.units_path() / "facewatchd.service", places.units_path() / "facewatchd.socket"
    assert service.parent == home / ".config" / "systemd" / "user"
    assert capsys.readouterr().out.splitlines() == [
        f"wrote {socket}",
        f"wrote {service}",
        "next: systemctl --user daemon-reload && systemctl --user enable --now facewatchd.socket facewatchd.service",
    ]
    mark, _, text = socket.read_text().partition("\n")
    assert (mark.startswith(units.MARK), text) == (True, (SOURCES / "facewatchd.socket").read_text())
    data = home / ".local" / "share" / "facewatchd"
    assert shlex.split(_lines(service)["ExecStart"]) == [
        *(sys.executable, "-P", "-m", "facewatchd", "run", "--data-dir", str(data)),
        *("--model", str(pack), str(home / "My Pictures")),
    ]
    assert _lines(service)["ReadWritePaths"] == str(data)
    assert data.stat().st_mode & 0o777 == 0o700
    written, source = service.read_text().splitlines()[1:], (SOURCES / "facewatchd.service").read_text().splitlines()
    written = [line for line in written if not line.startswith(("BindReadOnlyPaths=", "BindPaths="))]
    assert len([1 for ours, theirs in zip(written, source, strict=True) if ours != theirs]) == 2


def test_what_is_installed_starts(home: Path, tiny_root: Path) -> None:
    """The program is there, is this installation's, and takes the arguments."""
    assert _service("install", home / "My Pictures", "--model", tiny_root / "models" / "tiny") == 0
    command = shlex.split(_lines(places.units_path() / "facewatchd.service")["ExecStart"])
    assert command[4] == "run"
    result = subprocess.run([*command[:5], "--help"], capture_output=True, text=True, cwd="/", check=True)
    assert "usage: facewatchd run" in result.stdout


def test_again_is_nothing_new_and_a_change_asks_for_a_restart(
    home: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["install", home / "My Pictures", "--model", tiny_root / "models" / "tiny"]
    assert _service(*arguments) == 0
    capsys.readouterr()
    assert _service(*arguments) == 0
    assert capsys.readouterr().out.splitlines() == [
        "the units are as they should be",
        "next: systemctl --user daemon-reload && "
        "systemctl --user reset-failed facewatchd.socket facewatchd.service; "
        "systemctl --user enable --now facewatchd.socket && systemctl --user enable facewatchd.service && "
        "systemctl --user restart facewatchd.service",
    ]
    (home / "other").mkdir()
    assert _service(*arguments, home / "other") == 0
    assert capsys.readouterr().out.splitlines()[0] == f"wrote {places.units_path() / 'facewatchd.service'}"


def test_a_configuration_file_is_named(home: Path, tiny_root: Path) -> None:
    place = home / ".config" / "facewatchd" / "config.toml"
    place.parent.mkdir(parents=True)
    place.write_text(f'directories = ["~/My Pictures"]\nmodel = "tiny"\nmodel_root = "{tiny_root}"\n')
    assert _service("install") == 0
    command = shlex.split(_lines(places.units_path() / "facewatchd.service")["ExecStart"])
    assert command[command.index("--config") + 1] == str(place)


def test_a_name_that_is_not_utf_8_is_said_before_anything_is_written(
    home: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "caf\udce9").mkdir()
    assert _service("install", home / "caf\udce9", "--model", tiny_root / "models" / "tiny") == 2
    assert "is not UTF-8, which systemd does not take" in capsys.readouterr().err
    assert not places.units_path().exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no directory to watch"),
        (["/nowhere/at/all"], "there is no directory /nowhere/at/all"),
        (["My Pictures", "--model", "nonsense"], "unknown model 'nonsense'"),
    ],
)
def test_what_would_not_run_is_not_installed(
    home: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    assert _service("install", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not places.units_path().exists()


def test_units_of_the_users_own_are_neither_replaced_nor_removed(
    home: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["install", home / "My Pictures", "--model", tiny_root / "models" / "tiny"]
    own, other = places.units_path() / "facewatchd.socket", places.units_path() / "facewatchd.service"
    own.parent.mkdir(parents=True)
    own.write_text("[Socket]\nListenStream=/mine\n")
    for call in (arguments, ["uninstall"]):
        assert _service(*call) == 1
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert f"{own}: it was not written by `facewatchd service install`" in err
        assert own.read_text() == "[Socket]\nListenStream=/mine\n"
        assert not other.exists()
    own.unlink()
    other.symlink_to("/dev/null")
    for call in (arguments, ["uninstall"]):
        assert _service(*call) == 1
        assert f"{other}: it is a link to /dev/null" in capsys.readouterr().err
        assert other.is_symlink()


def test_a_unit_that_an_earlier_version_wrote_is_replaced(home: Path, tiny_root: Path) -> None:
    for name in units.NAMES:
        (places.units_path()).mkdir(parents=True, exist_ok=True)
        (places.units_path() / name).write_text((SOURCES / name).read_text())
    assert _service("install", home / "My Pictures", "--model", tiny_root / "models" / "tiny") == 0
    assert all((places.units_path() / name).read_text().startswith(units.MARK) for name in units.NAMES)


def test_what_lies_below_a_temporary_directory_is_bound_into_the_services_own(
    home: Path, tiny_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(units, "TEMPORARY", (home / "tmp",))
    photos = home / "tmp" / "a: photos"
    photos.mkdir(parents=True)
    (home / "link").symlink_to(photos)
    data = home / "tmp" / "data"
    model = tiny_root / "models" / "tiny"
    assert _service("install", home / "link", photos.parent, "--model", model, "--data-dir", data) == 2, "nested"
    assert _service("install", photos, "--model", model, "--data-dir", data) == 0
    text = (places.units_path() / "facewatchd.service").read_text()
    assert f'BindReadOnlyPaths="-{photos}"'.replace("a:", "a\\\\:") in text
    assert f"BindPaths={data}\n" in text
    loaded = Config(directories=(photos,), data_dir=data)
    assert not hidden_by_the_unit(loaded)
    service = places.units_path() / "facewatchd.service"
    service.write_text(text.replace("BindReadOnlyPaths=", "#"))
    assert hidden_by_the_unit(loaded) == str(photos)
    assert f"may not last: many systems delete what lies below {home / 'tmp'}" in capsys.readouterr().err


def hidden_by_the_unit(config: Config) -> str:
    """What doctor says that the unit hides."""
    return unit._hidden(places.units_path() / "facewatchd.service", config)


def test_uninstall_removes_what_install_and_enable_made(
    home: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _service("install", home / "My Pictures", "--model", tiny_root / "models" / "tiny") == 0
    directory = places.units_path()
    for wants, name in (("default.target.wants", "facewatchd.service"), ("sockets.target.wants", "facewatchd.socket")):
        (directory / wants).mkdir()
        (directory / wants / name).symlink_to(directory / name)
    (directory / "mine.service").write_text("")
    capsys.readouterr()
    assert _service("uninstall") == 0
    assert "next: systemctl --user stop facewatchd.socket facewatchd.service; " in capsys.readouterr().out
    assert [path.name for path in directory.rglob("*") if not path.is_dir()] == ["mine.service"]
    assert (home / ".local" / "share" / "facewatchd").is_dir()
    assert _service("uninstall") == 0
    assert capsys.readouterr().out == "no units are installed\n"


def _configure(home: Path, device: str, tiny_root: Path) -> Path:
    path = home / ".config" / "facewatchd" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"directories = ['{home}/My Pictures']\nmodel = 'tiny'\nmodel_root = '{tiny_root}'\n"
        f"[resources]\ndevice = '{device}'\n"
    )
    return places.units_path() / "facewatchd.service.d" / "gpu.conf"


@pytest.mark.parametrize(
    ("device", "opened"),
    [
        ("cuda", ["MemoryDenyWriteExecute=no", "PrivateDevices=no"]),
        ("auto", ["MemoryDenyWriteExecute=no", "PrivateDevices=no"]),
        ("openvino", ["MemoryDenyWriteExecute=no"]),
    ],
)
def test_a_drop_in_opens_the_sandbox_for_a_device_and_goes_with_the_units(
    home: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str], device: str, opened: list[str]
) -> None:
    drop_in = _configure(home, device, tiny_root)
    assert _service("install") == 0
    said = "" if device == "auto" else f"keeps {device} from working: call `facewatchd service install --gpu`"
    assert said in capsys.readouterr().err
    assert not drop_in.exists()
    assert _service("install", "--gpu") == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == f"wrote {drop_in}"
    assert "--gpu" not in err
    assert drop_in.read_text().splitlines()[1:] == ["[Service]", *opened]
    unit = (places.units_path() / "facewatchd.service").read_text()
    assert all(f"\n{line.replace('=no', '=yes')}\n" in unit for line in opened)
    assert _service("install") == 0
    assert drop_in.exists()
    assert "--gpu" not in capsys.readouterr().err
    assert _service("uninstall") == 0
    assert f"removed {drop_in}" in capsys.readouterr().out
    assert not drop_in.parent.exists()


def test_a_drop_in_goes_when_the_processor_is_configured_again(
    home: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drop_in = _configure(home, "cuda", tiny_root)
    assert _service("install", "--gpu") == 0
    _configure(home, "cpu", tiny_root)
    assert _service("install") == 0
    assert f"removed {drop_in}: the processor computes" in capsys.readouterr().out
    assert not drop_in.exists()


def test_a_drop_in_of_the_users_own_stays(home: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drop_in = _configure(home, "cuda", tiny_root)
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Service]\nPrivateDevices=no\n")
    assert _service("install", "--gpu") == 1
    assert f"cannot write {drop_in}: it was not written by" in capsys.readouterr().err
    assert _service("install") == 0
    assert _service("uninstall") == 0
    assert drop_in.read_text() == "[Service]\nPrivateDevices=no\n"


def test_the_processor_needs_no_drop_in(home: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drop_in = _configure(home, "cpu", tiny_root)
    assert _service("install", "--gpu") == 2
    assert "`resources.device` is 'cpu'; set another" in capsys.readouterr().err
    assert not drop_in.exists()
    assert not (places.units_path() / "facewatchd.service").exists()


@needs_verify
def test_systemd_takes_the_drop_in(home: Path) -> None:
    directory = home / "units"
    units.install(Config(data_dir=home / "data"), ["--data-dir", str(home / "data")], directory, gpu=True)
    paths = [str(directory / unit) for unit in units.NAMES]
    result = subprocess.run(
        ["systemd-analyze", "--user", "--man=no", "verify", *paths], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@needs_verify
@pytest.mark.parametrize("name", ["plain", "with a space", 'quote " and \\', "per%cent $HOME ${X}", "ünï', ;"])
def test_systemd_takes_the_units(home: Path, name: str) -> None:
    directory, data = home / "units", home / name
    units.install(Config(data_dir=data), ["--data-dir", str(data)], directory)
    paths = [str(directory / unit) for unit in units.NAMES]
    result = subprocess.run(
        ["systemd-analyze", "--user", "--man=no", "verify", *paths], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@needs_verify
def test_systemd_takes_the_units_of_the_repository(home: Path) -> None:
    """They are for `pip install --user`: its program is there then."""
    programs = home / ".local" / "bin"
    programs.mkdir(parents=True)
    for name in ("facewatchd", "facewatch-share"):
        (programs / name).symlink_to(sys.executable)
    units = sorted(path for path in SOURCES.iterdir() if path.suffix in (".service", ".socket"))
    assert len(units) == 3
    command = ["systemd-analyze", "--user", "--man=no", "verify", *map(str, units)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


# The unit of facewatch-share


def _share(home: Path, tiny_root: Path, url: str = "postgresql://nas.lan/f?sslmode=verify-full") -> Path:
    """Configure an engine; return the place of the unit."""
    place = home / ".config" / "facewatchd" / "config.toml"
    place.parent.mkdir(parents=True, exist_ok=True)
    engine = f"[shared]\nurl = '{url}'\n" if url else ""
    place.write_text(f"directories = ['~/My Pictures']\nmodel = 'tiny'\nmodel_root = '{tiny_root}'\n{engine}")
    return places.units_path() / "facewatch-share.service"


def _binds(unit: Path) -> list[str]:
    """What the unit shows for reading, less what it shows as it is shipped."""
    shipped = (SOURCES / unit.name).read_text()
    lines = [line for line in unit.read_text().splitlines() if line.startswith("BindReadOnlyPaths=")]
    return [shlex.split(line.partition("=")[2])[0].removeprefix("-") for line in lines if line not in shipped]


def test_an_engine_has_a_unit_of_its_own(home: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unit = _share(home, tiny_root)
    assert _service("install") == 0
    *wrote, after = capsys.readouterr().out.splitlines()
    assert f"wrote {unit}" in wrote
    assert after.endswith("enable --now facewatchd.socket facewatchd.service facewatch-share.service")
    assert shlex.split(_lines(unit)["ExecStart"]) == [
        *(sys.executable, "-P", "-m", "facewatchd.shared.app"),
        *("--config", str(home / ".config" / "facewatchd" / "config.toml")),
    ]
    assert _service("install") == 0
    *lines, after = capsys.readouterr().out.splitlines()
    assert lines == ["the units are as they should be"]
    assert after.endswith("restart facewatchd.service facewatch-share.service")


def test_a_unit_goes_with_its_engine(home: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unit = _share(home, tiny_root)
    link = unit.parent / "facewatchd.service.wants" / unit.name
    assert _service("install") == 0
    link.parent.mkdir()
    link.symlink_to(unit)
    _share(home, tiny_root, url="")
    capsys.readouterr()
    assert _service("install") == 0
    *lines, after = capsys.readouterr().out.splitlines()
    assert lines == [f"removed {path}: no shared engine is configured" for path in (link, unit)]
    assert after.startswith("next: systemctl --user stop facewatch-share.service; systemctl --user daemon-reload && ")
    assert "facewatch-share" not in after.partition("; ")[2]
    assert not link.parent.exists()
    assert (unit.parent / "facewatchd.service").exists()


def test_uninstall_removes_the_unit_of_an_engine(
    home: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unit = _share(home, tiny_root)
    assert _service("install") == 0
    assert _service("uninstall") == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"removed {unit}" in lines
    assert lines[-1].startswith("next: systemctl --user stop facewatchd.socket facewatchd.service facewatch-share.serv")
    assert not list(unit.parent.glob("facewatch*"))


def test_a_unit_of_an_engine_that_the_user_wrote_stays(
    home: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unit = _share(home, tiny_root)
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\n")
    assert _service("install") == 1
    assert f"cannot write {unit}: it was not written by" in capsys.readouterr().err
    assert [path.name for path in unit.parent.iterdir()] == [unit.name]
    _share(home, tiny_root, url="")
    assert _service("install") == 0
    assert unit.read_text() == "[Service]\n"


def test_an_engine_without_its_package_is_told(
    home: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = _share(home, tiny_root)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert _service("install") == 1
    error = capsys.readouterr().err
    assert "`[shared]` is configured, and psycopg is not installed; install it: " in error
    assert "[shared]" in error.partition("install it: ")[2]
    assert not unit.parent.exists()


def test_the_unit_shows_no_photo_and_no_data(home: Path, tiny_root: Path) -> None:
    files = "sslrootcert=/srv/ca/root.crt&passfile=/srv/p:a%20%25ss&sslcert=/srv/c.crt&sslkey=/srv/ca/c.key"
    url = f"postgresql:///f?host=nas.lan,/srv/pg&sslmode=verify-full&{files}"
    unit = _share(home, tiny_root, url)
    assert _service("install") == 0
    shown = _binds(unit)
    named = ["/srv/ca/root.crt", "/srv/c.crt", "/srv/ca/c.key", "/srv/pg", str(home / ".config" / "facewatchd")]
    assert set(shown) >= {*named, "/srv/p\\:a %%ss"}
    hidden = [home / "My Pictures", home / ".local" / "share" / "facewatchd", home, Path("/"), Path("/srv")]
    assert not [path for path in hidden for each in shown if path.is_relative_to(each)]
    own = [Path(each) for each in shown if each not in named and not each.startswith("/srv")]
    assert all((PROJECT / "facewatchd").is_relative_to(each) or Path(each, "lib").is_dir() for each in own), own


def test_a_configuration_elsewhere_is_shown_alone(home: Path, tiny_root: Path) -> None:
    unit = _share(home, tiny_root)
    file = (home / ".config" / "facewatchd" / "config.toml").rename(home / "my.toml")
    assert _service("install", "--config", file) == 0
    assert str(file) in _binds(unit)
    assert str(home) not in _binds(unit)


def test_a_configuration_that_is_a_link_is_shown_with_what_it_leads_to(home: Path, tiny_root: Path) -> None:
    unit = _share(home, tiny_root)
    place = home / ".config" / "facewatchd" / "config.toml"
    kept = home / "kept" / "facewatchd.toml"
    kept.parent.mkdir()
    (home / "middle").symlink_to(place.rename(kept))
    place.symlink_to("../../middle")
    assert _service("install") == 0
    assert {str(place.parent), str(home / "middle"), str(kept)} <= set(_binds(unit))


@needs_verify
@pytest.mark.parametrize("name", ["plain", "with a space", 'quote " and \\', "per%cent $HOME ${X}", "ünï:, ;"])
def test_systemd_takes_the_unit_of_an_engine(home: Path, tiny_root: Path, name: str) -> None:
    unit = _share(home, tiny_root, f"postgresql://nas.lan/f?sslmode=verify-full&passfile={quote(f'/srv/{name}')}")
    file = (home / ".config" / "facewatchd" / "config.toml").rename(home / name)
    assert _service("install", "--config", file) == 0
    paths = [str(unit.parent / each) for each in (*units.NAMES, units.SHARE)]
    result = subprocess.run(
        ["systemd-analyze", "--user", "--man=no", "verify", *paths], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@given(st.text(st.characters(exclude_characters="\0\n\r", exclude_categories=("Cs",)), min_size=1))
def test_a_word_is_one_word_for_systemd(word: str) -> None:
    """By the rules of systemd.syntax(7): quotes, backslashes in them, and specifiers."""
    quoted = lines.quoted(word)
    assert "\n" not in quoted
    assert [part.replace("%%", "%") for part in _split(quoted)] == [word]


def _split(line: str) -> list[str]:
    """As systemd splits a line, without the escapes that are not used here."""
    if not line.startswith('"'):
        return line.split()
    assert line.endswith('"')
    text, inner, at = line[1:-1], "", 0
    while at < len(text):
        assert text[at] != '"'
        if text[at] == "\\":
            at += 1
            inner += {"t": "\t", "n": "\n"}.get(text[at], text[at])
        else:
            inner += text[at]
        at += 1
    return [inner]


def test_a_wheel_brings_the_units(tmp_path: Path) -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel")
    if not os.access(SOURCES.parent / "pyproject.toml", os.R_OK):
        pytest.skip("there is no checkout")
    from zipfile import ZipFile

    built = next(wheel.WheelBuilder(str(SOURCES.parent)).build(directory=str(tmp_path), versions=["standard"]))
    names = ZipFile(built).namelist()
    assert {f"facewatchd/service/units/{name}" for name in (*units.NAMES, desktop.NAME)} <= set(names)
