"""TLS over TCP."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from typing_extensions import override

from socks6.client.stream import ProxiedStream
from socks6.errors import CertificateRefused, LocalProtocolError, TlsFailed
from socks6.message.codes import Command
from socks6.message.requests import Request
from socks6.net.encryption.certificates import pin_of
from socks6.net.encryption.contexts import ReloadingContext, TlsParameters, client_context, server_context
from socks6.net.machine_io import READ_SIZE, next_event
from socks6.net.resolve import Resolver
from socks6.net.sockets import SocketStream
from socks6.net.stream import NO_ENDPOINT, ByteStream, PollableStream, Protection
from socks6.net.transports import tls
from socks6.net.transports.base import ConnectParameters, StreamRequest
from socks6.net.transports.tcp import connect_tcp, listen_tcp
from socks6.net.transports.tls import Ticket, TlsConnector, TlsListener, TlsSession, TlsStream
from socks6.protocol.client import ClientConversation
from socks6.protocol.events import AuthenticationAccepted, OperationAnswered
from tests.kit.certificates import Files, certificate, tls_connector
from tests.kit.joined import tcp_pair, tls_conversations_to_be, tls_pair
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.quic import joined as quic_joined
from tests.kit.streams import (
    ON_ASYNCIO,
    ON_UVLOOP,
    StreamConformance,
    accept,
    closing,
    receive_all,
    receive_exactly,
    turns,
)

pytestmark = pytest.mark.e2e  # takes long, with real sockets

ResultT = TypeVar("ResultT")
BULK = bytes(range(256)) * 8192


@asynccontextmanager
async def listening(
    files: Files,
    *,
    alpn: tuple[str, ...] = ("socks6",),
    client_ca: str | None = None,
    min_version: str | None = None,
    port: int = 0,
) -> AsyncIterator[tuple[TlsListener, int]]:
    """Give a listener with a certificate, and its port."""
    said = replace(files.server, client_ca=client_ca, min_version=min_version)
    contexts = ReloadingContext(said, partial(server_context, alpn=alpn))
    raw = (await listen_tcp("127.0.0.1", port))[0]
    listener = TlsListener(raw, contexts)
    try:
        yield listener, raw.local.port
    finally:
        await listener.aclose()


async def accepted(listener: TlsListener) -> TlsStream:
    """Return the next client's stream, its handshake done."""
    stream = await accept(listener)
    assert isinstance(stream, TlsStream)
    try:
        await stream.handshake()
    except BaseException:
        stream.abort()
        raise
    return stream


@asynccontextmanager
async def joined(
    files: Files, connector: TlsConnector | None = None
) -> AsyncIterator[tuple[TlsStream, TlsStream]]:
    """Give both ends of a connection."""
    async with listening(files) as (listener, port):
        connector = connector or tls_connector("localhost", port, TlsParameters(ca=files.ca))
        async with asyncio.TaskGroup() as group:
            dialling = group.create_task(connector.connect())
            accepting = group.create_task(accepted(listener))
        async with closing(dialling.result(), accepting.result()):
            yield dialling.result(), accepting.result()


def test_request_leaves_with_the_handshakes_last_message(run: Run) -> None:
    async def play() -> None:
        with certificate() as files:
            async with listening(files) as (listener, port), asyncio.TaskGroup() as group:
                connector = tls_connector("localhost", port, TlsParameters(ca=files.ca))
                accepting = group.create_task(accepted(listener))
                client = await connector.open(StreamRequest(Command.CONNECT))
                assert client.session.outgoing.pending
                await client.send(b"request")
                assert not client.session.outgoing.pending
                async with closing(client, server := await accepting):
                    assert await server.receive() == b"request"
                accepting = group.create_task(accepted(listener))
                spare = await connector.open(StreamRequest(Command.NOOP, early_data=b""))
                async with closing(spare, await accepting):
                    assert not spare.session.outgoing.pending

    run(play())


