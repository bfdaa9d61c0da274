"""Where datagrams were sent to, and answers that leave from there."""

import socket

import pytest

from socks6.net.datagrams.packet_info import (
    ANCILLARY_BYTES,
    destination_address,
    reply_control,
    request_packet_info,
)


@pytest.mark.parametrize(
    ("family", "anywhere", "local"),
    [(socket.AF_INET, "0.0.0.0", "127.0.0.9"), (socket.AF_INET6, "::", "::1")],
)
def test_answer_leaves_from_the_address_that_was_sent_to(family: int, anywhere: str, local: str) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as port, socket.socket(family, socket.SOCK_DGRAM) as client:
        port.bind((anywhere, 0))
        request_packet_info(port)
        for sock in (port, client):
            sock.settimeout(5)
        place = (local, port.getsockname()[1])
        client.sendto(b"question", place)
        _, control, _, source = port.recvmsg(100, ANCILLARY_BYTES)
        found = destination_address(control)
        assert found == socket.inet_pton(family, local)
        port.sendmsg((b"answer",), reply_control(source, found), 0, source)
        assert client.recvfrom(100)[1][:2] == place


def test_port_of_one_address_tells_none() -> None:
    assert destination_address([]) == b""
    assert reply_control(("192.0.2.1", 4000), b"") == []
