"""Options about sessions, one by one."""

import pytest

from socks6.errors import DecodeError
from socks6.message.buffer import Reader
from socks6.message.options import (
    Option,
    SessionId,
    SessionInvalid,
    SessionOk,
    SessionRequest,
    SessionTeardown,
    StreamId,
)


@pytest.mark.parametrize("option", [SessionRequest(), SessionOk(), SessionInvalid(), SessionTeardown()])
def test_most_say_all_by_being_there(option: Option) -> None:
    assert option.encode_body() == b""
    assert type(option).decode_body(Reader(b"")) == option


@pytest.mark.parametrize("id_", [b"1234", b"12345678", b"123456789abc"])
def test_a_session_id_becomes_bytes(id_: bytes) -> None:
    assert SessionId(id=id_).encode_body() == id_


def test_bytes_become_a_session_id() -> None:
    assert SessionId.decode_body(Reader(b"12345678")) == SessionId(id=b"12345678")


@pytest.mark.parametrize("id_", [b"", b"123", b"12345"])
def test_an_id_that_no_session_has_can_be_read_off(id_: bytes) -> None:
    assert SessionId.decode_body(Reader(id_)).id == id_


@pytest.mark.parametrize("id_", [b"", b"123", b"12345"])
def test_an_id_that_no_session_has_is_not_written(id_: bytes) -> None:
    with pytest.raises(ValueError, match="no multiple of 4"):
        SessionId(id=id_).encode_body()


def test_an_id_longer_than_a_message_is_the_callers_error() -> None:
    with pytest.raises(ValueError, match="20480"):
        SessionId(id=bytes(20480))


def test_a_session_id_is_not_shown() -> None:
    assert repr(SessionId(id=b"secret")) == "SessionId()"


def test_ok_and_invalid_contradict_each_other() -> None:
    assert SessionOk().claims() == SessionInvalid().claims()


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
    with pytest.raises(ValueError, match=r"StreamId\.id is"):
        StreamId(id=number)
