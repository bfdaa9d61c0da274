"""Settings of the proxy that are more than a number."""

import pytest

from socks6.errors import ConfigurationError
from socks6.proxy.settings import MAX_BACKLOG, BindSettings, parse_advertised, parse_bind_ports


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("Proxy.Example", "proxy.example"),
    ],
)
def test_a_host_by_which_remotes_reach_us(text: str, host: str) -> None:
    assert parse_advertised(text) == host


@pytest.mark.parametrize(
    ("text", "complaint"), [("0.0.0.0", "leads nowhere"), ("::", "leads nowhere"), ("a b", "is no host")]
)
def test_what_leads_nowhere_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        parse_advertised(text)


def test_ports_are_read_as_a_range() -> None:
    assert parse_bind_ports("20000-20999") == range(20000, 21000)
    assert parse_bind_ports("7") == range(7, 8)
    for text in ("0-5", "5-4", "70000", "many"):
        with pytest.raises(ConfigurationError):
            parse_bind_ports(text)


def test_a_backlog_is_what_its_option_can_hold() -> None:
    assert BindSettings(backlog=MAX_BACKLOG).backlog == MAX_BACKLOG
    for backlog in (-1, MAX_BACKLOG + 1):
        with pytest.raises(ValueError, match="backlog"):
            BindSettings(backlog=backlog)
