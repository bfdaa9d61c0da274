"""Sessions, the store that keeps them, and the membership of connections."""

import asyncio
import gc
import itertools
import tracemalloc
from collections.abc import Callable

import pytest

from socks6.net.stream import Protection
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.proxy.authentication.hashes import PasswordHash
from socks6.proxy.authentication.penalty import FailurePenalties
from socks6.proxy.authentication.table import UserTable, plain_entries
from socks6.proxy.sessions import (
    ID_SIZE,
    REMEMBERED_IDS,
    SESSION_BYTES,
    MemorySessionStore,
    OpenedSession,
    Session,
    SessionManager,
    SessionMembership,
    SessionSettings,
)
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.session_scene import Placed

ALICE = Identity(name="alice")
BOB = Identity(name="bob")
CLEAR = Protection.CLEAR


class Connection:
    """A member of a session, which can be closed."""

    def __init__(self) -> None:
        self.closed = 0

    def session_ended(self) -> None:
        self.closed += 1


class Clients:
    """A store, and what its clients know of it; time is what the test says."""

    def __init__(self, **settings: float) -> None:
        self.settings = SessionSettings(**settings)  # type: ignore[arg-type]  # names are the test's
        self.store = MemorySessionStore(self.settings)
        self.now = 0.0

    def try_open(self, identity: Identity = ALICE, source: str = "192.0.2.1") -> OpenedSession | None:
        return self.store.create(identity, source=source, protection=CLEAR, now=self.now)

    def open(self, identity: Identity = ALICE, source: str = "192.0.2.1") -> OpenedSession:
        opened = self.try_open(identity, source)
        assert opened is not None
        return opened

    def lives(self, opened: OpenedSession) -> bool:
        return self.store.find(opened.id, CLEAR, self.now) is opened.session


def called(log: list[str], name: str) -> Callable[[], None]:
    return lambda: log.append(name)


# A session.


def test_a_session_ends_what_is_tied_to_it_once() -> None:
    log: list[str] = []
    session = Session(ALICE, CLEAR)
    gone = called(log, "gone")
    session.on_end(gone)
    session.on_end(called(log, "kept"))
    session.remove_on_end(gone)
    session.remove_on_end(gone)
    session.end(close=False)
    session.end(close=False)
    assert log == ["kept"]


def test_what_is_tied_to_a_session_that_is_over_ends_at_once() -> None:
    log: list[str] = []
    session = Session(ALICE, CLEAR)
    session.remove_on_end(called(log, "never there"))
    session.end(close=False)
    session.on_end(called(log, "late"))
    assert log == ["late"]


def test_a_callback_that_fails_keeps_no_other_from_being_called_nor_reaches_who_ends_the_session(
    run: Run,
) -> None:
    log: list[str] = []
    told: list[str] = []
    session = Session(ALICE, CLEAR)
    member = Connection()
    session.join(member, member.session_ended)

    def fail() -> None:
        raise RuntimeError("ours")

    session.on_end(called(log, "first"))
    session.on_end(fail)
    session.on_end(called(log, "last"))

    async def scene() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: told.append(repr(context.get("exception")))
        )
        session.end(close=True)

    run(scene())
    assert told == ["RuntimeError('ours')"]
    assert sorted(log) == ["first", "last"]
    assert member.closed == 1


@pytest.mark.parametrize("close", [True, False])
def test_a_session_takes_its_connections_along_if_told_to(close: bool) -> None:
    session = Session(ALICE, CLEAR)
    stays, left = Connection(), Connection()
    session.join(stays, stays.session_ended)
    session.join(left, left.session_ended)
    session.leave(left, 0.0)
    session.end(close=close)
    assert (stays.closed, left.closed) == (int(close), 0)
    session.leave(stays, 0.0)
    session.leave(stays, 0.0)
    assert session.connections == 0


def test_no_window_is_issued_to_who_wants_no_tokens() -> None:
    session = Session(ALICE, CLEAR)
    session.grant(0)
    assert session.window is None


def test_there_is_one_window_a_session() -> None:
    session = Session(ALICE, CLEAR)
    session.grant(10_000)
    window = session.window
    assert window is not None
    assert window.size == 2048
    session.grant(4)
    assert session.window is window


# The store.


