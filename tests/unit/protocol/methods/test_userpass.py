"""Username/password authentication on both sides."""

import pytest

from socks6.errors import DecodeError, LocalProtocolError
from socks6.protocol.methods.userpass import (
    UsernamePasswordClient,
    UsernamePasswordCredentials,
    UsernamePasswordServer,
)

ALICE = UsernamePasswordCredentials(username=b"alice", password=b"123456")


def test_the_offer_is_an_rfc_1929_request() -> None:
    assert UsernamePasswordClient(ALICE).offer() == bytes.fromhex("01 05 616c696365 06 313233343536")


def test_the_server_understands_the_offer() -> None:
    assert UsernamePasswordServer().receive_offer(UsernamePasswordClient(ALICE).offer()) == ALICE


def test_the_subject_is_the_user() -> None:
    assert ALICE.subject == b"alice"


def test_the_server_answers_as_rfc_1929_does() -> None:
    assert UsernamePasswordServer().reply_data(accepted=True) == b"\x01\x00"
    assert UsernamePasswordServer().reply_data(accepted=False) == b"\x01\x01"


def test_a_malformed_offer_is_a_decode_error() -> None:
    with pytest.raises(DecodeError):
        UsernamePasswordServer().receive_offer(b"\x01\x05al")


def test_a_name_too_long_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="256"):
        UsernamePasswordClient(UsernamePasswordCredentials(username=b"a" * 256, password=b"x"))


def test_the_password_is_not_in_the_repr() -> None:
    assert "123456" not in repr(ALICE)


@pytest.mark.parametrize("side", [UsernamePasswordServer(), UsernamePasswordClient(ALICE)])
def test_there_is_no_exchange_beyond_the_request(
    side: UsernamePasswordServer | UsernamePasswordClient,
) -> None:
    assert side.number == 2
    assert not side.slow
    assert side.bytes_wanted() == 0
    assert side.data_to_send() == b""
    with pytest.raises(LocalProtocolError):
        side.begin()
    with pytest.raises(LocalProtocolError):
        side.receive_data(b"x")


def test_the_server_keeps_no_bytes_for_the_stream() -> None:
    assert UsernamePasswordServer().unread() == b""
