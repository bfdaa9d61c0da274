"""What all connections of one proxy share: rules, users, the outbound, limits, and the timer that watches clients."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import Final, TypeAlias

from socks6.net.direct import DirectOutbound
from socks6.net.local_addresses import LocalAddresses
from socks6.net.shares import Shares, descriptor_limit
from socks6.net.stream import ByteStream, Outbound
from socks6.policy.rules import Policy
from socks6.proxy.accounts import Accounts, UsageStore
from socks6.proxy.authentication.base import Authenticator, NoAuthentication
from socks6.proxy.authentication.penalty import FailurePenalties
from socks6.proxy.authentication.verification import VerificationQueue
from socks6.proxy.backlog import BindingRegistry
from socks6.proxy.commands import ProxyRequest
from socks6.proxy.limits import HolderLimits
from socks6.proxy.live import ConnectionInfo, LiveTable
from socks6.proxy.own_machine import OwnMachine
from socks6.proxy.sessions import MemorySessionStore, SessionManager, SessionStore
from socks6.proxy.settings import Settings
from socks6.relay.datagrams.association_relay import DatagramRelay, best_forwarder
from socks6.relay.datagrams.forwarder import DatagramForwarder
from socks6.telemetry import (
    CertificateRead,
    ConnectionEnded,
    EventHub,
    LimitReached,
    Observer,
    SourcePenalized,
    UnexpectedError,
)

# Returns if a client's request may be carried out, and raises an OperationFailed, such as NotAllowed, if not.
RequestJudge: TypeAlias = Callable[[ProxyRequest, ConnectionInfo], Awaitable[None]]

CHECK_SECONDS: Final = 0.25  # how exactly deadlines are kept, and how soon a client that is gone is noticed


class ProxyContext:
    """What the connections of one proxy share.

    `authenticator` knows the users, `policy` says what they may reach, `outbound` reaches it. `sessions` keeps the
    clients' sessions, by default in memory; `local_addresses` knows the addresses of this machine. `observers` get the
    events (`socks6.telemetry`); `connections` is the live table. `judge_request`, which may wait, is asked of each CONNECT, BIND
    and UDP ASSOCIATE beside the policy. `usage_store` is where what users with a quota have used outlives the process.
    """

    def __init__(
        self,
        *,
        authenticator: Authenticator | None = None,
        policy: Policy | None = None,
        outbound: Outbound | None = None,
        settings: Settings | None = None,
        observers: Sequence[Observer] = (),
        forwarder: Callable[[], DatagramForwarder] = best_forwarder,
        sessions: SessionStore | None = None,
        local_addresses: LocalAddresses | None = None,
        judge_request: RequestJudge | None = None,
        usage_store: UsageStore | None = None,
    ) -> None:
        self.authenticator = authenticator or NoAuthentication()
        self.judge_request: Final = judge_request
        self.outbound: Final = outbound or DirectOutbound()
        self.settings: Final = settings or Settings()
        self.events: Final = EventHub(observers)
        # whether connections take the times of their records
        self.timed = ConnectionEnded in self.events.wanted
        self.outbound_name: Final = self.outbound.name
        self.monitor: Final = ClientMonitor()
        self.penalties: Final = FailurePenalties(on_penalty=self._penalized)
        self.local_addresses: Final = local_addresses or LocalAddresses()
        self.machine: Final = OwnMachine(self.local_addresses.holds, self.settings.bind.advertise)
        self.policy = self._on_this_machine(policy or Policy())
        self.bindings: Final = BindingRegistry(self.settings.bind, self.machine.bound)
        self.verifications: Final = VerificationQueue(self.penalties)
        self.sessions: Final = self._session_manager(sessions)
        self.associations: Final = HolderLimits(
            "associations",
            total=self.settings.udp.associations,
            per_holder=self.settings.udp.associations_per_user,
        )
        self.user_connections: Final = HolderLimits(
            "connections", total=0, per_holder=self.settings.connections_per_user
        )
        self.connections: Final = LiveTable(self.sessions.store if self.sessions is not None else None)
        self.accounts: Final = Accounts(
            store=usage_store,
            connections_of=self.connections.of_user,
            on_reached=self.events.observe,
            on_fault=self._usage_not_saved,
        )
        self._new_forwarder: Final = forwarder
        self.outbound.report_to(self.events)
        self.authenticator.report_to(self.events)

    @cached_property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that the proxy runs in; remembered, since each question is a system call (CPython 3.11)."""
        return asyncio.get_running_loop()

    @cached_property
    def descriptors(self) -> Shares:
        """The shares of the descriptors: two for each connection; made when the process has set its limits."""
        return Shares(descriptor_limit() // 2)

    @cached_property
    def datagrams(self) -> DatagramRelay:
        """What joins associations with their clients; made when it is first needed, within the loop."""
        udp = self.settings.udp
        return DatagramRelay(
            initial_timeout=udp.first_timeout,
            idle_timeout=udp.idle_timeout,
            on_fault=self._relaying_failed,
            forwarder=self._new_forwarder(),
        )

    def replace_rules(self, authenticator: Authenticator, policy: Policy) -> None:
        """Use these for every request from now on; sessions of users that are gone or changed end."""
        old, self.authenticator = self.authenticator, authenticator
        self.policy = self._on_this_machine(policy)
        if old is authenticator:
            return
        authenticator.report_to(self.events)
        authenticator.inherit(old)
        old.close()
        if self.sessions is not None:
            self.sessions.replace(authenticator)

    def close_datagrams(self) -> None:
        """Free what joins associations with clients, if it was made. Idempotent."""
        if "datagrams" in self.__dict__:
            self.datagrams.close()

    def turned_away(self, source: str, reason: str) -> None:
        """Let observers know of a client that was dropped at accept."""
        self.events.observe(LimitReached(source=source, reason=reason))

    def certificate_read(self, path: str, fault: str) -> None:
        """Report to observers a certificate that was read again, or why it could not be."""
        self.events.observe(CertificateRead(path=path, reason=fault))

    def _relaying_failed(self, error: BaseException) -> None:
        self.events.observe(UnexpectedError(where="relaying datagrams", error=error))

    def _usage_not_saved(self, error: Exception) -> None:
        self.events.observe(UnexpectedError(where="saving usage", error=error))

    def _penalized(self, source: str, name: bytes | None, seconds: float) -> None:
        user = "" if name is None else name.decode(errors="replace")
        self.events.observe(SourcePenalized(source=source, user=user, seconds=seconds))

    def _on_this_machine(self, policy: Policy) -> Policy:
        return dataclasses.replace(policy, machine=self.machine, bind_ports=self.settings.bind.ports)

    def _session_manager(self, store: SessionStore | None) -> SessionManager | None:
        settings = self.settings.sessions
        if not settings.enabled:
            return None
        if store is None:
            store = MemorySessionStore(settings)
        return SessionManager(store, settings, self.penalties, self.authenticator)


class ClientMonitor:
    """Ends handshakes past their deadline, and what is done for clients that are gone.

    One timer for all, none while there is nothing to look after. A client that has reset its stream is gone; one that
    only has ended its side is still served, since it may be waiting for its answer.
    """

    def __init__(self) -> None:
        # by connection; in order of their deadlines, all handshakes being equally long
        self._handshakes: Final[dict[int, tuple[float, Callable[[], None]]]] = {}
        self._watched: Final[dict[int, tuple[ByteStream, Callable[[], None]]]] = {}
        self._running = False

    def __len__(self) -> int:
        """Return how many handshakes and clients are looked after."""
        return len(self._handshakes) + len(self._watched)

    def add_handshake(self, connection_id: int, deadline: float, expire: Callable[[], None]) -> None:
        """Call `expire` once `deadline` has passed, unless the handshake ends before; one that is known keeps its deadline."""
        self._handshakes.setdefault(connection_id, (deadline, expire))
        if not self._running:
            self._start()

    def hasten(self, deadline: float) -> None:
        """Let no handshake that is under way go on past `deadline`, on the loop's clock."""
        for key, (before, expire) in self._handshakes.items():
            self._handshakes[key] = min(before, deadline), expire

    def end_handshake(self, connection_id: int) -> None:
        """Forget a deadline. Idempotent."""
        self._handshakes.pop(connection_id, None)

    def watch(self, connection_id: int, stream: ByteStream, gone: Callable[[], None]) -> None:
        """Call `gone`, once, should the stream be reset before `forget`."""
        self._watched[connection_id] = stream, gone
        if not self._running:
            self._start()

    def forget(self, connection_id: int) -> None:
        """Watch a client's stream no more. Idempotent."""
        self._watched.pop(connection_id, None)

    def _start(self) -> None:
        self._running = True
        asyncio.get_running_loop().call_later(CHECK_SECONDS, self._check)

    def _check(self) -> None:
        self._running = False
        now = asyncio.get_running_loop().time()
        while self._handshakes:
            connection_id, (deadline, expire) = next(iter(self._handshakes.items()))
            if deadline > now:
                break
            del self._handshakes[connection_id]
            expire()
        gone = [(key, call) for key, (stream, call) in self._watched.items() if stream.was_reset()]
        for key, call in gone:
            del self._watched[key]
            call()
        if self._handshakes or self._watched:
            self._start()
