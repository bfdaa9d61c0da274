"""The optimistic mode: a client has been told success at once, and its first bytes go along with the request."""

import asyncio
from dataclasses import replace
from typing import Final

from socks6.errors import OperationFailed
from socks6.message.requests import MAX_INITIAL_DATA
from socks6.net.stream import ByteStream
from socks6.proxy.inbounds.base import Call, Engine, Tunnel

# A client near its converter speaks within a millisecond of its answer. Where the server speaks first, nobody
# does, and this is what is lost: less than anybody feels.
FIRST_BYTES_SECONDS: Final = 0.05


async def open_tunnel(stream: ByteStream, engine: Engine, call: Call) -> Tunnel | None:
    """Connect for a client that believes it is connected; where that fails, reset it and return None."""
    call = replace(call, first_data=call.first_data or await _first_bytes(stream))
    try:
        connection = await engine.connect(call)
    except OperationFailed:
        stream.abort()
        return None
    return Tunnel(remote=connection.stream, first=call.first_data[connection.first_data_sent :])


async def _first_bytes(stream: ByteStream) -> bytes:
    """Return what the client says soon; nothing if it waits for the server, or has ended its side."""
    try:
        async with asyncio.timeout(FIRST_BYTES_SECONDS):
            return await stream.receive(MAX_INITIAL_DATA)
    except TimeoutError:
        return b""
