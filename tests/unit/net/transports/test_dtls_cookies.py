"""Cookies that prove a source, and cost no memory."""

import itertools

from socks6.net.transports.dtls_cookies import LIFETIME, Cookies

SOURCE = ("192.0.2.1", 4000)
RANDOM = bytes(32)


def cookies() -> Cookies:
    numbers = itertools.count()
    return Cookies(100.0, new_secret=lambda size: next(numbers).to_bytes(size))


def test_cookie_holds_for_its_source_and_random_alone() -> None:
    jar = cookies()
    cookie = jar.make(SOURCE, RANDOM, 100.0)
    assert jar.holds(cookie, SOURCE, RANDOM, 101.0)
    assert not jar.holds(cookie, ("192.0.2.1", 4001), RANDOM, 101.0)
    assert not jar.holds(cookie, ("192.0.2.2", 4000), RANDOM, 101.0)
    assert not jar.holds(cookie, SOURCE, b"\1" * 32, 101.0)
    assert not jar.holds(cookie[:-1], SOURCE, RANDOM, 101.0)
    assert not jar.holds(b"", SOURCE, RANDOM, 101.0)


def test_cookie_is_good_for_a_lifetime_and_at_most_for_two() -> None:
    jar = cookies()
    cookie = jar.make(SOURCE, RANDOM, 100.0)
    assert jar.holds(cookie, SOURCE, RANDOM, 100.0 + LIFETIME)
    assert jar.holds(cookie, SOURCE, RANDOM, 99.0 + 2 * LIFETIME)
    assert not jar.holds(cookie, SOURCE, RANDOM, 100.0 + 2 * LIFETIME)


def test_old_cookies_do_not_hold_after_a_long_silence() -> None:
    jar = cookies()
    cookie = jar.make(SOURCE, RANDOM, 100.0)
    assert not jar.holds(cookie, SOURCE, RANDOM, 100.0 + 5 * LIFETIME)
    assert jar.holds(jar.make(SOURCE, RANDOM, 500.0), SOURCE, RANDOM, 500.0)


def test_secrets_are_drawn_by_chance() -> None:
    assert Cookies(0.0).make(SOURCE, RANDOM, 0.0) != Cookies(0.0).make(SOURCE, RANDOM, 0.0)
