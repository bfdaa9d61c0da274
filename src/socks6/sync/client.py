"""`Client` for programs that block: the calls of `socks6.Client`, made in the library's own thread, with sockets for streams."""

import asyncio
import os
import socket
import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Literal, TypeVar

from socks6.client.association import Association as AsyncAssociation
from socks6.client.association_factory import UdpPathChoice
from socks6.client.bind import BindListener
from socks6.client.client import DEFAULT_TIMEOUT, ProxyCheck, Timeout
from socks6.client.client import Client as AsyncClient
from socks6.client.connector import DialFunction
from socks6.client.environment import client_named_by
from socks6.client.options import Options, StackOptions, flatten
from socks6.client.requester import MethodFactory
from socks6.compat import override
from socks6.errors import ConfigurationError, Socks6Error
from socks6.message.codes import Parity
from socks6.message.dialect import DatagramLayout, Dialect
from socks6.message.options import STANDARD, OptionTable, StackOption
from socks6.net.stream import Endpoint
from socks6.net.transports.base import Transport
from socks6.net.transports.registry import TRANSPORTS
from socks6.net.upstream import UpstreamStatus
from socks6.net.url import ProxyUrl
from socks6.sync.loop_thread import LoopThread, loop_thread

ResultT = TypeVar("ResultT")


