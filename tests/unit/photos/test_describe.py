"""What the headers of a photo say: its size, its orientation and its date, in each format, without decoding it."""

from __future__ import annotations

import io
import struct
import time
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from facewatchd.errors import TooLargeError, UnreadablePhotoError
from facewatchd.photos import decode, describe, xmp
from facewatchd.photos.samples import SPECIMENS
from facewatchd.values import TakenFrom
from tests.support import samples

pytestmark = pytest.mark.filterwarnings(r"ignore:::(PIL|pillow_heif)\b")

FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"]
PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{}</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
AS_ATTRIBUTE = PACKET.format(
    '<rdf:Description xmlns:p="http://ns.adobe.com/photoshop/1.0/" p:DateCreated="2018-05-04T03:02:01+01:00"/>'
)
AS_ELEMENT = PACKET.format(
    '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/">'
    "<xmp:CreateDate>2018-05-04T03:02:01+01:00</xmp:CreateDate></rdf:Description>"
)


def exif_of(**tags: Any) -> Image.Exif:
    made = Image.Exif()
    made[0x0132] = tags.get("changed", "2021:01:01 00:00:01")
    if "orientation" in tags:
        made[0x0112] = tags["orientation"]
    inner = made.get_ifd(0x8769)
    if "taken" in tags:
        inner.update({0x9003: tags["taken"], 0x9011: "+02:00", 0x9291: "25"})
    return made


def saved(name: str, exif: Image.Exif | None = None, packet: str = "", size: tuple[int, int] = (48, 32)) -> bytes:
    file, options = io.BytesIO(), dict[str, Any]()
    if exif is not None:
        options["exif"] = exif.tobytes()
    if packet and name == "PNG":
        options["pnginfo"] = info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet, zip=len(packet) % 2 == 0)
    elif packet and name == "TIFF":
        exif = exif or Image.Exif()
        exif[700] = packet.encode()
        options["exif"] = exif.tobytes()
    elif packet:
        options["xmp"] = packet.encode()
    Image.linear_gradient("L").resize(size).convert("RGB").save(file, name, **options)
    return file.getvalue()


def date(data: bytes) -> str | None:
    found = describe.taken_in(io.BytesIO(data))
    return None if found is None else f"{found.text} {found.source}"


@pytest.mark.parametrize("name", FORMATS)
def test_the_date_in_each_format(name: str) -> None:
    taken = exif_of(taken="2019:06:30 12:00:00")
    assert date(saved(name, taken)) == "2019-06-30T12:00:00+02:00 exif"
    assert date(saved(name, taken, AS_ATTRIBUTE)) == "2019-06-30T12:00:00+02:00 exif"
    assert date(saved(name, exif_of(), AS_ATTRIBUTE)) == "2018-05-04T03:02:01+01:00 xmp"
    assert date(saved(name, None, AS_ELEMENT)) == "2018-05-04T03:02:01+01:00 xmp"
    assert date(saved(name, exif_of())) == "2021-01-01T00:00:01 exif-modified"
    assert date(saved(name)) is None


@pytest.mark.parametrize(
    ("name", "orientation"),
    [*((name, orientation) for name in FORMATS for orientation in (None, *range(1, 9))), ("BMP", None), ("GIF", None)],
)
def test_the_size_is_that_of_the_decoded_photo(name: str, orientation: int | None) -> None:
    data = saved(name, None if orientation is None else exif_of(orientation=orientation))
    found = describe.describe(io.BytesIO(data))
    assert (found.height, found.width) == decode.decode(io.BytesIO(data)).shape[:2]
    assert found.orientation == (orientation or 1 if name not in ("AVIF", "HEIF") else found.orientation)


@pytest.mark.parametrize("name", SPECIMENS)
def test_the_size_of_the_specimens(name: str) -> None:
    found = describe.describe(io.BytesIO(SPECIMENS[name]))
    assert (found.width, found.height, found.taken) == (16, 16, None)


@samples.needs_shared
def test_the_size_of_what_users_have() -> None:
    seen = 0
    for path in sorted(samples.PHOTOS.parent.glob("inputs/*")):
        try:
            height, width = decode.decode(io.BytesIO(path.read_bytes())).shape[:2]
        except UnreadablePhotoError:
            continue
        if path.name not in ("tiff_face_on_page_2.tif",):  # of which the first page is described
            found = describe.describe(io.BytesIO(path.read_bytes()))
            assert (found.width, found.height) == (width, height), path.name
            seen += 1
    assert seen > 15


