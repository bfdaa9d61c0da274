"""socks6 forward: a port of this machine that leads to one host behind a proxy."""

import asyncio
import functools
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias

from socks6.cli import complain, describe
from socks6.cli.common import NO_PROXY, named_client, named_host, raise_descriptor_limit, run_loop
from socks6.cli.forward_udp import UdpPortForwarder
from socks6.cli.log import set_up_logging
from socks6.cli.upstream import watch_upstream
from socks6.client.monitor import UpstreamMonitor
from socks6.errors import Socks6Error
from socks6.net.accept import ConnectionLimits, accept_streams
from socks6.net.eager import EagerTaskGroup
from socks6.net.stream import ByteStream, Endpoint, Listener
from socks6.net.transports.tcp import listen_tcp
from socks6.observability.logs import LogObserver
from socks6.relay.streams import RelaySettings, StreamRelay
from socks6.telemetry import EventHub, Observer

ForwardFunction: TypeAlias = Callable[[Callable[[Endpoint], None]], Coroutine[Any, Any, None]]

TCP_IDLE_SECONDS: Final = 7440.0  # as a proxy has it (RFC 5382)
UDP_IDLE_SECONDS: Final = 300.0  # as RFC 4787 advises for NATs
CONNECTIONS: Final = 1000
UDP_PEERS: Final = 150  # fewer than a proxy of ours lets a user have associations


def run(arguments: Namespace) -> int:
    """Forward until stopped by a signal."""
    monitor = UpstreamMonitor(named_client(arguments, NO_PROXY))
    remote = Endpoint(named_host("REMOTE", arguments.remote[0]), arguments.remote[1])
    local = Endpoint(named_host("LOCAL", arguments.local[0]), arguments.local[1])
    events = EventHub([LogObserver(set_up_logging(0), log_destinations=False)])
    monitor.report_to(events)
    raise_descriptor_limit()
    if arguments.udp:
        forwarder = UdpPortForwarder(
            monitor,
            remote,
            idle=UDP_IDLE_SECONDS if arguments.idle_timeout is None else arguments.idle_timeout,
            peers=arguments.max_peers or UDP_PEERS,
            path=arguments.udp_path,
        )
        run_loop(_until_stopped(monitor, functools.partial(forwarder.run, local)), "auto")
    else:
        idle = TCP_IDLE_SECONDS if arguments.idle_timeout is None else arguments.idle_timeout
        streams = StreamForwarder(
            monitor, remote, idle=idle, peers=arguments.max_peers or CONNECTIONS, observer=events
        )
        run_loop(_until_stopped(monitor, functools.partial(streams.run, local)), "auto")
    return 0


def listening(endpoint: Endpoint) -> None:
    """Print where it listens, with the real port."""
    host, port = endpoint
    print(f"listening on {f'[{host}]' if ':' in host else host}:{port}", file=sys.stderr, flush=True)


class StreamForwarder:
    """Connects each client of a local port to one host, through a proxy."""

    def __init__(
        self, monitor: UpstreamMonitor, remote: Endpoint, *, idle: float, peers: int, observer: Observer
    ) -> None:
        self._monitor = monitor
        self._remote = remote
        self._idle = idle
        self._limits = ConnectionLimits(total=peers)
        self._events = observer

    async def run(self, local: Endpoint, listening: Callable[[Endpoint], None]) -> None:
        """Forward until cancelled; `listening` is called with each endpoint. Raises OSError if it cannot listen there."""
        listeners = await listen_tcp(local.host, local.port)
        relay = StreamRelay(RelaySettings(idle_timeout=self._idle))
        try:
            async with EagerTaskGroup() as clients, asyncio.TaskGroup() as group:
                for listener in listeners:
                    group.create_task(self._accept(listener, relay, clients))
                    listening(listener.local)
        finally:
            for listener in listeners:
                await listener.aclose()
            relay.close()

    async def _accept(self, listener: Listener, relay: StreamRelay, group: EagerTaskGroup) -> None:
        async def forward(stream: ByteStream) -> None:
            await self._forward(stream, relay)

        await accept_streams(
            listener,
            forward,
            limits=self._limits,
            observer=self._events,
            group=group,
            poller=relay.shared_poller(),
        )

    async def _forward(self, stream: ByteStream, relay: StreamRelay) -> None:
        try:
            with self._monitor.watching():
                remote = await self._monitor.client.connect(*self._remote)
        except (Socks6Error, OSError) as error:
            complain(f"{stream.remote.host} port {stream.remote.port}: {describe(error)}")
            stream.abort()
            return
        await relay.relay(stream, remote)


async def _until_stopped(monitor: UpstreamMonitor, forward: ForwardFunction) -> None:
    """Forward until SIGINT or SIGTERM, which are no failure; say through whom once it listens."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()

    def announce(endpoint: Endpoint) -> None:
        listening(endpoint)
        ready.set()

    async def watch() -> None:
        await ready.wait()
        await watch_upstream(monitor)

    failures: list[BaseException] = []
    try:
        async with monitor.client, asyncio.TaskGroup() as group:
            task = group.create_task(forward(announce), name="forward")
            watching = group.create_task(watch(), name="upstream")
            task.add_done_callback(lambda _: watching.cancel())
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, task.cancel)
    except* OSError as group_of_errors:  # it cannot listen
        failures.extend(group_of_errors.exceptions)
    if failures:
        raise failures[0]
