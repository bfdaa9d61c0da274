"""QUIC as operators and users meet it: real processes, curl."""

import asyncio
import contextlib
import hashlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import pytest

from socks6.client.client import Client
from socks6.errors import TlsFailed
from socks6.net.transports.quic.engine import load_backend
from socks6.net.transports.quic.pool import RECENTLY_HEARD_SECONDS
from tests.kit.certificates import Files, pin_of_file, write_certificate
from tests.kit.footprint import eventually
from tests.kit.loops import Run
from tests.kit.origins import PAGE, Place, big_file, checksum, echo, tcp_host, web_site
from tests.kit.processes import Ended, socks6
from tests.kit.proxies import ENVIRONMENT, Proxy, converter, curl, curl_line, server, tunnel
from tests.kit.quic import connector, listening
from tests.kit.quic_clients import pool_of
from tests.kit.streams import receive_exactly

pytestmark = pytest.mark.e2e

MEGABYTE: Final = 2**20
SIZES: Final = [16 * MEGABYTE, pytest.param(1024 * MEGABYTE, marks=pytest.mark.deep)]
STREAMS: Final = 1_000
RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets
SOCKS5_REFUSED: Final = 97  # curl's exit code
NO_LIMIT: Final = ("--max-connections-per-source", "0")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_certificate(tmp_path_factory.mktemp("certificate"))


@contextlib.contextmanager
def over_quic(
    files: Files, *more: str, port: int = 0, query: str = "", ends_with: int = 0
) -> Iterator[Proxy]:
    """Run a server."""
    listen = f"socks6+quic://127.0.0.1:{port}?{files.listener_query}{query}"
    with server("--listen", listen, "-v", *NO_LIMIT, *more, ends_with=ends_with) as running:
        yield running


@contextlib.contextmanager
def converting(far: Proxy, files: Files, *more: str) -> Iterator[Proxy]:
    """Run a converter that goes there."""
    with converter(f"{far.url}?pin-sha256={pin_of_file(files.certificate)}", *NO_LIMIT, *more) as near:
        yield near


@pytest.fixture(scope="module")
def road(files: Files) -> Iterator[Proxy]:
    """Give a converter whose server does the work."""
    with over_quic(files) as far, converting(far, files) as near:
        yield near


def pinged(url: str) -> Ended:
    return socks6("ping", "-c", "1", url)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", ["socks5h", "http"])
def test_a_file_arrives_whole_there_and_back(road: Proxy, tmp_path: Path, way: str, size: int) -> None:
    source = tmp_path / "big"
    with source.open("wb") as file:
        file.writelines(big_file(size))
    words = curl_line("--max-time", "300", "--proxy", f"{way}://{road.authority}", "--proxytunnel")
    with web_site() as site:
        with subprocess.Popen([*words, f"{site.url}/big/{size}"], stdout=subprocess.PIPE) as download:
            assert download.stdout is not None
            assert digest_of(download.stdout) == checksum(size)
        sent = subprocess.run(
            [*words, "-T", str(source), f"{site.url}/up"], stdout=subprocess.PIPE, check=True
        )
        assert sent.stdout.decode() == checksum(size)


def test_either_side_may_end_its_direction_first(road: Proxy) -> None:
    heard: list[bytes] = []

    def listen_first(connection: socket.socket) -> None:
        heard.append(everything(connection))
        connection.sendall(b"answer")

    def speak_first(connection: socket.socket) -> None:
        connection.sendall(b"greeting")
        connection.shutdown(socket.SHUT_WR)
        heard.append(everything(connection))

    with tcp_host(listen_first) as place, tunnel(road.place, place) as client:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert everything(client) == b"answer"
    with tcp_host(speak_first) as place, tunnel(road.place, place) as client:
        assert everything(client) == b"greeting"
        client.sendall(b"thanks")
        client.shutdown(socket.SHUT_WR)
        assert eventually(lambda: len(heard) == 2)
    assert heard == [b"question", b"thanks"]


