"""Traces as a collector gets them: OTLP over HTTP, read by OpenTelemetry's own messages."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from socks6.compat import override
from tests.kit.origins import web_site
from tests.kit.proxies import curl, server

pytestmark = pytest.mark.e2e


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """Take what is exported; give the URL, and what came."""
    taken: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                taken.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        @override
        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{receiver.server_port}", taken
        receiver.shutdown()
        thread.join()


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_a_collector_gets_a_span_for_each_part_of_a_request(by: str) -> None:
    with web_site() as site, collector() as (url, taken):
        flags = ["--otel", url] if by == "flag" else []
        environment = (
            {} if by == "flag" else {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_SERVICE_NAME": "edge"}
        )
        with server("--listen", "mixed://127.0.0.1:0", *flags, environment=environment) as running:
            page = site.url.replace("127.0.0.1", "localhost")
            assert curl("--socks5-hostname", running.authority, page).status == 200
        # it ended, and sent what was left
        resources = [resource for request in taken for resource in request.resource_spans]
        named = {
            one.key: one.value.string_value for resource in resources for one in resource.resource.attributes
        }
        assert named["service.name"] == ("edge" if by == "variable" else "socks6-server")
        spans = {
            span.name: span
            for resource in resources
            for scope in resource.scope_spans
            for span in scope.spans
        }
        assert set(spans) == {"request", "handshake", "resolve", "connect", "relay"}
        assert {span.trace_id for span in spans.values()} == {spans["request"].trace_id}
        assert spans["connect"].start_time_unix_nano == spans["resolve"].end_time_unix_nano
        assert "localhost" not in str(resources)
