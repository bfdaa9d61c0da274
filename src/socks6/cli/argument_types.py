"""What the values of flags and arguments may be. Each function is a `type` of argparse."""

import argparse
import math
import re
from collections.abc import Callable
from typing import Final

MAX_PORT: Final = 65535


def seconds(text: str) -> float:
    """Return a time that may be 0."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


def positive_seconds(text: str) -> float:
    """Return a time that is not 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return value


def whole(lowest: int, highest: int | None = None, name: str = "whole number") -> Callable[[str], int]:
    """Return a type for whole numbers within bounds."""
    bounds = f"{lowest} or more" if highest is None else f"{lowest} to {highest}"

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or not lowest <= int(text) <= (highest or math.inf):
            raise argparse.ArgumentTypeError(f"{text!r} is no {name} ({bounds})")
        return int(text)

    return parse


port = whole(1, MAX_PORT, "port")
any_port = whole(0, MAX_PORT, "port")  # 0: one that the system chooses


def _endpoint(
    form: str, hosts: str, ports: Callable[[str], int], default: str = ""
) -> Callable[[str], tuple[str, int]]:
    """Return a type for a host that `hosts` matches, its colon included, and a port; IPv6 addresses stand in brackets."""

    def parse(text: str) -> tuple[str, int]:
        host, colon, number = text.rpartition(":")
        bare_ipv6 = ":" in host and not host.startswith("[")
        if bare_ipv6 or not re.fullmatch(hosts, host + colon, re.DOTALL):
            raise argparse.ArgumentTypeError(f"{text!r} is not of the form {form}")
        return host or default, ports(number)

    return parse


endpoint = _endpoint("HOST:PORT", ".+:", port)
endpoint_to_bind = _endpoint("HOST:PORT or :PORT", ".*:", any_port)  # without a host: any
local_endpoint = _endpoint("[HOST:]PORT", "(.+:)?", any_port, "127.0.0.1")  # to listen at


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
