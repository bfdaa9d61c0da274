"""SOCKS 5 on the wire (RFC 1928)."""

import pytest

from socks6.errors import DecodeError
from socks6.message.address import UnknownAddressType
from socks6.message.socks5 import (
    Socks5Greeting,
    Socks5MethodSelection,
    Socks5Reply,
    Socks5Request,
    credentials_size,
    reply_code_for,
)

RECEIVED: list[tuple[str, Socks5Greeting | Socks5Request]] = [
    ("05 01 00", Socks5Greeting(methods=(0,))),
    ("05 02 00 02", Socks5Greeting(methods=(0, 2))),
    ("05 00", Socks5Greeting(methods=())),
    ("05 ff" + bytes(range(255)).hex(), Socks5Greeting(methods=tuple(range(255)))),
    ("05 01 00 01 5db8d822 0050", Socks5Request(command=1, host="93.184.216.34", port=80)),
    (
        "05 02 00 04 20010db8000000000000000000000001 01bb",
        Socks5Request(command=2, host="2001:db8::1", port=443),
    ),
    ("05 03 00 03 09 612e6578616d706c65 0050", Socks5Request(command=3, host="a.example", port=80)),
    ("05 09 00 03 01 61 ffff", Socks5Request(command=9, host="a", port=65535)),
]
SENT: list[tuple[str, Socks5MethodSelection | Socks5Reply]] = [
    ("05 02", Socks5MethodSelection(method=2)),
    ("05 ff", Socks5MethodSelection(method=255)),
    ("05 00 00 01 7f000001 0050", Socks5Reply(code=0, host="127.0.0.1", port=80)),
    ("05 05 00 01 00000000 0000", Socks5Reply(code=5)),
    ("05 00 00 04 00000000000000000000000000000001 0050", Socks5Reply(code=0, host="::1", port=80)),
    ("05 00 00 03 09 612e6578616d706c65 0050", Socks5Reply(code=0, host="a.example", port=80)),
    ("05 00 00 03 02 6162 0050", Socks5Reply(code=0, host="ab", port=80)),  # without padding
]


@pytest.mark.parametrize(("bytes_in_hex", "message"), SENT)
def test_what_a_proxy_says_as_bytes(bytes_in_hex: str, message: Socks5MethodSelection | Socks5Reply) -> None:
    data = bytes.fromhex(bytes_in_hex)
    assert message.encode() == data
    assert type(message).decode(data) == message


@pytest.mark.parametrize(("bytes_in_hex", "message"), RECEIVED)
def test_what_a_client_says(bytes_in_hex: str, message: Socks5Greeting | Socks5Request) -> None:
    data = bytes.fromhex(bytes_in_hex)
    assert type(message).decode(data) == message
    assert message.encode() == data


@pytest.mark.parametrize("rest", ["", "00", "00 00 00000000 0000", "00 01 00000000 0000"])
def test_of_a_failure_two_bytes_are_enough(rest: str) -> None:
    data = bytes.fromhex("05 04" + rest)
    assert Socks5Reply.size(data) == 2
    assert Socks5Reply.decode(data) == Socks5Reply(code=4)


def test_a_success_is_as_long_as_its_address() -> None:
    assert [
        Socks5Reply.size(bytes.fromhex(text)) for text in ("", "05", "05 00 00 01", "05 00 00 03 09")
    ] == [4, 4, 10, 16]
    for wrong in ("06 00 00 01 7f000001 0050", "05 00 00 01 7f000001 00", "05 00 00 07"):
        with pytest.raises(DecodeError):
            Socks5Reply.decode(bytes.fromhex(wrong))


@pytest.mark.parametrize(("bytes_in_hex", "message"), RECEIVED)
def test_a_message_is_whole_exactly_when_it_has_its_size(
    bytes_in_hex: str, message: Socks5Greeting | Socks5Request
) -> None:
    data = bytes.fromhex(bytes_in_hex)
    for length in range(len(data)):
        assert length < message.size(data[:length]) <= len(data)
    assert message.size(data) == message.size(data + b"more") == len(data)


@pytest.mark.parametrize(("bytes_in_hex", "message"), RECEIVED)
def test_a_message_too_short_too_long_or_of_another_version_is_none(
    bytes_in_hex: str, message: Socks5Greeting | Socks5Request
) -> None:
    data = bytes.fromhex(bytes_in_hex)
    for wrong in (data[:-1], data + b"\0", b"\4" + data[1:]):
        with pytest.raises(DecodeError):
            type(message).decode(wrong)


def test_the_reserved_byte_is_ignored() -> None:
    assert Socks5Request.decode(bytes.fromhex("05 01 ff 03 01 61 0050")) == Socks5Request(
        command=1, host="a", port=80
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "2001:db8::1", "[2001:db8::1]"])
def test_an_address_written_as_a_name_is_that_address(host: str) -> None:
    name = bytes((len(host),)) + host.encode()
    request = Socks5Request.decode(bytes.fromhex("05 01 00 03") + name + bytes.fromhex("0050"))
    assert request.host == host.strip("[]")


@pytest.mark.parametrize("name", ["00", "01 20", "02 2e2e", "02 c3a4"])
def test_impossible_names_are_refused(name: str) -> None:
    with pytest.raises(DecodeError):
        Socks5Request.decode(bytes.fromhex(f"05 01 00 03 {name} 0050"))


def test_the_end_of_an_unknown_address_is_unknown() -> None:
    with pytest.raises(UnknownAddressType):
        Socks5Request.size(bytes.fromhex("05 01 00 02 00"))


@pytest.mark.parametrize("number", [-1, 256])
def test_impossible_numbers_are_refused(number: int) -> None:
    with pytest.raises(ValueError, match="not 0 to"):
        Socks5Greeting(methods=(number,))
    with pytest.raises(ValueError, match="not 0 to"):
        Socks5MethodSelection(method=number)
    with pytest.raises(ValueError, match="not 0 to"):
        Socks5Request(command=number, host="a", port=0)
    with pytest.raises(ValueError, match="not 0 to"):
        Socks5Reply(code=number)


def test_a_greeting_has_at_most_255_methods() -> None:
    with pytest.raises(ValueError, match="number of methods"):
        Socks5Greeting(methods=(0,) * 256)


def test_the_size_of_credentials_shows_byte_by_byte() -> None:
    data = bytes.fromhex("01 02 6d65 03 313233")
    assert [credentials_size(data[:length]) for length in range(len(data) + 1)] == [2, 2, 5, 5, 5, 8, 8, 8, 8]


@pytest.mark.parametrize(
    ("code", "expected"),
    [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7), (8, 8), (9, 4), (10, 1), (255, 1)],
)
def test_reply_codes_in_socks_5_terms(code: int, expected: int) -> None:
    assert reply_code_for(code) == expected
