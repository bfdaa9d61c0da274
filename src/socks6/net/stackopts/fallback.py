"""The rows of systems other than Linux: what every socket module knows. What has no row is not supported."""

import socket
from collections.abc import Mapping
from typing import Final

from socks6.message.options import TOS, TTL, HappyEyeballs, StackOption
from socks6.net.stackopts.row import IPSetting, Row, Setting, race_outcome

IP_TOS: Final = IPSetting(
    ipv4=Setting(socket.IPPROTO_IP, socket.IP_TOS), ipv6=Setting(socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
)
IP_TTL: Final = IPSetting(
    ipv4=Setting(socket.IPPROTO_IP, socket.IP_TTL),
    ipv6=Setting(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
)

ROWS: Final[Mapping[type[StackOption], Row]] = {
    TOS: Row(value="tos", write=IP_TOS.write, read=IP_TOS.read),
    HappyEyeballs: Row(value="availability", read=race_outcome),
    TTL: Row(value="ttl", write=IP_TTL.write, read=IP_TTL.read),
}
