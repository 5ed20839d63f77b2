"""The album's page: read by a parser of HTML, as a browser would, whatever the names of files and people are."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewatchd.errors import UsageError
from facewatchd.matches import Box, Match, Place, Term
from facewatchd.pictures import album, target
from facewatchd.pictures.album import Album, AskedFace, Entry, Picture, SeenFace
from facewatchd.text import printable

JPEG = Picture(base64.b64encode(b"\xff\xd8 a picture").decode(), 100, 80)
VOID = {"meta", "link", "img", "br", "input", "rect", "ellipse"}
HOSTILE = [
    b"/p/<script>alert(1)</script>.jpg",
    b"/p/\"><img src=x onerror=alert(1)>'.jpg",
    b"/p/{{ 7 * 7 }}{% raw %}.jpg",
    b"/p/</style></script><!--.jpg",
    "/p/evil\u202egpj.exe".encode(),
    b"/p/a b#c?d%41&amp;e.jpg",
    b"/p/one\ntwo\ttab\x1b[2J\x07.jpg",
    b"/p/\xff\xfe not utf-8 \xc3.jpg",
    b"/p/it's $HOME `id` \\ back.jpg",
    "/p/\u05e9\u05dc\u05d5\u05dd \U0001f600.jpg".encode(),
]
PATHS = st.lists(st.integers(1, 255).filter(lambda byte: byte != 47), min_size=1, max_size=40).map(
    lambda name: b"/p/" + bytes(name)
)


class Page(HTMLParser):
    """The elements of a page with their attributes and text, in order; fails where one is not closed."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[int] = []
        self.feed(page.decode())
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} repeats an attribute"
        self.elements.append((tag, {name: value or "" for name, value in attrs}, []))
        if tag not in VOID:
            self._open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self._open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for position in self._open:
            self.elements[position][2].append(data)

    def all(self, tag: str, kind: str = "") -> list[tuple[dict[str, str], str]]:
        """Attributes and text of the elements of a tag, and of a class where one is given."""
        return [
            (attributes, " ".join("".join(text).split()))
            for name, attributes, text in self.elements
            if name == tag and (not kind or kind in attributes.get("class", "").split())
        ]

    def raw(self, tag: str) -> str:
        return "".join(next(text for name, _, text in self.elements if name == tag))


def match(path: bytes = b"/p/a.jpg", **changes: object) -> Match:
    return Match(path, 0.742, Box(10, 20, 30, 40), 0.9, 7)._replace(**changes)  # type: ignore[arg-type]


def entry(path: bytes = b"/p/a.jpg", **changes: object) -> Entry:
    return Entry(match(path, **changes), (JPEG,), JPEG, (200, 100), (SeenFace(Box(10, 20, 30, 40)),))


def an_album(*entries: Entry, **changes: object) -> Album:
    asked = (AskedFace("anna.jpg", "face 1 of 0 to 2", JPEG),)
    whole = Album("Anna", ("2 of 9 photos",), asked, ("about 1 of them is somebody else",), entries, "made today")
    return whole._replace(**changes)  # type: ignore[arg-type]


def page(*entries: Entry, **changes: object) -> Page:
    return Page(album.render(an_album(*entries, **changes)))


def save(written: bytes, place: Path) -> None:
    target.save_document(place, lambda file: file.write(written), mode=target.PRIVATE_MODE, kind=target.ALBUM)


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_policy_allows_what_is_in_the_file_and_nothing_else() -> None:
    read = page(entry())
    ((policy, _),) = [each for each in read.all("meta") if each[0].get("http-equiv") == "Content-Security-Policy"]
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy["content"].split(";")}
    assert rules == {
        "default-src": ["'none'"],
        "img-src": ["data:"],
        "style-src": [digest(read.raw("style"))],
        "script-src": [digest(read.raw("script"))],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }


def test_the_policy_stands_before_what_it_rules() -> None:
    tags = [tag for tag, *_ in page(entry()).elements]
    text = album.render(an_album(entry())).decode()
    assert text.index("Content-Security-Policy") < text.index("<style") < text.index("<body")
    assert tags.count("script") == tags.count("style") == 1
    assert text.index("charset") < 1024  # where a browser looks for it


