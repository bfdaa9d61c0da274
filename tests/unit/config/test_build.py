"""From a configuration to a server."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from socks6.client.alternatives import CHECK_SECONDS, CONNECT_SECONDS, LATENCY_SECONDS
from socks6.client.outbound import UpstreamOutbound
from socks6.client.upstream_group import UpstreamGroup
from socks6.config.build import build_metrics, build_outbound, build_traces, build_worker, find_faults
from socks6.config.server import ServerConfig
from socks6.errors import ConfigurationError
from socks6.net.direct import DirectOutbound
from socks6.net.encryption.contexts import TlsParameters
from socks6.net.stream import Endpoint
from socks6.net.url import ProxyUrl
from socks6.observability.settings import MetricsSettings
from socks6.proxy.service import Server
from socks6.proxy.settings import Settings

PUBLIC: Final = ProxyUrl.parse_listener("socks6://:1080")
LOCAL: Final = ProxyUrl.parse_listener("socks6://127.0.0.1:0")
UPSTREAM: Final = ProxyUrl.parse("socks6://proxy.example")
OTHER: Final = ProxyUrl.parse("socks6://other.example")


def faults_of(config: ServerConfig) -> list[tuple[tuple[str | int, ...], str]]:
    return [(fault.key, fault.what) for fault in find_faults(config)]


def test_without_a_proxy_to_go_through_there_is_no_client_of_one() -> None:
    assert isinstance(build_outbound(ServerConfig()), DirectOutbound)


def test_one_upstream() -> None:
    assert isinstance(build_outbound(ServerConfig(via=(UPSTREAM,))), UpstreamOutbound)


def test_several_upstreams() -> None:
    outbound = build_outbound(ServerConfig(via=(UPSTREAM, OTHER)))
    assert isinstance(outbound, UpstreamGroup)
    assert [status.url for status in outbound.upstreams] == [UPSTREAM.brief, OTHER.brief]
    assert faults_of(ServerConfig(via=(UPSTREAM, OTHER))) == []


@pytest.mark.parametrize(("order", "check_every"), [("failover", None), ("least-latency", LATENCY_SECONDS)])
def test_among_several_one_that_is_silent_is_given_up_soon(order: str, check_every: float | None) -> None:
    outbound = build_outbound(ServerConfig(via=(UPSTREAM, OTHER), via_order=order))
    assert isinstance(outbound, UpstreamGroup)
    for monitor in outbound.monitors:
        assert monitor.client._connector._timeout == CONNECT_SECONDS
        assert (monitor._check_seconds, monitor._check_every) == (CHECK_SECONDS, check_every)


def test_several_upstreams_that_make_no_sense() -> None:
    twice = ServerConfig(via=(UPSTREAM, OTHER, UPSTREAM))
    assert faults_of(twice) == [(("via",), f"{UPSTREAM} is named twice")]
    unchecked = ServerConfig(via=(UPSTREAM, OTHER), via_order="least-latency", via_check=False)
    ((key, why),) = faults_of(unchecked)
    assert key == ("via-order",)
    assert "needs the checks" in why


def test_upstreams_of_other_protocols_and_through_others() -> None:
    config = ServerConfig(
        via=(ProxyUrl.parse("http://proxy.example"),), via_through=(UPSTREAM,), via_spare="0"
    )
    outbound = build_outbound(config)
    assert isinstance(outbound, UpstreamOutbound)
    assert [hop.scheme for hop in outbound.client.hops] == ["socks6", "http"]
    assert faults_of(config) == []


@pytest.mark.parametrize(
    ("config", "key", "why"),
    [
        (ServerConfig(via_through=(UPSTREAM,)), "via-through", "no proxy to be reached"),
        (ServerConfig(via=(ProxyUrl.parse("socks5://h"),), via_session=True), "via", "of SOCKS 6"),
        (
            ServerConfig(via_file=(ProxyUrl.parse("socks6+quic://h"),), via_through=(UPSTREAM,)),
            "via-file",
            "name it first",
        ),
    ],
)
def test_upstreams_that_cannot_be(config: ServerConfig, key: str, why: str) -> None:
    ((found, what),) = faults_of(config)
    assert found == (key,)
    assert why in what


@pytest.mark.parametrize("name", ["via", "via_file"])
@pytest.mark.parametrize(
    ("listen", "via"),
    [
        ("mixed://localhost:1080", "socks6://alice:secret@localhost"),
        ("socks6+unix:///run/socks6", "socks6+unix:///run/socks6"),
    ],
)
def test_a_server_is_not_its_own_upstream(name: str, listen: str, via: str) -> None:
    config = ServerConfig(listen=(ProxyUrl.parse_listener(listen),), **{name: (ProxyUrl.parse(via),)})  # type: ignore[arg-type]  # by name
    ((key, why),) = faults_of(config)
    assert key == (name.replace("_", "-"),)
    assert "own upstream" in why
    assert faults_of(replace(config, direct=True)) == []


def test_a_listener_that_others_reach_needs_users_or_must_be_open() -> None:
    config = ServerConfig(listen=(LOCAL, PUBLIC))
    ((key, why),) = faults_of(config)
    assert key == ("listen", 1)
    assert "asks for no password" in why
    assert faults_of(replace(config, open_to_all=True)) == []


def test_a_key_needs_its_certificate() -> None:
    config = ServerConfig(settings=Settings(tls=TlsParameters(key="b.key")))
    assert faults_of(config) == [(("tls", "key"), "there is a key of TLS, but not its certificate")]


def test_files_of_tls_are_read(tmp_path: Path) -> None:
    config = ServerConfig(settings=Settings(tls=TlsParameters(certificate=f"{tmp_path}/nowhere.pem")))
    assert faults_of(config) == [(("tls",), f"{tmp_path}/nowhere.pem: No such file or directory")]


def test_worker_and_server_are_what_the_configuration_says() -> None:
    config = ServerConfig(listen=(LOCAL,), settings=Settings(connections=7))
    worker = build_worker(config)
    assert worker.policy == config.policy
    assert worker.settings is config.settings
    Server(config.listen, worker, open_to_all=config.open_to_all)
    with pytest.raises(ConfigurationError, match="asks for no password"):
        Server([PUBLIC], worker, open_to_all=config.open_to_all)


@pytest.mark.parametrize(("query", "spares"), [("", 1), ("?spare=3", 3)])
def test_a_url_goes_before_the_setting_of_connections_made_ahead(query: str, spares: int) -> None:
    via = ProxyUrl.parse(f"socks6+tls://proxy.example{query}")
    outbound = build_outbound(ServerConfig(via=(via,), via_spare="1"))
    assert isinstance(outbound, UpstreamOutbound)
    assert outbound.client.url.spares == spares


COLLECTOR: Final = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("flag", "environment", "wanted"),
    [
        (None, {}, False),
        (COLLECTOR, {}, True),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, True),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": COLLECTOR, "OTEL_TRACES_EXPORTER": "otlp"}, True),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_TRACES_EXPORTER": "none"}, False),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_traces_are_sent_where_a_flag_or_opentelemetrys_variables_say(
    flag: str | None, environment: dict[str, str], wanted: bool
) -> None:
    traces = build_traces(ServerConfig(traces=flag), environment, "socks6-server")
    assert (traces is not None) == wanted
    if traces is not None:
        traces.close()


def test_metrics_are_counted_where_they_are_served() -> None:
    assert build_metrics(ServerConfig()) is None
    assert build_metrics(ServerConfig(metrics=MetricsSettings(listen=Endpoint("127.0.0.1", 0)))) is not None
