"""Walking: each directory once, what is left alone, and what the disk can do to a walk."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pathspec
import pytest

from facewatchd.ignore import Exclusion
from facewatchd.scan import walk as walk_module
from facewatchd.scan.walk import Listing, Row, walk, why_excluded
from facewatchd.values import Stamp

NOBODY = 65534


def make(root: Path, *names: str) -> None:
    """Create files, and directories where a name ends with a slash."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(name.encode())


def listings(root: Path, *patterns: str) -> list[Listing]:
    return list(walk(os.fsencode(root), Exclusion(patterns)))


def found(root: Path, *patterns: str) -> set[str]:
    """All files of a walk, below the root."""
    return {os.path.relpath(os.fsdecode(path), root) for listing in listings(root, *patterns) for path in listing.files}


def why(root: Path, name: str, *patterns: str) -> str:
    return why_excluded(os.fsencode(root / name), os.fsencode(root), Exclusion(patterns))


@contextmanager
def without_privileges() -> Iterator[None]:
    """Permissions do not hold root back."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that others can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def test_each_directory_once_and_before_those_in_it(tmp_path: Path) -> None:
    make(tmp_path, "b/2.jpg", "a/1.jpg", "a/deep/er/3.jpg", "0.jpg", "empty/")
    result = listings(tmp_path)
    names = [os.path.relpath(os.fsdecode(listing.directory), tmp_path) for listing in result]
    assert names == [".", "a", "a/deep", "a/deep/er", "b", "empty"]
    assert result[0].files == {os.fsencode(tmp_path / "0.jpg"): Stamp.of((tmp_path / "0.jpg").stat())}
    assert result[0].subdirectories == [os.fsencode(tmp_path / name) for name in ("a", "b", "empty")]
    for listing in result:
        status = os.stat(listing.directory)
        assert (listing.device, listing.inode) == (status.st_dev, status.st_ino)
        assert listing.error is None


def test_what_is_as_recorded_is_only_counted(tmp_path: Path) -> None:
    make(tmp_path, "a/same.jpg", "a/changed.jpg", "a/elsewhere.jpg", "a/new.jpg", "a/left.tmp", "b/same.jpg")
    known: dict[bytes, dict[bytes, Row]] = {}
    for listing in listings(tmp_path):
        known[listing.directory] = {path: (path, *stamp) for path, stamp in listing.files.items()}
    a, b = (os.fsencode(tmp_path / name) for name in ("a", "b"))
    del known[a][a + b"/new.jpg"]
    known[a] |= {path: (path, 1, 2, 3, 4, 5) for path in (a + b"/gone.jpg", a + b"/left.tmp")}
    known[a][a + b"/elsewhere.jpg"] = (a + b"/elsewhere.jpg", -1, *known[a][a + b"/elsewhere.jpg"][2:])
    (tmp_path / "a" / "changed.jpg").write_bytes(b"longer than before")
    found = {one.directory: one for one in walk(os.fsencode(tmp_path), Exclusion(), None, known.__getitem__)}
    assert (found[a].same, found[b].same) == (1, 1)
    assert {os.path.basename(path) for path in found[a].files} == {b"changed.jpg", b"elsewhere.jpg", b"new.jpg"}
    assert found[b].files == found[b].recorded == {}
    assert {os.path.basename(path) for path in found[a].recorded} == {
        b"changed.jpg", b"elsewhere.jpg", b"gone.jpg", b"left.tmp"
    }  # fmt: skip


def test_a_stamp_that_sqlite_cannot_hold_as_it_is_is_known_again(tmp_path: Path) -> None:
    """Such files are not counted as the same by the walk, but told as the same by their stamps."""
    make(tmp_path, "late.jpg")
    root, path = os.fsencode(tmp_path), os.fsencode(tmp_path / "late.jpg")
    os.utime(path, (10_000_000_000, 10_000_000_000))
    (listing,) = walk(root, Exclusion(), None, lambda _: {path: (path, *Stamp.of(os.stat(path)))})
    assert listing.same + (listing.files == {path: Stamp.of(os.stat(path))}) == 1


def test_files_of_any_content_and_name_are_listed(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "notes.txt", "no-suffix", "clip.mp4")
    assert found(tmp_path) == {"a.jpg", "notes.txt", "no-suffix", "clip.mp4"}


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    (tmp_path / os.fsdecode(b"\xe4\xff")).mkdir()
    with open(root + b"/\xe4\xff/\xfe.jpg", "wb"):
        pass
    result = list(walk(root, Exclusion(["*.png"])))
    assert [list(listing.files) for listing in result] == [[], [root + b"/\xe4\xff/\xfe.jpg"]]
    assert (
        why_excluded(root + b"/\xe4\xff/\xfe.jpg", root, Exclusion(["\udce4*"])) == "in \\xe4\\xff/: named by `exclude`"
    )


def test_what_is_left_alone(tmp_path: Path) -> None:
    make(
        tmp_path, "a.jpg", ".hidden.jpg", "b.jpg.part", "c.TMP", "d.jpg~", ".thumbs/e.jpg", "cache/f.jpg",
        "cache/deep/g.jpg", "private/.nomedia", "private/h.jpg", "private/deep/i.jpg", "x/k.png", "part/l.jpg",
    )  # fmt: skip
    assert found(tmp_path, "/cache/", "*.png") == {"a.jpg", "part/l.jpg"}
    directories = {os.path.relpath(os.fsdecode(one.directory), tmp_path): one for one in listings(tmp_path, "/cache/")}
    assert set(directories) == {".", "private", "x", "part"}
    private = directories["private"]
    assert ".nomedia" in why(tmp_path, "private")
    assert (private.files, private.subdirectories, private.error) == ({}, [], None)


def test_nomedia_in_the_watched_directory_itself(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b/c.jpg", ".nomedia")
    (only,) = listings(tmp_path)
    assert (only.files, only.subdirectories, only.error) == ({}, [], None)
    assert ".nomedia" in why(tmp_path, "a.jpg")
    assert ".nomedia" in why(tmp_path, "b/c.jpg")
    assert ".nomedia" in why(tmp_path, ".")


def test_links(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    root = tmp_path / "root"
    make(elsewhere, "real.jpg", "dir/inside.jpg")
    make(root, "own.jpg")
    (root / "link.jpg").symlink_to(elsewhere / "real.jpg")
    (root / "broken.jpg").symlink_to(elsewhere / "nothing.jpg")
    (root / "circle.jpg").symlink_to(root / "circle.jpg")
    (root / "linked-dir").symlink_to(elsewhere / "dir")
    (root / "up").symlink_to(root)
    (listing,) = listings(root)
    assert listing.error is None
    assert listing.files == {
        os.fsencode(root / "own.jpg"): Stamp.of((root / "own.jpg").stat()),
        os.fsencode(root / "link.jpg"): Stamp.of((elsewhere / "real.jpg").stat()),
    }


def test_links_beside_a_list_of_links_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "album/own.jpg", "album/deep/b.jpg", "album/.facewatch-links")
    for link in ("album/link.jpg", "album/deep/link.jpg", "link.jpg"):
        (tmp_path / link).symlink_to(tmp_path / "a.jpg")
    assert found(tmp_path) == {"a.jpg", "link.jpg", "album/own.jpg", "album/deep/b.jpg", "album/deep/link.jpg"}
    assert why(tmp_path, "album/link.jpg") == "a link among those that facewatch-query made"
    assert {why(tmp_path, name) for name in ("link.jpg", "album/own.jpg", "album/gone.jpg", "album")} == {""}
    album = next(listing for listing in listings(tmp_path) if listing.directory.endswith(b"album"))
    assert album.links == []


@pytest.mark.parametrize("tail", ["", "/"])
def test_the_watched_directory_may_be_a_link(tmp_path: Path, tail: str) -> None:
    make(tmp_path, "real/a.jpg", "real/b/c.jpg")
    (tmp_path / "link").symlink_to("real")
    root = os.fsencode(tmp_path / "link")
    result = list(walk(root + tail.encode(), Exclusion(["/b/"])))
    assert [path for listing in result for path in listing.files] == [root + b"/a.jpg"]
    assert why_excluded(root + b"/a.jpg", root + tail.encode(), Exclusion()) == ""


def test_special_files_count_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pipe.jpg", "pipe", "pipe.txt"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "null.png").symlink_to("/dev/null")
    (tmp_path / "null").symlink_to("/dev/null")
    monkeypatch.chdir(tmp_path)  # a socket's path is limited to 108 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.HEIC")
    assert found(tmp_path) == {"pipe.jpg", "null.png", "socket.HEIC"}


def test_a_directory_with_a_photos_name_is_a_directory(tmp_path: Path) -> None:
    make(tmp_path, "album.jpg/a.jpg", "old~/b.jpg")
    assert found(tmp_path) == {"album.jpg/a.jpg", "old~/b.jpg"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("missing", FileNotFoundError), ("file.jpg", NotADirectoryError), ("file.jpg/x", NotADirectoryError)],
)
def test_a_root_that_cannot_be_listed(tmp_path: Path, name: str, kind: type[OSError]) -> None:
    make(tmp_path, "file.jpg")
    (listing,) = listings(tmp_path / name)
    assert isinstance(listing.error, kind)
    assert (listing.files, listing.subdirectories) == ({}, [])


def test_an_unreadable_directory_is_reported_and_the_rest_is_listed(open_directory: Path) -> None:
    make(open_directory, "a.jpg", "closed/b.jpg", "open/c.jpg")
    (open_directory / "closed").chmod(0)
    with without_privileges():
        result = {os.path.basename(listing.directory): listing for listing in listings(open_directory)}
    (open_directory / "closed").chmod(0o755)
    assert isinstance(result[b"closed"].error, PermissionError)
    assert result[b"closed"].inode == (open_directory / "closed").stat().st_ino
    assert len(result[b"open"].files) == 1
    assert result[b"open"].error is None


def test_a_directory_whose_files_cannot_be_looked_at_has_an_error(open_directory: Path) -> None:
    """It can be listed but not entered: its photos are there, and must not be taken for deleted."""
    make(open_directory, "listed/a.jpg", "listed/sub/b.jpg")
    (open_directory / "listed").chmod(0o744)
    with without_privileges():
        result = listings(open_directory / "listed")
    (open_directory / "listed").chmod(0o755)
    assert isinstance(result[0].error, PermissionError)
    assert result[0].files == {}
    assert isinstance(result[1].error, PermissionError)
    assert result[1].directory.endswith(b"/sub")


def test_a_link_into_a_closed_directory_is_as_good_as_broken(open_directory: Path) -> None:
    make(open_directory, "closed/a.jpg", "open/b.jpg")
    (open_directory / "open" / "link.jpg").symlink_to(open_directory / "closed" / "a.jpg")
    (open_directory / "closed").chmod(0)
    with without_privileges():
        (listing,) = listings(open_directory / "open")
    (open_directory / "closed").chmod(0o755)
    assert listing.error is None
    assert [os.path.basename(path) for path in listing.files] == [b"b.jpg"]


def test_what_vanishes_between_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.jpg", "b.jpg", "gone/c.jpg")
    real_scandir = os.scandir

    @contextmanager
    def scandir_then_delete(path: bytes) -> Iterator[list[os.DirEntry[bytes]]]:
        with real_scandir(path) as entries:
            result = list(entries)
        if path == os.fsencode(tmp_path):
            (tmp_path / "a.jpg").unlink()
        yield result

    monkeypatch.setattr(walk_module.os, "scandir", scandir_then_delete)
    steps = walk(os.fsencode(tmp_path), Exclusion())
    first = next(steps)
    shutil.rmtree(tmp_path / "gone")
    assert [os.path.basename(path) for path in first.files] == [b"b.jpg"]
    assert first.error is None
    assert [(listing.directory, type(listing.error)) for listing in steps] == [
        (os.fsencode(tmp_path / "gone"), FileNotFoundError)
    ]


def test_a_listing_that_breaks_off_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.jpg", "b.jpg")
    real_scandir = os.scandir

    @contextmanager
    def breaking(path: bytes) -> Iterator[Iterator[os.DirEntry[bytes]]]:
        def entries(real: Any) -> Iterator[os.DirEntry[bytes]]:
            yield next(real)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with real_scandir(path) as real:
            yield entries(real)

    monkeypatch.setattr(walk_module.os, "scandir", breaking)
    (listing,) = listings(tmp_path)
    assert listing.error is not None
    assert listing.error.errno == errno.EIO
    assert listing.files == {}


def test_deeper_than_a_path_may_be_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "d" * 250
    for _ in range(20):
        Path(name).mkdir()
        os.chdir(name)
    Path("a.jpg").write_bytes(b"x")
    result = listings(tmp_path)
    assert 10 < len(result) < 20
    assert all(listing.error is None for listing in result[:-1])
    assert result[-1].error is not None
    assert result[-1].error.errno == errno.ENAMETOOLONG


def test_many_levels_do_not_recurse(tmp_path: Path) -> None:
    directory = tmp_path
    for _ in range(1500):
        directory = directory / "d"
        directory.mkdir()
    (directory / "a.jpg").touch()
    result = listings(tmp_path)
    (directory / "a.jpg").unlink()
    while directory != tmp_path:  # pytest's own clean-up recurses
        directory.rmdir()
        directory = directory.parent
    assert len(result) == 1501
    assert [os.path.basename(path) for path in result[-1].files] == [b"a.jpg"]


def test_a_directory_that_contains_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a bind mount or a strange file system can show: the same device and inode further down."""
    make(tmp_path, "a/b/c/d.jpg", "e/f.jpg")
    outer, inner = tmp_path / "a", os.fsencode(tmp_path / "a" / "b" / "c")
    real_stat = os.stat

    def stat(path: Any, **kwargs: Any) -> os.stat_result:
        return real_stat(outer if path == inner else path, **kwargs)

    monkeypatch.setattr(walk_module.os, "stat", stat)
    result = {listing.directory: listing for listing in listings(tmp_path)}
    assert result[inner].error is not None
    assert result[inner].error.errno == errno.ELOOP
    assert result[inner].files == {}
    assert len(result[os.fsencode(tmp_path / "e")].files) == 1


