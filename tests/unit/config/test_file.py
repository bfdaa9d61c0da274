"""Configuration files, and everything that can be wrong with them."""

import sys
from pathlib import Path

import pytest

from socks6.config.choices import Choices
from socks6.config.faults import InvalidConfiguration
from socks6.config.file import ConfigurationFile, read_configuration
from socks6.config.plan import Plan
from socks6.errors import ConfigurationError
from socks6.net.encryption.contexts import TlsParameters
from socks6.net.transports.registry import TRANSPORTS
from socks6.net.url import ProxyUrl, schemes
from socks6.policy.rules import Rule
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
    sessions_per_user=1,
    sessions_per_source=2,
    session_window=16,
    sessions_anonymous=True,
    sessions_close=False,
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
    verbosity=2,
    log_destinations=True,
    loop="asyncio",
)
EVERY_PLAIN_KEY = """
listen = ["socks6://127.0.0.1:1080", "mixed+unix:///run/mixed.sock"]
via = "socks6://proxy.example"
direct = false
via-fast-open = true
via-session = false
optimistic = true
copy-tos = true
fast-open = 7
tfo-without-token = "refuse"
open = true
dialect-212 = true
quiet-failures = true
ignore-fragmented = true
verbose = 2
log-destinations = true
loop = "asyncio"
[policy]
allow-private = true
[happy-eyeballs]
race = false
first-family = "ipv6"
delay = 0.5
[limits]
connections = 5
connections-per-source = 0
connections-per-user = 6
[sessions]
enabled = false
total = 9
per-user = 1
per-source = 2
idle = 8
window = 16
anonymous = true
close-connections = false
[timeouts]
handshake = 1
lookup = 2
connect = 3.5
idle = 0
fin = 5
drain = 6
"""
SECRET = "correct horse"
SPELT_OUT = {
    "via_fast_open", "via_session", "optimistic", "copy_tos", "fast_open", "tfo_without_token", "racing", "first_family", "attempt_delay",
    "listen", "direct", "open_to_all", "quiet_failures", "ignore_fragmented", "dialect_212", "verbosity",
    "log_destinations", "loop", "allow_private", "connections", "connections_per_source", "connections_per_user", "handshake_timeout",
    "lookup_timeout", "connect_timeout", "idle_timeout", "fin_timeout", "drain_timeout",
}  # fmt: skip


def file_of(folder: Path, text: str) -> ConfigurationFile:
    path = folder / "socks6.toml"
    path.write_text(text)
    path.chmod(0o600)
    return read_configuration(path)


def choices_of(folder: Path, text: str) -> Choices:
    return file_of(folder, text).choices


def faults_of(folder: Path, text: str) -> list[str]:
    """Return what is wrong, without the folder's name."""
    with pytest.raises(InvalidConfiguration) as caught:
        file_of(folder, text)
    return [line.removeprefix(f"{folder}/") for line in caught.value.lines]


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert choices_of(tmp_path, "") == Choices()


def test_every_plain_choice(tmp_path: Path) -> None:
    assert choices_of(tmp_path, EVERY_PLAIN_KEY) == EVERYTHING


def test_one_listener_needs_no_brackets(tmp_path: Path) -> None:
    choices = choices_of(tmp_path, 'listen = "http://[::1]:0"')
    assert choices.listen == (ProxyUrl(protocol="http", host="::1", port=0),)


def test_users_in_the_clear(tmp_path: Path) -> None:
    users = choices_of(tmp_path, f'[users.plain]\nalice = "{SECRET}"').users
    assert users is not None
    assert users["alice"].matches(SECRET.encode())


def test_a_users_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"bob:{ScryptHash.of(SECRET.encode())}\n")
    users = choices_of(tmp_path, '[users]\nfile = "users"').users_file
    assert users is not None
    assert list(users.entries) == ["bob"]


def test_an_upstream_from_a_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "upstream").write_text("socks6://alice:secret@proxy.example\n")
    via = choices_of(tmp_path, 'via-file = "upstream"').via
    assert via is not None
    assert via.password == "secret"


