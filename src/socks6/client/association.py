"""A UDP association, as its user sees it: a UDP socket of the proxy's (§ Handling UDP ASSOCIATE; RFC 1928, section 7)."""

import asyncio
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Final, NamedTuple

from socks6.client.paths import DatagramPath
from socks6.client.receive_queue import DatagramReceiver, ReceivedDatagram, ReceiveQueue
from socks6.client.requester import error_for
from socks6.client.session import SessionLease
from socks6.errors import DatagramFailed, DatagramTooLarge, DecodeError, ProxyUnreachable, Socks6Error
from socks6.message.address import encode_address, normalize_host
from socks6.message.codes import AddressType, Availability
from socks6.message.datagrams import (
    AssociationMessage,
    Datagram,
    DatagramError,
    DatagramPrefix,
    decode_message,
)
from socks6.message.framing import Socks5Framing, Socks6Framing
from socks6.message.options import StackOption, UdpError, find
from socks6.net.machine_io import next_event
from socks6.net.scopes import time_limit
from socks6.net.stream import ByteStream, Endpoint
from socks6.protocol.client import ClientConversation
from socks6.protocol.events import AssociationMessageReceived, ClientEvent, MessagesIgnored
from socks6.protocol.machine import Machine

MAX_CACHED_HOSTS: Final = 1024  # destinations, and sources, whose bytes are remembered; forgotten all at once
GRACEFUL_CLOSE_SECONDS: Final = 1.0  # what the proxy gets to end an association that we are done with
MOST_DATA: Final = {  # what a datagram to such an address can hold; a name may lead to either
    AddressType.IPV4: 0xFFFF - 28,
    AddressType.DOMAIN_NAME: 0xFFFF - 28,
    AddressType.IPV6: 0xFFFF - 8,
}


class _Destination(NamedTuple):
    """What is written before the data for it, and how long these may be."""

    prefix: DatagramPrefix
    limit: int