@pytest.mark.parametrize(
    ("name", "before", "after", "value"),
    [
        ("JPEG", b"\xff\xc0\0\x11\x08", 0, struct.pack(">HH", 40_000, 40_000)),
        ("PNG", b"IHDR", 0, struct.pack(">II", 40_000, 40_000)),
        ("WEBP", b"VP8 ", 10, struct.pack("<HH", 16_383, 16_383)),
    ],
)
def test_a_size_above_the_limit_is_said_to_be(name: str, before: bytes, after: int, value: bytes) -> None:
    data = bytearray(saved(name))
    at = data.index(before) + len(before) + after
    data[at : at + len(value)] = value
    with pytest.raises(TooLargeError):
        describe.describe(io.BytesIO(bytes(data)))


def test_metadata_behind_the_pixels_of_a_png() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    plain, taken = saved("PNG"), exif_of(taken="2019:06:30 12:00:00").tobytes()
    tail = plain.index(b"IEND") - 4
    for more in (
        chunk(b"eXIf", taken[6:]),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n%8d\n" % len(taken) + taken.hex().encode()),
        chunk(
            b"zTXt",
            b"Raw profile type APP1\0\0" + zlib.compress(b"\ngeneric\n%8d\n" % len(taken) + taken.hex().encode()),
        ),
    ):
        assert date(plain[:tail] + more + plain[tail:]) == "2019-06-30T12:00:00+02:00 exif"


def test_hostile_headers_take_no_longer_than_others() -> None:
    """Directories that lead to directories, texts that inflate, and segments of nothing: each would take minutes."""
    entries = 4000
    entry = struct.pack("<HHII", 0x8769, 4, 1, 8)
    tags = b"II*\0" + struct.pack("<IH", 8, entries) + entry * entries
    text = b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(20_000_000))
    bombs = b"".join(struct.pack(">I", len(text[1])) + text[0] + text[1] + bytes(4) for _ in range(400))
    plain = saved("PNG")
    files = [tags, plain[:33] + bombs + plain[33:], b"\xff\xd8\xff\xe0\0\2" + b"x\xff\xe1\0\2" * 200_000]
    began = time.process_time()
    for data in files:
        assert date(data) is None
    assert time.process_time() - began < 5


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\n", b"\xff\xd8"])
def test_an_irregular_jpeg_has_its_date(before: bytes) -> None:
    data = saved("JPEG", exif_of(taken="2019:06:30 12:00:00"))
    assert date(before + data) == "2019-06-30T12:00:00+02:00 exif"
    assert date(data[:20] + b"garbage" + data[20:]) == "2019-06-30T12:00:00+02:00 exif"


def test_tags_of_any_text_type_and_of_another_are_read_or_passed_over() -> None:
    taken = exif_of(taken="2019:06:30 12:00:00").tobytes()[6:]
    order = "<" if taken[:2] == b"II" else ">"
    text = struct.pack(f"{order}HHI", 0x9003, 2, 20)
    assert taken.count(text) == 1
    for kind, expected in ((7, TakenFrom.EXIF), (1, TakenFrom.EXIF), (5, TakenFrom.EXIF_MODIFIED)):
        odd = taken.replace(text, struct.pack(f"{order}HHI", 0x9003, kind, 20))
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, "JPEG", exif=b"Exif\0\0" + odd)
        found = describe.taken_in(file)
        assert found is not None
        assert found.source is expected


def test_what_is_no_packet_has_no_values() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa">]>' + AS_ELEMENT.replace("2018", "&a;")
    for packet in (b"", b"<", b"\xff\xfe", bomb.encode(), b"<x/>", b"\0" * 100, b"<x>" * 10**5):
        assert xmp.values([packet], ["xmp:CreateDate"]) == {}
    assert xmp.values([AS_ELEMENT.encode("utf-16")], ["xmp:CreateDate"]) == {
        "xmp:CreateDate": "2018-05-04T03:02:01+01:00"
    }


def test_a_history_beside_the_picture_says_nothing_of_it() -> None:
    nested = PACKET.format(
        '<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:m="http://ns.adobe.com/xap/1.0/mm/">'
        '<m:DerivedFrom><rdf:Description xmp:CreateDate="2001-01-01"/></m:DerivedFrom></rdf:Description>'
    )
    assert xmp.values([nested.encode()], ["xmp:CreateDate"]) == {}


@pytest.mark.parametrize("name", FORMATS)
def test_whatever_bytes_there_are_there_is_a_date_or_none(name: str) -> None:
    good = saved(name, exif_of(taken="2019:06:30 12:00:00"), AS_ELEMENT)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(st.tuples(st.integers(0, min(len(good), 2000) - 1), st.integers(0, 255)), max_size=12),
        st.integers(0, len(good)),
    )
    def check(replacements: list[tuple[int, int]], length: int) -> None:
        data = bytearray(good)
        for at, value in replacements:
            data[at] = value
        file = io.BytesIO(bytes(data[:length]))
        describe.taken_in(file)
        try:
            found = describe.describe(file)
        except UnreadablePhotoError:
            return
        assert found.width > 0
        assert found.height > 0
        assert 1 <= found.orientation <= 8

    check()
