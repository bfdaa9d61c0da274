"""Username and password, as RFC 1929 writes them."""

import pytest

from socks6.errors import DecodeError
from socks6.message.userpass import UsernamePassword, UsernamePasswordReply

ALICE = UsernamePassword(username=b"alice", password=b"123456")
ALICE_BYTES = bytes.fromhex("01 05 616c696365 06 313233343536")


def test_a_request_becomes_bytes() -> None:
    assert ALICE.encode() == ALICE_BYTES


@pytest.mark.parametrize("padding", ["", "00", "0000", "000000"])
def test_bytes_with_padding_become_a_request(padding: str) -> None:
    assert UsernamePassword.decode(ALICE_BYTES + bytes.fromhex(padding)) == ALICE


def test_padding_may_hold_anything() -> None:
    assert UsernamePassword.decode(ALICE_BYTES + b"\xff") == ALICE


def test_a_name_and_password_may_be_255_bytes_each() -> None:
    longest = UsernamePassword(username=255 * b"\xff", password=255 * b"\0")
    assert UsernamePassword.decode(longest.encode()) == longest


def test_some_clients_send_an_empty_password() -> None:
    assert UsernamePassword.decode(bytes.fromhex("01 01 61 00")) == UsernamePassword(
        username=b"a", password=b""
    )


def test_a_request_cut_anywhere_is_refused() -> None:
    for end in range(len(ALICE_BYTES)):
        with pytest.raises(DecodeError):
            UsernamePassword.decode(ALICE_BYTES[:end])


def test_more_than_padding_after_a_request_is_refused() -> None:
    with pytest.raises(DecodeError, match="4 bytes after"):
        UsernamePassword.decode(ALICE_BYTES + bytes(4))


@pytest.mark.parametrize("version", ["00", "02", "05"])
def test_another_version_of_request_is_refused(version: str) -> None:
    with pytest.raises(DecodeError, match="version"):
        UsernamePassword.decode(bytes.fromhex(version) + ALICE_BYTES[1:])


@pytest.mark.parametrize(("name", "password"), [(256, 1), (1, 256)])
def test_longer_names_and_passwords_are_the_callers_error(name: int, password: int) -> None:
    with pytest.raises(ValueError, match="256, not 0 to 255"):
        UsernamePassword(username=bytes(name), password=bytes(password))


def test_a_password_is_not_shown() -> None:
    assert repr(ALICE) == "UsernamePassword(username=b'alice')"


def test_a_reply_becomes_bytes() -> None:
    assert UsernamePasswordReply(status=1).encode() == bytes.fromhex("01 01")


@pytest.mark.parametrize("text", ["01 00", "01 00 00", "01 00 0000", "01 00 000000"])
def test_bytes_with_padding_become_a_reply(text: str) -> None:
    assert UsernamePasswordReply.decode(bytes.fromhex(text)) == UsernamePasswordReply(status=0)


@pytest.mark.parametrize("text", ["", "01", "05 00", "01 00 00000000"])
def test_other_bytes_are_no_reply(text: str) -> None:
    with pytest.raises(DecodeError):
        UsernamePasswordReply.decode(bytes.fromhex(text))


@pytest.mark.parametrize("status", [-1, 256])
def test_an_impossible_status_is_the_callers_error(status: int) -> None:
    with pytest.raises(ValueError, match="status"):
        UsernamePasswordReply(status=status)


def test_any_status_but_0_is_kept() -> None:
    assert UsernamePasswordReply.decode(bytes.fromhex("01 ff")) == UsernamePasswordReply(status=255)
