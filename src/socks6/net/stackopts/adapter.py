"""What a row of the table of stack options is made of."""

import contextlib
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from socks6.message.codes import Availability

TCP_FAMILIES: Final = frozenset((socket.AF_INET, socket.AF_INET6))
MAPPED: Final = "::ffff:"  # an IPv4 address within an IPv6 socket


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectFacts:
    """How a connection came to be: what its socket cannot tell."""

    raced: bool | None = None  # whether its addresses were raced; None where there is no such question
    syn_bytes: int = 0  # so many bytes went into its SYN


UNKNOWN_FACTS: Final = ConnectFacts()

Write: TypeAlias = Callable[[socket.socket, int], None]  # raises OSError
Read: TypeAlias = Callable[[socket.socket, ConnectFacts], int | None]  # None: no such thing on this socket


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketOptionAdapter:
    """How one stack option is set on a socket and read back."""

    value: str  # the option's field that is written and read
    read: Read
    write: Write | None = None  # None: no matter of a socket that is there already


class SocketOption(NamedTuple):
    """What setsockopt calls it."""

    level: int
    name: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IpSocketOption:
    """A setting that IPv4 and IPv6 call differently."""

    ipv4: SocketOption
    ipv6: SocketOption

    def write(self, sock: socket.socket, value: int) -> None:
        """Set it. Raises OSError."""
        if sock.family == socket.AF_INET:
            sock.setsockopt(*self.ipv4, value)
        elif sock.family == socket.AF_INET6:
            sock.setsockopt(*self.ipv6, value)
            with contextlib.suppress(OSError):  # for a peer with an IPv4 address
                sock.setsockopt(*self.ipv4, value)

    def read(self, sock: socket.socket, origin: ConnectFacts = UNKNOWN_FACTS) -> int | None:  # noqa: ARG002 - a Read
        """Return what is in force."""
        setting = self._setting(sock)
        if setting is None:
            return None
        try:
            return sock.getsockopt(*setting)
        except OSError as error:
            # MPTCP sockets neither set nor tell most of IP: then it is what every new socket has
            return _default(sock.family, setting) if error.errno == errno.EOPNOTSUPP else None

    def _setting(self, sock: socket.socket) -> SocketOption | None:
        if sock.family == socket.AF_INET:
            return self.ipv4
        if sock.family == socket.AF_INET6:
            return self.ipv4 if _carries_ipv4(sock) else self.ipv6
        return None


def availability(available: bool) -> int:
    """Return how the wire says yes and no."""
    return Availability.YES.value if available else Availability.NO.value


def is_tcp(sock: socket.socket) -> bool:
    """Tell TCP and MPTCP from other sockets."""
    return sock.family in TCP_FAMILIES and sock.type == socket.SOCK_STREAM


def race_outcome(sock: socket.socket, origin: ConnectFacts) -> int | None:  # noqa: ARG001 - a Read
    """Return whether the addresses were raced."""
    return None if origin.raced is None else availability(origin.raced)


def _carries_ipv4(sock: socket.socket) -> bool:
    try:
        return str(sock.getpeername()[0]).startswith(MAPPED)
    except OSError:  # not connected yet, or gone
        return False


def _default(family: int, setting: SocketOption) -> int:
    with socket.socket(family, socket.SOCK_STREAM) as fresh:
        return fresh.getsockopt(*setting)
