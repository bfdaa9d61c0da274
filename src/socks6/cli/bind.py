"""socks6 bind: a service of this machine, or one near it, published at the proxy."""

import asyncio
import signal
from argparse import Namespace

from socks6.cli.logs import set_up_logging
from socks6.cli.loops import run_loop
from socks6.cli.notify import notify
from socks6.cli.proxied import NO_PROXY, client_named, host_named
from socks6.cli.publishing import Publisher
from socks6.cli.serve import raise_descriptor_limit
from socks6.client.client import Client
from socks6.net.stream import Endpoint


def run(arguments: Namespace) -> int:
    """Publish until told to stop."""
    client = client_named(arguments, NO_PROXY)
    host, port = arguments.listen_on
    publisher = Publisher(
        client,
        place=Endpoint(host_named("--listen-on", host) if host else "", port),
        target=Endpoint(host_named("TARGET", arguments.target[0]), arguments.target[1]),
        backlog=arguments.backlog,
        connections=arguments.connections,
        connect_timeout=arguments.connect_timeout,
        drain_timeout=arguments.drain_timeout,
    )
    set_up_logging(arguments.verbosity or 0)
    raise_descriptor_limit()
    run_loop(_publish(client, publisher), "auto")
    return 0


async def _publish(client: Client, publisher: Publisher) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, publisher.stop)
    async with client:
        await publisher.run(ready=lambda: notify("READY=1"))
