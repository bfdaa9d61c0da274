"""socks6 server and socks6 client: one engine; a client listens elsewhere by default, and needs a proxy."""

import asyncio
import logging
import os
import resource
import signal
import sys
from argparse import Namespace
from collections.abc import Mapping

from socks6.cli import complain
from socks6.cli.certificates import pin_in
from socks6.cli.gather import gather
from socks6.cli.logs import set_up_logging
from socks6.cli.loops import run_loop
from socks6.cli.notify import notify
from socks6.cli.operator import Operator
from socks6.client.client import Client
from socks6.client.outbound import Socks6Outbound
from socks6.config.choices import Choices
from socks6.config.own_certificate import with_certificate
from socks6.config.plan import CLIENT_LISTEN, SERVER_LISTEN, Plan
from socks6.errors import ConfigurationError, Socks6Error
from socks6.observability.logs import LogObserver
from socks6.proxy.service import Server


def run(arguments: Namespace) -> int:
    """Serve until told to stop."""
    choices, plan = make_plan(arguments, os.environ)
    plan, own, made = with_certificate(plan, os.environ)
    if own:
        complain(f"{'made a certificate' if made else 'certificate'}: {own}, pin-sha256={pin_in(own)}")
    worker = plan.worker([_observer(choices)])
    server = plan.server(worker)
    operator = Operator(server, worker, plan, choices, lambda: gather(arguments, os.environ))
    raise_descriptor_limit()
    way = worker.outbound
    upstream = way.client if isinstance(way, Socks6Outbound) and plan.via_fast_open else None
    run_loop(_serve(server, operator, upstream), choices.loop or "auto")
    return 0


def make_plan(arguments: Namespace, environment: Mapping[str, str]) -> tuple[Choices, Plan]:
    """Read flags, environment and files. Raises ConfigurationError."""
    is_client = arguments.command == "client"
    choices, warnings = gather(arguments, environment)
    plan = Plan.of(choices, default_listen=CLIENT_LISTEN if is_client else SERVER_LISTEN)
    if is_client and plan.via is None:
        raise ConfigurationError(
            "no proxy to go through: name it by --via, --via-file, SOCKS6_PROXY or in a configuration file"
        )
    if faults := plan.faults():
        raise ConfigurationError("\n".join(why for _, why in faults))
    complain(*(f"warning: {warning}" for warning in warnings))
    return choices, plan


def raise_descriptor_limit() -> None:
    """Have as many descriptors as this process may: each connection takes two, and more while it is busy."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):  # macOS names a hard limit that it does not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def fetch_cookie(upstream: Client) -> None:
    """Have the proxy's TCP Fast Open cookie, and a session with it, before the first client comes."""
    try:
        await upstream.noop()
    except Socks6Error as error:  # the first client will be told, and fetch it
        logging.getLogger("socks6").debug("no fast open cookie proxy=%s reason=%r", upstream.url, str(error))


async def _serve(server: Server, operator: Operator, upstream: Client | None) -> None:
    loop = asyncio.get_running_loop()
    async with server, asyncio.TaskGroup() as group:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, operator.stop)
        loop.add_signal_handler(signal.SIGHUP, operator.reload)
        for url in server.urls:
            print(f"listening on {url}", file=sys.stderr, flush=True)
        notify("READY=1")
        reloading = group.create_task(operator.run(), name="reloading")
        fetching = group.create_task(fetch_cookie(upstream), name="cookie") if upstream else None
        await server.serve_forever()
        reloading.cancel()
        if fetching is not None:
            fetching.cancel()


def _observer(choices: Choices) -> LogObserver:
    logger = set_up_logging(choices.verbosity or 0)
    return LogObserver(logger, log_destinations=bool(choices.log_destinations))
