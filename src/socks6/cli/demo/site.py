"""A little web site: a page, a large file, and a place that says what it was sent."""

import asyncio
import contextlib
import hashlib
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

PAGE: Final = b"""<!doctype html><title>It works</title>
<p>This page went from a web site to a SOCKS 6 server, to a converter, to your program.
"""
BLOCK: Final = bytes(range(256)) * 4096  # a mebibyte
BLOCKS: Final = 64  # of the large file
HEAD_LIMIT: Final = 65536
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"  # curl waits for it before it sends much


def large_file() -> bytes:
    """Return all of the large file."""
    return BLOCK * BLOCKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request that the site received; times are of time.perf_counter."""

    accepted: float
    asked: float
    answered: float
    client: str
    line: str
    head_size: int
    answer_size: int


class Site:
    """Listens on a free port of the loopback address."""

    def __init__(self) -> None:
        self.visits: asyncio.Queue[Visit] = asyncio.Queue()
        self.address = ""
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=HEAD_LIMIT)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = time.perf_counter()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            asked = time.perf_counter()
            size = await self._answer(head.decode("latin-1"), reader, writer)
            host, port = writer.get_extra_info("peername")
            self.visits.put_nowait(
                Visit(
                    accepted=accepted,
                    asked=asked,
                    answered=time.perf_counter(),
                    client=f"{host}:{port}",
                    line=head.decode("latin-1").partition("\r\n")[0],
                    head_size=len(head),
                    answer_size=size,
                )
            )
        writer.close()

    async def _answer(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        """Answer a request; return how many bytes that took."""
        method, path, _ = head.split(" ", 2)
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:-2])
        if method == "PUT":
            writer.write(CONTINUE)
            digest = await _digest(int(fields["content-length"]), reader)
            return len(CONTINUE) + await _write(writer, digest.encode())
        if path == "/large":
            return await _write(writer, BLOCK, times=BLOCKS)
        return await _write(writer, PAGE)


async def _digest(size: int, reader: asyncio.StreamReader) -> str:
    """Return the SHA-256 of a request's body."""
    left = size
    digest = hashlib.sha256()
    while left > 0 and (data := await reader.read(min(left, 1 << 20))):
        digest.update(data)
        left -= len(data)
    return digest.hexdigest()


async def _write(writer: asyncio.StreamWriter, body: bytes, *, times: int = 1) -> int:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body) * times}\r\nConnection: close\r\n\r\n".encode()
    writer.write(head)
    for _ in range(times):
        writer.write(body)
        await writer.drain()
    return len(head) + len(body) * times