def test_ids_are_of_16_bytes_from_the_source_passed_in() -> None:
    numbers = itertools.count()
    store = MemorySessionStore(random=lambda size: next(numbers).to_bytes(size, "big"))
    opened = [store.create(ALICE, source="", protection=CLEAR, now=0.0) for _ in range(2)]
    assert [each.id for each in opened if each] == [
        (1).to_bytes(ID_SIZE, "big"),
        (2).to_bytes(ID_SIZE, "big"),
    ]


def test_an_id_is_kept_nowhere_but_with_its_client() -> None:
    clients = Clients()
    opened = clients.open()
    assert list(clients.store._sessions) != [opened.id]
    assert all(kept.name != opened.id for kept in clients.store._kept.values())


def test_a_session_is_found_by_its_id_alone() -> None:
    clients = Clients()
    first, second = clients.open(), clients.open(BOB)
    assert clients.lives(first)
    assert clients.lives(second)
    assert clients.store.find(bytes(16), CLEAR, 0.0) is None
    assert clients.store.find(b"", CLEAR, 0.0) is None


def test_a_torn_down_session_is_found_no_more() -> None:
    clients = Clients()
    opened = clients.open()
    clients.store.tear_down(opened.session, close=True)
    clients.store.tear_down(opened.session, close=True)
    assert not clients.lives(opened)
    assert len(clients.store) == 0
    assert not clients.store._users
    assert not clients.store._sources


def test_a_less_protected_stream_ends_the_session() -> None:
    clients = Clients()
    opened = clients.store.create(ALICE, source="", protection=Protection.ENCRYPTED, now=0.0)
    assert opened is not None
    assert clients.store.find(opened.id, Protection.ENCRYPTED, 0.0) is opened.session
    assert clients.store.find(opened.id, Protection.MACHINE, 0.0) is None
    assert opened.session.ended


def test_a_token_is_spent_in_its_session() -> None:
    clients = Clients()
    session = clients.open().session
    assert not clients.store.spend(session, 1)
    session.grant(8)
    assert clients.store.spend(session, 1)
    assert not clients.store.spend(session, 1)


def test_nobody_anonymous_gets_a_session_unless_allowed() -> None:
    assert Clients().try_open(ANONYMOUS) is None
    assert Clients(anonymous=True).try_open(ANONYMOUS) is not None


# Its bounds.


def test_at_the_cap_of_a_user_his_least_recently_used_session_gives_way() -> None:
    clients = Clients(per_user=2)
    others = clients.open(BOB)
    first, second = clients.open(), clients.open()
    member = Connection()
    first.session.join(member, member.session_ended)  # used again, and left
    first.session.leave(member, 0.0)
    third = clients.open()
    assert [clients.lives(each) for each in (others, first, second, third)] == [True, True, False, True]


def test_a_session_with_a_connection_does_not_give_way() -> None:
    clients = Clients(per_user=1)
    opened = clients.open()
    member = Connection()
    opened.session.join(member, member.session_ended)
    assert clients.try_open() is None
    assert clients.lives(opened)
    opened.session.leave(member, 0.0)
    assert clients.try_open() is not None
    assert not clients.lives(opened)


def test_where_one_cap_refuses_nothing_has_given_way_at_another() -> None:
    clients = Clients(per_user=1, per_source=1)
    mine = clients.open(ALICE, "192.0.2.1")
    busy = clients.open(BOB, "192.0.2.2")
    busy.session.join(Connection(), lambda: None)
    assert clients.try_open(ALICE, "192.0.2.2") is None
    assert clients.lives(mine)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("127.0.0.1", "127.0.0.1", False),  # behind this machine's own addresses stand many
        ("", "", False),
    ],
)
def test_a_source_is_an_address_or_a_network_of_ipv6(first: str, second: str, same: bool) -> None:
    clients = Clients(per_source=1)
    opened = clients.open(ALICE, first)
    clients.open(BOB, second)
    assert clients.lives(opened) is not same


def test_in_all_there_are_no_more_than_so_many_and_nobody_elses_give_way() -> None:
    clients = Clients(total=2)
    first, second = clients.open(ALICE, "192.0.2.1"), clients.open(ALICE, "192.0.2.2")
    assert clients.try_open(BOB, "192.0.2.3") is None
    third = clients.open(ALICE, "192.0.2.4")
    assert [clients.lives(each) for each in (first, second, third)] == [False, True, True]
    assert len(clients.store) == 2


def test_without_caps_on_users_and_sources_there_is_one_on_all() -> None:
    clients = Clients(total=3, per_user=0, per_source=0)
    for _ in range(3):
        clients.open()
    assert clients.try_open() is None


