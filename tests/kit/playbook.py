"""Tests of machines, written as a conversation.

::

    play = Playbook(ServerConversation(...))
    play >> received("06 00 0000 0000 00 01 00000000")
    play << RequestReceived(request=NOOP, dialect=DRAFT_12)
    play.machine.authenticate()
    play << sent("06 00 0000")
"""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from socks6.protocol.machine import Machine

MachineT = TypeVar("MachineT", bound=Machine[Any])


@dataclass(frozen=True)
class Received:
    """Bytes arrive."""

    data: bytes


@dataclass(frozen=True)
class Elapsed:
    """The clock shows `now`."""

    now: float


@dataclass(frozen=True)
class Eof:
    """The peer's stream ends."""


@dataclass(frozen=True)
class Sent:
    """The machine wants these bytes written."""

    data: bytes


@dataclass(frozen=True)
class Unread:
    """The machine hands these bytes to the stream."""

    data: bytes


@dataclass(frozen=True)
class Nothing:
    """No event, and nothing to write."""


nothing = Nothing()
eof = Eof()


def received(*parts: str) -> Received:
    """Bytes in hex arrive."""
    return Received(bytes.fromhex("".join(parts)))


def sent(*parts: str) -> Sent:
    """Bytes in hex are to be written."""
    return Sent(bytes.fromhex("".join(parts)))


def unread(data: bytes) -> Unread:
    """Bytes belong to the stream."""
    return Unread(data)


class Playbook(Generic[MachineT]):
    """Plays the world to a machine: `>>` is what happens to it, `<<` is what it must do next."""

    def __init__(self, machine: MachineT) -> None:
        self.machine = machine
        self.now = 0.0

    def __rshift__(self, input: Received | Elapsed | Eof) -> "Playbook[MachineT]":  # noqa: A002
        """Let something happen."""
        match input:
            case Received(data):
                self.machine.receive_data(data, self.now)
            case Elapsed(now):
                self.now = now
                self.machine.handle_timeout(now)
            case Eof():
                self.machine.receive_eof(self.now)
        return self

    def __lshift__(self, expected: object) -> "Playbook[MachineT]":
        """Demand what the machine does next: an event, or bytes."""
        match expected:
            case Sent(data):
                assert self.machine.data_to_send().hex(" ") == data.hex(" ")
            case Unread(data):
                assert self.machine.unread() == data
            case Nothing():
                assert self.machine.next_event() is None
                assert self.machine.data_to_send() == b""
            case _:
                assert self.machine.next_event() == expected
        return self
