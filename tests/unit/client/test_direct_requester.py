"""Connections without a proxy: to hosts that are excluded, and to all of them."""

import pytest
from typing_extensions import override

from socks6.client.client import Client
from socks6.client.direct_requester import DirectRequester
from socks6.client.options import StackOptions
from socks6.errors import (
    CommandNotSupported,
    ConfigurationError,
    ConnectionRefused,
    GeneralFailure,
    HostUnreachable,
)
from socks6.message.codes import Command
from socks6.message.requests import Request
from socks6.net.direct import DirectOutbound
from socks6.net.stream import NO_ENDPOINT, ConnectResult
from socks6.net.url import ProxyUrl
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import ScriptedOutbound
from tests.kit.proxied import echoing, through


def test_hosts_that_are_excluded_are_reached_directly(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        async with (
            echoing() as port,
            through("socks5://m", outbound, no_proxy="localhost,127.0.0.0/8") as client,
        ):
            for host in ("localhost", "127.0.0.1"):
                async with await client.connect(host, port, initial_data=b"hi") as stream:
                    assert stream.bound == stream.local
                    while b"hi" not in await stream.receive():
                        pass
            assert not outbound.dialled
            (await client.connect("elsewhere.example", 80)).abort()
            assert outbound.dialled[0].host == "elsewhere.example"
            assert not await client.open_session()

    run(scene())


def test_no_proxy_at_all(run: Run) -> None:
    async def scene() -> None:
        async with echoing() as port, Client("direct://") as client:
            assert client.url.brief == "direct://"
            reader, writer = await client.open_connection("127.0.0.1", port, options=StackOptions(tos=16))
            assert await reader.readexactly(6) == b"hello "
            writer.close()
            await writer.wait_closed()
            assert not await client.open_session()
            for call in (client.noop, client.bind):
                with pytest.raises(CommandNotSupported, match="connections alone"):
                    await call()
        with pytest.raises(ConnectionRefused):
            await client.connect("127.0.0.1", port)
        with pytest.raises(HostUnreachable):
            await client.connect("no-such.invalid", 80)

    run(scene())


class Breaking(DirectOutbound):
    """Connects, and the connection is broken."""

    @override
    async def connect(self, host: str, port: int, **settings: object) -> ConnectResult:
        stream, _ = memory_stream_pair()
        stream.abort()
        return ConnectResult(stream=stream, bound=NO_ENDPOINT)


def test_a_connection_that_breaks_at_once(run: Run) -> None:
    async def scene() -> None:
        requester = DirectRequester(Breaking())
        with pytest.raises(GeneralFailure, match="the connection broke"):
            await requester.request(Request(command=Command.CONNECT, host="h", port=1), b"data")

    run(scene())


def test_direct_names_no_proxy() -> None:
    assert str(ProxyUrl.parse("direct://")) == "direct://"
    for url in ("direct://h", "direct://:80", "direct://alice@", "direct+tls://"):
        with pytest.raises(ConfigurationError):
            ProxyUrl.parse(url)
