"""The library, against a worker in memory and servers on loopback."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from typing_extensions import override

from socks6.client.client import Client
from socks6.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionRefused,
    LocalProtocolError,
    OperationFailed,
    ProxyTimedOut,
    ProxyUnreachable,
    RemoteProtocolError,
    Socks6Error,
    VersionMismatch,
    operation_failure,
)
from socks6.net.stream import ByteStream, Endpoint
from socks6.net.transports.memory import memory_stream_pair
from socks6.policy.identity import Identity
from socks6.policy.rules import Policy
from socks6.protocol.methods.base import Credentials
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.fronts.socks6 import Socks6Front
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker
from tests.kit.challenge import NUMBER, ChallengeClient, ChallengeCredentials, ChallengeServer
from tests.kit.loops import Run
from tests.kit.outbounds import BOUND, ScriptedOutbound

LOOPBACK = "socks6://127.0.0.1:0"
USERS = UserTable.from_plain({"alice": "wonder land/7"})


@asynccontextmanager
async def proxied(worker: ServerWorker) -> AsyncIterator[Client]:
    """Give a client whose proxy is reached through memory."""
    async with asyncio.TaskGroup() as group:

        async def dial() -> ByteStream:
            ours, theirs = memory_stream_pair()
            group.create_task(worker.serve_stream(theirs))
            return ours

        async with Client("socks6://alice:wonder%20land%2F7@memory", dial=dial) as client:
            yield client


@asynccontextmanager
async def scripted(*script: bytes) -> AsyncIterator[Client]:
    """Give a client whose proxy answers what is written here, whatever it is asked, and closes."""

    async def dial() -> ByteStream:
        ours, theirs = memory_stream_pair()
        for piece in script:
            await theirs.send(piece)
        await theirs.send_eof()
        return ours

    async with Client("socks6://memory", dial=dial, timeout=5.0) as client:
        yield client


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Greet, then return what comes."""
    writer.write(b"hello ")
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def echoing(context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


def as_alice(server: Server) -> str:
    """Return the URL of a server with a user's name and password."""
    return server.urls[0].replace("://", "://alice:wonder%20land%2F7@")


def local_worker() -> ServerWorker:
    return ServerWorker(authenticator=USERS, policy=Policy(allow_private=True))


def test_a_stream_tells_the_bind_address(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        async with (
            proxied(ServerWorker(outbound=outbound)) as client,
            await client.connect("example.com", 80, initial_data=b"hi") as stream,
        ):
            assert stream.bound == BOUND
            assert stream.options == ()
            await stream.send(b" there")
            await stream.send_eof()
            assert await outbound.far.receive() + await outbound.far.receive() == b"hi there"
            await outbound.far.aclose()

    run(scene())


def test_names_are_resolved_at_the_proxy(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        async with proxied(ServerWorker(outbound=outbound)) as client:
            stream = await client.connect("bücher.example", 80)
            stream.abort()
        assert outbound.dialled[0].host == "xn--bcher-kva.example"

    run(scene())


@pytest.mark.parametrize("code", range(1, 12))
def test_every_reply_code_has_its_exception(run: Run, code: int) -> None:
    async def scene() -> None:
        async with proxied(ServerWorker(outbound=ScriptedOutbound(operation_failure(code, "")))) as client:
            with pytest.raises(OperationFailed) as caught:
                await client.connect("example.com", 80)
            assert caught.value.code == code
            assert type(caught.value) is type(operation_failure(code, ""))

    run(scene())


def test_a_reply_code_is_the_matching_os_error(run: Run) -> None:
    async def scene() -> None:
        async with proxied(ServerWorker(outbound=ScriptedOutbound(ConnectionRefused("")))) as client:
            with pytest.raises(ConnectionRefusedError):
                await client.connect("example.com", 80)

    run(scene())


def test_the_password_goes_along(run: Run) -> None:
    async def scene() -> None:
        async with proxied(ServerWorker(authenticator=USERS)) as client:
            assert await client.noop() > 0

    run(scene())


def test_a_wrong_password_is_told(run: Run) -> None:
    async def scene() -> None:
        async with proxied(ServerWorker(authenticator=UserTable.from_plain({"alice": "other"}))) as client:
            with pytest.raises(AuthenticationFailed):
                await client.noop()

    run(scene())


class Challenged(Authenticator):
    """Lets in whoever answers the challenge."""

    @property
    @override
    def required(self) -> bool:
        return True

    @override
    async def verify(self, credentials: Credentials) -> Identity | None:
        assert isinstance(credentials, ChallengeCredentials)
        return Identity(name="alice") if credentials.right else None


def test_a_method_of_ones_own_may_be_plugged_in(run: Run) -> None:
    async def scene() -> None:
        front = Socks6Front(methods={NUMBER: ChallengeServer})
        outbound = ScriptedOutbound()
        worker = ServerWorker(authenticator=Challenged(), fronts={"socks6": front}, outbound=outbound)

        async with asyncio.TaskGroup() as group:

            async def dial() -> ByteStream:
                ours, theirs = memory_stream_pair()
                group.create_task(worker.serve_stream(theirs))
                return ours

            async with Client("socks6://memory", dial=dial, methods=(ChallengeClient,)) as client:
                stream = await client.connect("example.com", 80, initial_data=b"first")
                assert await outbound.far.receive() == b"first"
                stream.abort()

    run(scene())


def test_no_acceptable_method_is_told(run: Run) -> None:
    async def scene() -> None:
        async with scripted(bytes.fromhex("06 01 0008 0003 0008 ff 000000")) as client:
            with pytest.raises(AuthenticationFailed, match="no acceptable method"):
                await client.noop()

    run(scene())


def test_a_proxy_of_another_version_is_told(run: Run) -> None:
    async def scene() -> None:
        async with scripted(b"\x05") as client:
            with pytest.raises(VersionMismatch):
                await client.noop()
        async with scripted(b"\x06") as client:
            with pytest.raises(VersionMismatch, match="version 6"):
                await client.noop()

    run(scene())


def test_a_proxy_that_talks_rubbish_is_told(run: Run) -> None:
    async def scene() -> None:
        async with scripted(bytes.fromhex("06 00 ffff")) as client:
            with pytest.raises(RemoteProtocolError):
                await client.noop()

    run(scene())


def test_a_proxy_that_goes_away_is_told(run: Run) -> None:
    async def scene() -> None:
        async with scripted(bytes.fromhex("06 00 0000")) as client:
            with pytest.raises(ProxyUnreachable, match="operation reply"):
                await client.noop()

    run(scene())


def test_a_proxy_that_is_not_there_is_told(run: Run, tmp_path: Path) -> None:
    async def scene() -> None:
        with pytest.raises(ProxyUnreachable):
            await Client(f"socks6+unix://{tmp_path}/nobody.sock").noop()

    run(scene())


def test_a_silent_proxy_is_given_up(run: Run) -> None:
    async def scene() -> None:
        ends = []

        async def dial() -> ByteStream:
            ends.append(memory_stream_pair())
            return ends[-1][0]

        client = Client("socks6://memory", dial=dial)
        with pytest.raises(ProxyTimedOut):
            await client.noop(timeout=0.02)
        with pytest.raises(ProxyTimedOut):
            await client.open_connection("example.com", 80, timeout=0.02)

    run(scene())


def test_what_follows_the_replies_stays_in_the_stream(run: Run) -> None:
    async def scene() -> None:
        replies = bytes.fromhex("06 00 0000  06 00 0000 1267 00 01 c0000201")
        async with scripted(replies + b"hello") as client, await client.connect("a.example", 22) as stream:
            assert await stream.receive() == b"hello"

    run(scene())


def test_reader_and_writer_over_a_plain_socket(run: Run) -> None:
    async def scene() -> None:
        async with echoing() as port, Server([LOOPBACK], local_worker()) as server:
            async with Client(as_alice(server)) as client:
                reader, writer = await client.open_connection("127.0.0.1", port, initial_data=b"a")
                writer.write(b"b")
                writer.write_eof()
                assert await reader.read() == b"hello ab"
                writer.close()
                await writer.wait_closed()

    run(scene())


def test_reader_and_writer_over_anything_else(run: Run) -> None:
    async def scene() -> None:
        async with echoing() as port, proxied(local_worker()) as client:
            reader, writer = await client.open_connection("127.0.0.1", port, initial_data=b"a")
            writer.write(b"b" * 1_000_000)
            writer.write_eof()
            assert await reader.read() == b"hello a" + b"b" * 1_000_000
            writer.close()
            await writer.wait_closed()

    run(scene())


@pytest.mark.parametrize("transport", ["socket", "memory"])
def test_tls_goes_through_the_proxy(run: Run, transport: str) -> None:
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_context)
    context = ssl.create_default_context()
    authority.configure_trust(context)

    async def exchange(client: Client, port: int) -> None:
        reader, writer = await client.open_connection("127.0.0.1", port, ssl=context)
        writer.write(b"secret")
        assert await reader.readexactly(12) == b"hello secret"
        writer.close()
        await writer.wait_closed()

    async def scene() -> None:
        async with echoing(server_context) as port:
            if transport == "memory":
                async with proxied(local_worker()) as client:
                    await exchange(client, port)
            else:
                async with Server([LOOPBACK], local_worker()) as server, Client(as_alice(server)) as client:
                    await exchange(client, port)

    run(scene())


def test_a_certificate_for_another_name_is_refused(run: Run) -> None:
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(server_context)
    context = ssl.create_default_context()
    authority.configure_trust(context)

    async def scene() -> None:
        async with echoing(server_context) as port, proxied(local_worker()) as client:
            with pytest.raises(ssl.SSLCertVerificationError):
                await client.open_connection("127.0.0.1", port, ssl=context)
        while len(asyncio.all_tasks()) > 1:  # the web server takes note
            await asyncio.sleep(0)

    run(scene())


def test_a_plain_socket_may_be_taken_away(run: Run) -> None:
    async def scene() -> None:
        async with echoing() as port, Server([LOOPBACK], local_worker()) as server:
            client = Client(as_alice(server))
            stream = await client.connect("127.0.0.1", port)
            reader, writer = await asyncio.open_connection(sock=stream.detach_socket())
            writer.write_eof()
            assert await reader.read() == b"hello "
            writer.close()
            await writer.wait_closed()

    run(scene())


def test_what_is_no_socket_cannot_be_taken_away(run: Run) -> None:
    async def scene() -> None:
        async with proxied(ServerWorker(outbound=ScriptedOutbound())) as client:
            stream = await client.connect("example.com", 80)
            with pytest.raises(LocalProtocolError, match="create_connection"):
                stream.detach_socket()
            stream.abort()

    run(scene())


def test_over_anything_else_the_client_must_be_entered(run: Run) -> None:
    async def scene() -> None:
        async def dial() -> ByteStream:
            ours, theirs = memory_stream_pair()
            await theirs.send(bytes.fromhex("06 00 0000  06 00 0000 1267 00 01 c0000201"))
            return ours

        with pytest.raises(LocalProtocolError, match="async with"):
            await Client("socks6://memory", dial=dial).open_connection("example.com", 80)

    run(scene())


def test_transports_left_open_end_with_the_client(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        async with proxied(ServerWorker(outbound=outbound)) as client:
            reader, writer = await client.open_connection("example.com", 80)
        assert await reader.read() == b""
        writer.close()

    run(scene())


def test_the_callers_exceptions_pass_unchanged(run: Run) -> None:
    async def scene() -> None:
        with pytest.raises(ZeroDivisionError):
            async with Client("socks6://127.0.0.1"):
                raise ZeroDivisionError

    run(scene())


@pytest.mark.parametrize(("host", "port"), [("", 80), ("a b", 80), ("a" * 300, 80), ("example.com", 65536)])
def test_impossible_destinations_are_refused_at_once(run: Run, host: str, port: int) -> None:
    async def scene() -> None:
        with pytest.raises(ValueError, match=r"."):
            await Client("socks6://127.0.0.1:1").connect(host, port)

    run(scene())


def test_only_socks6_proxies_will_do() -> None:
    with pytest.raises(ConfigurationError, match="socks6://"):
        Client("socks5://127.0.0.1:1080")


def test_the_password_is_not_in_the_repr() -> None:
    assert "wonder" not in repr(Client("socks6://alice:wonderland@127.0.0.1"))


def test_the_errors_are_all_of_one_family() -> None:
    for error in (ProxyUnreachable, ProxyTimedOut, AuthenticationFailed, VersionMismatch, OperationFailed):
        assert issubclass(error, Socks6Error)
    assert Endpoint("a", 1) == ("a", 1)
