"""BIND: the rules judge the endpoint, the outbound binds it, the rules judge each peer (§ Handling BIND)."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import ConnectionTimedOut, NotAllowed
from socks6.message.address import is_literal, is_unspecified
from socks6.message.codes import Leg
from socks6.message.options import ListenBacklog, StackOption, find, find_all
from socks6.net.bind import LOOPBACK, family_of, unmapped
from socks6.net.local_addresses import interface_addresses
from socks6.net.scopes import on_failure
from socks6.net.stackopts.table import apply_options, effective_options
from socks6.net.stream import AcceptedPeer, Binding, ByteStream, Endpoint, Outbound
from socks6.policy.rules import Policy
from socks6.policy.stack import permit_options
from socks6.proxy.backlog import BacklogListener, BindingRegistry
from socks6.proxy.commands import (
    ProxyRequest,
    default_host,
    judge_host,
    listening_option_answers,
    option_answers,
    options_of,
    reachable,
    undone_on_failure,
)
from socks6.proxy.limits import holder_of
from socks6.proxy.settings import BindSettings

MAX_BIND_ADDRESSES: Final = 32  # sockets of one BIND; a machine with more has one for all of them


def places_instead(host: str, advertised: tuple[str, ...], local: str) -> tuple[tuple[str, ...], ...]:
    """Return what to bind for an unspecified host: what is advertised, else every address but loopback.

    Behind NAT this machine does not have what is advertised, and then its own addresses are bound, too: all of them, as
    what reaches others from one of them is to come back there (active FTP). Only a client that came in by
    loopback gets that as well.
    """
    if not is_unspecified(host):
        return ()
    family = family_of(host)
    loopback = (LOOPBACK[family],) if _is_loopback(unmapped(local)) else ()
    try:
        own = _distinct(default_host(family, local), *interface_addresses(family), *loopback)
    except OSError:
        return ()
    if len(own) > MAX_BIND_ADDRESSES:
        return ()
    literal = (one for one in advertised if is_literal(one) and family_of(one) == family)
    return (_distinct(*literal, *loopback), own) if advertised else (own,)


def _distinct(*hosts: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(hosts))


def _is_loopback(literal: str) -> bool:
    return literal == "::1" or literal.startswith("127.")


@dataclass(kw_only=True)
class BindOperation:
    """A BIND that is being carried out, with what the policy permits of its stack options."""

    request: ProxyRequest
    policy: Policy
    outbound: Outbound
    client: ByteStream  # the client's connection
    bindings: BindingRegistry
    settings: BindSettings

    def __post_init__(self) -> None:
        request = self.request
        self._permitted = permit_options(self.policy.stack, request.identity, request.options)
        self._client_socket = self.client.attribute(socket.socket)
        self._holder = holder_of(request.identity, self.client.remote.host)
        # Whose listener it is: the session's, or, where the draft's condition is waived, the user's.
        self._owner: object = request.session or self._holder
        drawn = self.bindings.remembers(self._holder, request.port, asyncio.get_running_loop().time())
        # The port that the client has chosen; 0 for none, or one that was drawn for it before.
        self._named_port = 0 if drawn else request.port

    async def run(self) -> Binding:
        """Return a BacklogListener where a backlog is granted, for the caller to run; else a binding for one peer.

        That is a binding of its own, or waits at the BacklogListener that is there. Raises OperationFailed.
        """
        if self._client_socket is not None:
            apply_options(self._client_socket, self._permitted, Leg.CLIENT_PROXY)
        place = Endpoint(self.request.host, self.request.port)
        listener = self.bindings.find(place) if place.port else None
        return await self._listen() if listener is None else self._wait_at(listener)

    def _wait_at(self, listener: BacklogListener) -> Binding:
        """Return what waits for a peer of a listener of the same session. Raises OperationFailed."""
        if listener.owner != self._owner:
            raise NotAllowed("a listener of another session")
        waiter = listener.enqueue()
        backlogs = find_all(self.request.options, ListenBacklog)
        kinds = {type(option) for option in self.request.options} - {ListenBacklog}
        options = tuple(option for option in listener.options if type(option) in kinds)

        async def leave() -> None:
            waiter.leave()

        return _SinglePeerBinding(
            bound=listener.bound,
            options=(*options, *(replace(option, backlog=0) for option in backlogs)),
            wait=waiter.wait,
            leave=leave,
            peer_options=self._peer_options_at_listener,
        )

    async def _listen(self) -> Binding:
        """Open a binding of its own. Raises OperationFailed."""
        request, bindings = self.request, self.bindings
        resolves = self.outbound.resolves
        judge_host(replace(request, port=self._named_port), self.policy, final=not resolves)
        instead: tuple[tuple[str, ...], ...] = ()
        if resolves:
            host, advertised = unmapped(request.host), self.settings.advertise
            instead = places_instead(host, advertised, self.client.local.host)
        bindings.limits.enter(request.identity, self.client.remote.host)
        with on_failure(lambda: bindings.limits.leave(self._holder)):
            binding = await self.outbound.bind(
                request.host,
                request.port,
                judge=self._judge,
                judge_peer=self._judge_peer,
                options=tuple(
                    option
                    for option in options_of(self._permitted, Leg.PROXY_REMOTE)
                    if not isinstance(option, ListenBacklog)
                ),
                backlog=self._backlog(),
                holder=self._holder,
                instead=instead,
            )
        leave = bindings.hold(binding, self._holder, drawn=not self._named_port, on_this_machine=resolves)

        async def close() -> None:
            leave()
            await binding.aclose()

        async with undone_on_failure("after binding", close):
            if self._granted(binding):
                return self._backlog_listener(binding, leave)
            return _SinglePeerBinding(
                bound=self._reachable(binding),
                options=self._listening_options(binding),
                wait=binding.accept,
                leave=close,
                peer_options=self._peer_options,
                seconds=self.settings.accept_timeout,
            )

    def _backlog_listener(self, binding: Binding, leave: Callable[[], None]) -> Binding:
        session = self.request.session

        def closed() -> None:
            leave()
            self.bindings.remove(listener)
            if session is not None:
                session.remove_on_end(self.client.abort)

        listener = BacklogListener(
            binding,
            owner=self._owner,
            bound=self._reachable(binding),
            options=self._listening_options(binding),
            backlog=self._granted(binding),
            announces=self.settings.announce,
            asked_for=self.request.host,
            on_close=closed,
        )
        if session is not None:
            session.on_end(self.client.abort)  # the listener's own connection keeps it open
        self.bindings.add(listener)
        return listener

    def _judge(self, address: str, port: int) -> bool:
        request = self.request
        port = port and self._named_port
        return self.policy.judge_address(
            request.identity, request.command, request.host, address, port
        ).allowed

    def _judge_peer(self, address: str, port: int) -> bool:
        only = self.request.only_peer
        if only and unmapped(address) != unmapped(only):
            return False
        return self.policy.judge_peer(self.request.identity, address, port).allowed

    def _backlog(self) -> int:
        """Return how many peers may wait (§ Listen Backlog options: 0 outside a session)."""
        asked = find(self._permitted, ListenBacklog)
        if asked is None or (self.request.session is None and not self.settings.backlog_without_session):
            return 0
        return min(asked.backlog, self.settings.backlog)

    def _granted(self, binding: Binding) -> int:
        """Return the same, once it is bound: an upstream may have granted less, or, wrongly, more."""
        return min(binding.backlog, self._backlog())

    def _reachable(self, binding: Binding) -> Endpoint:
        if not self.outbound.resolves:
            return binding.bound  # another proxy knows better
        return reachable(binding.bound, self.settings.advertise, self.client.local.host)

    def _listening_options(self, binding: Binding) -> tuple[StackOption, ...]:
        """Return what is in force before a peer has come."""
        asked = self.request.options
        if not asked:
            return ()
        options = listening_option_answers(
            asked,
            self._permitted,
            binding.options,
            client=self._client_socket,
            family=family_of(binding.bound.host) if self.outbound.resolves else None,
        )
        if find(asked, ListenBacklog) is None:
            return options
        return (*options, ListenBacklog(backlog=self._granted(binding)))

    def _peer_options(self, accepted: AcceptedPeer) -> tuple[StackOption, ...]:
        """Return what is in force once a peer has come."""
        remote = accepted.stream.raw_socket if self.outbound.resolves else None
        return option_answers(
            self.request.options, self._permitted, accepted.options, client=self._client_socket, remote=remote
        )

    def _peer_options_at_listener(self, accepted: AcceptedPeer) -> tuple[StackOption, ...]:
        """Return the same for a peer of a listener that was bound with options of its own."""
        remote = accepted.stream.raw_socket
        if remote is None or not self.outbound.resolves:
            return self._peer_options(accepted)
        apply_options(remote, self._permitted, Leg.PROXY_REMOTE)
        options = effective_options(remote, self._permitted, Leg.PROXY_REMOTE)
        return self._peer_options(replace(accepted, options=options))


@dataclass(slots=True, kw_only=True)
class _SinglePeerBinding(Binding):
    """Accepts one peer: `wait` within `seconds`; `leave` stops waiting."""

    bound: Endpoint
    options: tuple[StackOption, ...]
    wait: Callable[[], Awaitable[AcceptedPeer]]
    leave: Callable[[], Awaitable[None]]
    peer_options: Callable[[AcceptedPeer], tuple[StackOption, ...]]
    seconds: float | None = None
    backlog: int = 0

    @override
    async def accept(self) -> AcceptedPeer:
        """See `Binding.accept`. Raises ConnectionTimedOut."""
        try:
            async with asyncio.timeout(self.seconds):
                accepted = await self.wait()
        except TimeoutError as error:
            raise ConnectionTimedOut("no peer connected in time") from error
        async with undone_on_failure("after accepting", accepted.stream.abort):
            return replace(accepted, options=self.peer_options(accepted))

    @override
    async def aclose(self) -> None:
        await self.leave()
