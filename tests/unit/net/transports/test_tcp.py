"""TCP streams and listeners."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from typing_extensions import override

from socks6.net.resolve import FOR_ONE_NAME, ResolvedAddress, Resolver
from socks6.net.sockets import SocketListener
from socks6.net.stream import ByteStream, Endpoint, Protection, SocketAddress
from socks6.net.transports import tcp
from socks6.net.transports.tcp import connect_tcp, listen_at_each, listen_tcp
from tests.kit.footprint import Footprint
from tests.kit.loops import Run
from tests.kit.origins import silent_place
from tests.kit.streams import StreamConformance, accept, closing, turns


@asynccontextmanager
async def tcp_pair(host: str = "127.0.0.1") -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    """Return a dialled stream and the accepted one."""
    (listener,) = await listen_tcp(host, 0)
    try:
        dialled = await connect_tcp(host, listener.local.port)
        accepted = await accept(listener)
    finally:
        await listener.aclose()
    async with closing(dialled, accepted):
        yield dialled, accepted


class TestDialledStream(StreamConformance):
    """The common suite, from the dialling side."""

    @override
    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
        async with tcp_pair() as (dialled, accepted):
            yield dialled, accepted


class TestAcceptedStream(StreamConformance):
    """The common suite, from the accepting side, over IPv6."""

    @override
    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
        async with tcp_pair("::1") as (dialled, accepted):
            yield accepted, dialled


def option(stream: ByteStream, level: int, name: int) -> int:
    """Return a socket option of a stream."""
    assert stream.raw_socket is not None
    return stream.raw_socket.getsockopt(level, name)


def test_both_ends_send_small_pieces_at_once(run: Run) -> None:
    async def play() -> None:
        async with tcp_pair() as pair:
            assert all(option(stream, socket.IPPROTO_TCP, socket.TCP_NODELAY) for stream in pair)

    run(play())


def test_both_ends_find_out_about_dead_peers(run: Run) -> None:
    async def play() -> None:
        async with tcp_pair() as pair:
            assert all(option(stream, socket.SOL_SOCKET, socket.SO_KEEPALIVE) for stream in pair)

    run(play())


def test_ends_are_the_sockets_addresses(run: Run) -> None:
    async def play() -> None:
        async with tcp_pair("::1") as (dialled, accepted):
            assert dialled.remote == accepted.local
            assert dialled.local == accepted.remote
            assert dialled.local.host == "::1"
            assert dialled.protection is Protection.CLEAR

    run(play())


@pytest.mark.parametrize(("host", "begin"), [("127.0.0.1", "tcp://127.0.0.1:"), ("::1", "tcp://[::1]:")])
def test_the_url_tells_the_real_port(run: Run, host: str, begin: str) -> None:
    async def play() -> None:
        (listener,) = await listen_tcp(host, 0)
        assert listener.url == f"{begin}{listener.local.port}"
        assert listener.local.port
        await listener.aclose()

    run(play())


def test_the_scheme_of_the_url_can_be_chosen(run: Run) -> None:
    async def play() -> None:
        (listener,) = await listen_tcp("127.0.0.1", 0, scheme="socks6")
        assert listener.url.startswith("socks6://127.0.0.1:")
        await listener.aclose()

    run(play())


def test_no_host_is_every_address_with_one_port(run: Run) -> None:
    async def play() -> None:
        listeners = await listen_tcp("", 0)
        try:
            assert [listener.local.host for listener in listeners] == ["0.0.0.0", "::"]
            assert listeners[0].local.port == listeners[1].local.port
            for host in ("127.0.0.1", "::1"):
                async with closing(await connect_tcp(host, listeners[0].local.port)):
                    pass
        finally:
            for listener in listeners:
                await listener.aclose()

    run(play())


def test_an_ipv4_client_is_not_a_mapped_ipv6_client(run: Run) -> None:
    async def play() -> None:
        listeners = await listen_tcp("", 0)
        try:
            async with closing(await connect_tcp("127.0.0.1", listeners[0].local.port)):
                accepted = await accept(listeners[0])
                assert accepted.remote.host == "127.0.0.1"
                accepted.abort()
        finally:
            for listener in listeners:
                await listener.aclose()

    run(play())


def test_a_port_in_use_is_refused(run: Run) -> None:
    async def play() -> None:
        (listener,) = await listen_tcp("127.0.0.1", 0)
        with pytest.raises(OSError, match="in use"):
            await listen_tcp("127.0.0.1", listener.local.port)
        await listener.aclose()

    run(play())


def test_a_port_is_free_again_after_closing(run: Run) -> None:
    async def play() -> None:
        (listener,) = await listen_tcp("127.0.0.1", 0)
        place = listener.local
        await listener.aclose()
        (again,) = await listen_tcp(*place)
        assert again.local == place
        await again.aclose()

    run(play())


@pytest.mark.parametrize(
    ("refused", "errors"),
    [
        ({socket.AF_INET6: errno.EAFNOSUPPORT}, None),
        ({socket.AF_INET: errno.EADDRNOTAVAIL}, None),
        ({socket.AF_INET: errno.EAFNOSUPPORT, socket.AF_INET6: errno.EAFNOSUPPORT}, errno.EAFNOSUPPORT),
        ({socket.AF_INET6: errno.EADDRINUSE}, errno.EADDRINUSE),
    ],
)
def test_a_family_that_this_machine_lacks_is_done_without(
    run: Run, refused: dict[int, int], errors: int | None
) -> None:
    async def play() -> None:
        (listener,) = await listen_tcp("127.0.0.1", 0)

        def open_one(address: ResolvedAddress, port: int) -> SocketListener:
            if number := refused.get(address.family):
                raise OSError(number, os.strerror(number))
            return listener

        if errors is None:
            assert await listen_at_each("", 0, open_one) == [listener]
        else:
            with pytest.raises(OSError, match=os.strerror(errors)):
                await listen_at_each("", 0, open_one)
        await listener.aclose()

    run(play())


def test_an_address_of_another_machine_is_refused(run: Run) -> None:
    async def play() -> None:
        with pytest.raises(OSError, match="assign"):
            await listen_tcp("192.0.2.1", 0)

    run(play())


def test_nothing_that_listens_is_a_refusal(run: Run) -> None:
    async def play() -> None:
        (listener,) = await listen_tcp("127.0.0.1", 0)
        place = listener.local
        await listener.aclose()
        with pytest.raises(ConnectionRefusedError):
            await connect_tcp(*place, timeout=5)

    run(play())


def test_a_name_is_resolved(run: Run) -> None:
    async def play() -> None:
        listeners = await listen_tcp("localhost", 0)
        async with closing(stream := await connect_tcp("localhost", listeners[0].local.port, timeout=5)):
            assert stream.remote in [listener.local for listener in listeners]
        for listener in listeners:
            await listener.aclose()

    run(play())


def test_an_unanswered_dial_times_out(run: Run) -> None:
    async def play() -> None:
        with socket.socket() as full:  # a listener whose backlog is full answers no more SYNs
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            with socket.create_connection(full.getsockname()), pytest.raises(TimeoutError):
                await connect_tcp(*full.getsockname(), timeout=0.05)

    run(play())


LOOPBACK_ADDRESSES = [ResolvedAddress(socket.AF_INET, (f"127.0.0.{last}", 0)) for last in (1, 2)]


@asynccontextmanager
async def second_of_two() -> AsyncIterator[tuple[socket.socket, int, Resolver]]:
    """Give a socket at the first of a known name's two addresses, the port, and the resolver; something listens at the second."""
    resolver = Resolver(lifetimes=FOR_ONE_NAME, lookup=lambda *_: LOOPBACK_ADDRESSES)
    await resolver.resolve("two.example", 0)
    with socket.socket() as first:
        first.bind(("127.0.0.1", 0))
        (listener,) = await listen_tcp("127.0.0.2", first.getsockname()[1])
        yield first, listener.local.port, resolver
        await listener.aclose()


