"""Each kind of connection, ended from outside: both sides are reset, and the record says who did it and why."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from socks6.client.client import Client
from socks6.policy.rules import Policy, Rule
from socks6.proxy.service import Server
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import ConnectionEnded, Ending
from tests.kit.certificates import certificate
from tests.kit.loops import Run
from tests.kit.outbounds import Recorder
from tests.kit.proxied import echoing
from tests.kit.streams import receive_exactly, until

OPEN = Policy(allow_private=True, rules=(Rule.parse("allow", commands=["bind"]),))
REASON = "by root: too much"


@contextlib.asynccontextmanager
async def scene(
    scheme: str, *, by_tasks: bool = False
) -> AsyncIterator[tuple[ServerWorker, Recorder, Client, Server]]:
    """Give a server, what it records, and a client of it."""
    log = Recorder()
    with certificate() as files:
        settings = Settings(tls=files.server, copy_tos=by_tasks)
        worker = ServerWorker(policy=OPEN, settings=settings, observers=[log])
        async with Server([f"{scheme}://127.0.0.1:0"], worker) as server:
            url = server.urls[0].replace("127.0.0.1", "localhost")
            secured = f"?ca={files.ca}" if "+" in scheme else ""
            async with Client(url + secured, session=False) as client:
                yield worker, log, client, server


async def ended(worker: ServerWorker, log: Recorder, is_it: Callable[[str], bool]) -> ConnectionEnded:
    """End the connection whose command it is, and return its record."""
    (found,) = [info for info in worker.connections if is_it(info.command)]
    assert worker.connections.end(found.id, ending=Ending.KICKED, reason=REASON)
    await until(lambda: any(record.id == found.id for record in log.of(ConnectionEnded)))
    (record,) = [record for record in log.of(ConnectionEnded) if record.id == found.id]
    assert (record.ending, record.reason) == (Ending.KICKED, REASON)
    assert not worker.connections.end(found.id, ending=Ending.KICKED, reason=REASON)
    assert not log.errors
    return record


@pytest.mark.parametrize(
    ("scheme", "by_tasks"),
    [
        ("socks6", False),
        ("socks6", True),
        ("socks6+tls", False),
        ("socks6+tls", True),
        ("socks6+quic", False),
        ("http", False),
    ],
)
def test_a_relay(run: Run, scheme: str, by_tasks: bool) -> None:
    async def play() -> None:
        async with echoing() as port, scene(scheme, by_tasks=by_tasks) as (worker, log, client, _):
            stream = await client.connect("127.0.0.1", port)
            await stream.send(b"world")
            assert await receive_exactly(stream, 11) == b"hello world"
            record = await ended(worker, log, lambda command: command == "CONNECT")
            assert (record.bytes_up, record.bytes_down) == (5, 11)
            with pytest.raises(ConnectionResetError) as reset:
                await stream.receive()
            if scheme == "socks6+quic":
                assert "an operator of the proxy ended the connection" in str(reset.value)
            await stream.aclose()

    run(play())


def test_an_association_and_a_binding(run: Run) -> None:
    async def play() -> None:
        for scheme in ("socks6", "socks6+quic"):
            async with scene(scheme) as (worker, log, client, _):
                async with await client.open_association("127.0.0.1", 0, udp="stream") as association:
                    await ended(worker, log, lambda command: command == "UDP_ASSOCIATE")
                    with pytest.raises(OSError):  # noqa: PT011 - whichever, it is over
                        await association.receive()
                async with await client.bind("127.0.0.1", 0) as listener:
                    await until(lambda: worker.connections.bindings)
                    await ended(worker, log, lambda command: command == "BIND")
                    with pytest.raises(OSError):  # noqa: PT011 - as above
                        await listener.accept()

    run(play())


@pytest.mark.parametrize("scheme", ["socks6", "socks6+tls", "socks5", "http"])
@pytest.mark.parametrize("begun", [b"", b"first"])
def test_a_handshake_under_way(run: Run, scheme: str, begun: bytes) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        greeting = {
            "socks6": b"\x06\x01",
            "socks6+tls": b"\x16\x03\x01",
            "socks5": b"\x05\x01\x00",
            "http": b"CONNECT",
        }
        async with scene(scheme) as (worker, log, _, server):
            port = int(server.urls[0].rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.setblocking(False)
                if begun:
                    await loop.sock_sendall(client, greeting[scheme])
                    if scheme == "socks5":
                        assert await loop.sock_recv(client, 2) == b"\x05\x00"
                await until(lambda: len(worker.connections))
                await ended(worker, log, lambda command: not command)
                assert not len(worker.monitor)
                with pytest.raises(ConnectionResetError):
                    await loop.sock_recv(client, 1)

    run(play())
