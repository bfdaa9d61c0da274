"""The spans that the end of a connection makes."""

import logging
from dataclasses import replace
from itertools import pairwise

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from socks6.observability.traces import EXPORT_LOGGER, Traces, provider_for
from socks6.telemetry import ConnectionEnded, Ending, EventHub

CONNECT = ConnectionEnded(
    id=7, inbound="socks6", source="203.0.113.5", user="alice", command="CONNECT", host="example.com", port=443,
    ending=Ending.DONE, reply=0, reason="", seconds=2.0, bytes_up=10, bytes_down=2000, outbound="direct",
    handshake_seconds=0.5, lookup_seconds=0.25, connect_seconds=0.75,
)  # fmt: skip
REFUSED = replace(
    CONNECT,
    reply=5,
    ending=Ending.FAILED,
    reason="example.com refused",
    connect_seconds=0.0,
    lookup_seconds=0.0,
)


def spans_of(event: ConnectionEnded, *, destinations: bool = False) -> dict[str, ReadableSpan]:
    """Return the spans that an event makes, by name."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces = Traces(provider, destinations=destinations)
    EventHub([traces]).observe(event)
    traces.close()
    return {span.name: span for span in exporter.get_finished_spans()}


def lengths(spans: dict[str, ReadableSpan]) -> dict[str, float]:
    """Return the seconds that each took."""
    return {
        name: round(((span.end_time or 0) - (span.start_time or 0)) / 1e9, 3) for name, span in spans.items()
    }


def test_a_connect_is_a_span_with_its_parts_one_after_the_other() -> None:
    spans = spans_of(CONNECT)
    assert lengths(spans) == {
        "handshake": 0.5,
        "resolve": 0.25,
        "connect": 0.5,
        "relay": 0.75,
        "request": 2.0,
    }
    *parts, request = spans.values()
    assert all(before.end_time == after.start_time for before, after in pairwise(parts))
    assert (parts[0].start_time, parts[-1].end_time) == (request.start_time, request.end_time)
    assert {part.parent and part.parent.span_id for part in parts} == {request.context.span_id}
    assert (request.kind, spans["connect"].kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert request.status.status_code is StatusCode.UNSET
    found = dict(request.attributes or {})
    assert (found["user.name"], found["client.address"], found["socks6.bytes_down"]) == (
        "alice",
        "203.0.113.5",
        2000,
    )


def test_a_failure_is_the_connects_and_the_requests() -> None:
    spans = spans_of(REFUSED, destinations=True)
    assert lengths(spans) == {"handshake": 0.5, "connect": 1.5, "request": 2.0}
    for name in ("connect", "request"):
        assert spans[name].status.status_code is StatusCode.ERROR
        assert spans[name].status.description == "example.com refused"
    assert spans["handshake"].status.status_code is StatusCode.UNSET


def test_destinations_are_there_where_they_are_to_be_logged_alone() -> None:
    assert (
        dict(spans_of(CONNECT, destinations=True)["request"].attributes or {})["server.address"]
        == "example.com"
    )
    for event in (CONNECT, REFUSED):
        assert not any("example.com" in span.to_json() for span in spans_of(event).values())


def test_other_commands_have_parts_of_their_own_names_and_nothing_is_no_request() -> None:
    bind = replace(CONNECT, command="BIND", lookup_seconds=0.0)
    assert lengths(spans_of(bind)) == {"handshake": 0.5, "bind": 0.75, "relay": 0.75, "request": 2.0}
    assert set(spans_of(replace(CONNECT, command="77"))) == {"handshake", "resolve", "relay", "request"}
    assert spans_of(replace(CONNECT, command="")) == {}


def test_what_is_not_in_the_sample_has_no_parts() -> None:
    traces = Traces(TracerProvider(sampler=ALWAYS_OFF), destinations=True)
    traces.observe(CONNECT)
    traces.close()


def test_a_service_has_its_name_unless_the_environment_says_another(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = provider_for("http://127.0.0.1:9/", service="socks6-server")
    assert provider.resource.attributes["service.name"] == "socks6-server"
    provider.shutdown()
    monkeypatch.setenv("OTEL_SERVICE_NAME", "edge")
    provider = provider_for(None, service="socks6-server")
    assert provider.resource.attributes["service.name"] == "edge"
    provider.shutdown()


def test_a_collector_that_is_gone_is_told_of_seldom() -> None:
    provider_for("http://127.0.0.1:9", service="socks6-server").shutdown()
    logger = logging.getLogger(EXPORT_LOGGER)
    lines = [logging.LogRecord(EXPORT_LOGGER, logging.ERROR, "", 0, "gone", (), None) for _ in range(3)]
    lines[2].created += 61
    assert [bool(logger.filter(line)) for line in lines] == [True, False, True]
