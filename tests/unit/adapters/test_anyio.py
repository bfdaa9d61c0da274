"""anyio connects, listens and sends datagrams through a proxy, with anyio's own shapes and exceptions."""

import ssl

import anyio
import anyio.abc
import pytest

import socks6.sync
from socks6 import AuthenticationFailed, Client, ConnectionRefused
from socks6.adapters.anyio import Connectable, connect_tcp, create_tcp_listener, create_udp
from tests.kit.adapted import PROXIES, Adapted
from tests.kit.origins import Place, echo

BACKENDS = ("asyncio", "trio")


@pytest.mark.parametrize(
    ("kind", "backend"),
    [*((kind, "asyncio") for kind in PROXIES), ("socks6", "trio"), ("socks6+quic", "trio")],
)
def test_tls_comes_through_every_proxy(world: Adapted, kind: str, backend: str) -> None:
    async def main() -> None:
        stream = await connect_tcp(
            world.url(kind),
            world.site.host,
            world.site.port,
            ssl_context=world.site.trusting(),
            tls_standard_compatible=False,
        )
        async with stream:
            await stream.send(b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b"".join([piece async for piece in stream]).endswith(b"\r\n\r\n1.1")

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_fails(world: Adapted, backend: str) -> None:
    async def main() -> None:
        url, refusing = world.url("socks6"), world.refusing
        with pytest.raises(ConnectionRefused):
            await connect_tcp(url, refusing.host, refusing.port)
        with pytest.raises(AuthenticationFailed):
            await connect_tcp(world.wrong_password("socks6"), refusing.host, refusing.port)
        with pytest.raises(anyio.ConnectionFailed):
            await Connectable(url, refusing.host, refusing.port).connect()
        with pytest.raises(ssl.SSLError), echo() as place:
            await connect_tcp(url, place.host, place.port, tls=True, tls_hostname="localhost")
        with anyio.move_on_after(0.1) as scope:
            await connect_tcp(url, world.silent.host, world.silent.port)
        assert scope.cancelled_caught
        wrong = Client(url) if backend == "trio" else socks6.sync.Client(url)
        with pytest.raises(TypeError, match=r"on asyncio|on trio"):
            await connect_tcp(wrong, refusing.host, refusing.port)

    anyio.run(main, backend=backend)


def test_a_stream_behaves_as_anyio_has_it(world: Adapted) -> None:
    async def main(place: Place) -> None:
        stream = await Connectable(world.url("socks6"), place.host, place.port).connect()
        assert stream.extra(anyio.abc.SocketAttribute.remote_port) == place.port
        async with anyio.create_task_group() as group:
            group.start_soon(stream.receive)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(anyio.BusyResourceError):
                await stream.receive()
            await stream.send(b"x")
        await stream.send_eof()
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
        with pytest.raises(ValueError, match="positive"):
            await stream.receive(0)
        await stream.aclose()
        for call in (stream.receive(), stream.send(b"x")):
            with pytest.raises(anyio.ClosedResourceError):
                await call

    with echo() as place:
        anyio.run(main, place)


def test_listeners_and_datagrams(world: Adapted) -> None:
    async def greet(stream: anyio.abc.ByteStream) -> None:
        async with stream:
            await stream.send(b"hello")

    async def main() -> None:
        url = world.url("socks6")
        async with await create_tcp_listener(url) as listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, greet)
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            for _ in range(2):
                async with await connect_tcp(url, "127.0.0.1", port) as peer:
                    assert await peer.receive() == b"hello"
            group.cancel_scope.cancel()
        async with await create_udp(url) as left, await create_udp(url) as right:
            await left.sendto(b"ping", "127.0.0.1", right.extra(anyio.abc.SocketAttribute.local_port))
            data, source = await right.receive()
            await right.send((data + b"pong", source))
            assert (await left.receive())[0] == b"pingpong"
        with pytest.raises(anyio.ClosedResourceError):
            await left.send((b"x", source))

    anyio.run(main)
