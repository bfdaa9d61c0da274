"""Notices clients that are gone while nobody reads their streams, and has what was begun for them given up."""

import asyncio
from collections.abc import Callable
from typing import Final

from socks6.net.stream import ByteStream

LOOK_SECONDS: Final = 0.25  # what a request of a client that is gone goes on at the most


class Presence:
    """Looks after clients whose requests are being carried out: one timer for all, none while there are no such.

    A client that has reset its stream is gone. One that only has ended its side is still served: it may be waiting
    for its answer.
    """

    def __init__(self) -> None:
        self._watched: Final[dict[int, tuple[ByteStream, Callable[[], None]]]] = {}
        self._looking = False

    def watch(self, key: int, stream: ByteStream, gone: Callable[[], None]) -> "Watch":
        """Call `gone`, once, should the stream be reset before the context ends."""
        self._watched[key] = stream, gone
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)
        return Watch(self, key)

    def forget(self, key: int) -> None:
        """Look after a client no more. Idempotent."""
        self._watched.pop(key, None)

    def _look(self) -> None:
        gone = [(key, call) for key, (stream, call) in self._watched.items() if stream.was_reset()]
        for key, call in gone:
            del self._watched[key]
            call()
        self._looking = bool(self._watched)
        if self._looking:
            asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)


class Watch:
    """A context at whose end a client is looked after no more."""

    __slots__ = ("_key", "_presence")

    def __init__(self, presence: Presence, key: int) -> None:
        self._presence = presence
        self._key = key

    def __enter__(self) -> None:
        """Do nothing more: it is looked after already."""

    def __exit__(self, *_: object) -> None:
        """Look after it no more."""
        self._presence.forget(self._key)
