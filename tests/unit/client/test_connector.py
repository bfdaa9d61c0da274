"""How a client reaches its proxy."""

import asyncio
import contextlib
import dataclasses
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from typing_extensions import override

from socks6.client.client import Client
from socks6.client.connector import ProxyConnector
from socks6.errors import CertificateRefused, ConfigurationError, ProxyTimedOut, ProxyUnreachable
from socks6.message.codes import Command
from socks6.net.resolve import FOR_ONE_NAME, ResolvedAddress, Resolver
from socks6.net.stream import ByteStream
from socks6.net.transports.base import Connector, ConnectParameters, StreamRequest
from socks6.net.transports.registry import TRANSPORTS as ROWS
from socks6.net.transports.spares import SpareConnector
from socks6.net.transports.tls import TlsSession
from socks6.net.url import ProxyUrl
from socks6.proxy.service import Server
from tests.kit.certificates import write_certificate
from tests.kit.loops import Run
from tests.kit.memory import MemoryStream, memory_stream_pair
from tests.kit.origins import silent_place
from tests.kit.proxied import as_alice, echoing, local_worker
from tests.kit.streams import turns, until


def test_over_tls_a_clients_later_connections_go_on_with_the_keys_of_the_earlier(
    run: Run, tmp_path: Path
) -> None:
    async def scene() -> None:
        files = write_certificate(tmp_path)
        listen = f"socks6+tls://127.0.0.1:0?{files.listener_query}"
        async with echoing() as port, Server([listen], local_worker()) as server:
            client = Client(f"{as_alice(server)}?ca={files.ca}")
            resumed = []
            for _ in range(3):
                async with await client.connect("127.0.0.1", port) as stream:
                    assert await stream.receive() == b"hello "
                    tls = stream.attribute(TlsSession)
                    assert tls is not None
                    resumed.append(tls.tls.session_reused)
            assert resumed == [False, True, True]

    run(scene())


def test_over_tls_a_request_goes_by_a_spare_connection_unless_the_proxy_has_closed_it(
    run: Run, tmp_path: Path
) -> None:
    async def scene() -> None:
        files = write_certificate(tmp_path)
        listen = f"socks6+tls://127.0.0.1:0?{files.listener_query}"
        async with echoing() as port, Server([listen], local_worker()) as server:
            url = f"{as_alice(server)}?ca={files.ca}"

            async def requested(client: Client) -> int:
                async with await client.connect("127.0.0.1", port) as stream:
                    assert await stream.receive() == b"hello "
                    carrier = stream.attribute(socket.socket)
                    assert carrier is not None
                    return carrier.fileno()

            async with Client(url) as client:
                spares = client._connector._connector
                assert isinstance(spares, SpareConnector)
                for _ in range(2):
                    await requested(client)
                    await until(lambda: spares._spares)
                    session = spares._spares[0].stream.attribute(TlsSession)
                    assert session is not None
                    assert not session.outgoing.pending  # the handshake's last message has left, too
                    ready = spares._spares[0].stream.attribute(socket.socket)
                    assert ready is not None
                    expected = ready.fileno()
                    assert await requested(client) == expected
                await until(lambda: spares._spares)
                ready = spares._spares[0].stream.attribute(socket.socket)
                assert ready is not None
                ready.shutdown(socket.SHUT_RDWR)
                await requested(client)
            assert not spares._spares
            async with Client(f"{url}&spare=0") as client:
                await requested(client)
                await turns()
                without = client._connector._connector
                assert isinstance(without, SpareConnector)
                assert not without._spares
                assert not without._connecting

    run(scene())


class Names:
    """Names of one host, looked up slowly."""

    def __init__(self, *hosts: str) -> None:
        self.found = hosts
        self.asked = 0
        self.threads: set[str] = set()

    def __call__(self, name: bytes, port: int) -> list[ResolvedAddress]:
        self.asked += 1
        self.threads.add(threading.current_thread().name)
        return [ResolvedAddress(socket.AF_INET, (host, port)) for host in self.found]


