"""Ancillary data of what goes to clients: their TOS and TTL, on a socket that they all share."""

import socket
from collections.abc import Iterable
from struct import Struct
from typing import Final

from socks6.message.options import StackOption, Tos, Ttl
from socks6.net.datagrams.packet_info import Control

INT: Final = Struct("=i")
IPV6_TCLASS: Final = 67  # linux/in6.h
IPV6_HOPLIMIT: Final = 52


def client_control(options: Iterable[StackOption], family: int) -> Control:
    """Return what makes one datagram have these options, whatever its socket has; others cannot be had so."""
    ipv4 = family == socket.AF_INET
    control: Control = []
    for option in options:
        match option:
            case Tos():
                kind = (socket.IPPROTO_IP, socket.IP_TOS) if ipv4 else (socket.IPPROTO_IPV6, IPV6_TCLASS)
                control.append((*kind, INT.pack(option.tos)))
            case Ttl():
                kind = (socket.IPPROTO_IP, socket.IP_TTL) if ipv4 else (socket.IPPROTO_IPV6, IPV6_HOPLIMIT)
                control.append((*kind, INT.pack(option.ttl)))
            case _:
                pass
    return control
