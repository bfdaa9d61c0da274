"""Hosts that are reached by datagrams: an echo, and a name server. Each runs in a thread of its own, on a free port."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from tests.kit.origins import Place

POLL_SECONDS = 0.05
ADDRESS = "192.0.2.53"  # what the name server says of every name


@contextlib.contextmanager
def udp_host(
    answer: Callable[[bytes, tuple[str, int]], bytes | None], host: str = "127.0.0.1"
) -> Iterator[Place]:
    """Run a host that has `answer` called for each datagram, and sends back what that returns."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        sock.settimeout(POLL_SECONDS)
        stopping = threading.Event()

        def serve() -> None:
            while not stopping.is_set():
                try:
                    data, source = sock.recvfrom(65536)
                except TimeoutError:
                    continue
                if (reply := answer(data, source)) is not None:
                    sock.sendto(reply, source)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield Place(host=host, port=sock.getsockname()[1])
        finally:
            stopping.set()
            thread.join()


def udp_echo(host: str = "127.0.0.1") -> contextlib.AbstractContextManager[Place]:
    """Run a host that sends back what it gets."""
    return udp_host(lambda data, _: data, host)


def name_server(host: str = "127.0.0.1") -> contextlib.AbstractContextManager[Place]:
    """Run a name server that knows one address for every name (RFC 1035)."""

    def answer(query: bytes, _: tuple[str, int]) -> bytes:
        end = 12
        while query[end]:
            end += 1 + query[end]
        question = query[12 : end + 5]
        header = query[:2] + bytes.fromhex("8180 0001 0001 0000 0000")
        record = bytes.fromhex("c00c 0001 0001 0000003c 0004") + socket.inet_aton(ADDRESS)
        return header + question + record

    return udp_host(answer, host)
