"""The origin: answers each request at once, with one small answer. Its argument is the address to listen at."""

import contextlib
import socket
import sys
import threading
from typing import Final

ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nhi\n"
PATIENCE: Final = 30.0
WAITING: Final = 64


def _answer(sock: socket.socket) -> None:
    with sock, contextlib.suppress(OSError):
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = b""
        while b"\r\n\r\n" not in request:
            piece = sock.recv(65536)
            if not piece:
                return
            request += piece
        sock.sendall(ANSWER)


def main() -> None:
    """Listen at any port, say which, answer until the end."""
    with socket.create_server((sys.argv[1], 0), backlog=128) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, WAITING)
        print(listener.getsockname()[1], flush=True)
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=_answer, args=(sock,), daemon=True).start()


if __name__ == "__main__":
    main()
