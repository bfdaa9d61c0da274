"""The framings of datagrams: what each parses, it has built."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks6.errors import DecodeError
from socks6.message.datagrams import AssociationInitialization, Datagram
from socks6.message.dialect import DRAFT_12, GO_212, DatagramLayout
from socks6.message.framing import Framing, NoFraming, Socks5Framing, Socks6Framing
from socks6.message.socks5 import Socks5Datagram

ID = 0x0123456789ABCDEF
DRAFT, CONSISTENT = DatagramLayout.DRAFT, DatagramLayout.CONSISTENT
HEADERS: list[Framing] = [
    Socks6Framing(ID, DRAFT_12, DRAFT), Socks6Framing(ID, DRAFT_12, CONSISTENT), Socks6Framing(ID, GO_212, DRAFT),
    Socks6Framing(ID, GO_212, CONSISTENT), Socks5Framing(),
]  # fmt: skip


@pytest.mark.parametrize("framing", HEADERS)
@pytest.mark.parametrize("host", ["192.0.2.5", "2001:db8::5", "a.example"])
def test_what_is_built_is_parsed(framing: Framing, host: str) -> None:
    message = framing.build(framing.prefix(host, 53), b"data")
    assert message is not None
    header = framing.parse(message)
    assert header is not None
    key, start, end = header
    assert message[start:end] == b"data"
    assert framing.host_of(key) == (host, 53, framing)


@pytest.mark.parametrize("layout", list(DatagramLayout))
def test_a_socks6_framing_is_a_datagram_message(layout: DatagramLayout) -> None:
    framing = Socks6Framing(ID, DRAFT_12, layout)
    message = Datagram(association_id=ID, host="a.example", port=53, data=b"data").encode(DRAFT_12, layout)
    assert framing.build(framing.prefix("a.example", 53), b"data") == message
    assert Socks6Framing(ID + 1, DRAFT_12, layout).parse(message) is None
    assert framing.parse(AssociationInitialization(association_id=ID).encode()) is None
    assert framing.build(framing.prefix("192.0.2.5", 53), bytes(65_520)) is None


def test_a_client_shows_its_layout() -> None:
    ours, theirs = Socks6Framing(ID, DRAFT_12, DRAFT), Socks6Framing(ID, DRAFT_12, CONSISTENT)
    message = theirs.build(theirs.prefix("192.0.2.5", 53), b"data")
    header = ours.parse(message or b"")
    assert header is not None
    assert ours.host_of(header[0]) == ("192.0.2.5", 53, theirs)


def test_a_socks5_framing_is_a_packet() -> None:
    framing = Socks5Framing()
    packet = Socks5Datagram(host="192.0.2.5", port=53, data=b"data")
    assert framing.build(framing.prefix("192.0.2.5", 53), b"data") == packet.encode()
    assert framing.parse(Socks5Datagram(host="192.0.2.5", port=53, data=b"part", fragment=1).encode()) is None
    with pytest.raises(DecodeError):
        framing.host_of(bytes.fromhex("03 03 612062 0035"))


@given(st.binary(max_size=40))
def test_without_a_header_all_is_data_for_one_host(data: bytes) -> None:
    framing = NoFraming("192.0.2.5", 53)
    assert framing.parse(data) == (b"", 0, len(data))
    assert framing.host_of(b"") == ("192.0.2.5", 53, framing)
    assert framing.build(framing.prefix("192.0.2.7", 9), data) == data


def test_each_kind_has_a_number_of_its_own() -> None:
    assert [framing.native[0] for framing in [NoFraming(), *HEADERS]] == [0, 2, 3, 2, 3, 1]
    assert HEADERS[2].native == (2, GO_212.version, GO_212.domain_length_counts_itself, ID)
