"""The log of messages."""

import logging

import pytest

from socks6.message import (
    AssociationInitialization,
    AuthenticationData,
    Command,
    Datagram,
    IdempotenceExpenditure,
    IdempotenceWindow,
    Leg,
    Request,
    SessionId,
    Tos,
    UnknownOption,
)
from socks6.message.userpass import UsernamePassword
from socks6.net.wire_log import message_text, wire_trace

SECRET = b"wonderland"
REQUEST = Request(
    command=Command.CONNECT,
    host="example.com",
    port=443,
    options=(Tos(leg=Leg.BOTH, tos=8), SessionId(id=SECRET), IdempotenceExpenditure(token=47114711)),
)


def test_it_is_off_unless_asked_for() -> None:
    assert wire_trace("192.0.2.1") is None


def test_a_message_is_one_line_with_its_direction(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="socks6.wire"):
        trace = wire_trace("192.0.2.1")
        assert trace is not None
        trace("<", REQUEST)
        trace(">", b"\x06")
    assert caplog.messages == [
        (
            "< 192.0.2.1 Request(command=1, host='example.com', port=443, options=("
            "Tos(leg=3, tos=8), SessionId(id=<10 bytes>), IdempotenceExpenditure(token=***)))"
        ),
        "> 192.0.2.1 b'\\x06'",
    ]


def test_a_client_of_a_unix_socket_has_a_name(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="socks6.wire"):
        trace = wire_trace("")
        assert trace is not None
        trace("<", "GET example.com:80")
    assert caplog.messages == ["< unix 'GET example.com:80'"]


@pytest.mark.parametrize(
    "message",
    [
        REQUEST,
        AuthenticationData(method=2, data=SECRET),
        UsernamePassword(username=b"alice", password=SECRET),
        UnknownOption(kind=4, body=SECRET),
        IdempotenceWindow(base=47114711, size=5),
        AssociationInitialization(association_id=47114711),
        Datagram(association_id=47114711, host="192.0.2.1", port=53, data=SECRET),
    ],
    ids=lambda message: type(message).__name__,
)
def test_secrets_are_masked(message: object) -> None:
    text = message_text((message,))
    assert "wonderland" not in text
    assert "47114711" not in text


def test_what_a_client_chooses_stays_in_its_line() -> None:
    text = message_text(Request(command=1, host="a\nb\x1b\u2028.example", port=1))
    assert text.isprintable()
    assert text.isascii()
