"""Every exception raised on purpose.

::

    Socks6Error
    ├── ConfigurationError (ValueError)        what the user wrote: URLs, files, arguments
    ├── LocalProtocolError                     our caller used a machine out of turn
    ├── DecodeError (ValueError)               bytes that are no message
    ├── RemoteProtocolError                    the peer broke the protocol
    │   └── VersionMismatch                    the proxy speaks another version of SOCKS
    ├── AuthenticationFailed (PermissionError) the proxy refused our credentials
    ├── AuthenticationBusy                     credentials cannot be checked now, on the proxy's side
    ├── TokenRejected (ConnectionError)        the proxy may have carried the request out before
    ├── ProxyUnreachable (ConnectionError)     no usable connection to the proxy itself
    │   ├── ProxyTimedOut (TimeoutError)       the proxy itself does not answer in time
    │   └── TlsFailed                          no encrypted connection to it, or none any more
    │       └── CertificateRefused             its certificate is not what was asked for
    ├── DatagramTooLarge (OSError)             more data than a datagram through the proxy can hold
    ├── DatagramFailed (OSError)               an ICMP error came back for a datagram
    └── OperationFailed (OSError)              the operation failed; `code` says how
        ├── GeneralFailure                     01
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
from functools import partial
from typing import ClassVar, Final

from typing_extensions import override


class Socks6Error(Exception):
    """The root of every exception that this package raises on purpose."""


class ConfigurationError(Socks6Error, ValueError):
    """A URL, file or argument says something impossible."""


class LocalProtocolError(Socks6Error):
    """A machine was used out of turn: a fault of its caller, not of the peer."""


class DecodeError(Socks6Error, ValueError):
    """Bytes that are not the message they should be."""


class RemoteProtocolError(Socks6Error):
    """The peer broke the protocol."""


class VersionMismatch(RemoteProtocolError):
    """The proxy speaks another version of SOCKS (§ Version Mismatch Replies)."""


class AuthenticationFailed(Socks6Error, PermissionError):
    """The proxy refused our credentials, or accepts no method that we have."""


class AuthenticationBusy(Socks6Error):
    """Too many credentials wait to be checked, or the time for it is up: nothing is known of these."""


class TokenRejected(Socks6Error, ConnectionError):
    """The proxy rejected the request's token (§ Spending a token): this time nothing was done.

    `Client` raises it where the network may have doubled the request (TCP Fast Open): the token may have been
    spent by the other copy, which then was carried out. Whether to ask again is the caller's to say.
    """


class ProxyUnreachable(Socks6Error, ConnectionError):
    """No usable connection to the proxy: it could not be dialled, or went away too early."""


class ProxyTimedOut(ProxyUnreachable, TimeoutError):
    """The proxy itself did not answer in time."""


class TlsFailed(ProxyUnreachable):
    """TLS failed: the peer speaks none, nothing that suits both sides, refuses our certificate, or broke off."""


class CertificateRefused(TlsFailed):
    """The peer's certificate is not what was asked for: absent, unknown, outlived, of another name or key."""


