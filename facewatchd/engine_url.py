"""Which addresses of a shared engine are accepted: a strict reading of libpq's connection URIs.

Two programs read the address. The daemon and the commands read it here, without libpq; facewatch-share hands it to
libpq. What is accepted here must mean the same there, so the grammar is smaller than libpq's (PostgreSQL 18,
section 32.1.1.2) and everything outside it is refused:

- The scheme is written in small letters, and all characters are printable ASCII; others are percent-encoded.
- No password, in no form: not behind the user, not as a parameter, and not for the key of a certificate.
- A host is named in one place, before the `/` or as the parameter `host`, and so are port, user and database.
- Of the parameters only those of `PARAMETERS` are known, each once and never empty. Left out are those that lead
  elsewhere (`service`), hold a secret (`password`, `sslpassword`, `sslkeylogfile`, `scram_client_key`), have an old
  form that changes `sslmode` (`ssl`, `requiressl`), or are facewatch-share's own (`options`, `connect_timeout`).
- Files are absolute paths, as facewatch-share runs in `/`.

The certificate is verified (`sslmode=verify-full`) unless every host stays on this machine (`is_here`). With `hostaddr`
libpq connects to that address, whatever `host` is, so the addresses count and not the names.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote

SCHEME = "postgresql://"
VERIFIED = "verify-full"
LOCALHOST = "localhost"
"""The one name that stands for the loopback addresses. With a dot at its end it is looked up in the network."""
PASSWORD_PLACES = "in ~/.pgpass, in a file that `passfile=` names, or in the systemd credential facewatch-password"
_PORT = "5432"
_FILES = ("passfile", "sslcert", "sslcrl", "sslcrldir", "sslkey", "sslrootcert")
_IN_FRONT = ("user", "host", "port", "dbname")
PARAMETERS = frozenset(
    (
        *_IN_FRONT,
        *_FILES,
        "channel_binding",
        "gssencmode",
        "hostaddr",
        "require_auth",
        "requirepeer",
        "sslcertmode",
        "sslmode",
        "sslnegotiation",
        "sslsni",
        "target_session_attrs",
    )
)
"""Keywords of libpq that an address may have."""
_PASSWORDS = frozenset(("password", "sslpassword", "scram_client_key"))
_MODES = ("disable", "allow", "prefer", "require", "verify-ca", VERIFIED)
_SYSTEM = "system"
"""The value of `sslrootcert` that stands for the certificates of the operating system."""
_URL = re.compile(
    r"postgres(?:ql)?://"
    r"(?:(?P<user>[^:/?#\[\]@,]*)@)?"
    r"(?P<hosts>[^/?#@]*)"
    r"(?:/(?P<dbname>[^/?#@]*))?"
    r"(?:\?(?P<parameters>[^?#@]*))?"
)
_HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]*))(?::(?P<port>\d*))?")
_WITH_PASSWORD = re.compile(r"[A-Za-z0-9+.-]*://[^/@]*:[^@]*@")


class UnsafeAddressError(ValueError):
    """An address that is not accepted. Neither text repeats a part of it that may be a secret."""

    def __init__(self, fault: str, way: str) -> None:
        super().__init__(f"{fault}; {way}")
        self.fault = fault
        """What is wrong, as the sentence goes on after the name of the key."""
        self.way = way
        """What to do next."""


@dataclass(frozen=True, slots=True)
class Address:
    """An accepted address, taken apart."""

    url: str
    values: tuple[tuple[str, str], ...]
    """libpq's keywords and their decoded values, ordered by keyword; nothing that the address does not say."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """What libpq connects to, in its order: names, addresses, directories of Unix sockets; one "" for none."""
        values = dict(self.values)
        return tuple((values.get("hostaddr") or values.get("host") or "").split(","))

    @property
    def is_here(self) -> bool:
        """Whether every host is this machine."""
        return all(map(is_here, self.hosts))

    @property
    def files(self) -> tuple[str, ...]:
        """Paths that it names: of certificates, of the passfile, and of the directories of Unix sockets."""
        values = dict(self.values)
        files = [values[name] for name in _FILES if values.get(name, _SYSTEM) != _SYSTEM]
        return (*files, *(host for host in self.hosts if host.startswith("/")))

    @property
    def where(self) -> str:
        """Hosts, each with its port where that is not the usual one, for messages: "a.lan, [::1]:5433"."""
        values = dict(self.values)
        hosts = (values.get("host") or values.get("hostaddr") or "the local socket").split(",")
        ports = values.get("port", "").split(",")
        places = zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=True)
        return ", ".join(host if port in ("", _PORT) else f"{_bracketed(host)}:{port}" for host, port in places)


