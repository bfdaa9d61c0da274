"""What a policy answers."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Yes or no; `reason` says why not, in words for the log that never name the destination."""

    allowed: bool
    reason: str


ALLOWED: Final = Decision(allowed=True, reason="")


def refused(reason: str) -> Decision:
    """Return a no."""
    return Decision(allowed=False, reason=reason)
