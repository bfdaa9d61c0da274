"""The client's leg of the HTTP proxy: responses, and how a connection ends."""

import pytest

from socks6.errors import LocalProtocolError
from socks6.message.http import ORIGIN_BROKE, ResponseHead
from socks6.protocol.events import Ended, Violation, ViolationKind
from socks6.protocol.http import BodyReceived, ForwardRequested, HttpConversation
from tests.kit.http import GET, NOT_FOUND, fed, refusal, request, violation


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
    assert event == Violation(kind=ViolationKind.MALFORMED, reason="illegal chunk header")
    assert machine.in_response
    assert machine.data_to_send() == b""


def test_a_malformed_body_that_is_skipped_ends_the_connection() -> None:
    machine = fed(request(b"POST http://a.example/ HTTP/1.1", b"Content-Length: 5"))
    machine.next_event()
    machine.send_failure(1)
    machine.receive_eof(0.0)
    violation(machine)
