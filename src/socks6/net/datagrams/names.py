"""DNS cache for datagram destinations; a lookup never delays datagrams to other hosts."""

import asyncio
import socket
from collections.abc import Callable, Hashable
from typing import Final, NamedTuple

from socks6.net.resolve import ResolvedAddress, Resolver
from socks6.net.shares import Shares

KEPT_SECONDS: Final = 15.0  # answers are used again for so long
FAILED_SECONDS: Final = 5.0  # and failures
MAX_NAMES: Final = 1024  # remembered, the oldest is forgotten; and looked up, by all holders together
MAX_WAITING_DATAGRAMS: Final = 32  # of one holder, for one name; beyond, the oldest is dropped

Waiter = Callable[[tuple[ResolvedAddress, ...]], None]


class _CachedName(NamedTuple):
    addresses: tuple[ResolvedAddress, ...]  # none: the name leads nowhere
    until: float


class NameCache:
    """Keeps answers for a short time, and datagrams that wait for one; everything is bounded."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._answers: dict[str, _CachedName] = {}
        self._shares = Shares(MAX_NAMES)  # of names that are looked up
        self._waiting: dict[tuple[Hashable, str], list[Waiter]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def known(self, name: str, now: float) -> tuple[ResolvedAddress, ...] | None:
        """Return the addresses of a name, none if it has none; None if it must be looked up first."""
        answer = self._answers.get(name)
        if answer is None or now >= answer.until:
            return None
        return answer.addresses

    def look_up(self, name: str, waiter: Waiter, *, holder: Hashable = None) -> None:
        """Look a name up, and call `waiter` with its addresses later; with none if it has none, or too many wait.

        A holder's lookups delay no other holder's, not even of the same names.
        """
        waiting = self._waiting.get((holder, name))
        if waiting is None:
            if not self._shares.may_take(holder):
                waiter(())
                return
            self._shares.take(holder)
            self._waiting[holder, name] = [waiter]
            task = asyncio.get_running_loop().create_task(self._resolve(name, holder), name=f"look up {name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        waiting.append(waiter)
        if len(waiting) > MAX_WAITING_DATAGRAMS:
            waiting.pop(0)(())

    async def aclose(self) -> None:
        """Look nothing up any more. Idempotent."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _resolve(self, name: str, holder: Hashable) -> None:
        addresses: tuple[ResolvedAddress, ...] = ()
        seconds = 0.0
        try:
            addresses = await self._resolver.resolve(name, 0, holder=holder)
            seconds = KEPT_SECONDS
        except (socket.gaierror, TimeoutError):
            seconds = FAILED_SECONDS  # the name leads nowhere, for now
        except OSError:
            pass  # the lookup was not made: nothing is known about the name
        finally:
            waiting = self._waiting.pop((holder, name))
            self._shares.give_back(holder)
        self._remember(name, addresses, seconds)
        for waiter in waiting:
            waiter(addresses)

    def _remember(self, name: str, addresses: tuple[ResolvedAddress, ...], seconds: float) -> None:
        if not seconds:
            return
        self._answers.pop(name, None)
        if len(self._answers) >= MAX_NAMES:
            del self._answers[next(iter(self._answers))]
        self._answers[name] = _CachedName(addresses, asyncio.get_running_loop().time() + seconds)
