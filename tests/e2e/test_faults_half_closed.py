"""Connections that were closed on one side only: they work for as long as they are used, and then they go."""

import contextlib
import itertools
import socket
import time
from typing import Final

import pytest

from tests.kit.footprint import CLOSE_WAIT, ESTABLISHED, connections, eventually
from tests.kit.origins import Place, big_file, tcp_host, web_site
from tests.kit.proxies import converter, server, tunnel
from tests.kit.unharmed import read_to_the_end

FIN: Final = 1.0
AT_A_TIME: Final = 5_000
NUMBERS: Final = [500, pytest.param(10_000, marks=pytest.mark.deep)]

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("side", ["client", "destination"])
def test_half_closed_connections_leave_no_close_wait(side: str, number: int) -> None:
    """Neither side ever closes; one of them has ended its stream."""
    at_a_time = min(number, AT_A_TIME)
    patience = at_a_time / 1000  # seconds, so that all of them are half-closed at the same time
    limits = ["--fin-timeout", str(patience), "--max-connections-per-source", "0"]
    with server(*limits) as proxy, socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
        place = Place(host="127.0.0.1", port=listener.getsockname()[1])
        before = proxy.footprint
        with contextlib.ExitStack() as kept:
            for _ in range(number // at_a_time):
                for index in range(at_a_time):
                    client = kept.enter_context(
                        tunnel(proxy.place, place, source=f"127.0.1.{1 + index % 20}")
                    )
                    remote = kept.enter_context(listener.accept()[0])
                    (client if side == "client" else remote).shutdown(socket.SHUT_WR)
                assert eventually(lambda: proxy.footprint.descriptors <= before.descriptors + 1, within=30)
                kept.close()
            assert connections(CLOSE_WAIT, proxy.place.port) == 0
            assert proxy.footprint.memory < before.memory + 24 * 2**20


def test_a_half_closed_connection_lives_for_as_long_as_bytes_move() -> None:
    """As long an answer as it takes, to a client that has said all it has to say."""

    def slow_answer(sock: socket.socket) -> None:
        assert read_to_the_end(sock) == b"?"
        for _ in range(8):
            time.sleep(FIN / 3)
            sock.sendall(b"!")

    with (
        server("--fin-timeout", str(FIN)) as far,
        tcp_host(slow_answer) as place,
        tunnel(far.place, place) as sock,
    ):
        sock.sendall(b"?")
        sock.shutdown(socket.SHUT_WR)
        assert read_to_the_end(sock) == 8 * b"!"


def test_half_closes_are_passed_on_through_a_converter() -> None:
    def answer_at_the_end(sock: socket.socket) -> None:
        sock.sendall(str(len(read_to_the_end(sock))).encode())

    with (
        server() as far,
        converter(far.url) as near,
        tcp_host(answer_at_the_end) as place,
        tunnel(near.place, place) as sock,
    ):
        sock.sendall(b"a" * 1_000_000)
        sock.shutdown(socket.SHUT_WR)
        assert read_to_the_end(sock) == b"1000000"


def test_a_destination_may_end_first() -> None:
    received: list[bytes] = []

    def say_and_listen(sock: socket.socket) -> None:
        sock.sendall(b"all I have to say")
        sock.shutdown(socket.SHUT_WR)
        received.append(read_to_the_end(sock))

    with server() as far, tcp_host(say_and_listen) as place:
        with tunnel(far.place, place) as sock:
            assert read_to_the_end(sock) == b"all I have to say"
            for block in itertools.islice(big_file(1 << 20), 16):
                sock.sendall(block)
            sock.shutdown(socket.SHUT_WR)
            assert eventually(lambda: bool(received))
        assert received == [b"".join(big_file(1 << 20))]


def test_closed_clients_leave_nothing_established() -> None:
    with server("--fin-timeout", str(FIN)) as far, web_site() as site:
        place = Place(host=site.host, port=site.port)
        for _ in range(200):
            tunnel(far.place, place).close()
        assert eventually(lambda: not connections(ESTABLISHED, far.place.port, site.port))
        assert eventually(lambda: not connections(CLOSE_WAIT, far.place.port, site.port))
