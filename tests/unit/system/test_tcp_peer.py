"""Whose process is at the other end of a connection on this machine."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from facewatchd.system import tcp_peer
from tests.support.processes import until


@contextlib.contextmanager
def connected(family: socket.AddressFamily, host: str, to: str = "") -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends, of which the second one listened."""
    with socket.socket(family) as listener:
        try:
            listener.bind((host, 0))
        except OSError as exc:
            pytest.skip(f"no {host} here: {exc.strerror}")
        listener.listen()
        peer = socket.create_connection((to or host, listener.getsockname()[1]))
        with peer, contextlib.closing(listener.accept()[0]) as here:
            yield peer, here


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_an_own_connection_is_known_from_both_families(family: socket.AddressFamily, host: str) -> None:
    with connected(family, host) as (peer, here):
        assert tcp_peer.user(here.getpeername()[:2], here.getsockname()[:2]) == os.geteuid()
        assert tcp_peer.user(peer.getpeername()[:2], peer.getsockname()[:2]) == os.geteuid()


def test_a_socket_of_both_families_is_known_by_its_old_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_INET6) as peer:
        try:
            peer.connect(("::ffff:127.0.0.1", listener.getsockname()[1]))
        except OSError as exc:
            pytest.skip(f"no IPv6 here: {exc.strerror}")
        here, address = listener.accept()
        with here:
            assert tcp_peer.user(address, here.getsockname()) == os.geteuid()


def test_another_users_is_told() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can connect as another user")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        child = os.fork()
        if not child:  # pragma: no cover - it is another user's process
            os.setresuid(65534, 65534, 65534)
            with socket.create_connection(listener.getsockname()) as peer:
                peer.recv(1)
            os._exit(0)
        here, address = listener.accept()
        with here:
            assert tcp_peer.user(address, here.getsockname()) == 65534
        os.waitpid(child, 0)


def test_a_socket_that_was_closed_is_nobodys() -> None:
    with connected(socket.AF_INET, "127.0.0.1") as (peer, here):
        address = here.getpeername()
        peer.close()
        assert until(lambda: tcp_peer.user(address, here.getsockname()) is None)
    assert tcp_peer.user(("127.0.0.1", 1), ("127.0.0.1", 2)) is None
