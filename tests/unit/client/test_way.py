"""How a client reaches its proxy."""

from pathlib import Path

import pytest
from typing_extensions import override

from socks6.client.client import Client
from socks6.client.quic import Ask
from socks6.client.way import WayToProxy
from socks6.errors import ProxyUnreachable
from socks6.message.codes import Command
from socks6.net.stream import ByteStream
from socks6.net.transports.memory import MemoryStream, memory_stream_pair
from socks6.net.transports.tls import TlsStream
from socks6.net.url import ProxyURL
from socks6.proxy.service import Server
from tests.kit.certificates import write_certificate
from tests.kit.loops import Run
from tests.kit.proxied import as_alice, echoing, local_worker


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
                    assert isinstance(stream.carrier, TlsStream)
                    resumed.append(stream.carrier.resumed)
            assert resumed == [False, True, True]

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

        way = WayToProxy(ProxyURL.parse("socks6://alice:secret@memory"), dial=dial, fast_open=False)
        with pytest.raises(ProxyUnreachable, match=r"cannot reach the proxy socks6://alice:\*\*\*@memory"):
            await way.go(Ask(Command.NOOP, opening=b"hello"))
        with pytest.raises(ConnectionResetError):
            await far.receive()

    run(scene())
