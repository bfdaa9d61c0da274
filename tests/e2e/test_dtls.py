"""DTLS as operators and users meet it: real servers, openssl by hand, dig over links that lose packets."""

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from socks6.client.client import Client
from socks6.client.dtls_path import DtlsPath
from socks6.errors import CertificateRefused
from socks6.message.datagrams import Datagram, decode_message
from socks6.net.encryption.contexts import TlsParameters
from socks6.net.transports.dtls import DtlsConnector
from socks6.proxy.service import Server
from socks6.proxy.settings import Settings, UdpSettings
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import Ending
from tests.kit.certificates import Files, pin_of_file, write_certificate
from tests.kit.dtls import dtls_stage
from tests.kit.forwarding import forward
from tests.kit.link.cable import link, needs_links
from tests.kit.loops import Run
from tests.kit.netns import Road
from tests.kit.origins import Place
from tests.kit.processes import started
from tests.kit.proxies import ENVIRONMENT, converter, server
from tests.kit.socks5_client import socks5_association
from tests.kit.udp_hosts import ADDRESS, name_server, udp_echo
from tests.kit.udp_server import OPENLY, RawClient, RunningServer, peer_socket, place_of, udp_server

pytestmark = pytest.mark.e2e

PATIENCE = 10.0


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return write_certificate(tmp_path)


@contextlib.contextmanager
def encrypted(files: Files, **more: object) -> Iterator[RunningServer]:
    """Run a server with TLS and DTLS in a thread."""
    settings = Settings(drain_timeout=0.1, tls=TlsParameters(certificate=files.certificate, key=files.key))
    with udp_server(inbound="socks6+tls", settings=settings, **more) as running:  # type: ignore[arg-type]  # named as there
        yield running


def met_with(files: Files) -> ssl.SSLContext:
    """Return what such a server is met with."""
    context = ssl.create_default_context(cafile=files.ca)
    context.set_alpn_protocols(["socks6"])
    return context


