"""Names that no camera gives, places too deep to be named, and what has only a photo's name; each end to end."""

from __future__ import annotations

import base64
import errno
import itertools
import json
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from facewatchd.text import printable
from tests.support import invariant
from tests.support.albums import shoot
from tests.support.drawn_faces import embedding
from tests.support.processes import DEADLINE, Daemon, until

Start = Callable[..., Daemon]
Amount = Callable[[int, int], int]

NAMES = [
    os.fsdecode(name)
    for name in (
        *(b"caf\xe9 \xff\xfe.jpg", b"\x80", b"\xed\xb2\x80 a surrogate.jpg", b"\xc0\xaf.jpg"),
        *(b"line\nbreak.jpg", b"\n.jpg", b"ends with it.jpg\n", b"carriage\rreturn.jpg", b"tab\tand\\backslash.jpg"),
        *(b'it\'s "quoted" $(x) `y`.jpg', b"-rf.jpg", b"--.jpg", b" .jpg", b"spaces  .jpg ", b"%s%n.jpg"),
        *(b"{}[a]*?!#.jpg", b"\x1b[31mred\x1b[0m\x07.jpg", "\u202egpj.reversed", "\u2028 \u200f \U0001f600.jpg"),
        *("\u00e9.jpg", "e\u0301.jpg", "x" * 251 + ".jpg", "\u00fc" * 125 + "x.jpg"),
    )
]
"""NFC and NFD of one letter are two names; the last two are as long as a name can be."""
DIRECTORIES = [
    os.fsdecode(name) for name in (b"dir \xff\xfe", "dir\nwith\nlines", '"dir"', "E\u0301", "\u00c9", "d.jpg")
]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "photos"
    root.mkdir()
    yield root
    shutil.rmtree(root)  # which goes by descriptors, and so as deep as there is anything


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo outside of the root, to be copied and asked for."""
    return shoot(tmp_path / "photo.jpg", [1], 1)


def give(photo: Path, *paths: Path) -> None:
    """Copy a photo to all these places."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photo, path)


def ask(daemon: Daemon, *arguments: str | Path, module: str = "facewatchd.client.app") -> tuple[int, bytes]:
    """Run a command in a pipe; its exit status, and all that it prints, as bytes."""
    first, *others = arguments
    command = [sys.executable, "-m", module, first, "--socket", daemon.socket, *others]
    done = subprocess.run(command, capture_output=True, env=daemon.environment, timeout=DEADLINE, check=False)
    assert b"Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def control(daemon: Daemon, *arguments: str | Path) -> tuple[int, bytes]:
    return ask(daemon, *arguments, module="facewatchd")


def named(path: Path) -> dict[str, str]:
    """The protocol's way to name a path in JSON, said again."""
    raw = os.fsencode(path)
    try:
        return {"path": raw.decode("utf-8", "strict")}
    except UnicodeDecodeError:
        return {"path": raw.decode("utf-8", "replace"), "path_bytes": base64.b64encode(raw).decode()}


def path_of(item: dict[str, str]) -> Path:
    """The path in an answer, which must be given as `named` gives it."""
    raw = base64.b64decode(item["path_bytes"]) if "path_bytes" in item else item["path"].encode("utf-8", "strict")
    path = Path(os.fsdecode(raw))
    assert {key: item[key] for key in ("path", "path_bytes") if key in item} == named(path)
    return path


def found(daemon: Daemon, **params: Any) -> set[Path]:
    """The photos that show the person of all these photos."""
    answer = daemon.call("query", embedding=embedding(1).tolist(), top=0, collapse=False, **params)
    return {path_of(match) for match in answer["matches"]}


def state(daemon: Daemon, path: Path) -> str:
    why = daemon.call("why", **named(path))
    assert path_of(why) == path
    assert printable(why["reason"]) == why["reason"], "words are text on one line, whatever is named in them"
    return str(why["state"])


def unescaped(field: bytes) -> bytes:
    """A path as the tab-separated lines hold it."""
    parts = field.split(b"\\\\")
    for escape, character in ((b"\\t", b"\t"), (b"\\n", b"\n"), (b"\\r", b"\r")):
        parts = [part.replace(escape, character) for part in parts]
    return b"\\".join(parts)


def expect_printed(daemon: Daemon, photo: Path, expected: set[Path]) -> None:
    """Every form of output of the client names just these photos, byte for byte, in one order."""
    options = ("-q", "-n", "0", "--no-collapse")
    status, printed = ask(daemon, *options, "-0", "--", photo)
    *paths, rest = printed.split(b"\0")
    assert (status, rest, set(paths), len(paths)) == (0, b"", set(map(os.fsencode, expected)), len(expected))
    assert ask(daemon, *options, "-l", "--", photo) == (0, b"".join(path + b"\n" for path in paths))
    *lines, rest = ask(daemon, *options, "--", photo)[1].split(b"\n")
    assert rest == b""
    assert {line.count(b"\t") for line in lines} == {2}
    assert [unescaped(line.split(b"\t")[2]) for line in lines] == paths
    document = json.loads(ask(daemon, *options, "--json", "--", photo)[1])
    assert [os.fsencode(path_of(match)) for match in document["matches"]] == paths


