"""A decoder that a photo took over: what it tries from inside a real inference process, and what still works there."""

from __future__ import annotations

import ctypes
import errno
import io
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facewatchd.config import Faces
from facewatchd.errors import FacewatchError, OutOfMemoryError, UnreadablePhotoError
from facewatchd.inference import confinement, landlock, seccomp, wire
from facewatchd.inference.pool import Inference
from facewatchd.inference.wire import Setup
from facewatchd.models import registry
from facewatchd.models.devices import ON_PROCESSOR, Placement
from facewatchd.photos.samples import SPECIMENS
from tests.support import packs
from tests.support.albums import shoot
from tests.support.paths import SHARED

HOOK = r"""
import sys
if {"indexing", "queries"} & set(sys.argv):
    import ctypes, errno, fcntl, json, mmap, os, signal, socket, subprocess, termios, threading
    from facewatchd.photos import decode as photos
    from facewatchd.errors import UnreadablePhotoError
    decode, libc = photos.decode, ctypes.CDLL(None, use_errno=True)
    late = []
    sys.addaudithook(lambda event, args: late.append(args[0]) if event == "import" and attacked else None)
    attacked = []

    def call(number, *args):
        result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
        if result == -1:
            raise OSError(ctypes.get_errno(), "refused")

    def is_file(descriptor):
        try:
            return os.fstat(descriptor).st_mode & 0o170000 == 0o100000
        except OSError:
            return False

    def taken_over(file):
        file.seek(0, 2)
        size = file.tell()
        file.seek(max(0, size - 4096))
        tail = file.read()
        file.seek(0)
        if b"LATE" in tail:
            attacked.append(1)
            try:
                return decode(file)
            finally:
                if late:
                    raise UnreadablePhotoError("imported late: " + ", ".join(late))
        if b"MEMORY" in tail:
            bytearray(1 << 36)
        if b"ATTACK" not in tail:
            return decode(file)
        given = json.loads(tail.partition(b"ATTACK")[2])
        descriptor = next(number for number in range(3, 100) if is_file(number))
        attempts = eval(given["attempts"], {**globals(), "photo": descriptor, **given})
        found = {}
        for name, attempt in attempts.items():
            try:
                attempt()
                found[name] = "possible"
            except OSError as exc:
                found[name] = errno.errorcode.get(exc.errno, str(exc))
            except Exception as exc:
                found[name] = "possible: " + repr(exc)
        raise UnreadablePhotoError(json.dumps(found))
    photos.decode = taken_over
"""
X86 = {
    "open": "lambda: call(2, private.encode(), 0)",
    "creat": "lambda: call(85, made.encode(), 0o600)",
    "openat2": "lambda: call(437, -100, private.encode(), bytes(24), 24)",
    "truncate": "lambda: call(76, private.encode(), 0)",
    "ptrace": "lambda: call(101, 16, daemon, 0, 0)",
    "process_vm_readv": "lambda: call(310, daemon, 0, 0, 0, 0, 0)",
    "process_vm_writev": "lambda: call(311, daemon, 0, 0, 0, 0, 0)",
    "pidfd_open": "lambda: call(434, daemon, 0)",
    "io_uring": "lambda: call(425, 8, bytes(120))",
    "bpf": "lambda: call(321, 0, bytes(64), 64)",
    "perf": "lambda: call(298, bytes(128), 0, -1, -1, 0)",
    "keyctl": "lambda: call(250, 0, -3, 1)",
    "unshare": "lambda: call(272, 0x10000000)",
    "setns": "lambda: call(308, 0, 0)",
    "mount": "lambda: call(165, b'x', b'/', b'tmpfs', 0, 0)",
    "chroot": "lambda: call(161, b'/')",
    "memfd": "lambda: call(319, b'x', 0)",
    "userfaultfd": "lambda: call(323, 1)",
    "open_by_handle_at": "lambda: call(304, 0, bytes(64), 0)",
    "vfork": "lambda: call(58)",
    "newer than the filter": "lambda: call(500)",
    "tkill": "lambda: call(200, daemon, 0)",
    "queued signal": "lambda: call(129, daemon, 10, bytes(128))",
    "take more memory": "lambda: call(302, 0, 2, bytes(16), 0)",
    "setxattr of a descriptor": "lambda: call(190, photo, b'user.x', b'y', 1, 0)",
}
ATTEMPTS = {
    "read a file of the user's": "lambda: open(private).read()",
    "list a directory": "lambda: os.listdir(os.path.dirname(private))",
    "write a file": "lambda: open(private, 'ab')",
    "make a file": "lambda: open(made, 'w')",
    "read the catalog": "lambda: open(catalog, 'rb')",
    "write the catalog": "lambda: open(catalog, 'r+b')",
    "open the photo again for writing": "lambda: open(f'/proc/self/fd/{photo}', 'r+b')",
    "change the photo's mode": "lambda: os.chmod(photo, 0o777)",
    "give the photo other times": "lambda: os.utime(photo, (1, 1))",
    "lock the photo": "lambda: fcntl.flock(photo, fcntl.LOCK_EX | fcntl.LOCK_NB)",
    "remove a file": "lambda: os.unlink(private)",
    "rename a file": "lambda: os.rename(private, made)",
    "link a file": "lambda: os.link(private, made)",
    "make a symbolic link": "lambda: os.symlink(private, made)",
    "make a directory": "lambda: os.mkdir(made)",
    "read a system file": "lambda: open('/etc/passwd').read()",
    "read its own memory map": "lambda: open('/proc/self/maps').read()",
    "write the daemon's memory": "lambda: open(f'/proc/{daemon}/mem', 'r+b')",
    "connect to a socket": "lambda: socket.socket(socket.AF_UNIX).connect(place)",
    "make an internet socket": "lambda: socket.socket(socket.AF_INET)",
    "make a pair of sockets": "lambda: socket.socketpair()",
    "signal the daemon": "lambda: os.kill(daemon, 0)",
    "signal its group": "lambda: os.kill(0, 0)",
    "signal everybody": "lambda: os.kill(-1, 0)",
    "have signals sent to the daemon": "lambda: fcntl.fcntl(photo, fcntl.F_SETOWN, daemon)",
    "type into the terminal": "lambda: fcntl.ioctl(2, termios.TIOCSTI, b'x')",
    "start a program": "lambda: os.execv('/bin/true', ['true'])",
    "start a process": "lambda: os.fork()",
    "be served before others": "lambda: os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))",
    "be nicer to itself": "lambda: os.setpriority(os.PRIO_PROCESS, 0, 0)",
    "run code that it wrote": "lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)",
    "run the photo": "lambda: mmap.mmap(photo, 100, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)",
}


