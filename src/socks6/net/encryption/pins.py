"""Pins: the SHA-256 of a certificate's public key (its SubjectPublicKeyInfo, as in RFC 7469).

A pin outlives the certificate: one renewed with the same key keeps it.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Final

from socks6.errors import DecodeError

PIN_SIZE: Final = 32
SEQUENCE: Final = 0x30
VERSION: Final = 0xA0  # the optional [0] that begins a TBSCertificate (RFC 5280 §4.1)
BEFORE_THE_KEY: Final = 5  # serial number, signature, issuer, validity, subject
LONGEST_LENGTH: Final = 4  # bytes that tell an element's length
_HEX: Final = re.compile(r"[0-9A-Fa-f]{64}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{43}=?")


def pin_of(certificate: bytes) -> bytes:
    """Return the pin of a certificate in DER. Raises DecodeError."""
    return hashlib.sha256(public_key_of(certificate)).digest()


def public_key_of(certificate: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of a certificate in DER. Raises DecodeError."""
    signed = _Elements(_Elements(certificate).inside(SEQUENCE)).inside(SEQUENCE)
    fields = _Elements(signed)
    if fields.tag == VERSION:
        fields.skip()
    for _ in range(BEFORE_THE_KEY):
        fields.skip()
    return fields.take(SEQUENCE)


def parse_pin(text: str) -> bytes:
    """Read a pin in base64 (of either alphabet, with or without padding) or hexadecimal. Raises ValueError."""
    text = text.removeprefix("sha256//")  # as curl's --pinnedpubkey writes it
    if _HEX.fullmatch(plain := text.replace(":", "")):
        return bytes.fromhex(plain)
    if not _BASE64.fullmatch(text):
        raise ValueError("is no SHA-256 of a public key: 43 letters of base64, or 64 of hexadecimal")
    return base64.b64decode(text.rstrip("=").replace("-", "+").replace("_", "/") + "=")


def format_pin(pin: bytes) -> str:
    """Return a pin as it stands in URLs: base64 that needs no percent."""
    return base64.urlsafe_b64encode(pin).rstrip(b"=").decode()


def is_pinned(certificate: bytes, pins: Iterable[bytes]) -> bool:
    """Return whether a certificate in DER has one of the pins."""
    try:
        found = pin_of(certificate)
    except DecodeError:
        return False
    return any(hmac.compare_digest(found, pin) for pin in pins)  # which of them matches is no secret


class _Elements:
    """A cursor over DER elements that stand one after another; never beyond their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def tag(self) -> int:
        """What comes next; -1 at the end."""
        return self._data[self._at] if self._at < len(self._data) else -1

    def inside(self, tag: int) -> bytes:
        """Return what is inside the next element, which must be of this kind."""
        start, end = self._next(tag)
        return self._data[start:end]

    def take(self, tag: int) -> bytes:
        """Return the next element whole, which must be of this kind."""
        before = self._at
        _, end = self._next(tag)
        return self._data[before:end]

    def skip(self) -> None:
        """Pass over the next element."""
        self._next(self.tag)

    def _next(self, tag: int) -> tuple[int, int]:
        """Return where the inside of the next element begins and ends, and go behind it."""
        if self.tag != tag or tag < 0:
            raise DecodeError(f"no certificate: element {self.tag:#x} where {tag:#x} should be")
        start = self._at + 2
        if start > len(self._data):
            raise DecodeError("no certificate: it ends early")
        size = self._data[start - 1]
        if size & 0x80:
            count = size & 0x7F
            if not 0 < count <= LONGEST_LENGTH or start + count > len(self._data):
                raise DecodeError("no certificate: an impossible length")
            size = int.from_bytes(self._data[start : start + count], "big")
            start += count
        self._at = start + size
        if self._at > len(self._data):
            raise DecodeError("no certificate: it ends early")
        return start, self._at
