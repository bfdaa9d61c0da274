"""A client's QUIC connections, and its sockets."""

import asyncio
import contextlib
import datetime as dt
import errno
import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from typing_extensions import override

from socks6.client.client import Client
from socks6.errors import CertificateRefused, ConfigurationError, TlsFailed
from socks6.net.encryption.certificates import parse_pin
from socks6.net.encryption.contexts import TlsParameters
from socks6.net.encryption.issue import make_certificate
from socks6.net.network_changes import NetworkChanges
from socks6.net.transports.quic import client
from socks6.net.transports.quic.aioquic import AioquicBackend, AioquicEngine
from socks6.net.transports.quic.client import ClientSocket, QuicConnector
from socks6.net.transports.quic.connection import QuicConnection
from socks6.net.transports.quic.engine import ServerParameters, load_backend, read_own
from tests.kit.certificates import Files, pin_of_file, write_certificate
from tests.kit.loops import Run
from tests.kit.quic import BACKENDS, by_library, connected, connector, joined, listening

pytestmark = pytest.mark.e2e  # takes long, with real sockets

BY_BACKEND = by_library("backend")
BY_LIBRARY = by_library("library")


def socket_of(connection: QuicConnection) -> ClientSocket:
    """Return a client's socket."""
    packet_transport = connection._packet_transport
    assert isinstance(packet_transport, ClientSocket)
    return packet_transport


async def echoed(near: QuicConnection, far: QuicConnection) -> None:
    stream = await near.open()
    await stream.send(b"there?")
    other = await far.accept()
    assert await other.receive() == b"there?"
    await other.send(b"yes")
    assert await stream.receive() == b"yes"
    stream.abort()
    other.abort()


@BY_BACKEND
def test_unanswered_probes_have_another_socket_tried(run: Run, backend: str) -> None:
    async def scene() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            async with joined(backend, backend) as (near, far):
                await echoed(near, far)
                packet_transport = socket_of(near)
                before = near.local
                packet_transport.sock.connect(silent.getsockname())  # as a NAT that has forgotten the way
                await echoed(near, far)
                assert near.local != before
                assert far.remote == near.local

    run(scene())


def test_what_the_kernel_does_not_send_has_the_way_looked_at(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without news from the kernel too: on other systems than Linux nobody tells."""
    monkeypatch.setattr(NetworkChanges, "__init__", lambda self, callback, poller: None)
    monkeypatch.setattr(NetworkChanges, "close", lambda self: None)

    async def scene() -> None:
        async with joined() as (near, far):
            packet_transport = socket_of(near)
            other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            other.bind(("127.0.0.2", 0))
            other.setblocking(False)
            other.connect(near._remote)
            monkeypatch.setattr(client, "_connected", lambda _: other)
            packet_transport._cannot_send(OSError(errno.EMSGSIZE, ""))
            assert packet_transport._timer is None
            packet_transport._cannot_send(OSError(errno.ENETUNREACH, ""))
            await echoed(near, far)
            assert near.local.host == far.remote.host == "127.0.0.2"

    run(scene())


def test_while_there_is_no_way_it_is_looked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LOOK_AGAIN_SECONDS", 0.01)
    looks: list[None] = []

    def unreachable(_: object) -> socket.socket:
        looks.append(None)
        raise OSError(errno.ENETUNREACH, "unreachable")

    async def scene() -> None:
        async with joined() as (near, far):
            packet_transport = socket_of(near)
            with monkeypatch.context() as patched:
                patched.setattr(client, "_connected", unreachable)
                packet_transport._cannot_send(OSError(errno.ENETUNREACH, ""))
                while len(looks) < 2:
                    packet_transport._cannot_send(OSError(errno.ENETUNREACH, ""))
                    await asyncio.sleep(0)
            await echoed(near, far)  # nothing has ended

    run(scene())


def test_a_connection_that_has_not_begun_ends_with_its_way(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9000 §9: no migration before the handshake is confirmed; the next connection will do."""

    async def scene() -> None:
        async with joined() as (near, _):
            near.handshake = None
            other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            socket_of(near)._move(other)
            assert other.fileno() < 0
            assert isinstance(near.over, OSError)
            assert near.over.errno == errno.ENETRESET

    run(scene())


@BY_BACKEND
def test_whoever_sends_a_clients_packet_on_gets_three_times_as_much_at_most(run: Run, backend: str) -> None:
    """RFC 9000 §9.3: the new address is not proven, and may be a victim's."""

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim,
        ):
            for sock in (thief, victim):
                sock.bind(("127.0.0.1", 0))
                sock.setblocking(False)
            async with joined(backend, backend) as (near, far):
                await echoed(near, far)
                stream = await near.open()
                await stream.send(b"much, please")
                theirs = await far.accept()
                socket_of(near).sock.connect(thief.getsockname())
                near.ask()
                stolen = await loop.sock_recv(thief, 2048)
                victim.sendto(stolen, near._remote)
                await theirs.send(bytes(100_000))
                got = len(await loop.sock_recv(victim, 2048))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        while True:
                            got += len(await loop.sock_recv(victim, 2048))
                assert got <= 3 * len(stolen)
                stream.abort()
                theirs.abort()

    run(scene())


