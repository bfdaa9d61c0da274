"""The first bytes of QUIC packets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks6.net.transports.quic.header import (
    Header,
    read_header,
    split_by_destination,
    version_negotiation,
)

INITIAL = bytes.fromhex("c0 00000001 02 aabb 01 cc 4003 010203 04 00112233")


def test_an_initial_packet_tells_ids_and_token() -> None:
    assert read_header(INITIAL + b"and another packet") == Header(
        destination=b"\xaa\xbb",
        source=b"\xcc",
        version=1,
        initial=True,
        token=b"\1\2\3",
        number_at=len(INITIAL) - 4,
        end=len(INITIAL),
    )


def test_other_long_packets_have_no_token() -> None:
    header = read_header(bytes.fromhex("e0 00000001 02 aabb 01 cc"))
    assert header == Header(destination=b"\xaa\xbb", source=b"\xcc", version=1)


def test_a_short_packet_tells_its_connection() -> None:
    assert read_header(b"\x40" + b"12345678" + b"rest") == Header(destination=b"12345678")
    assert read_header(b"\x40" + b"1234567") is None


@pytest.mark.parametrize("size", range(1, len(INITIAL)))
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


def short(cid: bytes, size: int = 12) -> bytes:
    return (b"\x40" + cid).ljust(size, b"\0")


A, B = b"AAAAAAAA", b"BBBBBBBB"
LONG_A = bytes.fromhex("e0 00000001 08") + A


@pytest.mark.parametrize(
    ("datagrams", "runs"),
    [
        ([short(A)], [(0, 12)]),
        ([short(A), short(A), short(A)[:10]], [(0, 34)]),
        ([short(A), short(B), short(B), short(A)], [(0, 12), (12, 36), (36, 48)]),
        ([LONG_A, short(A, len(LONG_A)), short(B, len(LONG_A))], [(0, 28), (28, 42)]),
        ([short(A), b"\x40AAA"], [(0, 12), (12, 16)]),
        ([short(A), b"\xe0"], [(0, 12), (12, 13)]),
    ],
)
def test_a_row_is_split_where_the_destination_changes(
    datagrams: list[bytes], runs: list[tuple[int, int]]
) -> None:
    assert list(split_by_destination(b"".join(datagrams), len(datagrams[0]))) == runs


@given(st.binary(min_size=1, max_size=64), st.integers(1, 70))
def test_the_runs_are_the_row(row: bytes, size: int) -> None:
    runs = list(split_by_destination(row, size))
    assert b"".join(row[begin:end] for begin, end in runs) == row
    assert all(begin % size == 0 for begin, _ in runs)


@given(st.binary(min_size=1, max_size=64))
def test_anything_can_be_read(data: bytes) -> None:
    read_header(data)
