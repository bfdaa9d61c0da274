"""Whatever comes from a proxy over UDP, an association makes datagrams and errors of it, or nothing."""

import asyncio
from collections.abc import Sequence
from typing import Final

from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from socks6.client.association import Association
from socks6.client.receive_queue import DatagramReceiver, ReceivedDatagram
from socks6.errors import DatagramFailed, Socks6Error
from socks6.message.codes import Command
from socks6.message.datagrams import AssociationMessage, Datagram, DatagramError
from socks6.message.dialect import DRAFT_12, GO_212, DatagramLayout, Dialect
from socks6.message.framing import Socks6Framing
from socks6.message.options import UdpError
from socks6.net.stream import Endpoint
from tests.kit.memory import memory_stream_pair
from tests.kit.scenes import asking
from tests.kit.strategies import DATAGRAM_ERRORS, DATAGRAMS

ID: Final = 0x0102030405060708
DIALECTS: Final = st.sampled_from([DRAFT_12, GO_212])
LAYOUTS: Final = st.sampled_from(DatagramLayout)


class Listed(DatagramReceiver):
    """Lists what it is told."""

    def __init__(self) -> None:
        self.datagrams: list[ReceivedDatagram] = []
        self.errors: list[DatagramFailed] = []

    @override
    def datagrams_received(self, packets: Sequence[ReceivedDatagram]) -> None:
        self.datagrams += packets

    @override
    def error_received(self, error: DatagramFailed) -> None:
        self.errors.append(error)

    @override
    def ended(self, error: Socks6Error) -> None:
        raise AssertionError("no packet ends an association")


def took(packets: Sequence[bytes], dialect: Dialect, layout: DatagramLayout) -> Listed:
    """Return what an association makes of packets."""

    async def on_packets() -> Listed:
        listed = Listed()
        association = Association(
            memory_stream_pair()[0],
            asking(Command.UDP_ASSOCIATE).machine,
            framing=Socks6Framing(ID, dialect, layout),
            bound=Endpoint("192.0.2.1", 4711),
            options=(UdpError(availability=2),),
        )
        association.set_receiver(listed)
        association.on_packets(packets)
        return listed

    return asyncio.run(on_packets())


@given(st.lists(st.binary(max_size=80), max_size=8), DIALECTS, LAYOUTS)
def test_rubbish_is_nothing(packets: list[bytes], dialect: Dialect, layout: DatagramLayout) -> None:
    listed = took(packets, dialect, layout)
    assert len(listed.datagrams) + len(listed.errors) <= len(packets)


@given(DATAGRAMS | DATAGRAM_ERRORS, st.integers(0, 600), st.integers(0, 255), DIALECTS, LAYOUTS)
def test_a_message_with_one_byte_wrong_is_another_or_nothing(
    message: AssociationMessage, place: int, byte: int, dialect: Dialect, layout: DatagramLayout
) -> None:
    packet = bytearray(message.encode(dialect, layout))
    packet[4:12] = ID.to_bytes(8)
    packet[place % len(packet)] = byte
    took([bytes(packet), bytes(packet[:-1])], dialect, layout)


@given(DATAGRAMS | DATAGRAM_ERRORS, st.binary(max_size=9), DIALECTS, LAYOUTS)
def test_a_message_is_understood_whatever_its_padding(
    message: Datagram | DatagramError, padding: bytes, dialect: Dialect, layout: DatagramLayout
) -> None:
    packet = bytearray(message.encode(dialect, layout))
    packet[4:12] = ID.to_bytes(8)
    listed = took([bytes(packet) + padding], dialect, layout)
    if isinstance(message, Datagram):
        assert listed.datagrams == [(message.data, (message.host, message.port))]
    else:
        (error,) = listed.errors
        assert (error.host, error.port, error.code, error.reporter) == (
            message.host,
            message.port,
            message.code,
            message.reporter,
        )


@given(DATAGRAMS, DIALECTS, LAYOUTS)
def test_what_is_anothers_is_nothing(message: Datagram, dialect: Dialect, layout: DatagramLayout) -> None:
    packet = bytearray(message.encode(dialect, layout))
    packet[4:12] = (ID + 1).to_bytes(8)
    assert took([bytes(packet)], dialect, layout).datagrams == []