def test_what_is_read_beyond_the_replies_is_the_streams(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    receive = TlsStream.receive_nowait

    def noted(stream: TlsStream, max_bytes: int) -> bytes | None:
        reads.append(max_bytes)
        return receive(stream, max_bytes)

    async def play() -> None:
        with certificate() as files:
            async with joined(files) as (client, server):
                request = Request(command=Command.CONNECT, host="192.0.2.1", port=80)
                conversation = ClientConversation(request)
                await server.send(
                    bytes.fromhex("06 00 0000  06 00 0000 0050 00 01 c0000202") + b"the stream's"
                )
                monkeypatch.setattr(TlsStream, "receive_nowait", noted)
                kinds = [type(await next_event(conversation, client, exact=True)) for _ in range(2)]
                assert kinds == [AuthenticationAccepted, OperationAnswered]
                assert set(reads) == {READ_SIZE}
                await client.wait_readable()
                assert await client.receive(3) == b"the"
                assert await client.receive() == b" stream's"

    run(play())


class TestTlsClient(StreamConformance):
    """The common suite, the client's end being the one that acts first."""

    @override
    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
        with certificate() as files:
            async with joined(files) as (client, server):
                yield client, server


class TestTlsServer(StreamConformance):
    """The common suite, the server's end being the one that acts first."""

    @override
    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
        with certificate() as files:
            async with joined(files) as (client, server):
                yield server, client


@asynccontextmanager
async def nested(
    files: Files, beneath: tuple[PollableStream, PollableStream]
) -> AsyncIterator[tuple[TlsStream, TlsStream]]:
    """Give both ends of TLS over a pair of streams."""
    client_side = client_context(TlsParameters(ca=files.ca))
    client = TlsStream(beneath[0], TlsSession(client_side, server_hostname="localhost"))
    server = TlsStream(beneath[1], lambda: TlsSession(server_context(files.server), server_side=True))
    async with closing(client, server):
        async with asyncio.TaskGroup() as group:
            group.create_task(client.handshake())
            group.create_task(server.handshake())
        yield client, server


@ON_ASYNCIO
class TestTlsOverMemory(StreamConformance):
    """The common suite over streams without sockets; what lies on other streams never meets a loop of its own."""

    @override
    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
        with certificate() as files:
            async with nested(files, memory_stream_pair()) as (client, server):
                yield client, server


@ON_UVLOOP
class TestTlsOverTls(StreamConformance):
    """The common suite over TLS."""

    bulk = 2 * BULK

    @override
    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
        with certificate() as files:
            async with joined(files) as beneath, nested(files, beneath) as (client, server):
                yield client, server


@ON_ASYNCIO
class TestTlsOverQuic(StreamConformance):
    """The common suite over a QUIC stream."""

    bulk = 2 * BULK
    enough = 1 << 22

    @override
    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
        with certificate() as files:
            async with quic_joined("qh3", "qh3") as (connection, other):
                left = await connection.open()
                await left.send(b"!")
                right = await other.accept()
                assert await right.receive(1) == b"!"
                async with nested(files, (left, right)) as (client, server):
                    yield client, server


def parameters(files: Files, **said: object) -> TlsParameters:
    return replace(TlsParameters(ca=files.ca), **said)  # type: ignore[arg-type]


async def refusal(
    files: Files, said: TlsParameters, client_ca: str | None = None
) -> tuple[OSError, OSError | None]:
    """Return what a client and a server say that do not come together; a server that noticed nothing says None."""
    async with listening(files, client_ca=client_ca) as (listener, port), asyncio.TaskGroup() as group:
        connector = tls_connector("localhost", port, said)
        accepting = group.create_task(outcome_of(accepted(listener)))
        dialling = group.create_task(outcome_of(connector.connect()))
        found = await dialling
        if isinstance(found, TlsStream):  # TLS 1.3: a client learns of its refusal when it reads
            later = await outcome_of(found.receive())
            found.abort()
            assert isinstance(later, OSError), later
            found = later
        server_found = await accepting
    if isinstance(server_found, TlsStream):
        server_found.abort()
    assert isinstance(found, OSError)
    return found, server_found if isinstance(server_found, OSError) else None


async def outcome_of(call: Coroutine[Any, Any, ResultT]) -> ResultT | OSError:
    try:
        return await call
    except OSError as error:
        return error


def test_it_is_protected_and_its_socket_is_not_its_bytes(run: Run) -> None:
    async def play() -> None:
        with certificate() as files:
            async with joined(files) as (client, server):
                for stream in (client, server):
                    assert stream.protection is Protection.ENCRYPTED
                    assert stream.raw_socket is None
                    assert stream.attribute(socket.socket) is not None
                    assert stream.session.version == "TLSv1.3"
                    assert stream.session.protocol == "socks6"

    run(play())


@pytest.mark.parametrize(
    ("said", "made", "kind", "words"),
    [
        ({}, {"issuer": "unknown"}, CertificateRefused, "unable to get local issuer"),
        ({}, {"expired": True}, CertificateRefused, "certificate has expired"),
        ({"sni": "other.example"}, {}, CertificateRefused, "not valid for 'other.example'"),
        ({"pins": (bytes(32),)}, {}, CertificateRefused, "the proxy's key is not the one of the pin"),
        (
            {"pins": (bytes(32),), "ca": None},
            {},
            CertificateRefused,
            "the proxy's key is not the one of the pin",
        ),
    ],
)
def test_a_proxy_that_is_not_the_one_asked_for_gets_no_connection(
    run: Run, said: dict[str, object], made: dict[str, object], kind: type[TlsFailed], words: str
) -> None:
    async def play() -> None:
        with certificate() as good, certificate(**made) as files:
            found, _ = await refusal(files, parameters(good, **said))
            assert type(found) is kind
            assert words in str(found)

    run(play())


def test_a_pin_is_enough_whatever_else_the_certificate_says(run: Run) -> None:
    async def play() -> None:
        with certificate("elsewhere.example", issuer="unknown", expired=True) as files:
            der = ssl.PEM_cert_to_DER_cert(first_of(files.certificate))
            said = TlsParameters(pins=(bytes(32), pin_of(der)))
            async with listening(files) as (listener, port), asyncio.TaskGroup() as group:
                accepting = group.create_task(accepted(listener))
                client = await tls_connector("localhost", port, said).connect()
                async with closing(client, await accepting):
                    assert client.session.certificate == der

    run(play())


def first_of(path: str) -> str:
    """Return the first certificate of a file."""
    head, end, _ = Path(path).read_text().partition("-----END CERTIFICATE-----")
    return head + end


def test_nothing_is_checked_when_that_is_asked_for(run: Run) -> None:
    async def play() -> None:
        with certificate("elsewhere.example", issuer="unknown") as files:
            async with listening(files) as (listener, port), asyncio.TaskGroup() as group:
                accepting = group.create_task(accepted(listener))
                client = await tls_connector("localhost", port, TlsParameters(insecure=True)).connect()
                async with closing(client, await accepting):
                    pass

    run(play())


def test_a_server_that_says_nothing_of_alpn_will_do_where_it_is_optional(run: Run) -> None:
    async def play() -> None:
        with certificate() as files:
            said = replace(parameters(files), alpn_optional=True)
            async with listening(files, alpn=()) as (listener, port), asyncio.TaskGroup() as group:
                accepting = group.create_task(accepted(listener))
                client = await tls_connector("localhost", port, said).connect()
                async with closing(client, await accepting):
                    assert accepting.result().session.refused_protocols == ("socks6",)

    run(play())


@pytest.mark.parametrize("alpn", [(), ("h2",)])
def test_tls_with_somebody_else_is_no_connection(run: Run, alpn: tuple[str, ...]) -> None:
    async def play() -> None:
        with certificate() as files:
            async with listening(files, alpn=alpn) as (listener, port), asyncio.TaskGroup() as group:
                group.create_task(outcome_of(accepted(listener)))
                found = await outcome_of(tls_connector("localhost", port, parameters(files)).connect())
        assert type(found) is TlsFailed
        assert "no socks6 (ALPN)" in str(found)

    run(play())


def test_only_clients_with_a_certificate_come_in_where_one_is_asked_for(run: Run) -> None:
    async def play() -> None:
        with certificate() as files, certificate(issuer="unknown") as strange:
            found, told = await refusal(files, parameters(files), client_ca=files.ca)
            assert "the peer wants a client certificate" in str(found)
            assert type(told) is CertificateRefused
            assert str(told) == "the client has no certificate"
            other = parameters(files, certificate=strange.certificate, key=strange.key)
            found, told = await refusal(files, other, client_ca=files.ca)
            assert "does not know who issued our certificate" in str(found)
            assert type(told) is CertificateRefused

    run(play())


def test_a_client_certificate_names_a_user(run: Run) -> None:
    async def play() -> None:
        with certificate() as files, certificate("alice@example.com", common_name="Alice") as alice:
            async with listening(files, client_ca=files.ca) as (listener, port), asyncio.TaskGroup() as group:
                said = parameters(files, certificate=alice.certificate, key=alice.key)
                accepting = group.create_task(accepted(listener))
                client = await tls_connector("localhost", port, said).connect()
                async with closing(client, server := await accepting):
                    assert server.session.certified_user == "alice@example.com"
                    assert client.session.certified_user  # the proxy's own, whatever it says

    run(play())


@pytest.mark.parametrize(
    ("server", "client", "version"), [("1.2", "1.2", "TLSv1.3"), ("1.3", "1.2", "TLSv1.3")]
)
def test_the_newest_version_of_both_is_spoken(run: Run, server: str, client: str, version: str) -> None:
    async def play() -> None:
        with certificate() as files:
            async with listening(files, min_version=server) as (listener, port), asyncio.TaskGroup() as group:
                accepting = group.create_task(accepted(listener))
                stream = await tls_connector(
                    "localhost", port, parameters(files, min_version=client)
                ).connect()
                async with closing(stream, await accepting):
                    assert stream.session.version == version

    run(play())


@pytest.mark.parametrize(("min_version", "spoken"), [("1.2", "TLSv1.2"), ("1.3", "")])
def test_tls_1_2_is_spoken_only_where_it_is_allowed(run: Run, min_version: str, spoken: str) -> None:
    async def play() -> None:
        with certificate() as files:
            async with listening(files, min_version=min_version) as (listener, port):
                old = ssl.create_default_context(cafile=files.ca)
                old.maximum_version = ssl.TLSVersion.TLSv1_2
                raw = await connect_tcp("127.0.0.1", port)
                client = TlsStream(raw, TlsSession(old, server_hostname="localhost"))
                async with asyncio.TaskGroup() as group:
                    accepting = group.create_task(outcome_of(accepted(listener)))
                    found = await outcome_of(client.handshake())
                assert client.session.version == spoken or isinstance(found, TlsFailed)
                assert isinstance(accepting.result(), TlsStream) == bool(spoken)
                for stream in (client, accepting.result()):
                    if isinstance(stream, TlsStream):
                        stream.abort()

    run(play())


def test_connections_resume_by_one_ticket_until_it_is_old_or_the_proxy_refuses_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Ticket | None] = []

    def take(session: TlsSession) -> "Ticket | None":
        taken.append(session.tls.session)
        return taken[-1]

    monkeypatch.setattr(TlsSession, "ticket", property(take))

    async def resumes(listener: TlsListener, connector: TlsConnector) -> bool:
        async with asyncio.TaskGroup() as group:
            accepting = group.create_task(accepted(listener))
            client = await connector.connect()
        async with closing(client, server := accepting.result()):
            await server.send(b"!")
            await client.receive()
            connector.answered(client)
            assert client.session.tls.session_reused == server.session.tls.session_reused
            return client.session.tls.session_reused

    async def play() -> None:
        with certificate() as files:
            async with listening(files) as (listener, port):
                connector = tls_connector("localhost", port, parameters(files))
                assert [await resumes(listener, connector) for _ in range(4)] == [False, True, True, True]
                assert len(taken) == 1
                with monkeypatch.context() as later:
                    later.setattr(tls, "TICKET_SECONDS", 0.0)
                    assert await resumes(listener, connector)
                assert len(taken) == 2
            async with listening(files, port=port) as (
                listener,
                _,
            ):  # restarted: it has other keys for tickets
                assert [await resumes(listener, connector) for _ in range(3)] == [False, True, True]
                assert len(taken) == 3

    run(play())


