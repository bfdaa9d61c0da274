"""`Client`: the library's public entrance, which reaches hosts through a proxy: of SOCKS 6, 5 or 4, or of HTTP."""

import asyncio
import math
import os
import socket
import ssl as tls
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

from socks6.client.association import Association
from socks6.client.association_factory import AssociationFactory, UdpPathChoice
from socks6.client.bind import (
    DEFAULT_BACKLOG,
    BindListener,
    BindServer,
    ConnectedCallback,
    PushedStreamRouter,
    open_listener,
)
from socks6.client.connector import DialFunction, PreviousHop, ProxyConnector
from socks6.client.datagram_transport import ProxiedDatagramTransport
from socks6.client.options import Options, StackOptions, flatten, for_datagrams, with_defaults
from socks6.client.requester import GrantedRequest, MethodFactory, RequestFunction, RequestMaker
from socks6.client.requesters import requester_for
from socks6.client.stream import ProxiedStream
from socks6.client.transport import TransportFactory
from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import (
    ConfigurationError,
    ConnectionTimedOut,
    ProxyTimedOut,
    Socks6Error,
)
from socks6.message.address import normalize_host, without_trailing_dot
from socks6.message.codes import Command, Parity
from socks6.message.dialect import DatagramLayout, Dialect
from socks6.message.options import STANDARD, Option, OptionTable
from socks6.message.requests import Request
from socks6.net.scopes import on_failure, time_limit, waited_for
from socks6.net.stream import NO_ENDPOINT, ByteStream, Endpoint, Protection, Substream
from socks6.net.transports.base import Transport, send_first
from socks6.net.transports.registry import TRANSPORTS
from socks6.net.upstream import UpstreamStatus
from socks6.net.url import ProxyUrl
from socks6.protocol.methods.userpass import UsernamePasswordClient, UsernamePasswordCredentials

if sys.platform == "linux":
    from socks6.net.poller import Poller
if TYPE_CHECKING:
    from socks6.client.alternatives import AlternativeClients
    from socks6.client.socks5_association import Socks5AssociationFactory

DEFAULT_TIMEOUT: Final = 60.0  # seconds for a whole call, the proxy's connecting to the host included
CONNECT: Final = Command.CONNECT.value  # as a plain number: to hash the member of an Enum is a Python call
EXIT_SECONDS: Final = 5.0  # leaving a client takes no longer, whatever the proxy and the remote hosts do
PATH_CHOICES: Final[Mapping[str, UdpPathChoice]] = {  # by the proxy's URL
    "": "auto",
    "auto": "auto",
    "datagram": "datagram",
    "dtls": "datagram",  # only in URLs of proxies that are reached over TLS
    "quic": "datagram",  # likewise over QUIC
    "stream": "stream",
}

# Seconds; None is no limit; "client" is the client's own.
Timeout: TypeAlias = float | Literal["client"] | None
ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyCheck:
    """What a check of the proxy found."""

    seconds: float  # until the answer to a NOOP, connecting and authenticating included
    encryption: str  # of the connection to the proxy: "TLS 1.3", "QUIC"; "" in the clear


