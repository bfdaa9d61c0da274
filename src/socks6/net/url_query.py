"""The query of a proxy's URL: stack options that every request through it asks for."""

from collections.abc import Iterable, Mapping
from typing import Final

from socks6.message.codes import Leg
from socks6.message.options import StackOption, Tos
from socks6.message.options.stack import STACK_OPTIONS, SWITCH

LEGS: Final[Mapping[str, Leg]] = {
    "client": Leg.CLIENT_PROXY,
    "remote": Leg.PROXY_REMOTE,
    "both": Leg.BOTH,
}
SWITCHES: Final[Mapping[str, bool]] = {"0": False, "1": True}
# Code points by name: class selectors, assured forwarding (RFC 2597), expedited forwarding (RFC 3246)
DSCP: Final[Mapping[str, int]] = {
    **{f"cs{number}": number << 3 for number in range(8)},
    **{f"af{group}{drop}": group << 3 | drop << 1 for group in range(1, 5) for drop in range(1, 4)},
    "ef": 46,
}


URL_OPTIONS: Final = {option.url_key: option for option in STACK_OPTIONS if option.url_key}
DSCP_KEY: Final = "dscp"  # the TOS without its lowest two bits
LEG: Final = "leg"
KEYS: Final = (*URL_OPTIONS, DSCP_KEY, LEG)


def parse_options(pairs: Iterable[tuple[str, str]]) -> tuple[StackOption, ...]:
    """Read keys and values of a query. Raises ValueError, whose text says what is wrong.

    `leg` (client, remote or both) is the leg that tos, dscp, ttl and df are about: the remote's by default.
    """
    values: dict[str, str] = {}
    for key, value in pairs:
        if key not in KEYS:
            raise ValueError(f"has an unknown option {key!r}; there are {', '.join(KEYS)}")
        if key in values:
            raise ValueError(f"has the option {key!r} twice")
        values[key] = value
    if "tos" in values and "dscp" in values:
        raise ValueError("has tos and dscp, which are the same field")
    leg = LEGS.get(values.pop(LEG, "remote"))
    if leg is None:
        raise ValueError(f"has a leg that is none of {', '.join(LEGS)}")
    return tuple(_made(key, value, leg) for key, value in values.items())


def _made(key: str, text: str, leg: Leg) -> StackOption:
    try:
        if key == DSCP_KEY:
            return Tos.of((DSCP[text.lower()] if text.lower() in DSCP else int(text, 0)) << 2, leg)
        option = URL_OPTIONS[key]
        return option.of(SWITCHES[text] if option.numbers[0] is SWITCH else int(text, 0), leg)
    except KeyError:
        raise ValueError(f"has {key}={text}: write 0 or 1") from None
    except ValueError as error:
        raise ValueError(f"has {key}={text}: {error}") from None


def format_options(options: Iterable[StackOption]) -> str:
    """Return the query that gives these options, which one query gave; "" for none."""
    parts: list[str] = []
    leg = Leg.PROXY_REMOTE
    for option in options:
        value = option.value - 1 if option.numbers[0] is SWITCH else option.value
        parts.append(f"{option.url_key}={value}")
        leg = min(leg, Leg(option.leg), key=lambda leg: leg is Leg.PROXY_REMOTE)
    if leg is not Leg.PROXY_REMOTE:
        parts.append(f"leg={next(name for name, known in LEGS.items() if known is leg)}")
    return "&".join(parts)
