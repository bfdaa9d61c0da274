"""What inbounds share: waiting for a peer as long as the client is there, and the optimistic mode."""

import asyncio

import pytest
from typing_extensions import override

from socks6.errors import ConnectionRefused, ConnectionTimedOut
from socks6.net.stream import AcceptedPeer
from socks6.proxy.inbounds.base import (
    FIRST_BYTES_SECONDS,
    ClientDisconnected,
    Inbound,
    accept_while_connected,
    run_while_connected,
)
from socks6.proxy.inbounds.http import HttpInbound
from socks6.proxy.inbounds.http_forward import HttpSettings
from socks6.proxy.inbounds.socks5 import Socks5Inbound
from socks6.telemetry import Ending
from tests.kit.bindings import PEER, ScriptedBinding
from tests.kit.connection import ScriptedConnection, expect, serving
from tests.kit.http import CONNECT
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.reading import receive_all

# Waiting for a peer.


class Hasty(ScriptedBinding):
    """Has whoever accepts be cancelled right after the peer is there."""

    @override
    async def accept(self) -> AcceptedPeer:
        accepted = await super().accept()
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return accepted


def test_what_the_client_sends_is_kept_until_the_peer_comes(run: Run) -> None:
    async def scene() -> None:
        client, stream = memory_stream_pair()
        binding = ScriptedBinding()
        kept: list[bytes] = []

        def keep(data: bytes) -> None:
            kept.append(data)
            binding.arrive()

        await client.send(b"early")
        assert (await accept_while_connected(binding, stream, keep)).peer == PEER
        await client.send(b"late")
        assert (b"".join(kept), await stream.receive()) == (b"early", b"late")

    run(scene())


def test_a_peer_that_comes_as_the_client_leaves_is_not_left_alone(run: Run) -> None:
    async def scene() -> None:
        client, stream = memory_stream_pair()
        binding = ScriptedBinding()
        far = binding.arrive()
        await client.send_eof()
        try:
            accepted = await accept_while_connected(binding, stream, lambda _: None)
        except ClientDisconnected:
            with pytest.raises(ConnectionResetError):
                await far.receive()
        else:
            accepted.stream.abort()

    run(scene())


def test_a_wait_that_is_cancelled_when_the_peer_is_there_resets_it(run: Run) -> None:
    async def scene() -> None:
        _, stream = memory_stream_pair()
        binding = Hasty()
        far = binding.arrive()
        waiting = asyncio.create_task(accept_while_connected(binding, stream, lambda _: None))
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        with pytest.raises(ConnectionResetError):
            await far.receive()

    run(scene())


def test_leaving_and_breaking_are_told_apart(run: Run) -> None:
    async def scene() -> None:
        for break_off, ending in ((False, Ending.DONE), (True, Ending.RESET)):
            client, stream = memory_stream_pair()
            if break_off:
                client.abort()
            else:
                await client.send_eof()
            with pytest.raises(ClientDisconnected) as caught:
                await accept_while_connected(ScriptedBinding(), stream, lambda _: None)
            assert caught.value.ending is ending

    run(scene())


def test_a_failure_is_the_failure(run: Run) -> None:
    async def scene() -> None:
        _, stream = memory_stream_pair()
        binding = ScriptedBinding()
        binding.fail(ConnectionTimedOut("too late"))
        with pytest.raises(ConnectionTimedOut, match="too late"):
            await accept_while_connected(binding, stream, lambda _: None)

    run(scene())


def test_what_the_work_raises_comes_in_no_group(run: Run) -> None:
    async def work() -> None:
        raise ZeroDivisionError

    async def scene() -> None:
        _, stream = memory_stream_pair()
        with pytest.raises(ZeroDivisionError):
            await run_while_connected(stream, work, lambda _: None)

    run(scene())


def test_what_the_keeping_raises_comes_in_no_group(run: Run) -> None:
    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    def keep(_: bytes) -> None:
        raise ZeroDivisionError

    async def scene() -> None:
        client, stream = memory_stream_pair()
        await client.send(b"x")
        with pytest.raises(ZeroDivisionError):
            await run_while_connected(stream, work, keep)

    run(scene())


# The optimistic mode.

SOCKS5 = bytes.fromhex("05 01 00  05 01 00 03 09 612e6578616d706c65 0050")
SOCKS4 = bytes.fromhex("04 01 0050 c0000201 00")
WAYS: list[tuple[Inbound, bytes, bytes]] = [
    (Socks5Inbound(optimistic=True), SOCKS5, bytes.fromhex("05 00  05 00 00 01 00000000 0000")),
    (Socks5Inbound(optimistic=True), SOCKS4, bytes.fromhex("00 5a 0000 00000000")),
    (
        HttpInbound(HttpSettings(optimistic=True)),
        CONNECT,
        b"HTTP/1.1 200 Connection established\r\n\r\n",
    ),
]
EVERY_WAY = pytest.mark.parametrize(
    ("inbound", "request_", "success"), WAYS, ids=["SOCKS 5", "SOCKS 4", "HTTP"]
)


@EVERY_WAY
@pytest.mark.parametrize("sends", [0, 2, 5])
def test_a_clients_first_bytes_go_with_the_request_once(
    run: Run, inbound: Inbound, request_: bytes, success: bytes, sends: int
) -> None:
    async def scene() -> None:
        connection = ScriptedConnection(sends=sends)
        async with serving(inbound, connection, request_) as served:
            await expect(served.client, success)
            assert not connection.requests
            await served.client.send(b"early")
            tunnel = await served.over()
            assert tunnel is not None
            assert connection.requests[0].initial_data == b"early"
            assert tunnel.initial_data == b"early"[sends:]

    run(scene())


@EVERY_WAY
def test_bytes_that_came_with_the_request_are_not_waited_for(
    run: Run, inbound: Inbound, request_: bytes, success: bytes
) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(inbound, connection, request_ + b"early") as served:
            tunnel = await served.over()
            assert tunnel is not None
            assert (connection.requests[0].initial_data, tunnel.initial_data) == (b"early", b"early")
            await expect(served.client, success)

    run(scene())


@EVERY_WAY
def test_where_the_server_speaks_first_nothing_hangs(
    run: Run, inbound: Inbound, request_: bytes, success: bytes
) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(inbound, connection, request_) as served:
            await expect(served.client, success)
            async with asyncio.timeout(FIRST_BYTES_SECONDS + 5):
                tunnel = await served.over()
            assert tunnel is not None
            assert connection.requests[0].initial_data == b""

    run(scene())


@EVERY_WAY
def test_a_client_that_ends_its_side_is_connected_all_the_same(
    run: Run, inbound: Inbound, request_: bytes, success: bytes
) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(inbound, connection, request_) as served:
            await expect(served.client, success)
            await served.client.send_eof()
            assert await served.over() is not None

    run(scene())


@EVERY_WAY
def test_for_a_client_that_is_gone_nobody_connects(
    run: Run, inbound: Inbound, request_: bytes, success: bytes
) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(inbound, connection, request_) as served:
            await expect(served.client, success)
            served.client.abort()
            with pytest.raises(ConnectionResetError):
                await served.over()
            assert not connection.requests

    run(scene())


@EVERY_WAY
def test_when_the_far_side_fails_the_client_is_reset(
    run: Run, inbound: Inbound, request_: bytes, success: bytes
) -> None:
    async def scene() -> None:
        connection = ScriptedConnection(failures=[ConnectionRefused("no")])
        async with serving(inbound, connection, request_ + b"early") as served:
            with pytest.raises(OSError, match=r"."):
                await receive_all(served.client)

    run(scene())
