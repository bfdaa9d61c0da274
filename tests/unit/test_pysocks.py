"""PySocks' names: connections and datagrams through a proxy, without one, its exceptions, and the standard library's sockets replaced."""

import socket
import subprocess
import sys
import types
from collections.abc import Iterator
from typing import Final

import pytest

import socks6.pysocks as socks
from socks6.policy.rules import Policy
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker
from socks6.sync.loop_thread import loop_thread
from tests.kit.certificates import certificate
from tests.kit.origins import Place, echo, refusing_place, web_site
from tests.kit.udp_hosts import udp_echo

USER: Final = ("alice", "wonder:land")


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, str]]:
    """Run a proxy within this process; return its URLs by scheme."""
    worker = ServerWorker(authenticator=UserTable.from_plain(dict([USER])), policy=Policy(allow_private=True))
    with certificate() as files:
        server = Server(
            [
                "mixed://127.0.0.1:0",
                f"socks6+tls://127.0.0.1:0?{files.listener_query}",
            ],
            worker,
        )
        with loop_thread().held(server) as running:
            plain, secured = running.urls
            yield {
                "plain": plain.rpartition(":")[2],
                "tls": f"socks6+tls://alice:wonder%3Aland@localhost:{secured.rpartition(':')[2]}?ca={files.ca}",
            }


@pytest.fixture(autouse=True)
def _no_default_proxy() -> Iterator[None]:
    yield
    socks.socksocket.default_proxy = None


def exchange(sock: socket.socket) -> bytes:
    sock.sendall(b"hello")
    return sock.recv(5)


@pytest.mark.parametrize("kind", [socks.SOCKS5, socks.HTTP, socks.SOCKS6])
@pytest.mark.parametrize("rdns", [True, False])
def test_each_type_of_proxy(places: dict[str, str], kind: int, rdns: bool) -> None:
    with (
        echo() as place,
        socks.create_connection(
            ("localhost", place.port), 10, None, kind, "127.0.0.1", int(places["plain"]), rdns, *USER
        ) as sock,
    ):
        assert exchange(sock) == b"hello"
        assert sock.get_peername() == ("localhost", place.port)


@pytest.mark.parametrize("way", ["set_proxy", "setproxy", "default", "create_connection", "tls"])
def test_it_connects(places: dict[str, str], way: str) -> None:
    port = int(places["plain"])
    with echo() as place:
        if way == "create_connection":
            sock = socks.create_connection(
                (place.host, place.port), 10, ("", 0), socks.SOCKS6, "127.0.0.1", port, True, *USER
            )
        else:
            if way == "default":
                socks.set_default_proxy(socks.SOCKS6, "127.0.0.1", port, True, *USER)
                assert socks.get_default_proxy() == socks.getdefaultproxy()
            sock = socks.socksocket()
            sock.settimeout(10)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if way == "tls":
                sock.set_proxy(socks.SOCKS6, places["tls"])
            elif way == "setproxy":
                sock.setproxy(
                    proxytype=socks.SOCKS6, addr="127.0.0.1", port=port, username=USER[0], password=USER[1]
                )
            elif way == "set_proxy":
                sock.set_proxy(socks.SOCKS6, "127.0.0.1", port, True, *USER)
            sock.connect((place.host, place.port))
        with sock:
            assert exchange(sock) == b"hello"
            assert sock.getpeername() == sock.get_peername() == (place.host, place.port)
            assert sock.gettimeout() == 10
            if way == "tls":
                assert sock.get_proxy_sockname() is not None
            else:
                assert sock.get_proxy_peername() == ("127.0.0.1", port)
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            with sock.makefile("rwb") as file:
                file.write(b"again\n")
                file.flush()
                assert file.readline() == b"again\n"


