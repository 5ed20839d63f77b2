"""The documents: their links lead somewhere, none repeats another, and the README stays short."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from facewatchd.photos import sheet_mark
from tests.support import shell_files
from tests.support.paths import PROJECT

DOCUMENTS = sorted(path for path in PROJECT.rglob("*.md") if not any(part.startswith(".") for part in path.parts[1:]))
README_BYTES = 16_000
PICTURE_BYTES = 150_000
LINE = 60
"""Characters from which on a line that stands in two documents is a repetition."""


def prose(path: Path) -> str:
    """A document without its code blocks."""
    return re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """The names that a link may have after its ``#``, as GitHub makes them from the headings."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def documented(*names: str) -> set[Path]:
    return {PROJECT / name for name in names}


def test_every_document_is_looked_at() -> None:
    expected = documented("README.md", "facewatchd/README.md", "systemd/README.md", "tests/README.md")
    assert expected | documented("tests/benchmarks/README.md", "tests/faults/README.md") == set(DOCUMENTS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_a_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", prose(document))
    assert links
    for link in links:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_a_man_page_that_is_named_exists(document: Path) -> None:
    for name in re.findall(r"`man ([\w.-]+)`", document.read_text()):
        assert list(shell_files.SHARE.glob(f"man/*/{name}.[0-9]")), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_a_module_that_is_run_or_a_file_that_is_called_exists(document: Path) -> None:
    for name in re.findall(r"python -m ((?:tests|facewatchd)[\w.]*)", document.read_text()):
        path = PROJECT.joinpath(*name.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_a_command_that_is_named_has_what_is_named_after_it(document: Path) -> None:
    text = document.read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    code = "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", text)])
    for command, parser in shell_files.parsers().items():
        options = {option for action in shell_files.every_action(parser) for option in action.option_strings}
        commands = {name for action in parser._actions if isinstance(action.choices, dict) for name in action.choices}
        for line in re.findall(rf"(?:^|[$/&] ?){command} ([^|<>\n]+)", code, re.MULTILINE):
            words = line.split()
            assert not commands or words[0] in commands, line
            assert {word for word in words if re.match(r"--?\w", word)} <= {*options, "--help"}, line


def test_no_document_repeats_another() -> None:
    lines = Counter(line for document in DOCUMENTS for line in set(prose(document).splitlines()) if len(line) >= LINE)
    assert [line for line, documents in lines.items() if documents > 1] == []


def test_every_other_document_is_linked_from_the_readme() -> None:
    links = {(PROJECT / link).resolve() for link in re.findall(r"\]\(([^)#\s]+\.md)\)", prose(PROJECT / "README.md"))}
    assert links == set(DOCUMENTS) - {PROJECT / "README.md"}


def test_the_plan_names_every_package() -> None:
    packages = {path.parent.name for path in (PROJECT / "facewatchd").glob("*/__init__.py")}
    rooms = prose(PROJECT / "facewatchd/README.md").partition("\n## Rooms\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"\]\((\w+)\)", rooms)) == packages


def test_the_plan_names_every_thread() -> None:
    started = re.compile(r"(?:Thread\(|super\(\).__init__\()[^\n]*name=f?\"([\w-]+)")
    names = {
        name.rstrip("-")
        for path in (PROJECT / "facewatchd").rglob("*.py")
        for name in started.findall(path.read_text())
    }
    table = re.findall(r"^\| (`.+?) \|", prose(PROJECT / "facewatchd/README.md"), re.MULTILINE)
    documented_names = {name.removesuffix("-N").split()[0] for cell in table for name in re.findall(r"`([^`]+)`", cell)}
    assert names
    assert names <= documented_names


def test_the_readme_is_short() -> None:
    assert len((PROJECT / "README.md").read_bytes()) < README_BYTES


def test_the_picture_is_a_small_contact_sheet() -> None:
    picture = shell_files.SHARE / shell_files.PICTURE
    assert sheet_mark.is_sheet(bytes(picture))
    assert picture.stat().st_size < PICTURE_BYTES
