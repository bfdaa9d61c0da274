"""What users with a bandwidth or a quota use now: one account each, shared by all of a user's connections.

A user without either has none, and costs nothing. An account's two meters (`relay.bandwidth`) bound what its relays read; what
they count is saved in a `UsageStore`, in a thread, so that a quota outlives the process.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from socks6.dataclass import dataclass
from socks6.errors import NotAllowed
from socks6.policy.identity import Identity
from socks6.policy.user_limits import NO_LIMITS, UserLimits
from socks6.relay.bandwidth import NO_BOUND, Meter, Quota, Scheduler, Timer
from socks6.telemetry import QuotaReached

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

LOOK_SECONDS: Final = 0.25  # between two looks at all accounts; what was carried is saved at each
SAVE_SECONDS: Final = 1.0  # that users wait at the most until what they have used is saved
WINDOW_PARTS: Final = 128  # such a part of a quota may go before it is saved
MIN_WINDOW: Final = 32_768  # bytes
CLOSE_SECONDS: Final = 2.0  # for saving what changed last
USED_UP: Final = "the user's quota is used up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a user's connections have carried since a period of its quota began, in bytes."""

    up: int = 0  # client to remote
    down: int = 0
    since: datetime = datetime.fromtimestamp(0, UTC)


class UsageStore(Protocol):
    """Where usage outlives the process."""

    def load(self, name: str) -> Usage:
        """Return what was saved of a user; called by the event loop, once for each account: it is not to wait."""

    def save(self, changes: Mapping[str, Usage]) -> None:
        """Keep the usage of some users, instead of what was saved before; called in a thread. Raises OSError.

        Once this returns, it is to outlive the process.
        """


class AccountHolder(Protocol):
    """A connection that uses an account."""

    @property
    def id(self) -> int:
        """Its number."""

    def take_account(self, account: "Account") -> None:
        """Be bound by an account from now on: the user's limits have changed."""

    def quota_reached(self) -> None:
        """End."""


