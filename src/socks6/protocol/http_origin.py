"""The origin's leg of the HTTP proxy: one request after another, and their responses."""

import re
from typing import Final

import h11

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.message.http import (
    Fields,
    RequestHead,
    ResponseHead,
    end_to_end,
    find_field,
    list_items,
    mended_head,
    via,
)
from socks6.protocol.events import Ended, Violation, ViolationKind
from socks6.protocol.http import BodyEnded, BodyReceived
from socks6.protocol.http_leg import HttpLeg

MAX_RESPONSE_HEAD_SIZE: Final = 262_144  # bytes; curl and Squid take about as much

_HEAD_END: Final = re.compile(rb"\n\r?\n")
_BEGINNING: Final = b"HTTP/"


@dataclass(frozen=True, slots=True, kw_only=True)
class InterimReceived:
    """An interim response (1xx); others follow."""

    head: ResponseHead


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchReceived:
    """The origin takes the upgrade (101): what follows is another protocol's."""

    head: ResponseHead


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseReceived:
    """The response's head; its body follows."""

    head: ResponseHead


OriginEvent = (
    InterimReceived | SwitchReceived | ResponseReceived | BodyReceived | BodyEnded | Violation | Ended
)


class OriginConversation(HttpLeg[OriginEvent]):
    """A machine (see `protocol.machine`) that sends requests to one origin and returns its responses.

    Heads of responses are read as browsers read them (`message.http.mended_head`): whole first, up to
    `MAX_RESPONSE_HEAD_SIZE`, then mended, and then h11 judges them.
    """

    def __init__(self) -> None:
        super().__init__(h11.CLIENT)
        self.answered = False  # whether the origin has sent anything since the request was sent
        self._searched = 0  # bytes of what is pending without the end of a head

    @property
    def reusable(self) -> bool:
        """Whether the origin takes another request: this one is through, and both sides keep the connection."""
        through = self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE
        return through and not (self._ended or self._received or self._unparsed())

    @override
    def receive_data(self, data: bytes, now: float) -> None:
        self.answered = True
        super().receive_data(data, now)

    @override
    def next_event(self) -> OriginEvent | None:
        try:
            event = self._pull()
        except h11.RemoteProtocolError as error:
            if self._h11.trailing_data[1]:  # the end is an event only where more is needed
                return Ended(reason="the origin closed its side in mid-response")
            return Violation(
                kind=ViolationKind.MALFORMED, reason=f"the origin's response: {str(error).partition(':')[0]}"
            )
        return None if event is None else self._convert(event)

    def send_request(self, head: RequestHead) -> None:
        """Queue a request's head; the first one, or one when the connection is reusable."""
        if self.reusable:
            self._renew()
        self.answered = False
        self._push(h11.Request(method=head.method, target=head.target, headers=list(head.fields)))

    def send_body(self, data: bytes) -> None:
        """Queue a piece of the request's body."""
        self._push(h11.Data(data=data))

    def end_body(self) -> None:
        """Queue the request's end."""
        self._push(h11.EndOfMessage())

    @override
    def _feed(self) -> bool:
        if self._h11.their_state is h11.SEND_BODY or self._unparsed_size() or not self._begins_head():
            return super()._feed()
        found = _HEAD_END.search(self._received, max(self._searched - 2, 0))
        self._searched = 0 if found else len(self._received)
        if (found.end() if found else len(self._received)) > MAX_RESPONSE_HEAD_SIZE:
            return super()._feed()  # h11 finds it too long
        if found is None:
            return False
        head = mended_head(bytes(self._received[: found.end()]))
        del self._received[: found.end()]
        self._held = None
        self._h11.receive_data(head)
        return True

    def _begins_head(self) -> bool:
        """Whether what is pending may be, or become, a response's head; cut off at the end of the stream it is none."""
        if not self._received or not _BEGINNING.startswith(self._received[: len(_BEGINNING)]):
            return False
        return not self._ended or _HEAD_END.search(self._received) is not None

    def _convert(self, event: h11.Event) -> OriginEvent:
        match event:
            case h11.InformationalResponse(status_code=101):
                return self._switch(event)
            case h11.InformationalResponse():
                return InterimReceived(head=_head(event))
            case h11.Response():
                return ResponseReceived(head=_head(event))
            case h11.Data():
                return BodyReceived(data=bytes(event.data))
            case _:
                return BodyEnded()

    def _switch(self, event: h11.InformationalResponse) -> SwitchReceived | Violation:
        if self._h11.our_state is not h11.SWITCHED_PROTOCOL:
            return Violation(
                kind=ViolationKind.MALFORMED, reason="the origin switched protocols in mid-request"
            )
        return SwitchReceived(head=_head(event))


def _head(event: h11.InformationalResponse | h11.Response) -> ResponseHead:
    """Return a response as the client gets it."""
    fields: Fields = tuple(event.headers.raw_items())
    forwarded = list(end_to_end(fields))
    # RFC 9110 §8.6: not here; RFC 9112 §6.3: chunks overrule a length, which must not be passed on then
    if event.status_code < 200 or event.status_code == 204 or find_field(fields, b"transfer-encoding"):
        forwarded = [field for field in forwarded if field[0].lower() != b"content-length"]
    if event.status_code == 101:
        forwarded += [
            (b"Connection", b"upgrade"),
            *((b"Upgrade", name) for name in list_items(fields, b"upgrade")),
        ]
    forwarded.append(via(event.http_version))
    return ResponseHead(status=event.status_code, reason=bytes(event.reason), fields=tuple(forwarded))
