"""What a URL's query says about TLS."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias
from urllib.parse import quote

from socks6.net.encryption.certificates import format_pin, parse_pin
from socks6.net.encryption.contexts import MINIMUM_VERSIONS, NOTHING_SAID, TlsParameters

Value: TypeAlias = str | bool | tuple[bytes, ...]

SERVER_KEYS: Final = ("cert", "key", "client-ca", "min-version")
CLIENT_KEYS: Final = (
    "sni", "ca", "pin-sha256", "cert", "key", "min-version", "alpn", "insecure-no-verification",
)  # fmt: skip


def _file(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("name a file")
    return text


def _name(text: str) -> str:
    if not text or not text.isascii() or len(text) > 253:
        raise ValueError("is no name of a host")
    return text


def _version(text: str) -> str:
    if text not in MINIMUM_VERSIONS:
        raise ValueError(f"write {' or '.join(MINIMUM_VERSIONS)}")
    return text


def _pins(text: str) -> tuple[bytes, ...]:
    return tuple(map(parse_pin, text.split(",")))


def _optional(text: str) -> bool:
    if text not in {"optional", "required"}:
        raise ValueError("write optional or required")
    return text == "optional"


def _yes(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ValueError("write 0 or 1")
    return text == "1"


FIELDS: Final[Mapping[str, tuple[str, Callable[[str], Value]]]] = {
    "cert": ("certificate", _file),
    "key": ("key", _file),
    "client-ca": ("client_ca", _file),
    "min-version": ("min_version", _version),
    "sni": ("sni", _name),
    "ca": ("ca", _file),
    "pin-sha256": ("pins", _pins),
    "alpn": ("alpn_optional", _optional),
    "insecure-no-verification": ("insecure", _yes),
}


def parse_tls(pairs: Iterable[tuple[str, str]], keys: Iterable[str]) -> TlsParameters:
    """Read those keys and values of a query that are about TLS. Raises ValueError, which says what is wrong."""
    said: dict[str, Value] = {}
    for key, value in pairs:
        if key not in keys:
            raise ValueError(f"has an unknown option {key!r}; about TLS there are {', '.join(keys)}")
        field, read = FIELDS[key]
        if field in said:
            raise ValueError(f"has the option {key!r} twice")
        try:
            said[field] = read(value)
        except ValueError as error:
            raise ValueError(f"has {key}={value}: {error}") from None
    parameters = TlsParameters(**said)  # type: ignore[arg-type]  # FIELDS gives each its own type
    if parameters.key and not parameters.certificate:
        raise ValueError("has a key without cert, its certificate")
    if parameters.insecure and (parameters.pins or parameters.ca):
        raise ValueError("has insecure-no-verification beside what is to be verified")
    return parameters


def format_tls(said: TlsParameters) -> str:
    """Return the query that says this; "" if nothing is said."""
    return "&".join(
        f"{key}={'optional' if key == 'alpn' else _text(value)}"
        for key, (field, _) in FIELDS.items()
        if (value := getattr(said, field)) != getattr(NOTHING_SAID, field)
    )


def _text(value: Value) -> str:
    match value:
        case str():
            return quote(value)
        case bool():
            return str(int(value))
        case tuple():
            return ",".join(map(format_pin, value))
