"""Accounts of users: who has one, limits that change, quotas that end, what is saved; on a clock that the test moves."""

import asyncio
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from socks6.errors import NotAllowed
from socks6.message.codes import ReplyCode
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.policy.user_limits import NO_LIMITS, QuotaPeriod, UserLimits
from socks6.proxy.accounts import LOOK_SECONDS, WINDOW_PARTS, Account, Accounts, Usage
from socks6.telemetry import QuotaReached
from tests.kit.clock import ManualScheduler
from tests.kit.loops import Run
from tests.kit.streams import turns, until

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
TODAY = NOON.replace(hour=0)
DAILY = UserLimits(quota=1_000, quota_period=QuotaPeriod.DAY)


class Store:
    """A `UsageStore` in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Usage] = {}
        self.saves: list[Mapping[str, Usage]] = []
        self.fault: Exception | None = None
        self.free = threading.Event()
        self.free.set()

    def load(self, name: str) -> Usage:
        return self.kept.get(name, Usage())

    def save(self, changes: Mapping[str, Usage]) -> None:
        self.free.wait(10)
        if self.fault is not None:
            raise self.fault
        self.saves.append(changes)
        self.kept.update(changes)


class Connection:
    """A connection that has an account, or gets one."""

    def __init__(self, number: int) -> None:
        self.id = number
        self.account: Account | None = None
        self.ended = False

    def take_account(self, account: Account) -> None:
        self.account = account

    def quota_reached(self) -> None:
        self.ended = True


class Scene:
    """The accounts of a proxy that has two connections of Alice's."""

    def __init__(self, store: Store | None = None) -> None:
        self.scheduler = ManualScheduler()
        self.now = NOON
        self.connections = [Connection(1), Connection(2)]
        self.events: list[QuotaReached] = []
        self.faults: list[Exception] = []
        self.accounts = Accounts(
            store=store,
            connections_of=lambda name: self.connections if name == "alice" else (),
            on_reached=self.events.append,
            on_fault=self.faults.append,
            scheduler=lambda: self.scheduler,
            now=lambda: self.now,
        )

    def enter(self, limits: UserLimits, number: int = 0) -> Account | None:
        return self.accounts.enter(Identity(name="alice", limits=limits), self.connections[number])

    def entered(self, limits: UserLimits, number: int = 0) -> Account:
        account = self.enter(limits, number)
        assert account is not None
        return account


def test_who_has_neither_bandwidth_nor_quota_has_no_account() -> None:
    scene = Scene()
    assert scene.accounts.enter(ANONYMOUS, scene.connections[0]) is None
    assert scene.enter(UserLimits(connections=3)) is None
    assert scene.scheduler.waiting == 0


def test_connections_of_a_user_share_an_account() -> None:
    scene = Scene()
    limits = UserLimits(up=1_000_000)
    account = scene.entered(limits)
    assert scene.entered(limits, 1) is account
    other = scene.accounts.enter(Identity(name="bob", limits=limits), Connection(3))
    assert other is not account
    account.up.spend(3)
    account.down.spend(4)
    assert (scene.accounts.usage("alice").up, scene.accounts.usage("alice").down) == (3, 4)
    assert scene.accounts.usage("nobody") == Usage()


def test_an_account_is_forgotten_once_nobody_has_it_and_its_buckets_are_full() -> None:
    scene = Scene()
    account = scene.entered(UserLimits(up=1_000_000))
    account.up.spend(500_000)
    account.leave(scene.connections[0])
    account.leave(scene.connections[0])
    assert scene.entered(UserLimits(up=1_000_000)) is account  # else coming again would refill the bucket
    account.leave(scene.connections[0])
    scene.scheduler.advance(2)
    assert scene.scheduler.waiting == 0
    assert scene.entered(UserLimits(up=1_000_000)) is not account


def test_a_quota_that_is_used_up_ends_connections_and_refuses_requests() -> None:
    scene = Scene()
    account = scene.entered(DAILY)
    account.up.spend(600)
    account.down.spend(400)
    scene.scheduler.advance(0)
    assert scene.connections[0].ended
    assert scene.events == [QuotaReached(user="alice", quota=1_000, period="day")]
    with pytest.raises(NotAllowed) as refusal:
        scene.enter(DAILY, 1)
    assert refusal.value.code == ReplyCode.NOT_ALLOWED
    account.leave(scene.connections[0])
    scene.scheduler.advance(10)
    with pytest.raises(NotAllowed):  # without a store, too, it is kept
        scene.enter(DAILY, 1)
    assert len(scene.events) == 1


@pytest.mark.parametrize("period", QuotaPeriod)
def test_a_new_period_lifts_it_at_once(period: QuotaPeriod) -> None:
    scene = Scene()
    limits = UserLimits(quota=1_000, quota_period=period)
    account = scene.entered(limits)
    account.up.spend(1_000)
    scene.now = datetime(2026, 11, 30, 23, 59, 59, 999999, tzinfo=UTC)
    with pytest.raises(NotAllowed):
        scene.enter(limits)
    scene.now += timedelta(microseconds=1)
    if period is QuotaPeriod.EVER:
        with pytest.raises(NotAllowed):
            scene.enter(limits)
        return
    assert scene.enter(limits) is account
    assert account.usage == Usage(since=scene.now)
    account.down.spend(7)
    assert account.usage == Usage(down=7, since=scene.now)


