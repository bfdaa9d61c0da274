"""The queue of credentials that wait to be checked."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from typing_extensions import override

from socks6.errors import AuthenticationBusy
from socks6.policy.identity import Identity
from socks6.protocol.methods.base import Credentials
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.authentication import verification
from socks6.proxy.authentication.base import Authenticator, UserUnknown
from socks6.proxy.authentication.penalty import FailurePenalties
from socks6.proxy.authentication.verification import VerificationQueue
from tests.kit.loops import Run

ALICE = Identity(name="alice")
HERE, THERE = "203.0.113.5", "203.0.113.6"


@dataclass
class Users(Authenticator):
    """Whoever says "right" is let in, once it is this check's turn to be answered."""

    at_once: int = 2
    remembers: set[Credentials] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    answers: "dict[str, asyncio.Future[None]]" = field(default_factory=dict)

    @property
    @override
    def required(self) -> bool:
        return True

    @property
    @override
    def concurrency(self) -> int:
        return self.at_once

    @override
    def cached_identity(self, credentials: Credentials, source: str = "") -> Identity | None:
        return identity(credentials) if credentials in self.remembers else None

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        assert isinstance(credentials, UsernamePasswordCredentials)
        name = credentials.username.decode()
        self.asked.append(name)
        if name == "unknown":
            raise UserUnknown
        answer = self.answers[name] = asyncio.get_running_loop().create_future()
        await answer
        if credentials.password != b"right":
            return None
        self.remembers.add(credentials)
        return identity(credentials)

    def answer(self, *names: str) -> None:
        for name in names:
            self.answers[name].set_result(None)


def identity(credentials: Credentials) -> Identity:
    assert isinstance(credentials, UsernamePasswordCredentials)
    return Identity(name=credentials.username.decode())


def offer(name: str, password: str = "right") -> Credentials:
    return UsernamePasswordCredentials(username=name.encode(), password=password.encode())


class Scene:
    """A queue, its users, and clients that come."""

    def __init__(
        self, group: asyncio.TaskGroup, *, at_once: int = 2, queue: int = 100, limit: int = 50
    ) -> None:
        self.users = Users(at_once)
        self.penalties = FailurePenalties(limit=limit)
        self.queue = VerificationQueue(self.penalties, queue=queue, per_source=2)
        self._group = group

    async def come(
        self, name: str, password: str = "right", *, source: str = HERE, deadline: float | None = None
    ) -> "asyncio.Task[Identity | None]":
        task = self._group.create_task(
            self.queue.verify(lambda: self.users, offer(name, password), source=source, deadline=deadline)
        )
        await settled()
        return task

    async def come_all(self, names: Iterable[str], password: str = "right", *, source: str = HERE) -> None:
        for name in names:
            _ = await self.come(name, password, source=source)

    async def answer(self, *names: str) -> None:
        self.users.answer(*names)
        await settled()

    async def answer_all(self) -> None:
        """Answer as long as anybody is asked."""
        while pending := [name for name, answer in self.users.answers.items() if not answer.done()]:
            await self.answer(*pending)


