"""Choices from flags, environment and file."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest

from socks6.cli.gather import Gathered, gather
from socks6.cli.parser import parse
from socks6.cli.serving_flags import DOUBTS, FAMILIES, LOOPS, TLS_VERSIONS
from socks6.config import choices
from socks6.config.choices import Choices
from socks6.config.plan import CLIENT_LISTEN, SERVER_LISTEN, Plan
from socks6.errors import ConfigurationError
from socks6.net.encryption.contexts import MINIMUM_VERSIONS
from socks6.net.url import ProxyUrl
from socks6.proxy.authentication.hashes import ScryptHash

EVERYTHING = Choices(
    listen=(
        ProxyUrl(protocol="socks6", host="127.0.0.1", port=1080),
        ProxyUrl(protocol="mixed", transport="unix", path="/run/mixed.sock"),
    ),
    via=ProxyUrl(protocol="socks6", host="proxy.example", port=1080),
    direct=False,
    via_fast_open=True,
    via_session=False,
    open_to_all=True,
    allow_private=True,
    connections=5,
    connections_per_source=0,
    connections_per_user=6,
    sessions=False,
    sessions_total=9,
    session_timeout=8,
    handshake_timeout=1,
    lookup_timeout=2,
    connect_timeout=3.5,
    idle_timeout=0,
    fin_timeout=5,
    drain_timeout=6,
    dialect_212=True,
    quiet_failures=True,
    ignore_fragmented=True,
    optimistic=True,
    copy_tos=True,
    fast_open=7,
    tfo_without_token="refuse",
    racing=False,
    first_family="ipv6",
    attempt_delay=0.5,
    tls_certificate="/etc/proxy.pem",
    tls_key="/etc/proxy.key",
    tls_client_ca="/etc/ca.pem",
    tls_min_version="1.2",
    advertise=("198.51.100.1", "proxy.example"),
    bind_ports=range(20000, 21000),
    udp_enabled=False,
    verbosity=2,
    log_destinations=True,
    loop="asyncio",
)
EVERY_FLAG = """
--listen socks6://127.0.0.1:1080 --listen mixed+unix:///run/mixed.sock --via socks6://proxy.example --via-fast-open
--no-via-session --open --allow-private --max-connections 5 --max-connections-per-source 0 --max-connections-per-user 6 --handshake-timeout 1
--lookup-timeout 2 --connect-timeout 3.5 --idle-timeout 0 --fin-timeout 5 --drain 6 --no-sessions --max-sessions 9
--session-timeout 8 --dialect212 --quiet-failures --ignore-fragmented --optimistic --no-udp --copy-tos --fast-open 7
--tfo-without-token refuse --no-happy-eyeballs --first-family ipv6 --attempt-delay 0.5 --tls-cert /etc/proxy.pem --tls-key /etc/proxy.key
--advertise 198.51.100.1 --advertise PROXY.example --bind-ports 20000-20999 --tls-client-ca /etc/ca.pem --tls-min-version 1.2 --log-destinations --loop asyncio -vv
"""
UPSTREAM = "socks6://alice:s3cret@proxy.example"


def gathered(*words: str, environment: Mapping[str, str] | None = None) -> Gathered:
    return gather(parse(["server", *words]), environment or {})


def chosen(*words: str, environment: Mapping[str, str] | None = None) -> Choices:
    return gathered(*words, environment=environment).choices


def test_nothing_said() -> None:
    assert chosen() == Choices()


def test_every_flag(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"bob:{ScryptHash.of(b'x')}\n")
    flags = [*EVERY_FLAG.split(), "--user", "alice:secret", "--users", str(tmp_path / "users")]
    choices = chosen(*flags)
    users = choices.users
    users_file = choices.users_file
    assert users is not None
    assert users["alice"].matches(b"secret")
    assert users_file is not None
    assert list(users_file.entries) == ["bob"]
    assert dataclasses.replace(choices, users=None, users_file=None) == EVERYTHING


def test_a_client_can_be_given_its_proxy_alone() -> None:
    words = ["client", "socks6+tls://proxy.example"]
    assert gather(parse(words), {}).choices.via == ProxyUrl.parse("socks6+tls://proxy.example")
    for more in (["--via", "socks6://other"], ["--via-file", "x"], ["--direct"]):
        with pytest.raises(ConfigurationError, match="only one of them"):
            gather(parse([*words, *more]), {})


@pytest.mark.parametrize(("host", "reason"), [("0.0.0.0", "leads nowhere"), ("a b", "is no host")])
def test_a_host_that_leads_nowhere_is_not_advertised(host: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--advertise.*{reason}"):
        chosen("--advertise", host)


def test_every_choice_has_a_flag_but_rules_and_bounds() -> None:
    named = vars(parse(["server"]))
    elsewhere = {"rules", "stack", "users_file"}  # a file's own; --users
    elsewhere |= {
        "sessions_per_user",
        "sessions_per_source",
        "session_window",
        "sessions_anonymous",
        "sessions_close",
        "bind",
        "udp",
    }
    assert {field.name for field in dataclasses.fields(Choices)} - set(named) == elsewhere


@pytest.mark.parametrize(
    "flag",
    [
        *("open", "allow-private", "quiet-failures", "ignore-fragmented", "dialect212", "log-destinations"),
        *("copy-tos", "via-fast-open", "via-session", "optimistic", "happy-eyeballs", "sessions"),
    ],
)
def test_what_a_file_turns_on_a_flag_turns_off(flag: str) -> None:
    names = {"open": "open_to_all", "dialect212": "dialect_212", "happy-eyeballs": "racing"}
    assert getattr(chosen(f"--no-{flag}"), names.get(flag, flag.replace("-", "_"))) is False


def test_the_loops_and_families_of_flags_and_files_are_the_same() -> None:
    assert (LOOPS, FAMILIES, DOUBTS) == (choices.LOOPS, choices.FAMILIES, choices.DOUBTS)
    assert tuple(MINIMUM_VERSIONS) == TLS_VERSIONS


@pytest.mark.parametrize(("command", "listen"), [("server", SERVER_LISTEN), ("client", CLIENT_LISTEN)])
def test_the_help_names_the_default_listener(
    command: str, listen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse([command, "--help"])
    assert f"(default: {listen})" in " ".join(capsys.readouterr().out.split())


def test_the_help_names_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["server", "--help"])
    text = " ".join(capsys.readouterr().out.split("\n\nexamples")[0].split())
    plan = Plan.of(Choices())
    settings, relay = plan.settings, plan.settings.relay
    for flag, default in (
        ("--max-connections NUMBER", settings.connections),
        ("--max-connections-per-source NUMBER", settings.connections_per_source),
        ("--max-connections-per-user NUMBER", settings.connections_per_user),
        ("--max-sessions NUMBER", settings.sessions.total),
        ("--session-timeout SECONDS", settings.sessions.idle_timeout),
        ("--handshake-timeout SECONDS", settings.handshake_timeout),
        ("--lookup-timeout SECONDS", plan.lookup_timeout),
        ("--idle-timeout SECONDS", relay.idle_timeout),
        ("--fin-timeout SECONDS", relay.fin_timeout),
        ("--drain SECONDS", settings.drain_timeout),
        ("--fast-open NUMBER", settings.fast_open),
        ("--attempt-delay SECONDS", plan.attempt_delay),
    ):
        help_text = text.partition(f" {flag} ")[2].partition(" --")[0]
        assert f"(default: {default:g})" in help_text, flag
    through = Plan.of(Choices(via=ProxyUrl.parse(UPSTREAM))).connect_timeout
    assert f"(default: {plan.connect_timeout:g}; {through:g} through another proxy)" in text


def test_the_environment_names_proxy_and_users() -> None:
    choices = chosen(environment={"SOCKS6_PROXY": UPSTREAM, "SOCKS6_USERS": "bob:b\ncarol:c:d"})
    assert choices.via == ProxyUrl.parse(UPSTREAM)
    assert choices.users is not None
    assert choices.users["carol"].matches(b"c:d")


def test_flags_go_before_the_environment() -> None:
    environment = {"SOCKS6_PROXY": "broken", "SOCKS6_USERS": "broken"}
    choices = chosen("--via", UPSTREAM, "--user", "alice:a", environment=environment)
    assert choices.via == ProxyUrl.parse(UPSTREAM)
    assert list(choices.users or ()) == ["alice"]


def test_direct_goes_before_the_environment() -> None:
    choices = chosen("--direct", environment={"SOCKS6_PROXY": UPSTREAM})
    assert (choices.via, choices.direct) == (None, True)


def test_the_environment_goes_before_a_file(tmp_path: Path) -> None:
    path = tmp_path / "socks6.toml"
    path.write_text('via = "socks6://other.example"\n[timeouts]\nidle = 5')
    choices = chosen("--config", str(path), environment={"SOCKS6_PROXY": UPSTREAM})
    assert choices.via == ProxyUrl.parse(UPSTREAM)
    assert choices.idle_timeout == 5


def test_warnings_of_both_kinds_are_told(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("# nobody\n")
    path = tmp_path / "socks6.toml"
    path.write_text('[users.plain]\nalice = "secret"')
    path.chmod(0o644)
    warnings = gathered("--users", str(tmp_path / "users"), "--config", str(path)).warnings
    assert any("holds no users" in warning for warning in warnings)
    assert any("can read the passwords" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("words", "environment", "complaint"),
    [
        (["--via", UPSTREAM, "--direct"], {}, "only one of them"),
        (["--via", UPSTREAM, "--via-file", "x"], {}, "only one of them"),
        (["--user", "alice"], {}, "^--user: not of the form NAME:PASSWORD"),
        (["--user", "alice:"], {}, "^--user: a password has"),
        (["--users", "/nowhere"], {}, "^--users: /nowhere: No such file"),
        (["--config", "/nowhere"], {}, "^/nowhere: No such file"),
        ([], {"SOCKS6_USERS": "alice"}, "^SOCKS6_USERS: not of the form"),
        ([], {"SOCKS6_PROXY": "http://x"}, "^SOCKS6_PROXY: "),
    ],
)
def test_what_is_wrong_is_told_by_where_it_was(
    words: list[str], environment: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        chosen(*words, environment=environment)
