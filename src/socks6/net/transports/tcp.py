"""TCP."""

import asyncio
import errno
import os
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from socks6.compat import override
from socks6.message.codes import Leg
from socks6.message.options import StackOption
from socks6.net.datagrams.shared import SharedPorts
from socks6.net.dial import ATTEMPT_DELAY, Dialler, happy_eyeballs, interleaved, reach_known_or_fresh
from socks6.net.resolve import LOOPBACKS, WILDCARDS, ResolvedAddress, Resolver, literal_address
from socks6.net.scopes import on_failure
from socks6.net.sockets import (
    CONNECTED,
    CONNECTING,
    SocketListener,
    SocketStream,
    bind_explained,
    stream_socket,
)
from socks6.net.stackopts.table import accept_fast_open, for_leg, set_congestion_control
from socks6.net.stream import ByteStream, Endpoint, Listener
from socks6.net.transports.base import (
    ConnectionListener,
    Connector,
    ConnectParameters,
    ListenParameters,
    OpenListeners,
    StreamRequest,
    send_first,
)

if sys.platform == "linux":
    from socks6.net.poller import Poller

BACKLOG: Final = 4096  # the kernel lowers it to net.core.somaxconn
KEEPALIVE_SECONDS: Final = 600  # a client silent for so long is asked whether it is still there
ListenerT = TypeVar("ListenerT", bound=Listener | ConnectionListener)
NO_SUCH_FAMILY: Final = frozenset((errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL))


def listen(parameters: ListenParameters) -> OpenListeners:
    """Return what listens with TCP."""

    async def open_listeners(_: SharedPorts) -> list[SocketListener]:
        return await listen_tcp(
            parameters.host,
            parameters.port,
            fast_open=parameters.fast_open,
            congestion=parameters.congestion,
            scheme=parameters.scheme,
        )

    return open_listeners


class TcpConnector(Connector):
    """Reaches one proxy over TCP."""

    def __init__(self, proxy: ConnectParameters) -> None:
        self._proxy = proxy

    @override
    async def open(self, request: StreamRequest) -> ByteStream:
        return await reach_proxy(self._proxy, request.client_leg_options, request.early_data)


async def reach_proxy(
    proxy: ConnectParameters, options: Iterable[StackOption] = (), fast_open: bytes | None = None
) -> ByteStream:
    """Connect to a proxy's host and port as `connect_tcp` does, or through the proxy before it. Raises OSError."""
    if proxy.through is not None:
        stream = await proxy.through(proxy.host, proxy.port)
        if fast_open:
            await send_first(stream, fast_open)
        return stream
    return await connect_tcp(
        proxy.host,
        proxy.port,
        options=options,
        fast_open=fast_open,
        congestion=proxy.congestion,
        resolver=proxy.resolver,
        poller=proxy.polling.poller,
    )


async def listen_tcp(
    host: str, port: int, *, fast_open: int = 0, congestion: str = "", scheme: str = "tcp"
) -> list[SocketListener]:
    """Listen on every address of `host`, "" being every address of this machine. Raises OSError.

    With port 0 all get the same free port. `scheme` begins the listeners' URLs; `congestion` is what `set_congestion_control` takes.

    With `fast_open`, clients may send data in their SYN (TCP Fast Open), so many at a time; the administrator
    has to allow it (net.ipv4.tcp_fastopen). Such data may come twice.
    """

    def open_one(address: ResolvedAddress, port: int) -> SocketListener:
        sock = _socket(address, port)
        with on_failure(sock.close):
            if fast_open:
                accept_fast_open(sock, fast_open)
            set_congestion_control(sock, congestion)
            sock.listen(BACKLOG)
            return SocketListener(sock, url=listener_url(scheme, sock))

    return await listen_at_each(host, port, open_one)


