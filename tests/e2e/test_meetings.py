"""Who meets whom: each protocol's clients at each listener, and our clients at each kind of server; both sides name the other."""

import asyncio
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from socks6.client.client import Client
from socks6.errors import ProxyTimedOut, Socks6Error, TlsFailed
from tests.kit.certificates import Files, certificate
from tests.kit.origins import Place, tcp_host, web_site
from tests.kit.proxies import ENVIRONMENT, Proxy, curl, server

pytestmark = pytest.mark.e2e

PATIENCE: Final = 10.0
LISTENERS: Final = ("socks6", "socks5", "http", "mixed", "socks6+tls")
MIXED: Final = "listen on mixed:// for those"


@pytest.fixture(scope="module")
def files() -> Iterator[Files]:
    with certificate() as made:
        yield made


@pytest.fixture(scope="module")
def everywhere(files: Files) -> Iterator[Proxy]:
    """One server with a listener of each kind, which logs every connection."""
    listeners = [word for scheme in LISTENERS for word in ("--listen", f"{scheme}://127.0.0.1:0")]
    with server(*listeners, "-v", "--tls-cert", files.certificate, "--tls-key", files.key) as running:
        yield running


def port_of(running: Proxy, scheme: str) -> int:
    return int(next(url for url in running.urls if url.startswith(f"{scheme}://")).rpartition(":")[2])


def by_curl(*words: str) -> Callable[[int], str]:
    """Return a client: curl with a proxy at the port, or that asks the port itself."""

    def meet(port: int) -> str:
        fetched = curl(*(word.format(port=port) for word in words))
        return f"{fetched.complaint} {fetched.connect_status} {fetched.body.decode()}"

    return meet


def by_openssl(port: int) -> str:
    return run_program("openssl", "s_client", "-connect", f"127.0.0.1:{port}")


def by_ssh(port: int) -> str:
    return run_program("ssh", "-v", "-o", "BatchMode=yes", "-p", str(port), "127.0.0.1")


def run_program(*words: str) -> str:
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False, env=ENVIRONMENT
    )
    return (done.stdout + done.stderr).decode(errors="replace")


def by_ourselves(scheme: str) -> Callable[[int], str]:
    return lambda port: complaint(f"{scheme}://127.0.0.1:{port}")


def complaint(url: str, *, timeout: float = PATIENCE) -> str:
    """Return why a NOOP of ours fails."""

    async def scene() -> str:
        async with Client(url, timeout=timeout) as client:
            with pytest.raises(Socks6Error) as raised:
                await client.noop()
        return str(raised.value)

    return asyncio.run(scene())


SOCKS4: Final = by_curl("--proxy", "socks4://127.0.0.1:{port}", "http://127.0.0.1:1/")
SOCKS5: Final = by_curl("--proxy", "socks5h://127.0.0.1:{port}", "http://127.0.0.1:1/")
HTTP: Final = by_curl("--proxy", "http://127.0.0.1:{port}", "http://127.0.0.1:1/")
CONNECT: Final = by_curl("--proxy", "http://127.0.0.1:{port}", "https://127.0.0.1:1/")
TLS: Final = by_curl("https://127.0.0.1:{port}/")
SOCKS6: Final = by_ourselves("socks6")
SOCKS6_TLS: Final = by_ourselves("socks6+tls")
NO_TLS: Final = "unexpected message"

MEETINGS: Final[list[tuple[str, Callable[[int], str], str, str]]] = [
    ("socks6", SOCKS4, "connection to proxy closed", f"a SOCKS 4 client: {MIXED}"),
    ("socks6", SOCKS5, "connection to proxy closed", f"a SOCKS 5 client: {MIXED}"),
    ("socks6", HTTP, "this port speaks SOCKS 6, not HTTP", f"an HTTP client: {MIXED}"),
    ("socks6", CONNECT, "400", f"an HTTP client: {MIXED}"),
    ("socks6", TLS, NO_TLS, "a TLS client: listen on socks6+tls:// for those"),
    ("socks6", by_openssl, NO_TLS, "a TLS client: listen on socks6+tls:// for those"),
    ("socks6", by_ssh, "this is a proxy, not an ssh server", "an ssh client"),
    ("socks6", SOCKS6_TLS, "does not speak TLS here", "a TLS client: listen on socks6+tls:// for those"),
    ("socks5", HTTP, "this port speaks SOCKS 5, not HTTP", f"an HTTP client: {MIXED}"),
    ("socks5", TLS, NO_TLS, "a TLS client: listen on socks5+tls:// for those"),
    ("socks5", SOCKS6, "no SOCKS 6 proxy: it speaks SOCKS 5", f"a SOCKS 6 client: {MIXED}"),
    ("socks5", by_ssh, "this is a proxy, not an ssh server", "an ssh client"),
    ("http", SOCKS4, "rejected or failed", f"a SOCKS 4 client: {MIXED}"),
    ("http", SOCKS5, "No authentication method was acceptable", f"a SOCKS 5 client: {MIXED}"),
    ("http", TLS, NO_TLS, "a TLS client: listen on http+tls:// for those"),
    ("http", SOCKS6, 'no SOCKS 6 proxy: it says "HTTP/1.1 400 Bad Request"', f"a SOCKS 6 client: {MIXED}"),
    ("http", by_ssh, "this is a proxy, not an ssh server", "an ssh client"),
    ("mixed", TLS, NO_TLS, "a TLS client: listen on mixed+tls:// for those"),
    ("mixed", by_ssh, "this is a proxy, not an ssh server", "an ssh client"),
    ("socks6+tls", SOCKS4, "rejected or failed", "the peer speaks SOCKS 4, not TLS"),
    ("socks6+tls", SOCKS5, "No authentication method was acceptable", "the peer speaks SOCKS 5, not TLS"),
    ("socks6+tls", HTTP, "this port speaks TLS, not HTTP", "the peer speaks HTTP, not TLS"),
    ("socks6+tls", SOCKS6, "it speaks TLS, so try socks6+tls://", "the peer speaks SOCKS 6, not TLS"),
    ("socks6+tls", by_ssh, "this is a proxy, not an ssh server", "the peer speaks ssh, not TLS"),
    ("socks6+tls", by_ourselves("socks6+quic"), "speaks no QUIC", "a QUIC client: listen on socks6+quic://"),
]


