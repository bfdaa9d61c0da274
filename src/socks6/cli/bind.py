"""socks6 bind: a service of this machine, or one near it, published at the proxy.

Binds at the proxy, joins the peers that connect there to the service, and binds again when the proxy goes away.
"""

import asyncio
import logging
import signal
from argparse import Namespace
from collections.abc import Callable
from typing import Final

from socks6.cli import complain, describe
from socks6.cli.common import (
    NO_PROXY,
    named_client,
    named_host,
    notify,
    raise_descriptor_limit,
    run_loop,
)
from socks6.cli.log import set_up_logging
from socks6.cli.upstream import tell_upstream
from socks6.client.bind import BindListener
from socks6.client.client import Client
from socks6.client.monitor import UpstreamMonitor
from socks6.client.stream import ProxiedStream
from socks6.dataclass import dataclass
from socks6.errors import (
    AuthenticationFailed,
    CommandNotSupported,
    NotAllowed,
    OperationFailed,
    Socks6Error,
    VersionMismatch,
)
from socks6.message.address import is_unspecified
from socks6.net.resolve import FOR_ONE_NAME, Resolver
from socks6.net.scopes import on_failure
from socks6.net.stream import Endpoint
from socks6.net.transports.tcp import connect_tcp
from socks6.observability.logs import ACCESS_LOGGER, LOGGER
from socks6.relay.streams import StreamRelay

# seconds until the first attempt to publish again; each further one takes twice as long
FIRST_PAUSE_SECONDS: Final = 0.5
MAX_PAUSE_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 10.0  # a port that was kept for so long is no failed attempt
PERMANENT_ERRORS: Final = (
    AuthenticationFailed,
    CommandNotSupported,
    VersionMismatch,
)  # time heals none of these


def run(arguments: Namespace) -> int:
    """Publish until stopped by a signal."""
    client = named_client(arguments, NO_PROXY)
    host, port = arguments.listen_on
    publisher = Publisher(
        client=client,
        endpoint=Endpoint(named_host("--listen-on", host) if host else "", port),
        target=Endpoint(named_host("TARGET", arguments.target[0]), arguments.target[1]),
        backlog=arguments.backlog,
        connections=arguments.max_connections,
        connect_timeout=arguments.connect_timeout,
        drain_timeout=arguments.drain,
        monitor=UpstreamMonitor(client),
    )
    set_up_logging(arguments.verbosity or 0)
    raise_descriptor_limit()
    run_loop(_publish(client, publisher), "auto")
    return 0


async def _publish(client: Client, publisher: "Publisher") -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, publisher.stop)
    async with client:
        await publisher.run(ready=lambda: notify("READY=1"))


