"""Command × transport × client kind: whatever works over one transport works over all of them.

A new transport is a row of `tests.kit.transports.TRANSPORTS`; a new command or kind of client is a row of ROWS.
"""

import asyncio
import ssl
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from socks6.client.client import Client
from socks6.client.options import StackOptions
from socks6.errors import ConnectionRefused
from socks6.message.options import Ttl
from socks6.net.stream import ByteStream
from socks6.net.url import ProxyUrl
from tests.kit.certificates import Files, write_certificate
from tests.kit.loops import Run
from tests.kit.origins import Place, echo, refusing_place
from tests.kit.proxies import ENVIRONMENT, curl_line
from tests.kit.socks5_client import socks5_association
from tests.kit.streams import BULK, receive_all, receive_exactly
from tests.kit.transports import TRANSPORTS, passing_on, serving
from tests.kit.udp_hosts import udp_echo

pytestmark = pytest.mark.e2e

SIZE: Final = 1 << 20
PATHS: Final = {  # how datagrams travel by themselves, by the scheme of the proxy's URL
    "socks6": "datagram",
    "socks6+unix": "stream",
    "socks6+tls": "dtls",
    "socks6+quic": "datagram",
}
NEXT_HOP: Final = "socks6://127.0.0.1:0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a row works with."""

    url: ProxyUrl  # of the proxy, for its clients
    folder: Path


Row: TypeAlias = Callable[[Scene], Awaitable[None]]


async def noop_by_library(scene: Scene) -> None:
    async with Client(scene.url) as client:
        assert await client.noop() > 0
        assert await client.noop() > 0  # within a session, or with the keys of the first


async def noop_by_command(scene: Scene) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "socks6",
        "ping",
        "-c",
        "1",
        env=_environment(scene),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out
    assert b"1 requests, 1 replies" in out


async def connect_by_library(scene: Scene) -> None:
    with echo() as place:
        async with Client(scene.url) as client, await client.connect(*_address(place)) as stream:
            await _exchange(stream)


async def connect_with_early_data_by_library(scene: Scene) -> None:
    with echo() as place:
        async with (
            Client(scene.url) as client,
            await client.connect(*_address(place), initial_data=b"early ") as stream,
        ):
            assert await receive_exactly(stream, 6) == b"early "
            await _exchange(stream)


async def connect_idempotently_by_library(scene: Scene) -> None:
    with echo() as place:
        async with Client(scene.url, session=True) as client:
            for _ in range(2):
                async with await client.connect(
                    *_address(place), initial_data=b"once", idempotent=True
                ) as stream:
                    assert await receive_exactly(stream, 4) == b"once"


async def connect_by_reader_and_writer(scene: Scene) -> None:
    with echo() as place:
        async with Client(scene.url) as client:
            reader, writer = await client.open_connection(*_address(place))
            writer.write(BULK[:SIZE])
            writer.write_eof()
            assert await reader.read() == BULK[:SIZE]
            writer.close()


async def tls_within_by_reader_and_writer(scene: Scene) -> None:
    inner = scene.folder / "inner"
    inner.mkdir()
    files = write_certificate(inner)
    async with await asyncio.start_server(_greet, "127.0.0.1", 0, ssl=_server_side(files)) as server:
        port = server.sockets[0].getsockname()[1]
        async with Client(scene.url) as client:
            trusting = ssl.create_default_context(cafile=files.ca)
            reader, writer = await client.open_connection(
                "127.0.0.1", port, ssl=trusting, server_hostname="localhost"
            )
            assert await reader.read(5) == b"hello"
            writer.close()


async def refusal_by_library(scene: Scene) -> None:
    with refusing_place() as nobody:
        async with Client(scene.url) as client:
            with pytest.raises(ConnectionRefused):
                await client.connect(*_address(nobody))


async def stack_options_by_library(scene: Scene) -> None:
    with echo() as place:
        async with Client(scene.url) as client:
            options = StackOptions(ttl=7)
            async with await client.connect(*_address(place), options=options) as stream:
                assert [option.ttl for option in stream.options if isinstance(option, Ttl)] == [7]


async def connect_through_chain(scene: Scene) -> None:
    with echo() as place:
        async with (
            passing_on(scene.url, NEXT_HOP) as next_hop,
            Client(next_hop) as client,
            await client.connect(*_address(place)) as stream,
        ):
            await _exchange(stream)


async def connect_by_curl_over_socks5(scene: Scene) -> None:
    await _curl(scene, "socks5://127.0.0.1:0", "--socks5-hostname", "{}")


async def connect_by_curl_over_http(scene: Scene) -> None:
    await _curl(scene, "http://127.0.0.1:0", "--proxy", "http://{}", "--proxytunnel")


async def connect_by_command(scene: Scene) -> None:
    with echo() as place:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "socks6", "connect", place.host, str(place.port)),
            env=_environment(scene),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate(BULK[:SIZE])
        assert process.returncode == 0
        assert out == BULK[:SIZE]


async def bind_by_library(scene: Scene) -> None:
    async with Client(scene.url) as client, await client.bind("127.0.0.1") as listener:
        await _call(listener.bound.port, listener.accept())


async def bind_with_backlog_by_library(scene: Scene) -> None:
    async with (
        Client(scene.url, session=True) as client,
        await client.bind("127.0.0.1", backlog=4) as listener,
    ):
        for _ in range(2):
            await _call(listener.bound.port, listener.accept())