def test_an_end_that_tls_did_not_announce_is_an_error(run: Run) -> None:
    async def play() -> None:
        with certificate() as files:
            async with joined(files) as (client, server):
                await client.send(b"half of it")
                carrier = client.attribute(socket.socket)
                assert carrier is not None
                carrier.shutdown(socket.SHUT_WR)  # as somebody on the way could
                assert await server.receive() == b"half of it"
                with pytest.raises(ConnectionResetError, match="TLS had not ended"):
                    await server.receive()

    run(play())


def test_a_stream_is_closed_in_order_without_a_wait(run: Run) -> None:
    async def play() -> None:
        with certificate() as files:
            async with joined(files) as (client, server):
                await client.send(b"last")
                await server.send(b"not read")
                client.close()
                client.close()
                assert await receive_all(server) == b"last"
                with pytest.raises(OSError, match="the stream was closed"):
                    client.receive_nowait(1)

    run(play())


def test_bytes_changed_on_their_way_are_an_error(run: Run) -> None:
    async def play() -> None:
        with certificate() as files:
            async with joined(files) as (client, server):
                carrier = client.attribute(socket.socket)
                assert carrier is not None
                carrier.send(b"\x17\x03\x03\x00\x20" + bytes(32))
                with pytest.raises(TlsFailed, match="changed on its way"):
                    await server.receive()
                with pytest.raises(OSError):  # noqa: PT011 - the server's alert
                    await client.receive()

    run(play())


