"""BIND: one peer after the other, or with a backlog (§ Handling BIND, § Listen Backlog options)."""

import asyncio
import contextlib
import logging
from collections import deque
from typing import Final

from typing_extensions import override

from socks6.client.backlog import BacklogBind
from socks6.client.listener import SHORT_BIND_SECONDS, BindListener, RequestFunction, retry_pause
from socks6.client.pushed import PushedStreamRouter
from socks6.client.request import await_peer
from socks6.client.requester import GrantedRequest
from socks6.client.stream import ProxiedStream
from socks6.errors import ConnectionTimedOut, OperationFailed, Socks6Error
from socks6.message.codes import Command
from socks6.message.dialect import DRAFT_12, Dialect
from socks6.message.options import ListenBacklog, Option, find
from socks6.message.requests import Request
from socks6.net.stream import Endpoint, Substream

REBIND_PAUSES_SECONDS: Final = (
    0.05,
    0.2,
    0.8,
)  # seconds that the proxy gets to free the port of the last peer


async def open_listener(
    ask: RequestFunction,
    place: Endpoint,
    options: tuple[Option, ...],
    backlog: int,
    *,
    eager: bool,
    push_router: PushedStreamRouter | None,
    dialect: Dialect = DRAFT_12,
) -> BindListener:
    """Have the proxy listen at a place; return the listener that suits its answer. Raises Socks6Error.

    `push_router` sorts the streams that the proxy opens for peers, where it can.
    """
    numbered = push_router.new_id() if push_router else ()
    wanted = (*options, ListenBacklog(backlog=backlog), *numbered) if backlog else options
    request = Request(command=Command.BIND, host=place.host, port=place.port, options=wanted)
    # § Listen Backlog options: provided that the request is part of a session
    granted = await ask(request, needs_session=backlog > 0 and dialect.backlog_needs_session)
    answer = find(granted.reply.options, ListenBacklog)
    substream = granted.stream.attribute(Substream)
    if backlog and answer is not None and answer.backlog:
        if push_router is not None and substream is not None:
            return push_router.open(granted, substream.connection, answer.backlog)
        return BacklogBind(ask, granted, options, answer.backlog, at_a_time=dialect.accept_binds)
    listener = SinglePeerBind(ask, granted, place.host, options, eager=eager and backlog > 0)
    if backlog:
        logging.getLogger("socks6").warning(
            "the proxy keeps no backlog bound=%s port=%d asked=%d: it takes one peer after the other,"
            " and refuses those who come in between; a socks6 server without users keeps one if it is told"
            " bind.backlog-without-session or sessions.anonymous",
            *listener.bound,
            backlog,
        )
    return listener


class SinglePeerBind(BindListener):
    """One BIND for each peer, the next one at the same port where the proxy lets it.

    `host` is what was asked for at first: the address in a reply may be one that the proxy cannot bind.
    `eager` asks for the next BIND as soon as there is a peer, so that the port is hardly ever closed; else it
    is asked for when the next peer is wanted.
    """

    def __init__(
        self,
        ask: RequestFunction,
        granted: GrantedRequest,
        host: str,
        options: tuple[Option, ...],
        *,
        eager: bool,
    ) -> None:
        super().__init__(granted)
        self._ask = ask
        self._host = host
        self._wire = options
        self._eager = eager
        self._waiting: GrantedRequest | None = granted  # the BIND whose peer is yet to come
        self._ready: deque[ProxiedStream] = deque()  # at most one: whose accept() was cancelled
        self._turn = asyncio.Lock()  # one caller reads; the others wait for theirs
        self._closing = asyncio.Event()
        self._asked_at = asyncio.get_running_loop().time()
        self._hasty = 0  # BINDs in a row that the proxy gave no time for a peer
        self._not_before = 0.0  # is the next one asked for

    @override
    async def aclose(self) -> None:
        self._closed = True
        self._closing.set()
        for stream in self._ready:
            stream.abort()
        self._ready.clear()
        self._drop()

    @override
    async def _accept(self) -> ProxiedStream:
        async with self._turn:
            if not self._ready:
                await self._fetch()
            self._check_open()
            return self._ready.popleft()

    async def _fetch(self) -> None:
        """Have a peer ready, and, if we are eager, the next BIND."""
        while not self._ready:
            await self._await_peer(self._waiting or await self._bind_again())
        if self._eager:
            await self._prepare()

    async def _await_peer(self, granted: GrantedRequest) -> None:
        """Have a peer ready, or else, when the proxy has waited long enough, no BIND any more."""
        try:
            reply = await await_peer(granted.conversation, granted.stream)
        except ConnectionTimedOut:
            self._drop()
            self._pace()
        except Socks6Error:
            self._drop()
            raise
        else:
            self._hasty = 0
            self._waiting = None
            self._ready.append(self._connected(granted, reply))

    def _pace(self) -> None:
        """Have a proxy that gives BINDs no time be asked less and less often."""
        now = asyncio.get_running_loop().time()
        self._hasty = self._hasty + 1 if now - self._asked_at < SHORT_BIND_SECONDS else 0
        self._not_before = now + retry_pause(self._hasty) if self._hasty else now

    async def _prepare(self) -> None:
        try:
            await self._bind_once()
        except Socks6Error as error:  # whoever wants the next peer tries again, and is told
            logging.getLogger("socks6").debug("no further BIND yet reason=%r", str(error))

    async def _bind_again(self) -> GrantedRequest:
        """Ask for the same port once more; a little later if it is not free yet, or the proxy in a hurry."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._not_before):
                await self._closing.wait()
        for pause in REBIND_PAUSES_SECONDS:
            try:
                return await self._bind_once()
            except OperationFailed:
                await asyncio.sleep(pause)
        return await self._bind_once()

    async def _bind_once(self) -> GrantedRequest:
        self._check_open()
        granted = await self._ask(
            Request(command=Command.BIND, host=self._host, port=self.bound.port, options=self._wire)
        )
        self._waiting = granted
        self._asked_at = asyncio.get_running_loop().time()
        if self._closed:
            self._drop()
        self._check_open()
        bound = Endpoint(granted.reply.host, granted.reply.port)
        if bound != self.bound:
            logging.getLogger("socks6").warning("the proxy listens elsewhere now bound=%s port=%d", *bound)
            self.bound = bound
        return granted

    def _drop(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.abort()
