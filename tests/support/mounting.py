"""Disks that are mounted for a test, and rights that are taken away; a test that may not do so is skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.processes import until

OBEDIENT = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
"""What root runs a program by that is to obey the permissions of files, as every other user must."""


def obedient() -> Sequence[str]:
    """The prefix of a command that obeys permissions."""
    if os.getuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root needs setpriv to run a daemon that obeys permissions")
    return OBEDIENT


def run(*command: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, capture_output=True, check=False)


class Loop:
    """A loop device that stays ours: something is behind it all the time."""

    def __init__(self, device: str, idle: Path) -> None:
        self.device = device
        self._idle = idle

    def show(self, image: Path | None = None) -> None:
        """Put an image behind it, or nothing worth mentioning."""
        self.free()
        result = run("losetup", self.device, image or self._idle)
        assert result.returncode == 0, result.stderr

    def free(self) -> None:
        """Give it back; that is done a moment after it is asked for."""
        run("losetup", "--detach", self.device)
        until(lambda: run("losetup", self.device).returncode != 0)


class Disk:
    """A file system of its own, which can be mounted at a place and taken away again."""

    def __init__(self, source: Path, place: Path, loop: Loop | None = None) -> None:
        """``source``: the image that is put behind the loop device, or where it is mounted aside."""
        self._source = source
        self._place = place
        self._loop = loop

    def can_be_mounted(self) -> bool:
        """Whether this user may mount it; it is not mounted on return."""
        return self._try().returncode == 0 and self.unmount()

    def mount(self) -> None:
        result = self._try()
        assert result.returncode == 0, result.stderr

    def _try(self) -> subprocess.CompletedProcess[bytes]:
        if self._loop is None:
            return run("mount", "--bind", self._source, self._place)
        self._loop.show(self._source)
        return run("mount", self._loop.device, self._place)

    def unmount(self) -> bool:
        """A plain ``umount``; False where the disk is busy."""
        if run("umount", self._place).returncode != 0:
            return False
        if self._loop:
            self._loop.show()
        return True


@contextmanager
def disks(directory: Path, place: Path, count: int, *, devices: int = 1) -> Iterator[list[Disk]]:
    """Make disks to be mounted at one place, in turn on so many devices: two that have the same have all its numbers.

    They are images with ext4; where that is not allowed, as in a user namespace, each is a tmpfs mounted aside. What is
    mounted at the end is unmounted.
    """
    place.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        loops = _loops(directory / "idle", devices, stack)
        made = [_image(directory / f"disk {n}", place, loops[n % devices]) for n in range(count if loops else 0)]
        if made and made[0].can_be_mounted():
            pass
        elif count > devices:
            pytest.skip("two disks with the same numbers need root, and loop devices")
        else:
            made = [_aside(directory / f"aside {n}", place, stack) for n in range(count)]
        stack.callback(_unmount_all, place)
        yield made


@contextmanager
def btrfs(directory: Path, place: Path, *options: str) -> Iterator[None]:
    """Mount a new btrfs at a place; the test is skipped where that cannot be had."""
    if shutil.which("mkfs.btrfs") is None:
        pytest.skip("there is no mkfs.btrfs")
    image = directory / "btrfs"
    with image.open("wb") as file:
        file.truncate(256 << 20)
    assert run("mkfs.btrfs", "-q", image).returncode == 0
    place.mkdir(parents=True, exist_ok=True)
    if (result := run("mount", "-o", ",".join(["loop", *options]), image, place)).returncode != 0:
        pytest.skip(f"no btrfs can be mounted by this user: {result.stderr.decode().strip()}")
    try:
        yield
    finally:
        _unmount_all(place)


def subvolume(*command: str | Path) -> None:
    """Run ``btrfs subvolume COMMAND``."""
    result = run("btrfs", "subvolume", *command)
    assert result.returncode == 0, result.stderr


def _loops(idle: Path, count: int, stack: ExitStack) -> list[Loop]:
    """Loop devices with an idle file behind them; none where they cannot be had."""
    idle.write_bytes(bytes(1 << 20))
    loops: list[Loop] = []
    for _ in range(count):
        result = run("losetup", "--find", "--show", idle)
        if result.returncode != 0:
            return []
        loops.append(Loop(result.stdout.decode().strip(), idle))
        stack.callback(run, "losetup", "--detach", loops[-1].device)
    return loops if shutil.which("mkfs.ext4") else []


def _image(image: Path, place: Path, loop: Loop) -> Disk:
    with image.open("wb") as file:
        file.truncate(16 << 20)
    assert run("mkfs.ext4", "-q", image).returncode == 0
    return Disk(image, place, loop)


def _aside(hidden: Path, place: Path, stack: ExitStack) -> Disk:
    hidden.mkdir()
    if (result := run("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", hidden)).returncode != 0:
        pytest.skip(f"no disk can be mounted by this user: {result.stderr.decode().strip()}")
    stack.callback(_unmount_all, hidden)
    return Disk(hidden, place)


def _unmount_all(place: Path) -> None:
    while run("umount", "--lazy", place).returncode == 0:
        pass
