"""The HTTP proxy's legs: any bytes, any chunking."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from socks6.message.http import RequestHead
from socks6.protocol.events import Ended, Violation
from socks6.protocol.http import (
    BodyEnded,
    BodyReceived,
    ForwardRequested,
    HttpConversation,
    HttpEvent,
    PageRequested,
    TunnelRequested,
)
from socks6.protocol.http_origin import OriginConversation, OriginEvent, SwitchReceived

LINES = st.sampled_from([
    b"GET http://a.example/ HTTP/1.1", b"GET http://a.example/x?y HTTP/1.0", b"HEAD http://[::1]:8080 HTTP/1.1",
    b"POST http://a.example/ HTTP/1.1", b"CONNECT a.example:443 HTTP/1.1", b"OPTIONS http://a.example HTTP/1.1",
    b"GET http://u:p@a.example/\xe9 HTTP/1.1", b"GET ws://a.example/ HTTP/1.1", b"GET / HTTP/1.1", b"GET https://a.example/ HTTP/1.1", b"CONNECT a HTTP/1.1", b"\x16\x03", b"",
])  # fmt: skip
FIELDS = st.lists(
    st.sampled_from([
        b"Content-Length: 5", b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Connection: close, x",
        b"Expect: 100-continue", b"Connection: upgrade", b"Upgrade: websocket", b"X: y", b"Max-Forwards: 0",
        b"Proxy-Authorization: Basic bWU6MTIz", b"broken", b"TE: trailers", b" folded", b"X : y", b": z", b"X: \x0c", b"Content-Length 5", b"Transfer-Encoding : chunked",
    ]),
    max_size=4,
)  # fmt: skip
BODIES = st.sampled_from([b"", b"12345", b"3\r\nabc\r\n0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"zz\r\n", b"\r\n"])
REQUESTS = st.builds(
    lambda line, fields, body: b"\r\n".join([line, b"Host: a", *fields, b"", body]), LINES, FIELDS, BODIES
)
STREAMS = st.one_of(st.lists(REQUESTS, max_size=4).map(b"".join), st.binary(max_size=200))
STATUSES = st.sampled_from([
    b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 ", b"HTTP/1.1 304", b"HTTP/1.1 100 Continue",
    b"HTTP/1.1 101 x", b"HTTP/1.1 099 x", b"nonsense",
])  # fmt: skip
RESPONSES = st.builds(
    lambda status, fields, body: b"\r\n".join([status, *fields, b"", body]), STATUSES, FIELDS, BODIES
)
CUTS = st.lists(st.integers(0, 1000), max_size=20)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


class Proxy:
    """Answers every request with a failure or a tunnel; keeps what was told, bodies in one piece."""

    def __init__(self) -> None:
        self.machine = HttpConversation()
        self.told: list[HttpEvent] = []
        self.bodies = b""
        self.sent = b""
        self.stream: bytes | None = None

    def take_events(self) -> None:
        while (event := self.machine.next_event()) is not None:
            if isinstance(event, BodyReceived):
                self.bodies += event.data
                continue
            self.told.append(event)
            if isinstance(event, TunnelRequested):
                self.machine.send_established()
                self.stream = b""
            elif isinstance(event, PageRequested):
                self.told.append(self.machine.refuse_page())
            elif isinstance(event, BodyEnded) or (isinstance(event, ForwardRequested) and not event.has_body):
                self.machine.send_failure(4)
        self.sent += self.machine.data_to_send()

    def run(self, data: bytes, cuts: list[int]) -> tuple[list[HttpEvent], bytes, bytes, bytes | None]:
        for piece in pieces(data, cuts):
            self.machine.receive_data(piece, 0.0)
            self.take_events()
        self.machine.receive_eof(0.0)
        self.take_events()
        if self.stream is not None:
            self.stream = self.machine.unread()
        return self.told, self.bodies, self.sent, self.stream


@given(STREAMS, CUTS)
def test_any_chunking_of_requests_gives_the_same(data: bytes, cuts: list[int]) -> None:
    whole = Proxy().run(data, [])
    assert Proxy().run(data, cuts) == whole
    assert Proxy().run(data, list(range(len(data)))) == whole


@given(STREAMS)
def test_the_last_event_is_the_end_a_violation_or_a_closing_answer(data: bytes) -> None:
    told, _, sent, stream = Proxy().run(data, [])
    assert told
    assert stream is not None or isinstance(told[-1], Ended | Violation) or b"Connection: close" in sent


def run_origin(data: bytes, cuts: list[int], *, upgrade: bool) -> tuple[list[OriginEvent], bytes, bytes]:
    fields = ((b"Connection", b"upgrade"), (b"Upgrade", b"x")) if upgrade else ()
    machine = OriginConversation()
    machine.send_request(RequestHead(method=b"GET", target=b"/", fields=((b"Host", b"a"), *fields)))
    machine.end_body()
    told: list[OriginEvent] = []
    body = b""
    for piece in [*pieces(data, cuts), None]:
        if piece is None:
            machine.receive_eof(0.0)
        else:
            machine.receive_data(piece, 0.0)
        while (event := machine.next_event()) is not None:
            if isinstance(event, BodyReceived):
                body += event.data
            elif isinstance(event, Violation):
                told.append(Violation(kind=event.kind, reason=""))  # h11 words it by what is there
            else:
                told.append(event)
    switched = any(isinstance(event, SwitchReceived) for event in told)
    return told, body, machine.unread() if switched else b""


@given(st.one_of(st.lists(RESPONSES, max_size=3).map(b"".join), st.binary(max_size=100)), CUTS, st.booleans())
def test_any_chunking_of_responses_gives_the_same(data: bytes, cuts: list[int], upgrade: bool) -> None:
    whole = run_origin(data, [], upgrade=upgrade)
    assert run_origin(data, cuts, upgrade=upgrade) == whole
    assert run_origin(data, list(range(len(data))), upgrade=upgrade) == whole
