"""socks6 server and socks6 client: one proxy; a client listens elsewhere by default, and needs a proxy."""

import asyncio
import gc
import logging
import os
import signal
from argparse import Namespace
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self

from socks6.admin.proxy import ProxyBridge
from socks6.cli import complain, describe, tell
from socks6.cli.certificates import pin_in
from socks6.cli.common import notify, raise_descriptor_limit, run_loop
from socks6.cli.load import LoadedConfig, load
from socks6.cli.log import set_up_logging
from socks6.cli.waiting import status_terminal
from socks6.config.admin import build_admin
from socks6.config.build import build_access_database, build_metrics, build_traces, build_worker, find_faults
from socks6.config.own_certificate import with_certificate
from socks6.config.reading import ConfigValues
from socks6.config.server import CLIENT_LISTEN, ServerConfig
from socks6.errors import ConfigurationError
from socks6.net.url import ProxyUrl
from socks6.observability.logs import ACCESS_LOGGER, LogObserver
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker
from socks6.setting import build, reloadable_keys, settings_of
from socks6.telemetry import Observer

if TYPE_CHECKING:
    from socks6.client.monitor import UpstreamMonitor

GARBAGE_THRESHOLD: Final = 20_000  # objects made, less those freed; connections leave no cycles behind
RELOADABLE: Final = reloadable_keys(ServerConfig)


def run(arguments: Namespace) -> int:
    """Serve until stopped by a signal."""
    values, config, warnings = load_config(arguments, os.environ)
    logger = set_up_logging(config.verbosity, config.log_format, config.log_file)
    _refuse_faults(config)
    complain(*(f"warning: {warning}" for warning in warnings))
    config, own, made = with_certificate(config, os.environ)
    if own:
        pin = pin_in(own)
        printed = f"{'made a certificate' if made else 'certificate'}: {own}, pin-sha256={pin}"
        tell(f"socks6: {printed}", "certificate", path=str(own), pin=pin, made="yes" if made else "")
    access = logging.getLogger(ACCESS_LOGGER)
    observers: list[Observer] = [LogObserver(logger, access=access, log_destinations=config.log_destinations)]
    metrics = build_metrics(config)
    traces = build_traces(config, os.environ, f"socks6-{arguments.command}")
    database = build_access_database(config)
    observers += [observer for observer in (metrics, traces, database) if observer is not None]
    worker = build_worker(config, observers)
    server = Server(config.listen, worker, open_to_all=config.open_to_all)
    operator = Operator(server, worker, values, lambda: load_values(arguments, os.environ))
    services: list[Service] = []
    if metrics is not None and config.metrics.listen is not None:
        from socks6.observability.metrics_server import MetricsServer  # noqa: PLC0415 - with an extra

        services.append(Service("metrics", MetricsServer(config.metrics.listen, metrics, worker)))
    if (
        admin := build_admin(config, os.environ, ProxyBridge(server, worker, operator.reload_now))
    ) is not None:
        services.append(Service("admin", admin))
    raise_descriptor_limit()
    monitors = _monitors(config, worker)
    try:
        run_loop(_serve(server, operator, monitors, services, status_line=config.status_line), config.loop)
    finally:
        for observer in (traces, database):
            if observer is not None:
                observer.close()
    return 0


def _monitors(config: ServerConfig, worker: ServerWorker) -> "Sequence[UpstreamMonitor]":
    """Return what checks the proxies that are gone through."""
    # the first check also fetches the cookie of TCP Fast Open, and a session
    if config.upstreams and (config.via_check or config.via_fast_open):
        from socks6.client.outbound import UpstreamOutbound  # noqa: PLC0415 - which a server need not load
        from socks6.client.upstream_group import UpstreamGroup  # noqa: PLC0415

        if isinstance(worker.outbound, UpstreamOutbound | UpstreamGroup):
            return worker.outbound.monitors
    return ()


class ServiceListener(Protocol):
    """Serves something else beside the proxy while it is entered."""

    @property
    def urls(self) -> tuple[str, ...]:
        """Where, with real ports."""

    async def __aenter__(self) -> Self:
        """Listen. Raises OSError."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""


class Service(NamedTuple):
    """What is served beside the proxy, and what lines call it."""

    name: str  # of COMMAND_LINES
    listening: ServiceListener


def load_config(
    arguments: Namespace, environment: Mapping[str, str]
) -> tuple[ConfigValues, ServerConfig, tuple[str, ...]]:
    """Read flags, environment and files; return also warnings of what they should not be. Raises ConfigurationError."""
    values, warnings = load_values(arguments, environment)
    config = build(ServerConfig, values)
    if arguments.command == "client" and not config.upstreams:
        raise ConfigurationError(
            "no proxy to go through: name it by --via, --via-file, SOCKS6_PROXY or in a configuration file"
        )
    return values, config, warnings


def load_values(arguments: Namespace, environment: Mapping[str, str]) -> LoadedConfig:
    """Return the values of all sources, and the command's own default listener. Raises ConfigurationError."""
    values, warnings = load(arguments, environment)
    if arguments.command == "client":
        values = {"listen": (ProxyUrl.parse_listener(CLIENT_LISTEN),), **values}
    return LoadedConfig(values, warnings)


