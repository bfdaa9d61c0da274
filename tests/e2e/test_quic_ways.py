"""Ways to a proxy over QUIC: both libraries, one port number for all, dig over a link that loses packets."""

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from socks6.client.client import Client
from socks6.net.stream import Substream
from socks6.proxy.service import Server
from tests.kit.certificates import Files, pin_of_file, write_certificate
from tests.kit.forwarding import forward
from tests.kit.link.cable import link, needs_links
from tests.kit.loops import Run
from tests.kit.origins import Place, checksum, echo, tcp_host, web_site
from tests.kit.processes import Ended, socks6, started
from tests.kit.proxied import as_alice, local_worker
from tests.kit.proxies import Proxy, converter, curl, curl_line, receive_exactly, server, tunnel
from tests.kit.quic import BACKENDS
from tests.kit.quic_clients import pool_of
from tests.kit.streams import receive_exactly as receive_bytes
from tests.kit.udp_hosts import ADDRESS, name_server

pytestmark = pytest.mark.e2e

SIZE: Final = 16 << 20


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return write_certificate(tmp_path)


@contextlib.contextmanager
def encrypted(files: Files, *more: str, query: str = "") -> Iterator[Proxy]:
    """Run a server with QUIC."""
    listen = f"socks6+quic://127.0.0.1:0?{files.listener_query}{query}"
    with server("--listen", listen, "-v", *more) as running:
        yield running


def pinged(url: str) -> Ended:
    return socks6("ping", "-c", "1", url)


def fetch_whole(files: Files, size: int, query: str = "") -> None:
    """Fetch something large by curl through a converter."""
    with (
        web_site() as site,
        encrypted(files, query=query) as last,
        converter(f"{last.url}?ca={files.ca}{query}", "--listen", "socks5://127.0.0.1:0") as first,
    ):
        line = curl_line("--socks5-hostname", first.authority, f"{site.url}/big/{size}")
        with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            digest = hashlib.sha256()
            while piece := process.stdout.read(1 << 20):
                digest.update(piece)
        assert digest.hexdigest() == checksum(size)
        sent = curl("--socks5-hostname", first.authority, "-T", files.certificate, f"{site.url}/x").body
        assert sent.decode() == hashlib.sha256(Path(files.certificate).read_bytes()).hexdigest()


@pytest.mark.parametrize("library", BACKENDS)
def test_curl_over_the_converter(files: Files, library: str) -> None:
    fetch_whole(files, SIZE, f"&backend={library}")


WRONG: Final = (
    ("", "the certificate does not hold"),
    ("?pin-sha256=" + "A" * 43, "the proxy's key is not the one of the pin"),
    ("?ca={ca}&sni=other.example", "the certificate does not hold"),
)


@pytest.mark.parametrize(("query", "complaint"), WRONG)
def test_a_proxy_that_is_not_the_one_asked_for(files: Files, query: str, complaint: str) -> None:
    with encrypted(files) as running:
        ended = pinged(running.url + query.format(ca=files.ca))
    assert ended.code == 1
    assert complaint in ended.output.decode()
    assert not any("command=NOOP" in line for line in running.said)


def test_an_expired_certificate(tmp_path: Path) -> None:
    expired = write_certificate(tmp_path, expired=True)
    with encrypted(expired) as running:
        assert b"the certificate does not hold" in pinged(f"{running.url}?ca={expired.ca}").output


def test_nobody_there_and_nobody_who_speaks_it(files: Files) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        silent_there = socks6(
            "ping", "-c", "1", "--timeout", "1", f"socks6+quic://127.0.0.1:{port}?ca={files.ca}"
        )
    assert silent_there.code == 1
    gone = pinged(f"socks6+quic://127.0.0.1:{port}?ca={files.ca}")
    assert b"Connection refused" in gone.output


def test_one_port_number_for_tls_dtls_and_quic(files: Files) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    listen = [f"socks6+{name}://127.0.0.1:{port}?{files.listener_query}" for name in ("tls", "quic")]
    with server("--listen", listen[0], "--listen", listen[1], "--user", "alice:123456"), name_server() as far:
        for scheme, udp in (("tls", "dtls"), ("quic", "datagram")):
            url = f"socks6+{scheme}://alice:123456@127.0.0.1:{port}?ca={files.ca}"
            assert pinged(url).code == 0
            with forward(f"{url}&udp={udp}", far, "--udp") as near:
                assert dig(near) == f"{ADDRESS}\n"


def test_auto_takes_tls_where_quic_does_not_get_through(files: Files) -> None:
    with server("--listen", f"socks6+tls://127.0.0.1:0?{files.listener_query}", "--no-udp") as running:
        assert pinged(running.url.replace("+tls", "+auto") + f"?ca={files.ca}").code == 0


