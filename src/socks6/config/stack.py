"""Reads the bounds of stack options from a configuration file."""

from socks6.config import tables
from socks6.config.faults import Fault, Key, blaming
from socks6.errors import ConfigurationError
from socks6.net.url import DSCP
from socks6.policy.stack import HIGHEST_DSCP, StackRule


def read_stack_rule(raw: object, index: int, faults: list[Fault]) -> StackRule | None:
    """Return a table of [[stack]], None where anything is wrong with it, which is told to `faults`."""
    key: Key = ("stack", index)
    before = len(faults)
    table = tables.decode_table(raw, tables.Stack, key, faults)
    forbid = tables.texts(table.forbid)
    for number, name in enumerate(forbid):
        with blaming((*key, "forbid", number), faults):
            StackRule.parse(forbid=(name,))
    dscp: list[int] = []
    for number, text in enumerate(tables.texts(table.dscp)):
        with blaming((*key, "dscp", number), faults):
            dscp.append(_parse_dscp(text))
    if len(faults) != before:
        return None
    return StackRule.parse(
        users=tables.texts(table.users),
        forbid=forbid,
        lowest_ttl=1 if table.lowest_ttl is None else table.lowest_ttl,
        dscp=None if table.dscp is None else dscp,
    )


def _parse_dscp(text: str) -> int:
    """Return a code point by its number or name. Raises ConfigurationError."""
    value = int(text) if text.isascii() and text.isdigit() else DSCP.get(text.lower(), -1)
    if not 0 <= value <= HIGHEST_DSCP:
        raise ConfigurationError(
            f"{text!r} is no code point: write 0 to {HIGHEST_DSCP}, or a name such as ef"
        )
    return value