def test_a_walk_that_is_given_up_leaves_nothing_open(tmp_path: Path) -> None:
    make(tmp_path, "a/b.jpg", "c/d.jpg")
    before = len(os.listdir("/proc/self/fd"))
    steps = walk(os.fsencode(tmp_path), Exclusion())
    next(steps)
    next(steps)
    assert len(os.listdir("/proc/self/fd")) == before


# ---------------------------------------------------------------------------------------------------- why_excluded


def test_why_excluded_says_the_reason(tmp_path: Path) -> None:
    make(
        tmp_path, "a.jpg", ".h.jpg", "b.part", ".t/a.jpg", "c/deep/x.jpg", "n/.nomedia", "n/deep/y.jpg", "z.png",
        "elsewhere/w.jpg",
    )  # fmt: skip
    (tmp_path / "linked").symlink_to("elsewhere")
    patterns = ("c/deep/", "*.png")
    expected = {
        "a.jpg": "",
        "gone/not/there.jpg": "",
        ".h.jpg": "hidden",
        "b.part": "an unfinished or backup file",
        ".t/a.jpg": "in .t/: hidden",
        "c/deep/x.jpg": "in c/deep/: named by `exclude`",
        "c/deep": "named by `exclude`",
        "c": "",
        "z.png": "named by `exclude`",
        "n": "in a directory with a .nomedia file",
        "n/deep/y.jpg": "in n/: in a directory with a .nomedia file",
        "linked": "a linked directory",
        "linked/w.jpg": "in linked/: a linked directory",
        "elsewhere/w.jpg": "",
    }
    assert {name: why(tmp_path, name, *patterns) for name in expected} == expected


