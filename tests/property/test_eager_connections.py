"""Whatever pieces a request comes in, a connection of callbacks and one of an ordinary task give the same answers."""

import asyncio
import contextlib
import itertools
import socket
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks6.net.eager import EagerTaskGroup
from socks6.net.sockets import SocketStream
from socks6.policy.rules import Policy
from socks6.proxy.worker import ServerWorker
from tests.kit.joined import tcp_pair
from tests.kit.loops import LOOP_FACTORIES, Run
from tests.kit.streams import turns

if sys.platform != "linux":
    pytest.skip("only Linux has the poller", allow_module_level=True)

TARGET = b"\x7f\x00\x00\x01"
PORT = b"PP"  # stands for the target's
REQUESTS = {
    "socks6": (
        b"\x06\x01\x00\x00" + PORT + b"\x00\x01" + TARGET + b"early data",
        b"\x06\x01\x00\x00\x00\x00\x00\x01" + TARGET,  # port 0: refused
        bytes.fromhex("06 00 0000 0000 00 01 00000000"),  # NOOP
        bytes.fromhex("06 09 0000 0000 00 01 00000000"),  # no such command
        bytes.fromhex("06 01 0000 0050 00 07 00000000"),  # no such address type
        bytes.fromhex("07 01"),
        b"GET / HTTP/1.1\r\n\r\n",
    ),
    "socks5": (
        b"\x05\x01\x00" + b"\x05\x01\x00\x01" + TARGET + PORT + b"early data",
        b"\x04\x01" + PORT + TARGET + b"user\x00",
        b"\x05\x01\x00" + b"\x05\x01\x00\x01" + TARGET + b"\x00\x00",
        b"\x05\x01\x02",
        b"\x05\x01\x00\x05\x07",
        b"\x09",
    ),
}
CASES = [(inbound, request) for inbound, requests in REQUESTS.items() for request in requests]


async def answers(request: bytes, cuts: list[int], inbound: str, *, eager: bool) -> bytes:
    """Serve a client that sends its request in pieces and then ends; return all that it gets, without our port."""
    worker = ServerWorker(policy=Policy(allow_private=True))
    client, ours = tcp_pair()
    assert isinstance(ours, SocketStream)
    with socket.create_server(("127.0.0.1", 0)) as target:
        whole = request.replace(PORT, target.getsockname()[1].to_bytes(2))
        async with asyncio.TaskGroup() as tasks, EagerTaskGroup() as eager_tasks:
            if eager:
                poller = worker.relay.shared_poller()
                assert poller is not None
                ours.poll_with(poller)
                eager_tasks.start(worker.serve_stream(ours, inbound))
            else:
                tasks.create_task(worker.serve_stream(ours, inbound))
            received = await _converse(client.raw_socket, whole, cuts, target)
            client.abort()
    await worker.aclose()
    return received


async def _converse(
    client: socket.socket | None, whole: bytes, cuts: list[int], target: socket.socket
) -> bytes:
    assert client is not None
    await _send_in_pieces(client, whole, cuts)
    target.setblocking(False)
    received = b""
    for _ in range(10_000):
        await turns()
        try:
            remote, _ = target.accept()
        except BlockingIOError:
            pass
        else:
            return await _connected(client, _nonblocking(remote), received)
        try:
            data = client.recv(1000)
        except BlockingIOError:
            continue
        except ConnectionResetError:
            return received + b"|reset"
        if not data:
            return received
        received += data
    raise TimeoutError


async def _send_in_pieces(client: socket.socket, whole: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(whole), *(cut % len(whole) for cut in cuts)})
    with contextlib.suppress(OSError):  # the proxy may have answered and closed
        for start, end in itertools.pairwise(edges):
            client.send(whole[start:end])
            await turns()
        client.shutdown(socket.SHUT_WR)


async def _connected(client: socket.socket, remote: socket.socket, received: bytes) -> bytes:
    """Return what the client and the remote got, the remote having ended without a word."""
    loop = asyncio.get_running_loop()
    with remote:
        own_port = remote.getpeername()[1].to_bytes(2)
        arrived = b""
        while data := await loop.sock_recv(remote, 1000):
            arrived += data
    while data := await loop.sock_recv(client, 1000):
        received += data
    assert own_port in received
    return received.replace(own_port, PORT) + b"|" + arrived


def _nonblocking(sock: socket.socket) -> socket.socket:
    sock.setblocking(False)
    return sock


@pytest.mark.parametrize("loop", LOOP_FACTORIES)
@settings(max_examples=40, deadline=None)
@given(case=st.sampled_from(CASES), cuts=st.lists(st.integers(0, 64), max_size=4))
def test_both_roads_answer_alike(loop: str, case: tuple[str, bytes], cuts: list[int]) -> None:
    inbound, request = case

    async def play() -> None:
        by_callbacks = await answers(request, cuts, inbound, eager=True)
        by_task = await answers(request, cuts, inbound, eager=False)
        assert by_callbacks == by_task

    Run(loop)(play())
