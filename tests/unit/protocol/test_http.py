"""The client's leg of the HTTP proxy: CONNECT, and requests for plain http."""

import pytest

from socks6.errors import LocalProtocolError
from socks6.message.http import RequestHead
from socks6.protocol.http import BodyEnded, BodyReceived, ForwardRequested, HttpConversation, TunnelRequested
from tests.kit.http import CONNECT, GET, TUNNEL, fed, forwarded, refusal, request, violation


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


@pytest.mark.parametrize("step", [1, 1000])
def test_bytes_that_no_url_has_are_percent_encoded(step: int) -> None:
    data = request(b"GET http://a.example/caf\xc3\xa9?q=\xff HTTP/1.1") + request(
        b"GET http://a.example/\xe4 HTTP/1.1"
    )
    machine = HttpConversation()
    targets = []
    for start in range(0, len(data), step):
        machine.receive_data(data[start : start + step], 0.0)
        while (event := machine.next_event()) is not None:
            assert isinstance(event, ForwardRequested)
            targets.append(event.head.target)
            machine.send_failure(5)
    assert targets == [b"/caf%C3%A9?q=%FF", b"/%E4"]


def test_user_information_is_dropped() -> None:
    event = fed(request(b"GET http://user:pa@ss@a.example/ HTTP/1.1")).next_event()
    assert isinstance(event, ForwardRequested)
    assert (event.host, event.port, event.credentials) == ("a.example", 80, None)
    assert event.head.target == b"/"
    assert b"pa@ss" not in repr(event).encode()


def test_a_websocket_is_asked_for_as_http() -> None:
    upgrade = (b"Connection: Upgrade", b"Upgrade: websocket")
    event = fed(request(b"GET ws://a.example/chat HTTP/1.1", *upgrade)).next_event()
    assert isinstance(event, ForwardRequested)
    assert (event.host, event.port, event.head.target) == ("a.example", 80, b"/chat")
    assert (b"Upgrade", b"websocket") in event.head.fields


@pytest.mark.parametrize(
    "head",
    [
        request(b"GET ws://a.example/chat HTTP/1.1"),
        request(b"GET wss://a.example/chat HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket"),
        b"GET ws://a.example/chat HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
def test_a_websocket_without_an_upgrade_or_within_tls_is_not(head: bytes) -> None:
    machine = fed(head)
    assert "CONNECT" in violation(machine)
    assert refusal(machine) == ("501 Not Implemented", True)


def test_requests_and_statuses_can_be_traced_and_show_no_secrets() -> None:
    seen: list[object] = []
    machine = HttpConversation(lambda direction, message: seen.append((direction, message)))
    machine.receive_data(
        b"GET http://a.example/?password=1 HTTP/1.1\r\nHost: a.example\r\nCookie: secret\r\n\r\n", 0.0
    )
    assert machine.next_event() is not None
    machine.send_failure(1)
    assert machine.next_event() is None
    machine.receive_data(b"CONNECT b.example:443 HTTP/1.1\r\nHost: b.example\r\n\r\n", 0.0)
    assert machine.next_event() is not None
    machine.send_established()
    assert seen == [
        ("<", "GET a.example:80"),
        (">", 502),
        ("<", "CONNECT b.example:443"),
        (">", 200),
    ]
