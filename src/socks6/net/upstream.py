"""What is known of the proxy that an outbound goes through, for all who show it: lines, the status page, observers."""

from enum import Enum

from socks6.dataclass import dataclass


class UpstreamState(Enum):
    """Whether the proxy to go through works, as far as is known."""

    UNTRIED = "untried"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamStatus:
    """The proxy to go through, and how it is. Nothing of it names a destination or a password."""

    url: str  # where it is, and for which user
    state: UpstreamState = UpstreamState.UNTRIED
    since: float = 0.0  # when that began, in seconds since 1970
    encryption: str = ""  # of the last check's connection: "TLS 1.3", "QUIC"; "" in the clear
    seconds: float = 0.0  # that the last check's NOOP took, connecting included; 0 before one was answered
    reason: str = ""  # why it is down
    last_error: str = ""  # why it last was down, or is
    last_error_at: float = 0.0  # in seconds since 1970

    @property
    def words(self) -> str:
        """The proxy, its encryption and its time in milliseconds, as far as they are known."""
        took = f"{self.seconds * 1000:.{0 if self.seconds >= 0.01 else 1}f} ms" if self.seconds else ""
        return ", ".join(filter(None, (self.url, self.encryption, took)))
