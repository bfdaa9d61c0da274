"""The server: listeners, limits, stopping."""

import asyncio
import socket
import sys
from pathlib import Path

import pytest

from socks6.errors import ConfigurationError
from socks6.message.codes import Command
from socks6.net.resolve import ResolvedAddress, Resolver, literal_address
from socks6.net.stream import ByteStream
from socks6.net.transports.tcp import connect_tcp
from socks6.net.transports.unix import connect_unix
from socks6.net.url import ProxyUrl
from socks6.policy import addresses as policy_addresses
from socks6.policy.identity import ANONYMOUS
from socks6.policy.rules import Policy
from socks6.proxy import service
from socks6.proxy.authentication.base import NoAuthentication
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.service import Server
from socks6.proxy.settings import BindSettings, Settings
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import DtlsUnavailable, Ending, Listening
from tests.kit.certificates import certificate
from tests.kit.loops import Run
from tests.kit.outbounds import Recorder, ScriptedOutbound
from tests.kit.streams import until

NOOP = bytes.fromhex("06 00 0000 0000 00 01 00000000")
NOOP_DONE = bytes.fromhex("06 00 0000  06 00 0000 0000 00 01 00000000")
CONNECT = bytes.fromhex("06 01 0000 0050 00 03 0b") + b"example.com"
LOOPBACK = "socks6://127.0.0.1:0"


def numbered(host: str) -> policy_addresses.NumericAddress:
    return policy_addresses.NumericAddress(4, int.from_bytes(socket.inet_aton(host)))


LOCALHOST = numbered("127.0.0.1")


async def dial(url: str) -> ByteStream:
    place = ProxyUrl.parse(url)
    return await connect_unix(place.path) if place.path else await connect_tcp(place.host, place.port)


async def receive(stream: ByteStream, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := await stream.receive(size - len(data))):
        data += piece
    return data


async def connected(url: str) -> ByteStream:
    """Return a client whose CONNECT has succeeded."""
    client = await dial(url)
    await client.send(CONNECT)
    assert (await receive(client, 16))[4:6] == b"\x06\x00"
    return client


