"""``--show``: what a terminal is asked, what is drawn on it, and how it is left."""

from __future__ import annotations

import base64
import colorsys
import io
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facewatchd.client.showing import short_names
from facewatchd.console.output import columns_of
from facewatchd.console.terminal import Screen, Way
from facewatchd.console.tiles import cut, grid
from tests.support.emulator import Emulator, of_256, terminate
from tests.support.fake_daemon import FakeDaemon, error, reply
from tests.support.replies import answer, match, query_face

MATCHES = 7
BROKEN = 4
"""The id of a face without a picture."""
QUERY_COLOUR = (250, 250, 0)
PATIENT = """
import sys
from facewatchd.console import terminal
terminal.LATE = terminal._LATE_AFTER_ERROR = 60.0
if "impatient" not in sys.argv:
    terminal.DEADLINE = 60.0
sys.argv = [each for each in sys.argv if each != "impatient"]
"""
"""Waits for answers as long as a busy machine may take."""
COMMAND = [sys.executable, "-c", f"{PATIENT}from facewatchd.client.app import main; sys.exit(main())"]
CONTROL = [sys.executable, "-c", f"{PATIENT}from facewatchd.cli.app import main; sys.exit(main())"]


def colour_of(face: int) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(face / MATCHES, 0.8, 0.7))
    return red, green, blue


def picture(size: int, colour: tuple[int, int, int]) -> str:
    """A face's picture: a bright disc on a colour."""
    across, down = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    disc = (across**2 + down**2 < 0.25)[..., None]
    file = io.BytesIO()
    Image.fromarray(np.where(disc, 240, colour).astype(np.uint8)).save(file, "JPEG", quality=95, subsampling=0)
    return base64.b64encode(file.getvalue()).decode()


def script(request: dict[str, Any]) -> bytes:
    if request["method"] == "query":
        verdicts = ["sure", "sure", "sure", "likely", "likely", "look", "look"]
        matches = [
            match(
                f"/home/u/{2010 + face}/photo.jpg".encode(), 0.9 - face / 100, face_id=face, verdict=verdicts[face],
                taken=f"{2010 + face}-05-06T10:00:00", taken_from="exif",
            )
            for face in range(MATCHES)
        ]  # fmt: skip
        return reply(request, answer(matches=matches, total=MATCHES, query=[query_face("/x/anna.jpg")]))
    params = request["params"]
    if params.get("face_id") == BROKEN:
        return error(request, "unreadable-photo", "it is gone")
    colour = colour_of(params["face_id"]) if "face_id" in params else QUERY_COLOUR
    assert ("box" in params) or ("face_id" in params)
    return reply(request, {"jpeg": picture(params["size"], colour), "width": params["size"], "height": params["size"]})


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "socket") as daemon:
        daemon.script = script
        yield daemon


Window = Callable[..., Emulator]


@pytest.fixture
def window() -> Iterator[Window]:
    made: list[Emulator] = []

    def window(*size: int, **abilities: Any) -> Emulator:
        made.append(Emulator(*size, **abilities))
        return made[-1]

    yield window
    for emulator in made:
        emulator.close()


def show(emulator: Emulator, daemon: FakeDaemon, *options: str, **run: Any) -> tuple[int, str]:
    return emulator.run([*COMMAND, "--show", *options, "--socket", daemon.path, "anna.jpg"], **run)


