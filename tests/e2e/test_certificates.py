"""One table of certificates: TLS, DTLS and both QUIC libraries accept and refuse the same ones, in the same words."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

import pytest
from typing_extensions import override

from socks6.client.client import Client
from socks6.errors import CertificateRefused
from socks6.net.encryption.contexts import ReloadingContext, TlsParameters, server_context
from socks6.net.transports.dtls import DtlsConnector
from socks6.net.transports.quic.client import QuicConnector
from socks6.net.transports.quic.engine import load_backend
from socks6.net.transports.tcp import listen_tcp
from socks6.net.transports.tls import TlsListener, TlsStream
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import DtlsUnavailable, Event, Observer
from tests.kit.certificate_kinds import KINDS, write_kind
from tests.kit.certificates import Files, tls_connector
from tests.kit.dtls import Couple
from tests.kit.loops import Run
from tests.kit.quic import connected, listening
from tests.kit.streams import accept

REFUSED: Final = "the certificate does not hold: "

pytestmark = pytest.mark.e2e


async def over_tls(files: Files, said: TlsParameters) -> None:
    (tcp,) = await listen_tcp("127.0.0.1", 0)
    listener = TlsListener(tcp, ReloadingContext(files.server, server_context))

    async def serve() -> None:
        stream = await accept(listener)
        assert isinstance(stream, TlsStream)
        with contextlib.suppress(OSError):
            await stream.handshake()
            await stream.receive()
        stream.abort()

    serving = asyncio.create_task(serve())
    try:
        (await tls_connector("127.0.0.1", tcp.local.port, said).connect()).abort()
    finally:
        await serving
        await listener.aclose()


async def over_dtls(files: Files, said: TlsParameters) -> None:
    couple = Couple(files, DtlsConnector("127.0.0.1", said))
    if couple.client.failure is not None:
        raise couple.client.failure
    fault = couple.connector.check(couple.client)
    if fault is not None:
        raise fault


async def over_quic(files: Files, said: TlsParameters, *, library: str) -> None:
    backend = load_backend(library)
    async with listening(files, backend) as listener:
        client, _ = await connected(QuicConnector("127.0.0.1", said, backend), listener)
        client.close()


WAYS: Final[Mapping[str, Callable[[Files, TlsParameters], Awaitable[None]]]] = {
    "TLS": over_tls,
    "DTLS": over_dtls,
    "qh3": lambda files, said: over_quic(files, said, library="qh3"),
    "aioquic": lambda files, said: over_quic(files, said, library="aioquic"),
}


def outcome(way: str, files: Files, said: TlsParameters) -> str:
    """Return what a client says of the certificate, "" for nothing."""
    try:
        asyncio.run(asyncio.wait_for(WAYS[way](files, said), 30))
    except CertificateRefused as error:
        return str(error).removeprefix(REFUSED)
    return ""


@pytest.mark.parametrize("name", KINDS)
def test_every_transport_says_the_same_of_a_certificate(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    files = write_kind(tmp_path, kind)
    said = TlsParameters(ca=files.ca, sni=kind.host)
    ways = [way for way in WAYS if kind.has_dtls or way != "DTLS"]
    assert {way: outcome(way, files, said) for way in ways} == dict.fromkeys(ways, kind.fault)


def test_a_listener_says_why_there_is_no_dtls_with_a_key_of_ed25519(run: Run, tmp_path: Path) -> None:
    class Told(Observer):
        wants = (DtlsUnavailable,)
        reasons: ClassVar[list[str]] = []

        @override
        def observe(self, event: Event) -> None:
            assert isinstance(event, DtlsUnavailable)
            self.reasons.append(event.reason)

    async def scene() -> None:
        files = write_kind(tmp_path, replace(KINDS["Ed25519"], names=("127.0.0.1",)))
        url = f"socks6+tls://127.0.0.1:0?{files.listener_query}"
        async with (
            Server([url], ServerWorker(observers=[Told()])) as server,
            Client(f"{server.urls[0].partition('?')[0]}?ca={files.ca}") as client,
        ):
            assert await client.noop() > 0
        (reason,) = Told.reasons
        assert "no DTLS with keys of Ed25519" in reason
        Told.reasons.clear()

    run(scene())


@pytest.mark.parametrize("way", WAYS)
def test_a_pin_or_nothing_asks_for_no_authority(way: str, tmp_path: Path) -> None:
    files = write_kind(tmp_path, KINDS["expired"])
    assert outcome(way, files, TlsParameters(insecure=True)) == ""
    wrong = replace(TlsParameters(), pins=(bytes(32),))
    assert outcome(way, files, wrong).startswith("the proxy's key is not the one of the pin")