@pytest.mark.parametrize(
    ("scheme", "meet", "told", "logged"),
    MEETINGS,
    ids=[f"{scheme}-{index}" for index, (scheme, *_) in enumerate(MEETINGS)],
)
def test_a_client_at_another_protocols_listener_is_named_on_both_sides(
    everywhere: Proxy, scheme: str, meet: Callable[[int], str], told: str, logged: str
) -> None:
    port, before = port_of(everywhere, scheme), len(everywhere.said)
    assert told in meet(port)
    deadline = time.monotonic() + PATIENCE
    while not any(logged in line for line in everywhere.said[before:]):
        assert time.monotonic() < deadline, everywhere.said[before:]
        time.sleep(0.01)


def says(data: bytes, *, at_once: bool = False) -> Callable[[socket.socket], None]:
    """Return a host that answers the first bytes, or greets, with `data`, and ends."""

    def serve(connection: socket.socket) -> None:
        if not at_once:
            connection.recv(4096)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass

    return serve


OTHERS: Final = {
    "SOCKS 4": (says(b"\0\x5b" + bytes(6)), "it speaks SOCKS 4", "the peer speaks SOCKS 4, not TLS"),
    "SOCKS 5": (says(b"\5\xff"), "it speaks SOCKS 5", "the peer speaks SOCKS 5, not TLS"),
    "SOCKS 6": (says(b"\6"), "does not speak version 6", "the peer speaks SOCKS 6, not TLS"),
    "ssh": (
        says(b"SSH-2.0-OpenSSH_9.2p1\r\n", at_once=True),
        'it says "SSH-2.0-OpenSSH_9.2p1"',
        "the peer speaks ssh, not TLS",
    ),
    "mail": (
        says(b"220 mail.example ESMTP\r\n", at_once=True),
        'it says "220 mail.example ESMTP"',
        "the peer speaks mail or FTP, not TLS",
    ),
    "nothing": (
        says(b""),
        "closed the connection without an answer: does it speak SOCKS 6 in the clear there? If it speaks TLS",
        "the peer speaks no TLS: it closed the connection",
    ),
}


@pytest.mark.parametrize(("serve", "clear", "secured"), OTHERS.values(), ids=OTHERS)
def test_a_server_that_is_no_proxy_is_named(
    serve: Callable[[socket.socket], None], clear: str, secured: str
) -> None:
    with tcp_host(serve) as place:
        assert clear in complaint(f"socks6://{place.host}:{place.port}")
        assert secured in complaint(f"socks6+tls://{place.host}:{place.port}")


def test_a_web_server_is_named() -> None:
    with web_site() as site:
        assert "the peer speaks HTTP, not TLS" in complaint(f"socks6+tls://{site.host}:{site.port}")


def test_an_ssh_server_is_named() -> None:
    if (daemon := shutil.which("sshd")) is None:
        pytest.skip("sshd is not installed")
    with tcp_host(lambda connection: serve_by(connection, daemon, "-i", "-f", "/dev/null")) as place:
        assert 'it says "SSH-2.0-OpenSSH' in complaint(f"socks6://{place.host}:{place.port}")


def serve_by(connection: socket.socket, *words: str) -> None:
    descriptor = connection.fileno()
    subprocess.run(words, stdin=descriptor, stdout=descriptor, stderr=subprocess.DEVNULL, check=False)


def wait_for(event: threading.Event) -> None:
    event.wait(PATIENCE)


@pytest.mark.parametrize(
    ("scheme", "words"),
    [
        ("socks6", "within 0.5 s: something accepts connections there, but does not answer SOCKS 6"),
        ("socks6+tls", "within 0.5 s: something accepts connections there, but does not answer TLS"),
        ("socks6+quic", "within 0.5 s: nothing answers QUIC at UDP port"),
    ],
)
def test_silence_is_named(scheme: str, words: str) -> None:
    over = threading.Event()
    with (
        tcp_host(lambda _: wait_for(over)) as place,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent,
    ):
        silent.bind((place.host, place.port))
        assert words in complaint(f"{scheme}://{place.host}:{place.port}", timeout=0.5)
        over.set()


def test_a_host_that_does_not_finish_tls_is_blamed_and_not_the_proxy(everywhere: Proxy) -> None:
    over = threading.Event()

    async def scene(place: Place) -> str:
        async with Client(f"socks6://127.0.0.1:{port_of(everywhere, 'socks6')}") as client:
            with pytest.raises(TimeoutError) as raised:
                await client.open_connection(place.host, place.port, ssl=True, timeout=0.5)
        assert not isinstance(raised.value, ProxyTimedOut)
        return str(raised.value)

    with tcp_host(lambda _: wait_for(over)) as place:
        words = asyncio.run(scene(place))
        over.set()
    assert f"TLS with {place.host} port {place.port} was not done within 0.5 s" in words


def test_a_refused_certificate_says_how_to_trust_it(everywhere: Proxy) -> None:
    with pytest.raises(TlsFailed, match="certificate"):
        asyncio.run(noop(f"socks6+tls://127.0.0.1:{port_of(everywhere, 'socks6+tls')}"))


async def noop(url: str) -> None:
    async with Client(url) as client:
        await client.noop()
