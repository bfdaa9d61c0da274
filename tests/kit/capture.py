"""Seeing what goes over the wire: a relay that writes down every read, and tshark."""

import contextlib
import os
import queue
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import pytest

from tests.kit.origins import Place, tcp_host

START_SECONDS: Final = 30.0  # what tshark gets to begin
MARK: Final = b"socks6 mark "


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Bytes that came in one read, or in one segment."""

    to_server: bool
    data: bytes


@dataclass(kw_only=True)
class Recording:
    """Pieces in the order in which they came, with the address at which to reach the server."""

    place: Place
    pieces: list[Piece] = field(default_factory=list)

    @property
    def sent(self) -> list[bytes]:
        """What the client sent, piece by piece."""
        return [piece.data for piece in self.pieces if piece.to_server]

    @property
    def received(self) -> list[bytes]:
        """What the server sent, piece by piece."""
        return [piece.data for piece in self.pieces if not piece.to_server]


@contextlib.contextmanager
def recording_relay(host: str, port: int) -> Iterator[Recording]:
    """Relay TCP connections to a server, and note each read of either side."""
    pieces: list[Piece] = []

    def carry(source: socket.socket, sink: socket.socket, *, to_server: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 20):
                pieces.append(Piece(to_server=to_server, data=data))
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def serve(client: socket.socket) -> None:
        with socket.create_connection((host, port)) as server:
            up = threading.Thread(target=carry, args=(client, server), kwargs={"to_server": True})
            up.start()
            carry(server, client, to_server=False)
            up.join()

    with tcp_host(serve) as place:
        yield Recording(place=place, pieces=pieces)


@contextlib.contextmanager
def capture(place: Place) -> Iterator[Recording]:
    """Capture with tshark the TCP segments with data to and from a server on loopback.

    What was sent before the `with` block ended is in the recording after it. The test skips without tshark and
    root.
    """
    if os.geteuid() != 0 or shutil.which("tshark") is None:
        pytest.skip("capturing needs root and tshark")
    command = ["tshark", "-l", "-n", "-Q", "-i", "lo", "-f", f"port {place.port}", "-T", "fields"]
    fields = ["tcp.dstport", "tcp.payload", "udp.payload"]
    options = [word for name in fields for word in ("-e", name)]
    recording = Recording(place=place)
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as tshark:
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        reader = threading.Thread(target=_read_lines, args=(tshark, lines))
        reader.start()
        try:
            _await_mark(place, b"begin", lines)
            yield recording
            recording.pieces += _pieces(_await_mark(place, b"end", lines), place)
        finally:
            tshark.terminate()
            reader.join()


def _read_lines(tshark: subprocess.Popen[str], lines: "queue.SimpleQueue[str]") -> None:
    assert tshark.stdout is not None
    for line in tshark.stdout:
        lines.put(line)


def _await_mark(place: Place, name: bytes, lines: "queue.SimpleQueue[str]") -> list[str]:
    """Send a datagram to the captured port until it is seen; return the lines before it."""
    mark = MARK + name
    before: list[str] = []
    deadline = time.monotonic() + START_SECONDS
    with socket.socket(socket.AF_INET6 if ":" in place.host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        while time.monotonic() < deadline:
            with contextlib.suppress(ConnectionRefusedError):
                sock.sendto(mark, (place.host, place.port))
            with contextlib.suppress(queue.Empty):
                while mark.hex() not in (line := lines.get(timeout=0.2)):
                    before.append(line)
                return before
    raise TimeoutError("tshark shows nothing")


def _pieces(lines: list[str], place: Place) -> Iterator[Piece]:
    for line in lines:
        to_port, payload, _ = line.rstrip("\n").split("\t")
        if payload:
            yield Piece(to_server=int(to_port) == place.port, data=bytes.fromhex(payload))