@pytest.fixture
def taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the inference processes that are started run `HOOK` first."""
    place = tmp_path / "hook"
    place.mkdir()
    (place / "sitecustomize.py").write_text(HOOK)
    monkeypatch.setenv("PYTHONPATH", str(place))


def started(root: Path, name: str = "tiny", *, idle: bool = False, threads: int = 1) -> Inference:
    pack = registry.find(name, root)
    assert pack is not None
    return Inference(Setup("indexing", pack, Faces(), threads, idle=idle), 2)


@pytest.fixture
def inference(tiny_root: Path, taken_over: None) -> Iterator[Inference]:
    inference = started(tiny_root)
    yield inference
    inference.close()


def message(inference: Inference, data: bytes) -> str:
    with pytest.raises(FacewatchError) as caught:
        inference.analyse(data)
    return caught.value.message


def assert_no_import(inference: Inference, data: bytes) -> None:
    """Read a picture, good or bad: whatever is said of it, it is not said because something was missing."""
    said = ""
    try:
        inference.analyse(data + b"LATE")
    except FacewatchError as exc:
        said = exc.message
    assert "imported late" not in said
    assert "Operation not permitted" not in said


def test_a_decoder_that_was_taken_over_reaches_nothing(inference: Inference, tmp_path: Path) -> None:
    inference.start()
    if inference.confinement != wire.FULLY_CONFINED:
        pytest.skip(f"this kernel confines less: {inference.confinement}")
    private = tmp_path / "private.txt"
    private.write_text("private")
    catalog = tmp_path / "catalog.sqlite3"
    catalog.write_bytes(b"catalog")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        given = {
            "private": str(private),
            "made": str(tmp_path / "made"),
            "catalog": str(catalog),
            "place": str(tmp_path / "s"),
            "daemon": os.getpid(),
        }
        attempts = ATTEMPTS | (X86 if seccomp.machine() == "x86_64" else {})
        batches = [dict(list(attempts.items())[start : start + 12]) for start in range(0, len(attempts), 12)]
        found: dict[str, str] = {}
        for batch in batches:
            given["attempts"] = "{" + ", ".join(f"{name!r}: {code}" for name, code in batch.items()) + "}"
            document = json.dumps(given).encode()
            assert len(document) < 4000
            found |= json.loads(message(inference, bytes(5000) + b"ATTACK" + document))
    assert found.keys() == attempts.keys()
    assert {name: result for name, result in found.items() if result not in ("EPERM", "EACCES", "ENOSYS")} == {}
    assert private.read_text() == "private"
    assert not (tmp_path / "made").exists()


def test_every_format_is_read_and_nothing_is_imported_late(inference: Inference) -> None:
    for name, data in SPECIMENS.items():
        seen = inference.analyse(data + b"LATE")
        assert (seen.width, seen.height) == (16, 16), name


def test_pictures_with_profiles_tags_and_damage(inference: Inference) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (90, 120, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x112] = 6
    for format_ in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF"):
        picture = Image.fromarray(noise).convert("P" if format_ == "GIF" else "RGB")
        buffer = io.BytesIO()
        extra: dict[str, Any] = {} if format_ in ("BMP", "GIF") else {"exif": exif}
        picture.save(buffer, format_, **extra)
        data = buffer.getvalue()
        seen = inference.analyse(data + b"LATE")
        assert {seen.width, seen.height} == {90, 120}, format_
        for cut in (len(data) // 2, 60):
            assert_no_import(inference, data[:cut])


def test_the_inputs_of_users_disks_import_nothing_late(inference: Inference) -> None:
    places = [
        path for path in (SHARED / "inputs").glob("*.*") if path.suffix != ".md" and path.stat().st_size < 3_000_000
    ]
    if not places:
        pytest.skip("the inputs of ../shared are not on this machine")
    for path in places:
        assert_no_import(inference, path.read_bytes())


def test_too_little_memory_is_still_told(inference: Inference) -> None:
    with pytest.raises(OutOfMemoryError):
        inference.analyse(b"MEMORY")
    with pytest.raises(UnreadablePhotoError):
        inference.analyse(b"no photo")


def test_it_is_confined_again_after_a_rest(inference: Inference, tmp_path: Path) -> None:
    photo = shoot(tmp_path / "photo.jpg", [3], 1).read_bytes()
    for _ in range(2):
        assert len(inference.analyse(photo).faces) == 1
        state = inference.confinement
        assert inference.release_after(0)
    assert state.startswith(("full", "partial", "none"))


@pytest.mark.parametrize("name", ["scrfd25g_mfn", "opencv"])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_real_models_work_confined(name: str, threads: int) -> None:
    root = packs.opencv_root() if name == "opencv" else SHARED / "insightface"
    if registry.find(name, root) is None:
        pytest.skip(f"the model {name} is not on this machine")
    inference = started(root, name, threads=threads)
    try:
        from facewatchd.models.reference import photo

        assert len(inference.analyse(photo().read_bytes()).faces) == 6
    finally:
        inference.close()


def test_it_holds_its_lines_and_nothing_else(inference: Inference, tmp_path: Path) -> None:
    secret = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        inference.start()
        process = inference._process
        assert process is not None
        directory = Path(f"/proc/{process._popen.pid}/fd")
        held = {int(path.name): str(path.readlink()) for path in directory.iterdir()}
    finally:
        os.close(secret)
    kinds = sorted(target.partition(":")[0] for number, target in held.items() if number > 2)
    assert kinds == ["pipe", *["socket"] * 3]
    assert held[0] == held[1] == os.devnull


# What the kernel has not


class NoCall:
    """A C library whose kernel knows neither."""

    def syscall(self, *_: object) -> int:
        ctypes.set_errno(errno.ENOSYS)
        return -1

    def prctl(self, *_: object) -> int:
        return 0


def test_what_the_kernel_takes_and_does_not_keep_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "restrict", lambda *_: None)
    monkeypatch.setattr(seccomp, "install", lambda _: None)
    confined = confinement.Confinement()
    confined.before_loading(None, ON_PROCESSOR)
    confined.before_photos()
    assert confined.state == "none: files can still be opened although the kernel took what was asked"


def test_without_landlock_and_filters_it_goes_on_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "_libc", NoCall())
    monkeypatch.setattr(seccomp, "install", lambda _: (_ for _ in ()).throw(OSError(errno.EINVAL, "Invalid argument")))
    confined = confinement.Confinement()
    confined.before_loading(None, ON_PROCESSOR)
    confined.before_photos()
    assert confined.state == (
        "none: no Landlock (Function not implemented); no filter of system calls (Invalid argument)"
    )
    monkeypatch.setattr(seccomp, "install", lambda _: None)
    partly = confinement.Confinement()
    partly.before_loading(None, ON_PROCESSOR)
    assert partly.state == "partial: no Landlock (Function not implemented)"
    accelerated = confinement.Confinement()
    accelerated.before_loading(None, Placement("cuda", "cpu"))
    accelerated.before_photos()
    assert accelerated.state == "none: cuda needs device files"


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize(("loading", "code"), [(True, True), (False, True), (False, False)])
def test_the_filter_jumps_inside_itself_and_ends(
    monkeypatch: pytest.MonkeyPatch, machine: str, loading: bool, code: bool
) -> None:
    monkeypatch.setattr(seccomp, "machine", lambda: machine)
    program = confinement._filter(loading=loading, code=code)
    lines = [program[at : at + 8] for at in range(0, len(program), 8)]
    steps = [(int.from_bytes(line[:2], sys.byteorder), line[2], line[3]) for line in lines]
    assert len(steps) < 4096
    for at, (kind, true, false) in enumerate(steps):
        if kind & 7 == 5:
            assert at + 1 + max(true, false) < len(steps)
    assert steps[-1][0] == 0x06


def test_a_terminal_is_left_for_writing_only(tmp_path: Path) -> None:
    program = (
        "import os, pty\n"
        "from facewatchd.inference import confinement\n"
        "ours, theirs = pty.openpty()\n"
        "confinement._open_for_writing_only(theirs)\n"
        "os.write(theirs, b'said')\n"
        "assert os.read(ours, 4) == b'said'\n"
        "try:\n    os.read(theirs, 1)\nexcept OSError as exc:\n    print(exc.strerror)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "Bad file descriptor"


def test_photos_are_handed_over_as_files(inference: Inference) -> None:
    """The attempts on the photo's descriptor above would prove nothing if there were none."""
    given = {"attempts": "{'mode': lambda: (_ for _ in ()).throw(OSError(os.fstat(photo).st_mode, 'mode'))}"}
    found = json.loads(message(inference, bytes(5000) + b"ATTACK" + json.dumps(given).encode()))
    assert stat.S_ISREG(int(found["mode"].split("]")[0].removeprefix("[Errno ")))
