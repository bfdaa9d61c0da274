"""Finds the proxy to go through, so that its password need not stand on a command line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from socks6.config.faults import error_prefix
from socks6.errors import ConfigurationError
from socks6.net.url import DIRECT, ProxyUrl

UPSTREAM_VARIABLE: Final = "SOCKS6_PROXY"
COMMENT: Final = "#"


def find_upstream(
    via: str | None, via_file: str | None, environment: Mapping[str, str], *, argument: str = "--via"
) -> ProxyUrl | None:
    """Return the proxy that the first of these names; None if none does. Raises ConfigurationError, for several, too.

    `argument` is what `via` is called on the command line.
    """
    urls = find_upstreams(via, via_file, environment, argument=argument)
    if len(urls) > 1:
        where = UPSTREAM_VARIABLE if via_file is None else f"--via-file: {via_file}"
        raise ConfigurationError(f"{where}: holds {len(urls)} URLs, not one")
    return urls[0] if urls else None


def find_upstreams(
    via: str | None, via_file: str | None, environment: Mapping[str, str], *, argument: str = "--via"
) -> tuple[ProxyUrl, ...]:
    """Return the proxies that the first of these names: a file and the variable name one a line. Raises ConfigurationError."""
    if via is not None:
        with error_prefix(argument):
            return (parse_upstream(via),)
    if via_file is not None:
        with error_prefix("--via-file"):
            return read_urls_file(via_file)
    with error_prefix(UPSTREAM_VARIABLE):
        lines = map(str.strip, environment.get(UPSTREAM_VARIABLE, "").splitlines())
        return tuple(parse_upstream(line) for line in lines if line)


def parse_upstream(text: str) -> ProxyUrl:
    """Read the URL of a proxy to go through. Raises ConfigurationError."""
    url = ProxyUrl.parse(text)
    if url.protocol == "mixed":
        raise ConfigurationError(f"{url} is a listener's: name one of the protocols that it speaks")
    if url.spoken == DIRECT:
        raise ConfigurationError(f"{url} is no proxy to go through")
    return url


def read_urls_file(path: str | Path) -> tuple[ProxyUrl, ...]:
    """Return the proxies whose URLs are the lines of a file, apart from comments. Raises ConfigurationError."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: not UTF-8") from None
    urls = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(COMMENT)]
    if not urls:
        raise ConfigurationError(f"{path}: holds 0 URLs, not one")
    with error_prefix(str(path)):
        return tuple(map(parse_upstream, urls))
