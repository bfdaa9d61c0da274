"""The registry of transports: its rows, and one of one's own beside them."""

import asyncio
import socket

import pytest

from socks6.client.client import Client
from socks6.errors import ConfigurationError, VersionMismatch
from socks6.net.transports.registry import AUTO, QUIC, TLS, TRANSPORTS, UNIX
from socks6.net.url import ProxyUrl, schemes
from socks6.proxy.service import Server
from tests.kit.loops import Run
from tests.kit.masked import MASK, MASKED, MaskedStream
from tests.kit.proxied import local_worker
from tests.kit.streams import receive_exactly

WITH_OURS = {**TRANSPORTS, "masked": MASKED}


def test_rows_say_what_the_layers_above_ask() -> None:
    assert [name for name, row in TRANSPORTS.items() if row.encrypted] == [TLS, QUIC]
    assert [name for name, row in TRANSPORTS.items() if row.multiplexed] == [QUIC]
    assert [name for name, row in TRANSPORTS.items() if row.at_path] == [UNIX]
    assert {name: row.datagrams for name, row in TRANSPORTS.items()} == {
        "": "datagram",
        UNIX: "",
        TLS: "dtls",
        QUIC: "quic",
    }
    assert all(row.listen or row.listen_for_connections for row in TRANSPORTS.values())


def test_schemes_of_urls_are_those_of_the_rows() -> None:
    assert f"socks6+{AUTO}" in schemes(TRANSPORTS)
    assert "http+quic" not in schemes(TRANSPORTS)
    assert {"socks6+masked", "http+masked"} == {"socks6+masked", "http+masked"} & set(schemes(WITH_OURS))
    assert schemes({"": TRANSPORTS[""]}) == ("socks6", "mixed", "socks5", "http")
    with pytest.raises(ConfigurationError, match="unknown scheme"):
        ProxyUrl.parse("socks6+masked://proxy.example")
    url = ProxyUrl.parse("socks6+masked://proxy.example", WITH_OURS)
    assert str(url) == "socks6+masked://proxy.example:8389"


def test_a_transport_of_ones_own_carries_a_client_to_a_server(run: Run) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(4))
        await writer.drain()
        writer.close()

    async def scene() -> None:
        target = await asyncio.start_server(echo, "127.0.0.1", 0)
        host, port = target.sockets[0].getsockname()
        listen = ["socks6+masked://127.0.0.1:0"]
        async with target, Server(listen, local_worker(), transports=WITH_OURS) as server:
            (place,) = server.urls
            url = place.replace("://", "://alice:wonder%20land%2F7@")
            async with (
                Client(url, transports=WITH_OURS) as client,
                await client.connect(host, port, initial_data=b"pi") as stream,
            ):
                assert stream.attribute(MaskedStream) is not None
                assert stream.attribute(socket.socket) is not None
                await stream.send(b"ng")
                assert await receive_exactly(stream, 4) == b"ping"
            plain = place.replace("+masked", "").replace("://", "://alice:wonder%20land%2F7@")
            async with Client(plain, timeout=5) as stranger:
                with pytest.raises(VersionMismatch):
                    await stranger.connect(host, port)

    run(scene())


def test_masked_bytes_are_others_on_the_wire() -> None:
    assert b"secret".translate(MASK) != b"secret"
    assert b"secret".translate(MASK).translate(MASK) == b"secret"
