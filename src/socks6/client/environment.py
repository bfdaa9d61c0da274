"""The proxy that environment variables name, and the hosts that they exclude (NO_PROXY), by the rules of curl."""

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple, TypeAlias, TypeVar

from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError
from socks6.message.address import is_literal, normalize_host, without_trailing_dot

PROXY_VARIABLES: Final = ("SOCKS6_PROXY", "ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")  # the first that is set
NO_PROXY_VARIABLE: Final = "NO_PROXY"
CGI_VARIABLE: Final = (
    "REQUEST_METHOD"  # where it is set, HTTP_PROXY is what a stranger sent as a Proxy field (httpoxy)
)
EVERYTHING: Final = "*"
NO_PROXY_AT_ALL: Final = "direct://"

_ENTRY: Final = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]+):([0-9]{1,5})")
_SEPARATORS: Final = re.compile(r"[,\s]+")
_BARE: Final = re.compile(r"(?![a-z][a-z0-9+]*://)", re.IGNORECASE)

ClientT = TypeVar("ClientT")
Network: TypeAlias = IPv4Network | IPv6Network


def proxy_of(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the variable that names a proxy, and the URL; None if none does.

    Each is looked for in lower case first. One without a scheme is of HTTP.
    """
    for name in PROXY_VARIABLES:
        for variable in (name.lower(), name):
            if variable == "HTTP_PROXY" and CGI_VARIABLE in environment:
                continue
            if text := environment.get(variable, "").strip():
                return variable, f"http://{text}" if name != PROXY_VARIABLES[0] and _BARE.match(
                    text
                ) else text
    return None


def no_proxy_of(environment: Mapping[str, str]) -> str:
    """Return which hosts the environment excludes, as `NoProxy.parse` reads it."""
    return environment.get(NO_PROXY_VARIABLE.lower()) or environment.get(NO_PROXY_VARIABLE, "")


def client_named_by(environment: Mapping[str, str], make: Callable[[str, str], ClientT]) -> ClientT:
    """Return what `make` gives for the URL of the proxy, or direct://, and the excluded hosts.

    Raises ConfigurationError, which names the variable.
    """
    variable, url = proxy_of(environment) or ("", NO_PROXY_AT_ALL)
    try:
        return make(url, no_proxy_of(environment))
    except ConfigurationError as error:
        raise ConfigurationError(f"{variable}: {error}") from error


class _Excluded(NamedTuple):
    """A name with all below it, or a network; and the port, or any."""

    name: str = ""
    network: Network | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True)
class NoProxy:
    """Hosts that are reached without the proxy."""

    entries: tuple[_Excluded, ...]
    everything: bool = False

    @classmethod
    def parse(cls, text: str) -> "NoProxy":
        """Read entries between commas or spaces; what makes no sense is skipped, as curl does.

        A name stands for itself and all names that end with a dot and it, a dot or *. before it changing nothing; an address for
        itself, a network such as 10.0.0.0/8 for its addresses; behind any of these a :PORT for that port alone; * for
        every host.
        """
        words = [word for word in _SEPARATORS.split(text) if word]
        read = (_read(word) for word in words)
        return cls(tuple(entry for entry in read if entry is not None), EVERYTHING in words)

    def __bool__(self) -> bool:
        """Return whether any host is excluded."""
        return self.everything or bool(self.entries)

    def excludes(self, host: str, port: int) -> bool:
        """Return whether a host in canonical form is reached directly. A name is not looked up for it."""
        if self.everything:
            return True
        address = ip_address(host) if is_literal(host) else None
        name = without_trailing_dot(host)
        return any(
            entry.port in {None, port}
            and (
                (entry.network is None and (name == entry.name or name.endswith(f".{entry.name}")))
                if address is None
                else (entry.network is not None and address in entry.network)
            )
            for entry in self.entries
        )


def _read(word: str) -> _Excluded | None:
    match = _ENTRY.fullmatch(word)
    place, port = (match[1], int(match[2])) if match else (word, None)
    try:
        return _Excluded(network=ip_network(place.strip("[]"), strict=False), port=port)
    except ValueError:
        pass
    try:
        name = normalize_host(place.removeprefix("*").removeprefix("."))
    except ValueError:
        return None
    return _Excluded(name=without_trailing_dot(name), port=port)
