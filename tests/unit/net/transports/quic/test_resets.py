"""Stateless resets."""

import pytest

from socks6.net.transports.quic.resets import StatelessResets

CID = bytes(range(8))


def test_who_has_the_same_key_makes_the_same_tokens() -> None:
    token = StatelessResets(b"key").token(CID)
    assert len(token) == 16
    assert StatelessResets(b"key").token(CID) == token
    assert StatelessResets(b"other").token(CID) != token
    assert StatelessResets(b"key").token(CID[::-1]) != token


@pytest.mark.parametrize(("size", "length"), [(1200, 42), (43, 42), (42, 41), (22, 21)])
def test_an_answer_is_shorter_than_what_it_answers_and_looks_like_a_packet(size: int, length: int) -> None:
    resets = StatelessResets(b"key")
    answer = resets.answer(CID, size)
    assert answer is not None
    assert len(answer) == length
    assert answer[0] & 0xC0 == 0x40
    assert answer.endswith(resets.token(CID))
    assert resets.answer(CID, size) != answer


def test_short_packets_get_no_answer() -> None:
    assert StatelessResets(b"key").answer(CID, 21) is None
