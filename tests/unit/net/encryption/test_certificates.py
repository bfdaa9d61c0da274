"""Whom certificates name, and pins."""

import base64
import contextlib
import hashlib
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from socks6.errors import DecodeError
from socks6.net.encryption.certificates import (
    details_of,
    format_pin,
    is_for_host,
    is_pinned,
    parse_pin,
    pin_of,
    public_key_of,
    user_of,
)
from tests.kit.certificates import authority, certificate

SUBJECT = ((("organizationName", "x"),), (("commonName", "alice"),))


@pytest.mark.parametrize(
    ("certificate", "user"),
    [
        ({}, ""),
        ({"subject": SUBJECT}, "alice"),
        ({"subject": SUBJECT, "subjectAltName": (("DNS", "laptop.example"),)}, "laptop.example"),
        (
            {
                "subject": SUBJECT,
                "subjectAltName": (("DNS", "laptop.example"), ("email", "alice@example.com")),
            },
            "alice@example.com",
        ),
        ({"subject": SUBJECT, "subjectAltName": (("IP Address", "192.0.2.1"),)}, "alice"),
        ({"subject": SUBJECT, "subjectAltName": (("DirName", (("x", "y"),)),)}, "alice"),
        ({"subject": ((("commonName", "Alice Smith"),),)}, "Alice Smith"),
        ({"subject": ((("organizationName", "x"),),)}, ""),
    ],
)
def test_the_best_name_is_the_user(certificate: dict[str, object], user: str) -> None:
    assert user_of(certificate) == user


@pytest.mark.parametrize("name", ["", "a:b", "a\nb", " a", "a\0", "x" * 256])
def test_a_name_that_no_user_can_have_does_not_count(name: str) -> None:
    assert user_of({"subject": SUBJECT, "subjectAltName": (("email", name),)}) == "alice"


NAMES = (
    ("DNS", "proxy.example"), ("DNS", "*.wild.example"), ("DNS", "*"), ("DNS", "*.com"), ("IP Address", "192.0.2.1"),
    ("IP Address", "2001:DB8:0:0:0:0:0:1"), ("email", "mail.example"), ("IP Address", "rubbish"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("host", "holds"),
    [
        ("proxy.example", True),
        ("PROXY.example.", True),
        ("other.example", False),
        ("a.wild.example", True),
        ("wild.example", False),
        ("a.b.wild.example", False),
        ("*.wild.example", True),
        ("localhost", False),
        ("example.com", False),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("2001:db8::1", True),
        ("2001:db8::2", False),
        ("mail.example", False),
        ("alice", False),  # the common name
    ],
)
def test_a_servers_names_are_its_alternative_names(host: str, holds: bool) -> None:
    assert is_for_host({"subject": SUBJECT, "subjectAltName": NAMES}, host) is holds


def test_a_certificate_without_names_is_for_nobody() -> None:
    assert not is_for_host({}, "proxy.example")
    assert not is_for_host({}, "192.0.2.1")


def test_names_are_told_as_the_standard_library_does() -> None:
    with certificate("alice@example.com", "host.example", "192.0.2.1", common_name="Alice") as files:
        found = x509.load_pem_x509_certificate(Path(files.certificate).read_bytes())
    assert details_of(found)["subjectAltName"] == (
        ("email", "alice@example.com"),
        ("DNS", "host.example"),
        ("IP Address", "192.0.2.1"),
    )
    assert (("commonName", "Alice"),) in details_of(found)["subject"]  # type: ignore[operator]  # a tuple


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