async def settled() -> None:
    """Let whatever can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_sources_take_turns_and_each_is_served_in_order(run: Run) -> None:
    async def scene() -> None:
        async with asyncio.TaskGroup() as group:
            proxy = Scene(group, at_once=1)
            await proxy.come_all(("a1", "a2", "a3"), source=HERE)
            await proxy.come_all(("b1", "b2"), source=THERE)
            await proxy.come_all(("c1",), source="203.0.113.7")
            await proxy.answer_all()
            assert proxy.users.asked == ["a1", "a2", "b1", "c1", "a3", "b2"]
            assert len(proxy.queue) == 0

    run(scene())


def test_a_user_that_is_not_known_is_refused(run: Run) -> None:
    async def scene() -> None:
        async with asyncio.TaskGroup() as group:
            proxy = Scene(group, limit=1)
            task = await proxy.come("unknown")
            assert await task is None
            assert proxy.penalties.blocked(HERE, asyncio.get_running_loop().time())

    run(scene())


def test_who_comes_again_waits_behind_those_who_came_before(run: Run) -> None:
    async def scene() -> None:
        async with asyncio.TaskGroup() as group:
            proxy = Scene(group, at_once=1)
            for name, source in (("a1", HERE), ("b1", THERE), ("c1", "203.0.113.7"), ("a2", HERE)):
                _ = await proxy.come(name, source=source)
            await proxy.answer_all()
            assert proxy.users.asked == ["a1", "b1", "c1", "a2"]

    run(scene())


def test_a_source_has_so_many_under_way_and_others_go_past_it(run: Run) -> None:
    async def scene() -> None:
        async with asyncio.TaskGroup() as group:
            proxy = Scene(group, at_once=4)
            await proxy.come_all(("a1", "a2", "a3"), source=HERE)
            await proxy.come_all(("b1",), source=THERE)
            assert proxy.users.asked == ["a1", "a2", "b1"]
            await proxy.answer("a2")
            assert proxy.users.asked[-1] == "a3"
            await proxy.answer_all()

    run(scene())


def test_local_clients_are_many(run: Run) -> None:
    async def scene() -> None:
        async with asyncio.TaskGroup() as group:
            proxy = Scene(group, at_once=4)
            await proxy.come_all(("a1", "a2", "a3", "a4", "a5"), source="127.0.0.1")
            assert len(proxy.users.asked) == 4
            await proxy.answer_all()

    run(scene())


def test_a_burst_of_guesses_is_no_more_than_the_penalty_allows(run: Run) -> None:
    async def scene() -> None:
        async with asyncio.TaskGroup() as group:
            proxy = Scene(group, limit=5)
            guesses = [await proxy.come(f"user{number}", "wrong") for number in range(60)]
            await proxy.answer_all()
            assert len(proxy.users.asked) == 5  # the others are not looked at
            assert len(proxy.queue) == 0
            honest = await proxy.come("alice", source=THERE)
            await proxy.answer("alice")
            assert honest.result() == ALICE
        assert {guess.result() for guess in guesses} == {None}

    run(scene())


def test_who_is_shut_out_learns_as_late_as_who_is_wrong(run: Run) -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            proxy = Scene(group, limit=1)
            guess = await proxy.come("alice", "wrong")
            began = loop.time()
            await asyncio.sleep(0.02)
            await proxy.answer("alice")
            assert guess.result() is None
            took = loop.time() - began
            again = await proxy.come("bob")
            assert not again.done()
            began = loop.time()
            assert await again is None
            assert loop.time() - began >= 0.02 - 0.005 <= took
            assert proxy.users.asked == ["alice"]

    run(scene())


def test_proofs_go_first_also_from_a_source_that_is_shut_out(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "RECENT_USER_TRIES", 3)

    async def scene() -> None:
        async with asyncio.TaskGroup() as group:
            proxy = Scene(group, limit=3)
            known = await proxy.come("alice")
            await proxy.answer("alice")
            for number in range(3):
                _ = await proxy.come(f"user{number}", "wrong")
                await proxy.answer_all()
            assert proxy.queue.shuts_out(offer("alice"), HERE)
            assert await proxy.queue.verify(lambda: proxy.users, offer("alice"), source=HERE) == ALICE
            proxy.users.remembers.add(offer("bob"))  # who has come in elsewhere
            assert await proxy.queue.verify(lambda: proxy.users, offer("bob"), source=HERE) is None
            for _ in range(2):  # nor is it a way to guess faster
                assert await proxy.queue.verify(lambda: proxy.users, offer("alice", "x"), source=HERE) is None
            assert await proxy.queue.verify(lambda: proxy.users, offer("alice"), source=HERE) is None
            assert known.result() == ALICE

    run(scene())


def test_connections_that_come_together_pay_together(run: Run) -> None:
    async def scene() -> None:
        async with asyncio.TaskGroup() as group:
            proxy = Scene(group, at_once=1)
            clients = [await proxy.come("alice") for _ in range(30)]
            await proxy.answer("alice")
            assert [client.result() for client in clients] == [ALICE] * 30
            assert proxy.users.asked == ["alice"]

    run(scene())


def test_who_has_most_waiting_makes_room(run: Run) -> None:
    async def scene() -> None:
        async with asyncio.TaskGroup() as group:
            proxy = Scene(group, at_once=1, queue=3)
            _ = await proxy.come("first", source=THERE)
            many = [group.create_task(refused(proxy, f"many{number}", HERE)) for number in range(5)]
            await settled()
            assert [task.result() for task in many if task.done()] == ["busy", "busy"]
            honest = await proxy.come("alice", source=THERE)
            assert len(proxy.queue) == 3
            await proxy.answer_all()
            assert honest.result() == ALICE
            assert [task.result() for task in many] == ["in", "in", "busy", "busy", "busy"]
        assert not proxy.queue.shuts_out(offer("many4"), HERE)

    async def refused(proxy: Scene, name: str, source: str) -> str:
        try:
            await proxy.queue.verify(lambda: proxy.users, offer(name), source=source)
        except AuthenticationBusy:
            return "busy"
        return "in"

    run(scene())


@pytest.mark.parametrize("slow_by", [0.0, 1.0])
def test_whose_time_is_up_is_told_that_it_is_busy_and_not_punished(
    run: Run, monkeypatch: pytest.MonkeyPatch, slow_by: float
) -> None:
    """A timer may fire before the time has come by another reading of the clock, which must not count."""
    monkeypatch.setattr(verification, "_now", lambda: asyncio.get_running_loop().time() - slow_by)

    async def scene() -> None:
        now = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            proxy = Scene(group, at_once=1, limit=1)
            for deadline in (now, now + 0.01):  # waiting, and under way
                with pytest.raises(AuthenticationBusy):
                    await proxy.queue.verify(
                        lambda: proxy.users, offer("alice", "wrong"), source=HERE, deadline=deadline
                    )
            assert not proxy.queue.shuts_out(offer("alice"), HERE)
            right = await proxy.come("alice")
            await proxy.answer("alice")
            assert right.result() == ALICE

    run(scene())


def test_a_busy_authenticator_punishes_nobody(run: Run) -> None:
    class Busy(Users):
        @override
        async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
            raise AuthenticationBusy("later")

    async def scene() -> None:
        queue = VerificationQueue(FailurePenalties(limit=1))
        for _ in range(3):
            with pytest.raises(AuthenticationBusy, match="later"):
                await queue.verify(Busy, offer("alice"), source=HERE)

    run(scene())


def test_who_is_gone_before_its_turn_is_not_looked_at(run: Run) -> None:
    async def scene() -> None:
        present = {"gone": True}
        async with asyncio.TaskGroup() as group:
            proxy = Scene(group, at_once=1)
            _ = await proxy.come("first")
            _ = await proxy.come("cancelled", source=THERE)

            async def leave() -> None:
                with pytest.raises(ConnectionResetError):
                    await proxy.queue.verify(
                        lambda: proxy.users, offer("gone"), source=THERE, present=lambda: present["gone"]
                    )

            group.create_task(leave())
            leaving = await proxy.come("leaving", source=THERE)
            await settled()
            present["gone"] = False
            leaving.cancel()
            await proxy.answer_all()
            assert proxy.users.asked == ["first", "cancelled"]

    run(scene())


def test_who_goes_while_its_guess_is_under_way_has_had_it(run: Run) -> None:
    async def scene() -> None:
        async with asyncio.TaskGroup() as group:
            proxy = Scene(group, at_once=1, limit=1)
            guess = await proxy.come("alice", "wrong")
            guess.cancel()
            await settled()
            assert proxy.queue.shuts_out(offer("alice"), HERE)
            _ = await proxy.come("bob", source=THERE)  # whose turn it is now
            await proxy.answer("bob")

    run(scene())


def test_who_goes_as_its_turn_comes_gives_it_back(run: Run) -> None:
    async def scene() -> None:
        async with asyncio.TaskGroup() as group:
            proxy = Scene(group, at_once=1, limit=1)
            first = await proxy.come("first", source=THERE)
            second = await proxy.come("second")
            third = await proxy.come("third", source="203.0.113.7")
            first.cancel()
            for _ in range(20):
                await asyncio.sleep(0)
                if not len(proxy.queue) - 1:  # the second's turn has come, but it has not begun
                    second.cancel()
                    break
            await settled()
            assert "third" in proxy.users.asked
            assert not proxy.queue.shuts_out(offer("second"), HERE)
            await proxy.answer("third")
            assert third.result() == Identity(name="third")

    run(scene())


def test_those_who_know_the_users_are_asked_for_when_it_is_the_turn(run: Run) -> None:
    async def scene() -> None:
        async with asyncio.TaskGroup() as group:
            proxy = Scene(group, at_once=1)
            _ = await proxy.come("first")
            late = await proxy.come("late", source=THERE)
            old, proxy.users = proxy.users, Users(1)
            old.answer("first")
            await settled()
            assert (old.asked, proxy.users.asked) == (["first"], ["late"])
            await proxy.answer("late")
            assert late.result() == Identity(name="late")

    run(scene())
