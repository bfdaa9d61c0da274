"""The optimistic mode of the SOCKS 5 and HTTP inbounds."""

import asyncio

import pytest

from socks6.errors import ConnectionRefused
from socks6.proxy.inbounds.base import FIRST_BYTES_SECONDS, Inbound
from socks6.proxy.inbounds.http import HttpInbound, HttpSettings
from socks6.proxy.inbounds.socks5 import Socks5Inbound
from tests.kit.connection import ScriptedConnection, expect, serving
from tests.kit.http import CONNECT
from tests.kit.loops import Run
from tests.kit.reading import receive_all

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
