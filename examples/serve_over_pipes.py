"""SOCKS 6 over standard input and output, for `ssh host python serve_over_pipes.py`, inetd and the like.

The server worker serves any `ByteStream`; this one is two pipes.
"""

import asyncio
import socket
import sys
from typing import BinaryIO

from socks6 import ByteStream, Endpoint, Policy, Protection, ServerWorker


class PipeStream(ByteStream):
    """A byte stream of one pipe to read and one to write."""

    local = remote = Endpoint("", 0)
    protection = Protection.MACHINE
    raw_socket: socket.socket | None = None

    def __init__(self, reader: asyncio.StreamReader, pipe: BinaryIO) -> None:
        self._reader = reader
        self._pipe = pipe

    def receive_nowait(self, max_bytes: int) -> bytes | None:  # noqa: ARG002 - a pipe's reader cannot tell
        return None

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._reader.read(max_bytes)

    async def send(self, data: bytes | memoryview) -> None:
        await asyncio.to_thread(self._write, bytes(data))

    async def send_eof(self) -> None:
        self._pipe.close()

    async def aclose(self) -> None:
        self._pipe.close()

    def abort(self) -> None:
        self._pipe.close()

    def _write(self, data: bytes) -> None:
        self._pipe.write(data)
        self._pipe.flush()


async def main() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    worker = ServerWorker(policy=Policy(allow_private=True))
    await worker.serve_stream(PipeStream(reader, sys.stdout.buffer))
    await worker.aclose()


if __name__ == "__main__":
    asyncio.run(main())
