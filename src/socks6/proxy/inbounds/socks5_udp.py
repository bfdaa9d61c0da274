"""SOCKS 5 UDP ASSOCIATE (RFC 1928, sections 4 and 7): a UDP socket for the client, joined to an association."""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from typing_extensions import override

from socks6.errors import DecodeError, OperationFailed
from socks6.message.codes import ReplyCode
from socks6.message.socks5 import NO_ADDRESS
from socks6.message.socks5_datagrams import decode_key, packet_header, split_packet
from socks6.net.machine_io import flush
from socks6.net.sockets import SocketAddress, endpoint
from socks6.net.stream import (
    ByteStream,
    DatagramChannel,
    DatagramReport,
    DatagramSink,
    Endpoint,
    Packet,
    Protection,
)
from socks6.protocol.socks5 import Socks5Conversation
from socks6.proxy.commands import ProxyRequest
from socks6.proxy.connection import ClientConnection

MAX_READS: Final = 64  # datagrams taken at a time, before others get their turn
MAX_DATAGRAM_BYTES: Final = 65536
SOCKET_BUFFER_BYTES: Final = 1 << 20  # bytes asked of the kernel, each way; it may grant less
MAX_CACHED_HOSTS: Final = 1024  # destinations and sources that are remembered, each; forgotten all at once


def may_associate(stream: ByteStream) -> bool:
    """Return whether a client has UDP: over TCP in the clear alone.

    Over a Unix socket nobody knows where its datagrams would come from; where it has chosen TLS, they would go in
    the clear.
    """
    return stream.protection is Protection.CLEAR and bool(stream.remote.host)


async def associate(
    conversation: Socks5Conversation, connection: ClientConnection, request: ProxyRequest, *, idle: float
) -> None:
    """Serve an association to its end, which is that of the client's stream, or `idle` seconds of silence."""
    # RFC 1928, section 6: its address and port are the client's own, as far as it knows them; few do
    request = replace(request, host=NO_ADDRESS, port=0)
    try:
        association = await connection.associate(request)
    except OperationFailed as failure:
        conversation.send_failure(failure.code)
        return
    try:
        await _carry(conversation, connection, request, association.channel, idle=idle)
    finally:
        await association.channel.aclose()


async def _carry(
    conversation: Socks5Conversation,
    connection: ClientConnection,
    request: ProxyRequest,
    channel: DatagramChannel,
    *,
    idle: float,
) -> None:
    try:
        relay = Socks5Relay(connection.stream)
    except OSError as error:  # descriptors or memory are short
        reason = f"no UDP port for the client: {error.strerror or error}"
        connection.answered(request, ReplyCode.GENERAL_FAILURE, reason)
        conversation.send_failure(ReplyCode.GENERAL_FAILURE)
        return
    try:
        conversation.send_success(*relay.bound)
        await flush(conversation, connection.stream)
        await relay.carry(channel, idle=idle)
    finally:
        relay.close()
        connection.carried(relay.bytes_up, relay.bytes_down)


class Socks5Relay(DatagramSink):
    """The client's side of an association: a UDP socket at the address where the client has reached us.

    It serves one client: whoever sends from the host of the connection first, and from then on nobody else. What
    is no whole packet of SOCKS 5, a fragment for instance, is dropped; so is what comes before the client's first.
    """

    def __init__(self, stream: ByteStream) -> None:
        """Raises OSError."""
        self._stream = stream
        self._owner = stream.remote.host
        self._client: SocketAddress | None = None  # once it has sent something
        self._channel: DatagramChannel | None = None
        self._destinations: dict[bytes, Endpoint | None] = {}
        self._headers: dict[tuple[str, int], bytes] = {}
        self._last = 0.0
        self._loop = asyncio.get_running_loop()
        self._socket = _socket_beside(stream)
        try:
            self.bound: Final = endpoint(self._socket.getsockname())  # where the client sends its packets
        except BaseException:
            self._socket.close()
            raise
        self.bytes_up = 0
        self.bytes_down = 0

    async def carry(self, channel: DatagramChannel, *, idle: float) -> None:
        """Carry until the client's stream ends, or no datagram has come or gone for `idle` seconds; 0 is for ever."""
        self._channel = channel
        self._last = self._loop.time()
        self._loop.add_reader(self._socket.fileno(), self._receive)
        channel.start(self)
        while not await self._ended_within(idle or None):
            pass

    def close(self) -> None:
        """Free the socket. Idempotent."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    @override
    def datagrams_received(self, packets: Sequence[Packet]) -> None:
        if self._client is None or self._socket.fileno() < 0:
            return
        self._last = self._loop.time()
        for data, host, port in packets:
            header = self._headers.get((host, port)) or self._header_of(host, port)
            try:
                self._socket.sendto(header + data, self._client)
            except OSError:  # no room, too long, or the client is gone: a datagram less
                continue
            self.bytes_down += len(data)

    @override
    def error_reported(self, report: DatagramReport) -> None:
        """Take none: SOCKS 5 has no word for them."""

    @override
    def channel_closed(self, reason: str) -> None:
        self._stream.abort()  # which ends `carry`

    async def _ended_within(self, seconds: float | None) -> bool:
        """Return whether it is over: the stream has ended, or all has been silent for so long."""
        try:
            async with asyncio.timeout(seconds) as limit:
                while await self._stream.receive():  # there is nothing to be said on it
                    pass
        except TimeoutError:
            if not limit.expired():
                raise
            return seconds is not None and self._loop.time() - self._last >= seconds
        return True

    def _receive(self) -> None:
        """Send on what the client has sent."""
        packets: list[Packet] = []
        for _ in range(MAX_READS):
            try:
                packet, source = self._socket.recvfrom(MAX_DATAGRAM_BYTES)
            except OSError:  # nothing more; or an ICMP error about an earlier answer, which ends nothing
                break
            if source != self._client and not self._is_owner(source):
                continue
            split = split_packet(packet)
            if split is None:
                continue
            self._client = source
            key, start = split
            destination = self._destinations[key] if key in self._destinations else self._destination_of(key)
            if destination is not None:
                packets.append((packet[start:], *destination))
                self.bytes_up += len(packet) - start
        if packets and self._channel is not None:
            self._last = self._loop.time()
            self._channel.send(packets)

    def _is_owner(self, source: SocketAddress) -> bool:
        """Return whether `source` may be the client's, whose port nobody knows yet."""
        return self._client is None and source[0].partition("%")[0] == self._owner.partition("%")[0]

    def _destination_of(self, key: bytes) -> Endpoint | None:
        try:
            destination = Endpoint(*decode_key(key))
        except DecodeError:
            destination = None
        if len(self._destinations) >= MAX_CACHED_HOSTS:
            self._destinations.clear()
        self._destinations[key] = destination
        return destination

    def _header_of(self, host: str, port: int) -> bytes:
        if len(self._headers) >= MAX_CACHED_HOSTS:
            self._headers.clear()
        header = self._headers[host, port] = packet_header(host, port)
        return header


def _socket_beside(stream: ByteStream) -> socket.socket:
    """Return a UDP socket at a free port of the address where the client has reached us. Raises OSError."""
    raw = stream.raw_socket
    address = raw.getsockname() if raw is not None else stream.local
    host = address[0]
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
        sock.bind((host, 0, *address[2:]))
    except BaseException:
        sock.close()
        raise
    return sock
