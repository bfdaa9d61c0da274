"""Users of a database: as they are when they log in, and what becomes of them while they are here."""

import dataclasses
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from socks6.errors import AuthenticationBusy
from socks6.policy.identity import Identity
from socks6.policy.user_limits import NO_LIMITS
from socks6.protocol.methods.base import Credentials
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.authentication import database_users
from socks6.proxy.authentication.base import WRONG_CREDENTIALS, UserChange, UserUnknown
from socks6.proxy.authentication.database_users import DatabaseUsers
from socks6.proxy.authentication.hashes import Argon2Hash
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.authentication.users_database import UsersDatabase
from tests.kit.failing import KINDS, Plan, failing
from tests.kit.loops import Run

SECRET: Final = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$vk+JgWgZGbXHtEqPQPhzXbD+QxxkJR5Fq2AXLhDyYaY"
OTHER: Final = "$argon2id$v=19$m=8,t=1,p=1$b3RoZXJvdGhlcg$3x86kv8sd8431rKpeeY7me83YKLCTaDDK2PcAzG4XR8"
ALICE: Final = Identity(name="alice")
HOME: Final = "192.0.2.7"


@dataclasses.dataclass
class Scene:
    """A database, an authenticator upon it, and their time."""

    path: Path
    now: datetime = datetime(2026, 11, 30, 12, tzinfo=UTC)

    def __post_init__(self) -> None:
        self.database = UsersDatabase(self.path, create=True, clock=lambda: self.now)
        self.database.add("alice", {"hash": SECRET, "quota": 5})
        self.users = self.authenticator()

    def authenticator(self) -> DatabaseUsers:
        return DatabaseUsers(UsersDatabase(self.path, clock=lambda: self.now), clock=lambda: self.now)

    async def log_in(
        self, name: str = "alice", password: str = "secret", source: str = HOME
    ) -> Identity | None:
        given = credentials(name, password)
        return self.users.cached_identity(given, source) or await self.users.verify(given, source)


@pytest.fixture
def run() -> Run:
    return Run("asyncio")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path / "users.db")
    yield made
    made.users.close()
    made.database.close()


def credentials(name: str = "alice", password: str = "secret") -> UsernamePasswordCredentials:
    return UsernamePasswordCredentials(username=name.encode(), password=password.encode())


def test_a_user_logs_in_with_its_limits_and_is_known_then(scene: Scene, run: Run) -> None:
    async def play() -> None:
        users = scene.users
        assert (users.required, users.watched, users.user_count) == (True, True, 1)
        assert (users.knows(b"alice"), users.credential_version(ALICE)) == (None, None)
        assert users.current_limits(ALICE) is NO_LIMITS  # as it was when it logged in, elsewhere
        identity = await users.verify(credentials(), HOME)
        assert identity == ALICE
        assert identity is not None
        assert identity.limits.quota == 5
        assert (users.knows(b"alice"), users.credential_version(ALICE)) == (True, SECRET)
        assert users.current_limits(ALICE) == identity.limits
        scene.database.close()
        assert users.cached_identity(credentials(), HOME) == ALICE
        assert users.cached_identity(credentials(password="wrong"), HOME) is None
        assert await scene.log_in(password="wrong") is None
        assert users.refusal(credentials(password="wrong"), HOME) == WRONG_CREDENTIALS
        assert await users.verify(Credentials()) is None

    run(play())


@pytest.mark.parametrize("name", [b"nobody", b"\xff"])
def test_who_is_unknown_is_left_to_others_after_as_long_as_a_check_takes(
    scene: Scene, run: Run, name: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    matches = Argon2Hash.matches

    def counted(self: Argon2Hash, password: bytes) -> bool:
        checked.append(self.text)
        return matches(self, password)

    monkeypatch.setattr(Argon2Hash, "matches", counted)
    unknown = UsernamePasswordCredentials(username=name, password=b"secret")

    async def play() -> None:
        with pytest.raises(UserUnknown):
            await scene.users.verify(unknown, HOME)
        assert checked == [SECRET]
        assert (scene.users.knows(name), scene.users.refusal(unknown, HOME)) == (None, WRONG_CREDENTIALS)

    run(play())


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"enabled": False}, "the user is disabled"),
        ({"expires": "2026-11-30T12:00"}, "the user has expired"),
        ({"sources": "198.51.100.0/24"}, "the user may not log in from there"),
    ],
)
def test_who_may_not_is_refused_and_its_password_is_not_even_checked(
    scene: Scene, run: Run, values: dict[str, object], reason: str
) -> None:
    async def play() -> None:
        assert await scene.log_in() == ALICE
        scene.database.set("alice", values)
        await scene.users.changes()
        assert scene.users.cached_identity(credentials(), HOME) is None
        for password in ("secret", "wrong"):
            assert await scene.users.verify(credentials(password=password), HOME) is None
            assert scene.users.refusal(credentials(password=password), HOME) == reason

    run(play())


