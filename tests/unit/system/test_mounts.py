"""The mount table, parsed."""

from __future__ import annotations

import pytest

from facewatchd.system import mounts

TABLE = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 27 0:31 / /srv/my\040photos rw,relatime shared:2 master:1 - nfs4 nas:/p rw
41 27 8:17 / /media/stick rw - vfat /dev/sdb1 rw
42 27 0:44 / /media/stick rw - fuse.sshfs host:/ rw
43 41 8:18 / /media/stick2 rw - exfat /dev/sdc1 rw
broken line
"""


def test_mountinfo_is_parsed_with_escapes_and_optional_fields() -> None:
    table = mounts.parse_mountinfo(TABLE)
    assert [(mount.id, mount.point, mount.fstype) for mount in table[1:3]] == [
        (27, b"/", "ext4"),
        (40, b"/srv/my photos", "nfs4"),
    ]
    assert len(table) == 6


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/home/u", ["ext4"]),
        (b"/srv/my photos/2020", ["nfs4"]),
        (b"/srv/my photos2", ["ext4"]),
        (b"/srv", ["ext4", "nfs4"]),
        (b"/media/stick/a", ["fuse.sshfs"]),  # the later mount covers the earlier one
        (b"/media/stick2", ["exfat"]),
        (b"/media", ["ext4", "vfat", "fuse.sshfs", "exfat"]),
    ],
)
def test_around_names_the_holding_mount_and_those_below(path: bytes, expected: list[str]) -> None:
    table = mounts.MountTable(mounts.parse_mountinfo(TABLE))
    assert [mount.fstype for mount in table.around(path)] == expected


@pytest.mark.parametrize(
    ("fstype", "is_remote"),
    [
        *((local, False) for local in ("ext4", "btrfs", "tmpfs", "overlay")),
        *((other, True) for other in ("nfs", "nfs4", "cifs", "9p", "fuse.sshfs", "fuseblk", "virtiofs")),
    ],
)
def test_remote_file_systems(fstype: str, is_remote: bool) -> None:
    mount = mounts.Mount(1, b"0:1", b"/x", fstype)
    assert mount.is_remote is is_remote
    assert mount.may_seem_empty is is_remote


def test_a_card_that_was_pulled_out_may_seem_empty() -> None:
    assert mounts.Mount(1, b"0:1", b"/x", "vfat").may_seem_empty


def test_mount_table_is_read_once_until_it_changes() -> None:
    table = mounts.Mounts()
    try:
        before = table.now()
        assert before.around(b"/proc/self")[0].fstype == "proc"
        assert table.now() is before
    finally:
        table.close()
    assert table.now() is before


def test_mount_points() -> None:
    table = mounts.MountTable(mounts.parse_mountinfo(TABLE))
    assert table.has_point(b"/proc")
    assert not table.has_point(b"/usr")
    assert mounts.MountTable().has_point(b"/usr")  # no table, no conclusion
