"""SOCKS 4 and 4a on the wire."""

import pytest

from socks6.errors import DecodeError
from socks6.message.codes import ReplyCode
from socks6.message.socks4 import Socks4Reply, Socks4Request, Socks4Result, result_for

REQUESTS = [
    ("04 01 0050 5db8d822 00", Socks4Request(command=1, host="93.184.216.34", port=80)),
    ("04 01 0050 5db8d822 66726564 00", Socks4Request(command=1, host="93.184.216.34", port=80, user=b"fred")),
    ("04 02 01bb 00000000 00", Socks4Request(command=2, host="0.0.0.0", port=443)),
    ("04 01 0050 00000001 00 612e6578616d706c65 00", Socks4Request(command=1, host="a.example", port=80)),
    ("04 01 0050 00000001 6d65 00 612e6578616d706c65 00", Socks4Request(command=1, host="a.example", port=80, user=b"me")),
    ("04 01 0050 00000001 00 3a3a31 00", Socks4Request(command=1, host="::1", port=80)),
    ("04 01 0050 00000001 00 302e302e302e37 00", Socks4Request(command=1, host="0.0.0.7", port=80)),
]  # fmt: skip
REPLIES = [
    ("00 5a 0050 7f000001", Socks4Reply(code=0x5A, host="127.0.0.1", port=80)),
    ("00 5b 0000 00000000", Socks4Reply(code=0x5B)),
]


@pytest.mark.parametrize(("bytes_in_hex", "request_"), REQUESTS)
def test_requests(bytes_in_hex: str, request_: Socks4Request) -> None:
    data = bytes.fromhex(bytes_in_hex)
    assert Socks4Request.decode(data) == request_
    assert Socks4Request.size(data) == len(data)
    if ":" not in request_.host and request_.host != "0.0.0.7":  # written in the longer way
        assert request_.encode() == data


def test_no_ipv6_address_can_be_written() -> None:
    with pytest.raises(ValueError, match="no IPv6 addresses, such as ::1"):
        Socks4Request(command=1, host="::1", port=80).encode()


@pytest.mark.parametrize(
    ("bytes_in_hex", "reply"), [*REPLIES, ("04 5b 0000 00000000", Socks4Reply(code=0x5B))]
)
def test_replies_are_read(bytes_in_hex: str, reply: Socks4Reply) -> None:
    assert Socks4Reply.decode(bytes.fromhex(bytes_in_hex)) == reply


@pytest.mark.parametrize(
    "bytes_in_hex", ["00 5a 0050 7f0000", "00 5a 0050 7f000001 00", "05 5a 0050 7f000001"]
)
def test_what_is_no_reply(bytes_in_hex: str) -> None:
    with pytest.raises(DecodeError):
        Socks4Reply.decode(bytes.fromhex(bytes_in_hex))


@pytest.mark.parametrize(("bytes_in_hex", "request_"), REQUESTS)
def test_a_request_is_whole_exactly_when_it_has_its_size(bytes_in_hex: str, request_: Socks4Request) -> None:
    data = bytes.fromhex(bytes_in_hex)
    for length in range(len(data)):
        assert length < Socks4Request.size(data[:length]) <= len(data)
    assert Socks4Request.size(data + b"more") == len(data)


def test_any_address_that_begins_with_three_zeros_announces_a_name() -> None:
    data = bytes.fromhex("04 01 0050 000000ff 00 612e6578616d706c65 00")
    assert Socks4Request.decode(data).host == "a.example"


def test_names_are_taken_in_canonical_form() -> None:
    data = bytes.fromhex("04 01 0050 00000001 00") + b"EXAMPLE.com.\0"
    assert Socks4Request.decode(data).host == "example.com."


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("05 01 0050 5db8d822 00", "version 5"),
        ("04 01 0050 5db8d822", "not one"),
        ("04 01 0050 5db8d822 00 00", "not one"),
        ("04 01 0050 00000001 00 00", "impossible host name"),
        ("04 01 0050 00000001 00 2e2e 00", "impossible host name"),
        ("04 01 0050 00000001 00 c3a4 00", "impossible host name"),
    ],
)
def test_what_is_no_request(data: str, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        Socks4Request.decode(bytes.fromhex(data))


@pytest.mark.parametrize("head", ["04 01 0050 5db8d822", "04 01 0050 00000001 00"])
def test_strings_have_at_most_255_bytes(head: str) -> None:
    data = bytes.fromhex(head)
    longest = data + b"a" * 255
    assert Socks4Request.size(longest) == len(longest) + 1
    assert Socks4Request.size(longest + b"\0") == len(longest) + 1
    with pytest.raises(DecodeError, match="more than 255"):
        Socks4Request.size(longest + b"a")


@pytest.mark.parametrize("user", [b"a" * 256, b"a\0b"])
def test_impossible_user_ids_are_refused(user: bytes) -> None:
    with pytest.raises(ValueError, match="user id"):
        Socks4Request(command=1, host="192.0.2.1", port=1, user=user)


@pytest.mark.parametrize(("command", "port"), [(256, 1), (1, 65536), (-1, 1), (1, -1)])
def test_impossible_numbers_are_refused(command: int, port: int) -> None:
    with pytest.raises(ValueError, match="not 0 to"):
        Socks4Request(command=command, host="192.0.2.1", port=port)
    with pytest.raises(ValueError, match="not 0 to"):
        Socks4Reply(code=command, port=port)


@pytest.mark.parametrize(("bytes_in_hex", "reply"), REPLIES)
def test_replies_as_bytes(bytes_in_hex: str, reply: Socks4Reply) -> None:
    assert reply.encode() == bytes.fromhex(bytes_in_hex)


@pytest.mark.parametrize("host", ["2001:db8::1", "a.example"])
def test_a_bound_address_that_is_not_ipv4_is_not_told(host: str) -> None:
    assert Socks4Reply(code=0x5A, host=host, port=80).encode() == bytes.fromhex("00 5a 0050 00000000")


@pytest.mark.parametrize("code", [*ReplyCode, 0x0A, 0xFF])
def test_every_failure_is_a_rejection(code: int) -> None:
    assert result_for(code) == (
        Socks4Result.GRANTED if code == ReplyCode.SUCCEEDED else Socks4Result.REJECTED
    )