def test_without_the_extra_tls_goes_without_dtls(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        log = Recorder()
        with certificate() as files:
            listen = f"socks6+tls://127.0.0.1:0?{files.listener_query}"
            async with Server([listen], ServerWorker(observers=[log])) as server:
                assert len(server.urls) == 1
                assert [event.reason for event in log.of(DtlsUnavailable)] == [
                    "DTLS needs an extra: pip install 'pysocks6[dtls]' (in a clone: pip install '.[dtls]')"
                ]
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
                    nobody.bind(("127.0.0.1", ProxyUrl.parse(server.urls[0]).port))  # the UDP port is free

    monkeypatch.setitem(sys.modules, "OpenSSL", None)
    run(scene())


def test_it_serves_where_it_says_that_it_listens(run: Run) -> None:
    async def scene() -> None:
        log = Recorder()
        async with Server([LOOPBACK, "mixed://[::1]:0"], ServerWorker(observers=[log])) as server:
            assert list(server.urls) == [event.url for event in log.of(Listening)]
            assert len(server.urls) == 2
            for url in server.urls:
                client = await dial(url)
                await client.send(NOOP)
                assert await receive(client, 99) == NOOP_DONE
                await client.aclose()

    run(scene())


def test_it_serves_unix_sockets(run: Run, tmp_path: Path) -> None:
    async def scene() -> None:
        url = f"socks6+unix://{tmp_path}/proxy.sock"
        async with Server([url], ServerWorker()) as server:
            assert server.urls == (url,)
            client = await dial(url)
            await client.send(NOOP)
            assert await receive(client, 99) == NOOP_DONE
            await client.aclose()
        assert not (tmp_path / "proxy.sock").exists()

    run(scene())


@pytest.mark.parametrize(
    "url", ["socks6://0.0.0.0:0", "socks6://:0", "socks6://[2001:db8::1]:0", "mixed://example.com:0"]
)
def test_it_does_not_open_itself_to_everybody_unasked(url: str) -> None:
    with pytest.raises(ConfigurationError, match="--open"):
        Server([LOOPBACK, url], ServerWorker())


def test_with_users_it_may_listen_anywhere() -> None:
    Server(["socks6://0.0.0.0:0"], ServerWorker(authenticator=UserTable.from_plain({"alice": "x"})))


def test_it_opens_itself_when_told() -> None:
    Server(["socks6://0.0.0.0:0"], ServerWorker(), open_to_all=True)


def test_it_needs_somewhere_to_listen() -> None:
    with pytest.raises(ConfigurationError):
        Server([], ServerWorker())


def test_a_taken_port_is_an_error_that_leaves_nothing_open(run: Run) -> None:
    async def scene() -> None:
        async with Server([LOOPBACK], ServerWorker()) as first:
            second = Server([LOOPBACK, *first.urls], ServerWorker())
            with pytest.raises(OSError, match=r"."):
                await second.__aenter__()
            with pytest.raises(OSError, match=r"."):
                await dial(second.urls[0])

    run(scene())


def test_stopping_lets_connections_finish(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        log = Recorder()
        async with Server([LOOPBACK], ServerWorker(outbound=outbound, observers=[log])) as server:
            client = await connected(server.urls[0])
            server.stop()
            await asyncio.sleep(0.05)
            with pytest.raises(OSError, match=r"."):
                await dial(server.urls[0])
            assert len(server.connections) == 1
            await outbound.far.send(b"still here")
            assert await receive(client, 10) == b"still here"
            await client.aclose()
            await outbound.far.aclose()
            await server.serve_forever()
        assert len(server.connections) == 0
        assert outbound.closed

    run(scene())


def test_connections_that_outstay_the_drain_time_are_ended(run: Run) -> None:
    async def scene() -> None:
        log = Recorder()
        worker = ServerWorker(
            outbound=ScriptedOutbound(), observers=[log], settings=Settings(drain_timeout=0.05)
        )
        async with Server([LOOPBACK], worker) as server:
            client = await connected(server.urls[0])
        assert log.summaries[0].ending is Ending.STOPPED
        await client.aclose()

    run(scene())


def test_stopping_waits_little_for_connections_without_a_request(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PRESSURE_SECONDS", 0.01)

    async def scene() -> None:
        log = Recorder()
        worker = ServerWorker(outbound=ScriptedOutbound(), observers=[log])
        async with Server([LOOPBACK], worker) as server:
            busy, idle = await connected(server.urls[0]), await dial(server.urls[0])
            server.stop()
            async with asyncio.timeout(2):
                await until(lambda: bool(log.summaries))
            assert log.summaries[0].ending is Ending.NO_REQUEST
            assert len(log.summaries) == 1
            server.abort()
        await busy.aclose()
        await idle.aclose()

    run(scene())


def test_aborting_ends_all_at_once(run: Run) -> None:
    async def scene() -> None:
        async with Server([LOOPBACK], ServerWorker(outbound=ScriptedOutbound())) as server:
            client = await connected(server.urls[0])
            server.stop()
            await asyncio.sleep(0.01)
            server.abort()
            server.abort()
            await server.serve_forever()
        await client.aclose()

    run(scene())


def test_a_failing_body_ends_all_at_once(run: Run) -> None:
    async def scene() -> None:
        async def fail(server: Server) -> None:
            async with server:
                clients.append(await connected(server.urls[0]))
                raise ZeroDivisionError

        clients: list[ByteStream] = []
        with pytest.raises(ZeroDivisionError):
            await fail(Server([LOOPBACK], ServerWorker(outbound=ScriptedOutbound())))
        await clients[0].aclose()

    run(scene())


def test_too_many_connections_are_turned_away(run: Run) -> None:
    async def scene() -> None:
        worker = ServerWorker(outbound=ScriptedOutbound(), settings=Settings(connections=1))
        async with Server([LOOPBACK], worker) as server:
            first = await connected(server.urls[0])
            second = await dial(server.urls[0])
            with pytest.raises(ConnectionResetError):
                await second.receive()
            second.abort()
            await first.aclose()
            server.abort()

    run(scene())


def test_where_it_listens_leads_nowhere_while_it_does(run: Run) -> None:
    async def scene() -> None:
        worker = ServerWorker()
        async with Server([LOOPBACK], worker) as server:
            port = ProxyUrl.parse(server.urls[0]).port
            for command in (Command.CONNECT, Command.UDP_ASSOCIATE):  # there is a UDP port beside it
                assert worker.machine.serves(command, LOCALHOST, port)
            worker.replace(authenticator=NoAuthentication(), policy=Policy(allow_private=True))
            refusal = worker.policy.judge_address(ANONYMOUS, Command.CONNECT, "", "127.0.0.1", port)
            assert refusal.reason == "a listener of this proxy"
        assert not worker.machine.serves(Command.CONNECT, LOCALHOST, port)
        assert len(worker.machine.listeners) == 0

    run(scene())


def test_addresses_of_advertised_names_are_known_while_it_runs(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_up(_: Resolver, name: str, port: int) -> tuple[ResolvedAddress, ...]:
        if address := literal_address(name, port):
            return (address,)
        if name == "gone.example":
            raise OSError("no address")
        return (ResolvedAddress(socket.AF_INET, ("198.51.100.7", port)),)

    async def scene() -> None:
        monkeypatch.setattr(Resolver, "resolve", look_up)
        names = ("gone.example", "198.51.100.1", "proxy.example")
        worker = ServerWorker(settings=Settings(bind=BindSettings(advertise=names), drain_timeout=0.0))
        async with Server([LOOPBACK], worker):
            await until(lambda: worker.machine.owns(Command.CONNECT, numbered("198.51.100.7"), 80))
        assert worker.machine.owns(Command.CONNECT, numbered("198.51.100.1"), 80)
        assert not worker.machine.owns(Command.CONNECT, numbered("198.51.100.8"), 80)

    run(scene())
