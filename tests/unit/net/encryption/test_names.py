"""Whom a certificate names."""

import pytest

from socks6.net.encryption.names import user_of

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