def test_what_came_before_our_end_is_still_received(run: Run) -> None:
    async def play() -> None:
        with certificate() as files:
            async with joined(files) as (client, server):
                await server.send(BULK[:50_000])
                assert await client.receive(1) == BULK[:1]
                await client.send_eof()  # OpenSSL would have thrown the rest away
                assert await server.receive() == b""
                await server.send(b"!")
                await server.send_eof()
                assert await receive_all(client) == BULK[1:50_000] + b"!"

    run(play())


def test_what_send_nowait_has_begun_send_goes_on_with(run: Run) -> None:
    async def play() -> None:
        with certificate() as files:
            async with joined(files) as (client, server), asyncio.TaskGroup() as group:
                taken = 0
                while size := client.send_nowait(BULK):
                    taken += size
                sending = group.create_task(client.send(BULK))
                received = 0
                while received < taken + len(BULK):
                    received += len(await server.receive())
                await sending
                await client.send(b"and no more")
                assert await server.receive() == b"and no more"

    run(play())


def test_what_waits_for_the_peer_is_not_taken_for_answers_to_it(run: Run) -> None:
    async def play() -> None:
        long = BULK * 8
        near, far = tls_pair()
        assert isinstance(near, TlsStream)
        assert not near.put_nowait(long)
        assert near.receive_nowait(1) is None
        receiving = asyncio.create_task(receive_exactly(far, len(long)))
        while not near.flush_nowait():
            await near.wait_writable()
        assert await receiving == long
        for stream in (near, far):
            stream.abort()

    run(play())


