"""``facewatchd page`` as a process: how it starts, which browser it opens and how, and when it ends."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.support.albums import shoot
from tests.support.page_process import PageProcess
from tests.support.processes import DEADLINE, Daemon, until
from tests.support.raw_http import OURS, Client


@pytest.fixture
def daemon(tmp_path: Path, tiny_root: Path) -> Iterator[Daemon]:
    """One that is not started yet. The page needs none to start and to end."""
    shoot(tmp_path / "photos" / "one.jpg", [1, 2], 1)
    with Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root) as daemon:
        yield daemon


def left_behind(daemon: Daemon) -> list[Path]:
    return list(daemon.home.rglob("*page*.json")) + list(daemon.home.rglob("*page*.html"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_at_once_and_leaves_nothing(daemon: Daemon, number: signal.Signals) -> None:
    with PageProcess(daemon) as page:
        page.start()
        client = Client(page).sign_in()
        assert client.get("/ask").status == 503
        assert len(left_behind(daemon)) == 2
        assert page.process is not None
        page.process.send_signal(number)
        assert page.process.wait(10) == 0
        assert left_behind(daemon) == []
        assert "Traceback" not in page.log.read_text()


def test_it_ends_at_once_while_the_daemon_is_still_thinking(daemon: Daemon) -> None:
    daemon.hook(_SLOW)
    daemon.start()
    with PageProcess(daemon) as page:
        page.start()
        client = Client(page).sign_in()
        asking = threading.Thread(target=_ignoring_errors, args=(client,))
        asking.start()
        until(lambda: (daemon.home / "asked").exists())
        assert page.process is not None
        page.process.send_signal(signal.SIGTERM)
        assert page.process.wait(10) == 0
        asking.join(DEADLINE)
        assert "Traceback" not in page.log.read_text()


_SLOW = """
import sys
if "run" in sys.argv:
    import time
    from pathlib import Path
    from facewatchd.api.people import People
    def people(self, params):
        Path(sys.argv[sys.argv.index("--config") + 1]).with_name("asked").touch()
        time.sleep(600)
    People.people = people
