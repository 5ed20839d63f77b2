"""The stylesheet that the page and the album share: its colours can be read, and it asks for nothing from elsewhere."""

from __future__ import annotations

import re
from importlib import resources

import pytest

LOOK = resources.files("facewatchd.pictures").joinpath("look.css").read_text()
TEXT = 4.5
EDGE = 3.0
PAIRS = [
    *((ink, ground, TEXT) for ink in ("ink", "faint", "accent") for ground in ("ground", "raised")),
    ("ink", "sunken", TEXT),
    ("faint", "sunken", TEXT),
    ("on-accent", "accent", TEXT),
    *((word, f"{word}-ground", TEXT) for word in ("confirmed", "sure", "likely", "look")),
    *((edge, ground, EDGE) for edge in ("edge", "focus") for ground in ("ground", "raised")),
]


def colours(scheme: str) -> dict[str, str]:
    """The custom properties that are colours, as they count in a scheme."""
    usual, dark = re.findall(r":root \{(.*?)\}", LOOK, re.DOTALL)[:2]
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", usual))
    return found | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark)) if scheme == "dark" else found


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_computed_as_defined() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "ground", "least"), PAIRS)
def test_colours_have_the_contrast_that_they_need(scheme: str, ink: str, ground: str, least: float) -> None:
    known = colours(scheme)
    assert contrast(known[ink], known[ground]) >= least


def test_the_dark_scheme_names_every_colour() -> None:
    usual, dark = re.findall(r":root \{(.*?)\}", LOOK, re.DOTALL)[:2]
    assert set(re.findall(r"--([\w-]+): #", usual)) == set(re.findall(r"--([\w-]+): #", dark))


def test_nothing_is_fetched() -> None:
    assert "url(" not in LOOK
    assert "@import" not in LOOK
