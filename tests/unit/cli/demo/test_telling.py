"""Recorded bytes in words."""

from collections.abc import Sequence

import pytest

from socks6.cli.demo.drawing import Arrow
from socks6.cli.demo.recording import Piece
from socks6.cli.demo.telling import (
    HTTP,
    SOCKS5,
    SOCKS6,
    Script,
    command_name,
    first_line,
    place,
    reply_name,
    tell,
)
from socks6.message import socks5
from socks6.message.codes import Command, Method
from socks6.message.options import (
    AuthenticationData,
    AuthenticationMethodAdvertisement,
    AuthenticationMethodSelection,
    SessionRequest,
)
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.message.userpass import UsernamePassword, UsernamePasswordReply

SECRET = UsernamePassword(username=b"demo", password=b"s3cret").encode()
REQUEST = Request(
    command=Command.CONNECT,
    host="example.com",
    port=80,
    options=(
        AuthenticationMethodAdvertisement(methods=(Method.USERNAME_PASSWORD,), initial_data_length=16),
        AuthenticationData(method=Method.USERNAME_PASSWORD, data=SECRET),
        SessionRequest(),
    ),
).encode()


def told(script: Script, *pieces: tuple[str, bytes]) -> list[Arrow]:
    """Return the arrows of pieces that went to ("<") or from (">") the recorder, a millisecond apart."""
    recorded = [
        Piece(time=100 + number / 1000, received=way == ">", data=data)
        for number, (way, data) in enumerate(pieces)
    ]
    return list(tell(recorded, script, client=1, host=2, start=100))


def words(arrows: Sequence[Arrow]) -> list[tuple[str, ...]]:
    return [arrow.words for arrow in arrows]


def test_a_request_with_all_that_comes_along() -> None:
    (arrow,) = told(SOCKS6, (">", REQUEST + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    assert (arrow.source, arrow.target, arrow.label) == (1, 2, f"{len(REQUEST) + 27} bytes")
    assert arrow.words == (
        "Request: CONNECT",
        "  example.com:80",
        "  Method Advertisement: username/password",
        "    initial data: 16 bytes",
        "  Authentication Data:",
        "    user demo, password hidden",
        "  SessionRequest",
        "initial data: GET / HTTP/1.1",
    )


def test_replies_come_back() -> None:
    status = AuthenticationData(
        method=Method.USERNAME_PASSWORD, data=UsernamePasswordReply(status=0).encode()
    )
    reply = AuthenticationReply(type=0, options=(status,)).encode()
    arrows = told(SOCKS6, ("<", reply), ("<", OperationReply(code=0, host="::1", port=5).encode()))
    assert words(arrows) == [
        ("Authentication Reply: succeeded", "  Authentication Data: status 0"),
        ("Operation Reply: 00 succeeded", "  bound to [::1]:5"),
    ]
    assert [(arrow.source, arrow.target) for arrow in arrows] == [(2, 1), (2, 1)]
    assert [round(arrow.time, 3) for arrow in arrows] == [0, 1]


def test_a_refusal() -> None:
    reply = AuthenticationReply(type=1, options=(AuthenticationMethodSelection(method=255),)).encode()
    assert words(told(SOCKS6, ("<", reply))) == [
        ("Authentication Reply: failed", "  AuthenticationMethodSelection")
    ]


def test_two_messages_in_one_piece_are_one_arrow() -> None:
    both = AuthenticationReply(type=0).encode() + OperationReply(code=5).encode()
    assert words(told(SOCKS6, ("<", both))) == [
        ("Authentication Reply: succeeded", "Operation Reply: 05 connection refused", "  bound to 0.0.0.0:0")
    ]


def test_a_message_in_pieces_comes_with_its_last_one() -> None:
    arrows = told(SOCKS6, (">", REQUEST[:3]), (">", REQUEST[3:9]), (">", REQUEST[9:]))
    (arrow,) = arrows
    assert arrow.time == pytest.approx(2)
    assert arrow.label == f"{len(REQUEST)} bytes"


def test_a_socks_5_handshake() -> None:
    arrows = told(
        SOCKS5,
        (">", socks5.Greeting(methods=(0, 1, 99)).encode()),
        ("<", socks5.MethodSelection(method=0).encode()),
        (">", socks5.Request(command=Command.CONNECT, host="example.com", port=80).encode()),
        ("<", socks5.Reply(code=4).encode()),
    )
    assert words(arrows) == [
        ("SOCKS 5 greeting, methods:", "  none, GSSAPI, 99"),
        ("method: none",),
        ("request: CONNECT", "  example.com:80"),
        ("reply: 04 host unreachable",),
    ]


def test_http_is_told_by_its_first_lines() -> None:
    arrows = told(HTTP, (">", b"GET / HTTP/1.1\r\n\r\n"), ("<", b"HTTP/1.1 200 OK\r\n\r\n"))
    assert words(arrows) == [("GET / HTTP/1.1",), ("HTTP/1.1 200 OK",)]


def test_a_long_line_is_cut_and_only_letters_are_shown() -> None:
    assert first_line(b"x" * 31) == "x" * 27 + "..."
    assert first_line(b"\x1b[2J\xe9\n") == ".[2J.."


def test_names_of_numbers() -> None:
    assert [command_name(0), command_name(77)] == ["NOOP", "command 77"]
    assert [reply_name(9), reply_name(0x77)] == ["09 connection timed out", "77 unknown"]
    assert [place("example.com", 80), place("::1", 80)] == ["example.com:80", "[::1]:80"]


def test_no_secret_is_told() -> None:
    assert "s3cret" not in str(told(SOCKS6, (">", REQUEST)))
