"""The shape of an authentication method on either side of a conversation.

A method is a small machine. On the server it turns what a client offers into `Credentials` and learns
whether they hold; on the client it writes the offer and judges the answer. It may take several round trips
("slow" authentication, § Authentication Replies): then its bytes travel on the stream between the two
Authentication Replies. Data of both sides may also be in Authentication Data options: of the request, of
the first reply beside the selection of the method, and of the closing reply (§ Authentication Data options). So a
challenge in the first reply needs no framing of its own on the stream. Options are padded with zeros, so that a method's
data has to show where it ends.

Yours inherits from these classes; what it has no use for has a default.
"""

from collections.abc import Collection
from typing import Final, Protocol

from socks6.dataclass import dataclass
from socks6.errors import LocalProtocolError
from socks6.message.codes import Method

NO_EXCHANGE: Final = "the method has no exchange of its own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a client offers as proof; each method has a subclass of its own, whose repr shows no secret."""

    @property
    def subject(self) -> bytes | None:
        """The user that it is to prove, for counting failures; None where that is not known."""
        return None


class AuthenticationMethod(Protocol):
    """What a method is on both sides. One without an exchange on the stream has the defaults."""

    @property
    def number(self) -> int:
        """The method's number as assigned by IANA."""

    @property
    def slow(self) -> bool:
        """Whether the method can be carried out after the request, on the stream: then clients advertise it."""
        return False

    def begin(self) -> None:
        """The method was selected: slow authentication starts. May queue bytes."""
        raise LocalProtocolError(NO_EXCHANGE)

    def data_to_send(self) -> bytes:
        """Return the bytes of the slow exchange to write, and forget them."""
        return b""

    def bytes_wanted(self) -> int:
        """Return how many bytes at least the slow exchange needs next; 0 when it is over."""
        return 0


class ServerMethod(AuthenticationMethod, Protocol):
    """One method, for one client, on the server."""

    def challenge_data(self) -> bytes | None:
        """Return the Authentication Data body of the reply that selects the method, after `begin`; None for none."""
        return None

    def receive_offer(self, data: bytes) -> Credentials | None:
        """Take the body of an Authentication Data option; None if it proves nothing by itself.

        If the method is selected then, it is this object that goes on, and may use the offer. Raises
        DecodeError for what cannot be the method's: that is taken for none.
        """

    def receive_data(self, data: bytes) -> Credentials | None:  # noqa: ARG002 - for slow ones
        """Take bytes of the slow exchange; return the credentials once they are whole.

        Raises DecodeError when the bytes cannot be the method's.
        """
        raise LocalProtocolError(NO_EXCHANGE)

    def unread(self) -> bytes:
        """Return, and forget, bytes received past the end of the slow exchange: the stream's."""
        return b""

    def reply_data(self, *, accepted: bool) -> bytes | None:  # noqa: ARG002 - for some
        """Return the Authentication Data body of the closing Authentication Reply; None for none."""
        return None


class ClientMethod(AuthenticationMethod, Protocol):
    """One method, for one conversation, on the client."""

    def offer(self) -> bytes | None:
        """Return the Authentication Data body for the request (0-RTT); None if there is none."""
        return None

    def receive_reply_data(self, data: bytes | None, *, accepted: bool | None) -> None:  # noqa: ARG002 - for some
        """Take the body of an Authentication Data option of a reply.

        `accepted` is None in the reply that selects the method, before `begin`; in the closing reply it is the
        verdict. `data` is None where the reply of a proxy that has selected the method carries none. Raises DecodeError
        for what the method does not accept: that ends the conversation, as a false proof of the proxy must.
        """
        return

    def receive_data(self, data: bytes) -> None:  # noqa: ARG002 - for slow ones
        """Take bytes of the slow exchange. Raises DecodeError when they cannot be the method's."""
        raise LocalProtocolError(NO_EXCHANGE)


def check_methods(numbers: Collection[int]) -> None:
    """Raise ValueError if one is there twice, or is the banned one (§ SSL Authentication)."""
    if Method.SSL in numbers:
        raise ValueError("method 6, SSL, is banned: use SOCKS over TLS")
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"two authentication methods of one number: {sorted(numbers)}")
