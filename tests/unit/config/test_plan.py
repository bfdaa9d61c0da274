"""From choices to a server."""

import socket
from typing import Final

import pytest

from socks6.client.outbound import Socks6Outbound
from socks6.config.choices import Choices
from socks6.config.plan import CLIENT_LISTEN, Plan
from socks6.errors import ConfigurationError
from socks6.message.dialect import DRAFT_12, GO_212
from socks6.net.direct import DirectOutbound
from socks6.net.url import ProxyUrl
from socks6.policy.rules import Rule
from socks6.policy.stack import StackRule
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.authentication.table import plain_entries
from socks6.proxy.authentication.users_file import UsersFile
from socks6.proxy.sessions import SessionSettings
from socks6.proxy.settings import Settings
from tests.kit.loops import Run

PUBLIC: Final = ProxyUrl.parse_listener("socks6://:1080")
LOCAL: Final = ProxyUrl.parse_listener("socks6://127.0.0.1:0")
UPSTREAM: Final = ProxyUrl.parse("socks6://proxy.example")


def test_without_choices_there_is_one_listener_on_loopback() -> None:
    plan = Plan.of(Choices())
    assert [str(url) for url in plan.listen] == ["socks6://127.0.0.1:1080"]
    assert plan.settings == Settings()


def test_the_client_listens_to_everything_on_loopback() -> None:
    plan = Plan.of(Choices(via=UPSTREAM), default_listen=CLIENT_LISTEN)
    assert [str(url) for url in plan.listen] == ["mixed://127.0.0.1:1080"]


def test_private_destinations_are_open_to_this_machine() -> None:
    assert Plan.of(Choices(listen=(LOCAL,))).policy.allow_private


def test_private_destinations_are_shut_where_others_come_in() -> None:
    assert not Plan.of(Choices(listen=(LOCAL, PUBLIC))).policy.allow_private


def test_private_destinations_can_be_shut_to_this_machine() -> None:
    assert not Plan.of(Choices(listen=(LOCAL,), allow_private=False)).policy.allow_private


def test_rules_are_the_policys() -> None:
    rules = (Rule.parse("deny", ports=["25"]),)
    assert Plan.of(Choices(rules=rules)).policy.rules == rules


def test_bounds_of_stack_options_are_the_policys() -> None:
    bounds = (StackRule.parse(forbid=["ttl"]),)
    assert Plan.of(Choices(stack=bounds)).policy.stack == bounds


def test_the_race_is_as_chosen() -> None:
    plan = Plan.of(Choices(racing=False, first_family="ipv6", attempt_delay=0.5))
    assert (plan.racing, plan.first_family, plan.attempt_delay) == (False, socket.AF_INET6, 0.5)


def test_the_first_family_may_be_the_systems_choice() -> None:
    assert Plan.of(Choices(first_family="auto")).first_family is None


def test_the_layers_below_the_clients_are_as_chosen() -> None:
    settings = Plan.of(Choices(copy_tos=True, fast_open=7)).settings
    assert (settings.copy_tos, settings.fast_open) == (True, 7)


def test_without_a_proxy_to_go_through_there_is_no_client_of_one() -> None:
    assert Plan.of(Choices()).upstream() is None


def test_a_way_out_directly() -> None:
    assert isinstance(Plan.of(Choices()).outbound(), DirectOutbound)


def test_a_way_out_through_another_proxy() -> None:
    assert isinstance(Plan.of(Choices(via=UPSTREAM)).outbound(), Socks6Outbound)


def test_direct_goes_before_a_proxy_named_elsewhere() -> None:
    choices = Choices(direct=True).over(Choices(via=UPSTREAM))
    assert Plan.of(choices).via is None


def test_a_proxy_goes_before_direct_named_elsewhere() -> None:
    choices = Choices(via=UPSTREAM).over(Choices(direct=True))
    assert Plan.of(choices).via == UPSTREAM


def test_a_server_is_not_its_own_way_out() -> None:
    choices = Choices(listen=(ProxyUrl.parse_listener("mixed://localhost:1080"),))
    with pytest.raises(ConfigurationError, match="own way out"):
        Plan.of(choices.over(Choices(via=ProxyUrl.parse("socks6://alice:secret@localhost"))))


def test_a_unix_socket_is_not_its_own_way_out() -> None:
    listen = (ProxyUrl.parse_listener("socks6+unix:///run/socks6"),)
    with pytest.raises(ConfigurationError, match="own way out"):
        Plan.of(Choices(listen=listen, via=ProxyUrl.parse("socks6+unix:///run/socks6")))


def test_everything_chosen_is_in_the_settings() -> None:
    choices = Choices(
        connections=1,
        connections_per_source=2,
        connections_per_user=3,
        handshake_timeout=3,
        idle_timeout=0,
        fin_timeout=5,
        drain_timeout=0,
        dialect_212=True,
        quiet_failures=True,
        ignore_fragmented=True,
        tfo_without_token="refuse",
        sessions=False,
        sessions_total=3,
        sessions_per_user=4,
        sessions_per_source=5,
        session_timeout=6,
        session_window=7,
        sessions_anonymous=True,
        sessions_close=False,
    )
    settings = Plan.of(choices).settings
    assert (settings.connections, settings.connections_per_source) == (1, 2)
    assert settings.connections_per_user == 3
    assert (settings.handshake_timeout, settings.drain_timeout) == (3, 0)
    assert (settings.relay.idle_timeout, settings.relay.fin_timeout) == (0, 5)
    assert settings.dialects == (DRAFT_12, GO_212)
    assert settings.quiet
    assert settings.ignore_fragmented
    assert not settings.tfo_without_token
    assert Plan.of(Choices(tfo_without_token="serve")).settings.tfo_without_token
    assert settings.sessions == SessionSettings(
        enabled=False,
        total=3,
        per_user=4,
        per_source=5,
        idle_timeout=6,
        window=7,
        anonymous=True,
        close_connections=False,
    )


def test_users_of_both_kinds_may_come_in(run: Run) -> None:
    choices = Choices(
        users=plain_entries({"alice": "new"}),
        users_file=UsersFile(entries=plain_entries({"alice": "old", "bob": "b"})),
    )

    async def knock() -> None:
        authenticator = Plan.of(choices).authenticator
        for name, password, right in [("alice", "new", True), ("alice", "old", False), ("bob", "b", True)]:
            credentials = UsernamePasswordCredentials(username=name.encode(), password=password.encode())
            assert (await authenticator.verify(credentials) is not None) is right

    run(knock())


def test_no_users_means_no_authentication() -> None:
    assert not Plan.of(Choices()).authenticator.required


def test_an_empty_users_file_lets_nobody_in() -> None:
    assert Plan.of(Choices(users_file=UsersFile(entries={}))).authenticator.required


def test_a_listener_that_others_reach_needs_users() -> None:
    plan = Plan.of(Choices(listen=(LOCAL, PUBLIC)))
    ((key, why),) = plan.faults()
    assert key == ("listen", 1)
    assert "asks for no password" in why


def test_a_listener_that_others_reach_may_be_open() -> None:
    assert Plan.of(Choices(listen=(PUBLIC,), open_to_all=True)).faults() == []


def test_the_worker_is_what_the_plan_says() -> None:
    plan = Plan.of(Choices(listen=(LOCAL,), connections=7))
    worker = plan.worker()
    assert worker.policy == plan.policy
    assert worker.settings is plan.settings
    assert worker.authenticator is plan.authenticator
