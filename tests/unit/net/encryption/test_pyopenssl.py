"""A client's TLS by pyOpenSSL."""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from OpenSSL._util import lib
from typing_extensions import override

from socks6.errors import CertificateRefused, TlsFailed
from socks6.net.encryption.certificates import pin_of
from socks6.net.encryption.contexts import ReloadingContext, TlsParameters, server_context
from socks6.net.encryption.pyopenssl import PyOpenSslObject
from socks6.net.scratch import Scratch
from socks6.net.stream import ByteStream
from socks6.net.transports import tls
from socks6.net.transports.tcp import listen_tcp
from socks6.net.transports.tls import TlsConnector, TlsListener, TlsSession, TlsStream, pyopenssl_client
from tests.kit.certificates import Files, certificate, tls_connector
from tests.kit.loops import Run
from tests.kit.streams import ON_ASYNCIO, ON_UVLOOP, StreamConformance, accept, closing, receive_all, until

PIECE = bytes(range(256)) * 1024


@asynccontextmanager
async def listening(
    files: Files, *, client_ca: str | None = None, port: int = 0
) -> AsyncIterator[tuple[TlsListener, int]]:
    """Give a listener, and its port."""
    make = partial(server_context, alpn=("socks6",))
    raw = (await listen_tcp("127.0.0.1", port))[0]
    listener = TlsListener(raw, ReloadingContext(replace(files.server, client_ca=client_ca), make))
    try:
        yield listener, raw.local.port
    finally:
        await listener.aclose()


def connector_to(port: int, said: TlsParameters) -> TlsConnector:
    """Return a connector that has gone over to pyOpenSSL."""
    connector = tls_connector("localhost", port, said)
    connector._loaded(done(pyopenssl_client(said, "socks6", (said.sni or "localhost").encode())))
    assert connector._quick_client is not None
    return connector