# ------------------------------------------------------------------------------------------------- strange names


def test_strange_names_are_photos_like_any_other(start: Start, tmp_path: Path, photo: Path, tiny_root: Path) -> None:
    root = tmp_path / 'the "root"\nof it'
    root.mkdir()
    early = {root / name for name in NAMES[::2]}
    late = {root / name for name in NAMES[1::2]}
    late |= {root / directory / name for directory in DIRECTORIES for name in (NAMES[0], NAMES[4], "a.jpg")}
    give(photo, *early)
    daemon = start(root, model="tiny", model_root=tiny_root)
    give(photo, *late)
    until(lambda: daemon.status()["photos"] == len(early | late))
    daemon.settle()
    assert found(daemon) == early | late
    assert daemon.embedded() == 1
    expect_printed(daemon, photo, early | late)
    assert {state(daemon, path) for path in early | late} == {"indexed"}
    assert ask(daemon, "-q", "-l", "-n", "0", "--sheet", tmp_path / "sheet.png", photo)[0] == 0
    for directory in DIRECTORIES:
        inside = {path for path in late if path.parent == root / directory}
        assert len(inside) == 3
        assert found(daemon, dirs=[named(root / directory)]) == inside
    invariant.check(daemon)
    assert all(line.startswith("facewatchd: ") for line in daemon.log.read_text().splitlines())


def test_strange_names_can_be_named_on_the_command_line(start: Start, root: Path, photo: Path, tiny_root: Path) -> None:
    directory = root / "dir \udcff\n"
    inside = [directory / name for name in ("\udcff.jpg", "line\nbreak.jpg", "-rf.jpg", NAMES[-1])]
    give(photo, *inside, root / "elsewhere.jpg")
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()
    for path in inside:
        status, words = control(daemon, "why", path)
        assert (status, words.split(b"\n")[0]) == (0, b"indexed: its faces are searchable")
        assert control(daemon, "scan", "--force", path) == (0, b"queued 1\n")
    assert path_of(json.loads(control(daemon, "why", "--json", inside[0])[1])) == inside[0]
    expect_printed(daemon, inside[0], {*inside, root / "elsewhere.jpg"})
    in_directory = ask(daemon, "-q", "-0", "--no-collapse", "-d", directory, inside[1])[1].split(b"\0")[:-1]
    assert set(in_directory) == set(map(os.fsencode, inside))
    assert daemon.settle()["failed"] == 0
    invariant.check(daemon)


def test_strange_names_change_and_go(tmp_path: Path, root: Path, tiny_root: Path) -> None:
    """Each has bytes of its own here, so that none can be taken for another."""
    paths = {shoot(tmp_path / "new.jpg", [1], n).rename(root / name) for n, name in enumerate(NAMES)}
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    daemon.count_embeddings()
    with daemon:
        daemon.start()
        until(lambda: found(daemon) == paths)
        for old, new in reversed([*itertools.pairwise([*NAMES, "\udcff new\n.jpg"])]):
            (root / old).rename(root / new)
        paths = {root / name for name in [*NAMES[1:], "\udcff new\n.jpg"]}
        until(lambda: found(daemon) == paths)
        (root / DIRECTORIES[0]).mkdir()
        paths = {path.rename(root / DIRECTORIES[0] / path.name) for path in paths}
        until(lambda: found(daemon) == paths)
        for old, new in itertools.pairwise(DIRECTORIES):
            (root / old).rename(root / new)
            paths = {root / new / path.name for path in paths}
            until(lambda expected=paths: found(daemon) == expected)
        for path in sorted(paths)[::2]:
            path.unlink()
        paths = set(sorted(paths)[1::2])
        until(lambda: found(daemon) == paths)
        invariant.check(daemon)
        invariant.check_embedded_once(daemon)


