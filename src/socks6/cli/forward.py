"""socks6 forward: a port of this machine that leads to one host behind a proxy."""

import asyncio
import logging
import signal
import sys
from argparse import Namespace
from collections.abc import Coroutine
from typing import Any, Final

from socks6.cli import complain, describe
from socks6.cli.common import NO_PROXY, named_client, named_host, raise_descriptor_limit, run_loop
from socks6.cli.forward_udp import UdpPortForwarder
from socks6.client.client import Client
from socks6.errors import Socks6Error
from socks6.net.accept import ConnectionLimits, accept_streams
from socks6.net.eager import EagerTaskGroup
from socks6.net.stream import ByteStream, Endpoint, Listener
from socks6.net.transports.tcp import listen_tcp
from socks6.observability.logs import LogObserver
from socks6.relay.streams import RelaySettings, StreamRelay
from socks6.telemetry import EventHub

TCP_IDLE_SECONDS: Final = 7440.0  # as a proxy has it (RFC 5382)
UDP_IDLE_SECONDS: Final = 300.0  # as RFC 4787 advises for NATs
CONNECTIONS: Final = 1000
UDP_PEERS: Final = 150  # fewer than a proxy of ours lets a user have associations


def run(arguments: Namespace) -> int:
    """Forward until stopped by a signal."""
    client = named_client(arguments, NO_PROXY)
    remote = Endpoint(named_host("REMOTE", arguments.remote[0]), arguments.remote[1])
    local = Endpoint(named_host("LOCAL", arguments.local[0]), arguments.local[1])
    raise_descriptor_limit()
    if arguments.udp:
        forwarder = UdpPortForwarder(
            client,
            remote,
            idle=UDP_IDLE_SECONDS if arguments.idle_timeout is None else arguments.idle_timeout,
            peers=arguments.max_peers or UDP_PEERS,
            path=arguments.udp_path,
        )
        run_loop(_until_stopped(client, forwarder.run(local, listening)), "auto")
    else:
        idle = TCP_IDLE_SECONDS if arguments.idle_timeout is None else arguments.idle_timeout
        streams = StreamForwarder(client, remote, idle=idle, peers=arguments.max_peers or CONNECTIONS)
        run_loop(_until_stopped(client, streams.run(local)), "auto")
    return 0


def listening(endpoint: Endpoint) -> None:
    """Print where it listens, with the real port."""
    host, port = endpoint
    print(f"listening on {f'[{host}]' if ':' in host else host}:{port}", file=sys.stderr, flush=True)


class StreamForwarder:
    """Connects each client of a local port to one host, through a proxy."""

    def __init__(self, client: Client, remote: Endpoint, *, idle: float, peers: int) -> None:
        self._client = client
        self._remote = remote
        self._idle = idle
        self._limits = ConnectionLimits(total=peers)
        self._events = EventHub([LogObserver(logging.getLogger("socks6"), log_destinations=False)])

    async def run(self, local: Endpoint) -> None:
        """Listen and forward until cancelled. Raises OSError if it cannot listen."""
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
            remote = await self._client.connect(*self._remote)
        except (Socks6Error, OSError) as error:
            complain(f"{stream.remote.host} port {stream.remote.port}: {describe(error)}")
            stream.abort()
            return
        await relay.relay(stream, remote)


async def _until_stopped(client: Client, forwarding: Coroutine[Any, Any, None]) -> None:
    """Run it until SIGINT or SIGTERM, which are no failure."""
    loop = asyncio.get_running_loop()
    async with client, asyncio.TaskGroup() as group:
        task = group.create_task(forwarding, name="forward")
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
