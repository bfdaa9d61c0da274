"""What clients want to reach: a web site, plain or over TLS, an echo, and hosts with bad manners.

All run in threads of their own, on loopback, at ports that the system chose, so that tests of real processes
need no event loop.
"""

import contextlib
import hashlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import trustme
from typing_extensions import override

PAGE: Final = b"<h1>it works</h1>\n"
BLOCK: Final = 65536
POLL_SECONDS: Final = 0.02


def big_file(size: int) -> Iterator[bytes]:
    """Give a file of so many bytes, in which no two blocks are alike: a lost or moved one shows."""
    filler = hashlib.shake_128(b"socks6").digest(BLOCK)
    for start in range(0, size, BLOCK):
        block = start.to_bytes(8, "big") + filler[8:]
        yield block[: size - start]


def checksum(size: int) -> str:
    """Return the SHA-256 of the big file of that size."""
    digest = hashlib.sha256()
    for block in big_file(size):
        digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A request as the web site got it."""

    method: str
    target: str
    headers: dict[str, str]
    peer: tuple[str, int]


@dataclass(kw_only=True)
class Site:
    """A running web site: / is PAGE, /big/SIZE the big file; PUT and POST answer with what they got, hashed."""

    url: str
    host: str
    port: int
    ca_file: Path | None = None
    seen: list[Seen] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where something listens."""

    host: str
    port: int

    def connected(self, *, timeout: float | None = 20.0) -> socket.socket:
        """Return a new connection to it."""
        return socket.create_connection((self.host, self.port), timeout=timeout)


@contextlib.contextmanager
def web_site(
    host: str = "127.0.0.1",
    *,
    port: int = 0,
    tls_folder: Path | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Site]:
    """Run a web site; over TLS, for the names localhost and `host`, when given a folder for the certificate, or as `tls` has it."""
    site = Site(url="", host=host, port=0)
    handler = type("Handler", (_SiteHandler,), {"site": site})
    server = _SiteServer((host, port), handler)
    server.tls = tls
    if tls_folder is not None:
        authority = trustme.CA()
        site.ca_file = tls_folder / "ca.pem"
        authority.cert_pem.write_to_path(str(site.ca_file))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", host).configure_cert(context)
        server.tls = context
    scheme = "http" if server.tls is None else "https"
    site.port = server.server_address[1]
    site.url = f"{scheme}://[{host}]:{site.port}" if ":" in host else f"{scheme}://{host}:{site.port}"
    with _running(server):
        yield site


@contextlib.contextmanager
def echo(host: str = "127.0.0.1") -> Iterator[Place]:
    """Run a host that sends back what it gets, and the end too."""

    def serve(connection: socket.socket) -> None:
        while data := connection.recv(1 << 18):
            connection.sendall(data)

    with tcp_host(serve, host) as place:
        yield place


@contextlib.contextmanager
def tcp_host(
    serve: Callable[[socket.socket], None], host: str = "127.0.0.1", port: int = 0
) -> Iterator[Place]:
    """Run a host that has `serve` called for each connection, in a thread; OSError ends just that one."""

    class Handler(socketserver.BaseRequestHandler):
        @override
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                serve(self.request)

    server = _ThreadingServer((host, port), Handler)
    with _running(server):
        yield Place(host=host, port=server.server_address[1])


@contextlib.contextmanager
def refusing_place(host: str = "127.0.0.1") -> Iterator[Place]:
    """Give a port that is taken, and refuses connections."""
    with _socket(host) as sock:
        sock.bind((host, 0))
        yield Place(host=host, port=sock.getsockname()[1])


@contextlib.contextmanager
def silent_place(host: str = "127.0.0.1") -> Iterator[Place]:
    """Give a port at which connections neither succeed nor fail: its queue is full and nobody accepts."""
    with contextlib.ExitStack() as held:
        listener = held.enter_context(_socket(host))
        listener.bind((host, 0))
        listener.listen(0)
        for _ in range(4):  # the kernel holds one connection more than told, and drops the SYNs of the next
            filler = held.enter_context(_socket(host))
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield Place(host=host, port=listener.getsockname()[1])


def _socket(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)


class _ThreadingServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 1024

    @override
    def __init__(self, address: tuple[str, int], handler: type[socketserver.BaseRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)


class _SiteServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024
    tls: ssl.SSLContext | None = None

    @override
    def __init__(self, address: tuple[str, int], handler: type[socketserver.BaseRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    @override
    def finish_request(self, request: object, client_address: object) -> None:
        """Shake hands in the connection's own thread."""
        assert isinstance(request, socket.socket)
        with contextlib.suppress(OSError):
            if self.tls is None:
                super().finish_request(request, client_address)
            else:
                with self.tls.wrap_socket(request, server_side=True) as encrypted:
                    super().finish_request(encrypted, client_address)


class _SiteHandler(BaseHTTPRequestHandler):
    site: Site
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together

    def do_GET(self) -> None:
        """Send the page, or the big file."""
        self._note()
        _, _, size = self.path.partition("/big/")
        if not size:
            self._answer(PAGE)
            return
        self.send_response(200)
        self.send_header("Content-Length", size)
        self.end_headers()
        for block in big_file(int(size)):
            self.wfile.write(block)

    def do_PUT(self) -> None:
        """Answer with the SHA-256 of what came."""
        self._note()
        digest = hashlib.sha256()
        left = int(self.headers["Content-Length"])
        while left and (data := self.rfile.read(min(left, BLOCK))):
            digest.update(data)
            left -= len(data)
        self._answer(digest.hexdigest().encode())

    def do_POST(self) -> None:
        """As PUT."""
        self.do_PUT()

    @override
    def handle_expect_100(self) -> bool:
        """Have the client go on at once."""
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    @override
    def log_message(self, *_: object) -> None:
        """Stay quiet."""

    def _note(self) -> None:
        seen = Seen(
            method=self.command,
            target=self.path,
            headers={name.lower(): value for name, value in self.headers.items()},
            peer=self.client_address[:2],
        )
        self.site.seen.append(seen)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def _running(server: socketserver.TCPServer) -> Iterator[None]:
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
