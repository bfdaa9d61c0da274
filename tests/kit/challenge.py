"""A private authentication method of two round trips, to prove that methods are plug-ins.

The server sends a challenge of 4 bytes, the client its name's length and name, the server another
challenge, the client 4 bytes for each challenge: the challenge xor 0xA5. Number 0x80 is for private methods.
"""

from dataclasses import dataclass

from typing_extensions import override

from socks6.errors import DecodeError
from socks6.protocol.methods.base import ClientMethod, Credentials, ServerMethod

NUMBER = 0x80
FIRST, SECOND = b"\x01\x02\x03\x04", b"\x0a\x0b\x0c\x0d"


def answer(challenge: bytes) -> bytes:
    """Return the proof for a challenge."""
    return bytes(byte ^ 0xA5 for byte in challenge)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengeCredentials(Credentials):
    """A name, and whether its owner answered rightly."""

    name: bytes
    right: bool


class ChallengeServer(ServerMethod):
    """The proxy's side."""

    def __init__(self) -> None:
        self._out = bytearray()
        self._in = bytearray()
        self._name = b""
        self._done = False

    @property
    @override
    def number(self) -> int:
        return NUMBER

    @property
    @override
    def slow(self) -> bool:
        return True

    @override
    def begin(self) -> None:
        self._out += FIRST

    @override
    def receive_offer(self, data: bytes) -> None:
        return None

    @override
    def receive_data(self, data: bytes) -> ChallengeCredentials | None:
        self._in += data
        if not self._name and self._in and len(self._in) > self._in[0]:
            if not self._in[0]:
                raise DecodeError("empty name")
            self._name = bytes(self._in[1 : 1 + self._in[0]])
            del self._in[: 1 + len(self._name)]
            self._out += SECOND
        if self._name and len(self._in) >= 8:
            right = self._in[:8] == answer(FIRST + SECOND)
            del self._in[:8]
            self._done = True
            return ChallengeCredentials(name=self._name, right=right)
        return None

    @override
    def data_to_send(self) -> bytes:
        data = bytes(self._out)
        self._out.clear()
        return data

    @override
    def bytes_wanted(self) -> int:
        if self._done:
            return 0
        if self._name:
            return 8 - len(self._in)
        return 1 + self._in[0] - len(self._in) if self._in else 1

    @override
    def unread(self) -> bytes:
        data = bytes(self._in)
        self._in.clear()
        return data

    @override
    def reply_data(self, *, accepted: bool) -> None:
        return None


class ChallengeClient(ClientMethod):
    """The client's side."""

    def __init__(self, name: bytes = b"alice", *, wrong: bool = False) -> None:
        self._name = name
        self._wrong = wrong
        self._out = bytearray()
        self._in = bytearray()
        self._named = False

    @property
    @override
    def number(self) -> int:
        return NUMBER

    @override
    def offer(self) -> None:
        return None

    @property
    @override
    def slow(self) -> bool:
        return True

    @override
    def begin(self) -> None:
        pass  # the server speaks first

    @override
    def receive_data(self, data: bytes) -> None:
        self._in += data
        if len(self._in) == 4 and not self._named:
            self._named = True
            self._out += bytes([len(self._name)]) + self._name
        if len(self._in) == 8:
            self._out += b"\x00" * 8 if self._wrong else answer(bytes(self._in))

    @override
    def data_to_send(self) -> bytes:
        data = bytes(self._out)
        self._out.clear()
        return data

    @override
    def bytes_wanted(self) -> int:
        return 4 - len(self._in) % 4 if len(self._in) < 8 else 0
