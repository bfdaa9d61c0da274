"""Username/password authentication (§ Username/Password Authentication, RFC 1929): always 0-RTT."""

from dataclasses import field

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.message.codes import Method
from socks6.message.userpass import UsernamePassword, UsernamePasswordReply
from socks6.protocol.methods.base import ClientMethod, Credentials, ServerMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class UsernamePasswordCredentials(Credentials):
    """A name and a password, as bytes: the protocol knows no encoding."""

    username: bytes
    password: bytes = field(repr=False)

    @property
    @override
    def subject(self) -> bytes:
        """The user's name."""
        return self.username


class UsernamePasswordServer(ServerMethod):
    """The proxy's side."""

    @property
    @override
    def number(self) -> int:
        return Method.USERNAME_PASSWORD

    @override
    def receive_offer(self, data: bytes) -> UsernamePasswordCredentials:
        offer = UsernamePassword.decode(data)
        return UsernamePasswordCredentials(username=offer.username, password=offer.password)

    @override
    def reply_data(self, *, accepted: bool) -> bytes:
        return UsernamePasswordReply(status=0 if accepted else 1).encode()


class UsernamePasswordClient(ClientMethod):
    """The client's side. Raises ValueError for a name or password that RFC 1929 cannot carry."""

    def __init__(self, credentials: UsernamePasswordCredentials) -> None:
        self._offer = UsernamePassword(username=credentials.username, password=credentials.password).encode()

    @property
    @override
    def number(self) -> int:
        return Method.USERNAME_PASSWORD

    @override
    def offer(self) -> bytes:
        return self._offer
