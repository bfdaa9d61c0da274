"""What the values of flags may be."""

import argparse
import math


def seconds(text: str) -> float:
    """Return a time that may be nought."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


def positive_seconds(text: str) -> float:
    """Return a time that is not nought."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return value


def count(text: str) -> int:
    """Return a whole number that may be nought."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def small_count(text: str) -> int:
    """Return a whole number of 16 bits."""
    value = count(text)
    if value > 65535:
        raise argparse.ArgumentTypeError(f"{text} is too many")
    return value


def positive_count(text: str) -> int:
    """Return a whole number that is not nought."""
    if not count(text):
        raise argparse.ArgumentTypeError("0 is too few")
    return int(text)


def port(text: str) -> int:
    """Return the number of a port to connect to."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def days(text: str) -> int:
    """Return how long a certificate is to be valid."""
    if not 0 < count(text) <= 36500:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 36500")
    return int(text)


def hops(text: str) -> int:
    """Return a TTL, which is not nought."""
    if not 0 < count(text) < 256:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 255")
    return int(text)


def probes(text: str) -> int:
    """Return how often to ask a router: politely."""
    if not 0 < count(text) <= 10:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 10")
    return int(text)


def place(text: str) -> tuple[str, int]:
    """Return a host and a port; IPv6 addresses stand in brackets."""
    host, colon, number = text.rpartition(":")
    if not (colon and host) or (":" in host and not host.startswith("[")):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form HOST:PORT")
    return host, port(number)


def place_to_bind(text: str) -> tuple[str, int]:
    """Return a host, or "" for any, and a port, 0 for any; IPv6 addresses stand in brackets."""
    host, colon, number = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form HOST:PORT or :PORT")
    return host, small_count(number)


def place_here(text: str) -> tuple[str, int]:
    """Return a place of this machine to listen at: without a host its loopback address; port 0 is any."""
    host, colon, number = text.rpartition(":")
    if (colon and not host) or (":" in host and not host.startswith("[")):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form [HOST:]PORT")
    return host or "127.0.0.1", small_count(number)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
