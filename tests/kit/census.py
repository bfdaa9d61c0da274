"""What this process holds: descriptors, tasks, threads, and objects of ours by their kind."""

import asyncio
import gc
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

PATIENCE: Final = 40.0  # what ends by itself: a QUIC connection that nobody hears of any more after 30 s
REMEMBERED: Final = frozenset((  # what is kept on purpose, each up to a number: ids of sessions, ports, tickets, tokens
    "socks6.proxy.sessions.MemorySessionStore._gone",
    "socks6.proxy.backlog.BindingRegistry._drawn",
    "socks6.net.transports.quic.engine.TicketStore._tickets",
))  # fmt: skip
# uvloop 0.23 keeps a transport whose TLS handshake was cancelled early, and with it the transport's protocol
KEPT_BY_UVLOOP: Final = frozenset(("socks6.client.transport._ProtocolHandover",))
EXECUTORS: Final = "asyncio_", "uvloop_"  # names of threads of asyncio's and of uvloop's
TABLES: Final = (dict, list, set, deque, bytearray)


@dataclass(frozen=True, kw_only=True)
class Census:
    """Taken within an event loop, after a collection."""

    descriptors: int
    tasks: int
    threads: int
    objects: Counter[str]  # instances of our classes
    tables: Counter[str]  # what their containers hold in all, by class and attribute

    @classmethod
    def take(cls) -> "Census":
        """Count."""
        gc.collect()
        uvloop = type(asyncio.get_running_loop()).__module__.startswith("uvloop")
        ours_no_more = KEPT_BY_UVLOOP if uvloop else frozenset()
        objects: Counter[str] = Counter()
        tables: Counter[str] = Counter()
        for thing in gc.get_objects():
            kind = type(thing)
            if str(kind.__module__).startswith("socks6."):
                name = f"{kind.__module__}.{kind.__qualname__}"
                if name in ours_no_more:
                    continue
                objects[name] += 1
                for attribute, value in _attributes(thing):
                    if isinstance(value, TABLES) and f"{name}.{attribute}" not in REMEMBERED:
                        tables[f"{name}.{attribute}"] += len(value)
        return cls(
            descriptors=len(os.listdir("/proc/self/fd")),
            tasks=len(asyncio.all_tasks()),
            # those of the loop's own executor are so many at most
            threads=sum(not thread.name.startswith(EXECUTORS) for thread in threading.enumerate()),
            objects=objects,
            tables=tables,
        )

    def more_than(self, before: "Census", *, slack: int = 0) -> dict[str, int]:
        """Return what there is more of than before; of objects and in tables, more by more than `slack`."""
        grown = {
            name: more
            for name in ("descriptors", "tasks", "threads")
            if (more := getattr(self, name) - getattr(before, name)) > 0
        }
        for now, then in ((self.objects, before.objects), (self.tables, before.tables)):
            grown |= {name: more for name in now if (more := now[name] - then[name]) > slack}
        return grown


async def settled(grown: Callable[[], dict[str, int]]) -> dict[str, int]:
    """Wait until nothing has grown; return what still has when there was time enough."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while (more := grown()) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0.05)
    return more


def _attributes(thing: object) -> Iterator[tuple[str, object]]:
    yield from getattr(thing, "__dict__", {}).items()
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            yield name, getattr(thing, name, None)
