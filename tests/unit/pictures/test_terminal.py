"""Pictures for a terminal, decoded again."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from facewatchd.pictures import terminal
from tests.support.emulator import Emulator, sixel_picture


def photo(width: int, height: int) -> Image.Image:
    """Smooth, with every hue."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, 255 - across], axis=-1).astype(np.uint8))


def jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def apart(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures' values."""
    return float(np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64)).mean())


@pytest.mark.parametrize(("width", "height"), [(60, 60), (60, 20), (7, 60), (300, 200)])
def test_a_picture_is_as_large_as_fits(width: int, height: int) -> None:
    whole = terminal.fitted(jpeg(photo(width, height)), 90)
    assert whole.size == (90, 90)
    shown = whole.getbbox() if whole.mode == "RGBA" else (0, 0, 90, 90)
    assert shown is not None
    wide, high = shown[2] - shown[0], shown[3] - shown[1]
    assert max(wide, high) == 90
    assert abs(wide / high - width / height) < 0.1
    assert abs(shown[0] - (90 - shown[2])) <= 1
    assert apart(whole.convert("RGB").crop(shown), photo(width, height).resize((wide, high))) < 6


def test_kitty_takes_a_picture_without_loss() -> None:
    picture = Image.effect_noise((160, 160), 80).convert("RGB")
    (command,) = terminal.kitty(picture, (20, 10))
    pieces = re.findall(rb"\x1b_G([^;]*);([^\x1b]*)\x1b\\", command)
    assert b"".join(b"\x1b_G%s;%s\x1b\\" % piece for piece in pieces) == command
    assert len(pieces) > 3
    assert pieces[0][0] == b"a=T,f=100,q=2,C=1,c=20,r=10,m=1"
    assert {control for control, _ in pieces[1:-1]} == {b"m=1"}
    assert pieces[-1][0] == b"m=0"
    data = base64.b64decode(b"".join(piece for _, piece in pieces), validate=True)
    assert apart(Image.open(io.BytesIO(data)), picture) == 0


@pytest.mark.parametrize("size", [(60, 60), (61, 59), (1, 1), (200, 7)])
@pytest.mark.parametrize(("colours", "most"), [(256, 6.0), (16, 30.0)])
def test_a_sixel_picture_is_the_picture(size: tuple[int, int], colours: int, most: float) -> None:
    (command,) = terminal.sixel(photo(*size), colours)
    decoded = sixel_picture(command.removeprefix(b"\x1bP").removesuffix(b"\x1b\\"), colours)
    assert decoded.size == size
    assert decoded.getchannel("A").getextrema() == (255, 255)
    small = tuple(max(1, each // 8) for each in size)
    assert (
        apart(
            decoded.convert("RGB").resize(small, Image.Resampling.BOX), photo(*size).resize(small, Image.Resampling.BOX)
        )
        < most
    )


def test_what_a_sixel_picture_does_not_show_is_not_drawn() -> None:
    whole = terminal.fitted(jpeg(photo(60, 20)), 60)
    (command,) = terminal.sixel(whole, 256)
    decoded = sixel_picture(command.removeprefix(b"\x1bP").removesuffix(b"\x1b\\"))
    assert decoded.getbbox() == (0, 20, 60, 40)


@pytest.mark.parametrize(("millions", "quarters", "most"), [(True, True, 3), (True, False, 5), (False, True, 20)])
def test_characters_show_the_picture(millions: bool, quarters: bool, most: float) -> None:
    lines = terminal.blocks(photo(30, 30), millions=millions, quarters=quarters)
    assert len(lines) == 15
    emulator = Emulator(30, 20)
    emulator._take(b"\r\n".join(lines))
    emulator.close()
    assert emulator.text()[15] == ""
    assert quarters or set("".join(emulator.text())) <= set(" ▀▌")
    drawn = emulator.cut(0, 0, 30, 15)
    assert apart(drawn, photo(30, 30).resize(drawn.size)) < most


def test_a_sharp_edge_is_kept_by_a_letter() -> None:
    edge = Image.new("RGB", (8, 8), "#ffffff")
    edge.paste("#000000", (0, 0, 8, 5))
    lines = terminal.blocks(edge, millions=True, quarters=True)
    assert "▀▀▀▀▀▀▀▀" in lines[2].decode()