def test_auto_does_not_take_tls_with_one_that_is_not_the_right_one(files: Files) -> None:
    with encrypted(files) as running:
        wrong = pinged(running.url.replace("+quic", "+auto") + "?pin-sha256=" + "A" * 43)
        assert b"not the one of the pin" in wrong.output


def test_a_new_certificate_is_taken_while_a_stream_is_open(files: Files, tmp_path: Path) -> None:
    def slow(connection: socket.socket) -> None:
        for _ in range(2):
            connection.sendall(b"half")
            connection.recv(1)

    with (
        tcp_host(slow) as place,
        encrypted(files) as running,
        converter(f"{running.url}?ca={files.ca}", "--listen", "socks6://127.0.0.1:0") as near,
        tunnel(near.place, place) as stream,
    ):
        assert receive_exactly(stream, 4) == b"half"
        first = pin_of_file(files.certificate)
        write_certificate(tmp_path, stem="new")
        os.replace(tmp_path / "new.pem", files.certificate)
        os.replace(tmp_path / "new.key", files.key)
        time.sleep(1.1)  # it looks once a second
        assert pinged(f"{running.url}?pin-sha256={pin_of_file(files.certificate)}").code == 0
        assert b"not the one of the pin" in pinged(f"{running.url}?pin-sha256={first}").output
        stream.sendall(b"!")
        assert receive_exactly(stream, 4) == b"half"


def test_a_client_uses_one_connection_for_each_command_and_a_new_one_when_it_dies(
    run: Run, tmp_path: Path
) -> None:
    async def scene(client: Client, place: Place) -> None:
        streams = [await client.connect(place.host, place.port) for _ in range(5)]
        (substream,) = {stream.attribute(Substream) for stream in streams}
        assert substream is not None
        listener = await client.bind("127.0.0.1", backlog=2)
        await client.noop()
        assert len(pool_of(client)._pool) == 2
        substream.connection.close()
        with pytest.raises(OSError, match="over"):
            await streams[0].receive()
        async with await client.connect(place.host, place.port) as stream:
            await stream.send(b"still there?")
            assert await receive_bytes(stream, 12) == b"still there?"
        await listener.aclose()
        for stream in streams:
            stream.abort()

    async def main(place: Place) -> None:
        files = write_certificate(tmp_path)
        listen = f"socks6+quic://127.0.0.1:0?{files.listener_query}"
        async with (
            Server([listen], local_worker()) as running,
            Client(f"{as_alice(running)}?ca={files.ca}") as client,
        ):
            await scene(client, place)

    with echo() as place:
        run(main(place))


@needs_links
def test_dig_over_a_link_that_loses_packets(files: Files) -> None:
    with link(delay=0.02, loss=0.01, seed=7) as lossy:
        host = lossy.last_address()
        certified = write_certificate(Path(files.ca).parent, host, stem="far")
        listen = f"socks6+quic://{host}:0?{certified.listener_query}"
        with (
            lossy.last.entered(),
            name_server() as far,
            server("--listen", listen, "--allow-private", "--open") as running,
        ):
            via = f"{running.url}?ca={certified.ca}&udp=datagram"
            with (
                lossy.first.entered(),
                started("forward", "--udp", "--via", via, "0", f"127.0.0.1:{far.port}") as process,
            ):
                assert process.stderr is not None
                line = process.stderr.readline().decode()
                near = Place(host="127.0.0.1", port=int(line.rpartition(":")[2]))
                assert [dig(near) for _ in range(6)] == [f"{ADDRESS}\n"] * 6


def dig(place: Place) -> str:
    """Ask a name server, and that place alone."""
    if shutil.which("dig") is None:
        pytest.skip("dig is not installed")
    words = ["dig", "+short", "+tries=3", "+time=3", "-p", str(place.port), f"@{place.host}", "a.example"]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    return "".join(
        line for line in said.splitlines(keepends=True) if not line.startswith(";;")
    )  # of what was lost


@pytest.mark.parametrize("transport", ["tls", "quic"])
def test_remotes_are_told_the_address_by_which_the_client_came_in(
    run: Run, files: Files, transport: str
) -> None:
    listen = f"socks6+{transport}://0.0.0.0:0?{files.listener_query}"

    async def scene(port: int) -> None:
        for host in ("127.0.0.2", "127.0.0.3"):
            url = f"socks6+{transport}://{host}:{port}?ca={files.ca}&sni=localhost"
            async with Client(url, timeout=10.0) as client:
                async with await client.bind() as listener:
                    assert listener.bound.host == host
                    with socket.create_connection(listener.bound):
                        (await listener.accept()).abort()
                async with client.associate(udp="stream") as udp:
                    assert udp.bound.host == host

    with server("--listen", listen, "--open", "--allow-private") as running:
        run(scene(running.place.port))
