"""An inbound of a user's own, made of public names: a line with a host and a port, and then the stream."""

import asyncio
import socket

import pytest
from typing_extensions import override

from socks6 import (
    ClientConnection,
    ConnectionEnded,
    Ending,
    Event,
    Inbound,
    Observer,
    OperationFailed,
    Policy,
    ProxyRequest,
    Server,
    ServerWorker,
    Tunnel,
)
from socks6.message.codes import Command
from tests.kit.loops import Run
from tests.kit.origins import PAGE, web_site

pytestmark = pytest.mark.e2e


class LineInbound(Inbound):
    """Serves clients that send "HOST PORT" in a line; answers "ok" or the reply code of SOCKS 6."""

    name = "http"  # in the place of another, whose URL scheme it takes

    @override
    async def serve(self, connection: ClientConnection, initial_data: bytes = b"") -> Tunnel | None:
        data = initial_data
        while b"\n" not in data:
            piece = await connection.stream.receive()
            if not piece or len(data) > 300:
                connection.refused(Ending.MALFORMED, "no line")
                return None
            data += piece
        line, _, rest = data.partition(b"\n")
        host, port = line.decode().split()
        request = ProxyRequest(command=Command.CONNECT, host=host, port=int(port), initial_data=rest)
        try:
            remote = await connection.connect(request)
        except OperationFailed as failure:
            await connection.stream.send(b"%d\n" % failure.code)
            return None
        await connection.stream.send(b"ok\n")
        return Tunnel(remote=remote.stream, initial_data=rest[remote.first_data_sent :])


class Log(Observer):
    """Keeps the records."""

    wants = (ConnectionEnded,)

    def __init__(self) -> None:
        self.records: list[ConnectionEnded] = []

    @override
    def observe(self, event: Event) -> None:
        assert isinstance(event, ConnectionEnded)
        self.records.append(event)


def ask(url: str, line: bytes) -> bytes:
    """Return all that a client of the server at `url` gets that sends this."""
    host, _, port = url.partition("://")[2].rpartition(":")
    answer = b""
    with socket.create_connection((host, int(port)), 5) as client:
        client.sendall(line)
        while piece := client.recv(65536):
            answer += piece
    return answer


def test_it_has_the_proxys_policy_relay_and_record(run: Run) -> None:
    async def scene() -> None:
        log = Log()
        worker = ServerWorker(inbounds={"http": LineInbound()}, observers=[log], policy=Policy())
        open_worker = ServerWorker(
            inbounds={"http": LineInbound()}, observers=[log], policy=Policy(allow_private=True)
        )
        with web_site() as site:
            request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            line = f"127.0.0.1 {site.port}\n".encode() + request
            async with (
                Server(["http://127.0.0.1:0"], worker) as shut,
                Server(["http://127.0.0.1:0"], open_worker) as server,
            ):
                assert await asyncio.to_thread(ask, shut.urls[0], line) == b"2\n"
                answer = await asyncio.to_thread(ask, server.urls[0], line)
        assert answer.startswith(b"ok\nHTTP/1.1 200")
        assert answer.endswith(PAGE)
        refused, done = log.records
        assert (refused.ending, refused.reply) == (Ending.REFUSED, 2)
        assert (done.ending, done.host, done.port, done.bytes_up) == (
            Ending.DONE,
            "127.0.0.1",
            site.port,
            len(request),
        )

    run(scene())
