"""A proxy that answers as it should, up to a byte, and then goes wrong: over TCP, TLS and QUIC."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from socks6.message.datagrams import AssociationConfirmation, AssociationInitialization
from socks6.message.dialect import DRAFT_12
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.net.encryption.certificates import parse_pin
from socks6.net.encryption.contexts import ReloadingContext, TlsParameters, server_context
from socks6.net.stream import ByteStream, Listener
from socks6.net.transports.quic.connection import QuicConnection
from socks6.net.transports.quic.engine import load_backend
from socks6.net.transports.quic.listener import QuicListener
from socks6.net.transports.tcp import listen_tcp
from socks6.net.transports.tls import TlsListener, TlsStream
from socks6.net.url import ProxyUrl, QuicParameters
from tests.kit.certificates import pin_of_file, write_certificate
from tests.kit.quic import listening as quic_listening
from tests.kit.streams import accept

TRANSPORTS: Final = ("tcp", "tls", "quic", "quic by aioquic")
HOST: Final = "127.0.0.1"
RUBBISH: Final = b"\xff" * 64
ID: Final = 7

GRANTED: Final = AuthenticationReply(type=0).encode() + OperationReply(code=0, host=HOST, port=9).encode()
ANSWERS: Final[Mapping[str, bytes]] = {
    "noop": GRANTED,
    "connect": GRANTED,
    "bind": GRANTED + OperationReply(code=0, host="192.0.2.7", port=7).encode(),
    "associate": GRANTED
    + AssociationInitialization(association_id=ID).encode(DRAFT_12)
    + AssociationConfirmation(association_id=ID).encode(DRAFT_12),
}


class FaultyProxy:
    """Answers each request with `answer`, as far as `good` bytes, and goes wrong as `fault` says."""

    def __init__(self) -> None:
        self.behave()

    def behave(self) -> None:
        """Grant everything."""
        self.answer, self.good, self.fault = GRANTED, len(GRANTED), "end"

    def misbehave(self, answer: bytes, good: int, fault: str) -> None:
        """Go wrong from the next request on: `fault` is one of FAULTS."""
        self.answer, self.good, self.fault = answer, good, fault

    async def serve(self, stream: ByteStream) -> None:
        """Answer one request."""
        try:
            if isinstance(stream, TlsStream):
                await stream.handshake()
            if await stream.receive():
                await FAULTS[self.fault](self, stream)
            await stream.aclose()
        except OSError:
            pass  # the client is gone
        finally:
            stream.abort()

    async def end(self, stream: ByteStream) -> None:
        """Say nothing more."""
        await stream.send(self.answer[: self.good])
        await stream.send_eof()
        await _read_on(stream)

    async def reset(self, stream: ByteStream) -> None:
        """Break the connection."""
        await stream.send(self.answer[: self.good])
        stream.abort()

    async def rubbish(self, stream: ByteStream) -> None:
        """Go on with what is none of the protocol."""
        await stream.send(self.answer[: self.good] + RUBBISH)
        await _read_on(stream)

    async def flip(self, stream: ByteStream) -> None:
        """Have one byte be another one."""
        await stream.send(bytes(byte ^ (0xFF * (at == self.good)) for at, byte in enumerate(self.answer)))
        await _read_on(stream)

    async def silence(self, stream: ByteStream) -> None:
        """Stay silent, and connected."""
        await stream.send(self.answer[: self.good])
        await _read_on(stream)


FAULTS: Final = {
    "end": FaultyProxy.end,
    "reset": FaultyProxy.reset,
    "rubbish": FaultyProxy.rubbish,
    "flip": FaultyProxy.flip,
    "silence": FaultyProxy.silence,
}


@asynccontextmanager
async def faulty_proxy(transport: str, folder: Path) -> AsyncIterator[tuple[FaultyProxy, ProxyUrl]]:
    """Run such a proxy; give the URL for its clients."""
    proxy = FaultyProxy()
    files = write_certificate(folder)
    tls = TlsParameters(pins=(parse_pin(pin_of_file(files.certificate)),))
    async with asyncio.TaskGroup() as group:
        if transport.startswith("quic"):
            library = transport.removeprefix("quic").removeprefix(" by ") or "qh3"
            async with quic_listening(files, load_backend(library)) as port:
                accepting = group.create_task(_accept_connections(port, proxy, group))
                url = ProxyUrl(
                    protocol="socks6",
                    host=HOST,
                    port=port.local.port,
                    transport="quic",
                    tls=tls,
                    quic=QuicParameters(backend=library),
                )
                yield proxy, url
                accepting.cancel()
        else:
            raw = (await listen_tcp(HOST, 0))[0]
            listener: Listener
            listener = (
                TlsListener(raw, ReloadingContext(files.server, server_context))
                if transport == "tls"
                else raw
            )
            accepting = group.create_task(_accept_streams(listener, proxy, group))
            url = ProxyUrl(protocol="socks6", host=HOST, port=raw.local.port)
            yield proxy, replace(url, transport="tls", tls=tls) if transport == "tls" else url
            accepting.cancel()
            await raw.aclose()


async def _accept_streams(listener: Listener, proxy: FaultyProxy, group: asyncio.TaskGroup) -> None:
    while True:
        group.create_task(proxy.serve(await accept(listener)))


async def _accept_connections(listener: QuicListener, proxy: FaultyProxy, group: asyncio.TaskGroup) -> None:
    while True:
        group.create_task(_serve_connection(await listener.accept(), proxy, group))


async def _serve_connection(connection: QuicConnection, proxy: FaultyProxy, group: asyncio.TaskGroup) -> None:
    with contextlib.suppress(OSError):
        while True:
            group.create_task(proxy.serve(await connection.accept()))


async def _read_on(stream: ByteStream) -> None:
    while await stream.receive():
        pass
