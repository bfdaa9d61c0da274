"""The TOS that a client sends with."""

import socket

import pytest

from socks6.net.stackopts.received import received_tos

SENT = {
    socket.AF_INET: (socket.IPPROTO_IP, socket.IP_TOS),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_TCLASS),
}


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
@pytest.mark.parametrize("tos", [0, 0x48, 0xB8])
def test_the_peers_tos_is_read(family: socket.AddressFamily, host: str, tos: int) -> None:
    with socket.socket(family) as listener, socket.socket(family) as client:
        listener.bind((host, 0))
        listener.listen()
        client.setsockopt(*SENT[family], tos)
        client.connect(listener.getsockname()[:2])
        server, _ = listener.accept()
        with server:
            assert received_tos(server) == tos


def test_nobody_can_tell_of_a_unix_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert received_tos(ours) is None


def test_nobody_can_tell_of_a_socket_that_is_closed() -> None:
    with socket.socket() as sock:
        pass
    assert received_tos(sock) is None
