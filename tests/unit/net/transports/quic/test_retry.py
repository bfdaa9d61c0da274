"""Retry tokens: whose they are, for how long, and how often."""

import pytest

from socks6.net.transports.quic import retry
from socks6.net.transports.quic.retry import LIFETIME, RetryTokenPayload, RetryTokens

CLIENT = ("192.0.2.1", 1)
KNOWN = RetryTokenPayload(b"first", b"retry")


def test_a_token_is_its_clients_alone() -> None:
    tokens = RetryTokens()
    token = tokens.make(CLIENT, *KNOWN, 0.0)
    assert tokens.read(token, b"retry", CLIENT, 1.0) == KNOWN
    assert tokens.read(token, b"retry", ("192.0.2.1", 2), 1.0) is None
    assert tokens.read(token, b"retry", ("192.0.2.2", 1), 1.0) is None
    assert RetryTokens().read(token, b"retry", CLIENT, 1.0) is None


def test_a_token_is_of_the_connection_that_our_retry_named() -> None:
    tokens = RetryTokens()
    token = tokens.make(CLIENT, *KNOWN, 0.0)
    assert tokens.read(token, b"first", CLIENT, 1.0) is None
    assert tokens.read(token, b"other", CLIENT, 1.0) is None


def test_a_token_is_good_for_a_while() -> None:
    tokens = RetryTokens()
    token = tokens.make(CLIENT, *KNOWN, 0.0)
    assert tokens.read(token, b"retry", CLIENT, LIFETIME) == KNOWN
    assert tokens.read(token, b"retry", CLIENT, LIFETIME + 1) is None


@pytest.mark.parametrize("size", range(len(RetryTokens().make(CLIENT, *KNOWN, 0.0))))
def test_what_is_cut_off_is_no_token(size: int) -> None:
    tokens = RetryTokens()
    assert tokens.read(tokens.make(CLIENT, *KNOWN, 0.0)[:size], b"retry", CLIENT, 1.0) is None


def test_a_token_is_spent_once() -> None:
    tokens = RetryTokens()
    assert tokens.spend(KNOWN, 0.0)
    assert not tokens.spend(KNOWN, LIFETIME)
    assert tokens.spend(RetryTokenPayload(b"first", b"another"), LIFETIME)


def test_spent_tokens_are_forgotten_when_nobody_could_use_them(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = RetryTokens()
    for number in range(100):
        assert tokens.spend(RetryTokenPayload(b"", b"%d" % number), float(number))
    assert len(tokens._spent) <= LIFETIME + 1
    monkeypatch.setattr(retry, "REMEMBERED", 4)
    for number in range(100, 200):
        assert tokens.spend(RetryTokenPayload(b"", b"%d" % number), 100.0)
    assert len(tokens._spent) == 4