@dataclass(kw_only=True)
class Publisher:
    """Keeps a service published until it is stopped.

    `run` raises the error of a failed first attempt, while a user is still watching. Later attempts are repeated,
    since the proxy may be restarting; they ask for the same port again.
    """

    client: Client
    endpoint: Endpoint  # where the proxy shall listen, "" and 0 anywhere
    target: Endpoint
    backlog: int
    connections: int
    connect_timeout: float
    drain_timeout: float
    monitor: UpstreamMonitor | None = None  # prints through whom it goes, once that is known

    def __post_init__(self) -> None:
        self._room = asyncio.Semaphore(self.connections)
        self._plane = StreamRelay()
        self._log = logging.getLogger(LOGGER)
        self._access = logging.getLogger(ACCESS_LOGGER)
        self._public: Endpoint | None = None  # what was printed last
        self._resolver = Resolver(lifetimes=FOR_ONE_NAME)  # of the target
        self._publishing: asyncio.Task[None] | None = None
        self._peers: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._failure: Exception | None = None

    async def run(self, *, ready: Callable[[], None] = lambda: None) -> None:
        """Publish until `stop`; then let open connections end. Raises what cannot be helped by waiting."""
        try:
            async with asyncio.TaskGroup() as group:
                self._publishing = group.create_task(self._publish(group, ready), name="publish")
                if self._stopped:
                    self._publishing.cancel()
                telling = group.create_task(tell_upstream(self.monitor)) if self.monitor is not None else None
                await asyncio.wait([self._publishing])
                if telling is not None:
                    telling.cancel()
                if self._peers and self._failure is None:
                    await asyncio.wait(self._peers, timeout=self.drain_timeout)
                self._cut_off()
        finally:
            self._plane.close()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Accept no more peers, and end when the present ones have ended; at once when called again."""
        if self._stopped:
            self._cut_off()
        self._stopped = True
        if self._publishing is not None:
            self._publishing.cancel()

    async def _publish(self, group: asyncio.TaskGroup, ready: Callable[[], None]) -> None:
        """Publish, over and over; return when that is hopeless."""
        try:
            await self._go_on_publishing(group, ready)
        except (Socks6Error, OSError) as error:
            self._failure = error

    async def _go_on_publishing(self, group: asyncio.TaskGroup, ready: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        listener = await self._bind_first()
        ready()
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = loop.time()
            error = await self._take_peers(listener, group)
            if loop.time() - began > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            listener, pause = await self._bind_again(error, pause)

    async def _bind_first(self) -> BindListener:
        try:
            return await self._bind(self.endpoint)
        except NotAllowed:
            if self.endpoint.port:
                complain(
                    f"clients of the proxy may not name port {self.endpoint.port}: it takes --bind-ports there, or a"
                    " rule that allows bind and names the port; without a port (--listen-on) the proxy chooses one"
                )
            raise

    async def _bind(self, endpoint: Endpoint) -> BindListener:
        listener = await self.client.bind(endpoint.host or None, endpoint.port, backlog=self.backlog)
        public = self._reachable(listener.bound)
        if public != self._public:
            self._public = public
            host = f"[{public.host}]" if ":" in public.host else public.host
            print(f"published at {host}:{public.port}", flush=True)
        return listener

    async def _bind_again(self, error: Exception, pause: float) -> tuple[BindListener, float]:
        """Bind, however long it takes; return also the pause before the next attempt."""
        asked = Endpoint(self.endpoint.host, self.endpoint.port or (self._public.port if self._public else 0))
        while True:
            complain(f"{describe(error)}; publishing again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)
            try:
                listener = await self._bind(asked)
            except PERMANENT_ERRORS:
                raise
            except OperationFailed as refusal:  # the proxy is there: that port is in other use by now
                error, asked = refusal, self.endpoint
            except Socks6Error as trouble:
                error = trouble
            else:
                complain("published again")
                return listener, pause

    async def _take_peers(self, listener: BindListener, group: asyncio.TaskGroup) -> Exception:
        """Join every peer that connects; return the error that ended that."""
        async with listener:
            while True:
                await self._room.acquire()
                try:
                    with on_failure(self._room.release):
                        stream = await listener.accept()
                except Socks6Error as error:
                    return error
                task = group.create_task(self._join(stream), name="peer")
                self._peers.add(task)
                task.add_done_callback(self._peers.discard)

    async def _join(self, stream: ProxiedStream) -> None:
        """Relay between a peer and the service; one that cannot be reached is a reset for the peer."""
        try:
            try:
                target = await connect_tcp(
                    *self.target, timeout=self.connect_timeout, resolver=self._resolver
                )
            except OSError as error:
                self._log.warning(
                    "service not reached target=%s port=%d peer=%s reason=%r",
                    *self.target,
                    stream.peer.host,
                    describe(error),
                )
                return
            self._access.info("peer connected peer=%s port=%d", *stream.peer)
            result = await self._plane.relay(stream, target)
            self._access.info(
                "peer ended peer=%s port=%d in=%d out=%d ending=%s",
                *stream.peer,
                result.bytes_up,
                result.bytes_down,
                result.ending.name.lower(),
            )
        finally:
            stream.abort()
            self._room.release()

    def _cut_off(self) -> None:
        for task in self._peers:
            task.cancel()

    def _reachable(self, bound: Endpoint) -> Endpoint:
        """Return where others reach the port: a proxy that listens everywhere is also where we reach it."""
        return (
            Endpoint(self.client.url.host or bound.host, bound.port) if is_unspecified(bound.host) else bound
        )
