"""The events of a proxy for those who follow them: a ring that is filled while somebody does."""

import asyncio
import dataclasses
import itertools
import json
from collections import Counter, deque
from collections.abc import AsyncGenerator, Collection
from enum import Enum
from typing import Final

from socks6.admin.proxy import ProxyBridge
from socks6.compat import override
from socks6.telemetry import EVENTS, Event, Observer

RING: Final = 1000  # events kept
FOLLOWERS: Final = 16
PAUSE: Final = 0.1  # seconds between two looks for more
BATCH: Final = 100  # events given to a follower at a time: 1 000 a second
KEEP_ALIVE_SECONDS: Final = 15.0
KINDS: Final = {event.__name__: event for event in EVENTS}


class TooManyFollowers(Exception):
    """There are as many followers as may be."""


class EventFeed(Observer):
    """Keeps the last events that followers want. Without followers the proxy makes none for it.

    `observe` is called by the proxy's thread, all else by the admin interface's.
    """

    def __init__(self, bridge: ProxyBridge) -> None:
        self.wants: Collection[type[Event]] | None = ()  # set by the proxy's thread
        self._wanted: frozenset[type[Event]] = frozenset()
        self._bridge: Final = bridge
        self._ring: Final[deque[_Entry]] = deque(maxlen=RING)
        self._numbers: Final = itertools.count(1)
        self._last = 0
        self._followed: Final[Counter[type[Event]]] = Counter()
        self._followers = 0

    @override
    def observe(self, event: Event) -> None:
        number = next(self._numbers)
        self._ring.append(_Entry(number, event))
        self._last = number

    async def follow(
        self, kinds: Collection[type[Event]], after: int | None = None
    ) -> AsyncGenerator[str, None]:
        """Give the events of these kinds as server-sent events, those after number `after` first, if they are still known.

        A comment comes at once, and when there was no event for a while. What came faster than it was taken is counted in an
        event `Lost`. Raises TooManyFollowers.
        """
        if self._followers >= FOLLOWERS:
            raise TooManyFollowers
        self._followers += 1
        self._followed.update(kinds)
        # before any that is made for this follower: the proxy's thread does not wait for this one
        seen = self._last if after is None or after > self._last else max(0, after)
        try:
            self._settle()
            yield ": follows\n\n"
            silent = 0.0
            while True:
                text, seen = self._since(seen, kinds)
                silent = 0.0 if text else silent + PAUSE
                if text:
                    yield text
                elif silent >= KEEP_ALIVE_SECONDS:
                    silent = 0.0
                    yield ": nothing happened\n\n"
                await asyncio.sleep(PAUSE)
        finally:
            self._followers -= 1
            self._followed.subtract(kinds)
            self._settle()

    def _since(self, seen: int, kinds: Collection[type[Event]]) -> tuple[str, int]:
        """Return the next events after number `seen`, and the number of the last one of them."""
        if self._last <= seen:
            return "", seen
        entries = [entry for entry in list(self._ring) if entry.number > seen][:BATCH]
        if not entries:
            return "", seen
        lost = entries[0].number - seen - 1
        parts = [f'event: Lost\ndata: {{"count": {lost}}}\n\n'] if lost else []
        parts += [entry.text for entry in entries if type(entry.event) in kinds]
        return "".join(parts), entries[-1].number

    def _settle(self) -> None:
        """Want what is followed."""
        wants = frozenset(kind for kind, count in self._followed.items() if count)
        if wants != self._wanted:
            self._wanted = wants
            self._bridge.observe(self, wants)


class _Entry:
    """An event, and what followers get of it, made for the first of them."""

    __slots__ = ("_text", "event", "number")

    def __init__(self, number: int, event: Event) -> None:
        self.number = number
        self.event = event
        self._text = ""

    @property
    def text(self) -> str:
        if not self._text:
            words = json.dumps(fields_of(self.event), ensure_ascii=False)
            self._text = f"id: {self.number}\nevent: {type(self.event).__name__}\ndata: {words}\n\n"
        return self._text


def fields_of(event: Event) -> dict[str, object]:
    """Return the fields of an event as JSON has them: an ending by its value, an exception in words."""
    fields: dict[str, object] = {}
    for field in dataclasses.fields(event):
        value = getattr(event, field.name)
        match value:
            case Enum():
                value = value.value
            case BaseException():
                value = f"{type(value).__name__}: {value}"
            case str() | int() | float() | None:
                pass
            case _:
                value = (
                    dataclasses.asdict(value)
                    if dataclasses.is_dataclass(value) and not isinstance(value, type)
                    else str(value)
                )
        fields[field.name] = value
    return fields
