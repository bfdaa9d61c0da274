"""Places that were bound for a client, where whoever the test wants arrives."""

import asyncio

from typing_extensions import override

from socks6.errors import GeneralFailure, OperationFailed
from socks6.message.options import StackOption
from socks6.net.stream import AcceptedPeer, Binding, ByteStream, Endpoint
from tests.kit.memory import memory_stream_pair

BOUND = Endpoint("192.0.2.1", 4711)
PEER = Endpoint("192.0.2.77", 7777)


class ScriptedBinding(Binding):
    """Hears of peers from the test."""

    def __init__(
        self, *, bound: Endpoint = BOUND, options: tuple[StackOption, ...] = (), backlog: int = 0
    ) -> None:
        self._bound = bound
        self._options = options
        self._backlog = backlog
        self._arrived: asyncio.Queue[AcceptedPeer | OperationFailed] = asyncio.Queue()
        self.closed = False

    @property
    @override
    def bound(self) -> Endpoint:
        return self._bound

    @property
    @override
    def options(self) -> tuple[StackOption, ...]:
        return self._options

    @property
    @override
    def backlog(self) -> int:
        return self._backlog

    @override
    async def accept(self) -> AcceptedPeer:
        outcome = await self._arrived.get()
        if isinstance(outcome, OperationFailed):
            raise outcome
        return outcome

    @override
    async def aclose(self) -> None:
        self.closed = True
        self._arrived.put_nowait(GeneralFailure("closed"))

    def arrive(self, peer: Endpoint = PEER, *options: StackOption) -> ByteStream:
        """Have somebody connect; return the end that is his."""
        near, far = memory_stream_pair()
        self._arrived.put_nowait(AcceptedPeer(stream=near, peer=peer, options=options))
        return far

    def fail(self, failure: OperationFailed) -> None:
        """Have waiting fail."""
        self._arrived.put_nowait(failure)

    @property
    def waiting(self) -> int:
        """How many have come and were not accepted."""
        return self._arrived.qsize()