def test_why_excluded_for_paths_elsewhere(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path / "photos")
    assert why_excluded(root + b"-old/a.jpg", root, Exclusion()) == f"outside {tmp_path}/photos"
    assert why_excluded(root, root, Exclusion()) == ""
    assert why_excluded(b"/surely-not-there/a.jpg", b"/", Exclusion()) == ""


@pytest.mark.parametrize(
    ("directory", "reason"),
    [
        ("@eaDir", "thumbnails"), ("@EADIR", "thumbnails"), ("a/@eaDir/b.jpg", "thumbnails"), ("#recycle", "bin"),
        ("@Recycle", "bin"), ("$RECYCLE.BIN/S-1-5-21", "bin"), ("$Recycle.Bin", "bin"), ("RECYCLER", "bin"),
        (".Trash-1000/files", "hidden"), (".Trash", "hidden"), ("lost+found", "bin"), ("#snapshot/GMT-1", "earlier"),
        ("a.jpg.download", "unfinished"), ("__MACOSX", "thumbnails"), (".thumbnails", "hidden"),
    ],
)  # fmt: skip
def test_bins_and_thumbnails_are_left_alone(directory: str, reason: str, tmp_path: Path) -> None:
    make(tmp_path, f"{directory}/SYNOPHOTO_THUMB_XL.jpg", "trash/a.jpg", "recycle/b.jpg", "snapshot/c.jpg")
    assert found(tmp_path) == {"trash/a.jpg", "recycle/b.jpg", "snapshot/c.jpg"}
    assert reason in why(tmp_path, f"{directory}/SYNOPHOTO_THUMB_XL.jpg")
    inside = next(path for path in tmp_path.rglob("SYNOPHOTO*")).parent
    assert found(inside) == {"SYNOPHOTO_THUMB_XL.jpg"}, "a watched directory may be a bin"
    assert why(inside, "SYNOPHOTO_THUMB_XL.jpg") == ""