class Association:
    """A UDP port at the proxy, for as long as the connection to the proxy lives.

    ::

        async with client.associate() as udp:
            await udp.send(b"hello", ("example.com", 5000))
            data, source = await udp.receive()

    `bound` is the port's address, as remote hosts see it; any of them may send to it (as far as the proxy lets
    them). A SOCKS 5 proxy does not tell that: there it is where the proxy takes our datagrams. `options` are the stack options in force, as the proxy reports them. Datagrams may get lost anywhere:
    those dropped here for want of room are counted in `dropped`.
    """

    def __init__(
        self,
        stream: ByteStream,
        conversation: Machine[ClientEvent],
        *,
        framing: Socks6Framing | Socks5Framing,
        bound: Endpoint,
        options: tuple[StackOption, ...],
        lease: SessionLease | None = None,
    ) -> None:
        """See `Client.associate`, which makes them."""
        self.framing: Final = framing
        self.bound: Final = bound
        self.options: Final = options
        reported = find(options, UdpError)
        self._reports = reported is not None and reported.availability == Availability.YES
        self._stream = stream
        self._session_hold = lease
        self._conversation = conversation
        if isinstance(conversation, ClientConversation) and isinstance(framing, Socks6Framing):
            conversation.expect_layout(framing.layout)
        self._queue = ReceiveQueue()
        self._receiver: DatagramReceiver = self._queue
        self._destinations: dict[tuple[str, int], _Destination] = {}
        self._sources: dict[bytes, Endpoint] = {}
        self._chosen_path: DatagramPath | None = None
        self._end: Socks6Error | None = None
        self._group: asyncio.TaskGroup | None = None

    @property
    def path(self) -> str:
        """How the datagrams travel between us and the proxy: "datagram" for over UDP, "dtls", "stream"."""
        return self._path.name

    @property
    def dropped(self) -> int:
        """How many datagrams, of either direction, were dropped here for want of room."""
        return self._queue.dropped + self._path.dropped

    def max_data(self, host: str) -> int:
        """Return how many bytes a datagram to `host` can hold at most. Raises ValueError for no host."""
        return self._limit(normalize_host(host), self._path.largest)

    def unfragmented_data(self, host: str) -> int:
        """Return how many it can hold to reach the proxy in one packet, as far as the path to it is known."""
        return self._limit(normalize_host(host), self._path.unfragmented)

    async def send(self, data: bytes, destination: tuple[str, int]) -> None:
        """Send a datagram to a host, which the proxy looks up where it is a name.

        Waits while there is no room; any number of tasks may. Raises DatagramTooLarge; ValueError for an
        impossible host or port; OSError when the association is over, also if that happens meanwhile.
        """
        message = self._message(data, destination)
        try:
            await self._path.send(message)
        except OSError:
            if self._end is None:
                raise
            raise self._end.with_traceback(None) from None

    def send_nowait(self, data: bytes, destination: tuple[str, int]) -> None:
        """Send as `send` does, but drop a datagram where there is no room."""
        self._path.send_nowait(self._message(data, destination))

    async def receive(self) -> tuple[bytes, Endpoint]:
        """Return the next datagram's data, and the address and port it came from.

        Raises DatagramFailed for an ICMP error, where these were asked for, after which all goes on; and
        ProxyUnreachable (or RemoteProtocolError) when the association is over.
        """
        return await self._queue.receive()

    async def __aenter__(self) -> "Association":
        """Carry datagrams until the block ends."""
        self._group = await asyncio.TaskGroup().__aenter__()
        self._group.create_task(self.run(), name="socks6 association")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the association, having sent what `send` was given."""
        group, self._group = self._group, None
        if group is None:
            return
        if kind is None:
            self.finish()
        else:
            self.abort()
        cancelled = isinstance(error, asyncio.CancelledError)
        # any other exception is the caller's own: it is raised without a group around it
        await (group.__aexit__(kind, error, trace) if cancelled else group.__aexit__(None, None, None))

    # For callers that run associations by themselves.

    async def run(self) -> None:
        """Carry until the association is over; to be called once."""
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read())
                carrying = group.create_task(self._path.run())
                await asyncio.wait((reading, carrying), return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    await self._close_gracefully(reading)
                reading.cancel()
                carrying.cancel()
        except* OSError as errors:
            self._over(ProxyUnreachable(f"the connection to the proxy broke: {errors.exceptions[0]}"))
        finally:
            self.abort()

    def finish(self) -> None:
        """Make `run` end once what was sent is on its way. Idempotent."""
        self._path.finish()

    def abort(self) -> None:
        """End at once. Idempotent."""
        if self._chosen_path is not None:
            self._chosen_path.close()
        self._stream.abort()
        if self._session_hold is not None:
            self._session_hold.release()
        self._over(ProxyUnreachable("the association was closed"))

    def set_path(self, path: DatagramPath) -> None:
        """Send datagrams by this path from now on."""
        self._chosen_path = path

    def lend_socket(self) -> socket.socket | None:
        """Return the UDP socket that datagrams travel by, for another to read and to close; None if there is none."""
        return self._path.lend_socket()

    def set_receiver(self, receiver: DatagramReceiver) -> None:
        """Give what comes, and what is here already, to `receiver` instead of the queue of `receive`."""
        self._receiver = receiver
        self._queue.drain_to(receiver)

    def opening(self) -> bytes:
        """Return the message that makes the proxy confirm the association (§ Proxying UDP servers)."""
        framing = self.framing
        assert isinstance(framing, Socks6Framing)  # noqa: S101 - SOCKS 5 confirms nothing
        nowhere = Datagram(association_id=framing.association_id, host="0.0.0.0", port=0, data=b"")  # noqa: S104 - zeros, on the wire
        return nowhere.encode(framing.dialect, framing.layout)

    def send_message(self, message: bytes) -> None:
        """Send a whole message."""
        self._path.send_nowait(message)

    def on_packets(self, packets: Sequence[bytes]) -> None:
        """Take packets that came over UDP; those that are no messages for us are ignored."""
        received: list[ReceivedDatagram] = []
        for packet in packets:
            header = self.framing.parse(packet)
            if header is None:
                self._take_rest(packet)
                continue
            key, start, end = header
            source = self._sources.get(key) or self._source_of(key)
            if source is not None:
                received.append((packet[start:end], source))
        if received:
            self._receiver.datagrams_received(received)

    def on_message(self, message: AssociationMessage) -> None:
        """Take a message that came on the stream."""
        if isinstance(self.framing, Socks5Framing) or message.association_id != self.framing.association_id:
            return
        match message:
            case Datagram():
                self._receiver.datagrams_received([(message.data, Endpoint(message.host, message.port))])
            case DatagramError() if self._reports:
                error = DatagramFailed(
                    host=message.host, port=message.port, code=message.code, reporter=message.reporter
                )
                self._receiver.error_received(error)
            case _:
                pass  # a confirmation comes before we exist; there is no other use for these

    # Inside.

    @property
    def _path(self) -> DatagramPath:
        assert self._chosen_path is not None  # noqa: S101 - the factory has called `set_path`
        return self._chosen_path

    def _message(self, data: bytes, destination: tuple[str, int]) -> bytes:
        if self._end is not None:
            raise self._end.with_traceback(None)  # or it would grow with each call
        prefix, limit = self._destinations.get(destination) or self._destination_of(destination)
        message = self.framing.build(prefix, data) if len(data) <= limit else None
        if message is None:
            raise DatagramTooLarge(len(data), limit)
        return message

    def _destination_of(self, destination: tuple[str, int]) -> _Destination:
        name, port = destination[:2]  # asyncio's IPv6 addresses have four parts
        host = normalize_host(name)
        if not 0 <= port <= 0xFFFF:
            raise ValueError(f"{port} is no port")
        prefix = self.framing.prefix(host, port)
        found = _Destination(prefix, self._limit(host, self._path.largest))
        if len(self._destinations) >= MAX_CACHED_HOSTS:
            self._destinations.clear()
        self._destinations[destination] = found
        return found

    def _source_of(self, key: bytes) -> Endpoint | None:
        try:
            host, port, _ = self.framing.host_of(key)
        except DecodeError:
            return None
        if len(self._sources) >= MAX_CACHED_HOSTS:
            self._sources.clear()
        source = self._sources[key] = Endpoint(host, port)
        return source

    def _limit(self, host: str, largest: int) -> int:
        kind, address = encode_address(host)
        return min(largest - self.framing.header_size - len(address), MOST_DATA[AddressType(kind)])

    def _take_rest(self, packet: bytes) -> None:
        if isinstance(self.framing, Socks5Framing):
            return
        try:
            message, _ = decode_message(packet, self.framing.dialect, self.framing.layout)
        except DecodeError:
            return
        self.on_message(message)

    async def _read(self) -> None:
        """Take what comes on the stream, until that ends. Raises OSError when it breaks."""
        while True:
            event: ClientEvent | None = await next_event(self._conversation, self._stream)
            if isinstance(event, MessagesIgnored):
                continue
            if not isinstance(event, AssociationMessageReceived):
                self._over(error_for(event))
                return
            self.on_message(event.message)

    async def _close_gracefully(self, reading: "asyncio.Task[None]") -> None:
        """Close so that what was sent arrives: a close with bytes still coming in would be a reset."""
        async with time_limit(GRACEFUL_CLOSE_SECONDS):
            await self._stream.send_eof()
            await asyncio.wait((reading,))

    def _over(self, error: Socks6Error) -> None:
        """Record why the association is over, and report it to the receiver; only the first reason counts."""
        if self._end is None:
            self._end = error
            self._receiver.ended(error)