def test_an_open_connection_gets_the_new_periods_quota() -> None:
    scene = Scene()
    account = scene.entered(DAILY)
    account.up.spend(999)
    scene.now = TODAY + timedelta(days=1)
    scene.scheduler.advance(LOOK_SECONDS)
    account.up.spend(999)
    scene.scheduler.advance(0)
    assert not scene.connections[0].ended


def test_limits_that_come_hold_for_open_connections() -> None:
    scene = Scene()
    assert scene.enter(NO_LIMITS) is None
    scene.accounts.replace_limits("alice", DAILY)
    account = scene.connections[0].account
    assert account is not None
    assert scene.connections[1].account is account
    account.down.spend(1_000)
    scene.scheduler.advance(0)
    assert [connection.ended for connection in scene.connections] == [True, True]


def test_what_a_login_of_before_knew_does_not_hold_against_a_change() -> None:
    scene = Scene()
    scene.accounts.replace_limits("alice", DAILY)
    assert scene.entered(NO_LIMITS).limits == DAILY
    scene.accounts.replace_limits("alice", NO_LIMITS)
    assert scene.entered(DAILY).limits == NO_LIMITS
    scene.accounts.replace_limits("bob", NO_LIMITS)
    assert scene.accounts.enter(Identity(name="bob", limits=DAILY), Connection(3)) is None


def test_another_quota_holds_at_once() -> None:
    scene = Scene()
    account = scene.entered(DAILY)
    account.up.spend(1_000)
    scene.scheduler.advance(0)
    scene.accounts.replace_limits("alice", UserLimits(quota=3_000, quota_period=QuotaPeriod.DAY))
    assert scene.enter(NO_LIMITS, 1) is account
    scene.connections[1].ended = False
    scene.accounts.replace_limits("alice", DAILY)
    assert scene.connections[1].ended
    assert [event.quota for event in scene.events] == [1_000, 1_000]


def test_what_was_used_is_saved_and_counts_after_a_restart(run: Run) -> None:
    async def play() -> None:
        store = Store()
        store.kept["alice"] = Usage(up=500, since=TODAY)
        scene = Scene(store)
        account = scene.entered(DAILY)
        account.down.spend(300)
        scene.scheduler.advance(LOOK_SECONDS)
        await scene.accounts.aclose()
        assert store.saves == [{"alice": Usage(up=500, down=300, since=TODAY)}]
        account.leave(scene.connections[0])
        scene.accounts.look()
        scene.accounts.look()
        assert scene.accounts.usage("alice") == store.kept["alice"]  # it was forgotten
        later = Scene(store)
        later.entered(DAILY).up.spend(200)
        later.scheduler.advance(0)
        assert later.connections[0].ended
        await later.accounts.aclose()
        assert store.kept["alice"] == Usage(up=700, down=300, since=TODAY)
        assert len(store.saves) == 2

    run(play())


def test_what_was_saved_of_an_earlier_period_does_not_count() -> None:
    store = Store()
    store.kept["alice"] = Usage(up=1_000, since=TODAY - timedelta(days=1))
    assert Scene(store).entered(DAILY).usage == Usage(since=TODAY)


def test_usage_that_cannot_be_saved_is_reported_once_and_saved_later(run: Run) -> None:
    async def play() -> None:
        store = Store()
        scene = Scene(store)
        account = scene.entered(DAILY)
        account.up.spend(1)
        store.fault = OSError("disk full")
        await scene.accounts.aclose()
        await scene.accounts.aclose()
        assert [str(fault) for fault in scene.faults] == ["disk full"]
        store.fault = None
        await scene.accounts.aclose()
        assert store.kept["alice"].up == 1
        await asyncio.sleep(0)

    run(play())


@pytest.mark.parametrize("saves", [True, False])
def test_what_is_not_saved_yet_is_a_small_part_of_the_quota_or_a_second_old(run: Run, *, saves: bool) -> None:
    async def play() -> None:
        store = Store()
        scene = Scene(store)
        account = scene.entered(UserLimits(quota=10_000_000))
        store.free.clear()
        task = asyncio.create_task(read(account))
        await turns()
        scene.scheduler.advance(0.01)
        await turns()
        assert account.usage.up == 10_000_000 // WINDOW_PARTS
        if saves:
            store.free.set()
            await until(lambda: store.saves)
            for _ in range(1000):
                scene.scheduler.advance(0.001)
                await turns()
        else:
            for _ in range(7):
                scene.scheduler.advance(LOOK_SECONDS)
                await turns()
        assert account.usage.up > 10_000_000 // WINDOW_PARTS
        if saves:
            assert account.usage.up - store.kept["alice"].up <= 10_000_000 // WINDOW_PARTS
        store.free.set()
        task.cancel()
        await turns()
        await scene.accounts.aclose()
        assert store.kept["alice"] == account.usage

    run(play())


async def read(account: Account) -> None:
    """Carry as much as is allowed."""
    while True:
        account.up.spend(await account.up.wait())


def test_datagrams_that_were_dropped_are_counted_for_good() -> None:
    scene = Scene()
    account = scene.entered(UserLimits(up=8_000))
    budget = account.up.open_budget()
    while budget.take(1_000):
        pass
    scene.scheduler.advance(0.1)
    assert scene.accounts.datagrams_dropped == 1
    account.leave(scene.connections[0])
    scene.scheduler.advance(10)
    assert scene.accounts.usage("alice") == Usage()  # it was forgotten
    assert scene.accounts.datagrams_dropped == 1
