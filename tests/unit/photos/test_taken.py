"""When a photo was taken: dates in EXIF data, in XMP data and in names."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewatchd.photos import taken
from facewatchd.photos.taken import Tags, in_bytes, in_name
from facewatchd.values import Taken, TakenFrom


def text(at: float | None) -> str | None:
    return None if at is None else Taken(at, None, TakenFrom.NAME).text


NOON, DAY = "2019-06-30T12:00:00", "2019-06-30T00:00:00"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("IMG_20190630_120000.jpg", NOON),
        ("IMG_20190630_120000_HDR~2.jpg", NOON),
        ("IMG20190630120000.jpg", NOON),
        ("2019-06-30 12.00.00.jpg", NOON),
        ("2019-06-30 12.00.00-1.jpg", NOON),
        ("PXL_20190630_120000123.MP.jpg", NOON),
        ("VID_20190630_120000.jpg", NOON),
        ("MVIMG_20190630_120000.jpg", NOON),
        ("00100lPORTRAIT_00100_BURST20190630120000123_COVER.jpg", NOON),
        ("20190630_120000(0).jpg", NOON),
        ("DJI_20190630120000_0001.JPG", NOON),
        ("WP_20190630_12_00_00_Pro.jpg", NOON),
        ("Screenshot_2019-06-30-12-00-00.png", NOON),
        ("Screenshot_2019-06-30-12-00-00-123_com.android.chrome.png", NOON),
        ("Screenshot_20190630-120000_Chrome.png", NOON),
        ("Screenshot from 2019-06-30 12-00-00.png", NOON),
        ("Screen Shot 2019-06-30 at 12.00.00 PM.png", NOON),
        ("Screenshot 2019-06-30 at 1.00.00\u202fPM.png", "2019-06-30T13:00:00"),
        ("Screenshot 2019-06-30 at 12.00.01 AM.png", "2019-06-30T00:00:01"),
        ("WhatsApp Image 2019-06-30 at 12.00.00 (1).jpeg", NOON),
        ("signal-2019-06-30-120000.jpg", NOON),
        ("signal-2019-06-30-12-00-00-123.jpg", NOON),
        ("photo_2019-06-30_12-00-00.jpg", NOON),
        ("2019-06-30T12:00:00Z.jpg", NOON),
        ("2019_06_30_12_00_00.jpg", NOON),
        ("IMG-20190630-WA0001.jpg", DAY),
        ("2019-06-30.jpg", DAY),
        ("20190630.jpg", DAY),
        ("2019.06.30_holiday.jpg", DAY),
        ("1965-05-12 wedding.jpg", "1965-05-12T00:00:00"),
        ("IMG_20190630_246000.jpg", DAY),
        ("2019-06-30 13.00.00 PM.jpg", DAY),
        ("2019-06-30 trip, IMG_20190701_120000.jpg", "2019-07-01T12:00:00"),
        ("20191334, and 20190630.jpg", DAY),
        ("+4917620190630.jpg", None),
        ("+49 176 20121130.jpg", None),
        ("0176-20121130.jpg", None),
        ("555-2012-1130.jpg", None),
        ("20191334.jpg", None),
        ("20190631_120000.jpg", None),
        ("2019-02-29.jpg", None),
        ("2019063012.jpg", None),
        ("120190630_120000.jpg", None),
        ("1 20190630_120000.jpg", NOON),
        ("12 (3) 20190630-120000.jpg", NOON),
        ("IMG-0001 20190630_120000.jpg", NOON),
        ("0176-20121130_120000.jpg", "2012-11-30T12:00:00"),
        ("1 20190630.jpg", DAY),
        ("image-1920x1080-20190630.jpg", DAY),
        ("IMG0001 20190630.jpg", DAY),
        ("2018-12-24 20190630.jpg", "2018-12-24T00:00:00"),
        ("+49 (176) 20121130.jpg", None),
        ("tel 12-20121130.jpg", None),
        ("20990630_120000.jpg", None),
        ("IMG_1234.jpg", None),
        ("FB_IMG_1561888800000.jpg", None),
        ("2019-06.jpg", None),
        ("", None),
        ("٢٠١٩٠٦٣٠.jpg", None),
    ],
)
def test_a_date_in_a_name(name: str, expected: str | None) -> None:
    assert text(in_name(f"/2001-01-01/{name}".encode())) == expected


@pytest.mark.parametrize(
    ("name", "has_time"),
    [
        ("IMG_20190630_000000.jpg", True),
        ("Screenshot 2019-06-30 at 12.00.00 AM.png", True),
        ("IMG_20190630_000000500.jpg", True),
        ("IMG-20190630-WA0001.jpg", False),
        ("2019-06-30.jpg", False),
    ],
)
def test_midnight_in_a_name_is_a_time_of_day(name: str, *, has_time: bool) -> None:
    at = in_name(name.encode())
    assert text(at) == DAY
    assert at is not None
    assert Taken(at, None, TakenFrom.NAME).has_time is has_time


def test_midnight_in_the_bytes_is_a_time_of_day() -> None:
    def has_time(tags: Tags, xmp: str = "") -> bool:
        found = in_bytes(tags, {"xmp:CreateDate": xmp})
        assert found is not None
        assert found.text[:19] == DAY
        return found.has_time

    assert has_time(Tags(taken=b"2019:06:30 00:00:00"))
    assert has_time(Tags(taken=b"2019:06:30 00:00:00", fraction_taken=b"25"))
    assert has_time(Tags(), "2019-06-30T00:00:00+02:00")
    assert not has_time(Tags(taken=b"2019:06:30"))
    assert not has_time(Tags(taken=b"2019:06:30", fraction_taken=b"25"))
    assert not has_time(Tags(), "2019-06-30")


def exif(**tags: bytes) -> str | None:
    found = in_bytes(Tags(**tags), {})
    return None if found is None else f"{found.text} {found.source}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"2019:06:30 12:00:00\0", NOON),
        (b"2019:06:30 12:00:00", NOON),
        (b"2019-06-30 12:00:00\0 and more", NOON),
        (b"2019/06/30 12:00:00", NOON),
        (b"2019:06:30T12:00:00", NOON),
        (b"2019: 6:30 12: 0: 0", NOON),
        (b"2019:06:30 12:00", NOON),
        (b"2019:06:30 12:00:00+02:00", f"{NOON}+02:00"),
        (b"2019:06:30 12:00:00.25 Z", f"{NOON}+00:00"),
        (b"2019:06:30", DAY),
        (b"2019:06:30 00:00:00", DAY),
        (b"1850:06:30 12:00:00", "1850-06-30T12:00:00"),
        (b"2000:01:01 00:00:01", "2000-01-01T00:00:01"),
        (b"0000:00:00 00:00:00", None),
        (b"    :  :     :  :  ", None),
        (b"1970:01:01 01:00:00", None),
        (b"1980:01:01 00:00:00", None),
        (b"2000:01:01 00:00:00", None),
        (b"1825:06:30 12:00:00", None),
        (b"2099:06:30 12:00:00", None),
        (b"2019:06:31 12:00:00", None),
        (b"2019:06:30 24:00:00", None),
        (b"2019:06:30 12:60:00", None),
        (b"2019:06:30 12:00:60", None),
        (b"2019:06", None),
        (b"2019", None),
        (b"\xff\xfe\x00", None),
        (b"yesterday", None),
        (b"2019:06:30 12:00:00" + b" " * 100, NOON),
        (b"2019:06:30 12:00:00." + b"1" * 100, None),
        (b"", None),
    ],
)
def test_a_date_in_exif_data(value: bytes, expected: str | None) -> None:
    assert exif(taken=value) == (expected and f"{expected} exif")


def test_a_date_that_is_in_the_future_when_it_is_read_is_none() -> None:
    near, far = (time.strftime("%Y:%m:%d %H:%M:%S", time.gmtime(time.time() + ahead)) for ahead in (3600, 3 * 86400))
    assert exif(taken=near.encode())
    assert exif(taken=far.encode()) is None


def test_the_best_date_counts_with_its_own_offset_and_fraction() -> None:
    dates = {"taken": b"2019:06:30 12:00:00", "digitized": b"2020:01:01 10:00:00", "changed": b"2021:01:01 10:00:00"}
    offsets = {"offset_taken": b"+02:00\0", "offset_digitized": b"-0330", "offset": b"Z"}
    assert exif(**dates, **offsets) == f"{NOON}+02:00 exif"
    assert exif(**dates | {"taken": b"0000:00:00 00:00:00"}, **offsets) == "2020-01-01T10:00:00-03:30 exif"
    assert exif(**dates | {"taken": b"", "digitized": b""}, **offsets) == "2021-01-01T10:00:00+00:00 exif-modified"
    assert exif(**dates, offset=b"+05:45") == f"{NOON}+05:45 exif"
    assert exif(**dates, offset=b"+25:00") == f"{NOON} exif"
    assert exif(**dates, offset=b"+01:99") == f"{NOON} exif"
    found = in_bytes(Tags(taken=b"2019:06:30 12:00:00", fraction_taken=b"25 \0"), {})
    assert found is not None
    assert found.at % 1 == 0.25


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"photoshop:DateCreated": "2019-06-30T12:00:00.25+02:00"}, f"{NOON}+02:00"),
        ({"exif:DateTimeOriginal": "2019-06-30T12:00:00"}, NOON),
        ({"xmp:CreateDate": "2019-06-30T12:00Z"}, f"{NOON}+00:00"),
        ({"xmp:CreateDate": "2019-06-30"}, DAY),
        ({"xmp:CreateDate": "2000"}, "2000-01-01T00:00:00"),
        ({"photoshop:DateCreated": "1965-05"}, "1965-05-01T00:00:00"),
        ({"photoshop:DateCreated": "2019-06-30", "xmp:CreateDate": "2019-06-30T12:00:00"}, NOON),
        ({"photoshop:DateCreated": "2019-06-30", "xmp:CreateDate": "2020-06-30T12:00:00"}, DAY),
        ({"photoshop:DateCreated": "soon", "xmp:CreateDate": "2019-06-30"}, DAY),
        ({"xmp:CreateDate": "2019-13"}, None),
        ({"xmp:CreateDate": "2019-06-30T12:00:00 o'clock"}, None),
        ({"xmp:CreateDate": "2019-06-30T12:00:00" + "0" * 10**6}, None),
        ({}, None),
    ],
)
def test_a_date_in_xmp_data(values: dict[str, str], expected: str | None) -> None:
    found = in_bytes(Tags(), values)
    assert (found and found.text) == expected
    assert found is None or found.source is TakenFrom.XMP


def test_exif_data_go_before_xmp_and_that_before_the_last_change() -> None:
    xmp = {"xmp:CreateDate": "2018-01-01"}
    both = in_bytes(Tags(taken=b"2019:06:30 12:00:00"), xmp)
    changed = in_bytes(Tags(changed=b"2019:06:30 12:00:00"), xmp)
    assert (both and both.source, changed and changed.source) == (TakenFrom.EXIF, TakenFrom.XMP)


ODD = st.one_of(
    st.binary(max_size=80),
    st.from_regex(r"[0-9]{4}[:/ -][0-9 ]{2}[:/ -][0-9 ]{2}[ T][0-9 ]{2}:[0-9 ]{2}:[0-9 ]{2}.*", fullmatch=True).map(
        lambda made: made.encode("utf-8", "surrogatepass")
    ),
)


@given(st.lists(ODD, min_size=9, max_size=9), st.dictionaries(st.sampled_from(taken.XMP_NAMES), st.text(max_size=40)))
def test_whatever_is_there_is_a_possible_date_or_none(tags: list[bytes], xmp: dict[str, str]) -> None:
    found = in_bytes(Tags(*tags), xmp)
    if found is not None:
        assert taken.is_possible(found.at)
        assert found.offset is None or abs(found.offset) <= taken.MOST_OFFSET
        assert len(found.text) in (19, 25)


@given(
    st.one_of(
        st.binary(max_size=300),
        st.from_regex(r"[a-z+ ]*[12][09][0-9]{2}[-_. ]?[0-9]{2}[-_. ]?[0-9]{2}[-_ T]?[0-9]{6,9}( ?[AP]M)?.*").map(
            lambda made: made.encode("utf-8", "surrogatepass")
        ),
    )
)
def test_whatever_a_name_is_it_holds_a_possible_date_or_none(name: bytes) -> None:
    at = in_name(name)
    assert at is None or taken.is_possible(at)
