"""One timer of the event loop for any number of things that have a deadline each."""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

ItemT = TypeVar("ItemT", bound=Hashable)


class Deadlines(Generic[ItemT]):
    """Calls back when an item's time has come. The loop's timer runs only while there is a deadline."""

    def __init__(self, due: Callable[[ItemT], None]) -> None:
        """`due` is called with each item once, when its time has come. To be made within the loop."""
        self._due = due
        self._loop: Final = asyncio.get_running_loop()
        self._order: Final = itertools.count()
        self._times: dict[ItemT, tuple[float, int]] = {}
        self._items: dict[int, ItemT] = {}  # by the second of these: the heap keeps no item that was dropped
        self._heap: list[tuple[float, int]] = []
        self._timer: asyncio.Handle | None = None
        self._rings_at = 0.0  # uvloop's handles do not report it where the time was past already

    def __len__(self) -> int:
        """Return how many items have a deadline."""
        return len(self._times)

    def set(self, item: ItemT, when: float) -> None:
        """Give an item this deadline, of the loop's time, instead of any other."""
        if item in self._times and self._times[item][0] == when:
            return
        self.drop(item)
        entry = when, next(self._order)
        self._times[item] = entry
        self._items[entry[1]] = item
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._times) + 64:  # mostly of deadlines that were set anew
            self._heap = list(self._times.values())
            heapq.heapify(self._heap)
        self._wind()

    def drop(self, item: ItemT) -> None:
        """Remove an item's deadline. Idempotent."""
        entry = self._times.pop(item, None)
        if entry is not None:
            del self._items[entry[1]]

    def close(self) -> None:
        """Call back no more. Idempotent."""
        self._times.clear()
        self._items.clear()
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wind(self) -> None:
        """Set the timer for the first deadline."""
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
            _, order = heapq.heappop(self._heap)
            if order in self._items:
                item = self._items[order]
                self.drop(item)
                self._due(item)
        self._wind()
