"""Authentication and operation replies."""

import pytest

from socks6.errors import DecodeError
from socks6.message.dialect import GO_212
from socks6.message.options import (
    AuthenticationMethodSelection,
    IdempotenceWindow,
    OptionTable,
    SessionOk,
    SessionRequest,
    Tos,
    UnknownOption,
)
from socks6.message.replies import VERSION_MISMATCH, AuthenticationReply, OperationReply, read_plain_reply

SELECTION = AuthenticationReply(type=1, options=(AuthenticationMethodSelection(method=2),))
SELECTION_BYTES = bytes.fromhex("06 01 0008 0003 0008 02 000000")
BOUND = OperationReply(code=0, host="192.0.2.1", port=54321, options=(Tos(leg=3, tos=16),))
BOUND_BYTES = bytes.fromhex("06 00 0008 d431 00 01 c0000201 0001 0008 c1 01 10 00")


def test_a_version_mismatch_is_one_byte() -> None:
    assert bytes.fromhex("06") == VERSION_MISMATCH


def test_an_authentication_reply_becomes_bytes() -> None:
    assert SELECTION.encode() == SELECTION_BYTES


def test_an_authentication_reply_without_options_is_four_bytes() -> None:
    assert AuthenticationReply(type=0).encode() == bytes.fromhex("06 00 0000")


def test_bytes_become_an_authentication_reply() -> None:
    assert AuthenticationReply.decode(SELECTION_BYTES) == SELECTION


def test_an_authentication_reply_in_dialect_212() -> None:
    data = b"\xd4" + SELECTION_BYTES[1:]
    assert SELECTION.encode(GO_212) == data
    assert AuthenticationReply.decode(data, GO_212) == SELECTION


def test_dialect_212_answers_a_password_without_padding() -> None:
    reply = AuthenticationReply.decode(bytes.fromhex("d4 00 0007 0004 0007 02 0100"), GO_212)
    assert len(reply.options) == 1


def test_an_authentication_reply_of_another_version_is_refused() -> None:
    with pytest.raises(DecodeError, match="version 5"):
        AuthenticationReply.decode(bytes.fromhex("05 00 0000"))


@pytest.mark.parametrize("text", ["", "06 01 00", "06 01 0008 0003 0008 02 0000", "06 00 0000 00"])
def test_an_authentication_reply_of_another_length_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        AuthenticationReply.decode(bytes.fromhex(text))


def test_an_authentication_reply_with_too_many_options_is_refused() -> None:
    with pytest.raises(DecodeError, match="20481"):
        AuthenticationReply.decode(bytes.fromhex("06 00 5001"))
    with pytest.raises(DecodeError, match="20481"):
        AuthenticationReply.size(bytes.fromhex("06 00 5001"))


@pytest.mark.parametrize(
    ("text", "size"), [("", 4), ("06", 4), ("06 01 00", 4), ("06 01 0008", 12), ("06 00 0000", 4)]
)
def test_size_of_an_authentication_reply(text: str, size: int) -> None:
    assert AuthenticationReply.size(bytes.fromhex(text)) == size


def test_options_of_requests_are_not_acted_upon_in_an_authentication_reply() -> None:
    reply = AuthenticationReply.decode(bytes.fromhex("06 00 0004 0005 0004"))
    assert reply.options == (UnknownOption(kind=SessionRequest.kind, body=b""),)


def test_the_table_says_what_is_known_in_an_authentication_reply() -> None:
    data = bytes.fromhex("06 00 0004 0008 0004")
    assert AuthenticationReply.decode(data).options == (SessionOk(),)
    assert AuthenticationReply.decode(data, table=OptionTable()).options == (UnknownOption(kind=8, body=b""),)


@pytest.mark.parametrize("number", [-1, 256])
def test_an_impossible_type_is_the_callers_error(number: int) -> None:
    with pytest.raises(ValueError, match="type is"):
        AuthenticationReply(type=number)


def test_an_operation_reply_becomes_bytes() -> None:
    assert BOUND.encode() == BOUND_BYTES


def test_bytes_become_an_operation_reply() -> None:
    assert OperationReply.decode(BOUND_BYTES) == BOUND


def test_a_failed_operation_has_no_address() -> None:
    assert OperationReply(code=5).encode() == bytes.fromhex("06 05 0000 0000 00 01 00000000")


def test_an_operation_reply_in_dialect_212() -> None:
    data = b"\xd4" + BOUND_BYTES[1:]
    assert BOUND.encode(GO_212) == data
    assert OperationReply.decode(data, GO_212) == BOUND


def test_size_of_an_operation_reply() -> None:
    assert OperationReply.size(BOUND_BYTES) == 20


def test_options_of_authentication_replies_are_not_acted_upon_in_an_operation_reply() -> None:
    data = bytes.fromhex("06 00 000c 0000 00 01 00000000 000c 000c 00000001 00000001")
    assert OperationReply.decode(data).options == (
        UnknownOption(kind=IdempotenceWindow.kind, body=bytes.fromhex("00000001 00000001")),
    )


@pytest.mark.parametrize(("code", "port"), [(-1, 0), (256, 0), (0, -1), (0, 65536)])
def test_impossible_numbers_are_the_callers_error(code: int, port: int) -> None:
    with pytest.raises(ValueError, match=r"code|port"):
        OperationReply(code=code, port=port)


def test_the_greatest_numbers() -> None:
    authentication, operation = AuthenticationReply(type=255), OperationReply(code=255, port=65535)
    assert AuthenticationReply.decode(authentication.encode()) == authentication
    assert OperationReply.decode(operation.encode()) == operation


def test_a_plain_reply_is_read_as_it_is_decoded() -> None:
    bound = OperationReply(code=0, host="192.0.2.1", port=0x1234)
    assert read_plain_reply(bound.encode()) == ("192.0.2.1", 0x1234)


@pytest.mark.parametrize(
    "reply",
    [
        "06 05 0000 1234 00 01 c0000201",  # refused
        "06 00 0004 1234 00 01 c0000201",  # an option
        "06 00 0000 1234 00 04 20010db8",  # IPv6, in part
        "06 00 0000 1234 00 03 03616263",
        "06 00 0000 1234 00 01 c00002",
        "06 00 0000 1234 00 01 c0000201 00",
        "",
    ],
)
def test_other_replies_are_not_plain(reply: str) -> None:
    assert read_plain_reply(bytes.fromhex(reply)) is None
