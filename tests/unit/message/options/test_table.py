"""What the option table lets through."""

from dataclasses import dataclass
from typing import Self

import pytest
from typing_extensions import override

from socks6.errors import DecodeError
from socks6.message.buffer import Reader
from socks6.message.dialect import DRAFT_12, GO_212, Dialect
from socks6.message.options import (
    STANDARD,
    AuthenticationData,
    HandshakeMessage,
    IdempotenceAccepted,
    IdempotenceExpenditure,
    IdempotenceRejected,
    Multipath,
    Number,
    Option,
    OptionTable,
    SessionId,
    SessionInvalid,
    SessionOk,
    SessionRequest,
    StackOption,
    Tfo,
    Tos,
    Ttl,
    UnknownOption,
    find,
)

REQUEST, AUTHENTICATION_REPLY, OPERATION_REPLY = HandshakeMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting(Option):
    """A user's option."""

    kind = 0xFE01
    messages = frozenset((REQUEST,))
    text: bytes

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        return cls(text=body.rest())

    @override
    def encode_body(self) -> bytes:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Congestion(StackOption):
    """A user's stack option."""

    level, code, name = 4, 200, "congestion"
    numbers = (Number("number", size=2, high=0xFFFF),)

    number: int


def decode(
    text: str, place: HandshakeMessage = REQUEST, dialect: Dialect = DRAFT_12, table: OptionTable = STANDARD
) -> tuple[Option, ...]:
    return table.decode(Reader(bytes.fromhex(text)), place, dialect)


def unknown(kind: int, text: str = "") -> UnknownOption:
    return UnknownOption(kind=kind, body=bytes.fromhex(text))


def test_no_bytes_are_no_options() -> None:
    assert decode("") == ()


def test_options_come_out_in_their_order() -> None:
    assert decode("0005 0004 ffff 0004 0006 0008 61626364") == (
        SessionRequest(),
        unknown(0xFFFF),
        SessionId(id=b"abcd"),
    )


def test_an_unknown_option_is_kept() -> None:
    assert decode("0000 0008 01020304") == (unknown(0, "01020304"),)


def test_unknown_options_may_be_alike() -> None:
    assert decode("ffff 0004 ffff 0004") == (unknown(0xFFFF), unknown(0xFFFF))


@pytest.mark.parametrize("length", ["0000", "0001", "0003"])
@pytest.mark.parametrize("dialect", [DRAFT_12, GO_212])
def test_a_length_below_that_of_the_header_is_refused(length: str, dialect: Dialect) -> None:
    with pytest.raises(DecodeError, match="bad length"):
        decode("ffff" + length + "00000000", dialect=dialect)


@pytest.mark.parametrize("text", ["ffff 0008", "ffff 0008 000000", "ffff fffc 00000000", "ff", "ffff 00"])
@pytest.mark.parametrize("dialect", [DRAFT_12, GO_212])
def test_an_option_past_the_end_is_refused(text: str, dialect: Dialect) -> None:
    with pytest.raises(DecodeError, match="bytes wanted"):
        decode(text, dialect=dialect)


@pytest.mark.parametrize("length", [5, 6, 7])
def test_an_unaligned_option_is_refused_by_the_draft(length: int) -> None:
    with pytest.raises(DecodeError, match=f"bad length {length}"):
        decode(f"ffff {length:04x}" + "00" * (length - 4))


@pytest.mark.parametrize("length", [5, 6, 7])
def test_an_unaligned_option_is_accepted_in_dialect_212(length: int) -> None:
    text = "00" * (length - 4)
    assert decode(f"ffff {length:04x}" + text, dialect=GO_212) == (unknown(0xFFFF, text),)


def test_a_fixed_size_option_without_padding_is_accepted_in_dialect_212() -> None:
    assert decode("0001 0007 c1 01 10", dialect=GO_212) == (Tos(leg=3, tos=16),)


def test_256_options_are_the_most() -> None:
    assert len(decode(256 * "ffff 0004")) == 256
    with pytest.raises(DecodeError, match="more than 256 options"):
        decode(257 * "ffff 0004")


@pytest.mark.parametrize("place", [AUTHENTICATION_REPLY, OPERATION_REPLY])
def test_an_option_where_it_may_not_be_is_not_acted_upon(place: HandshakeMessage) -> None:
    assert decode("0005 0004", place) == (unknown(5),)


def test_a_stack_option_in_an_authentication_reply_is_not_acted_upon() -> None:
    assert decode("0001 0008 c1011000", AUTHENTICATION_REPLY) == (unknown(1, "c1011000"),)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (1, ""),  # a stack option without anything
        (1, "84 01 0001 00000000"),  # with much too much
        (1, "c1 01 10 00 00000000"),  # with too much
        (1, "01 01 10 00"),  # leg 0
        (1, "81 03 00 00"),  # TTL 0
        (1, "c4 01 0000"),  # TFO on both legs
        (1, "81 ff 00 00"),  # a code that we do not know
        (1, "86 01 00 00"),  # a level that we do not know
        (2, ""),
        (3, ""),
        (4, ""),
        (5, "00000000"),
        (11, ""),
        (11, "000000c8 00000000"),
        (13, ""),
        (13, "00000001 00000000"),
        (0xFD10, ""),
    ],
)
def test_an_option_with_an_impossible_body_is_not_acted_upon(kind: int, body: str) -> None:
    data = bytes.fromhex(body)
    assert decode(f"{kind:04x} {len(data) + 4:04x}" + body) == (unknown(kind, body),)