@contextlib.contextmanager
def s_client(port: int, files: Files, *more: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run OpenSSL's client of DTLS, which carries what is written to it, a datagram for each write."""
    words = (
        "openssl",
        "s_client",
        "-dtls1_2",
        "-connect",
        f"127.0.0.1:{port}",
        "-quiet",
        "-CAfile",
        files.ca,
    )
    with subprocess.Popen(
        [*words, "-verify_return_error", *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def knock(process: "subprocess.Popen[bytes]", client: RawClient) -> None:
    """Open an association by a process that may take several messages for one, as far as the next is concerned."""
    assert process.stdin is not None
    client.tcp.settimeout(0.3)
    for _ in range(20):
        process.stdin.write(client.message(b"", ("0.0.0.0", 0)))
        with contextlib.suppress(TimeoutError):
            client.await_confirmation()
            return
    raise AssertionError("the association was not confirmed")


def read_message(stream: IO[bytes] | None) -> Datagram:
    """Return the message that a process prints."""
    assert stream is not None
    message, _ = decode_message(stream.read(65536))
    assert isinstance(message, Datagram)
    return message


def test_openssl_carries_datagrams_by_hand(files: Files) -> None:
    with (
        encrypted(files) as running,
        peer_socket() as peer,
        RawClient(("127.0.0.1", running.port), tls=met_with(files)) as client,
        s_client(running.port, files) as process,
    ):
        assert process.stdin is not None
        process.stdin.write(client.message(b"", ("0.0.0.0", 0)))
        client.await_confirmation()
        process.stdin.write(client.message(b"by hand", place_of(peer)))
        data, source = peer.recvfrom(100)
        assert data == b"by hand"
        peer.sendto(b"and back", source)
        answer = read_message(process.stdout)
        assert (answer.data, (answer.host, answer.port)) == (b"and back", place_of(peer))


def test_association_ends_with_its_dtls_connection(files: Files) -> None:
    with (
        encrypted(files) as running,
        RawClient(("127.0.0.1", running.port), tls=met_with(files)) as client,
        s_client(running.port, files, "-no_ign_eof") as process,
    ):
        assert process.stdin is not None
        process.stdin.write(client.message(b"", ("0.0.0.0", 0)))
        client.await_confirmation()
        process.stdin.close()  # openssl says close_notify, and goes
        assert client.ended()
        summary = running.summaries.get(timeout=PATIENCE)
        assert summary.reason == "its client ended the DTLS connection"
        assert summary.ending is Ending.DONE


def test_no_datagram_in_clear_opens_what_was_asked_for_within_tls(files: Files) -> None:
    with (
        encrypted(files) as running,
        peer_socket() as peer,
        RawClient(("127.0.0.1", running.port), tls=met_with(files)) as client,
        s_client(running.port, files) as process,
    ):
        client.send(b"in clear", place_of(peer))
        assert process.stdin is not None
        process.stdin.write(client.message(b"encrypted", place_of(peer)))
        client.await_confirmation()
        client.send(b"in clear again", place_of(peer))
        process.stdin.write(client.message(b"last", place_of(peer)))
        assert [peer.recv(100) for _ in range(2)] == [b"encrypted", b"last"]


def test_certificates_of_others_open_nothing(files: Files) -> None:
    folder = Path(files.ca).parent
    alice, bob = (write_certificate(folder, name, stem=name) for name in ("alice", "bob"))
    said = TlsParameters(certificate=files.certificate, key=files.key, client_ca=files.ca)
    contexts = [met_with(files) for _ in range(2)]
    for context, user in zip(contexts, (alice, bob), strict=True):
        context.load_cert_chain(user.certificate, user.key)
    with (
        udp_server(inbound="socks6+tls", settings=Settings(drain_timeout=0.1, tls=said)) as running,
        peer_socket() as peer,
        RawClient(("127.0.0.1", running.port), tls=contexts[0]) as client,
        RawClient(("127.0.0.1", running.port), tls=contexts[1]) as bobs,
        s_client(running.port, files, "-cert", bob.certificate, "-key", bob.key) as wrong,
        s_client(running.port, files, "-cert", alice.certificate, "-key", alice.key) as right,
    ):
        assert wrong.stdin is not None
        assert right.stdin is not None
        wrong.stdin.write(client.message(b"from bob", place_of(peer)))
        knock(wrong, bobs)  # by now what came before has been looked at
        right.stdin.write(client.message(b"from alice", place_of(peer)))
        client.await_confirmation()
        wrong.stdin.write(client.message(b"from bob again", place_of(peer)))
        right.stdin.write(client.message(b"last", place_of(peer)))
        assert [peer.recv(100) for _ in range(2)] == [b"from alice", b"last"]


def test_encryption_opens_nothing_of_another_listener(files: Files) -> None:
    """Neither what was asked for in clear text nor the other way round."""
    listen = f"socks6+tls://127.0.0.1:0?{files.listener_query}"
    with (
        server("--allow-private", "--listen", "socks6://127.0.0.1:0", "--listen", listen) as running,
        peer_socket() as peer,
    ):
        clear, secure = (int(url.rpartition(":")[2]) for url in running.urls)
        with (
            RawClient(("127.0.0.1", clear)) as in_clear,
            RawClient(("127.0.0.1", secure), tls=met_with(files)) as within_tls,
            s_client(secure, files) as wrong,
            s_client(secure, files) as right,
        ):
            assert wrong.stdin is not None
            assert right.stdin is not None
            wrong.stdin.write(in_clear.message(b"wrong way", place_of(peer)))
            within_tls.udp.sendto(within_tls.message(b"wrong way", place_of(peer)), ("127.0.0.1", clear))
            right.stdin.write(within_tls.message(b"right way", place_of(peer)))
            within_tls.await_confirmation()
            in_clear.send(b"right way", place_of(peer))
            in_clear.await_confirmation()
            assert {peer.recv(100) for _ in range(2)} == {b"right way"}


@pytest.mark.parametrize("mutual", [False, True], ids=["server's certificate", "both certificates"])
def test_openssl_as_the_server(files: Files, mutual: bool) -> None:
    """Our client's DTLS with OpenSSL's server, which asks for a cookie."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    user = write_certificate(Path(files.ca).parent, "alice", stem="user")
    said = TlsParameters(ca=files.ca)
    words = ["openssl", "s_server", "-dtls1_2", "-listen", "-quiet", "-accept", f"127.0.0.1:{port}"]
    words += ["-cert", files.certificate, "-key", files.key, "-alpn", "socks6"]
    if mutual:
        said = TlsParameters(ca=files.ca, certificate=user.certificate, key=user.key)
        words += ["-Verify", "1", "-verify_return_error", "-CAfile", files.ca]

    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
    ) as process:
        try:
            _await_udp(port)
            Run("uvloop")(_talk(process, port, said))
        finally:
            process.kill()


async def _talk(process: "subprocess.Popen[bytes]", port: int, said: TlsParameters) -> None:
    """Shake hands with a server, and exchange a line."""
    received: asyncio.Queue[bytes] = asyncio.Queue()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.connect(("127.0.0.1", port))

    def take(packets: object) -> None:
        assert isinstance(packets, list)
        for packet in packets:
            received.put_nowait(packet)

    path = DtlsPath(sock, DtlsConnector("localhost", said), on_packets=take, refused=lambda: None)
    async with asyncio.timeout(PATIENCE):
        await path.handshake()
        await path.send(b"a message\n")
        assert process.stdout is not None
        assert process.stdin is not None
        assert await asyncio.to_thread(process.stdout.read, 100) == b"a message\n"
        process.stdin.write(b"an answer\n")
        assert await received.get() == b"an answer\n"
    path.close()


def _await_udp(port: int) -> None:
    """Wait until a process has bound a UDP port of 127.0.0.1."""
    wanted = f"0100007F:{port:04X}"
    while not any(wanted in line for line in Path("/proc/net/udp").read_text().splitlines()):
        pass


def dig(place: Place, *more: str) -> str:
    """Ask a name server, and that place alone."""
    if shutil.which("dig") is None:
        pytest.skip("dig is not installed")
    words = [
        "dig",
        "+short",
        "+tries=3",
        "+time=3",
        "-p",
        str(place.port),
        f"@{place.host}",
        "a.example",
        *more,
    ]
    return subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout


def test_dig_through_forward(files: Files) -> None:
    listen = f"socks6+tls://127.0.0.1:0?{files.listener_query}"
    with (
        name_server() as far,
        server("--listen", listen) as running,
        forward(f"{running.url}?pin-sha256={pin_of_file(files.certificate)}&udp=dtls", far, "--udp") as near,
    ):
        assert dig(near) == f"{ADDRESS}\n"


def test_socks5_through_the_converter(files: Files) -> None:
    listen = f"socks6+tls://127.0.0.1:0?{files.listener_query}"
    with (
        udp_echo() as far,
        server("--listen", listen) as running,
        converter(f"{running.url}?ca={files.ca}&udp=dtls", "--listen", "socks5://127.0.0.1:0") as near,
        socks5_association(near.place) as association,
    ):
        answer = association.ask(far.host, far.port, b"within DTLS")
        assert answer.data == b"within DTLS"


@pytest.fixture
def lossy() -> Iterator[Road]:
    """Give a link that takes 20 ms and loses every hundredth packet."""
    with link(delay=0.02, loss=0.01, seed=7) as road:
        yield road


@needs_links
def test_dig_over_a_link_that_loses_packets(files: Files, lossy: Road) -> None:
    host = lossy.last_address()
    certified = write_certificate(Path(files.ca).parent, host, stem="far")
    with (
        encrypted(certified, namespace=lossy.last, host=host) as running,
        lossy.last.entered(),
        name_server() as far,
    ):
        via = f"socks6+tls://{host}:{running.port}?ca={certified.ca}&udp=dtls"
        with (
            lossy.first.entered(),
            started("forward", "--udp", "--via", via, "0", f"127.0.0.1:{far.port}") as process,
        ):
            assert process.stderr is not None
            line = process.stderr.readline().decode()
            port = int(line.rpartition(":")[2])
            near = Place(host="127.0.0.1", port=port)
            # each from a port, and an association, of its own; the question may be lost, too, and dig then says so
            answers = [dig(near).splitlines()[-1] for _ in range(6)]
    assert answers == [ADDRESS] * 6


def test_hundred_associations_share_the_servers_port(files: Files, run: Run) -> None:
    async def scene(url: str) -> None:
        with udp_echo() as far:
            async with Client(url) as client, asyncio.TaskGroup() as group:
                for number in range(100):
                    group.create_task(_echo_once(client, far, b"%d" % number))

    with encrypted(files) as running:
        run(scene(f"socks6+tls://127.0.0.1:{running.port}?ca={files.ca}"))


async def _echo_once(client: Client, far: Place, data: bytes) -> None:
    async with client.associate(udp="datagram") as udp:
        await udp.send(data, (far.host, far.port))
        assert (await udp.receive())[0] == data


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"ca": True}, "unable to get local issuer certificate"),
        ({"pin": True}, "not the one of the pin"),
    ],
)
def test_wrong_certificate_on_the_udp_port_is_refused(
    files: Files, run: Run, said: dict[str, bool], complaint: str
) -> None:
    """Where somebody else answers than on the TCP port, there is no association by DTLS."""
    query = f"ca={files.ca}" if "ca" in said else f"pin-sha256={pin_of_file(files.certificate)}"

    async def scene() -> None:
        settings = Settings(udp=UdpSettings(enabled=False))
        listen = f"socks6+tls://127.0.0.1:0?{files.listener_query}"
        async with Server([listen], ServerWorker(policy=OPENLY, settings=settings)) as proxy:
            port = int(proxy.urls[0].rpartition(":")[2])
            async with (
                dtls_stage(port=port, issuer="somebody else"),
                Client(f"{proxy.urls[0]}?{query}") as client,
            ):
                with pytest.raises(CertificateRefused, match=complaint):
                    async with client.associate(udp="datagram"):
                        pass

    run(scene())
