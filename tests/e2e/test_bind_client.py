"""BIND by the library, at a proxy that is a process of its own."""

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

import pytest
import trustme

from socks6 import BindListener, Client, ConnectionTimedOut, GeneralFailure, ProxyUnreachable
from socks6.net.stream import Endpoint
from tests.kit.footprint import eventually
from tests.kit.loops import Run
from tests.kit.proxies import Proxy, server
from tests.kit.streams import turns

USER: Final = ("--user", "alice:wonderland")
HOSTS: Final = ("127.0.0.1", "::1")

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """Run a proxy that listens on IPv4 and IPv6, for all of these."""
    with server(*USER, "--listen", "socks6://127.0.0.1:0", "--listen", "socks6://[::1]:0") as running:
        yield running


def as_alice(proxy: Proxy, host: str = "127.0.0.1") -> Client:
    url = proxy.urls[HOSTS.index(host)].replace("://", "://alice:wonderland@")
    return Client(url, timeout=10.0)


@contextlib.asynccontextmanager
async def listening(
    proxy: Proxy, host: str = "127.0.0.1", *, backlog: int = 5
) -> AsyncIterator[BindListener]:
    """Give a listener at a proxy."""
    async with (
        as_alice(proxy, host) as client,
        await client.bind(host, backlog=backlog) as listener,
    ):
        yield listener


def come(place: Endpoint) -> socket.socket:
    """Be a peer, and say who by our port."""
    sock = socket.create_connection(place, timeout=10.0)
    sock.sendall(b"%5d" % sock.getsockname()[1])
    return sock


async def greeted(listener: BindListener) -> int:
    """Accept somebody; return the port that he says, which must be the one that the proxy told."""
    async with await listener.accept(timeout=10.0) as stream:
        said = int((await stream.receive()).decode())
        assert stream.peer == (listener.bound.host, said)  # all are on this machine
        return said


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("backlog", [0, 5])
def test_peers_come_before_between_and_after(run: Run, proxy: Proxy, host: str, backlog: int) -> None:
    """With a backlog any number does; without one, one at a time."""

    async def scene() -> None:
        with contextlib.ExitStack() as peers:

            def arrive(number: int) -> Sequence[int]:
                socks = [peers.enter_context(come(listener.bound)) for _ in range(number)]
                return [sock.getsockname()[1] for sock in socks]

            async with listening(proxy, host, backlog=backlog) as listener:
                assert listener.bound.host == host
                assert listener.backlog == backlog
                before = arrive(3 if backlog else 1)
                assert {await greeted(listener) for _ in before} == set(before)
                async with asyncio.TaskGroup() as group:
                    waiting = [group.create_task(greeted(listener)) for _ in range(3 if backlog else 1)]
                    await asyncio.sleep(0.1)  # they do wait, whoever is first
                    between = arrive(len(waiting))
                    assert {await task for task in waiting} == set(between)
                if backlog:
                    after = arrive(backlog)
                    assert {await greeted(listener) for _ in after} == set(after)

    run(scene())


def test_a_proxy_that_is_killed_ends_the_accept() -> None:
    async def scene(proxy: Proxy) -> None:
        async with listening(proxy) as listener, asyncio.TaskGroup() as group:
            with come(listener.bound):
                await greeted(listener)
            accepting = group.create_task(failing(listener))
            await asyncio.sleep(0.05)
            proxy.process.kill()
            await accepting

    with server(*USER, ends_with=-signal.SIGKILL) as proxy:
        Run("uvloop")(scene(proxy))


async def failing(listener: BindListener) -> None:
    with pytest.raises(ProxyUnreachable):
        await listener.accept(timeout=10.0)


def test_the_port_is_closed_with_the_listener(run: Run, proxy: Proxy) -> None:
    async def scene() -> None:
        async with listening(proxy) as listener:
            with come(listener.bound):
                await greeted(listener)
            with pytest.raises(ConnectionTimedOut):
                await listener.accept(timeout=0.05)
            waiting = [come(listener.bound) for _ in range(3)]
            await asyncio.sleep(0.05)
        for sock in waiting:
            with sock, contextlib.suppress(ConnectionResetError):
                assert sock.recv(1) == b""
        assert eventually(lambda: refuses(listener.bound))

    run(scene())
    before = proxy.footprint.descriptors  # now it has all that a first peer makes it open
    run(scene())
    assert eventually(lambda: proxy.footprint.descriptors <= before)


def refuses(place: Endpoint) -> bool:
    try:
        socket.create_connection(place, timeout=5.0).close()
    except ConnectionRefusedError:
        return True
    return False


def test_nobody_elses_address_is_bound(run: Run, proxy: Proxy) -> None:
    async def scene() -> None:
        async with as_alice(proxy) as client:
            with pytest.raises(GeneralFailure):
                await client.bind("192.0.2.1")

    run(scene())


def test_a_server_with_tls_of_its_own(run: Run, proxy: Proxy) -> None:
    authority = trustme.CA()
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    authority.configure_trust(theirs)

    ended = asyncio.Semaphore(0)

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        ended.release()

    async def scene() -> None:
        async with (
            as_alice(proxy) as client,
            await client.start_server(shout, "127.0.0.1", ssl=ours) as listener,
        ):
            assert listener.backlog == 100
            with come(listener.bound):  # who speaks no TLS is nobody's trouble
                for _ in range(3):
                    reader, writer = await asyncio.open_connection(*listener.bound, ssl=theirs)
                    writer.write(b"hello\n")
                    assert await reader.read() == b"HELLO\n"
                    writer.close()
                    await writer.wait_closed()
                    await ended.acquire()
        await turns()  # the loop is about to end, and transports close in a turn of their own

    run(scene())
