"""Clients that come over TLS."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from socks6.client.client import Client
from socks6.errors import AuthenticationFailed, ConfigurationError, ProxyUnreachable, TlsFailed
from socks6.net.encryption.contexts import TlsParameters
from socks6.net.transports.tcp import connect_tcp
from socks6.net.url import ProxyUrl
from socks6.policy.rules import Policy, Rule
from socks6.proxy.service import Server
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import Ending
from tests.kit.certificates import Files, certificate, tls_connector
from tests.kit.loops import Run
from tests.kit.outbounds import Recorder
from tests.kit.proxied import USERS, echoing
from tests.kit.streams import until


@dataclass(kw_only=True)
class Scene:
    server: Server
    recorder: Recorder
    port: int
    files: Files

    def url(self, **said: object) -> ProxyUrl:
        tls = TlsParameters(ca=self.files.ca, **said)  # type: ignore[arg-type]  # names are the test's
        return ProxyUrl(protocol="socks6", host="127.0.0.1", port=self.port, transport="tls", tls=tls)


@asynccontextmanager
async def serving(
    inbound: str = "socks6", *, client_ca: bool = False, **settings: object
) -> AsyncIterator[Scene]:
    recorder = Recorder()
    with certificate() as files:
        tls = replace(files.server, client_ca=files.ca if client_ca else None)
        worker = ServerWorker(
            authenticator=USERS,
            policy=Policy(allow_private=True, rules=(Rule.parse("deny", users=("mallory",)),)),
            settings=Settings(tls=tls, **settings),  # type: ignore[arg-type]
            observers=[recorder],
        )
        async with Server([f"{inbound}+tls://127.0.0.1:0"], worker) as server:
            port = ProxyUrl.parse(server.urls[0]).port
            yield Scene(server=server, recorder=recorder, port=port, files=files)


def test_a_certificate_is_as_good_as_a_password(run: Run) -> None:
    async def play() -> None:
        async with serving(client_ca=True) as scene, echoing() as port:
            with certificate("alice@example.com", common_name="Alice") as mine:
                url = scene.url(certificate=mine.certificate, key=mine.key)
                async with Client(url) as client, await client.connect("127.0.0.1", port) as stream:
                    assert await stream.receive() == b"hello "
        users = [
            summary.user for summary in scene.recorder.summaries if summary.command
        ]  # the other was spare
        assert users == ["alice@example.com"]

    run(play())


def test_rules_see_whom_it_names(run: Run) -> None:
    async def play() -> None:
        async with serving(client_ca=True) as scene, echoing() as port:
            with certificate(common_name="mallory", issuer="good") as mine:
                url = scene.url(certificate=mine.certificate, key=mine.key)
                async with Client(url) as client:
                    with pytest.raises(PermissionError):
                        await client.connect("127.0.0.1", port)

    run(play())


async def ending(scene: Scene) -> tuple[Ending, str]:
    """Return how the first client's visit ended, and why."""
    await until(lambda: scene.recorder.summaries)
    return scene.recorder.summaries[0].ending, scene.recorder.summaries[0].reason


def test_without_a_certificate_no_password_helps(run: Run) -> None:
    async def play() -> None:
        async with serving(client_ca=True) as scene:
            url = replace(scene.url(), username="alice", password="wonder land/7")
            async with Client(url) as client:
                with pytest.raises(TlsFailed, match="wants a client certificate"):
                    await client.noop()
            assert await ending(scene) == (Ending.UNAUTHENTICATED, "the client has no certificate")

    run(play())


def test_a_certificate_that_names_nobody_is_refused(run: Run) -> None:
    async def play() -> None:
        async with serving(client_ca=True) as scene:
            with certificate("192.0.2.1") as mine:
                url = scene.url(certificate=mine.certificate, key=mine.key)
                async with Client(url) as client:
                    with pytest.raises(ProxyUnreachable):
                        await client.noop()
            assert await ending(scene) == (Ending.UNAUTHENTICATED, "the client's certificate names no user")

    run(play())


@pytest.mark.parametrize("inbound", ["socks6", "mixed"])
def test_a_client_that_offers_other_protocols_alone_is_sent_away(run: Run, inbound: str) -> None:
    async def play() -> None:
        async with serving(inbound) as scene:
            said = TlsParameters(ca=scene.files.ca)
            stream = await tls_connector(
                "127.0.0.1", scene.port, said, alpn="h2", require_alpn=False
            ).connect()
            with pytest.raises(ConnectionResetError):
                await stream.receive()
            stream.abort()
            found, reason = await ending(scene)
            assert found is Ending.MALFORMED
            assert reason == "the client does not speak socks6, but h2 (ALPN)"

    run(play())


def test_a_client_that_only_connects_is_sent_away_in_time(run: Run) -> None:
    async def play() -> None:
        async with serving(handshake_timeout=0.1) as scene:
            stream = await connect_tcp("127.0.0.1", scene.port)
            assert await ending(scene) == (Ending.NO_REQUEST, "the client sent nothing in time")
            stream.abort()

    run(play())


def test_a_client_that_speaks_no_tls_is_told_in_the_log(run: Run) -> None:
    async def play() -> None:
        async with serving() as scene:
            stream = await connect_tcp("127.0.0.1", scene.port)
            await stream.send(bytes.fromhex("06 00 0000 00000001 00000000"))
            while await stream.receive():  # an alert
                pass
            await stream.aclose()
            assert await ending(scene) == (Ending.MALFORMED, "the peer speaks SOCKS 6, not TLS")

    run(play())


def test_who_only_connects_gives_way_before_any_tls(run: Run) -> None:
    async def play() -> None:
        async with serving(connections=1) as scene, Client(scene.url()) as client:
            first = await connect_tcp("127.0.0.1", scene.port)
            await until(lambda: len(scene.server.connections) > 0)
            with pytest.raises(AuthenticationFailed):  # so it was let in, and heard
                await client.noop()
            with pytest.raises(ConnectionResetError):
                await first.receive()
            first.abort()

    run(play())


@pytest.mark.parametrize(
    ("inbound", "alpn"),
    [
        ("socks6", "socks6"), ("socks6", ""),
        ("mixed", "socks6"), ("mixed", "http/1.1"), ("mixed", ""),
        ("socks5", ""), ("socks5", "h2"),
    ],
)  # fmt: skip
def test_a_client_that_offers_nothing_else_is_served(run: Run, inbound: str, alpn: str) -> None:
    """The draft knows no ALPN: a client need not say what it speaks."""

    async def play() -> None:
        async with serving(inbound) as scene:
            said = TlsParameters(ca=scene.files.ca)
            stream = await tls_connector(
                "127.0.0.1", scene.port, said, alpn=alpn, require_alpn=False
            ).connect()
            await stream.send(bytes.fromhex("05 01 02"))
            assert await stream.receive() == bytes.fromhex("06" if inbound == "socks6" else "05 02")
            stream.abort()

    run(play())


def test_a_listener_without_a_certificate_cannot_be(run: Run) -> None:
    async def play() -> None:
        with pytest.raises(ConfigurationError, match="has no certificate"):
            async with Server(["socks6+tls://127.0.0.1:0"], ServerWorker()):
                pass

    run(play())


def test_client_certificates_make_a_listener_safe_for_others_to_reach(run: Run) -> None:
    async def play() -> None:
        with certificate() as files:
            query = files.listener_query
            with pytest.raises(ConfigurationError, match="asks for no password"):
                Server([f"socks6+tls://0.0.0.0:0?{query}"], ServerWorker())
            Server([f"socks6+tls://0.0.0.0:0?{query}&client-ca={files.ca}"], ServerWorker())

    run(play())
