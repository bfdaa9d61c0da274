"""What waits for a client that does not read the stream of its association."""

import asyncio

import pytest

from socks6.proxy.inbounds.socks6_associate import MAX_WAITING, Outbox
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.reading import receive_exactly


def test_messages_leave_in_their_order_and_confirmations_before_them(run: Run) -> None:
    async def scene() -> None:
        client, stream = memory_stream_pair()
        outbox = Outbox(stream)
        outbox.put(b"one")
        outbox.put(b"two")
        outbox.put_first(b"confirmed")
        sending = asyncio.create_task(outbox.run())
        assert await receive_exactly(client, 15) == b"confirmedonetwo"
        outbox.put(b"three")
        assert await receive_exactly(client, 5) == b"three"
        sending.cancel()
        await asyncio.wait([sending])

    run(scene())


def test_of_too_many_the_oldest_datagrams_go_and_no_confirmation(run: Run) -> None:
    async def scene() -> None:
        client, stream = memory_stream_pair()
        outbox = Outbox(stream)
        outbox.put_first(b"confirmed")
        size = MAX_WAITING // 4
        for number in range(6):
            outbox.put(bytes([number]) * size)
        sending = asyncio.create_task(outbox.run())
        assert await receive_exactly(client, 9) == b"confirmed"
        left = await receive_exactly(client, 4 * size)
        assert left == b"".join(bytes([number]) * size for number in range(2, 6))
        sending.cancel()
        await asyncio.wait([sending])

    run(scene())


def test_a_stream_that_breaks_ends_the_sending(run: Run) -> None:
    async def scene() -> None:
        client, stream = memory_stream_pair()
        client.abort()
        outbox = Outbox(stream)
        outbox.put(b"lost")
        with pytest.raises(ConnectionError):
            await outbox.run()

    run(scene())
