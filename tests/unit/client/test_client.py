"""The client, against a worker in memory and servers on loopback."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from socks6.client.client import Client
from socks6.errors import (
    AuthenticationFailed,
    ConfigurationError,
    OperationFailed,
    ProxyTimedOut,
    ProxyUnreachable,
    Socks6Error,
    VersionMismatch,
)
from socks6.message.dialect import DRAFT_12
from socks6.message.options import STANDARD
from socks6.net.stream import ByteStream, Endpoint
from socks6.policy.identity import Identity
from socks6.protocol.methods.base import Credentials
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.inbounds.socks6 import Socks6Inbound
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker
from tests.kit import two_stage
from tests.kit.challenge import NUMBER, ChallengeClient, ChallengeCredentials, ChallengeServer
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import BOUND, ScriptedOutbound
from tests.kit.proxied import USERS, proxied


def test_a_stream_tells_the_bind_address(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        async with (
            proxied(ServerWorker(outbound=outbound)) as client,
            await client.connect("example.com", 80, initial_data=b"hi") as stream,
        ):
            assert stream.bound == BOUND
            assert stream.options == ()
            await stream.send(b" there")
            await stream.send_eof()
            assert await outbound.far.receive() + await outbound.far.receive() == b"hi there"
            await outbound.far.aclose()

    run(scene())


def test_names_are_resolved_at_the_proxy(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        async with proxied(ServerWorker(outbound=outbound)) as client:
            stream = await client.connect("bücher.example", 80)
            stream.abort()
        assert outbound.dialled[0].host == "xn--bcher-kva.example"

    run(scene())


def test_the_password_goes_along(run: Run) -> None:
    async def scene() -> None:
        async with proxied(ServerWorker(authenticator=USERS)) as client:
            assert await client.noop() > 0

    run(scene())


def test_a_wrong_password_is_told(run: Run) -> None:
    async def scene() -> None:
        async with proxied(ServerWorker(authenticator=UserTable.from_plain({"alice": "other"}))) as client:
            with pytest.raises(AuthenticationFailed):
                await client.noop()

    run(scene())


class Challenged(Authenticator):
    """Lets in whoever answers the challenge."""

    @property
    @override
    def required(self) -> bool:
        return True

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        assert isinstance(credentials, ChallengeCredentials)
        return Identity(name="alice") if credentials.right else None


def test_a_method_of_ones_own_may_be_plugged_in(run: Run) -> None:
    async def scene() -> None:
        inbound = Socks6Inbound(methods={NUMBER: ChallengeServer})
        outbound = ScriptedOutbound()
        worker = ServerWorker(authenticator=Challenged(), inbounds={"socks6": inbound}, outbound=outbound)

        async with asyncio.TaskGroup() as group:

            async def dial() -> ByteStream:
                ours, theirs = memory_stream_pair()
                group.create_task(worker.serve_stream(theirs))
                return ours

            async with Client("socks6://memory", dial=dial, methods=(ChallengeClient,)) as client:
                stream = await client.connect("example.com", 80, initial_data=b"first")
                assert await outbound.far.receive() == b"first"
                stream.abort()

    run(scene())


class TwoStage(Authenticator):
    """Lets in whoever answers the challenge of the first reply."""

    @property
    @override
    def required(self) -> bool:
        return True

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        assert isinstance(credentials, two_stage.TwoStageCredentials)
        return Identity(name=credentials.name.decode()) if credentials.right else None


@pytest.mark.parametrize("secret", [b"secret", b"wrong"])
def test_a_method_of_two_stages_has_its_challenge_in_the_first_reply(run: Run, secret: bytes) -> None:
    async def scene() -> None:
        inbound = Socks6Inbound(methods={two_stage.NUMBER: two_stage.TwoStageServer})
        outbound = ScriptedOutbound()
        worker = ServerWorker(authenticator=TwoStage(), inbounds={"socks6": inbound}, outbound=outbound)

        def method() -> two_stage.TwoStageClient:
            return two_stage.TwoStageClient(secret=secret)

        async with (
            Server(["socks6://127.0.0.1:0"], worker) as server,
            Client(server.urls[0], methods=(method,)) as client,
        ):
            if secret == b"wrong":
                with pytest.raises(AuthenticationFailed):
                    await client.noop()
            else:
                stream = await client.connect("example.com", 80, initial_data=b"first")
                assert await outbound.far.receive() == b"first"
                stream.abort()

    run(scene())


def test_a_proxy_that_is_not_there_is_told(run: Run, tmp_path: Path) -> None:
    async def scene() -> None:
        with pytest.raises(ProxyUnreachable):
            await Client(f"socks6+unix://{tmp_path}/nobody.sock").noop()

    run(scene())


def test_a_silent_proxy_is_given_up(run: Run) -> None:
    async def scene() -> None:
        ends = []

        async def dial() -> ByteStream:
            ends.append(memory_stream_pair())
            return ends[-1][0]

        client = Client("socks6://memory", dial=dial, session=True)
        with pytest.raises(ProxyTimedOut):
            await client.noop(timeout=0.02)
        with pytest.raises(ProxyTimedOut):
            await client.open_session(timeout=0.02)
        with pytest.raises(ProxyTimedOut):
            await client.open_connection("example.com", 80, timeout=0.02)

    run(scene())


def test_the_callers_exceptions_pass_unchanged(run: Run) -> None:
    async def scene() -> None:
        with pytest.raises(ZeroDivisionError):
            async with Client("socks6://127.0.0.1"):
                raise ZeroDivisionError

    run(scene())


@pytest.mark.parametrize(("host", "port"), [("", 80), ("a b", 80), ("a" * 300, 80), ("example.com", 65536)])
def test_impossible_destinations_are_refused_at_once(run: Run, host: str, port: int) -> None:
    async def scene() -> None:
        with pytest.raises(ValueError, match=r"."):
            await Client("socks6://127.0.0.1:1").connect(host, port)

    run(scene())


@pytest.mark.parametrize(
    ("url", "settings", "complaint"),
    [
        ("mixed://127.0.0.1:1080", {}, "is a listener's"),
        ("socks5://h", {"session": True}, "which SOCKS 5 is not"),
        ("http://h", {"methods": (ChallengeClient,)}, "which HTTP is not"),
        ("socks4://h", {"dialect": DRAFT_12}, "which SOCKS 4 is not"),
        ("socks5://h", {"option_table": STANDARD.extended()}, "which SOCKS 5 is not"),
        ("socks5://h?udp=stream", {}, "udp=stream"),
        ("socks5://h?tos=16", {}, "the option tos: SOCKS 5 carries none"),
        ("socks5://h?mptcp=1", {}, "carries none"),
        ("socks4://alice:secret@h", {}, "no password"),
        ("socks4a://al%00ice@h", {}, "no NUL"),
        ("http://al%3Aice@h", {}, "with a colon"),
        ("http://al%0D%0Aice@h", {}, "no control characters"),
        ("http://alice:a%7Fb@h", {}, "no control characters"),
    ],
)
def test_what_a_protocol_cannot_carry_is_refused_at_once(
    url: str, settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        Client(url, **settings)
    Client("socks5://h?tos=16&leg=client")


@pytest.mark.parametrize("proxy", [None, b"socks5://h", 1080, ["socks5://h", None]])
def test_what_is_no_url_at_all_is_named(proxy: Any) -> None:
    with pytest.raises(
        TypeError, match=r"the URL of a proxy is a str or a ProxyUrl, not (NoneType|bytes|int)"
    ):
        Client(proxy)


@pytest.mark.parametrize(
    "url", ["socks6://127.0.0.1:1", "socks5://127.0.0.1:1", "http://127.0.0.1:1", "direct://"]
)
@pytest.mark.parametrize(
    ("host", "port", "complaint"),
    [("h", "80", "port is '80', no number"), (None, 80, "host is None, no text")],
)
def test_destinations_of_other_types_are_named(
    run: Run, url: str, host: Any, port: Any, complaint: str
) -> None:
    async def scene() -> None:
        with pytest.raises(TypeError, match=complaint):
            await Client(url).connect(host, port)

    run(scene())


def test_the_password_is_not_in_the_repr() -> None:
    assert "wonder" not in repr(Client("socks6://alice:wonderland@127.0.0.1"))


def test_the_errors_are_all_of_one_family() -> None:
    for error in (ProxyUnreachable, ProxyTimedOut, AuthenticationFailed, VersionMismatch, OperationFailed):
        assert issubclass(error, Socks6Error)
    assert Endpoint("a", 1) == ("a", 1)


@pytest.mark.slow
def test_no_time_limit_is_none_and_a_calls_default_is_the_clients(run: Run) -> None:
    async def scene() -> None:
        async def dial() -> ByteStream:
            ours, theirs = memory_stream_pair()
            answer = bytes.fromhex("06 00 0000  06 00 0000 0000 00 01 00000000")
            asyncio.get_running_loop().call_later(
                0.2, lambda: answers.add(asyncio.create_task(theirs.send(answer)))
            )
            return ours

        answers: set[asyncio.Task[None]] = set()
        hasty = Client("socks6://memory", dial=dial, timeout=0.01)
        with pytest.raises(ProxyTimedOut, match=r"within 0\.01 s"):
            await hasty.noop()
        assert await hasty.noop(timeout=None) > 0.1
        assert await hasty.noop(timeout=30.0) > 0.1
        patient = Client("socks6://memory", dial=dial, timeout=None)
        assert await patient.noop() > 0.1

    run(scene())
