"""Which machines a process is connected to."""

from __future__ import annotations

import ipaddress
from pathlib import Path

_ESTABLISHED = "01"


def lines(pid: int) -> list[str]:
    """Lines of /proc/net about a process's TCP and UDP sockets."""
    links = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    tables = [Path(f"/proc/{pid}/net/{name}") for name in ("tcp", "tcp6", "udp", "udp6")]
    found = [line for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    return [line for line in found if line.split()[9] in inodes]


def connections(pid: int) -> set[tuple[str, int]]:
    """Address and port of the other end of each socket of a process; of one that is not connected, `("", 0)`."""
    return {_peer(line.split()[2]) if line.split()[3] == _ESTABLISHED else ("", 0) for line in lines(pid)}


def _peer(text: str) -> tuple[str, int]:
    """As the kernel writes it: words of 32 bits in the byte order of the machine."""
    address, port = text.split(":")
    words = [bytes.fromhex(address[start : start + 8])[::-1] for start in range(0, len(address), 8)]
    return str(ipaddress.ip_address(b"".join(words))), int(port, 16)
