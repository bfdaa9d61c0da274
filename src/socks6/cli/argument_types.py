"""What the values of flags and arguments may be. Each function is a `type` of argparse."""

import argparse
import math
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


def endpoint(text: str) -> tuple[str, int]:
    """Return a host and a port; IPv6 addresses stand in brackets."""
    host, colon, number = text.rpartition(":")
    if not (colon and host) or _is_bare_ipv6(host):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form HOST:PORT")
    return host, port(number)


def endpoint_to_bind(text: str) -> tuple[str, int]:
    """Return a host, or "" for any, and a port, 0 for any; IPv6 addresses stand in brackets."""
    host, colon, number = text.rpartition(":")
    if not colon or _is_bare_ipv6(host):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form HOST:PORT or :PORT")
    return host, any_port(number)


def local_endpoint(text: str) -> tuple[str, int]:
    """Return an endpoint of this machine to listen at: without a host its loopback address; port 0 is any."""
    host, colon, number = text.rpartition(":")
    if (colon and not host) or _is_bare_ipv6(host):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form [HOST:]PORT")
    return host or "127.0.0.1", any_port(number)


def _is_bare_ipv6(host: str) -> bool:
    return ":" in host and not host.startswith("[")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
