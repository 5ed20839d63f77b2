"""Which files lie beside a photo and name the people on it."""

from __future__ import annotations

import pytest

from facewatchd.people import sidecars
from facewatchd.people.sidecars import by_folded_name

LONG = "x" * 44


@pytest.mark.parametrize(
    ("photo", "beside"),
    [
        ("a.jpg", "a.jpg.json"),
        ("a.jpg", "a.jpg.supplemental-metadata.json"),
        ("IMG_20190630_120000_exposure.jpg", "IMG_20190630_120000_exposure.jpg.supplemental-.json"),
        ("123456789123456789123456789123456_12345.jpg", "123456789123456789123456789123456_12345.jpg.su.json"),
        (f"{LONG}.jpg", f"{LONG}.j.json"),
        (f"{LONG}yyyy.jpg", f"{LONG}yy.json"),
        ("a(1).jpg", "a.jpg(1).json"),
        ("a(1).jpg", "a.jpg.supplemental-metadata(1).json"),
        ("123456789_123456789_1234567890(12).jpg", "123456789_123456789_1234567890.jpg.supplementa(12).json"),
        ("a-edited.jpg", "a.jpg.supplemental-metadata.json"),
        ("a-edited(2).jpg", "a.jpg(2).json"),
        ("A.JPG", "A.JPG.supplemental-metadata.JSON"),
    ],
)
def test_takeouts_file_is_found_by_the_names_that_it_is_given(photo: str, beside: str) -> None:
    names = [photo.encode(), beside.encode(), b"metadata.json", b"b.jpg.json", b"a.json"]
    assert sidecars.takeout(photo.encode(), by_folded_name(names)) == beside.encode()


def test_the_file_of_another_photo_is_not_taken() -> None:
    names = by_folded_name([b"a.jpg.json", b"a.jpg(2).json", b"a(1).json", b"a.jpg.s(1)x.json"])
    assert sidecars.takeout(b"a(1).jpg", names) is None
    assert sidecars.takeout(b"a", names) is None


def test_xmp_files_have_the_photos_name_with_or_without_its_suffix_in_any_case() -> None:
    names = by_folded_name([b"A.xmp", b"a.JPG.XMP", b"b.jpg.xmp", b".xmp", b"\xff.xmp"])
    assert list(sidecars.xmp(b"a.jpg", names)) == [b"a.JPG.XMP", b"A.xmp"]
    assert list(sidecars.xmp(b"\xff.jpg", names)) == [b"\xff.xmp"]
    assert list(sidecars.xmp(b"c.jpg", names)) == []
    composed, parts = "Zo\u00eb.jpg".encode(), "Zoe\u0308.jpg.xmp".encode()
    assert list(sidecars.xmp(composed, by_folded_name([parts]))) == [parts]
    assert list(sidecars.xmp(b"c", names)) == []


def test_picasas_file_is_the_directorys() -> None:
    assert sidecars.picasa(by_folded_name([b".picasa.ini", b"Picasa.ini"])) == b".picasa.ini"
    assert sidecars.picasa(by_folded_name([b"Picasa.ini"])) == b"Picasa.ini"
    assert sidecars.picasa(by_folded_name([b"a"])) is None


def test_of_photos_whose_names_differ_in_case_alone_each_has_its_own_files() -> None:
    photos = [b"A.jpg", b"a.jpg"]
    names = by_folded_name([*photos, b"A.jpg.xmp", b"a.jpg.XMP", b"A.xmp", b"A.jpg.json", b"a.jpg.json"])
    assert list(sidecars.xmp(b"A.jpg", names)) == [b"A.jpg.xmp", b"A.xmp"]
    assert list(sidecars.xmp(b"a.jpg", names)) == [b"a.jpg.XMP"]
    assert [sidecars.takeout(photo, names) for photo in photos] == [b"A.jpg.json", b"a.jpg.json"]
    only_one = by_folded_name([*photos, b"a.jpg.xmp", b"a.jpg.supplemental-metadata.json"])
    assert list(sidecars.xmp(b"A.jpg", only_one)) == []
    assert sidecars.takeout(b"A.jpg", only_one) is None
    assert list(sidecars.xmp(b"a.jpg", only_one)) == [b"a.jpg.xmp"]
    both, one, other = (by_folded_name(each) for each in (["A.jpg", "a.jpg"], ["A.JPG"], ["b.jpg"]))
    assert [sidecars.section(photo, both, names) for photo in photos] == ["A.jpg", "a.jpg"]
    assert [sidecars.section(photo, one, names) for photo in photos] == ["A.JPG", None]
    assert sidecars.section(b"a.jpg", one, by_folded_name([b"a.jpg"])) == "A.JPG"
    assert sidecars.section(b"a.jpg", other, names) is None


def test_the_exact_name_comes_first() -> None:
    names = by_folded_name([b"a.jpg", b"A.JPG.xmp", b"a.jpg.xmp"])
    assert list(sidecars.xmp(b"a.jpg", names)) == [b"a.jpg.xmp"]
