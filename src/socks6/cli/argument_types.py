"""What the values of flags and arguments may be. Each function is a `type` of argparse."""

import argparse
import math
import re
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final

from socks6.errors import ConfigurationError

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

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


def past(text: str) -> datetime:
    """Return a time in the past: "2h" ago, or a date or time of ISO 8601, local unless it says another zone."""
    from socks6.observability.settings import parse_age  # noqa: PLC0415 - which few commands need

    try:
        return datetime.now().astimezone() - parse_age(text)
    except (ConfigurationError, OverflowError):
        pass
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: write such as 30m, 12h, 7d, 2027-01-31 or 2027-01-31T18:00"
        ) from None


def network(text: str) -> "IPv4Network | IPv6Network":
    """Return the network, or the one address, that is meant."""
    from ipaddress import ip_network  # noqa: PLC0415 - as above

    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no address, and no network such as 192.0.2.0/24"
        ) from None


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
