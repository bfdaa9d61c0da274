"""Who a client is, once that is known."""

from typing import Final

from socks6.dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An authenticated user; the name is empty for a client that was not asked for credentials."""

    name: str


ANONYMOUS: Final = Identity(name="")
