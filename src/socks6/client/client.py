"""The library's front door: reach hosts through a SOCKS 6 proxy."""

import asyncio
import contextlib
import ssl as tls
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Final, TypeVar

from typing_extensions import override

from socks6.client.bind import open_listener
from socks6.client.bind_server import DEFAULT_BACKLOG, BindServer, ConnectedCallback
from socks6.client.connector import DialFunction
from socks6.client.datagrams import DatagramClient
from socks6.client.listener import BindListener
from socks6.client.options import Options, flatten, with_defaults
from socks6.client.pushed import PushedStreamRouter
from socks6.client.requester import GrantedRequest, MethodFactory, Requester
from socks6.client.session import ClientSession
from socks6.client.stream import ProxiedStream
from socks6.errors import ConfigurationError, ProxyTimedOut, Socks6Error
from socks6.message.address import normalize_host, without_trailing_dot
from socks6.message.codes import Command
from socks6.message.dialect import Dialect
from socks6.message.options import STANDARD, OptionTable, StackOption, find_all
from socks6.message.requests import Request
from socks6.net.stream import Endpoint
from socks6.net.url import AUTO, QUIC, ProxyUrl
from socks6.protocol.methods.userpass import UsernamePasswordClient, UsernamePasswordCredentials

DEFAULT_TIMEOUT: Final = 60.0  # seconds for a whole call: dialling the proxy, and its dialling the host
EXIT_SECONDS: Final = 5.0  # leaving a client takes no longer, whatever the proxy and the far hosts do

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)


