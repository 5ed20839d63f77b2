"""An address of PostgreSQL as it is handed to libpq: what was accepted (`engine_url`), and nothing else.

libpq reads the address too, and must understand the same; else it is refused. What the address leaves out libpq would
take from variables of the environment, so those are taken away first. `localhost` is a name, and names are the
resolver's: without a verified certificate it is held to the loopback addresses.
"""

from __future__ import annotations

import socket
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from facewatchd import engine_url
from facewatchd.engine_url import Address, UnsafeAddressError
from facewatchd.shared import credentials
from facewatchd.shared.engine import EngineError, Trouble

_ALWAYS: Final = {"gssencmode": "disable"}
"""GSSAPI would take the place of TLS, where the user has a ticket."""


def parameters(url: str) -> dict[str, str]:
    """libpq's keywords and values for an address. Raises `EngineError` for one that is not accepted."""
    credentials.forget_environment()
    try:
        address = engine_url.read(url)
        understood = conninfo_to_dict(url)
    except UnsafeAddressError as exc:
        raise EngineError(Trouble.REFUSED, f"`shared.url` {exc.fault}", exc.way) from exc
    except psycopg.Error:  # its text holds the address
        understood = {}
    if tuple(sorted((name, str(value)) for name, value in understood.items())) != address.values:
        raise EngineError(Trouble.REFUSED, "libpq reads `shared.url` in another way", "write it in its plainest form")
    return {**dict(address.values), **_ALWAYS, **_held_here(address)}


def _held_here(address: Address) -> dict[str, str]:
    """Hosts and their addresses, where `localhost` is to be reached without a verified certificate."""
    values = dict(address.values)
    names, ports = values.get("host", "").split(","), values.get("port", "").split(",")
    is_by_name = "hostaddr" not in values and any(name.lower() == engine_url.LOCALHOST for name in names)
    if values.get("sslmode") == engine_url.VERIFIED or not is_by_name:
        return {}
    reached = []
    for name, port in zip(names, ports * len(names) if len(ports) == 1 else ports, strict=True):
        found = _loopback(name) if name.lower() == engine_url.LOCALHOST else [_numeric(name)]
        reached += [(name, each, port) for each in found]
    hosts, addresses, ports = map(list, zip(*reached, strict=True))
    return {"host": ",".join(hosts), "hostaddr": ",".join(addresses), "port": ",".join(ports)}


def _loopback(name: str) -> list[str]:
    """The addresses of a name, each of which is a loopback address. Raises `EngineError`."""
    try:
        found = [str(each[4][0]) for each in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except OSError as exc:
        raise EngineError(Trouble.UNREACHABLE, f"{name} has no address here", "write 127.0.0.1 in its place") from exc
    for each in found:
        if not engine_url.is_here(each):
            hint = f"write 127.0.0.1 in its place, or sslmode={engine_url.VERIFIED}"
            raise EngineError(Trouble.CERTIFICATE, f"{name} is {each} here, which is another machine", hint)
    return list(dict.fromkeys(found))


def _numeric(host: str) -> str:
    """The address of a host that is one; empty for a Unix socket."""
    return "" if host.startswith(("/", "@")) else host
