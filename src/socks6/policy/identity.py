"""Who a client is, once that is known."""

from dataclasses import field
from typing import Final

from socks6.dataclass import dataclass
from socks6.policy.user_limits import NO_LIMITS, UserLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An authenticated user; the name is empty for a client that was not asked for credentials.

    `limits` are those that the user had when it logged in; who a user is does not depend on them.
    """

    name: str
    limits: UserLimits = field(default=NO_LIMITS, compare=False, repr=False)


ANONYMOUS: Final = Identity(name="")
