"""Many tasks share a client, against a proxy that forgets, refuses, lags and loses connections as it likes."""

import asyncio
from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from typing_extensions import override

from socks6.client.client import Client
from socks6.client.stream import ProxiedStream
from socks6.errors import ProxyUnreachable, TokenRejected
from socks6.message.codes import Command
from socks6.message.options import (
    AuthenticationData,
    IdempotenceExpenditure,
    SessionId,
    SessionRequest,
    find,
)
from socks6.net.stream import ByteStream
from tests.kit.memory import memory_stream_pair
from tests.kit.session_proxy import SessionProxy

TURNS = 30  # of the loop, after which all is said that can be said for now


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time can be moved on."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    @override
    def time(self) -> float:
        return super().time() + self.passed


class Lagging(SessionProxy):
    """Answers each request when it is told to."""

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        self.waiting: list[asyncio.Future[None]] = []

    @override
    async def turn(self) -> None:
        self.waiting.append(asyncio.get_running_loop().create_future())
        await self.waiting[-1]


class Sharing(RuleBasedStateMachine):
    """Each call has a port of its own, by which the proxy can tell it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = Clock()
        self.calls: dict[int, asyncio.Task[None]] = {}
        self.serving: set[asyncio.Task[None]] = set()
        self.loop.run_until_complete(self.begin())

    async def begin(self) -> None:
        self.proxy = Lagging(window=4)

        async def dial() -> ByteStream:
            ours, theirs = memory_stream_pair()
            task = self.loop.create_task(self.proxy.serve(theirs))
            self.serving.add(task)
            task.add_done_callback(self.serving.discard)
            return ours

        self.client = Client("socks6://alice:secret@memory", dial=dial, timeout=1e6)

    async def call(self, port: int, idempotent: bool) -> None:
        data = port.to_bytes(2, "big")
        try:
            stream = await self.client.connect("a.example", port, initial_data=data, idempotent=idempotent)
        except (ProxyUnreachable, TokenRejected):
            return
        await self.see_once(stream, port, data)

    async def see_once(self, stream: ProxiedStream, port: int, data: bytes) -> None:
        await stream.send_eof()
        (end,) = [
            end for end, request in zip(self.proxy.ends, self.proxy.ran, strict=True) if request.port == port
        ]
        assert await end.receive() == data
        assert await end.receive() == b""
        stream.abort()

    def settle(self) -> None:
        async def turns() -> None:
            for _ in range(TURNS):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    @rule(idempotent=st.booleans())
    def start(self, idempotent: bool) -> None:
        port = len(self.calls) + 1
        self.calls[port] = self.loop.create_task(self.call(port, idempotent))
        self.settle()

    @precondition(lambda self: self.proxy.waiting)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.proxy.waiting) - 1))
        self.proxy.waiting.pop(at).set_result(None)
        self.settle()

    @precondition(lambda self: self.proxy.waiting)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.proxy.waiting) - 1))
        self.proxy.waiting.pop(at).set_exception(ConnectionResetError())
        self.settle()

    @rule()
    def forget(self) -> None:
        self.proxy.sessions.clear()

    @rule(grants=st.booleans(), knows=st.booleans(), late=st.booleans(), window=st.sampled_from([0, 1, 4]))
    def change(self, grants: bool, knows: bool, late: bool, window: int) -> None:
        self.proxy.grants, self.proxy.knows_sessions = grants, knows
        self.proxy.late_id, self.proxy.window = late, window

    @rule(rejects=st.integers(0, 3), invalidates=st.integers(0, 3))
    def refuse(self, rejects: int, invalidates: int) -> None:
        self.proxy.rejects, self.proxy.invalidates = rejects, invalidates

    @rule(seconds=st.sampled_from([0.5, 30.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.loop.passed += seconds

    @invariant()
    def no_token_is_sent_twice(self) -> None:
        sent = Counter(
            (session.id, spent.token)
            for request in self.proxy.asked
            if (session := find(request.options, SessionId))
            and (spent := find(request.options, IdempotenceExpenditure))
        )
        assert all(times == 1 for times in sent.values())

    @invariant()
    def no_call_runs_twice(self) -> None:
        ran = Counter(request.port for request in self.proxy.ran if request.command == Command.CONNECT)
        assert all(times == 1 for times in ran.values())

    @invariant()
    def requests_are_within_a_session_or_carry_credentials(self) -> None:
        for request in self.proxy.asked:
            within = find(request.options, SessionId) is not None
            assert within is (find(request.options, AuthenticationData) is None)
            assert not (within and find(request.options, SessionRequest))

    @invariant()
    def no_call_asks_more_often_than_it_may(self) -> None:
        asked = Counter(request.port for request in self.proxy.asked if request.command == Command.CONNECT)
        assert all(times <= 3 for times in asked.values())

    @invariant()
    def nobody_failed_otherwise(self) -> None:
        for task in self.calls.values():
            if task.done():
                task.result()

    @override
    def teardown(self) -> None:
        """Be honest at last: whoever still waits gets through, and a new call does too."""
        self.proxy.knows_sessions = self.proxy.grants = True
        self.proxy.rejects = self.proxy.invalidates = 0
        self.start(idempotent=True)
        last = self.calls[len(self.calls)]
        while self.proxy.waiting:
            self.proxy.waiting.pop(0).set_result(None)
            self.settle()
        assert all(task.done() for task in self.calls.values())
        last.result()
        assert sum(request.port == len(self.calls) for request in self.proxy.ran) == 1
        assert not self.serving
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


TestSharing = Sharing.TestCase
