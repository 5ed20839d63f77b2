"""Bars of years, pages of lists, and words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewatchd.page.paging import pages
from facewatchd.page.wording import day, isolated, years
from facewatchd.page.years import HIGH, LEAST, Bar, bars, is_year, span
from facewatchd.text import listed


def year(number: int, photos: int) -> dict[str, Any]:
    return {"year": number, "photos": photos}


def test_every_year_between_has_a_place() -> None:
    assert bars([]) == []
    assert bars([year(2011, 12), year(2013, 6)]) == [Bar("2011", 12, 100), Bar("2012", 0, 0), Bar("2013", 6, 50)]


def test_a_year_of_which_only_files_tell_is_drawn_and_is_no_year_of_a_person() -> None:
    found = [year(2011, 2), {"year": 2013, "photos": 3, "file_dates": 1}, {"year": 2026, "photos": 5, "file_dates": 5}]
    assert [bar.year for bar in bars(found) if bar.is_of_files] == ["2026"]
    assert span(found) == ("2011", "2013")
    assert span(found[2:]) == span([]) == (None, None)


def test_one_photo_is_seen_beside_ten_thousand_and_a_wrong_clock_draws_no_century() -> None:
    found = bars([year(1904, 1), year(2011, 10_000)])
    assert found == [Bar("1904", 1, LEAST), Bar("", 0, 0), Bar("2011", 10_000, HIGH)]


@given(st.dictionaries(st.integers(1, 9999), st.integers(1, 10**6), max_size=20))
def test_bars_are_in_order_and_lose_no_photo(counts: dict[int, int]) -> None:
    found = bars([year(*each) for each in sorted(counts.items())])
    assert {int(each.year): each.photos for each in found if each.photos} == counts
    assert [each.year for each in found if each.year] == sorted(each.year for each in found if each.year)
    assert all(LEAST <= each.height <= HIGH for each in found if each.photos)
    assert len(found) <= 16 * max(1, len(counts))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2019", True), ("0000", False), ("19", False), ("20190", False), ("\uff12\uff10\uff11\uff19", False)],
)
def test_what_is_a_year(text: str, expected: bool) -> None:
    assert is_year(text) is expected


@given(st.integers(0, 300), st.integers(1, 60), st.integers(0, 300))
def test_pages_lead_over_the_whole_list_and_back(skip: int, size: int, total: int) -> None:
    page = pages(skip, size, total)
    assert 0 <= page.shown <= size
    assert (page.after is not None) == (skip + size < total)
    assert (page.before is None) == (skip == 0)
    if page.before is not None:
        assert page.before < skip


def test_words() -> None:
    assert [years(*each) for each in ((None, None), ("2011-01-01", None), ("2011-01-01", "2019-02-03"))] == [
        "",
        "2011",
        "2011–2019",  # noqa: RUF001 - between years
    ]
    assert [day(each) for each in (None, "", "2019-06-30T12:00:00+02:00", "0000-00-00", "x")] == [
        "",
        "",
        "30 June 2019",
        "",
        "",
    ]
    assert [listed(each) for each in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert isolated("Anna") == "\u2068Anna\u2069"
