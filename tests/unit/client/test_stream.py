"""Streams through a proxy are the streams to it, and keep their session."""

import asyncio
import socket
import ssl
from typing import cast

import pytest

from socks6.client.session import DELIVERY_SECONDS, SessionLease
from socks6.client.stream import ProxiedStream
from socks6.errors import LocalProtocolError
from socks6.net.stream import ByteStream, Endpoint
from socks6.net.transports.tls import TlsSession, TlsStream, pollable
from tests.kit.certificates import authority
from tests.kit.joined import tcp_pair
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.streams import receive_exactly, until

BOUND, PEER = Endpoint("192.0.2.1", 1080), Endpoint("192.0.2.2", 80)


class Lease:
    """Notes until when a session stays."""

    def __init__(self) -> None:
        self.released: list[float] = []

    def release(self, *, unsettled_until: float = 0.0) -> None:
        self.released.append(unsettled_until)


class Slow:
    """A stream that is never closed in order."""

    aborted = False

    async def aclose(self) -> None:
        await asyncio.Event().wait()

    def abort(self) -> None:
        self.aborted = True


def proxied(stream: ByteStream) -> tuple[ProxiedStream, Lease]:
    lease = Lease()
    return ProxiedStream(stream, BOUND, (), peer=PEER, lease=cast("SessionLease", lease)), lease


def test_all_that_it_knows_is_what_the_stream_to_the_proxy_knows(run: Run) -> None:
    async def main() -> None:
        ours, theirs = tcp_pair()
        stream, _ = proxied(ours)
        assert (stream.bound, stream.peer, stream.options) == (BOUND, PEER, ())
        for name in ("local", "remote", "protection", "raw_socket", "turns"):
            assert getattr(stream, name) == getattr(ours, name), name
        assert stream.attribute(socket.socket) is ours.attribute(socket.socket)
        await stream.send(b"ping")
        assert await receive_exactly(theirs, 4) == b"ping"
        assert stream.receive_nowait(9) is None
        await theirs.send(b"pong")
        assert await stream.receive() == b"pong"
        await stream.send_eof()
        assert await theirs.receive() == b""
        theirs.abort()
        await until(stream.was_reset)
        stream.abort()

    run(main())


def test_a_session_stays_as_long_as_bytes_may_be_on_their_way(run: Run) -> None:
    async def main() -> None:
        now = asyncio.get_running_loop().time()
        for abrupt in (False, True):
            ours, theirs = memory_stream_pair()
            stream, lease = proxied(ours)
            if abrupt:
                stream.abort()
                assert lease.released == [0.0]
            else:
                async with stream:
                    assert lease.released == []
                (until,) = lease.released
                assert now + DELIVERY_SECONDS <= until < now + DELIVERY_SECONDS + 10
            theirs.abort()

    run(main())


def test_closing_without_a_wait_gives_the_session_back(run: Run) -> None:
    async def main() -> None:
        ours, theirs = tcp_pair()
        stream, lease = proxied(ours)
        assert stream.close_nowait()
        (until,) = lease.released
        assert until > asyncio.get_running_loop().time()
        assert await theirs.receive() == b""
        theirs.abort()
        slow = Slow()
        stream, lease = proxied(cast("ByteStream", slow))
        assert not stream.close_nowait()
        assert not lease.released

    run(main())


def test_closing_that_is_cancelled_aborts(run: Run) -> None:
    async def main() -> None:
        slow = Slow()
        stream, lease = proxied(cast("ByteStream", slow))
        closing = asyncio.create_task(stream.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        assert (slow.aborted, lease.released, closing.cancelled()) == (True, [0.0], True)

    run(main())


def test_a_plain_socket_can_be_taken_out_and_nothing_else(run: Run) -> None:
    async def main() -> None:
        ours, theirs = tcp_pair()
        with proxied(ours)[0].detach_socket() as sock:
            sock.send(b"raw")
            assert await receive_exactly(theirs, 3) == b"raw"
        theirs.abort()
        memory, other = memory_stream_pair()
        with pytest.raises(LocalProtocolError, match="no plain socket"):
            proxied(memory)[0].detach_socket()
        memory.abort()
        other.abort()

    run(main())


def test_tls_through_the_proxy_may_be_cut(run: Run) -> None:
    """Servers of HTTP end connections without ending TLS: to most clients that is an end like any other."""
    client, server = contexts()

    async def main() -> None:
        ours, theirs = tcp_pair()
        stream, _ = proxied(ours)
        host = TlsStream(pollable(theirs), TlsSession(server, server_side=True))
        known, _ = await asyncio.gather(stream.start_tls(client, "localhost"), host.handshake())
        assert known.version() == "TLSv1.3"
        assert stream.raw_socket is None
        await host.send(b"hello")
        assert await stream.receive() == b"hello"
        await theirs.send_eof()
        assert await stream.receive() == b""
        await stream.aclose()
        host.abort()
        ours, theirs = tcp_pair()
        await theirs.send(b"SSH-2.0-x\r\n")
        stream, _ = proxied(ours)
        with pytest.raises(ssl.SSLError):
            await stream.start_tls(client, "localhost")
        theirs.abort()

    run(main())


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    client, server = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().configure_trust(client)
    authority().issue_cert("localhost").configure_cert(server)
    return client, server
