"""What is said of photos of other machines."""

from __future__ import annotations

import pytest

from facewatchd.client.hosts import numbers
from facewatchd.matches import Match, Place


def on(*hosts: str) -> list[Match]:
    """Photos at one path."""
    return [Match(b"/a.jpg", 0.5, None, None, None, host=host) for host in hosts]


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        ([], ""),
        (["", ""], ""),
        (["nas", "", "nas", "laptop"], "2 on nas and 1 on laptop"),
        (["b", "a", "c"], "1 on a, 1 on b and 1 on c"),
        (["a\x1b[2J\u202e"], "1 on a\\x1b[2J\\u202e"),
        ([f"m{number:02}" for number in range(20)], ", ".join(f"1 on m{n:02}" for n in range(6))
            + " and 14 on 14 more machines"),
    ],
)  # fmt: skip
def test_how_many_lie_on_which_machine(hosts: list[str], words: str) -> None:
    assert numbers(on(*hosts)) == words


def test_a_photo_that_is_here_too_is_here() -> None:
    (match,) = on("")
    assert numbers([match._replace(elsewhere=(Place("nas", b"/a.jpg"),))]) == ""
