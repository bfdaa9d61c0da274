"""The origin's leg of the HTTP proxy."""

import pytest

from socks6.errors import LocalProtocolError
from socks6.message.http import RequestHead, ResponseHead
from socks6.protocol.events import Ended, Violation, ViolationKind
from socks6.protocol.http import BodyEnded, BodyReceived
from socks6.protocol.http_origin import (
    MAX_RESPONSE_HEAD_SIZE,
    InterimReceived,
    OriginConversation,
    OriginEvent,
    ResponseReceived,
    SwitchReceived,
)

HOST = (b"Host", b"a.example")
GET = RequestHead(method=b"GET", target=b"/", fields=(HOST,))
HEAD = RequestHead(method=b"HEAD", target=b"/", fields=(HOST,))
POST = RequestHead(method=b"POST", target=b"/", fields=(HOST, (b"Content-Length", b"3")))
UPGRADE = RequestHead(
    method=b"GET", target=b"/", fields=(HOST, (b"Connection", b"upgrade"), (b"Upgrade", b"websocket"))
)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX: 1\r\n\r\n"


def asked(head: RequestHead) -> OriginConversation:
    """Return a conversation whose request is sent."""
    machine = OriginConversation()
    machine.send_request(head)
    machine.end_body()
    machine.data_to_send()
    return machine


def events(machine: OriginConversation, data: bytes, *, end: bool = False) -> list[OriginEvent]:
    machine.receive_data(data, 0.0)
    if end:
        machine.receive_eof(0.0)
    told = []
    while (event := machine.next_event()) is not None:
        told.append(event)
    return told


def response(
    status: int, reason: bytes, *fields: tuple[bytes, bytes], version: bytes = b"1.1"
) -> ResponseHead:
    return ResponseHead(status=status, reason=reason, fields=(*fields, (b"Via", version + b" socks6")))


def test_a_request_as_it_is_sent() -> None:
    machine = OriginConversation()
    machine.send_request(POST)
    machine.send_body(b"abc")
    machine.end_body()
    assert machine.data_to_send() == b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc"


def test_a_response_is_told_as_the_client_gets_it() -> None:
    data = (
        b"HTTP/1.1 200 OK\r\nServer: x\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
        b"Content-Length: 2\r\n\r\nok"
    )
    assert events(asked(GET), data) == [
        ResponseReceived(head=response(200, b"OK", (b"Server", b"x"), (b"Content-Length", b"2"))),
        BodyReceived(data=b"ok"),
        BodyEnded(),
    ]


def test_a_chunked_response_loses_chunks_and_trailers() -> None:
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n"
    assert events(asked(GET), data) == [
        ResponseReceived(head=response(200, b"OK")),
        BodyReceived(data=b"ok"),
        BodyEnded(),
    ]


def test_a_response_that_ends_with_its_connection() -> None:
    machine = asked(GET)
    assert events(machine, b"HTTP/1.0 200 OK\r\n\r\nok", end=True) == [
        ResponseReceived(head=response(200, b"OK", version=b"1.0")),
        BodyReceived(data=b"ok"),
        BodyEnded(),
    ]
    assert not machine.reusable


def test_the_response_to_head_has_no_body() -> None:
    machine = asked(HEAD)
    assert events(machine, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n") == [
        ResponseReceived(head=response(200, b"OK", (b"Content-Length", b"99"))),
        BodyEnded(),
    ]
    assert machine.reusable


def test_no_content_has_no_length() -> None:
    data = b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nX: 1\r\n\r\n"
    assert events(asked(GET), data) == [
        ResponseReceived(head=response(204, b"No Content", (b"X", b"1"))),
        BodyEnded(),
    ]


def test_a_length_beside_chunks_is_not_passed_on() -> None:
    """The chunks count (RFC 9112 §6.3), and another proxy might believe the length."""
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    assert events(asked(GET), data) == [
        ResponseReceived(head=response(200, b"OK")),
        BodyReceived(data=b"ok"),
        BodyEnded(),
    ]


def test_an_interim_response_has_no_length() -> None:
    data = b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nLink: x\r\n\r\n"
    assert events(asked(GET), data) == [InterimReceived(head=response(103, b"Early Hints", (b"Link", b"x")))]


def test_interim_responses_come_first() -> None:
    data = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK
    told = events(asked(GET), data)
    assert told[:2] == [
        InterimReceived(head=response(103, b"Early Hints", (b"Link", b"x"))),
        InterimReceived(head=response(100, b"Continue")),
    ]
    assert told[-1] == BodyEnded()


def test_a_switch_of_protocols() -> None:
    machine = asked(UPGRADE)
    assert events(machine, SWITCH + b"data") == [
        SwitchReceived(
            head=ResponseHead(
                status=101,
                reason=b"Switching Protocols",
                fields=(
                    (b"X", b"1"),
                    (b"Connection", b"upgrade"),
                    (b"Upgrade", b"websocket"),
                    (b"Via", b"1.1 socks6"),
                ),
            )
        )
    ]
    assert machine.bytes_wanted() == 0
    assert machine.unread() == b"data"


def test_a_switch_nobody_asked_for() -> None:
    assert events(asked(GET), SWITCH) == [
        Violation(
            kind=ViolationKind.MALFORMED,
            reason="the origin's response: Received server _SWITCH_UPGRADE event without a pending proposal",
        )
    ]