class Client:
    """Reaches hosts through a proxy by blocking calls. Names are resolved at the proxy.

    ::

        with Client("socks6://user:password@proxy.example:1080") as client:
            sock = client.connect("example.com", 80)

    Arguments, time-outs and exceptions are those of `socks6.Client`, and so is what each call does. Any number of threads may
    share a client. A call that is interrupted (Ctrl-C) ends at once, and what it was doing is undone.

    `connect` and `Listener.accept` return a `socket.socket` that blocks: over plain TCP the connection's own; over TLS, QUIC and
    Unix sockets a `ProxiedSocket`, whose bytes the library's thread carries. A socket outlives its client: leaving the block
    does not close it.
    """

    def __init__(
        self,
        proxy: str | ProxyUrl | Sequence[str | ProxyUrl],
        *,
        dial: DialFunction | None = None,
        methods: Sequence[MethodFactory] = (),
        timeout: float | None = DEFAULT_TIMEOUT,
        connect_timeout: float | None = None,
        dialect: Dialect | None = None,
        option_table: OptionTable = STANDARD,
        fast_open: bool = False,
        session: bool | None = None,
        transports: Mapping[str, Transport] = TRANSPORTS,
        alternatives: Sequence[str | ProxyUrl] = (),
        order: Literal["failover", "round-robin", "least-latency"] = "failover",
        no_proxy: str = "",
    ) -> None:
        """See `socks6.Client`. Raises ConfigurationError."""
        self._make: Final = partial(
            AsyncClient,
            proxy,
            dial=dial,
            methods=methods,
            timeout=timeout,
            connect_timeout=connect_timeout,
            dialect=dialect,
            option_table=option_table,
            fast_open=fast_open,
            session=session,
            transports=transports,
            alternatives=alternatives,
            order=order,
            no_proxy=no_proxy,
        )
        self._first: AsyncClient | None = self._make()  # to be used by the first call
        self.url: Final = self._first.url
        self._entered = False
        self._clients: Final[dict[LoopThread, AsyncClient]] = {}  # more than one only after a fork

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str] | None = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        connect_timeout: float | None = None,
    ) -> "Client":
        """Return a client of the proxy that environment variables name. See `socks6.Client.from_environment`."""
        return client_named_by(
            os.environ if environment is None else environment,
            lambda url, excluded: cls(
                url, timeout=timeout, connect_timeout=connect_timeout, no_proxy=excluded
            ),
        )

    def __enter__(self) -> "Client":
        """Return the client. Within the block connections are made ahead, and alternatives checked, as with `socks6.Client`."""
        thread, client = self._opened()
        thread.run(_enter(client))
        self._entered = True
        return self

    def __exit__(self, *_: object) -> None:
        """Close, see `close`."""
        self.close()

    def close(self) -> None:
        """Tear the session down at the proxy, within seconds; sockets stay open. Raises nothing. Idempotent."""
        self._entered = False
        thread = loop_thread()
        if thread in self._clients:
            thread.run(self._clients[thread].aclose())

    @override
    def __repr__(self) -> str:
        """Return the proxy's URL without the password."""
        return f"<sync.Client {self.url}>"

    def connect(
        self,
        host: str,
        port: int,
        *,
        initial_data: bytes = b"",
        options: Options = (),
        timeout: Timeout = "client",
        idempotent: bool = False,
    ) -> socket.socket:
        """Connect to a host; return a blocking socket. See `socks6.Client.connect`.

        `timeout` is for the call alone: the socket's own is `socket.getdefaulttimeout()`, as for every new socket.
        """

        async def work(thread: LoopThread, client: AsyncClient) -> socket.socket:
            stream = await client.connect(
                host, port, initial_data=initial_data, options=options, timeout=timeout, idempotent=idempotent
            )
            return thread.carrier.socket_of(stream)

        return self._run(work, socket.socket.close)

    def create_connection(
        self,
        address: tuple[str, int],
        timeout: Timeout = "client",
        source_address: tuple[str, int] | None = None,
        *,
        all_errors: bool = False,  # noqa: ARG002 - the proxy reports one
    ) -> socket.socket:
        """Connect to an address; return a blocking socket, as `socket.create_connection` does, whose place it can take.

        `timeout` is for the call, and for each operation on the socket afterwards; without it, the client's is for the
        call and `socket.getdefaulttimeout()` for the socket. Raises ConfigurationError where a source address is named, and
        what `connect` raises: the proxy resolves names, so that there is no socket.gaierror but HostUnreachable.
        """
        if source_address is not None and tuple(source_address) != ("", 0):
            raise ConfigurationError("connections through a proxy have no source address of this machine")
        given = timeout is None or isinstance(timeout, int | float)  # else socket._GLOBAL_DEFAULT_TIMEOUT
        sock = self.connect(*address, timeout=timeout if given else "client")
        if given and timeout != "client":
            sock.settimeout(timeout)
        return sock

    def listen(
        self,
        host: str | None = None,
        port: int = 0,
        *,
        backlog: int = 0,
        options: Options = (),
        eager: bool = True,
        timeout: Timeout = "client",
    ) -> "Listener":
        """Open a port that listens at the proxy; return its listener. See `socks6.Client.bind`."""

        async def work(_: LoopThread, client: AsyncClient) -> BindListener:
            return await client.bind(
                host, port, backlog=backlog, options=options, eager=eager, timeout=timeout
            )

        return Listener(loop_thread(), self._run(work, _close_later))

    @contextmanager
    def associate(
        self,
        host: str = "0.0.0.0",  # noqa: S104 - at the proxy
        port: int = 0,
        *,
        udp: UdpPathChoice | None = None,
        options: Options = (),
        errors: bool = False,
        parity: Parity | None = None,
        reserve: bool = False,
        layout: DatagramLayout | None = None,
        timeout: Timeout = "client",
    ) -> "Iterator[Association]":
        """Open a UDP port at the proxy for as long as the block lasts. See `socks6.Client.associate`.

        ::

            with client.associate() as udp:
                udp.send(b"hello", ("example.com", 5000))
                data, source = udp.receive(timeout=5)
        """
        wishes = StackOptions(udp_error=errors or None, parity=parity, reserve=reserve)
        association = self.open_association(
            host, port, udp=udp, options=(*flatten(options), wishes), layout=layout, timeout=timeout
        )
        try:
            yield association
        finally:
            association.close()

    def open_association(
        self,
        host: str = "0.0.0.0",  # noqa: S104 - at the proxy
        port: int = 0,
        *,
        udp: UdpPathChoice | None = None,
        options: Options = (),
        layout: DatagramLayout | None = None,
        timeout: Timeout = "client",
    ) -> "Association":
        """Open an association that the caller closes; see `associate`."""

        async def work(_: LoopThread, client: AsyncClient) -> AsyncAssociation:
            return await client.open_association(
                host, port, udp=udp, options=options, layout=layout, timeout=timeout
            )

        return Association(loop_thread(), self._run(work, AsyncAssociation.abort))

    def noop(self, *, timeout: Timeout = "client") -> float:
        """Make a NOOP request; return the seconds that it took. See `socks6.Client.noop`."""
        return self._run(lambda _, client: client.noop(timeout=timeout))

    def check(self, *, timeout: Timeout = "client") -> ProxyCheck:
        """Make a NOOP request; return how long it took, and how the connection is encrypted."""
        return self._run(lambda _, client: client.check(timeout=timeout))

    def open_session(self, *, timeout: Timeout = "client") -> bool:
        """Open a session ahead of the first request; return whether the proxy has granted one."""
        return self._run(lambda _, client: client.open_session(timeout=timeout))

    def close_idle(self) -> None:
        """Close connections to the proxy that no socket uses: spare ones, and those that QUIC keeps. Idempotent."""

        async def work(_: LoopThread, client: AsyncClient) -> None:
            client.close_idle()

        self._run(work)

    @property
    def upstreams(self) -> tuple[UpstreamStatus, ...]:
        """How the proxies are, in their order; empty without `alternatives`."""
        return self._opened()[1].upstreams

    def _run(
        self,
        work: Callable[[LoopThread, AsyncClient], Coroutine[Any, Any, ResultT]],
        discard: Callable[[ResultT], object] | None = None,
    ) -> ResultT:
        thread, client = self._opened()
        return thread.run(work(thread, client), discard)

    def _opened(self) -> tuple[LoopThread, AsyncClient]:
        """Return this process's thread, and the client that works there."""
        thread = loop_thread()
        client = self._clients.get(thread)
        if client is None:
            first, self._first = self._first, None
            made = first or self._make()
            client = self._clients.setdefault(thread, made)  # threads may come at once
            if client is made:
                thread.close_at_exit(client)
                _close_when_collected(self, thread, client)
                if self._entered:  # before a fork
                    thread.run(_enter(client))
        return thread, client


