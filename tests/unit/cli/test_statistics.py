"""Statistics of pings."""

import pytest

from socks6.cli.statistics import milliseconds, summary


def test_replies_and_their_times() -> None:
    assert summary([0.001, 0.002, 0.003], sent=4, elapsed=3.0041) == [
        "4 requests, 3 replies, 25% loss, time 3004 ms",
        "round trip min/avg/max/mdev = 1.00/2.00/3.00/0.816 ms",
    ]


def test_no_reply_has_no_times() -> None:
    assert summary([], sent=2, elapsed=1.0) == ["2 requests, 0 replies, 100% loss, time 1000 ms"]


def test_no_request_is_no_loss() -> None:
    assert summary([], sent=0, elapsed=0.0) == ["0 requests, 0 replies, 0% loss, time 0 ms"]


def test_one_reply_does_not_deviate() -> None:
    assert summary([0.0123], sent=1, elapsed=0.02)[1].endswith("/0.000 ms")


def test_a_third_lost() -> None:
    assert "33.33% loss" in summary([0.1, 0.1], sent=3, elapsed=1.0)[0]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0001234, "0.123"), (0.001234, "1.23"), (0.01234, "12.3"), (1.234, "1234")]
)
def test_three_digits_count(seconds: float, text: str) -> None:
    assert milliseconds(seconds) == text
