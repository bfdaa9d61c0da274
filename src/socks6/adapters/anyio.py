"""anyio through a proxy, on asyncio and on trio: streams, TLS, listeners and UDP, of the shapes of anyio's own calls.

On trio TCP alone goes through, by `socks6.sync`: the library's own thread connects, and trio has the socket.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from socks6.adapters.base import AdapterClient, AnyProxy, missing
from socks6.client.bind import BindListener
from socks6.client.client import Client
from socks6.client.datagram_transport import ProxiedDatagramTransport
from socks6.client.stream import ProxiedStream
from socks6.compat import override
from socks6.errors import LocalProtocolError, Socks6Error
from socks6.net.stream import Endpoint
from socks6.sync.client import Client as SyncClient
from socks6.sync.client import connect as connect_once

try:
    import anyio
    import anyio.abc
    import anyio.lowlevel
    from anyio.streams.tls import TLSStream
except ImportError as error:
    raise missing("anyio", "anyio") from error


MAX_DATAGRAMS: Final = 1024  # that wait to be received; then new ones are dropped


class Stream(anyio.abc.ByteStream):
    """A `ByteStream` of anyio over one of ours, on asyncio."""

    def __init__(self, stream: ProxiedStream, closing: Callable[[], Awaitable[object]]) -> None:
        self._stream = stream
        self._closing = closing
        self._closed = False

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        kinds = anyio.abc.SocketAttribute
        attributes: dict[Any, Callable[[], Any]] = {
            kinds.local_address: lambda: tuple(self._stream.bound),
            kinds.local_port: lambda: self._stream.bound.port,
            kinds.remote_address: lambda: tuple(self._stream.peer),
            kinds.remote_port: lambda: self._stream.peer.port,
        }
        if self._stream.raw_socket is not None:
            attributes[kinds.raw_socket] = lambda: self._stream.raw_socket
        return attributes

    @override
    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return what arrives next. Raises EndOfStream, BrokenResourceError, ClosedResourceError, BusyResourceError."""
        if max_bytes < 1:
            raise ValueError("max_bytes must be a positive number")
        await anyio.lowlevel.checkpoint()
        with self._failures("receiving from"):
            data = await self._stream.receive(max_bytes)
        if not data:
            raise anyio.EndOfStream
        return data

    @override
    async def send(self, item: bytes) -> None:
        """Send all of the bytes. Raises BrokenResourceError, ClosedResourceError, BusyResourceError."""
        await anyio.lowlevel.checkpoint()
        with self._failures("sending to"):
            await self._stream.send(item)

    @override
    async def send_eof(self) -> None:
        """End the sending direction."""
        with self._failures("sending to"):
            await self._stream.send_eof()

    @override
    async def aclose(self) -> None:
        """Close; what was sent is delivered. Aborts where it is cancelled."""
        self._closed = True
        try:
            await self._stream.aclose()
        finally:
            await self._closing()

    @contextmanager
    def _failures(self, action: str) -> Iterator[None]:
        if self._closed:
            raise anyio.ClosedResourceError
        try:
            yield
        except LocalProtocolError as error:  # another task does it already
            raise anyio.BusyResourceError(action) from error
        except OSError as error:
            raise self._broken() from error

    def _broken(self) -> Exception:
        return anyio.ClosedResourceError() if self._closed else anyio.BrokenResourceError()


async def connect_tcp(
    proxy: AnyProxy | SyncClient,
    remote_host: str,
    remote_port: int,
    *,
    tls: bool = False,
    ssl_context: ssl.SSLContext | None = None,
    tls_standard_compatible: bool = True,
    tls_hostname: str | None = None,
) -> anyio.abc.ByteStream:
    """Connect to a host through a proxy, which resolves the name; return a stream, as `anyio.connect_tcp` does.

    `proxy` is a URL, or a `Client` (on trio a `socks6.sync.Client`) that its maker closes. The rest is for TLS, end to end. Raises
    what `Client.connect` does, which are OSErrors, and what `TLSStream.wrap` does.
    """
    stream = await _connect(proxy, remote_host, remote_port)
    if not (tls or ssl_context or tls_hostname):
        return stream
    try:
        return await TLSStream.wrap(
            stream,
            hostname=tls_hostname or remote_host,
            ssl_context=ssl_context,
            standard_compatible=tls_standard_compatible,
        )
    except BaseException:
        await anyio.aclose_forcefully(stream)
        raise


class Connectable(anyio.abc.ByteStreamConnectable):
    """A host behind a proxy, for what takes a `ByteStreamConnectable`, such as `anyio.as_connectable`."""

    def __init__(self, proxy: AnyProxy | SyncClient, host: str, port: int) -> None:
        """`proxy` is as with `connect_tcp`."""
        self._proxy = proxy
        self._host = host
        self._port = port

    @override
    async def connect(self) -> anyio.abc.ByteStream:
        """Connect. Raises ConnectionFailed."""
        try:
            return await connect_tcp(self._proxy, self._host, self._port)
        except (Socks6Error, OSError) as error:
            raise anyio.ConnectionFailed(f"error connecting to {self._host}:{self._port}: {error}") from error