class Client:
    """Reaches hosts through a proxy. Names are resolved at the proxy, unless its URL says ?resolve=local.

    ::

        async with Client("socks6://user:password@proxy.example:1080") as client:
            reader, writer = await client.open_connection("example.com", 80)

    **The proxy.** `proxy` is a URL: socks6://[USER[:PASSWORD]@]HOST[:1080], socks6+tls://HOST[:8389], socks6+quic://,
    socks6+auto:// (QUIC, with TLS as the fallback) or socks6+unix:///PATH. The system resolves the proxy's name, from
    time to time and not for each request. `dial` reaches the proxy by any other means: it returns a new `ByteStream`
    for each request. `methods` make the client's side of further authentication methods (§ Authentication Method
    options). `dialect` and `option_table` replace what the URL and the draft define.

    **Other protocols.** socks5://, socks5h:// (the same), socks4a://, socks4:// (names are resolved here: it has none), http://
    and https:// (CONNECT) name proxies that speak these, also +tls:// and +unix://. `connect` and what builds on it work
    through all of them, `bind` through SOCKS 5 and 4, `associate` through SOCKS 5. They have no sessions, no tokens and no stack options:
    asking for these is a ConfigurationError, for another command CommandNotSupported.

    **Chains.** Of several URLs in a sequence each proxy is reached through the one before it, whatever the two speak, and TLS with it runs within; the
    last one makes the connections. Datagrams of SOCKS 6 travel on its stream then; QUIC, Unix sockets and the datagrams of SOCKS 5 need
    the first place. `dial` reaches the first, `methods`, `dialect` and `session` concern the last.

    **Hosts without a proxy.** `no_proxy` says which hosts `connect` reaches directly, as the variable NO_PROXY does: names with all below them,
    addresses, networks, each with a port or none, and * for all. The URL direct:// is no proxy at all. See `from_environment`.

    **Time.** `timeout` is for each call, in seconds: DEFAULT_TIMEOUT unless given, and None for no limit. Each call's
    own `timeout` replaces it, with the same meaning: None is no limit there too. `connect_timeout` is for connecting to the
    proxy, within that.

    **Encryption.** Over TLS and QUIC the proxy's certificate is verified by the system's roots, or as the URL says:
    ?pin-sha256=PIN, ?ca=FILE. A connection resumes the TLS session of an earlier one where the proxy lets it. Within `async with`, up to
    four connections over TLS are made ahead of requests, as many as the last half minute needed. Over QUIC all requests of one command are streams of one connection, which is replaced when it dies; requests that
    spend a token (`idempotent`) may leave before it is established (0-RTT).

    **Stack options** in the URL, as in socks6://HOST?tos=0x10&mptcp=1, are requested for every connection that does
    not set them itself; those about the client's leg are also set at this end. With `fast_open`, a request without
    initial data travels in the SYN (TCP Fast Open): if the network doubles it, the proxy connects twice, but no
    byte of the application arrives twice (§ TCP Fast Open on the Client-Proxy Leg). Calls that are `idempotent`
    put their initial data there as well.

    **Sessions.** With `session` (the default where there are credentials) the first request opens a session, and
    later ones carry its id instead of the password (§ Session options). Requests that are made while it is being
    opened carry the password too, and do not wait. A proxy that grants no session is asked for one at most once a
    minute; a session that the proxy has lost is replaced. A session ends with the client (see `aclose`), or by the
    proxy's own time-out.

    **Several proxies.** Each connection, listener and association goes through one of `proxy` and `alternatives`, in the `order` that
    `UpstreamChoice` describes: "failover", "round-robin" or "least-latency". A proxy that fails, or is silent, is skipped for a while, and
    the request goes to the next one, unless it is `idempotent`, and may have been carried out; `initial_data` follows once a proxy has
    granted the request. What a proxy has granted ends with it. Within `async with`, proxies that fail are checked (NOOP) until they
    answer; `upstreams` says how they are.

    Tasks of one event loop may share a client. Every call raises OperationFailed (a subclass for each reply code),
    AuthenticationFailed, ProxyUnreachable, ProxyTimedOut, TlsFailed, CertificateRefused, VersionMismatch,
    RemoteProtocolError, TokenRejected; ValueError for impossible hosts and ports. All of these except ValueError
    derive from `Socks6Error`, and also from the OSError subclass that asyncio would raise. The constructor raises
    ConfigurationError for an impossible URL and for files that cannot be read.
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
        self.hops: Final = _parsed(proxy, transports)
        *before, url = self.hops
        if url.spoken == "mixed":
            raise ConfigurationError(f"{url} is a listener's: name one of the protocols that it speaks")
        self._alternatives: AlternativeClients | None = None
        if alternatives:
            from socks6.client import alternatives as several  # noqa: PLC0415 - made of clients, it imports this

            if dial is not None:
                raise ConfigurationError(
                    "`dial` reaches one proxy, and alternatives have URLs: give one of the two"
                )
            client_of = partial(
                Client,
                methods=methods,
                timeout=None,  # a call's own is for all of them
                connect_timeout=several.CONNECT_SECONDS if connect_timeout is None else connect_timeout,
                dialect=dialect,
                option_table=option_table,
                fast_open=fast_open,
                session=session,
                transports=transports,
                no_proxy=no_proxy,
            )
            self._alternatives = several.AlternativeClients(map(client_of, (self.hops, *alternatives)), order)
        self.url: Final = url
        self.speaks_socks6: Final = url.spoken == "socks6"
        self.fast_open: Final = fast_open
        if not self.speaks_socks6:
            from socks6.client.older_requester import check_asked  # noqa: PLC0415 - not for SOCKS 6

            check_asked(url, session or methods or dialect or option_table is not STANDARD)
        dialect = url.dialect if dialect is None else dialect
        self._dialect: Final = dialect
        self._before: Client | None = None
        hop: PreviousHop | None = None
        if before:  # without sessions, which would have to outlast the streams of others
            from socks6.client.chain import ChainedHop  # noqa: PLC0415 - few have chains

            self._before = previous = Client(
                before, dial=dial, timeout=None, fast_open=fast_open, session=False, transports=transports
            )
            hop = ChainedHop(previous._connector, previous._requester)
        self._connector: Final[ProxyConnector] = ProxyConnector(
            url,
            dial=None if before else dial,
            fast_open=fast_open,
            timeout=connect_timeout,
            transports=transports,
            before=hop,
        )
        self._timeout: Final = timeout
        self._transports: Final = TransportFactory()
        ask = partial(self._request, timeout=None)
        self._association_factory: Final = _associations(ask, dialect, url, is_chained=bool(before))
        self._push_router: Final = (
            PushedStreamRouter(dialect, option_table, numbered=url.quic.stream_ids)
            if self._connector.multiplexed
            else None
        )
        self._requester: Final[RequestMaker] = requester_for(
            self._connector,
            methods=(*_password_method(url), *methods) if self.speaks_socks6 else (),
            dialect=dialect,
            option_table=option_table,
            session=session,
            no_proxy=no_proxy,
        )

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str] | None = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        connect_timeout: float | None = None,
    ) -> "Client":
        """Return a client of the proxy that the first of these variables names: SOCKS6_PROXY, ALL_PROXY, HTTPS_PROXY, HTTP_PROXY.

        Each is looked for in lower case first, HTTP_PROXY in lower case alone where REQUEST_METHOD says that this is a CGI program. Hosts that
        NO_PROXY excludes, and all hosts where no variable names a proxy, are reached directly. `environment` is that of this
        process by default. Raises ConfigurationError, which names the variable.
        """
        from socks6.client.environment import client_named_by  # noqa: PLC0415 - for this alone

        return client_named_by(
            os.environ if environment is None else environment,
            lambda url, excluded: cls(
                url, timeout=timeout, connect_timeout=connect_timeout, no_proxy=excluded
            ),
        )

    async def __aenter__(self) -> "Client":
        """Return the client. Blocks may be nested, and tasks may have one each: the last one to end closes the client."""
        self._transports.enter()
        self.keep_spares()
        if self._alternatives is not None:
            self._alternatives.watch()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the transports that the client carries, then `aclose`; plain sockets that it made stay open.

        Closed transports may deliver their last bytes, for LINGER_SECONDS (3 s); open ones are aborted. Leaving takes
        EXIT_SECONDS (5 s) at most, and does not wait where the block, or leaving it, is cancelled.
        """
        if not self._transports.leave():
            return
        async with time_limit(EXIT_SECONDS):
            try:
                await self._transports.end(deliver=kind is None)
                if not isinstance(error, asyncio.CancelledError):  # a cancelled block does not wait
                    await self.aclose()
            finally:
                self.abandon()

    async def aclose(self) -> None:
        """Tear the session down at the proxy, within seconds (§ Session teardown). Raises nothing. Idempotent.

        Tearing down closes what still belongs to a session. So a session is left to the proxy's own time-out
        while a stream of the client's is open, or was closed less than 10 s ago; sockets that streams or transports
        were made into count as open for good.
        """
        await self._requester.aclose()
        if self._before is not None:
            await self._before.aclose()
        if self._alternatives is not None:
            await self._alternatives.aclose()

    def abandon(self) -> None:
        """Close without waiting; a session is left to the proxy's own time-out. Idempotent."""
        self._connector.abandon()
        if self._before is not None:
            self._before.abandon()
        if self._alternatives is not None:
            self._alternatives.abandon()

    def keep_spares(self) -> None:
        """Connect ahead of requests from the first one on, until `aclose`; entering `async with` does it, too. Idempotent.

        Concerns TLS alone. The URL says how many spare connections there may be: ?spare=0 is none.
        """
        for client in self._clients:
            client._connector.keep_spares()  # noqa: SLF001 - of this class

    def poll_with(self, poller: "Poller") -> None:
        """Wait by a server's poller for what comes over TCP and TLS from now on: it costs less than the event loop."""
        for client in self._clients:
            client._connector.polling.poller = poller  # noqa: SLF001 - of this class

    def close_idle(self) -> None:
        """Close connections to the proxy that no stream uses: spare ones, and those that QUIC keeps. Idempotent.

        The next request makes a new one; a request that spends a token may leave as early data then (0-RTT).
        """
        for client in self._clients:
            client._connector.close()  # noqa: SLF001 - of this class
            if client._before is not None:  # noqa: SLF001
                client._before.close_idle()  # noqa: SLF001

    async def open_session(self, *, timeout: Timeout = "client") -> bool:
        """Open a session ahead of the first request, with a NOOP; return whether the proxy has granted one.

        Does nothing if there is a session. Without this call the first request opens one. A client that was made with
        `session=False` has none. Raises what every call does.
        """
        if self._alternatives is not None:
            return await self._through_one(lambda client: client.open_session(), None, timeout)
        async with self._time_limit(timeout):
            return await self._requester.open_session()

    @property
    def upstreams(self) -> tuple[UpstreamStatus, ...]:
        """How each proxy is, of several, in the order in which they were named; () where there are no alternatives."""
        return () if self._alternatives is None else self._alternatives.upstreams

    @property
    def heard_at(self) -> float:
        """When the proxy has begun to answer a request, or a check, last, on the event loop's clock; minus infinity before.

        It is infinity where nothing is an answer of the proxy's own, as in SOCKS 4: such a proxy is never called silent.
        """
        return self._connector.heard_at if self.url.spoken in {"socks6", "socks5", "http"} else math.inf

    @property
    def answers_first(self) -> bool:
        """Whether the proxy answers a request before it connects to the destination; an HTTP proxy answers only checks so."""
        return self.url.spoken != "http"

    @override
    def __repr__(self) -> str:
        """Return the proxies' URLs without the passwords."""
        return f"<Client {' '.join(map(str, self.hops))}>"

    async def connect(
        self,
        host: str,
        port: int,
        *,
        initial_data: bytes = b"",
        options: Options = (),
        timeout: Timeout = "client",
        idempotent: bool = False,
    ) -> ProxiedStream:
        """Connect to a host (§ Handling CONNECT); return the stream, with bound address and options in force.

        `initial_data` travels with the request and reaches the host first. `options` are `StackOptions`, or
        several of them, one for each leg. `idempotent` spends a token of the session, if the proxy issues any
        (§ Spending a token): however often the network doubles the request, it is carried out at most once, and with
        `fast_open` the initial data may travel in the SYN too. Raises what every call does.
        """
        if self._alternatives is not None:
            stream = await self._through_one(
                lambda client: client.connect(host, port, options=options, idempotent=idempotent),
                ProxiedStream.aclose,
                timeout,
                repeatable=not idempotent,  # a token is of one proxy
            )
            await send_first(stream, initial_data)
            return stream
        granted = await self.request_connect(
            host, port, initial_data=initial_data, options=options, timeout=timeout, idempotent=idempotent
        )
        return proxied(granted, peer=Endpoint(normalize_host(host), port))

    def request_connect(
        self,
        host: str,
        port: int,
        *,
        initial_data: bytes = b"",
        options: Options = (),
        timeout: Timeout = "client",
        idempotent: bool = False,
    ) -> Awaitable[GrantedRequest]:
        """Make the request of `connect`; return it with the stream to the proxy. Raises what every call does."""
        wire: tuple[Option, ...] = ()
        if options or self.url.options:
            wire = with_defaults(flatten(options), self.url.options)
        request = Request(command=CONNECT, host=normalize_host(host), port=port, options=wire)
        return self._request(request, initial_data, timeout=timeout, idempotent=idempotent)

    async def noop(self, *, timeout: Timeout = "client") -> float:
        """Make a NOOP request; return the seconds that it took, authentication included.

        With `fast_open` this also fetches the proxy's TCP Fast Open cookie, so that the next request travels in the
        SYN. Raises what every call does.
        """
        return (await self.check(timeout=timeout)).seconds

    async def check(self, *, timeout: Timeout = "client") -> ProxyCheck:
        """Make a NOOP request; return how long it took, and how the connection is encrypted. Raises what every call does."""
        if self._alternatives is not None:
            return await self._through_one(lambda client: client.check(), None, timeout)
        started = time.monotonic()
        request = Request(command=Command.NOOP, host="0.0.0.0", port=0)  # noqa: S104 - zeros, on the wire
        granted = await self._request(request, timeout=timeout)
        elapsed = time.monotonic() - started
        encryption = _encryption_of(granted.stream)
        await granted.aclose()
        return ProxyCheck(seconds=elapsed, encryption=encryption)

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
        timeout: Timeout = "client",
        idempotent: bool = False,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a host; return a reader and a writer, as `asyncio.open_connection` does. See `create_connection`."""
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
        timeout: Timeout = "client",
        idempotent: bool = False,
    ) -> tuple[asyncio.Transport, ProtocolT]:
        """Connect to a host; return a transport and a protocol, as `loop.create_connection` does.

        `ssl` encrypts end to end, through the proxy; `server_hostname` is `host` by default. `initial_data`
        goes out in clear text, ahead of TLS. The rest is as with `connect`. Raises what every call does, ssl.SSLError,
        ConnectionTimedOut where the host does not finish TLS within the time-out, and outside of `async with` LocalProtocolError where the stream is no plain socket.
        """
        seconds = self._seconds(timeout)
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        stream = await self.connect(
            host, port, initial_data=initial_data, options=options, timeout=timeout, idempotent=idempotent
        )
        name = (server_hostname or without_trailing_dot(host)) if ssl else None
        try:
            async with asyncio.timeout_at(deadline) as limit:
                return await self._transports.open(stream, protocol_factory, ssl=ssl, server_hostname=name)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise ConnectionTimedOut(
                f"TLS with {host} port {port} was not done within {seconds:g} s"
            ) from error

    async def connect_socket(
        self,
        host: str,
        port: int,
        *,
        initial_data: bytes = b"",
        options: Options = (),
        timeout: Timeout = "client",
        idempotent: bool = False,
    ) -> socket.socket:
        """Connect to a host; return a non-blocking socket, for libraries that take `sock=`.

        Over plain TCP it is the connection to the proxy itself, and independent of the client. Else it is a `ProxiedSocket`, one
        end of a socket pair, whose bytes the client carries: it ends with `async with Client(...)`, outside of which the call
        raises LocalProtocolError. The rest is as with `connect`. Raises what every call does.
        """
        stream = await self.connect(
            host, port, initial_data=initial_data, options=options, timeout=timeout, idempotent=idempotent
        )
        return self._transports.socket_of(stream)

    async def bind(
        self,
        host: str | None = None,
        port: int = 0,
        *,
        backlog: int = 0,
        options: Options = (),
        eager: bool = True,
        timeout: Timeout = "client",
    ) -> BindListener:
        """Open a port that listens at the proxy (§ Handling BIND); return its listener.

        ::

            async with await client.bind(backlog=16) as listener:
                print("others connect to", listener.bound)
                stream = await listener.accept()

        Without `host` and `port` the proxy chooses them; "::" asks for an IPv6 address. Without `backlog` the port takes
        one peer, and another one when `accept` is called again. With it, so many peers may wait (§ Listen Backlog
        options), and a session is opened for them; if the proxy grants no backlog, `listener.backlog` is 0 and a warning
        is logged: then the port is opened anew after each peer or, unless `eager`, when `accept` is called. `timeout` is
        for the proxy to begin to listen. Raises what every call does.
        """
        if self._alternatives is not None:
            return await self._through_one(
                lambda client: client.bind(host, port, backlog=backlog, options=options, eager=eager),
                BindListener.aclose,
                timeout,
            )
        wire = with_defaults(flatten(options), self.url.options)
        endpoint = Endpoint(normalize_host(host or "0.0.0.0"), port)  # noqa: S104 - at the proxy
        ask = partial(self._request, timeout=timeout)
        return await open_listener(
            ask, endpoint, wire, backlog, eager=eager, push_router=self._push_router, dialect=self._dialect
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
        timeout: Timeout = "client",
    ) -> BindServer:
        """Serve peers that connect to a port at the proxy, as `asyncio.start_server` does on this machine.

        `bound` of the returned server is where they connect to; with `ssl`, this end is the server of TLS with them. The
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

    @asynccontextmanager
    async def associate(
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
    ) -> AsyncIterator[Association]:
        """Open a UDP port at the proxy for as long as the block lasts (§ Handling UDP ASSOCIATE).

        ::

            async with client.associate() as udp:
                await udp.send(b"hello", ("example.com", 5000))
                data, source = await udp.receive()

        `host` and `port` are the requested address and port at the proxy: zeros for any, "::" for any of IPv6. `udp` is
        how the datagrams travel to and from the proxy: "datagram" over UDP, within DTLS or QUIC where the proxy is
        reached over TLS or QUIC; "stream" on the connection of the request; "auto" over UDP if it gets through, else on
        the stream. The default is the URL's ?udp=, or "auto". `errors` asks the proxy to report ICMP errors, which
        `receive` then raises as DatagramFailed. `parity` and `reserve` ask for an even or odd port, and to keep its
        counterpart (§ Port Parity options). `layout` replaces the dialect's layout of headers.

        The proxy has confirmed the association when the block begins. Raises what every call does, and
        LocalProtocolError where `udp` is "datagram" and no UDP is possible beside the connection.
        """
        wishes = StackOptions(udp_error=errors or None, parity=parity, reserve=reserve)
        association = await self.open_association(
            host, port, udp=udp, options=(*flatten(options), wishes), layout=layout, timeout=timeout
        )
        async with association:
            yield association

    async def create_datagram_endpoint(
        self,
        protocol_factory: Callable[[], ProtocolT],
        remote_addr: tuple[str, int] | None = None,
        *,
        local_addr: tuple[str, int] = ("0.0.0.0", 0),  # noqa: S104 - at the proxy
        udp: UdpPathChoice | None = None,
        options: Options = (),
        errors: bool = True,
        layout: DatagramLayout | None = None,
        timeout: Timeout = "client",
    ) -> tuple[ProxiedDatagramTransport, ProtocolT]:
        """Open a UDP port at the proxy; return a transport and a protocol, as `loop.create_datagram_endpoint` does.

        `local_addr` is the requested address at the proxy. With `remote_addr` the transport sends there alone, and the
        protocol receives only from there; if that is a name, which the proxy resolves, it receives from that port of any
        host. ICMP errors that the proxy reports go to `error_received`, as DatagramFailed; `connection_lost` is called at
        the association's end. What the protocol's methods raise goes to the loop's exception handler, and costs one
        datagram; if `connection_made` raises, the transport is aborted. The rest is as with `associate`. Raises
        LocalProtocolError outside of `async with Client(...)`.
        """
        self._transports.check()
        remote = None if remote_addr is None else (normalize_host(remote_addr[0]), remote_addr[1])
        protocol = protocol_factory()
        wishes = StackOptions(udp_error=(errors and self.speaks_socks6) or None)
        association = await self.open_association(
            *local_addr, udp=udp, options=(*flatten(options), wishes), layout=layout, timeout=timeout
        )
        transport = ProxiedDatagramTransport(association, protocol, remote)
        with on_failure(association.abort):  # the client was left meanwhile
            self._transports.check()
        self._transports.carry(association.run(), transport)
        transport.start()
        return transport, protocol

    async def open_association(
        self,
        host: str,
        port: int,
        *,
        udp: UdpPathChoice | None = None,
        options: Options = (),
        layout: DatagramLayout | None = None,
        timeout: Timeout = "client",
    ) -> Association:
        """Open an association that the caller runs, or enters as a context manager; see `associate`."""
        if self._alternatives is not None:
            return await self._through_one(
                lambda client: client.open_association(host, port, udp=udp, options=options, layout=layout),
                Association.abort,
                timeout,
            )
        wire = with_defaults(flatten(options), for_datagrams(self.url.options))
        request = Request(command=Command.UDP_ASSOCIATE, host=normalize_host(host), port=port, options=wire)
        async with self._time_limit(timeout):
            return await self._association_factory.open(
                request, udp=udp or PATH_CHOICES[self.url.udp], layout=layout
            )

    async def _request(
        self,
        request: Request,
        initial_data: bytes = b"",
        *,
        timeout: Timeout = "client",
        idempotent: bool = False,
        needs_session: bool = False,
        within: GrantedRequest | None = None,
    ) -> GrantedRequest:
        """Make one request, within the call's time limit; return it once the Operation Reply has granted it."""
        seconds = self._seconds(timeout)
        try:
            async with asyncio.timeout(seconds):
                return await self._requester.request(
                    request, initial_data, idempotent=idempotent, needs_session=needs_session, within=within
                )
        except Socks6Error:
            raise  # the proxy's own answer may be a TimeoutError too
        except TimeoutError as error:
            raise self._timed_out(seconds, error) from error

    @property
    def _clients(self) -> "Sequence[Client]":
        """The clients that make requests: this one, unless there are alternatives."""
        return (self,) if self._alternatives is None else self._alternatives.clients

    async def _through_one(
        self,
        make: "Callable[[Client], Awaitable[ResultT]]",
        discard: Callable[[ResultT], Awaitable[object] | None] | None,
        timeout: Timeout,
        *,
        repeatable: bool = True,
    ) -> ResultT:
        """Return what `make` gives for one of several proxies, within the call's time limit."""
        assert self._alternatives is not None  # noqa: S101 - callers have looked
        async with self._time_limit(timeout):
            return await self._alternatives.request(make, discard, repeatable=repeatable)

    def _seconds(self, timeout: Timeout) -> float | None:
        return self._timeout if timeout == "client" else timeout

    @asynccontextmanager
    async def _time_limit(self, timeout: Timeout) -> AsyncIterator[None]:
        """Raise ProxyTimedOut in a block that takes longer than a call may."""
        seconds = self._seconds(timeout)
        try:
            async with asyncio.timeout(seconds):
                yield
        except Socks6Error:
            raise  # the proxy's own answer may be a TimeoutError too
        except TimeoutError as error:
            raise self._timed_out(seconds, error) from error

    def _timed_out(self, seconds: float | None, error: TimeoutError) -> ProxyTimedOut:
        words = waited_for(error)
        why = f": {words}" if words else ""
        return ProxyTimedOut(f"no answer through {self.url.brief} within {seconds:g} s{why}")


