"""Limits of users: their forms in texts and JSON, periods, sources."""

from datetime import UTC, datetime

import pytest

from socks6.errors import ConfigurationError
from socks6.policy.identity import Identity
from socks6.policy.user_limits import LIMIT_NAMES, NO_LIMITS, QuotaPeriod, UserLimits, parse_size, parse_time

NOON = datetime(2026, 12, 31, 12, 0, tzinfo=UTC)
EXAMPLE = {
    "connections": 3,
    "associations": "2",
    "bindings": 1,
    "up": "64k",
    "down": "1M",
    "burst": 5,
    "quota": "2G",
    "quota_period": "day",
    "expires": "2027-01-31",
    "sources": "192.0.2.0/24, 2001:db8::/32",
    "outgoing": "127.0.0.2",
}


def test_limits_are_read_from_texts_and_written_as_what_reads_the_same() -> None:
    limits = UserLimits.parse(EXAMPLE)
    assert (limits.up, limits.down, limits.quota) == (64_000, 10**6, 2 * 10**9)
    assert limits.expires == datetime(2027, 1, 31, tzinfo=UTC)
    assert tuple(limits.values()) == LIMIT_NAMES
    assert UserLimits.parse(limits.values()) == limits
    assert (
        UserLimits.parse(NO_LIMITS.values()) == NO_LIMITS == UserLimits.parse({"quota": None, "expires": ""})
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"speed": 1}, "'speed' is no limit: write connections, "),
        ({"connections": -1}, "connections: -1 is no number of 0 or more"),
        ({"connections": True}, "connections: True is no number"),
        ({"bindings": "two"}, "bindings: 'two' is no number"),
        ({"quota": "10 MB"}, "quota: '10 MB' is no number of bytes"),
        ({"quota": 2**63}, "quota: 9223372036854775808 is no number"),
        ({"quota_period": "week"}, "quota_period: 'week' is none of day, month, ever"),
        ({"expires": "soon"}, "expires: 'soon' is no time"),
        ({"expires": 5}, "expires: 5 is no text"),
        ({"sources": "192.0.2.1/24"}, "sources: 192.0.2.1/24 has host bits set: write such as"),
        ({"sources": 7}, "sources: 7 is no list of networks"),
        ({"sources": [7]}, "sources: 7 is no text"),
        ({"outgoing": "eth0"}, "outgoing: 'eth0' does not appear to be an IPv4 or IPv6 address"),
        ({"outgoing": "fe80::1%\0"}, "outgoing: 'fe80::1%\\x00' names no interface"),
        ({"outgoing": "fe80::1%\xe9"}, "outgoing: 'fe80::1%\xe9' names no interface"),
    ],
)
def test_what_a_limit_cannot_be_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        UserLimits.parse(values)
    assert str(caught.value).startswith(message)


def test_sizes_are_decimal() -> None:
    assert [parse_size(text) for text in ("0", "500", "64k", "3G", "1T")] == [
        0,
        500,
        64_000,
        3 * 10**9,
        10**12,
    ]
    for text in ("", "k", "1K", "1.5M", "-1", "10M ", "\u0661k", "9223372036854775808", "9999999999T"):
        with pytest.raises(ValueError, match="is no number of bytes"):
            parse_size(text)


def test_a_time_without_a_zone_is_in_utc() -> None:
    assert (
        parse_time("2027-01-31T18:00+02:00")
        == parse_time("2027-01-31T16:00")
        == parse_time("2027-01-31T16:00Z")
    )
    with pytest.raises(ValueError, match="is no time"):
        parse_time("0001-01-01T00:00+14:00")


def test_periods_begin_and_end_at_midnight_of_utc() -> None:
    assert QuotaPeriod.DAY.start(NOON) == datetime(2026, 12, 31, tzinfo=UTC)
    assert QuotaPeriod.DAY.end(NOON) == QuotaPeriod.MONTH.end(NOON) == datetime(2027, 1, 1, tzinfo=UTC)
    assert QuotaPeriod.MONTH.start(NOON) == datetime(2026, 12, 1, tzinfo=UTC)
    assert QuotaPeriod.EVER.start(NOON) == datetime(1970, 1, 1, tzinfo=UTC)
    assert QuotaPeriod.EVER.end(NOON) is None


def test_a_user_comes_from_its_sources_alone() -> None:
    limits = UserLimits.parse(EXAMPLE)
    sources = ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1%eth0", "192.0.3.7", "::1", "", "unix")
    assert [limits.allows_source(source) for source in sources] == [
        True,
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert all(NO_LIMITS.allows_source(source) for source in sources)


def test_a_user_expires_at_the_very_moment() -> None:
    assert not NO_LIMITS.has_expired(NOON)
    limits = UserLimits(expires=NOON)
    assert limits.has_expired(NOON)
    assert not limits.has_expired(NOON.replace(hour=11))


def test_limits_show_what_is_set_and_make_no_other_user() -> None:
    assert repr(NO_LIMITS) == "UserLimits()"
    assert repr(UserLimits(quota=7)) == "UserLimits(quota=7)"
    assert Identity(name="alice", limits=UserLimits(quota=7)) == Identity(name="alice")