def test_rules_with_lists_and_single_values(tmp_path: Path) -> None:
    text = """
    [[policy.rules]]
    action = "deny"
    ports = [25, "6881-6999"]
    users = "bob"
    [[policy.rules]]
    action = "allow"
    hosts = "10.1.0.0/16"
    commands = ["connect"]
    """
    assert choices_of(tmp_path, text).rules == (
        Rule.parse("deny", ports=["25", "6881-6999"], users=["bob"]),
        Rule.parse("allow", hosts=["10.1.0.0/16"], commands=["connect"]),
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("\nlisten = 5", "socks6.toml:2: listen: expected text in quotes or a list, got a whole number"),
        ('listen = ["mixed://",\n 5]', "socks6.toml:2: listen[1]: expected text in quotes, got a whole number"),
        (
            'listen = [\n"mixed://",\n"socks7://",\n]',
            "socks6.toml:3: listen[1]: 'socks7://': has an unknown scheme; there are " + ", ".join(schemes(TRANSPORTS)),
        ),
        ("open = 1", "socks6.toml:1: open: expected true or false, got a whole number"),
        ("verbose = 4", "socks6.toml:1: verbose: expected a whole number <= 3"),
        ('loop = "trio"', "socks6.toml:1: loop: expected one of auto, asyncio, uvloop"),
        ('via = "http://proxy"', "socks6.toml:1: via: http://proxy:8080 speaks no SOCKS 6: write socks6://, socks6+tls:// or socks6+unix://"),
        ("[limits]\nconnection = 1", "socks6.toml:2: limits.connection: unknown key, did you mean connections?"),
        ("[sessions]\nwindow = 4096", "socks6.toml:2: sessions.window: expected a whole number <= 2048"),
        ("[sessions]\ntotal = 0", "socks6.toml:2: sessions.total: expected a whole number >= 1"),
        ("[limits]\nconnections = -1", "socks6.toml:2: limits.connections: expected a whole number >= 0"),
        ("[limits]\nconnections = 1.5", "socks6.toml:2: limits.connections: expected a whole number, got a number"),
        ("[limit]\nconnections = 1", "socks6.toml:1: limit: unknown key, did you mean limits?"),
        ("limits = []", "socks6.toml:1: limits: expected a table, got a list"),
        ("[timeouts]\nconnect = 0", "socks6.toml:2: timeouts.connect: expected a number > 0.0"),
        ("[timeouts]\nidle = inf", "socks6.toml:2: timeouts.idle: expected a finite number"),
        ("[timeouts]\nidle = nan", "socks6.toml:2: timeouts.idle: expected a finite number"),
        ("[timeouts]\nidle = 1e10", "socks6.toml:2: timeouts.idle: expected a number <= 1000000000.0"),
        ("[timeouts]\nidle = 1979-05-27", "socks6.toml:2: timeouts.idle: expected a number, got a date"),
        ("[users.plain]\nalice = 5", "socks6.toml:2: users.plain.alice: expected a password as text in quotes"),
        ('[users.plain]\n"a:b" = "x"', "socks6.toml:2: users.plain.\"a:b\": user name 'a:b': has a colon, a # at its start or spaces around"),
        ("fast-open = 65536", "socks6.toml:1: fast-open: expected a whole number <= 65535"),
        ("[happy-eyeballs]\ndelay = 0", "socks6.toml:2: happy-eyeballs.delay: expected a number > 0.0"),
        ('[happy-eyeballs]\nfirst-family = "ipx"', "socks6.toml:2: happy-eyeballs.first-family: expected one of auto, ipv4, ipv6"),
        ("[policy]\nrules = [\n5]", "socks6.toml:3: policy.rules[0]: expected a table, got a whole number"),
        ("[[policy.rules]]\nhosts = []", "socks6.toml:1: policy.rules[0]: has no action: write allow or deny"),
        ('[[policy.rules]]\naction = "drop"', "socks6.toml:2: policy.rules[0].action: 'drop' is no action: write allow or deny"),
        (
            '[[policy.rules]]\naction = "deny"\n[[policy.rules]]\naction = "deny"\nports = [\n1,\n"b"]',
            "socks6.toml:7: policy.rules[1].ports[1]: 'b' is no port, nor a range of ports such as 8000-8999",
        ),
        (
            '[[policy.rules]]\naction = "deny"\ncommands = "fly"',
            "socks6.toml:3: policy.rules[0].commands[0]: 'fly' is no command: write noop, connect, bind, udp, peer",
        ),
    ],
)  # fmt: skip
def test_a_fault_has_line_and_key(tmp_path: Path, text: str, fault: str) -> None:
    assert faults_of(tmp_path, text)[0] == fault


@pytest.mark.parametrize("text", ["a = 1\nb =", "a = 1\nb = 'c", "open = true\nopen = false"])
def test_what_is_no_toml_has_a_line(tmp_path: Path, text: str) -> None:
    (fault,) = faults_of(tmp_path, text)
    assert fault.startswith("socks6.toml:2: not TOML: ")


