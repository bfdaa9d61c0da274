"""The half of the library's front door that is about UDP."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeVar

from socks6.client.association import Association
from socks6.client.association_factory import AssociationFactory, UdpPathChoice
from socks6.client.datagram_transport import ProxiedDatagramTransport
from socks6.client.options import Options, StackOptions, flatten, for_datagrams, with_defaults
from socks6.client.requester import GrantedRequest
from socks6.client.transport import TransportFactory
from socks6.message.address import normalize_host
from socks6.message.codes import Command, Parity
from socks6.message.dialect import DatagramLayout, Dialect
from socks6.message.requests import Request
from socks6.net.url import ProxyUrl

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)

PATH_CHOICES: Final[Mapping[str, UdpPathChoice]] = {  # by what the proxy's URL says
    "": "auto",
    "auto": "auto",
    "datagram": "datagram",
    "dtls": "datagram",  # such a URL is of a proxy that is reached over TLS, or
    "quic": "datagram",  # QUIC
    "stream": "stream",
}


class DatagramClient(ABC):
    """What `Client` does with UDP; the rest of it makes the requests."""

    def __init__(self, url: ProxyUrl, *, dialect: Dialect) -> None:
        self.url: Final = url
        self._transports: Final = TransportFactory()
        self._association_factory: Final = AssociationFactory(self._ask_to_associate, dialect, url=url)

    @asynccontextmanager
    async def associate(
        self,
        host: str = "0.0.0.0",  # noqa: S104 - at the proxy
        port: int = 0,
        *,
        udp: UdpPathChoice | None = None,
        options: Options = (),
        errors: bool = False,
        parity: Parity | None = None,
        reserve: bool = False,
        layout: DatagramLayout | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Association]:
        """Have a UDP port at the proxy for as long as the block lasts (§ Handling UDP ASSOCIATE).

        ::

            async with client.associate() as udp:
                await udp.send(b"hello", ("example.com", 5000))
                data, source = await udp.receive()

        `host` and `port` are the address and port that are wanted at the proxy; zeros for any, "::" for any of
        IPv6. `udp` is the path of the datagrams between us and the proxy: "datagram" for UDP to its host and
        port, within DTLS where the proxy is reached over TLS; "stream" for the connection to it; "auto" for UDP
        if that gets through. It is what the proxy's URL says, or "auto". With `errors` the proxy is
        asked to tell of ICMP errors, which `receive` then raises. `parity` and `reserve` are wishes about the
        port's number and the one next to it (§ Port Parity options); `layout` is what is written instead of the
        dialect's.

        When the block begins, the proxy has confirmed the association. Raises what every call does, and
        LocalProtocolError where there is no UDP beside the way to the proxy but `udp` demands it.
        """
        wishes = StackOptions(udp_error=errors or None, parity=parity, reserve=reserve)
        association = await self.open_association(
            host, port, udp=udp, options=(*flatten(options), wishes), layout=layout, timeout=timeout
        )
        async with association:
            yield association

    async def create_datagram_endpoint(
        self,
        protocol_factory: Callable[[], ProtocolT],
        remote_addr: tuple[str, int] | None = None,
        *,
        local_addr: tuple[str, int] = ("0.0.0.0", 0),  # noqa: S104 - at the proxy
        udp: UdpPathChoice | None = None,
        options: Options = (),
        errors: bool = True,
        layout: DatagramLayout | None = None,
        timeout: float | None = None,
    ) -> tuple[ProxiedDatagramTransport, ProtocolT]:
        """Have a UDP port at the proxy; return what `loop.create_datagram_endpoint` does.

        `local_addr` is what is wanted at the proxy. With `remote_addr` the transport sends there alone, and the
        protocol gets what comes from there; where that is a name, which the proxy looks up, from any host's port
        of that number. ICMP errors that the proxy tells of go to `error_received`, as DatagramFailed;
        `connection_lost` tells of the association's end. What the protocol's methods raise goes to the loop's
        exception handler, and costs one datagram; where it is `connection_made`, the transport is aborted. All
        else is as with `associate`. The client must be in
        use as `async with Client(...)`: raises LocalProtocolError otherwise.
        """
        self._transports.check()
        remote = None if remote_addr is None else (normalize_host(remote_addr[0]), remote_addr[1])
        protocol = protocol_factory()
        wishes = StackOptions(udp_error=errors or None)
        association = await self.open_association(
            *local_addr, udp=udp, options=(*flatten(options), wishes), layout=layout, timeout=timeout
        )
        transport = ProxiedDatagramTransport(association, protocol, remote)
        try:
            self._transports.check()
        except BaseException:
            association.abort()  # the client was left meanwhile
            raise
        self._transports.carry(association.run(), transport)
        transport.start()
        return transport, protocol

    async def open_association(
        self,
        host: str,
        port: int,
        *,
        udp: UdpPathChoice | None = None,
        options: Options = (),
        layout: DatagramLayout | None = None,
        timeout: float | None = None,
    ) -> Association:
        """Open an association for a caller who runs it; see `associate`."""
        wire = with_defaults(flatten(options), for_datagrams(self.url.options))
        request = Request(command=Command.UDP_ASSOCIATE, host=normalize_host(host), port=port, options=wire)
        async with self._limit(timeout):
            return await self._association_factory.open(
                request, udp=udp or PATH_CHOICES[self.url.udp], layout=layout
            )

    @abstractmethod
    async def _ask_to_associate(self, request: Request) -> GrantedRequest:
        """Dial the proxy and make a request."""

    @abstractmethod
    def _limit(self, timeout: float | None) -> AbstractAsyncContextManager[None]:
        """Have a block take no longer than a call's time-out, the client's own if that is None."""
