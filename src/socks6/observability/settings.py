"""What an operator may set about metrics, traces and the database of the access log."""

import re
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError
from socks6.net.stream import Endpoint
from socks6.net.url import ProxyUrl
from socks6.setting import setting

_PLACE: Final = re.compile(r"[^/?#@]*:[0-9]+")


def parse_place(text: str) -> Endpoint:
    """Read HOST:PORT, or :PORT for every address. Raises ConfigurationError."""
    if not _PLACE.fullmatch(text):
        raise ConfigurationError(f"{text!r} is not of the form HOST:PORT")
    url = ProxyUrl.parse_listener(f"http://{text}")
    return Endpoint(url.host, url.port)


def parse_collector(text: str) -> str:
    """Return the URL of a collector of traces, without its path of OTLP. Raises ConfigurationError."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(f"{text!r} is not of the form http://HOST:PORT")
    return text.rstrip("/").removesuffix("/v1/traces")


DEFAULT_KEEP: Final = timedelta(days=30)
_AGE: Final = re.compile(r"([0-9]{1,9})([smhdw])")
_AGE_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_age(text: str) -> timedelta:
    """Read a number with s, m, h, d or w: seconds, minutes, hours, days, weeks. Raises ConfigurationError."""
    match = _AGE.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"{text!r} is no time such as 30m, 12h or 7d")
    try:
        return timedelta(**{_AGE_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        raise ConfigurationError(f"{text!r} is too long") from None


def parse_keep(text: str) -> timedelta | None:
    """Read such a time, or "ever", which is None. Raises ConfigurationError."""
    return None if text == "ever" else parse_age(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Where Prometheus reads metrics, and which."""

    listen: Endpoint | None = setting(
        None,
        "serve metrics for Prometheus at http://HOST:PORT/metrics, to everybody who reaches that place; port 0 is any free"
        " one. Needs the extra metrics",
        flag="--metrics",
        unit="HOST:PORT",
        parse=parse_place,
        example='"127.0.0.1:9106"',
        common=True,
    )
    users: int = setting(
        0,
        'so many users have metrics of their own, by a label user; all others share user="other"; 0 for no such label',
        maximum=10_000,
    )
