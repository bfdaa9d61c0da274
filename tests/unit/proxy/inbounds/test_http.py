"""The HTTP inbound: tunnels, authentication, and how a connection ends; forwarding is in test_http_forward.py."""

import asyncio
import base64

import pytest

from socks6.errors import ConnectionRefused, ConnectionTimedOut, NotAllowed, OperationFailed
from socks6.message.codes import Command
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.proxy.inbounds.base import Call
from socks6.proxy.inbounds.http import MOST_UNAUTHENTICATED, HttpInbound, HttpSettings
from socks6.telemetry import Ending
from tests.kit.engine import FakeEngine, Visit, expect, visiting
from tests.kit.http import CONNECT, GET, serve_get
from tests.kit.loops import Run

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
USERS = {b"me": b"123"}


def proof(text: bytes = b"me:123") -> bytes:
    return b"Proxy-Authorization: Basic " + base64.b64encode(text) + b"\r\n\r\n"


def call(*, identity: Identity = ANONYMOUS, first_data: bytes = b"") -> Call:
    return Call(command=Command.CONNECT, host="a.example", port=443, identity=identity, first_data=first_data)


async def response(visit: Visit) -> bytes:
    """Return the next response of the inbound's own: its head and body."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await visit.client.receive(1)
    length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
    await visit.client.receive(length)
    return head


def test_connect_makes_a_tunnel(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        async with visiting(HttpInbound(), engine) as visit:
            await visit.client.send(CONNECT)
            await expect(visit.client, ESTABLISHED)
            tunnel = await visit.over()
            assert tunnel is not None
            await tunnel.remote.send(b"hello")
            await expect(await engine.remote(), b"hello")
        assert engine.calls == [call()]

    run(scene())


@pytest.mark.parametrize("sends", [0, 2, 5])
def test_what_follows_connect_reaches_the_remote_once(run: Run, sends: int) -> None:
    async def scene() -> None:
        engine = FakeEngine(sends=sends)
        async with visiting(HttpInbound(), engine, CONNECT + b"early") as visit:
            tunnel = await visit.over()
            assert tunnel is not None
            assert tunnel.first == b"early"[sends:]
        assert engine.calls == [call(first_data=b"early")]

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
        async with visiting(HttpInbound(), FakeEngine(failures=[failure]), CONNECT + GET) as visit:
            head = await response(visit)
            assert head.startswith(b"HTTP/1.1 " + status)
            assert b"Connection: close" in head
            assert await visit.over() is None

    run(scene())


def test_the_connection_is_given_up_when_success_cannot_be_told(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        async with visiting(HttpInbound(), engine, CONNECT) as visit:
            visit.client.abort()
            with pytest.raises(ConnectionError):
                await visit.over()
            remote = await engine.remote()
            with pytest.raises(ConnectionError):
                await remote.receive()

    run(scene())


@pytest.mark.parametrize("request_", [CONNECT, GET])
def test_users_prove_themselves(run: Run, request_: bytes) -> None:
    async def scene() -> None:
        engine = FakeEngine(users=USERS)
        async with visiting(HttpInbound(), engine, request_[:-2] + proof()):
            await engine.remote()
        assert engine.calls[0].identity == Identity(name="me")

    run(scene())


@pytest.mark.parametrize("credentials", [b"\r\n", proof(b"me:wrong"), proof(b"you:123"), proof(b"rubbish")])
@pytest.mark.parametrize("request_", [CONNECT, GET])
def test_who_cannot_prove_itself_may_try_again(run: Run, request_: bytes, credentials: bytes) -> None:
    async def scene() -> None:
        engine = FakeEngine(users=USERS)
        async with visiting(HttpInbound(), engine, request_[:-2] + credentials) as visit:
            head = await response(visit)
            assert head.startswith(b"HTTP/1.1 407 ")
            assert b'Proxy-Authenticate: Basic realm="socks6"\r\n' in head
            assert engine.calls == []
            await visit.client.send(request_[:-2] + proof())
            await engine.remote()
        assert len(engine.calls) == 1

    run(scene())


@pytest.mark.parametrize(
    ("credentials", "reason"), [(b"\r\n", "no credentials"), (proof(b"me:no"), "wrong credentials")]
)
def test_who_gives_up_is_told_to_the_log(run: Run, credentials: bytes, reason: str) -> None:
    async def scene() -> None:
        engine = FakeEngine(users=USERS)
        async with visiting(HttpInbound(), engine, CONNECT[:-2] + credentials) as visit:
            await visit.client.send_eof()
            assert await visit.over() is None
        assert engine.refusals == [(Ending.UNAUTHENTICATED, reason)]

    run(scene())


def test_credentials_are_verified_once_a_connection(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine(users={**USERS, b"you": b"456"})
        async with visiting(HttpInbound(), engine) as visit:
            for credentials in (b"me:123", b"you:456"):
                await visit.client.send((GET[:-2] + proof(credentials)) * 2)
                remote = await engine.remote()
                for _ in range(2):
                    await serve_get(visit, remote)
        assert [call.identity.name for call in engine.calls] == ["me", "you"]
        assert len(engine.authenticator.asked) == 2

    run(scene())


def test_credentials_nobody_asked_for_are_ignored(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        async with visiting(HttpInbound(), engine, CONNECT[:-2] + proof()) as visit:
            assert await visit.over() is not None
        assert engine.calls == [call()]
        assert engine.authenticator.asked == []

    run(scene())


@pytest.mark.parametrize(
    ("said", "status"), [(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"400"), (b"\x16\3\1", b"400")]
)
def test_what_is_no_request_to_a_proxy(run: Run, said: bytes, status: bytes) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        async with visiting(HttpInbound(), engine, said) as visit:
            assert (await response(visit)).startswith(b"HTTP/1.1 " + status)
            assert await visit.over() is None
        assert [ending for ending, _ in engine.refusals] == [Ending.MALFORMED]

    run(scene())


def test_a_client_that_says_nothing_is_told_to_the_log(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        async with visiting(HttpInbound(), engine) as visit:
            await visit.client.send_eof()
            assert await visit.over() is None
        assert engine.refusals == [(Ending.NO_REQUEST, "the client closed its side")]

    run(scene())


def test_a_client_that_leaves_after_its_requests_is_nothing_to_tell(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        async with visiting(HttpInbound(), engine, GET) as visit:
            await serve_get(visit, await engine.remote())
            await visit.client.send_eof()
            assert await visit.over() is None
        assert engine.refusals == []

    run(scene())


def test_a_kept_connection_is_not_kept_for_ever(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        inbound = HttpInbound(HttpSettings(keep_alive_timeout=0.0))
        async with visiting(inbound, engine, GET) as visit:
            remote = await engine.remote()
            await serve_get(visit, remote)
            assert await visit.over() is None
            assert await remote.receive() == b""

    run(scene())


def test_the_wait_for_the_first_request_is_the_engines(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        inbound = HttpInbound(HttpSettings(keep_alive_timeout=0.0))
        async with visiting(inbound, engine) as visit:
            for _ in range(5):
                await asyncio.sleep(0)
            await visit.client.send(CONNECT)
            assert await visit.over() is not None

    run(scene())


def test_so_many_requests_without_credentials_end_the_connection(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine(users=USERS)
        async with visiting(HttpInbound(), engine, GET * (MOST_UNAUTHENTICATED + 1)) as visit:
            for number in range(1, MOST_UNAUTHENTICATED + 1):
                head = await response(visit)
                assert head.startswith(b"HTTP/1.1 407 ")
                assert (b"Connection: close" in head) is (number == MOST_UNAUTHENTICATED)
            assert await visit.over() is None
        assert engine.refusals == [(Ending.UNAUTHENTICATED, "no credentials")]

    run(scene())


def test_good_credentials_have_earlier_requests_forgotten(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine(users=USERS, failures=[NotAllowed("no")] * 2)
        good = GET[:-2] + proof()
        async with visiting(HttpInbound(), engine) as visit:
            for _ in range(2):
                await visit.client.send(GET * (MOST_UNAUTHENTICATED - 1) + good)
                for _ in range(MOST_UNAUTHENTICATED - 1):
                    assert b"Connection: close" not in await response(visit)
                assert (await response(visit)).startswith(b"HTTP/1.1 403 ")

    run(scene())
