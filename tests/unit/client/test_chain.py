"""Chains: each proxy is reached through the one before it, all of them in memory."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

import pytest
from typing_extensions import override

from socks6.client.client import Client
from socks6.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionRefused,
    LocalProtocolError,
    OperationFailed,
    ProxyUnreachable,
)
from socks6.message.options import StackOption
from socks6.net.stream import ByteStream, ConnectResult, Judge
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import BOUND, ScriptedOutbound
from tests.kit.proxied import OPEN, USERS

PASSWORD = "alice:wonder%20land%2F7@"


class NextProxies(ScriptedOutbound):
    """Connects to workers in memory, by the names of their hosts; a host of no worker is a destination."""

    def __init__(self, group: asyncio.TaskGroup, authenticators: dict[str, Authenticator]) -> None:
        super().__init__()
        self._group = group
        self._workers = {
            host: ServerWorker(outbound=self, authenticator=authenticator)
            for host, authenticator in authenticators.items()
        }

    def reach(self, host: str) -> ByteStream:
        near, far = memory_stream_pair()
        self._group.create_task(self._workers[host].serve_stream(far, "mixed"))
        return near

    @override
    async def connect(
        self,
        host: str,
        port: int,
        *,
        judge: Judge,
        options: tuple[StackOption, ...] = (),
        first_data: bytes = b"",
        holder: Hashable = None,
    ) -> ConnectResult:
        if host == "closed.example":
            raise ConnectionRefused("no")
        result = await super().connect(host, port, judge=judge, options=options, first_data=first_data)
        return ConnectResult(stream=self.reach(host), bound=BOUND) if host in self._workers else result


@asynccontextmanager
async def chain(*urls: str) -> AsyncIterator[tuple[Client, NextProxies]]:
    """Give a client whose proxies are at a.example, b.example (with users) and c.example."""
    async with asyncio.TaskGroup() as group:
        proxies = NextProxies(group, {"a.example": OPEN, "b.example": USERS, "c.example": OPEN})

        async def dial() -> ByteStream:
            return proxies.reach("a.example")

        async with Client(urls, dial=dial, timeout=5.0) as client:
            yield client, proxies


@pytest.mark.parametrize(
    "schemes", [("socks5", "http", "socks6"), ("http", "socks6", "socks5h"), ("socks6", "socks5", "socks4a")]
)
def test_each_hop_goes_through_the_one_before(run: Run, schemes: tuple[str, ...]) -> None:
    async def scene() -> None:
        first, second, third = schemes
        urls = f"{first}://a.example", f"{second}://{PASSWORD}b.example:81", f"{third}://c.example:82"
        async with chain(*urls) as (client, proxies):
            assert [hop.host for hop in client.hops] == ["a.example", "b.example", "c.example"]
            assert "wonder" not in repr(client)
            async with await client.connect("destination.example", 80, initial_data=b"hi") as stream:
                assert [(asked.host, asked.port) for asked in proxies.dialled] == [
                    ("b.example", 81),
                    ("c.example", 82),
                    ("destination.example", 80),
                ]
                assert await proxies.far.receive() == b"hi"
                await proxies.far.send(b"back")
                assert await stream.receive() == b"back"
                await proxies.far.aclose()
            client.close_idle()

    run(scene())


@pytest.mark.parametrize("scheme", ["socks5", "socks6", "http"])
def test_the_failures_of_a_hop_are_no_destinations(run: Run, scheme: str) -> None:
    async def scene() -> None:
        async with chain(f"{scheme}://a.example", "socks6://closed.example") as (client, _):
            with pytest.raises(
                ProxyUnreachable, match=f"closed.example.*through {scheme}://a.example.*: the pro"
            ) as caught:
                await client.connect("destination.example", 80)
            assert not isinstance(caught.value, OperationFailed)
        async with chain(f"{scheme}://a.example", "socks6://c.example") as (client, _):
            with pytest.raises(ConnectionRefused):
                await client.connect("closed.example", 80)

    run(scene())


def test_whose_password_was_refused_is_said(run: Run) -> None:
    async def scene() -> None:
        urls = "socks5://a.example", "socks5://alice:wrong@b.example", "socks6://c.example"
        async with chain(*urls) as (client, _):
            with pytest.raises(AuthenticationFailed, match=r"^socks5://alice@b.example:1080: "):
                await client.connect("destination.example", 80)

    run(scene())


@pytest.mark.parametrize("url", ["socks6+quic://h", "socks5+unix:///run/s"])
def test_what_needs_the_first_place(url: str) -> None:
    with pytest.raises(ConfigurationError, match="name it first"):
        Client(["socks5://h", url])
    with pytest.raises(ConfigurationError, match="at least one"):
        Client([])


def test_over_auto_a_later_hop_is_reached_by_tls() -> None:
    client = Client(["socks5://h", "socks6+auto://h"])
    assert not client._connector.multiplexed


def test_no_datagram_reaches_a_later_hop(run: Run) -> None:
    async def scene() -> None:
        async with chain("socks6://a.example", "socks5://c.example") as (client, _):
            with pytest.raises(LocalProtocolError, match="SOCKS 5 has nothing else"):
                async with client.associate():
                    pass
        async with chain("socks5://a.example", "socks6://c.example") as (client, _):
            with pytest.raises(LocalProtocolError, match='udp="stream"'):
                async with client.associate(udp="datagram"):
                    pass

    run(scene())
