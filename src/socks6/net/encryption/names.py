"""Whom a certificate names."""

from collections.abc import Iterator, Mapping
from typing import Final

CERTIFIED: Final = ("email", "DNS")  # of the alternative names, in this order; then the subject's common name
LONGEST: Final = 255  # bytes, as of a user's name in RFC 1929


def user_of(certificate: Mapping[str, object]) -> str:
    """Return the user that a client's certificate, as `ssl` tells of it, names; "" for none.

    That is the first e-mail address among its alternative names, else the first DNS name, else the common
    name of its subject: one with characters that no user's name may have does not count.
    """
    return next(filter(_is_name, _names(certificate)), "")


def _names(certificate: Mapping[str, object]) -> Iterator[str]:
    alternatives = list(_pairs(certificate.get("subjectAltName")))
    for kind in CERTIFIED:
        yield from (name for known, name in alternatives if known == kind)
    subject = certificate.get("subject")
    for part in subject if isinstance(subject, tuple) else ():
        yield from (name for known, name in _pairs(part) if known == "commonName")


def _pairs(value: object) -> Iterator[tuple[str, str]]:
    for pair in value if isinstance(value, tuple) else ():
        match pair:
            case (str() as kind, str() as name):
                yield kind, name
            case _:
                pass


def _is_name(name: str) -> bool:
    return (
        name.isprintable() and ":" not in name and name == name.strip() and 0 < len(name.encode()) <= LONGEST
    )
