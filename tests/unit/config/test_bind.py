"""How places are bound, as a file says it."""

from pathlib import Path

import pytest

from socks6.config.bind import parse_advertised
from socks6.config.choices import Choices
from socks6.config.faults import InvalidConfiguration
from socks6.config.file import read_configuration
from socks6.config.plan import Plan
from socks6.errors import ConfigurationError
from socks6.proxy.settings import BindSettings

WHOLE = """
[bind]
advertise = ["198.51.100.1", "2001:DB8:0::1", "Proxy.example"]
ports = "20000-20999"
accept-timeout = 5
listeners = 6
listeners-per-user = 0
backlog = 7
backlog-without-session = true
announce = true
"""
ADVERTISED = ("198.51.100.1", "2001:db8::1", "proxy.example")
PORTS = range(20000, 21000)
SETTINGS = BindSettings(
    accept_timeout=5,
    listeners=6,
    listeners_per_user=0,
    backlog=7,
    backlog_without_session=True,
    announce=True,
)


def choices_of(folder: Path, text: str) -> Choices:
    path = folder / "socks6.toml"
    path.write_text(text)
    return read_configuration(path).choices


def test_no_table_says_nothing(tmp_path: Path) -> None:
    assert choices_of(tmp_path, "").bind is None
    assert choices_of(tmp_path, "[bind]").advertise is None


def test_everything_there_is_to_say(tmp_path: Path) -> None:
    choices = choices_of(tmp_path, WHOLE)
    assert (choices.advertise, choices.bind_ports, choices.bind) == (ADVERTISED, PORTS, SETTINGS)
    assert Plan.of(choices).settings.bind == BindSettings(
        advertise=ADVERTISED, ports=PORTS, accept_timeout=5, listeners=6, listeners_per_user=0, backlog=7,
        backlog_without_session=True, announce=True,
    )  # fmt: skip


def test_a_flag_advertises_something_else_and_leaves_the_rest(tmp_path: Path) -> None:
    choices = Choices(advertise=("192.0.2.1",)).over(choices_of(tmp_path, WHOLE))
    bind = Plan.of(choices).settings.bind
    assert (bind.advertise, bind.backlog) == (("192.0.2.1",), 7)
    choices = Choices(bind_ports=range(5, 6)).over(choices_of(tmp_path, WHOLE))
    assert Plan.of(choices).settings.bind.ports == range(5, 6)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('advertise = "0.0.0.0"', "bind.advertise[0]: '0.0.0.0' leads nowhere"),
        ('advertise = ["a.example", "::"]', "bind.advertise[1]: '::' leads nowhere"),
        ('advertise = "::ffff:0.0.0.0"', "bind.advertise[0]: '::ffff:0.0.0.0' leads nowhere"),
        ('advertise = "a b"', "bind.advertise[0]: 'a b' is no host"),
        ('ports = "20-10"', "bind.ports: '20-10' is no range of ports"),
        ("ports = 0", "bind.ports: port 0 is none"),
        ("backlog = 65536", "bind.backlog: expected a whole number <= 65535"),
        ("accept-timeout = 0", "bind.accept-timeout: expected a number > 0"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, line: str, complaint: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        choices_of(tmp_path, f"[bind]\n{line}")
    assert f"socks6.toml:2: {complaint}" in str(caught.value)


def test_hosts_are_written_as_on_the_wire() -> None:
    assert parse_advertised(["::ffff:192.0.2.1", "[2001:DB8::1]"]) == ("192.0.2.1", "2001:db8::1")
    with pytest.raises(ConfigurationError, match="is no host"):
        parse_advertised(["a..b"])