def connect(
    proxy: str | ProxyUrl | Sequence[str | ProxyUrl],
    host: str,
    port: int,
    *,
    initial_data: bytes = b"",
    options: Options = (),
    timeout: float | None = DEFAULT_TIMEOUT,
) -> socket.socket:
    """Connect to a host through a proxy, once; return a blocking socket. See `Client.connect`.

    `timeout` is for the call, in seconds. For more than one connection take a `Client`, which keeps what the next can use.
    """
    client = Client(proxy, timeout=timeout, session=False)
    try:
        return client.connect(host, port, initial_data=initial_data, options=options)
    finally:
        client.close()


class Listener:
    """A port that listens at the proxy. A context manager that closes it; see `Client.listen`.

    `bound` is the public address; `backlog` how many peers the proxy keeps waiting; `options` are the stack options in force.
    """

    def __init__(self, thread: LoopThread, listener: BindListener) -> None:
        self.bound: Final[Endpoint] = listener.bound
        self.options: Final[tuple[StackOption, ...]] = listener.options
        self.backlog: Final[int] = listener.backlog
        self._thread = thread
        self._listener = listener
        _close_when_collected(self, thread, listener)

    def accept(self, *, timeout: float | None = None) -> tuple[socket.socket, Endpoint]:
        """Return the socket of a peer that has connected, and the peer's address.

        Raises ConnectionTimedOut after `timeout` seconds, None for no limit, and what `BindListener.accept` raises.
        """

        async def work() -> tuple[socket.socket, Endpoint]:
            stream = await self._listener.accept(timeout=timeout)
            return self._thread.carrier.socket_of(stream), stream.peer

        return self._thread.run(work(), _close_accepted)

    def close(self) -> None:
        """Close the port; accepted sockets stay open. Idempotent."""
        self._thread.run(self._listener.aclose())

    def __enter__(self) -> "Listener":
        """Return the listener."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


class Association:
    """A UDP port at the proxy; see `Client.associate`. Any number of threads may send and receive.

    `bound` is the port's address, as remote hosts see it; `options` are the stack options in force.
    """

    def __init__(self, thread: LoopThread, association: AsyncAssociation) -> None:
        self.bound: Final[Endpoint] = association.bound
        self.options: Final[tuple[StackOption, ...]] = association.options
        self._thread = thread
        self._association = association
        ended = self._ended = asyncio.Event()

        async def carry() -> None:  # without a reference to what is collected
            try:
                await association.run()
            finally:
                ended.set()

        thread.call_soon(lambda: thread.spawn(carry()))
        weakref.finalize(self, thread.call_soon, association.abort).atexit = False

    @property
    def path(self) -> str:
        """How the datagrams travel between us and the proxy: "datagram" for over UDP, "dtls", "stream"."""
        return self._association.path

    @property
    def dropped(self) -> int:
        """How many datagrams, of either direction, were dropped here for want of room."""
        return self._association.dropped

    def max_data(self, host: str) -> int:
        """Return how many bytes a datagram to `host` can hold at most. Raises ValueError for no host."""
        return self._association.max_data(host)

    def send(self, data: bytes, destination: tuple[str, int]) -> None:
        """Send a datagram to a host; wait while there is no room. Raises what the asyncio `Association.send` does."""
        self._thread.run(self._association.send(data, destination))

    def receive(self, *, timeout: float | None = None) -> tuple[bytes, Endpoint]:
        """Return the next datagram's data, and the address and port it came from.

        Raises TimeoutError after `timeout` seconds, None for no limit, and what the asyncio `Association.receive` does.
        """

        async def work() -> tuple[bytes, Endpoint]:
            try:
                async with asyncio.timeout(timeout):
                    return await self._association.receive()
            except Socks6Error:
                raise
            except TimeoutError as error:
                raise TimeoutError(f"no datagram came within {timeout} s") from error

        return self._thread.run(work())

    def close(self) -> None:
        """End the association, having sent what `send` was given. Idempotent."""
        self._thread.run(self._finish())

    async def _finish(self) -> None:
        self._association.finish()
        await self._ended.wait()


def _close_when_collected(owner: object, thread: LoopThread, what: AsyncClient | BindListener) -> None:
    """Close what works in the loop when the object is collected that stands for it; not at exit: then the loop ends."""

    def close() -> None:
        thread.spawn(what.aclose())

    weakref.finalize(owner, thread.call_soon, close).atexit = False


async def _enter(client: AsyncClient) -> None:
    await client.__aenter__()  # `aclose` ends what that begins, and lets streams be


def _close_later(listener: BindListener) -> None:
    loop_thread().spawn(listener.aclose())


def _close_accepted(accepted: tuple[socket.socket, Endpoint]) -> None:
    accepted[0].close()
