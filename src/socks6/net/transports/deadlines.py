"""One timer of the event loop for any number of things that have a deadline each."""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

ItemT = TypeVar("ItemT", bound=Hashable)


class Deadlines(Generic[ItemT]):
    """Tells when an item's time has come. The loop's timer runs only while there is a deadline."""

    def __init__(self, due: Callable[[ItemT], None]) -> None:
        """`due` is called with each item once, when its time has come. To be made within the loop."""
        self._due = due
        self._loop: Final = asyncio.get_running_loop()
        self._order: Final = itertools.count()
        self._times: dict[ItemT, float] = {}
        self._heap: list[tuple[float, int, ItemT]] = []
        self._timer: asyncio.Handle | None = None
        self._rings_at = 0.0  # uvloop's handles do not tell it where the time was past already

    def __len__(self) -> int:
        """Return how many items have a deadline."""
        return len(self._times)

    def set(self, item: ItemT, when: float) -> None:
        """Give an item this deadline, of the loop's time, instead of any other."""
        if self._times.get(item) == when:
            return
        self._times[item] = when
        heapq.heappush(self._heap, (when, next(self._order), item))
        if len(self._heap) > 2 * len(self._times) + 64:  # mostly of deadlines that were set anew
            self._heap = [(when, next(self._order), item) for item, when in self._times.items()]
            heapq.heapify(self._heap)
        self._wind()

    def drop(self, item: ItemT) -> None:
        """Have an item no deadline any more. Idempotent."""
        self._times.pop(item, None)

    def close(self) -> None:
        """Call nobody any more. Idempotent."""
        self._times.clear()
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wind(self) -> None:
        """Have the timer run until the first deadline."""
        first = self._heap[0][0] if self._heap else None
        if self._timer is not None:
            if first is not None and self._rings_at <= first:
                return
            self._timer.cancel()
        self._timer = None
        if first is not None:
            self._rings_at = first
            self._timer = self._loop.call_at(first, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = self._loop.time() + 0.001  # loops' timers may be that much early
        while self._heap and self._heap[0][0] <= now:
            when, _, item = heapq.heappop(self._heap)
            if self._times.get(item) == when:
                del self._times[item]
                self._due(item)
        self._wind()
