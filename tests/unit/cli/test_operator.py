"""Signals to a running server."""

import asyncio
import threading

import pytest
from typing_extensions import override

from socks6.cli.gather import Gathered
from socks6.cli.operator import Operator
from socks6.config.choices import Choices
from socks6.config.plan import Plan
from socks6.errors import ConfigurationError
from socks6.net.url import ProxyUrl
from socks6.policy.rules import Rule
from socks6.policy.stack import StackRule
from socks6.proxy.authentication.table import plain_entries
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker

PUBLIC = ProxyUrl.parse_listener("socks6://:1080")
LOCAL = ProxyUrl.parse_listener("socks6://127.0.0.1:1080")
USERS = plain_entries({"alice": "123456"})


class Operated(Server):
    """Keeps what it was told."""

    def __init__(self, plan: Plan, worker: ServerWorker) -> None:
        super().__init__(plan.listen, worker, open_to_all=plan.open_to_all)
        self.told: list[str] = []

    @override
    def stop(self) -> None:
        self.told.append("stop")

    @override
    def abort(self) -> None:
        self.told.append("abort")


class Scene:
    """A server that was made from some choices, and whose files now say others."""

    def __init__(self, before: Choices, after: Choices | Exception, *warnings: str) -> None:
        self._after = after
        self._warnings = warnings
        plan = Plan.of(before)
        self.worker = plan.worker()
        self.server = Operated(plan, self.worker)
        self.operator = Operator(self.server, self.worker, plan, before, self._read)

    def reload(self) -> None:
        asyncio.run(self.operator.reload_now())

    def _read(self) -> Gathered:
        if isinstance(self._after, Exception):
            raise self._after
        return Gathered(self._after, self._warnings)


def test_the_first_signal_drains_and_the_others_end() -> None:
    scene = Scene(Choices(), Choices())
    for _ in range(3):
        scene.operator.stop()
    assert scene.server.told == ["stop", "abort", "abort"]


def test_new_users_and_rules_are_met(capsys: pytest.CaptureFixture[str]) -> None:
    rules = (Rule.parse("deny", ports=["25"]),)
    scene = Scene(Choices(), Choices(users=USERS, rules=rules, allow_private=False))
    scene.reload()
    assert scene.worker.authenticator.required
    assert scene.worker.policy.rules == rules
    assert not scene.worker.policy.allow_private
    assert capsys.readouterr().err == "socks6: reloaded\n"


def test_new_bounds_of_stack_options_are_met() -> None:
    bounds = (StackRule.parse(forbid=["ttl"]),)
    scene = Scene(Choices(), Choices(stack=bounds))
    scene.reload()
    assert scene.worker.policy.stack == bounds


def test_a_file_that_is_wrong_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene(Choices(users=USERS), ConfigurationError("one\ntwo"))
    before = scene.worker.authenticator
    scene.reload()
    assert scene.worker.authenticator is before
    assert capsys.readouterr().err == "socks6: not reloaded: one\nsocks6: not reloaded: two\n"


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), RuntimeError("can't start new thread")])
def test_what_the_system_refuses_changes_nothing(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = Scene(Choices(users=USERS), error)
    before = scene.worker.authenticator
    scene.reload()
    assert scene.worker.authenticator is before
    assert str(error) in capsys.readouterr().err


def test_the_last_user_is_not_lost_where_others_come_in(capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene(Choices(listen=(PUBLIC,), users=USERS), Choices(listen=(LOCAL,)))
    scene.reload()
    assert scene.worker.authenticator.required
    assert "asks for no password" in capsys.readouterr().err


def test_what_listens_decides_on_private_destinations() -> None:
    scene = Scene(Choices(listen=(PUBLIC,), users=USERS), Choices(listen=(LOCAL,), users=USERS))
    scene.reload()
    assert not scene.worker.policy.allow_private


def test_what_needs_a_restart_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    before = Choices(listen=(LOCAL,), connections=5, verbosity=1)
    after = Choices(listen=(PUBLIC,), connections=6, log_destinations=True, users=USERS, verbosity=1)
    scene = Scene(before, after)
    scene.reload()
    assert scene.worker.authenticator.required
    assert capsys.readouterr().err == (
        "socks6: reloaded\nsocks6: changed, but needs a restart: listen, connections, log-destinations\n"
    )


@pytest.mark.parametrize("after", [Choices(users={}), Choices(users=None)])
def test_a_reload_does_not_lose_all_users(after: Choices, capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene(Choices(users=USERS), after)
    before = scene.worker.authenticator
    scene.reload()
    assert scene.worker.authenticator is before
    assert capsys.readouterr().err.startswith("socks6: not reloaded: no users are left of 1, so that")


def test_warnings_are_told_with_a_reload(capsys: pytest.CaptureFixture[str]) -> None:
    many = plain_entries({f"user{number}": "123456" for number in range(9)})
    few = {name: many[name] for name in list(many)[:4]}
    scene = Scene(Choices(users=many), Choices(users=few), "users: others than its owner can change it")
    scene.reload()
    assert capsys.readouterr().err == (
        "socks6: reloaded\n"
        "socks6: warning: users: others than its owner can change it\n"
        "socks6: warning: there are 4 users now; there were 9: is the file whole?\n"
    )


def test_a_reload_that_is_asked_for_during_another_follows_it() -> None:
    class Slow(Scene):
        reads = 0
        loop: asyncio.AbstractEventLoop

        @override
        def _read(self) -> Gathered:
            assert threading.current_thread() is not threading.main_thread()
            self.reads += 1
            if self.reads == 1:
                self.loop.call_soon_threadsafe(self.operator.reload)
            else:
                self.loop.call_soon_threadsafe(done.set)
            return super()._read()

    async def main() -> Slow:
        scene = Slow(Choices(users=USERS), Choices(users=USERS))
        scene.loop = asyncio.get_running_loop()
        running = scene.loop.create_task(scene.operator.run())
        scene.operator.reload()
        async with asyncio.timeout(10):
            await done.wait()
        running.cancel()
        await asyncio.wait([running])
        return scene

    done = asyncio.Event()
    assert asyncio.run(main()).reads == 2
