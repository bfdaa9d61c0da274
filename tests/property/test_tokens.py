"""A proxy's window against a client's wallet, over a network that loses, repeats and reorders."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from socks6.message.options.idempotence import IdempotenceWindow
from socks6.protocol.tokens import TokenWallet, TokenWindow, precedes

BASES = st.sampled_from([0, 5, 2**31 - 3, 2**32 - 5, 2**32 - 1]) | st.integers(0, 2**32 - 1)
SIZES = st.integers(1, 9) | st.sampled_from([64, 2048])


class Tokens(RuleBasedStateMachine):
    """What is under way stays under way when it is delivered: so it may come again, late, or never."""

    @initialize(base=BASES, size=SIZES)
    def grant(self, base: int, size: int) -> None:
        self.window = TokenWindow(base, size)
        self.wallet = TokenWallet()
        self.lowest = base
        self.requests: list[int] = []
        self.answers = [self.window.option()]
        self.accepted: set[int] = set()
        self.taken: set[int] = set()

    @precondition(lambda self: self.wallet.available)
    @rule(times=st.integers(1, 40))
    def take(self, times: int) -> None:
        for _ in range(min(times, self.wallet.available)):
            token = self.wallet.take()
            assert token is not None
            assert token not in self.taken
            self.taken.add(token)
            self.requests.append(token)

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def request_arrives(self, data: st.DataObject) -> None:
        self.arrive(data.draw(st.sampled_from(self.requests)))

    @rule(data=st.data())
    def answer_arrives(self, data: st.DataObject) -> None:
        self.wallet.receive_window(data.draw(st.sampled_from(self.answers)))

    @precondition(lambda self: self.requests)
    @rule()
    def network_loses_all_requests(self) -> None:
        self.requests.clear()

    @rule(token=st.integers(0, 2**32 - 1))
    def stranger_guesses(self, token: int) -> None:
        self.arrive(token)

    @precondition(lambda self: self.window.size > 3 and self.requests)
    @rule()
    def newest_request_and_its_answer_arrive(self) -> None:
        """However many were lost: the client can go on when the last token that it had comes through.

        Only a window of up to three tokens may be stuck then, its highest unspent token being the lowest.
        """
        wanted = self.requests[-1] == self.newest() and self.wallet.available == 0
        if self.arrive(self.requests[-1]) and wanted:
            self.wallet.receive_window(self.answers[-1])
            assert self.wallet.available

    @rule(base=BASES)
    def client_opens_another_session(self, base: int) -> None:
        """What always helps."""
        self.grant(base, self.window.size)
        self.wallet.receive_window(self.answers[-1])
        self.take(1)
        assert self.arrive(self.requests[-1])
        self.wallet.receive_window(self.answers[-1])
        assert self.wallet.available == self.window.size

    @invariant()
    def windows_never_move_back(self) -> None:
        assert self.window.base == self.lowest or precedes(self.lowest, self.window.base)
        self.lowest = self.window.base

    @invariant()
    def memory_is_bounded(self) -> None:
        assert self.window._spent.bit_length() <= self.window.size

    def arrive(self, token: int) -> bool:
        before = self.window.option()
        highest_unspent = next(
            (
                place
                for place in reversed(range(before.size))
                if self.free(before, place) and place != self.place(before, token)
            ),
            before.size,
        )
        spent = self.window.spend(token)
        if spent:
            assert token not in self.accepted
            self.accepted.add(token)
            assert (self.window.base - before.base) % 2**32 <= highest_unspent
            assert self.window.base != token
        else:
            assert self.window.option() == before
        self.answers.append(self.window.option())
        return spent

    def free(self, window: IdempotenceWindow, place: int) -> bool:
        return (window.base + place) % 2**32 not in self.accepted

    def place(self, window: IdempotenceWindow, token: int) -> int:
        return (token - window.base) % 2**32

    def newest(self) -> int:
        return (self.window.base + self.window.size - 1) % 2**32


TestTokens = Tokens.TestCase
