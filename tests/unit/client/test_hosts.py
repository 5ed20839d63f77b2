"""Photos on other machines, as `facewatch-query` asks for them and prints them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from facewatchd.cli import app as cli
from facewatchd.client import app as client
from facewatchd.client import machines
from facewatchd.matches import Match, Place
from facewatchd.shared import values
from tests.support.fake_daemon import FakeDaemon, error, reply
from tests.support.replies import answer, machine, match, shared
from tests.unit.client.test_client import run, run_on_terminal

WEEK = 7 * 86400
ON_NAS = match(b"/srv/photos/2019/x.jpg", host="nas", face_id=None)


def elsewhere(*places: tuple[str, str]) -> list[dict[str, str]]:
    return [{"host": host, "path": path} for host, path in places]


def found(*matches: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """An answer with 18,431 faces here and 210,000 on a NAS."""
    return answer(matches=list(matches), **{"faces": 228_431, "shared": shared(machine("nas"))} | changes)


# What is asked


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ([], None),
        (["--json"], None),
        (["--shared"], True),
        (["--local"], False),
        (["-l"], False),
        (["-0"], False),
        (["-l", "--hosts"], None),
        (["-0", "--hosts", "--shared"], True),
        (["-l", "--shared"], True),
    ],
)
def test_whether_the_engine_is_asked(ask: Any, daemon: FakeDaemon, arguments: list[str], asked: bool | None) -> None:
    ask("anna.jpg", *arguments)
    assert daemon.params().get("shared") is asked


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--shared", "--local"], "--shared and --local exclude each other"),
        (["--hosts", "--local"], "--hosts prints photos of other machines, and goes without --local"),
        (["--new", "mail", "-l", "--shared"], "--new would count photos of other machines as printed: give --hosts"),
        (["-d", "nas:/srv", "--local"], "--local is about the photos of this machine, and goes without -d HOST:PATH"),
        (["-d", "nas:/srv", "--follow"], "--follow is about the photos of this machine, and goes without -d"),
        (["-d", "/p", "-d", "nas:", "-0"], "give --hosts beside -d HOST:PATH"),
        (["-d", "http://nas/srv"], "is not on this machine"),
        (["--list-faces", "--shared"], "--list-faces searches nothing"),
        (["--list-faces", "--local"], "--list-faces searches nothing"),
        (["--list-faces", "--hosts"], "--list-faces searches nothing"),
    ],
)
def test_options_that_contradict_each_other_ask_nothing(
    ask: Any, daemon: FakeDaemon, capfd: Any, arguments: list[str], words: str
) -> None:
    assert ask("anna.jpg", *arguments) == client.WRONG
    assert words in capfd.readouterr().err
    assert daemon.requests == []


@pytest.mark.parametrize("arguments", [["--local"], ["-l"], ["-l", "--explain"]])
def test_a_daemon_of_an_earlier_version_asks_no_engine_anyway(
    ask: Any, daemon: FakeDaemon, capfd: Any, arguments: list[str]
) -> None:
    def script(request: dict[str, Any]) -> bytes:
        for name in ("shared", "verdicts"):
            if name in request["params"]:
                return error(request, "", f"unknown parameter '{name}'; known here: photos, faces", code=-32602)
        return reply(request, answer())

    daemon.script = script
    assert ask("anna.jpg", *arguments) == client.NOTHING_FOUND
    assert ask("anna.jpg", "--shared") == client.NOT_READY
    assert "of an earlier version, without --shared; start it again" in capfd.readouterr().err


def test_directories_of_other_machines_are_named_with_their_host(
    ask: Any, daemon: FakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless a file here has that very name, and however a directory of this machine is called."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nas:").mkdir()
    odd = os.fsdecode(b"nas2:/\xff")
    for name in ("nas2:/srv/../x", "nas2:", odd, "nas:", "nas:/srv", "./nas2:/srv", "a:b", "a/b:/c", "file:///p"):
        ask("anna.jpg", "-d", name)
    here = str(tmp_path)
    assert [request["params"]["dirs"] for request in daemon.requests] == [
        ["nas2:/x"],
        ["nas2:/"],
        [{"host": "nas2", "path_bytes": "L/8="}],
        [f"{here}/nas:"],
        ["nas:/srv"],
        [f"{here}/nas2:/srv"],
        [f"{here}/a:b"],
        [f"{here}/a/b:/c"],
        ["/p"],
    ]


def test_a_daemon_without_an_engine_refuses_the_question(ask: Any, daemon: FakeDaemon, capfd: Any) -> None:
    words = "no shared engine is configured"
    daemon.script = lambda request: error(request, "", words, code=-32602)
    assert ask("anna.jpg", "--shared") == client.WRONG
    assert capfd.readouterr().err == f"facewatch-query: {words}\n"


# What is printed


def test_a_terminal_names_the_machine_of_each_photo_and_how_much_was_searched_where(daemon: FakeDaemon) -> None:
    here = match(b"/p/a.jpg", 0.6, elsewhere=elsewhere(("nas", "/srv/a.jpg"), ("nas", "/srv/b.jpg"), ("l", "/x")))
    there = ON_NAS | {"elsewhere": elsewhere(("nas", "/srv/copy.jpg"), ("laptop", "/y"))}
    everyone = shared(machine("nas"), machine("laptop", 8000, as_of_s=3 * WEEK + 5))
    daemon.script = lambda request: reply(request, found(there, here, faces=236_431, shared=everyone, total=106))
    status, out, err = run_on_terminal(daemon, "anna.jpg", NO_COLOR="1")
    assert status == client.FOUND
    assert out.decode() == (
        "SIMILARITY  BOX        PATH\n"
        "0.742       1,2 30x40  nas:/srv/photos/2019/x.jpg  (+1 copy, also on laptop)\n"
        "0.600       1,2 30x40  /p/a.jpg  (also on nas, l)\n"
    )
    assert err.decode().splitlines()[1:] == [
        "2 of 106 photos; -n 0 shows all; 18,431 faces here, 210,000 on nas, 8,000 on laptop (3 weeks ago), 14 ms"
    ]


def test_piped_lines_name_the_machine_and_lists_of_paths_are_of_this_one(
    ask: Any, daemon: FakeDaemon, capfdbinary: Any
) -> None:
    """A path of this machine begins with a slash, even one that looks like a machine's."""
    odd = ON_NAS | {"path": "/srv/tab\t.jpg"}
    daemon.script = lambda request: reply(request, found(match(b"/p/nas:/x.jpg"), odd, match(b"/p/b.jpg")))
    assert ask("anna.jpg") == client.FOUND
    assert capfdbinary.readouterr() == (
        b"0.742\t1,2,30,40\t/p/nas:/x.jpg\n0.742\t1,2,30,40\tnas:/srv/tab\\t.jpg\n0.742\t1,2,30,40\t/p/b.jpg\n",
        b"",
    )
    for option, end in (("-l", b"\n"), ("-0", b"\0")):
        assert ask("anna.jpg", option, "--shared") == client.FOUND
        out, err = capfdbinary.readouterr()
        assert out == b"/p/nas:/x.jpg" + end + b"/p/b.jpg" + end
        assert err == b"1 photo on other machines left out; --hosts prints their names as host:/path\n"
        assert ask("anna.jpg", option, "--hosts") == client.FOUND
        both = b"/p/nas:/x.jpg" + end + b"nas:/srv/tab\t.jpg" + end + b"/p/b.jpg" + end
        assert capfdbinary.readouterr() == (both, b"")
    assert ask("anna.jpg", "-l", "--shared", "-q") == client.FOUND
    assert capfdbinary.readouterr().err == b""


