"""What fuzz runs are made of: visits, many at a time, each with a randomness of its own; and their figures.

Everything of a run happens on one event loop. Each visit draws from a generator whose seed is the run's and the
visit's number, so that a run can be repeated.
"""

import asyncio
import contextlib
import dataclasses
import gc
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from typing_extensions import override

from socks6.telemetry import ConnectionEnded, Event, Observer, UnexpectedError
from tests.kit.footprint import Footprint

AT_ONCE: Final = 32  # visits under way
VISIT_SECONDS: Final = 2.0  # what a host or a visitor waits for the other's end of the stream
RESET: Final = struct.pack("ii", 1, 0)


class Tally(Observer):
    """Counts how connections end, and keeps the faults."""

    wants = (ConnectionEnded, UnexpectedError)

    def __init__(self) -> None:
        self.endings: Counter[str] = Counter()
        self.errors: list[BaseException] = []

    @override
    def observe(self, event: Event) -> None:
        match event:
            case ConnectionEnded():
                self.endings[f"ended {event.ending.value}"] += 1
            case UnexpectedError():
                self.errors.append(event.error)
            case _:
                pass


class Hosts:
    """Hosts on loopback, whose connections all end with them."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._listeners: list[socket.socket] = []

    def start(
        self, serve: Callable[[socket.socket], Awaitable[None]], *, seconds: float = VISIT_SECONDS
    ) -> int:
        """Have `serve` called for each connection at a port, which is returned; it gets so many seconds."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        listener.setblocking(False)
        self._listeners.append(listener)
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept, listener, serve, seconds)
        port: int = listener.getsockname()[1]
        return port

    def close(self) -> None:
        """Accept nothing more."""
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener.fileno())
            listener.close()

    def _accept(
        self, listener: socket.socket, serve: Callable[[socket.socket], Awaitable[None]], seconds: float
    ) -> None:
        with contextlib.suppress(OSError):
            sock, _ = listener.accept()
            sock.setblocking(False)
            self._group.create_task(self._serve(sock, serve, seconds))

    async def _serve(
        self, sock: socket.socket, serve: Callable[[socket.socket], Awaitable[None]], seconds: float
    ) -> None:
        with sock, contextlib.suppress(OSError):
            async with asyncio.timeout(seconds):
                await serve(sock)


class Dice:
    """Generators of randomness, one for each user, all following from the run's seed."""

    def __init__(self, seed: int) -> None:
        self.seed: Final = seed
        self._drawn = 0

    def next(self) -> random.Random:
        """Return the next one."""
        self._drawn += 1
        return random.Random(f"{self.seed} {self._drawn}")


@dataclasses.dataclass(kw_only=True)
class Figures:
    """What a run has to show."""

    visits: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = dataclasses.field(default_factory=Counter)
    before: Footprint  # when everything was closed before and again after the run
    warm: Footprint  # after the first tenth of the run
    late: Footprint  # at the end of it, all visitors gone, the servers still there
    after: Footprint
    objects_warm: int = 0
    objects_late: int = 0

    def finished(self) -> "Figures":
        """Take down what the process holds now, and return these figures."""
        gc.collect()
        self.after = Footprint.of()
        return self

    def check(self) -> None:
        """Nothing leaks."""
        assert self.after.descriptors <= self.before.descriptors, self
        assert self.late.memory < self.warm.memory + 48 * 2**20, self
        assert self.late.descriptors <= self.warm.descriptors + 40, self


async def footprint_before() -> Footprint:
    """Return what the process holds, with what an event loop holds for good once it has had a server."""
    async with await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0):
        pass
    gc.collect()
    return Footprint.of()


async def run_visits(
    visit: Callable[[random.Random], Awaitable[str]],
    dice: Dice,
    seconds: float,
    before: Footprint,
    check_well: Callable[[], Awaitable[None]],
) -> Figures:
    """Make visits, many at once, for so long; see in between and at the end that all is well."""
    begin = time.monotonic()
    figures = Figures(before=before, warm=before, late=before, after=before)
    phases = [0.1 * seconds, *(seconds * share for share in (0.25, 0.5, 0.75, 1.0))]
    for number, until in enumerate(phases):
        deadline = begin + until

        async def visitor(deadline: float = deadline) -> None:
            while time.monotonic() < deadline:
                figures.outcomes[await visit(dice.next())] += 1
                figures.visits += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(visitor())
        await check_well()
        gc.collect()
        figures.late, figures.objects_late = Footprint.of(), len(gc.get_objects())
        if number == 0:
            figures.warm, figures.objects_warm = figures.late, figures.objects_late
    figures.seconds = time.monotonic() - begin
    return figures


@contextlib.asynccontextmanager
async def no_task_left() -> AsyncIterator[None]:
    """Fail if tasks outlive the block."""
    yield
    await asyncio.sleep(0.05)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, left
