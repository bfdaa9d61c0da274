"""Where datagrams were sent to, and answers that leave from there."""

import socket

import pytest

from socks6.net.datagrams.arrival import ROOM, answer_control, ask_for_local_addresses, local_address


@pytest.mark.parametrize(
    ("family", "anywhere", "local"),
    [(socket.AF_INET, "0.0.0.0", "127.0.0.9"), (socket.AF_INET6, "::", "::1")],
)
def test_answer_leaves_from_the_address_that_was_sent_to(family: int, anywhere: str, local: str) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as port, socket.socket(family, socket.SOCK_DGRAM) as client:
        port.bind((anywhere, 0))
        ask_for_local_addresses(port)
        for sock in (port, client):
            sock.settimeout(5)
        place = (local, port.getsockname()[1])
        client.sendto(b"question", place)
        _, control, _, source = port.recvmsg(100, ROOM)
        found = local_address(control)
        assert found == socket.inet_pton(family, local)
        port.sendmsg((b"answer",), answer_control(source, found), 0, source)
        assert client.recvfrom(100)[1][:2] == place


def test_port_of_one_address_tells_none() -> None:
    assert local_address([]) == b""
    assert answer_control(("192.0.2.1", 4000), b"") == []