@pytest.mark.parametrize(
    ("change", "expected", "limits"),
    [
        (lambda it: it.set("alice", {"enabled": False}), UserChange("alice", "the user is disabled"), None),
        (lambda it: it.remove("alice"), UserChange("alice", "the user was removed", new_password=True), None),
        (lambda it: it.set("alice", {"hash": OTHER}), UserChange("alice", new_password=True), 5),
        (lambda it: it.set("alice", {"quota": 7}), UserChange("alice"), 7),
        (lambda it: it.set("alice", {"note": "x"}), None, 5),
        (lambda it: it.add("bob", {"hash": SECRET}), None, 5),
    ],
)
@pytest.mark.parametrize("logs_in", [False, True])
def test_a_change_is_told_once_also_if_a_login_has_seen_it_first(
    scene: Scene,
    run: Run,
    change: Callable[[UsersDatabase], object],
    expected: UserChange | None,
    limits: int | None,
    *,
    logs_in: bool,
) -> None:
    async def play() -> None:
        assert await scene.log_in() == ALICE
        assert await scene.users.changes() == []
        change(scene.database)
        if logs_in:
            given = credentials(password="neither")
            try:
                assert await scene.users.verify(given, HOME) is None
            except UserUnknown:
                assert "removed" in str(expected)
        assert await scene.users.changes() == ([expected] if expected else [])
        assert await scene.users.changes() == []
        found = scene.users.current_limits(ALICE)
        assert (found and found.quota) == limits
        assert (scene.users.credential_version(ALICE) is None) == (limits is None)

    run(play())


def test_a_user_that_was_removed_may_come_back_here_or_elsewhere(scene: Scene, run: Run) -> None:
    async def play() -> None:
        await scene.log_in()
        scene.database.remove("alice")
        await scene.users.changes()
        assert scene.users.current_limits(ALICE) is None
        with pytest.raises(UserUnknown):
            await scene.users.verify(credentials(), HOME)
        assert scene.users.current_limits(ALICE) is NO_LIMITS  # another may know it
        scene.database.add("alice", {"hash": OTHER})
        assert await scene.log_in() is None
        assert await scene.log_in(password="other") == ALICE

    run(play())


def test_time_ends_what_it_was_to_end_and_not_before(scene: Scene, run: Run) -> None:
    async def play() -> None:
        for name, minutes in (("soon", 1), ("later", 2)):
            expires = (scene.now + timedelta(minutes=minutes)).isoformat()
            scene.database.add(name, {"hash": SECRET, "expires": expires})
            assert await scene.log_in(name) == Identity(name=name)
        told = []
        for seconds in (59, 1, 60, 60):
            scene.now += timedelta(seconds=seconds)
            told.append([change.name for change in await scene.users.changes()])
        assert told == [[], ["soon"], ["later"], []]
        scene.database.set("soon", {"expires": None})
        assert await scene.users.changes() == [UserChange("soon")]
        assert await scene.log_in("soon") == Identity(name="soon")

    run(play())


def test_a_reload_keeps_who_is_known_and_what_was_proved(scene: Scene, run: Run) -> None:
    async def play() -> None:
        await scene.log_in()
        renewed = scene.authenticator()
        renewed.inherit(scene.users)
        scene.users.close()
        assert renewed.cached_identity(credentials(), HOME) == ALICE
        scene.users = renewed
        scene.database.remove("alice")
        assert [change.name for change in await renewed.changes()] == ["alice"]
        elsewhere = Scene(scene.path.with_name("other.db"))
        elsewhere.users.inherit(renewed)
        elsewhere.users.inherit(UserTable({}))
        assert elsewhere.users.knows(b"alice") is None
        elsewhere.users.close()
        elsewhere.database.close()

    run(play())


def test_only_so_many_are_watched(scene: Scene, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_users, "MAX_KNOWN_USERS", 1)

    async def play() -> None:
        scene.database.add("bob", {"hash": SECRET})
        await scene.log_in()
        await scene.log_in("bob")
        assert (scene.users.knows(b"alice"), scene.users.knows(b"bob")) == (None, True)
        assert list(scene.users._known) == ["bob"]
        assert len(scene.users._known) == 1

    run(play())


def test_a_database_that_cannot_be_read_is_a_fault_and_who_is_known_stays(scene: Scene, run: Run) -> None:
    async def play() -> None:
        await scene.log_in()
        scene.database.close()
        scene.path.chmod(0o622)
        scene.users.database.close()
        for call in (scene.users.changes(), scene.users.verify(credentials("bob"), HOME)):
            with pytest.raises(AuthenticationBusy, match="cannot be read") as caught:
                await call
            assert caught.value.is_fault
        assert scene.users.cached_identity(credentials(), HOME) == ALICE

    run(play())


def test_there_is_no_thread_left(scene: Scene, run: Run) -> None:
    async def play() -> None:
        short = Plan(failure=KINDS["thread"].failures["RuntimeError"])
        with failing(KINDS["thread"], short), pytest.raises(AuthenticationBusy, match="no thread"):
            await scene.users.verify(credentials(), HOME)
        assert await scene.log_in() == ALICE

    run(play())


def test_unknown_users_cost_what_the_first_users_do(tmp_path: Path, run: Run) -> None:
    database = UsersDatabase(tmp_path / "empty.db", create=True)
    database.change_number()
    users = DatabaseUsers(database)

    async def play() -> None:
        assert users._stand_in.cost == ""
        database.add("alice", {"hash": SECRET})
        await users.changes()
        assert users._stand_in.cost == "argon2id v=19$m=8,t=1,p=1"

    run(play())
    users.close()
