"""Room to read into."""

import ctypes

from socks6.net.scratch import ENCRYPTED_BYTES, PLAIN_BYTES, Scratch
from socks6.net.transports.tls import MAX_RECORD_BYTES


def test_both_begin_at_a_page_and_what_is_decrypted_has_room() -> None:
    scratch = Scratch()
    for view, size in ((scratch.plain, PLAIN_BYTES), (scratch.encrypted, ENCRYPTED_BYTES)):
        assert len(view) == size
        assert ctypes.addressof(ctypes.c_char.from_buffer(view)) % 4096 == 0
    assert PLAIN_BYTES - ENCRYPTED_BYTES >= MAX_RECORD_BYTES


def test_a_part_is_of_the_same_room() -> None:
    scratch = Scratch()
    part = scratch.part(100, 7)
    assert (len(part.plain), len(part.encrypted)) == (107, 100)
    part.plain[0] = 42
    assert scratch.plain[0] == 42
