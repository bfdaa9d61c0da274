"""Stack options: how the protocols below SOCKS are to behave, and do behave (§ Stack options)."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from struct import Struct
from typing import ClassVar, Final, Self

from typing_extensions import override

from socks6.errors import DecodeError
from socks6.message.buffer import Reader
from socks6.message.codes import Availability, Leg, Level, OptionKind, Parity
from socks6.message.options.base import Option, check_range

_REMOTE: Final = Leg.PROXY_REMOTE.value
_BOTH: Final = Leg.BOTH.value
_NO: Final = Availability.NO.value
_YES: Final = Availability.YES.value
_SHORT: Final = Struct("!BBB")  # leg and level, code, one byte
_LONG: Final = Struct("!BBH")  # leg and level, code, two bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOption(Option):
    """The root of all stack options; `leg` says which part of the path it is about."""

    kind = OptionKind.STACK.value
    level: ClassVar[int]
    code: ClassVar[int]

    leg: int

    def __post_init__(self) -> None:
        check_range("leg", self.leg, _BOTH, 1)

    @override
    def claims(self) -> tuple[Hashable, ...]:
        # § Stack options: no contradictions, no duplicates. Leg 3 is both others.
        return ((type(self), 1), (type(self), 2)) if self.leg == _BOTH else ((type(self), self.leg),)

    def leg_and_level(self) -> int:
        """Return the body's first byte."""
        return self.leg << 6 | self.level


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteStackOption(StackOption):
    """A stack option that is about the proxy-remote leg alone."""

    leg: int = field(default=_REMOTE, init=False)


def read_leg(body: Reader) -> int:
    """Read what every stack option begins with; the table has looked at level and code."""
    return body.u16() >> 14


def read_remote_leg(body: Reader) -> None:
    """Read what every stack option begins with; DecodeError unless it says the proxy-remote leg."""
    leg = read_leg(body)
    if leg != _REMOTE:
        raise DecodeError(f"leg {leg} in an option about the proxy-remote leg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tos(StackOption):
    """The IP TOS field, or IPv6's traffic class (§ IP TOS options)."""

    level = Level.IP.value
    code = 1

    tos: int

    @override
    def __post_init__(self) -> None:
        check_range("leg", self.leg, _BOTH, 1)
        check_range("Tos", self.tos, 0xFF)

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        return cls(leg=read_leg(body), tos=body.u8())

    @override
    def encode_body(self) -> bytes:
        return _SHORT.pack(self.leg_and_level(), self.code, self.tos)


@dataclass(frozen=True, slots=True, kw_only=True)
class HappyEyeballs(RemoteStackOption):
    """Whether to race addresses of both families (§ Happy Eyeballs options)."""

    level = Level.IP.value
    code = 2

    availability: int

    @override
    def __post_init__(self) -> None:
        _check_availability(self.availability)

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        read_remote_leg(body)
        return cls(availability=body.u8())

    @override
    def encode_body(self) -> bytes:
        return _SHORT.pack(self.leg_and_level(), self.code, self.availability)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ttl(StackOption):
    """The IP TTL, or IPv6's hop limit (§ TTL options); 0 would never leave the machine."""

    level = Level.IP.value
    code = 3

    ttl: int

    @override
    def __post_init__(self) -> None:
        check_range("leg", self.leg, _BOTH, 1)
        check_range("Ttl", self.ttl, 0xFF, 1)

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        return cls(leg=read_leg(body), ttl=body.u8())

    @override
    def encode_body(self) -> bytes:
        return _SHORT.pack(self.leg_and_level(), self.code, self.ttl)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoFragmentation(StackOption):
    """Whether packets must stay whole (§ No Fragmentation options)."""

    level = Level.IP.value
    code = 4

    availability: int

    @override
    def __post_init__(self) -> None:
        check_range("leg", self.leg, _BOTH, 1)
        _check_availability(self.availability)

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        return cls(leg=read_leg(body), availability=body.u8())

    @override
    def encode_body(self) -> bytes:
        return _SHORT.pack(self.leg_and_level(), self.code, self.availability)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tfo(RemoteStackOption):
    """TCP Fast Open, and how much the SYN may carry at most; 0 is any amount (§ TFO options)."""

    level = Level.TCP.value
    code = 1

    payload_size: int

    @override
    def __post_init__(self) -> None:
        check_range("payload size", self.payload_size, 0xFFFF)

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        read_remote_leg(body)
        return cls(payload_size=body.u16())

    @override
    def encode_body(self) -> bytes:
        return _LONG.pack(self.leg_and_level(), self.code, self.payload_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Multipath(RemoteStackOption):
    """Whether to use MPTCP (§ Multipath options)."""

    level = Level.TCP.value
    code = 2

    availability: int

    @override
    def __post_init__(self) -> None:
        _check_availability(self.availability)

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        read_remote_leg(body)
        return cls(availability=body.u8())

    @override
    def encode_body(self) -> bytes:
        return _SHORT.pack(self.leg_and_level(), self.code, self.availability)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenBacklog(RemoteStackOption):
    """How many peers a BIND may keep waiting; 0 in a reply: a plain BIND (§ Listen Backlog options)."""

    level = Level.TCP.value
    code = 3

    backlog: int

    @override
    def __post_init__(self) -> None:
        check_range("backlog", self.backlog, 0xFFFF)

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        read_remote_leg(body)
        return cls(backlog=body.u16())

    @override
    def encode_body(self) -> bytes:
        return _LONG.pack(self.leg_and_level(), self.code, self.backlog)


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpError(RemoteStackOption):
    """Whether ICMP errors are reported to the client (§ UDP Error options)."""

    level = Level.UDP.value
    code = 1

    availability: int

    @override
    def __post_init__(self) -> None:
        _check_availability(self.availability)

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        read_remote_leg(body)
        return cls(availability=body.u8())

    @override
    def encode_body(self) -> bytes:
        return _SHORT.pack(self.leg_and_level(), self.code, self.availability)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortParity(RemoteStackOption):
    """An even or odd UDP port, and whether to reserve its counterpart, 0 or 1 (§ Port Parity options)."""

    level = Level.UDP.value
    code = 2

    parity: int
    reserve: int = 0

    @override
    def __post_init__(self) -> None:
        check_range("parity", self.parity, Parity.ODD)
        check_range("reserve", self.reserve, 1)

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        read_remote_leg(body)
        return cls(parity=body.u8(), reserve=body.u8())

    @override
    def encode_body(self) -> bytes:
        return _LONG.pack(self.leg_and_level(), self.code, self.parity << 8 | self.reserve)


def _check_availability(availability: int) -> None:
    check_range("availability", availability, _YES, _NO)
