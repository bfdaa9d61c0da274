"""What an operator may set about metrics and traces."""

import re
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