"""


def _ignoring_errors(client: Client) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        client.get("/ask")


def test_there_is_one_page_and_a_second_call_leads_to_it(daemon: Daemon) -> None:
    with PageProcess(daemon) as page:
        page.start()
        second = page.again("--no-open")
        assert (second.returncode, second.stdout.strip()) == (0, page.url)
        assert "already" in second.stderr
        assert Client(page).sign_in().get("/ask").status == 503
        page.kill()
        assert left_behind(daemon)
    with PageProcess(daemon) as page:
        page.start()
        assert page.url != second.stdout.strip()
        assert Client(page).sign_in().get("/ask").status == 503


def test_the_browser_is_given_a_private_file_and_no_code(daemon: Daemon, tmp_path: Path) -> None:
    opened, programs = tmp_path / "opened", tmp_path / "programs"
    programs.mkdir()
    opener = programs / "xdg-open"
    opener.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {opened}.new && mv {opened}.new {opened}\n')
    opener.chmod(0o755)
    daemon.environment |= {"DISPLAY": ":99", "PATH": f"{programs}:{os.environ['PATH']}"}
    with PageProcess(daemon) as page:
        page.opens = True
        page.start()
        for _ in range(2):
            (name,) = until(lambda: opened.exists() and opened.read_text()).splitlines()
            assert Client(page).code not in name
            leading = Path(unquote(urlsplit(name).path))
            assert urlsplit(name).scheme == "file"
            assert page.url in leading.read_text()
            assert stat.S_IMODE(leading.stat().st_mode) == 0o600
            assert stat.S_IMODE(leading.parent.stat().st_mode) == 0o700
            opened.unlink()
            assert page.again().returncode == 0
        page.stop()
        assert not leading.exists()


def test_without_a_desktop_the_address_is_to_be_opened_by_hand(daemon: Daemon) -> None:
    daemon.environment = {name: value for name, value in daemon.environment.items() if "DISPLAY" not in name}
    with PageProcess(daemon) as page:
        page.opens = True
        page.start()
        until(lambda: "open this address" in page.log.read_text())


def test_without_a_daemon_it_says_how_to_start_one_and_goes_on_when_it_comes(daemon: Daemon) -> None:
    with PageProcess(daemon) as page:
        page.start()
        client = Client(page).sign_in()
        answer = client.get("/ask")
        assert answer.status == 503
        assert "facewatchd run" in answer.text
        assert "facewatchd run" in page.log.read_text()
        daemon.start()
        assert client.get("/ask").status == 200
        daemon.kill()
        assert client.get("/ask").status == 503
        daemon.start()
        assert client.get("/ask").status == 200


def test_a_tab_that_only_stands_open_does_not_keep_it_alive_and_use_does(daemon: Daemon) -> None:
    daemon.hook("from facewatchd.page import server\nserver.IDLE = 1.5")
    with PageProcess(daemon) as page:
        page.start()
        client = Client(page).sign_in()
        assert page.process is not None
        for _ in range(8):
            assert client.get("/ask").status == 503
            with pytest.raises(subprocess.TimeoutExpired):
                page.process.wait(0.25)
        until(lambda: page.process is not None and _waits_in_vain(client) and page.process.poll() is not None)
        assert page.process.returncode == 0
        assert left_behind(daemon) == []


def _waits_in_vain(client: Client) -> bool:
    """Ask as a script does that looks whether there is something new."""
    try:
        return client.get("/ask", (*OURS, ("Facewatchd-Background", "1"))).status == 503
    except OSError:
        return True


def test_a_port_may_be_chosen_and_one_that_is_taken_is_said(daemon: Daemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        refused = PageProcess(daemon).again("--no-open", "--port", str(taken))
        assert refused.returncode == 1
        assert f"port {taken}" in refused.stderr
        assert refused.stderr.count("\n") == 1
    with PageProcess(daemon) as page:
        page.start("--port", str(taken))
        assert Client(page).port == taken
    for wrong in ("70000", "-1", "x", ""):
        assert PageProcess(daemon).again("--port", wrong).returncode == 2


def test_without_its_packages_it_says_how_to_install_them(daemon: Daemon) -> None:
    code = (
        "import sys\nfor name in ('starlette', 'uvicorn', 'multipart', 'python_multipart'): sys.modules[name] = None\n"
        "from facewatchd.cli.app import main\nsys.exit(main(['page', '--no-open']))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=daemon.environment, check=False
    )
    assert result.returncode == 1
    assert result.stderr.startswith("facewatchd: the page needs more packages; install them: ")
    assert "[page]" in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_open_page_names_nobody_once_the_photos_are_indexed_anew(daemon: Daemon) -> None:
    daemon.start()
    daemon.settle()
    with PageProcess(daemon) as page:
        page.start()
        client = Client(page).sign_in()
        form = client.get("/face/1").text
        (word,) = set(re.findall(r'name="catalog" value="(\w{16})"', form))
        assert client.get(f"/face/1/256.jpg?catalog={word}").status == 200
        daemon.stop()
        (catalog,) = daemon.home.rglob("catalog.sqlite3")
        shutil.rmtree(catalog.parent)
        daemon.start()
        daemon.settle()
        assert client.get(f"/face/1/256.jpg?catalog={word}").status == 409
        said = {"name": "Anna", "who": "face:1", "back": "/", "catalog": word}
        assert client.post("/say", said).status == 409
        assert client.post("/undo", {"step": "1", "back": "/", "catalog": word}).status == 409
        assert daemon.call("people")["people"] == []
        (new,) = set(re.findall(r'name="catalog" value="(\w{16})"', client.get("/face/1").text))
        assert client.post("/say", {**said, "catalog": new}).status == 303
        assert [each["name"] for each in daemon.call("people")["people"]] == ["Anna"]
