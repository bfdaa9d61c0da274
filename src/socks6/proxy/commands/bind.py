"""BIND: the rules judge the place, the outbound binds it, the rules judge who connects (§ Handling BIND)."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from typing_extensions import override

from socks6.errors import ConnectionTimedOut, GeneralFailure, NotAllowed
from socks6.message.address import is_literal, is_unspecified
from socks6.message.codes import Leg
from socks6.message.options import ListenBacklog, StackOption, find, find_all
from socks6.net.accept import source_of
from socks6.net.bind import LOOPBACK, family_of, own_address, unmapped
from socks6.net.local_addresses import interface_addresses
from socks6.net.stackopts import apply_options, effective_options
from socks6.net.stream import AcceptedPeer, Binding, ByteStream, Endpoint, Outbound
from socks6.policy.rules import Policy
from socks6.policy.stack import permit_options
from socks6.proxy.backlog import BacklogListener
from socks6.proxy.commands.truth import listening_truth, whole_truth
from socks6.proxy.inbounds.base import Call
from socks6.proxy.listeners import Listeners, User
from socks6.proxy.settings import BindSettings

MOST_ADDRESSES: Final = 32  # sockets of one BIND; a machine with more has one for all of them


async def bind(
    call: Call,
    *,
    policy: Policy,
    outbound: Outbound,
    client: ByteStream,
    listeners: Listeners,
    settings: BindSettings,
) -> Binding:
    """Carry out a BIND, with what the policy permits of its stack options. Raises OperationFailed.

    Returns a BacklogListener where a backlog is granted, and then the caller has it run; else what one peer
    comes to, either at a place of its own, or at a BacklogListener's. `client` is the client's connection.
    """
    bind_call = _BindCall(
        call=call,
        permitted=permit_options(policy.stack, call.identity, call.options),
        policy=policy,
        outbound=outbound,
        client=client,
        listeners=listeners,
        settings=settings,
    )
    if bind_call.client_socket is not None:
        apply_options(bind_call.client_socket, bind_call.permitted, Leg.CLIENT_PROXY)
    there = listeners.find(Endpoint(call.host, call.port)) if call.port else None
    return await bind_call.listen() if there is None else bind_call.stand_in_line(there)


def reachable(bound: Endpoint, advertised: tuple[str, ...], local: str) -> Endpoint:
    """Return where remotes reach a place that was bound: never at no address in particular.

    That is what the operator says for the family; else the address by which the client itself reached us;
    else that from which this machine would reach the world.
    """
    if not is_unspecified(bound.host):
        return bound
    family = family_of(bound.host)
    named = (host for host in advertised if not is_literal(host) or family_of(host) == family)
    return Endpoint(next(named, "") or _default_host(family, local), bound.port)


def places_instead(host: str, advertised: tuple[str, ...], local: str) -> tuple[tuple[str, ...], ...]:
    """Return what to bind for no address in particular: what is advertised, else every address but loopback.

    Behind NAT this machine does not have what is advertised, and then its own are bound, too: all of them, as
    what reaches others from one of them is told to come back there (active FTP). Only a client that came in by
    loopback gets that as well.
    """
    if not is_unspecified(host):
        return ()
    family = family_of(host)
    near = (LOOPBACK[family],) if _is_loopback(unmapped(local)) else ()
    try:
        own = _distinct(_default_host(family, local), *interface_addresses(family), *near)
    except OSError:
        return ()
    if len(own) > MOST_ADDRESSES:
        return ()
    literal = (one for one in advertised if is_literal(one) and family_of(one) == family)
    return (_distinct(*literal, *near), own) if advertised else (own,)


def _distinct(*hosts: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(hosts))


def _is_loopback(literal: str) -> bool:
    return literal == "::1" or literal.startswith("127.")


def _default_host(family: socket.AddressFamily, local: str) -> str:
    local = unmapped(local.partition("%")[0])
    usable = is_literal(local) and family_of(local) == family and not is_unspecified(local)
    return local if usable else own_address(family)


@dataclass(frozen=True, slots=True, kw_only=True)
class _BindCall:
    """A BIND that is being carried out."""

    call: Call
    permitted: tuple[StackOption, ...]
    policy: Policy
    outbound: Outbound
    client: ByteStream
    listeners: Listeners
    settings: BindSettings

    @property
    def client_socket(self) -> socket.socket | None:
        """The socket of the client's leg, if there is one."""
        return self.client.attribute(socket.socket)

    def stand_in_line(self, listener: BacklogListener) -> Binding:
        """Wait for a peer of a listener of the same session. Raises OperationFailed."""
        if listener.owner != self._owner():
            raise NotAllowed("a listener of another session")
        turn = listener.stand()
        asked = find_all(self.call.options, ListenBacklog)
        kinds = {type(option) for option in self.call.options} - {ListenBacklog}
        told = tuple(option for option in listener.options if type(option) in kinds)

        async def leave() -> None:
            turn.leave()

        return _ForOne(
            bound=listener.bound,
            options=(*told, *(replace(option, backlog=0) for option in asked)),
            wait=turn.wait,
            leave=leave,
            truth=self._truth_at_line,
        )

    async def listen(self) -> Binding:
        """Bind a place of its own. Raises OperationFailed."""
        self._judge_name()
        user = self._user()
        self.listeners.enter(user)
        try:
            binding = await self.outbound.bind(
                self.call.host,
                self.call.port,
                judge=self._judge,
                judge_peer=self._judge_peer,
                options=self._about_the_remote(),
                backlog=self._backlog(),
                holder=user,
                instead=self._instead(),
            )
        except BaseException:
            self.listeners.leave(user)
            raise
        held = _Held(
            binding,
            self.listeners,
            user,
            drawn=not self._named_port(),
            on_this_machine=self.outbound.resolves,
        )
        try:
            return self._for_many(binding, held) if self._granted(binding) else self._for_one(binding, held)
        except OSError as error:  # out of descriptors, for instance, while it is asked what is in force
            await held.aclose()
            raise GeneralFailure(f"after binding: {error.strerror or error}") from error
        except BaseException:
            await held.aclose()
            raise

    def _for_one(self, binding: Binding, held: "_Held") -> Binding:
        return _ForOne(
            bound=self._reachable(binding),
            options=self._first_truth(binding),
            wait=binding.accept,
            leave=held.aclose,
            truth=self._truth,
            seconds=self.settings.accept_timeout,
        )

    def _for_many(self, binding: Binding, held: "_Held") -> Binding:
        session = self.call.session

        def left() -> None:
            held.leave()
            self.listeners.remove(listener)
            if session is not None:
                session.remove_on_end(self.client.abort)

        listener = BacklogListener(
            binding,
            owner=self._owner(),
            bound=self._reachable(binding),
            options=self._first_truth(binding),
            backlog=self._granted(binding),
            announces=self.settings.announce,
            asked_for=self.call.host,
            on_close=left,
        )
        if session is not None:
            session.on_end(self.client.abort)  # who keeps the listener's connection closes the listener
        self.listeners.add(listener)
        return listener

    # What the rules say.

    def _judge_name(self) -> None:
        decision = self.policy.judge_name(
            self.call.identity,
            self.call.command,
            self.call.host,
            self._named_port(),
            final=not self.outbound.resolves,
        )
        if not decision.allowed:
            raise NotAllowed(decision.reason)

    def _judge(self, address: str, port: int) -> bool:
        call = self.call
        named = port and self._named_port()
        return self.policy.judge_address(call.identity, call.command, call.host, address, named).allowed

    def _named_port(self) -> int:
        """Return the port that the client has chosen; 0 for none, or one that was drawn for it before."""
        now = asyncio.get_running_loop().time()
        return 0 if self.listeners.remembers(self._user(), self.call.port, now) else self.call.port

    def _judge_peer(self, address: str, port: int) -> bool:
        if self.call.only_peer and unmapped(address) != unmapped(self.call.only_peer):
            return False
        return self.policy.judge_peer(self.call.identity, address, port).allowed

    # Whose it is.

    def _user(self) -> User:
        source = self.client.remote.host
        return self.call.identity.name, "" if self.call.identity.name else source_of(source) or source

    def _owner(self) -> object:
        """Return whose the listener is: the session's, or, where that is no condition, the user's."""
        return self._user() if self.call.session is None else self.call.session

    def _backlog(self) -> int:
        """Return how many peers may wait (§ Listen Backlog options: 0 outside a session)."""
        asked = find(self.permitted, ListenBacklog)
        if asked is None or (self.call.session is None and not self.settings.backlog_without_session):
            return 0
        return min(asked.backlog, self.settings.backlog)

    def _granted(self, binding: Binding) -> int:
        """Return the same, once it is bound: an upstream may have granted less, or, wrongly, more."""
        return min(binding.backlog, self._backlog())

    # What the client is told.

    def _reachable(self, binding: Binding) -> Endpoint:
        if not self.outbound.resolves:
            return binding.bound  # another proxy knows better
        return reachable(binding.bound, self.settings.advertise, self.client.local.host)

    def _instead(self) -> tuple[tuple[str, ...], ...]:
        if not self.outbound.resolves:
            return ()
        return places_instead(unmapped(self.call.host), self.settings.advertise, self.client.local.host)

    def _about_the_remote(self) -> tuple[StackOption, ...]:
        return tuple(
            option
            for option in self.permitted
            if option.leg & Leg.PROXY_REMOTE and not isinstance(option, ListenBacklog)
        )

    def _first_truth(self, binding: Binding) -> tuple[StackOption, ...]:
        if not self.call.options:
            return ()
        options = listening_truth(
            self.call.options,
            self.permitted,
            binding.options,
            client=self.client_socket,
            family=family_of(binding.bound.host) if self.outbound.resolves else None,
        )
        asked = find(self.call.options, ListenBacklog)
        return options if asked is None else (*options, ListenBacklog(backlog=self._granted(binding)))

    def _truth(self, accepted: AcceptedPeer) -> tuple[StackOption, ...]:
        """Return what is in force, now that somebody has come."""
        remote = accepted.stream.raw_socket if self.outbound.resolves else None
        return whole_truth(
            self.call.options, self.permitted, accepted.options, client=self.client_socket, remote=remote
        )

    def _truth_at_line(self, accepted: AcceptedPeer) -> tuple[StackOption, ...]:
        """Return the same for a peer of a listener that was bound with options of its own."""
        remote = accepted.stream.raw_socket
        if remote is None or not self.outbound.resolves:
            return self._truth(accepted)
        apply_options(remote, self.permitted, Leg.PROXY_REMOTE)
        told = effective_options(remote, self.permitted, Leg.PROXY_REMOTE)
        return self._truth(replace(accepted, options=told))


