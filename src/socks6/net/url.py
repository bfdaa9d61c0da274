"""URLs of proxies and listeners: socks6://user:password@host:1080, socks6+tls://host, socks6+unix:///run/s."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, unquote_to_bytes

from typing_extensions import override

from socks6.errors import ConfigurationError
from socks6.message.address import is_literal, normalize_host, without_trailing_dot
from socks6.message.dialect import DRAFT_12, GO_212, Dialect
from socks6.message.options import StackOption
from socks6.net import url_quic
from socks6.net.encryption.contexts import NOTHING_SAID, TlsParameters
from socks6.net.url_query import format_options, parse_options
from socks6.net.url_quic import QuicParameters, format_quic, parse_quic
from socks6.net.url_tls import CLIENT_KEYS, FIELDS, SERVER_KEYS, format_tls, parse_tls

DEFAULT_PORTS: Final = {"socks6": 1080, "mixed": 1080, "socks5": 1080, "http": 8080}
ENCRYPTED_PORT: Final = 8389
UNIX: Final = "unix"
TLS: Final = "tls"
QUIC: Final = "quic"
AUTO: Final = "auto"  # a client's: QUIC, or else TLS
ENCRYPTED: Final = (TLS, QUIC, AUTO)
SCHEMES: Final = (
    *DEFAULT_PORTS,
    *(f"{protocol}+{transport}" for transport in (UNIX, TLS) for protocol in DEFAULT_PORTS),
    "socks6+quic",  # whose streams are SOCKS 6 by themselves (ALPN)
    "socks6+auto",
)

DIALECT: Final = "dialect"  # a key of the query
DIALECTS: Final[Mapping[str, Dialect]] = {"6": DRAFT_12, "212": GO_212}
UDP: Final = "udp"  # another
UDP_PATHS: Final[Mapping[str, str]] = {  # and which transport alone has them
    "auto": "",
    "datagram": "",
    "stream": "",
    "dtls": TLS,
    "quic": QUIC,
}

MAX_PORT: Final = 65535
MAX_PATH_LENGTH: Final = 107  # of a Unix socket, on Linux
MAX_CREDENTIAL_LENGTH: Final = 255  # RFC 1929, section 2

_URL: Final = re.compile(
    r"(?P<scheme>[^:/?#]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?P<fragment>#.*)?"
)
_PLACE: Final = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_SHOWABLE: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]*\]|[^:@/?#]*)(?::[0-9]*)?(?:[/?#].*)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ProxyUrl:
    """Where a proxy is, or listens: at a host and port, or at the path of a Unix socket.

    `str` and `repr` never show the password.
    """

    protocol: str  # the protocol spoken there: socks6, socks5, http, or mixed for all of them
    host: str = ""  # "" for a Unix socket, and for every address of a listener's machine
    port: int = 0  # 0 for a Unix socket, and for any free port of a listener's machine
    path: str = ""
    username: str | None = None
    password: str | None = None
    options: tuple[StackOption, ...] = ()  # what every request through the proxy asks for
    transport: str = ""  # one of ENCRYPTED; "" for plain TCP and Unix sockets
    tls: TlsParameters = NOTHING_SAID
    quic: QuicParameters = url_quic.NOTHING_SAID
    dialect: Dialect = DRAFT_12  # what the proxy speaks, if it is not the draft's
    udp: str = ""  # one of UDP_PATHS: how a client's associations are to travel; "" where nothing was said

    @classmethod
    def parse(cls, text: str) -> "ProxyUrl":
        """Read the URL of a proxy to use. Raises ConfigurationError.

        Without a port it is 1080, 8080 for http, and 8389 where it is encrypted. Reserved characters in the user name, the password and
        the path of a Unix socket are percent-encoded.
        """
        url = _parse(text, CLIENT_KEYS, url_quic.CLIENT_KEYS)
        if not url.path and not url.host:
            raise _error(text, "names no host")
        if not url.path and not url.port:
            raise _error(text, "port 0 is nobody's")
        return url

    @classmethod
    def parse_listener(cls, text: str) -> "ProxyUrl":
        """Read the URL of a place to listen. Raises ConfigurationError.

        Port 0 is any free port; no host, as in "socks6://:1080", is every address of this machine.
        """
        url = _parse(text, SERVER_KEYS, url_quic.SERVER_KEYS)
        if url.transport == AUTO:
            raise _error(text, "a listener is of one kind: give socks6+tls:// and socks6+quic://, one each")
        if url.username is not None:
            raise _error(text, "a listener's users stand elsewhere (--user, --users), not in its URL")
        if url.dialect != DRAFT_12:
            raise _error(text, "a listener's dialects stand elsewhere (--dialect212), not in its URL")
        if url.options or url.udp:
            raise _error(text, "a listener's URL has no options")
        return url

    @property
    def scheme(self) -> str:
        """What the URL begins with: the protocol, and +unix for a Unix socket, +tls, +quic."""
        transport = UNIX if self.path else self.transport
        return f"{self.protocol}+{transport}" if transport else self.protocol

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it: a Unix socket, a loopback address, localhost."""
        if self.path or without_trailing_dot(self.host) == "localhost":
            return True
        return is_literal(self.host) and ip_address(self.host).is_loopback

    def with_secrets(self) -> str:
        """Return the whole URL, with the password: `parse` gives this object back."""
        return self._text(None if self.password is None else quote(self.password, safe=""))

    @override
    def __str__(self) -> str:
        return self._text(None if self.password is None else "***")

    @override
    def __repr__(self) -> str:
        return f"<ProxyUrl {self}>"

    def _text(self, password: str | None) -> str:
        userinfo = "" if self.username is None else quote(self.username, safe="")
        userinfo += "" if password is None else f":{password}"
        userinfo += "" if self.username is None else "@"
        udp = f"{UDP}={self.udp}" if self.udp else ""
        dialect = "" if self.dialect == DRAFT_12 else f"{DIALECT}={self.dialect.version}"
        parts = (format_options(self.options), format_tls(self.tls), format_quic(self.quic), udp, dialect)
        query = "&".join(filter(None, parts))
        query = f"?{query}" if query else ""
        if self.path:
            return f"{self.scheme}://{userinfo}{quote(os.fsencode(self.path))}{query}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{userinfo}{host}:{self.port}{query}"


