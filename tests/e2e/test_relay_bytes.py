"""Relayed bytes arrive as they were sent: 64 MiB both ways at once, on every data path."""

import asyncio
import hashlib
import random
from typing import Final

import pytest

from socks6.net.stream import ByteStream
from socks6.net.transports.tcp import connect_tcp, listen_tcp
from socks6.relay.streams import RelaySettings
from socks6.telemetry import Ending
from tests.kit.footprint import Footprint
from tests.kit.forwarder import forwarding
from tests.kit.loops import Run
from tests.kit.streams import accept, until

SIZE: Final = 64 << 20
LARGEST_WRITE: Final = 300_000
CONNECTIONS: Final = 4
PATHS: Final = {
    "spliced": RelaySettings(),
    "without pipes": RelaySettings(pipes=0),
    "one pipe for all": RelaySettings(pipes=1),
    "copied": RelaySettings(splice=False),
}

pytestmark = pytest.mark.e2e


async def talk(stream: ByteStream, size: int, seed: int) -> str:
    """Send random bytes in pieces of all sizes, then the end; return their digest."""
    dice = random.Random(seed)
    digest = hashlib.sha256()
    block = dice.randbytes(LARGEST_WRITE)
    while size:
        start = dice.randrange(LARGEST_WRITE)
        piece = block[start : start + min(size, dice.choice((1, 100, 16384, LARGEST_WRITE)))]
        digest.update(piece)
        await stream.send(piece)
        size -= len(piece)
    await stream.send_eof()
    return digest.hexdigest()


async def listen(stream: ByteStream) -> str:
    """Receive to the end; return the digest."""
    digest = hashlib.sha256()
    while data := await stream.receive():
        digest.update(data)
    return digest.hexdigest()


@pytest.mark.parametrize("path", PATHS)
def test_bytes_arrive_as_they_were_sent_both_ways_at_once(run: Run, path: str) -> None:
    async def play() -> None:
        before = Footprint.of().descriptors
        (target,) = await listen_tcp("127.0.0.1", 0)
        async with forwarding(target.local.port, PATHS[path]) as forwarder:
            ends: list[tuple[ByteStream, ByteStream]] = []
            for _ in range(CONNECTIONS):
                client = await connect_tcp("127.0.0.1", forwarder.port)
                ends.append((client, await accept(target)))
            async with asyncio.TaskGroup() as group:
                talks = []
                for number, (left, right) in enumerate(ends):
                    for one, other in ((left, right), (right, left)):
                        said = group.create_task(talk(one, SIZE // CONNECTIONS, number))
                        talks.append((said, group.create_task(listen(other))))
            assert all(said.result() == heard.result() for said, heard in talks)
            await until(lambda: len(forwarder.results) == CONNECTIONS)
            assert {result.ending for result in forwarder.results} == {Ending.DONE}
            assert {result.bytes_up for result in forwarder.results} == {SIZE // CONNECTIONS}
            assert {result.bytes_down for result in forwarder.results} == {SIZE // CONNECTIONS}
            for pair in ends:
                for stream in pair:
                    await stream.aclose()
        await target.aclose()
        assert Footprint.of().descriptors <= before

    run(play())