class Account:
    """One user's traffic, and what bounds it."""

    def __init__(
        self,
        name: str,
        usage: Usage,
        scheduler: Scheduler,
        on_reached: Callable[["Account"], None],
        on_unsaved: Callable[["Account"], None] | None,
    ) -> None:
        """`usage` is what was carried before, if in this period; `on_reached` is called once the quota is used up.

        With `on_unsaved` no more goes than a part of the quota before that was called, and `note_saved` is.
        """
        self.name: Final = name
        self.limits = NO_LIMITS
        self.up: Final = Meter(scheduler)
        self.down: Final = Meter(scheduler)
        self.holders: Final[dict[int, AccountHolder]] = {}
        self.saved = usage
        self._before = usage  # what went before the meters' counts
        self._quota: Quota | None = None
        self._scheduler = scheduler
        self._on_reached = on_reached
        self._on_unsaved = on_unsaved

    @property
    def usage(self) -> Usage:
        """What was carried in this period."""
        before = self._before
        return Usage(up=before.up + self.up.carried, down=before.down + self.down.carried, since=before.since)

    @property
    def is_used_up(self) -> bool:
        """Whether nothing is left of the quota."""
        return self._quota is not None and self._quota.reached

    @property
    def is_at_rest(self) -> bool:
        """Whether no connection holds it, and its buckets are full."""
        return not self.holders and self.up.is_full and self.down.is_full

    def leave(self, holder: AccountHolder) -> None:
        """Let go of a connection. Idempotent."""
        if self.holders.pop(holder.id, None) is not None and not self.holders:
            self.up.close()
            self.down.close()

    def update(self, limits: UserLimits, now: datetime) -> None:
        """Use these limits, at once, in the period that `now` is in; nothing happens if neither is new."""
        since = limits.quota_period.start(now)
        if since > self._before.since:
            self._before = Usage(up=-self.up.carried, down=-self.down.carried, since=since)
        elif limits == self.limits:
            return
        self.limits = limits
        self.up.settle()
        self.down.settle()
        self._quota = self._new_quota() if limits.quota else None
        self.up.set_limits(rate=limits.up, burst=limits.burst, quota=self._quota)
        self.down.set_limits(rate=limits.down, burst=limits.burst, quota=self._quota)

    def note_saved(self, usage: Usage | None) -> None:
        """Note what was saved, and let more go; None: nothing was, which nobody waits for any longer."""
        if usage is not None:
            self.saved = usage
        if self._quota is not None:
            self.up.settle()
            self.down.settle()
            self._quota.saved(0 if usage is None else self._unsaved())
            self.up.go_on()
            self.down.go_on()

    def _new_quota(self) -> Quota:
        usage, quota = self.usage, self.limits.quota
        made = Quota(
            quota - usage.up - usage.down,
            self._scheduler,
            lambda: self._on_reached(self),
            window=max(quota // WINDOW_PARTS, MIN_WINDOW) if self._on_unsaved else NO_BOUND,
            on_unsaved=lambda: self._on_unsaved(self) if self._on_unsaved else None,
        )
        made.saved(self._unsaved())
        return made

    def _unsaved(self) -> int:
        usage, saved = self.usage, self.saved
        used = usage.up + usage.down
        return used - saved.up - saved.down if saved.since == usage.since else used


class Accounts:
    """The accounts of one proxy's users. One that has a quota is kept in a `store`, or without one as long as the process lives.

    `connections_of` returns the open connections of a user, for limits that come while there are some.
    """

    def __init__(
        self,
        *,
        store: UsageStore | None = None,
        connections_of: Callable[[str], Iterable[AccountHolder]],
        on_reached: Callable[[QuotaReached], None],
        on_fault: Callable[[Exception], None],
        scheduler: Callable[[], Scheduler] = asyncio.get_running_loop,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`on_fault` gets what the store raises, once until it saves again."""
        self._store: Final = store
        self._connections_of: Final = connections_of
        self._on_reached: Final = on_reached
        self._on_fault: Final = on_fault
        self._scheduler: Final = scheduler
        self._now: Final = now
        self._accounts: Final[dict[str, Account]] = {}
        self._timer: Timer | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._saving: tuple[Future[None], Mapping[str, Usage], float] | None = None  # and since when
        self._unsaved: dict[str, Account] = {}  # that wait to be saved
        self._failed = False  # to save, the last time
        self._dropped = 0  # datagrams of users that are forgotten
        # what users' limits have become, one for each whose have changed: what a connection knows of them may be older
        self.replaced: Final[dict[str, UserLimits]] = {}

    def enter(self, identity: Identity, connection: AccountHolder) -> Account | None:
        """Return the account of a connection's user, to be left at its end; None where nothing bounds the user.

        Raises NotAllowed if its quota is used up.
        """
        account = self._account(identity.name, self.replaced.get(identity.name, identity.limits))
        if account is None:
            return None
        if account.is_used_up:
            raise NotAllowed(USED_UP)
        account.holders[connection.id] = connection
        return account

    def replace_limits(self, name: str, limits: UserLimits) -> None:
        """Use other limits of a user from now on, for its open connections too."""
        self.replaced[name] = limits
        account = self._account(name, limits)
        if account is None:
            return
        for connection in self._connections_of(name):
            if connection.id not in account.holders:
                account.holders[connection.id] = connection
                connection.take_account(account)
        if account.is_used_up and account.holders:
            self._reached(account)

    def usage(self, name: str) -> Usage:
        """Return what a user's connections have carried, as far as that is known."""
        if (account := self._accounts.get(name)) is not None:
            return account.usage
        return Usage() if self._store is None else self._store.load(name)

    @property
    def datagrams_dropped(self) -> int:
        """How many datagrams were more than the bandwidth, or the quota, of their users."""
        return self._dropped + sum(one.up.dropped + one.down.dropped for one in self._accounts.values())

    def look(self) -> None:
        """Begin new periods, save what has changed, and forget accounts that nobody needs."""
        self._timer = None
        now = self._now()
        self._note_saved()
        for account in tuple(self._accounts.values()):
            account.update(account.limits, now)
            has_quota = account.limits.quota > 0
            if has_quota and self._store is not None and account.usage != account.saved:
                self._unsaved[account.name] = account
            elif account.is_at_rest and (self._store is not None or not has_quota):
                del self._accounts[account.name]
                self._dropped += account.up.dropped + account.down.dropped
        self._save()
        if self._saving is not None and self._scheduler().time() - self._saving[2] >= SAVE_SECONDS:
            for name in self._saving[1]:
                self._let_go_on(name)
        if self._unsaved or self._saving or any(not one.is_at_rest for one in self._accounts.values()):
            self._look_later()

    async def aclose(self) -> None:
        """Save what has changed; to be called when no connection is left. Idempotent."""
        await self._wait_saved()
        self.look()  # what was being saved may have changed since
        await self._wait_saved()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None

    def _account(self, name: str, limits: UserLimits) -> Account | None:
        account = self._accounts.get(name)
        if account is None:
            if not (limits.up or limits.down or limits.quota):
                return None
            usage = Usage() if self._store is None else self._store.load(name)
            on_unsaved = None if self._store is None else self._save_soon
            account = Account(name, usage, self._scheduler(), self._reached, on_unsaved)
            self._accounts[name] = account
        account.update(limits, self._now())
        self._look_later()
        return account

    def _look_later(self) -> None:
        if self._timer is None:
            self._timer = self._scheduler().call_later(LOOK_SECONDS, self.look)

    async def _wait_saved(self) -> None:
        if self._saving is not None:
            saved = asyncio.gather(asyncio.wrap_future(self._saving[0]), return_exceptions=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await saved
            self._note_saved()

    def _save_soon(self, account: Account) -> None:
        self._unsaved[account.name] = account
        self._save()

    def _save(self) -> None:
        """Save what waits for it, unless something is being saved: then it is next."""
        if self._store is None or self._saving is not None or not self._unsaved:
            return
        changes = {name: account.usage for name, account in self._unsaved.items()}
        self._unsaved.clear()
        if self._thread is None:
            from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - most proxies need none

            self._thread = ThreadPoolExecutor(1, "socks6 usage")
        scheduler = self._scheduler()
        saving = self._thread.submit(self._store.save, changes)
        self._saving = saving, changes, scheduler.time()

        def done(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                scheduler.call_soon_threadsafe(self._note_saved)

        saving.add_done_callback(done)

    def _note_saved(self) -> None:
        """Note how saving went, if that is known by now, and save what came meanwhile."""
        if self._saving is None or not self._saving[0].done():
            return
        (saving, changes, _), self._saving = self._saving, None
        if isinstance(error := saving.exception(), Exception):
            if not self._failed:
                self._on_fault(error)
            self._failed = True
            for name in changes:
                self._let_go_on(name)
            return
        self._failed = False
        for name, usage in changes.items():
            if (account := self._accounts.get(name)) is not None:
                account.note_saved(usage)
        self._save()

    def _let_go_on(self, name: str) -> None:
        if (account := self._accounts.get(name)) is not None:
            account.note_saved(None)

    def _reached(self, account: Account) -> None:
        limits = account.limits
        self._on_reached(
            QuotaReached(user=account.name, quota=limits.quota, period=limits.quota_period.value)
        )
        for holder in tuple(account.holders.values()):
            holder.quota_reached()
