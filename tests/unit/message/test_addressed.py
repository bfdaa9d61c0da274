"""What requests and operation replies share on the wire."""

import pytest

from socks6.errors import DecodeError
from socks6.message.address import UnknownAddressType
from socks6.message.addressed import addressed_size, decode_addressed, encode_addressed
from socks6.message.dialect import DRAFT_12, GO_212
from socks6.message.options import STANDARD, HandshakeMessage, Option, SessionRequest, UnknownOption

IPV4 = bytes.fromhex("06 01 0000 0050 00 01 7f000001")
NAME = bytes.fromhex("06 01 0004 0050 00 03 03 616263 0005 0004")
TOO_LONG = "06 01 5004"


def decode(text: str) -> tuple[int, str, int, tuple[Option, ...]]:
    return decode_addressed(bytes.fromhex(text), HandshakeMessage.REQUEST, DRAFT_12, STANDARD)


def test_fields_become_bytes() -> None:
    assert encode_addressed(1, "127.0.0.1", 80, (), DRAFT_12) == IPV4


def test_options_follow_the_address() -> None:
    assert encode_addressed(1, "abc", 80, (SessionRequest(),), DRAFT_12) == NAME


def test_the_dialect_gives_the_version() -> None:
    assert encode_addressed(1, "127.0.0.1", 80, (), GO_212) == b"\xd4" + IPV4[1:]


def test_bytes_become_fields() -> None:
    assert decode(NAME.hex()) == (1, "abc", 80, (SessionRequest(),))


def test_padding_before_the_address_type_is_not_read() -> None:
    assert decode("06 01 0000 0050 ff 01 7f000001") == (1, "127.0.0.1", 80, ())


@pytest.mark.parametrize("version", ["05", "00", "d4"])
def test_another_version_is_refused(version: str) -> None:
    with pytest.raises(DecodeError, match="version"):
        decode(version + IPV4[1:].hex())


@pytest.mark.parametrize("message", [IPV4, NAME])
def test_a_message_cut_anywhere_is_refused(message: bytes) -> None:
    for end in range(len(message)):
        with pytest.raises(DecodeError):
            decode(message[:end].hex())


def test_bytes_after_the_message_are_refused() -> None:
    with pytest.raises(DecodeError, match="1 bytes of options, not 0"):
        decode(IPV4.hex() + "00")


def test_options_above_the_cap_are_refused() -> None:
    with pytest.raises(DecodeError, match="20484"):
        decode("06 01 5004 0050 00 01 7f000001" + 5121 * "ffff 0004")


def test_options_at_the_cap_are_accepted() -> None:
    body = bytes(20476)
    options = (UnknownOption(kind=0xFFFF, body=body),)
    message = encode_addressed(1, "127.0.0.1", 80, options, DRAFT_12)
    assert len(message) == 12 + 20480
    assert decode(message.hex())[3] == options


@pytest.mark.parametrize("message", [IPV4, NAME])
def test_size_is_never_more_than_the_message_has(message: bytes) -> None:
    for end in range(len(message)):
        assert end < addressed_size(message[:end], DRAFT_12) <= len(message)


@pytest.mark.parametrize("message", [IPV4, NAME, NAME + b"more", bytearray(NAME)])
def test_size_of_a_whole_message(message: bytes) -> None:
    assert addressed_size(message, DRAFT_12) == min(len(message), len(NAME))


def test_size_knows_that_a_length_may_count_itself() -> None:
    message = "06 01 0000 0050 00 03 0c"
    assert addressed_size(bytes.fromhex(message), DRAFT_12) == 21
    assert addressed_size(bytes.fromhex(message), GO_212) == 20


def test_size_refuses_too_many_options_before_the_rest_is_there() -> None:
    with pytest.raises(DecodeError, match="20484"):
        addressed_size(bytes.fromhex(TOO_LONG), DRAFT_12)


def test_size_refuses_an_unknown_address_type() -> None:
    with pytest.raises(UnknownAddressType):
        addressed_size(bytes.fromhex("06 01 0000 0050 00 02"), DRAFT_12)


def test_too_many_options_are_judged_before_the_address_type() -> None:
    with pytest.raises(DecodeError, match="20484"):
        addressed_size(bytes.fromhex(TOO_LONG + "0050 00 02"), DRAFT_12)
