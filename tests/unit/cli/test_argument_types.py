"""Values of flags."""

import argparse
from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest

from socks6.cli.argument_types import (
    any_port,
    endpoint,
    endpoint_to_bind,
    local_endpoint,
    network,
    past,
    port,
    positive_seconds,
    seconds,
    whole,
)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (seconds, "0", 0),
        (seconds, "1.5", 1.5),
        (positive_seconds, "1e-3", 0.001),
        (whole(0), "0", 0),
        (whole(1), "12", 12),
        (port, "65535", 65535),
        (any_port, "65535", 65535),
        (whole(1, 255), "255", 255),
    ],
)
def test_values_that_may_be(kind: Callable[[str], float], text: str, value: float) -> None:
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *((kind, text) for kind in (seconds, positive_seconds) for text in ("-1", "inf", "nan", "1s", "")),
        (positive_seconds, "0"),
        *(
            (kind, text)
            for kind in (whole(0), port, whole(1, 255))
            for text in ("-1", "1.0", "x", "", "²", "१")
        ),
        (whole(1), "0"),
        (port, "0"),
        (port, "65536"),
        (any_port, "65536"),
        (whole(1, 255), "0"),
        (whole(1, 255), "256"),
    ],
)
def test_values_that_may_not(kind: Callable[[str], float], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        kind(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("a.example:80", ("a.example", 80)), ("[::1]:443", ("[::1]", 443)), ("192.0.2.1:1", ("192.0.2.1", 1))],
)
def test_places_that_may_be(text: str, value: tuple[str, int]) -> None:
    assert endpoint(text) == value


@pytest.mark.parametrize("text", ["", "host", "host:", ":80", "host:0", "host:http", "::1", "fd00::1:80"])
def test_places_that_may_not(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        endpoint(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [(":0", ("", 0)), ("a.example:80", ("a.example", 80)), ("[::]:443", ("[::]", 443))],
)
def test_places_that_may_be_bound(text: str, value: tuple[str, int]) -> None:
    assert endpoint_to_bind(text) == value


@pytest.mark.parametrize("text", ["", "80", "host", "host:", "host:65536", "::1", "fd00::1:80"])
def test_places_that_may_not_be_bound(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        endpoint_to_bind(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", ("127.0.0.1", 0)), ("a.example:80", ("a.example", 80)), ("[::]:443", ("[::]", 443))],
)
def test_places_of_this_machine(text: str, value: tuple[str, int]) -> None:
    assert local_endpoint(text) == value


@pytest.mark.parametrize("text", ["", ":80", "host:65536", "::1", "x"])
def test_what_is_no_place_of_this_machine(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        local_endpoint(text)


def test_times_in_the_past() -> None:
    now = datetime.now().astimezone()
    assert abs(now - timedelta(hours=2) - past("2h")) < timedelta(minutes=1)
    assert past("2027-01-31T18:00Z") == datetime(2027, 1, 31, 18, tzinfo=UTC)
    assert past("2027-01-31") == datetime(2027, 1, 31).astimezone()
    for text in ("", "tomorrow", "2", "999999999w"):
        with pytest.raises(ArgumentTypeError, match="is no time"):
            past(text)


def test_networks() -> None:
    assert network("192.0.2.7/24") == ip_network("192.0.2.0/24")
    assert network("::1") == ip_network("::1/128")
    with pytest.raises(ArgumentTypeError, match="no address"):
        network("localhost")
