"""A client of HTTP/3 as small as can be, of either QUIC library."""

import asyncio
import importlib
from typing import Any


def http3_client(library: str) -> Any:
    """Return a protocol class: `await protocol.get(authority, path)` is the body of a response."""
    protocol: Any = importlib.import_module(f"{library}.asyncio.protocol").QuicConnectionProtocol
    h3: Any = importlib.import_module(f"{library}.h3.connection")
    events: Any = importlib.import_module(f"{library}.h3.events")

    class Http3(protocol):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **settings)
            self._http = h3.H3Connection(self._quic)
            self._bodies: dict[int, bytes] = {}
            self._ended: dict[int, asyncio.Future[bytes]] = {}

        async def get(self, authority: str, path: str) -> bytes:
            stream = self._quic.get_next_available_stream_id()
            self._bodies[stream] = b""
            self._ended[stream] = asyncio.get_running_loop().create_future()
            fields = (("method", "GET"), ("scheme", "https"), ("authority", authority), ("path", path))
            self._http.send_headers(
                stream, [(f":{name}".encode(), value.encode()) for name, value in fields], end_stream=True
            )
            self.transmit()
            return await self._ended[stream]

        def quic_event_received(self, event: Any) -> None:
            for found in self._http.handle_event(event):
                if isinstance(found, events.DataReceived):
                    self._bodies[found.stream_id] += found.data
                if isinstance(found, events.DataReceived | events.HeadersReceived) and found.stream_ended:
                    self._ended[found.stream_id].set_result(self._bodies[found.stream_id])

    return Http3
