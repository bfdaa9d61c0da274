"""The server: listeners, and a worker that serves what arrives at them."""

import asyncio
import contextlib
import errno
import functools
import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Final, Self, TypeAlias

from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError
from socks6.net.accept import PRESSURE_SECONDS, ConnectionLimits, accept_streams
from socks6.net.datagrams.shared import QUIC_BYTES, Arrival, SharedPort, SharedPorts
from socks6.net.direct import DirectOutbound
from socks6.net.eager import EagerTaskGroup
from socks6.net.encryption.contexts import TLS_DEFAULTS, ReloadingContext, TlsParameters
from socks6.net.resolve import Resolver, literal_address
from socks6.net.sockets import endpoint
from socks6.net.stream import ByteStream, Endpoint, Listener, MultiplexedConnection
from socks6.net.transports import dtls_contexts as dtls
from socks6.net.transports.base import (
    ConnectionListener,
    ListenParameters,
    OpenConnectionListeners,
    OpenListeners,
    Transport,
)
from socks6.net.transports.registry import TRANSPORTS
from socks6.net.url import ProxyUrl
from socks6.proxy.live import LiveTable
from socks6.proxy.multiplexed import REFUSED, QuicConnectionContext
from socks6.proxy.plain_connect import PlainConnects
from socks6.proxy.worker import ServerWorker
from socks6.relay.datagrams.client_ports import ClientPort, DtlsClientPort
from socks6.telemetry import DtlsUnavailable, Listening, Stopping

OpenPort: TypeAlias = Callable[[str, int], ClientPort]
OpenAddress: TypeAlias = Callable[[SharedPorts], Awaitable[None]]

LOOKUP_AGAIN: Final = 300.0  # seconds until advertised names are looked up anew
REFUSAL_LOG_SECONDS: Final = 1.0  # between two lines about connections that came to nothing
ATTEMPTS: Final = 16  # to find a port that is free for both TCP and UDP


@dataclass(frozen=True, slots=True, kw_only=True)
class _InboundListener:
    """A listener with its inbound, and the port for datagrams of its clients."""

    listener: Listener
    inbound: str
    port: ClientPort | None = None

    @property
    def endpoints(self) -> Iterator[tuple[Endpoint, bool]]:
        """Where clients are served, each with "is it UDP"."""
        yield self.listener.local, False
        if self.port is not None:
            yield endpoint(self.port.sock.getsockname()), True


class _RefusalLog:
    """Reports clients of a port that came to nothing: at most one a second, with the number of the others."""

    def __init__(self, write: Callable[[str, str], None]) -> None:
        self._write = write
        self._logged_at: float | None = None
        self._unlogged = 0

    def report(self, source: str, reason: str) -> None:
        """Report a client, by its source and why, or count it."""
        now = asyncio.get_running_loop().time()
        if self._logged_at is not None and now - self._logged_at < REFUSAL_LOG_SECONDS:
            self._unlogged += 1
            return
        more, self._unlogged, self._logged_at = self._unlogged, 0, now
        others = f" ({more} others)" if more else ""
        self._write(source, f"{reason}{others}")


class _ConnectionAcceptor:
    """Accepts connections of many streams at one listener, and starts serving them."""

    def __init__(self, listener: ConnectionListener, inbound: str, worker: ServerWorker) -> None:
        self.listener: Final = listener
        self._inbound = inbound
        self._worker = worker
        log = _RefusalLog(worker.turned_away)
        listener.on_refused = lambda source, reason: log.report(source, f"QUIC: {reason}")

    async def accept(
        self,
        limits: tuple[ConnectionLimits, ConnectionLimits],
        group: asyncio.TaskGroup,
        plain_connects: Callable[[str], Callable[..., PlainConnects] | None],
    ) -> None:
        """Serve what comes, in tasks of `group`, until the listener is stopped.

        The first of `limits` counts streams, the second connections.
        """
        make = plain_connects(self._inbound)
        while True:
            try:
                connection = await self.listener.accept()
            except OSError:
                return
            self._serve(connection, limits, group, make)

    def _serve(
        self,
        connection: MultiplexedConnection,
        limits: tuple[ConnectionLimits, ConnectionLimits],
        group: asyncio.TaskGroup,
        make: Callable[..., PlainConnects] | None,
    ) -> None:
        streams, connections = limits
        source = connection.remote.host
        if refusal := connections.enter(source):
            self._worker.turned_away(source, refusal)
            connection.close(REFUSED, "given up")
            return

        def leave(_: "asyncio.Task[None]") -> None:
            connection.close()
            connections.leave(source)

        def by_callbacks(
            shared: QuicConnectionContext, tasks: EagerTaskGroup
        ) -> Callable[[ByteStream], bool]:
            return _nothing_plain if make is None else make(group=tasks, quic=shared).serve

        task = group.create_task(
            self._worker.serve_connection(
                connection, self._inbound, limits=streams, by_callbacks=by_callbacks
            )
        )
        task.add_done_callback(leave)


