"""What machines have in common."""

from socks6.protocol.machine import ByteBuffers


def test_bytes_are_handed_out_once() -> None:
    buffers = ByteBuffers()
    buffers._received, buffers._outgoing = bytearray(b"came"), bytearray(b"to send")
    assert (buffers.data_to_send(), buffers.unread()) == (b"to send", b"came")
    assert (buffers.data_to_send(), buffers.unread()) == (b"", b"")
