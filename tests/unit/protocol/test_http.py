"""The client's leg of the HTTP proxy."""

import pytest

from socks6.errors import LocalProtocolError
from socks6.message.http import ORIGIN_BROKE, RequestHead, ResponseHead
from socks6.protocol.events import Ended, Fault, Violation
from socks6.protocol.http import (
    MAX_DISCARDED,
    BodyEnded,
    BodyReceived,
    ForwardRequested,
    HttpConversation,
    TunnelRequested,
)
from socks6.protocol.methods.userpass import UsernamePasswordCredentials

ME = UsernamePasswordCredentials(username=b"me", password=b"123")
PROOF = b"Proxy-Authorization: Basic bWU6MTIz\r\n"
HOST = b"Host: other.example\r\n"
TUNNEL = TunnelRequested(host="a.example", port=443, credentials=None)
NOT_FOUND = ResponseHead(status=404, reason=b"Not Found", fields=((b"Content-Length", b"2"),))


def fed(data: bytes) -> HttpConversation:
    machine = HttpConversation()
    machine.receive_data(data, 0.0)
    return machine


def request(line: bytes, *fields: bytes) -> bytes:
    return line + b"\r\n" + HOST + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


GET = request(b"GET http://a.example/x HTTP/1.1")
CONNECT = request(b"CONNECT a.example:443 HTTP/1.1")


def forwarded(data: bytes) -> ForwardRequested:
    event = fed(data).next_event()
    assert isinstance(event, ForwardRequested)
    return event


def refusal(machine: HttpConversation) -> tuple[str, bool]:
    """Return the status line of what is to be sent, and whether the connection is closed by it."""
    data = machine.data_to_send()
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert body.endswith(b"\n")
    assert f"Content-Length: {len(body)}" in lines
    return lines[0].removeprefix("HTTP/1.1 "), "Connection: close" in lines


def violation(machine: HttpConversation) -> str:
    event = machine.next_event()
    assert isinstance(event, Violation)
    assert event.fault is Fault.MALFORMED
    assert machine.next_event() is None
    assert machine.bytes_wanted() == 0
    return event.reason


# CONNECT


def test_connect_opens_a_tunnel() -> None:
    machine = fed(CONNECT)
    assert machine.next_event() == TUNNEL
    assert machine.next_event() is None
    assert machine.bytes_wanted() == 0
    machine.send_established()
    assert machine.data_to_send() == b"HTTP/1.1 200 Connection established\r\n\r\n"
    assert machine.next_event() is None


def test_what_follows_connect_is_the_tunnels() -> None:
    machine = fed(CONNECT + b"GET / HTTP/1.1\r\n\r\n")
    assert machine.next_event() == TUNNEL
    machine.receive_data(b"more", 0.0)
    assert machine.unread() == b"GET / HTTP/1.1\r\n\r\nmore"
    machine.send_established()
    assert machine.unread() == b""


def test_connect_to_ipv6() -> None:
    machine = fed(request(b"CONNECT [2001:db8::1]:443 HTTP/1.1"))
    assert machine.next_event() == TunnelRequested(host="2001:db8::1", port=443, credentials=None)


def test_connect_by_http_1_0() -> None:
    machine = fed(b"CONNECT a.example:443 HTTP/1.0\r\n\r\n")
    assert machine.next_event() == TUNNEL
    machine.send_established()
    assert machine.data_to_send().startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("code", "status"), [(2, "403 Forbidden"), (5, "502 Bad Gateway"), (9, "504 Gateway Timeout")]
)
def test_a_tunnel_that_fails_ends_the_connection(code: int, status: str) -> None:
    machine = fed(CONNECT)
    machine.next_event()
    machine.send_failure(code)
    assert refusal(machine) == (status, True)
    assert machine.next_event() is None
    assert machine.bytes_wanted() == 0


@pytest.mark.parametrize("target", [b"a.example", b"/", b"http://a.example/", b"a.example:0"])
def test_connect_needs_host_and_port(target: bytes) -> None:
    machine = fed(request(b"CONNECT " + target + b" HTTP/1.1"))
    assert "target" in violation(machine)
    assert refusal(machine) == ("400 Bad Request", True)


@pytest.mark.parametrize("field", [b"Content-Length: 1", b"Transfer-Encoding: chunked"])
def test_connect_has_no_body(field: bytes) -> None:
    machine = fed(request(b"CONNECT a.example:443 HTTP/1.1", field))
    assert violation(machine) == "CONNECT has no body"
    assert refusal(machine) == ("400 Bad Request", True)


