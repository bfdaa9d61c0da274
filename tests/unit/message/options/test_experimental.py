"""Options beyond the draft."""

import pytest

from socks6.errors import DecodeError
from socks6.message.buffer import Reader
from socks6.message.options import StreamId


@pytest.mark.parametrize(("text", "number"), [("00000007", 7), ("00000000", 0), ("ffffffff", 2**32 - 1)])
def test_a_stream_id_as_bytes_and_back(text: str, number: int) -> None:
    body = bytes.fromhex(text)
    assert StreamId(id=number).encode_body() == body
    assert StreamId.decode_body(Reader(body)) == StreamId(id=number)


def test_a_stream_id_cut_short_is_impossible() -> None:
    with pytest.raises(DecodeError):
        StreamId.decode_body(Reader(bytes(3)))


@pytest.mark.parametrize("number", [-1, 2**32])
def test_an_impossible_stream_id_is_the_callers_error(number: int) -> None:
    with pytest.raises(ValueError, match="stream id"):
        StreamId(id=number)
