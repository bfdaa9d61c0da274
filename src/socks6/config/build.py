"""Makes a server, and what it consists of, from its configuration; finds what a server would refuse."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from socks6.config.faults import Fault
from socks6.config.server import ServerConfig
from socks6.distribution import install_hint
from socks6.errors import ConfigurationError
from socks6.message.address import without_trailing_dot
from socks6.net.datagrams.direct import DatagramSettings
from socks6.net.direct import CONNECT_SECONDS, DirectOutbound
from socks6.net.encryption.contexts import check_server_files
from socks6.net.resolve import Resolver
from socks6.net.stream import Outbound
from socks6.net.url import ProxyUrl
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import Observer

if TYPE_CHECKING:
    from socks6.observability.access_database import AccessLogDatabase
    from socks6.observability.metrics import Metrics
    from socks6.observability.traces import Traces


def build_outbound(config: ServerConfig) -> Outbound:
    """Return how the proxy reaches hosts: by this machine's own sockets, or through its upstreams."""
    if config.upstreams:
        return _build_upstreams(config)
    udp = config.settings.udp
    return DirectOutbound(
        Resolver(timeout=config.lookup_timeout),
        connect_timeout=config.connect_timeout or CONNECT_SECONDS,
        attempt_delay=config.attempt_delay,
        first_family=config.first_family,
        racing=config.racing,
        bind_ports=config.settings.bind.ports,
        datagrams=DatagramSettings(
            filtering=udp.filtering,
            remote_timeout=udp.remote_timeout,
            multicast_interface=udp.multicast_interface,
        ),
    )


def _build_upstreams(config: ServerConfig) -> Outbound:
    from socks6.client.client import DEFAULT_TIMEOUT, Client  # noqa: PLC0415 - 60 ms that a server need not spend
    from socks6.client.monitor import UpstreamMonitor  # noqa: PLC0415
    from socks6.client.outbound import UpstreamOutbound  # noqa: PLC0415

    def client_of(url: ProxyUrl, connect_timeout: float | None = None) -> Client:
        if not url.spare and config.via_spare != "auto":
            url = dataclasses.replace(url, spare=config.via_spare)
        return Client(
            (*config.via_through, url),
            timeout=config.connect_timeout or DEFAULT_TIMEOUT,
            connect_timeout=connect_timeout,
            fast_open=config.via_fast_open,
            session=config.via_session,
        )

    if len(config.upstreams) == 1:
        return UpstreamOutbound(client_of(config.upstreams[0]))
    from socks6.client.alternatives import CHECK_SECONDS, CONNECT_SECONDS, LATENCY_SECONDS  # noqa: PLC0415
    from socks6.client.upstream_choice import UpstreamOrder  # noqa: PLC0415
    from socks6.client.upstream_group import UpstreamGroup  # noqa: PLC0415

    order = UpstreamOrder(config.via_order)
    check_every = LATENCY_SECONDS if order is UpstreamOrder.LEAST_LATENCY else None
    clients = [client_of(url, CONNECT_SECONDS) for url in config.upstreams]
    return UpstreamGroup(
        [
            UpstreamOutbound(
                client, UpstreamMonitor(client, check_seconds=CHECK_SECONDS, check_every=check_every)
            )
            for client in clients
        ],
        order,
    )


def build_worker(config: ServerConfig, observers: Sequence[Observer] = ()) -> ServerWorker:
    """Return what serves the clients."""
    database = config.open_users_database()
    return ServerWorker(
        authenticator=config.authenticator(database),
        usage_store=database,
        policy=config.policy,
        outbound=build_outbound(config),
        settings=config.settings,
        observers=observers,
    )


def build_metrics(config: ServerConfig) -> "Metrics | None":
    """Return what counts for Prometheus; None where nobody asks. Raises ConfigurationError without the extra."""
    if config.metrics.listen is None:
        return None
    try:
        from socks6.observability.metrics import Metrics  # noqa: PLC0415 - few want it, and its library is an extra
    except ImportError as error:
        raise ConfigurationError(f"metrics need {error.name}: {install_hint('metrics')}") from error
    return Metrics(users=config.metrics.users)


def build_traces(config: ServerConfig, environment: Mapping[str, str], service: str) -> "Traces | None":
    """Return what sends traces as a `service`, where the configuration or OTEL_... say to. Raises ConfigurationError without the extra."""
    if config.traces is None and not _otel_is_wanted(environment):
        return None
    try:
        from socks6.observability.traces import Traces, provider_for  # noqa: PLC0415 - as above
    except ImportError as error:
        raise ConfigurationError(f"traces need {error.name}: {install_hint('otel')}") from error
    return Traces(provider_for(config.traces, service=service), destinations=config.log_destinations)


def build_access_database(config: ServerConfig) -> "AccessLogDatabase | None":
    """Return what writes the access log to a database, from now on; None if nothing does."""
    if config.log_db is None:
        return None
    from socks6.observability.access_database import AccessLogDatabase  # noqa: PLC0415 - SQLite takes 10 ms

    database = AccessLogDatabase(
        config.log_db, keep=config.log_db_keep, log_destinations=config.log_destinations
    )
    database.start()
    return database


def _otel_is_wanted(environment: Mapping[str, str]) -> bool:
    """Return whether variables that OpenTelemetry specifies name a collector, and do not turn traces off."""
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or (
        environment.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp"
    )
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return not off and any(map(environment.get, names))


def find_faults(config: ServerConfig) -> Iterator[Fault]:
    """Return all that a server refuses, each with the key to blame. Reads the files that listeners need."""
    yield from _upstream_faults(config)
    tls = config.settings.tls
    if tls.key is not None and tls.certificate is None:
        yield Fault(key=("tls", "key"), what="there is a key of TLS, but not its certificate")
    reported = ""
    try:
        check_server_files(tls)
    except ConfigurationError as error:
        reported = str(error)
        yield Fault(key=("tls",), what=reported)
    try:
        build_metrics(config)
    except ConfigurationError as error:
        yield Fault(key=("metrics", "listen"), what=str(error))
    worker = build_worker(dataclasses.replace(config, direct=True))
    for index, url in enumerate(config.listen):
        try:
            Server([url], worker, open_to_all=config.open_to_all)
        except ConfigurationError as error:
            if str(error) != reported:
                yield Fault(key=("listen", index), what=str(error))


def _upstream_faults(config: ServerConfig) -> Iterator[Fault]:
    listeners, key = set(map(_place, config.listen)), ("via",) if config.via else ("via-file",)
    for index, via in enumerate(config.upstreams):
        if _place(via) in listeners:
            yield Fault(
                key=key, what=f"{via} would be its own upstream: listen elsewhere, or connect --direct"
            )
        if via in config.upstreams[:index]:
            yield Fault(key=key, what=f"{via} is named twice")
    if config.via_through and not config.upstreams:
        yield Fault(key=("via-through",), what="there is no proxy to be reached through it: name one by via")
    if config.via_through or any(url.spoken != "socks6" for url in config.upstreams):
        try:
            build_outbound(config)
        except ConfigurationError as error:  # what they speak has no sessions, or needs the first place
            yield Fault(key=key, what=str(error))
    if len(config.upstreams) > 1 and config.via_order == "least-latency" and not config.via_check:
        yield Fault(key=("via-order",), what="least-latency needs the checks that --no-via-check turns off")


def _place(url: ProxyUrl) -> tuple[str, int, str]:
    return without_trailing_dot(url.host), url.port, url.path