async def _serve(
    server: Server,
    operator: "Operator",
    monitors: "Sequence[UpstreamMonitor]",
    services: Sequence[Service],
    *,
    status_line: bool,
) -> None:
    loop = asyncio.get_running_loop()
    async with server, AsyncExitStack() as stack:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, operator.stop)
        loop.add_signal_handler(signal.SIGHUP, operator.reload)
        for url in server.urls:
            tell(f"listening on {url}", "listening", url=url)
        for service in services:
            await _begin(service, stack)
        gc.freeze()  # what was made by now stays: the collector need not look at it again and again
        gc.set_threshold(GARBAGE_THRESHOLD)
        notify("READY=1")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(operator.run(), name="reloading")]
            if monitors:
                from socks6.cli.upstream import watch_upstream  # noqa: PLC0415 - with the client

                tasks += [group.create_task(watch_upstream(monitor), name="upstream") for monitor in monitors]
            if status_line and (showing := operator.shown_status()) is not None:
                tasks.append(group.create_task(showing, name="status line"))
            await server.serve_forever()
            for task in tasks:
                task.cancel()


async def _begin(service: Service, stack: AsyncExitStack) -> None:
    """Open a service's listeners, which are closed with the stack. Raises OSError, which names the service."""
    try:
        listening = await stack.enter_async_context(service.listening)
    except OSError as error:
        raise OSError(error.errno, f"{service.name}: {describe(error)}") from error
    for url in listening.urls:
        tell(f"{service.name} at {url}", service.name, url=url)


class Operator:
    """Handles an operator's signals. `values` are those that the server runs with, `read` reads them again."""

    def __init__(
        self, server: Server, worker: ServerWorker, values: ConfigValues, read: Callable[[], LoadedConfig]
    ) -> None:
        self._server = server
        self._worker = worker
        self._fixed = {key: value for key, value in values.items() if key not in RELOADABLE}
        self._read = read
        self._stopping = False
        self._asked = asyncio.Event()

    def stop(self) -> None:
        """Stop when what runs has ended or its time is over; at once when called again."""
        if self._stopping:
            self._server.abort()
            return
        self._stopping = True
        notify("STOPPING=1")
        self._server.stop()

    def shown_status(self) -> "Coroutine[None, None, None] | None":
        """Return what shows a status line; None where there is no terminal for it, or no proxy that is gone through."""
        terminal, outbound = status_terminal(), self._worker.outbound
        if terminal is None or outbound.upstream is None:
            return None
        from socks6.cli.status_line import show_status  # noqa: PLC0415 - for terminals

        return show_status(terminal, self._worker.connections, outbound, lambda: self._stopping)

    def reload(self) -> None:
        """Make `run` reload, once more if it is reloading already."""
        self._asked.set()

    async def run(self) -> None:
        """Reload as often as asked, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self.reload_now()

    async def reload_now(self) -> str:
        """Use the users and the policy that the sources specify now for new requests; return what is wrong with them, "" for nothing.

        If anything is wrong with them, nothing changes. All other settings stay as they are; those that have changed
        are named, since they need a restart. The files are read in a thread: there may be many users.
        """
        try:
            renewed = await asyncio.to_thread(self._renew)
        except (ConfigurationError, OSError, RuntimeError) as error:  # the last: there is no thread left
            for line in str(error).splitlines():
                tell(f"socks6: not reloaded: {line}", "not reloaded", reason=line)
            return str(error)
        else:
            self._worker.replace(authenticator=renewed.authenticator, policy=renewed.config.policy)
            tell("socks6: reloaded", "reloaded")
            complain(*(f"warning: {warning}" for warning in renewed.warnings))
            if renewed.ignored:
                names = ", ".join(renewed.ignored)
                tell(f"socks6: changed, but needs a restart: {names}", "restart needed", settings=names)
            return ""

    def _renew(self) -> "_Renewed":
        """Read everything. Raises ConfigurationError for what must not be used."""
        values, warnings = self._read()
        reloaded = {key: value for key, value in values.items() if key in RELOADABLE}
        config = build(ServerConfig, {**self._fixed, **reloaded})
        _refuse_faults(config)
        authenticator = config.authenticator()
        before, after = self._worker.authenticator.user_count, authenticator.user_count
        if before and not after:
            raise ConfigurationError(
                f"no users are left of {before}, so that either no client or every client would be admitted;"
                " if that is meant, restart the server"
            )
        if after * 2 < before:
            warnings = (*warnings, f"there are {after} users now; there were {before}: is the file whole?")
        fixed = (declared.key for declared in settings_of(ServerConfig) if declared.key not in RELOADABLE)
        ignored = [key for key in fixed if self._fixed.get(key) != values.get(key)]
        return _Renewed(config, authenticator, warnings, ignored)


class _Renewed(NamedTuple):
    """What a reload found."""

    config: ServerConfig
    authenticator: Authenticator
    warnings: tuple[str, ...]
    ignored: list[str]  # keys of what differs and needs a restart


def _refuse_faults(config: ServerConfig) -> None:
    """Raise ConfigurationError for all that a server refuses."""
    if faults := [fault.what for fault in find_faults(config)]:
        raise ConfigurationError("\n".join(faults))
