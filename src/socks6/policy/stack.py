"""Which stack options the clients of which users may use, and within which bounds (§ Stack options)."""

import dataclasses
from collections.abc import Iterable
from typing import Final

from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError
from socks6.message.codes import Availability
from socks6.message.options import HappyEyeballs, StackOption, Tos, Ttl
from socks6.message.options.stack import DSCP, STACK_OPTIONS
from socks6.policy.identity import Identity
from socks6.setting import setting

OPTION_NAMES: Final = {option.name: option for option in STACK_OPTIONS}
HIGHEST_TTL: Final = 255
HIGHEST_DSCP: Final = 63


def _parse_option(name: str) -> type[StackOption]:
    if name not in OPTION_NAMES:
        raise ConfigurationError(f"{name!r} is no stack option: write {', '.join(OPTION_NAMES)}")
    return OPTION_NAMES[name]


def _parse_dscp(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() else DSCP.get(text.lower(), -1)
    if not 0 <= value <= HIGHEST_DSCP:
        raise ConfigurationError(
            f"{text!r} is no code point: write 0 to {HIGHEST_DSCP}, or a name such as ef"
        )
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class StackRule:
    """[[stack]]: bounds of stack options; the first table that is about the user decides alone.

    `forbidden` options, yours too, are not applied; a TTL under `lowest_ttl` is raised to it; a TOS whose DSCP is not in
    `dscp` is not applied (None: any is). The reply reports what is in force in any case.
    """

    users: frozenset[str] = setting(
        frozenset(),
        "names of users",
        unit="NAME",
        many=True,
        collect=frozenset,
        default_text="all users",
        example='["alice"]',
    )
    forbidden: frozenset[type[StackOption]] = setting(
        frozenset(),
        f"options that are not applied: {', '.join(OPTION_NAMES)}",
        key="forbid",
        unit="OPTION",
        many=True,
        parse=_parse_option,
        collect=frozenset,
        example='["multipath", "tfo"]',
    )
    lowest_ttl: int = setting(1, "lower ones are raised to it", positive=True, maximum=HIGHEST_TTL)
    dscp: frozenset[int] | None = setting(
        None,
        f"code points that a TOS may carry: 0 to {HIGHEST_DSCP}, or names such as ef, af11, cs1",
        unit="DSCP",
        many=True,
        numbers=True,
        parse=_parse_dscp,
        collect=frozenset,
        default_text="any",
        example='["cs0", "af11", 46]',
    )

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
