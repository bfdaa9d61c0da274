"""Tables of users."""

import asyncio
import gc
import threading
from dataclasses import dataclass, field
from pathlib import Path

import argon2
import pytest
from typing_extensions import override

from socks6.errors import AuthenticationBusy, ConfigurationError
from socks6.policy.identity import Identity
from socks6.protocol.methods.base import Credentials
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.authentication.base import NoAuthentication
from socks6.proxy.authentication.hashes import Argon2Hash, PasswordHash
from socks6.proxy.authentication.table import UserTable, plain_entries
from socks6.proxy.authentication.users_file import read_users_file
from tests.kit.failing import KINDS, Plan, failing
from tests.kit.loops import Run

ALICE = Identity(name="alice")


@dataclass
class CountedHash(PasswordHash):
    """A slow hash that can be watched; `gate` holds back its answer."""

    password: bytes
    cost: str = "slow"
    checks: int = 0
    at_once: int = 0
    most_at_once: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)
    threads: set[str] = field(default_factory=set)

    @override
    def matches(self, password: bytes) -> bool:
        self.checks += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.threads.add(threading.current_thread().name)
        self.asked.set()
        self.gate.wait(10.0)
        self.at_once -= 1
        return password == self.password


class Clock:
    """A clock that goes when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def slow(password: bytes = b"secret", *, cost: str = "slow", opened: bool = True) -> CountedHash:
    """Return a hash to watch, whose gate is open unless told otherwise."""
    hashed = CountedHash(password, cost)
    if opened:
        hashed.gate.set()
    return hashed


def offer(username: bytes, password: bytes) -> UsernamePasswordCredentials:
    return UsernamePasswordCredentials(username=username, password=password)


def test_users_must_say_who_they_are() -> None:
    assert UserTable({}).required


@pytest.mark.parametrize(
    ("username", "password", "identity"),
    [
        (b"alice", b"secret", ALICE),
        (b"alice", b"Secret", None),
        (b"alice", b"", None),
        (b"bob", b"secret", None),
        (b"", b"", None),
        (b"Alice", b"secret", None),
        (b"\xff\xfe", b"\xff", None),
    ],
)
def test_plain_passwords_are_verified(
    run: Run, username: bytes, password: bytes, identity: Identity | None
) -> None:
    async def scenario() -> None:
        table = UserTable.from_plain({"alice": "secret"})
        assert await table.verify(offer(username, password)) == identity

    run(scenario())


def test_names_beyond_ascii_are_utf8(run: Run) -> None:
    async def scenario() -> None:
        table = UserTable.from_plain({"ålice": "gehëim"})
        assert await table.verify(offer("ålice".encode(), "gehëim".encode())) == Identity(name="ålice")

    run(scenario())


def test_an_empty_table_knows_nobody(run: Run) -> None:
    async def scenario() -> None:
        assert await UserTable({}).verify(offer(b"", b"")) is None

    run(scenario())


def test_credentials_of_another_method_prove_nothing(run: Run) -> None:
    async def scenario() -> None:
        assert await UserTable.from_plain({"alice": "secret"}).verify(Credentials()) is None

    run(scenario())


def test_a_users_file_makes_a_table(run: Run, tmp_path: Path) -> None:
    hashed = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("secret")
    path = tmp_path / "users"
    path.write_text(f"alice:{hashed}\n")

    async def scenario() -> None:
        table = UserTable(read_users_file(path).entries)
        assert await table.verify(offer(b"alice", b"secret")) == ALICE
        assert await table.verify(offer(b"alice", b"wrong")) is None
        assert await table.verify(offer(b"bob", b"secret")) is None

    run(scenario())


def test_slow_hashes_are_checked_elsewhere_than_on_the_loop(run: Run) -> None:
    async def scenario() -> None:
        hashed = slow()
        assert await UserTable({"alice": hashed}).verify(offer(b"alice", b"secret")) == ALICE
        assert threading.current_thread().name not in hashed.threads

    run(scenario())


def test_an_unknown_user_costs_what_a_known_one_costs(run: Run) -> None:
    async def scenario() -> None:
        usual, rare = slow(), slow(cost="rare")
        table = UserTable({"rare": rare, "alice": usual, "bob": slow()})
        assert await table.verify(offer(b"mallory", b"wrong")) is None
        assert (usual.checks, rare.checks) == (1, 0)

    run(scenario())


def test_an_unknown_user_does_not_come_in_with_the_stand_ins_password(run: Run) -> None:
    async def scenario() -> None:
        hashed = slow()
        table = UserTable({"alice": hashed})
        assert await table.verify(offer(b"mallory", b"secret")) is None
        assert await table.verify(offer(b"mallory", b"secret")) is None
        assert hashed.checks == 2

    run(scenario())


def test_an_unknown_user_does_not_come_in_with_a_plain_stand_ins_password(run: Run) -> None:
    async def scenario() -> None:
        assert await UserTable.from_plain({"alice": "secret"}).verify(offer(b"bob", b"secret")) is None

    run(scenario())


def test_a_wrong_plain_password_costs_a_slow_one_among_slow_ones(run: Run) -> None:
    async def scenario() -> None:
        hashed = slow()
        table = UserTable({"bob": hashed, "carol": slow(), **plain_entries({"alice": "secret"})})
        assert await table.verify(offer(b"alice", b"wrong")) is None
        assert hashed.checks == 1
        assert await table.verify(offer(b"alice", b"secret")) == ALICE
        assert hashed.checks == 1

    run(scenario())


def test_a_right_password_is_paid_once_for_a_while(run: Run) -> None:
    async def scenario() -> None:
        hashed, clock = slow(), Clock()
        table = UserTable({"alice": hashed}, remembered_seconds=300.0, clock=clock)
        assert await table.verify(offer(b"alice", b"secret")) == ALICE
        assert await table.verify(offer(b"alice", b"secret")) == ALICE
        assert hashed.checks == 1
        clock.now = 300.0
        assert await table.verify(offer(b"alice", b"secret")) == ALICE
        assert hashed.checks == 2

    run(scenario())


def test_a_wrong_password_is_paid_every_time(run: Run) -> None:
    async def scenario() -> None:
        hashed = slow()
        table = UserTable({"alice": hashed})
        assert await table.verify(offer(b"alice", b"secret")) == ALICE
        for _ in range(2):
            assert await table.verify(offer(b"alice", b"wrong")) is None
        assert hashed.checks == 3

    run(scenario())


def test_connections_that_arrive_together_pay_together(run: Run) -> None:
    async def scenario() -> None:
        hashed = slow()
        table = UserTable({"alice": hashed}, threads=1)
        identities = await asyncio.gather(*(table.verify(offer(b"alice", b"secret")) for _ in range(50)))
        assert identities == [ALICE] * 50
        assert hashed.checks == 1

    run(scenario())


def test_so_many_checks_run_at_once_and_no_more(run: Run) -> None:
    async def scenario() -> None:
        hashed = slow(opened=False)
        table = UserTable({"alice": hashed}, threads=2)
        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(table.verify(offer(b"alice", b"wrong %d" % number)))
            await asyncio.to_thread(hashed.asked.wait, 10.0)
            hashed.gate.set()
        assert hashed.checks == 8
        assert hashed.most_at_once <= 2

    run(scenario())


def test_those_who_find_the_queue_full_are_told_at_once_that_it_is_busy(run: Run) -> None:
    async def scenario() -> None:
        hashed = slow(opened=False)
        table = UserTable({"alice": hashed}, threads=1, queue=2)
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(table.verify(offer(b"alice", b"secret"))) for _ in range(2)]
            await asyncio.to_thread(hashed.asked.wait, 10.0)
            with pytest.raises(AuthenticationBusy):
                await table.verify(offer(b"alice", b"secret"))
            hashed.gate.set()
        assert [task.result() for task in waiting] == [ALICE, ALICE]
        assert await table.verify(offer(b"alice", b"wrong")) is None  # there is room again

    run(scenario())


def test_without_a_thread_it_is_busy_and_then_goes_on(run: Run) -> None:
    async def scene() -> None:
        users = UserTable({"alice": slow()}, threads=1)
        short = Plan(failure=KINDS["thread"].failures["RuntimeError"])
        with failing(KINDS["thread"], short), pytest.raises(AuthenticationBusy):
            await users.verify(offer(b"alice", b"secret"))
        assert await users.verify(offer(b"alice", b"secret")) == ALICE

    run(scene())


def test_a_client_that_goes_away_frees_its_place(run: Run) -> None:
    async def scenario() -> None:
        hashed = slow(opened=False)
        table = UserTable({"alice": hashed}, threads=1, queue=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await table.verify(offer(b"alice", b"secret"))
        hashed.gate.set()
        assert await table.verify(offer(b"alice", b"secret")) == ALICE

    run(scenario())


def test_a_hash_that_nobody_waits_for_any_more_keeps_its_thread(run: Run) -> None:
    async def scenario() -> None:
        hashed = slow(opened=False)
        table = UserTable({"alice": hashed}, threads=1)
        async with asyncio.TaskGroup() as group:
            given_up = group.create_task(table.verify(offer(b"alice", b"wrong")))
            await asyncio.to_thread(hashed.asked.wait, 10.0)
            given_up.cancel()
            await asyncio.wait([given_up])
            waiting = group.create_task(table.verify(offer(b"alice", b"secret")))
            await asyncio.sleep(0)
            assert hashed.checks == 1
            hashed.gate.set()
        assert waiting.result() == ALICE
        assert hashed.most_at_once == 1

    run(scenario())


def test_what_a_hash_finds_that_nobody_waits_for_is_not_lost(run: Run) -> None:
    async def scenario() -> None:
        hashed = slow(opened=False)
        table = UserTable({"alice": hashed}, threads=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await table.verify(offer(b"alice", b"secret"))
        await asyncio.to_thread(hashed.asked.wait, 10.0)
        hashed.gate.set()
        assert await table.verify(offer(b"alice", b"secret")) == ALICE
        assert hashed.checks == 1

    run(scenario())


def test_a_proof_is_recalled_without_a_hash(run: Run) -> None:
    async def scenario() -> None:
        for table in (UserTable({"alice": slow()}), UserTable.from_plain({"alice": "secret"})):
            right, wrong = offer(b"alice", b"secret"), offer(b"alice", b"wrong")
            assert table.cached_identity(right) is None
            await table.verify(right)
            await table.verify(wrong)
            assert (
                table.cached_identity(right),
                table.cached_identity(wrong),
                table.cached_identity(Credentials()),
            ) == (
                ALICE,
                None,
                None,
            )

    run(scenario())


def test_proofs_outlive_a_reload_for_hashes_that_are_the_same(run: Run) -> None:
    async def scenario() -> None:
        kept, changed = slow(), slow()
        old = UserTable({"alice": kept, "bob": changed})
        for name in (b"alice", b"bob"):
            await old.verify(offer(name, b"secret"))
        new = UserTable({"alice": kept, "bob": slow(b"another"), "carol": slow()})
        new.inherit(old)
        new.inherit(NoAuthentication())
        assert new.cached_identity(offer(b"alice", b"secret")) == ALICE
        assert new.cached_identity(offer(b"bob", b"secret")) is None
        assert await new.verify(offer(b"bob", b"secret")) is None
        assert await new.verify(offer(b"alice", b"secret")) == ALICE
        assert kept.checks == 1

    run(scenario())


def test_a_dropped_table_leaves_no_threads(run: Run) -> None:
    async def scenario() -> None:
        table = UserTable({"alice": slow()})
        await table.verify(offer(b"alice", b"secret"))

    run(scenario())
    gc.collect()
    workers = [thread for thread in threading.enumerate() if thread.name.startswith("socks6-passwords")]
    for thread in workers:
        thread.join(10.0)
        assert not thread.is_alive()


def test_plain_entries_must_be_possible() -> None:
    with pytest.raises(ConfigurationError, match="user name"):
        plain_entries({"a:b": "secret"})
    with pytest.raises(ConfigurationError, match="1 to 255 bytes"):
        plain_entries({"alice": ""})


def test_passwords_do_not_show() -> None:
    entries = plain_entries({"alice": "hunter2"})
    assert "hunter2" not in repr(entries)


@pytest.mark.slow
def test_a_user_stands_on_his_hash() -> None:
    first, same = Argon2Hash.parse(argon2.PasswordHasher().hash("a")), UserTable({})
    assert same.credential_version(ALICE) is None
    assert UserTable({"alice": first}).credential_version(ALICE) == UserTable(
        {"alice": first}
    ).credential_version(ALICE)
    other = Argon2Hash.parse(argon2.PasswordHasher().hash("a"))
    assert UserTable({"alice": first}).credential_version(ALICE) != UserTable(
        {"alice": other}
    ).credential_version(ALICE)