def test_connect_may_say_that_it_has_no_body() -> None:
    assert fed(request(b"CONNECT a.example:443 HTTP/1.1", b"Content-Length: 0")).next_event() == TUNNEL


def test_no_tunnel_is_established_unasked() -> None:
    machine = HttpConversation()
    with pytest.raises(LocalProtocolError):
        machine.send_established()
    machine.receive_data(GET, 0.0)
    machine.next_event()
    with pytest.raises(LocalProtocolError):
        machine.send_established()


# Requests for plain http


def test_a_request_is_rewritten_for_its_origin() -> None:
    data = request(
        b"GET http://A.example:8080/x?y HTTP/1.1",
        b"Proxy-Connection: keep-alive",
        b"Connection: close, x-hop",
        b"X-Hop: 1",
        b"TE: trailers",
        b"Cookie: a=b",
        b"Via: 1.0 first",
    )
    assert forwarded(data) == ForwardRequested(
        host="a.example",
        port=8080,
        credentials=None,
        has_body=False,
        head=RequestHead(
            method=b"GET",
            target=b"/x?y",
            fields=(
                (b"Host", b"a.example:8080"),
                (b"Cookie", b"a=b"),
                (b"Via", b"1.0 first"),
                (b"Via", b"1.1 socks6"),
            ),
        ),
    )


def test_http_1_0_is_told_in_via() -> None:
    event = forwarded(b"GET http://a.example HTTP/1.0\r\n\r\n")
    assert event.head.fields == ((b"Host", b"a.example"), (b"Via", b"1.0 socks6"))
    assert event.head.target == b"/"


def test_options_for_the_origin_as_a_whole() -> None:
    assert forwarded(request(b"OPTIONS http://a.example HTTP/1.1")).head.target == b"*"


def test_a_body_of_announced_length() -> None:
    machine = fed(request(b"POST http://a.example/ HTTP/1.1", b"Content-Length: 5") + b"12")
    event = machine.next_event()
    assert isinstance(event, ForwardRequested)
    assert event.has_body
    assert (b"Content-Length", b"5") in event.head.fields
    assert machine.next_event() == BodyReceived(data=b"12")
    assert machine.next_event() is None
    machine.receive_data(b"345", 0.0)
    assert machine.next_event() == BodyReceived(data=b"345")
    assert machine.next_event() == BodyEnded()
    assert machine.next_event() is None
    assert machine.bytes_wanted() == 0


def test_a_chunked_body() -> None:
    body = b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n"
    machine = fed(request(b"POST http://a.example/ HTTP/1.1", b"Transfer-Encoding: chunked") + body)
    event = machine.next_event()
    assert isinstance(event, ForwardRequested)
    assert event.has_body
    assert event.head.fields[1:] == ((b"Transfer-Encoding", b"chunked"), (b"Via", b"1.1 socks6"))
    assert machine.next_event() == BodyReceived(data=b"abc")
    assert machine.next_event() == BodyReceived(data=b"de")
    assert machine.next_event() == BodyEnded()


def test_an_upgrade_is_asked_for() -> None:
    event = forwarded(
        request(b"GET http://a.example/ HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket")
    )
    assert event.head.fields[1:3] == ((b"Connection", b"upgrade"), (b"Upgrade", b"websocket"))


