"""Large photos in request lines: cut out before the line is parsed, and decoded in parts."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from facewatchd.api.parameters import Source
from facewatchd.server import jsonrpc, payload
from facewatchd.server.jsonrpc import ParamsError, ParseError
from facewatchd.server.params import Base64, read

PHOTO = bytes(range(256)) * 1100
"""Large enough to be cut out."""
TEXT = base64.b64encode(PHOTO).decode()


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload, "PART", 1 << 12)
    monkeypatch.setattr(payload, "WINDOW", 1 << 12)


def data_of(line: str) -> bytes | None:
    message = jsonrpc.decode(line.encode())
    assert isinstance(message, dict)
    return read(Source, message["params"]).data


def request(text: str, before: str = "", key: str = "data") -> str:
    return f'{{"jsonrpc":"2.0",{before}"id":1,"method":"faces","params":{{"{key}":"{text}"}}}}'


@pytest.mark.parametrize("before", ["", '"x":"\\"data\\":\\"",', '"data":"short",', '"d\\"data" : [1],', '"data":[],'])
@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.replace("/", "\\/"),
        TEXT.replace("A", "\\u0041"),
        "\\n".join(TEXT[at : at + 76] for at in range(0, len(TEXT), 76)),
        "\\r\\n".join(TEXT[at : at + 76] for at in range(0, len(TEXT), 76)) + "\\r\\n",
    ],
    ids=["plain", "slashes", "escapes", "lines", "carriage returns"],
)
def test_a_photo_comes_as_it_was_sent(text: str, before: str) -> None:
    assert data_of(request(text, before)) == PHOTO
    assert data_of(request(text, before).replace('"data":"' + text, '"data" :\t "' + text)) == PHOTO


@given(
    count=st.integers(0, 5000), add=st.sampled_from(["", "=", "==", "A", "=A", "AA==", "*", "é", "\\/", "\\q", "\\n"])
)
@example(count=1, add="")
def test_parts_are_decoded_as_the_whole(count: int, add: str) -> None:
    """Whatever stands at the end, and wherever a part ends, the bytes are those of the standard library's, or none."""
    text = base64.b64encode(PHOTO[:count]).decode() + add
    try:
        wanted: bytes | None = base64.b64decode(json.loads(f'"{text}"').replace("\n", ""), validate=True)
    except ValueError:
        wanted = None
    try:
        decoded: bytes | None = payload.Payload(text.encode(), is_escaped=True).decode()
    except ValueError:
        decoded = None
    if wanted is None or "=" not in text[:-2]:  # the standard library lets pass what follows the padding
        assert decoded == wanted


@pytest.mark.parametrize(
    "text", [TEXT + "*", TEXT[:-4] + "=AAA" + TEXT, TEXT + "A", TEXT + "\\\\", TEXT[:9] + "\\" + '"' + TEXT]
)
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(ParamsError, match="data must be base64"):
        data_of(request(text))


@pytest.mark.parametrize(
    "line",
    [
        request(TEXT)[:-3],
        request(TEXT) + "x",
        request(TEXT).replace('"data"', '"x"data"'),
        request(TEXT + '" "'),
        "x" * (payload.LARGE + 1),
        '"data":"' + TEXT,
    ],
)
def test_what_is_no_json_stays_that(line: str) -> None:
    with pytest.raises(ParseError):
        jsonrpc.decode(line.encode())


def test_large_strings_of_other_names_and_places_stay_strings() -> None:
    for line in (request(TEXT, key="path"), json.dumps(["data", TEXT]), json.dumps({"data": [TEXT]})):
        assert jsonrpc.decode(line.encode()) == json.loads(line)


def test_of_several_each_has_its_own() -> None:
    photos = [PHOTO + bytes([n]) * n for n in range(4)]
    line = json.dumps({"photos": [{"data": base64.b64encode(photo).decode()} for photo in photos]})
    message: Any = jsonrpc.decode(line.encode())
    assert [Base64().read(each["data"], "data") for each in message["photos"]] == photos


def test_no_step_works_on_more_than_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """What json and binascii work on at once is how long all other threads stand still."""
    sizes: list[int] = []

    def noting(call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(text: str | bytes, **options: Any) -> Any:
            sizes.append(len(text))
            return call(text, **options)

        return noted

    monkeypatch.setattr(json, "loads", noting(json.loads))
    monkeypatch.setattr(binascii, "a2b_base64", noting(binascii.a2b_base64))
    assert data_of(request(TEXT.replace("/", "\\/"))) == PHOTO
    assert max(sizes) <= payload.PART + 8
    assert sum(sizes) > len(TEXT)