def test_nobody_waits_for_a_client_that_does_not_shake_hands(run: Run) -> None:
    async def play() -> None:
        with certificate() as files:
            async with listening(files) as (listener, port), closing(await connect_tcp("127.0.0.1", port)):
                silent = await accept(listener)
                async with asyncio.TaskGroup() as group:
                    accepting = group.create_task(accepted(listener))
                    client = await tls_connector("localhost", port, parameters(files)).connect()
                async with closing(client, accepting.result()):
                    silent.abort()

    run(play())


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "the peer speaks HTTP, not TLS"),
        (bytes.fromhex("06 00 0000 00000001 00000000"), "the peer speaks SOCKS 6, not TLS"),
        (b"\x80", r"the peer speaks no TLS \(its first byte is 0x80\)"),
        (b"", "the peer speaks no TLS: it closed the connection"),
    ],
)
def test_a_client_without_tls_is_told_apart(run: Run, said: bytes, words: str) -> None:
    async def play() -> None:
        with certificate() as files:
            async with (
                listening(files) as (listener, port),
                closing(client := await connect_tcp("127.0.0.1", port)),
            ):
                await client.send(said)
                await client.send_eof()
                with pytest.raises(TlsFailed, match=words):
                    await accepted(listener)

    run(play())


def test_a_client_that_has_left_is_told_apart_by_what_it_spoke(run: Run) -> None:
    async def play() -> None:
        with certificate() as files:
            async with (
                listening(files) as (listener, port),
                closing(client := await connect_tcp("127.0.0.1", port)),
            ):
                await client.send(b"GET / HTTP/1.1\r\n\r\n")
                stream = await accept(listener)
                assert isinstance(stream, TlsStream)
                async with closing(stream):
                    assert isinstance(stream.beneath, SocketStream)
                    stream.beneath.raw_socket.shutdown(
                        socket.SHUT_WR
                    )  # sending breaks, as to one that has left
                    with pytest.raises(TlsFailed, match="the peer speaks HTTP, not TLS"):
                        await stream.handshake()

    run(play())


