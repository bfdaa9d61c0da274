"""Stack options on a socket: set what can be set, read back what is in force, answer for both legs."""

import contextlib
import dataclasses
import socket
from collections.abc import Iterable
from typing import Final

from socks6.message.codes import Leg
from socks6.message.options import StackOption
from socks6.message.options.stack import UNKNOWN_FACTS, ConnectFacts, SocketAdapter
from socks6.net.stackopts.adapter import ADAPTERS, ReadOnly

TCP_CONGESTION: Final[int] = getattr(socket, "TCP_CONGESTION", -1)  # -1 is no option anywhere


def adapter_of(option: StackOption) -> SocketAdapter | None:
    """Return how an option is set and read on this system; None if it is not supported."""
    return option.adapter or ADAPTERS.get(type(option))


def for_leg(options: Iterable[StackOption], leg: Leg) -> tuple[StackOption, ...]:
    """Return the supported options that are about `leg`, or about both."""
    return tuple(option for option in options if option.leg & leg and adapter_of(option) is not None)


def apply_options(sock: socket.socket, wanted: Iterable[StackOption], leg: Leg) -> None:
    """Set on `sock` what is wanted of `leg`; what the kernel refuses is not in force, and raises nothing."""
    for option in for_leg(wanted, leg):
        with contextlib.suppress(OSError):
            write(sock, option)


def effective_options(
    sock: socket.socket, wanted: Iterable[StackOption], leg: Leg, facts: ConnectFacts = UNKNOWN_FACTS
) -> tuple[StackOption, ...]:
    """Return what is in force of each wanted option of `leg` that is supported, read back from a connected socket.

    Options that the socket has no notion of, such as a TTL of a Unix socket, are left out.
    """
    found = []
    for option in wanted:
        adapter = adapter_of(option)
        if adapter is not None and option.leg & leg:
            value = adapter.read(sock, facts)
            if value is not None:
                found.append(option.replaced(value, leg.value))
    return tuple(found)


def merge_legs(near: Iterable[StackOption], far: Iterable[StackOption]) -> tuple[StackOption, ...]:
    """Return one answer for the options in force on the client's leg and on the remote's.

    Where both legs agree, one option stands for both (§ Stack options: nothing twice).
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
    """Set an option, if it is supported. Raises OSError when the kernel refuses."""
    adapter = adapter_of(option)
    if adapter is not None:
        adapter.write(sock, option.value)


def holds(sock: socket.socket, option: StackOption) -> bool:
    """Return whether an option has the value on `sock` that it asks for, if a socket can have it at all."""
    adapter = adapter_of(option)
    return adapter is None or isinstance(adapter, ReadOnly) or adapter.read(sock) == option.value


def accept_fast_open(sock: socket.socket, waiting: int) -> None:
    """Accept data in SYNs at a listening socket, from at most `waiting` clients whose handshake is under way.

    Nothing happens where the system has no such thing or the administrator allows none (net.ipv4.tcp_fastopen).
    """
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, waiting)


def set_congestion_control(sock: socket.socket, name: str) -> None:
    """Set the congestion control of a TCP socket; "" for the system's usual one. Raises OSError, whose words say which there are.

    Connections that a listening socket accepts have it too.
    """
    if not name:
        return
    try:
        sock.setsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, name.encode())
    except OSError as error:
        words = f"no congestion control {name}: net.ipv4.tcp_allowed_congestion_control lists those that there are"
        raise OSError(error.errno, words) from error
