"""The first bytes of QUIC packets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks6.net.transports.quic.header import Header, read_header, version_negotiation

INITIAL = bytes.fromhex("c0 00000001 02 aabb 01 cc 4003 010203 00")


def test_an_initial_packet_tells_ids_and_token() -> None:
    assert read_header(INITIAL) == Header(
        destination=b"\xaa\xbb", source=b"\xcc", version=1, initial=True, token=b"\1\2\3"
    )


def test_other_long_packets_have_no_token() -> None:
    header = read_header(bytes.fromhex("e0 00000001 02 aabb 01 cc"))
    assert header == Header(destination=b"\xaa\xbb", source=b"\xcc", version=1)


def test_a_short_packet_tells_its_connection() -> None:
    assert read_header(b"\x40" + b"12345678" + b"rest") == Header(destination=b"12345678")
    assert read_header(b"\x40" + b"1234567") is None


@pytest.mark.parametrize("size", range(1, len(INITIAL) - 1))
def test_what_is_cut_off_is_nobodys(size: int) -> None:
    assert read_header(INITIAL[:size]) is None


def test_ids_longer_than_the_version_has_are_nobodys() -> None:
    assert read_header(bytes.fromhex("c0 00000001 15") + bytes(21) + b"\0\0") is None


def test_unknown_versions_are_told_which_there_are() -> None:
    header = read_header(bytes.fromhex("c0 0a0a0a0a 02 aabb 01 cc"))
    assert header is not None
    assert header.version == 0x0A0A0A0A
    packet = version_negotiation(header, 0xFF)
    assert packet == bytes.fromhex("ff 00000000 01 cc 02 aabb 00000001")


@given(st.binary(min_size=1, max_size=64))
def test_anything_can_be_read(data: bytes) -> None:
    read_header(data)