def test_idle_sessions_end_in_their_order_and_busy_ones_do_not() -> None:
    clients = Clients(idle_timeout=600.0)
    assert clients.store.expire(0.0) is None
    first = clients.open()
    clients.now = 100.0
    second, busy = clients.open(), clients.open()
    busy.session.join(Connection(), lambda: None)
    assert clients.store.expire(599.9) == 600.0
    assert clients.store.expire(600.0) == 700.0
    assert (first.session.ended, second.session.ended) == (True, False)
    clients.now = 10_000.0
    assert not clients.lives(second)
    assert clients.lives(busy)
    assert clients.store.expire(20_000.0) is None


def test_a_session_is_idle_from_its_last_connections_end() -> None:
    clients = Clients(idle_timeout=600.0)
    opened = clients.open()
    first, second = Connection(), Connection()
    opened.session.join(first, first.session_ended)
    opened.session.join(second, second.session_ended)
    opened.session.leave(first, 50.0)
    assert clients.store.expire(5000.0) is None
    opened.session.leave(second, 5000.0)
    assert clients.store.expire(5599.0) == 5600.0
    assert clients.store.expire(5600.0) is None
    assert opened.session.ended


def test_a_connection_that_outlives_its_session_leaves_no_trace() -> None:
    clients = Clients()
    opened = clients.open()
    member = Connection()
    opened.session.join(member, member.session_ended)
    clients.store.tear_down(opened.session, close=False)
    opened.session.leave(member, 1.0)
    opened.session.join(member, member.session_ended)
    opened.session.leave(member, 1.0)
    assert clients.store.expire(1e9) is None


def test_the_sessions_of_those_who_do_not_stand_end() -> None:
    clients = Clients()
    mine, his = clients.open(ALICE), clients.open(BOB)
    clients.store.revoke(lambda identity: identity == ALICE)
    assert clients.lives(mine)
    assert not clients.lives(his)


def test_an_unknown_id_is_news_once_and_an_outlived_one_never() -> None:
    clients = Clients()
    opened = clients.open()
    clients.store.tear_down(opened.session, close=False)
    assert not clients.store.note_unknown(opened.id)
    assert clients.store.note_unknown(b"guess")
    assert not clients.store.note_unknown(b"guess")


def test_unknown_ids_are_remembered_within_bounds() -> None:
    store = MemorySessionStore()
    for number in range(REMEMBERED_IDS + 10):
        store.note_unknown(number.to_bytes(16, "big"))
    assert len(store._gone) == REMEMBERED_IDS


@pytest.mark.parametrize("window", [-1, 2049])
def test_a_window_that_cannot_be_granted_is_no_setting(window: int) -> None:
    with pytest.raises(ValueError, match="window"):
        SessionSettings(window=window)


@pytest.mark.slow
@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.deep)])
def test_sessions_take_no_more_memory_than_they_may(count: int) -> None:
    """Each of another user at another source, its tokens spent as unevenly as they can be."""
    clients = Clients(total=count)
    identities = [Identity(name=f"user{number}") for number in range(count)]
    sources = [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(count)]
    gc.collect()
    tracemalloc.start()
    for identity, source in zip(identities, sources, strict=True):
        opened = clients.open(identity, source)
        opened.session.grant(2048)
        clients.store.spend(opened.session, 1023)  # the highest of the lower half
        member = Connection()
        opened.session.join(member, member.session_ended)
        opened.session.leave(member, 0.0)
    del opened, member
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(clients.store) == count
    assert used / count < SESSION_BYTES
    assert clients.try_open(BOB, "192.0.2.77") is None  # it is full, and nobody else's gives way
    clients.store.expire(1e9)
    assert len(clients.store) == 0
    assert not clients.store._users
    assert not clients.store._sources


# Of connections.


SOURCE = "198.51.100.7"
ENTRIES = plain_entries({"alice": "123456"})
USERS = UserTable(ENTRIES)


class Managed:
    """A session manager, and connections that come to it."""

    def __init__(self, **settings: float) -> None:
        self.settings = SessionSettings(**settings)  # type: ignore[arg-type]  # names are the test's
        self.penalties = FailurePenalties(limit=2)
        self.store = MemorySessionStore(self.settings)
        self.manager = SessionManager(self.store, self.settings, self.penalties, USERS)

    def come(self, session: Session | None = None, source: str = SOURCE) -> SessionMembership:
        stream = Placed(memory_stream_pair()[0], source, Protection.CLEAR)
        return SessionMembership(self.manager, stream, USERS, lambda: None, lambda *_: None, session=session)

    def come_certified(self, name: str) -> SessionMembership:
        stream = Placed(memory_stream_pair()[0], SOURCE, Protection.ENCRYPTED)
        return SessionMembership(
            self.manager, stream, USERS, lambda: None, lambda *_: None, certified=Identity(name=name)
        )

    def open(self) -> tuple[SessionMembership, bytes]:
        member = self.come()
        opened = member.open(ALICE)
        assert opened is not None
        return member, opened