class Listener(anyio.abc.Listener[anyio.abc.ByteStream]):
    """A port that listens at the proxy."""

    def __init__(self, listener: BindListener, client: AdapterClient) -> None:
        self.bound: Final[Endpoint] = listener.bound
        self._listener = listener
        self._client = client

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        kinds = anyio.abc.SocketAttribute
        return {kinds.local_address: lambda: tuple(self.bound), kinds.local_port: lambda: self.bound.port}

    @override
    async def serve(
        self,
        handler: Callable[[anyio.abc.ByteStream], Any],
        task_group: anyio.abc.TaskGroup | None = None,
    ) -> None:
        """Call `handler` for each peer that connects, in a task of its own. Raises what `BindListener.accept` does."""
        async with anyio.create_task_group() as own:
            while True:
                accepted = Stream(await self._listener.accept(), _nothing)
                (task_group or own).start_soon(handler, accepted)

    @override
    async def aclose(self) -> None:
        """Listen no more."""
        await self._listener.aclose()
        await self._client.aclose()


async def create_tcp_listener(
    proxy: AnyProxy, *, local_host: str | None = None, local_port: int = 0, backlog: int = 16
) -> Listener:
    """Open a port that listens at the proxy; see `Client.bind`. Needs asyncio. Raises what that does."""
    client = AdapterClient(proxy)
    try:
        listener = await (await client.enter()).bind(local_host, local_port, backlog=backlog)
    except BaseException:
        await client.aclose()
        raise
    return Listener(listener, client)


class UdpSocket(anyio.abc.UnreliableObjectStream[tuple[bytes, tuple[str, int]]]):
    """A UDP port at the proxy, of the shape of `anyio.abc.UDPSocket`."""

    def __init__(self, transport: ProxiedDatagramTransport, queue: "_Queue", client: AdapterClient) -> None:
        self._transport = transport
        self._queue = queue
        self._client = client

    @property
    @override
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        kinds = anyio.abc.SocketAttribute
        bound: tuple[str, int] = self._transport.get_extra_info("sockname")
        return {kinds.local_address: lambda: bound, kinds.local_port: lambda: bound[1]}

    async def sendto(self, data: bytes, host: str, port: int) -> None:
        """Send a datagram to a host, whose name the proxy resolves."""
        await self.send((data, (host, port)))

    @override
    async def send(self, item: tuple[bytes, tuple[str, int]]) -> None:
        """Send a datagram to the address beside it. Raises ClosedResourceError; ValueError for an impossible address."""
        await anyio.lowlevel.checkpoint()
        if self._transport.is_closing():
            raise anyio.ClosedResourceError
        self._transport.sendto(*item)

    @override
    async def receive(self) -> tuple[bytes, tuple[str, int]]:
        """Return a datagram and its source. Raises EndOfStream where the association has ended, DatagramFailed for an ICMP error."""
        item = await self._queue.received.receive()
        if isinstance(item, OSError):
            raise item
        return item

    @override
    async def aclose(self) -> None:
        """Close the port."""
        self._transport.close()
        self._queue.received.close()
        await self._client.aclose()


async def create_udp(proxy: AnyProxy, *, local_host: str = "0.0.0.0", local_port: int = 0) -> UdpSocket:  # noqa: S104 - at the proxy
    """Open a UDP port at the proxy, as `anyio.create_udp_socket` does here; see `Client.associate`. Needs asyncio.

    A `Client` must have been entered. Raises what `create_datagram_endpoint` does.
    """
    client = AdapterClient(proxy)
    try:
        transport, queue = await (await client.enter()).create_datagram_endpoint(
            _Queue, local_addr=(local_host, local_port)
        )
    except BaseException:
        await client.aclose()
        raise
    return UdpSocket(transport, queue, client)


class _Queue(asyncio.DatagramProtocol):
    """Datagrams and errors until they are received."""

    def __init__(self) -> None:
        self._put, self.received = anyio.create_memory_object_stream[tuple[bytes, tuple[str, int]] | OSError](
            MAX_DATAGRAMS
        )

    @override
    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._keep((data, addr))

    @override
    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self._keep(exc)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._put.close()

    def _keep(self, item: tuple[bytes, tuple[str, int]] | OSError) -> None:
        try:
            self._put.send_nowait(item)
        except (anyio.WouldBlock, anyio.BrokenResourceError):
            return


async def _nothing() -> None:
    return


async def _connect(proxy: AnyProxy | SyncClient, host: str, port: int) -> anyio.abc.ByteStream:
    if not _on_asyncio():
        return await _connect_in_thread(proxy, host, port)
    if isinstance(proxy, SyncClient):
        raise TypeError("socks6.sync.Client is for trio; on asyncio give a socks6.Client")
    client = AdapterClient(proxy, session=False)
    try:
        return Stream(await (await client.enter()).connect(host, port), client.aclose)
    except BaseException:
        await client.aclose()
        raise


async def _connect_in_thread(proxy: AnyProxy | SyncClient, host: str, port: int) -> anyio.abc.ByteStream:
    """Connect on trio, or what else anyio may run on."""
    if isinstance(proxy, Client):
        raise TypeError("socks6.Client is for asyncio; on trio give a socks6.sync.Client")
    abandoned = threading.Event()

    def work() -> socket.socket:
        if isinstance(proxy, SyncClient):
            connected = proxy.connect(host, port)
        else:
            connected = connect_once(proxy, host, port)
        if abandoned.is_set():
            connected.close()
        return connected

    try:
        connected = await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
    except BaseException:
        abandoned.set()
        raise
    plain = socket.socket(fileno=connected.detach())  # trio takes no subclass
    return await anyio.abc.SocketStream.from_socket(plain)


def _on_asyncio() -> bool:
    try:
        return asyncio.current_task() is not None
    except RuntimeError:  # no loop runs here
        return False