def test_nothing_is_fetched_and_no_attribute_is_run() -> None:
    paths = [entry(path, copies=(path,), similar=(path,)) for path in HOSTILE]
    for tag, attributes, _ in page(*paths, by_year=True).elements:
        assert not {name for name in attributes if name.startswith("on") or name == "style"}, tag
        for name in ("src", "href", "xlink:href", "action", "poster", "srcset"):
            if name in attributes:
                assert attributes[name].startswith(("data:image/jpeg;base64,", "#", "file:///")), attributes[name]


def test_names_are_shown_in_one_line_and_do_nothing() -> None:
    read = page(*map(entry, HOSTILE))
    assert len(read.all("script")) == 1
    shown = [text for _, text in read.all("p", "title")]
    assert shown == [" ".join(printable(path).removeprefix("/p/").split("/")[-1].split()) for path in HOSTILE]
    assert not re.search("[\x00-\x08\x0e-\x1f\u202a-\u202e]", album.render(an_album(*map(entry, HOSTILE))).decode())


@given(PATHS)
def test_any_path_is_linked_to_and_copied_as_it_is(path: bytes) -> None:
    read = page(entry(path, copies=(path,)))
    assert len(read.all("script")) == 1
    linked = [attributes["href"] for attributes, _ in read.all("a") if attributes["href"].startswith("file:")]
    assert len(linked) == 2
    for url in linked:
        parts = urlsplit(url)
        assert (parts.netloc, parts.query, parts.fragment) == ("", "", "")
        assert unquote_to_bytes(parts.path) == path


def test_a_path_that_cannot_be_shown_is_copied_as_a_shell_takes_it() -> None:
    assert album.to_copy(b"/p/a b.jpg") == "/p/a b.jpg"
    quoted = [album.to_copy(path) for path in HOSTILE if album.to_copy(path) != path.decode("utf-8", "replace")]
    assert len(quoted) == 3
    odd = [path for path in HOSTILE if album.to_copy(path).startswith("$'")]
    told = subprocess.run(["bash", "-c", f"printf '%s\\0' {' '.join(quoted)}"], capture_output=True, check=True).stdout
    assert told.split(b"\0")[:-1] == odd


def test_a_match_says_what_is_known_of_it() -> None:
    known = entry(verdict="likely", taken="2019-06-30T12:00:00", taken_from="exif")
    read = page(known._replace(remarks=("another face on it matches",)))
    ((_, card),) = read.all("div", "facts")
    assert card == "likely 0.742 30 June 2019 a.jpg another face on it matches"
    assert {"datetime": "2019-06-30"} in [attributes for attributes, _ in read.all("time")]


def test_what_the_user_said_counts_more_than_the_verdict() -> None:
    read = page(entry(verdict="look", confirmed=True), entry(verdict="look"), entry(verdict="sure"))
    assert [text for _, text in read.all("ul", "counts")] == ["1 confirmed by hand 1 sure 1 look look at it yourself"]


def test_the_date_of_a_file_is_told_from_a_photos() -> None:
    read = page(entry(taken="2019-06-30T12:00:00", taken_from="mtime"))
    assert "~the file's date, 30 June 2019" in read.all("div", "facts")[0][1]


def test_copies_and_frames_are_folded_and_many_are_counted() -> None:
    copies = tuple(b"/c/%d.jpg" % number for number in range(60))
    read = page(entry(copies=copies, similar=(b"/s/1.jpg",)))
    assert [text for _, text in read.all("summary")] == ["60 copies", "1 more in its burst"]
    assert all("open" not in attributes for attributes, _ in read.all("details"))
    listed = [text for attributes, text in read.all("a", "path")]
    assert listed == [f"/c/{number}.jpg" for number in range(50)] + ["/s/1.jpg"]
    assert "and 10 more" in read.all("details")[0][1]


def test_each_face_is_drawn_in_per_cent_and_the_match_last() -> None:
    faces = (SeenFace(Box(10, 20, 30, 40), "Anna"), SeenFace(Box(150, 10, 50, 50), "Ben"), SeenFace(Box(0, 60, 20, 40)))
    read = page(entry()._replace(faces=faces))
    drawn = [attributes for tag, attributes, _ in read.elements if tag == "rect"]
    assert [(each["x"], each["y"], each["width"], each["height"]) for each in drawn] == [
        ("0.00%", "60.00%", "10.00%", "40.00%"),
        ("75.00%", "10.00%", "25.00%", "50.00%"),
        ("5.00%", "20.00%", "15.00%", "40.00%"),
    ]
    assert [each["class"] for each in drawn] == ["box", "box", "box box-match"]
    names = [(text, attributes["class"], attributes["x"]) for attributes, text in read.all("text")]
    assert names == [("Ben", "name", "87.50%"), ("Anna", "name", "12.50%")]
    assert "3 faces: Anna, Ben, 1 face without a name" in [text for _, text in read.all("p")]


