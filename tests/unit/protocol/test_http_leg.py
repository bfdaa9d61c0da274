"""What both legs of the HTTP proxy share."""

import h11
import pytest

from socks6.errors import LocalProtocolError
from socks6.protocol.http_leg import MAX_HEAD_SIZE, HttpLeg

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"


def head_of(size: int) -> bytes:
    """Return a request's head of so many bytes."""
    return HEAD + b"X: " + b"x" * (size - len(HEAD) - 7) + b"\r\n\r\n"


def pull_all(leg: HttpLeg[None]) -> list[h11.Event]:
    events = []
    while (event := leg._pull()) is not None:
        events.append(event)
    return events


def test_nothing_comes_of_half_a_head() -> None:
    leg = HttpLeg[None](h11.SERVER)
    leg.receive_data(HEAD, 0.0)
    assert leg._pull() is None
    assert leg.bytes_wanted() == 1


def pull_in_steps(data: bytes, step: int) -> h11.Event | None:
    leg = HttpLeg[None](h11.SERVER)
    for start in range(0, len(data), step):
        leg.receive_data(data[start : start + step], 0.0)
        event = leg._pull()
    return event


@pytest.mark.parametrize("step", [1, 1000, MAX_HEAD_SIZE, MAX_HEAD_SIZE * 2])
def test_the_limit_on_heads_holds_whatever_the_chunks(step: int) -> None:
    assert isinstance(pull_in_steps(head_of(MAX_HEAD_SIZE + 1), step), h11.Request)
    with pytest.raises(h11.RemoteProtocolError, match="too long") as caught:
        pull_in_steps(head_of(MAX_HEAD_SIZE + 2), step)
    assert caught.value.error_status_hint == 431


def test_bodies_come_in_pieces_that_are_bounded() -> None:
    leg = HttpLeg[None](h11.SERVER)
    leg.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000, 0.0)
    events = pull_all(leg)
    sizes = [len(event.data) for event in events if isinstance(event, h11.Data)]
    assert sum(sizes) == 200_000
    assert max(sizes) <= MAX_HEAD_SIZE + 1
    assert isinstance(events[-1], h11.EndOfMessage)
    assert leg.bytes_wanted() == 0


def test_the_end_is_told_after_all_bytes() -> None:
    leg = HttpLeg[None](h11.CLIENT)
    leg._push(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    leg._push(h11.EndOfMessage())
    leg.receive_data(b"HTTP/1.1 200 OK\r\n\r\nabc", 0.0)
    leg.receive_eof(0.0)
    kinds = [type(event) for event in pull_all(leg)]
    assert kinds == [h11.Response, h11.Data, h11.EndOfMessage]


def test_the_end_in_a_head_is_an_error() -> None:
    leg = HttpLeg[None](h11.SERVER)
    leg.receive_data(HEAD, 0.0)
    leg.receive_eof(0.0)
    assert leg.bytes_wanted() == 0
    with pytest.raises(h11.RemoteProtocolError, match="unexpectedly closed"):
        leg._pull()
    assert leg._pull() is None


def test_the_end_between_messages_is_told_once() -> None:
    leg = HttpLeg[None](h11.SERVER)
    leg.receive_eof(0.0)
    assert [type(event) for event in pull_all(leg)] == [h11.ConnectionClosed]


def test_what_follows_a_message_can_be_taken_away() -> None:
    leg = HttpLeg[None](h11.SERVER)
    leg.receive_data(HEAD + b"\r\nmore", 0.0)
    pull_all(leg)
    leg.receive_data(b" and more", 0.0)
    assert leg.unread() == b"more and more"
    assert leg.unread() == b""


def test_what_follows_a_message_can_be_judged_anew() -> None:
    leg = HttpLeg[None](h11.SERVER)
    leg.receive_data(HEAD + b"\r\n" + HEAD, 0.0)
    pull_all(leg)
    leg._renew()
    leg.receive_data(b"\r\n", 0.0)
    assert [type(event) for event in pull_all(leg)] == [h11.Request, h11.EndOfMessage]


def test_what_is_pushed_is_sent_once() -> None:
    leg = HttpLeg[None](h11.CLIENT)
    leg._push(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    assert leg.data_to_send() == b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert leg.data_to_send() == b""


def test_closing_sends_nothing() -> None:
    leg = HttpLeg[None](h11.SERVER)
    leg._push(h11.ConnectionClosed())
    assert leg.data_to_send() == b""


def test_pushing_out_of_turn_is_our_callers_fault() -> None:
    with pytest.raises(LocalProtocolError):
        HttpLeg[None](h11.SERVER)._push(h11.EndOfMessage())


def test_nothing_is_ever_due() -> None:
    leg = HttpLeg[None](h11.SERVER)
    leg.handle_timeout(1e9)
    assert leg.next_timeout() is None
    assert leg.data_to_send() == b""