def _parse(text: str, tls_keys: tuple[str, ...], quic_keys: tuple[str, ...]) -> ProxyUrl:
    match = _URL.fullmatch(text)
    if match is None:
        raise _error(text, "is no URL: write socks6://host:port")
    scheme, path = match["scheme"].lower(), match["path"]
    if scheme not in SCHEMES:
        raise _error(text, f"has an unknown scheme; there are {', '.join(SCHEMES)}")
    _refuse_rest(text, match)
    protocol, _, transport = scheme.partition("+")
    pairs = parse_qsl(match["query"] or "", keep_blank_values=True)
    options, tls, quic = _parse_query(
        text,
        [pair for pair in pairs if pair[0] not in {UDP, DIALECT}],
        tls_keys if transport in ENCRYPTED else (),
        quic_keys if transport in {QUIC, AUTO} else (),
    )
    if transport == QUIC and tls.min_version == "1.2":
        raise _error(text, "has min-version=1.2, and QUIC knows nothing older than TLS 1.3: leave that out")
    if transport == QUIC and tls.alpn_optional:
        raise _error(
            text, "has alpn=optional, and there is no QUIC without it (RFC 9001 §8.1): leave that out"
        )
    userinfo, at, place = match["authority"].rpartition("@")
    username, password = _parse_userinfo(text, userinfo) if at else (None, None)
    if transport == UNIX:
        host, port, path = "", 0, _parse_path(text, place, path)
    else:
        if path not in {"", "/"}:
            raise _error(text, "has a path, which only URLs of Unix sockets have")
        host, said = _parse_place(text, place)
        usual = ENCRYPTED_PORT if transport else DEFAULT_PORTS[protocol]
        port, path = usual if said is None else said, ""
    return ProxyUrl(
        protocol=protocol,
        host=host,
        port=port,
        path=path,
        username=username,
        password=password,
        options=options,
        transport="" if transport == UNIX else transport,
        tls=tls,
        quic=quic,
        dialect=_parse_dialect(text, [value for key, value in pairs if key == DIALECT], protocol),
        udp=_parse_udp(text, [value for key, value in pairs if key == UDP], transport),
    )


def _refuse_rest(text: str, match: re.Match[str]) -> None:
    """Refuse what no proxy's URL has."""
    if not text.isprintable() or " " in text:
        raise _error(text, "has spaces or characters that cannot be printed")
    if "@" in text[match.end("authority") :] and match["authority"]:
        raise _error(
            text, "percent-encode / ? # in the user name, the password and the path, and @ after these"
        )
    if match["fragment"]:
        raise _error(text, "has a #fragment")


