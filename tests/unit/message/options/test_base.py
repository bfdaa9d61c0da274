"""Options in general, and how they are written."""

from dataclasses import FrozenInstanceError, dataclass
from typing import Self

import pytest
from typing_extensions import override

from socks6.message.buffer import Reader
from socks6.message.options import (
    AuthenticationData,
    IdempotenceAccepted,
    IdempotenceRejected,
    Number,
    Option,
    SessionRequest,
    StackOption,
    Ttl,
    UnknownOption,
    check_range,
    encode_options,
    find,
    find_all,
)

NEAR, FAR = Ttl(leg=1, ttl=1), Ttl(leg=2, ttl=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endless(Option):
    """An option whose body fits no message."""

    kind = 0xFFFF

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        return cls()

    @override
    def encode_body(self) -> bytes:
        return bytes(70_000)


def test_options_are_padded_with_zeros() -> None:
    options = (UnknownOption(kind=0xFFFF, body=b"\xff"), UnknownOption(kind=0xFFFF, body=b"1234"))
    assert encode_options(options) == bytes.fromhex("ffff 0008 ff 000000 ffff 0008 31323334")


def test_options_are_ordered_by_kind() -> None:
    options = (UnknownOption(kind=0xFFFF, body=b""), SessionRequest(), UnknownOption(kind=0, body=b""))
    assert encode_options(options) == bytes.fromhex("0000 0004 0005 0004 ffff 0004")


def test_options_of_one_kind_stay_in_order() -> None:
    assert encode_options((FAR, NEAR)) == encode_options((FAR,)) + encode_options((NEAR,))


def test_no_options_are_no_bytes() -> None:
    assert encode_options(()) == b""


@pytest.mark.parametrize(
    "options",
    [
        (SessionRequest(), SessionRequest()),
        (Ttl(leg=3, ttl=1), Ttl(leg=1, ttl=1)),
        (IdempotenceAccepted(), IdempotenceRejected()),
        (AuthenticationData(method=2, data=b"a"), AuthenticationData(method=2, data=b"b")),
    ],
)
def test_duplicates_and_contradictions_are_the_callers_error(options: tuple[Option, ...]) -> None:
    with pytest.raises(ValueError, match="duplicate"):
        encode_options(options)


def test_a_complaint_about_a_duplicate_shows_no_secret() -> None:
    secret = AuthenticationData(method=2, data=b"secret")
    with pytest.raises(ValueError, match="duplicate") as caught:
        encode_options((secret, secret))
    assert "secret" not in str(caught.value)


def test_unknown_options_may_be_alike() -> None:
    unknown = UnknownOption(kind=1, body=b"")
    assert encode_options((unknown, unknown)) == bytes.fromhex("0001 0004 0001 0004")


def test_256_options_are_the_most() -> None:
    unknown = UnknownOption(kind=1, body=b"")
    assert len(encode_options(256 * (unknown,))) == 1024
    with pytest.raises(ValueError, match="number of options is 257"):
        encode_options(257 * (unknown,))


def test_20480_bytes_are_the_most() -> None:
    longest = UnknownOption(kind=1, body=bytes(20_476))
    assert len(encode_options((longest,))) == 20_480
    with pytest.raises(ValueError, match="length of all options is 20484"):
        encode_options((longest, SessionRequest()))


def test_an_endless_body_is_the_callers_error() -> None:
    with pytest.raises(ValueError, match="body is 70000"):
        encode_options((Endless.decode_body(Reader(b"")),))


@pytest.mark.parametrize(("kind", "length"), [(-1, 0), (0x10000, 0), (0, 20_477)])
def test_an_impossible_unknown_option_is_the_callers_error(kind: int, length: int) -> None:
    with pytest.raises(ValueError, match="option"):
        UnknownOption(kind=kind, body=bytes(length))


def test_an_unknown_option_shows_no_body() -> None:
    assert repr(UnknownOption(kind=4, body=b"\2secret")) == "UnknownOption(kind=4, body=<7 bytes>)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Position(Option):
    """An option that is its numbers."""

    kind = 0xFE02
    numbers = (Number("x", high=9), Number("y", high=0xFFFF, low=1, size=2))
    x: int
    y: int


def test_an_option_of_numbers_says_them_alone() -> None:
    position = Position(x=3, y=260)
    assert position.encode_body() == bytes.fromhex("03 0104")
    assert Position.decode_body(Reader(bytes.fromhex("03 0104"))) == position
    with pytest.raises(ValueError, match=r"Position\.y is 0, not 1 to 65535"):
        Position(x=3, y=0)


def test_options_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        NEAR.ttl = 2  # type: ignore[misc]  # that is the test


def test_find_returns_the_first() -> None:
    assert find((SessionRequest(), FAR, NEAR), Ttl) is FAR


def test_find_takes_a_root() -> None:
    assert find((SessionRequest(), NEAR), StackOption) is NEAR


def test_find_returns_none_where_there_is_none() -> None:
    assert find((FAR, NEAR), SessionRequest) is None


def test_find_all_returns_all_in_order() -> None:
    assert find_all((FAR, SessionRequest(), NEAR), StackOption) == (FAR, NEAR)


@pytest.mark.parametrize("value", [1, 2, 3])
def test_a_number_in_range_passes(value: int) -> None:
    check_range("number", value, 3, 1)


@pytest.mark.parametrize("value", [0, 4])
def test_a_number_out_of_range_does_not(value: int) -> None:
    with pytest.raises(ValueError, match=f"number is {value}, not 1 to 3"):
        check_range("number", value, 3, 1)


def test_what_is_no_number_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="number is '2', no number"):
        check_range("number", "2", 3, 1)  # type: ignore[arg-type]
