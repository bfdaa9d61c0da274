"""Where a client's DATAGRAM frames come in: a port of the connection's own (QUIC).

Its tables are those of this connection alone: an association of another one is in none of them.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from typing_extensions import override

from socks6.net.datagrams.packet_info import Control
from socks6.net.sockets import SocketAddress
from socks6.net.stream import FrameSink, MultiplexedConnection
from socks6.relay.datagrams.association_relay import ClientPort
from socks6.relay.datagrams.forwarder import ClientPath, DatagramForwarder, PythonForwarder

PATH_LOST: Final = "its connection is over"


class QuicClientPath(ClientPath):
    """The one path that there is in a connection."""

    def __init__(self, connection: MultiplexedConnection) -> None:
        self._connection = connection
        self._lost: dict[Callable[[str], None], None] = {}

    @override
    def __hash__(self) -> int:
        return id(self)

    @override
    def __eq__(self, other: object) -> bool:
        return self is other

    @property
    @override
    def port(self) -> socket.socket:
        return self._connection.carrier_socket

    @property
    @override
    def source(self) -> SocketAddress:
        return self._connection.remote

    @property
    @override
    def local(self) -> bytes:
        return b""  # the connection knows

    @override
    def send(self, message: bytes, control: Control) -> bool:
        return self._connection.send_frame(message)

    @override
    def join(self, user: str, lost: Callable[[str], None]) -> bool:
        self._lost[lost] = None
        return True

    @override
    def leave(self, lost: Callable[[str], None]) -> None:
        self._lost.pop(lost, None)

    def end(self) -> None:
        """Tell everybody that the path is lost."""
        lost, self._lost = self._lost, {}
        for tell in lost:
            tell(PATH_LOST)


class QuicClientPort(ClientPort, FrameSink):
    """Takes the frames of a connection."""

    def __init__(self, connection: MultiplexedConnection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._forwarder = PythonForwarder()
        self._path = QuicClientPath(connection)
        connection.set_frame_sink(self)

    @property
    @override
    def sock(self) -> socket.socket:
        return self._connection.carrier_socket

    @property
    @override
    def forwarder(self) -> DatagramForwarder:
        return self._forwarder

    @override
    def close(self) -> None:
        self._connection.set_frame_sink(None)

    @override
    def frame_received(self, data: bytes) -> None:
        self._forwarder.take(data, self._path, self._loop.time())

    @override
    def connection_lost(self) -> None:
        self._path.end()