def test_a_name_at_an_edge_stays_on_the_photo() -> None:
    faces = (SeenFace(Box(0, 70, 20, 30), "Left"), SeenFace(Box(180, 0, 20, 100), "Right"))
    read = page(entry(box=Box(0, 70, 20, 30))._replace(faces=faces))
    names = {text: attributes for attributes, text in read.all("text")}
    assert (names["Left"]["class"], names["Left"]["x"]) == ("name name-start", "0.00%")
    assert (names["Left"]["y"], names["Left"]["dy"]) == ("70.00%", "-0.4em")  # above: below there is no room
    assert (names["Right"]["class"], names["Right"]["x"]) == ("name name-end", "100.00%")
    assert (names["Right"]["y"], names["Right"]["dy"]) == ("100.00%", "-0.5em")  # inside: it is as high as the photo


def test_a_photo_of_unknown_size_has_no_boxes() -> None:
    assert not page(entry()._replace(size=(0, 0))).all("rect")


def test_together_each_person_has_a_face() -> None:
    terms = (Term(0.7, Box(1, 2, 3, 4), 0.9, 5), Term(0.6, Box(50, 2, 3, 4), 0.9, 6))
    both = entry(terms=terms)._replace(crops=(JPEG, JPEG), faces=())
    read = page(both, people=("Anna", ""))
    assert len(read.all("button", "crops")) == 1
    assert [attributes["alt"] for attributes, _ in read.all("img")][1:3] == ["Anna on a.jpg", "Face on a.jpg"]
    assert len([1 for attributes, _ in read.all("rect") if "box-match" in attributes["class"]]) == 3
    assert "together" in read.all("li", "face")[0][0]["class"]


def test_what_cannot_be_drawn_says_why() -> None:
    gone = entry()._replace(crops=("the photo is gone",), photo="the photo is gone")
    read = page(gone)
    assert [text for _, text in read.all("p", "missing")] == ["the photo is gone"]
    ((picture, text),) = read.all("span", "missing")
    assert (picture["role"], picture["aria-label"], text) == (
        "img",
        "Face on a.jpg: the photo is gone",
        "the photo is gone",
    )
    assert len(read.all("img")) == 1  # the face that was asked for
    assert not read.all("rect")


def test_by_year_each_year_is_a_chapter_that_is_linked_to() -> None:
    days = ["2019-06-30", "2019-01-01", "2018-01-01", ""]
    read = page(*(entry(taken=day and f"{day}T00:00:00") for day in days), by_year=True)
    headings = {attributes["id"]: text for attributes, text in read.all("h2")}
    assert list(headings.values()) == ["2019", "2018", album.NO_DATE]
    ((_, links),) = read.all("nav")
    assert links == "2019 2 2018 1 Without a date 1"
    to = [attributes["href"].removeprefix("#") for attributes, _ in read.all("a") if attributes["href"][1:2] == "y"]
    assert to == list(headings)


def test_without_a_match_the_page_says_so() -> None:
    read = page(leads=("no photo found",))
    assert "No photo matches." in [text for _, text in read.all("p")]
    assert read.all("h2")
    assert not read.all("nav")


