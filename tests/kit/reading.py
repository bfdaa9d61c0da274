"""Reading from streams in tests."""

from socks6.net.stream import ByteStream


async def receive_all(stream: ByteStream) -> bytes:
    """Return all bytes until the end of the stream."""
    data = bytearray()
    while piece := await stream.receive():
        data += piece
    return bytes(data)


async def receive_exactly(stream: ByteStream, size: int) -> bytes:
    """Return so many bytes; fewer if the stream ends before."""
    data = bytearray()
    while len(data) < size and (piece := await stream.receive(size - len(data))):
        data += piece
    return bytes(data)
