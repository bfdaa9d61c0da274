"""Packets as they were on the wire: an AF_PACKET socket, and so much of IP, TCP and ICMP as tests look at."""

import socket
from dataclasses import dataclass, field
from struct import unpack_from
from types import TracebackType
from typing import Final, Self

ETH_P_ALL: Final = 0x0003
BUFFER: Final = 8 << 20
IPV4, IPV6 = 0x0800, 0x86DD
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

FAST_OPEN: Final = 34  # TCP option kinds
MPTCP: Final = 30


@dataclass(frozen=True, kw_only=True)
class Packet:
    """One packet; ports, flags, options and payload of TCP, type and code of ICMP."""

    source: str
    destination: str
    tos: int
    ttl: int
    dont_fragment: bool  # IPv6 routers never fragment
    fragment: bool
    length: int  # with the IP header
    protocol: int
    source_port: int = 0
    port: int = 0
    flags: int = 0
    options: dict[int, bytes] = field(default_factory=dict)
    payload: bytes = b""
    icmp: tuple[int, int] | None = None

    @property
    def opens(self) -> bool:
        """Whether it is a SYN without an ACK."""
        return self.flags & (SYN | ACK) == SYN


class Capture:
    """Captures on an interface of the namespace in which it is made."""

    def __init__(self, interface: str) -> None:
        # without the link's own header, which TUN devices do not have
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self._socket.bind((interface, ETH_P_ALL))
        self._socket.setblocking(False)
        self._packets: list[Packet] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def packets(self) -> list[Packet]:
        """Return all packets of IP so far, in their order."""
        try:
            while True:
                data, (_, kind, *_) = self._socket.recvfrom(1 << 17)
                packet = parsed(kind, data)
                if packet is not None:
                    self._packets.append(packet)
        except BlockingIOError:
            return self._packets

    def to_port(self, port: int) -> list[Packet]:
        """Return the TCP packets to a port."""
        return [
            packet
            for packet in self.packets()
            if packet.protocol == socket.IPPROTO_TCP and packet.port == port
        ]

    def from_port(self, port: int) -> list[Packet]:
        """Return the TCP packets from a port."""
        return [
            packet
            for packet in self.packets()
            if packet.protocol == socket.IPPROTO_TCP and packet.source_port == port
        ]

    def syns(self, port: int) -> list[Packet]:
        """Return the packets that open connections to a port."""
        return [packet for packet in self.to_port(port) if packet.opens]


def parsed(kind: int, data: bytes) -> Packet | None:
    """Return a packet of an EtherType; None if it is not IP."""
    if kind == IPV4:
        return _ipv4(data)
    return _ipv6(data) if kind == IPV6 else None


def _ipv4(data: bytes) -> Packet:
    length, _, fragment = unpack_from("!HHH", data, 2)
    header = (data[0] & 0xF) * 4
    facts = {
        "source": socket.inet_ntop(socket.AF_INET, data[12:16]),
        "destination": socket.inet_ntop(socket.AF_INET, data[16:20]),
    }
    return _packet(
        facts,
        tos=data[1],
        ttl=data[8],
        dont_fragment=bool(fragment & 0x4000),
        fragment=bool(fragment & 0x3FFF),
        protocol=data[9],
        # segments too big for the field leave it zero (BIG TCP)
        inner=data[header : length or None],
        length=length or len(data),
    )


def _ipv6(data: bytes) -> Packet:
    first, length, protocol, hops = unpack_from("!IHBB", data)
    facts = {
        "source": socket.inet_ntop(socket.AF_INET6, data[8:24]),
        "destination": socket.inet_ntop(socket.AF_INET6, data[24:40]),
    }
    return _packet(
        facts,
        tos=first >> 20 & 0xFF,
        ttl=hops,
        dont_fragment=True,
        fragment=protocol == socket.IPPROTO_FRAGMENT,
        protocol=protocol,
        inner=data[40 : 40 + length],
        length=40 + length,
    )


def _packet(
    ends: dict[str, str],
    *,
    tos: int,
    ttl: int,
    dont_fragment: bool,
    fragment: bool,
    protocol: int,
    inner: bytes,
    length: int,
) -> Packet:
    source_port, port, flags, payload = 0, 0, 0, b""
    options: dict[int, bytes] = {}
    icmp = None
    if protocol == socket.IPPROTO_TCP and not fragment:
        source_port, port = unpack_from("!HH", inner)
        flags = inner[13]
        header = (inner[12] >> 4) * 4
        options, payload = _options(inner[20:header]), inner[header:]
    elif protocol in (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6):
        icmp = inner[0], inner[1]
    return Packet(
        source=ends["source"],
        destination=ends["destination"],
        tos=tos,
        ttl=ttl,
        dont_fragment=dont_fragment,
        fragment=fragment,
        length=length,
        protocol=protocol,
        source_port=source_port,
        port=port,
        flags=flags,
        options=options,
        payload=payload,
        icmp=icmp,
    )


def _options(data: bytes) -> dict[int, bytes]:
    """Return TCP's options, by their kind."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data) and data[at] != 0:
        if data[at] == 1:  # padding
            at += 1
            continue
        found[data[at]] = data[at + 2 : at + data[at + 1]]
        at += data[at + 1]
    return found
