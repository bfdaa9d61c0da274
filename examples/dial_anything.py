"""Reach a proxy over anything that is a byte stream: here over a command's standard input and output.

python examples/dial_anything.py 127.0.0.1 8080 python examples/serve_over_pipes.py
"""

import asyncio
import socket
import sys
from asyncio.subprocess import PIPE, Process

from socks6 import ByteStream, Client, Endpoint, Protection


class CommandStream(ByteStream):
    """A byte stream to a running command."""

    local = remote = Endpoint("", 0)
    protection = Protection.MACHINE
    raw_socket: socket.socket | None = None

    def __init__(self, process: Process) -> None:
        assert process.stdin
        assert process.stdout
        self._process, self._writer, self._reader = process, process.stdin, process.stdout

    def receive_nowait(self, max_bytes: int) -> bytes | None:  # noqa: ARG002 - a pipe's reader cannot tell
        return None

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._reader.read(max_bytes)

    async def send(self, data: bytes | memoryview) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def send_eof(self) -> None:
        self._writer.close()

    async def aclose(self) -> None:
        self._writer.close()
        await self._process.wait()

    def abort(self) -> None:
        if self._process.returncode is None:
            self._process.kill()


async def fetch(host: str, port: int, *command: str) -> bytes:
    async def dial() -> ByteStream:
        return CommandStream(await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE))

    async with Client("socks6://command", dial=dial) as client, await client.connect(host, port) as stream:
        await stream.send(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        await stream.send_eof()
        answer = bytearray()
        while data := await stream.receive():
            answer += data
        return bytes(answer)


if __name__ == "__main__":
    sys.stdout.buffer.write(asyncio.run(fetch(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])))