async def listen_at_each(
    host: str, port: int, open_one: Callable[[ResolvedAddress, int], ListenerT]
) -> list[ListenerT]:
    """Open a listener for every address of `host`, "" being every address of this machine. Raises OSError.

    With port 0 all get the same free port. An address family that this machine lacks does no harm if another one listens;
    localhost is then the loopback address that there is.
    """
    listeners: list[ListenerT] = []
    refusals: list[OSError] = []
    try:
        addresses = await Resolver().resolve(host, 0) if host else WILDCARDS.values()
        others = [address for address in LOOPBACKS if host == "localhost" and address not in addresses]
        for address in (*addresses, *others):
            if listeners and address in others:
                break
            try:
                listener = open_one(address, port)
            except OSError as error:
                refusals.append(error)
                continue
            listeners.append(listener)
            port = listener.local.port
        for refusal in refusals:
            if refusal.errno not in NO_SUCH_FAMILY or not listeners:
                raise refusal
    except BaseException:
        for listener in listeners:
            await listener.aclose()
        raise
    return listeners


async def connect_tcp(
    host: str,
    port: int,
    *,
    timeout: float | None = None,
    options: Iterable[StackOption] = (),
    fast_open: bytes | None = None,
    congestion: str = "",
    resolver: Resolver | None = None,
    poller: "Poller | None" = None,
) -> SocketStream:
    """Connect to the first address of `host` that answers, with the options about the client's leg. Raises OSError.

    With a `resolver`, addresses are remembered from call to call. With a `poller`, the stream waits by it for bytes.

    `fast_open` is sent first, within the SYN if the system has the host's TCP Fast Open cookie. If not, it
    fetches one for the next time, also when there is nothing to send. Such data may arrive twice (§ TCP Fast
    Open on the Client-Proxy Leg says when that is no harm). `congestion` is what `set_congestion_control` takes.
    """
    resolver = resolver or Resolver()
    wanted = for_leg(options, Leg.CLIENT_PROXY) if options else ()
    begun = None
    if not (wanted or congestion) and fast_open is None and timeout is None:
        stream, begun = await _connect_at_first(resolver, Endpoint(host, port), poller)
        if stream is not None:
            return stream
    deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
    dialler = Dialler(wanted, leg=Leg.CLIENT_PROXY, syn_data=fast_open, deadline=deadline, begun=begun)
    try:
        sock = await reach_known_or_fresh(
            resolver,
            Endpoint(host, port),
            lambda some: happy_eyeballs(interleaved(some), dialler.dial, deadline=deadline),
            socket.socket.close,
            deadline=deadline,
        )
    finally:
        dialler.discard_begun()
    stream = SocketStream(sock)
    with on_failure(stream.abort):
        set_congestion_control(sock, congestion)
    if poller is not None:
        stream.poll_with(poller)
    if rest := memoryview(fast_open or b"")[dialler.syn_bytes(sock) :]:
        with on_failure(stream.abort):
            async with asyncio.timeout_at(deadline):
                await stream.send(rest)
    return stream


async def _connect_at_first(
    resolver: Resolver, target: Endpoint, poller: "Poller | None"
) -> tuple[SocketStream | None, tuple[ResolvedAddress, socket.socket] | None]:
    """Try the best of the addresses that are known already, for as long as a race would leave it alone.

    Return the stream; else the address and its socket, which still connects, if it does. Raises OSError where there is
    no other address.
    """
    known = resolver.known(*target)
    if known is None:
        return None, None
    address = known[0]
    stream = SocketStream(stream_socket(address.family, socket.IPPROTO_TCP))
    if poller is not None:
        stream.poll_with(poller)
    try:
        error = await stream.connect(address.socket_address, ATTEMPT_DELAY)
    except BaseException:
        stream.abort()
        raise
    if error in CONNECTED:
        return stream, None
    if error in CONNECTING:
        return None, (address, stream.detach_socket())
    stream.abort()
    if literal_address(*target):
        raise OSError(error, os.strerror(error))
    return None, None


def _socket(address: ResolvedAddress, port: int) -> socket.socket:
    """Return a bound socket whose options accepted sockets inherit, which saves three calls for each."""
    sock = socket.socket(address.family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    with on_failure(sock.close):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 clients have IPv4 addresses
        if sys.platform == "linux":
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS)
        bind_explained(sock, (address.socket_address[0], port, *address.socket_address[2:]))
    return sock


def listener_url(scheme: str, sock: socket.socket) -> str:
    """Return where a socket listens, with the real port."""
    host, port = sock.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