def test_ids_are_unique_and_what_refers_to_one_finds_it() -> None:
    read = page(*(entry(taken=f"{year}-01-01T00:00:00") for year in range(2010, 2014)), by_year=True)
    ids = [attributes["id"] for _, attributes, _ in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes, _ in read.elements:
        for name in ("popovertarget", "aria-labelledby", "data-copy"):
            assert attributes.get(name, ids[0]) in ids
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids


def test_every_picture_has_a_text_and_the_page_a_language() -> None:
    read = page(entry(b'/p/"quoted".jpg'))
    assert all(attributes["alt"] for attributes, _ in read.all("img"))
    assert read.all("html")[0][0] == {"lang": "en"}
    assert [tag for tag, *_ in read.elements if tag in ("header", "main", "footer")] == ["header", "main", "footer"]
    assert [text for _, text in read.all("h1")] == ["Anna"]


def test_the_same_values_give_the_same_file() -> None:
    assert album.render(an_album(entry())) == album.render(an_album(entry()))


# Where it is written


def test_an_album_replaces_only_an_album(tmp_path: Path) -> None:
    place = tmp_path / "a.html"
    first, second = album.render(an_album()), album.render(an_album(entry()))
    for written in (first, second):
        target.check(place, kind=target.ALBUM)
        save(written, place)
        assert place.read_bytes() == written
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert target.is_album(place)
    changed = (
        second.replace(b"Anna", b"Hanna"),
        second + b"\n",
        second[:-1],
        second[: len(second) // 2],
        first + second,
    )
    for other in (b"", b"<!DOCTYPE html>\n<title>mine</title>", first[1:], *changed):
        place.write_bytes(other)
        with pytest.raises(UsageError, match="is there, and is no album"):
            target.check(place, kind=target.ALBUM)
        with pytest.raises(UsageError, match="is there, and is no album"):
            save(first, place)
        assert place.read_bytes() == other
    assert os.listdir(tmp_path) == ["a.html"]


def test_an_album_is_not_written_to_what_is_no_page(tmp_path: Path) -> None:
    for name, reason in (
        ("a.jpg", "does not say that it is a page"),
        ("no/a.html", "there is no directory"),
        ("a", "end it with"),
    ):
        with pytest.raises(UsageError, match=reason):
            target.check(tmp_path / name, kind=target.ALBUM)
    (tmp_path / "d.html").mkdir()
    with pytest.raises(UsageError, match="is a directory"):
        target.check(tmp_path / "d.html", kind=target.ALBUM)
    save(album.render(an_album()), tmp_path / "a.HTM")
    with pytest.raises(UsageError, match="is a query photo"):
        target.check(tmp_path / "a.HTM", [str(tmp_path / "a.HTM")], kind=target.ALBUM)
    (tmp_path / "l.html").symlink_to("gone.html")
    with pytest.raises(UsageError, match="is a link"):
        target.check(tmp_path / "l.html", kind=target.ALBUM)
    os.mkfifo(tmp_path / "pipe.html")
    assert not target.is_album(tmp_path / "pipe.html")


def test_a_photo_of_another_machine_is_an_outline_that_opens_nothing() -> None:
    away = entry(b"/srv/2019/a.jpg", host="nas", elsewhere=(Place("nas", b"/srv/b.jpg"), Place("old", b"/c.jpg")))
    read = page(away._replace(crops=(), photo=""))
    assert [text for _, text in read.all("span", "away")] == ["nas not on this machine"] * 2
    assert len(read.all("ellipse")) == 2
    assert [each for each, _ in read.all("a") if "skip" not in each["class"]] == []
    assert "missing" not in {each.get("class") for each, _ in read.all("p")}
    assert [text for _, text in read.all("code")] == ["/srv/2019/a.jpg"]
    assert [text for _, text in read.all("span", "path")] == ["nas:/srv/b.jpg", "old:/c.jpg"]
    assert "On nas. It can be opened there, not here" in " ".join(text for _, text in read.all("p"))


def test_copies_on_other_machines_stand_beside_those_here() -> None:
    read = page(
        entry(copies=(b"/p/b.jpg",), elsewhere=(Place("nas", b"/p/a.jpg"),), similar_elsewhere=(Place("nas", b"/s"),))
    )
    assert [text for _, text in read.all("summary")] == ["2 copies", "1 more in its burst"]
    assert [text for _, text in read.all("a", "path")] == ["/p/b.jpg"]
    assert [text for _, text in read.all("span", "path")] == ["nas:/p/a.jpg", "nas:/s"]


@pytest.mark.parametrize(
    "host", ["<script>alert(1)</script>", '"><img src=x>', "{{ 7 }}", "a\u202eb\x1b", "\u05e9\u05dc"]
)
@pytest.mark.parametrize("path", [b"", *HOSTILE])
def test_whatever_another_machine_calls_itself_and_its_photos(host: str, path: bytes) -> None:
    read = page(entry(path, host=host, elsewhere=(Place(host, path),))._replace(crops=(), photo=""))
    assert [text for _, text in read.all("strong")][1:] == [printable(host)] * 3
    assert len(read.all("script")) == 1
    assert len(read.all("code")) == bool(path)
    assert all(text for _, text in read.all("h3"))
