"""Values of flags."""

import argparse
from collections.abc import Callable

import pytest

from socks6.cli.values import count, port, positive_count, positive_seconds, seconds


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (seconds, "0", 0),
        (seconds, "1.5", 1.5),
        (positive_seconds, "1e-3", 0.001),
        (count, "0", 0),
        (positive_count, "12", 12),
        (port, "65535", 65535),
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
            for kind in (count, positive_count, port)
            for text in ("-1", "1.0", "x", "", "²", "१")
        ),
        (positive_count, "0"),
        (port, "0"),
        (port, "65536"),
    ],
)
def test_values_that_may_not(kind: Callable[[str], float], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        kind(text)