def test_one_path_on_two_machines_is_two_photos(ask: Any, daemon: FakeDaemon, capfd: Any) -> None:
    same = [match(b"/p/a.jpg"), match(b"/p/a.jpg", host="nas"), match(b"/p/a.jpg", host="laptop")]
    daemon.script = lambda request: reply(request, found(*same))
    ask("anna.jpg", "-l", "--hosts")
    assert capfd.readouterr().out == "/p/a.jpg\nnas:/p/a.jpg\nlaptop:/p/a.jpg\n"


def test_a_burst_counts_the_frames_on_other_machines(daemon: FakeDaemon) -> None:
    burst = match(b"/p/a.jpg", similar=["/p/b.jpg"], similar_elsewhere=elsewhere(("nas", "/c.jpg"), ("nas", "/d.jpg")))
    daemon.script = lambda request: reply(request, found(burst))
    assert b"/p/a.jpg  (+3 in its burst)\n" in run_on_terminal(daemon, "anna.jpg", NO_COLOR="1")[1]


def test_a_name_that_is_not_utf8_or_steers_the_terminal_is_harmless(
    ask: Any, daemon: FakeDaemon, capfdbinary: Any
) -> None:
    evil = match(b"/x\xff\x1b[2J.jpg", host="n\x1b[2Jas", elsewhere=elsewhere(("b\x1b[1mad", "/x")))
    evil_machine = machine("n\x1b[2Jas")
    daemon.script = lambda request: reply(request, found(evil, shared=shared(evil_machine)))
    _, out, err = run_on_terminal(daemon, "anna.jpg", NO_COLOR="1")
    assert b"\x1b" not in out + err
    assert b"n\\x1b[2Jas:/x\\xff\\x1b[2J.jpg  (also on b\\x1b[1mad)" in out
    ask("anna.jpg", "-0", "--hosts")
    assert capfdbinary.readouterr().out == b"n\x1b[2Jas:/x\xff\x1b[2J.jpg\0"
    daemon.script = lambda request: reply(request, found(match(b"/x", host="\udcff\ud800")))
    assert ask("anna.jpg") == client.FOUND
    assert capfdbinary.readouterr().out.endswith(b"??:/x\n")


