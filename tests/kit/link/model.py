"""What a link does to packets, without any packet: sizes and times in, times out."""

import random
from dataclasses import dataclass, fields
from typing import Final

QUEUE: Final = 256 * 1024
SHARES: Final = ("loss", "duplication", "reordering")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What happens to packets in one direction."""

    delay: float = 0.0  # seconds, to every packet
    jitter: float = 0.0  # up to so many seconds more, evenly spread; packets stay in their order
    loss: float = 0.0  # the share of packets that never arrives
    duplication: float = 0.0  # the share that arrives twice
    reordering: float = 0.0  # the share that is held back, so that later ones overtake
    holdback: float = 0.01  # seconds for which those are held back
    rate: float = 0.0  # bytes a second; 0 for as many as the machine can
    queue: int = QUEUE  # bytes that may wait for their turn; what comes when it is full is dropped

    def __post_init__(self) -> None:
        """Refuse what no link does."""
        for field in fields(self):
            value = getattr(self, field.name)
            most = 1.0 if field.name in SHARES else float("inf")
            if not 0 <= value <= most:
                raise ValueError(f"{field.name} {value}: must be from 0 to {most:g}")


@dataclass(slots=True, kw_only=True)
class Counts:
    """What became of the packets of one direction."""

    offered: int = 0
    lost: int = 0
    overflowed: int = 0
    duplicated: int = 0
    held_back: int = 0


class Direction:
    """Decides on each packet of one direction, in the order of their coming.

    What happens to the n-th packet depends on the random seed and n alone: it is the same whatever the conditions are,
    and however long it all takes.
    """

    def __init__(self, conditions: Conditions, seed: object) -> None:
        self.counts: Final = Counts()
        self._conditions: Final = conditions
        self._random: Final = random.Random(str(seed))
        self._sent_by = 0.0  # when what waits for its turn will have left
        self._latest = 0.0  # arrival of the latest packet that keeps its place

    def arrivals(self, size: int, now: float) -> tuple[float, ...]:
        """Return when a packet arrives that is sent now: once, twice, or never."""
        conditions, counts = self._conditions, self.counts
        lost, doubled, held, late = (self._random.random() for _ in range(4))
        counts.offered += 1
        left = self._left(size, now)
        if left is None:
            counts.overflowed += 1
            return ()
        if lost < conditions.loss:
            counts.lost += 1
            return ()
        arrival = left + conditions.delay + late * conditions.jitter
        if held < conditions.reordering:
            counts.held_back += 1
            arrival += conditions.holdback
        else:
            arrival = self._latest = max(arrival, self._latest)
        if doubled < conditions.duplication:
            counts.duplicated += 1
            return arrival, arrival
        return (arrival,)

    def _left(self, size: int, now: float) -> float | None:
        """Return when its last byte is on the wire; None if the queue is too full for it."""
        rate = self._conditions.rate
        if not rate:
            return now
        start = max(now, self._sent_by)
        if (start - now) * rate + size > self._conditions.queue:
            return None
        self._sent_by = start + size / rate
        return self._sent_by