def test_a_reset_is_seen_by_who_has_the_descriptor(places: dict[str, str]) -> None:
    """The connection has the descriptor that the socket was made with, from which a reset is caused."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = socks.create_connection(listener.getsockname(), 10, None, socks.SOCKS6, places["tls"])
        peer, _ = listener.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        with socket.socket(fileno=sock.detach()) as plain:
            plain.settimeout(10)
            with pytest.raises(ConnectionResetError):
                plain.recv(1)


def test_datagrams(places: dict[str, str]) -> None:
    with udp_echo() as place, socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.set_proxy(socks.SOCKS6, "127.0.0.1", int(places["plain"]), True, *USER)
        sock.settimeout(10)
        with pytest.raises(socks.GeneralProxyError, match="Not connected"):
            sock.send(b"to nobody")
        assert sock.sendto(b"hello", (place.host, place.port)) == 5
        assert sock.recvfrom(100) == (b"hello", (place.host, place.port))
        sock.connect((place.host, place.port))
        assert sock.send(b"again") == 5
        assert sock.recv(3) == b"aga"
        assert sock.get_proxy_sockname() is not None
        sock.settimeout(0.02)
        with pytest.raises(TimeoutError):
            sock.recv(1)


def test_without_a_proxy_it_is_any_other_socket() -> None:
    with echo() as place, socks.create_connection((place.host, place.port), 10) as sock:
        assert exchange(sock) == b"hello"
        assert sock.getpeername() == (place.host, place.port)
        assert sock.getsockname()[0] == "127.0.0.1"
    with socks.socksocket(type=socket.SOCK_DGRAM) as sock, udp_echo() as place:
        sock.settimeout(10)
        sock.bind(("127.0.0.1", 0))
        sock.sendto(b"hello", (place.host, place.port))
        assert sock.recvfrom(9) == (b"hello", (place.host, place.port))
        sock.connect((place.host, place.port))
        sock.send(b"again")
        assert sock.recv(9) == b"again"


def test_exceptions_are_its_own_and_keep_the_cause(places: dict[str, str]) -> None:
    def connect(place: Place, *, user: tuple[str, str] = USER, kind: int = socks.SOCKS6) -> None:
        socks.create_connection(
            (place.host, place.port), 10, None, kind, "127.0.0.1", int(places["plain"]), True, *user
        )

    with refusing_place() as nobody:
        with pytest.raises(
            socks.SOCKS5Error, match=r"^0x05: the proxy replied 05, connection refused$"
        ) as caught:
            connect(nobody)
        assert isinstance(caught.value, socks.SOCKS6Error)
        assert isinstance(caught.value.socket_err, ConnectionRefusedError)
        with socks.socksocket() as sock:
            sock.set_proxy(socks.SOCKS6, "127.0.0.1", int(places["plain"]), True, *USER)
            assert sock.connect_ex((nobody.host, nobody.port)) == caught.value.errno
        with pytest.raises(socks.SOCKS5AuthError):
            connect(nobody, user=("alice", "wrong"))
        with pytest.raises(socks.ProxyConnectionError):
            socks.create_connection(("far.example", 80), 10, None, socks.SOCKS6, nobody.host, nobody.port)
    for proxy in [(7, "127.0.0.1"), (socks.SOCKS6, "ftp://far.example"), (socks.SOCKS6, None)]:
        with pytest.raises(socks.GeneralProxyError):
            socks.create_connection(("far.example", 80), 10, None, *proxy)
    assert issubclass(socks.GeneralProxyError, socks.ProxyError)
    assert issubclass(socks.ProxyError, OSError)
    with pytest.raises(socks.GeneralProxyError, match="No default proxy"):
        socks.wrap_module(types.ModuleType("empty"))


@pytest.mark.parametrize(
    ("proxy", "url"),
    [
        (socks.Proxy(socks.SOCKS4, "h"), "socks4a://h:1080"),
        (socks.Proxy(socks.SOCKS4, "h", rdns=False, username=b"me", password="pw"), "socks4://me@h:1080"),
        (socks.Proxy(socks.SOCKS5, "::1", 9), "socks5h://[::1]:9"),
        (socks.Proxy(socks.SOCKS5, "h", 9, False, "a", "b@c"), "socks5://a:b%40c@h:9?resolve=local"),
        (socks.Proxy(socks.HTTP, "h"), "http://h:8080"),
        (socks.Proxy(socks.SOCKS6, "socks6+quic://h"), "socks6+quic://h"),
    ],
)
def test_types_are_schemes(proxy: socks.Proxy, url: str) -> None:
    assert proxy.url == url


def test_a_module_goes_through_the_default_proxy(places: dict[str, str]) -> None:
    socks.setdefaultproxy(proxytype=socks.SOCKS6, addr=places["tls"])
    module = types.ModuleType("theirs")
    module.socket = types.SimpleNamespace()  # type: ignore[attr-defined]  # as after `import socket`
    socks.wrapmodule(module)
    assert module.socket.socket is socks.socksocket


REPLACED: Final = """
import socket, sys, urllib.request
import socks6.pysocks as socks
socks.set_default_proxy(socks.SOCKS6, sys.argv[1])
socket.socket = socks.socksocket
urllib.request.install_opener(urllib.request.build_opener(urllib.request.ProxyHandler({})))
for _ in range(2):
    with urllib.request.urlopen(sys.argv[2], timeout=20) as answer:
        print(answer.status)
"""


@pytest.mark.slow
def test_the_standard_librarys_socket_may_be_replaced(places: dict[str, str]) -> None:
    """The library's own sockets to the proxy are of that class, too, and are not sent through it."""
    with web_site() as site:
        done = subprocess.run(
            [
                sys.executable,
                "-W",
                "default",
                "-W",
                "ignore::ResourceWarning",
                "-c",
                REPLACED,
                places["tls"],
                site.url,
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.stdout, done.stderr) == ("200\n200\n", "")
        assert len(site.seen) == 2
