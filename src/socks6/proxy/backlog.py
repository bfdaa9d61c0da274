"""Bindings of clients, and those that stay bound, where requests wait for peers (§ Listen Backlog options)."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, field
from typing import Final, TypeAlias

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import GeneralFailure
from socks6.message.address import is_literal, without_trailing_dot
from socks6.message.options import StackOption
from socks6.net.bind import ANYWHERE, family_of, unmapped
from socks6.net.stream import AcceptedPeer, Binding, Endpoint
from socks6.proxy.limits import Holder, HolderLimits
from socks6.proxy.own_machine import LocalEndpoints
from socks6.proxy.settings import BindSettings

# for which a port may be named by the user that it was drawn for, once it is free again
DRAWN_SECONDS: Final = 600.0
MAX_DRAWN: Final = 4096  # ports that are remembered; beyond, the oldest are forgotten

Announce: TypeAlias = Callable[[AcceptedPeer], Awaitable[None]]  # announces a peer to the client


class BindingRegistry:
    """Counts what is bound, in all and by holder; finds the listeners that stay bound."""

    def __init__(self, settings: BindSettings, endpoints: LocalEndpoints | None = None) -> None:
        """`endpoints` collects what is bound on this machine."""
        self.endpoints: Final = LocalEndpoints() if endpoints is None else endpoints
        self.limits: Final = HolderLimits(
            "listeners",
            total=settings.listeners,
            per_holder=settings.listeners_per_user,
            own="bindings",
            local_clients_too=True,
        )
        self._by_port: dict[int, list[BacklogListener]] = {}
        self._drawn: dict[tuple[Holder, int], float] = {}  # until when, the oldest first

    def hold(
        self, binding: Binding, holder: Holder, *, drawn: bool, on_this_machine: bool
    ) -> Callable[[], None]:
        """Note a binding that `limits` counted; return what counts it out again, which is idempotent.

        `drawn` is whether its port was not the client's choice.
        """
        endpoints = binding.endpoints if on_this_machine else ()
        left = False

        def remember() -> None:
            if drawn and on_this_machine:
                self.remember(holder, binding.bound.port, asyncio.get_running_loop().time())

        def leave() -> None:
            nonlocal left
            if left:
                return
            left = True
            remember()
            self.limits.leave(holder)
            for endpoint in endpoints:
                self.endpoints.remove(endpoint, udp=False)

        remember()
        for endpoint in endpoints:
            self.endpoints.add(endpoint, udp=False)
        return leave

    def remember(self, holder: Holder, port: int, now: float) -> None:
        """Let a holder name again a port that was drawn for it: it sends a BIND for each peer."""
        self._drawn.pop((holder, port), None)
        while len(self._drawn) >= MAX_DRAWN:
            del self._drawn[next(iter(self._drawn))]
        self._drawn[holder, port] = now + DRAWN_SECONDS

    def remembers(self, holder: Holder, port: int, now: float) -> bool:
        """Return whether a port was drawn for a holder of late."""
        return self._drawn.get((holder, port), now) > now

    def add(self, listener: "BacklogListener") -> None:
        """Make a listener known to `find`."""
        self._by_port.setdefault(listener.port, []).append(listener)

    def remove(self, listener: "BacklogListener") -> None:
        """Take it back. Idempotent."""
        there = self._by_port.get(listener.port, [])
        if listener in there:
            there.remove(listener)
        if not there:
            self._by_port.pop(listener.port, None)

    def find(self, endpoint: Endpoint) -> "BacklogListener | None":
        """Return the listener at an endpoint, under any of its names."""
        there = self._by_port.get(endpoint.port, ())
        return next((listener for listener in there if listener.is_at(endpoint.host)), None)


@dataclass(slots=True, eq=False)
class BacklogListener(Binding):
    """Listens for as long as its owner runs `run`, and gives peers to those that wait, first come, first served.

    Accept-BINDs `enqueue` a waiter each; what pushes peers to streams of their own calls `accept` over and over. No peer
    is accepted before it is waited for: peers stay in the system's queue, which is as long as the backlog. Only where
    they are announced are they accepted ahead, again no more than the backlog.
    """

    _binding: Binding
    _: KW_ONLY
    owner: object
    bound: Endpoint  # where remotes reach it
    options: tuple[StackOption, ...]
    backlog: int
    announces: bool
    asked_for: str  # the host that the client named
    on_close: Callable[[], None]  # called once
    _waiters: dict["AcceptWaiter", None] = field(default_factory=dict, init=False)
    _ahead: deque[AcceptedPeer] = field(default_factory=deque, init=False)
    # there is a new waiter, or a peer was taken
    _changed: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    # a waiter has left, or the listener is closed
    _room: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _closed: bool = field(default=False, init=False)

    @property
    def port(self) -> int:
        """Where it listens, and what it is found by."""
        return self._binding.bound.port

    def is_at(self, host: str) -> bool:
        """Return whether `host` is one of the names that the binding has."""
        return _canonical(host) in _spellings(self._binding.bound.host, self.bound.host, self.asked_for)

    def enqueue(self) -> "AcceptWaiter":
        """Wait for a peer, behind others. Raises GeneralFailure when as many wait as the backlog allows."""
        if self._closed:
            raise GeneralFailure("the listener is gone")
        if len(self._waiters) >= self.backlog:
            raise GeneralFailure(f"{len(self._waiters)} wait for peers already")
        waiter = AcceptWaiter(self)
        if self._ahead:
            waiter.resolve(self._ahead.popleft())
        else:
            self._waiters[waiter] = None
        self._changed.set()
        return waiter

    @override
    async def accept(self) -> AcceptedPeer:
        """Wait for the next peer, once another may wait. Raises GeneralFailure when there will be none."""
        while len(self._waiters) >= self.backlog and not self._closed:
            self._room.clear()
            await self._room.wait()
        waiter = self.enqueue()
        try:
            return await waiter.wait()
        finally:
            waiter.leave()

    async def run(self, announce: Announce | None = None) -> None:
        """Accept peers for the waiters until cancelled. Raises OperationFailed when listening comes to its end."""
        while True:
            while not self._waiters and (announce is None or len(self._ahead) >= self.backlog):
                self._changed.clear()
                await self._changed.wait()
            accepted = await self._binding.accept()
            self.give(accepted)
            if announce is not None:
                await announce(accepted)

    def give(self, accepted: AcceptedPeer) -> None:
        """Give a peer to the first waiter; if there is none, keep it."""
        if self._closed:
            accepted.stream.abort()
        elif self._waiters:
            waiter = next(iter(self._waiters))
            self.forget(waiter)
            waiter.resolve(accepted)
        else:
            self._ahead.append(accepted)

    def forget(self, waiter: "AcceptWaiter") -> None:
        """Take a waiter out of the queue. Idempotent."""
        self._waiters.pop(waiter, None)
        self._room.set()

    @override
    async def aclose(self) -> None:
        """Free the port; waiters fail, peers not taken are reset. Idempotent."""
        if not self._closed:
            self._closed = True
            self.on_close()
        waiters, self._waiters = self._waiters, {}
        self._room.set()
        for waiter in waiters:
            waiter.fail()
        while self._ahead:
            self._ahead.pop().stream.abort()
        await self._binding.aclose()


class AcceptWaiter:
    """One request's turn in a listener's queue for a peer."""

    def __init__(self, listener: BacklogListener) -> None:
        self._listener = listener
        self._peer: asyncio.Future[AcceptedPeer] = asyncio.get_running_loop().create_future()
        self._taken = False

    async def wait(self) -> AcceptedPeer:
        """Wait for the peer. Raises GeneralFailure when there will be none."""
        accepted = await self._peer
        self._taken = True
        return accepted

    def leave(self) -> None:
        """Wait no more; a peer that was not taken goes to the next waiter. Idempotent."""
        self._listener.forget(self)
        if self._peer.cancel() or self._taken:
            return
        self._taken = True
        if not self._peer.cancelled() and self._peer.exception() is None:
            self._listener.give(self._peer.result())

    def resolve(self, accepted: AcceptedPeer) -> None:
        """End the wait with a peer."""
        if self._peer.done():  # cancelled with its task, and not out of the queue yet
            self._listener.give(accepted)
        else:
            self._peer.set_result(accepted)

    def fail(self) -> None:
        """End the wait without a peer."""
        if not self._peer.done():
            self._peer.set_exception(GeneralFailure("the listener is gone"))
            self._peer.exception()  # retrieved, since the waiting task may never do so


def _canonical(host: str) -> str:
    return without_trailing_dot(unmapped(host).lower())


def _spellings(*hosts: str) -> frozenset[str]:
    """Return what a binding may be called: its addresses and names, and the unspecified address of its family."""
    known = frozenset(map(_canonical, hosts))
    return known | {ANYWHERE[family_of(host)] for host in known if is_literal(host)}
