"""Hosts as text and as bytes."""

import pytest

from socks6.errors import DecodeError
from socks6.message import address
from socks6.message.address import (
    UnknownAddressType,
    address_size,
    decode_address,
    decode_host,
    encode_address,
    ipv6_text,
    is_literal,
    is_unspecified,
    normalize_host,
    without_trailing_dot,
)
from socks6.message.buffer import Reader
from socks6.message.codes import AddressType
from socks6.message.dialect import DRAFT_12, GO_212, Dialect

ENCODED = {
    "127.0.0.1": (1, "7f000001"),
    "255.255.255.255": (1, "ffffffff"),
    "2001:db8::1": (4, "20010db8 00000000 00000000 00000001"),
    "::ffff:192.0.2.1": (4, "00000000 00000000 0000ffff c0000201"),
    "example.com": (3, "0b 6578616d706c652e636f6d"),
    "localhost": (3, "0b 6c6f63616c686f7374 0000"),
    "a": (3, "03 61 0000"),
    "ab": (3, "03 6162 00"),
    "abc": (3, "03 616263"),
    "abcd": (3, "07 61626364 000000"),
    "_dmarc.xn--bcher-kva.example": (3, "1f 5f646d6172632e786e2d2d62636865722d6b76612e6578616d706c65 000000"),
}
LONGEST = ".".join(["a" * 63] * 4)  # 255 bytes

NO_NAMES = {
    "empty": "",
    "a dot alone": ".",
    "two dots": "a..b",
    "a dot in front": ".a",
    "space": "a b",
    "inner NUL": "a\0b",
    "slash": "a/b",
    "colon": "a:b",
    "at": "a@b",
    "zone": "fe80::1%eth0",
    "line": "a\n",
    "brackets": "[a]",
    "a label too long": "a" * 64,
    "a number": "2130706433",
    "a short quad": "127.1",
    "an octal quad": "0177.0.0.1",
    "a hexadecimal number": "0x7f000001",
    "a hexadecimal quad": "127.0.0.0x1",
    "a number of four parts that is too great": "1.2.3.256",
}


@pytest.fixture(autouse=True)
def _no_cache() -> None:
    """Let each test see what is computed, not what an earlier one has."""
    encode_address.cache_clear()
    ipv6_text.cache_clear()
    address._pack_literal.cache_clear()


def decode(kind: int, text: str, dialect: Dialect = DRAFT_12) -> str:
    reader = Reader(bytes.fromhex(text))
    host = decode_address(kind, reader, dialect)
    assert reader.remaining == 0
    return host


@pytest.mark.parametrize("host", ENCODED)
def test_a_host_becomes_bytes(host: str) -> None:
    kind, text = ENCODED[host]
    assert encode_address(host) == (kind, bytes.fromhex(text))


@pytest.mark.parametrize("dialect", [DRAFT_12, GO_212])
@pytest.mark.parametrize("host", ENCODED)
def test_bytes_become_a_host(host: str, dialect: Dialect) -> None:
    assert decode(*ENCODED[host], dialect) == host


def test_a_name_of_255_bytes_fits_without_padding() -> None:
    assert encode_address(LONGEST) == (3, b"\xff" + LONGEST.encode())


def test_a_name_of_256_bytes_does_not_fit() -> None:
    with pytest.raises(ValueError, match="no host name"):
        encode_address("b" + LONGEST + ".c")


def test_an_absolute_name_of_256_bytes_does_not_fit() -> None:
    with pytest.raises(ValueError, match="no host name"):
        encode_address(LONGEST + ".")


@pytest.mark.parametrize("dialect", [DRAFT_12, GO_212])
def test_the_dot_of_an_absolute_name_is_carried(dialect: Dialect) -> None:
    kind, encoded = encode_address("Svc.")
    assert (kind, encoded) == (3, bytes.fromhex("07 7376632e 000000"))
    assert decode(kind, encoded.hex(), dialect) == "svc."


