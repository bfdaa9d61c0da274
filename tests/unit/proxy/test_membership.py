"""One connection's part in sessions."""

import asyncio

import pytest

from socks6.net.stream import Protection
from socks6.net.transports.memory import memory_stream_pair
from socks6.policy.identity import Identity
from socks6.proxy.authentication.hashes import PasswordHash
from socks6.proxy.authentication.penalty import FailurePenalties
from socks6.proxy.authentication.table import UserTable, plain_entries
from socks6.proxy.membership import SessionManager, SessionMembership
from socks6.proxy.sessions import MemorySessionStore, Session, SessionSettings
from tests.kit.loops import Run
from tests.kit.session_scene import Placed

ALICE = Identity(name="alice")
SOURCE = "198.51.100.7"
ENTRIES = plain_entries({"alice": "123456"})
USERS = UserTable(ENTRIES)


class Desk:
    """A desk, and clients that come to it."""

    def __init__(self, **settings: float) -> None:
        self.settings = SessionSettings(**settings)  # type: ignore[arg-type]  # names are the test's
        self.penalties = FailurePenalties(limit=2)
        self.store = MemorySessionStore(self.settings)
        self.session_manager = SessionManager(self.store, self.settings, self.penalties, USERS)

    def come(self, session: Session | None = None, source: str = SOURCE) -> SessionMembership:
        stream = Placed(memory_stream_pair()[0], source, Protection.CLEAR)
        return SessionMembership(self.session_manager, stream, USERS, session)

    def come_certified(self, name: str) -> SessionMembership:
        stream = Placed(memory_stream_pair()[0], SOURCE, Protection.ENCRYPTED)
        return SessionMembership(self.session_manager, stream, USERS, certified=Identity(name=name))

    def open(self) -> tuple[SessionMembership, bytes]:
        part = self.come()
        opened = part.open(ALICE)
        assert opened is not None
        return part, opened


def test_who_opens_a_session_belongs_to_it_until_he_leaves(run: Run) -> None:
    async def scene() -> None:
        session_manager = Desk()
        part, session_id = session_manager.open()
        assert part.session is not None
        assert (part.note, part.session.connections) == ("new", 1)
        part.leave()
        part.leave()
        assert part.session.connections == 0
        assert session_manager.come().find(session_id) is part.session
        session_manager.session_manager.close()

    run(scene())


def test_a_session_given_from_outside_needs_no_store(run: Run) -> None:
    async def scene() -> None:
        session = Session(ALICE, Protection.ENCRYPTED)
        part = Desk().come(session)
        assert (part.session, part.note, session.connections) == (session, "yes", 1)
        part.leave()
        assert session.connections == 0

    run(scene())


def test_idle_sessions_end_by_one_timer(run: Run) -> None:
    async def scene() -> None:
        session_manager = Desk(idle_timeout=0.02)
        ends = []
        for _ in range(3):
            part, _ = session_manager.open()
            assert part.session is not None
            ends.append(asyncio.Event())
            part.session.on_end(ends[-1].set)
            part.leave()
        for end in ends:
            await end.wait()
        assert len(session_manager.store) == 0
        session_manager.session_manager.close()

    run(scene())


def test_a_desk_that_closes_ends_all_sessions(run: Run) -> None:
    async def scene() -> None:
        session_manager = Desk()
        idle, _ = session_manager.open()
        idle.leave()
        busy, _ = session_manager.open()
        session_manager.session_manager.close()
        session_manager.session_manager.close()
        assert idle.session is not None
        assert busy.session is not None
        assert idle.session.ended
        assert busy.session.ended

    run(scene())


def test_new_guesses_count_as_failures_and_the_same_id_does_once(run: Run) -> None:
    async def scene() -> None:
        session_manager = Desk()
        now = asyncio.get_running_loop().time()
        for _ in range(100):
            assert session_manager.come().find(b"a session that a restart has lost") is None
        assert not session_manager.penalties.blocked(SOURCE, now)
        for number in range(30):
            session_manager.come().find(number.to_bytes(16, "big"))
        assert not session_manager.penalties.blocked(
            SOURCE, now
        )  # so many clients behind one address are honest
        session_manager.come().find(b"one more")
        assert session_manager.penalties.blocked(SOURCE, now)

    run(scene())


def test_an_outlived_id_is_no_guess(run: Run) -> None:
    async def scene() -> None:
        session_manager = Desk(per_user=1)
        for _ in range(100):
            part, session_id = session_manager.open()
            part.leave()
            assert part.session is not None
            part.tear_down(part.session)
            assert session_manager.come().find(session_id) is None
        assert not session_manager.penalties.blocked(SOURCE, asyncio.get_running_loop().time())
        session_manager.session_manager.close()

    run(scene())


class Visit:
    """A connection that waits in a session until it is cancelled; `told` is what it makes of that."""

    def __init__(self, inside: SessionMembership) -> None:
        self.inside = inside
        self.told: bool | None = None
        self.joined = asyncio.Event()

    async def run(self, session: Session) -> None:
        self.inside.join(session)
        self.joined.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.told = self.inside.was_closed()
            if not self.told:
                raise
            task = asyncio.current_task()
            assert task is not None
            assert not task.cancelling()  # or a time-out around it would be mistaken
        finally:
            self.inside.leave()


@pytest.mark.parametrize(
    ("by_session", "by_others", "told"), [(True, False, True), (False, True, False), (True, True, False)]
)
def test_a_connection_can_tell_whether_its_session_and_nobody_else_has_cancelled_it(
    run: Run, by_session: bool, by_others: bool, told: bool
) -> None:
    async def scene() -> None:
        session_manager = Desk()
        part, _ = session_manager.open()
        part.leave()
        assert part.session is not None
        visit = Visit(session_manager.come())
        async with asyncio.TaskGroup() as group:
            task = group.create_task(visit.run(part.session))
            await visit.joined.wait()
            if by_session:
                session_manager.come().tear_down(part.session)
                visit.inside.session_ended()  # once is enough
            if by_others:
                task.cancel()
        assert visit.told is told
        session_manager.session_manager.close()

    run(scene())


NEW_PASSWORD = plain_entries({"alice": "654321"})


@pytest.mark.parametrize(
    ("now", "gets"), [(ENTRIES, True), (NEW_PASSWORD, False), ({}, False)], ids=["same", "changed", "gone"]
)
def test_who_was_let_in_before_a_reload_gets_a_session_if_his_password_stands(
    run: Run, now: dict[str, PasswordHash], gets: bool
) -> None:
    async def scene() -> None:
        session_manager = Desk()
        part = session_manager.come()
        session_manager.session_manager.replace(UserTable(now))
        assert (part.open(ALICE) is not None) is gets
        session_manager.session_manager.close()

    run(scene())


def test_the_same_users_again_change_nothing(run: Run) -> None:
    async def scene() -> None:
        session_manager = Desk()
        part, _ = session_manager.open()
        session_manager.session_manager.replace(USERS)
        assert part.session is not None
        assert not part.session.ended

    run(scene())


def test_whose_certificate_names_him_has_no_session_of_anybody_else(run: Run) -> None:
    async def scene() -> None:
        session_manager = Desk()
        part, session_id = session_manager.open()
        assert session_manager.come_certified("alice").find(session_id) is part.session
        thief = session_manager.come_certified("bob")
        assert thief.find(session_id) is None
        assert thief.note == "invalid"
        session_manager.session_manager.close()

    run(scene())