def test_json_has_everything(ask: Any, daemon: FakeDaemon, capfd: Any) -> None:
    document = found(ON_NAS, complete=False, shared=shared(machine("nas", backlog=4), state="behind"))
    daemon.script = lambda request: reply(request, document)
    assert ask("anna.jpg", "--json") == client.FOUND
    out, err = capfd.readouterr()
    printed = json.loads(out)
    assert (printed["shared"], printed["matches"]) == (document["shared"], document["matches"])
    assert err == ""


def test_where_the_engine_has_more_than_was_looked_at_there_are_at_least_so_many(
    ask: Any, daemon: FakeDaemon, capfd: Any
) -> None:
    reason = "other machines have more faces that match, and only the most alike were asked for"
    cut = shared(machine("nas"), cut=True, reason=reason)
    daemon.script = lambda request: reply(request, found(ON_NAS, total=400, shared=cut))
    assert ask("anna.jpg", "--sort", "-date") == client.FOUND
    lines = capfd.readouterr().err.splitlines()
    assert lines == ["1 of at least 400 photos; -n 0 shows all", reason]


def test_photos_of_other_machines_that_are_left_out_are_said_with_those_that_are_to_come(
    ask: Any, daemon: FakeDaemon, capfd: Any
) -> None:
    reason = "2 photos of other machines are left out: what was sent of them cannot be true"
    behind = shared(machine("nas", backlog=4), state="behind", reason=reason)
    daemon.script = lambda request: reply(request, found(ON_NAS, complete=False, shared=behind))
    assert ask("anna.jpg") == client.FOUND
    assert capfd.readouterr().err.splitlines() == [
        f"not complete: photos still to come from other machines: 4 on nas; {reason}"
    ]
    alone = found(ON_NAS, complete=False, shared=shared(machine("nas"), reason=reason))
    daemon.script = lambda request: reply(request, alone)
    assert ask("anna.jpg") == client.FOUND
    assert capfd.readouterr().err == f"{reason}\n", "and no directory of this machine is blamed"