@pytest.mark.parametrize("silent", [False, True])
def test_where_the_first_address_does_not_answer_the_others_are_tried(run: Run, silent: bool) -> None:
    async def play() -> None:
        async with second_of_two() as (first, port, resolver):
            with contextlib.ExitStack() as held:
                if silent:
                    first.listen(0)  # whose backlog is full then
                    held.enter_context(socket.create_connection(first.getsockname()))
                before = Footprint.of().descriptors
                stream = await connect_tcp("two.example", port, resolver=resolver)
                assert stream.remote == Endpoint("127.0.0.2", port)
                stream.abort()
                assert Footprint.of().descriptors <= before

    run(play())


def test_an_address_that_takes_its_time_is_not_connected_to_twice(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "ATTEMPT_DELAY", 0.01)

    async def play() -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            with socket.create_connection(full.getsockname()):
                async with asyncio.TaskGroup() as group:
                    connecting = group.create_task(connect_tcp(*full.getsockname()))
                    await asyncio.sleep(0.05)
                    full.accept()[0].close()
                    stream = await connecting  # the kernel tries again after a second
                peer, address = full.accept()
                peer.close()
                assert stream.local == Endpoint(*address)
                full.setblocking(False)
                with pytest.raises(BlockingIOError):
                    full.accept()
                stream.abort()

    run(play())


def test_a_dial_that_is_cancelled_leaves_no_socket(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "ATTEMPT_DELAY", 0.01)

    async def play() -> None:
        with silent_place() as place:
            before = Footprint.of().descriptors
            for seconds in (0.0, 0.03):  # before, and after, it is left to a race
                connecting = asyncio.ensure_future(connect_tcp(place.host, place.port))
                await asyncio.sleep(seconds)
                await turns()
                connecting.cancel()
                await asyncio.wait([connecting])
                assert Footprint.of().descriptors <= before

    run(play())


def test_no_resolver_thread_is_needed_for_a_literal(run: Run) -> None:
    async def play() -> None:
        async with tcp_pair() as (dialled, _):
            assert dialled.remote == Endpoint("127.0.0.1", dialled.remote.port)

    run(play())


def test_what_keeps_a_port_from_being_bound_is_explained(run: Run) -> None:
    async def scene() -> None:
        [listener] = await listen_tcp("127.0.0.1", 0)
        port = listener.local.port
        with pytest.raises(
            OSError, match=rf"Address already in use \(TCP port {port}: another socks6\?"
        ) as taken:
            await listen_tcp("127.0.0.1", port)
        assert taken.value.errno == errno.EADDRINUSE
        with pytest.raises(OSError, match=r"this machine does not have 192.0.2.1; listen on :1080"):
            await listen_tcp("192.0.2.1", 1080)
        await listener.aclose()

    run(scene())


def test_localhost_is_the_loopback_address_that_there_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def bind(sock: socket.socket, address: SocketAddress) -> None:
        if sock.family == socket.AF_INET:
            raise OSError(errno.EADDRNOTAVAIL, "none")
        sock.bind(address)

    monkeypatch.setattr("socks6.net.transports.tcp.bind_explained", bind)

    async def scene() -> None:
        [listener] = await listen_tcp("localhost", 0)
        assert listener.local.host == "::1"
        await listener.aclose()

    run(scene())