def _nothing_plain(_: ByteStream) -> bool:
    return False


class _CutOff(Exception):
    """Cancels a group from inside: no error, but the end of clients that outstay the drain time."""


class Server:
    """Listens at URLs and serves what arrives, with a `ServerWorker`.

    ::

        async with Server(["socks6://127.0.0.1:1080"], worker) as server:
            await server.serve_forever()

    `listen` are URLs such as socks6://HOST:PORT, mixed://HOST:PORT, socks6+tls://HOST or socks6+unix:///PATH;
    the scheme names the inbound. Unless `open_to_all`, a listener that others can reach needs a worker that
    authenticates, or client certificates. A listener with TLS needs a certificate, in its URL or in the
    worker's settings. Raises ConfigurationError.
    """

    def __init__(
        self,
        listen: Sequence[str | ProxyUrl],
        worker: ServerWorker,
        *,
        open_to_all: bool = False,
        transports: Mapping[str, Transport] = TRANSPORTS,
    ) -> None:
        self._addresses: Final = tuple(
            url if isinstance(url, ProxyUrl) else ProxyUrl.parse_listener(url, transports) for url in listen
        )
        self._worker: Final = worker
        self._transports: Final = transports
        if not self._addresses:
            raise ConfigurationError("nothing to listen on")
        for address in self._addresses:
            worker.inbound(address.protocol)
            certified = self._tls_of(address).client_ca is not None
            if not (open_to_all or worker.authenticator.required or certified or address.is_local):
                raise ConfigurationError(
                    f"{address} can be reached by others and asks for no password:"
                    " name users, listen on loopback, or make it open (--open)"
                )
        self._openers: Final = tuple(map(self._opener, self._addresses))
        settings, udp = worker.settings, worker.settings.udp
        self._limits: Final = _limits(settings.connections, settings.connections_per_source)
        self._quic_limits: Final = _limits(settings.connections, settings.connections_per_source)
        self._dtls_limits: Final = _limits(
            udp.associations, udp.associations_per_user
        )  # each needs a connection
        self._listeners: list[_InboundListener] = []
        self._acceptors: list[_ConnectionAcceptor] = []
        self._guards = contextlib.ExitStack()  # keep clients from being connected to our own listeners
        self._running: asyncio.TaskGroup | None = None
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        self._cut_off = False
        self._patience: asyncio.Timeout | None = None

    @property
    def urls(self) -> tuple[str, ...]:
        """Where the server listens, with real ports; empty before it started."""
        tcp = (listening.listener.url for listening in self._listeners)
        return (*tcp, *(acceptor.listener.url for acceptor in self._acceptors))

    @property
    def connections(self) -> LiveTable:
        """The live table of the worker: its connections, associations, bindings and sessions."""
        return self._worker.connections

    async def __aenter__(self) -> Self:
        """Listen. Raises OSError for an address that cannot be bound."""
        try:
            ports = SharedPorts(self._worker.datagrams.poller)
            for address, opener in zip(self._addresses, self._openers, strict=True):
                try:
                    await opener(ports)
                except OSError as error:
                    reason = error.strerror or error
                    raise OSError(error.errno, f"cannot listen on {address}: {reason}") from error
            self._guard_listeners()
        except BaseException:
            await self._close_listeners()
            self._close_ports()
            await self._close_connections()
            raise
        self._running = await asyncio.TaskGroup().__aenter__()
        self._running.create_task(self._run(), name="socks6 server")
        for url in self.urls:
            self._worker.events.observe(Listening(url=url))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop as `stop` does and wait until that is done; at once if the body failed."""
        running, self._running = self._running, None
        if running is not None:
            self.stop()
            if kind is not None:
                self.abort()
            cancelled = isinstance(error, asyncio.CancelledError)
            # any other exception is the caller's own: it is raised without a group around it
            await (
                running.__aexit__(kind, error, trace) if cancelled else running.__aexit__(None, None, None)
            )

    async def serve_forever(self) -> None:
        """Wait until the server has been stopped."""
        await self._stopped.wait()

    def stop(self) -> None:
        """Accept nothing more; what runs gets the drain time. Idempotent."""
        self._stopping.set()

    def abort(self) -> None:
        """Stop, and end at once what runs. Idempotent."""
        self._stopping.set()
        self._cut_off = True
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(asyncio.get_running_loop().time())

    async def _run(self) -> None:
        """Accept until `stop` is called, then drain."""
        try:
            async with asyncio.TaskGroup() as clients, EagerTaskGroup() as eager_clients:
                await self._accept_until_stopped(clients, eager_clients)
                await self._close_listeners()
                self._worker.events.observe(Stopping(connections=self._limits.count))
                # clients keep connections without a request, which they would close themselves only after seconds
                self._worker.monitor.hasten(asyncio.get_running_loop().time() + PRESSURE_SECONDS)
                drained = await self._drained()
                await self._close_connections()
                if not drained:
                    raise _CutOff
        except* _CutOff:
            pass  # it did its work: the group cancelled every client
        self._close_ports()
        await self._worker.aclose()
        self._stopped.set()

    def _plain_connects(self, inbound: str) -> Callable[..., PlainConnects] | None:
        """Return what makes `PlainConnects`, the rest being given; None where there is no such short way."""
        outbound, poller = self._worker.outbound, self._worker.relay.shared_poller()
        if poller is None:
            return None
        return functools.partial(
            PlainConnects,
            self._worker,
            inbound,
            # an outbound derived from it may connect in its own way
            outbound=outbound if type(outbound) is DirectOutbound else None,
            poller=poller,
            limits=self._limits,
        )

    def _by_callbacks(
        self, listening: _InboundListener, group: EagerTaskGroup
    ) -> Callable[[ByteStream], bool] | None:
        """Return what serves plain CONNECTs of a listener's clients; None where there is no such short way."""
        make = self._plain_connects(listening.inbound)
        return None if make is None else make(group=group, client_port=listening.port).serve

    async def _accept_until_stopped(self, clients: asyncio.TaskGroup, eager_clients: EagerTaskGroup) -> None:
        poller = self._worker.relay.shared_poller()
        if poller is not None:
            self._worker.outbound.poll_with(poller)
        async with asyncio.TaskGroup() as acceptors:
            tasks = [
                acceptors.create_task(
                    accept_streams(
                        listening.listener,
                        functools.partial(
                            self._worker.serve_stream,
                            inbound=listening.inbound,
                            client_port=listening.port,
                            on_admitted=self._limits.mark_known,
                        ),
                        limits=self._limits,
                        observer=self._worker.events,
                        group=eager_clients,
                        poller=poller,
                        by_callbacks=self._by_callbacks(listening, eager_clients),
                    ),
                    name=f"accept {listening.listener.url}",
                )
                for listening in self._listeners
            ]
            limits = self._limits, self._quic_limits
            tasks += [
                acceptors.create_task(
                    acceptor.accept(limits, clients, self._plain_connects),
                    name=f"accept {acceptor.listener.url}",
                )
                for acceptor in self._acceptors
            ]
            names = [
                name for name in self._worker.settings.bind.advertise if literal_address(name, 0) is None
            ]
            if names:
                tasks.append(acceptors.create_task(self._follow_names(names), name="advertised names"))
            if self._worker.authenticator.watched:
                tasks.append(acceptors.create_task(self._worker.watch_users(), name="users"))
            await self._stopping.wait()
            for task in tasks:
                task.cancel()

    async def _follow_names(self, names: Sequence[str]) -> None:
        """Keep the addresses up to date of the names that are advertised to remotes."""
        while True:
            found: list[str] = []
            for name in names:
                with contextlib.suppress(OSError):  # a name without an address leads no peer here
                    found += [address.host for address in await Resolver().resolve(name, 0)]
            self._worker.machine.advertised_names_led_to(found)
            await asyncio.sleep(LOOKUP_AGAIN)

    def _guard_listeners(self) -> None:
        machine = self._worker.machine
        served = [address for listening in self._listeners for address in listening.endpoints]
        served += [(acceptor.listener.local, True) for acceptor in self._acceptors]
        for address, udp in served:
            machine.listeners.add(address, udp=udp)
            self._guards.callback(machine.listeners.remove, address, udp=udp)

    async def _drained(self) -> bool:
        """Give the running connections their time; return whether all ended within it."""
        try:
            async with asyncio.timeout(
                0 if self._cut_off else self._worker.settings.drain_timeout
            ) as patience:
                self._patience = patience  # `abort` cuts it short
                while self._limits.count:
                    await self._limits.wait_for_leave()
        except TimeoutError:
            return False
        finally:
            self._patience = None
        return True

    def _tls_of(self, address: ProxyUrl) -> TlsParameters:
        """Return the TLS parameters of a listener; those of others are the defaults."""
        encrypted = self._transports[address.transport].encrypted
        return address.tls.merged_over(self._worker.settings.tls) if encrypted else TLS_DEFAULTS

    def _opener(self, address: ProxyUrl) -> OpenAddress:
        """Return what listens at an address. Raises ConfigurationError, also for files that cannot be used."""
        settings, row = self._worker.settings, self._transports[address.transport]
        parameters = ListenParameters(
            url=str(address),
            scheme=address.scheme,
            host=address.host,
            port=address.port,
            path=address.path,
            is_local=address.is_local,
            alpn=self._worker.inbound(address.protocol).alpn,
            tls=self._tls_of(address),
            quic_backend=address.quic.backend or settings.quic_backend,
            fast_open=settings.fast_open,
            congestion=settings.tcp_congestion,
            on_reload=self._worker.certificate_read,
        )
        if row.listen_for_connections is not None:
            return functools.partial(self._accept_at, address, row.listen_for_connections(parameters))
        if row.listen is not None:
            return functools.partial(self._listen_at, address, row.listen(parameters))
        raise ConfigurationError(f"{address}: this transport has no listeners")

    async def _accept_at(
        self, address: ProxyUrl, open_listeners: OpenConnectionListeners, ports: SharedPorts
    ) -> None:
        """Listen for connections of many streams."""
        for listener in await open_listeners(ports):
            self._acceptors.append(_ConnectionAcceptor(listener, address.protocol, self._worker))

    async def _listen_at(
        self, address: ProxyUrl, open_listeners: OpenListeners, ports_of_all: SharedPorts
    ) -> None:
        """Listen for streams, and with UDP at the same ports where an inbound and the transport have datagrams."""
        open_port = self._port_opener(address, ports_of_all)
        for attempts_left in reversed(range(ATTEMPTS)):
            listeners = await open_listeners(ports_of_all)
            ports: list[ClientPort] = []
            try:
                if open_port is not None:
                    for listener in listeners:
                        ports.append(open_port(*listener.local))  # noqa: PERF401 - closed if one fails
            except OSError as error:
                for port in ports:
                    port.close()
                for listener in listeners:
                    await listener.aclose()
                # a port that is free for TCP alone; where any will do, there is another
                if address.port or error.errno != errno.EADDRINUSE or not attempts_left:
                    raise
                continue
            self._listeners += [
                _InboundListener(listener=listener, inbound=address.protocol, port=port)
                for listener, port in itertools.zip_longest(listeners, ports)
            ]
            return

    def _port_opener(self, address: ProxyUrl, ports: SharedPorts) -> OpenPort | None:
        """Return what opens the UDP port beside a listener: in clear text, or with DTLS; None if there is to be none."""
        worker = self._worker
        beside = self._transports[address.transport].datagrams
        if not (beside and worker.settings.udp.enabled and worker.inbound(address.protocol).datagrams):
            return None
        if beside == "datagram":
            return worker.datagrams.open_port
        parameters = self._tls_of(address)
        if why := dtls.obstacle(parameters):
            worker.events.observe(DtlsUnavailable(url=str(address), reason=why))
            return None
        contexts = ReloadingContext(parameters, dtls.server_context)
        log = _RefusalLog(functools.partial(worker.not_served, address.protocol))

        def open_secured(host: str, port: int) -> ClientPort:
            shared = ports.open(host, port)
            if not shared.is_registered(QUIC_BYTES[0]):
                # a listener with QUIC that comes later takes its place
                refuse_quic = functools.partial(_refuse_quic, shared, log, worker.settings.quiet)
                shared.register(QUIC_BYTES, refuse_quic, in_rows=True)
            return DtlsClientPort(
                shared,
                contexts,
                limits=self._dtls_limits,
                refused=worker.turned_away,
                wants_certificate=parameters.client_ca is not None,
            )

        return open_secured

    async def _close_listeners(self) -> None:
        self._guards.close()
        for listening in self._listeners:
            await listening.listener.aclose()
        for acceptor in self._acceptors:
            acceptor.listener.stop()

    async def _close_connections(self) -> None:
        for acceptor in self._acceptors:
            await acceptor.listener.aclose()

    def _close_ports(self) -> None:
        for listening in self._listeners:
            if listening.port is not None:
                listening.port.close()


def _refuse_quic(port: SharedPort, log: _RefusalLog, quiet: bool, arrivals: Sequence[Arrival]) -> None:
    from socks6.net.transports.quic.absent import refuse  # noqa: PLC0415 - most never need it

    refuse(port, arrivals, log.report, quiet=quiet)


def _limits(total: int, per_source: int) -> ConnectionLimits:
    return ConnectionLimits(total=total, per_source=per_source, evict_unknown=True)