def test_a_photo_that_is_named_as_one_of_another_machine_is_not_here(
    ask: Any, daemon: FakeDaemon, capfd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("nas:/srv/a.jpg", "nas:/srv/a.jpg#1"):
        assert ask(name) == client.WRONG
        assert "nas:/srv/a.jpg is not on this machine; copy the photo here, and name the copy" in capfd.readouterr().err
    assert cli.main(["why", "nas:/srv/a.jpg", "--socket", str(daemon.path)]) == client.WRONG
    assert "nas:/srv/a.jpg is not on this machine" in capfd.readouterr().err
    assert daemon.requests == []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nas:" / "srv").mkdir(parents=True)
    (tmp_path / "nas:" / "srv" / "a.jpg").write_bytes(b"")
    daemon.script = lambda request: reply(request, answer(b"/a"))
    assert ask("nas:/srv/a.jpg") == client.FOUND, "a file by that very name"


# What was not searched


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("unreachable", "shared engine unreachable"),
        ("refused", "shared engine cannot be used"),
        ("off", "shared engine not asked"),
    ],
)
def test_an_engine_that_is_not_reached_is_one_line_and_no_failure(
    ask: Any, daemon: FakeDaemon, capfd: Any, state: str, words: str
) -> None:
    line = f"{words}, searched on this machine only: no route to nas.lan"
    away = shared(machine("nas"), state=state, reason="no route to nas.lan")
    here = answer(b"/p/a.jpg", complete=False, shared=away)
    daemon.script = lambda request: reply(request, here)
    for arguments in ([], ["--wait", "0"]):
        assert ask("anna.jpg", *arguments) == client.FOUND
        assert capfd.readouterr().err == f"{line}\n"
    for arguments in (["-q"], ["--json"]):
        assert ask("anna.jpg", *arguments) == client.FOUND
        assert capfd.readouterr().err == ""
    err = run_on_terminal(daemon, "anna.jpg", NO_COLOR="1")[2].decode().splitlines()
    assert err[1:] == ["1 of 1 photo; 18,431 faces here, 14 ms", line]
    daemon.script = lambda request: reply(request, answer(complete=False, shared=away))
    assert ask("anna.jpg") == client.NOTHING_FOUND


def test_photos_that_are_pending_here_are_said_beside_it(ask: Any, daemon: FakeDaemon, capfd: Any) -> None:
    away = shared(state="unreachable", reason="no route")
    daemon.script = lambda request: reply(request, answer(b"/a", complete=False, pending=2, shared=away))
    assert ask("anna.jpg") == client.FOUND
    assert capfd.readouterr().err.splitlines() == [
        "not complete: 2 photos are not searchable yet; --wait waits for them",
        "shared engine unreachable, searched on this machine only: no route",
    ]
    assert ask("anna.jpg", "--wait", "0") == client.NOT_READY
    lines = capfd.readouterr().err.splitlines()
    assert lines[-2] == "shared engine unreachable, searched on this machine only: no route"
    assert lines[-1].startswith("facewatch-query: not everything is searchable after 0 s, 2 photos are pending")


def test_the_daemon_and_its_clients_call_the_same_machines_away() -> None:
    assert values.AWAY == machines.OLD


def test_photos_that_machines_have_still_to_send_are_said(ask: Any, daemon: FakeDaemon, capfd: Any) -> None:
    """Not those of a machine that is off: its faces are as of an earlier time."""
    everyone = shared(
        machine("nas", backlog=1200, pending=30), machine("desk", pending=1), machine("off", backlog=9, as_of_s=WEEK)
    )
    daemon.script = lambda request: reply(request, found(ON_NAS, complete=False, shared=everyone))
    assert ask("anna.jpg") == client.FOUND
    assert capfd.readouterr().err == "not complete: photos still to come from other machines: 1,230 on nas, 1 on desk\n"
    assert ask("anna.jpg", "--wait", "0") == client.FOUND, "the wait is for this machine"


