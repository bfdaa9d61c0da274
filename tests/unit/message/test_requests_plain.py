"""Requests that need no decoder."""

from dataclasses import replace

import pytest

from socks6.message.codes import Command
from socks6.message.options import SessionId, SessionRequest
from socks6.message.requests import Request, read_plain_connect, read_session_connect

PLAIN = [Request(command=Command.CONNECT, host=host, port=0x1234) for host in ("192.0.2.1", "2001:db8::1")]
OTHERS = [
    Request(command=Command.CONNECT, host="a.example", port=80),
    Request(command=Command.BIND, host="192.0.2.1", port=80),
    Request(command=Command.CONNECT, host="192.0.2.1", port=80, options=(SessionRequest(),)),
]


@pytest.mark.parametrize("request_", PLAIN)
def test_a_plain_connect_is_read_once_it_is_whole(request_: Request) -> None:
    data = request_.encode()
    assert read_plain_connect(data + b"first data") == (request_.host, request_.port, len(data))
    for size in range(len(data)):
        assert read_plain_connect(data[:size]) is None


def test_a_name_is_plain_where_another_proxy_resolves_it() -> None:
    data = OTHERS[0].encode()
    assert read_plain_connect(data + b"first data", names=True) == ("a.example", 80, len(data))
    for size in range(len(data)):
        assert read_plain_connect(data[:size], names=True) is None
    impossible = data.replace(b"a.example", b"a..xample")
    assert read_plain_connect(impossible, names=True) is None


@pytest.mark.parametrize("request_", OTHERS)
def test_others_are_not(request_: Request) -> None:
    assert read_plain_connect(request_.encode() + b"first data") is None


@pytest.mark.parametrize("request_", [*PLAIN, OTHERS[0]])
def test_the_id_of_a_session_is_read_from_a_request_that_says_no_more(request_: Request) -> None:
    named = replace(request_, options=(SessionId(id=b"16 bytes of an id"[:16]),)).encode()
    names = request_.host == "a.example"
    read = (request_.host, request_.port, len(named), b"16 bytes of an i")
    assert read_session_connect(named + b"first data", names=names) == read
    for size in range(len(named)):
        assert read_session_connect(named[:size], names=names) is None
    assert not names or read_session_connect(named) is None


@pytest.mark.parametrize(
    "data",
    [
        PLAIN[0].encode(),
        OTHERS[2].encode(),
        replace(PLAIN[0], options=(SessionId(id=b"1234"), SessionRequest())).encode(),
        replace(OTHERS[1], options=(SessionId(id=b"1234"),)).encode(),
        bytes.fromhex("06 01 0007 0050 00 01 7f000001 0006 0007 010203"),  # not aligned
        bytes.fromhex("06 01 0008 0050 00 01 7f000001 0006 0004 00000000"),
        bytes.fromhex("06 01 0008 0050 00 07 7f000001 0006 0008 01020304"),
    ],
)
def test_others_name_no_session_in_plain_words(data: bytes) -> None:
    assert read_session_connect(data + b"first data") is None
