"""URLs of proxies and listeners: socks6://user:password@host:1080, socks6+tls://host, socks5://host, https://host.

A scheme is a protocol of `PROTOCOLS` and a transport of the registry. The query holds what is to be known about TLS and QUIC, and, of a
proxy to use, the stack options that every request through it asks for.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from ipaddress import ip_address
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, unquote_to_bytes

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError
from socks6.message.address import is_literal, normalize_host, without_trailing_dot
from socks6.message.codes import Leg
from socks6.message.dialect import DRAFT_12, GO_212, Dialect
from socks6.message.options import StackOption, Tos
from socks6.message.options.stack import DSCP, STACK_OPTIONS, SWITCH
from socks6.net.encryption.certificates import format_pin, parse_pin
from socks6.net.encryption.contexts import ALPN, MINIMUM_VERSIONS, TLS_DEFAULTS, TlsParameters
from socks6.net.transports.base import MAX_SPARES, Transport
from socks6.net.transports.quic.libraries import LIBRARIES
from socks6.net.transports.registry import AUTO, QUIC, TLS, TRANSPORTS
from socks6.suggestion import suggestion_or_all

DIRECT: Final = "direct"


class ProxyProtocol(NamedTuple):
    """What a scheme names before its +."""

    port: int  # where the URL has none
    spoken: str  # by the proxy: one of message.first_bytes.SPOKEN; or DIRECT
    listens: bool = True
    transport: str | None = None  # the only one that it is spoken over; None: the one behind the +


PROTOCOLS: Final[Mapping[str, ProxyProtocol]] = {
    "socks6": ProxyProtocol(1080, "socks6"),
    "mixed": ProxyProtocol(1080, "mixed"),  # of listeners alone: whatever the client speaks
    "socks5": ProxyProtocol(1080, "socks5"),
    "socks5h": ProxyProtocol(1080, "socks5", listens=False),  # as curl says that the proxy resolves names
    "socks4a": ProxyProtocol(1080, "socks4", listens=False),
    "socks4": ProxyProtocol(1080, "socks4", listens=False),  # without names: these are resolved here
    "http": ProxyProtocol(8080, "http"),
    "https": ProxyProtocol(443, "http", listens=False, transport=TLS),
    "direct": ProxyProtocol(0, DIRECT, listens=False, transport=""),  # no proxy at all
}
ALPNS: Final = {"socks6": ALPN, "http": "http/1.1"}  # by what a proxy speaks
TRANSPORT_PORT: Final = 8389  # of a protocol over another transport than TCP

DIALECT: Final = "dialect"  # a key of the query
DIALECTS: Final[Mapping[str, Dialect]] = {"6": DRAFT_12, "212": GO_212}
RESOLVE: Final = "resolve"  # another: who resolves names
HERE: Final = "local"
SPARE: Final = "spare"  # another
CONGESTION: Final = "congestion"  # another
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
MAX_NAME_LENGTH: Final = 253  # of a host

_URL: Final = re.compile(
    r"(?P<scheme>[^:/?#]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?P<fragment>#.*)?"
)
_PLACE: Final = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_SLASHLESS: Final = re.compile(
    r"(?:socks(?:4a?|5h?|6)|mixed|https?)(?:\+[a-z]+)?:/?(?!/)"
)  # a scheme, and no slashes behind it
_SHOWABLE: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]*\]|[^:@/?#]*)(?::[0-9]*)?(?:[/?#].*)?", re.ASCII)

# What queries say about TLS and QUIC.


@dataclass(frozen=True, slots=True, kw_only=True)
class QuicParameters:
    """Everything that a URL may say about QUIC, with what holds otherwise."""

    backend: str = ""  # the library that speaks it; "" for the usual one
    stream_ids: bool = True  # a client's: whether its BINDs are numbered (StreamID), always or never


QUIC_DEFAULTS: Final = QuicParameters()

Value: TypeAlias = str | bool | tuple[bytes, ...]
Keys: TypeAlias = Mapping[str, tuple[str, Callable[[str], Value]]]
"""Keys of a query: the field each gives, and how its value is read. Readers raise ValueError."""


def _file(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("name a file")
    return text


def _name(text: str) -> str:
    if not text or not text.isascii() or len(text) > MAX_NAME_LENGTH:
        raise ValueError("is no name of a host")
    return text


def _one_of(*words: str, between: str = " or ") -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"write {between.join(words)}")
        return text

    return read


def _spares(text: str) -> str:
    if text != AUTO and not (text.isascii() and text.isdigit() and int(text) <= MAX_SPARES):
        raise ValueError(f"write auto, or a number up to {MAX_SPARES}")
    return text


def _algorithm(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9_-]{1,15}", text):  # TCP_CA_NAME_MAX
        raise ValueError("write bbr, cubic, or another that Linux has")
    return text


def _switch(off: str, on: str) -> Callable[[str], bool]:
    word = _one_of(off, on)
    return lambda text: word(text) == on


def _pins(text: str) -> tuple[bytes, ...]:
    return tuple(map(parse_pin, text.split(",")))


TLS_KEYS: Final[Keys] = {
    "cert": ("certificate", _file),
    "key": ("key", _file),
    "client-ca": ("client_ca", _file),
    "min-version": ("min_version", _one_of(*MINIMUM_VERSIONS)),
    "sni": ("sni", _name),
    "ca": ("ca", _file),
    "pin-sha256": ("pins", _pins),
    "alpn": ("alpn_optional", _switch("required", "optional")),
    "insecure-no-verification": ("insecure", _switch("0", "1")),
}
QUIC_KEYS: Final[Keys] = {
    "backend": ("backend", _one_of(*LIBRARIES)),
    "stream-id": ("stream_ids", _switch("0", "1")),
}
PROXY_KEYS: Final[Keys] = {
    DIALECT: (DIALECT, _one_of(*DIALECTS)),
    RESOLVE: (RESOLVE, _one_of(HERE, "proxy")),
    SPARE: (SPARE, _spares),
    CONGESTION: (CONGESTION, _algorithm),
    UDP: (UDP, _one_of(*UDP_PATHS, between=", ")),
}
CLIENT_KEYS: Final = frozenset((*TLS_KEYS, *QUIC_KEYS)) - {"client-ca"}
LISTENER_KEYS: Final = frozenset(("cert", "key", "client-ca", "min-version", "backend"))


def _read(keys: Keys, pairs: Iterable[tuple[str, str]]) -> dict[str, Value]:
    """Return the fields that pairs of a query give. Raises ValueError, whose text says what is wrong."""
    values: dict[str, Value] = {}
    for key, text in pairs:
        field, read = keys[key]
        if field in values:
            raise ValueError(f"has the option {key!r} twice")
        try:
            values[field] = read(text)
        except ValueError as error:
            raise ValueError(f"has {key}={text}: {error}") from None
    return values


def _tls(values: dict[str, Value]) -> TlsParameters:
    parameters = TlsParameters(**values)  # type: ignore[arg-type]  # TLS_KEYS gives each its own type
    if parameters.key and not parameters.certificate:
        raise ValueError("has a key without cert, its certificate")
    if parameters.insecure and (parameters.pins or parameters.ca):
        raise ValueError("has insecure-no-verification beside what is to be verified")
    return parameters


def _format(parameters: TlsParameters | QuicParameters, keys: Keys) -> str:
    """Return the query that gives parameters; "" if they are the usual ones."""
    usual = {field.name: field.default for field in fields(parameters)}
    return "&".join(
        f"{key}={'optional' if key == 'alpn' else _text(value)}"
        for key, (field, _) in keys.items()
        if (value := getattr(parameters, field)) != usual[field]
    )


def _text(value: Value) -> str:
    match value:
        case str():
            return quote(value)
        case bool():
            return str(int(value))
        case tuple():
            return ",".join(map(format_pin, value))


# What queries say about stack options.

LEGS: Final[Mapping[str, Leg]] = {"client": Leg.CLIENT_PROXY, "remote": Leg.PROXY_REMOTE, "both": Leg.BOTH}
SWITCHES: Final[Mapping[str, bool]] = {"0": False, "1": True}
URL_OPTIONS: Final = {option.url_key: option for option in STACK_OPTIONS if option.url_key}
DSCP_KEY: Final = "dscp"  # the TOS without its lowest two bits
LEG: Final = "leg"
OPTION_KEYS: Final = (*URL_OPTIONS, DSCP_KEY, LEG)


def parse_options(pairs: Iterable[tuple[str, str]]) -> tuple[StackOption, ...]:
    """Read keys and values of a query. Raises ValueError, whose text says what is wrong.

    `leg` (client, remote or both) is the leg that tos, dscp, ttl and df are about: the remote's by default.
    """
    values: dict[str, str] = {}
    for key, value in pairs:
        if key not in OPTION_KEYS:
            raise ValueError(f"has an unknown option {key!r}; there are {', '.join(OPTION_KEYS)}")
        if key in values:
            raise ValueError(f"has the option {key!r} twice")
        values[key] = value
    if "tos" in values and "dscp" in values:
        raise ValueError("has tos and dscp, which are the same field")
    leg = LEGS.get(values.pop(LEG, "remote"))
    if leg is None:
        raise ValueError(f"has a leg that is none of {', '.join(LEGS)}")
    return tuple(_made(key, value, leg) for key, value in values.items())


def _made(key: str, text: str, leg: Leg) -> StackOption:
    try:
        if key == DSCP_KEY:
            return Tos.of((DSCP[text.lower()] if text.lower() in DSCP else int(text, 0)) << 2, leg)
        option = URL_OPTIONS[key]
        return option.of(SWITCHES[text] if option.numbers[0] is SWITCH else int(text, 0), leg)
    except KeyError:
        raise ValueError(f"has {key}={text}: write 0 or 1") from None
    except ValueError as error:
        raise ValueError(f"has {key}={text}: {error}") from None


def format_options(options: Iterable[StackOption]) -> str:
    """Return the query that gives these options, which one query gave; "" for none."""
    parts: list[str] = []
    leg = Leg.PROXY_REMOTE
    for option in options:
        value = option.value - 1 if option.numbers[0] is SWITCH else option.value
        parts.append(f"{option.url_key}={value}")
        leg = min(leg, Leg(option.leg), key=lambda leg: leg is Leg.PROXY_REMOTE)
    if leg is not Leg.PROXY_REMOTE:
        parts.append(f"leg={next(name for name, known in LEGS.items() if known is leg)}")
    return "&".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ProxyUrl:
    """Where a proxy is, or listens: at a host and port, or at the path of a Unix socket.

    `str` and `repr` never show the password.
    """

    protocol: str  # the protocol spoken there, one of PROTOCOLS; mixed for all that listeners speak
    host: str = ""  # "" for a Unix socket, and for every address of a listener's machine
    port: int = 0  # 0 for a Unix socket, and for any free port of a listener's machine
    path: str = ""
    username: str | None = None
    password: str | None = None
    options: tuple[StackOption, ...] = ()  # what every request through the proxy asks for
    transport: str = ""  # a row of the registry, or AUTO
    tls: TlsParameters = TLS_DEFAULTS
    quic: QuicParameters = QUIC_DEFAULTS
    dialect: Dialect = DRAFT_12  # what the proxy speaks, if it is not the draft's
    spare: str = ""  # how many TLS connections a client makes ahead of its requests, or auto; "" if not given
    congestion: str = ""  # the congestion control of a client's TCP; "" for the system's
    udp: str = ""  # one of UDP_PATHS: how a client's associations are to travel; "" if not given
    resolve: str = ""  # who resolves names that a client connects to: local, proxy; "" if not given

    @classmethod
    def parse(cls, text: str, transports: Mapping[str, Transport] = TRANSPORTS) -> "ProxyUrl":
        """Read the URL of a proxy to use. Raises ConfigurationError.

        Without a port it is 1080, 8080 for http, 443 for https, and 8389 where there is a transport. Reserved characters in the user
        name, the password and the path of a Unix socket are percent-encoded.
        """
        url = _parse(text, transports, CLIENT_KEYS)
        if url.protocol == DIRECT:
            if url.host or url.port or url.username is not None:
                raise _error(text, "names a proxy, and there is none: write direct://")
            return url
        if not url.path and not url.host:
            raise _error(text, "names no host")
        if not url.path and not url.port:
            raise _error(text, "port 0 cannot be connected to")
        return url

    @classmethod
    def parse_listener(cls, text: str, transports: Mapping[str, Transport] = TRANSPORTS) -> "ProxyUrl":
        """Read the URL of a listener. Raises ConfigurationError.

        Port 0 is any free port; no host, as in "socks6://:1080", is every address of this machine.
        """
        url = _parse(text, transports, LISTENER_KEYS, listening=True)
        if url.transport == AUTO:
            raise _error(text, "a listener is of one kind: give socks6+tls:// and socks6+quic://, one each")
        if url.username is not None:
            raise _error(text, "a listener's users stand elsewhere (--user, --users), not in its URL")
        if url.dialect != DRAFT_12:
            raise _error(text, "a listener's dialects stand elsewhere (--dialect212), not in its URL")
        if url.options or url.udp or url.spare or url.congestion or url.resolve:
            raise _error(text, "a listener's URL has no options")
        return url

    @property
    def spares(self) -> int:
        """How many connections a client may make ahead of its requests."""
        return int(self.spare) if self.spare.isdigit() else MAX_SPARES

    @property
    def scheme(self) -> str:
        """What the URL begins with: the protocol, and +unix for a Unix socket, +tls, +quic."""
        implied = self.protocol in PROTOCOLS and PROTOCOLS[self.protocol].transport is not None
        return f"{self.protocol}+{self.transport}" if self.transport and not implied else self.protocol

    @property
    def spoken(self) -> str:
        """What a proxy there speaks: socks6, socks5, socks4, http."""
        return PROTOCOLS[self.protocol].spoken

    @property
    def alpn(self) -> str:
        """What a client offers over TLS (ALPN); "" for nothing."""
        return ALPNS.get(self.spoken, "")

    @property
    def resolves_here(self) -> bool:
        """Whether the client resolves names that it connects to; else the proxy does."""
        return self.resolve == HERE or self.protocol == "socks4"

    @property
    def is_encrypted(self) -> bool:
        """Whether the URL says how the other side is known, or which certificate a listener shows."""
        return self.transport in {TLS, QUIC, AUTO}

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it: a Unix socket, a loopback address, localhost."""
        if self.path or without_trailing_dot(self.host) == "localhost":
            return True
        return is_literal(self.host) and ip_address(self.host).is_loopback

    @property
    def place(self) -> str:
        """Where it is: host:port, or a path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return quote(os.fsencode(self.path)) if self.path else f"{host}:{self.port}"

    @property
    def brief(self) -> str:
        """The URL without its password and all that follows the place: for people to read."""
        user = "" if self.username is None else f"{quote(self.username, safe='')}@"
        return f"{self.scheme}://{user}{'' if self.protocol == DIRECT else self.place}"

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
        spare = f"{SPARE}={self.spare}" if self.spare else ""
        congestion = f"{CONGESTION}={self.congestion}" if self.congestion else ""
        resolve = f"{RESOLVE}={self.resolve}" if self.resolve else ""
        dialect = "" if self.dialect == DRAFT_12 else f"{DIALECT}={self.dialect.version}"
        tls, quic = _format(self.tls, TLS_KEYS), _format(self.quic, QUIC_KEYS)
        parts = (format_options(self.options), tls, quic, spare, congestion, udp, resolve, dialect)
        query = "&".join(filter(None, parts))
        query = f"?{query}" if query else ""
        if self.path:
            return f"{self.scheme}://{userinfo}{quote(os.fsencode(self.path))}{query}"
        if self.protocol == DIRECT:
            return f"{self.scheme}://{query}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{userinfo}{host}:{self.port}{query}"


def _parse(
    text: str, transports: Mapping[str, Transport], allowed: frozenset[str], *, listening: bool = False
) -> ProxyUrl:
    match = _URL.fullmatch(text)
    if match is None:
        raise _error(text, "is no URL: write socks6://host:port")
    scheme, path = match["scheme"].lower(), match["path"]
    known = schemes(transports, listening=listening)
    if scheme not in known:
        raise _error(text, f"has an unknown scheme{suggestion_or_all(scheme, known)}")
    _refuse_rest(text, match)
    protocol, _, transport = scheme.partition("+")
    transport = PROTOCOLS[protocol].transport or transport
    rows = [transports[name] for name in ((QUIC, TLS) if transport == AUTO else (transport,))]
    pairs = parse_qsl(match["query"] or "", keep_blank_values=True)
    options, tls, quic, more = _parse_query(text, pairs, rows, allowed)
    userinfo, at, place = match["authority"].rpartition("@")
    username, password = _parse_userinfo(text, userinfo) if at else (None, None)
    if rows[0].at_path:
        host, port, path = "", 0, _parse_path(text, place, path)
    else:
        if path not in {"", "/"}:
            raise _error(text, "has a path, which only URLs of Unix sockets have")
        host, given = _parse_place(text, place)
        usual = TRANSPORT_PORT if "+" in scheme else PROTOCOLS[protocol].port
        port, path = usual if given is None else given, ""
    return ProxyUrl(
        protocol=protocol,
        host=host,
        port=port,
        path=path,
        username=username,
        password=password,
        options=options,
        transport=transport,
        tls=tls,
        quic=quic,
        dialect=_dialect(text, more.get(DIALECT), protocol),
        spare=_where(text, more, SPARE, transport, TLS, AUTO),
        congestion=_where(text, more, CONGESTION, transport, "", TLS, AUTO),
        udp=_udp(text, more.get(UDP), transport),
        resolve=_resolve(text, more.get(RESOLVE), protocol),
    )


def schemes(transports: Mapping[str, Transport], *, listening: bool = True) -> tuple[str, ...]:
    """Return the schemes of URLs, of listeners or of proxies to use: what each protocol may be spoken over."""
    names = *transports, *([AUTO] if {TLS, QUIC} <= transports.keys() else [])
    return tuple(
        f"{protocol}+{name}" if name else protocol
        for name in names
        for protocol in transports[QUIC if name == AUTO else name].protocols or PROTOCOLS
        if (PROTOCOLS[protocol].listens or not listening)
        and (not name or PROTOCOLS[protocol].transport is None)
    )


def _parse_query(
    text: str, pairs: list[tuple[str, str]], rows: list[Transport], allowed: frozenset[str]
) -> tuple[tuple[StackOption, ...], TlsParameters, QuicParameters, dict[str, Value]]:
    tls_keys = TLS_KEYS if any(row.encrypted for row in rows) else {}
    quic_keys = QUIC_KEYS if any(row.multiplexed for row in rows) else {}
    here = (*(key for key in (*tls_keys, *quic_keys) if key in allowed), *PROXY_KEYS, *OPTION_KEYS)
    unknown = next((key for key, _ in pairs if key not in here), None)
    if unknown is not None:
        if unknown in {*tls_keys, *quic_keys}:
            whose = "clients" if allowed is LISTENER_KEYS else "listeners"
            raise _error(text, f"has an unknown option {unknown!r}, which is for {whose}")
        raise _error(text, f"has an unknown option {unknown!r}{_meant(unknown, here)}")
    rest = [pair for pair in pairs if pair[0] not in {*PROXY_KEYS, *tls_keys, *quic_keys}]
    try:
        options = parse_options(rest)
        tls = _tls(_read(tls_keys, (pair for pair in pairs if pair[0] in tls_keys)))
        values = _read(quic_keys, (pair for pair in pairs if pair[0] in quic_keys))
        more = _read(PROXY_KEYS, (pair for pair in pairs if pair[0] in PROXY_KEYS))
    except ValueError as error:
        raise _error(text, str(error)) from None
    if all(row.multiplexed for row in rows):
        if tls.min_version == "1.2":
            raise _error(
                text, "has min-version=1.2, and QUIC knows nothing older than TLS 1.3: leave that out"
            )
        if tls.alpn_optional:
            raise _error(
                text, "has alpn=optional, and there is no QUIC without it (RFC 9001 §8.1): leave that out"
            )
    return options, tls, QuicParameters(**values), more  # type: ignore[arg-type]  # as above


def _meant(key: str, here: Sequence[str]) -> str:
    """Return where there is such an option, or what it was meant to be; else those that there are."""
    for name, keys in (("TLS", TLS_KEYS), ("QUIC", QUIC_KEYS)):
        if key in keys:
            return f", which is about {name}"
    return suggestion_or_all(key, here)


def _dialect(text: str, value: Value | None, protocol: str) -> Dialect:
    """Return the dialect of a SOCKS 6 proxy."""
    if value is not None and protocol != "socks6":
        raise _error(text, f"has {DIALECT}={value}, which is about SOCKS 6 alone")
    return DRAFT_12 if value is None else DIALECTS[str(value)]


def _where(text: str, more: Mapping[str, Value], key: str, transport: str, *transports: str) -> str:
    """Return the value of a key that only some transports have; "" where it is not given."""
    value = more.get(key)
    if value is not None and transport not in transports:
        where = "TCP and TLS" if "" in transports else "TLS"
        raise _error(text, f"has {key}={value}, which there is over {where} alone")
    return str(value or "")


def _udp(text: str, value: Value | None, transport: str) -> str:
    """Return the path of datagrams."""
    path = str(value or "")
    wanted = UDP_PATHS.get(path)
    if wanted and wanted != transport:
        raise _error(text, f"has {UDP}={path}, which there is beside {wanted} alone")
    return path


def _resolve(text: str, value: Value | None, protocol: str) -> str:
    """Return who resolves names."""
    if value is not None and value != HERE and protocol == "socks4":
        raise _error(text, f"has {RESOLVE}={value}, and SOCKS 4 has no names: socks4a:// has them")
    return str(value or "")


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
    if not mark and (slip := _SLASHLESS.match(text)) and "@" not in text:
        scheme, mark, rest = "", slip[0], text[slip.end() :]
    if "@" in scheme or ":" in scheme:
        return "***"
    _, at, place = rest.rpartition("@")
    if at:
        place = re.split("[/?#]", place, maxsplit=1)[0] or "..."
    return f"{scheme}{mark}{'***@' if at else ''}{place if _SHOWABLE.fullmatch(place) else '***'}"
