"""Which stack options the clients of which users may use, and within which bounds (§ Stack options)."""

import dataclasses
from collections.abc import Iterable
from typing import Final

from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError
from socks6.message.codes import Availability
from socks6.message.options import HappyEyeballs, StackOption, Tos, Ttl
from socks6.message.options.stack import STACK_OPTIONS
from socks6.policy.identity import Identity

OPTION_NAMES: Final = {option.name: option for option in STACK_OPTIONS}
HIGHEST_TTL: Final = 255
HIGHEST_DSCP: Final = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class StackRule:
    """What clients of some users may ask of the stack; without `users`, all clients.

    `forbidden` options, yours too, are not applied; a TTL under `lowest_ttl` is raised to it; a TOS whose DSCP is not in
    `dscp` is not applied (None: any is). The reply reports what is in force in any case.
    """

    users: frozenset[str] = frozenset()
    forbidden: frozenset[type[StackOption]] = frozenset()
    lowest_ttl: int = 1
    dscp: frozenset[int] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.lowest_ttl <= HIGHEST_TTL:
            raise ConfigurationError(f"the lowest TTL is {self.lowest_ttl}, not 1 to {HIGHEST_TTL}")
        for value in self.dscp or ():
            if not 0 <= value <= HIGHEST_DSCP:
                raise ConfigurationError(f"DSCP {value} is not 0 to {HIGHEST_DSCP}")

    @classmethod
    def parse(
        cls,
        *,
        users: Iterable[str] = (),
        forbid: Iterable[str] = (),
        lowest_ttl: int = 1,
        dscp: Iterable[int] | None = None,
    ) -> "StackRule":
        """Read a rule as a configuration writes it. Raises ConfigurationError."""
        return cls(
            users=frozenset(users),
            forbidden=frozenset(map(_parse_option, forbid)),
            lowest_ttl=lowest_ttl,
            dscp=None if dscp is None else frozenset(dscp),
        )

    def permitted(self, option: StackOption) -> StackOption | None:
        """Return what may be applied of an option; None for nothing."""
        if isinstance(option, HappyEyeballs) and HappyEyeballs in self.forbidden:
            return HappyEyeballs(availability=Availability.NO)  # without an option the proxy may race
        if type(option) in self.forbidden:
            return None
        match option:
            case Ttl() if option.ttl < self.lowest_ttl:
                return dataclasses.replace(option, ttl=self.lowest_ttl)
            case Tos() if self.dscp is not None and option.tos >> 2 not in self.dscp:
                return None
            case _:
                return option


EVERYTHING: Final = StackRule()


def permit_options(
    rules: tuple[StackRule, ...], identity: Identity, options: Iterable[StackOption]
) -> tuple[StackOption, ...]:
    """Return what may be applied of a client's options; the first rule that names its user, or no user, decides."""
    rule = next((rule for rule in rules if not rule.users or identity.name in rule.users), EVERYTHING)
    permitted = (rule.permitted(option) for option in options)
    return tuple(option for option in permitted if option is not None)


def _parse_option(name: str) -> type[StackOption]:
    if name not in OPTION_NAMES:
        raise ConfigurationError(f"{name!r} is no stack option: write {', '.join(OPTION_NAMES)}")
    return OPTION_NAMES[name]
