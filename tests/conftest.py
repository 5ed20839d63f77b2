"""Fixtures that several test modules use."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from facewatchd.store.gallery import Gallery
from tests.support import engine_server as engine_servers
from tests.support import tiny_pack
from tests.support.engine_server import Database, Server
from tests.support.galleries import close_all, opened
from tests.support.processes import Daemon
from tests.support.tcp_proxy import Proxy

TESTS = Path(__file__).parent
# Compiled modules are kept even where the environment says not to: else each of hundreds of daemons would compile the
# whole package, and each of pytest's processes all tests.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

DIRECTORIES = ("unit", "system", "faults", "browser")
"""Each is the marker of the tests in it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="the fault tests at their full size: about half an hour")
    parser.addoption(
        "--screenshots",
        metavar="DIR",
        help="keep what each page looked like at the end of its test: desk, phone; light, dark",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Have ``-m unit`` not import the modules of the other directories, which takes each worker seconds."""
    wanted = config.option.markexpr
    is_another = collection_path.parent == TESTS and wanted in DIRECTORIES and collection_path.name in DIRECTORIES
    return True if is_another and collection_path.name != wanted else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test with the name of its directory below this one, and skip those that take minutes."""
    for item in items:
        item.add_marker(item.path.relative_to(TESTS).parts[0])
        if item.get_closest_marker("full") and not config.getoption("--full"):
            item.add_marker(pytest.mark.skip(reason="takes minutes: only with --full"))


@pytest.fixture
def amount(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """``amount(quick, full)``: how many of something this run makes."""
    return lambda quick, full: full if request.config.getoption("--full") else quick


@pytest.fixture
def new_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new user's home, and nothing of the machine's own configuration to be seen."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))
    return home


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An InsightFace root that holds the pack ``tiny``."""
    root = tmp_path_factory.mktemp("insightface")
    tiny_pack.build(root)
    return root


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """The usual one, whatever this run's is: the daemon sets its own, in this process too where a test runs it here."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def _closed_galleries() -> Iterator[None]:
    """Close what the test opened with `galleries.opened`."""
    yield
    close_all()


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    """An empty one with its catalog in the test's directory, brought level."""
    return opened(tmp_path)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Start a daemon on some directories; it is killed at the end. Arguments are those of `Daemon`."""
    with contextlib.ExitStack() as daemons:

        def start(*roots: Path, **options: object) -> Daemon:
            home = tmp_path / f"home {next(numbers)}"
            daemon = daemons.enter_context(Daemon(home, *roots, **options))  # type: ignore[arg-type]
            daemon.start()
            return daemon

        numbers = itertools.count()
        yield start


@pytest.fixture(scope="session")
def engine_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The PostgreSQL of the test run; a test that stops it or changes its settings takes `own_server`."""
    place = tmp_path_factory.getbasetemp()
    with engine_servers.shared(place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) as server:
        yield server


@pytest.fixture
def new_database(engine_server: Server) -> Iterator[Callable[..., Database]]:
    """Make databases, which are dropped at the end. Arguments are those of `Server.new_database`."""
    with contextlib.ExitStack() as databases:

        def new_database(**options: bool) -> Database:
            database = engine_server.new_database(**options)
            databases.callback(database.drop)
            return database

        yield new_database


@pytest.fixture
def engine(new_database: Callable[..., Database]) -> Database:
    """A database for the shared engine: empty, with pgvector."""
    return new_database()


@pytest.fixture
def own_server(engine_server: Server) -> Iterator[Callable[..., Server]]:
    """Start servers of the test's own. Arguments are settings of PostgreSQL."""
    with contextlib.ExitStack() as servers:

        def own_server(**settings: str) -> Server:
            server = servers.enter_context(engine_servers.own(engine_server.installation, **settings))
            server.start()
            return server

        yield own_server


@pytest.fixture
def proxy(engine_server: Server) -> Iterator[Proxy]:
    """A proxy before the server of the test run: ``engine.url(port=proxy.port)``."""
    with Proxy(engine_server.port) as proxy:
        yield proxy
