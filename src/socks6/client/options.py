"""Stack options as Python callers write them."""

import dataclasses
from collections.abc import Sequence
from typing import TypeAlias

from socks6.dataclass import dataclass
from socks6.message.codes import Leg, Parity
from socks6.message.options import Option, PortParity, StackOption
from socks6.message.options.stack import STACK_OPTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """What the proxy is asked to do in the layers below (§ Stack options). None asks for nothing.

    `tos` and `ttl` are header fields (0 to 255, 1 to 255); `no_fragmentation` wants DF set; these three are
    about `leg`: the proxy's connection to the remote by default. The others are about that one
    alone: `happy_eyeballs` races a name's addresses (RFC 8305); `tfo` is how many bytes of the initial data
    may go into the SYN, 0 for any number; `multipath` wants MPTCP. For UDP associations, `udp_error` wants
    reports of ICMP errors, `parity` an even or odd port, where no port is asked for by its number, and
    `reserve` that port's counterpart kept for us. What came of it is in the `options` of the stream or
    association. Raises ValueError for numbers out of range.
    """

    tos: int | None = None
    ttl: int | None = None
    no_fragmentation: bool | None = None
    happy_eyeballs: bool | None = None
    tfo: int | None = None
    multipath: bool | None = None
    udp_error: bool | None = None
    parity: Parity | None = None
    reserve: bool = False
    leg: Leg = Leg.PROXY_REMOTE

    def __post_init__(self) -> None:
        self.to_wire()

    def to_wire(self) -> tuple[StackOption, ...]:
        """Return the options as a request carries them."""
        asked = [(option, getattr(self, option.name.replace("-", "_"), None)) for option in STACK_OPTIONS]
        wire = [option.of(value, self.leg) for option, value in asked if value is not None]
        if self.parity is not None or self.reserve:
            wire.append(PortParity(parity=self.parity or Parity.ANY, reserve=int(self.reserve)))
        return tuple(wire)


Options: TypeAlias = StackOptions | Sequence[Option | StackOptions]


def flatten(options: Options) -> tuple[Option, ...]:
    """Return options, of either form, as a request carries them."""
    if isinstance(options, StackOptions):
        return options.to_wire()
    wire: list[Option] = []
    for option in options:
        wire.extend(option.to_wire() if isinstance(option, StackOptions) else (option,))
    return tuple(wire)


def with_defaults(options: tuple[Option, ...], defaults: tuple[StackOption, ...]) -> tuple[Option, ...]:
    """Return options, and those defaults that none of them overrides, leg by leg."""
    taken = {claim for option in options for claim in option.claims()}
    added: list[Option] = []
    for default in defaults:
        free = sum(leg for leg in (1, 2) if default.leg & leg and (type(default), leg) not in taken)
        if free == default.leg:
            added.append(default)
        elif free:
            added.append(dataclasses.replace(default, leg=free))
    return (*options, *added)


def for_datagrams(options: tuple[StackOption, ...]) -> tuple[StackOption, ...]:
    """Return those of a URL's options that are about datagrams too."""
    return tuple(option for option in options if option.datagrams)