@pytest.mark.parametrize(
    ("host", "known_as"), [("svc.", "svc"), ("svc", "svc"), ("a.b.", "a.b"), ("::1", "::1")]
)
def test_rules_and_logs_know_names_without_the_dot(host: str, known_as: str) -> None:
    assert without_trailing_dot(host) == known_as


@pytest.mark.parametrize("name", ["127.0.0.1.", "127.0.0.1"])
def test_a_dotted_quad_with_a_dot_is_an_address_still(name: str) -> None:
    assert decode_address(3, Reader(bytes((len(name),)) + name.encode()), DRAFT_12) == "127.0.0.1"


@pytest.mark.parametrize("what", NO_NAMES)
def test_what_is_no_host_is_not_encoded(what: str) -> None:
    with pytest.raises(ValueError, match="no host name"):
        encode_address(NO_NAMES[what])


@pytest.mark.parametrize("what", NO_NAMES)
def test_what_is_no_host_name_is_not_decoded(what: str) -> None:
    name = NO_NAMES[what].encode()
    with pytest.raises(DecodeError, match="no host name"):
        decode_address(3, Reader(bytes((len(name),)) + name), DRAFT_12)


def test_a_name_in_another_script_is_not_encoded_as_it_is() -> None:
    with pytest.raises(ValueError, match="no host name"):
        encode_address("bücher.example")


def test_bytes_beyond_ascii_are_no_name() -> None:
    with pytest.raises(DecodeError):
        decode(3, "03 62fc63")


def test_padding_at_the_end_of_a_name_is_dropped() -> None:
    assert decode(3, "07 6162 0000000000") == "ab"


def test_a_name_of_padding_alone_is_refused() -> None:
    with pytest.raises(DecodeError):
        decode(3, "03 000000")


def test_a_name_without_padding_is_accepted() -> None:
    assert decode(3, "02 6162") == "ab"


def test_case_is_dropped() -> None:
    assert decode(3, "03 4162 43") == "abc"


def test_a_dot_at_the_end_is_kept() -> None:
    assert decode(3, "03 6162 2e") == "ab."


def test_a_dotted_quad_written_as_a_name_is_an_address() -> None:
    assert is_literal(decode(3, "07 312e322e332e34"))


def test_an_ipv6_address_written_as_a_name_is_refused() -> None:
    with pytest.raises(DecodeError):
        decode(3, "03 3a3a31")


def test_dialect_212_may_count_the_length_byte_itself() -> None:
    assert decode(3, "0c 6578616d706c652e636f6d", GO_212) == "example.com"


def test_dialect_212_also_writes_as_the_draft_does() -> None:
    assert decode(3, "0b 6578616d706c652e636f6d", GO_212) == "example.com"


def test_a_draft_12_length_never_counts_itself() -> None:
    assert decode(3, "04 61626364") == "abcd"


@pytest.mark.parametrize("dialect", [DRAFT_12, GO_212])
def test_a_name_of_length_0_is_refused(dialect: Dialect) -> None:
    with pytest.raises(DecodeError):
        decode(3, "00", dialect)


@pytest.mark.parametrize("kind", [0, 2, 5, 255])
def test_an_unknown_address_type_has_an_error_of_its_own(kind: int) -> None:
    with pytest.raises(UnknownAddressType, match=f"unknown address type {kind}"):
        decode_address(kind, Reader(bytes(32)), DRAFT_12)
    with pytest.raises(UnknownAddressType, match=f"unknown address type {kind}"):
        address_size(kind, Reader(bytes(32)), DRAFT_12)


@pytest.mark.parametrize(("kind", "text"), [(1, "7f0000"), (4, 15 * "00"), (3, "03 6162"), (3, "")])
def test_an_address_cut_short_is_a_decode_error(kind: int, text: str) -> None:
    with pytest.raises(DecodeError, match="bytes wanted"):
        decode(kind, text)