def test_a_switch_in_mid_request() -> None:
    machine = OriginConversation()
    machine.send_request(UPGRADE)
    assert events(machine, SWITCH) == [
        Violation(kind=ViolationKind.MALFORMED, reason="the origin switched protocols in mid-request")
    ]


def test_a_response_may_overtake_its_request() -> None:
    machine = OriginConversation()
    machine.send_request(POST)
    assert events(machine, OK)[-1] == BodyEnded()
    assert not machine.reusable
    machine.send_body(b"abc")
    machine.end_body()
    assert machine.reusable


def test_requests_one_after_another() -> None:
    machine = OriginConversation()
    for _ in range(2):
        machine.send_request(GET)
        answered = [machine.answered]
        machine.end_body()
        assert machine.data_to_send() == b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
        assert len(events(machine, OK)) == 3
        answered.append(machine.answered)
        assert answered == [False, True]
        assert machine.reusable


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", False),
        (OK, True),
        (OK + b"HTTP/1.1 ", False),
    ],
)
def test_a_connection_not_to_be_used_again(data: bytes, end: bool) -> None:
    machine = asked(GET)
    assert events(machine, data, end=end)[-1] == BodyEnded()
    assert not machine.reusable


def test_bytes_that_come_after_the_response_spoil_the_connection() -> None:
    machine = asked(GET)
    events(machine, OK)
    machine.receive_data(b"x", 0.0)
    assert not machine.reusable


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"])
def test_an_origin_that_leaves_in_mid_response(data: bytes) -> None:
    told = events(asked(GET), data, end=True)
    assert told[-1] == Ended(reason="the origin closed its side in mid-response")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"SSH-2.0-x\r\n\r\n", "illegal status line"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "conflicting Content-Length headers",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "Only Transfer-Encoding"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "illegal chunk header"),
    ],
)
@pytest.mark.parametrize("end", [False, True])
def test_a_malformed_response(data: bytes, reason: str, end: bool) -> None:
    told = events(asked(GET), data, end=end)
    assert told[-1] == Violation(kind=ViolationKind.MALFORMED, reason=f"the origin's response: {reason}")


def test_a_request_out_of_turn_is_our_callers_fault() -> None:
    machine = asked(GET)
    with pytest.raises(LocalProtocolError):
        machine.send_request(GET)


LENIENT = [
    b"X-Option : 1; mode=block\r\n",
    b"get-ban-to-cache-result/forum.php: userdata not support\r\n",
    b"JustText\r\n",
    b": x\r\n",
    b"X: a\x7fb\r\n",
    b"Set-Cookie: a=\x0cb\r\n",
    b" continued\r\n",
    b"".join(b"Set-Cookie: c%d=%s\r\n" % (number, b"v" * 3900) for number in range(60)),
]


@pytest.mark.parametrize("lines", LENIENT)
@pytest.mark.parametrize("step", [1, 7, 100_000])
@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 103 Early Hints\r\nX : 1\r\n\r\n"])
def test_a_head_that_browsers_take_is_taken(lines: bytes, step: int, interim: bytes) -> None:
    machine = asked(GET)
    data = interim + b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: 3\r\n\r\nabc"
    step = max(step, len(data) // 1000)
    told: list[OriginEvent] = []
    for start in range(0, len(data), step):
        told += events(machine, data[start : start + step])
    heads = [event.head for event in told if isinstance(event, InterimReceived | ResponseReceived)]
    assert [head.status for head in heads] == ([103, 200] if interim else [200])
    assert b"".join(event.data for event in told if isinstance(event, BodyReceived)) == b"abc"
    assert told[-1] == BodyEnded()
    assert machine.reusable


@pytest.mark.parametrize(
    "line",
    [b"Content-Length 5", b"Transfer-Encoding\x00: chunked", b" Content-Length: 5", b"Content-Length: 5\x00"],
)
def test_a_head_that_leaves_the_bodys_length_in_doubt_is_refused(line: bytes) -> None:
    (told,) = events(asked(GET), b"HTTP/1.1 200 OK\r\n" + line + b"\r\nContent-Length: 3\r\n\r\nabc")
    assert isinstance(told, Violation)


@pytest.mark.parametrize(
    ("size", "whole"), [(MAX_RESPONSE_HEAD_SIZE, True), (MAX_RESPONSE_HEAD_SIZE + 1, False)]
)
@pytest.mark.parametrize("step", [10_000, 1_000_000])
def test_the_limit_on_heads_is_exact(size: int, whole: bool, step: int) -> None:
    begin, end = b"HTTP/1.1 200 OK\r\nX: ", b"\r\nContent-Length: 0\r\n\r\n"
    data = begin + b"x" * (size - len(begin) - len(end)) + end
    machine = asked(GET)
    told: list[OriginEvent] = []
    for start in range(0, len(data), step):
        told += events(machine, data[start : start + step])
    assert isinstance(told[0], ResponseReceived if whole else Violation)


def test_a_head_without_an_end_is_refused_before_it_has_one() -> None:
    machine = asked(GET)
    assert events(machine, b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000) == [
        Violation(kind=ViolationKind.MALFORMED, reason="the origin's response: Receive buffer too long")
    ]


def test_what_begins_as_no_response_is_refused_with_its_first_line() -> None:
    machine = asked(GET)
    (told,) = events(machine, b"\x15\x03\x03\x00\x02")  # a TLS alert
    assert isinstance(told, Violation)
