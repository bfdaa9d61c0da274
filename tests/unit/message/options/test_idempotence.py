"""Options against replays, one by one."""

from collections.abc import Callable

import pytest

from socks6.errors import DecodeError
from socks6.message.buffer import Reader
from socks6.message.options import (
    IdempotenceAccepted,
    IdempotenceExpenditure,
    IdempotenceRejected,
    IdempotenceRequest,
    IdempotenceWindow,
    Option,
)

BODIES: list[tuple[str, Option]] = [
    ("000000c8", IdempotenceRequest(size=200)),
    ("00000000", IdempotenceRequest(size=0)),
    ("ffffffff", IdempotenceRequest(size=2**32 - 1)),
    ("fffffff0 000000c8", IdempotenceWindow(base=2**32 - 16, size=200)),
    ("00000000 00000001", IdempotenceWindow(base=0, size=1)),
    ("00000000 7fffffff", IdempotenceWindow(base=0, size=2**31 - 1)),
    ("fffffff1", IdempotenceExpenditure(token=2**32 - 15)),
    ("00000000", IdempotenceExpenditure(token=0)),
    ("ffffffff", IdempotenceExpenditure(token=2**32 - 1)),
    ("ffffffff 00000001", IdempotenceWindow(base=2**32 - 1, size=1)),
    ("", IdempotenceAccepted()),
    ("", IdempotenceRejected()),
]


@pytest.mark.parametrize(("text", "option"), BODIES)
def test_options_become_bodies(text: str, option: Option) -> None:
    assert option.encode_body() == bytes.fromhex(text)


@pytest.mark.parametrize(("text", "option"), BODIES)
def test_bodies_become_options(text: str, option: Option) -> None:
    assert type(option).decode_body(Reader(bytes.fromhex(text))) == option


@pytest.mark.parametrize(("text", "option"), BODIES)
def test_a_body_cut_short_is_impossible(text: str, option: Option) -> None:
    body = bytes.fromhex(text)
    for end in range(len(body)):
        with pytest.raises(DecodeError):
            type(option).decode_body(Reader(body[:end]))


@pytest.mark.parametrize("size", ["00000000", "80000000", "ffffffff"])
def test_no_window_has_no_tokens_or_half_of_all(size: str) -> None:
    with pytest.raises(ValueError, match="size is"):
        IdempotenceWindow.decode_body(Reader(bytes.fromhex("00000000" + size)))


IMPOSSIBLE: dict[str, Callable[[], Option]] = {
    "request -1": lambda: IdempotenceRequest(size=-1),
    "request 2^32": lambda: IdempotenceRequest(size=2**32),
    "base -1": lambda: IdempotenceWindow(base=-1, size=1),
    "base 2^32": lambda: IdempotenceWindow(base=2**32, size=1),
    "size 0": lambda: IdempotenceWindow(base=0, size=0),
    "size 2^31": lambda: IdempotenceWindow(base=0, size=2**31),
    "token -1": lambda: IdempotenceExpenditure(token=-1),
    "token 2^32": lambda: IdempotenceExpenditure(token=2**32),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_impossible_values_are_not_built(what: str) -> None:
    with pytest.raises(ValueError, match="is"):
        IMPOSSIBLE[what]()


def test_accepted_and_rejected_contradict_each_other() -> None:
    assert IdempotenceAccepted().claims() == IdempotenceRejected().claims()