def test_a_reset_arrives_as_one_in_either_direction(road: Proxy) -> None:
    met: list[str] = []

    def wait(connection: socket.socket) -> None:
        try:
            met.append(repr(connection.recv(1)))
        except ConnectionResetError:
            met.append("reset")

    def give_up(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.close()

    with tcp_host(wait) as place:
        client = tunnel(road.place, place)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()
        assert eventually(lambda: met == ["reset"]), met
    with tcp_host(give_up) as place, tunnel(road.place, place) as client:
        client.sendall(b"!")
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_thousand_streams_share_one_connection_and_one_authentication(files: Files) -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=STREAMS) as listener,
        over_quic(files, "--user", "alice:123456") as far,
        converter(f"{far.as_user('alice', '123456')}?ca={files.ca}", *NO_LIMIT) as near,
        contextlib.ExitStack() as held,
    ):
        place = Place(host="127.0.0.1", port=listener.getsockname()[1])
        before = udp_sockets(near.process.pid)  # for clients of SOCKS 5
        pairs = []
        for _ in range(STREAMS):
            client = held.enter_context(tunnel(near.place, place))
            pairs.append((client, held.enter_context(listener.accept()[0])))
        for number, (client, host) in enumerate(pairs):
            client.sendall(number.to_bytes(4, "big"))
            host.sendall(number.to_bytes(4, "little"))
        for number, (client, host) in enumerate(pairs):
            assert host.recv(4) == number.to_bytes(4, "big")
            assert client.recv(4) == number.to_bytes(4, "little")
        assert udp_sockets(near.process.pid) == before + 1
        assert near.footprint.descriptors < STREAMS + 100
    ended = [line for line in far.said if "command=CONNECT" in line]
    assert len(ended) == STREAMS
    assert all("user=alice" in line for line in ended)


WRONG: Final = (
    ("", "unable to get local issuer certificate"),
    ("?pin-sha256=" + "A" * 43, "the proxy's key is not the one of the pin"),
    ("?ca={ca}&sni=other.example", "not valid for 'other.example'"),
)


@pytest.mark.parametrize(("query", "complaint"), WRONG)
def test_a_proxy_that_is_not_the_one_asked_for(files: Files, query: str, complaint: str) -> None:
    with over_quic(files) as running:
        ended = pinged(running.url + query.format(ca=files.ca))
    assert ended.code == 1
    assert complaint in ended.output.decode()
    assert not any("command=NOOP" in line for line in running.said)


def test_an_expired_certificate(tmp_path: Path) -> None:
    expired = write_certificate(tmp_path, expired=True)
    with over_quic(expired) as running:
        ended = pinged(f"{running.url}?ca={expired.ca}")
    assert ended.code == 1
    assert b"the certificate does not hold: certificate has expired" in ended.output
    assert not any("command=NOOP" in line for line in running.said)


def test_nobody_there(files: Files) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    ended = pinged(f"socks6+quic://127.0.0.1:{port}?ca={files.ca}")
    assert ended.code == 1
    assert b"Connection refused" in ended.output


def test_who_speaks_something_else_over_quic(files: Files) -> None:
    said: list[bytes] = []

    async def play() -> None:
        async with listening(files, load_backend(), alpn="h3") as other:
            url = f"socks6+quic://127.0.0.1:{other.local.port}?ca={files.ca}"
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "socks6", "ping", "-c", "1", url),
                env=ENVIRONMENT,
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await process.communicate()
            assert process.returncode == 1
            said.append(out)

    Run("uvloop")(play())
    assert b"speak SOCKS 6 here" in said[0]


def test_a_client_of_something_else_is_let_into_nothing(files: Files) -> None:
    async def play(port: int) -> None:
        dialler = connector(files, load_backend(), alpn="h3")
        with pytest.raises(TlsFailed):
            await dialler.ready(dialler.begin(("127.0.0.1", port)))

    with over_quic(files) as running:
        Run("uvloop")(play(running.place.port))
    assert not [line for line in running.said if "command=" in line]


def test_client_certificates_that_nobody_would_check(files: Files) -> None:
    listen = f"socks6+quic://127.0.0.1:0?{files.listener_query}&client-ca={files.ca}"
    ended = socks6("server", "--listen", listen)
    assert ended.code == 2
    assert "client certificates are asked for, and qh3 does not check them" in ended.errors


@pytest.mark.parametrize("signal", [0, -9], ids=["in order", "killed"])
def test_a_converter_outlives_its_server(files: Files, signal: int) -> None:
    """While nobody is there each request is refused at once."""
    with web_site() as site, contextlib.ExitStack() as later:
        with over_quic(files, ends_with=signal) as far:
            near = later.enter_context(converting(far, files))
            fetch = ("--socks5-hostname", near.authority, "--max-time", "15", site.url)
            assert curl(*fetch).body == PAGE
            if signal:
                far.process.kill()
        assert curl(*fetch).code == SOCKS5_REFUSED
        with over_quic(files, port=far.place.port):
            assert curl(*fetch).body == PAGE


