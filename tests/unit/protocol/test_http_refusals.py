"""The client's leg of the HTTP proxy: what is refused, and authentication."""

from http import HTTPStatus

import pytest

from socks6.protocol.http import MAX_DISCARDED, ForwardRequested, TunnelRequested
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from tests.kit.http import CONNECT, GET, fed, forwarded, refusal, request, violation

ME = UsernamePasswordCredentials(username=b"me", password=b"123")
PROOF = b"Proxy-Authorization: Basic bWU6MTIz"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(b"POST / HTTP/1.1"), "400 Bad Request"),
        (request(b"GET x HTTP/1.1"), "400 Bad Request"),
        (request(b"GET / HTTP/1.1", b"Content-Length: 1") + b"x", "400 Bad Request"),
        (request(b"GET https://a.example/ HTTP/1.1"), "501 Not Implemented"),
        (
            request(b"GET http://a.example/" + b"x" * 20000 + b" HTTP/1.1"),
            f"414 {HTTPStatus.REQUEST_URI_TOO_LONG.phrase}",
        ),
        (request(b"GET http://a.example/ HTTP/2.0"), "505 HTTP Version Not Supported"),
        (b"GET http://a.example/ HTTP/1.1\r\n\r\n", "400 Bad Request"),
        (
            request(b"GET http://a.example/ HTTP/1.1", b"X:" + b"x" * 40000),
            "431 Request Header Fields Too Large",
        ),
        (b"\x06\x03\x01", "400 Bad Request"),
        (request(b"G\xc3T http://a.example/ HTTP/1.1"), "400 Bad Request"),
        (request(b"GET http://\xc3\xa4.example/ HTTP/1.1"), "400 Bad Request"),
        (request(b"GET http://a.example/\x01 HTTP/1.1"), "400 Bad Request"),
        (b"x" * 40000, "431 Request Header Fields Too Large"),
        (b"GET http://a.example/\r\n\r\n", "400 Bad Request"),
    ],
)
def test_what_is_not_served(data: bytes, status: str) -> None:
    machine = fed(data)
    violation(machine)
    assert refusal(machine) == (status, True)


def test_an_ssh_client_is_told_in_a_line_of_text_once_it_is_known_to_be_one() -> None:
    machine = fed(b"SSH")
    assert machine.next_event() is None  # it may yet be a method of HTTP
    assert machine.data_to_send() == b""
    machine.receive_data(b"-2.0-x\r\n", 0.0)
    assert violation(machine) == "an ssh client"
    assert machine.data_to_send() == b"this is a proxy, not an ssh server\r\n"
    assert machine.bytes_wanted() == 0


def test_a_method_that_begins_like_ssh_is_http() -> None:
    machine = fed(b"SS")
    assert machine.next_event() is None
    machine.receive_data(request(b"ALUTE http://a.example/ HTTP/1.1"), 0.0)
    event = machine.next_event()
    assert isinstance(event, ForwardRequested)
    assert event.head.method == b"SSALUTE"


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
    machine = fed(request(b"HEAD x HTTP/1.1"))
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


@pytest.mark.parametrize("head", [b"CONNECT a.example:443 HTTP/1.1", b"GET http://a.example/ HTTP/1.1"])
def test_credentials_come_with_the_request(head: bytes) -> None:
    event = fed(request(head, PROOF)).next_event()
    assert isinstance(event, TunnelRequested | ForwardRequested)
    assert event.credentials == ME


def test_credentials_are_not_forwarded() -> None:
    event = forwarded(request(b"GET http://a.example/ HTTP/1.1", PROOF))
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
