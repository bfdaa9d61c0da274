"""A private authentication method of two stages, to prove that a challenge may come in the first reply.

The client names its user in the request's Authentication Data; the proxy's challenge, of 8 bytes, is in that of the first
Authentication Reply, beside the selection of the method; the client's answer, an HMAC under the user's secret, travels on
the stream; the closing reply's Authentication Data proves that the proxy knows the secret too. Zeros may follow each of
these in its option. Number 0x81.
"""

import hmac
from dataclasses import dataclass
from typing import Final

from typing_extensions import override

from socks6.errors import DecodeError
from socks6.protocol.methods.base import ClientMethod, Credentials, ServerMethod

NUMBER: Final = 0x81
CHALLENGE: Final = bytes.fromhex("01 02 03 04 05 06 07 08")
SECRETS: Final = {b"alice": b"secret"}
SIZE: Final = 32


def answer(secret: bytes, challenge: bytes) -> bytes:
    """Return the client's proof."""
    return hmac.digest(secret, b"client" + challenge, "sha256")


def counter_proof(secret: bytes, challenge: bytes) -> bytes:
    """Return the proxy's proof."""
    return hmac.digest(secret, b"proxy" + challenge, "sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoStageCredentials(Credentials):
    """A name, and whether its owner answered rightly."""

    name: bytes
    right: bool

    @property
    @override
    def subject(self) -> bytes:
        return self.name


class TwoStageServer(ServerMethod):
    """The proxy's side."""

    def __init__(self) -> None:
        self._name = b""
        self._in = bytearray()
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
        pass  # the challenge is no part of the stream

    @override
    def challenge_data(self) -> bytes:
        return CHALLENGE

    @override
    def receive_offer(self, data: bytes) -> None:
        if not 0 < data[0] < len(data):
            raise DecodeError("no name")
        self._name = data[1 : 1 + data[0]]

    @override
    def receive_data(self, data: bytes) -> TwoStageCredentials | None:
        self._in += data
        if len(self._in) < SIZE:
            return None
        right = self._in[:SIZE] == answer(SECRETS.get(self._name, b""), CHALLENGE)
        del self._in[:SIZE]
        self._done = True
        return TwoStageCredentials(name=self._name, right=right)

    @override
    def data_to_send(self) -> bytes:
        return b""

    @override
    def bytes_wanted(self) -> int:
        return 0 if self._done else SIZE - len(self._in)

    @override
    def unread(self) -> bytes:
        data = bytes(self._in)
        self._in.clear()
        return data

    @override
    def reply_data(self, *, accepted: bool) -> bytes | None:
        return counter_proof(SECRETS[self._name], CHALLENGE) if accepted else None


class TwoStageClient(ClientMethod):
    """The client's side."""

    def __init__(self, name: bytes = b"alice", secret: bytes = b"secret") -> None:
        self._name = name
        self._secret = secret
        self._challenge = b""
        self._out = b""
        self.told: list[tuple[bytes | None, bool | None]] = []

    @property
    @override
    def number(self) -> int:
        return NUMBER

    @override
    def offer(self) -> bytes:
        return bytes([len(self._name)]) + self._name

    @property
    @override
    def slow(self) -> bool:
        return True

    @override
    def receive_reply_data(self, data: bytes | None, *, accepted: bool | None) -> None:
        self.told.append((data, accepted))
        if accepted is None:
            if data is None or len(data) < len(CHALLENGE):
                raise DecodeError("no challenge")
            self._challenge = data[: len(CHALLENGE)]
        elif accepted and (data or b"")[:SIZE] != counter_proof(self._secret, self._challenge):
            raise DecodeError("the proxy does not know the secret")

    @override
    def begin(self) -> None:
        self._out = answer(self._secret, self._challenge)

    @override
    def receive_data(self, data: bytes) -> None:
        raise AssertionError("the proxy says nothing on the stream")

    @override
    def data_to_send(self) -> bytes:
        data, self._out = self._out, b""
        return data

    @override
    def bytes_wanted(self) -> int:
        return 0
