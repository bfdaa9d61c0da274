"""Addresses that are read without a Reader."""

import pytest

from socks6.message.address import literal_at
from socks6.message.codes import AddressType

IPV6 = bytes.fromhex("20010db8000000000000000000000001")


@pytest.mark.parametrize(
    ("kind", "data", "host"),
    [
        (AddressType.IPV4, b"\xc0\0\2\1 and more", "192.0.2.1"),
        (AddressType.IPV4, b"\xc0\0\2", None),
        (AddressType.IPV6, IPV6 + b" and more", "2001:db8::1"),
        (AddressType.IPV6, IPV6[:15], None),
        (AddressType.IPV6, IPV6[:4], None),  # as long as an IPv4 address
        (AddressType.DOMAIN_NAME, b"\1a", None),
        (9, IPV6, None),
        (AddressType.IPV4, b"", None),
    ],
)
def test_a_literal_is_whole_or_none(kind: int, data: bytes, host: str | None) -> None:
    assert literal_at(kind, b"before" + data, 6) == host
