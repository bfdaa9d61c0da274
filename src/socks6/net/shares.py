"""A bound that many holders share, of which no single one can take all."""

import resource
from collections.abc import Hashable
from typing import Final

MOST_DESCRIPTORS: Final = 1 << 20  # what is counted on where the system sets no limit


class Shares:
    """Counts what is held of `total`, by holder.

    A holder may take one more while it holds less than what is free: a dynamic threshold (Choudhury and Hahne,
    "Dynamic Queue Length Thresholds", 1998). One that is alone gets half; n that take all they can get have
    1/(n + 1) each, and as much is left for the next one. So a newcomer finds something free as long as fewer
    than `total` others hold anything. Nothing has to be set for each holder.
    """

    def __init__(self, total: int) -> None:
        self.total: Final = total
        self.count = 0  # how much is held
        self._held: dict[Hashable, int] = {}

    def may_take(self, holder: Hashable) -> bool:
        """Return whether `holder` may take one more."""
        return self._held.get(holder, 0) < self.total - self.count

    def take(self, holder: Hashable) -> None:
        """Count one more of `holder`, which asked `may_take` before."""
        self._held[holder] = self._held.get(holder, 0) + 1
        self.count += 1

    def give_back(self, holder: Hashable) -> None:
        """Count out one that `holder` took."""
        self.count -= 1
        left = self._held[holder] - 1
        if left:
            self._held[holder] = left
        else:
            del self._held[holder]


def descriptor_limit() -> int:
    """Return how many descriptors this process may have open, as it is set now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else min(soft, MOST_DESCRIPTORS)
