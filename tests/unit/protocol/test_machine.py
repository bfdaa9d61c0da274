"""What machines have in common."""

from socks6.protocol.machine import Conversation


def test_bytes_are_handed_out_once() -> None:
    buffers: Conversation[None] = Conversation()
    buffers._received, buffers._outgoing = bytearray(b"came"), bytearray(b"to send")
    assert (buffers.data_to_send(), buffers.unread()) == (b"to send", b"came")
    assert (buffers.data_to_send(), buffers.unread()) == (b"", b"")