def test_patterns_exclude_strange_names_too(start: Start, root: Path, photo: Path, tiny_root: Path) -> None:
    patterns = 'exclude = ["secret*", "private/", "/only here/*.png", "caf?.jpg", "*.xmp"]'
    excluded = ["secret\n\udcff.jpg", "a\nb/secret.jpg", "a\nb/private/c.jpg", "only here/\n.png", "caf\udcff.jpg"]
    excluded += ["\udcff/private/\n.jpg", "secret\n1/a.jpg", "dir\n\udcff/a.xmp", ".hidden \u00e9.jpg"]
    wanted = ["a\nsecret.jpg", "private", "a\nb/only here/a.png", "a.xmp\n", "caf\n/e.jpg", "caf\u00e9s.jpg"]
    left_out, expected = [root / name for name in excluded], [root / name for name in wanted]
    give(photo, *left_out[::2], *expected[::2])
    daemon = start(root, model="tiny", model_root=tiny_root, **{"": patterns})
    give(photo, *left_out[1::2], *expected[1::2])
    until(lambda: found(daemon) == set(expected))
    for path in left_out:
        assert state(daemon, path) == "excluded", path
        daemon.call("scan", paths=[named(path)], force=True)
    daemon.settle()
    assert found(daemon) == set(expected)
    assert daemon.call("verify")["problems"] == []


def random_names(count: int, seed: int) -> set[str]:
    """Names of all bytes that a name may have, photos by their suffix; some of them just short enough."""
    chance = random.Random(seed)
    allowed = bytes(set(range(1, 256)) - {ord("/")})
    names = (bytes(chance.choices(allowed, k=chance.choice((1, 2, 5, 60, 251)))) for _ in range(count))
    return {os.fsdecode(name + b".jpg") for name in names if not name.startswith(b".")}


def test_random_names(start: Start, root: Path, photo: Path, tiny_root: Path, amount: Amount) -> None:
    daemon = start(root, model="tiny", model_root=tiny_root)
    names = random_names(amount(150, 4_000), 3)
    give(photo, *(root / name for name in names))
    until(lambda: daemon.status()["photos"] == len(names), deadline=600)
    daemon.settle(300)
    expect_printed(daemon, photo, {root / name for name in names})
    (root / "below").mkdir()
    renamed = {(root / name).rename(root / "below" / name) for name in names}
    until(lambda: found(daemon) == renamed, deadline=600)
    assert daemon.embedded() == 1
    invariant.check(daemon)


# ------------------------------------------------------------------------------------------------------ too deep

PATH_MAX = 4096
"""With the byte that ends a path."""


@contextmanager
def deep_directory(start: Path, names: Sequence[str]) -> Iterator[int]:
    """Descend into directories, which are made where they lack, however long the path becomes."""
    descriptor = os.open(start, os.O_RDONLY)
    try:
        for name in names:
            if name not in os.listdir(descriptor):
                os.mkdir(name, dir_fd=descriptor)
            below = os.open(name, os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def put(photo: Path, start: Path, names: Sequence[str], name: str) -> Path:
    """Copy a photo into a directory that may be too deep, and return its path."""
    with deep_directory(start, names) as directory:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=directory)
        with os.fdopen(descriptor, "wb") as file:
            file.write(photo.read_bytes())
    return start.joinpath(*names, name)


def length(path: Path) -> int:
    return len(os.fsencode(path))


def deep_photos(photo: Path, start: Path) -> set[Path]:
    """Photos from here to far too deep, one of them with the longest path that there can be, one a byte longer."""
    names = ["d" * 200] * 24
    room = PATH_MAX - 1 - length(start)
    depth = (room - 30) // 201
    longest = room - 201 * depth - 1
    paths = {put(photo, start, names[:above], "a.jpg") for above in range(0, len(names) + 1, 4)}
    at_the_limit = put(photo, start, names[:depth], "j" * (longest - 4) + ".jpg")
    beyond = put(photo, start, names[:depth], "k" * (longest - 3) + ".jpg")
    assert (length(at_the_limit), length(beyond)) == (PATH_MAX - 1, PATH_MAX)
    return paths | {at_the_limit, beyond}


def test_what_lies_too_deep_is_told_and_stops_nothing(start: Start, root: Path, photo: Path, tiny_root: Path) -> None:
    (root / "first").mkdir()
    paths = deep_photos(photo, root / "first")
    near = {path for path in paths if length(path) < PATH_MAX}
    daemon = start(root, model="tiny", model_root=tiny_root)
    until(lambda: found(daemon) == near)
    status = daemon.settle()
    assert (status["photos"], status["failed"], status["roots"][0]["state"]) == (len(near), 0, "watching")
    assert any(os.strerror(errno.ENAMETOOLONG) in problem for problem in status["problems"]), status["problems"]
    assert daemon.call("query", photos=[named(photo)])["complete"] is False
    expect_printed(daemon, photo, near)
    for path in paths - near:
        assert state(daemon, path) == "unknown"
        daemon.call("scan", paths=[named(path)])
    near.add(put(photo, root, ["elsewhere"], "new.jpg"))
    until(lambda: found(daemon) == near)
    invariant.check(daemon)