def test_streams_end_at_once_when_their_server_was_started_anew(files: Files) -> None:
    """The new one answers what it does not understand with a stateless reset."""
    with echo() as place, contextlib.ExitStack() as later:
        with over_quic(files, ends_with=-9) as far:
            near = later.enter_context(converting(far, files))
            client = later.enter_context(tunnel(near.place, place))
            far.process.kill()
        with over_quic(files, port=far.place.port):
            client.settimeout(5)
            with pytest.raises(ConnectionResetError):
                ask(client)
            later.enter_context(tunnel(near.place, place))


@pytest.mark.parametrize("backend", ["qh3", pytest.param("aioquic", marks=pytest.mark.deep)])
@pytest.mark.parametrize("first", [b"", b"hello"])
def test_the_first_request_after_a_restart_works(run: Run, files: Files, backend: str, first: bytes) -> None:
    """The library's: a connection that the proxy has forgotten is noticed before anything was carried out."""

    async def scene() -> None:
        with over_quic(files, query=f"&backend={backend}", ends_with=-9) as far:
            client = Client(f"{far.url}?ca={files.ca}&backend={backend}", timeout=5.0)
            async with await client.connect(place.host, place.port, initial_data=b"!") as stream:
                assert await stream.receive() == b"!"
            far.process.kill()
        with over_quic(files, query=f"&backend={backend}", port=far.place.port):
            pooled = pool_of(client)._pool[0]
            pooled.connection.last_received_at -= RECENTLY_HEARD_SECONDS  # a server seldom starts faster
            async with client, await client.connect(place.host, place.port, initial_data=first) as stream:
                await stream.send(b"there?")
                assert await receive_exactly(stream, len(first) + 6) == first + b"there?"

    with echo() as place:
        run(scene())


def test_auto_is_quic(files: Files) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    listen = [f"socks6+{kind}://127.0.0.1:{port}?{files.listener_query}" for kind in ("tls", "quic")]
    with (
        web_site() as site,
        server("--listen", listen[0], "--listen", listen[1], "-v"),
        converter(f"socks6+auto://127.0.0.1:{port}?ca={files.ca}") as near,
    ):
        before = udp_sockets(near.process.pid)
        assert curl("--socks5-hostname", near.authority, site.url).body == PAGE
        assert udp_sockets(near.process.pid) == before + 1
        assert not near.said


def test_auto_is_tls_where_quic_does_not_get_through(files: Files) -> None:
    with (
        web_site() as site,
        server("--listen", f"socks6+tls://127.0.0.1:0?{files.listener_query}") as far,
        converter(f"socks6+auto://{far.authority}?ca={files.ca}") as near,
    ):
        for _ in range(2):
            assert curl("--socks5-hostname", near.authority, site.url).body == PAGE
        assert eventually(
            lambda: any("QUIC unreachable, falling back to TLS for 300 s" in line for line in near.said)
        )


def digest_of(pipe: IO[bytes]) -> str:
    """Return the SHA-256 of what comes."""
    digest = hashlib.sha256()
    while piece := pipe.read(MEGABYTE):
        digest.update(piece)
    return digest.hexdigest()


def ask(sock: socket.socket) -> None:
    """Say something, and wait for an answer; that the other end is gone may be found in either."""
    sock.sendall(b"!")
    sock.recv(1)


def everything(sock: socket.socket) -> bytes:
    """Return what comes until the end."""
    data = bytearray()
    while piece := sock.recv(65536):
        data += piece
    return bytes(data)


def test_who_leaves_tells_the_proxy_and_leaves_no_socket(files: Files) -> None:
    """The loop ends right after the client."""

    async def play(url: str) -> None:
        async with Client(url) as client:
            assert await client.noop() > 0

    with over_quic(files) as running:
        before = udp_sockets(os.getpid())
        Run("uvloop")(play(f"{running.url}?ca={files.ca}"))
        assert udp_sockets(os.getpid()) == before


def udp_sockets(pid: int) -> int:
    """Count the UDP sockets of a process."""
    inodes = {line.split()[9] for line in Path("/proc/net/udp").read_text().splitlines()[1:]}
    own = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            own.add(str(link.readlink()))
    return len({f"socket:[{inode}]" for inode in inodes} & own)
