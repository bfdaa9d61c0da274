"""Requests that need no decoder."""

import pytest

from socks6.message.codes import Command
from socks6.message.options import SessionRequest
from socks6.message.requests import Request, read_plain_connect

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
