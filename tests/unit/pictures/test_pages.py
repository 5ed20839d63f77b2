"""Pages: lengths in millimetres, and the colours of the look that all pictures share."""

from __future__ import annotations

import re
from pathlib import Path

from facewatchd import pictures
from facewatchd.pictures import pages


def test_the_colours_are_those_of_the_stylesheet() -> None:
    text = Path(pictures.__file__).with_name("look.css").read_text(encoding="utf-8")
    light = dict(re.findall(r"--([\w-]+): (#\w{6});", text[: text.index("@media")]))
    for word, (ink, ground) in pages.BADGES.items():
        assert (ink, ground) == (light[word], light[f"{word}-ground"])
    assert tuple(light[name] for name in ("ink", "faint", "line", "sunken", "edge")) == (
        pages.INK,
        pages.FAINT,
        pages.LINE,
        pages.EMPTY,
        pages.EDGE,
    )


def test_a_page_is_as_large_as_its_paper_at_each_resolution() -> None:
    for dpi, size in ((150, (1240, 1754)), (200, (1654, 2339))):
        page = pages.Page(*pages.A4, dpi)
        assert page.image.size == size
        length = page.write("Anna", 10, 20, 5)
        assert abs(page.words[0].length - length * dpi / 25.4) < 0.01
        ends = page.write("Anna", 100, 20, 5, to_right=True)
        assert abs(page.words[1].left + ends * dpi / 25.4 - page.pixels(100)) <= 1
        cut = page.write("a name that is too long", 10, 30, 5, width=20)
        assert cut <= 20
        assert page.words[2].text == "a name that is too long"
