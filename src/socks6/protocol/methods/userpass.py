"""Username/password authentication (§ Username/Password Authentication, RFC 1929): always 0-RTT."""

from dataclasses import dataclass, field

from socks6.protocol.methods.base import Credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class UsernamePasswordCredentials(Credentials):
    """A name and a password, as bytes: the protocol knows no encoding."""

    username: bytes
    password: bytes = field(repr=False)
