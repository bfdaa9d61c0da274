"""Packets that are read and answered without a connection."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks6.net.transports.quic import packets
from socks6.net.transports.quic.packets import (
    TOKEN_SECONDS,
    Header,
    RetryTokenPayload,
    RetryTokens,
    StatelessResets,
    read_header,
    split_by_destination,
    version_negotiation,
)

INITIAL = bytes.fromhex("c0 00000001 02 aabb 01 cc 4003 010203 04 00112233")


def test_an_initial_packet_tells_ids_and_token() -> None:
    assert read_header(INITIAL + b"and another packet") == Header(
        destination=b"\xaa\xbb",
        source=b"\xcc",
        version=1,
        initial=True,
        token=b"\1\2\3",
        number_at=len(INITIAL) - 4,
        end=len(INITIAL),
    )


def test_other_long_packets_have_no_token() -> None:
    header = read_header(bytes.fromhex("e0 00000001 02 aabb 01 cc"))
    assert header == Header(destination=b"\xaa\xbb", source=b"\xcc", version=1)


def test_a_short_packet_tells_its_connection() -> None:
    assert read_header(b"\x40" + b"12345678" + b"rest") == Header(destination=b"12345678")
    assert read_header(b"\x40" + b"1234567") is None


@pytest.mark.parametrize("size", range(1, len(INITIAL)))
def test_what_is_cut_off_is_nobodys(size: int) -> None:
    assert read_header(INITIAL[:size]) is None


def test_ids_longer_than_the_version_has_are_nobodys() -> None:
    assert read_header(bytes.fromhex("c0 00000001 15") + bytes(21) + b"\0\0") is None


def test_unknown_versions_are_told_which_there_are() -> None:
    header = read_header(bytes.fromhex("c0 0a0a0a0a 02 aabb 01 cc"))
    assert header is not None
    assert header.version == 0x0A0A0A0A
    packet = version_negotiation(header, 0xFF)
    assert packet == bytes.fromhex("ff 00000000 01 cc 02 aabb 00000001")


def short(cid: bytes, size: int = 12) -> bytes:
    return (b"\x40" + cid).ljust(size, b"\0")


A, B = b"AAAAAAAA", b"BBBBBBBB"
LONG_A = bytes.fromhex("e0 00000001 08") + A


@pytest.mark.parametrize(
    ("datagrams", "runs"),
    [
        ([short(A)], [(0, 12)]),
        ([short(A), short(A), short(A)[:10]], [(0, 34)]),
        ([short(A), short(B), short(B), short(A)], [(0, 12), (12, 36), (36, 48)]),
        ([LONG_A, short(A, len(LONG_A)), short(B, len(LONG_A))], [(0, 28), (28, 42)]),
        ([short(A), b"\x40AAA"], [(0, 12), (12, 16)]),
        ([short(A), b"\xe0"], [(0, 12), (12, 13)]),
    ],
)
def test_a_row_is_split_where_the_destination_changes(
    datagrams: list[bytes], runs: list[tuple[int, int]]
) -> None:
    assert list(split_by_destination(b"".join(datagrams), len(datagrams[0]))) == runs


@given(st.binary(min_size=1, max_size=64), st.integers(1, 70))
def test_the_runs_are_the_row(row: bytes, size: int) -> None:
    runs = list(split_by_destination(row, size))
    assert b"".join(row[begin:end] for begin, end in runs) == row
    assert all(begin % size == 0 for begin, _ in runs)


@given(st.binary(min_size=1, max_size=64))
def test_anything_can_be_read(data: bytes) -> None:
    read_header(data)


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
    assert tokens.read(token, b"retry", CLIENT, TOKEN_SECONDS) == KNOWN
    assert tokens.read(token, b"retry", CLIENT, TOKEN_SECONDS + 1) is None


@pytest.mark.parametrize("size", range(len(RetryTokens().make(CLIENT, *KNOWN, 0.0))))
def test_what_is_cut_off_is_no_token(size: int) -> None:
    tokens = RetryTokens()
    assert tokens.read(tokens.make(CLIENT, *KNOWN, 0.0)[:size], b"retry", CLIENT, 1.0) is None


def test_a_token_is_spent_once() -> None:
    tokens = RetryTokens()
    assert tokens.spend(KNOWN, 0.0)
    assert not tokens.spend(KNOWN, TOKEN_SECONDS)
    assert tokens.spend(RetryTokenPayload(b"first", b"another"), TOKEN_SECONDS)


def test_spent_tokens_are_forgotten_when_nobody_could_use_them(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = RetryTokens()
    for number in range(100):
        assert tokens.spend(RetryTokenPayload(b"", b"%d" % number), float(number))
    assert len(tokens._spent) <= TOKEN_SECONDS + 1
    monkeypatch.setattr(packets, "MAX_SPENT_TOKENS", 4)
    for number in range(100, 200):
        assert tokens.spend(RetryTokenPayload(b"", b"%d" % number), 100.0)
    assert len(tokens._spent) == 4
