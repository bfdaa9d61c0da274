"""The rows of systems other than Linux: what every socket module knows. What has no row is not supported."""

import socket
from collections.abc import Mapping
from typing import Final

from socks6.message.options import HappyEyeballs, StackOption, Tos, Ttl
from socks6.net.stackopts.adapter import IpSocketOption, SocketOption, SocketOptionAdapter, race_outcome

IP_TOS: Final = IpSocketOption(
    ipv4=SocketOption(socket.IPPROTO_IP, socket.IP_TOS),
    ipv6=SocketOption(socket.IPPROTO_IPV6, socket.IPV6_TCLASS),
)
IP_TTL: Final = IpSocketOption(
    ipv4=SocketOption(socket.IPPROTO_IP, socket.IP_TTL),
    ipv6=SocketOption(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
)

ROWS: Final[Mapping[type[StackOption], SocketOptionAdapter]] = {
    Tos: SocketOptionAdapter(value="tos", write=IP_TOS.write, read=IP_TOS.read),
    HappyEyeballs: SocketOptionAdapter(value="availability", read=race_outcome),
    Ttl: SocketOptionAdapter(value="ttl", write=IP_TTL.write, read=IP_TTL.read),
}
