"""Checks of the shared engine, where one is configured: the way to it, what it lacks, and who else is there.

Doctor connects to the engine itself, as facewatch-share does, so that what is wrong is found also while that does not
run. It changes nothing there. A password that only the service has (a systemd credential) is out of its reach.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from facewatchd import paths
from facewatchd.client.connection import Connection
from facewatchd.client.status import Status
from facewatchd.config import Config, Shared
from facewatchd.doctor import machine, model
from facewatchd.doctor.finding import Finding
from facewatchd.errors import FacewatchError
from facewatchd.service.units import SHARE
from facewatchd.shared import credentials
from facewatchd.shared.engine import EngineError, Trouble
from facewatchd.shared.link import LinkError, ShareLink
from facewatchd.shared.postgres import schema
from facewatchd.shared.values import name_taken
from facewatchd.shared.wire import LinkStatus, State
from facewatchd.store.data_directory import known_machine_id
from facewatchd.system import installation
from facewatchd.text import counted

if TYPE_CHECKING:
    from facewatchd.shared.postgres.probe import Found, Tables

_CLOCK: Final = 60.0
"""Seconds by which two clocks may differ: ages of what other machines sent are told in minutes."""
_SLOW: Final = 0.1
"""Seconds of a round trip from which a question, which takes two to three, is felt to wait."""
_CHECKS: Final = {Trouble.NO_EXTENSION: "pgvector", Trouble.NEWER: "tables", Trouble.OTHER_MODEL: "tables"}
_EXTENSION: Final = "psql -d {base} -c 'CREATE EXTENSION vector'"


def check(loaded: Config) -> Iterator[Finding]:
    """Yield what is right and wrong with the shared engine; nothing without `[shared]`."""
    if loaded.shared is None:
        return
    with closing(ShareLink(paths.share_path(loaded.socket), 1, loaded.shared.timeout)) as link:
        status = link.status()
    yield _share(status, loaded.shared)
    try:
        from facewatchd.shared.postgres import probe
    except ImportError as exc:
        detail = "psycopg is not installed" if _version() is None else f"psycopg {_version()} cannot be loaded: {exc}"
        yield Finding("psycopg", "fail", detail, installation.extra("shared"))
        return
    yield Finding("psycopg", "ok", f"version {_version()}")
    try:
        found = probe.look(loaded.shared.url, credentials.password())
    except EngineError as exc:
        yield _unreached(exc, status)
        return
    yield from _server(found)
    yield from _machines(found, loaded)
    if status.state in (State.OK, State.BEHIND):
        yield _question(loaded, found)


def _version() -> str | None:
    try:
        return importlib.metadata.version("psycopg")
    except importlib.metadata.PackageNotFoundError:
        return None


def _share(status: LinkStatus, shared: Shared) -> Finding:
    """How facewatch-share says that it stands."""
    if status.state is State.OFF:
        has_unit = (paths.units_path() / SHARE).exists()
        hint = f"systemctl --user start {SHARE}" if has_unit else "`facewatchd service install`, or run facewatch-share"
        return Finding("share", "warn", "facewatch-share does not run: nothing is sent or asked", hint)
    if status.name and status.name != shared.name:
        detail = f"facewatch-share runs as {status.name}, and `shared.name` is {shared.name}"
        return Finding("share", "warn", detail, f"systemctl --user reload {SHARE}")
    if status.state is State.OK:
        sends = "everything is sent" if status.sends else "nothing is sent (`shared.send`)"
        return Finding("share", "ok", f"facewatch-share is connected, {sends}")
    if status.state is State.BEHIND:
        severity = "warn" if status.hint else "ok"  # with a hint it needs the user, else only time
        return Finding("share", severity, f"facewatch-share: {status.reason}", status.hint)
    return Finding("share", "fail", f"facewatch-share: {status.reason}", status.hint or "ask again in a moment")


def _unreached(error: EngineError, status: LinkStatus) -> Finding:
    """What a connection failed with. It is no failure where facewatch-share is connected, with a credential."""
    if error.trouble is Trouble.REFUSED and status.state in (State.OK, State.BEHIND):
        detail = "facewatch-share has a password that only its service can read, so no more can be checked here"
        return Finding("engine", "ok", detail)
    return Finding(_CHECKS.get(error.trouble, "engine"), "fail", error.message, error.hint)


def _server(found: Found) -> Iterator[Finding]:
    """The server: the way to it, its extension, and what the user may do there."""
    way = "TLS" if found.is_encrypted else "no TLS, on this machine"
    detail = f"PostgreSQL {found.version} at {found.where}, {way}, connected in {1e3 * found.connect_s:.0f} ms"
    if found.is_standby:
        yield Finding("engine", "fail", f"{detail}; it is a standby, which takes no changes", "name the primary server")
    elif found.round_trip_s > _SLOW:
        hint = "a question takes two or three; is there a nearer server, or a faster way to it?"
        yield Finding("engine", "warn", f"{detail}; a round trip takes {1e3 * found.round_trip_s:.0f} ms", hint)
    else:
        yield Finding("engine", "ok", f"{detail}; a round trip takes {1e3 * found.round_trip_s:.1f} ms")
    yield _pgvector(found)
    if abs(found.ahead_s) > _CLOCK:
        way = "ahead of" if found.ahead_s > 0 else "behind"
        detail = f"the clock of {found.where} is {abs(found.ahead_s):.0f} s {way} this machine's"
        yield Finding("clock", "warn", detail, "set both by the network: timedatectl set-ntp true")
    else:
        yield Finding("clock", "ok", f"within {max(abs(found.ahead_s), 0.1):.1f} s of {found.where}'s")


def _pgvector(found: Found) -> Finding:
    create = f"as the server's administrator: {_EXTENSION.format(base=found.base)}"
    least = ".".join(map(str, schema.LEAST_VECTOR))
    if not found.vector_offered and not found.vector:
        hint = f"install it there (Debian: postgresql-{found.version.split('.')[0]}-pgvector), then {create}"
        return Finding("pgvector", "fail", f"it is not installed at {found.where}", hint)
    if not found.vector:
        return Finding("pgvector", "fail", f"the database {found.base} does not have it", create)
    if not found.has_vector:
        update = f"psql -d {found.base} -c 'ALTER EXTENSION vector UPDATE'"
        first = "" if schema.is_enough(found.vector_offered) else f"install pgvector {least} there, then "
        detail = f"version {found.vector} in {found.base} has no iterative scans: {least} is needed"
        return Finding("pgvector", "fail", detail, f"{first}as the server's administrator: {update}")
    return Finding("pgvector", "ok", f"version {found.vector}")


def _machines(found: Found, loaded: Config) -> Iterator[Finding]:
    """The tables of this machine's model, and the machines in it and in others."""
    assert loaded.shared
    pack = model.on_this_machine(loaded)
    own = found.of_model(pack.id) if pack else None
    if own and own.version > schema.VERSION:
        detail = f"a later facewatchd made them (version {own.version}, and this one knows {schema.VERSION})"
        yield Finding("tables", "fail", detail, "update facewatchd")
    elif own is None and not found.may_create:
        detail = f"user {found.user} may make none in the database {found.base}"
        hint = f"as the server's administrator: GRANT CREATE ON DATABASE {found.base} TO {found.user}"
        yield Finding("tables", "fail", detail, hint)
    machine_id, name = known_machine_id(loaded.data_dir), loaded.shared.name
    machines = own.machines if own else ()
    if namesake := next((each for each in machines if each.name == name and each.id != machine_id), None):
        yield Finding("machines", "fail", *name_taken(name, namesake.as_of_s))
    elif others := [each for each in machines if each.id != machine_id]:
        faces = counted(sum(each.faces for each in others), "face")
        yield Finding("machines", "ok", f"{', '.join(each.name for each in others)}: {faces}")
    elif pack:
        yield Finding("machines", "ok", f"no other machine has sent anything with {pack.id}")
    if pack:
        yield from _others(found, pack.id, machine_id)