class _ForOne(Binding):
    """What one peer comes to."""

    def __init__(
        self,
        *,
        bound: Endpoint,
        options: tuple[StackOption, ...],
        wait: Callable[[], Awaitable[AcceptedPeer]],
        leave: Callable[[], Awaitable[None]],
        truth: Callable[[AcceptedPeer], tuple[StackOption, ...]],
        seconds: float | None = None,
    ) -> None:
        """`wait` waits for the peer, for so many `seconds` at most; `leave` stops waiting."""
        self._bound = bound
        self._options = options
        self._wait = wait
        self._leave = leave
        self._truth = truth
        self._seconds = seconds

    @property
    @override
    def bound(self) -> Endpoint:
        return self._bound

    @property
    @override
    def options(self) -> tuple[StackOption, ...]:
        return self._options

    @property
    @override
    def backlog(self) -> int:
        return 0

    @override
    async def accept(self) -> AcceptedPeer:
        """See `Binding.accept`. Raises ConnectionTimedOut."""
        try:
            async with asyncio.timeout(self._seconds):
                accepted = await self._wait()
        except TimeoutError as error:
            raise ConnectionTimedOut("nobody connected in time") from error
        try:
            return replace(accepted, options=self._truth(accepted))
        except OSError as error:
            accepted.stream.abort()
            raise GeneralFailure(f"after accepting: {error.strerror or error}") from error
        except BaseException:
            accepted.stream.abort()
            raise

    @override
    async def aclose(self) -> None:
        await self._leave()


class _Held:
    """A binding that is counted, and told to be on this machine where it is, until it is closed."""

    def __init__(
        self, binding: Binding, listeners: Listeners, user: User, *, drawn: bool, on_this_machine: bool
    ) -> None:
        self._binding = binding
        self._listeners = listeners
        self._user = user
        self._places = binding.places if on_this_machine else ()
        self._drawn = drawn and on_this_machine
        self._left = False
        self._remember()
        for place in self._places:
            listeners.places.add(place, udp=False)

    def leave(self) -> None:
        """Count it out, whoever closes it. Idempotent."""
        if self._left:
            return
        self._left = True
        self._remember()
        self._listeners.leave(self._user)
        for place in self._places:
            self._listeners.places.remove(place, udp=False)

    def _remember(self) -> None:
        if self._drawn:
            now = asyncio.get_running_loop().time()
            self._listeners.remember(self._user, self._binding.bound.port, now)

    async def aclose(self) -> None:
        """Count it out and close it. Idempotent."""
        self.leave()
        await self._binding.aclose()
