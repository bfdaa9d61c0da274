"""One connection's part in sessions."""

import asyncio

from socks6.net.stream import Protection
from socks6.net.transports.memory import memory_stream_pair
from socks6.policy.identity import Identity
from socks6.proxy.authentication.penalty import FailurePenalties
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.participation import Participation, SessionDesk
from socks6.proxy.sessions import MemorySessionStore, Session, SessionSettings
from tests.kit.loops import Run
from tests.kit.session_scene import Placed

ALICE = Identity(name="alice")
SOURCE = "198.51.100.7"
USERS = UserTable.from_plain({"alice": "123456"})


class Desk:
    """A desk, and clients that come to it."""

    def __init__(self, **settings: float) -> None:
        self.settings = SessionSettings(**settings)  # type: ignore[arg-type]  # names are the test's
        self.penalties = FailurePenalties(limit=2)
        self.store = MemorySessionStore(self.settings)
        self.desk = SessionDesk(self.store, self.settings, self.penalties, USERS)

    def come(self, session: Session | None = None, source: str = SOURCE) -> Participation:
        stream = Placed(memory_stream_pair()[0], source, Protection.CLEAR)
        return Participation(self.desk, stream, USERS, session)

    def open(self) -> tuple[Participation, bytes]:
        part = self.come()
        opened = part.open(ALICE)
        assert opened is not None
        return part, opened


def test_who_opens_a_session_belongs_to_it_until_he_leaves(run: Run) -> None:
    async def scene() -> None:
        desk = Desk()
        part, session_id = desk.open()
        assert part.session is not None
        assert (part.note, part.session.connections) == ("new", 1)
        part.leave()
        part.leave()
        assert part.session.connections == 0
        assert desk.come().find(session_id) is part.session
        desk.desk.close()

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
        desk = Desk(idle_timeout=0.02)
        ends = []
        for _ in range(3):
            part, _ = desk.open()
            assert part.session is not None
            ends.append(asyncio.Event())
            part.session.on_end(ends[-1].set)
            part.leave()
        for end in ends:
            await end.wait()
        assert len(desk.store) == 0
        desk.desk.close()

    run(scene())


def test_a_desk_that_closes_ends_all_sessions(run: Run) -> None:
    async def scene() -> None:
        desk = Desk()
        idle, _ = desk.open()
        idle.leave()
        busy, _ = desk.open()
        desk.desk.close()
        desk.desk.close()
        assert idle.session is not None
        assert busy.session is not None
        assert idle.session.ended
        assert busy.session.ended

    run(scene())


def test_new_guesses_count_as_failures_and_the_same_id_does_once(run: Run) -> None:
    async def scene() -> None:
        desk = Desk()
        now = asyncio.get_running_loop().time()
        for _ in range(100):
            assert desk.come().find(b"a session that a restart has lost") is None
        assert not desk.penalties.blocked(SOURCE, now)
        for number in range(30):
            desk.come().find(number.to_bytes(16, "big"))
        assert not desk.penalties.blocked(SOURCE, now)  # so many clients behind one address are honest
        desk.come().find(b"one more")
        assert desk.penalties.blocked(SOURCE, now)

    run(scene())


def test_an_outlived_id_is_no_guess(run: Run) -> None:
    async def scene() -> None:
        desk = Desk(per_user=1)
        for _ in range(100):
            part, session_id = desk.open()
            part.leave()
            assert part.session is not None
            part.tear_down(part.session)
            assert desk.come().find(session_id) is None
        assert not desk.penalties.blocked(SOURCE, asyncio.get_running_loop().time())
        desk.desk.close()

    run(scene())


def test_a_connection_is_cancelled_with_its_session_and_can_tell(run: Run) -> None:
    async def scene() -> None:
        desk = Desk()
        told: list[bool] = []
        part, session_id = desk.open()
        joined = asyncio.Event()

        async def visit(*, swallow: bool) -> None:
            inside = desk.come()
            session = inside.find(session_id)
            assert session is not None
            inside.join(session)
            joined.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told.append(inside.was_closed())
                if not swallow:
                    raise
            finally:
                inside.leave()

        async with asyncio.TaskGroup() as group:
            stranger = group.create_task(visit(swallow=False))
            await joined.wait()
            stranger.cancel()  # by somebody else
        assert told == [False]
        joined.clear()
        part.leave()
        async with asyncio.TaskGroup() as group:
            group.create_task(visit(swallow=True))
            await joined.wait()
            session = desk.come().find(session_id)
            assert session is not None
            desk.come().tear_down(session)
        assert told == [False, True]
        desk.desk.close()

    run(scene())


def test_who_was_let_in_by_users_that_are_replaced_gets_no_session(run: Run) -> None:
    async def scene() -> None:
        desk = Desk()
        part = desk.come()
        desk.desk.replace(UserTable.from_plain({}))
        assert part.open(ALICE) is None

    run(scene())


def test_the_same_users_again_change_nothing(run: Run) -> None:
    async def scene() -> None:
        desk = Desk()
        part, _ = desk.open()
        desk.desk.replace(USERS)
        assert part.session is not None
        assert not part.session.ended

    run(scene())
