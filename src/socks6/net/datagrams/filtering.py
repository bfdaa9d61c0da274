"""Which remote hosts may send to an association, as RFC 4787 (section 5) calls what NATs do."""

from enum import Enum
from math import inf
from typing import Final

from socks6.net.stream import Endpoint

REMOTE_SECONDS: Final = 300.0  # how long a silent client's remotes may answer (RFC 4787, REQ-5)
MAX_REMOTES: Final = 4096  # of one association; beyond, the one that was sent to longest ago is forgotten


class Filtering(Enum):
    """Which remote hosts may send to an association's port."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"  # all of them: "full cone"
    ADDRESS_DEPENDENT = "address-dependent"  # hosts that the client has sent to: "restricted cone"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"  # their very ports: "port restricted cone"


class RemoteFilter:
    """The remote hosts that one client has sent to of late. Takes the time as an argument, like the machines."""

    __slots__ = ("_filtering", "_lifetime", "_most", "_sent")

    def __init__(
        self, filtering: Filtering, *, lifetime: float = REMOTE_SECONDS, most: int = MAX_REMOTES
    ) -> None:
        self._filtering = filtering
        self._lifetime = lifetime
        self._most = most
        self._sent: dict[str | Endpoint, float] = {}  # in order of time

    @property
    def renewal(self) -> float:
        """The longest time in seconds between calls of `sent_to` for a remote that the client goes on sending to."""
        return inf if self._filtering is Filtering.ENDPOINT_INDEPENDENT else self._lifetime / 2

    def sent_to(self, host: str, port: int, now: float) -> None:
        """Record that the client sends to an address."""
        if self._filtering is Filtering.ENDPOINT_INDEPENDENT:
            return
        key = self._key(host, port)
        self._sent.pop(key, None)
        self._sent[key] = now
        if len(self._sent) > self._most:
            del self._sent[next(iter(self._sent))]

    def admitted_until(self, host: str, port: int, now: float) -> float:
        """Return until when an address may send to the client; 0 if it may not."""
        if self._filtering is Filtering.ENDPOINT_INDEPENDENT:
            return inf
        key = self._key(host, port)
        sent = self._sent.get(key)
        if sent is None:
            return 0.0
        if now - sent < self._lifetime:
            return sent + self._lifetime
        del self._sent[key]
        return 0.0

    def _key(self, host: str, port: int) -> str | Endpoint:
        return host if self._filtering is Filtering.ADDRESS_DEPENDENT else Endpoint(host, port)