def test_http_1_0_knows_no_upgrade() -> None:
    event = forwarded(b"GET http://a.example/ HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert event.head.fields == ((b"Host", b"a.example"), (b"Via", b"1.0 socks6"))


def test_max_forwards_counts_down() -> None:
    event = forwarded(request(b"TRACE http://a.example/ HTTP/1.1", b"Max-Forwards: 3"))
    assert (b"Max-Forwards", b"2") in event.head.fields


@pytest.mark.parametrize("value", [b"x", b"-1", b"9" * 10])
def test_max_forwards_that_is_no_number_is_left_alone(value: bytes) -> None:
    event = forwarded(request(b"OPTIONS http://a.example/ HTTP/1.1", b"Max-Forwards: " + value))
    assert (b"Max-Forwards", value) in event.head.fields


def test_max_forwards_is_about_options_and_trace_only() -> None:
    event = forwarded(request(b"GET http://a.example/ HTTP/1.1", b"Max-Forwards: 0"))
    assert (b"Max-Forwards", b"0") in event.head.fields


def test_max_forwards_of_zero_ends_here() -> None:
    machine = fed(request(b"OPTIONS http://a.example/ HTTP/1.1", b"Max-Forwards: 0"))
    assert violation(machine) == "the request may be forwarded no further"
    assert refusal(machine) == ("501 Not Implemented", True)


# Refusals


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(b"GET / HTTP/1.1"), "400 Bad Request"),
        (request(b"GET https://a.example/ HTTP/1.1"), "501 Not Implemented"),
        (request(b"GET http://a.example/" + b"x" * 20000 + b" HTTP/1.1"), "414 Request-URI Too Long"),
        (request(b"GET http://a.example/ HTTP/2.0"), "505 HTTP Version Not Supported"),
        (b"GET http://a.example/ HTTP/1.1\r\n\r\n", "400 Bad Request"),
        (
            request(b"GET http://a.example/ HTTP/1.1", b"X:" + b"x" * 40000),
            "431 Request Header Fields Too Large",
        ),
        (b"\x16\x03\x01", "400 Bad Request"),
        (b"GET http://a.example/\r\n\r\n", "400 Bad Request"),
    ],
)
def test_what_is_not_served(data: bytes, status: str) -> None:
    machine = fed(data)
    violation(machine)
    assert refusal(machine) == (status, True)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((b"Content-Length: 5", b"Content-Length: 6"), "400 Bad Request"),
        ((b"Content-Length: 5, 6",), "400 Bad Request"),
        ((b"Content-Length: +5",), "400 Bad Request"),
        ((b"Content-Length: 5", b"Transfer-Encoding: chunked"), "400 Bad Request"),
        ((b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), "501 Not Implemented"),
        ((b"Transfer-Encoding: gzip, chunked",), "501 Not Implemented"),
        ((b"Transfer-Encoding : chunked",), "400 Bad Request"),
        ((b" Transfer-Encoding: chunked", b"X\r: y"), "400 Bad Request"),
        ((b"Host: again.example",), "400 Bad Request"),
    ],
)
def test_smuggling_is_refused(fields: tuple[bytes, ...], status: str) -> None:
    machine = fed(request(b"POST http://a.example/ HTTP/1.1", *fields) + b"12345")
    violation(machine)
    assert refusal(machine) == (status, True)


