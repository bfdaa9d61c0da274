"""What is counted, and what a scrape shows."""

from dataclasses import dataclass

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse

from socks6.net.direct import DirectOutbound
from socks6.net.upstream import UpstreamState, UpstreamStatus
from socks6.observability.families import FAMILIES
from socks6.observability.metrics import Metrics
from socks6.proxy.live import ConnectionInfo, LiveTable, Traffic
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import AcceptPaused, CertificateRead, Ending, Event, QuotaReached, Reloaded, UserRefused
from tests.kit.loops import Run


@dataclass(kw_only=True)
class Carried:
    """What a relay has moved."""

    bytes_up: int = 0
    bytes_down: int = 0

    def limit(self, up: object, down: object) -> None:
        raise AssertionError


@dataclass(kw_only=True)
class Connection:
    """One of the live table."""

    id: int = 1
    inbound: str = "mixed"
    started: float = 0.0
    user: str = ""
    command: str = "CONNECT"
    outbound: str = ""
    reply: int = 0
    ending: Ending = Ending.DONE
    times: list[float] | None = None
    bytes_up: int = 0
    bytes_down: int = 0
    traffic: Traffic | None = None

    def info(self) -> ConnectionInfo:
        raise AssertionError("this makes a value of each")

    def end(self, ending: Ending, reason: str) -> None:
        raise AssertionError

    def take_account(self, account: object) -> None:
        raise AssertionError

    def quota_reached(self) -> None:
        raise AssertionError


class Chain(DirectOutbound):
    """Goes through proxies of which one is up, one is down, and one is not known."""

    name = ""
    upstreams = (
        UpstreamStatus(url="socks6://one", state=UpstreamState.UP, seconds=0.25),
        UpstreamStatus(url="socks6://two", state=UpstreamState.DOWN),
        UpstreamStatus(url="socks6://three"),
    )


def attached(
    metrics: Metrics, settings: Settings | None = None, outbound: DirectOutbound | None = None
) -> ServerWorker:
    """Return a proxy whose connections are counted."""
    worker = ServerWorker(observers=[metrics], settings=settings, outbound=outbound)
    metrics.attach(worker)
    return worker


def ended(table: LiveTable, *connections: Connection) -> None:
    """Let connections come and go."""
    for connection in connections:
        table.add(connection)
        table.discard(connection)


def shown(metrics: Metrics, worker: ServerWorker) -> dict[str, float]:
    """Return what a scrape shows, by name and labels as `name{value,...}`, without the process's own."""
    families = parse(generate_latest(metrics.scrape(worker)).decode())
    return {
        f"{sample.name}{{{','.join(sample.labels[key] for key in sorted(sample.labels))}}}": sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("socks6_")
    }


def test_connections_that_ended_are_counted_by_labels(run: Run) -> None:
    async def scene() -> None:
        metrics = Metrics()
        worker = attached(metrics)
        ended(
            worker.connections,
            Connection(bytes_up=10, bytes_down=2000, times=[0.02, 0.03, 0.04]),
            Connection(bytes_up=1, times=[0.2, 0.0, 0.0], reply=5, ending=Ending.FAILED),
            Connection(command="", reply=-1, ending=Ending.MALFORMED),
            Connection(outbound="proxy.example:1080", command="77", reply=200),
        )
        found = shown(metrics, worker)
        assert found["socks6_requests_total{CONNECT,mixed,direct,succeeded}"] == 1
        assert found["socks6_requests_total{CONNECT,mixed,direct,connection_refused}"] == 1
        assert found["socks6_requests_total{other,mixed,proxy.example:1080,other}"] == 1
        assert found["socks6_relayed_bytes_total{CONNECT,up,mixed,direct}"] == 11
        assert found["socks6_relayed_bytes_total{CONNECT,down,mixed,direct}"] == 2000
        assert found["socks6_connections_ended_total{malformed,mixed}"] == 1
        assert found["socks6_handshake_duration_seconds_bucket{mixed,0.025}"] == 1
        assert found["socks6_handshake_duration_seconds_count{mixed}"] == 2
        assert found["socks6_connect_duration_seconds_bucket{CONNECT,0.025,direct}"] == 1
        assert found["socks6_connect_duration_seconds_count{CONNECT,direct}"] == 1
        assert abs(found["socks6_lookup_duration_seconds_sum{}"] - 0.01) < 1e-9
        assert found["socks6_request_bytes_bucket{CONNECT,down,1000}"] == 1
        assert found["socks6_request_bytes_bucket{CONNECT,down,10000}"] == 2

    run(scene())


