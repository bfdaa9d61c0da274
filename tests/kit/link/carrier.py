"""The process that carries packets from one TUN device to another: each when the model says.

A process of its own, with nothing else to do, at the head of the scheduler's queue where that is allowed: so a
packet is late by some tens of microseconds, whatever the processes do whose packets these are.
"""

import contextlib
import ctypes
import gc
import heapq
import itertools
import json
import os
import select
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Final

from tests.kit.link.model import Conditions, Direction

LARGEST: Final = 65536
AT_ONCE: Final = 64  # packets of one device, before those of the other and those due
IN_FLIGHT: Final = 64 << 20  # bytes; what comes when there are more is dropped
NEIGHBOURS: Final = b"\xff\x02"  # IPv6 multicast on the link alone: hosts send it unasked, which would count
PR_SET_TIMERSLACK: Final = 29
SLACK: Final = 1000  # nanoseconds; 50 000 unless set


class Carrier:
    """Two devices, and the packets between them."""

    def __init__(self, devices: Sequence[int], directions: Sequence[Direction]) -> None:
        self._directions: Final = dict(zip(devices, directions, strict=True))
        self._opposite: Final = {devices[0]: devices[1], devices[1]: devices[0]}
        self._flying: Final[list[tuple[float, int, int, bytes]]] = []
        self._bytes = 0
        self._numbers: Final = itertools.count()

    def run(self, until: int) -> None:
        """Carry until there is something to read from a descriptor, or its end."""
        watched = [until, *self._directions]
        while True:
            wait = max(0.0, self._flying[0][0] - time.monotonic()) if self._flying else None
            readable, _, _ = select.select(watched, (), (), wait)
            if until in readable:
                return
            for device in readable:
                self._take(device)
            self._deliver()

    def _take(self, device: int) -> None:
        direction, opposite = self._directions[device], self._opposite[device]
        for packet in _packets(device):
            if packet[24:26] == NEIGHBOURS and packet[0] >> 4 == 6:
                continue
            for arrival in direction.arrivals(len(packet), time.monotonic()):
                if self._bytes + len(packet) <= IN_FLIGHT:
                    self._bytes += len(packet)
                    heapq.heappush(self._flying, (arrival, next(self._numbers), opposite, packet))

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._flying and self._flying[0][0] <= now:
            _, _, device, packet = heapq.heappop(self._flying)
            self._bytes -= len(packet)
            with contextlib.suppress(OSError):  # the device is down, or full
                os.write(device, packet)


def _packets(device: int) -> Iterator[bytes]:
    with contextlib.suppress(BlockingIOError, OSError):
        for _ in range(AT_ONCE):
            yield os.read(device, LARGEST)


def _be_prompt() -> None:
    gc.disable()
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, SLACK, 0, 0, 0)
    with contextlib.suppress(OSError):  # not everywhere may root do it
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def main() -> None:
    """Carry until standard input ends, then tell what became of the packets.

    Arguments: both devices' descriptors, both directions' conditions, the random seed; all JSON.
    """
    devices, conditions, seed = map(json.loads, sys.argv[1:])
    low = [os.dup(device) for device in devices]  # select() knows none above 1023
    for device in (*low, *devices):
        os.set_blocking(device, False)
    directions = [Direction(Conditions(**each), f"{seed} {number}") for number, each in enumerate(conditions)]
    _be_prompt()
    print("carrying", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        Carrier(low, directions).run(sys.stdin.fileno())
    print(json.dumps([asdict(direction.counts) for direction in directions]), flush=True)


if __name__ == "__main__":
    main()
