"""The store of sessions against a model, whatever clients do and whenever they do it."""

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from socks6.net.stream import Protection
from socks6.policy.identity import Identity
from socks6.proxy.sessions import MemorySessionStore, OpenedSession, Session, SessionSettings

USERS = st.sampled_from(["alice", "bob", "carol"])
SOURCES = st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "127.0.0.1", ""])
PROTECTIONS = st.sampled_from(list(Protection))
IDLE = 10.0


class Connection:
    """A member of a session."""

    def __init__(self) -> None:
        self.closed = False

    def session_ended(self) -> None:
        self.closed = True


class Sessions(RuleBasedStateMachine):
    """What the model knows: who owns each session, its connections, and since when it has none."""

    opened = Bundle("opened")

    @initialize(total=st.integers(1, 6), per_user=st.integers(0, 3), per_source=st.integers(0, 3))
    def begin(self, total: int, per_user: int, per_source: int) -> None:
        self.settings = SessionSettings(
            total=total, per_user=per_user, per_source=per_source, idle_timeout=IDLE
        )
        self.store = MemorySessionStore(self.settings)
        self.now = 0.0
        self.idle_since: dict[Session, float] = {}
        self.members: dict[Session, list[Connection]] = {}
        self.spent: set[tuple[Session, int]] = set()
        self.known: list[OpenedSession] = []
        self.sources: dict[Session, str] = {}

    @rule(target=opened, user=USERS, source=SOURCES, protection=PROTECTIONS)
    def open(self, user: str, source: str, protection: Protection) -> object:
        identity = Identity(name=user)
        opened = self.store.create(identity, source=source, protection=protection, now=self.now)
        if opened is None:
            return multiple()
        self.known.append(opened)
        self.members[opened.session] = []
        self.idle_since[opened.session] = self.now
        self.sources[opened.session] = "2001:db8::/64" if ":" in source else source
        opened.session.grant(8)
        return opened

    @rule(opened=opened, protection=PROTECTIONS)
    def find(self, opened: OpenedSession, protection: Protection) -> None:
        found = self.store.find(opened.id, protection, self.now)
        if found is None:
            assert opened.session.ended  # by a tear-down, by time, for another, or just now by its protection
        else:
            assert found is opened.session
            assert protection >= found.protection
            assert self.members[found] or self.now < self.idle_since[found] + IDLE

    @rule(opened=opened)
    def connect(self, opened: OpenedSession) -> None:
        if self.store.find(opened.id, Protection.ENCRYPTED, self.now):
            member = Connection()
            opened.session.join(member, member.session_ended)
            self.members[opened.session].append(member)

    @rule(opened=opened)
    def disconnect(self, opened: OpenedSession) -> None:
        members = self.members[opened.session]
        if members:
            opened.session.leave(members.pop(), self.now)
            self.idle_since[opened.session] = self.now

    @rule(opened=opened, token=st.integers(0, 20))
    def spend(self, opened: OpenedSession, token: int) -> None:
        if self.store.spend(opened.session, token):
            assert (opened.session, token) not in self.spent
            self.spent.add((opened.session, token))

    @rule(opened=opened, close=st.booleans())
    def tear_down(self, opened: OpenedSession, close: bool) -> None:
        over = opened.session.ended
        self.store.tear_down(opened.session, close=close)
        assert opened.session.ended
        assert all(member.closed is close for member in self.members[opened.session]) or over
        assert self.store.find(opened.id, Protection.ENCRYPTED, self.now) is None

    @rule(seconds=st.floats(0, 2 * IDLE))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        due = self.store.expire(self.now)
        assert due is None or due > self.now

    @rule(user=USERS)
    def user_goes(self, user: str) -> None:
        self.store.revoke(lambda identity: identity.name != user)

    @invariant()
    def nobody_has_more_than_he_may(self) -> None:
        living = [opened.session for opened in self.known if not opened.session.ended]
        assert len(living) == len(self.store) <= self.settings.total
        for user in ("alice", "bob", "carol"):
            count = sum(session.identity.name == user for session in living)
            assert not self.settings.per_user or count <= self.settings.per_user
        for source in ("192.0.2.1", "192.0.2.2", "2001:db8::/64"):
            count = sum(self.sources[session] == source for session in living)
            assert not self.settings.per_source or count <= self.settings.per_source

    @invariant()
    def what_is_over_leaves_nothing(self) -> None:
        if not len(self.store):
            rest = (self.store._kept, self.store._idle, self.store._users, self.store._sources)
            assert not any(rest)

    @invariant()
    def the_store_knows_who_is_idle(self) -> None:
        idle = {
            opened.session
            for opened in self.known
            if not opened.session.ended and not self.members[opened.session]
        }
        assert set(self.store._idle) == idle
        for owner in (*self.store._users.values(), *self.store._sources.values()):
            assert set(owner.idle) <= idle


TestSessions = Sessions.TestCase
