"""Traces by OpenTelemetry: a span for each connection that had a request, and spans within it for its parts.

Spans are made when a connection has ended, of the times in its record: nothing is done before, and nothing at all without
`--otel`. A thread of OpenTelemetry's sends them, in batches; what does not fit into its queue is dropped.
"""

import logging
import time
from collections.abc import Mapping
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from socks6.compat import override
from socks6.distribution import NAME, VERSION
from socks6.message.codes import Command
from socks6.observability.logs import TELLTALE_ENDINGS
from socks6.telemetry import ConnectionEnded, Event, Observer

PATH: Final = "/v1/traces"
EXPORT_LOGGER: Final = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
SILENT_SECONDS: Final = 60.0  # between two lines about batches that were not taken
EXPORT_SECONDS: Final = 5.0  # for a batch
NANOSECONDS: Final = 1_000_000_000
OPERATIONS: Final[Mapping[str, str]] = {
    Command.CONNECT.name: "connect",
    Command.BIND.name: "bind",
    Command.UDP_ASSOCIATE.name: "associate",
}
"""What the span of a command's own work is called."""


class _Seldom(logging.Filter):
    """Lets a line through, and then none for a while: a collector that is gone is one for each batch."""

    def __init__(self) -> None:
        super().__init__()
        self._until = 0.0

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if record.created < self._until:
            return False
        self._until = record.created + SILENT_SECONDS
        return True


def provider_for(url: str | None, *, service: str) -> TracerProvider:
    """Return what makes spans of a service, and sends them to a collector's URL, or to where OTEL_EXPORTER_OTLP_... says.

    What OTEL_... variables say besides holds: sampler, headers, attributes, the service's name.
    """
    endpoint = None if url is None else url.rstrip("/") + PATH
    told = Resource.create()
    name = told.attributes["service.name"]
    named = Resource({"service.name": service if str(name).startswith("unknown_service") else name})
    provider = TracerProvider(resource=Resource({"service.version": VERSION}).merge(told).merge(named))
    logger = logging.getLogger(EXPORT_LOGGER)
    logger.filters = [_Seldom()]
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


class Traces(Observer):
    """Makes spans of connections that have ended.

    Without `destinations` no span says where a connection led, and neither does the reason that may name it.
    """

    wants = (ConnectionEnded,)

    def __init__(self, provider: TracerProvider, *, destinations: bool) -> None:
        self._provider: Final = provider
        self._tracer: Final = provider.get_tracer(NAME, VERSION)
        self._destinations = destinations

    @override
    def observe(self, event: Event) -> None:
        if isinstance(event, ConnectionEnded) and event.command:
            self._trace(event, time.time_ns())

    def close(self) -> None:
        """Send what is left, which takes as long as a batch at most, and end the thread that sends. Idempotent."""
        self._provider.shutdown()

    def _trace(self, event: ConnectionEnded, end: int) -> None:
        def later(seconds: float) -> int:
            return min(end, start + int(seconds * NANOSECONDS))

        start = end - int(event.seconds * NANOSECONDS)
        failed = event.reply > 0
        reason = event.reason if self._destinations or event.ending not in TELLTALE_ENDINGS else ""
        status = (
            Status(StatusCode.ERROR, reason or event.ending.value) if failed else Status(StatusCode.UNSET)
        )
        request = self._tracer.start_span(
            "request", kind=SpanKind.SERVER, start_time=start, attributes=self._attributes(event, reason)
        )
        if request.is_recording():  # else it is not in the sample
            begun = later(event.handshake_seconds)
            addressed = later(event.handshake_seconds + event.lookup_seconds)
            connected = (
                later(event.handshake_seconds + event.connect_seconds) if event.connect_seconds else end
            )
            context = set_span_in_context(request)
            operation = OPERATIONS.get(event.command)
            for name, since, until in (
                ("handshake", start, begun if event.handshake_seconds else start),
                ("resolve", begun, addressed),
                (operation, addressed, connected),
                ("relay", connected, end if event.connect_seconds else connected),
            ):
                if name is not None and until > since:
                    kind = SpanKind.CLIENT if name == operation else SpanKind.INTERNAL
                    span = self._tracer.start_span(name, context, kind=kind, start_time=since)
                    if failed and name == operation:
                        span.set_status(status)
                    span.end(until)
            request.set_status(status)
        request.end(end)

    def _attributes(self, event: ConnectionEnded, reason: str) -> dict[str, str | int]:
        found: dict[str, str | int] = {
            "client.address": event.source,
            "network.protocol.name": event.inbound,
            "user.name": event.user,
            "socks6.connection": event.id,
            "socks6.command": event.command,
            "socks6.outbound": event.outbound,
            "socks6.reply": event.reply,
            "socks6.ending": event.ending.value,
            "socks6.reason": reason,
            "socks6.session": event.session,
            "socks6.bytes_up": event.bytes_up,
            "socks6.bytes_down": event.bytes_down,
        }
        if self._destinations:
            found |= {
                "server.address": event.host,
                "server.port": event.port,
                "network.peer.address": event.peer,
            }
        return {name: value for name, value in found.items() if value != ""}
