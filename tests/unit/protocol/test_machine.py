"""What machines have in common."""

import pytest

from socks6.protocol.machine import Conversation, Delimited


def test_bytes_are_handed_out_once() -> None:
    buffers: Conversation[None] = Conversation()
    buffers._received, buffers._outgoing = bytearray(b"came"), bytearray(b"to send")
    assert (buffers.data_to_send(), buffers.unread()) == (b"to send", b"came")
    assert (buffers.data_to_send(), buffers.unread()) == (b"", b"")


def test_events_come_in_their_order() -> None:
    machine: Conversation[str] = Conversation()
    machine._events.extend(["first", "second"])
    assert [machine.next_event() for _ in range(3)] == ["first", "second", None]


def test_nothing_is_ever_due() -> None:
    machine: Conversation[str] = Conversation()
    machine.handle_timeout(1e9)
    assert (machine.next_timeout(), machine.next_event(), machine.data_to_send()) == (None, None, b"")


def test_each_message_is_shown_with_its_direction_if_somebody_looks() -> None:
    seen: list[tuple[str, object]] = []
    machine: Conversation[str] = Conversation(lambda direction, message: seen.append((direction, message)))
    assert (machine._traced("<", "asked"), machine._traced(">", "answered")) == ("asked", "answered")
    assert seen == [("<", "asked"), (">", "answered")]
    unseen: Conversation[str] = Conversation()
    assert unseen._traced("<", "asked") == "asked"


def test_a_delimited_machine_says_where_its_messages_end() -> None:
    with pytest.raises(NotImplementedError):
        Delimited().size_within(b"")