async def bind_through_chain(scene: Scene) -> None:
    async with (
        passing_on(scene.url, NEXT_HOP) as next_hop,
        Client(next_hop) as client,
        await client.bind("127.0.0.1") as listener,
    ):
        await _call(listener.bound.port, listener.accept())


async def udp_by_library(scene: Scene) -> None:
    with udp_echo() as place:
        async with Client(scene.url) as client, client.associate() as udp:
            assert udp.path == PATHS[scene.url.scheme]
            longest = 9000 if udp.max_data(place.host) >= 9000 else 1200  # QUIC's frames are never fragmented
            await _echoed(udp.send, udp.receive, place, longest)


async def udp_over_the_stream_by_library(scene: Scene) -> None:
    with udp_echo() as place:
        async with Client(scene.url) as client, client.associate(udp="stream") as udp:
            await _echoed(udp.send, udp.receive, place)


async def udp_by_socks5_through_converter(scene: Scene) -> None:
    with udp_echo() as place:
        async with passing_on(scene.url, "socks5://127.0.0.1:0") as converter:
            await asyncio.to_thread(_ask_by_socks5, Place(host=converter.host, port=converter.port), place)


ROWS: Final[Mapping[tuple[str, str], Row]] = {
    ("NOOP", "library"): noop_by_library,
    ("NOOP", "socks6 ping"): noop_by_command,
    ("CONNECT", "library"): connect_by_library,
    ("CONNECT", "library, early data"): connect_with_early_data_by_library,
    ("CONNECT", "library, idempotent"): connect_idempotently_by_library,
    ("CONNECT", "reader and writer"): connect_by_reader_and_writer,
    ("CONNECT", "TLS within"): tls_within_by_reader_and_writer,
    ("CONNECT", "library, refused"): refusal_by_library,
    ("CONNECT", "library, stack options"): stack_options_by_library,
    ("CONNECT", "chain"): connect_through_chain,
    ("CONNECT", "curl over SOCKS 5"): connect_by_curl_over_socks5,
    ("CONNECT", "curl over HTTP"): connect_by_curl_over_http,
    ("CONNECT", "socks6 connect"): connect_by_command,
    ("BIND", "library"): bind_by_library,
    ("BIND", "library, backlog"): bind_with_backlog_by_library,
    ("BIND", "chain"): bind_through_chain,
    ("UDP ASSOCIATE", "library"): udp_by_library,
    ("UDP ASSOCIATE", "library, over the stream"): udp_over_the_stream_by_library,
    ("UDP ASSOCIATE", "SOCKS 5"): udp_by_socks5_through_converter,
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("command", "client"), ROWS)
def test_it_works(command: str, client: str, transport: str, tmp_path: Path) -> None:
    async def play() -> None:
        async with serving(TRANSPORTS[transport](tmp_path)) as url:
            await ROWS[command, client](Scene(url=url, folder=tmp_path))

    Run("uvloop")(play())


def _address(place: Place) -> tuple[str, int]:
    return place.host, place.port


async def _exchange(stream: ByteStream) -> None:
    """Send a lot through an echo, then the end, and have it all back."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_send_all(stream))
        received = group.create_task(receive_all(stream))
    assert received.result() == BULK[:SIZE]


async def _send_all(stream: ByteStream) -> None:
    await stream.send(BULK[:SIZE])
    await stream.send_eof()


async def _call(port: int, accepting: Awaitable[ByteStream]) -> None:
    """Connect to a port that was bound, and talk both ways."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    stream = await accepting
    writer.write(b"call")
    assert await receive_exactly(stream, 4) == b"call"
    await stream.send(b"answer")
    assert await reader.readexactly(6) == b"answer"
    writer.close()
    assert await stream.receive() == b""
    await stream.aclose()


async def _echoed(
    send: Callable[..., Awaitable[None]],
    receive: Callable[[], Awaitable[object]],
    place: Place,
    longest: int = 9000,
) -> None:
    for size in (1, 1200, longest):
        await send(bytes(size), _address(place))
        received = await receive()
        assert isinstance(received, tuple)
        assert received[0] == bytes(size)
        assert tuple(received[1]) == _address(place)


def _ask_by_socks5(converter: Place, place: Place) -> None:
    with socks5_association(converter) as association:
        for size in (1, 1100):
            answer = association.ask(place.host, place.port, bytes(size))
            assert (answer.host, answer.port, answer.data) == (*_address(place), bytes(size))


async def _curl(scene: Scene, listen: str, *flags: str) -> None:
    """Fetch something through a converter."""
    async with await asyncio.start_server(_greet_http, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with passing_on(scene.url, listen) as converter:
            authority = f"{converter.host}:{converter.port}"
            line = curl_line(*(flag.format(authority) for flag in flags), f"http://localhost:{port}/")
            process = await asyncio.create_subprocess_exec(*line, stdout=asyncio.subprocess.PIPE)
            out, _ = await process.communicate()
    assert process.returncode == 0
    assert out == BULK[:SIZE]


async def _greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello")
    await writer.drain()
    writer.close()


async def _greet_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % SIZE)
    writer.write(BULK[:SIZE])
    await writer.drain()
    writer.close()


def _server_side(files: Files) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    return context


def _environment(scene: Scene) -> dict[str, str]:
    return {**ENVIRONMENT, "SOCKS6_PROXY": scene.url.with_secrets()}
