"""Names that datagrams are for: looked up once in a while, none of the other datagrams waiting for it."""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from socks6.net.resolve import Address, Resolver

KEPT_SECONDS: Final = 15.0  # answers, and failures, are used again for so long
MAX_NAMES: Final = 1024  # remembered; beyond, the oldest is forgotten
MAX_WAITING: Final = 32  # datagrams that wait for one name; beyond, the oldest is dropped

Waiter = Callable[[tuple[Address, ...]], None]


class _Answer(NamedTuple):
    addresses: tuple[Address, ...]  # none: the name leads nowhere
    until: float


class NameCache:
    """Answers for a short time, and who waits for one; within limits on everything."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._answers: dict[str, _Answer] = {}
        self._waiting: dict[str, list[Waiter]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def known(self, name: str, now: float) -> tuple[Address, ...] | None:
        """Return the addresses of a name, none if it has none; None if it must be looked up first."""
        answer = self._answers.get(name)
        if answer is None or now >= answer.until:
            return None
        return answer.addresses

    def look_up(self, name: str, waiter: Waiter) -> None:
        """Have `waiter` told the addresses of a name, some time later; none if it has none, or too many wait."""
        waiting = self._waiting.get(name)
        if waiting is None:
            if len(self._waiting) >= MAX_NAMES:
                waiter(())
                return
            self._waiting[name] = [waiter]
            task = asyncio.get_running_loop().create_task(self._resolve(name), name=f"look up {name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        waiting.append(waiter)
        if len(waiting) > MAX_WAITING:
            waiting.pop(0)(())

    async def aclose(self) -> None:
        """Look nothing up any more. Idempotent."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _resolve(self, name: str) -> None:
        addresses: tuple[Address, ...] = ()
        try:
            addresses = await self._resolver.resolve(name, 0)
        except OSError:
            pass  # also TimeoutError: the name leads nowhere, for now
        finally:
            waiting = self._waiting.pop(name)
        if len(self._answers) >= MAX_NAMES:
            del self._answers[next(iter(self._answers))]
        until = asyncio.get_running_loop().time() + KEPT_SECONDS
        self._answers[name] = _Answer(addresses, until)
        for waiter in waiting:
            waiter(addresses)
