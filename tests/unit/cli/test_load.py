"""Flags, and the configuration that they, the environment and a file make."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from socks6.cli.load import LoadedConfig, load, merged_over
from socks6.cli.parser import parse
from socks6.config.reading import ConfigValues
from socks6.config.server import CLIENT_LISTEN, SERVER_LISTEN, ServerConfig
from socks6.errors import ConfigurationError
from socks6.net.url import ProxyUrl
from socks6.proxy.authentication.hashes import hash_password
from socks6.proxy.authentication.users_file import UsersFile
from socks6.setting import DeclaredSetting, build, settings_of
from tests.kit.settings import SPECIFIED

EVERYTHING: Final[dict[str, object]] = {
    **SPECIFIED,
    "tls.certificate": "/etc/proxy.pem",
    "tls.key": "/etc/proxy.key",
    "bind.advertise": ("198.51.100.1", "proxy.example"),
    "udp.associations": 4,
}
MANY_FLAGS = """
--listen socks6://127.0.0.1:1080 --listen mixed+unix:///run/mixed.sock --via socks6://proxy.example --via socks6://other.example --via-order round-robin --via-fast-open
--no-via-session --open --allow-private --max-connections 5 --max-connections-per-source 0 --max-connections-per-user 6 --handshake-timeout 1
--lookup-timeout 2 --connect-timeout 3.5 --idle-timeout 0 --fin-timeout 5 --drain 6 --no-sessions --max-sessions 9
--session-timeout 8 --dialect212 --quiet-failures --ignore-fragmented --optimistic --no-udp --copy-tos --fast-open 7
--tfo-without-token refuse --tcp-congestion bbr --no-happy-eyeballs --first-family ipv6 --attempt-delay 0.5 --tls-cert /etc/proxy.pem --tls-key /etc/proxy.key
--advertise 198.51.100.1 --advertise PROXY.example --bind-ports 20000-20999 --tls-client-ca /etc/ca.pem --tls-min-version 1.2 --quic-backend aioquic --udp-filtering address-dependent --udp-associations 4 --log-format json --log-file /var/log/socks6.log --log-destinations --loop asyncio -vv
"""
UPSTREAM: Final = "socks6://alice:s3cret@proxy.example"


def load_all(*words: str, environment: Mapping[str, str] | None = None) -> LoadedConfig:
    return load(parse(["server", *words]), environment or {})


def loaded(*words: str, environment: Mapping[str, str] | None = None) -> ConfigValues:
    return load_all(*words, environment=environment).values


def test_nothing_specified() -> None:
    assert loaded() == {}


def test_flags_of_every_kind() -> None:
    assert loaded(*MANY_FLAGS.split()) == EVERYTHING


def test_flags_that_name_users(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"bob:{hash_password('x')}\n")
    values = loaded("--user", "alice:secret", "--user", "carol:c:d", "--users", str(tmp_path / "users"))
    plain, users_file = values["users.plain"], values["users.file"]
    assert isinstance(plain, dict)
    assert plain["alice"].matches(b"secret")
    assert plain["carol"].matches(b"c:d")
    assert isinstance(users_file, UsersFile)
    assert list(users_file.entries) == ["bob"]


@pytest.mark.parametrize(
    "declared", [one for one in settings_of(ServerConfig) if one.kind is bool], ids=lambda one: one.key
)
def test_what_a_file_turns_on_a_flag_turns_off(declared: DeclaredSetting) -> None:
    value = loaded(f"--no-{declared.flag[2:]}")[declared.key]
    assert value == (declared.facts.values or {False: False})[False]


def test_more_v_than_there_are_levels() -> None:
    assert loaded("-vvvv") == {"verbose": 3}


def test_a_client_can_be_given_its_proxy_alone() -> None:
    words = ["client", "socks6+tls://proxy.example"]
    assert load(parse(words), {}).values["via"] == (ProxyUrl.parse("socks6+tls://proxy.example"),)
    for more in (["--via", "socks6://other"], ["--via-file", "x"], ["--direct"]):
        with pytest.raises(ConfigurationError, match="only one of them"):
            load(parse([*words, *more]), {})


@pytest.mark.parametrize(
    ("values", "lower", "merged"),
    [
        ({"a": 1}, {"a": 2, "b": 3}, {"a": 1, "b": 3}),
        ({"a": False, "b": 0}, {"a": True, "b": 9}, {"a": False, "b": 0}),
        ({"direct": True}, {"via": "x"}, {"direct": True}),
        ({"via": "x"}, {"direct": True, "via-file": "y"}, {"via": "x"}),
        ({"direct": False}, {"via": "x", "direct": True}, {"via": "x", "direct": False}),
    ],
)
def test_what_is_specified_goes_before_what_comes_later(
    values: ConfigValues, lower: ConfigValues, merged: ConfigValues
) -> None:
    assert merged_over(values, lower) == merged


@pytest.mark.parametrize(("host", "reason"), [("0.0.0.0", "leads nowhere"), ("a b", "is no host")])
def test_a_host_that_leads_nowhere_is_not_advertised(host: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--advertise.*{reason}"):
        loaded("--advertise", host)


@pytest.mark.parametrize(("command", "listen"), [("server", SERVER_LISTEN), ("client", CLIENT_LISTEN)])
def test_the_help_names_the_default_listener(
    command: str, listen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse([command, "--help"])
    assert f"(default: {listen})" in " ".join(capsys.readouterr().out.split())


def test_the_environment_names_proxy_and_users() -> None:
    values = loaded(environment={"SOCKS6_PROXY": UPSTREAM, "SOCKS6_USERS": "bob:b\ncarol:c:d"})
    assert values.get("via") == (ProxyUrl.parse(UPSTREAM),)
    users = values["users.plain"]
    assert isinstance(users, dict)
    assert users["carol"].matches(b"c:d")


def test_flags_go_before_the_environment() -> None:
    environment = {"SOCKS6_PROXY": "broken", "SOCKS6_USERS": "broken"}
    values = loaded("--via", UPSTREAM, "--user", "alice:a", environment=environment)
    assert values.get("via") == (ProxyUrl.parse(UPSTREAM),)
    assert list(build(ServerConfig, values).users or ()) == ["alice"]


def test_direct_goes_before_the_environment() -> None:
    values = loaded("--direct", environment={"SOCKS6_PROXY": UPSTREAM})
    assert values == {"direct": True}


def test_the_environment_goes_before_a_file(tmp_path: Path) -> None:
    path = tmp_path / "socks6.toml"
    path.write_text('via = "socks6://other.example"\n[timeouts]\nidle = 5')
    values = loaded("--config", str(path), environment={"SOCKS6_PROXY": UPSTREAM})
    assert values.get("via") == (ProxyUrl.parse(UPSTREAM),)
    assert values["timeouts.idle"] == 5


def test_warnings_of_both_kinds_are_told(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("# nobody\n")
    path = tmp_path / "socks6.toml"
    path.write_text('[users.plain]\nalice = "secret"')
    path.chmod(0o644)
    warnings = load_all("--users", str(tmp_path / "users"), "--config", str(path)).warnings
    assert any("holds no users" in warning for warning in warnings)
    assert any("can read the passwords" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("words", "environment", "complaint"),
    [
        (["--via", UPSTREAM, "--direct"], {}, "only one of them"),
        (["--via-file", "a", "--via-file", "b"], {}, "^--via-file 2 times: one file may hold several URLs"),
        (["--via", UPSTREAM, "--via-file", "x"], {}, "only one of them"),
        (["--user", "alice"], {}, "^--user: not of the form NAME:PASSWORD"),
        (["--user", "alice:"], {}, "^--user: a password has"),
        (["--users", "/nowhere"], {}, "^--users: /nowhere: No such file"),
        (["--config", "/nowhere"], {}, "^/nowhere: No such file"),
        ([], {"SOCKS6_USERS": "alice"}, "^SOCKS6_USERS: not of the form"),
        ([], {"SOCKS6_PROXY": "mixed://x"}, "^SOCKS6_PROXY: "),
    ],
)
def test_what_is_wrong_is_told_by_where_it_was(
    words: list[str], environment: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        loaded(*words, environment=environment)
