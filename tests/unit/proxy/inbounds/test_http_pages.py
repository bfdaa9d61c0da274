"""The HTTP inbound's own pages: who gets them, and what they say."""

import base64
import hashlib
import json
import re
from typing import Final, NamedTuple

import pytest
from typing_extensions import override

from socks6.message.http import NO_PAGE
from socks6.net.direct import DirectOutbound
from socks6.net.stream import Endpoint
from socks6.net.upstream import UpstreamState, UpstreamStatus
from socks6.proxy.inbounds.http import HttpInbound
from socks6.telemetry import Ending
from tests.kit.connection import ScriptedConnection, serving
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair

UPSTREAM: Final = UpstreamStatus(
    url="socks6+tls://alice@far:8389",
    state=UpstreamState.UP,
    since=1.0,
    encryption="TLS 1.3",
    seconds=0.0234,
    last_error='<b>it\'s "down"</b>',
    last_error_at=1.0,
)


class KnownUpstream(DirectOutbound):
    """An outbound of whose proxy this is known."""

    refreshed = 0

    @property
    @override
    def upstream(self) -> UpstreamStatus | None:
        return UPSTREAM

    @override
    def refresh(self, max_age: float) -> None:
        self.refreshed += 1


class Answer(NamedTuple):
    """What a client got, and its connection."""

    head: str
    body: str
    connection: ScriptedConnection


def got(
    run: Run,
    target: str = "/",
    *,
    source: str = "127.0.0.1",
    host: str = "127.0.0.1:1080",
    users: dict[bytes, bytes] | None = None,
) -> Answer:
    """Return the answer to a request for a page, by a client at an address."""
    answers: list[Answer] = []

    async def scene() -> None:
        connection = ScriptedConnection(users=users)
        connection.source = source  # type: ignore[misc]  # of a stream in memory it is none
        connection.proxy.outbound = KnownUpstream()  # type: ignore[misc]
        request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"
        async with serving(HttpInbound(), connection, request.encode()) as served:
            assert await served.over() is None
            await connection.stream.send_eof()
            data = b""
            while piece := await served.client.receive():
                data += piece
        head, _, body = data.decode().partition("\r\n\r\n")
        answers.append(Answer(head, body, connection))

    run(scene())
    return answers[0]


def test_the_status_is_shown_and_what_it_quotes_is_no_markup(run: Run) -> None:
    head, body, connection = got(run)
    assert "socks6+tls://alice@far:8389" in body
    assert "23.4 ms" in body
    assert "&lt;b&gt;it&#x27;s &quot;down&quot;&lt;/b&gt;" in body
    assert "<b>" not in body
    assert "<script" not in body
    assert "no-store" in head
    assert isinstance(connection.proxy.outbound, KnownUpstream)
    assert connection.proxy.outbound.refreshed == 1


def test_its_security_policy_allows_its_style_and_nothing_else(run: Run) -> None:
    head, body, _ = got(run)
    (policy,) = re.findall("Content-Security-Policy: (.*)", head)
    style = body.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; ")
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_programs_get_the_same_facts(run: Run) -> None:
    head, body, _ = got(run, "/?format=json")
    assert "Content-Type: application/json" in head
    facts = json.loads(body)
    assert facts["upstream"]["state"] == "up"
    assert facts["upstream"]["seconds"] == 0.0234
    assert facts["upstreams"] == [facts["upstream"]]
    assert facts["connections"] == {"open": 0, "served": 0}


@pytest.mark.parametrize("source", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", ""])
@pytest.mark.parametrize("host", ["127.0.0.1:1080", "localhost:1080", "[::1]"])
def test_clients_of_this_machine_get_it(run: Run, source: str, host: str) -> None:
    assert "200 OK" in got(run, source=source, host=host).head


@pytest.mark.parametrize(
    ("source", "host", "target", "users"),
    [
        ("192.0.2.1", "127.0.0.1", "/", {}),
        ("2001:db8::1", "[::1]", "/?format=json", {}),
        ("127.0.0.1", "evil.example:1080", "/", {}),  # DNS rebinding
        ("127.0.0.1", "127.0.0.1.evil.example", "/?format=json", {}),
        ("127.0.0.1", "127.0.0.1", "/", {b"alice": b"secret"}),  # it may be another user of this machine
        ("127.0.0.1", "127.0.0.1", "/other", {}),
        ("127.0.0.1", "127.0.0.1", "//", {}),
        ("", "localhost", "/proxy.pac", {}),  # on a Unix socket
    ],
)
def test_others_are_told_what_this_is(
    run: Run, source: str, host: str, target: str, users: dict[bytes, bytes]
) -> None:
    head, body, connection = got(run, target, source=source, host=host, users=users)
    assert head.startswith("HTTP/1.1 400 ")
    assert body == NO_PAGE + "\n"
    assert connection.refusals == [(Ending.MALFORMED, NO_PAGE)]


@pytest.mark.parametrize(
    ("local", "proxy"),
    [
        (Endpoint("127.0.0.1", 1080), "PROXY 127.0.0.1:1080"),
        (Endpoint("::ffff:192.0.2.7", 80), "PROXY 192.0.2.7:80"),
        (Endpoint("fe80::1%eth0", 8080), "PROXY [fe80::1]:8080"),
    ],
)
def test_the_pac_file_leads_to_where_the_client_came(
    run: Run, monkeypatch: pytest.MonkeyPatch, local: Endpoint, proxy: str
) -> None:
    stream = type(memory_stream_pair()[0])
    monkeypatch.setattr(stream, "local", local)
    head, body, _ = got(run, "/proxy.pac", source="192.0.2.1", host="proxy.example")
    assert "Content-Type: application/x-ns-proxy-autoconfig" in head
    assert f'return "{proxy}";' in body


def test_several_proxies_have_a_row_each(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    down = UpstreamStatus(url="socks6://<b>", state=UpstreamState.DOWN, since=1.0, reason="no <route>")
    monkeypatch.setattr(KnownUpstream, "upstreams", (UPSTREAM, down))
    body = got(run).body
    assert "<th scope=row>Proxy 1</th><td>socks6+tls://alice@far:8389, TLS 1.3, 23 ms: up for " in body
    assert re.search("Proxy 2</th><td>socks6://&lt;b&gt;: down for .*: no &lt;route&gt;</td>", body)
