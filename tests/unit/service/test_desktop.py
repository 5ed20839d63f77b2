"""The desktop's menu entry: it starts the page of this installation, and nothing of the user's own is touched."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewatchd import paths as places
from facewatchd.cli import app as cli
from facewatchd.cli import page
from facewatchd.errors import FacewatchError, UsageError
from facewatchd.service import desktop, units


@pytest.fixture
def home(new_home: Path) -> Path:
    """A new user's home, with photos."""
    (new_home / "Pictures").mkdir()
    return new_home


def install(home: Path, tiny_root: Path, *options: str) -> int:
    pack = tiny_root / "models" / "tiny"
    return cli.main(["service", "install", str(home / "Pictures"), "--model", str(pack), *options])


def command_of(text: str) -> list[str]:
    """The words of ``Exec``, read as the specification says: escapes of the value, quotes, then field codes."""
    parser = configparser.RawConfigParser(strict=True, delimiters="=", comment_prefixes="#", default_section="")
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string(text)
    escapes = {"s": " ", "n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
    value = re.sub(r"\\(.)", lambda found: escapes[found[1]], parser["Desktop Entry"]["Exec"])
    words = re.findall(r'"((?:[^"`$\\]|\\["`$\\])*)"|([^\s"]+)', value)
    unquoted = [re.sub(r'\\(["`$\\])', r"\1", inner) if inner else plain for inner, plain in words]
    return [word.replace("%%", "%") for word in unquoted]


def test_the_page_comes_into_the_menu_and_goes_with_the_units(
    home: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install(home, tiny_root) == 0
    entry = home / ".local" / "share" / "applications" / "facewatchd-page.desktop"
    assert places.applications_path() / desktop.NAME == entry
    assert not entry.exists()
    assert install(home, tiny_root, "--page") == 0
    assert f"wrote {entry}\n" in capsys.readouterr().out
    assert command_of(entry.read_text()) == [sys.executable, "-P", "-m", "facewatchd", "page"]
    assert install(home, tiny_root, "--page") == 0
    assert "the units are as they should be\n" in capsys.readouterr().out
    entry.write_text(f"{desktop.MARK}\nof an installation that was moved since")
    assert install(home, tiny_root) == 0
    assert command_of(entry.read_text())[0] == sys.executable, "it is kept up to date"
    assert cli.main(["service", "uninstall"]) == 0
    assert f"removed {entry}\n" in capsys.readouterr().out
    assert not entry.exists()


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_an_entry_of_the_users_own_stays(
    home: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    entry = places.applications_path() / desktop.NAME
    entry.parent.mkdir(parents=True)
    mine = entry.with_name("mine.desktop")
    mine.write_text(f"{desktop.MARK}\n" if kind == "link" else "[Desktop Entry]")
    {"file": lambda: mine.rename(entry), "link": lambda: entry.symlink_to(mine), "directory": entry.mkdir}[kind]()
    assert install(home, tiny_root, "--page") == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert cli.main(["service", "uninstall"]) == 0
    assert entry.exists()
    assert entry.is_symlink() is (kind == "link")


def test_without_its_packages_nothing_is_written(
    home: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise FacewatchError("the page needs more packages", "install them")

    monkeypatch.setattr(page, "require", missing)
    assert install(home, tiny_root, "--page") == 1
    assert capsys.readouterr().err == "facewatchd: the page needs more packages; install them\n"
    assert not places.units_path().exists()


PATHS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@given(PATHS)
def test_a_word_is_one_word(word: str) -> None:
    text = desktop.entry(units.source(desktop.NAME), ["/x", word])
    assert text.count("\nExec=") == 1
    assert command_of(text)[1:] == [word]


@pytest.mark.parametrize("program", ["/home/a=b/python", "/home/\udcff/python"])
def test_a_program_that_no_entry_can_name_is_said(program: str) -> None:
    with pytest.raises(UsageError, match="no desktop entry can name"):
        desktop.entry(units.source(desktop.NAME), [program])


@pytest.mark.skipif(not shutil.which("desktop-file-validate"), reason="there is no desktop-file-validate")
@pytest.mark.parametrize("name", ["plain", "with a space", 'quote " and \\', "per%cent $HOME `x`", "ünï"])
def test_desktops_take_the_entry(tmp_path: Path, name: str) -> None:
    for text in (
        units.source(desktop.NAME),
        desktop.entry(units.source(desktop.NAME), [f"/opt/{name}/python", "page"]),
    ):
        (tmp_path / desktop.NAME).write_text(f"{desktop.MARK}\n{text}", encoding="utf-8")
        done = subprocess.run(
            ["desktop-file-validate", str(tmp_path / desktop.NAME)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, "")


def test_the_command_of_the_entry_is_one(home: Path) -> None:
    """It is that of this installation, and takes no terminal."""
    command = [*command_of(desktop.entry(units.source(desktop.NAME), desktop.command())), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", env=dict(os.environ), check=False)
    assert done.returncode == 0
    assert "facewatchd page" in done.stdout
