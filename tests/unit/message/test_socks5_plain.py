"""Greetings, requests and replies that need no decoder."""

import pytest

from socks6.message.socks5 import (
    Socks5Reply,
    encode_success,
    is_plain_greeting,
    read_plain_connect,
)


@pytest.mark.parametrize(
    ("data", "plain"),
    [
        ("05 01 00", True),
        ("05 02 02 00", True),
        ("05 01 02", False),
        ("05 02 00", False),
        ("05 01 00 00", False),
    ],
)
def test_a_greeting_is_plain_if_it_is_whole_and_can_do_without_a_password(data: str, plain: bool) -> None:
    assert is_plain_greeting(bytes.fromhex(data)) == plain


@pytest.mark.parametrize(
    ("data", "read"),
    [
        ("05 01 00 01 c0000201 1234", ("192.0.2.1", 0x1234, 10)),
        ("05 01 00 04 20010db8000000000000000000000001 0050", ("2001:db8::1", 80, 22)),
        ("05 01 00 03 01 61 0050 000000", None),
        ("05 02 00 01 c0000201 1234", None),
    ],
)
def test_a_plain_connect_is_read_once_it_is_whole(data: str, read: tuple[str, int, int] | None) -> None:
    whole = bytes.fromhex(data)
    assert read_plain_connect(whole + b"first data") == read
    if read is not None:
        assert all(read_plain_connect(whole[:size]) is None for size in range(len(whole)))


def test_a_name_is_plain_where_another_proxy_resolves_it() -> None:
    whole = bytes.fromhex("05 01 00 03 09") + b"a.Example" + bytes.fromhex("1234")
    assert read_plain_connect(whole + b"first data", names=True) == ("a.example", 0x1234, len(whole))
    assert all(read_plain_connect(whole[:size], names=True) is None for size in range(len(whole)))
    assert read_plain_connect(whole.replace(b"a.Example", b"a..xample"), names=True) is None


def test_success_is_encoded_as_replies_are() -> None:
    assert encode_success("192.0.2.1", 80) == Socks5Reply(code=0, host="192.0.2.1", port=80).encode()
