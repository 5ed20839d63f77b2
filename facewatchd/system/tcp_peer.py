"""Which user's process is at the other end of a TCP connection on this machine, as `/proc/net/tcp` tells.

proc_net_tcp(5) lists both ends of a connection over the loopback, each with its socket's owner. A socket that its
process has closed has no inode any more, and user 0 in the place of its owner.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

Address = tuple[str, int]
"""An IP address as text, and a port."""

_TABLE = "/proc/net/tcp"
_TABLE_6 = "/proc/net/tcp6"
"""Not there where the kernel has no IPv6."""
_LOCAL, _REMOTE, _USER, _INODE = 1, 2, 7, 9
"""Columns."""


def user(peer: Address, here: Address) -> int | None:
    """The user id of the process whose socket has the address ``peer`` and is connected to ``here``.

    None where no process holds such a socket. Raises OSError where the tables cannot be read.
    """
    wanted = set(zip(_written(peer), _written(here), strict=True))
    for row in _rows():
        if (row[_LOCAL], row[_REMOTE]) in wanted and row[_INODE] != "0":
            return int(row[_USER])
    return None


def _rows() -> Iterator[list[str]]:
    with open(_TABLE, encoding="ascii") as file:
        yield from (line.split() for line in list(file)[1:])
    with contextlib.suppress(FileNotFoundError), open(_TABLE_6, encoding="ascii") as file:
        yield from (line.split() for line in list(file)[1:])


def _written(address: Address) -> tuple[str, ...]:
    """How the tables write an address; one of IPv4 has two forms, as a socket of IPv6 may hold it."""
    host, port = address
    if ":" in host:
        return (f"{_words(socket.inet_pton(socket.AF_INET6, host))}:{port:04X}",)
    packed = socket.inet_pton(socket.AF_INET, host)
    mapped = b"\0" * 10 + b"\xff\xff" + packed
    return tuple(f"{_words(each)}:{port:04X}" for each in (packed, mapped))


def _words(packed: bytes) -> str:
    return "".join(f"{word:08X}" for word in struct.unpack(f"={len(packed) // 4}I", packed))
