"""Whom a certificate names."""

from pathlib import Path

import pytest
from cryptography import x509

from socks6.net.encryption.names import details_of, is_for_host, user_of
from tests.kit.certificates import certificate

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
