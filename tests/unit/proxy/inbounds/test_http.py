"""The HTTP inbound: tunnels, authentication, and how a connection ends; forwarding is in test_http_forward.py."""

import asyncio
import base64
import socket

import pytest

from socks6.errors import (
    AuthenticationFailed,
    CertificateRefused,
    ConnectionRefused,
    ConnectionTimedOut,
    NotAllowed,
    OperationFailed,
    ProxyTimedOut,
    ProxyUnreachable,
    TlsFailed,
    UpstreamFailed,
    VersionMismatch,
)
from socks6.message.codes import Command
from socks6.message.first_bytes import SOCKS4_REFUSAL, TLS_REFUSAL
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.proxy.commands import ProxyRequest
from socks6.proxy.inbounds.http import MAX_UNAUTHENTICATED, HttpInbound
from socks6.proxy.inbounds.http_forward import HttpSettings
from socks6.telemetry import Ending
from tests.kit.connection import ScriptedConnection, ServedClient, expect, serving
from tests.kit.http import CONNECT, GET, serve_get
from tests.kit.loops import Run

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
USERS = {b"me": b"123"}


def proof(text: bytes = b"me:123") -> bytes:
    return b"Proxy-Authorization: Basic " + base64.b64encode(text) + b"\r\n\r\n"


def request(*, identity: Identity = ANONYMOUS, initial_data: bytes = b"") -> ProxyRequest:
    return ProxyRequest(
        command=Command.CONNECT, host="a.example", port=443, identity=identity, initial_data=initial_data
    )


