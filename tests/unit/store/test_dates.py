"""When contents were taken, the time that is asked for, and the order of results by it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewatchd.store.catalog import Outcome
from facewatchd.store.dates import Period
from facewatchd.store.gallery import Gallery
from facewatchd.store.scoring import Search, Sort
from facewatchd.values import Stamp, Taken, TakenFrom
from tests.support.galleries import DIM, face, nearest, unit

ROWS = unit(np.random.default_rng(4).normal(size=(1, DIM)))


@pytest.fixture
def berlin() -> Iterator[None]:
    """Local time is that of Berlin."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    del os.environ["TZ"]
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def at(text: str) -> float:
    return float(np.datetime64(text, "s").astype(np.int64))


def taken(text: str, source: TakenFrom = TakenFrom.EXIF, offset: int | None = None) -> Taken:
    return Taken(at(text), offset, source)


def add(gallery: Gallery, path: str, date: Taken | None = None, written: str = "2020-01-01T00:00:00") -> None:
    """A photo of the one person, last written to at a moment in UTC."""
    stamp = Stamp(1, hash(path) % 1000, 100, int(at(written)) * 10**9, 1)
    digest = path.encode().ljust(32)[:32]
    gallery.record([Outcome(path.encode(), stamp, digest, 640, 480, [face(ROWS[0])], taken=date)])


def ask(gallery: Gallery, **search: object) -> list[str]:
    """The results, by path."""
    found = nearest(gallery, ROWS[0], Search(0.5, **search))  # type: ignore[arg-type]
    return [match.path.decode() for match in found.matches]


@pytest.mark.usefixtures("berlin")
def test_the_date_of_a_content_and_what_says_so(gallery: Gallery) -> None:
    add(gallery, "/p/20010101_000001.jpg", taken("2019-06-30T12:00:00", offset=120))
    add(gallery, "/p/20020202_000001.jpg", taken("2019-06-30T12:00:00", TakenFrom.XMP))
    add(gallery, "/p/IMG_20180504_030201.jpg", taken("2019-06-30T12:00:00", TakenFrom.EXIF_MODIFIED))
    add(gallery, "/p/a", taken("2017-06-30T12:00:00", TakenFrom.EXIF_MODIFIED))
    add(gallery, "/p/b", written="2016-07-01T10:00:00")
    add(gallery, "/p/c", written="2016-01-01T10:00:00")
    add(gallery, "/p/d", written="1901-01-01T00:00:00")
    found = nearest(gallery, ROWS[0], Search(0.5, sort=Sort.PATH, collapse=False))
    assert [(match.path.decode(), match.taken, match.taken_from) for match in found.matches] == [
        ("/p/20010101_000001.jpg", "2019-06-30T12:00:00+02:00", "exif"),
        ("/p/20020202_000001.jpg", "2019-06-30T12:00:00", "xmp"),
        ("/p/IMG_20180504_030201.jpg", "2018-05-04T03:02:01", "name"),
        ("/p/a", "2017-06-30T12:00:00", "exif"),
        ("/p/b", "2016-07-01T12:00:00", "mtime"),
        ("/p/c", "2016-01-01T11:00:00", "mtime"),
        ("/p/d", "1901-01-01T01:00:00", "mtime"),
    ]