def test_a_rename_above_brings_photos_within_reach_and_out_of_it(
    start: Start, root: Path, photo: Path, tiny_root: Path
) -> None:
    top = root / ("t" * 200)
    top.mkdir()
    paths = deep_photos(photo, top)
    daemon = start(root, model="tiny", model_root=tiny_root)
    until(lambda: found(daemon) == {path for path in paths if length(path) < PATH_MAX})
    counts = []
    for name in ("s", "t" * 200, "m" * 100, "s" * 200):
        renamed = top.rename(root / name)
        paths = {renamed / path.relative_to(top) for path in paths}
        top = renamed
        near = {path for path in paths if length(path) < PATH_MAX}
        counts.append(len(near))
        until(lambda near=near: found(daemon) == near)
        until(lambda: any("too long" in problem for problem in daemon.status()["problems"]))
    assert counts[0] > counts[1]
    assert daemon.embedded() == 1
    invariant.check_catalog(daemon)
    shutil.rmtree(top)
    until(lambda: not found(daemon))
    until(lambda: not daemon.status()["problems"])
    invariant.check(daemon)


# ------------------------------------------------------------------------------------------------- only the name


@contextmanager
def special_files(root: Path) -> Iterator[dict[Path, str]]:
    """What is no file and has a photo's name, with a word of the reason that must be given for each."""
    words = {"pipe.jpg": "pipe", "socket.png": "socket", "device.webp": "device"}
    words |= {"zeros.heic": "device", "null.tif": "device", "link.bmp": "pipe"}
    os.mkfifo(root / "pipe.jpg")
    directory = os.open(root, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{directory}/socket.png")  # its own path is too long for a socket
    os.close(directory)
    for link, target in (("zeros.heic", "/dev/zero"), ("null.tif", "/dev/null"), ("link.bmp", root / "pipe.jpg")):
        (root / link).symlink_to(target)
    for link, target in (("gone.jpg", "nothing.jpg"), ("loop.jpg", "loop.jpg"), ("linked.jpg", root.parent)):
        (root / link).symlink_to(target)
    mounted = make_device(root / "device.webp")
    try:
        yield {root / name: word for name, word in words.items() if (root / name).exists()}
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", root / "device.webp"], check=True)


def make_device(path: Path) -> bool:
    """Make a device, or mount /dev/null on a file, to be unmounted later (True). Nothing where neither is allowed."""
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        path.touch()
        if subprocess.run(["mount", "--bind", "/dev/null", path], capture_output=True, check=False).returncode == 0:
            return True
        path.unlink()
    return False


def is_read(pipe: Path) -> bool:
    """Whether anybody has the pipe open for reading."""
    try:
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as exc:
        return exc.errno != errno.ENXIO
    return True


@pytest.mark.parametrize("when", ["before the start", "live"])
def test_what_has_only_a_photos_name(tmp_path: Path, root: Path, photo: Path, tiny_root: Path, when: str) -> None:
    photos = {root / "directory.jpg" / "inside.jpg", root / "a.jpg"}
    give(photo, *photos)
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    with daemon:
        if when == "live":
            daemon.start()
        with special_files(root) as special:
            if when == "before the start":
                daemon.start()
            until(lambda: daemon.status()["failed"] == len(special))
            for path, word in special.items():
                why = daemon.call("why", path=str(path))
                assert (why["state"], word in why["reason"]) == ("failed", True), why
            assert {state(daemon, root / name) for name in ("gone.jpg", "loop.jpg", "directory.jpg")} == {"unknown"}
            until(lambda: found(daemon) == photos)
            assert not is_read(root / "pipe.jpg")
            invariant.check(daemon, failed=special)


def test_photos_and_others_take_each_others_place(
    start: Start, tmp_path: Path, root: Path, photo: Path, tiny_root: Path
) -> None:
    """Under one name: a file, a pipe, a directory, a link to a file, a link to a pipe, a device, and a file again."""
    path = root / "it.jpg"
    os.mkfifo(tmp_path / "pipe")
    daemon = start(root, model="tiny", model_root=tiny_root)
    steps: list[tuple[Callable[[], object], str, set[Path]]] = [
        (lambda: give(photo, path), "indexed", {path}),
        (lambda: os.mkfifo(path), "failed", set()),
        (lambda: give(photo, path / "inside.jpg"), "unknown", {path / "inside.jpg"}),
        (lambda: path.symlink_to(photo), "indexed", {path}),
        (lambda: path.symlink_to(tmp_path / "pipe"), "failed", set()),
        (lambda: path.symlink_to(tmp_path), "excluded", set()),
        (lambda: give(photo, path), "indexed", {path}),
        (lambda: path.symlink_to("/dev/zero"), "failed", set()),
        (lambda: give(photo, path), "indexed", {path}),
    ]
    for become, expected, matches in steps:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        become()
        until(lambda expected=expected: state(daemon, path) == expected)
        until(lambda matches=matches: found(daemon) == matches)
    assert daemon.embedded() == 1
    invariant.check(daemon)
