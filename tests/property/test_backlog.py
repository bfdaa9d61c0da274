"""Whoever connects to a port with a backlog is accepted once or let go, whatever happens in between."""

import asyncio
import contextlib
from collections import Counter
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from socks6.client.stream import ProxiedStream
from socks6.message.options import ListenBacklog
from tests.kit.calls import Call, Calls, calls

STEPS = st.lists(
    st.sampled_from(["peer", "late peer", "accept", "cancel", "time limit", "turn"]), max_size=40
)


class Scene:
    """A listener, and what has become of its peers."""

    def __init__(self, proxy: Calls) -> None:
        self.proxy = proxy
        self.ports = count(1)
        self.waiting: list[Call] = []  # accept-BINDs that were granted
        self.came: dict[int, Call] = {}  # peers by port
        self.accepting: list[asyncio.Task[ProxiedStream]] = []

    async def play(self, backlog: int, steps: list[str]) -> None:
        async with asyncio.TaskGroup() as group:
            binding = group.create_task(self.proxy.client.bind(backlog=backlog))
            first = await self.proxy.next()
            await first.reply("192.0.2.1", 4711, ListenBacklog(backlog=backlog))
            async with await binding as listener:
                for step in steps:
                    await self.grant()
                    if step == "accept":
                        self.accepting.append(group.create_task(listener.accept()))
                    else:
                        await self.take(step)
                    assert len(self.waiting) <= backlog
                await turn()
                for task in self.accepting:
                    task.cancel()
            await asyncio.wait([*self.accepting, group.create_task(turn())])
        await self.check()

    async def grant(self) -> None:
        while not self.proxy.nobody_calls:
            call = await self.proxy.next()
            await call.reply("192.0.2.1", 4711)
            self.waiting.append(call)

    async def take(self, step: str) -> None:
        if step == "cancel" and self.accepting:
            self.accepting[-1].cancel()
        elif step == "turn":
            await turn()
        elif self.waiting and step == "time limit":
            await self.waiting.pop(0).reply(code=9)
        elif self.waiting:
            call, port = self.waiting.pop(-1 if step == "late peer" else 0), next(self.ports)
            self.came[port] = call
            await call.reply("203.0.113.8", port)

    async def check(self) -> None:
        streams = [task.result() for task in self.accepting if not task.cancelled()]
        given_out = Counter(stream.peer.port for stream in streams)
        assert set(given_out) <= set(self.came)
        assert set(given_out.values()) <= {1}
        for stream in streams:
            await stream.send(b"here")
            assert await self.came[stream.peer.port].stream.receive() == b"here"
            stream.abort()
        for port in set(self.came) - set(given_out):  # let go, so that they are not left hanging
            with contextlib.suppress(ConnectionError):
                assert await self.came[port].stream.receive() == b""


async def turn() -> None:
    """Have everybody act who can."""
    for _ in range(20):
        await asyncio.sleep(0)


@given(st.integers(1, 3), STEPS)
def test_nobody_is_lost_or_given_out_twice(backlog: int, steps: list[str]) -> None:
    async def scene() -> None:
        async with asyncio.timeout(20), calls() as proxy:
            await Scene(proxy).play(backlog, steps)

    asyncio.run(scene())