def test_open_connections_count_as_they_are_and_counters_never_fall(run: Run) -> None:
    async def scene() -> None:
        metrics = Metrics()
        worker = attached(metrics)
        connection = Connection(bytes_up=5, traffic=Carried(bytes_down=100))
        worker.connections.add(connection)
        worker.connections.add(Connection(id=2, command="", reply=-1))
        found = shown(metrics, worker)
        assert found["socks6_connections{CONNECT,mixed,direct}"] == 1
        assert found["socks6_connections{none,mixed,none}"] == 1
        assert found["socks6_requests_total{CONNECT,mixed,direct,succeeded}"] == 1
        assert found["socks6_relayed_bytes_total{CONNECT,down,mixed,direct}"] == 100
        connection.reply = 5  # the next request on the same connection
        found = shown(metrics, worker)
        assert found["socks6_requests_total{CONNECT,mixed,direct,succeeded}"] == 1
        connection.bytes_down, connection.traffic = 150, None
        worker.connections.discard(connection)
        found = shown(metrics, worker)
        assert "socks6_connections{CONNECT,mixed,direct}" not in found
        assert found["socks6_relayed_bytes_total{CONNECT,down,mixed,direct}"] == 150

    run(scene())


def test_many_at_once_are_counted_as_one_by_one(run: Run) -> None:
    async def scene() -> None:
        connections = [
            Connection(
                bytes_up=10 ** (number % 12), bytes_down=number, times=[number / 100, 0.0, number / 90]
            )
            for number in range(1, 601)
        ]
        together, singly = Metrics(), Metrics()
        worker, another = attached(together), attached(singly)
        ended(worker.connections, *connections)
        for connection in connections:
            ended(another.connections, connection)
            singly._count_ended()
        found, expected = shown(together, worker), shown(singly, another)
        clocks = ("socks6_request_duration_seconds", "socks6_build_info")  # of when they ended
        assert len(found) > 60
        for name, value in expected.items():
            if not name.startswith(clocks):
                assert found[name] == pytest.approx(value), name

    run(scene())


def test_so_many_users_have_labels_and_the_others_share_one(run: Run) -> None:
    async def scene() -> None:
        metrics = Metrics(users=2)
        worker = attached(metrics)
        ended(
            worker.connections,
            *(Connection(user=name) for name in ("", "alice", "bob", "carol", "dave", "alice")),
        )
        found = shown(metrics, worker)
        assert {
            user: found[f"socks6_requests_total{{CONNECT,mixed,direct,succeeded,{user}}}"]
            for user in ("", "alice", "bob", "other")
        } == {"": 1, "alice": 2, "bob": 1, "other": 2}
        assert not any("carol" in name for name in found)

    run(scene())


def test_what_a_crowd_leaves_is_counted_without_a_scrape(run: Run) -> None:
    async def scene() -> None:
        metrics = Metrics()
        worker = attached(metrics)
        ended(worker.connections, *(Connection(command=str(number)) for number in range(5000)))
        assert len(metrics._ended) < 512
        assert len(metrics._known) <= 4096
        assert shown(metrics, worker)["socks6_requests_total{other,mixed,direct,succeeded}"] == 5000

    run(scene())


def test_events_are_counted_and_the_state_is_read(run: Run) -> None:
    async def scene() -> None:
        metrics = Metrics()
        worker = attached(metrics, Settings(connections=7), Chain())
        events: list[Event] = [
            UserRefused(id=1, source="192.0.2.1", inbound="socks6", user="alice", reason="wrong"),
            AcceptPaused(url="socks6://", reason="descriptors"),
            CertificateRead(path="cert.pem", reason="gone"),
            CertificateRead(path="cert.pem"),
            QuotaReached(user="alice", quota=1_000, period="day"),
        ]
        for event in events:
            worker.events.observe(event)
        worker.turned_away("192.0.2.1", "too many")
        metrics.observe(Reloaded())  # which it does not want
        for _ in range(worker.penalties.limit):
            worker.penalties.failed("192.0.2.1", worker.loop.time())
        found = shown(metrics, worker)
        assert found["socks6_authentication_failures_total{socks6}"] == 1
        assert found["socks6_accept_pauses_total{}"] == 1
        assert found["socks6_limits_reached_total{}"] == found["socks6_quotas_reached_total{}"] == 1
        assert found["socks6_datagrams_over_bandwidth_total{}"] == 0
        assert (
            found["socks6_certificate_reads_total{failure}"]
            == found["socks6_certificate_reads_total{success}"]
            == 1
        )
        assert found["socks6_penalties_total{}"] == found["socks6_penalized_sources{}"] == 1
        assert found["socks6_connections_limit{}"] == 7
        assert (found["socks6_upstream_up{socks6://one}"], found["socks6_upstream_up{socks6://two}"]) == (
            1,
            0,
        )
        assert "socks6_upstream_up{socks6://three}" not in found
        assert found["socks6_upstream_check_seconds{socks6://one}"] == 0.25

    run(scene())


def test_both_formats_have_all_families_with_their_labels(run: Run) -> None:
    async def scene() -> None:
        metrics = Metrics(users=1)
        worker = attached(metrics, Settings(), Chain())
        ended(worker.connections, Connection(times=[1.0, 2.0, 3.0]))
        text = generate_openmetrics(metrics.scrape(worker)).decode()
        families = {family.name: family for family in text_string_to_metric_families(text)}
        for name, family in FAMILIES.items():
            found = families[name.removesuffix("_total")]
            assert found.type == family.kind
            for sample in found.samples:
                assert set(sample.labels) - {"le", "user"} == set(family.labels), name
        assert {"process_open_fds", "python_info"} <= set(families)

    run(scene())
