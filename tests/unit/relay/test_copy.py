"""Copying between streams without sockets; `relay.streams` and the properties of relays run it, too."""

import asyncio

from socks6.net.stream import ByteStream
from socks6.relay.copy import CopiedStreams
from socks6.relay.joined import DirectionState
from socks6.telemetry import Ending
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.streams import receive_all, receive_exactly, turns


def pairs() -> tuple[ByteStream, CopiedStreams, ByteStream]:
    """Return the client, the relay and the remote."""
    (client, ours), (theirs, remote) = memory_stream_pair(), memory_stream_pair()
    return client, CopiedStreams(ours, theirs), remote


def test_first_bytes_then_both_ways_then_the_end(run: Run) -> None:
    async def main() -> None:
        client, relay, remote = pairs()
        running = asyncio.create_task(relay.run(b"first "))
        await client.send(b"second")
        await client.send_eof()
        assert await receive_all(remote) == b"first second"
        await remote.send(b"answer")
        await remote.send_eof()
        assert await receive_all(client) == b"answer"
        await running
        assert (relay.ending, relay.bytes_up, relay.bytes_down) == (Ending.DONE, 12, 6)

    run(main())


def test_a_remote_that_takes_no_more_has_its_answer_passed_on_and_the_upload_read(run: Run) -> None:
    async def main() -> None:
        client, relay, remote = pairs()
        running = asyncio.create_task(relay.run(b""))
        remote.stop_receiving()
        await client.send(b"x" * 1_000_000)
        assert relay.up.state is DirectionState.DROPPING
        await remote.send(b"413")
        assert await receive_exactly(client, 3) == b"413"
        await remote.send_eof()
        await running
        assert (relay.ending, relay.bytes_down) == (Ending.RESET, 3)
        assert relay.reason.startswith("remote: ")

    run(main())


def test_a_client_that_resets_ends_both_tasks(run: Run) -> None:
    async def main() -> None:
        client, relay, remote = pairs()
        running = asyncio.create_task(relay.run(b""))
        await turns()
        client.abort()
        await running
        assert relay.up.state is relay.down.state is DirectionState.CUT
        assert (relay.ending, relay.reason.partition(":")[0]) == (Ending.RESET, "client")
        remote.abort()

    run(main())


def test_the_end_of_the_relay_ends_its_tasks(run: Run) -> None:
    async def main() -> None:
        client, relay, remote = pairs()
        running = asyncio.create_task(relay.run(b""))
        await turns()
        relay.expire("idle")
        await running
        assert relay.ending is Ending.IDLE
        client.abort()
        remote.abort()

    run(main())
