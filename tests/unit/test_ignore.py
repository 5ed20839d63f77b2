"""What is left alone by default: what systems and programs keep beside photos, and nothing of the user's."""

from __future__ import annotations

import pytest

from facewatchd.ignore import Exclusion

LEFT_ALONE = [
    "@eaDir", "@EADIR", "#recycle", "#Recycle", "@Recycle", "@Recycle.Bin", "Recycle Bin", "_NAS_Recycle_RAID",
    "_NAS_Recycle_RAID_2", "trashbox", "Network Trash Folder", "$RECYCLE.BIN", "RECYCLER", "lost+found", "LOST.DIR",
    "found.000", "FOUND.017", ".Trash-1000", ".Trashes", ".recycle", ".thumbnails", ".@__thumb", ".wdmc", ".dtrash",
    "#snapshot", "@Recently-Snapshot", "@GMT-2024.05.06-07.08.09", "System Volume Information", "__MACOSX",
    "My Catalog Previews.lrdata", "My Catalog Smart Previews.lrdata", "Unconfirmed 123.crdownload",
    "u/Photos Library.photoslibrary/resources/derivatives", "P.photoslibrary/resources/proxies",
    "iPhoto Library.photolibrary/Thumbnails", "A.aplibrary/Thumbnails", "anna/files_trashbin", "anna/files_versions",
    "appdata_ocx1y2/preview", "nc/appdata_ocx1y2/preview",
]  # fmt: skip
KEPT = [
    "Recycling", "recycle", "Trash Polka", "2019 trash the dress", "found", "found.objects", "found.0001",
    "lost and found", "snapshot", "Snapshots", "thumbnails", "thumbs",
    "Thumbnails/x", "preview", "previews", "Previews", "derivatives",
    "x/resources/derivatives", "Photos Library.photoslibrary", "Photos Library.photoslibrary/originals", "lrdata",
    "P.photoslibrary/resources/renders", "P.photoslibrary/resources", "A.aplibrary/Masters", "anna/files",
    "appdata_ocx1y2", "part", "tmp", "temp", "download", "Downloads", "#1 best", "@home", "~anna", "nas_recycle_bin",
]  # fmt: skip


@pytest.mark.parametrize("path", LEFT_ALONE)
def test_directories_that_are_left_alone(path: str) -> None:
    assert Exclusion().excludes(path.encode(), is_directory=True)


@pytest.mark.parametrize("path", KEPT)
def test_directories_of_the_users(path: str) -> None:
    assert Exclusion().excludes(path.encode(), is_directory=True) == ""


@pytest.mark.parametrize(
    "name",
    [
        "a.jpg.part", "a.jpg.PARTIAL", "a.jpg.filepart", "a.crdownload", "a.jpg.download", "a.jpg.opdownload",
        "a.jpg.!qB", "a.jpg.!ut", "a.jpg.bc!", "a.jpg.!sync", "a.jpg.fdmdownload", "a.jpg.dtapart", "a.jpg.xltd",
        "a.jpg.aria2", "a.jpg.incomplete", "a.jpg_.gstmp", "a.jpg~", "a.tmp", ".a.jpg.Xy12Za", "~syncthing~a.jpg",
    ],
)  # fmt: skip
def test_unfinished_downloads_are_left_alone(name: str) -> None:
    assert Exclusion().excludes(f"d/{name}".encode()) != ""
    assert Exclusion().excludes(b"d/" + name.encode() + b".jpg") == "" or name.startswith((".", "~"))


@pytest.mark.parametrize(
    "name", ["a.jpg", "apart.jpg", "part", "download", "a.parts", "@eaDir.jpg", "#recycle.png", "a"]
)
def test_files_of_the_users(name: str) -> None:
    assert Exclusion().excludes(f"d/{name}".encode()) == ""
