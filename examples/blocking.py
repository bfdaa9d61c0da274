"""Without an event loop: a page by several threads, through one client.

python examples/blocking.py socks6://user:password@proxy.example:1080 example.com 80
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import socks6.sync


def fetch(client: socks6.sync.Client, host: str, port: int) -> bytes:
    """Return what the host answers."""
    with client.connect(host, port) as sock:  # a socket.socket, over TLS and QUIC too
        sock.settimeout(20)
        sock.sendall(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        with sock.makefile("rb") as file:
            return file.read()


def main(proxy: str, host: str, port: int) -> None:
    """Fetch four times, and print one answer."""
    with socks6.sync.Client(proxy) as client, ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: fetch(client, host, port), range(4)))
    print(len(answers), answers[0].decode())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
