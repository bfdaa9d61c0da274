"""What a policy asks about the machine that it guards."""

from typing import Protocol

from socks6.policy.addresses import NumericAddress


class LocalMachine(Protocol):
    """Knows which destinations are the machine's own; `command` says whether TCP or UDP is meant."""

    def serves(self, command: int, address: NumericAddress, port: int) -> bool:
        """Return whether the proxy's own clients are served there."""

    def owns(self, command: int, address: NumericAddress, port: int) -> bool:
        """Return whether an address is one of this machine's, and nothing is bound for a client there."""