class Client(DatagramClient):
    """Reaches hosts through a SOCKS 6 proxy. Names are resolved at the proxy.

    ::

        async with Client("socks6://user:password@proxy.example:1080") as client:
            reader, writer = await client.open_connection("example.com", 80)

    `proxy` is a URL: socks6://[USER[:PASSWORD]@]HOST[:1080], socks6+tls://HOST[:8389], socks6+quic://,
    socks6+auto:// (QUIC, or else TLS) or socks6+unix:///PATH.
    The proxy's own name is looked up by the system now and then, not for each request.
    `dial` reaches the proxy over anything else: it returns a new `ByteStream` for each request. `methods` make
    further ways to authenticate (§ Authentication Method options). `timeout` is for each call, in seconds; None
    for never.

    Over TLS the proxy is known by the system's roots, or by what the URL says: ?pin-sha256=PIN, ?ca=FILE. Each
    connection goes on with the keys of the one before where the proxy lets it. Over QUIC all requests with one
    command are streams of one connection, made anew when it dies; who spends a token (`idempotent`) needs not even
    wait for it (0-RTT). Raises ConfigurationError for
    files that cannot be read.

    Stack options in the URL, as in socks6://HOST?tos=0x10&mptcp=1, go with every connection that does not set
    them itself; those about the client's leg are set at our end of it too. With `fast_open`, a request without
    initial data travels in the SYN (TCP Fast Open): if the network doubles it, the proxy connects twice, but no
    byte of the application comes twice (§ TCP Fast Open on the Client-Proxy Leg). Calls that are `idempotent`
    put their initial data there as well.

    With `session` (the default where there are credentials) the first request opens a session, and later ones
    carry its id instead of the password (§ Session options). Requests that come while it is being opened carry
    the password, too, rather than wait. Tasks may share a client. A proxy that has no sessions is asked for one
    at most once a minute; one that has lost ours is asked anew, without a word. A session ends with the client
    (see `aclose`) or by the proxy's own time-out.

    Every call raises OperationFailed (a subclass for each reply code), AuthenticationFailed, ProxyUnreachable,
    ProxyTimedOut, TlsFailed, CertificateRefused, VersionMismatch, RemoteProtocolError, TokenRejected; ValueError
    for impossible hosts and ports. All but the last are `Socks6Error`, and OSError where asyncio's own calls would raise one.
    """

    def __init__(
        self,
        proxy: str | ProxyUrl,
        *,
        dial: DialFunction | None = None,
        methods: Sequence[MethodFactory] = (),
        timeout: float | None = DEFAULT_TIMEOUT,
        dialect: Dialect | None = None,
        option_table: OptionTable = STANDARD,
        fast_open: bool = False,
        session: bool | None = None,
    ) -> None:
        url = proxy if isinstance(proxy, ProxyUrl) else ProxyUrl.parse(proxy)
        dialect = url.dialect if dialect is None else dialect
        super().__init__(url, dialect=dialect)
        if self.url.protocol != "socks6":
            raise ConfigurationError(
                f"{self.url} is not a SOCKS 6 proxy's: use socks6://, socks6+tls:// or socks6+unix://"
            )
        ways = (*_password_method(self.url), *methods)
        self.fast_open: Final = fast_open
        self._dialect: Final = dialect
        self._timeout: Final = timeout
        self._requester: Final = Requester(
            self.url,
            dial=dial,
            methods=ways,
            dialect=dialect,
            option_table=option_table,
            fast_open=fast_open,
            session=ClientSession(enabled=bool(ways) if session is None else session),
        )

        pushes = dial is None and self.url.transport in {QUIC, AUTO}
        self._manager: Final = (
            PushedStreamRouter(dialect, option_table, numbered=self.url.quic.stream_ids) if pushes else None
        )

    async def __aenter__(self) -> "Client":
        """Return the client. Blocks may be nested, and tasks may have one each: the last one to end counts."""
        self._transports.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what the client itself still carries, then `aclose`; plain sockets that it made live on.

        Transports that were closed have a moment to deliver their last bytes; those left open are cut off. All
        of it takes LEAVE_SECONDS at the most, and no time where the block, or leaving it, is cancelled.
        """
        if not self._transports.leave():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EXIT_SECONDS):
                try:
                    await self._transports.end(deliver=kind is None)
                    if not isinstance(error, asyncio.CancelledError):  # who cancels does not want to wait
                        await self._requester.leave()
                finally:
                    self._requester.abandon()

    async def aclose(self) -> None:
        """Have the proxy tear the session down, within seconds; raises nothing. Idempotent.

        Tearing down closes what still belongs to a session. So a session is left to the proxy's own time-out
        while a stream of the client's is open or was closed only just; sockets that streams or transports were
        made into count as open for good.
        """
        await self._requester.leave()

    def close_idle(self) -> None:
        """Close what no stream of ours uses of the connections to the proxy: QUIC keeps them between requests.

        The next request makes a new one; one that spends a token goes as early data then (0-RTT).
        """
        self._requester.close_idle()

    async def open_session(self, *, timeout: float | None = None) -> bool:
        """Open a session ahead of the first request; return whether the proxy has granted one.

        Makes one NOOP, unless there is a session already. Without it, the first request opens one. A client
        made with `session=False` has none.
        """
        async with self._limit(timeout):
            return await self._requester.open_session()

    @override
    def __repr__(self) -> str:
        """Name the proxy, not the password."""
        return f"<Client {self.url}>"

    async def connect(
        self,
        host: str,
        port: int,
        *,
        initial_data: bytes = b"",
        options: Options = (),
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> ProxiedStream:
        """Connect to a host (§ Handling CONNECT); return the stream, which tells bind address and options.

        `initial_data` travels with the request and reaches the host first. `options` are `StackOptions`, or
        several of them, one a leg. `timeout` in seconds replaces the client's own. `idempotent` spends a token
        of the session, if the proxy gives any: however often the network doubles the request, it is carried
        out at most once, and with `fast_open` the initial data may travel in the SYN, too.
        """
        wire = with_defaults(flatten(options), self.url.options)
        request = Request(command=Command.CONNECT, host=normalize_host(host), port=port, options=wire)
        granted = await self._grant(request, initial_data, timeout=timeout, idempotent=idempotent)
        reply = granted.reply
        return ProxiedStream(
            granted.stream,
            Endpoint(reply.host, reply.port),
            tuple(find_all(reply.options, StackOption)),
            peer=Endpoint(request.host, port),
            lease=granted.lease,
        )

    async def noop(self, *, timeout: float | None = None) -> float:
        """Ask the proxy for nothing; return the seconds that it took, authentication included.

        With `fast_open` that also fetches the proxy's cookie, so that the next request travels in the SYN.
        """
        started = time.monotonic()
        request = Request(command=Command.NOOP, host="0.0.0.0", port=0)  # noqa: S104 - zeros, on the wire
        granted = await self._grant(request, timeout=timeout)
        elapsed = time.monotonic() - started
        await granted.aclose()
        return elapsed

    async def open_connection(
        self,
        host: str,
        port: int,
        *,
        initial_data: bytes = b"",
        options: Options = (),
        limit: int = 65536,
        ssl: tls.SSLContext | bool | None = None,
        server_hostname: str | None = None,
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a host; return a reader and a writer, as `asyncio.open_connection` does."""
        reader = asyncio.StreamReader(limit=limit)
        transport, protocol = await self.create_connection(
            lambda: asyncio.StreamReaderProtocol(reader),
            host,
            port,
            initial_data=initial_data,
            options=options,
            ssl=ssl,
            server_hostname=server_hostname,
            timeout=timeout,
            idempotent=idempotent,
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())

    async def create_connection(
        self,
        protocol_factory: Callable[[], ProtocolT],
        host: str,
        port: int,
        *,
        initial_data: bytes = b"",
        options: Options = (),
        ssl: tls.SSLContext | bool | None = None,
        server_hostname: str | None = None,
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> tuple[asyncio.Transport, ProtocolT]:
        """Connect to a host; return a transport and a protocol, as `loop.create_connection` does.

        `ssl` encrypts end to end, through the proxy; `server_hostname` is `host` by default. `initial_data`
        goes out in clear text, ahead of TLS.
        """
        async with self._limit(timeout):
            stream = await self.connect(
                host,
                port,
                initial_data=initial_data,
                options=options,
                timeout=timeout,
                idempotent=idempotent,
            )
            name = (server_hostname or without_trailing_dot(host)) if ssl else None
            return await self._transports.open(stream, protocol_factory, ssl=ssl, server_hostname=name)

    async def bind(
        self,
        host: str | None = None,
        port: int = 0,
        *,
        backlog: int = 0,
        options: Options = (),
        eager: bool = True,
        timeout: float | None = None,
    ) -> BindListener:
        """Have the proxy listen at an address of its own (§ Handling BIND); return the listener.

        ::

            async with await client.bind(backlog=16) as listener:
                print("others connect to", listener.bound)
                stream = await listener.accept()

        Without `host` and `port` the proxy chooses them; "::" wants an IPv6 address. Without `backlog` it takes
        one peer, and the next one when `accept` is called again. With it, so many may wait (§ Listen Backlog
        options), for which a session is opened; if the proxy keeps none, `listener.backlog` is 0 and a warning is logged: then the port is
        opened anew after each peer, or, unless `eager`, when the next one is wanted. `timeout` is for the proxy
        to begin to listen.
        """
        wire = with_defaults(flatten(options), self.url.options)
        place = Endpoint(normalize_host(host or "0.0.0.0"), port)  # noqa: S104 - at the proxy
        ask = partial(self._grant, timeout=timeout)
        return await open_listener(
            ask, place, wire, backlog, eager=eager, push_router=self._manager, dialect=self._dialect
        )

    async def start_server(
        self,
        client_connected_cb: ConnectedCallback,
        host: str | None = None,
        port: int = 0,
        *,
        backlog: int = DEFAULT_BACKLOG,
        options: Options = (),
        limit: int = 65536,
        ssl: tls.SSLContext | None = None,
        timeout: float | None = None,
    ) -> BindServer:
        """Serve those who connect to the proxy, as `asyncio.start_server` does on this machine.

        `bound` of what is returned is where they connect to; `ssl` makes us the server of TLS with them. The
        rest is as with `bind`. When the proxy ends the port, `serve_forever` raises.
        """

        async def serve(stream: ProxiedStream) -> None:
            reader = asyncio.StreamReader(limit=limit)
            await self._transports.open(
                stream,
                lambda: asyncio.StreamReaderProtocol(reader, client_connected_cb),
                ssl=ssl,
                server_side=True,
            )

        listener = await self.bind(host, port, backlog=backlog, options=options, timeout=timeout)
        return BindServer(listener, serve)

    @override
    async def _ask_to_associate(self, request: Request) -> GrantedRequest:
        return await self._grant(request)

    async def _grant(
        self,
        request: Request,
        initial_data: bytes = b"",
        *,
        timeout: float | None = None,
        idempotent: bool = False,
        needs_session: bool = False,
        within: GrantedRequest | None = None,
    ) -> GrantedRequest:
        """Make one request; return it as far as the Operation Reply."""
        async with self._limit(timeout):
            if within is not None:
                return await self._requester.ask_within(within, request)
            return await self._requester.ask(
                request, initial_data, idempotent=idempotent, needs_session=needs_session
            )

    @override
    @asynccontextmanager
    async def _limit(self, timeout: float | None) -> AsyncIterator[None]:
        seconds = self._timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(seconds):
                yield
        except Socks6Error:
            raise  # the proxy's own answer may be a TimeoutError too
        except TimeoutError as error:
            raise ProxyTimedOut(f"no answer through {self.url} within {seconds} s") from error


def _password_method(url: ProxyUrl) -> tuple[MethodFactory, ...]:
    if url.username is None:
        return ()
    credentials = UsernamePasswordCredentials(
        username=url.username.encode(), password=(url.password or "").encode()
    )
    UsernamePasswordClient(credentials)  # raises ValueError at once for what RFC 1929 cannot carry
    return (lambda: UsernamePasswordClient(credentials),)
