"""Pins of public keys."""

import base64
import contextlib
import hashlib

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from socks6.errors import DecodeError
from socks6.net.encryption.pins import format_pin, is_pinned, parse_pin, pin_of, public_key_of
from tests.kit.certificates import authority

CERTIFICATE = x509.load_pem_x509_certificate(authority().issue_cert("h").cert_chain_pems[0].bytes())
DER = CERTIFICATE.public_bytes(Encoding.DER)
PIN = bytes(range(0xE0, 0x100))


@pytest.mark.parametrize("key_type", list(trustme.KeyType))
def test_it_is_the_hash_of_the_public_key_as_others_see_it(key_type: trustme.KeyType) -> None:
    made = authority().issue_cert("h", key_type=key_type)
    certificate = x509.load_pem_x509_certificate(made.cert_chain_pems[0].bytes())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public_key_of(certificate.public_bytes(Encoding.DER)) == key
    assert pin_of(certificate.public_bytes(Encoding.DER)) == hashlib.sha256(key).digest()


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(PIN).decode(),
        base64.b64encode(PIN).decode().rstrip("="),
        base64.urlsafe_b64encode(PIN).decode(),
        "sha256//" + base64.b64encode(PIN).decode(),
        PIN.hex(),
        PIN.hex(":").upper(),
        format_pin(PIN),
    ],
)
def test_a_pin_can_be_written_in_many_ways(text: str) -> None:
    assert parse_pin(text) == PIN


@pytest.mark.parametrize(
    "text", ["", "x", PIN.hex()[:-1], "é" * 43, "a" * 42, "a" * 43 + "==", "a b" + "c" * 40]
)
def test_what_is_no_pin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no SHA-256 of a public key"):
        parse_pin(text)


@given(st.binary(min_size=32, max_size=32))
def test_a_pin_survives_being_written(pin: bytes) -> None:
    assert parse_pin(format_pin(pin)) == pin
    assert format_pin(pin).isascii()


def test_any_of_several_pins_will_do() -> None:
    assert is_pinned(DER, [PIN, pin_of(DER)])
    assert not is_pinned(DER, [PIN])
    assert not is_pinned(DER, [])
    assert not is_pinned(b"", [PIN])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_certificate_or_a_decode_error(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        public_key_of(data)


@given(st.integers(0, len(DER) - 1), st.integers(0, 255))
def test_a_broken_certificate_is_one_or_a_decode_error(at: int, byte: int) -> None:
    with contextlib.suppress(DecodeError):
        public_key_of(DER[:at] + bytes([byte]) + DER[at + 1 :])


@given(st.integers(0, len(DER) - 1))
def test_a_certificate_cut_short_is_none(size: int) -> None:
    with pytest.raises(DecodeError):
        public_key_of(DER[:size])


@pytest.mark.parametrize(
    "data", ["30", "30 80", "30 85 0000000001 00", "30 81", "31 00", "30 05 30 03 A0 01"]
)
def test_impossible_elements_are_refused(data: str) -> None:
    with pytest.raises(DecodeError, match="no certificate"):
        public_key_of(bytes.fromhex(data))
