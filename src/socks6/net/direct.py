"""The way out without another proxy: real sockets of this machine."""

import asyncio
import dataclasses
import functools
from typing import Final

from socks6.errors import ConnectionRefused, NotAllowed
from socks6.message.options import StackOption
from socks6.net.dial import (
    ATTEMPT_DELAY,
    Address,
    Resolver,
    dial_address,
    failure_for,
    happy_eyeballs,
    interleaved,
)
from socks6.net.sockets import SocketStream
from socks6.net.stream import Connection, Endpoint, Judge

CONNECT_SECONDS: Final = 30.0  # the name's lookup included; Linux sends five SYNs within it
DNS_PORT: Final = 53
UNSPECIFIED: Final = frozenset(("0.0.0.0", "::", "::ffff:0.0.0.0"))  # noqa: S104 - refused, not listened on
NO_ENDPOINT: Final = Endpoint("0.0.0.0", 0)  # noqa: S104


class DirectOutbound:
    """An Outbound that connects by itself.

    `first_family` (AF_INET or AF_INET6) is tried first when a name has addresses of both; without it the
    family of the address that the system prefers. `dns_server` carries out the draft's DNS service.
    """

    def __init__(
        self,
        resolver: Resolver | None = None,
        *,
        connect_timeout: float = CONNECT_SECONDS,
        attempt_delay: float = ATTEMPT_DELAY,
        first_family: int | None = None,
        dns_server: Endpoint | None = None,
    ) -> None:
        self._resolver = resolver or Resolver()
        self._connect_timeout = connect_timeout
        self._attempt_delay = attempt_delay
        self._first_family = first_family
        self._dns_server = dns_server

    @property
    def resolves(self) -> bool:
        return True

    async def connect(
        self,
        host: str,
        port: int,
        *,
        judge: Judge,
        options: tuple[StackOption, ...] = (),  # noqa: ARG002 - none is supported yet, so none is in force
        first_data: bytes = b"",  # noqa: ARG002 - nothing goes out with the first packet yet
    ) -> Connection:
        if host in UNSPECIFIED:
            return await self._connect_to_dns(port)
        try:
            return await self._connect(host, port, judge)
        except OSError as error:
            raise failure_for(error) from error

    async def aclose(self) -> None:
        await self._resolver.aclose()

    async def _connect(self, host: str, port: int, judge: Judge) -> Connection:
        if port == 0:
            raise ConnectionRefused("nothing listens on port 0")
        deadline = asyncio.get_running_loop().time() + self._connect_timeout
        addresses = _allowed(await self._resolver.resolve(host, port), host, judge)
        sock = await happy_eyeballs(
            interleaved(addresses, self._first_family),
            functools.partial(dial_address, deadline=deadline),
            delay=self._attempt_delay,
        )
        stream = SocketStream(sock)
        return Connection(stream=stream, bound=stream.local)

    async def _connect_to_dns(self, port: int) -> Connection:
        """Carry out a CONNECT to no address: the DNS service, or nothing at all (PROTOCOL.md §5)."""
        if port != DNS_PORT:
            raise NotAllowed("an unspecified address is no destination")
        if self._dns_server is None:
            raise ConnectionRefused("there is no DNS service")
        # the operator named the server: no rule for clients' destinations is asked
        connection = await self.connect(*self._dns_server, judge=_anything)
        return dataclasses.replace(connection, bound=NO_ENDPOINT)


def _allowed(addresses: tuple[Address, ...], host: str, judge: Judge) -> tuple[Address, ...]:
    """Return the addresses that may be reached. Raises NotAllowed if there are none."""
    allowed = tuple(address for address in addresses if _may_reach(address, judge))
    if not allowed:
        raise NotAllowed(f"no address of {host} may be reached")
    return allowed


def _may_reach(address: Address, judge: Judge) -> bool:
    # a name may lead to an unspecified address: connecting there would reach this machine
    return address.host not in UNSPECIFIED and judge(address.host, address.socket_address[1])


def _anything(address: str, port: int) -> bool:  # noqa: ARG001 - a Judge
    return True
