"""What facewatchd-protocol(7) says of results, held against a daemon: every method returns the names that it lists."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facewatchd.api.parameters import METHODS
from tests.support import xmp_packets
from tests.support.albums import shoot
from tests.support.processes import Daemon, until

SOMETIMES = {"path_bytes", "copies_bytes"}
"""Names that a result has only where a path is not UTF-8; the page names them in its text."""

OF_AN_ENGINE = {method for method in METHODS if method.startswith("outbox")}
"""Methods that are refused where no shared engine is configured."""


def names(value: Any) -> Any:
    """The names in a result, as `METHODS` writes them: of a list those of its first object."""
    if isinstance(value, dict):
        return {name: _names_inside(inner) for name, inner in value.items() if name not in SOMETIMES}
    return None


def _names_inside(value: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [dict.fromkeys(value[0].keys() - SOMETIMES)]
    return dict.fromkeys(value.keys() - SOMETIMES) if isinstance(value, dict) else None


def declared(text: str) -> dict[str, Any]:
    """The names that a line of `METHODS` declares: ``a b{c,d} e[{f,g}]``."""
    found: dict[str, Any] = {}
    for name, opening, inner in re.findall(r"(\w+)(\[?\{)?((?<=\{)[^}]*)?", text):
        within = dict.fromkeys(inner.replace(" ", "").split(",")) if opening else None
        found[name] = [within] if opening.startswith("[") else within
    return found


@pytest.fixture
def daemon(start: Callable[..., Daemon], tmp_path: Path, tiny_root: Path) -> Daemon:
    for number in (1, 2, 3):
        shoot(tmp_path / "photos" / f"{number}.jpg", [1], number)
    shoot(tmp_path / "photos" / "4.jpg", [1, 3], 4)
    shoot(tmp_path / "photos" / "5.jpg", [2], 5)
    for number in (6, 7):
        shoot(tmp_path / "photos" / f"{number}.jpg", [4], number)
    daemon = start(tmp_path / "photos", model="tiny", model_root=tiny_root)
    daemon.settle()
    return daemon


def test_every_method_returns_what_the_page_names(daemon: Daemon, tmp_path: Path) -> None:
    path = str(tmp_path / "photos" / "1.jpg")
    (face,) = daemon.call("why", path=path)["faces"]
    asked: dict[str, dict[str, Any]] = {
        "query": {"photos": [{"path": path}], "years": True},
        "subscribe": {"photos": [{"path": path}]},
        "seen": {"name": "mail", "shown": []},
        "faces": {"face_id": face["face_id"], "names": True},
        "thumbnail": {"face_id": face["face_id"]},
        "why": {"path": path},
        "photos": {"state": "indexed"},
        "person": {"name": "Anna"},
        "suggestions": {"person": "Anna"},
        "assign": {"name": "Bert", "who": [{"path": str(tmp_path / "photos" / "4.jpg")}]},
        "ignore": {"who": [{"path": str(tmp_path / "photos" / "6.jpg")}]},
        "rename_person": {"name": "Anna", "new": "Anne"},
        "describe_person": {"name": "Anne", "born": "2001"},
        "merge_people": {"name": "Bert", "into": "Anne"},
        "forget_person": {"name": "Anne"},
        "export": {"part": "people"},
        "import_people": {"data": ""},
        "import_contents": {"data": ""},
    }
    regions = xmp_packets.digikam([("Anna", (0, 0, 0.5, 0.5))])
    (tmp_path / "photos" / "3.jpg.xmp").write_bytes(regions)
    for name, number in (("Anna", 1), ("Bert", 5)):
        who = [{"path": str(tmp_path / "photos" / f"{number}.jpg")}]
        daemon.call("assign", name=name, who=who)
    asked["group"] = {"id": until(lambda: daemon.call("unknown")["groups"])[0]["id"]}
    for method in [each for each in METHODS if each not in OF_AN_ENGINE]:
        _returns_what_the_page_names(daemon, method, asked.get(method, {}))


def test_those_of_a_shared_engine_do_too(start: Callable[..., Daemon], tmp_path: Path, tiny_root: Path) -> None:
    shoot(tmp_path / "photos" / "1.jpg", [1], 1)
    shared = 'url = "postgresql://nobody@127.0.0.1:1/none"\nname = "here"'
    daemon = start(tmp_path / "photos", model="tiny", model_root=tiny_root, shared=shared)
    daemon.settle()
    token = "0" * 32
    asked: dict[str, dict[str, Any]] = {
        "outbox": {},
        "outbox_sending": {"lineage": token},
        "outbox_sent": {"lineage": token, "seqs": []},
        "outbox_mark": {"all": True},
    }
    assert asked.keys() == OF_AN_ENGINE
    for method, params in asked.items():
        _returns_what_the_page_names(daemon, method, params)


def _returns_what_the_page_names(daemon: Daemon, method: str, params: dict[str, Any]) -> None:
    result = names(daemon.call(method, **params))
    expected = declared(METHODS[method].result)
    for name, inner in expected.items():
        if inner is None and name in result:
            result[name] = None
    assert result == expected, method
