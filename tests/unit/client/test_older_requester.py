"""Requests of proxies that speak SOCKS 4, SOCKS 5 and HTTP: our own worker's inbounds, and scripts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from typing_extensions import override

from socks6.client.client import Client
from socks6.client.connector import DialConnector
from socks6.client.options import StackOptions
from socks6.errors import (
    AddressTypeNotSupported,
    AuthenticationFailed,
    CommandNotSupported,
    ConfigurationError,
    ConnectionRefused,
    GeneralFailure,
    ProxyTimedOut,
    ProxyUnreachable,
    Socks6Error,
    VersionMismatch,
)
from socks6.message.codes import Leg
from socks6.net.stream import ByteStream
from socks6.net.transports.base import NotAnswered
from tests.kit.loops import Run
from tests.kit.memory import MemoryStream, memory_stream_pair
from tests.kit.outbounds import BOUND, ScriptedOutbound
from tests.kit.proxied import OPEN, USERS, through

PASSWORD = "alice:wonder%20land%2F7@"


@asynccontextmanager
async def answered(url: str, *script: bytes) -> AsyncIterator[Client]:
    """Give a client whose proxy answers what is written here, whatever it is asked, and closes."""

    async def dial() -> ByteStream:
        ours, theirs = memory_stream_pair()
        for piece in script:
            await theirs.send(piece)
        await theirs.send_eof()
        return ours

    async with Client(url, dial=dial, timeout=5.0) as client:
        yield client


@pytest.mark.parametrize(
    "url", [f"socks5://{PASSWORD}m", "socks5h://m", f"http://{PASSWORD}m", "socks4a://me@m"]
)
def test_a_stream_through_each_protocol(run: Run, url: str) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        authenticator = USERS if PASSWORD in url else OPEN
        async with (
            through(url, outbound, authenticator) as client,
            await client.connect("Example.com", 80, initial_data=b"hi") as stream,
        ):
            assert outbound.dialled[0].host == "example.com"
            assert stream.bound == (BOUND if "http" not in url else ("0.0.0.0", 0))
            assert stream.peer == ("example.com", 80)
            await stream.send(b" there")
            await stream.send_eof()
            assert await outbound.far.receive() + await outbound.far.receive() == b"hi there"
            await outbound.far.send(b"back")
            await outbound.far.aclose()
            assert await stream.receive() == b"back"
            assert await client.open_session() is False

    run(scene())


@pytest.mark.parametrize("url", ["socks5://alice:wrong@m", "http://alice:wrong@m"])
def test_a_wrong_password(run: Run, url: str) -> None:
    async def scene() -> None:
        async with through(url, ScriptedOutbound(), USERS) as client:
            for call in (client.noop, partial(client.connect, "example.com", 80)):
                with pytest.raises(AuthenticationFailed, match="refused the password of user alice"):
                    await call()

    run(scene())


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("socks5://m", "the URL has none"),
        ("http://m", "the URL has none"),
        ("socks4a://alice@m", "code 93"),
    ],
)
def test_a_password_that_is_missing(run: Run, url: str, words: str) -> None:
    async def scene() -> None:
        async with through(url, ScriptedOutbound(), USERS) as client:
            with pytest.raises(AuthenticationFailed, match=words):
                await client.connect("example.com", 80)

    run(scene())


@pytest.mark.parametrize(
    ("url", "error"),
    [("socks5://m", ConnectionRefused), ("http://m", ConnectionRefused), ("socks4a://m", GeneralFailure)],
)
def test_a_host_that_refuses(run: Run, url: str, error: type[Socks6Error]) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound(failure=ConnectionRefused("no"))
        async with through(url, outbound) as client:
            with pytest.raises(error):
                await client.connect("example.com", 80)

    run(scene())


@pytest.mark.parametrize("url", ["socks5://m", "http://m", "socks4a://m"])
def test_a_check_of_the_proxy(run: Run, url: str) -> None:
    async def scene() -> None:
        async with through(url, ScriptedOutbound(failure=ConnectionRefused("no host there"))) as client:
            assert await client.noop() > 0

    run(scene())


def test_what_the_protocols_cannot_do(run: Run) -> None:
    async def scene() -> None:
        async with answered("http://m") as client:
            with pytest.raises(CommandNotSupported, match="HTTP has no BIND"):
                await client.bind()
            with pytest.raises(ConfigurationError, match="no tokens"):
                await client.connect("a.example", 80, idempotent=True)
            with pytest.raises(ConfigurationError, match="the option tos"):
                await client.connect("a.example", 80, options=StackOptions(tos=8))
        async with answered("socks4a://m") as client:
            with pytest.raises(AddressTypeNotSupported):
                await client.connect("::1", 80)

    run(scene())


def test_options_about_our_own_socket_are_no_matter_of_the_proxy(run: Run) -> None:
    async def scene() -> None:
        async with through("socks5://m", ScriptedOutbound()) as client:
            options = StackOptions(tos=8, leg=Leg.CLIENT_PROXY)
            (await client.connect("example.com", 80, options=options)).abort()

    run(scene())


@pytest.mark.parametrize(
    ("url", "script", "error", "words"),
    [
        ("socks5://m", b"", ProxyUnreachable, "without an answer: does it speak SOCKS 5 in the clear there.*: socks5.tls://"),
        ("socks4a://m", b"", ProxyUnreachable, "without an answer: does it speak SOCKS 4 in the clear there.*: socks4a.tls://"),
        ("http://m", b"", ProxyUnreachable, "without an answer: does it speak HTTP in the clear there.*: https://"),
        ("socks5://m", b"\5\0\5", ProxyUnreachable, r"\(awaiting reply\)$"),
        ("socks5://m", b"HTTP/1.1 400\r\n", VersionMismatch, "no SOCKS 5 proxy"),
        ("socks5://alice:x@m", b"\5\xff", AuthenticationFailed, "it accepts none of our methods"),
        ("http://alice:x@m", b"HTTP/1.1 407 x\r\nProxy-Authenticate: NTLM\r\n\r\n", AuthenticationFailed, "it wants ntlm"),
    ],
)  # fmt: skip
def test_what_may_be_the_matter(
    run: Run, url: str, script: bytes, error: type[Socks6Error], words: str
) -> None:
    async def scene() -> None:
        async with answered(url, script) as client:
            with pytest.raises(error, match=words):
                await client.connect("example.com", 80)

    run(scene())


def test_a_proxy_that_says_nothing(run: Run) -> None:
    async def scene() -> None:
        kept = []

        async def dial() -> ByteStream:
            ours, theirs = memory_stream_pair()
            kept.append(theirs)
            return ours

        async with Client("socks5://m", dial=dial, timeout=0.05) as client:
            with pytest.raises(ProxyTimedOut, match="does not answer SOCKS 5"):
                await client.connect("example.com", 80)

    run(scene())


class LostOnce(DialConnector):
    """Loses the first request's connection before any answer."""

    lost = False

    @override
    async def first_answer(self, stream: ByteStream, answer: object) -> object:  # type: ignore[override]
        if not self.lost:
            self.lost = True
            answer.close()  # type: ignore[attr-defined]
            raise NotAnswered("gone")
        return await answer  # type: ignore[misc]


