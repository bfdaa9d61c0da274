"""Turns of the event loop for streams that always have bytes.

A read that finds bytes does not wait, and an event that a machine already has does not either: a peer that sends
faster than it is served would keep the loop to itself, timers and deadlines included. So every stream counts
what it gives without a wait, `receive` and `drive.next_event` count on it, and once it has given enough the loop
goes round first.
"""

import asyncio
from typing import Final

BUDGET: Final = 262_144  # bytes that one stream gives in one turn: four pieces
EVENT: Final = 32_768  # what one read or event counts for, besides its bytes: so eight of them make a turn


class Turns:
    """Counts one stream's bytes and events. `left` is what it may still give before the loop goes round.

    ::

        if turns.left <= 0:
            await turns.take()
        data = ...  # without waiting
        turns.left -= EVENT + len(data)

    The loop goes round before something is taken, not after: a call that is cancelled meanwhile loses nothing.
    """

    __slots__ = ("left",)

    def __init__(self, left: int = BUDGET) -> None:
        self.left = left

    def waited(self) -> None:
        """Renew the budget: the loop has gone round."""
        self.left = BUDGET

    async def take(self) -> None:
        """Let the loop go round."""
        self.left = BUDGET
        await asyncio.sleep(0)
