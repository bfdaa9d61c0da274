import pytest

from socks6.message.options.idempotence import IdempotenceWindow
from socks6.protocol.tokens import MAX_GRANTED, TokenWallet, TokenWindow, precedes

LAST = 0xFFFFFFFF


def window(base: int, size: int) -> IdempotenceWindow:
    return IdempotenceWindow(base=base, size=size)


@pytest.mark.parametrize(
    ("x", "y", "less"),
    [
        (0, 1, True),
        (1, 0, False),
        (5, 5, False),
        (LAST, 0, True),
        (0, LAST, False),
        (0, 2**31 - 1, True),
        (0, 2**31, False),
        (2**31, 0, False),
        (2**31 + 1, 0, True),
    ],
)
def test_tokens_are_compared_modulo_2_32(x: int, y: int, less: bool) -> None:
    assert precedes(x, y) is less


# The proxy's window.


def test_a_token_is_spent_once() -> None:
    tokens = TokenWindow(10, 8)
    assert tokens.spend(11)
    assert not tokens.spend(11)


@pytest.mark.parametrize("token", [9, 18, 0, LAST])
def test_what_is_out_of_the_window_cannot_be_spent(token: int) -> None:
    tokens = TokenWindow(10, 8)
    assert not tokens.spend(token)
    assert tokens.option() == window(10, 8)


def test_a_token_in_the_lower_half_leaves_the_window_where_it_is() -> None:
    tokens = TokenWindow(10, 8)
    tokens.spend(13)
    assert tokens.option() == window(10, 8)


def test_the_base_moves_past_the_lowest_when_that_is_spent() -> None:
    tokens = TokenWindow(10, 8)
    tokens.spend(10)
    assert tokens.option() == window(11, 8)


def test_the_base_moves_past_all_that_are_spent() -> None:
    tokens = TokenWindow(10, 8)
    for token in (11, 12, 10):
        tokens.spend(token)
    assert tokens.option() == window(13, 8)


def test_a_token_that_the_base_moved_past_cannot_be_spent_again() -> None:
    tokens = TokenWindow(10, 8)
    tokens.spend(10)
    assert not tokens.spend(10)


def test_a_token_in_the_upper_half_brings_itself_into_the_lower() -> None:
    tokens = TokenWindow(10, 8)
    assert tokens.spend(14)
    assert tokens.option() == window(11, 8)
    assert tokens.spend(18)
    assert tokens.option() == window(15, 8)  # 11, 12 and 13 are forfeited; 14 was spent
    assert not tokens.spend(18)


def test_the_base_does_not_move_past_the_highest_unspent_token() -> None:
    tokens = TokenWindow(10, 2)
    assert tokens.spend(11)
    assert tokens.option() == window(10, 2)
    assert tokens.spend(10)
    assert tokens.option() == window(12, 2)


def test_a_window_of_one_token_moves_on_when_it_is_spent() -> None:
    tokens = TokenWindow(LAST, 1)
    assert tokens.spend(LAST)
    assert tokens.option() == window(0, 1)


def test_a_window_goes_on_past_the_last_number() -> None:
    tokens = TokenWindow(LAST - 1, 8)
    assert [tokens.spend(token) for token in (0, LAST, LAST - 1, 0)] == [True, True, True, False]
    assert tokens.option() == window(1, 8)


@pytest.mark.parametrize("size", [0, MAX_GRANTED + 1, -1])
def test_a_window_that_is_not_granted_cannot_be_made(size: int) -> None:
    with pytest.raises(ValueError, match="tokens"):
        TokenWindow(0, size)


def test_the_largest_window_is_granted() -> None:
    assert TokenWindow(0, MAX_GRANTED).option() == window(0, MAX_GRANTED)


# The client's wallet.


def test_a_wallet_begins_empty() -> None:
    wallet = TokenWallet()
    assert wallet.available == 0
    assert wallet.take() is None


def test_the_lowest_token_is_taken_first_and_none_twice() -> None:
    wallet = TokenWallet()
    wallet.receive_window(window(LAST, 3))
    assert wallet.available == 3
    assert [wallet.take() for _ in range(4)] == [LAST, 0, 1, None]
    assert wallet.available == 0


def test_a_shifted_window_brings_new_tokens_and_none_that_were_taken() -> None:
    wallet = TokenWallet()
    wallet.receive_window(window(5, 2))
    wallet.take()
    wallet.receive_window(window(6, 2))
    assert [wallet.take() for _ in range(3)] == [6, 7, None]


def test_tokens_that_the_window_left_behind_are_not_taken() -> None:
    wallet = TokenWallet()
    wallet.receive_window(window(5, 4))
    wallet.receive_window(window(8, 4))
    assert wallet.take() == 8


def test_an_older_window_is_disregarded() -> None:
    wallet = TokenWallet()
    wallet.receive_window(window(8, 4))
    wallet.receive_window(window(5, 400))
    assert wallet.available == 4
    wallet.receive_window(window(8 + 2**31, 4))  # neither before nor after
    assert wallet.take() == 8


def test_the_same_window_again_changes_nothing() -> None:
    wallet = TokenWallet()
    wallet.receive_window(window(8, 4))
    wallet.take()
    wallet.receive_window(window(8, 4))
    assert wallet.available == 3


def test_a_window_that_shrinks_below_what_was_taken_is_empty() -> None:
    wallet = TokenWallet()
    wallet.receive_window(window(8, 4))
    for _ in range(4):
        wallet.take()
    wallet.receive_window(window(9, 1))
    assert wallet.available == 0