@pytest.mark.usefixtures("berlin")
def test_of_copies_the_earliest_date_counts(gallery: Gallery) -> None:
    add(gallery, "/p/z", written="2016-07-01T10:00:00")
    copy = Outcome(b"/p/zz", Stamp(1, 5, 100, int(at("2015-07-01T10:00:00")) * 10**9, 1), b"/p/z".ljust(32))
    gallery.record([copy])
    (match,) = nearest(gallery, ROWS[0], Search(0.5)).matches
    assert (match.taken, match.taken_from) == ("2015-07-01T12:00:00", "mtime")
    gallery.record([Outcome(b"/p/IMG-20170203-WA0001.jpg", copy.stamp, copy.digest)])
    gallery.record([Outcome(b"/p/20170201.jpg", copy.stamp, copy.digest)])
    (match,) = nearest(gallery, ROWS[0], Search(0.5, directories=(b"/p/zz",))).matches
    assert (match.taken, match.taken_from) == ("2017-02-01T00:00:00", "name")
    gallery.record([Outcome(b"/p/20170201.jpg", None)])
    (match,) = nearest(gallery, ROWS[0], Search(0.5)).matches
    assert match.taken == "2017-02-03T00:00:00"


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    "kept",
    [
        {"taken": -1e11},
        {"taken": 1e12},
        {"taken_offset": 1440},
        {"taken_offset": -(1 << 40)},
        {"taken_from": "dream"},
        {"taken_from": "mtime"},
        {"picture": b"short"},
        {"picture": b""},
    ],
)
def test_a_kept_value_that_cannot_be_counts_as_not_known(gallery: Gallery, kept: dict[str, object]) -> None:
    for name in "ab":
        add(gallery, f"/p/{name}", taken("2019-06-30T12:00:00"), written="2016-07-01T10:00:00")
    columns = ", ".join(f"{column} = ?" for column in kept)
    gallery.catalog._db.execute(f"UPDATE content SET {columns}", tuple(kept.values()))
    for sort in Sort:
        found = nearest(gallery, ROWS[0], Search(0.5, sort=sort, same_face=0.99))
        assert sum(1 + len(match.similar) for match in found.matches) == 2
    assert "picture" in kept or [match.taken for match in found.matches] == ["2016-07-01T12:00:00"] * 2
    with gallery.catalog.reading() as reader:
        contents, _ = reader.embedded(0, 2)
    assert all(content.picture is None for content in contents)
    assert [content.is_dated for content in contents] == ["picture" in kept] * 2, "to be read again"


def test_results_by_date_and_by_path_are_cut_after_they_are_ordered(gallery: Gallery) -> None:
    for path, day in (("/p/c", "03"), ("/p/a", "02"), ("/p/b", "01"), ("/p/d", "04")):
        add(gallery, path, taken(f"2019-06-{day}T12:00:00"))
    gallery.record([Outcome(b"/p/aa", Stamp(1, 5, 100, 1, 1), b"/p/d".ljust(32))])
    assert ask(gallery, sort=Sort.DATE, top=3) == ["/p/b", "/p/a", "/p/c"]
    assert ask(gallery, sort=Sort.LATEST, top=2) == ["/p/d", "/p/c"]
    assert ask(gallery, sort=Sort.PATH, top=3) == ["/p/a", "/p/b", "/p/c"]
    assert ask(gallery, sort=Sort.PATH, top=3, collapse=False) == ["/p/a", "/p/aa", "/p/b"]
    assert ask(gallery, sort=Sort.LATEST, top=3, collapse=False) == ["/p/d", "/p/aa", "/p/c"]
    assert nearest(gallery, ROWS[0], Search(0.5, top=1, sort=Sort.DATE)).total == 4


def test_the_time_that_is_asked_for_includes_its_last_second(gallery: Gallery) -> None:
    moments = ["2018-12-31T23:59:59", "2019-01-01T00:00:00", "2019-06-30T23:59:59", "2019-07-01T00:00:00"]
    for moment in moments:
        add(gallery, f"/p/{moment}", taken(moment))
    add(gallery, "/p/last", Taken(at("2019-06-30T23:59:59") + 0.99, None, TakenFrom.EXIF))

    def within(since: str | None, until: str | None) -> list[str]:
        paths = ask(
            gallery,
            since=None if since is None else Period.of(since).begin,
            until=None if until is None else Period.of(until).end,
            sort=Sort.DATE,
            collapse=False,
        )
        return [path.removeprefix("/p/") for path in paths]

    assert within("2019", None) == [*moments[1:3], "last", moments[3]]
    assert within("2019", "2019") == [*moments[1:3], "last", moments[3]]
    assert within("2019-06", "2019-06-30") == [moments[2], "last"]
    assert within(None, "2018") == moments[:1]
    assert within("2019-07-01", "2019-07-01") == moments[3:]
    assert within("2020", None) == []


@pytest.mark.parametrize(
    "text", ["", "19", "2019-13", "2019-00", "2019-02-29", "2019-6", "0000", "2019-06-31", "2019-06-30T12:00", "201906"]
)
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - `datetime` words it
        Period.of(text)


@given(st.dates())
def test_a_day_is_in_its_month_and_that_in_its_year(day: object) -> None:
    text = str(day)
    year, month, whole = (Period.of(text[:length]) for length in (4, 7, 10))
    assert year.begin <= month.begin <= whole.begin < whole.end <= month.end <= year.end
    assert whole.end - whole.begin == 86400