def test_a_request_whose_connection_is_lost_is_made_once_more(run: Run) -> None:
    async def scene() -> None:
        async with through("socks5://m", ScriptedOutbound()) as client:
            connector = client._connector._connector
            assert isinstance(connector, DialConnector)
            client._connector._connector = LostOnce(connector._dial)
            (await client.connect("example.com", 80)).abort()

    run(scene())


def test_a_tunnel_that_breaks_at_once(run: Run) -> None:
    class Breaking(MemoryStream):
        """Takes no initial data."""

        __slots__ = ()

        @override
        async def send(self, data: bytes | memoryview) -> None:
            if data == b"initial":
                raise ConnectionResetError
            await super().send(data)

    async def scene() -> None:
        async def dial() -> ByteStream:
            ours, theirs = memory_stream_pair()
            await theirs.send(b"\0\x5a" + bytes(6))
            ours.__class__ = Breaking
            return ours

        async with Client("socks4a://m", dial=dial) as client:
            with pytest.raises(ProxyUnreachable, match="broke"):
                await client.connect("a.example", 80, initial_data=b"initial")

    run(scene())


@pytest.mark.parametrize(
    ("url", "answer"), [("socks5://m", b"\x05\x00"), ("http://m", b"HTTP/1.1 100 Continue\r\n\r\n")]
)
def test_a_proxy_is_heard_with_its_first_message(run: Run, url: str, answer: bytes) -> None:
    async def scene() -> None:
        async with answered(url, answer) as client:
            assert client.heard_at == float("-inf")
            with pytest.raises(Socks6Error):
                await client.connect("h", 1)
            assert 0 <= asyncio.get_running_loop().time() - client.heard_at < 5
        async with answered("socks4://m") as client:
            assert client.heard_at == float("inf")

    run(scene())
