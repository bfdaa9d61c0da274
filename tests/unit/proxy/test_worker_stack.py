"""Stack options through a server: set on both legs, bounded by the operator, answered with the truth."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from socks6.client.client import Client
from socks6.client.options import StackOptions
from socks6.client.outbound import UpstreamOutbound
from socks6.message.codes import Availability, Leg
from socks6.message.options import Multipath, NoFragmentation, StackOption, Tfo, Tos, Ttl
from socks6.net.stackopts.received import received_tos
from socks6.policy.rules import Policy
from socks6.policy.stack import StackRule
from socks6.proxy.service import Server
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run

LOOPBACK = "socks6://127.0.0.1:0"


@asynccontextmanager
async def origin(host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Give the port of a host that takes connections and says nothing."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hold, host, 0) as server:
        yield server.sockets[0].getsockname()[1]


async def answers(
    *asked: StackOptions,
    stack: Sequence[StackRule] = (),
    settings: Settings | None = None,
    host: str = "127.0.0.1",
    query: str = "",
) -> tuple[StackOption, ...]:
    """Return what a server answers to a request with these options."""
    worker = ServerWorker(policy=Policy(allow_private=True, stack=tuple(stack)), settings=settings)
    async with origin(host) as port, Server([LOOPBACK], worker) as server:
        client = Client(server.urls[0] + query)
        async with await client.connect(host, port, options=asked) as stream:
            return stream.options


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_every_option_is_answered_with_what_is_in_force(run: Run, host: str) -> None:
    async def scene() -> None:
        asked = StackOptions(tos=0x48, ttl=33, no_fragmentation=True, multipath=False, tfo=0)
        assert set(await answers(asked, host=host)) == {
            Tos(leg=Leg.PROXY_REMOTE, tos=0x48),
            Ttl(leg=Leg.PROXY_REMOTE, ttl=33),
            NoFragmentation(leg=Leg.PROXY_REMOTE, availability=Availability.YES),
            Multipath(availability=Availability.NO),
            Tfo(payload_size=0),
        }

    run(scene())


def test_one_answer_serves_both_legs_where_they_agree(run: Run) -> None:
    async def scene() -> None:
        assert await answers(StackOptions(tos=0x20, leg=Leg.BOTH)) == (Tos(leg=Leg.BOTH, tos=0x20),)

    run(scene())


def test_each_leg_has_its_own_answer_where_they_differ(run: Run) -> None:
    async def scene() -> None:
        near = StackOptions(ttl=11, leg=Leg.CLIENT_PROXY)
        assert set(await answers(near, StackOptions(ttl=22))) == {
            Ttl(leg=Leg.CLIENT_PROXY, ttl=11),
            Ttl(leg=Leg.PROXY_REMOTE, ttl=22),
        }

    run(scene())


def test_nothing_is_answered_unasked(run: Run) -> None:
    async def scene() -> None:
        assert await answers() == ()

    run(scene())


def test_what_is_forbidden_is_answered_with_what_is_in_force(run: Run) -> None:
    async def scene() -> None:
        rule = StackRule.parse(forbid=["ttl", "tfo"])
        with socket.socket() as fresh:
            usual = fresh.getsockopt(socket.IPPROTO_IP, socket.IP_TTL)
        told = await answers(StackOptions(ttl=5, tfo=100), stack=[rule])
        assert set(told) == {Ttl(leg=Leg.PROXY_REMOTE, ttl=usual), Tfo(payload_size=0)}

    run(scene())


def test_a_ttl_under_the_floor_is_answered_with_the_floor(run: Run) -> None:
    async def scene() -> None:
        told = await answers(StackOptions(ttl=5), stack=[StackRule.parse(lowest_ttl=40)])
        assert told == (Ttl(leg=Leg.PROXY_REMOTE, ttl=40),)

    run(scene())


def test_the_urls_options_go_with_every_request(run: Run) -> None:
    async def scene() -> None:
        assert await answers(query="?ttl=50&leg=both") == (Ttl(leg=Leg.BOTH, ttl=50),)

    run(scene())


def test_a_calls_options_go_before_the_urls(run: Run) -> None:
    async def scene() -> None:
        assert set(await answers(StackOptions(ttl=9), query="?ttl=50&leg=both")) == {
            Ttl(leg=Leg.CLIENT_PROXY, ttl=50),
            Ttl(leg=Leg.PROXY_REMOTE, ttl=9),
        }

    run(scene())


@pytest.mark.parametrize(("copy", "seen"), [(True, 0x68), (False, 0)])
def test_a_clients_own_tos_is_carried_over_when_told(run: Run, copy: bool, seen: int) -> None:
    async def scene() -> None:
        worker = ServerWorker(policy=Policy(allow_private=True), settings=Settings(copy_tos=copy))
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as host, socket.socket() as client:
            host.setblocking(False)
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x68)
            async with Server(["socks5://127.0.0.1:0"], worker) as server:
                await loop.sock_connect(client, ("127.0.0.1", int(server.urls[0].rpartition(":")[2])))
                port = host.getsockname()[1].to_bytes(2, "big")
                await loop.sock_sendall(client, bytes.fromhex("05 01 00  05 01 00 01 7f000001") + port)
                connection, _ = await loop.sock_accept(host)
                with connection:
                    assert received_tos(connection) == seen
                client.close()

    run(scene())


def test_no_option_leaks_from_one_connection_to_another(run: Run) -> None:
    async def scene() -> None:
        worker = ServerWorker(policy=Policy(allow_private=True))
        async with origin() as port, Server([LOOPBACK], worker) as server:
            client = Client(server.urls[0])
            marked = await client.connect("127.0.0.1", port, options=StackOptions(tos=0x40, leg=Leg.BOTH))
            plain = await client.connect("127.0.0.1", port, options=(StackOptions(multipath=False),))
            assert marked.options == (Tos(leg=Leg.BOTH, tos=0x40),)
            assert plain.options == (Multipath(availability=Availability.NO),)
            await marked.aclose()
            await plain.aclose()

    run(scene())


def test_a_chain_tells_of_its_last_leg(run: Run) -> None:
    async def scene() -> None:
        far = ServerWorker(policy=Policy(allow_private=True))
        async with origin() as port, Server([LOOPBACK], far) as last:
            outbound = UpstreamOutbound(Client(last.urls[0]))
            near = ServerWorker(policy=Policy(allow_private=True), outbound=outbound)
            async with Server([LOOPBACK], near) as first:
                client = Client(first.urls[0])
                async with await client.connect("127.0.0.1", port, options=StackOptions(ttl=7)) as stream:
                    assert stream.options == (Ttl(leg=Leg.PROXY_REMOTE, ttl=7),)

    run(scene())
