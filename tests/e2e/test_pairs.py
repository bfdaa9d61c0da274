"""The pairs of `make bench ARGS=pair` that are there without building anything: they start, and answer."""

import os
import socket
import threading

import pytest

from benchmarks.load.pairs.first_byte import ask
from benchmarks.load.pairs.makers import PAIRS

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("name", ["ours-tls-password", "ours-quic-optimistic", "ssh"])
def test_a_pair_brings_a_request_to_the_origin(name: str) -> None:
    pair = PAIRS[name]
    if obstacle := pair.obstacle():
        pytest.skip(obstacle)
    with (
        socket.create_server(("127.0.0.1", 0)) as origin,
        pair.start(frozenset(os.sched_getaffinity(0))) as running,
    ):
        threading.Thread(target=_answer, args=(origin,), daemon=True).start()
        reply, first_byte = ask(running.port, origin.getsockname())
    assert 0 < reply <= first_byte
    assert list(running.processes) == ["client", "server"]


def _answer(origin: socket.socket) -> None:
    with origin.accept()[0] as stream:
        assert stream.recv(1000).startswith(b"GET /")
        stream.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