def first_of(files: Files) -> bytes:
    """Return the first certificate in DER."""
    first, end, _ = Path(files.certificate).read_text().partition("-----END CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(first + end)


def done(result: tls.TlsClient | None) -> "asyncio.Future[tls.TlsClient | None]":
    future: asyncio.Future[tls.TlsClient | None] = asyncio.get_running_loop().create_future()
    future.set_result(result)
    return future


async def connected(listener: TlsListener, connector: TlsConnector) -> tuple[TlsStream, TlsStream]:
    """Return both ends of a new connection, the client's first."""

    async def accepted() -> TlsStream:
        while True:
            stream = await accept(listener)
            assert isinstance(stream, TlsStream)
            try:
                await stream.handshake()
            except OSError:
                stream.abort()
            except asyncio.CancelledError:
                stream.abort()
                raise
            else:
                return stream

    accepting = asyncio.create_task(accepted())
    try:
        client = await connector.connect()
    except BaseException:
        accepting.cancel()
        await asyncio.wait([accepting])
        raise
    return client, await accepting


async def resumes(listener: TlsListener, connector: TlsConnector, *, abrupt: bool = False) -> bool:
    """Make a connection and get an answer; return whether both ends say that it resumed an earlier one."""
    client, server = await connected(listener, connector)
    async with closing(client, server):
        await server.send(b"!")
        await client.receive()
        connector.answered(client)
        assert client.session.tls.session_reused == server.session.tls.session_reused
        if abrupt:
            client.abort()
        return client.session.tls.session_reused


@ON_UVLOOP
class TestStream(StreamConformance):
    """The common suite."""

    @override
    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
        with certificate() as files:
            async with listening(files) as (listener, port):
                connector = connector_to(port, TlsParameters(ca=files.ca))
                client, server = await connected(listener, connector)
                assert isinstance(client.session.tls, PyOpenSslObject)
                async with closing(client, server):
                    yield client, server


def test_connections_resume_by_one_ticket_however_they_end(run: Run) -> None:
    async def play() -> None:
        with certificate() as files:
            async with listening(files) as (listener, port):
                connector = connector_to(port, TlsParameters(ca=files.ca))
                found = [await resumes(listener, connector, abrupt=bool(i % 2)) for i in range(5)]
                assert found == [False, True, True, True, True]
            async with listening(files, port=port) as (
                listener,
                _,
            ):  # restarted: it has other keys for tickets
                assert [await resumes(listener, connector) for _ in range(3)] == [False, True, True]

    run(play())


def test_connections_go_on_by_ssl_where_it_cannot_be_loaded(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "ANSWERS_BEFORE_PYOPENSSL", 1)

    def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def play() -> None:
        with certificate() as files:
            async with listening(files) as (listener, port):
                connector = tls_connector("localhost", port, TlsParameters(ca=files.ca))
                with monkeypatch.context() as short:
                    short.setattr(asyncio.get_running_loop(), "run_in_executor", no_thread)
                    assert not await resumes(listener, connector)
                assert connector._answers_left == tls.ANSWERS_AFTER_FAILURE
                failed = asyncio.get_running_loop().create_future()
                failed.set_exception(OSError("the file is gone"))
                connector._loaded(failed)
                assert await resumes(listener, connector)
                assert connector._quick_client is None

    run(play())


@ON_ASYNCIO
def test_a_session_says_who_the_server_is_and_what_was_agreed_on(run: Run) -> None:
    async def play() -> None:
        with certificate() as files:
            der = first_of(files)
            async with listening(files) as (listener, port):
                for said in (
                    TlsParameters(ca=files.ca),
                    TlsParameters(pins=(pin_of(der),)),
                    TlsParameters(ca=files.ca, pins=(pin_of(der),)),
                    TlsParameters(insecure=True),
                ):
                    connector = connector_to(port, said)
                    for _ in range(2):
                        assert await resumes(listener, connector) == bool(_)
                        client, server = await connected(listener, connector)
                        async with closing(client, server):
                            session = client.session
                            assert isinstance(session.tls, PyOpenSslObject)
                            assert session.certificate == der
                            assert (session.protocol, session.version) == ("socks6", "TLSv1.3")
                            assert session.cipher == server.session.cipher
                            assert session.certified_user == ""

    run(play())


def test_nothing_is_known_before_the_handshake() -> None:
    client = pyopenssl_client(TlsParameters(insecure=True), "", b"localhost")
    assert client is not None
    session = client.begin()
    assert (session.certificate, session.cipher, session.protocol) == (b"", "", "")


@ON_ASYNCIO
@pytest.mark.parametrize(
    ("said", "names", "made", "good"),
    [
        ({}, (), {}, True),
        ({"sni": "127.0.0.1"}, (), {}, True),
        ({"sni": "::1"}, ("::1",), {}, True),
        ({"sni": "127.0.0.2"}, (), {}, False),
        ({"sni": "other.example"}, (), {}, False),
        ({"sni": "x.other.example"}, ("*.other.example",), {}, True),
        ({"sni": "x.y.other.example"}, ("*.other.example",), {}, False),
        ({}, ("elsewhere.example",), {"common_name": "localhost"}, False),
        ({}, (), {"issuer": "unknown"}, False),
        ({}, (), {"expired": True}, False),
        ({"pins": (bytes(32),)}, (), {}, False),
        ({"ca": None}, (), {}, False),
    ],
)
def test_the_same_servers_are_accepted_and_refused_in_the_same_words(
    run: Run, said: dict[str, object], names: tuple[str, ...], made: dict[str, object], good: bool
) -> None:
    async def play() -> None:
        with certificate() as other, certificate(*names, **made) as files:
            ca = other.ca if "issuer" in made else files.ca
            asked = TlsParameters(**{"ca": ca, **said})  # type: ignore[arg-type]
            async with listening(files) as (listener, port):
                quick, slow = connector_to(port, asked), tls_connector("localhost", port, asked)
                if good:
                    client, server = await connected(listener, quick)
                    async with closing(client, server):
                        assert isinstance(client.session.tls, PyOpenSslObject)
                    return
                words = []
                for connector in (quick, slow):
                    with pytest.raises(CertificateRefused) as found:
                        await connected(listener, connector)
                    words.append(str(found.value))
                assert words[0] == words[1]
                assert quick._quick_client is None

    run(play())


def test_ssl_has_the_last_word(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        with certificate() as files:
            async with listening(files) as (listener, port):
                said = TlsParameters(ca=files.ca)
                connector = connector_to(port, said)
                connector._quick_client = pyopenssl_client(said, "socks6", b"elsewhere.example")
                client, server = await connected(listener, connector)
                async with closing(client, server):
                    assert isinstance(client.session.tls, ssl.SSLObject)
                assert connector._quick_client is None
                assert connector._answers_left == tls.ANSWERS_AFTER_FAILURE

    run(play())


def test_it_is_loaded_once_there_were_answers_enough(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "ANSWERS_BEFORE_PYOPENSSL", 2)

    async def play() -> None:
        with certificate() as files, certificate("alice") as alice:
            async with listening(files) as (listener, port):
                connector = tls_connector("localhost", port, TlsParameters(ca=files.ca))
                assert not await resumes(listener, connector)
                before, server = await connected(listener, connector)
                assert await resumes(listener, connector)
                await until(lambda: connector._quick_client is not None)
                async with closing(before, server):
                    connector.answered(before)  # whose ticket is of the other kind
                assert [await resumes(listener, connector) for _ in range(2)] == [False, True]
                # what only `ssl` does
                special = {"certificate": alice.certificate, "key": alice.key}, {"min_version": "1.2"}, {"sni": "ä.example"}  # fmt: skip
                for asked in special:
                    assert tls_connector("localhost", port, TlsParameters(ca=files.ca, **asked))._answers_left < 0  # type: ignore[arg-type]  # fmt: skip
                with monkeypatch.context() as newer:
                    newer.setattr(ssl, "OPENSSL_VERSION_INFO", (3, 5, 0, 0, 0))
                    assert tls_connector("localhost", port)._answers_left < 0

    run(play())


@ON_ASYNCIO
@pytest.mark.parametrize("lacks", ["the module", "a call", "the groups", "the name", "the file"])
def test_ssl_stays_where_pyopenssl_will_not_do(run: Run, monkeypatch: pytest.MonkeyPatch, lacks: str) -> None:
    class Lib:
        def __getattr__(self, name: str) -> Callable[..., object]:
            if (lacks, name) == ("a call", "SSL_CTX_get0_param"):
                raise AttributeError(name)
            refused = {"the groups": "SSL_CTX_set1_curves_list", "the name": "X509_VERIFY_PARAM_set1_host"}
            return (lambda *_: 0) if refused.get(lacks) == name else getattr(lib, name)

    async def play() -> None:
        with certificate() as files:
            if lacks == "the module":
                monkeypatch.setitem(sys.modules, "socks6.net.encryption.pyopenssl", None)
            else:
                monkeypatch.setattr("socks6.net.encryption.pyopenssl.lib", Lib())
            ca = "/nowhere" if lacks == "the file" else files.ca
            assert pyopenssl_client(TlsParameters(ca=ca), "socks6", b"localhost") is None

    run(play())


def test_the_proxy_wants_a_certificate_that_there_is_none(run: Run) -> None:
    async def play() -> None:
        with certificate() as files:
            async with listening(files, client_ca=files.ca) as (listener, port):
                connector = connector_to(port, TlsParameters(ca=files.ca))

                async def refuse() -> None:
                    server = await accept(listener)
                    assert isinstance(server, TlsStream)
                    with pytest.raises(CertificateRefused):
                        await server.handshake()
                    await server.beneath.send_eof()
                    await server.beneath.aclose()

                refusing = asyncio.create_task(refuse())
                client = await connector.connect()
                await refusing
                with pytest.raises(
                    TlsFailed, match=r"wants a client certificate, and there is none \(cert=\)"
                ):
                    await client.receive()
                client.abort()

    run(play())


def sessions(files: Files) -> tuple[TlsSession, TlsSession]:
    """Return both ends of TLS that has shaken hands, the client's first."""
    client = pyopenssl_client(TlsParameters(ca=files.ca), "socks6", b"localhost")
    assert client is not None
    near, far = client.begin(), TlsSession(server_context(files.server), server_side=True)
    for _ in range(2):
        far.incoming.write(near.begin())
        near.incoming.write(far.begin())
    return near, far


def test_a_buffer_is_filled_with_whole_records_and_a_bad_one_comes_behind_the_good() -> None:
    with certificate() as files:
        near, far = sessions(files)
        plain = memoryview(bytearray(65_536))
        far.tls.write(PIECE[:40_000])
        near.incoming.write(far.outgoing.read())
        assert [near.tls.read(65_536, plain) for _ in range(1)] == [40_000]
        assert plain[:40_000] == PIECE[:40_000]
        far.tls.write(PIECE[:40_000])
        near.incoming.write(far.outgoing.read())
        assert near.tls.read(20_000, plain) == 16_384  # no part of a record
        assert near.tls.read(20_000) == PIECE[16_384:32_768]
        assert near.tls.read(20_000) == PIECE[32_768:40_000]
        far.tls.write(PIECE[:16_384])
        near.incoming.write(far.outgoing.read() + b"\x17\x03\x03\x00\x20")
        assert near.tls.read(65_536, plain) == 16_384
        near.incoming.write(bytes(32))
        with pytest.raises(ssl.SSLError) as first:
            near.tls.read(10)
        assert first.value.reason == "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"
        near, far = sessions(files)
        far.tls.write(PIECE[:16_384])
        near.incoming.write(far.outgoing.read() + b"\x17\x03\x03\x00\x20" + bytes(32))
        assert near.tls.read(65_536, plain) == 16_384
        for _ in range(2):
            with pytest.raises(ssl.SSLError) as found:
                near.tls.read(65_536, plain)
            assert found.value.reason == "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"
        with pytest.raises(ssl.SSLError):
            near.tls.unwrap()


def test_long_pieces_are_taken_whole() -> None:
    with certificate() as files:
        near, far = sessions(files)
        assert near.outgoing.read() == b""
        assert near.tls.write(PIECE) == len(PIECE)
        assert near.outgoing.pending > len(PIECE)
        far.incoming.write(near.outgoing.read())
        received = b""
        while len(received) < len(PIECE):
            received += far.tls.read(65_536)
        assert received == PIECE
        near.tls.unwrap()
        far.incoming.write(near.outgoing.read())
        with pytest.raises(ssl.SSLError, match="PROTOCOL_IS_SHUTDOWN"):
            near.tls.write(b"more")
        assert not far.incoming.pending or far.tls.read(1) == b""


def test_a_relay_reads_into_its_buffer(run: Run) -> None:
    async def play() -> None:
        with certificate() as files:
            async with listening(files) as (listener, port):
                client, server = await connected(listener, connector_to(port, TlsParameters(ca=files.ca)))
                scratch = Scratch()
                async with closing(client, server):
                    sending = asyncio.create_task(server.send(PIECE))
                    received = b""
                    while len(received) < len(PIECE):
                        if size := client.receive_into(scratch):
                            received += scratch.plain[:size]
                        else:
                            await client.wait_readable()
                    await sending
                    assert received == PIECE
                    await server.send_eof()
                    assert await receive_all(client) == b""

    run(play())
