"""A place that stays bound, and those of its session who wait there for a peer (§ Listen Backlog options)."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from typing_extensions import override

from socks6.errors import GeneralFailure
from socks6.message.address import is_literal, without_trailing_dot
from socks6.message.options import StackOption
from socks6.net.bind import ANYWHERE, family_of, unmapped
from socks6.net.stream import AcceptedPeer, Binding, Endpoint

Announce: TypeAlias = Callable[[AcceptedPeer], Awaitable[None]]  # tells of a peer before it is let go of


class BacklogListener(Binding):
    """Listens for as long as its owner has `run` run, and gives peers to those who wait in line.

    Whoever wants a peer stands in line (`stand`), or just calls `accept` over and over: accept-BINDs do the
    one, what pushes peers to streams of its own the other. First come, first served. Nobody is accepted before
    somebody wants him: peers wait in the system's queue, which is as long as the backlog. Only where they
    are announced are they accepted ahead, again no more than the backlog.
    """

    def __init__(
        self,
        binding: Binding,
        *,
        owner: object,
        bound: Endpoint,
        options: tuple[StackOption, ...],
        backlog: int,
        announces: bool,
        asked_for: str,
        on_close: Callable[[], None],
    ) -> None:
        """`bound` is what clients are told, `asked_for` the host that the client named; `on_close` runs once."""
        self.owner: Final = owner
        self.announces: Final = announces
        self._binding = binding
        self._bound = bound
        self._options = options
        self._backlog = backlog
        self._hosts = _spellings(binding.bound.host, bound.host, asked_for)
        self._line: dict[Turn, None] = {}
        self._ahead: deque[AcceptedPeer] = deque()
        self._changed = asyncio.Event()  # somebody stands in line, or a peer was taken
        self._room = asyncio.Event()  # somebody has left the line, or there is none any more
        self._on_close = on_close
        self._closed = False

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
        return self._backlog

    @property
    def port(self) -> int:
        """Where it listens, and what it is found by."""
        return self._binding.bound.port

    def is_at(self, host: str) -> bool:
        """Tell whether `host` is one of the names that the place has."""
        return _canonical(host) in self._hosts

    def stand(self) -> "Turn":
        """Stand in line for a peer. Raises GeneralFailure when the line is as long as the backlog."""
        if self._closed:
            raise GeneralFailure("the listener is gone")
        if len(self._line) >= self.backlog:
            raise GeneralFailure(f"{len(self._line)} wait for peers already")
        turn = Turn(self)
        if self._ahead:
            turn.serve(self._ahead.popleft())
        else:
            self._line[turn] = None
        self._changed.set()
        return turn

    @override
    async def accept(self) -> AcceptedPeer:
        """Wait in line for the next peer, once the line has room. Raises GeneralFailure when there will be none."""
        while len(self._line) >= self.backlog and not self._closed:
            self._room.clear()
            await self._room.wait()
        turn = self.stand()
        try:
            return await turn.wait()
        finally:
            turn.leave()

    async def run(self, announce: Announce | None = None) -> None:
        """Serve the line until cancelled. Raises OperationFailed when listening comes to its end."""
        while True:
            while not self._wants(ahead=announce is not None):
                self._changed.clear()
                await self._changed.wait()
            accepted = await self._binding.accept()
            self.give(accepted)
            if announce is not None:
                await announce(accepted)

    def give(self, accepted: AcceptedPeer) -> None:
        """Have whoever is first in line get a peer; nobody there, it waits here."""
        if self._closed:
            accepted.stream.abort()
        elif self._line:
            turn = next(iter(self._line))
            self.forget(turn)
            turn.serve(accepted)
        else:
            self._ahead.append(accepted)

    def forget(self, turn: "Turn") -> None:
        """Have somebody stand in line no more."""
        self._line.pop(turn, None)
        self._room.set()

    @override
    async def aclose(self) -> None:
        """Free the port; who stands in line is told, peers not taken are reset. Idempotent."""
        if not self._closed:
            self._closed = True
            self._on_close()
        line, self._line = self._line, {}
        self._room.set()
        for turn in line:
            turn.disappoint()
        while self._ahead:
            self._ahead.pop().stream.abort()
        await self._binding.aclose()

    def _wants(self, *, ahead: bool) -> bool:
        return bool(self._line) or (ahead and len(self._ahead) < self.backlog)


class Turn:
    """Somebody's place in the line for a peer."""

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
        """Stand in line no more; a peer that was not taken is the next one's. Idempotent."""
        self._listener.forget(self)
        if self._peer.cancel() or self._taken:
            return
        self._taken = True
        if not self._peer.cancelled() and self._peer.exception() is None:
            self._listener.give(self._peer.result())

    def serve(self, accepted: AcceptedPeer) -> None:
        """Be given a peer."""
        if self._peer.done():  # cancelled with whoever waited for it, and not out of the line yet
            self._listener.give(accepted)
        else:
            self._peer.set_result(accepted)

    def disappoint(self) -> None:
        """Be told that there will be none."""
        if not self._peer.done():
            self._peer.set_exception(GeneralFailure("the listener is gone"))
            self._peer.exception()  # nobody may ever come to ask, which is nothing to complain of


def _canonical(host: str) -> str:
    return without_trailing_dot(unmapped(host).lower())


def _spellings(*hosts: str) -> frozenset[str]:
    """Return what a place may be called: its addresses and names, and none in particular of its family."""
    known = frozenset(map(_canonical, hosts))
    return known | {ANYWHERE[family_of(host)] for host in known if is_literal(host)}
