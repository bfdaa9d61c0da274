"""Several authenticators as one."""

import asyncio
from collections.abc import Sequence
from typing import Final

import pytest

from socks6.compat import override
from socks6.policy.identity import Identity
from socks6.policy.user_limits import UserLimits
from socks6.protocol.methods.base import Credentials
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.authentication.base import WRONG_CREDENTIALS, Authenticator, UserChange, UserUnknown
from socks6.proxy.authentication.chain import FIRST_DURATION, AuthenticatorChain, RefusalDurations
from socks6.proxy.authentication.table import UserTable, plain_entries
from socks6.telemetry import EventHub, Observer
from tests.kit.loops import Run

LOCAL: Final = {"alice": "wonderland", "bob": "builder"}


class Outside(Authenticator):
    """Knows users, but says so only when asked; takes `seconds`."""

    required = True

    def __init__(self, users: dict[str, str], *, seconds: float = 0.0, version: object = "v1") -> None:
        self.users = users
        self.seconds = seconds
        self.version = version
        self.asked: list[bytes | None] = []
        self.inherited: list[Authenticator] = []
        self.closed = 0
        self.events: Observer | None = None

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        self.asked.append(credentials.subject)
        await asyncio.sleep(self.seconds)
        identity = self.cached_identity(credentials, source)
        if identity is None and (credentials.subject or b"").decode() not in self.users:
            raise UserUnknown
        return identity

    @override
    def cached_identity(self, credentials: Credentials, source: str = "") -> Identity | None:
        assert isinstance(credentials, UsernamePasswordCredentials)
        name = credentials.username.decode()
        return Identity(name=name) if self.users.get(name) == credentials.password.decode() else None

    @override
    def credential_version(self, identity: Identity) -> object:
        return self.version

    @override
    def inherit(self, old: Authenticator) -> None:
        self.inherited.append(old)

    @override
    def report_to(self, events: Observer) -> None:
        self.events = events

    @override
    def close(self) -> None:
        self.closed += 1

    @override
    async def wait_closed(self) -> None:
        self.closed += 10


def offer(name: str, password: str) -> Credentials:
    return UsernamePasswordCredentials(username=name.encode(), password=password.encode())


async def let_in(authenticator: Authenticator, name: str, password: str) -> bool:
    return await authenticator.verify(offer(name, password)) is not None


def test_the_first_that_knows_a_user_decides(run: Run) -> None:
    async def knock() -> None:
        first, second = Outside({"carol": "c"}), Outside({"carol": "other", "dave": "d", "alice": "weak"})
        chain = AuthenticatorChain([UserTable.from_plain(LOCAL), first, second])
        assert await let_in(chain, "alice", "wonderland")
        assert not await let_in(chain, "alice", "weak")  # what the table refuses, nobody else lets in
        assert not first.asked + second.asked  # and nobody else hears of it
        assert await let_in(chain, "carol", "c")
        assert not await let_in(chain, "carol", "other")
        assert not second.asked
        assert await let_in(chain, "dave", "d")
        assert not await let_in(chain, "nobody", "n")
        assert second.asked == [b"dave", b"nobody"]

    run(knock())


def test_what_is_known_at_once_is_the_members_that_decides() -> None:
    chain = AuthenticatorChain([UserTable.from_plain(LOCAL), Outside({"alice": "weak", "dave": "d"})])
    assert chain.cached_identity(offer("alice", "weak")) is None
    assert chain.cached_identity(offer("dave", "d")) == Identity(name="dave")
    assert chain.cached_identity(offer("dave", "x")) is None


def test_a_refusal_takes_as_long_whoever_decides(run: Run) -> None:
    async def seconds(chain: Authenticator, name: str) -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert not await let_in(chain, name, "wrong")
        return loop.time() - began

    async def knock() -> None:
        chain = AuthenticatorChain([UserTable.from_plain(LOCAL), Outside({}, seconds=0.08)])
        assert (
            await seconds(chain, "alice") > FIRST_DURATION - 0.01
        )  # before anything is known of the other one
        unknown = await seconds(chain, "nobody")
        local = await seconds(chain, "alice")
        assert 0.07 < local < unknown + 0.06

    run(knock())


