"""Lines of text: any name can be drawn, and a long one loses its middle."""

from __future__ import annotations

import pytest
from PIL import Image, ImageDraw, ImageFont

from facewatchd.pictures import fonts
from facewatchd.pictures.fonts import Line, Run


def test_long_names_lose_their_middle() -> None:
    assert Line("short.jpg", 13, 200).text == "short.jpg"
    line = Line("IMG_" + "x" * 100 + "_0042.jpg", 13, 200)
    assert line.text.startswith("IMG_")
    assert line.text.endswith("_0042.jpg")
    assert "…" in line.text
    assert line.length <= 200
    cut = Line("IMG_" + "x" * 100 + "_0042.jpg", 13, 200, keep_end=False)
    assert (cut.text[:4], cut.text[-2:], cut.length <= 200) == ("IMG_", "x…", True)


@pytest.mark.parametrize("text", ["", "日本の写真.jpg", "שלום.png", "👩‍🚀.jpg", "é", "\U0010ffff", "a日b"])
def test_any_text_can_be_drawn(text: str) -> None:
    picture = Image.new("RGB", (300, 60), "white")
    line = Line(text, 20)
    line.draw(ImageDraw.Draw(picture), (10, 40), "black")
    assert line.length <= 280
    assert (picture.getextrema() == ((255, 255),) * 3) is (text == "")


def test_each_character_has_a_font_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A font with digits alone, and Pillow's own: names in one script stand beside numbers in another."""
    digits, own = ImageFont.load_default(20), ImageFont.load_default(20)
    monkeypatch.setattr(fonts, "_fonts", lambda size, bold: [digits, own])
    monkeypatch.setattr(fonts, "_has", lambda font, character: font is own or character.isdigit())
    assert fonts._runs("12", 20) == [Run("12", digits)]
    assert fonts._runs("1 a2", 20) == [Run("1 a2", own)], "one font has all of it"
    monkeypatch.setattr(fonts, "_has", lambda font, character: character.isdigit() is (font is digits))
    fonts._font_of.cache_clear()
    assert fonts._runs("1ab\u030122", 20) == [Run("1", digits), Run("ab\u0301", own), Run("22", digits)]
    fonts._font_of.cache_clear()


def test_a_font_of_the_desktop_has_what_the_usual_ones_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    """fontconfig is asked once for a character; where it is missing, a box stands for that."""
    asked: list[str] = []
    own, other = ImageFont.load_default(20), ImageFont.load_default(20)
    monkeypatch.setattr(fonts, "_fonts", lambda size, bold: [own])
    monkeypatch.setattr(fonts, "_font", lambda name, size, index=0: {("/f", 20): other}.get((name, size)))
    monkeypatch.setattr(fonts, "_known_to_fontconfig", lambda character: asked.append(character) or [("/f", 0)])
    monkeypatch.setattr(fonts, "_has", lambda font, character: (character == "\u65e5") is (font is other))
    fonts._font_of.cache_clear()
    assert fonts._runs("a\u65e5\u65e5", 20) == [Run("a", own), Run("\u65e5\u65e5", other)]
    assert asked == ["\u65e5"]
    assert fonts._runs("a\u672c", 20) == [Run("a\u672c", own)]
    fonts._font_of.cache_clear()


def test_without_fontconfig_there_is_no_other_font(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    fonts._known_to_fontconfig.cache_clear()
    assert fonts._known_to_fontconfig("\u65e5") == []
    fonts._known_to_fontconfig.cache_clear()
