"""Idempotence tokens (§ Idempotence options): the window that a proxy grants, the wallet of a client.

Tokens are numbers modulo 2^32. Both sides need memory for one window at most, however many are spent.
"""

from typing import Final

from socks6.message.options.idempotence import MAX_TOKEN, IdempotenceWindow

MAX_GRANTED: Final = 2048  # tokens in a window: what a session's record of spent ones may cost us, in bits
HALF_OF_ALL: Final = 2**31


def precedes(x: int, y: int) -> bool:
    """Return whether token `x` is less than token `y`."""
    return 0 < (y - x) & MAX_TOKEN < HALF_OF_ALL


class TokenWindow:
    """The proxy's side: which tokens of a session may still be spent, each once.

    The base moves past tokens that are spent, and, when a token in the upper half is spent, so far that this
    token is in the lower half again: what lies behind the base then is forfeited. It never moves past the
    highest unspent token while there is one. So a client that loses tokens can go on as soon as its highest one
    arrives, if the window has four tokens or more. Raises ValueError for a size that is not granted.
    """

    __slots__ = ("_spent", "base", "size")

    def __init__(self, base: int, size: int) -> None:
        if not 1 <= size <= MAX_GRANTED:
            raise ValueError(f"window of {size} tokens, not 1 to {MAX_GRANTED}")
        self.base = base & MAX_TOKEN
        self.size = size
        self._spent = 0  # bit n: the token n above the base

    def spend(self, token: int) -> bool:
        """Spend a token, for good; False if it is out of the window or spent."""
        offset = (token - self.base) & MAX_TOKEN
        if offset >= self.size or self._spent >> offset & 1:
            return False
        self._spent |= 1 << offset
        lower_half = (self.size + 1) // 2
        if offset >= lower_half:
            unspent = ~self._spent & ((1 << self.size) - 1)
            self._shift(min(offset - lower_half + 1, unspent.bit_length() - 1 if unspent else self.size))
        self._shift((~self._spent & (self._spent + 1)).bit_length() - 1)  # the run of spent ones at the base
        return True

    def option(self) -> IdempotenceWindow:
        """Return the window as the client gets it."""
        return IdempotenceWindow(base=self.base, size=self.size)

    def _shift(self, steps: int) -> None:
        self.base = (self.base + steps) & MAX_TOKEN
        self._spent >>= steps


class TokenWallet:
    """The client's side: hands out the tokens of a session, the lowest first and none twice.

    Several requests may be under way at once, and their answers arrive in any order: a window that is older
    than what is known is disregarded (§ Out-of-order Window Advertisements). A wallet that stays empty while
    no request is under way has lost its tokens with requests that never arrived: that takes a new session.
    """

    __slots__ = ("_base", "_next", "_size")

    def __init__(self) -> None:
        self._base = self._size = self._next = 0

    @property
    def available(self) -> int:
        """How many tokens can be taken."""
        return max(0, self._size - ((self._next - self._base) & MAX_TOKEN))

    def take(self) -> int | None:
        """Return the lowest token that was not taken yet; None if there is none."""
        if not self.available:
            return None
        token = self._next
        self._next = (token + 1) & MAX_TOKEN
        return token

    def receive_window(self, window: IdempotenceWindow) -> None:
        """Take what the proxy advertises; an older window than the known one changes nothing."""
        if self._size == 0:
            self._next = window.base
        elif window.base != self._base and not precedes(self._base, window.base):
            return
        self._base, self._size = window.base, window.size
        if precedes(self._next, self._base):
            self._next = self._base
