"""A UDP association as an asyncio transport, for code that is written against `loop.create_datagram_endpoint`."""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from socks6.client.association import Association
from socks6.client.receive_queue import DatagramReceiver, ReceivedDatagram
from socks6.client.transport import report
from socks6.compat import override
from socks6.errors import DatagramTooLarge, Socks6Error
from socks6.message.address import is_literal, normalize_host
from socks6.net.stream import Endpoint


class ProxiedDatagramTransport(asyncio.DatagramTransport, DatagramReceiver):
    """Gives a protocol what an association brings, and sends what it is given.

    `get_extra_info` knows "sockname" (the port at the proxy), "peername" (the remote address, where one was
    named), "socks6.association" and "socks6.options" (the stack options in force).
    """

    def __init__(
        self, association: Association, protocol: asyncio.BaseProtocol, remote: tuple[str, int] | None
    ) -> None:
        super().__init__(
            {
                "sockname": tuple(association.bound),
                "peername": remote,
                "socks6.association": association,
                "socks6.options": association.options,
            }
        )
        self._association = association
        self._protocol = protocol
        self._remote: Final = remote
        self._answers = None if remote is None else RemoteAddressFilter.for_remote(*remote)
        self._closing = False

    def start(self) -> None:
        """Call `connection_made` of the protocol, and then give it the datagrams that have come already."""
        try:
            self._protocol.connection_made(self)
        except Exception as error:  # noqa: BLE001 - a user's code: it costs this transport alone
            self._report(error, "connection_made")
            self.abort()
        self._association.set_receiver(self)

    @override
    def sendto(self, data: bytes | bytearray | memoryview, addr: tuple[str, int] | None = None) -> None:  # type: ignore[override]  # typeshed has it take any address
        """Send a datagram, to the remote address if none is named. Drops it where there is no room.

        One that is too large goes to `error_received`. Raises ValueError for an impossible address.
        """
        if self._remote is not None and addr not in (None, self._remote):
            raise ValueError(f"this endpoint sends to {self._remote} alone")
        destination = addr or self._remote
        if destination is None:
            raise ValueError("no address to send to")
        if self._closing:
            return
        try:
            self._association.send_nowait(bytes(data), destination)
        except (DatagramTooLarge, OSError) as error:
            self.error_received(error)

    @override
    def is_closing(self) -> bool:
        return self._closing

    @override
    def close(self) -> None:
        """Send nothing more; end the association once what was sent is on its way."""
        self._closing = True
        self._association.finish()

    @override
    def abort(self) -> None:
        """End the association at once."""
        self._closing = True
        self._association.abort()

    @override
    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    @override
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    @override
    def datagrams_received(self, packets: Sequence[ReceivedDatagram]) -> None:
        """Give the protocol what the remote address sent, or anything if there is none."""
        for data, source in packets:
            if self._answers is not None and not self._answers.matches(source):
                continue
            if isinstance(self._protocol, asyncio.DatagramProtocol) and not self._closing:
                try:
                    self._protocol.datagram_received(data, tuple(source))
                except Exception as error:  # noqa: BLE001 - a user's code: it must not end the association
                    self._report(error, "datagram_received")

    @override
    def error_received(self, error: OSError) -> None:
        """Give the protocol an error that ends nothing."""
        if isinstance(self._protocol, asyncio.DatagramProtocol) and not self._closing:
            try:
                self._protocol.error_received(error)
            except Exception as raised:  # noqa: BLE001 - as above
                self._report(raised, "error_received")

    @override
    def ended(self, error: Socks6Error) -> None:
        """Call `connection_lost` of the protocol soon: with the error, or with None if it has closed the transport."""
        reason = None if self._closing else error
        self._closing = True
        asyncio.get_running_loop().call_soon(self._protocol.connection_lost, reason)

    def _report(self, error: Exception, method: str) -> None:
        report(error, f"{method} of a datagram protocol failed", self, self._protocol)


class RemoteAddressFilter(NamedTuple):
    """The source of a remote's answers; any host's port where it was named by a name, which only the proxy resolves."""

    host: str | None
    port: int

    @classmethod
    def for_remote(cls, host: str, port: int) -> "RemoteAddressFilter":
        """Return what answers of this host and port come from."""
        normal = normalize_host(host)
        return cls(normal if is_literal(normal) else None, port)

    def matches(self, source: Endpoint) -> bool:
        """Return whether a datagram from there may be an answer."""
        return source.port == self.port and self.host in (None, source.host)
