"""Streams over TLS whose encrypted bytes are cut, spoiled or invented on their way."""

import asyncio
import itertools

from hypothesis import given
from hypothesis import strategies as st

from socks6.net.stream import ByteStream
from socks6.net.transports.tls import TlsStream
from tests.kit.joined import tls_pair
from tests.kit.loops import Run
from tests.kit.strategies import examples

DATA = bytes(range(256)) * 300  # several records


def encrypted(client: TlsStream) -> bytes:
    """Return what a client sends, without sending it."""
    conversation = client.session
    conversation.tls.write(DATA)
    return conversation.outgoing.read()


async def received(stream: ByteStream) -> tuple[bytes, OSError | None]:
    """Return what arrives, and what went wrong then."""
    data = b""
    try:
        async with asyncio.timeout(5.0):
            while piece := await stream.receive():
                data += piece
    except OSError as error:
        return data, error
    return data, None


@examples(40)
@given(st.lists(st.integers(1, len(DATA)), max_size=20))
def test_bytes_arrive_whole_however_they_are_cut(cuts: list[int]) -> None:
    async def play() -> None:
        client, server = tls_pair()
        assert isinstance(client, TlsStream)
        whole = encrypted(client)
        places = [0, *sorted(cuts), len(whole)]

        async def trickle() -> None:
            for start, end in itertools.pairwise(places):
                await client.beneath.send(whole[start:end])
            await client.send_eof()

        async with asyncio.TaskGroup() as group:
            group.create_task(trickle())
            assert await received(server) == (DATA, None)
        client.abort()
        server.abort()

    Run("asyncio")(play())


@examples(60)
@given(st.data())
def test_what_was_spoiled_is_never_taken_for_the_clients(data: st.DataObject) -> None:
    async def play() -> None:
        client, server = tls_pair()
        assert isinstance(client, TlsStream)
        whole = bytearray(encrypted(client))
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] ^= data.draw(st.integers(1, 255))
        async with asyncio.TaskGroup() as group:
            group.create_task(_send_and_end(client, bytes(whole)))
            got, error = await received(server)
        assert DATA.startswith(got)
        assert isinstance(error, OSError)
        client.abort()
        server.abort()

    Run("asyncio")(play())


@examples(60)
@given(st.binary(max_size=400))
def test_invented_bytes_give_no_data(invented: bytes) -> None:
    async def play() -> None:
        client, server = tls_pair()
        assert isinstance(client, TlsStream)
        async with asyncio.TaskGroup() as group:
            group.create_task(_send_and_end(client, invented))
            got, error = await received(server)
        assert got == b""
        assert isinstance(error, OSError)
        client.abort()
        server.abort()

    Run("asyncio")(play())


async def _send_and_end(client: TlsStream, data: bytes) -> None:
    try:
        await client.beneath.send(data)
        await client.beneath.send_eof()
    except OSError:  # the server has had enough
        pass
