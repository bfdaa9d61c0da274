"""Who a client is, once that is known."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An authenticated user; an empty name is a client that nobody asked for credentials."""

    name: str


ANONYMOUS: Final = Identity(name="")