def test_the_hello_can_go_out_within_the_syn(run: Run) -> None:
    async def play() -> None:
        with certificate() as files:
            async with listening(files) as (listener, port), asyncio.TaskGroup() as group:
                connector = tls_connector("localhost", port, parameters(files), fast_open=True)
                accepting = group.create_task(accepted(listener))
                client = await connector.connect()
                async with closing(client, server := await accepting):
                    await client.send(b"x")
                    assert await receive_exactly(server, 1) == b"x"

    run(play())


def test_who_only_connects_has_no_tls_object(run: Run) -> None:
    async def scene() -> None:
        made: list[TlsSession] = []
        near, far = tcp_pair()
        assert isinstance(far, SocketStream)
        client, server = tls_conversations_to_be()

        def make() -> TlsSession:
            made.append(server)
            return server

        stream = TlsStream(far, make)
        shaking = asyncio.create_task(stream.handshake())
        await turns()
        assert not made
        await near.send(client.begin())
        assert isinstance(near, SocketStream)
        mine = TlsStream(near, client)
        await mine.handshake()
        await shaking
        assert len(made) == 1
        await stream.aclose()
        await mine.aclose()

    run(scene())


def test_a_stream_can_be_closed_before_any_tls(run: Run) -> None:
    async def scene() -> None:
        near, far = tcp_pair()
        assert isinstance(far, SocketStream)
        stream = TlsStream(far, tls_conversations_to_be)  # type: ignore[arg-type]  # is not called
        await stream.aclose()
        assert await near.receive() == b""
        near.abort()

    run(scene())


@pytest.mark.parametrize("quiet", [False, True])
def test_only_a_quiet_side_keeps_to_itself_why_a_handshake_failed(run: Run, quiet: bool) -> None:
    async def scene() -> None:
        near, far = tcp_pair()
        assert isinstance(far, SocketStream)
        stream = TlsStream(far, lambda: tls_conversations_to_be()[1])
        await near.send(b"\x16\x03\x01\x00\x04rubbish")
        with pytest.raises(TlsFailed):
            await stream.handshake(quiet=quiet)
        await stream.beneath.aclose()
        assert bool(await near.receive()) is not quiet
        near.abort()

    run(scene())


def test_tls_needs_a_stream_that_can_be_used_without_waiting(run: Run) -> None:
    async def scene() -> None:
        stream, _ = memory_stream_pair()
        waiting = ProxiedStream(stream, NO_ENDPOINT, ())  # whatever else is used that way

        async def reach(_host: str, _port: int) -> ByteStream:
            return waiting

        connector = TlsConnector(ConnectParameters(host="h", port=1, resolver=Resolver(), through=reach))
        with pytest.raises(LocalProtocolError, match="no TLS over a stream"):
            await connector.connect()
        with pytest.raises(OSError, match="closed"):
            stream.receive_nowait(1)

    run(scene())
