"""Settings of metrics."""

from datetime import timedelta

import pytest

from socks6.errors import ConfigurationError
from socks6.net.stream import Endpoint
from socks6.observability.settings import parse_age, parse_collector, parse_keep, parse_place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:9106", ("127.0.0.1", 9106)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:9106", ("localhost", 9106)),
        (":9106", ("", 9106)),
    ],
)
def test_a_place(text: str, place: tuple[str, int]) -> None:
    assert parse_place(text) == Endpoint(*place)


@pytest.mark.parametrize(
    "text", ["", "9106", "127.0.0.1", "http://127.0.0.1:1", "a:70000", "::1:80", "a@b:1", "a:1?x"]
)
def test_no_place(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_place(text)


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:4318", "http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"]
)
def test_a_collector(text: str) -> None:
    assert parse_collector(text) == "http://127.0.0.1:4318"


@pytest.mark.parametrize("text", ["", "127.0.0.1:4318", "grpc://127.0.0.1:4317", "http://", "http://a?b"])
def test_no_collector(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_collector(text)


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("2w", timedelta(days=14)),
        ("0d", timedelta()),
    ],
)
def test_ages(text: str, age: timedelta) -> None:
    assert parse_age(text) == parse_keep(text) == age
    assert parse_keep("ever") is None


@pytest.mark.parametrize("text", ["", "30", "1y", "-1d", "1.5h", "1 d", "999999999w", "ever"])
def test_no_ages(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_age(text)
