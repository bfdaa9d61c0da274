"""What a proxy knows of its own machine: its addresses, where it listens, what it has bound for clients."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from socks6.compat import override
from socks6.message.codes import Command
from socks6.net.stream import Endpoint
from socks6.policy.addresses import NumericAddress, examine
from socks6.policy.rules import LocalMachine

ADDRESS_BYTES: Final = {4: 4, 6: 16}  # by version


class LocalEndpoints:
    """Endpoints on this machine, each as often as it was added: an unspecified host is every address of its family."""

    def __init__(self) -> None:
        self._by_port: dict[tuple[bool, int], Counter[NumericAddress]] = {}  # by "is it UDP" and port

    def add(self, endpoint: Endpoint, *, udp: bool) -> None:
        """Add an endpoint; the path of a Unix socket is none."""
        for address in _spellings(endpoint.host):
            self._by_port.setdefault((udp, endpoint.port), Counter())[address] += 1

    def remove(self, endpoint: Endpoint, *, udp: bool) -> None:
        """Take back one `add`."""
        key = udp, endpoint.port
        for address in _spellings(endpoint.host):
            there = self._by_port[key]
            there[address] -= 1
            if not there[address]:
                del there[address]
            if not there:
                del self._by_port[key]

    def at(self, port: int, *, udp: bool) -> Iterable[NumericAddress]:
        """Return the addresses of the endpoints of a port."""
        return self._by_port.get((udp, port), ())

    def __len__(self) -> int:
        """How many ports there are."""
        return len(self._by_port)


class OwnMachine(LocalMachine):
    """Answers the policy for one proxy: servers add to `listeners` where they listen, connections to `bound` what they bind."""

    def __init__(self, is_local: Callable[[bytes], bool], advertised: Iterable[str] = ()) -> None:
        """`is_local` knows the addresses, as bytes; `advertised` are hosts by which remotes reach this machine."""
        self.listeners = LocalEndpoints()
        self.bound = LocalEndpoints()
        self._is_local = is_local
        self._advertised = frozenset(address for host in advertised for address in _spellings(host))
        self._found: frozenset[NumericAddress] = frozenset()

    def advertised_names_led_to(self, hosts: Iterable[str]) -> None:
        """Replace the addresses that the advertised names stand for."""
        self._found = frozenset(address for host in hosts for address in _spellings(host))

    @override
    def serves(self, command: int, address: NumericAddress, port: int) -> bool:
        there = self.listeners.at(port, udp=command == Command.UDP_ASSOCIATE)
        if not there or not address.value:
            return False
        return address in there or (any(not one.value for one in there) and self._is_here(address))

    @override
    def owns(self, command: int, address: NumericAddress, port: int) -> bool:
        if not self._is_here(address):
            return False
        there = self.bound.at(port, udp=command == Command.UDP_ASSOCIATE)
        if self._is_advertised(address) and there:
            return False  # whatever it is translated to on the way
        return address not in there and NumericAddress(address.version, 0) not in there

    def _is_here(self, address: NumericAddress) -> bool:
        return self._is_advertised(address) or self._is_local(
            address.value.to_bytes(ADDRESS_BYTES[address.version], "big")
        )

    def _is_advertised(self, address: NumericAddress) -> bool:
        return address in self._advertised or address in self._found


def _spellings(host: str) -> tuple[NumericAddress, ...]:
    """Return an address as numbers; nothing for what is no address."""
    facts = examine(host)
    return () if facts is None else facts.spellings
