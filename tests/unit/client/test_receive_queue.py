"""Datagrams that wait to be received."""

from collections.abc import Sequence

import pytest
from typing_extensions import override

from socks6.client.receive_queue import (
    MAX_QUEUED_BYTES,
    MAX_QUEUED_DATAGRAMS,
    DatagramReceiver,
    ReceivedDatagram,
    ReceiveQueue,
)
from socks6.errors import DatagramFailed, ProxyUnreachable, Socks6Error
from socks6.net.stream import Endpoint
from tests.kit.loops import Run

SOURCE = Endpoint("192.0.2.5", 53)
FAILED = DatagramFailed(host="192.0.2.5", port=53, code=2, reporter="10.0.0.1")


class Listed(DatagramReceiver):
    """Lists what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    @override
    def datagrams_received(self, packets: Sequence[ReceivedDatagram]) -> None:
        self.told.extend(data for data, _ in packets)

    @override
    def error_received(self, error: DatagramFailed) -> None:
        self.told.append(error)

    @override
    def ended(self, error: Socks6Error) -> None:
        self.told.append(error)


def test_what_came_first_is_received_first_and_the_end_last(run: Run) -> None:
    async def scene() -> None:
        inbox = ReceiveQueue()
        inbox.datagrams_received([(b"1", SOURCE)])
        inbox.error_received(FAILED)
        inbox.datagrams_received([(b"2", SOURCE)])
        inbox.ended(ProxyUnreachable("over"))
        assert await inbox.receive() == (b"1", SOURCE)
        with pytest.raises(DatagramFailed):
            await inbox.receive()
        assert await inbox.receive() == (b"2", SOURCE)
        for _ in range(2):
            with pytest.raises(ProxyUnreachable):
                await inbox.receive()

    run(scene())


def test_the_oldest_goes_when_there_are_too_many(run: Run) -> None:
    async def scene() -> None:
        inbox = ReceiveQueue()
        for number in range(MAX_QUEUED_DATAGRAMS + 3):
            inbox.datagrams_received([(number.to_bytes(4), SOURCE)])
        assert inbox.dropped == 3
        assert await inbox.receive() == ((3).to_bytes(4), SOURCE)

    run(scene())


def test_the_oldest_goes_when_it_is_too_much(run: Run) -> None:
    async def scene() -> None:
        inbox = ReceiveQueue()
        inbox.error_received(FAILED)
        for number in range(6):
            inbox.datagrams_received([(bytes((number,)) * (MAX_QUEUED_BYTES // 4), SOURCE)])
        assert inbox.dropped == 3  # the error, and two datagrams
        assert (await inbox.receive())[0][0] == 2

    run(scene())


def test_all_of_it_may_be_handed_over(run: Run) -> None:
    async def scene() -> None:
        inbox, other = ReceiveQueue(), Listed()
        over = ProxyUnreachable("over")
        inbox.datagrams_received([(b"1", SOURCE)])
        inbox.error_received(FAILED)
        inbox.datagrams_received([(b"2", SOURCE)])
        inbox.ended(over)
        inbox.drain_to(other)
        assert other.told == [b"1", FAILED, b"2", over]

    run(scene())
