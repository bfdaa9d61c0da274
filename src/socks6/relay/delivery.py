"""How joined streams come to their end: what was sent arrives, and what was cut short does not look whole."""

import asyncio
import contextlib
import socket
from typing import Final

from socks6.net.sockets import close_in_order, family_of, reset_on_close, type_of
from socks6.net.stream import ByteStream

SILENCE_SECONDS: Final = 10.0  # without one more byte acknowledged: then the rest is given up
MAX_SECONDS: Final = 60.0
FIRST_PAUSE: Final = 0.001  # seconds between two looks, doubled each time: no event reports acknowledgements
MAX_PAUSE: Final = 0.1
PIECE_BYTES: Final = 65536
PIECES_PER_CHECK: Final = 16  # pieces dropped in one look


async def deliver(stream: ByteStream) -> None:
    """Wait until the peer has acknowledged all that was sent, as far as that is known; a bounded time.

    To be called before a stream is closed whose peer may still send, or reset: both throw away what has not arrived
    (RFC 9112 §9.6). What the peer sends meanwhile is dropped, since it may read nothing before it is through.
    Never raises OSError.
    """
    left = stream.unacknowledged
    if not left:
        return
    loop = asyncio.get_running_loop()
    pause = FIRST_PAUSE
    give_up_at = loop.time() + MAX_SECONDS
    silent_at = loop.time() + SILENCE_SECONDS
    while left and loop.time() < min(give_up_at, silent_at):
        _drop_input(stream)
        await asyncio.sleep(pause)
        pause = min(2 * pause, MAX_PAUSE)
        before, left = left, stream.unacknowledged
        if left != before:
            silent_at = loop.time() + SILENCE_SECONDS


def reset_if_killed(*streams: ByteStream) -> None:
    """Make the kernel reset the streams if this process dies: else it would close them as if all had been sent.

    `aclose` of such a stream resets it, too, until `end_in_order`.
    """
    for stream in streams:
        if (sock := _tcp_socket_of(stream)) is not None:
            reset_on_close(sock)


def end_in_order(*streams: ByteStream) -> None:
    """Undo `reset_if_killed`: everything has been sent."""
    for stream in streams:
        if (sock := _tcp_socket_of(stream)) is not None:
            close_in_order(sock)


def _tcp_socket_of(stream: ByteStream) -> socket.socket | None:
    """Return the TCP socket below a stream, TLS or a proxy in between or not; None for other kinds."""
    sock = stream.attribute(socket.socket)
    if sock is None or type_of(sock) != socket.SOCK_STREAM or family_of(sock) == socket.AF_UNIX:
        return None
    return sock


def _drop_input(stream: ByteStream) -> None:
    with contextlib.suppress(OSError):
        for _ in range(PIECES_PER_CHECK):
            if not stream.receive_nowait(PIECE_BYTES):
                return
