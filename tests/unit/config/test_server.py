"""What can be set about a server."""

from pathlib import Path
from typing import Final

import pytest

from socks6.config.faults import Fault
from socks6.config.reading import read_document
from socks6.config.server import ServerConfig, by_table
from socks6.net.url import ProxyUrl
from socks6.policy.rules import Rule
from socks6.policy.stack import StackRule
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.authentication.chain import AuthenticatorChain
from socks6.proxy.authentication.command import CommandAuthenticator
from socks6.proxy.authentication.external import ExternalAuthenticator
from socks6.proxy.authentication.http_service import UrlAuthenticator
from socks6.proxy.authentication.pam import PamAuthenticator
from socks6.proxy.authentication.table import UserTable, plain_entries
from socks6.proxy.authentication.users_file import UsersFile
from socks6.setting import build, reloadable_keys, settings_of
from tests.kit.loops import Run

PUBLIC: Final = ProxyUrl.parse_listener("socks6://:1080")
LOCAL: Final = ProxyUrl.parse_listener("socks6://127.0.0.1:0")
UPSTREAM: Final = ProxyUrl.parse("socks6://proxy.example")


def test_without_anything_there_is_one_listener_on_loopback() -> None:
    assert [str(url) for url in ServerConfig().listen] == ["socks6://127.0.0.1:1080"]


def test_keys_and_flags_are_unique() -> None:
    settings = settings_of(ServerConfig)
    assert len({declared.key for declared in settings}) == len(settings)
    flags = [declared.flag for declared in settings if declared.flag]
    assert len(set(flags)) == len(flags)


def test_tables_have_an_order() -> None:
    tables = by_table(ServerConfig)
    assert list(tables)[:3] == ["", "users", "policy"]
    assert sum(map(len, tables.values())) == len(settings_of(ServerConfig))


def test_users_and_policy_are_what_a_reload_changes() -> None:
    keys = {key for key in reloadable_keys(ServerConfig) if not key.startswith("users.")}
    assert keys == {"policy.allow-private", "policy.rules", "stack"}
    assert {"users.file", "users.plain", "users.command", "users.url", "users.pam"} <= reloadable_keys(
        ServerConfig
    )


@pytest.mark.parametrize(
    ("listen", "allow_private", "allowed"),
    [((LOCAL,), None, True), ((LOCAL, PUBLIC), None, False), ((LOCAL,), False, False)],
)
def test_private_destinations_are_open_where_only_this_machine_comes_in(
    listen: tuple[ProxyUrl, ...], allow_private: bool | None, allowed: bool
) -> None:
    assert ServerConfig(listen=listen, allow_private=allow_private).policy.allow_private is allowed


def test_rules_and_bounds_are_the_policys() -> None:
    rules = (Rule.parse("deny", ports=["25"]),)
    bounds = (StackRule.parse(forbid=["ttl"]),)
    policy = ServerConfig(rules=rules, stack=bounds).policy
    assert (policy.rules, policy.stack) == (rules, bounds)


def test_tables_of_the_policy_make_rules() -> None:
    rule = {
        "action": "deny",
        "users": "bob",
        "hosts": ["a.example", "::1"],
        "ports": [25],
        "commands": "bind",
    }
    bounds = {"forbid": ["ttl"], "lowest-ttl": 5, "dscp": "ef"}
    faults: list[Fault] = []
    values = read_document({"policy": {"rules": [rule]}, "stack": [bounds]}, Path(), faults)
    assert not faults
    assert build(ServerConfig, values).policy.rules == (
        Rule.parse("deny", users=["bob"], hosts=["a.example", "::1"], ports=["25"], commands=["bind"]),
    )
    assert values["stack"] == (StackRule.parse(forbid=["ttl"], lowest_ttl=5, dscp=[46]),)


def test_direct_goes_before_a_proxy() -> None:
    assert ServerConfig(via=(UPSTREAM,)).upstreams == (UPSTREAM,)
    assert ServerConfig(via_file=(UPSTREAM,)).upstreams == (UPSTREAM,)
    assert ServerConfig(via=(UPSTREAM,), direct=True).upstreams == ()


def test_users_of_both_kinds_may_come_in(run: Run) -> None:
    config = ServerConfig(
        users=plain_entries({"alice": "new"}),
        users_file=UsersFile(entries=plain_entries({"alice": "old", "bob": "b"})),
    )

    async def knock() -> None:
        authenticator = config.authenticator()
        for name, password, right in [("alice", "new", True), ("alice", "old", False), ("bob", "b", True)]:
            credentials = UsernamePasswordCredentials(username=name.encode(), password=password.encode())
            assert (await authenticator.verify(credentials) is not None) is right

    run(knock())


def test_no_users_means_no_authentication_but_an_empty_users_file_lets_none_in() -> None:
    assert not ServerConfig().authenticator().required
    assert ServerConfig(users_file=UsersFile(entries={})).authenticator().required


def test_a_repr_shows_no_secret() -> None:
    via = ProxyUrl.parse("socks6://alice:s3cret@host")
    assert "s3cret" not in repr(ServerConfig(via=(via,), users=plain_entries({"bob": "s3cret"})))


def test_authenticators_are_asked_in_their_order(run: Run) -> None:
    async def build_all() -> None:
        users = plain_entries({"alice": "a"})
        config = ServerConfig(
            users=users,
            auth_command="sh -c x",
            auth_url="http://h",
            auth_pam="login",
            auth_timeout=2,
            auth_cache=3,
        )
        chain = config.authenticator()
        assert isinstance(chain, AuthenticatorChain)
        table, *outside = chain.members
        assert isinstance(table, UserTable)
        assert [type(one) for one in outside] == [CommandAuthenticator, UrlAuthenticator, PamAuthenticator]
        for one in outside:
            assert isinstance(one, ExternalAuthenticator)
            assert (one.settings.timeout, one.settings.cache) == (2, 3)
        assert isinstance(ServerConfig(auth_url="http://h").authenticator(), UrlAuthenticator)
        assert "secret" not in repr(ServerConfig(auth_url="http://u:secret@h", auth_command="x secret"))

    run(build_all())


@pytest.mark.parametrize(
    ("key", "text", "fault"),
    [
        ("command", "/nowhere/at-all", "no program"),
        ("url", "auth.example", "no URL"),
        ("url-ca", "missing.pem", "missing.pem"),
        ("pam", "no/service", "no name of a PAM service"),
        ("cache", 90_000, "<= 86400"),
    ],
)
def test_what_is_no_authenticator_is_found_before_the_start(key: str, text: object, fault: str) -> None:
    faults: list[Fault] = []
    read_document({"users": {key: text}}, Path(), faults)
    assert [one.key for one in faults] == [("users", key)]
    assert fault in faults[0].what