def test_who_opens_a_session_belongs_to_it_until_he_leaves(run: Run) -> None:
    async def scene() -> None:
        managed = Managed()
        member, session_id = managed.open()
        assert member.session is not None
        assert (member.note, member.session.connections) == ("new", 1)
        member.leave()
        member.leave()
        assert member.session.connections == 0
        assert managed.come().find(session_id) is member.session
        managed.manager.close()

    run(scene())


def test_a_session_given_from_outside_needs_no_store(run: Run) -> None:
    async def scene() -> None:
        session = Session(ALICE, Protection.ENCRYPTED)
        member = Managed().come(session)
        assert (member.session, member.note, session.connections) == (session, "yes", 1)
        member.leave()
        assert session.connections == 0

    run(scene())


def test_idle_sessions_end_by_one_timer(run: Run) -> None:
    async def scene() -> None:
        managed = Managed(idle_timeout=0.02)
        ends = []
        for _ in range(3):
            member, _ = managed.open()
            assert member.session is not None
            ends.append(asyncio.Event())
            member.session.on_end(ends[-1].set)
            member.leave()
        for end in ends:
            await end.wait()
        assert len(managed.store) == 0
        managed.manager.close()

    run(scene())


def test_a_desk_that_closes_ends_all_sessions(run: Run) -> None:
    async def scene() -> None:
        managed = Managed()
        idle, _ = managed.open()
        idle.leave()
        busy, _ = managed.open()
        managed.manager.close()
        managed.manager.close()
        assert idle.session is not None
        assert busy.session is not None
        assert idle.session.ended
        assert busy.session.ended

    run(scene())


def test_new_guesses_count_as_failures_and_the_same_id_does_once(run: Run) -> None:
    async def scene() -> None:
        managed = Managed()
        now = asyncio.get_running_loop().time()
        for _ in range(100):
            assert managed.come().find(b"a session that a restart has lost") is None
        assert not managed.penalties.blocked(SOURCE, now)
        for number in range(30):
            managed.come().find(number.to_bytes(16, "big"))
        assert not managed.penalties.blocked(SOURCE, now)  # so many clients behind one address are honest
        managed.come().find(b"one more")
        assert managed.penalties.blocked(SOURCE, now)

    run(scene())


def test_an_outlived_id_is_no_guess(run: Run) -> None:
    async def scene() -> None:
        managed = Managed(per_user=1)
        for _ in range(100):
            member, session_id = managed.open()
            member.leave()
            assert member.session is not None
            member.tear_down(member.session)
            assert managed.come().find(session_id) is None
        assert not managed.penalties.blocked(SOURCE, asyncio.get_running_loop().time())
        managed.manager.close()

    run(scene())


NEW_PASSWORD = plain_entries({"alice": "654321"})


@pytest.mark.parametrize(
    ("now", "gets"), [(ENTRIES, True), (NEW_PASSWORD, False), ({}, False)], ids=["same", "changed", "gone"]
)
def test_who_was_let_in_before_a_reload_gets_a_session_if_his_password_stands(
    run: Run, now: dict[str, PasswordHash], gets: bool
) -> None:
    async def scene() -> None:
        managed = Managed()
        member = managed.come()
        managed.manager.replace(UserTable(now))
        assert (member.open(ALICE) is not None) is gets
        managed.manager.close()

    run(scene())


def test_the_same_users_again_change_nothing(run: Run) -> None:
    async def scene() -> None:
        managed = Managed()
        member, _ = managed.open()
        managed.manager.replace(USERS)
        assert member.session is not None
        assert not member.session.ended

    run(scene())


def test_whose_certificate_names_him_has_no_session_of_anybody_else(run: Run) -> None:
    async def scene() -> None:
        managed = Managed()
        member, session_id = managed.open()
        assert managed.come_certified("alice").find(session_id) is member.session
        thief = managed.come_certified("bob")
        assert thief.find(session_id) is None
        assert thief.note == "invalid"
        managed.manager.close()

    run(scene())
