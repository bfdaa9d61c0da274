"""Serves one client connection after another over any byte stream: the engine without listeners."""

import asyncio
import dataclasses
import functools
import itertools
from collections.abc import Callable, Coroutine, Mapping
from functools import cached_property
from typing import Final

from socks6.errors import ConfigurationError, TlsFailed
from socks6.message.options import STANDARD, OptionTable
from socks6.net.accept import ConnectionLimits
from socks6.net.direct import DirectOutbound
from socks6.net.local_addresses import LocalAddresses
from socks6.net.shares import Shares, descriptor_limit
from socks6.net.stream import AcceptedPeer, ByteStream, MultiplexedConnection, Outbound
from socks6.net.transports.tls import TlsStream
from socks6.policy.rules import Policy
from socks6.proxy.authentication.base import Authenticator, same_credentials
from socks6.proxy.authentication.none import NoAuthentication
from socks6.proxy.authentication.penalty import FailurePenalties
from socks6.proxy.authentication.verification import VerificationQueue
from socks6.proxy.contained import contained
from socks6.proxy.inbounds.base import Inbound, Tunnel
from socks6.proxy.inbounds.http import HttpInbound, HttpSettings
from socks6.proxy.inbounds.mixed import MixedInbound
from socks6.proxy.inbounds.socks5 import Socks5Inbound
from socks6.proxy.inbounds.socks6 import Socks6Inbound, stay_silent
from socks6.proxy.limits import HolderLimits
from socks6.proxy.listeners import Listeners
from socks6.proxy.membership import SessionManager
from socks6.proxy.multiplexed import MultiplexedVisit
from socks6.proxy.own_machine import OwnMachine
from socks6.proxy.presence import Presence
from socks6.proxy.sessions import MemorySessionStore, Session, SessionStore
from socks6.proxy.settings import Settings
from socks6.proxy.visit import Visit
from socks6.relay.datagrams.association_relay import (
    AssociationSettings,
    ClientPort,
    DatagramRelay,
    best_forwarder,
)
from socks6.relay.datagrams.forwarder import DatagramForwarder
from socks6.relay.delivery import deliver
from socks6.relay.streams import StreamRelay
from socks6.telemetry import Ending, NullObserver, Observer

SWEEP_SECONDS: Final = 0.25  # how exactly the handshake deadline is kept
LINGER_SECONDS: Final = 2.0  # what a refused client gets to read its answer
LINGER_BYTES: Final = 262_144
NEVER: Final = 3e8  # seconds, ten years: what loops' timers can still count


def standard_inbounds(settings: Settings, option_table: OptionTable = STANDARD) -> dict[str, Inbound]:
    """Return every inbound by its name."""
    socks6 = Socks6Inbound(
        dialects=settings.dialects,
        option_table=option_table,
        quiet=settings.quiet,
        ignore_fragmented=settings.ignore_fragmented,
        tfo_without_token=settings.tfo_without_token,
    )
    patience = HttpSettings(
        idle_timeout=settings.relay.idle_timeout or NEVER,
        fin_timeout=settings.relay.fin_timeout or NEVER,
        optimistic=settings.optimistic,
    )
    inbounds: dict[str, Inbound] = {
        "socks6": socks6,
        "socks5": Socks5Inbound(optimistic=settings.optimistic, udp_idle=settings.udp.idle_timeout),
        "http": HttpInbound(patience),
    }
    return {**inbounds, "mixed": MixedInbound(inbounds)}