def test_padding_is_not_read() -> None:
    assert decode("0001 0008 c1 01 10 ff 0003 0008 02 ffffff") == (Tos(leg=3, tos=16), unknown(3, "02ffffff"))
    selection = decode("0003 0008 02 ffffff", AUTHENTICATION_REPLY)
    assert selection == decode("0003 0008 02 000000", AUTHENTICATION_REPLY)


def test_of_duplicates_the_first_counts() -> None:
    assert decode("000b 0008 00000001 000b 0008 00000002")[1] == unknown(11, "00000002")


def test_a_malformed_option_is_no_first() -> None:
    options = decode("000d 0004 000d 0008 00000007")
    assert options == (unknown(13), IdempotenceExpenditure(token=7))


def test_a_malformed_expenditure_can_be_told_from_none() -> None:
    options = decode("000d 0004")
    assert find(options, IdempotenceExpenditure) is None
    assert [option.kind for option in options] == [IdempotenceExpenditure.kind]


def test_one_leg_each_is_no_duplicate() -> None:
    assert decode("0001 0008 41034000 0001 0008 81032000") == (Ttl(leg=1, ttl=64), Ttl(leg=2, ttl=32))


@pytest.mark.parametrize(
    ("first", "second"), [("c1", "41"), ("c1", "81"), ("41", "c1"), ("81", "c1"), ("41", "41")]
)
def test_overlapping_legs_are_duplicates(first: str, second: str) -> None:
    options = decode(f"0001 0008 {first}034000 0001 0008 {second}032000")
    assert [type(option) for option in options] == [Ttl, UnknownOption]


def test_different_stack_options_are_no_duplicates() -> None:
    assert decode("0001 0008 84010000 0001 0008 84020200") == (Tfo(payload_size=0), Multipath(availability=2))


def test_authentication_data_is_unique_per_method() -> None:
    options = decode("0004 0008 02 616161 0004 0008 03 626262 0004 0008 02 636363")
    assert options == (
        AuthenticationData(method=2, data=b"aaa"),
        AuthenticationData(method=3, data=b"bbb"),
        unknown(4, "02 636363"),
    )


def test_of_contradictions_the_first_counts() -> None:
    assert decode("0009 0004 0008 0004", AUTHENTICATION_REPLY) == (SessionInvalid(), unknown(SessionOk.kind))
    assert decode("000f 0004 000e 0004", AUTHENTICATION_REPLY) == (
        IdempotenceRejected(),
        unknown(IdempotenceAccepted.kind),
    )


def test_an_empty_session_id_is_an_id() -> None:
    assert decode("0006 0004") == (SessionId(id=b""),)


def test_an_unaligned_session_id_in_dialect_212_is_an_id() -> None:
    assert decode("0006 0007 616263", dialect=GO_212) == (SessionId(id=b"abc"),)


def test_a_users_option_is_known_to_the_extended_table() -> None:
    table = STANDARD.extended(Greeting)
    assert decode("fe01 0008 68692121", table=table) == (Greeting(text=b"hi!!"),)


def test_a_users_option_has_its_places() -> None:
    class Reply(Greeting):
        messages = frozenset((AUTHENTICATION_REPLY, OPERATION_REPLY))

    table = STANDARD.extended(Reply)
    assert decode("fe01 0004", table=table) == (unknown(0xFE01),)
    assert decode("fe01 0004", OPERATION_REPLY, table=table) == (Reply(text=b""),)


def test_a_users_option_counts_once() -> None:
    table = STANDARD.extended(Greeting)
    assert decode("fe01 0004 fe01 0004", table=table) == (Greeting(text=b""), unknown(0xFE01))


def test_a_users_stack_option_is_known_to_the_extended_table() -> None:
    table = STANDARD.extended(Congestion)
    assert decode("0001 0008 84c80007", table=table) == (Congestion(leg=2, number=7),)


def test_the_extended_table_knows_what_it_did() -> None:
    table = STANDARD.extended(Greeting)
    assert decode("0005 0004", table=table) == (SessionRequest(),)


def test_extending_leaves_the_table_as_it_was() -> None:
    STANDARD.extended(Greeting)
    assert decode("fe01 0004") == (unknown(0xFE01),)


@pytest.mark.parametrize("option", [Tos, SessionId])
def test_an_option_is_there_once(option: type[Option]) -> None:
    with pytest.raises(ValueError, match="two options of one number"):
        STANDARD.extended(option)


def test_a_kind_has_two_bytes() -> None:
    class TooGreat(Greeting):
        kind = 0x10000

    with pytest.raises(ValueError, match="option kind"):
        OptionTable(TooGreat)


@pytest.mark.parametrize(("level", "code"), [(0x40, 1), (1, 0x100)])
def test_a_level_has_six_bits_and_a_code_one_byte(level: int, code: int) -> None:
    option = type("Greater", (Congestion,), {"level": level, "code": code})
    with pytest.raises(ValueError, match=r"level is|code is"):
        OptionTable(option)


def test_the_greatest_kind() -> None:
    class Greatest(Greeting):
        kind = 0xFFFF

    table = STANDARD.extended(Greatest)
    assert decode("ffff 0004", table=table) == (Greatest(text=b""),)