def test_durations_are_repeated_in_turn() -> None:
    durations = RefusalDurations()
    assert not durations
    assert durations.next() == FIRST_DURATION
    for number in range(70):
        durations.add(number)
    assert durations
    assert sorted(durations.next() for _ in range(64)) == list(range(6, 70))


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ([UserTable.from_plain({}), Outside({})], [Outside({})], True),
        ([Outside({})], [Outside({}, version="v2")], False),
        ([Outside({})], [UserTable.from_plain({"dave": "d"}), Outside({})], False),
        ([UserTable.from_plain({"eve": "e"})], [UserTable.from_plain({})], False),
    ],
)
def test_versions_differ_where_another_one_decides(
    before: list[Authenticator], after: list[Authenticator], same: bool
) -> None:
    identity = Identity(name="dave")
    old, new = AuthenticatorChain(before), AuthenticatorChain(after)
    version = new.credential_version(identity)
    assert (version is not None and version == old.credential_version(identity)) is same


def test_a_tables_version_is_the_tables_own() -> None:
    table = UserTable.from_plain(LOCAL)
    identity = Identity(name="alice")
    assert AuthenticatorChain([table, Outside({})]).credential_version(identity) == table.credential_version(
        identity
    )


def test_members_inherit_from_their_like_and_are_closed(run: Run) -> None:
    old_outside, outside = Outside({}), Outside({})
    old = AuthenticatorChain([UserTable.from_plain(LOCAL), old_outside])
    chain = AuthenticatorChain([outside, table := UserTable.from_plain(LOCAL)])
    chain.inherit(old)
    assert outside.inherited == [old_outside]
    chain.inherit(single := UserTable.from_plain(LOCAL))
    assert table.checker is single.checker
    chain.report_to(hub := EventHub())
    assert outside.events is hub
    chain.close()
    run(chain.wait_closed())
    assert outside.closed == 11


def test_numbers_are_those_of_all_members() -> None:
    table = UserTable.from_plain(LOCAL)
    chain = AuthenticatorChain([table, Outside({})])
    assert (chain.required, chain.user_count) == (True, 3)
    assert chain.concurrency == table.concurrency + 64
    assert (chain.knows(b"alice"), chain.knows(b"nobody")) == (True, None)
    assert AuthenticatorChain([table]).knows(b"nobody") is False


class Watched(UserTable):
    """Its users may change."""

    watched = True

    def __init__(self, users: dict[str, str], *found: UserChange, knows: bool | None = True) -> None:
        super().__init__(plain_entries(users))
        self.found = found
        self.known = knows

    @override
    def knows(self, name: bytes) -> bool | None:
        return self.known if name.decode() in self._users else None

    @override
    def current_limits(self, identity: Identity) -> UserLimits | None:
        return UserLimits(quota=7) if self.known else None

    @override
    def refusal(self, credentials: Credentials, source: str = "") -> str:
        return "expired"

    @override
    async def changes(self) -> Sequence[UserChange]:
        return self.found


def test_changes_are_told_of_users_that_no_earlier_one_knows(run: Run) -> None:
    changes = UserChange("bob", "gone"), UserChange("carl", "gone")
    local = UserTable.from_plain(LOCAL)
    chain = AuthenticatorChain([local, Watched({"carl": "x"}, *changes)])

    async def play() -> None:
        assert await chain.changes() == [changes[1]]
        assert chain.watched
        assert not AuthenticatorChain([local]).watched

    run(play())


def test_limits_and_reasons_are_those_of_who_decides() -> None:
    bob, carl, dora = (Identity(name=name) for name in ("bob", "carl", "dora"))
    chain = AuthenticatorChain([UserTable.from_plain(LOCAL), Watched({"carl": "x"})])
    assert [chain.current_limits(user) for user in (bob, carl)] == [bob.limits, UserLimits(quota=7)]
    assert [chain.refusal(offer(name, "x")) for name in ("bob", "carl")] == [WRONG_CREDENTIALS, "expired"]
    gone = AuthenticatorChain([UserTable.from_plain(LOCAL), Watched({"carl": "x"}, knows=None)])
    assert [gone.current_limits(user) for user in (carl, dora)] == [None, None]
    assert AuthenticatorChain([Outside({})]).current_limits(dora) is dora.limits
