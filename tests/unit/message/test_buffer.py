"""The cursor over received bytes."""

from collections.abc import Callable
from struct import Struct

import pytest

from socks6.errors import DecodeError
from socks6.message.buffer import Reader

EIGHT = bytes.fromhex("01 02 03 04 05 06 07 08")

READS: dict[str, tuple[Callable[[Reader], object], object, int]] = {
    "u8": (Reader.u8, 0x01, 1),
    "u16": (Reader.u16, 0x0102, 2),
    "u32": (Reader.u32, 0x01020304, 4),
    "unpack": (lambda reader: reader.unpack(Struct("!BxH")), (0x01, 0x0304), 4),
    "take": (lambda reader: reader.take(3), bytes.fromhex("01 02 03"), 3),
    "rest": (Reader.rest, EIGHT, 8),
}


@pytest.mark.parametrize("name", READS)
def test_reads_in_network_order(name: str) -> None:
    read, expected, _ = READS[name]
    assert read(Reader(EIGHT)) == expected


@pytest.mark.parametrize("name", READS)
def test_position_moves_past_what_was_read(name: str) -> None:
    read, _, size = READS[name]
    reader = Reader(EIGHT)
    read(reader)
    assert reader.position == size
    assert reader.remaining == 8 - size


@pytest.mark.parametrize("name", READS.keys() - {"rest"})
def test_reading_past_the_end_is_a_decode_error(name: str) -> None:
    read, _, size = READS[name]
    with pytest.raises(DecodeError, match=f"{size} bytes wanted, {size - 1} left"):
        read(Reader(EIGHT, 0, size - 1))


@pytest.mark.parametrize("name", READS.keys() - {"rest"})
def test_a_failed_read_reads_nothing(name: str) -> None:
    read, _, size = READS[name]
    reader = Reader(EIGHT, 0, size - 1)
    with pytest.raises(DecodeError):
        read(reader)
    assert reader.position == 0


def test_reading_starts_where_the_caller_says() -> None:
    assert Reader(EIGHT, 2).u8() == 0x03


def test_bytes_past_the_given_end_are_not_seen() -> None:
    assert Reader(EIGHT, 2, 4).rest() == bytes.fromhex("03 04")


@pytest.mark.parametrize(("start", "end"), [(-1, 4), (5, 4), (0, 9), (9, None)])
def test_bounds_outside_the_data_are_the_callers_error(start: int, end: int | None) -> None:
    with pytest.raises(ValueError, match="no bytes"):
        Reader(EIGHT, start, end)


def test_section_sees_its_bytes_alone() -> None:
    section = Reader(EIGHT, 1).section(2)
    assert section.rest() == bytes.fromhex("02 03")


def test_section_counts_as_read() -> None:
    reader = Reader(EIGHT)
    reader.section(3)
    assert reader.u8() == 0x04


def test_section_past_the_end_is_a_decode_error() -> None:
    with pytest.raises(DecodeError):
        Reader(EIGHT, 0, 4).section(5)


@pytest.mark.parametrize("read", [Reader.take, Reader.section])
def test_a_negative_count_is_a_decode_error(read: Callable[[Reader, int], object]) -> None:
    with pytest.raises(DecodeError):
        read(Reader(EIGHT, 4), -1)


def test_rest_of_nothing_is_empty() -> None:
    assert Reader(b"").rest() == b""


def test_bytes_are_taken_out_of_a_bytearray() -> None:
    assert type(Reader(bytearray(EIGHT)).take(2)) is bytes