def _parse_query(
    text: str, pairs: list[tuple[str, str]], tls_keys: tuple[str, ...], quic_keys: tuple[str, ...]
) -> tuple[tuple[StackOption, ...], TlsParameters, QuicParameters]:
    about_tls = [pair for pair in pairs if tls_keys and pair[0] in FIELDS]
    about_quic = [pair for pair in pairs if quic_keys and pair[0] in url_quic.CLIENT_KEYS]
    try:
        return (
            parse_options(pair for pair in pairs if pair not in about_tls and pair not in about_quic),
            parse_tls(about_tls, tls_keys),
            parse_quic(about_quic, quic_keys),
        )
    except ValueError as error:
        raise _error(text, str(error)) from None


def _parse_dialect(text: str, values: list[str], protocol: str) -> Dialect:
    """Return what a query says of the dialect of a SOCKS 6 proxy."""
    if len(values) > 1:
        raise _error(text, f"has the option {DIALECT!r} twice")
    for value in values:
        if value not in DIALECTS:
            raise _error(text, f"has {DIALECT}={value}: write {' or '.join(DIALECTS)}")
        if protocol != "socks6":
            raise _error(text, f"has {DIALECT}={value}, which is about SOCKS 6 alone")
        return DIALECTS[value]
    return DRAFT_12


def _parse_udp(text: str, values: list[str], transport: str) -> str:
    """Return what a query says of the path of datagrams."""
    if len(values) > 1:
        raise _error(text, f"has the option {UDP!r} twice")
    for value in values:
        if value not in UDP_PATHS:
            raise _error(text, f"has {UDP}={value}: write {', '.join(UDP_PATHS)}")
        wanted = UDP_PATHS[value]
        if wanted and wanted != transport:
            raise _error(text, f"has {UDP}={value}, which there is beside {wanted} alone")
        return value
    return ""


def _parse_userinfo(text: str, userinfo: str) -> tuple[str, str | None]:
    username, colon, password = userinfo.partition(":")
    if not username:
        raise _error(text, "has an empty user name")
    return _decode(text, username), _decode(text, password) if colon else None


def _decode(text: str, part: str) -> str:
    try:
        decoded = unquote_to_bytes(part)
        if len(decoded) > MAX_CREDENTIAL_LENGTH:
            raise _error(text, f"the user name or password is longer than {MAX_CREDENTIAL_LENGTH} bytes")
        return decoded.decode()
    except UnicodeDecodeError:
        raise _error(text, "the user name or password is not UTF-8") from None


def _parse_place(text: str, place: str) -> tuple[str, int | None]:
    match = _PLACE.fullmatch(place)
    if match is None:
        raise _error(text, "has no port number after its host; IPv6 addresses go in brackets")
    host, port = match["host"], match["port"]
    if port is not None and int(port) > MAX_PORT:
        raise _error(text, f"port {port} is over {MAX_PORT}")
    try:
        return normalize_host(host) if host else "", None if port is None else int(port)
    except ValueError as error:
        raise _error(text, str(error)) from None


def _parse_path(text: str, place: str, path: str) -> str:
    if place:
        raise _error(text, "a Unix socket has no host: write three slashes before its path")
    decoded = unquote(path, errors="surrogateescape")
    if decoded in {"", "/"} or "\0" in decoded:
        raise _error(text, "names no Unix socket")
    if len(os.fsencode(decoded)) > MAX_PATH_LENGTH:
        raise _error(text, f"a Unix socket's path has at most {MAX_PATH_LENGTH} bytes")
    return decoded


def _error(text: str, what: str) -> ConfigurationError:
    return ConfigurationError(f"{_showable(text)!r}: {what}")


def _showable(text: str) -> str:
    """Return a URL, however broken, without anything in it that may be a password."""
    scheme, mark, rest = text.partition("://") if "://" in text else ("", "", text)
    if "@" in scheme or ":" in scheme:
        return "***"
    _, at, place = rest.rpartition("@")
    if at:
        place = re.split("[/?#]", place, maxsplit=1)[0] or "..."
    return f"{scheme}{mark}{'***@' if at else ''}{place if _SHOWABLE.fullmatch(place) else '***'}"
