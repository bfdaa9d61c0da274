"""SOCKS 5 UDP packets, the quick way."""

import pytest

from socks6.errors import DecodeError
from socks6.message.socks5 import Socks5Datagram
from socks6.message.socks5_datagrams import MAX_HEADER, decode_key, packet_header, split_packet

HOSTS = pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "example.com", "a" * 63 + ".example"])


@HOSTS
def test_a_packet_comes_apart_as_its_value_says(host: str) -> None:
    packet = Socks5Datagram(host=host, port=53, data=b"data").encode()
    split = split_packet(packet)
    assert split is not None
    key, start = split
    assert decode_key(key) == (host, 53)
    assert packet[start:] == b"data"


@HOSTS
def test_a_header_makes_any_data_a_packet(host: str) -> None:
    packet = packet_header(host, 53) + b"data"
    assert Socks5Datagram.decode(packet) == Socks5Datagram(host=host, port=53, data=b"data")


def test_a_packet_may_have_no_data() -> None:
    assert split_packet(packet_header("192.0.2.1", 53)) == (bytes.fromhex("01 c0000201 0035"), 10)


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
    assert split_packet(bytes.fromhex(packet)) is None


def test_a_name_without_a_letter_is_none() -> None:
    split = split_packet(bytes.fromhex("0000 00 03 00 0035"))
    assert split is not None
    with pytest.raises(DecodeError):
        decode_key(split[0])


def test_an_address_that_is_written_as_a_name_is_one() -> None:
    split = split_packet(bytes.fromhex("0000 00 03 09") + b"192.0.2.1" + bytes.fromhex("0035"))
    assert split is not None
    assert decode_key(split[0]) == ("192.0.2.1", 53)


def test_headers_have_their_limit() -> None:
    name = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert len(packet_header(name, 65535)) <= MAX_HEADER


@pytest.mark.parametrize(("host", "port"), [("", 53), ("192.0.2.1", 65536)])
def test_impossible_places_are_refused(host: str, port: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        packet_header(host, port)
