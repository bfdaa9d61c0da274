"""Ends of QUIC connections that send what no honest one would: packets by hand, with the keys of aioquic's end."""

import os
import struct
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from aioquic import tls
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicProtocolVersion
from typing_extensions import override

from socks6.net.transports.quic.aioquic import AioquicBackend, AioquicConnection, AioquicEngine
from socks6.net.transports.quic.connection import QuicConnection
from socks6.net.transports.quic.engine import ClientParameters, QuicEngine

Storm: TypeAlias = Callable[[int], bytes]
"""The frames of the packet with this number."""


def number(value: int) -> bytes:
    """Return a variable-length integer (RFC 9000 §16)."""
    for size, mark in ((1, 0), (2, 1), (4, 2)):
        if value < 1 << (8 * size - 2):
            return (value | mark << (8 * size - 2)).to_bytes(size)
    return (value | 3 << 62).to_bytes(8)


def stream_frame(stream_id: int, offset: int, data: bytes) -> bytes:
    return b"\x0e" + number(stream_id) + number(offset) + number(len(data)) + data


def new_id(sequence: int, retire: int) -> bytes:
    return b"\x18" + number(sequence) + number(retire) + b"\x08" + os.urandom(24)


def every_second_byte(turn: int) -> bytes:
    return b"".join(stream_frame(0, 1 + 2 * (150 * turn + at), b"z") for at in range(150))


def backwards(turn: int) -> bytes:
    return b"".join(stream_frame(0, 100_000 - 2 * (150 * turn + at), b"z") for at in range(150))


STORMS: Final[Mapping[str, Storm]] = {
    "every second byte": every_second_byte,
    "every second byte, backwards": backwards,
    "ids that retire all before": lambda turn: b"".join(
        new_id(10 + 30 * turn + at, 10 + 30 * turn + at) for at in range(30)
    ),
    "stops": lambda _: b"".join(b"\x05" + number(0) + b"\x01" for _ in range(300)),
    "pings": lambda _: b"\x01" * 1_100,
    "challenges": lambda _: b"".join(b"\x1a" + os.urandom(8) for _ in range(120)),
    "blocked": lambda turn: (b"\x14" + number(turn)) * 400,
    "the same byte over and over": lambda _: stream_frame(0, 0, b"!") * 200,
}


def packet_by_hand(engine: QuicEngine, frames: bytes) -> bytes:
    """Return a packet of an aioquic end with these frames, whatever the library thinks of them."""
    assert isinstance(engine, AioquicEngine)
    library = engine._connection
    pair = library._cryptos[tls.Epoch.ONE_RTT]
    at = library._packet_number
    library._packet_number += 1
    head = bytes((0x41 | pair.key_phase << 2,)) + library._peer_cid.cid + struct.pack("!H", at & 0xFFFF)
    packet: bytes = pair.encrypt_packet(head, frames.ljust(20, b"\0"), at)
    return packet


def send_by_hand(connection: QuicConnection, frames: bytes) -> None:
    """Send such a packet."""
    connection._packet_transport.send([packet_by_hand(connection.engine, frames)], connection._remote)


def initial_packets(count: int) -> list[bytes]:
    """Return a client's first packets, whose CRYPTO frames are every second byte."""
    destination, source = os.urandom(8), os.urandom(8)
    pair = CryptoPair()
    pair.setup_initial(destination, is_client=True, version=QuicProtocolVersion.VERSION_1)
    packets = []
    for at in range(count):
        frames = b"".join(
            b"\x06" + number(1 + 2 * (150 * at + piece)) + b"\x01z" for piece in range(150)
        ).ljust(1180, b"\0")
        head = b"\xc1" + struct.pack("!I", 1) + b"\x08" + destination + b"\x08" + source + b"\0"
        head += struct.pack("!HH", 0x4000 | len(frames) + 18, at)
        packets.append(pair.encrypt_packet(head, frames, at))
    return packets


class Nameless(AioquicConnection):
    """A client that calls itself nothing, as those of Chromium, quic-go and quiche do (RFC 9000 §5.1)."""

    sends_empty_ids = False

    def call_the_server(self, name: bytes) -> None:
        """Use this as the server's first id: §7.2 wants eight bytes, and aioquic takes as many as for its own."""
        self._peer_cid.cid = self._original_destination_connection_id = name

    @override
    def _replenish_connection_ids(self) -> None:
        """Have no other ids, as §5.1.1 says; left alone, aioquic has several that are empty."""
        if self.sends_empty_ids:
            super()._replenish_connection_ids()


class NamelessBackend(AioquicBackend):
    """Makes such clients."""

    def __init__(self, *, sends_empty_ids: bool = False) -> None:
        super().__init__()
        self._sends_empty_ids = sends_empty_ids

    @override
    def client(self, parameters: ClientParameters) -> AioquicEngine:
        configuration = super().client(parameters)._connection._configuration
        configuration.connection_id_length = 0
        connection = Nameless(configuration=configuration, session_ticket_handler=parameters.on_ticket)
        connection.sends_empty_ids = self._sends_empty_ids
        connection.call_the_server(os.urandom(14))
        return AioquicEngine(connection)