def proxied(granted: GrantedRequest, peer: Endpoint = NO_ENDPOINT) -> ProxiedStream:
    """Return the stream of a granted CONNECT, which releases the session when it is closed."""
    return ProxiedStream(granted.stream, granted.bound, granted.options, peer=peer, lease=granted.lease)


def _encryption_of(stream: ByteStream) -> str:
    if stream.protection is not Protection.ENCRYPTED:
        return ""
    if stream.attribute(Substream) is not None:
        return "QUIC"
    from socks6.net.transports.tls import TlsSession  # noqa: PLC0415 - loaded where there is TLS

    session = stream.attribute(TlsSession)
    return "" if session is None else session.version.replace("TLSv", "TLS ")


def _parsed(
    proxy: str | ProxyUrl | Sequence[str | ProxyUrl], transports: Mapping[str, Transport]
) -> tuple[ProxyUrl, ...]:
    """Return the proxies to go through, one after the other. Raises ConfigurationError; TypeError for what is no URL."""
    several = isinstance(proxy, Sequence) and not isinstance(proxy, str | bytes)
    hops: tuple[str | ProxyUrl, ...] = tuple(proxy) if several else (proxy,)  # type: ignore[arg-type, assignment]
    if not hops:
        raise ConfigurationError("name at least one proxy")
    for hop in hops:
        if not isinstance(hop, str | ProxyUrl):
            raise TypeError(f"the URL of a proxy is a str or a ProxyUrl, not {type(hop).__name__}")
    return tuple(hop if isinstance(hop, ProxyUrl) else ProxyUrl.parse(hop, transports) for hop in hops)


def _associations(
    ask: RequestFunction, dialect: Dialect, url: ProxyUrl, *, is_chained: bool
) -> "AssociationFactory | Socks5AssociationFactory":
    if url.spoken == "socks6":
        return AssociationFactory(ask, dialect, url, is_chained)
    from socks6.client.socks5_association import Socks5AssociationFactory  # noqa: PLC0415 - not for SOCKS 6

    return Socks5AssociationFactory(ask, is_chained)


def _password_method(url: ProxyUrl) -> tuple[MethodFactory, ...]:
    if url.username is None:
        return ()
    credentials = UsernamePasswordCredentials(
        username=url.username.encode(), password=(url.password or "").encode()
    )
    UsernamePasswordClient(credentials)  # raises ValueError at once for what RFC 1929 cannot carry
    return (lambda: UsernamePasswordClient(credentials),)
