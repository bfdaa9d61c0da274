"""Much of everything: big files, thousands of connections."""

import contextlib
import hashlib
import itertools
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

import pytest

from tests.kit.footprint import ESTABLISHED, connections, eventually
from tests.kit.origins import Place, big_file, checksum, echo, web_site
from tests.kit.proxies import ENVIRONMENT, Proxy, converter, curl_line, server, tunnel

MEGABYTE: Final = 2**20
SIZES: Final = [64 * MEGABYTE, pytest.param(1024 * MEGABYTE, marks=pytest.mark.deep)]
IDLE: Final = 9_000
SOURCES: Final = (
    20  # addresses that clients come from: one has too few ports, and is allowed too few connections
)

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def road() -> Iterator[Proxy]:
    """Give a converter whose server does the work."""
    with server() as far, converter(far.url) as near:
        yield near


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", ["socks5h", "http"])
def test_big_files_arrive_whole_in_both_directions_at_once(
    road: Proxy, tmp_path: Path, way: str, size: int
) -> None:
    source = tmp_path / "big"
    with source.open("wb") as file:
        file.writelines(big_file(size))
    words = curl_line("--max-time", "300", "--proxy", f"{way}://{road.authority}")
    with (
        web_site() as site,
        running([*words, "-T", str(source), f"{site.url}/up"]) as upload,
        running([*words, f"{site.url}/big/{size}"]) as download,
    ):
        assert download.stdout is not None
        assert upload.stdout is not None
        assert digest_of(download.stdout) == checksum(size)
        assert upload.stdout.read().decode() == checksum(size)


@pytest.mark.parametrize("size", SIZES)
def test_one_connection_carries_a_big_file_there_and_back_at_once(road: Proxy, size: int) -> None:
    with echo() as place, tunnel_process(road, place) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        feeder = threading.Thread(target=feed, args=(process.stdin, size))
        feeder.start()
        assert digest_of(process.stdout) == checksum(size)
        feeder.join()


@pytest.mark.deep
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_nine_thousand_idle_connections_fit_into_one_process(loop: str) -> None:
    with (
        server("--max-connections-per-source", "0", "--loop", loop) as proxy,
        ClientsByNetwork(proxy) as crowd,
    ):
        before = proxy.footprint
        crowd.come(IDLE)
        during = proxy.footprint
        crowd.pass_a_byte_each()
        after_use = proxy.footprint
        crowd.go()
        assert eventually(lambda: proxy.footprint.descriptors <= before.descriptors + 20, within=60)
        assert eventually(lambda: not connections(ESTABLISHED, proxy.place.port), within=60)
        per_connection = (during.memory - before.memory) / IDLE
        print(
            f"{loop}: {before}, {during}, {after_use}, {proxy.footprint}: {per_connection:.0f} B/connection"
        )
        assert per_connection < 6000
        assert (after_use.memory - before.memory) / IDLE < 6500
        crowd.come(IDLE)  # what was freed is good for as many again
        assert proxy.footprint.memory < after_use.memory + 8 * MEGABYTE
        crowd.go()


class ClientsByNetwork:
    """Many clients of a SOCKS 6 proxy, and the other ends of their connections."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._clients: list[socket.socket] = []
        self._remotes: list[socket.socket] = []

    def __enter__(self) -> "ClientsByNetwork":
        return self

    def __exit__(self, *_: object) -> None:
        self.go()
        self._listener.close()

    def come(self, number: int) -> None:
        """Have so many connect through the proxy, one after another."""
        destination = Place(host="127.0.0.1", port=self._listener.getsockname()[1])
        for index in range(number):
            source = f"127.0.1.{1 + index % SOURCES}"
            self._clients.append(tunnel(self._proxy.place, destination, source=source))
            self._remotes.append(self._listener.accept()[0])

    def pass_a_byte_each(self) -> None:
        """Send a byte each way on every connection, and see it arrive."""
        for client, remote in zip(self._clients, self._remotes, strict=True):
            client.sendall(b">")
            remote.sendall(b"<")
        for client, remote in zip(self._clients, self._remotes, strict=True):
            remote.settimeout(20.0)
            assert (client.recv(2), remote.recv(2)) == (b"<", b">")

    def go(self) -> None:
        """Close everything."""
        for sock in itertools.chain(self._clients, self._remotes):
            sock.close()
        self._clients.clear()
        self._remotes.clear()


def test_a_hundred_slow_readers_hold_up_nobody(road: Proxy) -> None:
    """Each has more waiting for it than buffers hold, and takes nothing."""
    size = 8 * MEGABYTE
    with web_site() as site, contextlib.ExitStack() as held:
        for _ in range(100):
            reader = held.enter_context(road.place.connected())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.sendall(f"GET {site.url}/big/{size} HTTP/1.0\r\n\r\n".encode())
        with running(  # for 30 seconds at most
            [*curl_line("--proxy", f"socks5h://{road.authority}"), f"{site.url}/big/{size}"]
        ) as quick:
            assert quick.stdout is not None
            assert digest_of(quick.stdout) == checksum(size)
        assert road.footprint.memory < 200 * MEGABYTE


def test_many_small_writes_arrive_in_order(road: Proxy) -> None:
    with echo() as place, tunnel(road.place, place) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = b"".join(number.to_bytes(3, "big") for number in range(20_000))
        got = bytearray()
        for start in range(0, len(sent), 3):
            sock.sendall(sent[start : start + 3])
            while select.select([sock], [], [], 0)[0]:
                got += sock.recv(65536)
        sock.shutdown(socket.SHUT_WR)
        got += b"".join(iter(lambda: sock.recv(65536), b""))
        assert got == sent


def digest_of(pipe: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while data := pipe.read(MEGABYTE):
        digest.update(data)
    return digest.hexdigest()


def feed(pipe: IO[bytes], size: int) -> None:
    with pipe:
        pipe.writelines(big_file(size))


@contextlib.contextmanager
def running(words: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program whose output is read; it must end well."""
    with subprocess.Popen(words, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
            assert process.wait(20) == 0
        finally:
            process.kill()


def tunnel_process(
    proxy: Proxy, place: Place
) -> contextlib.AbstractContextManager["subprocess.Popen[bytes]"]:
    """Run `socks6 connect` to a place."""
    command = [sys.executable, "-m", "socks6", "connect", "--via", f"socks6://{proxy.authority}"]
    return running([*command, place.host, str(place.port)])