@pytest.mark.parametrize(
    ("kind", "start", "dialect", "size"),
    [
        (AddressType.IPV4, "", DRAFT_12, 4),
        (AddressType.IPV6, "", DRAFT_12, 16),
        (AddressType.DOMAIN_NAME, "", DRAFT_12, 1),
        (AddressType.DOMAIN_NAME, "0b", DRAFT_12, 12),
        (AddressType.DOMAIN_NAME, "0c", DRAFT_12, 13),
        (AddressType.DOMAIN_NAME, "0c", GO_212, 12),
        (AddressType.DOMAIN_NAME, "00", GO_212, 1),
    ],
)
def test_size_of_an_address(kind: int, start: str, dialect: Dialect, size: int) -> None:
    assert address_size(kind, Reader(bytes.fromhex(start)), dialect) == size


@pytest.mark.parametrize(
    "text",
    [
        "::",
        "::1",
        "1::",
        "2001:db8::1",
        "2001:db8:0:1:1:1:1:1",  # RFC 5952, 4.2.2: one group alone is not shortened
        "2001:0:0:1::1",  # 4.2.3: the longest run
        "2001:db8::1:0:0:1",  # 4.2.3: the first of equals
        "10:0:1:1::",
        "10:0:1:1:10::",
        "::ffff:10.0.0.1",
        "1:2:3:4:5:6:7:8",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "64:ff9b::a00:1",
    ],
)
def test_ipv6_is_written_as_rfc_5952_says(text: str) -> None:
    kind, packed = encode_address(text)
    assert kind == AddressType.IPV6
    assert ipv6_text(packed) == text


@pytest.mark.parametrize("host", ["127.0.0.1", "::", "::ffff:1.2.3.4", "2001:DB8::1"])
def test_addresses_are_literals(host: str) -> None:
    assert is_literal(host)


@pytest.mark.parametrize(
    "host", ["localhost", "", "127.1", "::1%lo", "[::1]", "1.2.3.4.", ":", "\u0661.1.1.1"]
)
def test_other_hosts_are_no_literals(host: str) -> None:
    assert not is_literal(host)


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("Example.COM", "example.com"),
        ("Example.com.", "example.com."),  # absolute: no search domain applies
        ("bücher.example.", "xn--bcher-kva.example."),
        ("127.0.0.1", "127.0.0.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[::1]", "::1"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER。example", "xn--bcher-kva.example"),
        ("faß.de", "xn--fa-hia.de"),
        ("_srv._tcp.example", "_srv._tcp.example"),
    ],
)
def test_a_callers_host_becomes_canonical(given: str, canonical: str) -> None:
    assert normalize_host(given) == canonical


@pytest.mark.parametrize(
    "host",
    [
        "",
        "[127.0.0.1]",
        "[::1",
        "[x]",
        "::1%lo",
        "a b",
        "ü ü",
        "☃.example",
        "ü" * 100,
        LONGEST + ".b",
        "\ud800",
    ],
)
def test_what_cannot_be_a_host_is_the_callers_error(host: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        normalize_host(host)


@pytest.mark.parametrize("host", [None, 7, b"a.example"])
def test_what_is_no_text_is_no_host(host: object) -> None:
    with pytest.raises(TypeError, match="no text"):
        normalize_host(host)  # type: ignore[arg-type]


def test_a_host_in_text_may_be_an_address() -> None:
    assert [decode_host(text) for text in (b"Example.com", b"2001:DB8::1")] == ["example.com", "2001:db8::1"]


@pytest.mark.parametrize("text", [b"", b"a b", b"\xc3\xa4", b"::1%lo", b"127.1"])
def test_text_that_is_no_host_is_refused(text: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_host(text)


@pytest.mark.parametrize(
    ("host", "unspecified"),
    [
        ("0.0.0.0", True),
        ("::", True),
        ("::ffff:0.0.0.0", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("0.0.0.1", False),
        ("", False),
        ("a.example", False),
    ],
)
def test_an_address_of_zeros_is_none_in_particular(host: str, unspecified: bool) -> None:
    assert is_unspecified(host) is unspecified
