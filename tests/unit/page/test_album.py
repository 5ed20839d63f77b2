"""Which questions become albums, and how the command is asked."""

from __future__ import annotations

import pytest

from facewatchd.client.album import MOST_MATCHES
from facewatchd.errors import UsageError
from facewatchd.page.album import arguments
from facewatchd.page.question import Question
from tests.support.answers import MARKUP
from tests.support.pages import ToldDaemon, browser


def test_no_name_is_taken_for_an_option() -> None:
    asked = Question(who=("@--help", "face:7"), with_=("@-x",), without=(f"@{MARKUP}",), since="2019", sort="-date")
    given = arguments(asked)
    end = given.index("--")
    assert given[end + 1 :] == ["@--help", "face:7"]
    assert given[:end] == [
        "--with=@-x",
        f"--without=@{MARKUP}",
        "--since=2019",
        "--sort=-date",
        f"--top={MOST_MATCHES}",
    ]


@pytest.mark.parametrize("who", ["/etc/passwd", "photo:abc#0", "a.jpg#1", "-", "face:x", "@"])
def test_nothing_is_read_by_a_path(who: str) -> None:
    daemon = ToldDaemon()
    for asked in (
        Question(who=(who,)),
        Question(who=("@Anna",), with_=(who,)),
        Question(who=("@Anna",), without=(who,)),
    ):
        with pytest.raises(UsageError, match="people with names"):
            arguments(asked)
    with browser(daemon) as client:
        assert client.get("/album", params={"who": who}).status_code == 400
    assert daemon.asked == []


def test_an_empty_album_is_not_made() -> None:
    with browser(ToldDaemon(query={"total": 0})) as client:
        reply = client.get("/album?who=%40Anna")
        assert (reply.status_code, "No photo would be in this album" in reply.text) == (400, True)
