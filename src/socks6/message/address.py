"""Hosts: IPv4 and IPv6 addresses and domain names, as text and as bytes with the padding rule.

A host is always `str`, in canonical form: dotted quads, IPv6 as in RFC 5952, names as lower-case ASCII
(IDNA's A-labels). A dot at the end of a name is kept, on the wire too: such a name is absolute, no search
domain applies to it, and another host may be meant (RFC 1034 §3.1, RFC 1535). Rules, certificates and logs know
names `without_trailing_dot`.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from socks6.errors import DecodeError
from socks6.message.buffer import Reader
from socks6.message.codes import AddressType
from socks6.message.dialect import Dialect

MAX_NAME_LENGTH: Final = 255  # what the length byte can hold

UNSPECIFIED_IPV4: Final = "0.0.0.0"  # noqa: S104 - compared and written; nothing is listened on here
UNSPECIFIED_IPV6: Final = "::"
UNSPECIFIED: Final = frozenset((UNSPECIFIED_IPV4, UNSPECIFIED_IPV6, "::ffff:0.0.0.0"))

_IPV4: Final = AddressType.IPV4.value
_IPV6: Final = AddressType.IPV6.value
_DOMAIN_NAME: Final = AddressType.DOMAIN_NAME.value
_SIZES: Final = {_IPV4: 4, _IPV6: 16}
_MAPPED: Final = bytes(10) + b"\xff\xff"  # the prefix of IPv4-mapped IPv6 addresses

# Labels of letters, digits, hyphens and (found in the wild) underscores. The last one is no number: libc
# would take "127.1" or "0x7f000001" for addresses.
_NAME: Final = re.compile(rb"(?:[a-z0-9_-]{1,63}\.)*(?![0-9]+\Z|0x[0-9a-f]*\Z)[a-z0-9_-]{1,63}")


class UnknownAddressType(DecodeError):
    """An address of a type that we do not know: where the message ends cannot be known either."""


def is_literal(host: str) -> bool:
    """Return True if `host` is an IPv4 or IPv6 address, False if it is anything else."""
    return _pack_literal(host) is not None


def is_unspecified(host: str) -> bool:
    """Return whether a host in canonical form is an address of zeros, also an IPv4-mapped one: none in particular."""
    return host in UNSPECIFIED


def normalize_host(host: str) -> str:
    """Return a caller's host in canonical form; ValueError if it cannot be a host, TypeError if it is no text.

    Takes IPv6 addresses in brackets too, and names in any script, which become IDNA's A-labels.
    """
    try:
        in_brackets = host.startswith("[") and host.endswith("]")
    except (AttributeError, TypeError):
        raise TypeError(f"host is {host!r}, no text") from None
    if in_brackets:
        packed = _pack_literal(host[1:-1])
        if packed is None or len(packed) != 16:
            raise ValueError(f"{host!r} is no IPv6 address")
        return ipv6_text(packed)
    packed = _pack_literal(host)
    if packed is not None:
        return ipv4_text(packed) if len(packed) == 4 else ipv6_text(packed)
    if not host.isascii():
        host = _to_ascii(host)
    return _canonical_name(host.encode())


def without_trailing_dot(host: str) -> str:
    """Return a host as rules, certificates and logs know it: an absolute name without the dot of the root."""
    return host.removesuffix(".")


def decode_host(text: bytes) -> str:
    """Return a host that a client of another protocol wrote, as `normalize_host` does; DecodeError if it is none."""
    try:
        return normalize_host(text.decode("ascii"))
    except ValueError as error:
        raise DecodeError("an impossible host name") from error


@lru_cache(maxsize=1024)
def encode_address(host: str) -> tuple[int, bytes]:
    """Return the address type of `host`, and its bytes with length byte and padding.

    ValueError if it is no host in ASCII: see `normalize_host`.
    """
    packed = _pack_literal(host)
    if packed is not None:
        return (_IPV4 if len(packed) == 4 else _IPV6), packed
    name = _canonical_name(host.encode()).encode()
    padded = name + bytes(-(1 + len(name)) % 4)  # § Requests: the padding is included in the length byte
    return _DOMAIN_NAME, bytes((len(padded),)) + padded


def decode_address(kind: int, reader: Reader, dialect: Dialect) -> str:
    """Return the host that is next in `reader`; UnknownAddressType for a type that we do not know."""
    decode = _DECODERS.get(kind)
    if decode is None:
        raise UnknownAddressType(f"unknown address type {kind}")
    return decode(reader, dialect)


def literal_at(kind: int, data: bytes, start: int) -> str | None:
    """Return the IP address of type `kind` that begins at `start`; None for other types, or if it is not all there."""
    size = _SIZES.get(kind)
    if size is None or len(data) < start + size:
        return None
    packed = data[start : start + size]
    return ipv6_text(packed) if size == _SIZES[_IPV6] else ipv4_text(packed)


def address_size(kind: int, reader: Reader, dialect: Dialect) -> int:
    """Return how many bytes the next address has, with its length byte; 1 while that has not arrived.

    UnknownAddressType for a type that we do not know.
    """
    if kind == _DOMAIN_NAME:
        return 1 + (name_length(reader.u8(), dialect) if reader.remaining else 0)
    size = _SIZES.get(kind)
    if size is None:
        raise UnknownAddressType(f"unknown address type {kind}")
    return size


def name_length(length: int, dialect: Dialect) -> int:
    """Return how many bytes follow a length byte of `length`."""
    if dialect.domain_length_counts_itself and length and length % 4 == 0:
        return length - 1
    return length


def ipv4_text(packed: bytes) -> str:
    """Return four bytes as a dotted quad."""
    a, b, c, d = packed
    return f"{a}.{b}.{c}.{d}"


@lru_cache(maxsize=1024)
def ipv6_text(packed: bytes) -> str:
    """Return sixteen bytes as RFC 5952 writes them, mapped IPv4 addresses with a dotted quad."""
    if packed.startswith(_MAPPED):
        return "::ffff:" + ipv4_text(packed[12:])
    return str(IPv6Address(packed))


@lru_cache(maxsize=1024)
def _pack_literal(host: str) -> bytes | None:
    """Return the bytes of an IP address in text; None if it is none."""
    try:
        if ":" not in host:
            return IPv4Address(host).packed
        if "%" not in host:  # a zone means nothing to another machine
            return IPv6Address(host).packed
    except ValueError:
        pass
    return None


def _to_ascii(name: str) -> str:
    import idna  # noqa: PLC0415 - takes 10 ms, and most names are ASCII

    try:
        return idna.encode(name, uts46=True).decode()
    except idna.IDNAError as error:
        raise ValueError(f"{name!r} is no host name: {error}") from error


def _canonical_name(name: bytes) -> str:
    """Return a name in canonical form; ValueError if it is not plausible as a host's name."""
    name = name.lower()
    if len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name.removesuffix(b".")):
        raise ValueError(f"{name!r} is no host name")
    return name.decode()


def _decode_name(reader: Reader, dialect: Dialect) -> str:
    name = reader.take(name_length(reader.u8(), dialect)).rstrip(b"\0").lower()
    relative = name.removesuffix(b".")
    if _NAME.fullmatch(relative):
        return name.decode()
    text = relative.decode("latin-1")
    if ":" in text or _pack_literal(text) is None:  # a dotted quad written as a name is an address
        raise DecodeError(f"{name!r} is no host name")
    return text


_DECODERS: Final[dict[int, Callable[[Reader, Dialect], str]]] = {
    _IPV4: lambda reader, _: ipv4_text(reader.take(4)),
    _IPV6: lambda reader, _: ipv6_text(reader.take(16)),
    _DOMAIN_NAME: _decode_name,
}