def centres(emulator: Emulator, layout_columns: int, rows: int, line: int, across: int) -> list[tuple[int, int, int]]:
    """The colour at the upper left corner of each picture of a row that begins on a line."""
    found = []
    for position in range(across):
        drawn = emulator.cut(position * (layout_columns + 2), line, layout_columns, rows)
        small = np.asarray(drawn.crop((2, 2, drawn.width // 8, drawn.height // 8)))
        found.append(tuple(int(value) for value in small.reshape(-1, 3).mean(axis=0)))
    return found  # type: ignore[return-value]


def near(one: tuple[int, ...], other: tuple[int, ...], most: int) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= most


@pytest.mark.parametrize(
    ("abilities", "most"),
    [
        ({"kitty": True}, 6),
        ({"kitty": True, "sixel": True, "tells_kernel": False}, 6),
        ({"sixel": True}, 12),
        ({"sixel": True, "registers": 16}, 40),
        ({}, 12),
        ({"any_colour": False}, 45),
    ],
    ids=["kitty", "kitty first", "sixel", "sixel of 16 colours", "characters", "characters of 256 colours"],
)
def test_the_pictures_are_those_of_the_answer(
    daemon: FakeDaemon, window: Window, abilities: dict[str, Any], most: int
) -> None:
    emulator = window(88, 60, **abilities)
    status, complaints = show(emulator, daemon)
    assert status == 0, complaints
    way = Way.KITTY if "kitty" in abilities else Way.SIXEL if "sixel" in abilities else Way.BLOCKS
    layout = grid(Screen(88, 60, way, (8, 16)), 3)
    assert layout.across == (3 if way is Way.BLOCKS else 4)
    lines = emulator.text()
    first = next(number for number, line in enumerate(lines) if line.startswith("query  "))
    colours: list[tuple[int, int, int]] = []
    for row in range(-(-(MATCHES + 1) // layout.across)):
        captions = [
            number for number, line in enumerate(lines) if number >= first and "20" in line and "-05-06" in line
        ]
        line = captions[row] - 1 - layout.rows
        colours += centres(emulator, layout.columns, layout.rows, line, layout.across)
    wanted = [QUERY_COLOUR, *map(colour_of, range(MATCHES))]
    wanted[1 + BROKEN] = (128, 128, 128)
    for number, colour in enumerate(wanted):
        assert near(colours[number], colour, most), number
    assert lines[first].split() == [
        "query",
        "sure",
        "0.900",
        "sure",
        "0.890",
        *(["sure", "0.880"] if layout.across == 4 else []),
    ]
    assert lines[first + 2].split()[0] == "2010/photo.jpg"
    assert sum("no picture" in line for line in lines) == 1
    assert complaints.splitlines()[-1] == "facewatch-query: 1 picture is missing: it is gone; what to do"
    assert emulator.is_as_before()
    assert emulator.left_input() == b""


@pytest.mark.parametrize(
    "abilities",
    [{"kitty": True}, {"sixel": True}, {"sixel": True, "registers": 16}, {}, {"any_colour": False}],
    ids=["kitty", "sixel", "sixel of 16 colours", "characters", "characters of 256 colours"],
)
def test_a_photo_of_another_machine_is_an_outline_with_host_and_path(
    daemon: FakeDaemon, window: Window, abilities: dict[str, Any]
) -> None:
    """Nothing is asked of the daemon for it: neither by its path, which may be another photo's here, nor by an id."""
    away = {"host": "nas", "face_id": None, "size": [400, 300], "verdict": "sure"}
    matches = [
        match(b"/home/u/photo.jpg", 0.9, face_id=1, host=None, verdict="sure"),
        match(b"/home/u/photo.jpg", 0.8, **away),
        match(
            b"/srv/\xff.jpg",
            0.7,
            **away,
            terms=[{"similarity": 0.7, "box": [1, 2, 3, 4], "score": 1, "face_id": None}] * 2,
        ),
    ]
    usual = script
    daemon.script = lambda request: (
        reply(request, answer(matches=matches, total=3, query=[query_face("/x/anna.jpg")]))
        if request["method"] == "query"
        else usual(request)
    )
    emulator = window(100, 80, **abilities)
    status, complaints = show(emulator, daemon)
    assert status == 0, complaints
    assert "missing" not in complaints
    asked = [request["params"] for request in daemon.requests if request["method"] == "thumbnail"]
    assert sorted(sorted(params) for params in asked) == [["box", "path", "size"], ["face_id", "size"]]
    text = "\n".join(emulator.text())
    captions = text[text.index("query  ") :]
    assert "u/photo.jpg" in captions
    assert "/srv/\\xff.jpg" in captions
    assert captions.count("on nas") == 2
    assert "no picture" not in captions
    assert emulator.is_as_before()


def test_the_table_stays_as_it_is(daemon: FakeDaemon, window: Window) -> None:
    shown, plain = window(100, 60, kitty=True), window(100, 60)
    show(shown, daemon)
    plain.run([*COMMAND, "--socket", daemon.path, "anna.jpg"])
    assert plain.text()[0].startswith("SIMILARITY  VERDICT")
    assert shown.text()[: MATCHES + 1] == plain.text()[: MATCHES + 1]
    assert plain.asked == [], "nothing is asked without --show"


@pytest.mark.parametrize(
    ("columns", "rows", "abilities"), [(5, 5, {"kitty": True}), (81, 3, {"sixel": True}), (20, 12, {})]
)
def test_any_window(daemon: FakeDaemon, window: Window, columns: int, rows: int, abilities: dict[str, bool]) -> None:
    """The emulator refuses a picture that is larger than the window, and counts longer lines."""
    emulator = window(columns, rows, **abilities)
    status, complaints = show(emulator, daemon, "-l")
    assert status == 0, complaints
    assert emulator.wraps == MATCHES * ((len("/home/u/2010/photo.jpg") - 1) // columns), "only those of the paths"
    assert emulator.is_as_before()


@pytest.mark.parametrize("delay", [None, 1.4], ids=["never", "late"])
def test_a_terminal_that_does_not_answer_in_time_gets_characters(
    daemon: FakeDaemon, window: Window, delay: float | None
) -> None:
    emulator = window(80, 60, kitty=True, sixel=True, answers_after=delay)
    command = [*COMMAND, "--show", "--socket", daemon.path, "anna.jpg"]
    if delay is None:
        command[2] = "import sys; from facewatchd.client.app import main; sys.exit(main())"
    status, _ = emulator.run([*command, "impatient"] if delay else command, COLORTERM="truecolor")
    assert status == 0
    assert not emulator.pictures
    assert "▀" in "".join(emulator.text()) or "▌" in "".join(emulator.text())
    assert emulator.is_as_before()
    assert emulator.left_input() == b""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGHUP, -1)])
def test_the_terminal_is_put_back_when_the_command_is_ended(
    daemon: FakeDaemon, window: Window, number: int, status: int
) -> None:
    emulator = window(kitty=True, answers_after=0.2)
    emulator.when(b"a=q", terminate(emulator, number))
    assert show(emulator, daemon)[0] == status
    assert emulator.is_as_before()
    assert emulator.left_input() == b""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
@pytest.mark.parametrize(
    ("abilities", "begun"), [({"kitty": True}, b"\x1b_Ga=T"), ({"sixel": True}, b"\x1bP0;1;0q"), ({}, b"\x1b[48;2;")]
)
def test_a_picture_that_is_broken_off_leaves_a_usable_terminal(
    daemon: FakeDaemon, window: Window, abilities: dict[str, bool], begun: bytes, number: int, status: int
) -> None:
    """A row of pictures has more bytes than a terminal takes at once."""
    emulator = window(**abilities)
    emulator.when(begun, terminate(emulator, number))
    assert show(emulator, daemon, COLORTERM="truecolor")[0] == status
    assert len(emulator.pictures) <= MATCHES, "one was not drawn to its end"
    assert emulator.is_as_before()
    emulator.run(["printf", "%s", "$ ready"])
    assert "$ ready" in emulator.text()


def test_what_was_typed_before_is_left_to_the_shell(daemon: FakeDaemon, window: Window) -> None:
    emulator = window(kitty=True)
    emulator.press(b"ls\n")
    assert show(emulator, daemon)[0] == 0
    assert emulator.asked == []
    assert emulator.is_as_before()
    assert emulator.left_input() == b"ls\n"


def test_nothing_is_asked_of_a_linux_console(daemon: FakeDaemon, window: Window) -> None:
    emulator = window(80, 60)
    assert show(emulator, daemon, TERM="linux")[0] == 0
    assert emulator.asked == []
    assert set("".join(emulator.text())) & set("▘▝▖▞▛") == set()
    colours = re.findall(rb"[34]8;5;(\d+)", emulator.written)
    assert colours
    assert {len(set(of_256(int(colour)))) for colour in colours} == {1}, "greys, as it has 16 colours"


@pytest.mark.parametrize("variables", [{"TERM": "tmux-256color"}, {"TERM": "screen"}, {"TMUX": "x"}, {"STY": "x"}])
def test_screen_and_tmux_are_asked_only_what_they_know(
    daemon: FakeDaemon, window: Window, variables: dict[str, str]
) -> None:
    emulator = window(80, 60, kitty=True, sixel="TMUX" in variables)
    assert show(emulator, daemon, "-n", "1", **variables)[0] == 0
    assert {"kitty", "colour"} & set(emulator.asked) == set()
    assert "DA1" in emulator.asked
    assert bool(emulator.pictures) == emulator.sixel, "tmux with sixels shows them"


def test_colours_that_are_not_wanted(daemon: FakeDaemon, window: Window) -> None:
    plain = window()
    status, complaints = show(plain, daemon, NO_COLOR="1")
    assert status == 0
    assert complaints.splitlines()[-1] == (
        "facewatch-query: no pictures are shown, as this terminal shows them only by colours, and NO_COLOR is set"
    )
    assert b"[3" not in plain.written.replace(b"[38", b"")
    able = window(80, 60, kitty=True)
    show(able, daemon, NO_COLOR="1")
    assert len(able.pictures) == MATCHES + 1, "pictures in pixels are no colours of text"
    assert b"\x1b[1;32m" not in able.written


def test_a_dumb_terminal(daemon: FakeDaemon, window: Window) -> None:
    emulator = window(kitty=True)
    status, complaints = show(emulator, daemon, TERM="dumb")
    assert status == 0
    assert complaints.splitlines()[-1].endswith("no pictures are shown, as the terminal is a dumb one (TERM)")
    assert b"\x1b" not in emulator.written


def test_a_pipe_gets_the_lines_and_no_picture(daemon: FakeDaemon) -> None:
    command = [*COMMAND, "--socket", daemon.path, "anna.jpg"]
    plain = subprocess.run(command, capture_output=True, check=True)
    shown = subprocess.run([*command, "--show"], capture_output=True, check=True)
    assert shown.stdout == plain.stdout
    assert shown.stderr.decode().splitlines() == [
        "facewatch-query: no pictures are shown, as the output does not go to a terminal"
    ]
    quiet = subprocess.run([*command, "--show", "-q"], capture_output=True, check=True)
    assert (quiet.stdout, quiet.stderr) == (plain.stdout, b"")
    assert "thumbnail" not in [request["method"] for request in daemon.requests]


def test_a_photo_on_standard_input_is_shown_too(daemon: FakeDaemon, window: Window, tmp_path: Path) -> None:
    def sent(request: dict[str, Any]) -> bytes:
        if "data" in request["params"]:
            return reply(request, {"jpeg": picture(64, QUERY_COLOUR), "width": 64, "height": 64})
        return script(request)

    daemon.script = sent
    (tmp_path / "photo").write_bytes(b"some photo")
    emulator = window(80, 60, kitty=True)
    with (tmp_path / "photo").open("rb") as file:
        status, complaints = emulator.run([*COMMAND, "--show", "--socket", daemon.path, "-"], stdin=file)
    assert status == 0, complaints
    shown = [request["params"] for request in daemon.requests if "data" in request["params"]]
    assert shown[-1]["box"] == [10, 20, 80, 90]
    assert len(emulator.pictures) == MATCHES + 1


def test_the_faces_on_a_photo_with_their_numbers_and_names(daemon: FakeDaemon, window: Window) -> None:
    names = [("Anna", "sure"), ("", "unknown")]

    def listed(request: dict[str, Any]) -> bytes:
        if request["method"] == "thumbnail":
            return script({**request, "params": {**request["params"], "face_id": request["params"]["box"][0]}})
        faces = []
        for face, (name, verdict) in enumerate(names):
            who = {"name": name or None, "similarity": 0.7, "verdict": verdict, "confirmed": False, "runner_up": None}
            faces.append({"box": [face, 20, 80, 90], "score": 0.9, "names": who})
        return reply(request, {"faces": faces})

    daemon.script = listed
    emulator = window(80, 60, kitty=True)
    assert show(emulator, daemon, "--list-faces", "--who")[0] == 0
    colours = [tuple(picture.convert("RGB").getpixel((1, 1))) for _, _, picture in emulator.pictures]  # type: ignore[arg-type]
    assert len(colours) == 2
    assert all(near(colour, colour_of(face), 8) for face, colour in enumerate(colours))
    lines = emulator.text()
    first = next(number for number, line in enumerate(lines) if line.startswith("face 0"))
    assert lines[first].split() == ["face", "0", "face", "1"]
    assert lines[first + 1].split() == ["Anna", "unknown"]


def test_the_groups_without_a_name(daemon: FakeDaemon, window: Window) -> None:
    def listed(request: dict[str, Any]) -> bytes:
        if request["method"] != "unknown":
            return script(request)
        groups = [
            {
                "id": 10 + face, "faces": 9 - face, "photos": 3, "first": "2011-05-06", "last": "2019-01-02",
                "best": face, "path": "/p/a.jpg", "face": 0,
            }
            for face in range(3)
        ]  # fmt: skip
        return reply(request, {"groups": groups, "next": None, "total": 3, "unseen": 0})

    daemon.script = listed
    emulator = window(80, 60, kitty=True)
    command = [*CONTROL, "people", "unknown", "--show", "--socket", daemon.path]
    status, complaints = emulator.run(command)
    assert status == 0, complaints
    colours = [tuple(picture.convert("RGB").getpixel((1, 1))) for _, _, picture in emulator.pictures]  # type: ignore[arg-type]
    assert [near(colour, colour_of(face), 8) for face, colour in enumerate(colours)] == [True] * 3
    lines = emulator.text()
    captions = next(number for number, line in enumerate(lines) if line.split() == ["group:10", "group:11", "group:12"])
    assert lines[captions + 1].startswith("9 faces, 2011-2019")
    piped = subprocess.run(command, capture_output=True, check=True)
    assert len(piped.stdout.splitlines()) == 3
    assert piped.stderr.decode() == "facewatchd: no pictures are shown, as the output does not go to a terminal\n"


@pytest.mark.parametrize("way", Way)
@given(
    st.integers(1, 400), st.integers(1, 200), st.tuples(st.integers(2, 40), st.integers(2, 80)), st.sampled_from([2, 3])
)
def test_a_row_fits_into_every_window(way: Way, columns: int, rows: int, cell: tuple[int, int], captions: int) -> None:
    layout = grid(Screen(columns, rows, way, cell), captions)
    wide, high = (1, 2) if way is Way.BLOCKS else cell
    assert layout.across * (layout.columns + 2) - 2 <= max(columns, 4)
    assert layout.across == 1 or columns - layout.across * (layout.columns + 2) < layout.across, "it is filled"
    assert layout.rows + captions + 2 <= max(rows, captions + 3)
    assert 0 < layout.side <= layout.columns * wide
    assert layout.side <= layout.rows * high


def test_names_are_told_apart() -> None:
    assert short_names([b"/home/u/a/1.jpg", b"/home/u/a/2.jpg"]) == [b"1.jpg", b"2.jpg"]
    assert short_names([b"/home/u/a/1.jpg", b"/home/u/b/1.jpg"]) == [b"a/1.jpg", b"b/1.jpg"]
    assert short_names([b"/home/u/a/1.jpg"]) == [b"1.jpg"]
    assert short_names([]) == []
    assert short_names([b"/1.jpg", b"/home/2.jpg"]) == [b"1.jpg", b"home/2.jpg"]


def test_text_is_cut_to_its_columns() -> None:
    assert cut("2016/IMG_0001.jpg", 17) == "2016/IMG_0001.jpg"
    assert cut("2016/IMG_0001.jpg", 12) == "201…0001.jpg"
    for columns in range(8):
        assert columns_of(cut("写真/IMG_1.jpg", columns)) <= columns
