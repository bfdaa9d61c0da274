"""The client's leg of the HTTP proxy: CONNECT, and requests for plain http to be forwarded."""

import re
from http import HTTPStatus
from typing import Final

import h11

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import LocalProtocolError
from socks6.message.first_bytes import client_of, describe_client, is_ambiguous, refusal_for
from socks6.message.http import (
    CHALLENGE,
    CHUNKED,
    CLOSE,
    HTTP_PORT,
    NO_PAGE,
    UNAUTHENTICATED,
    BadRequest,
    Failure,
    Fields,
    Page,
    RequestHead,
    ResponseHead,
    decode_absolute,
    decode_authority,
    decode_basic,
    end_to_end,
    failure_for,
    find_field,
    percent_encoded,
    proxy_status,
    via,
    wanted_upgrades,
)
from socks6.protocol.events import Ended, Violation, ViolationKind
from socks6.protocol.http_leg import MAX_HEAD_SIZE, HttpLeg
from socks6.protocol.machine import Trace
from socks6.protocol.methods.userpass import UsernamePasswordCredentials

OPENING_SIZE: Final = 4  # bytes of each piece, which tell HTTP from other protocols
MAX_DISCARDED: Final = 65_536  # so much of a refused request's body is read to keep its connection

PAGE_METHODS: Final = frozenset({b"GET", b"HEAD"})
OVER: Final = frozenset({h11.MUST_CLOSE, h11.CLOSED, h11.ERROR, h11.SWITCHED_PROTOCOL})
LIMITED_METHODS: Final = frozenset({b"OPTIONS", b"TRACE"})  # those that Max-Forwards is about
MAX_FORWARDS: Final = re.compile(rb"[0-9]{1,9}")
VERSIONS: Final = frozenset({b"1.0", b"1.1"})
REQUEST_ERROR: Final = "http_request_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelRequested:
    """CONNECT. Answer with `send_established`, `send_failure` or `demand_credentials`."""

    host: str
    port: int
    credentials: UsernamePasswordCredentials | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardRequested:
    """A request for plain http. Answer with a response, `send_failure` or `demand_credentials`."""

    host: str
    port: int
    credentials: UsernamePasswordCredentials | None
    head: RequestHead
    has_body: bool  # then BodyReceived and BodyEnded follow


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequested:
    """GET or HEAD of a path at the proxy itself. Answer with `send_page` or `refuse_page`."""

    path: str
    host: str  # that the client names, without the port; "" if that is impossible
    wants_json: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyReceived:
    """A piece of the body, of at most `MAX_HEAD_SIZE` + 1 bytes."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyEnded:
    """The body is whole."""


HttpEvent = TunnelRequested | ForwardRequested | PageRequested | BodyReceived | BodyEnded | Violation | Ended


class HttpConversation(HttpLeg[HttpEvent]):
    """A machine (see `protocol.machine`) that serves one client's requests, one after another.

    When a response is through, `next_event` goes on to the next request, or wants no more bytes if the
    connection has to be closed. A call out of turn raises LocalProtocolError.
    """

    def __init__(self, trace: Trace | None = None) -> None:
        """`trace` sees the method, host and port of each request, and each response's status."""
        super().__init__(h11.SERVER, trace)
        self._request: h11.Request | None = None
        self._opening = b""  # what the connection began with, until it is known whether that is HTTP
        self._is_judged = False  # whether it is known

    @property
    def in_response(self) -> bool:
        """Whether a response has begun and is not through."""
        return self._h11.our_state is h11.SEND_BODY

    @override
    def receive_data(self, data: bytes, now: float) -> None:
        if not self._is_judged:
            self._opening += data[:OPENING_SIZE]
        super().receive_data(data, now)

    @override
    def bytes_wanted(self) -> int:
        """Return 1 while the client has to send something, else 0."""
        return 0 if self._h11.our_state in OVER else super().bytes_wanted()

    @override
    def next_event(self) -> HttpEvent | None:
        if self._opening and not self._is_judged and (foreign := self._foreign_client()) is not None:
            return foreign
        try:
            while self._h11.our_state not in OVER:
                self._begin_cycle()
                event = self._pull()
                if event is None:
                    return None
                converted = self._convert(event)
                if converted is not None:
                    return converted
        except BadRequest as refusal:
            return self._violate(refusal.status, str(refusal))
        except h11.RemoteProtocolError as error:
            # what follows a colon is quoted from the request, and may be a secret
            return self._violate(HTTPStatus(error.error_status_hint), str(error).partition(":")[0])
        return None

    def _foreign_client(self) -> Violation | None:
        """Answer and return what a client does that speaks another protocol; None for HTTP, or too few bytes."""
        if is_ambiguous(self._opening):
            return None
        self._is_judged = True
        known = client_of(self._opening)
        if known is None or known.name == "HTTP":  # HTTP itself answers what nobody knows
            return None
        self._outgoing += self._traced(">", refusal_for(self._opening, "http"))
        self._h11.send_failed()  # HTTP says nothing more
        return Violation(kind=ViolationKind.MALFORMED, reason=describe_client(self._opening, "http"))

    # What the driver answers.

    def send_established(self) -> None:
        """Queue the answer to CONNECT: the tunnel is there."""
        if not self._is_connect():
            raise LocalProtocolError("no tunnel was asked for")
        self._push(h11.Response(status_code=200, reason=b"Connection established", headers=[]))

    def send_failure(self, failure: Failure | int) -> None:
        """Queue the answer for a SOCKS 6 reply code, or any other failure."""
        if isinstance(failure, int):
            failure = failure_for(failure)
        self._refuse(failure, close=self._is_connect() or not self._discardable())

    def send_page(self, page: Page) -> None:
        """Queue a page of the proxy's own; the connection ends with it."""
        self._respond(HTTPStatus.OK, page.media_type, page.body, (*page.fields, CLOSE))

    def refuse_page(self) -> Violation:
        """Queue the answer to clients that take the proxy for a web server; return what they did wrong."""
        return self._violate(HTTPStatus.BAD_REQUEST, NO_PAGE)

    def demand_credentials(self, *, close: bool = False) -> None:
        """Queue the answer to missing or wrong credentials; the connection stays where that is safe.

        With `close` it ends with the answer.
        """
        self._refuse(UNAUTHENTICATED, CHALLENGE, close=close or not self._discardable())

    def send_interim(self, head: ResponseHead) -> None:
        """Queue an interim response; HTTP/1.0 knows none (RFC 9110 §15.2)."""
        if self._h11.their_http_version != b"1.0":
            self._push(_informational(head))

    def send_switch(self, head: ResponseHead) -> None:
        """Queue the response that gives the connection to another protocol: what follows is the stream's."""
        self._push(_informational(head))

    def send_head(self, head: ResponseHead) -> None:
        """Queue a response's head; the connection ends with a response that comes before the request's end."""
        fields = list(head.fields)
        if self._h11.their_state is h11.SEND_BODY:
            fields.append(CLOSE)
        self._push(h11.Response(status_code=head.status, reason=head.reason, headers=fields))

    def send_body(self, data: bytes) -> None:
        """Queue a piece of the response's body."""
        self._push(h11.Data(data=data))

    def end_body(self) -> None:
        """Queue the response's end."""
        self._push(h11.EndOfMessage())

    # Inside.

    @override
    def _push(self, event: h11.Event) -> None:
        super()._push(event)
        if isinstance(event, h11.Response | h11.InformationalResponse):
            self._traced(">", event.status_code)

    @override
    def _feed(self) -> bool:
        if self._h11.their_state is h11.IDLE and self._received and not self._unparsed_size():
            end = self._received.find(b"\n") + 1
            if not end and self._may_become_line():
                return False
            self._received[:end] = percent_encoded(bytes(self._received[:end]))
        return super()._feed()

    def _may_become_line(self) -> bool:
        """Whether what is pending may become a request's first line; h11 refuses at once what begins with no text."""
        return not self._ended and len(self._received) <= MAX_HEAD_SIZE and self._received[0] > 0x20

    def _begin_cycle(self) -> None:
        """Go on to the next request if one is through; ignore empty lines before it (RFC 9112 §2.2)."""
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._renew()
            self._request = None
        if self._h11.their_state is h11.IDLE and self._unparsed_size() == 0:
            del self._received[: len(self._received) - len(self._received.lstrip(b"\r\n"))]

    def _convert(self, event: h11.Event) -> HttpEvent | None:
        """Return our event for one of h11's; None for what has no meaning to the driver."""
        match event:
            case h11.Request():
                return self._take_request(event)
            case h11.ConnectionClosed():
                return Ended(reason="the client closed its side")
            case _ if self._h11.our_state is h11.DONE:
                return None  # the rest of a request that was refused
            case h11.Data():
                return BodyReceived(data=bytes(event.data))
            case _:
                return BodyEnded()

    def _take_request(self, request: h11.Request) -> TunnelRequested | ForwardRequested | PageRequested:
        self._request = request
        if request.http_version not in VERSIONS:
            raise BadRequest("this proxy speaks HTTP/1.1", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        fields = tuple(request.headers.raw_items())
        self._check_framing(request, fields)
        credentials = _credentials(fields)
        has_body = self._body_size() != 0
        if not has_body:
            self._pull()  # its end, an event of its own to h11
        if request.method == b"CONNECT":
            host, port = decode_authority(request.target)
            self._traced("<", f"{request.method.decode()} {host}:{port}")
            return TunnelRequested(host=host, port=port, credentials=credentials)
        if request.target.startswith(b"/") and request.method in PAGE_METHODS and not has_body:
            return _page_request(request.target, fields)
        upgrading = request.http_version == b"1.1" and wanted_upgrades(fields) != b""
        target = decode_absolute(request.target, upgrading=upgrading)
        self._traced("<", f"{request.method.decode()} {target.host}:{target.port}")
        head = RequestHead(
            method=request.method,
            target=target.origin_form(request.method),
            fields=((b"Host", target.authority), *self._forwarded(request, fields)),
        )
        return ForwardRequested(
            host=target.host, port=target.port, credentials=credentials, head=head, has_body=has_body
        )

    def _check_framing(self, request: h11.Request, fields: Fields) -> None:
        """Refuse what another reader may understand in another way (RFC 9112 §11.2)."""
        chunked = find_field(fields, b"transfer-encoding") is not None
        if chunked and (find_field(fields, b"content-length") is not None or request.http_version != b"1.1"):
            raise BadRequest("the length of the request is ambiguous")
        if request.method == b"CONNECT" and self._body_size() != 0:
            raise BadRequest("CONNECT has no body")

    def _forwarded(self, request: h11.Request, fields: Fields) -> Fields:
        """Return the fields that the origin gets, but for Host."""
        forwarded = [field for field in end_to_end(fields) if field[0].lower() != b"host"]
        if request.method in LIMITED_METHODS:
            forwarded = [_one_hop_less(field) for field in forwarded]
        if find_field(fields, b"transfer-encoding") is not None:
            forwarded.append(CHUNKED)
        upgrades = wanted_upgrades(fields) if request.http_version == b"1.1" else b""
        if upgrades:
            forwarded += [(b"Connection", b"upgrade"), (b"Upgrade", upgrades)]
        return (*forwarded, via(request.http_version))

    def _body_size(self) -> int | None:
        """Return how long the request's body is; None if that shows only at its end."""
        fields = tuple(self._request.headers.raw_items()) if self._request is not None else ()
        if find_field(fields, b"transfer-encoding") is not None:
            return None
        return int(find_field(fields, b"content-length") or 0)

    def _is_connect(self) -> bool:
        return self._request is not None and self._request.method == b"CONNECT"

    def _discardable(self) -> bool:
        """Whether the rest of the request is surely coming, and short, and what follows is another request."""
        if self._is_connect():
            return not (self._received or self._unparsed())  # else it may be what was to be tunnelled
        size = self._body_size()
        return (
            size is not None
            and size <= MAX_DISCARDED
            and not self._h11.they_are_waiting_for_100_continue  # who may never send it (RFC 9110 §10.1.1)
        )

    def _violate(self, status: HTTPStatus, reason: str) -> Violation:
        if self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._refuse(Failure(status, REQUEST_ERROR), text=reason, close=True)
        return Violation(kind=ViolationKind.MALFORMED, reason=reason)

    def _refuse(self, failure: Failure, *fields: tuple[bytes, bytes], text: str = "", close: bool) -> None:
        """Queue a whole response of our own."""
        text = text or f"{failure.status.phrase}: {failure.details or failure.error.replace('_', ' ')}"
        before = (*fields, proxy_status(failure.error, failure.details))
        body = f"{text}\n".encode()
        after = (CLOSE,) if close else ()
        self._respond(failure.status, b"text/plain; charset=utf-8", body, after, before=before)

    def _respond(
        self, status: HTTPStatus, media_type: bytes, body: bytes, fields: Fields, *, before: Fields = ()
    ) -> None:
        """Queue a whole response."""
        headers = [
            *before,
            (b"Content-Type", media_type),
            (b"Content-Length", b"%d" % len(body)),
            *fields,
        ]
        self._push(h11.Response(status_code=status, reason=status.phrase.encode(), headers=headers))
        if self._request is None or self._request.method != b"HEAD":
            self._push(h11.Data(data=body))
        self._push(h11.EndOfMessage())


def _page_request(target: bytes, fields: Fields) -> PageRequested:
    path, _, query = target.partition(b"?")
    accepted = find_field(fields, b"accept") or b""
    try:
        host, _ = decode_authority(find_field(fields, b"host") or b"", HTTP_PORT)
    except BadRequest:
        host = ""
    return PageRequested(
        path=path.decode("latin-1"),
        host=host,
        wants_json=b"format=json" in query.split(b"&")
        or (b"application/json" in accepted and b"text/html" not in accepted),
    )


def _informational(head: ResponseHead) -> h11.InformationalResponse:
    return h11.InformationalResponse(status_code=head.status, reason=head.reason, headers=list(head.fields))


def _credentials(fields: Fields) -> UsernamePasswordCredentials | None:
    value = find_field(fields, b"proxy-authorization")
    basic = decode_basic(value) if value is not None else None
    return UsernamePasswordCredentials(username=basic[0], password=basic[1]) if basic else None


def _one_hop_less(field: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return Max-Forwards counted down, any other field as it is (RFC 9110 §7.6.2)."""
    name, value = field
    if name.lower() != b"max-forwards" or not MAX_FORWARDS.fullmatch(value):
        return field
    hops = int(value)
    if hops == 0:
        raise BadRequest("the request may be forwarded no further", HTTPStatus.NOT_IMPLEMENTED)
    return name, b"%d" % (hops - 1)