async def response(served: ServedClient) -> bytes:
    """Return the next response of the inbound's own: its head and body."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await served.client.receive(1)
    length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
    await served.client.receive(length)
    return head


def test_connect_makes_a_tunnel(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection) as served:
            await served.client.send(CONNECT)
            await expect(served.client, ESTABLISHED)
            tunnel = await served.over()
            assert tunnel is not None
            await tunnel.remote.send(b"hello")
            await expect(await connection.remote(), b"hello")
        assert connection.requests == [request()]

    run(scene())


@pytest.mark.parametrize("sends", [0, 2, 5])
def test_what_follows_connect_reaches_the_remote_once(run: Run, sends: int) -> None:
    async def scene() -> None:
        connection = ScriptedConnection(sends=sends)
        async with serving(HttpInbound(), connection, CONNECT + b"early") as served:
            tunnel = await served.over()
            assert tunnel is not None
            assert tunnel.initial_data == b"early"[sends:]
        assert connection.requests == [request(initial_data=b"early")]

    run(scene())


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (NotAllowed("the rules"), b"403 Forbidden"),
        (ConnectionRefused("no"), b"502 Bad Gateway"),
        (ConnectionTimedOut("late"), b"504 Gateway Timeout"),
    ],
)
def test_failures_have_their_statuses(run: Run, failure: OperationFailed, status: bytes) -> None:
    async def scene() -> None:
        async with serving(HttpInbound(), ScriptedConnection(failures=[failure]), CONNECT + GET) as served:
            head = await response(served)
            assert head.startswith(b"HTTP/1.1 " + status)
            assert b"Connection: close" in head
            assert await served.over() is None

    run(scene())


def upstream_failure(error: Exception, cause: BaseException | None = None) -> UpstreamFailed:
    error.__cause__ = cause
    failure = UpstreamFailed(f"upstream: {error}")
    failure.__cause__ = error
    return failure


@pytest.mark.parametrize(
    ("failure", "status", "error"),
    [
        (
            upstream_failure(ProxyUnreachable("far: no"), ConnectionRefusedError(111, "no")),
            502,
            b"connection_refused",
        ),
        (upstream_failure(ProxyUnreachable("far: no"), socket.gaierror(-2, "no")), 502, b"dns_error"),
        (upstream_failure(ProxyUnreachable("far: no"), TimeoutError(110, "no")), 504, b"connection_timeout"),
        (upstream_failure(ProxyUnreachable("far: no"), OSError(101, "no")), 502, b"destination_unavailable"),
        (upstream_failure(ProxyUnreachable("far: no")), 502, b"destination_unavailable"),
        (upstream_failure(ProxyTimedOut("far: no")), 504, b"connection_timeout"),
        (upstream_failure(CertificateRefused("far: no")), 502, b"tls_certificate_error"),
        (upstream_failure(TlsFailed("far: no")), 502, b"tls_protocol_error"),
        (upstream_failure(AuthenticationFailed("far: no")), 502, b"proxy_configuration_error"),
        (upstream_failure(VersionMismatch("far: no")), 502, b"proxy_configuration_error"),
    ],
)
@pytest.mark.parametrize("request_", [CONNECT, GET])
def test_the_cause_of_an_upstreams_failure_is_told(
    run: Run, request_: bytes, failure: OperationFailed, status: int, error: bytes
) -> None:
    async def scene() -> None:
        async with serving(HttpInbound(), ScriptedConnection(failures=[failure]), request_) as served:
            head = await response(served)
            assert head.startswith(b"HTTP/1.1 %d " % status)
            assert b'Proxy-Status: socks6; error=%s; details="far: no"\r\n' % error in head

    run(scene())


def test_other_machines_clients_learn_the_cause_and_not_what_the_upstream_is_called(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection(
            failures=[upstream_failure(AuthenticationFailed("socks6://alice@far: no"))]
        )
        connection.source = "192.0.2.1"  # type: ignore[misc]  # of a stream in memory it is none
        async with serving(HttpInbound(), connection, CONNECT) as served:
            head = await response(served)
        assert b'details="the proxy to go through: proxy configuration error"' in head
        assert b"alice" not in head

    run(scene())


def test_the_connection_is_given_up_when_success_cannot_be_told(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection, CONNECT) as served:
            served.client.abort()
            with pytest.raises(ConnectionError):
                await served.over()
            remote = await connection.remote()
            with pytest.raises(ConnectionError):
                await remote.receive()

    run(scene())


@pytest.mark.parametrize("request_", [CONNECT, GET])
def test_users_prove_themselves(run: Run, request_: bytes) -> None:
    async def scene() -> None:
        connection = ScriptedConnection(users=USERS)
        async with serving(HttpInbound(), connection, request_[:-2] + proof()):
            await connection.remote()
        assert connection.requests[0].identity == Identity(name="me")

    run(scene())


@pytest.mark.parametrize("credentials", [b"\r\n", proof(b"me:wrong"), proof(b"you:123"), proof(b"rubbish")])
@pytest.mark.parametrize("request_", [CONNECT, GET])
def test_who_cannot_prove_itself_may_try_again(run: Run, request_: bytes, credentials: bytes) -> None:
    async def scene() -> None:
        connection = ScriptedConnection(users=USERS)
        async with serving(HttpInbound(), connection, request_[:-2] + credentials) as served:
            head = await response(served)
            assert head.startswith(b"HTTP/1.1 407 ")
            assert b'Proxy-Authenticate: Basic realm="socks6"\r\n' in head
            assert connection.requests == []
            await served.client.send(request_[:-2] + proof())
            await connection.remote()
        assert len(connection.requests) == 1

    run(scene())


@pytest.mark.parametrize(
    ("credentials", "reason"), [(b"\r\n", "no credentials"), (proof(b"me:no"), "wrong credentials")]
)
def test_who_gives_up_is_told_to_the_log(run: Run, credentials: bytes, reason: str) -> None:
    async def scene() -> None:
        connection = ScriptedConnection(users=USERS)
        async with serving(HttpInbound(), connection, CONNECT[:-2] + credentials) as served:
            await served.client.send_eof()
            assert await served.over() is None
        assert connection.refusals == [(Ending.UNAUTHENTICATED, reason)]

    run(scene())


def test_credentials_are_verified_once_a_connection(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection(users={**USERS, b"you": b"456"})
        async with serving(HttpInbound(), connection) as served:
            for credentials in (b"me:123", b"you:456"):
                await served.client.send((GET[:-2] + proof(credentials)) * 2)
                remote = await connection.remote()
                for _ in range(2):
                    await serve_get(served, remote)
        assert [request.identity.name for request in connection.requests] == ["me", "you"]
        assert len(connection.authenticator.asked) == 2

    run(scene())


def test_credentials_nobody_asked_for_are_ignored(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection, CONNECT[:-2] + proof()) as served:
            assert await served.over() is not None
        assert connection.requests == [request()]
        assert connection.authenticator.asked == []

    run(scene())


@pytest.mark.parametrize(
    ("said", "answer", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 400 ", "this is a proxy"),
        (b"\x16\3\1", TLS_REFUSAL, "a TLS client: listen on http+tls:// for those"),
        (b"\4\1\0\x50", SOCKS4_REFUSAL, "a SOCKS 4 client"),
        (b"\6\1\0\0", b"HTTP/1.1 400 ", "a SOCKS 6 client: listen on mixed:// for those"),
        (b"SSH-2.0-x\r\n", b"this is a proxy", "an ssh client"),
    ],
)
def test_what_is_no_request_to_a_proxy(run: Run, said: bytes, answer: bytes, reason: str) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection, said) as served:
            assert (await served.client.receive()).startswith(answer)
            assert await served.over() is None
        [(ending, words)] = connection.refusals
        assert ending is Ending.MALFORMED
        assert words.startswith(reason)

    run(scene())


def test_a_client_that_says_nothing_is_told_to_the_log(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection) as served:
            await served.client.send_eof()
            assert await served.over() is None
        assert connection.refusals == [(Ending.NO_REQUEST, "the client closed its side")]

    run(scene())


def test_a_client_that_leaves_after_its_requests_is_nothing_to_tell(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection, GET) as served:
            await serve_get(served, await connection.remote())
            await served.client.send_eof()
            assert await served.over() is None
        assert connection.refusals == []

    run(scene())


def test_a_kept_connection_is_not_kept_for_ever(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        inbound = HttpInbound(HttpSettings(keep_alive_timeout=0.0))
        async with serving(inbound, connection, GET) as served:
            remote = await connection.remote()
            await serve_get(served, remote)
            assert await served.over() is None
            assert await remote.receive() == b""

    run(scene())


def test_the_wait_for_the_first_request_is_the_connections(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        inbound = HttpInbound(HttpSettings(keep_alive_timeout=0.0))
        async with serving(inbound, connection) as served:
            for _ in range(5):
                await asyncio.sleep(0)
            await served.client.send(CONNECT)
            assert await served.over() is not None

    run(scene())


def test_so_many_requests_without_credentials_end_the_connection(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection(users=USERS)
        async with serving(HttpInbound(), connection, GET * (MAX_UNAUTHENTICATED + 1)) as served:
            for number in range(1, MAX_UNAUTHENTICATED + 1):
                head = await response(served)
                assert head.startswith(b"HTTP/1.1 407 ")
                assert (b"Connection: close" in head) is (number == MAX_UNAUTHENTICATED)
            assert await served.over() is None
        assert connection.refusals == [(Ending.UNAUTHENTICATED, "no credentials")]

    run(scene())


def test_good_credentials_have_earlier_requests_forgotten(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection(users=USERS, failures=[NotAllowed("no")] * 2)
        good = GET[:-2] + proof()
        async with serving(HttpInbound(), connection) as served:
            for _ in range(2):
                await served.client.send(GET * (MAX_UNAUTHENTICATED - 1) + good)
                for _ in range(MAX_UNAUTHENTICATED - 1):
                    assert b"Connection: close" not in await response(served)
                assert (await response(served)).startswith(b"HTTP/1.1 403 ")

    run(scene())
