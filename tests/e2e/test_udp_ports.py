"""Pairs of ports, for RTP and its like (§ Port Parity options): taken, and really held."""

import socket

import pytest

from socks6.message.options import PortParity
from tests.kit.udp_server import PATIENCE, RawClient, peer_socket, udp_server

pytestmark = pytest.mark.e2e

PARITIES = {1: 0, 2: 1}


@pytest.mark.parametrize("parity", [0, 1, 2])
def test_pairs_of_ports_are_taken_and_reserved(parity: int) -> None:
    wish = PortParity(parity=parity, reserve=1)
    with udp_server() as server:
        place = ("127.0.0.1", server.port)
        with RawClient(place, options=(wish,)) as client:
            assert wish in client.reply.options
            port = client.bound[1]
            assert port % 2 == PARITIES.get(parity, port % 2)
            with pytest.raises(OSError, match="in use"):
                peer_socket("0.0.0.0", port=port ^ 1)  # really held
            with RawClient(place, port=port ^ 1, options=(PortParity(parity=1, reserve=1),)) as second:
                assert second.bound[1] == port ^ 1
                assert PortParity(parity=0) in second.reply.options
        for _ in range(2):
            server.summaries.get(timeout=PATIENCE)
        with peer_socket("0.0.0.0", port=port ^ 1), peer_socket("0.0.0.0", port=port):
            pass


def test_a_reserved_port_is_free_when_the_association_ends() -> None:
    with udp_server() as server:
        with RawClient(("127.0.0.1", server.port), options=(PortParity(parity=1, reserve=1),)) as client:
            port = client.bound[1]
            client.tcp.shutdown(socket.SHUT_WR)
            assert client.ended()
            server.summaries.get(timeout=PATIENCE)
        with peer_socket("0.0.0.0", port=port + 1):
            pass
