"""Faults that older implementations had on the wire, and that we must not have."""

from typing import Final

import pytest

from socks6.errors import DecodeError
from socks6.message.buffer import Reader
from socks6.message.datagrams import decode_message, parse_header
from socks6.message.dialect import DRAFT_12, GO_212, DatagramLayout
from socks6.message.options import (
    STANDARD,
    HandshakeMessage,
    IdempotenceExpenditure,
    UnknownOption,
)
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request

REQUEST_WITH_OPTION: Final = "06 01 0008 0050 00 01 7f000001 {} 00000000"


class Mine(IdempotenceExpenditure):
    """An option of a user's own."""

    kind = 0xFE00


@pytest.mark.parametrize("header", ["ffff 0000", "ffff 0001", "ffff 0002", "ffff 0003", "ffff ffff"])
def test_an_options_length_is_checked_before_its_header_is_subtracted(header: str) -> None:
    with pytest.raises(DecodeError):
        Request.decode(bytes.fromhex(REQUEST_WITH_OPTION.format(header)))


@pytest.mark.parametrize(
    "header", ["0001 0004", "0002 0004", "0003 0004", "0004 0004", "000c 0004", "000d 0004"]
)
def test_an_option_without_a_body_is_no_option_that_lacks_one(header: str) -> None:
    for place in HandshakeMessage:
        [option] = STANDARD.decode(Reader(bytes.fromhex(header)), place, DRAFT_12)
        assert isinstance(option, UnknownOption)


def test_a_domains_length_that_counts_itself_is_understood_but_never_written() -> None:
    counted = bytes.fromhex("d4 01 0000 0050 00 03 0c 6578616d706c652e636f6d")
    request = Request.decode(counted, GO_212)
    assert request.host == "example.com"
    assert request.encode(GO_212) == bytes.fromhex("d4 01 0000 0050 00 03 0b 6578616d706c652e636f6d")


def test_two_replies_in_one_read_are_two_replies() -> None:
    authentication = bytes.fromhex("06 00 0004 0008 0004")
    operation = bytes.fromhex("06 00 0000 0050 00 01 7f000001")
    received = authentication + operation + b"HTTP/1.1 200 OK"
    size = AuthenticationReply.size(received)
    assert AuthenticationReply.decode(received[:size]).encode() == authentication
    size += OperationReply.size(received[size:])
    assert received[size:] == b"HTTP/1.1 200 OK"


def test_a_reply_in_many_reads_is_one_reply() -> None:
    reply = OperationReply(code=0, host="a" * 63 + ".example", port=80).encode()
    wished = [OperationReply.size(reply[:end]) for end in range(len(reply) + 1)]
    assert wished == sorted(wished)
    assert all(wish > end for end, wish in enumerate(wished[:-1]))
    assert wished[-1] == len(reply)


@pytest.mark.parametrize(
    "stray",
    [
        "",
        "06",
        "ff" * 12,
        "06 03 ffff 0102030405060708 01 00 0035 7f000001",  # longer than it is
        "06 03 000c 0102030405060708",
        "06 03 0012 0102030405060708 03 00 0035 ff 61",
        "06 03 0014 0102030405060708 03 00 0035 03 000000",
        "06 09 0014 0102030405060708 01 00 0035 7f000001",
    ],
)
def test_a_stray_datagram_raises_nothing_but_a_decode_error(stray: str) -> None:
    data = bytes.fromhex(stray)
    with pytest.raises(DecodeError):
        decode_message(data)
    parse_header(data, DRAFT_12, DatagramLayout.DRAFT)


def test_there_is_no_option_registry_to_be_changed() -> None:
    before = STANDARD.options
    assert STANDARD.extended(Mine).options == (*before, Mine)
    assert STANDARD.options is before
    with pytest.raises(AttributeError):
        STANDARD.later = Mine  # type: ignore[attr-defined]  # that is the test
