"""The query of a proxy's URL: stack options that every request through it asks for."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from socks6.message.codes import Availability, Leg
from socks6.message.options import HappyEyeballs, Multipath, NoFragmentation, StackOption, Tfo, Tos, Ttl

LEGS: Final[Mapping[str, Leg]] = {
    "client": Leg.CLIENT_PROXY,
    "remote": Leg.PROXY_REMOTE,
    "both": Leg.BOTH,
}
SWITCHES: Final[Mapping[str, Availability]] = {"0": Availability.NO, "1": Availability.YES}
# Code points by name: class selectors, assured forwarding (RFC 2597), expedited forwarding (RFC 3246)
DSCP: Final[Mapping[str, int]] = {
    **{f"cs{number}": number << 3 for number in range(8)},
    **{f"af{group}{drop}": group << 3 | drop << 1 for group in range(1, 5) for drop in range(1, 4)},
    "ef": 46,
}


def _number(text: str) -> int:
    return int(text, 0)


def _dscp(text: str) -> int:
    return DSCP[text.lower()] if text.lower() in DSCP else _number(text)


MAKERS: Final[Mapping[str, Callable[[str, Leg], StackOption]]] = {
    "tos": lambda text, leg: Tos(leg=leg, tos=_number(text)),
    "dscp": lambda text, leg: Tos(leg=leg, tos=_dscp(text) << 2),
    "ttl": lambda text, leg: Ttl(leg=leg, ttl=_number(text)),
    "df": lambda text, leg: NoFragmentation(leg=leg, availability=SWITCHES[text]),
    "happy-eyeballs": lambda text, _: HappyEyeballs(availability=SWITCHES[text]),
    "tfo": lambda text, _: Tfo(payload_size=_number(text)),
    "mptcp": lambda text, _: Multipath(availability=SWITCHES[text]),
}
WRITTEN: Final[Mapping[type[StackOption], tuple[str, str]]] = {  # key and field
    Tos: ("tos", "tos"),
    Ttl: ("ttl", "ttl"),
    NoFragmentation: ("df", "availability"),
    HappyEyeballs: ("happy-eyeballs", "availability"),
    Tfo: ("tfo", "payload_size"),
    Multipath: ("mptcp", "availability"),
}
LEG: Final = "leg"
KEYS: Final = (*MAKERS, LEG)


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


def _made(key: str, value: str, leg: Leg) -> StackOption:
    try:
        return MAKERS[key](value, leg)
    except KeyError:
        raise ValueError(f"has {key}={value}: write 0 or 1") from None
    except ValueError as error:
        raise ValueError(f"has {key}={value}: {error}") from None


def format_options(options: Iterable[StackOption]) -> str:
    """Return the query that gives these options, which one query gave; "" for none."""
    parts: list[str] = []
    leg = Leg.PROXY_REMOTE
    for option in options:
        key, field = WRITTEN[type(option)]
        value = getattr(option, field)
        parts.append(f"{key}={value - 1 if field == 'availability' else value}")
        leg = min(leg, Leg(option.leg), key=lambda leg: leg is Leg.PROXY_REMOTE)
    if leg is not Leg.PROXY_REMOTE:
        parts.append(f"leg={next(name for name, known in LEGS.items() if known is leg)}")
    return "&".join(parts)
