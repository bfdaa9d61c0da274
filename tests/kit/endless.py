"""A stream that is never dry, and that fails whoever reads it without giving others a turn."""

import asyncio
import socket
from collections.abc import Callable

from typing_extensions import override

from socks6.net.sockets import SocketStream

MOST_STEPS = 64  # reads and writes within one turn of the loop; beyond, the test fails rather than hangs


class EndlessStream(SocketStream):
    """`more` gives the next bytes, without end; what is sent is swallowed.

    `turns_seen` counts turns of the event loop, `longest` is how many reads and writes came in one of them, and
    `most_bytes` how many bytes were read in one.
    """

    def __init__(self, more: Callable[[], bytes]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._peer = socket.create_connection(listener.getsockname())
            super().__init__(listener.accept()[0])
        self._more = more
        self._ready = b""
        self._steps = 0
        self._bytes = 0
        self.turns_seen = 0
        self.longest = 0
        self.most_bytes = 0
        self._tick()

    @override
    def receive_nowait(self, max_bytes: int) -> bytes | None:
        if self.raw_socket.fileno() < 0:
            raise OSError("closed")
        self._step()
        while len(self._ready) < max_bytes:
            self._ready += self._more()
        data, self._ready = self._ready[:max_bytes], self._ready[max_bytes:]
        self._bytes += len(data)
        return data

    @override
    def send_nowait(self, data: bytes | memoryview) -> int:
        self._step()
        return len(data)

    @override
    def abort(self) -> None:
        self._peer.close()
        super().abort()

    def _step(self) -> None:
        self._steps += 1
        assert self._steps <= MOST_STEPS, "others got no turn"

    def _tick(self) -> None:
        self.turns_seen += 1
        self.longest = max(self.longest, self._steps)
        self.most_bytes = max(self.most_bytes, self._bytes)
        self._steps = self._bytes = 0
        if self.raw_socket.fileno() >= 0:
            asyncio.get_running_loop().call_soon(self._tick)
