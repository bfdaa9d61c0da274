"""The framings of datagrams: what each parses, it has built."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks6.errors import DecodeError
from socks6.message.address import encode_address
from socks6.message.datagrams import AssociationInitialization, Datagram
from socks6.message.dialect import DRAFT_12, GO_212, DatagramLayout
from socks6.message.framing import NoFraming, Socks5Framing, Socks6Framing
from tests.kit.socks_messages import Socks5Datagram, decode_socks5_datagram

ID = 0x0123456789ABCDEF
DRAFT, CONSISTENT = DatagramLayout.DRAFT, DatagramLayout.CONSISTENT
HEADERS: list[Socks6Framing | Socks5Framing] = [
    Socks6Framing(ID, DRAFT_12, DRAFT), Socks6Framing(ID, DRAFT_12, CONSISTENT), Socks6Framing(ID, GO_212, DRAFT),
    Socks6Framing(ID, GO_212, CONSISTENT), Socks5Framing(),
]  # fmt: skip


@pytest.mark.parametrize("framing", HEADERS)
@pytest.mark.parametrize("host", ["192.0.2.5", "2001:db8::5", "a.example"])
def test_what_is_built_is_parsed(framing: Socks6Framing | Socks5Framing, host: str) -> None:
    message = framing.build(framing.prefix(host, 53), b"data")
    assert message is not None
    header = framing.parse(message)
    assert header is not None
    key, start, end = header
    assert message[start:end] == b"data"
    assert framing.host_of(key) == (host, 53, framing)
    assert 0 <= framing.header_size + len(encode_address(host)[1]) - start < 4  # SOCKS 5 does not pad names


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
    assert packet.encode() == bytes.fromhex("0000 00 01 c0000205 0035") + b"data"
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


SOCKS5 = Socks5Framing()
SOCKS5_HOSTS = pytest.mark.parametrize(
    "host", ["192.0.2.1", "2001:db8::1", "example.com", "a" * 63 + ".example"]
)


@SOCKS5_HOSTS
def test_a_socks5_packet_comes_apart_as_its_value_says(host: str) -> None:
    packet = Socks5Datagram(host=host, port=53, data=b"data").encode()
    split = SOCKS5.parse(packet)
    assert split is not None
    key, start, _ = split
    assert SOCKS5.host_of(key)[:2] == (host, 53)
    assert packet[start:] == b"data"


@SOCKS5_HOSTS
def test_a_header_makes_any_data_a_packet(host: str) -> None:
    packet = SOCKS5.build(SOCKS5.prefix(host, 53), b"data") or b""
    assert decode_socks5_datagram(packet) == Socks5Datagram(host=host, port=53, data=b"data")


def test_a_packet_may_have_no_data() -> None:
    assert SOCKS5.parse(SOCKS5.prefix("192.0.2.1", 53)[0]) == (bytes.fromhex("01 c0000201 0035"), 10, 10)


@pytest.mark.parametrize(
    "packet",
    [
        "",
        "0000 00 01 c00002",  # cut
        "0000 00 01 c0000201 00",
        "0000 00 04 20010db8000000000000000000000001 00",
        "0000 00 03 0b 6578616d706c652e636f6d 00",
        "0000 00 02 c0000201 0035",  # no such type
        "0000 01 01 c0000201 0035 61",  # a fragment
        "0000 80 01 c0000201 0035 61",  # the last one
        "0001 00 01 c0000201 0035",  # the reserved field
        "0500 00 01 c0000201 0035",
    ],
)
def test_what_is_no_whole_packet_is_none(packet: str) -> None:
    assert SOCKS5.parse(bytes.fromhex(packet)) is None


def test_a_name_without_a_letter_is_none() -> None:
    split = SOCKS5.parse(bytes.fromhex("0000 00 03 00 0035"))
    assert split is not None
    with pytest.raises(DecodeError):
        SOCKS5.host_of(split[0])


def test_an_address_that_is_written_as_a_name_is_one() -> None:
    split = SOCKS5.parse(bytes.fromhex("0000 00 03 09") + b"192.0.2.1" + bytes.fromhex("0035"))
    assert split is not None
    assert SOCKS5.host_of(split[0])[:2] == ("192.0.2.1", 53)


@pytest.mark.parametrize(("host", "port"), [("", 53), ("192.0.2.1", 65536)])
def test_impossible_places_are_refused(host: str, port: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        SOCKS5.prefix(host, port)