class ServerWorker:
    """Serves clients over any byte stream (§ Mode of operation).

    `authenticator` knows the users, `policy` says what they may reach, `outbound` reaches it. One worker
    serves any number of streams at the same time. `sessions` keeps the clients' sessions, by default in memory;
    `local_addresses` tells what addresses this machine has; `option_table` which options are read, for an outbound that
    knows more stack options than the draft has.
    """

    def __init__(
        self,
        *,
        authenticator: Authenticator | None = None,
        policy: Policy | None = None,
        outbound: Outbound | None = None,
        settings: Settings | None = None,
        observer: Observer | None = None,
        inbounds: Mapping[str, Inbound] | None = None,
        forwarder: Callable[[], DatagramForwarder] = best_forwarder,
        sessions: SessionStore | None = None,
        local_addresses: LocalAddresses | None = None,
        option_table: OptionTable = STANDARD,
    ) -> None:
        self.authenticator = authenticator or NoAuthentication()
        self.outbound: Final = outbound or DirectOutbound()
        self.settings: Final = settings or Settings()
        self.observer: Final = contained(observer or NullObserver())
        self.presence: Final = Presence()
        self.penalties: Final = FailurePenalties()
        self._local_addresses: Final = local_addresses or LocalAddresses()
        self.machine: Final = OwnMachine(self._local_addresses.holds, self.settings.bind.advertise)
        self.policy = self._on_this_machine(policy or Policy())
        self.listeners: Final = Listeners(self.settings.bind, self.machine.bound)
        self.verifications: Final = VerificationQueue(self.penalties)
        self.session_manager: Final = self._open_session_manager(sessions)
        self._inbounds: Final = inbounds or standard_inbounds(self.settings, option_table)
        self._plane: Final = StreamRelay(self.settings.relay)
        self._new_mover: Final = forwarder
        self._datagrams: DatagramRelay | None = None  # made when it is first needed, within the loop
        self.associations: Final = HolderLimits(
            "associations",
            total=self.settings.udp.associations,
            per_holder=self.settings.udp.associations_per_user,
        )
        self.seats: Final = HolderLimits(
            "connections", total=0, per_holder=self.settings.connections_per_user
        )
        self._ids: Final = itertools.count(1)
        self._handshakes: Final[dict[Visit, None]] = {}  # in order of their deadlines, all being equally long
        self._sweeping = False
        self._multiplexed: Final[set[MultiplexedVisit]] = set()

    def inbound(self, name: str) -> Inbound:
        """Return an inbound by its name; raises ConfigurationError for an unknown one."""
        try:
            return self._inbounds[name]
        except KeyError:
            raise ConfigurationError(f"no inbound {name!r}: one of {', '.join(self._inbounds)}") from None

    def replace(self, *, authenticator: Authenticator, policy: Policy) -> None:
        """Have every request from now on meet these, on whatever connection it comes; what is relayed goes on.

        Sessions end where the new authenticator does not know their users, or not by the same password; QUIC
        connections of such users are as if nobody had been let in on them.
        """
        old, self.authenticator = self.authenticator, authenticator
        self.policy = self._on_this_machine(policy)
        if old is authenticator:
            return
        authenticator.inherit(old)
        if self.session_manager is not None:
            self.session_manager.replace(authenticator)
        for shared in tuple(self._multiplexed):
            shared.revoke(lambda identity: same_credentials(authenticator, old, identity))

    @cached_property
    def descriptors(self) -> Shares:
        """Return the shares of the descriptors: two for each connection; made when the process has set its limits."""
        return Shares(descriptor_limit() // 2)

    @property
    def datagrams(self) -> DatagramRelay:
        """What joins associations with their clients."""
        if self._datagrams is None:
            self._datagrams = DatagramRelay(
                settings=AssociationSettings(
                    initial_timeout=self.settings.udp.first_timeout,
                    idle_timeout=self.settings.udp.idle_timeout,
                ),
                on_fault=functools.partial(self.observer.unexpected_error, "relaying datagrams"),
                forwarder=self._new_mover(),
            )
        return self._datagrams

    async def serve_stream(
        self,
        stream: ByteStream,
        inbound: str = "socks6",
        *,
        session: Session | None = None,
        client_port: ClientPort | None = None,
        known: Callable[[ByteStream], None] | None = None,
    ) -> None:
        """Serve one client to the end and close its stream. Raises nothing that a client can cause.

        `session` is what the stream's requests belong to without naming it; `client_port` is where the client
        may send datagrams over UDP. `known` is called with the stream once a request was let in.
        """
        visit = Visit(
            self,
            stream,
            self.inbound(inbound),
            next(self._ids),
            session=session,
            client_port=client_port,
            known=known,
        )
        await self._serve(visit, self._handshake(visit))

    async def serve_connection(
        self, connection: MultiplexedConnection, inbound: str = "socks6", *, limits: ConnectionLimits
    ) -> None:
        """Serve all streams of a connection to its end, and close it. Raises nothing that a client can cause.

        `limits` counts the streams.
        """
        shared = MultiplexedVisit(connection, functools.partial(self._serve_pushed, self.inbound(inbound)))
        self._multiplexed.add(shared)
        try:
            async with asyncio.TaskGroup() as group:
                deadline = connection.started + self.settings.handshake_timeout
                shared.begin(group, deadline - asyncio.get_running_loop().time())
                while stream := await _next_stream(connection):
                    source = stream.remote.host
                    if refusal := limits.enter(source):
                        self.observer.connection_turned_away(source, refusal)
                        stream.abort()
                        continue
                    task = group.create_task(self._serve_one(stream, inbound, shared))
                    task.add_done_callback(functools.partial(_leave, limits, source, stream))
        finally:
            self._multiplexed.discard(shared)
            shared.leave()

    async def _serve_one(self, stream: ByteStream, inbound: str, shared: MultiplexedVisit) -> None:
        """Serve one stream of several."""
        first = await shared.enter()
        visit = Visit(self, stream, self.inbound(inbound), next(self._ids), shared=shared)
        try:
            with shared.serving():
                await self._serve(visit, self._handshake(visit))
        finally:
            if first:
                shared.first_left(visit.ending)

    async def _serve_pushed(
        self, inbound: Inbound, shared: MultiplexedVisit, stream: ByteStream, accepted: AcceptedPeer
    ) -> None:
        """Relay a stream that was opened for a peer."""
        visit = Visit(self, stream, inbound, next(self._ids), shared=shared)
        visit.was_pushed(accepted.peer)

        async def tunnel() -> Tunnel:
            return Tunnel(remote=accepted.stream)

        with shared.serving():
            await self._serve(visit, tunnel())

    async def _serve(self, visit: Visit, handshake: Coroutine[None, None, Tunnel | None]) -> None:
        """Serve one visit to the end. Raises nothing that a client can cause."""
        stream = visit.stream
        self.observer.connection_opened(visit.id, visit.source)
        try:
            tunnel = await handshake
            if tunnel is None:
                await linger(stream, patient=visit.bytes_down > 0)
            else:
                visit.relayed(await self._plane.relay(stream, tunnel.remote, first=tunnel.take_first()))
        except OSError as error:
            visit.broke(error)
        except asyncio.CancelledError:
            if not (visit.was_left() or visit.was_torn_down()):
                visit.ending = Ending.STOPPED
                raise
        except Exception as error:  # noqa: BLE001 - the one place that keeps a fault of ours to its connection
            visit.ending = Ending.ERROR
            self.observer.unexpected_error(f"connection {visit.id}", error)
        finally:
            stream.abort()
            try:
                visit.leave()
            except Exception as error:  # noqa: BLE001 - as above; the log line is due all the same
                self.observer.unexpected_error(f"connection {visit.id}, leaving", error)
            self.observer.connection_ended(visit.summary())

    async def aclose(self) -> None:
        """Free what the connections share; to be called when none runs any more. Idempotent."""
        if self.session_manager is not None:
            self.session_manager.close()
        self._plane.close()
        if self._datagrams is not None:
            self._datagrams.close()
        self._local_addresses.close()
        await self.outbound.aclose()

    def _on_this_machine(self, policy: Policy) -> Policy:
        return dataclasses.replace(policy, machine=self.machine, bind_ports=self.settings.bind.ports)

    def _open_session_manager(self, store: SessionStore | None) -> SessionManager | None:
        settings = self.settings.sessions
        if not settings.enabled:
            return None
        if store is None:
            store = MemorySessionStore(settings)
        return SessionManager(store, settings, self.penalties, self.authenticator)

    async def _handshake(self, visit: Visit) -> Tunnel | None:
        self._handshakes[visit] = None
        self._sweep_later()
        try:
            if (tls := visit.stream.attribute(TlsStream)) is not None:
                await self._secure(visit, tls)
            return await visit.inbound.serve(visit.stream, b"", visit)
        finally:
            self._handshakes.pop(visit, None)

    async def _secure(self, visit: Visit, stream: TlsStream) -> None:
        """Shake hands; who fails may read OpenSSL's alert, unless we are quiet. Raises TlsFailed, OSError."""
        try:
            await visit.secure(stream)
        except TlsFailed:
            if self.settings.quiet:
                await stay_silent(stream, visit.deadline)
            else:
                await linger(stream.beneath)
            raise

    def _sweep_later(self) -> None:
        """Have handshakes past their deadline ended: one timer for all, none while there are no handshakes."""
        if not self._sweeping and self._handshakes:
            self._sweeping = True
            asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = False
        now = asyncio.get_running_loop().time()
        late = list(itertools.takewhile(lambda visit: visit.deadline <= now, self._handshakes))
        for visit in late:
            del self._handshakes[visit]
            visit.expire()
        self._sweep_later()

    def request_arrived(self, visit: Visit) -> None:
        """Stop the handshake's clock: the client has said what it wants, and may."""
        self._handshakes.pop(visit, None)
        visit.was_let_in()


async def _next_stream(connection: MultiplexedConnection) -> ByteStream | None:
    """Return the next stream that the client opens; None when its connection is over."""
    try:
        return await connection.accept()
    except OSError:
        return None


def _leave(limits: ConnectionLimits, source: str, stream: ByteStream, _: "asyncio.Task[None]") -> None:
    """Clean up, also after a task that was cancelled before it began."""
    stream.abort()
    limits.leave(source)


async def linger(stream: ByteStream, *, patient: bool = False) -> None:
    """Close so that the client can read its answer: bytes still coming in would turn a close into a reset.

    With `patient`, a slow client gets as long as it takes its answer in.
    """
    # nobody wants the bytes, so those of TLS are not decrypted: a peer's short records cost 3 µs each
    tls = stream.attribute(TlsStream)
    source = stream if tls is None else tls.beneath
    left = LINGER_BYTES
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            await stream.send_eof()
            while left > 0 and (data := await source.receive(min(left, 65536))):
                left -= len(data)
            if left > 0:
                await stream.aclose()
                return
    except (TimeoutError, OSError):
        pass
    if patient or left <= 0:
        await deliver(source)
    stream.abort()
