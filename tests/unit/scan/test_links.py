"""Where symbolic links lead, and which of them an event concerns."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewatchd.scan.links import Links, way_of

NAMES = [b"a", b"b", b"c"]
TARGETS = st.lists(st.sampled_from([*NAMES, b"..", b"."]), min_size=1, max_size=4).map(b"/".join)
ENTRIES = st.dictionaries(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(b"/".join), st.none() | TARGETS, max_size=8
)
"""Paths, each a directory (None), or a link with its target."""


@given(entries=ENTRIES, absolute=st.booleans())
def test_a_way_ends_where_the_system_says_that_the_link_leads(
    entries: dict[bytes, bytes | None], absolute: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        top = os.fsencode(os.path.realpath(name))
        links = [link for path, target in sorted(entries.items()) if (link := _make(top, path, target, absolute))]
        for link in links:
            way = way_of(link)
            try:
                os.stat(link)
            except FileNotFoundError:  # behind a directory that is missing, `..` leads nowhere
                if any(b".." in (target or b"") for target in entries.values()):
                    continue
            except OSError:  # a circle
                assert len(way) <= 41
                continue
            assert way[-1] == os.path.realpath(link)
            assert all(os.path.islink(step) for step in way[:-1])


def _make(top: bytes, path: bytes, target: bytes | None, absolute: bool) -> bytes:
    """Make one entry, where that can be; return the path of a link."""
    place = os.path.join(top, path)
    try:
        if target is None:
            Path(os.fsdecode(place)).mkdir(parents=True)
            return b""
        Path(os.fsdecode(place)).symlink_to(os.fsdecode(os.path.join(top, target) if absolute else target))
    except OSError:
        return b""
    return place


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    (root / ".annex" / "key").mkdir(parents=True)
    return root


def links_in(*roots: Path) -> Links:
    links = Links()
    links.follow([os.fsencode(root) for root in roots])
    return links


def test_an_event_of_the_target_or_above_it_concerns_the_link(root: Path) -> None:
    link = root / "photo.jpg"
    link.symlink_to(".annex/key/content")
    links = links_in(root)
    links.note(os.fsencode(link))
    name = os.fsencode(link)
    assert links.through(os.fsencode(root / ".annex" / "key" / "content")) == ([name], [])
    assert links.through(os.fsencode(root / ".annex" / "key")) == ([], [name])
    assert links.through(os.fsencode(root / ".annex" / "ke")) == ([], [])
    assert links.through(os.fsencode(root / ".annex" / "key" / "content2")) == ([], [])
    assert links.through(name) == ([], []), "its own events name it"
    assert not links.any_outside


def test_every_link_on_the_way_counts(root: Path) -> None:
    (root / "current").symlink_to("2024")
    (root / "second.jpg").symlink_to("current/a.jpg")
    (root / "first.jpg").symlink_to("second.jpg")
    links = links_in(root)
    links.note(os.fsencode(root / "first.jpg"))
    for step in ("second.jpg", "current", "2024/a.jpg"):
        assert links.through(os.fsencode(root / step))[0] == [os.fsencode(root / "first.jpg")]


def test_a_root_that_is_a_link_is_named_as_configured(root: Path, tmp_path: Path) -> None:
    (tmp_path / "configured").symlink_to(root)
    (root / "photo.jpg").symlink_to(root / ".annex" / "key" / "content")
    links = links_in(tmp_path / "configured")
    links.note(os.fsencode(tmp_path / "configured" / "photo.jpg"))
    event = tmp_path / "configured" / ".annex" / "key" / "content"
    assert links.through(os.fsencode(event))[0] == [os.fsencode(tmp_path / "configured" / "photo.jpg")]
    assert not links.any_outside


def test_a_link_that_leads_outside_is_known_as_such_and_looked_at(root: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "elsewhere.jpg", root / "photo.jpg"
    link.symlink_to(target)
    links = links_in(root)
    links.note(os.fsencode(link))
    assert links.outside() == [os.fsencode(link)]
    assert links.changed_outside() == []
    target.write_bytes(b"1")
    assert links.changed_outside() == [os.fsencode(link)]
    assert links.changed_outside() == []
    target.write_bytes(b"12")
    assert links.changed_outside() == [os.fsencode(link)]
    target.unlink()
    assert links.changed_outside() == [os.fsencode(link)]


def test_what_is_no_link_to_a_file_any_more_is_forgotten(root: Path, tmp_path: Path) -> None:
    names = [os.fsencode(root / name) for name in ("a.jpg", "b.jpg", "c.jpg")]
    links = links_in(root)
    for name in names:
        Path(os.fsdecode(name)).symlink_to(tmp_path / "elsewhere.jpg")
    assert links.note_directory(os.fsencode(root), names) == []
    assert links.outside() == names
    (root / "a.jpg").unlink()
    links.note(names[0])
    links.note_directory(os.fsencode(root), names[2:])
    assert links.outside() == names[2:]
    links.keep(os.fsencode(root), {os.fsencode(root / ".annex")})
    assert links.outside() == []
    assert links.through(os.fsencode(tmp_path / "elsewhere.jpg")) == ([], [])


def test_links_in_a_directory_that_is_not_watched_any_more_are_forgotten(root: Path, tmp_path: Path) -> None:
    (root / "photo.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    links = links_in(root)
    links.note(os.fsencode(root / "photo.jpg"))
    links.follow([os.fsencode(tmp_path / "other")])
    assert not links.any_outside
