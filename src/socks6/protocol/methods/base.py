"""The shape of an authentication method on either side of a conversation.

A method is a small machine. On the server it turns what a client offers into `Credentials` and is told
whether they hold; on the client it writes the offer and judges the answer. It may take several round trips
("slow" authentication, § Authentication Replies): then its bytes travel on the stream between the two
Authentication Replies.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from socks6.message.codes import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a client offers as proof; each method has a subclass of its own, whose repr shows no secret."""

    @property
    def subject(self) -> bytes | None:
        """Whom it is to prove, for counting the proofs that fail; None where that is not told."""
        return None


class ServerMethod(Protocol):
    """One method, for one client, on the server."""

    @property
    def number(self) -> int:
        """The method's number as assigned by IANA."""

    @property
    def slow(self) -> bool:
        """Whether the method can be carried out after the request, on the stream."""

    def begin(self) -> None:
        """The method was selected: slow authentication starts. May queue bytes."""

    def receive_offer(self, data: bytes) -> Credentials | None:
        """Take the body of an Authentication Data option; None if it proves nothing."""

    def receive_data(self, data: bytes) -> Credentials | None:
        """Take bytes of the slow exchange; return the credentials once they are whole.

        Raises DecodeError when the bytes cannot be the method's.
        """

    def data_to_send(self) -> bytes:
        """Return the bytes of the slow exchange to write, and forget them."""

    def bytes_wanted(self) -> int:
        """Return how many bytes at least the slow exchange needs next; 0 when it is over."""

    def unread(self) -> bytes:
        """Return, and forget, bytes received past the end of the slow exchange: the stream's."""

    def reply_data(self, *, accepted: bool) -> bytes | None:
        """Return the Authentication Data body of the closing Authentication Reply; None for none."""


class ClientMethod(Protocol):
    """One method, for one conversation, on the client."""

    @property
    def number(self) -> int:
        """The method's number as assigned by IANA."""

    def offer(self) -> bytes | None:
        """Return the Authentication Data body for the request (0-RTT); None if there is none."""

    @property
    def slow(self) -> bool:
        """Whether the method can be carried out after the request: then it is advertised."""

    def begin(self) -> None:
        """The proxy selected the method. May queue bytes."""

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the slow exchange. Raises DecodeError when they cannot be the method's."""

    def data_to_send(self) -> bytes:
        """Return the bytes of the slow exchange to write, and forget them."""

    def bytes_wanted(self) -> int:
        """Return how many bytes at least the slow exchange needs next; 0 when it is over."""


def check_methods(numbers: Collection[int]) -> None:
    """Raise ValueError if one is there twice, or is the banned one (§ SSL Authentication)."""
    if Method.SSL in numbers:
        raise ValueError("method 6, SSL, is banned: use SOCKS over TLS")
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"two authentication methods of one number: {sorted(numbers)}")
