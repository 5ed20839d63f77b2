"""The page's process is tried as another user, another web site, and a careless program would try it."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.albums import shoot
from tests.support.page_process import PageProcess
from tests.support.processes import DEADLINE, Daemon
from tests.support.raw_http import OURS, Client, Headers

NAME = "Anna Secret"
EVIL = "http://evil.example"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Iterator[Daemon]:
    """One that knows a person by name."""
    place = tmp_path_factory.mktemp("safety")
    photo = shoot(place / "photos" / "one.jpg", [1], 1)
    with Daemon(place / "home", place / "photos", model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        daemon.settle()
        daemon.call("assign", name=NAME, who=[{"path": str(photo)}])
        yield daemon


@pytest.fixture(scope="module")
def process(daemon: Daemon) -> Iterator[PageProcess]:
    with PageProcess(daemon) as process:
        process.start()
        yield process


@pytest.fixture
def client(process: PageProcess) -> Client:
    """One with the cookie."""
    return Client(process).sign_in()


@pytest.fixture(scope="module")
def face(daemon: Daemon) -> int:
    """The id of the face."""
    (match,) = daemon.call("query", who=[{"person": NAME}])["matches"]
    return int(match["face_id"])


def said(daemon: Daemon) -> int:
    """How much was said of the person."""
    return len(daemon.call("person", name=NAME)["statements"])


def test_it_listens_on_the_loopback_alone(process: PageProcess) -> None:
    port = f":{Client(process).port:04X}"
    tables = [path for path in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if path.exists()]
    rows = [line.split() for path in tables for line in path.read_text().splitlines()[1:]]
    listening = {row[1] for row in rows if row[1].endswith(port) and row[3] == "0A"}
    assert listening
    assert listening <= {f"0100007F{port}", f"00000000000000000000000001000000{port}"}


def test_the_page_itself_gets_what_it_asks_for(client: Client, face: int) -> None:
    assert NAME in client.get("/ask").text
    assert client.get(f"/face/{face}/256.jpg").body.startswith(b"\xff\xd8")


PATHS = ["/", "/ask", f"/ask?who=%40{NAME.replace(' ', '%20')}", "/people", "/face/1", "/face/1/256.jpg", "/nowhere"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("headers", [OURS, (), (("Sec-Fetch-Site", "none"),)], ids=["browser", "program", "typed"])
@pytest.mark.parametrize("cookie", ["", "facewatchd=1", "right name"])
def test_without_the_cookie_there_is_nothing(
    process: PageProcess, path: str, headers: Headers, cookie: str, face: int
) -> None:
    stranger = Client(process)
    wrong = f"facewatchd-{stranger.port}={'A' * 43}" if cookie == "right name" else cookie
    answer = stranger.ask("GET", path.replace("/1", f"/{face}"), headers, cookie=wrong)
    assert answer.status == 401
    assert NAME not in answer.text
    assert not answer.body.startswith(b"\xff\xd8")


def test_another_user_of_the_machine_gets_not_a_byte_not_even_with_the_cookie(client: Client) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can ask as another user")
    request = f"GET /ask HTTP/1.1\r\nHost: {client.name}\r\nCookie: {client.cookie}\r\nConnection: close\r\n\r\n"

    def ask() -> bytes:
        with socket.create_connection((client.host, client.port), timeout=DEADLINE) as stream:
            try:
                stream.sendall(request.encode())
                return stream.recv(100)
            except ConnectionError:
                return b""

    assert ask().startswith(b"HTTP/1.1 200")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:  # pragma: no cover - it is another user's process
        try:
            os.setresuid(65534, 65534, 65534)
            os.write(writing, b"got: " + ask())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == b"got: "
    os.waitpid(child, 0)


@pytest.mark.parametrize(
    "host",
    [["evil.example"], ["evil.example:{port}"], ["127.0.0.1"], ["127.0.0.1:1"], ["127.0.0.1:{port}.evil.example"], []],
)
def test_another_host_is_refused_whatever_address_it_has(client: Client, host: list[str]) -> None:
    answer = client.get("/ask", host=[each.format(port=client.port) for each in host])
    assert answer.status in (400, 421)
    assert NAME not in answer.text


def test_two_hosts_are_refused(client: Client) -> None:
    assert client.get("/ask", host=[client.name, "evil.example"]).status in (400, 421)


def test_localhost_is_this_host(client: Client) -> None:
    assert client.get("/ask", host=[f"localhost:{client.port}"]).status == 200


FOREIGN_CHANGES: list[Headers] = [
    (),
    (("Origin", EVIL),),
    (("Origin", "null"),),
    (("Origin", "http://127.0.0.1:1"),),
    (("Sec-Fetch-Site", "cross-site"),),
    (("Sec-Fetch-Site", "same-site"),),
    (("Sec-Fetch-Site", "none"),),
    (("Sec-Fetch-Site", "nonsense"),),
    (("Sec-Fetch-Site", "same-origin"), ("Origin", EVIL)),
    (("Sec-Fetch-Site", "cross-site"), ("Origin", "OURS")),
    (("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")),
]


@pytest.mark.parametrize("headers", FOREIGN_CHANGES, ids=str)
@pytest.mark.parametrize("path", ["/say", "/undo"])
def test_another_site_changes_nothing(client: Client, daemon: Daemon, face: int, headers: Headers, path: str) -> None:
    before = said(daemon)
    given = [(name, client.origin if value == "OURS" else value) for name, value in headers]
    answer = client.post(path, {"name": NAME, "who": f"face:{face}", "is": "no", "back": "/"}, given)
    assert answer.status == 403
    assert said(daemon) == before


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_no_other_method_is_known_and_no_origin_is_let_in(client: Client, method: str) -> None:
    asked = (("Origin", EVIL), ("Access-Control-Request-Method", "POST"))
    for headers in (asked, OURS):
        answer = client.ask(method, "/say", headers)
        assert answer.status == 405
        assert not any(name.startswith("access-control") for name in answer.headers)


def test_nothing_changes_by_a_link(client: Client, daemon: Daemon, face: int) -> None:
    before = said(daemon)
    for path in (f"/say?name=Anna&who=face:{face}&is=no", "/undo", "/photos"):
        assert client.get(path).status in (404, 405)
    assert said(daemon) == before


FOREIGN_READS: list[Headers] = [
    (("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image")),
    (("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image")),
    (("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty"), ("Origin", EVIL)),
    (("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe")),
    (("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "embed")),
    (("Sec-Fetch-Site", "cross-site"),),
    (("Origin", EVIL),),
]


@pytest.mark.parametrize("headers", FOREIGN_READS, ids=str)
@pytest.mark.parametrize("path", ["/face/1/256.jpg", "/face/1/photo/1024.jpg", "/ask", "/static/page.css"])
def test_another_site_reads_nothing(client: Client, headers: Headers, path: str, face: int) -> None:
    """Even where a browser sent the cookie, which it does not."""
    answer = client.get(path.replace("/1/", f"/{face}/"), headers)
    assert answer.status == 403
    assert b"\xff\xd8" not in answer.body
    assert NAME not in answer.text


def test_a_link_from_another_site_leads_to_the_entrance(client: Client) -> None:
    coming = (("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"))
    answer = client.get("/ask", coming)
    assert answer.status == 401
    assert NAME not in answer.text


@pytest.mark.parametrize("path", ["/ask", "/static/page.css", "/nowhere", "/face/1/256.jpg", "/enter", "/face/999999"])
def test_every_answer_is_kept_to_itself(client: Client, path: str, face: int) -> None:
    headers = client.get(path.replace("/1/", f"/{face}/")).headers
    policy = dict(each.strip().partition(" ")[::2] for each in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers
    assert not any(name.startswith("access-control") for name in headers)


def test_pages_are_not_kept_by_the_browser_and_pictures_only_by_it(client: Client, face: int, daemon: Daemon) -> None:
    assert client.get("/ask").headers["cache-control"] == "no-store"
    assert client.get("/nowhere").headers["cache-control"] == "no-store"
    address = f"/face/{face}/256.jpg"
    assert client.get(address).headers["cache-control"] == "no-store", "the id may come to mean another face"
    catalog = daemon.call("status")["catalog"][:16]
    assert client.get(f"{address}?catalog={catalog}").headers["cache-control"].startswith("private, ")


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/face/../../../etc/passwd",
        "/face/%2fetc%2fpasswd/256.jpg",
        "/face/-1/256.jpg",
        "/face/1/999.jpg",
        "/face/1/photo/99999.jpg",
        "/face/9999999999999999999/256.jpg",
        "/photos/..%2f..%2fetc%2fpasswd",
        "/photos/nokey/1600.jpg",
    ],
)
def test_no_address_is_a_path(client: Client, path: str) -> None:
    answer = client.get(path)
    assert 400 <= answer.status < 500
    assert "import" not in answer.text
    assert "root:" not in answer.text


def test_a_body_that_is_too_long_is_refused_before_it_is_sent(client: Client) -> None:
    length = (("Content-Length", str(1 << 40)), ("Content-Type", "multipart/form-data; boundary=x"))
    assert client.ask("POST", "/photos", (*OURS, *length)).status == 413
    assert client.ask("POST", "/say", (*OURS, ("Content-Length", str(2 << 20)))).status == 413
    assert client.ask("POST", "/enter", (*OURS, ("Content-Length", str(2 << 20)))).status == 413


def test_a_body_without_a_length_ends_where_it_is_too_long(client: Client) -> None:
    with socket.create_connection((client.host, client.port), timeout=DEADLINE) as stream:
        lines = [
            "POST /say HTTP/1.1",
            f"Host: {client.name}",
            f"Cookie: {client.cookie}",
            "Sec-Fetch-Site: same-origin",
            "Transfer-Encoding: chunked",
            "Content-Type: application/x-www-form-urlencoded",
        ]
        stream.sendall("\r\n".join([*lines, "", ""]).encode())
        chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
        sent = 0
        try:
            while sent < 1000:
                stream.sendall(chunk)
                sent += 1
        except ConnectionError:
            pass
        assert sent < 1000
        assert stream.recv(100)[:12] in (b"", b"HTTP/1.1 413")


@pytest.mark.parametrize("body", [b"", b"--x", b"--x\r\n\r\nno\r\n--x--\r\n", b"\0" * 1000])
def test_a_form_that_is_none_is_an_error_in_words(client: Client, body: bytes) -> None:
    answer = client.ask("POST", "/photos", (*OURS, ("Content-Type", "multipart/form-data; boundary=x")), body)
    assert answer.status == 400
    assert "Traceback" not in answer.text
    assert client.ask("POST", "/photos", OURS, body).status == 400


def test_a_name_cannot_become_a_part_of_the_page(client: Client, daemon: Daemon, face: int) -> None:
    name = '"><img src=x onerror=alert(1)>'
    daemon.call("assign", name=name, who=[{"face_id": face}])
    try:
        for path in ("/ask", f"/face/{face}", f"/ask?who=face:{face}&with=%3Cscript%3E"):
            text = client.get(path).text
            assert "<img src=x" not in text
            assert "<script>" not in text
    finally:
        daemon.call("undo")


def test_the_code_stands_in_no_log_and_no_command_line(process: PageProcess, client: Client) -> None:
    client.post("/enter", {"code": "wrong"})
    assert client.code not in process.log.read_text()
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert client.code.encode() not in line.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
    for path in process.daemon.home.rglob("*page*"):
        if path.is_file() and client.code in path.read_text():
            assert path.stat().st_mode & 0o777 == 0o600
            assert path.parent.stat().st_mode & 0o777 == 0o700


def test_connections_that_send_little_or_nothing_keep_nobody_out(client: Client) -> None:
    begun = (
        b"",
        b"GET /ask HTTP/1.1\r\nX-A: ",
        f"POST /enter HTTP/1.1\r\nHost: {client.name}\r\nSec-Fetch-Site: same-origin\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 99\r\n\r\ncode".encode(),
        f"GET /static/page.css HTTP/1.1\r\nHost: {client.name}\r\n\r\n".encode(),
    )
    with contextlib.ExitStack() as stack:
        for number in range(200):
            stream = stack.enter_context(socket.create_connection((client.host, client.port), timeout=DEADLINE))
            with contextlib.suppress(ConnectionError):
                stream.sendall(begun[number % len(begun)])
        for _ in range(5):
            assert client.get("/ask").status == 200


@pytest.mark.parametrize("said", [b"", b"GET /ask HTTP/1.1\r\n", b"G"])
def test_a_request_whose_head_does_not_end_is_given_up(daemon: Daemon, said: bytes) -> None:
    daemon.hook("from facewatchd.page import server\nserver._SILENT = 0.5")
    try:
        with PageProcess(daemon) as process:
            process.start()
            client = Client(process).sign_in()
            with socket.create_connection((client.host, client.port), timeout=DEADLINE) as stream:
                if said:  # after a whole request on the same connection
                    stream.sendall(f"GET /static/icon.svg HTTP/1.1\r\nHost: {client.name}\r\n\r\n".encode())
                    assert stream.recv(100000)
                begun, is_closed = time.monotonic(), False
                while not is_closed and time.monotonic() - begun < DEADLINE:
                    try:
                        stream.sendall(said)
                        said = said and b"X-A: b\r\n"
                        stream.settimeout(0.1)
                        is_closed = stream.recv(100000) == b""
                    except TimeoutError:
                        continue
                    except ConnectionError:
                        is_closed = True
                assert is_closed
            assert client.get("/ask").status == 200
    finally:
        daemon.unhook()


def test_what_is_no_request_of_ours_is_not_told_in_the_terminal(client: Client, process: PageProcess) -> None:
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n"
    for request in (f"GET /ask HTTP/1.1\r\nHost: {client.name}\r\n{upgrade}\r\n", "nonsense\r\n\r\n"):
        with socket.create_connection((client.host, client.port), timeout=DEADLINE) as stream:
            stream.sendall(request.encode())
            assert stream.recv(100).startswith(b"HTTP/1.1 4")
    log = process.log.read_text()
    assert "WebSocket" not in log
    assert "Invalid" not in log