WRONG_PIN = TlsParameters(pins=(bytes(32),))


async def dial(files: Files, library: str, dialler: QuicConnector, *, alpn: str = "socks6") -> None:
    """Try to connect; nobody may have got in at the server if that fails."""
    async with listening(files, load_backend(library), alpn=alpn) as listener:
        try:
            client, _ = await connected(dialler, listener)
            client.close()
        except OSError:
            assert not dialler.has_ticket
            raise


@BY_LIBRARY
def test_the_right_one_is_reached_by_its_authority_or_its_pin(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        files = write_certificate(tmp_path)
        pins = (parse_pin(pin_of_file(files.certificate)),)
        for said in (
            TlsParameters(ca=files.ca),
            TlsParameters(pins=pins),
            TlsParameters(ca=files.ca, pins=pins),
            TlsParameters(insecure=True),
        ):
            await dial(files, library, connector(files, load_backend(library), said=said))

    run(main())


@BY_LIBRARY
def test_certificates_know_absolute_names_without_the_dot(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        files = write_certificate(tmp_path)
        said = TlsParameters(ca=files.ca)
        backend = load_backend(library)
        await dial(files, library, QuicConnector("localhost.", said, backend))

    run(main())


@BY_LIBRARY
def test_an_address_is_a_name_too(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        files = write_certificate(tmp_path)
        said = TlsParameters(ca=files.ca)
        backend = load_backend(library)
        await dial(files, library, QuicConnector("127.0.0.1", said, backend))
        with pytest.raises(CertificateRefused):
            await dial(files, library, QuicConnector("127.0.0.2", said, backend))

    run(main())


@BY_LIBRARY
@pytest.mark.parametrize("wrong", ["issuer", "name", "date", "pin", "none of the system's"])
def test_the_wrong_one_is_refused(run: Run, tmp_path: Path, library: str, wrong: str) -> None:
    async def main() -> None:
        files = write_certificate(
            tmp_path,
            *(["elsewhere.example"] if wrong == "name" else []),
            issuer="another" if wrong == "issuer" else "good",
            expired=wrong == "date",
        )
        good = write_certificate(tmp_path, stem="good")
        said = TlsParameters(ca=good.ca)
        if wrong == "pin":
            said = WRONG_PIN
        elif wrong == "none of the system's":
            said = TlsParameters()
        with pytest.raises(CertificateRefused):
            await dial(files, library, connector(good, load_backend(library), said=said))

    run(main())


@BY_LIBRARY
def test_a_certificate_that_signs_itself_is_its_own_authority(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        now = dt.datetime.now(dt.UTC)
        made = {}
        for name, begun in (("good", now), ("other", now), ("old", now - dt.timedelta(days=4000))):
            made[name] = Files(
                certificate=str(tmp_path / f"{name}.pem"),
                key=str(tmp_path / f"{name}.key"),
                ca=str(tmp_path / f"{name}.pem"),
            )
            names = ["localhost", "127.0.0.1"] if name != "other" else ["other.example"]
            certificate, key = Path(made[name].certificate), Path(made[name].key)
            make_certificate(names, certificate=certificate, key=key, now=begun)
        backend = load_backend(library)
        await dial(made["good"], library, connector(made["good"], backend))
        issued = write_certificate(tmp_path, stem="issued")
        both = tmp_path / "both.pem"
        _write(both, made["good"].certificate, issued.ca)
        said = TlsParameters(ca=str(both))
        await dial(issued, library, connector(issued, backend, said=said))
        for wrong in (made["other"], made["old"]):
            with pytest.raises(CertificateRefused):
                await dial(wrong, library, connector(wrong, backend))
        with pytest.raises(CertificateRefused):
            await dial(made["other"], library, connector(made["good"], backend))

    run(main())


def _write(target: Path, *sources: str) -> None:
    target.write_bytes(b"".join(Path(source).read_bytes() for source in sources))


@BY_LIBRARY
def test_who_does_not_speak_the_protocol_is_refused(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        files = write_certificate(tmp_path)
        with pytest.raises(TlsFailed, match="SOCKS 6") as caught:
            await dial(files, library, connector(files, load_backend(library)), alpn="h3")
        assert not isinstance(caught.value, CertificateRefused)

    run(main())


@BY_LIBRARY
def test_nobody_there_is_told_at_once(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        files = write_certificate(tmp_path)
        dialler = connector(files, load_backend(library))
        connection = dialler.begin(("127.0.0.1", 9))
        with pytest.raises(ConnectionRefusedError):
            await dialler.ready(connection)

    run(main())


@BY_LIBRARY
def test_a_ticket_is_good_once(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        files = write_certificate(tmp_path)
        async with listening(files, load_backend(library)) as listener:
            dialler = connector(files, load_backend(library))
            first, _ = await connected(dialler, listener)
            while not dialler.has_ticket:
                stream = await first.open()
                await stream.send(b"x")
                await first.aclose()
            used = list(dialler._tickets)
            second, _ = await connected(dialler, listener)
            assert second.handshake is not None
            assert second.handshake.resumed
            second.close()
            dialler._tickets[:] = used  # what a thief, or a replayer, has
            third, _ = await connected(dialler, listener)
            assert third.handshake is not None
            assert not third.handshake.resumed
            third.close()

    run(main())


@BY_LIBRARY
def test_early_data_arrives_before_the_handshake_is_done_and_once(
    run: Run, tmp_path: Path, library: str
) -> None:
    async def main() -> None:
        files = write_certificate(tmp_path)
        async with listening(files, load_backend(library)) as listener:
            dialler = connector(files, load_backend(library))
            first, _ = await connected(dialler, listener)
            await first.aclose()
            assert dialler.has_ticket
            address = ("127.0.0.1", listener.local.port)
            client = dialler.begin(address)
            stream = client.open_nowait()
            assert stream is not None
            await stream.send(b"early")
            server = await listener.accept()
            theirs = await server.accept()

            assert server.handshake is None  # the client has not been heard twice yet
            assert await theirs.receive() == b"early"
            await server.wait_handshake_confirmed()
            await dialler.ready(client)
            assert client.handshake is not None
            assert client.handshake.early_accepted
            await theirs.send(b"answer")
            assert await stream.receive() == b"answer"
            later = await client.open()
            await later.send(b"late")
            await server.accept()
            client.close()

    run(main())


@BY_LIBRARY
def test_early_data_that_is_not_taken_goes_again(run: Run, tmp_path: Path, library: str) -> None:
    async def main() -> None:
        files = write_certificate(tmp_path)
        dialler = connector(files, load_backend(library))
        async with listening(files, load_backend(library)) as listener:
            first, _ = await connected(dialler, listener)
            await first.aclose()
        async with listening(files, load_backend(library)) as listener:  # it knows of no tickets
            client = dialler.begin(("127.0.0.1", listener.local.port))
            stream = client.open_nowait()
            assert stream is not None
            await stream.send(b"not so early")
            await dialler.ready(client)
            server = await listener.accept()
            theirs = await server.accept()
            assert await theirs.receive() == b"not so early"
            assert client.handshake is not None
            assert not client.handshake.early_accepted
            assert not client.handshake.resumed
            client.close()

    run(main())


@BY_LIBRARY
def test_early_data_that_was_not_taken_does_not_go_to_another_server(
    run: Run, tmp_path: Path, library: str
) -> None:
    async def main() -> None:
        files = write_certificate(tmp_path)
        other = write_certificate(tmp_path, stem="other")
        pinned = TlsParameters(pins=(parse_pin(pin_of_file(files.certificate)),))
        dialler = connector(files, load_backend(library), said=pinned)
        async with listening(files, load_backend(library)) as listener:
            first, _ = await connected(dialler, listener)
            await first.aclose()
        async with listening(other, load_backend(library)) as listener:
            client = dialler.begin(("127.0.0.1", listener.local.port))
            stream = client.open_nowait()
            assert stream is not None
            await stream.send(b"secret")
            with pytest.raises(CertificateRefused):
                await dialler.ready(client)
            for _ in range(20):
                await asyncio.sleep(0.005)
                assert not any(guest.connection.streams for guest in listener._connections)
            assert not dialler.has_ticket

    run(main())


class AsksClients(AioquicBackend):
    """A server that wants its clients to show a certificate, and believes any."""

    @override
    def server(self, terms: ServerParameters) -> AioquicEngine:
        engine = super().server(terms)
        connection = engine._connection
        begin = connection._initialize

        def initialize(peer_cid: bytes) -> None:
            begin(peer_cid)
            connection.tls._request_client_certificate = True  # aioquic has it for tests

        connection._initialize = initialize  # type: ignore[method-assign]
        return engine


@BY_LIBRARY
@pytest.mark.parametrize("own", [True, False])
def test_a_client_shows_the_certificate_that_its_url_names(
    run: Run, tmp_path: Path, library: str, own: bool
) -> None:
    files = write_certificate(tmp_path)
    user = write_certificate(tmp_path, "alice@example.com", stem="user")
    written = Path(user.certificate).read_text()

    async def main() -> None:
        said = TlsParameters(ca=files.ca)
        if own:
            said = replace(said, certificate=user.certificate, key=user.key)
        dialler = QuicConnector(
            "localhost",
            said,
            load_backend(library),
            identity=read_own(said),
        )
        async with listening(files, AsksClients()) as listener:
            client = dialler.begin(("127.0.0.1", listener.local.port))
            await dialler.ready(client)
            if own:
                server = await listener.accept()
                shown = ssl.DER_cert_to_PEM_cert(server.engine.certificate)
                assert shown in written
            client.close()

    run(main())


@pytest.mark.parametrize("library", BACKENDS)
def test_a_certificate_that_cannot_be_read_is_refused_at_once(tmp_path: Path, library: str) -> None:
    missing = tmp_path / "nobody.pem"
    url = f"socks6+quic://proxy.example?cert={missing}&key={missing}&backend={library}"
    with pytest.raises(ConfigurationError, match=r"nobody\.pem"):
        Client(url)
