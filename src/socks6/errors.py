"""Every exception that this package raises on purpose.

::

    Socks6Error
    ├── ConfigurationError (ValueError)        impossible URLs, files or arguments
    ├── LocalProtocolError                     a call that is not possible in this state
    ├── DecodeError (ValueError)               bytes that are no message
    ├── RemoteProtocolError                    the peer broke the protocol
    │   └── VersionMismatch                    the proxy speaks another version of SOCKS
    ├── AuthenticationFailed (PermissionError) the proxy refused our credentials
    ├── AuthenticationBusy                     credentials cannot be checked now, on the proxy's side
    ├── TokenRejected (ConnectionError)        the proxy may have carried the request out before
    ├── ProxyUnreachable (ConnectionError)     no usable connection to the proxy itself
    │   ├── ProxyTimedOut (TimeoutError)       the proxy itself does not answer in time
    │   └── TlsFailed                          no encrypted connection to it, or none any more
    │       └── CertificateRefused             its certificate is not trusted
    ├── DatagramTooLarge (OSError)             more data than a datagram through the proxy can hold
    ├── DatagramFailed (OSError)               an ICMP error came back for a datagram
    └── OperationFailed (OSError)              the operation failed; `code` says how
        ├── GeneralFailure                     01
        │   ├── UpstreamFailed                 01 of a proxy in a chain
        │   └── OutgoingAddressFailed          01 where a user's outgoing address cannot be used
        ├── NotAllowed (PermissionError)       02
        ├── NetworkUnreachable                 03
        ├── HostUnreachable                    04
        ├── ConnectionRefused (ConnectionRefusedError)    05
        ├── TtlExpired                         06
        ├── CommandNotSupported                07
        ├── AddressTypeNotSupported            08
        └── ConnectionTimedOut (TimeoutError)  09
"""

import errno
from typing import ClassVar, Final

from socks6.compat import override


class Socks6Error(Exception):
    """The root of every exception that this package raises on purpose."""


class ConfigurationError(Socks6Error, ValueError):
    """A URL, file or argument is impossible."""


class LocalProtocolError(Socks6Error):
    """A call that is not possible in this state: a fault of the caller, not of the peer."""


class DecodeError(Socks6Error, ValueError):
    """The bytes are no valid message of the kind that is expected."""


class RemoteProtocolError(Socks6Error):
    """The peer broke the protocol."""


class VersionMismatch(RemoteProtocolError):
    """The proxy speaks another version of SOCKS (§ Version Mismatch Replies)."""


class _NumberedError(Socks6Error, OSError):
    """An OSError whose text stands for itself; `errno` is its class's, unless the cause has another one."""

    default_errno: ClassVar[int] = errno.EIO

    def __init__(self, *words: object, errno: int | None = None) -> None:
        super().__init__(*words)
        self.errno = errno or self.default_errno


class AuthenticationFailed(_NumberedError, PermissionError):
    """The proxy refused the credentials, or accepts none of the authentication methods that the client has."""

    default_errno = errno.EACCES


class AuthenticationBusy(Socks6Error):
    """A server cannot verify credentials now: too many wait to be verified, the time limit has passed, or its authenticator failed.

    `is_fault` says that it is the last; the cause is what the authenticator has raised.
    """

    def __init__(self, reason: str, *, is_fault: bool = False) -> None:
        super().__init__(reason)
        self.is_fault: Final = is_fault


class TokenRejected(_NumberedError, ConnectionError):
    """The proxy rejected the request's token (§ Spending a token), and did not carry the request out this time.

    `Client` raises it where the network may have doubled the request (TCP Fast Open): the other copy may have spent
    the token, and been carried out. The caller decides whether to repeat the request.
    """

    default_errno = errno.ECONNABORTED


class ProxyUnreachable(_NumberedError, ConnectionError):
    """There is no connection to the proxy: it cannot be reached, or the connection broke.

    `unsent` says that nothing of the request has left this machine.
    """

    default_errno = errno.ECONNRESET

    def __init__(self, *words: object, errno: int | None = None, unsent: bool = False) -> None:
        super().__init__(*words, errno=errno)
        self.unsent = unsent


class ProxyTimedOut(ProxyUnreachable, TimeoutError):
    """The proxy itself did not answer within the call's time limit."""

    default_errno = errno.ETIMEDOUT


class TlsFailed(ProxyUnreachable):
    """TLS failed: the peer speaks no TLS or none that suits both sides, refuses our certificate, or broke off."""

    default_errno = errno.EPROTO


class CertificateRefused(TlsFailed):
    """The peer's certificate is absent, not trusted, expired, or for another name or key."""


class _OwnOsError(Socks6Error, OSError):
    """An OSError whose constructor takes other arguments; pickling and copying keep its attributes."""

    @override
    def __reduce__(self) -> tuple[object, ...]:  # OSError's own gives our constructors its two arguments
        return _restored, (type(self), self.args), vars(self)


