"""What rows of the registry have in common."""

import asyncio
from typing import cast

import pytest
from typing_extensions import override

from socks6.errors import ConfigurationError
from socks6.net.datagrams.shared import SharedPorts
from socks6.net.stream import ByteStream
from socks6.net.transports.base import Connector, StreamRequest, refuse_without_certificate, send_first
from socks6.net.transports.registry import TRANSPORTS
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.streams import receive_exactly


class Bare(Connector):
    """One that has nothing to keep."""

    @override
    async def open(self, request: StreamRequest) -> ByteStream:
        return memory_stream_pair()[0]


def test_first_bytes_are_sent_and_a_stream_that_takes_none_is_aborted(run: Run) -> None:
    async def main() -> None:
        left, right = memory_stream_pair(capacity=5)
        await send_first(left, b"first")
        assert await receive_exactly(right, 5) == b"first"
        await send_first(left, None)
        sending = asyncio.create_task(send_first(left, b"more than fits"))
        await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait([sending])
        with pytest.raises(OSError, match="closed"):
            await left.send(b"x")

    run(main())


def test_a_connector_with_nothing_to_keep_needs_no_more_than_open(run: Run) -> None:
    async def main() -> None:
        connector = Bare()
        connector.answered(await connector.open(StreamRequest(command=1)))
        connector.close()
        connector.abandon()
        await connector.aclose()

    run(main())


def test_without_a_certificate_nothing_listens(run: Run) -> None:
    async def main() -> None:
        refuse = refuse_without_certificate("socks6+tls://:1")
        with pytest.raises(ConfigurationError, match=r"socks6\+tls://:1 has no certificate"):
            await refuse(cast("SharedPorts", None))  # never looked at

    run(main())


def test_only_quic_is_multiplexed() -> None:
    assert {name for name, row in TRANSPORTS.items() if row.multiplexed} == {"quic"}
