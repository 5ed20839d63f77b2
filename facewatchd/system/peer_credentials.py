"""Peer credentials: which user's process is at the other end of a Unix socket.

Standard library only, and few modules of it: the client imports this, too.
"""

from __future__ import annotations

import os
import select
import socket
import sys

_CREDENTIALS = 12
"""Bytes of ``struct ucred`` in unix(7): pid, uid and gid, four each."""


def user(peer: socket.socket) -> int:
    """The user id of the process that connected, or that listens, as the kernel noted it at that moment."""
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS)
    return int.from_bytes(credentials[4:8], sys.byteorder)


def is_trusted(uid: int) -> bool:
    """Whether a user id is this process's own, or root's."""
    return uid in (0, os.geteuid())


def is_nobody_here(uid: int) -> bool:
    """Whether a user id is the one that stands for every user without a number in this user namespace."""
    try:
        with open("/proc/sys/kernel/overflowuid", encoding="ascii") as overflow, open("/proc/self/uid_map") as known:
            return uid == int(overflow.read()) and all(int(line.split()[1]) for line in known)
    except (OSError, ValueError):
        return False


def has_hung_up(peer: socket.socket) -> bool:
    """Whether the other end is closed in both directions; an end that only sends no more may still read."""
    poll = select.poll()
    poll.register(peer, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))