def test_http_1_0_knows_no_chunks() -> None:
    machine = fed(b"POST http://a.example/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert violation(machine) == "the length of the request is ambiguous"


def test_secrets_of_malformed_requests_are_not_told() -> None:
    machine = fed(request(b"GET http://a.example/ HTTP/1.1", b"Proxy-Authorization : secret"))
    assert violation(machine) == "illegal header line"
    assert b"secret" not in machine.data_to_send()


def test_the_answer_to_head_has_no_body() -> None:
    machine = fed(request(b"HEAD / HTTP/1.1"))
    violation(machine)
    assert machine.data_to_send().endswith(b"Connection: close\r\n\r\n")


def test_refusals_say_why() -> None:
    machine = fed(CONNECT)
    machine.next_event()
    machine.send_failure(5)
    assert machine.data_to_send() == (
        b"HTTP/1.1 502 Bad Gateway\r\n"
        b"Proxy-Status: socks6; error=connection_refused\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: 32\r\n"
        b"Connection: close\r\n"
        b"\r\n"
        b"Bad Gateway: connection refused\n"
    )


# Authentication


@pytest.mark.parametrize("head", [b"CONNECT a.example:443 HTTP/1.1", b"GET http://a.example/ HTTP/1.1"])
def test_credentials_come_with_the_request(head: bytes) -> None:
    event = fed(request(head, PROOF[:-2])).next_event()
    assert isinstance(event, TunnelRequested | ForwardRequested)
    assert event.credentials == ME


def test_credentials_are_not_forwarded() -> None:
    event = forwarded(request(b"GET http://a.example/ HTTP/1.1", PROOF[:-2]))
    assert all(b"bWU6MTIz" not in value for _, value in event.head.fields)


def test_credentials_that_are_none_count_as_missing() -> None:
    event = forwarded(request(b"GET http://a.example/ HTTP/1.1", b"Proxy-Authorization: Digest x"))
    assert event.credentials is None


@pytest.mark.parametrize("data", [GET, CONNECT])
def test_a_client_without_credentials_may_try_again(data: bytes) -> None:
    machine = fed(data)
    machine.next_event()
    machine.demand_credentials()
    answer = machine.data_to_send()
    assert answer.startswith(
        b'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="socks6"\r\n'
    )
    assert b"close" not in answer
    assert machine.next_event() is None
    assert machine.bytes_wanted() == 1
    machine.receive_data(data, 0.0)
    assert machine.next_event() == fed(data).next_event()


def test_what_was_to_be_tunnelled_is_never_a_request() -> None:
    machine = fed(CONNECT + GET)
    machine.next_event()
    machine.demand_credentials()
    assert refusal(machine) == ("407 Proxy Authentication Required", True)
    assert machine.next_event() is None


def test_the_short_body_of_a_refused_request_is_skipped() -> None:
    post = request(b"POST http://a.example/ HTTP/1.1", b"Content-Length: %d" % MAX_DISCARDED)
    machine = fed(post + b"x")
    machine.next_event()
    machine.demand_credentials()
    assert refusal(machine) == ("407 Proxy Authentication Required", False)
    assert machine.next_event() is None
    assert machine.bytes_wanted() == 1
    machine.receive_data(b"x" * (MAX_DISCARDED - 1) + GET, 0.0)
    assert machine.next_event() == fed(GET).next_event()


@pytest.mark.parametrize(
    "fields",
    [
        (b"Content-Length: %d" % (MAX_DISCARDED + 1),),
        (b"Transfer-Encoding: chunked",),
        (b"Content-Length: 5", b"Expect: 100-continue"),
    ],
)
def test_another_body_ends_the_connection(fields: tuple[bytes, ...]) -> None:
    machine = fed(request(b"POST http://a.example/ HTTP/1.1", *fields))
    machine.next_event()
    machine.demand_credentials()
    assert refusal(machine) == ("407 Proxy Authentication Required", True)
    assert machine.bytes_wanted() == 0


# Responses


def test_requests_one_after_another() -> None:
    machine = fed(GET + b"\r\n\n" + GET)
    for _ in range(2):
        assert machine.next_event() == fed(GET).next_event()
        begun = [machine.in_response]
        machine.send_head(NOT_FOUND)
        begun.append(machine.in_response)
        machine.send_body(b"no")
        machine.end_body()
        begun.append(machine.in_response)
        assert begun == [False, True, False]
        assert machine.data_to_send() == b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"
    assert machine.next_event() is None
    assert machine.bytes_wanted() == 1


@pytest.mark.parametrize(
    "data",
    [
        b"GET http://a.example/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        request(b"GET http://a.example/x HTTP/1.1", b"Connection: close"),
    ],
)
def test_a_client_that_wants_it_is_closed(data: bytes) -> None:
    machine = fed(data + GET)
    machine.next_event()
    machine.send_head(NOT_FOUND)
    machine.send_body(b"no")
    machine.end_body()
    assert b"Connection: close" in machine.data_to_send()
    assert machine.next_event() is None
    assert machine.bytes_wanted() == 0


def test_a_body_without_length_is_chunked() -> None:
    machine = fed(GET)
    machine.next_event()
    machine.send_head(ResponseHead(status=200, reason=b"OK", fields=()))
    machine.send_body(b"abc")
    machine.end_body()
    assert machine.data_to_send() == (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )


def test_a_body_without_length_ends_with_an_old_clients_connection() -> None:
    machine = fed(b"GET http://a.example/ HTTP/1.0\r\n\r\n")
    machine.next_event()
    machine.send_head(ResponseHead(status=200, reason=b"OK", fields=()))
    machine.send_body(b"abc")
    machine.end_body()
    assert machine.data_to_send() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"


@pytest.mark.parametrize(("line", "status"), [(b"HEAD", 200), (b"GET", 304)])
def test_a_length_without_a_body(line: bytes, status: int) -> None:
    machine = fed(request(line + b" http://a.example/ HTTP/1.1"))
    machine.next_event()
    machine.send_head(ResponseHead(status=status, reason=b"", fields=((b"Content-Length", b"99"),)))
    machine.end_body()
    assert machine.data_to_send().endswith(b"Content-Length: 99\r\n\r\n")
    assert machine.next_event() is None
    assert machine.bytes_wanted() == 1


def test_interim_responses_are_passed_on() -> None:
    machine = fed(request(b"POST http://a.example/ HTTP/1.1", b"Content-Length: 1", b"Expect: 100-continue"))
    event = machine.next_event()
    assert isinstance(event, ForwardRequested)
    assert (b"Expect", b"100-continue") in event.head.fields
    machine.send_interim(ResponseHead(status=100, reason=b"Continue", fields=()))
    assert machine.data_to_send() == b"HTTP/1.1 100 Continue\r\n\r\n"
    machine.receive_data(b"x", 0.0)
    assert machine.next_event() == BodyReceived(data=b"x")


def test_http_1_0_knows_no_interim_responses() -> None:
    machine = fed(b"GET http://a.example/ HTTP/1.0\r\n\r\n")
    machine.next_event()
    machine.send_interim(ResponseHead(status=103, reason=b"Early Hints", fields=()))
    assert machine.data_to_send() == b""


def test_a_response_before_the_requests_end_closes() -> None:
    machine = fed(request(b"POST http://a.example/ HTTP/1.1", b"Content-Length: 5") + b"1")
    machine.next_event()
    machine.send_head(NOT_FOUND)
    machine.send_body(b"no")
    machine.end_body()
    assert b"Connection: close" in machine.data_to_send()
    assert machine.bytes_wanted() == 0


def test_protocols_are_switched() -> None:
    machine = fed(request(b"GET http://a.example/ HTTP/1.1", b"Connection: upgrade", b"Upgrade: x") + b"data")
    machine.next_event()
    fields = ((b"Connection", b"upgrade"), (b"Upgrade", b"x"))
    machine.send_switch(ResponseHead(status=101, reason=b"", fields=fields))
    assert machine.data_to_send() == b"HTTP/1.1 101 \r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    assert machine.next_event() is None
    assert machine.bytes_wanted() == 0
    assert machine.unread() == b"data"


def test_an_upgrade_not_taken_is_an_ordinary_request() -> None:
    data = request(b"GET http://a.example/ HTTP/1.1", b"Connection: upgrade", b"Upgrade: x")
    machine = fed(data + GET)
    machine.next_event()
    machine.send_head(NOT_FOUND)
    machine.send_body(b"no")
    machine.end_body()
    assert machine.next_event() == fed(GET).next_event()


@pytest.mark.parametrize(
    "data", [GET, request(b"POST http://a.example/ HTTP/1.1", b"Content-Length: 1") + b"x"]
)
def test_the_connection_survives_an_origins_failure(data: bytes) -> None:
    machine = fed(data + GET)
    machine.next_event()
    machine.send_failure(ORIGIN_BROKE)
    assert refusal(machine) == ("502 Bad Gateway", False)
    assert machine.next_event() == fed(GET).next_event()


def test_answers_out_of_turn_are_our_callers_fault() -> None:
    with pytest.raises(LocalProtocolError):
        HttpConversation().send_body(b"x")


# How it ends


def test_a_client_that_leaves_between_requests() -> None:
    machine = HttpConversation()
    machine.receive_eof(0.0)
    assert machine.next_event() == Ended(reason="the client closed its side")
    assert machine.next_event() is None


def test_a_client_that_leaves_in_a_head() -> None:
    machine = fed(GET[:-2])
    machine.receive_eof(0.0)
    assert violation(machine) == "peer unexpectedly closed connection"
    assert refusal(machine) == ("400 Bad Request", True)


def test_a_client_that_leaves_in_a_body() -> None:
    machine = fed(request(b"POST http://a.example/ HTTP/1.1", b"Content-Length: 5") + b"1")
    machine.receive_eof(0.0)
    machine.next_event()
    assert machine.next_event() == BodyReceived(data=b"1")
    assert violation(machine).startswith("peer closed connection without sending complete message body")
    assert refusal(machine) == ("400 Bad Request", True)


def test_a_malformed_body_after_the_responses_start_gets_no_answer() -> None:
    machine = fed(request(b"POST http://a.example/ HTTP/1.1", b"Transfer-Encoding: chunked"))
    machine.next_event()
    machine.send_head(NOT_FOUND)
    machine.data_to_send()
    machine.receive_data(b"xyz\r\n", 0.0)
    event = machine.next_event()
    assert event == Violation(fault=Fault.MALFORMED, reason="illegal chunk header")
    assert machine.in_response
    assert machine.data_to_send() == b""


def test_a_malformed_body_that_is_skipped_ends_the_connection() -> None:
    machine = fed(request(b"POST http://a.example/ HTTP/1.1", b"Content-Length: 5"))
    machine.next_event()
    machine.send_failure(1)
    machine.receive_eof(0.0)
    violation(machine)
