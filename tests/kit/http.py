"""HTTP messages, and what tests of the HTTP proxy look for in them."""

from socks6.message.http import ResponseHead
from socks6.net.stream import ByteStream
from socks6.protocol.events import Violation, ViolationKind
from socks6.protocol.http import ForwardRequested, HttpConversation, TunnelRequested
from tests.kit.connection import ServedClient, expect

HOST = b"Host: other.example\r\n"
VIA = b"Via: 1.1 socks6\r\n"


def request(line: bytes, *fields: bytes) -> bytes:
    """Return a request's head."""
    return line + b"\r\n" + HOST + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


GET = request(b"GET http://a.example/x HTTP/1.1")
GET_ORIGIN = b"GET /x HTTP/1.1\r\nHost: a.example\r\n" + VIA + b"\r\n"
CONNECT = request(b"CONNECT a.example:443 HTTP/1.1")
TUNNEL = TunnelRequested(host="a.example", port=443, credentials=None)
NOT_FOUND = ResponseHead(status=404, reason=b"Not Found", fields=((b"Content-Length", b"2"),))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
OK_CLIENT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + VIA + b"\r\nok"


def post(*fields: bytes, body: bytes = b"") -> bytes:
    """Return a POST as the client sends it."""
    return request(b"POST http://a.example/x HTTP/1.1", *fields) + body


def post_origin(*fields: bytes, body: bytes = b"") -> bytes:
    """Return a POST as the origin gets it."""
    head = b"POST /x HTTP/1.1\r\nHost: a.example\r\n"
    return head + b"".join(field + b"\r\n" for field in fields) + VIA + b"\r\n" + body


def failed(status: bytes, error: bytes) -> bytes:
    """Return the proxy's own answer, where the connection stays."""
    text = status[4:] + b": " + error.replace(b"_", b" ") + b"\n"
    return (
        b"HTTP/1.1 %s\r\nProxy-Status: socks6; error=%s\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: %d\r\n\r\n%s"
    ) % (status, error, len(text), text)


BROKE = failed(b"502 Bad Gateway", b"http_response_incomplete")


def fed(data: bytes) -> HttpConversation:
    """Return a conversation whose client has said `data`."""
    machine = HttpConversation()
    machine.receive_data(data, 0.0)
    return machine


def forwarded(data: bytes) -> ForwardRequested:
    """Return what a request for plain http becomes."""
    event = fed(data).next_event()
    assert isinstance(event, ForwardRequested)
    return event


def refusal(machine: HttpConversation) -> tuple[str, bool]:
    """Return the status of the answer that is to be sent, and whether it closes the connection."""
    head, _, body = machine.data_to_send().partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert body.endswith(b"\n")
    assert f"Content-Length: {len(body)}" in lines
    return lines[0].removeprefix("HTTP/1.1 "), "Connection: close" in lines


def violation(machine: HttpConversation) -> str:
    """Return why the client is sent away."""
    event = machine.next_event()
    assert isinstance(event, Violation)
    assert event.kind is ViolationKind.MALFORMED
    assert machine.next_event() is None
    assert machine.bytes_wanted() == 0
    return event.reason


async def serve_get(served: ServedClient, remote: ByteStream) -> None:
    """Have a GET that was sent answered."""
    await expect(remote, GET_ORIGIN)
    await remote.send(OK)
    await expect(served.client, OK_CLIENT)