TRANSPORTS = pytest.mark.parametrize("transport", ["", "+tls", "+quic"])


@contextlib.asynccontextmanager
async def named(
    tmp_path: Path, transport: str, names: Names
) -> AsyncIterator[tuple[ProxyConnector, Resolver]]:
    """Run a proxy at 127.0.0.1; yield a way to it, by the name `proxy.example`."""
    files = write_certificate(tmp_path)
    query = f"?{files.listener_query}" if transport else ""
    async with Server([f"socks6{transport}://127.0.0.1:0{query}"], local_worker()) as server:
        port = server.urls[0].rpartition(":")[2].partition("?")[0]
        query = f"?ca={files.ca}&sni=localhost" if transport else ""
        url = ProxyUrl.parse(f"socks6{transport}://proxy.example:{port}{query}")
        resolver = Resolver(lookup=names, lifetimes=FOR_ONE_NAME)
        way = ProxyConnector(url, dial=None, fast_open=False, resolver=resolver)
        try:
            yield way, resolver
        finally:
            await way.aclose()


@TRANSPORTS
def test_a_proxys_name_is_looked_up_once_for_all_requests(
    run: Run, tmp_path: Path, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socks6.net.dial.STALE_GRACE_SECONDS", 30.0)  # a busy machine is no silent proxy

    async def scene() -> None:
        names = Names("127.0.0.1")
        async with named(tmp_path, transport, names) as (way, _):
            for _ in range(2):
                calls = [
                    way.connect(StreamRequest(Command.NOOP, new_connection=number < 3))
                    for number in range(20)
                ]
                for stream in await asyncio.gather(*calls):
                    stream.abort()
        assert names.asked == 1

    run(scene())


@TRANSPORTS
def test_a_proxy_that_moved_is_found_by_the_next_request(run: Run, tmp_path: Path, transport: str) -> None:
    async def scene() -> None:
        names = Names("127.0.0.9")  # nobody is there
        async with named(tmp_path, transport, names) as (way, resolver):
            with pytest.raises(ProxyUnreachable):
                await way.connect(StreamRequest(Command.NOOP))
            names.found = ("127.0.0.9", "127.0.0.1")
            resolver._answers[b"proxy.example"].since -= 10.0
            (await way.connect(StreamRequest(Command.NOOP))).abort()
            assert names.asked == 2
            (await way.connect(StreamRequest(Command.NOOP))).abort()
            assert names.asked == 2

    run(scene())


@contextlib.contextmanager
def silence(host: str, port: int) -> Iterator[None]:
    """Hold an address so that connections and datagrams to it get no answer, not even an error."""
    with contextlib.ExitStack() as held:
        datagrams = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagrams.bind((host, port))
        listening = held.enter_context(socket.socket())
        listening.bind((host, port))
        listening.listen(0)
        for _ in range(2):  # its queue is full then
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((host, port))
        yield


@pytest.mark.slow
@TRANSPORTS
def test_a_proxy_that_left_silence_behind_is_found_too(run: Run, tmp_path: Path, transport: str) -> None:
    async def scene() -> None:
        names = Names("127.0.0.9")
        async with named(tmp_path, transport, names) as (way, resolver):
            await resolver.resolve("proxy.example", 1)
            resolver._answers[b"proxy.example"].since -= 10.0
            names.found = ("127.0.0.1",)
            with silence("127.0.0.9", way.url.port):
                (await way.connect(StreamRequest(Command.NOOP))).abort()

    run(scene())


def test_a_request_that_was_given_up_has_the_name_looked_up_again(run: Run) -> None:
    async def scene() -> None:
        names = Names("127.0.0.1")
        resolver = Resolver(lookup=names, lifetimes=FOR_ONE_NAME)
        with silent_place() as place:
            url = ProxyUrl.parse(f"socks6://proxy.example:{place.port}")
            way = ProxyConnector(url, dial=None, fast_open=False, resolver=resolver)
            for _ in range(2):
                task = asyncio.create_task(way.connect(StreamRequest(Command.NOOP)))
                await until(lambda: b"proxy.example" in resolver._answers)
                await turns()
                task.cancel()
                await asyncio.wait((task,))
            await until(lambda: names.asked == 2)
            await way.aclose()

    run(scene())


class Breaking(MemoryStream):
    """A stream on which nothing can be sent."""

    __slots__ = ()

    def __init__(self, stream: ByteStream) -> None:
        assert isinstance(stream, MemoryStream)
        super().__init__(incoming=stream._incoming, outgoing=stream._outgoing)

    @override
    async def send(self, data: bytes | memoryview) -> None:
        raise BrokenPipeError("broken")


def test_a_stream_that_breaks_at_the_first_bytes_is_aborted_and_no_password_is_told(run: Run) -> None:
    async def scene() -> None:
        near, far = memory_stream_pair()

        async def dial() -> ByteStream:
            return Breaking(near)

        way = ProxyConnector(ProxyUrl.parse("socks6://alice:secret@memory"), dial=dial, fast_open=False)
        with pytest.raises(ProxyUnreachable, match=r"cannot reach the proxy socks6://alice@memory"):
            await way.connect(StreamRequest(Command.NOOP, early_data=b"hello"))
        with pytest.raises(ConnectionResetError):
            await far.receive()

    run(scene())


def test_without_the_library_for_quic_auto_is_tls(caplog: pytest.LogCaptureFixture) -> None:
    def connect(_: ConnectParameters) -> Connector:
        raise ConfigurationError("QUIC needs an extra") from ImportError("no qh3")

    transports = {**ROWS, "quic": dataclasses.replace(ROWS["quic"], connect=connect)}
    url = ProxyUrl.parse("socks6+auto://h?insecure-no-verification=1", transports)
    with caplog.at_level("INFO", logger="socks6"):
        connector = ProxyConnector(url, dial=None, fast_open=False, transports=transports)
    assert not connector.multiplexed
    assert "no QUIC, TLS alone reason='QUIC needs an extra'" in caplog.text


def test_files_that_quic_cannot_read_are_no_reason_to_do_without() -> None:
    def connect(_: ConnectParameters) -> Connector:
        raise ConfigurationError("no such file")

    transports = {**ROWS, "quic": dataclasses.replace(ROWS["quic"], connect=connect)}
    with pytest.raises(ConfigurationError, match="no such file"):
        ProxyConnector(ProxyUrl.parse("socks6+auto://h"), dial=None, fast_open=False, transports=transports)


def test_a_certificate_that_nobody_vouches_for_is_told_with_what_may_help(run: Run, tmp_path: Path) -> None:
    files = write_certificate(tmp_path)

    async def scene(query: str) -> str:
        place = f"socks6+tls://127.0.0.1:0?cert={files.certificate}&key={files.key}"
        async with Server([place], local_worker()) as server:
            url = f"socks6+tls://{server.urls[0].rpartition('/')[2]}{query}"
            async with Client(url) as client:
                with pytest.raises(CertificateRefused) as raised:
                    await client.noop()
        return str(raised.value)

    async def both() -> None:
        assert "add ?pin-sha256=PIN, which it prints at its start" in await scene("")
        assert "pin-sha256=PIN" not in await scene("?pin-sha256=" + "00" * 32)

    run(both())


def test_connecting_has_a_time_limit_of_its_own_after_which_nothing_was_sent(run: Run) -> None:
    async def dial() -> ByteStream:
        await asyncio.Event().wait()
        raise AssertionError

    async def scene() -> None:
        client = Client("socks6://memory", dial=dial, connect_timeout=0.01)
        with pytest.raises(
            ProxyTimedOut, match=r"cannot reach the proxy .* within 0\.01 s: nothing answers"
        ) as caught:
            await client.noop()
        assert caught.value.unsent

    run(scene())