def test_a_directory_out_of_reach_here_is_said_although_other_machines_answer(
    ask: Any, daemon: FakeDaemon, capfd: Any
) -> None:
    daemon.script = lambda request: reply(request, found(ON_NAS, complete=False))
    assert ask("anna.jpg") == client.FOUND
    assert "a directory is out of reach" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (3599, "59 minutes ago"),
        (86400, "1 day ago"),
        (3 * WEEK, "3 weeks ago"),
        (400 * 86400, "13 months ago"),
    ],
)
def test_how_long_ago_in_words(seconds: float, words: str) -> None:
    assert machines.ago(seconds) == words


def test_many_machines_are_one_short_line(daemon: FakeDaemon) -> None:
    everyone = shared(*(machine(f"m{number}", 1000 * number) for number in range(1, 11)))
    daemon.script = lambda request: reply(request, found(ON_NAS, faces=55_001, shared=everyone))
    assert run_on_terminal(daemon, "anna.jpg", NO_COLOR="1")[2].decode().splitlines()[1] == (
        "1 of 1 photo; 1 face here, 10,000 on m10, 9,000 on m9, 8,000 on m8, 7,000 on m7, 21,000 on 6 more machines, "
        "14 ms"
    )


@pytest.mark.parametrize(
    "wrong",
    [{"state": "ok"}, [], {"state": "ok", "machines": [{"name": "nas"}]}, {"state": "ok", "machines": [7]}],
)
def test_a_strange_answer_is_one_line(daemon: FakeDaemon, wrong: Any) -> None:
    daemon.script = lambda request: reply(request, answer(b"/a", shared=wrong))
    done = run(daemon, "anna.jpg", env=os.environ)
    assert done.returncode == client.NOT_READY
    assert b"another form than this client expects" in done.stderr
    assert done.stderr.count(b"\n") == 1


# How many


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
        ([f"m{number:02}" for number in range(20)], ", ".join(f"1 on m{n:02}" for n in range(4))
            + " and 16 on 16 more machines"),
    ],
)  # fmt: skip
def test_how_many_lie_on_which_machine(hosts: list[str], words: str) -> None:
    assert machines.numbers(on(*hosts)) == words


def test_a_photo_that_is_here_too_is_here() -> None:
    (match,) = on("")
    assert machines.numbers([match._replace(elsewhere=(Place("nas", b"/a.jpg"),))]) == ""


# --follow


def test_what_is_followed_is_this_machine(daemon: FakeDaemon) -> None:
    """The daemon tells of its own photos only; one that was found at a path elsewhere is another photo."""
    arrives = match(ON_NAS["path"].encode(), face_id=None)

    def script(request: dict[str, Any]) -> bytes:
        if request["method"] == "query":
            return reply(request, found(ON_NAS, cursor="0"))
        line = {"jsonrpc": "2.0", "method": "match", "params": {"cursor": "0", "match": arrives}}
        sent = reply(request, {"cursor": "0", "resumed": True}) + json.dumps(line).encode() + b"\n"
        return sent + error({"id": None}, "bad", "the end")

    daemon.script = script
    status, out, err = run_on_terminal(daemon, "--follow", "--shared", "anna.jpg", NO_COLOR="1")
    assert (status, b"the end" in err) == (client.NOT_READY, True)
    assert [line.split()[-1] for line in out.decode().splitlines()[1:]] == [f"nas:{ON_NAS['path']}", ON_NAS["path"]]
    assert b"waiting for more on this machine; Ctrl-C ends\n" in err
    asked = {request["method"]: request["params"].get("shared") for request in daemon.requests}
    assert asked == {"query": True, "subscribe": None}
