"""The server: listeners, and a worker that serves what arrives at them."""

import asyncio
import contextlib
import errno
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeAlias

from socks6.errors import ConfigurationError
from socks6.net.accept import ConnectionLimits, accept_streams
from socks6.net.datagrams.shared import SharedPorts
from socks6.net.encryption.contexts import TLS_DEFAULTS, TlsParameters
from socks6.net.resolve import literal_address
from socks6.net.sockets import SocketListener, endpoint
from socks6.net.stream import Endpoint, Listener
from socks6.net.transports import dtls_contexts as dtls
from socks6.net.transports.tcp import addresses_of, listen_tcp
from socks6.net.transports.tls import TlsListener
from socks6.net.transports.unix import listen_unix
from socks6.net.url import QUIC, TLS, ProxyUrl
from socks6.proxy.quic import QuicPlace, QuicSetting, backend_for
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from socks6.relay.datagrams.client_ports import ClientPort, DtlsClientPort

OpenPort: TypeAlias = Callable[[str, int], ClientPort]

LOOKUP_AGAIN: Final = 300.0  # seconds until advertised names are looked up anew
ATTEMPTS: Final = 16  # to find a port that is free for both TCP and UDP


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listening:
    """A place where clients come, and where those that did may send datagrams."""

    listener: Listener
    inbound: str
    port: ClientPort | None = None

    @property
    def endpoints(self) -> Iterator[tuple[Endpoint, bool]]:
        """Where clients are served, each with "is it UDP"."""
        yield self.listener.local, False
        if self.port is not None:
            yield endpoint(self.port.sock.getsockname()), True


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
        self, listen: Sequence[str | ProxyUrl], worker: ServerWorker, *, open_to_all: bool = False
    ) -> None:
        self._addresses: Final = tuple(
            url if isinstance(url, ProxyUrl) else ProxyUrl.parse_listener(url) for url in listen
        )
        self._worker: Final = worker
        if not self._addresses:
            raise ConfigurationError("nothing to listen on")
        for address in self._addresses:
            worker.inbound(address.protocol)
            certified = self._tls_of(address).client_ca is not None
            if not (open_to_all or worker.authenticator.required or certified or address.is_local):
                raise ConfigurationError(
                    f"{address} can be reached by others and asks for no password:"
                    " name users, listen on loopback, or say that it is to be open (--open)"
                )
            if address.transport == QUIC:  # also where the certificate is yet to be made
                backend_for(address, self._tls_of(address), worker.settings)
        self._contexts: Final = {
            address: ServerContexts(
                said, alpn=worker.inbound(address.protocol).alpn, told=worker.observer.certificate_read
            )
            for address in self._addresses
            if address.transport == TLS and (said := self._tls_of(address)).certificate is not None
        }
        self._quic: Final = {
            address: QuicSetting(address, said, worker)
            for address in self._addresses
            if address.transport == QUIC and (said := self._tls_of(address)).certificate is not None
        }
        self._limits: Final = _connection_limits(worker.settings)
        self._dtls_limits: Final = _association_limits(worker.settings)
        self._quic_limits: Final = _connection_limits(worker.settings)
        self._listeners: list[_Listening] = []
        self._quic_places: list[QuicPlace] = []
        self._served: list[tuple[Endpoint, bool]] = []  # where clients are not led to, each with "is it UDP"
        self._running: asyncio.TaskGroup | None = None
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        self._cut_off = False
        self._patience: asyncio.Timeout | None = None

    @property
    def urls(self) -> tuple[str, ...]:
        """Where the server listens, with real ports; empty before it started."""
        tcp = (place.listener.url for place in self._listeners)
        return (*tcp, *(place.url for place in self._quic_places))

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return self._limits.count

    async def __aenter__(self) -> Self:
        """Listen. Raises OSError for an address that is not to be had."""
        try:
            ports = SharedPorts(self._worker.datagrams.poller)
            for address in self._addresses:
                await self._listen(address, ports)
            self._guard_listeners()
        except BaseException:
            await self._close_listeners()
            self._close_ports()
            await self._close_quic()
            raise
        self._running = await asyncio.TaskGroup().__aenter__()
        self._running.create_task(self._run(), name="socks6 server")
        for url in self.urls:
            self._worker.observer.listening(url)
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
            # any other exception is the caller's own: it goes its way without a group around it
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
        """Accept until told to stop, then drain."""
        try:
            async with asyncio.TaskGroup() as clients:
                await self._accept_until_stopped(clients)
                await self._close_listeners()
                self._worker.observer.stopping(self.connections)
                drained = await self._drained()
                await self._close_quic()
                if not drained:
                    raise _CutOff
        except* _CutOff:
            pass  # it did its work: the group cancelled every client
        self._close_ports()
        await self._worker.aclose()
        self._stopped.set()

    async def _accept_until_stopped(self, clients: asyncio.TaskGroup) -> None:
        async with asyncio.TaskGroup() as acceptors:
            tasks = [
                acceptors.create_task(
                    accept_streams(
                        place.listener,
                        functools.partial(
                            self._worker.serve_stream,
                            inbound=place.inbound,
                            client_port=place.port,
                            on_admitted=self._limits.mark_known,
                        ),
                        limits=self._limits,
                        observer=self._worker.observer,
                        group=clients,
                    ),
                    name=f"accept {place.listener.url}",
                )
                for place in self._listeners
            ]
            limits = self._limits, self._quic_limits
            tasks += [
                acceptors.create_task(place.accept(self._worker, limits, clients), name=f"accept {place.url}")
                for place in self._quic_places
            ]
            names = [
                name for name in self._worker.settings.bind.advertise if literal_address(name, 0) is None
            ]
            if names:
                tasks.append(acceptors.create_task(self._follow_names(names), name="advertised names"))
            await self._stopping.wait()
            for task in tasks:
                task.cancel()

    async def _follow_names(self, names: Sequence[str]) -> None:
        """Keep known which addresses the names lead to by which remotes are told to reach this machine."""
        while True:
            found: list[str] = []
            for name in names:
                with contextlib.suppress(OSError):  # a name without an address leads nobody here
                    found += [address.host for address in await addresses_of(name, 0)]
            self._worker.machine.advertised_names_led_to(found)
            await asyncio.sleep(LOOKUP_AGAIN)

    def _guard_listeners(self) -> None:
        """Have no client be led to where clients are served."""
        served = [place for listening in self._listeners for place in listening.endpoints]
        served += [(quic.local, True) for quic in self._quic_places]
        for place, udp in served:
            self._worker.machine.listeners.add(place, udp=udp)
            self._served.append((place, udp))

    async def _drained(self) -> bool:
        """Give the running connections their time; return whether all ended within it."""
        try:
            async with asyncio.timeout(
                0 if self._cut_off else self._worker.settings.drain_timeout
            ) as patience:
                self._patience = patience  # `abort` cuts it short
                while self.connections:
                    await self._limits.wait_for_leave()
        except TimeoutError:
            return False
        finally:
            self._patience = None
        return True

    def _tls_of(self, address: ProxyUrl) -> TlsParameters:
        """Return what holds for a listener with TLS; for others nothing does."""
        if address.transport not in {TLS, QUIC}:
            return TLS_DEFAULTS
        return address.tls.over(self._worker.settings.tls)

    async def _listen(self, address: ProxyUrl, ports: SharedPorts) -> None:
        contexts = self._contexts.get(address)
        quic = self._quic.get(address)
        if address.transport and contexts is None and quic is None:
            raise ConfigurationError(f"{address} has no certificate: name one (cert=, --tls-cert)")
        try:
            if quic is not None:
                self._quic_places += await quic.listen(ports)
            elif address.path:
                listener = await listen_unix(address.path, url=str(address))
                self._listeners.append(_Listening(listener=listener, inbound=address.protocol))
            else:
                self._listeners += await self._listen_at_port(address, contexts, ports)
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {address}: {error.strerror or error}") from error

    async def _listen_at_port(
        self, address: ProxyUrl, contexts: ServerContexts | None, ports_of_all: SharedPorts
    ) -> list["_Listening"]:
        """Listen with TCP, and with UDP at the same ports for what speaks SOCKS 6."""
        open_port = self._port_opener(address, ports_of_all)
        for attempts_left in reversed(range(ATTEMPTS)):
            listeners = await self._listen_tcp(address)
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
            return [
                _Listening(
                    listener=listener if contexts is None else TlsListener(listener, contexts),
                    inbound=address.protocol,
                    port=port,
                )
                for listener, port in itertools.zip_longest(listeners, ports)
            ]
        raise AssertionError("the last attempt returns or raises")

    def _port_opener(self, address: ProxyUrl, ports: SharedPorts) -> OpenPort | None:
        """Return what opens the UDP port beside a listener: in clear text, or with DTLS; None if there is to be none."""
        worker = self._worker
        if not worker.settings.udp.enabled or not worker.inbound(address.protocol).datagrams:
            return None
        if address.transport != TLS:
            return worker.datagrams.open_port
        said = self._tls_of(address)
        if why := dtls.obstacle(said):
            worker.observer.without_dtls(str(address), why)
            return None
        return functools.partial(
            self._open_secured,
            ports,
            dtls.server_contexts(said),
            wants_certificate=said.client_ca is not None,
        )

    def _open_secured(
        self,
        ports: SharedPorts,
        contexts: "dtls.DtlsContexts",
        host: str,
        port: int,
        *,
        wants_certificate: bool,
    ) -> ClientPort:
        worker = self._worker
        return DtlsClientPort(
            ports.open(host, port),
            contexts,
            limits=self._dtls_limits,
            refused=worker.observer.connection_turned_away,
            wants_certificate=wants_certificate,
        )

    async def _listen_tcp(self, address: ProxyUrl) -> list[SocketListener]:
        fast_open = self._worker.settings.fast_open
        return await listen_tcp(address.host, address.port, scheme=address.scheme, fast_open=fast_open)

    async def _close_listeners(self) -> None:
        while self._served:
            served, udp = self._served.pop()
            self._worker.machine.listeners.remove(served, udp=udp)
        for place in self._listeners:
            await place.listener.aclose()
        for quic in self._quic_places:
            quic.stop()

    async def _close_quic(self) -> None:
        for place in self._quic_places:
            await place.aclose()

    def _close_ports(self) -> None:
        for place in self._listeners:
            if place.port is not None:
                place.port.close()


def _connection_limits(settings: Settings) -> ConnectionLimits:
    return ConnectionLimits(
        total=settings.connections, per_source=settings.connections_per_source, evict_unknown=True
    )


def _association_limits(settings: Settings) -> ConnectionLimits:
    """Return how many DTLS connections there may be: each association needs one."""
    return ConnectionLimits(
        total=settings.udp.associations,
        per_source=settings.udp.associations_per_user,
        evict_unknown=True,
    )