class DatagramTooLarge(Socks6Error, OSError):
    """A datagram holds more data than can go through the proxy in one; `limit` is how many bytes can."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(errno.EMSGSIZE, f"a datagram of {size} bytes; at most {limit} fit")
        self.size: Final = size
        self.limit: Final = limit

    @override
    def __reduce__(self) -> tuple[object, ...]:  # as that of OperationFailed
        return type(self), (self.size, self.limit), vars(self)


_DATAGRAM_ERRORS: Final[dict[int, tuple[int, str]]] = {
    0x01: (errno.ENETUNREACH, "network unreachable"),
    0x02: (errno.EHOSTUNREACH, "host unreachable"),
    0x03: (errno.EHOSTUNREACH, "Ttl expired"),  # as Linux has it of an ICMP time exceeded
    0x04: (errno.EMSGSIZE, "datagram too big"),
}


class DatagramFailed(Socks6Error, OSError):
    """An ICMP error came back for a datagram to `host` and `port` (§ Reporting ICMP Errors).

    `code` is what it said (socks6.message.codes.DatagramErrorCode), also as `errno`; `reporter` is the address
    of the host that said so. All of it is as the proxy told it, and may be spurious.
    """

    def __init__(self, *, host: str, port: int, code: int, reporter: str) -> None:
        number, words = _DATAGRAM_ERRORS.get(code, (errno.EIO, f"error {code}"))
        super().__init__(number, f"{words}, says {reporter} of a datagram to {host} port {port}")
        self.host: Final = host
        self.port: Final = port
        self.code: Final = code
        self.reporter: Final = reporter

    @override
    def __reduce__(self) -> tuple[object, ...]:  # as that of OperationFailed
        return _datagram_failed, (type(self), self.host, self.port, self.code, self.reporter), vars(self)


def _datagram_failed(
    kind: type[DatagramFailed], host: str, port: int, code: int, reporter: str
) -> DatagramFailed:
    return kind(host=host, port=port, code=code, reporter=reporter)


class OperationFailed(Socks6Error, OSError):
    """An operation failed with a reply code (§ Operation Replies); any code that has no class of its own.

    `code` is the reply code that was received, or is to be sent; `reason` says why in words.
    """

    default_code: ClassVar[int] = 0x01
    default_errno: ClassVar[int] = errno.EIO

    def __init__(self, reason: str, *, code: int | None = None) -> None:
        super().__init__(self.default_errno, reason)
        self.code: Final = self.default_code if code is None else code
        self.reason: Final = reason

    @override
    def __reduce__(self) -> tuple[object, ...]:  # OSError's own would hand its two arguments to our one
        return partial(type(self), code=self.code), (self.reason,), vars(self)


class GeneralFailure(OperationFailed):
    """Reply 01: the proxy failed."""


class NotAllowed(OperationFailed, PermissionError):
    """Reply 02: the proxy's rules forbid it."""

    default_code = 0x02
    default_errno = errno.EACCES


class NetworkUnreachable(OperationFailed):
    """Reply 03: there is no way to the network."""

    default_code = 0x03
    default_errno = errno.ENETUNREACH


class HostUnreachable(OperationFailed):
    """Reply 04: there is no way to the host, or no host of that name."""

    default_code = 0x04
    default_errno = errno.EHOSTUNREACH


class ConnectionRefused(OperationFailed, ConnectionRefusedError):
    """Reply 05: the host refused."""

    default_code = 0x05
    default_errno = errno.ECONNREFUSED


class TtlExpired(OperationFailed):
    """Reply 06: the packets died on their way; `reporter` is the address of the router that said so, if known."""

    default_code = 0x06
    default_errno = errno.EHOSTUNREACH

    def __init__(self, reason: str, *, code: int | None = None, reporter: str | None = None) -> None:
        super().__init__(reason, code=code)
        self.reporter: Final = reporter


class CommandNotSupported(OperationFailed):
    """Reply 07: the proxy has no such command."""

    default_code = 0x07
    default_errno = errno.EOPNOTSUPP


class AddressTypeNotSupported(OperationFailed):
    """Reply 08: the proxy has no such addresses."""

    default_code = 0x08
    default_errno = errno.EAFNOSUPPORT


class ConnectionTimedOut(OperationFailed, TimeoutError):
    """Reply 09: the host did not answer in time."""

    default_code = 0x09
    default_errno = errno.ETIMEDOUT


_BY_CODE: Final[dict[int, type[OperationFailed]]] = {
    failure.default_code: failure
    for failure in (
        GeneralFailure,
        NotAllowed,
        NetworkUnreachable,
        HostUnreachable,
        ConnectionRefused,
        TtlExpired,
        CommandNotSupported,
        AddressTypeNotSupported,
        ConnectionTimedOut,
    )
}


def operation_failure(code: int, reason: str) -> OperationFailed:
    """Return the exception for a reply code; an unknown code gives a plain `OperationFailed` that carries it."""
    return _BY_CODE.get(code, OperationFailed)(reason, code=code)