def _restored(kind: type[_OwnOsError], args: tuple[object, ...]) -> _OwnOsError:
    error = kind.__new__(kind)
    OSError.__init__(error, *args)
    return error


class DatagramTooLarge(_OwnOsError):
    """A datagram holds more data than fits into one through the proxy: `size` bytes, of `limit` at most."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(errno.EMSGSIZE, f"a datagram of {size} bytes; at most {limit} fit")
        self.size: Final = size
        self.limit: Final = limit


_DATAGRAM_ERRORS: Final[dict[int, tuple[int, str]]] = {
    0x01: (errno.ENETUNREACH, "network unreachable"),
    0x02: (errno.EHOSTUNREACH, "host unreachable"),
    0x03: (errno.EHOSTUNREACH, "TTL expired"),  # as Linux has it of an ICMP time exceeded
    0x04: (errno.EMSGSIZE, "datagram too big"),
}


class DatagramFailed(_OwnOsError):
    """An ICMP error came back for a datagram to `host` and `port` (§ Reporting ICMP Errors).

    `code` is the error's (socks6.message.codes.DatagramErrorCode), and `errno` the matching number; `reporter` is
    the address of the host that sent it. All of it is as the proxy reports it, and may be spurious.
    """

    def __init__(self, *, host: str, port: int, code: int, reporter: str) -> None:
        number, words = _DATAGRAM_ERRORS.get(code, (errno.EIO, f"error {code}"))
        super().__init__(number, f"{words}: {reporter} reports it of a datagram to {host} port {port}")
        self.host: Final = host
        self.port: Final = port
        self.code: Final = code
        self.reporter: Final = reporter


class OperationFailed(_OwnOsError):
    """An operation failed with a reply code (§ Operation Replies); this class itself for codes without a subclass.

    `code` is the reply code that was received, or is to be sent; `reason` describes the failure in words.
    """

    default_code: ClassVar[int] = 0x01
    default_errno: ClassVar[int] = errno.EIO

    @override
    def __init_subclass__(cls, *, code: int = 0x01, errno: int = errno.EIO) -> None:
        cls.default_code, cls.default_errno = code, errno

    def __init__(self, reason: str, *, code: int | None = None) -> None:
        super().__init__(self.default_errno, reason)
        self.code: Final = self.default_code if code is None else code
        self.reason: Final = reason


class GeneralFailure(OperationFailed, code=0x01, errno=errno.EIO):
    """Reply 01: the proxy failed."""


class UpstreamFailed(GeneralFailure):
    """Reply 01: the proxy that this one goes through failed, which its `__cause__` explains; `reason` names no destination."""


class OutgoingAddressFailed(GeneralFailure):
    """Reply 01: a user's connections cannot go out from the address that they are to; `reason` names no destination."""


class NotAllowed(OperationFailed, PermissionError, code=0x02, errno=errno.EACCES):
    """Reply 02: the proxy's rules forbid it."""


class NetworkUnreachable(OperationFailed, code=0x03, errno=errno.ENETUNREACH):
    """Reply 03: there is no route to the network."""


class HostUnreachable(OperationFailed, code=0x04, errno=errno.EHOSTUNREACH):
    """Reply 04: there is no route to the host, or no host of that name."""


class ConnectionRefused(OperationFailed, ConnectionRefusedError, code=0x05, errno=errno.ECONNREFUSED):
    """Reply 05: the host refused."""


class TtlExpired(OperationFailed, code=0x06, errno=errno.EHOSTUNREACH):
    """Reply 06: the packets' TTL expired on the way; `reporter` is the address of the router that reported it, if known."""

    def __init__(self, reason: str, *, code: int | None = None, reporter: str | None = None) -> None:
        super().__init__(reason, code=code)
        self.reporter: Final = reporter


class CommandNotSupported(OperationFailed, code=0x07, errno=errno.EOPNOTSUPP):
    """Reply 07: the proxy does not support the command."""


class AddressTypeNotSupported(OperationFailed, code=0x08, errno=errno.EAFNOSUPPORT):
    """Reply 08: the proxy does not support addresses of this type."""


class ConnectionTimedOut(OperationFailed, TimeoutError, code=0x09, errno=errno.ETIMEDOUT):
    """Reply 09: the host did not answer in time. Also where TLS with the host, through the proxy, takes too long."""


_BY_CODE: Final = {failure.default_code: failure for failure in OperationFailed.__subclasses__()}


def operation_failure(code: int, reason: str) -> OperationFailed:
    """Return the exception for a reply code; an unknown code gives a plain `OperationFailed` that carries it."""
    return _BY_CODE.get(code, OperationFailed)(reason, code=code)
