"""BIND with a backlog: one connection keeps the port, others fetch its peers (§ Listen Backlog options)."""

import asyncio
import contextlib
from collections import deque
from copy import copy
from typing import Final

from typing_extensions import override

from socks6.client.listener import SHORT_BIND_SECONDS, BindListener, RequestFunction, retry_pause
from socks6.client.request import await_peer, failure_of
from socks6.client.requester import GrantedRequest
from socks6.client.stream import ProxiedStream
from socks6.errors import ConnectionTimedOut, ProxyUnreachable, Socks6Error
from socks6.message.codes import Command, ReplyCode
from socks6.message.options import Option
from socks6.message.requests import Request
from socks6.net.machine_io import next_event
from socks6.net.sockets import probe_when_idle
from socks6.protocol.events import PeerConnected

MAX_IN_FLIGHT: Final = 32  # BINDs that wait for peers, and peers that wait for accept(), whatever the backlog
MAX_FAILURES: Final = 5  # in a row, without one BIND that waits: then the proxy means it
KEEPALIVE_SECONDS: Final = 30  # a proxy that is gone without a word is missed after four times as long


class BacklogBind(BindListener):
    """Keeps accept-BINDs waiting at the proxy, as many as the backlog allows, so that peers are fetched at once.

    The connection of the first BIND stays open and is watched: when it ends, so does the port. The proxy may
    announce each peer on it too (dialect 212), which adds nothing: whoever waits is told on its own connection.
    `at_a_time` bounds the accept-BINDs for a proxy that takes fewer than the backlog.
    """

    def __init__(
        self,
        ask: RequestFunction,
        granted: GrantedRequest,
        options: tuple[Option, ...],
        backlog: int,
        *,
        at_a_time: int | None = None,
    ) -> None:
        super().__init__(granted)
        self.backlog = backlog
        self._ask = ask
        self._first = granted
        # the bind address and port supplied by the proxy in the initial Operation Reply
        self._request = Request(
            command=Command.BIND, host=self.bound.host, port=self.bound.port, options=options
        )
        if granted.stream.raw_socket is not None:
            probe_when_idle(granted.stream.raw_socket, KEEPALIVE_SECONDS)
        in_flight = min(backlog, at_a_time or MAX_IN_FLIGHT, MAX_IN_FLIGHT)
        self._room = asyncio.Semaphore(in_flight)
        self._ready: deque[ProxiedStream] = deque()
        self._changed = asyncio.Event()  # somebody is ready, or all is over
        self._announced = asyncio.Event()
        self._failure: Exception | None = None
        self._waiting = 0  # accept-BINDs that the proxy has granted
        self._running = asyncio.create_task(self._run(in_flight), name="socks6 backlog")  # until `aclose`

    @override
    async def aclose(self) -> None:
        self._closed = True
        self._first.abort()
        self._running.cancel()
        self._changed.set()
        try:
            await asyncio.wait([self._running])
        finally:
            while self._ready:
                self._ready.popleft().abort()

    @override
    async def _accept(self) -> ProxiedStream:
        while not self._ready:
            self._check_open()
            if self._failure is not None:
                raise copy(self._failure) from self._failure
            self._changed.clear()
            await self._changed.wait()
        self._room.release()
        return self._ready.popleft()

    async def _run(self, in_flight: int) -> None:
        """Fetch peers until the proxy ends the port, or we do."""
        try:
            async with asyncio.TaskGroup() as group:
                fetchers = [
                    group.create_task(self._fetch_peers(), name="socks6 accept") for _ in range(in_flight)
                ]
                watching = group.create_task(self._watch(), name="socks6 first BIND")
                await asyncio.wait([*fetchers, watching], return_when=asyncio.FIRST_COMPLETED)
                for task in (*fetchers, watching):
                    task.cancel()
        finally:
            self._fail(ProxyUnreachable("the port was given up"))
            self._first.abort()
            self._changed.set()

    async def _watch(self) -> None:
        """Follow the first connection to its end, and keep the reason."""
        try:
            while True:
                event = await next_event(self._first.conversation, self._first.stream, exact=True)
                if not isinstance(event, PeerConnected):
                    reason = getattr(event, "reason", "its connection is over")
                    self._fail(ProxyUnreachable(f"the proxy has ended the port: {reason}"))
                    return
                if event.reply.code != ReplyCode.SUCCEEDED:
                    self._fail(failure_of(event.reply))
                    return
                self._announced.set()
        except OSError as error:
            self._fail(ProxyUnreachable(f"the connection that keeps the port broke: {error}"))

    async def _fetch_peers(self) -> None:
        """Have one accept-BIND wait at the proxy, over and over; return when the proxy takes none any more."""
        failures, reason = 0, Socks6Error()
        hasty = 0  # BINDs in a row that the proxy gave no time for a peer
        now = asyncio.get_running_loop().time
        while failures < MAX_FAILURES or self._waiting:
            await self._room.acquire()
            stream = None
            asked_at = now()
            try:
                stream = await self._fetch_peer()
            except Socks6Error as error:
                failures, reason = failures + 1, error
            else:
                failures = 0
                hasty = hasty + 1 if stream is None and now() - asked_at < SHORT_BIND_SECONDS else 0
            if stream is None:
                self._room.release()
            else:
                self._ready.append(stream)
                self._changed.set()
            if failures or hasty:
                await self._pause(failures + hasty)
        self._fail(reason)

    async def _fetch_peer(self) -> ProxiedStream | None:
        """Return a peer's stream; None when the proxy has waited long enough for one."""
        granted = await self._ask(self._request, within=self._first)
        self._waiting += 1
        try:
            reply = await await_peer(granted.conversation, granted.stream)
        except ConnectionTimedOut:
            granted.abort()
            return None
        except BaseException:
            granted.abort()
            raise
        finally:
            self._waiting -= 1
        return self._connected(granted, reply)

    async def _pause(self, attempts: int) -> None:
        """Wait before asking again; less if a peer is announced meanwhile."""
        self._announced.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(retry_pause(attempts)):
                await self._announced.wait()

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
