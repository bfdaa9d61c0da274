"""Stack options on a socket: set what can be set, tell what is in force, answer for both legs.

One row an option, of the system that this is: linux.py, fallback.py. No row: the option is not supported, and
left out of answers.
"""

import contextlib
import dataclasses
import socket
import sys
from collections.abc import Iterable, Mapping
from typing import Final

from socks6.message.codes import Leg
from socks6.message.options import StackOption
from socks6.net.stackopts import fallback, linux
from socks6.net.stackopts.adapter import UNKNOWN_FACTS, ConnectFacts, SocketOptionAdapter

ROWS: Final[Mapping[type[StackOption], SocketOptionAdapter]] = (
    linux.ROWS if sys.platform == "linux" else fallback.ROWS
)


def supported(option: StackOption) -> bool:
    """Return whether this system has what the option is about."""
    return type(option) in ROWS


def for_leg(options: Iterable[StackOption], leg: Leg) -> tuple[StackOption, ...]:
    """Return the supported options that are about `leg`, or about both."""
    return tuple(option for option in options if option.leg & leg and supported(option))


def apply_options(sock: socket.socket, wanted: Iterable[StackOption], leg: Leg) -> None:
    """Set on `sock` what is wanted of `leg`; what the kernel refuses is not in force, and no error."""
    for option in for_leg(wanted, leg):
        with contextlib.suppress(OSError):
            write(sock, option)


def effective_options(
    sock: socket.socket, wanted: Iterable[StackOption], leg: Leg, origin: ConnectFacts = UNKNOWN_FACTS
) -> tuple[StackOption, ...]:
    """Return the truth about each wanted option of `leg` that is supported, read back from a connected socket.

    Left out is what the socket has no notion of, as Unix sockets have none of a TTL. `origin` is what only
    who connected the socket can tell.
    """
    found = []
    for option in for_leg(wanted, leg):
        value = ROWS[type(option)].read(sock, origin)
        if value is not None:
            found.append(_changed(option, leg, value))
    return tuple(found)


def merge_legs(near: Iterable[StackOption], far: Iterable[StackOption]) -> tuple[StackOption, ...]:
    """Return one answer for the options in force on the client's leg and on the remote's.

    Where both legs agree, one option says so for both (§ Stack options: nothing twice).
    """
    left = list(far)
    merged = []
    for option in near:
        twin = dataclasses.replace(option, leg=Leg.PROXY_REMOTE.value)
        if twin in left:
            left.remove(twin)
            merged.append(dataclasses.replace(option, leg=Leg.BOTH.value))
        else:
            merged.append(option)
    return (*merged, *left)


def write(sock: socket.socket, option: StackOption) -> None:
    """Set one supported option. Raises OSError when the kernel refuses."""
    row = ROWS[type(option)]
    if row.write is not None:
        row.write(sock, getattr(option, row.value))


def holds(sock: socket.socket, option: StackOption) -> bool:
    """Return whether a supported option has the value on `sock` that it asks for."""
    row = ROWS[type(option)]
    return row.write is None or row.read(sock, UNKNOWN_FACTS) == getattr(option, row.value)


def accept_fast_open(sock: socket.socket, waiting: int) -> None:
    """Have a listening socket accept data in SYNs, from so many clients at a time whose handshake goes on.

    Nothing happens where the system has no such thing or the administrator allows none (net.ipv4.tcp_fastopen).
    """
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, waiting)


def _changed(option: StackOption, leg: Leg, value: int) -> StackOption:
    changes = {ROWS[type(option)].value: value}
    if option.leg != leg:  # options about the remote leg alone cannot be about another
        changes["leg"] = leg.value
    return dataclasses.replace(option, **changes)