def test_every_fault_is_told_in_the_order_of_lines(tmp_path: Path) -> None:
    text = 'open = 1\n[timeouts]\nidle = "x"\nsit = 4\n[limits]\nconnections = true\n[users]\nfile = 1'
    keys = [fault.split(": ")[:2] for fault in faults_of(tmp_path, text)]
    assert keys == [
        ["socks6.toml:1", "open"],
        ["socks6.toml:3", "timeouts.idle"],
        ["socks6.toml:4", "timeouts.sit"],
        ["socks6.toml:6", "limits.connections"],
        ["socks6.toml:8", "users.file"],
    ]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match=r"nowhere\.toml: No such file or directory"):
        read_configuration(tmp_path / "nowhere.toml")


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "socks6.toml"
    path.write_bytes(b"open = true\n# \xff\n")
    with pytest.raises(InvalidConfiguration, match=r"socks6\.toml:2: not UTF-8"):
        read_configuration(path)


def test_a_users_file_that_is_not_there(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, '[users]\nfile = "users"')
    assert fault == f"socks6.toml:2: users.file: {tmp_path}/users: No such file or directory"


def test_a_fault_in_the_users_file_names_its_line_too(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"# the users\nalice:{SECRET}\n")
    (fault,) = faults_of(tmp_path, '[users]\nfile = "users"')
    assert fault.startswith(f"socks6.toml:2: users.file: {tmp_path}/users:2: ")
    assert SECRET not in fault


def test_two_ways_to_name_the_upstream(tmp_path: Path) -> None:
    (tmp_path / "upstream").write_text("socks6://proxy.example\n")
    text = 'via = "socks6://proxy.example"\nvia-file = "upstream"'
    assert faults_of(tmp_path, text) == ["socks6.toml:2: via-file: there is via already"]


def test_a_broken_url_keeps_its_password_to_itself(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, 'via = "socks6://alice:s3cret@host:port"')
    assert "s3cret" not in fault


def test_a_password_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "socks6.toml"
    path.write_text(f'[users.plain]\nalice = "{SECRET}"')
    path.chmod(0o644)
    assert read_configuration(path).warnings == (
        f"{path}: every user of this machine can read the passwords; try chmod o-r",
    )


def test_an_upstreams_password_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "socks6.toml"
    path.write_text('via = "socks6://alice:secret@proxy.example"')
    path.chmod(0o644)
    assert len(read_configuration(path).warnings) == 1


def test_a_file_without_passwords_may_be_read_by_all(tmp_path: Path) -> None:
    path = tmp_path / "socks6.toml"
    path.write_text("open = true")
    path.chmod(0o644)
    assert read_configuration(path).warnings == ()


def test_warnings_about_the_users_file_are_passed_on(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("# nobody\n")
    (tmp_path / "users").chmod(0o600)
    (warning,) = file_of(tmp_path, '[users]\nfile = "users"').warnings
    assert "holds no users" in warning


def test_without_msgspec_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("socks6.config.tables", "socks6.config.reading"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "msgspec", None)  # as if it were not installed
    with pytest.raises(ConfigurationError, match=r"pip install socks6\[server\]"):
        file_of(tmp_path, "")


def test_files_of_tls_are_found_beside_the_file(tmp_path: Path) -> None:
    text = '[tls]\ncertificate = "a.pem"\nkey = "/b.key"\nclient-ca = "ca.pem"\nmin-version = "1.2"\n'
    choices = choices_of(tmp_path, text)
    assert choices.tls_certificate == str(tmp_path / "a.pem")
    assert choices.tls_key == "/b.key"
    assert choices.tls_client_ca == str(tmp_path / "ca.pem")
    assert Plan.of(choices).settings.tls == TlsParameters(
        certificate=str(tmp_path / "a.pem"),
        key="/b.key",
        client_ca=str(tmp_path / "ca.pem"),
        min_version="1.2",
    )


def test_a_key_needs_its_certificate(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is a key of TLS, but not its certificate"):
        Plan.of(choices_of(tmp_path, '[tls]\nkey = "b.key"'))


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "socks6.toml").write_bytes(b"\xef\xbb\xbflisten = ['socks6://127.0.0.1:1080']\n")
    assert read_configuration(tmp_path / "socks6.toml").choices.listen is not None
    (tmp_path / "socks6.toml").write_bytes(b"\xef\xbb\xbf\nlisten = 1\n")
    with pytest.raises(InvalidConfiguration, match=r"socks6\.toml:2: listen"):
        read_configuration(tmp_path / "socks6.toml")
