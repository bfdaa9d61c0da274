"""Requests."""

import pytest

from socks6.errors import DecodeError
from socks6.message.codes import Command
from socks6.message.dialect import DRAFT_12, GO_212
from socks6.message.options import (
    STANDARD,
    AuthenticationMethodSelection,
    Option,
    OptionTable,
    SessionId,
    SessionRequest,
    Tfo,
    UnknownOption,
)
from socks6.message.requests import MAX_OPTIONS_LENGTH, Request

CONNECT = Request(command=Command.CONNECT, host="example.com", port=80)
CONNECT_BYTES = bytes.fromhex("06 01 0000 0050 00 03 0b 6578616d706c652e636f6d")


def test_a_request_becomes_bytes() -> None:
    assert CONNECT.encode() == CONNECT_BYTES


def test_bytes_become_a_request() -> None:
    assert Request.decode(CONNECT_BYTES) == CONNECT


def test_size_of_a_request() -> None:
    assert Request.size(CONNECT_BYTES) == 20


def test_a_request_in_dialect_212() -> None:
    data = b"\xd4" + CONNECT_BYTES[1:]
    assert CONNECT.encode(GO_212) == data
    assert Request.decode(data, GO_212) == CONNECT


def test_dialect_212_may_have_unaligned_options() -> None:
    data = bytes.fromhex("d4 01 0007 0050 00 01 7f000001 ffff 0007 010203")
    assert Request.decode(data, GO_212).options == (UnknownOption(kind=0xFFFF, body=b"\1\2\3"),)


def test_draft_12_has_aligned_options() -> None:
    data = bytes.fromhex("06 01 0007 0050 00 01 7f000001 ffff 0007 010203")
    with pytest.raises(DecodeError, match="bad length 7"):
        Request.decode(data, DRAFT_12)


def test_an_option_of_replies_is_not_acted_upon() -> None:
    data = bytes.fromhex("06 01 0008 0050 00 01 7f000001 0003 0008 02000000")
    assert Request.decode(data).options == (UnknownOption(kind=3, body=bytes.fromhex("02000000")),)
    assert AuthenticationMethodSelection.kind == 3


def test_the_table_says_what_is_known() -> None:
    data = bytes.fromhex("06 01 0004 0050 00 01 7f000001 0005 0004")
    assert Request.decode(data, table=STANDARD).options == (SessionRequest(),)
    assert Request.decode(data, table=OptionTable()).options == (UnknownOption(kind=5, body=b""),)


def test_a_command_that_we_do_not_know_is_kept() -> None:
    assert Request.decode(bytes.fromhex("06 ff 0000 0050 00 01 7f000001")).command == 255


@pytest.mark.parametrize(("command", "port"), [(-1, 0), (256, 0), (0, -1), (0, 65536)])
def test_impossible_numbers_are_the_callers_error(command: int, port: int) -> None:
    with pytest.raises(ValueError, match=r"command|port"):
        Request(command=command, host="a", port=port)


@pytest.mark.parametrize(
    "options",
    [
        (Tfo(payload_size=1), Tfo(payload_size=2)),
        (SessionId(id=b""),),
        tuple(UnknownOption(kind=0xFFFF, body=bytes(16)) for _ in range(257)),
        (UnknownOption(kind=0xFFFF, body=bytes(MAX_OPTIONS_LENGTH - 4)), SessionRequest()),
    ],
    ids=["duplicates", "empty session id", "too many", "too long"],
)
def test_options_that_must_not_be_sent_are_the_callers_error(options: tuple[Option, ...]) -> None:
    with pytest.raises(ValueError, match=r"is"):
        Request(command=1, host="a", port=1, options=options).encode()


def test_an_impossible_host_is_the_callers_error() -> None:
    with pytest.raises(ValueError, match="no host name"):
        Request(command=1, host="a b", port=1).encode()


def test_the_greatest_numbers() -> None:
    greatest = Request(command=255, host="::", port=65535)
    assert Request.decode(greatest.encode()) == greatest