@pytest.mark.parametrize(
    "name",
    [
        "a.jpg.crdownload", "a.JPG.CRDOWNLOAD", "Unconfirmed 1.crdownload", "a.jpg.partial", "a.jpg.part",
        "a.jpg.filepart", "a.jpg.!ut", "a.jpg.!qB", "a.jpg.aria2", "a.jpg.opdownload", "a.jpg.download", "a.tmp",
        "a.jpg~",
        ".a.jpg.Xy12Zq", ".syncthing.a.jpg.tmp", "~syncthing~a.jpg.tmp", "~syncthing~a.jpg",
    ],
)  # fmt: skip
def test_unfinished_files_are_left_alone(name: str, tmp_path: Path) -> None:
    make(tmp_path, name, "downloads/a.jpg", "partial.jpg", "@eaDir.jpg", "lost+found.jpg")
    assert found(tmp_path) == {"downloads/a.jpg", "partial.jpg", "@eaDir.jpg", "lost+found.jpg"}
    assert why(tmp_path, name) in ("an unfinished or backup file", "hidden")


def test_walk_and_why_excluded_agree(tmp_path: Path) -> None:
    make(
        tmp_path, "a.jpg", "b.JPG~", "c.tmp/d.jpg", "e/.f/g.jpg", "e/h.jpg", "i/.nomedia", "i/j/k.jpg", "l/m.png",
        "l/keep.png", "o/p/q.jpg", ".r", "s/t.part", "u/@eaDir/v.jpg", "w/#recycle/x/y.jpg", "z/a.jpg.crdownload",
    )  # fmt: skip
    (tmp_path / "link").symlink_to("e")
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    patterns = ("*.png", "!keep.png", "o/p")
    everything = {
        os.path.relpath(os.path.join(directory, name), tmp_path)
        for directory, _, names in os.walk(tmp_path, followlinks=True)
        for name in names
    }
    kept = {name for name in everything if not why(tmp_path, name, *patterns)}
    assert kept == found(tmp_path, *patterns) == {"a.jpg", "c.tmp/d.jpg", "e/h.jpg", "l/keep.png", "link.jpg"}


PATTERNS = ["*.xmp", "!keep.xmp", "thumbnails/", "/private/", "a/**/z", "caf\N{LATIN SMALL LETTER E WITH ACUTE}*"]


@pytest.mark.parametrize(
    "name",
    [
        "a.jpg", "b/c.xmp", "b/keep.xmp", "keep.xmp", "thumbnails", "x/thumbnails", "private", "x/private",
        "a/z", "a/b/c/z", "z", "caf\N{LATIN SMALL LETTER E WITH ACUTE}s", "line\nbreak.xmp", "\udcff.xmp",
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_directory", [False, True])
def test_the_short_way_to_a_verdict_on_patterns_is_right(name: str, is_directory: bool) -> None:
    whole = pathspec.GitIgnoreSpec.from_lines(PATTERNS)
    verdict = Exclusion(PATTERNS).excludes(os.fsencode(name), is_directory=is_directory)
    assert bool(verdict) == whole.match_file(name.replace("\n", "\0") + ("/" if is_directory else ""))
