"""What streams without facts of their own answer."""

import asyncio

import pytest

from socks6.errors import LocalProtocolError
from socks6.net.stream import ByteStream, check_idle
from tests.kit.loops import Run


class Plain(ByteStream):
    """A stream of somebody's own."""


def test_a_stream_without_facts_has_answers() -> None:
    stream = Plain()  # type: ignore[abstract]  # the rest is not called
    assert stream.attribute(int) is None
    assert (stream.unacknowledged, stream.was_reset(), stream.turns.left) == (0, False, 0)
    stream.stop_receiving()


def test_one_task_at_a_time_waits(run: Run) -> None:
    async def main() -> None:
        check_idle(None, "busy")
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with pytest.raises(LocalProtocolError, match="busy"):
            check_idle(waiter, "busy")
        waiter.cancel()
        check_idle(waiter, "busy")

    run(main())
