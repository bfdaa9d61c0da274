"""What every authentication method has in common."""

import pytest

from socks6.protocol.methods.base import Credentials, check_methods
from tests.kit.challenge import ChallengeClient, ChallengeServer


def test_ssl_is_banned() -> None:
    with pytest.raises(ValueError, match="banned"):
        check_methods((2, 6))


def test_a_method_is_there_once() -> None:
    with pytest.raises(ValueError, match="two"):
        check_methods((2, 0x80, 2))


def test_other_methods_are_not() -> None:
    check_methods((1, 2, 0x80))


def test_credentials_of_no_method_say_nothing() -> None:
    assert repr(Credentials()) == "Credentials()"
    assert Credentials().subject is None


def test_a_method_need_not_use_authentication_data() -> None:
    assert ChallengeServer().challenge_data() is None
    ChallengeClient().receive_reply_data(b"whatever", accepted=None)