def read(url: str) -> Address:
    """Take an address apart. Raises `UnsafeAddressError` for one that is not accepted."""
    if _WITH_PASSWORD.match(url) or _WITH_PASSWORD.match(unquote(url)):
        raise _password()
    if not url.startswith((SCHEME, "postgres://")):
        raise UnsafeAddressError(f"is no address of PostgreSQL: it must begin with {SCHEME}", _example())
    if not re.fullmatch(r"[!-~]+", url) or re.search(r"%(?![0-9A-Fa-f]{2})|%[01][0-9A-Fa-f]|%7[Ff]", url):
        raise _malformed("spaces, control characters and characters outside ASCII cannot be in it as they are")
    parts = _URL.fullmatch(url)
    if not parts:
        raise _malformed(
            "it is not postgresql://USER@HOST:PORT/DATABASE?PARAMETERS, with `@` `#` `?` elsewhere as %40 %23 %3F"
        )
    values = _in_front(parts)
    for name, value in _parameters(parts["parameters"] or ""):
        if values.get(name, "").strip(","):
            raise _malformed(f"{name} is named twice")
        values[name] = value
    address = Address(url, tuple(sorted(values.items())))
    _check(values, address)
    return address


def is_here(host: str) -> bool:
    """Whether a host is a Unix socket, `localhost` or a loopback address: what leaves this machine in no network."""
    if host == "" or host.startswith(("/", "@")) or host.lower() == LOCALHOST:
        return True
    if "%" in host:  # a scope, which no loopback address needs
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name, or a short or hexadecimal form, which only the resolver would tell
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _in_front(parts: re.Match[str]) -> dict[str, str]:
    """What stands before the parameters."""
    values = {"user": parts["user"], "dbname": parts["dbname"]}
    hosts = [_HOST.fullmatch(host) for host in parts["hosts"].split(",")]
    if not all(hosts):
        raise _malformed("a host is not NAME, NAME:PORT, [IPv6] or [IPv6]:PORT")
    found = [host for host in hosts if host]
    values["host"] = ",".join(host["address"] or host["name"] for host in found)
    values["port"] = ",".join(host["port"] or "" for host in found)  # several without: as many commas, as libpq has it
    return {name: _decoded(value) for name, value in values.items() if value}


def _parameters(text: str) -> list[tuple[str, str]]:
    found = []
    for pair in text.split("&") if text else ():
        name, equals, value = pair.partition("=")
        if name in _PASSWORDS or unquote(name) in _PASSWORDS:
            raise _password()
        if name not in PARAMETERS:
            known = ", ".join(sorted(PARAMETERS.difference(_IN_FRONT)))
            shown = f"`{name}`" if re.fullmatch(r"[a-z_]{1,30}", name) else "one of them"
            raise UnsafeAddressError(f"has parameters that are not taken: {shown}", f"those that are: {known}")
        if not equals or not value or "=" in value:
            raise _malformed(f"{name} has no value, or one with `=`, which must be written as %3D")
        found.append((name, _decoded(value)))
    return found


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as exc:
        raise _malformed("its percent-encoded bytes are not UTF-8") from exc


def _check(values: dict[str, str], address: Address) -> None:
    hosts = address.hosts
    if len(hosts) > 1 and not all(hosts):
        raise _malformed("one of its hosts is empty")
    names = values["host"].split(",") if "host" in values else hosts
    if len(names) != len(hosts):
        raise _malformed("host and hostaddr are lists of different lengths")
    ports = values.get("port", "").split(",")
    if not all(port == "" or (re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 1 << 16) for port in ports):
        raise _malformed("a port is not a number from 1 to 65535")
    if len(ports) not in (1, len(hosts)):
        raise _malformed("it has not one port, and not one for each host")
    for name in _FILES:
        if name in values and not values[name].startswith("/") and (name, values[name]) != ("sslrootcert", _SYSTEM):
            raise UnsafeAddressError(f"names a file by a relative path: {name}", "give its absolute path")
    if values.get("gssencmode", "disable") != "disable":
        raise UnsafeAddressError("asks for encryption by GSSAPI in place of TLS", "leave gssencmode out")
    if "=" in values.get("dbname", "") or "://" in values.get("dbname", ""):
        raise _malformed("the name of a database has neither `=` nor `://`, which may begin an address in the address")
    if values.get("sslmode") == VERIFIED and "hostaddr" in values and "host" not in values:
        raise _malformed("it has an address in hostaddr, and no host that the certificate could be verified for")
    _check_mode(values.get("sslmode", ""), address)


def _check_mode(mode: str, address: Address) -> None:
    if mode and mode not in _MODES:
        raise UnsafeAddressError("has an unknown sslmode", f"write sslmode={VERIFIED}")
    if mode == VERIFIED or address.is_here:
        return
    far = next(host for host in address.hosts if not is_here(host))
    verified = f"with sslmode={mode}" if mode else "without an sslmode"
    raise UnsafeAddressError(
        f"leads to {far} {verified}, so anybody on the way could pose as that server",
        f"write sslmode={VERIFIED}, and the server's CA as sslrootcert=/ABSOLUTE/PATH or sslrootcert={_SYSTEM}",
    )


def _password() -> UnsafeAddressError:
    return UnsafeAddressError("holds a password", f"take it out and keep it {PASSWORD_PLACES}")


def _malformed(fault: str) -> UnsafeAddressError:
    return UnsafeAddressError(f"cannot be read: {fault}", _example())


def _example() -> str:
    return f'for example "{SCHEME}facewatch@nas.lan/facewatch?sslmode={VERIFIED}"'