def _others(found: Found, model_id: str, machine_id: str) -> Iterator[Finding]:
    """Machines that use another model: no face of one is compared with one of another."""
    other = [(each, names) for each in found.tables if each.model != model_id and (names := _names(each, machine_id))]
    if other:
        told = "; ".join(f"{', '.join(names)} with {tables.model}" for tables, names in other)
        detail = f"{told}; this machine uses {model_id}, and they do not find each other"
        yield Finding("machines", "warn", detail, "set the same `model` on all of them")


def _names(tables: Tables, machine_id: str) -> list[str]:
    return [each.name for each in tables.machines if each.id != machine_id]


def _question(loaded: Config, found: Found) -> Finding:
    """Ask as the daemon does, for a face that nobody has."""
    assert loaded.shared
    dim = _dim(loaded.socket)
    if dim == 0:
        return Finding("question", "ok", "not tried: the daemon does not answer, which says what a face is")
    asked = np.ones((1, dim), np.float32) / np.sqrt(dim)
    begun = time.monotonic()
    try:
        with closing(ShareLink(paths.share_path(loaded.socket), dim, loaded.shared.timeout)) as link:
            link.nearest(asked.astype(np.float32), [1.0], 1, seconds=max(loaded.shared.timeout, machine.SOCKET_SECONDS))
    except LinkError as exc:
        return Finding("question", "fail", exc.message, exc.hint or f"systemctl --user restart {SHARE}")
    passed = time.monotonic() - begun
    detail = f"the first one took {1e3 * passed:.0f} ms"
    if passed > loaded.shared.timeout:
        hint = f"raise `shared.timeout`, or see what {found.where} is busy with"
        return Finding("question", "warn", f"{detail}, and `shared.timeout` is {loaded.shared.timeout:g} s", hint)
    return Finding("question", "ok", detail)


def _dim(socket: Path) -> int:
    """Numbers of an embedding, as the daemon says; 0 where it does not answer."""
    try:
        with Connection(socket, machine.SOCKET_SECONDS) as daemon:
            return Status.of(daemon.call("status")).dim
    except FacewatchError:
        return 0
