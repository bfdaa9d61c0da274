"""Stack options: how the protocols below SOCKS are to behave, and do behave (§ Stack options).

The class of a stack option is its whole description: level and code, the numbers of its body and their bounds, what
policies and URLs call it, and, for an option of a user's own, its socket adapter. Codec, `StackOptions`, URL
queries, policies and the reference page are made from it; `net.stackopts` has the socket adapters of the standard ones.
"""

import dataclasses
from collections.abc import Hashable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, ClassVar, Final, Protocol, Self

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import DecodeError
from socks6.message.buffer import Reader
from socks6.message.codes import Availability, Leg, Level, OptionKind, Parity
from socks6.message.options.base import HandshakeMessage, Number, Option, check_range, decode_numbers

if TYPE_CHECKING:
    import socket

_REMOTE: Final = Leg.PROXY_REMOTE.value
_BOTH: Final = Leg.BOTH.value


SWITCH: Final = Number("availability", high=Availability.YES.value, low=Availability.NO.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectFacts:
    """How a connection came to be, as far as its socket does not show it."""

    raced: bool | None = None  # whether its addresses were raced; None where that is no question
    syn_bytes: int = 0  # bytes that went into its SYN


UNKNOWN_FACTS: Final = ConnectFacts()


class SocketAdapter(Protocol):
    """How a stack option is set on a socket and read back; `net.stackopts.adapter` has adapters to make use of."""

    def write(self, sock: "socket.socket", value: int) -> None:
        """Set it. Raises OSError where the system refuses."""

    def read(self, sock: "socket.socket", facts: ConnectFacts = UNKNOWN_FACTS) -> int | None:
        """Return the value in force; None where the socket has no such thing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOption(Option):
    """The root of all stack options; `leg` says which part of the path it is about. Users may add their own.

    A socket gets the first of `numbers`.

    ::

        @dataclass(frozen=True, slots=True, kw_only=True)
        class Priority(StackOption):
            '''The queue that packets wait in (SO_PRIORITY).'''

            level, code, name = Level.IP.value, 0xF0, "priority"
            numbers = (Number("priority", high=6),)
            adapter = SocketOption(socket.SOL_SOCKET, socket.SO_PRIORITY)
            priority: int

        table = STANDARD.extended(Priority)  # for Client and ServerWorker
    """

    kind = OptionKind.STACK.value
    messages = frozenset((HandshakeMessage.REQUEST, HandshakeMessage.OPERATION_REPLY))
    level: ClassVar[int]
    code: ClassVar[int]
    name: ClassVar[str]  # in policies; with underscores, in `StackOptions`
    url_key: ClassVar[str] = ""  # in a proxy's URL; "" for none
    remote_only: ClassVar[bool] = False  # about the proxy-remote leg alone
    datagrams: ClassVar[bool] = True  # about datagrams, too
    adapter: ClassVar[SocketAdapter | None] = None  # None: the standard one, if there is one

    leg: int

    @override
    def __post_init__(self) -> None:
        check_range("leg", self.leg, _BOTH, 1)
        Option.__post_init__(self)

    @property
    def value(self) -> int:
        """The first number of the body, as the wire has it."""
        value: int = getattr(self, self.numbers[0].field)
        return value

    @classmethod
    def of(cls, value: int, leg: int = _REMOTE) -> Self:
        """Return the option with a value; of a switch, a bool. Raises ValueError for one out of range."""
        number = cls.numbers[0]
        numbers = {number.field: value + 1 if number is SWITCH else value}
        return cls(**numbers) if cls.remote_only else cls(leg=leg, **numbers)

    def replaced(self, value: int, leg: int) -> Self:
        """Return the option with another value, as the wire has it, about a leg that it is about."""
        changes = {self.numbers[0].field: value}
        return dataclasses.replace(self, **changes if self.leg == leg else {**changes, "leg": leg})

    @override
    @classmethod
    def table_key(cls) -> int:
        check_range("level", cls.level, 0x3F)
        check_range("code", cls.code, 0xFF)
        return stack_key(cls.level << 8 | cls.code)

    @override
    def claims(self) -> tuple[Hashable, ...]:
        # § Stack options: no contradictions, no duplicates. Leg 3 is both others.
        return ((type(self), 1), (type(self), 2)) if self.leg == _BOTH else ((type(self), self.leg),)

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        leg = body.u16() >> 14  # the table has looked at level and code
        numbers = decode_numbers(cls.numbers, body)
        if not cls.remote_only:
            return cls(leg=leg, **numbers)
        if leg != _REMOTE:
            raise DecodeError(f"leg {leg} in an option about the proxy-remote leg")
        return cls(**numbers)

    @override
    def encode_body(self) -> bytes:
        return bytes((self.leg << 6 | self.level, self.code)) + Option.encode_body(self)


def stack_key(start: int) -> int:
    """Return the table's key for the first two bytes of a stack option's body: leg, which does not count, level, code."""
    return 0x10000 | start & 0x3FFF  # above all kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteStackOption(StackOption):
    """A stack option that is about the proxy-remote leg alone."""

    remote_only = True
    leg: int = field(default=_REMOTE, init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tos(StackOption):
    """The IP TOS field, or IPv6's traffic class (§ IP TOS options)."""

    level, code, name, url_key = Level.IP.value, 1, "tos", "tos"
    numbers = (Number("tos"),)
    tos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HappyEyeballs(RemoteStackOption):
    """Whether to race addresses of both families (§ Happy Eyeballs options)."""

    level, code, name, url_key = Level.IP.value, 2, "happy-eyeballs", "happy-eyeballs"
    datagrams = False
    numbers = (SWITCH,)
    availability: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ttl(StackOption):
    """The IP TTL, or IPv6's hop limit (§ TTL options); 0 would never leave the machine."""

    level, code, name, url_key = Level.IP.value, 3, "ttl", "ttl"
    numbers = (Number("ttl", low=1),)
    ttl: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NoFragmentation(StackOption):
    """Whether packets must stay whole (§ No Fragmentation options)."""

    level, code, name, url_key = Level.IP.value, 4, "no-fragmentation", "df"
    numbers = (SWITCH,)
    availability: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tfo(RemoteStackOption):
    """TCP Fast Open, and how much the SYN may carry at most; 0 is any amount (§ TFO options)."""

    level, code, name, url_key = Level.TCP.value, 1, "tfo", "tfo"
    datagrams = False
    numbers = (Number("payload_size", high=0xFFFF, size=2),)
    payload_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Multipath(RemoteStackOption):
    """Whether to use MPTCP (§ Multipath options)."""

    level, code, name, url_key = Level.TCP.value, 2, "multipath", "mptcp"
    datagrams = False
    numbers = (SWITCH,)
    availability: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenBacklog(RemoteStackOption):
    """How many peers a BIND may keep waiting; 0 in a reply: a plain BIND (§ Listen Backlog options)."""

    level, code, name = Level.TCP.value, 3, "backlog"
    datagrams = False
    numbers = (Number("backlog", high=0xFFFF, size=2),)
    backlog: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpError(RemoteStackOption):
    """Whether ICMP errors are reported to the client (§ UDP Error options)."""

    level, code, name = Level.UDP.value, 1, "udp-error"
    numbers = (SWITCH,)
    availability: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PortParity(RemoteStackOption):
    """An even or odd UDP port, and whether to reserve its counterpart, 0 or 1 (§ Port Parity options)."""

    level, code, name = Level.UDP.value, 2, "port-parity"
    numbers = (Number("parity", high=Parity.ODD.value), Number("reserve", high=1))
    parity: int
    reserve: int = 0


STACK_OPTIONS: Final[tuple[type[StackOption], ...]] = (
    Tos, HappyEyeballs, Ttl, NoFragmentation, Tfo, Multipath, ListenBacklog, UdpError, PortParity,
)  # fmt: skip

# Code points by name: class selectors, assured forwarding (RFC 2597), expedited forwarding (RFC 3246)
DSCP: Final[Mapping[str, int]] = {
    **{f"cs{number}": number << 3 for number in range(8)},
    **{f"af{group}{drop}": group << 3 | drop << 1 for group in range(1, 5) for drop in range(1, 4)},
    "ef": 46,
}
