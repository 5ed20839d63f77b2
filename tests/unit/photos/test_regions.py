"""Regions of other programs: what is read of them, and how they turn with the photo."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facewatchd.inference import validation
from facewatchd.photos import packets, region_files, regions
from facewatchd.photos.regions import Area, Region, clean_name, readings, upright
from facewatchd.photos.upright import TRANSPOSITIONS
from tests.support import xmp_packets
from tests.support.xmp_packets import packet

ANNA, BOB = ("Anna", (0.1, 0.2, 0.3, 0.25)), ("Bob & Co <é>", (0.6, 0.5, 0.2, 0.2))


def read(found: region_files.Found) -> dict[str, tuple[float, ...]]:
    return {each.name: tuple(round(part, 4) for part in each.area or ()) for each in found.regions}


@pytest.mark.parametrize("write", [xmp_packets.digikam, xmp_packets.exiftool, xmp_packets.windows])
def test_regions_are_read_in_the_form_of_each_program(write: Callable[..., bytes]) -> None:
    found = region_files.from_xmp([write([ANNA, BOB])])
    assert read(found) == dict([ANNA, BOB])
    assert found.aside == []


@pytest.mark.parametrize("write", [xmp_packets.digikam, xmp_packets.exiftool])
def test_the_sides_that_a_region_was_applied_to_are_read(write: Callable[..., bytes]) -> None:
    (region,) = region_files.from_xmp([write([ANNA], (4288, 2848))]).regions
    assert region.applied == (4288, 2848)
    assert region.source == "mwg"


def test_the_name_space_of_areas_may_lack_its_slashes_as_the_guidelines_print_it() -> None:
    data = xmp_packets.digikam([ANNA]).replace(
        b"http://ns.adobe.com/xmp/sType/Area#", b"http:ns.adobe.com/xmp/sType/Area#"
    )
    assert read(region_files.from_xmp([data])) == {"Anna": ANNA[1]}


def test_picasas_file_names_photos_faces_and_contacts() -> None:
    found = region_files.from_picasa(
        xmp_packets.picasa_ini({"a.jpg": [ANNA, BOB], "b.jpg": [("Anna", (0, 0, 0.5, 0.5))]})
    )
    assert [(each.photo, each.name) for each in found.regions] == [
        ("a.jpg", "Anna"),
        ("a.jpg", BOB[0]),
        ("b.jpg", "Anna"),
    ]
    assert found.regions[0].area == pytest.approx(ANNA[1], abs=2e-5)
    assert found.regions[2].area == pytest.approx((0, 0, 0.5, 0.5), abs=2e-5)


def test_picasas_unknown_faces_are_nothing_and_unnamed_contacts_are_told() -> None:
    faces = b"faces=rect64(1fff),ffffffffffffffff;rect64(2fff),ab"
    found = region_files.from_picasa(b"\xef\xbb\xbf[Contacts]\r\nab=someone_lh,cd\r\n[a.jpg]\r\n" + faces)
    assert found.regions == []
    assert found.aside == ["a face of a contact that is not named in it"]


def test_names_without_places() -> None:
    names = {"people": [{"name": "Anna"}, {"name": "  "}, {"nom": 1}, 3, {"name": 4}]}
    assert read(region_files.from_takeout(json.dumps(names).encode())) == {"Anna": ()}
    person = '<rdf:li><rdf:Description MPReg:PersonDisplayName="Anna"/></rdf:li>'
    inside = f"<MPRI:Regions><rdf:Bag>{person}</rdf:Bag></MPRI:Regions>"
    inside = f"<MP:RegionInfo><rdf:Description>{inside}</rdf:Description></MP:RegionInfo>"
    assert read(region_files.from_xmp([packet(inside)])) == {"Anna": ()}


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b'{"people": 3}', b"[" * 100_000])
def test_json_that_is_no_takeout_has_no_names(data: bytes) -> None:
    assert region_files.from_takeout(data).regions == []


def mwg(inside: str, applied: str = "") -> bytes:
    return packet(
        f'<mwg-rs:Regions rdf:parseType="Resource">{applied}<mwg-rs:RegionList><rdf:Bag>{inside}</rdf:Bag>'
        "</mwg-rs:RegionList></mwg-rs:Regions>"
    )


def entry(area: str, more: str = "", name: str = "Anna") -> str:
    return f'<rdf:li><rdf:Description mwg-rs:Name="{name}" {more}><mwg-rs:Area {area}/></rdf:Description></rdf:li>'


SIDES = '<mwg-rs:AppliedToDimensions stDim:w="400" stDim:h="200" stDim:unit="pixel"/>'


@pytest.mark.parametrize(
    ("area", "expected"),
    [
        ('stArea:x="0.5" stArea:y="0.5" stArea:d="0.5" stArea:unit="normalized"', (0.375, 0.25, 0.25, 0.5)),
        ('stArea:x="200" stArea:y="50" stArea:w="40" stArea:h="20" stArea:unit="pixel"', (0.45, 0.2, 0.1, 0.1)),
        ('stArea:x="0.25" stArea:y="0.75" stArea:unit="normalized"', (0.25, 0.75, 0.0, 0.0)),
        ('stArea:x="0" stArea:y="1" stArea:w="0.2" stArea:h="0.2"', (0.0, 0.9, 0.1, 0.1)),
    ],
    ids=["circle", "pixels", "point", "over the edge"],
)
def test_other_shapes_and_units(area: str, expected: tuple[float, ...]) -> None:
    found = region_files.from_xmp([mwg(entry(area), SIDES)])
    assert read(found) == {"Anna": expected}


@pytest.mark.parametrize(
    ("area", "reason"),
    [
        ('stArea:x="nan" stArea:y="0.5" stArea:w="0.1" stArea:h="0.1"', "whose place is no number"),
        ('stArea:x="inf" stArea:y="0.5" stArea:w="0.1" stArea:h="0.1"', "whose place is no number"),
        ('stArea:x="0.5" stArea:y="0.5" stArea:w="1e999" stArea:h="0.1"', "whose place is no number"),
        ('stArea:x="a" stArea:y="0.5" stArea:w="0.1" stArea:h="0.1"', "whose place is no number"),
        ('stArea:x="0.5" stArea:y="0.5" stArea:w="-0.1" stArea:h="0.1"', "with a negative side"),
        ('stArea:x="1.5" stArea:y="0.5" stArea:w="0.1" stArea:h="0.1"', "does not lie on the picture"),
        ('stArea:x="0.5" stArea:y="-3" stArea:w="0.1" stArea:h="0.1"', "does not lie on the picture"),
        ('stArea:x="0.5" stArea:y="0.5" stArea:w="9" stArea:h="0.1"', "does not lie on the picture"),
        ('stArea:x="50" stArea:y="50" stArea:w="9" stArea:h="9" stArea:unit="pixel"', "whose sides are not said"),
        ('stArea:w="0.1" stArea:h="0.1"', "without a place"),
    ],
)
def test_a_region_that_makes_no_sense_is_left_out_alone(area: str, reason: str) -> None:
    good = entry('stArea:x="0.5" stArea:y="0.5" stArea:w="0.1" stArea:h="0.1"', name="Bob")
    found = region_files.from_xmp([mwg(entry(area) + good)])
    assert list(read(found)) == ["Bob"]
    assert len(found.aside) == 1
    assert reason in found.aside[0]


@pytest.mark.parametrize("kind", ["Pet", "Focus", "BarCode"])
def test_what_is_no_face_or_has_no_name_is_nothing(kind: str) -> None:
    area = 'stArea:x="0.5" stArea:y="0.5" stArea:w="0.1" stArea:h="0.1"'
    found = region_files.from_xmp([mwg(entry(area, f'mwg-rs:Type="{kind}"') + entry(area, name=" "))])
    assert (found.regions, found.aside) == ([], [])


LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    "hostile",
    [
        f'<!DOCTYPE x [<!ENTITY a0 "ha">{LAUGHS}]><x>&a9;</x>'.encode(),
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
        b'<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd"><x/>',
        b"<x>" * 50_000,
        b"<x/>" * (packets.MOST_ELEMENTS + 1),
        b"<x>" + b" " * packets.MOST_BYTES + b"</x>",
        b'<?xml version="1.0" encoding="utf-99"?><x/>',
        b"\xff\xfe\x00",
        b"",
        b"no xml",
    ],
    ids=["laughs", "file", "dtd", "deep", "many", "huge", "encoding", "utf-16", "empty", "text"],
)
def test_a_hostile_packet_is_set_aside_and_stops_nothing(hostile: bytes) -> None:
    found = region_files.from_xmp([hostile, xmp_packets.digikam([ANNA])])
    assert list(read(found)) == ["Anna"]
    assert len(found.aside) == 1
    assert "XMP" in found.aside[0]


def test_regions_and_names_are_limited() -> None:
    many = [(f"n{number}", (0.1, 0.1, 0.1, 0.1)) for number in range(200)]
    found = region_files.from_picasa(xmp_packets.picasa_ini({f"{photo}.jpg": many for photo in range(60)}))
    assert len(found.regions) == regions.MOST
    assert found.aside == ["it has more regions than are read"]
    found = region_files.from_xmp([xmp_packets.digikam([("x" * 201, ANNA[1]), ANNA])])
    assert list(read(found)) == ["Anna"]
    assert found.aside == ["a name of more than 200 characters"]


def test_names_are_cleaned() -> None:
    assert clean_name("  Anna\n\tMaria\u202e \x00") == "Anna Maria"
    assert clean_name("Ame\u0301lie") == "Am\u00e9lie"


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_region_turns_as_its_picture_does(orientation: int) -> None:
    stored = Image.new("L", (80, 40))
    area = Area(0.1, 0.25, 0.3, 0.5)
    stored.paste(255, (8, 10, 32, 30))
    shown = stored if orientation == 1 else stored.transpose(TRANSPOSITIONS[orientation])
    left, top, right, bottom = shown.getbbox() or ()
    expected = left / shown.width, top / shown.height, (right - left) / shown.width, (bottom - top) / shown.height
    assert upright(area, orientation) == pytest.approx(expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_sides_decide_whether_a_region_lies_on_the_stored_or_on_the_shown_picture(orientation: int) -> None:
    area = Area(0.1, 0.2, 0.3, 0.1)
    sideways = orientation > 4
    width, height = (3000, 4000) if sideways else (4000, 3000)
    stored = readings(Region("Anna", "mwg", area, (1600, 1200)), width, height, orientation)
    assert stored[0] == upright(area, orientation)
    assert len(stored) == (1 if sideways or orientation == 1 else 2)
    if sideways:
        assert readings(Region("Anna", "mwg", area, (1200, 1600)), width, height, orientation) == (area,)


def test_without_sides_and_on_a_square_the_guidelines_come_first_and_the_faces_decide() -> None:
    area = Area(0.1, 0.2, 0.3, 0.1)
    both = (upright(area, 6), area)
    assert readings(Region("Anna", "picasa", area), 3000, 4000, 6) == both
    assert readings(Region("Anna", "mwg", area, (500, 500)), 1000, 1000, 6) == both
    assert readings(Region("Anna", "mwg", area, (5000, 500)), 3000, 4000, 6) == both
    assert readings(Region("Anna", "takeout", None), 3000, 4000, 6) == ()


# Packets in a JPEG


def jpeg(**options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", **options)
    return file.getvalue()


def app1(content: bytes) -> bytes:
    return b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content


def test_the_packet_of_a_jpeg_is_found_after_other_segments() -> None:
    found = packets.jpeg_packets(io.BytesIO(jpeg(xmp=xmp_packets.digikam([ANNA]), exif=b"Exif\0\0" + bytes(20))))
    assert read(region_files.from_xmp(found)) == {"Anna": ANNA[1]}


@given(st.permutations(range(4)), st.integers(0, 3))
def test_extended_xmp_is_put_together_in_any_order_and_left_out_where_a_part_is_missing(
    order: list[int], missing: int
) -> None:
    whole = xmp_packets.exiftool([ANNA, BOB])
    digest, size = b"0" * 32, len(whole) // 4 + 1
    parts = [
        app1(
            b"http://ns.adobe.com/xmp/extension/\0"
            + digest
            + len(whole).to_bytes(4, "big")
            + (at * size).to_bytes(4, "big")
            + whole[at * size : (at + 1) * size]
        )
        for at in range(4)
    ]
    plain = jpeg()
    complete = plain[:2] + b"".join(parts[at] for at in order) + plain[2:]
    assert read(region_files.from_xmp(packets.jpeg_packets(io.BytesIO(complete)))) == dict([ANNA, BOB])
    cut = plain[:2] + b"".join(parts[at] for at in order if at != missing) + plain[2:]
    assert packets.jpeg_packets(io.BytesIO(cut)) == []


@given(st.binary(max_size=300))
def test_no_bytes_make_the_search_for_packets_fail(data: bytes) -> None:
    packets.jpeg_packets(io.BytesIO(b"\xff\xd8" + data))
    region_files.from_picasa(data)
    region_files.from_takeout(data)
    region_files.from_xmp([data])


@given(st.integers(1, 8), st.tuples(*[st.floats(0, 1)] * 4))
def test_turning_keeps_an_area_on_the_picture(orientation: int, corner: tuple[float, ...]) -> None:
    x, y, w, h = corner
    area = upright(Area(x * (1 - w), y * (1 - h), w, h), orientation)
    assert np.all(np.array(area) >= -1e-9)
    assert area.x + area.w <= 1 + 1e-9
    assert area.y + area.h <= 1 + 1e-9


@pytest.mark.parametrize("length", [1, 25, 200])
def test_the_longest_answer_about_a_file_is_one_that_the_daemon_takes(length: int) -> None:
    faces = "".join(f"[{chr(0x1F600) * 4}{number}.jpg]\nfaces=rect64(1fff2fff3fff4fff),1\n" for number in range(10_500))
    found = region_files.from_picasa(f"[Contacts2]\n1={chr(0x1F600) * length};;\n{faces}".encode())
    data = json.dumps({"named": found.named._asdict()}).encode()
    assert found.aside == ["it has more regions than are read"]
    assert len(data) < validation.MOST_JSON
    assert validation.named(json.loads(data)["named"], regions.PICASA) == found.named
