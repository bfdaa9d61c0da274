"""socks6 server and socks6 client: what they make of a command line, and signals to a running server."""

import asyncio
import threading
from collections.abc import Mapping
from typing import Final

import pytest
from typing_extensions import override

from socks6.cli.load import LoadedConfig
from socks6.cli.parser import parse
from socks6.cli.serve import Operator, load_config, load_values
from socks6.client.outbound import UpstreamOutbound
from socks6.config.build import build_worker
from socks6.config.server import ServerConfig
from socks6.errors import ConfigurationError
from socks6.net.url import ProxyUrl
from socks6.policy.rules import Rule
from socks6.policy.stack import StackRule
from socks6.proxy.authentication.table import plain_entries
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker
from socks6.setting import build

Values = Mapping[str, object]

PUBLIC: Final = ProxyUrl.parse_listener("socks6://:1080")
LOCAL: Final = ProxyUrl.parse_listener("socks6://127.0.0.1:1080")
USERS: Final = plain_entries({"alice": "123456"})


def test_a_client_goes_where_the_environment_says() -> None:
    _, config, _ = load_config(parse(["client"]), {"SOCKS6_PROXY": "socks6://proxy.example"})
    assert list(map(str, config.upstreams)) == ["socks6://proxy.example:1080"]
    assert [str(url) for url in config.listen] == ["mixed://127.0.0.1:1080"]


def test_a_client_without_a_proxy() -> None:
    with pytest.raises(ConfigurationError, match="no proxy to go through"):
        load_config(parse(["client"]), {})


def test_a_server_may_go_through_a_proxy() -> None:
    _, config, _ = load_config(parse(["server", "--via", "socks6://next.example"]), {})
    assert list(map(str, config.upstreams)) == ["socks6://next.example:1080"]


def test_a_server_goes_out_directly() -> None:
    values, config, _ = load_config(parse(["server"]), {})
    assert config.upstreams == ()
    assert values == {}


def test_fast_open_to_the_proxy_is_the_upstream_clients() -> None:
    _, config, _ = load_config(parse(["client", "--via", "socks6://proxy.example", "--via-fast-open"]), {})
    assert config.via_fast_open
    assert isinstance(build_worker(config).outbound, UpstreamOutbound)


def test_files_are_warned_of(tmp_path: object) -> None:
    with open(f"{tmp_path}/users", "w") as file:
        file.write("# nobody\n")
    _, _, warnings = load_config(parse(["server", "--users", f"{tmp_path}/users"]), {})
    assert any("holds no users" in warning for warning in warnings)


def test_the_default_listener_of_a_client_needs_no_restart() -> None:
    arguments = parse(["client", "--via", "socks6://proxy.example"])
    values, _, _ = load_config(arguments, {})
    assert load_values(arguments, {}).values == values


class Operated(Server):
    """Keeps what it is asked for."""

    def __init__(self, config: ServerConfig, worker: ServerWorker) -> None:
        super().__init__(config.listen, worker, open_to_all=config.open_to_all)
        self.asked: list[str] = []

    @override
    def stop(self) -> None:
        self.asked.append("stop")

    @override
    def abort(self) -> None:
        self.asked.append("abort")


class Scene:
    """A server that was made from some values, and whose sources now have others."""

    def __init__(self, before: Values, after: Values | Exception, *warnings: str) -> None:
        self._after = after
        self._warnings = warnings
        config = build(ServerConfig, before)
        self.worker = build_worker(config)
        self.server = Operated(config, self.worker)
        self.operator = Operator(self.server, self.worker, before, self._read)

    def reload(self) -> None:
        asyncio.run(self.operator.reload_now())

    def _read(self) -> LoadedConfig:
        if isinstance(self._after, Exception):
            raise self._after
        return LoadedConfig(self._after, self._warnings)


def test_the_first_signal_drains_and_the_others_end() -> None:
    scene = Scene({}, {})
    for _ in range(3):
        scene.operator.stop()
    assert scene.server.asked == ["stop", "abort", "abort"]


def test_new_users_and_rules_are_met(capsys: pytest.CaptureFixture[str]) -> None:
    rules = (Rule.parse("deny", ports=["25"]),)
    scene = Scene({}, {"users.plain": USERS, "policy.rules": rules, "policy.allow-private": False})
    scene.reload()
    assert scene.worker.authenticator.required
    assert scene.worker.policy.rules == rules
    assert not scene.worker.policy.allow_private
    assert capsys.readouterr().err == "socks6: reloaded\n"


def test_new_bounds_of_stack_options_are_met() -> None:
    bounds = (StackRule.parse(forbid=["ttl"]),)
    scene = Scene({}, {"stack": bounds})
    scene.reload()
    assert scene.worker.policy.stack == bounds


def test_a_file_that_is_wrong_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene({"users.plain": USERS}, ConfigurationError("one\ntwo"))
    before = scene.worker.authenticator
    scene.reload()
    assert scene.worker.authenticator is before
    assert capsys.readouterr().err == "socks6: not reloaded: one\nsocks6: not reloaded: two\n"


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), RuntimeError("can't start new thread")])
def test_what_the_system_refuses_changes_nothing(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = Scene({"users.plain": USERS}, error)
    before = scene.worker.authenticator
    scene.reload()
    assert scene.worker.authenticator is before
    assert str(error) in capsys.readouterr().err


def test_the_last_user_is_not_lost_where_others_come_in(capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene({"listen": (PUBLIC,), "users.plain": USERS}, {"listen": (LOCAL,)})
    scene.reload()
    assert scene.worker.authenticator.required
    assert "asks for no password" in capsys.readouterr().err


def test_what_listens_decides_on_private_destinations() -> None:
    scene = Scene({"listen": (PUBLIC,), "users.plain": USERS}, {"listen": (LOCAL,), "users.plain": USERS})
    scene.reload()
    assert not scene.worker.policy.allow_private


def test_what_needs_a_restart_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    before = {"listen": (LOCAL,), "limits.connections": 5, "verbose": 1}
    after = {
        "listen": (PUBLIC,),
        "limits.connections": 6,
        "log-destinations": True,
        "users.plain": USERS,
        "verbose": 1,
    }
    scene = Scene(before, after)
    scene.reload()
    assert scene.worker.authenticator.required
    assert capsys.readouterr().err == (
        "socks6: reloaded\nsocks6: changed, but needs a restart: listen, limits.connections, log-destinations\n"
    )


@pytest.mark.parametrize("after", [{"users.plain": {}}, {"users.plain": None}])
def test_a_reload_does_not_lose_all_users(after: Values, capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene({"users.plain": USERS}, after)
    before = scene.worker.authenticator
    scene.reload()
    assert scene.worker.authenticator is before
    assert capsys.readouterr().err.startswith("socks6: not reloaded: no users are left of 1, so that")


def test_warnings_are_told_with_a_reload(capsys: pytest.CaptureFixture[str]) -> None:
    many = plain_entries({f"user{number}": "123456" for number in range(9)})
    few = {name: many[name] for name in list(many)[:4]}
    scene = Scene({"users.plain": many}, {"users.plain": few}, "users: others than its owner can change it")
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
        def _read(self) -> LoadedConfig:
            assert threading.current_thread() is not threading.main_thread()
            self.reads += 1
            if self.reads == 1:
                self.loop.call_soon_threadsafe(self.operator.reload)
            else:
                self.loop.call_soon_threadsafe(done.set)
            return super()._read()

    async def main() -> Slow:
        scene = Slow({"users.plain": USERS}, {"users.plain": USERS})
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
