"""UDP association messages."""

from collections.abc import Callable

import pytest

from socks6.errors import DecodeError
from socks6.message.datagrams import (
    AssociationConfirmation,
    AssociationInitialization,
    AssociationMessage,
    Datagram,
    DatagramError,
    build_datagram,
    datagram_prefix,
    decode_destination,
    decode_message,
    message_size,
    parse_header,
)
from socks6.message.dialect import DRAFT_12, GO_212, DatagramLayout, Dialect

DRAFT, CONSISTENT = DatagramLayout
ID = 0x0102030405060708
ID_HEX = "0102030405060708"

QUERY = Datagram(association_id=ID, host="192.0.2.1", port=53, data=b"hi")
QUERY6 = Datagram(association_id=ID, host="2001:db8::1", port=53, data=b"hi")
NAMED = Datagram(association_id=ID, host="example.com", port=53, data=b"hi")
UNREACHABLE = DatagramError(association_id=ID, host="192.0.2.1", port=53, code=2, reporter="10.0.0.1")
TOO_BIG = DatagramError(association_id=ID, host="2001:db8::1", port=53, code=4, reporter="2001:db8::2")
V6_1, V6_2 = "20010db8000000000000000000000001", "20010db8000000000000000000000002"

ENCODED: list[tuple[str, AssociationMessage, DatagramLayout | None]] = [
    ("06 01 000c" + ID_HEX, AssociationInitialization(association_id=ID), None),
    ("06 02 000c" + ID_HEX, AssociationConfirmation(association_id=ID), None),
    ("06 03 0016" + ID_HEX + "01 00 0035 c0000201 6869", QUERY, DRAFT),
    ("06 03 0016" + ID_HEX + "0035 00 01 c0000201 6869", QUERY, CONSISTENT),
    ("06 03 0022" + ID_HEX + "04 00 0035" + V6_1 + "6869", QUERY6, DRAFT),
    ("06 03 0022" + ID_HEX + "0035 00 04" + V6_1 + "6869", QUERY6, CONSISTENT),
    ("06 03 001e" + ID_HEX + "03 00 0035 0b 6578616d706c652e636f6d 6869", NAMED, DRAFT),
    ("06 03 001e" + ID_HEX + "0035 00 03 0b 6578616d706c652e636f6d 6869", NAMED, CONSISTENT),
    ("06 04 001c" + ID_HEX + "01 00 0035 c0000201 01 02 0000 0a000001", UNREACHABLE, DRAFT),
    ("06 04 001c" + ID_HEX + "0035 00 01 c0000201 0000 02 01 0a000001", UNREACHABLE, CONSISTENT),
    ("06 04 0034" + ID_HEX + "04 00 0035" + V6_1 + "04 04 0000" + V6_2, TOO_BIG, DRAFT),
    ("06 04 0034" + ID_HEX + "0035 00 04" + V6_1 + "0000 04 04" + V6_2, TOO_BIG, CONSISTENT),
]
DATAGRAMS = [
    (text, message, layout)
    for text, message, layout in ENCODED
    if isinstance(message, Datagram) and layout is not None
]
AMBIGUOUS = [(kind, port) for kind in (1, 3, 4) for port in (1, 3, 4)]  # in the draft's terms


def encode(message: AssociationMessage, dialect: Dialect, layout: DatagramLayout | None) -> bytes:
    if isinstance(message, AssociationInitialization | AssociationConfirmation):
        return message.encode(dialect)
    return message.encode(dialect, layout)


def in_212(data: bytes) -> bytes:
    return b"\xd4" + data[1:]


@pytest.mark.parametrize(("text", "message", "layout"), ENCODED)
def test_messages_become_bytes(text: str, message: AssociationMessage, layout: DatagramLayout | None) -> None:
    assert encode(message, DRAFT_12, layout) == bytes.fromhex(text)


@pytest.mark.parametrize(("text", "message", "layout"), ENCODED)
def test_messages_become_bytes_in_dialect_212(
    text: str, message: AssociationMessage, layout: DatagramLayout | None
) -> None:
    assert encode(message, GO_212, layout) == in_212(bytes.fromhex(text))


@pytest.mark.parametrize(("text", "message", "layout"), ENCODED)
def test_bytes_become_messages(text: str, message: AssociationMessage, layout: DatagramLayout | None) -> None:
    assert decode_message(bytes.fromhex(text)) == (message, layout)


@pytest.mark.parametrize(("text", "message", "layout"), ENCODED)
def test_bytes_become_messages_in_dialect_212(
    text: str, message: AssociationMessage, layout: DatagramLayout | None
) -> None:
    assert decode_message(in_212(bytes.fromhex(text)), GO_212) == (message, layout)


@pytest.mark.parametrize("message", [QUERY, UNREACHABLE])
@pytest.mark.parametrize(("dialect", "layout"), [(DRAFT_12, DRAFT), (GO_212, CONSISTENT)])
def test_a_dialects_own_layout_is_the_default(
    message: Datagram | DatagramError, dialect: Dialect, layout: DatagramLayout
) -> None:
    assert message.encode(dialect) == message.encode(dialect, layout)


@pytest.mark.parametrize("text", [text for text, _, _ in ENCODED])
def test_bytes_after_a_message_are_padding(text: str) -> None:
    data = bytes.fromhex(text)
    assert decode_message(data + b"padding") == decode_message(data)


@pytest.mark.parametrize("text", [text for text, _, _ in ENCODED])
def test_a_message_cut_anywhere_is_refused(text: str) -> None:
    data = bytes.fromhex(text)
    for end in range(len(data)):
        with pytest.raises(DecodeError):
            decode_message(data[:end])


@pytest.mark.parametrize("text", [text for text, message, _ in ENCODED if not isinstance(message, Datagram)])
def test_bytes_too_many_within_a_message_are_refused(text: str) -> None:
    data = bytearray.fromhex(text + "00")
    data[3] += 1
    with pytest.raises(DecodeError, match="1 bytes after"):
        decode_message(bytes(data))


def test_a_datagram_may_be_empty() -> None:
    message, _ = decode_message(bytes.fromhex("06 03 0014" + ID_HEX + "01 00 0000 00000000"))
    assert message == Datagram(association_id=ID, host="0.0.0.0", port=0, data=b"")


@pytest.mark.parametrize("kind", ["00", "05", "ff"])
def test_an_unknown_type_is_refused(kind: str) -> None:
    with pytest.raises(DecodeError, match="unknown message type"):
        decode_message(bytes.fromhex("06" + kind + "000c" + ID_HEX))


def test_another_version_is_refused() -> None:
    with pytest.raises(DecodeError, match="version 212, not 6"):
        decode_message(bytes.fromhex("d4 01 000c" + ID_HEX))


@pytest.mark.parametrize("kind", ["01", "02", "03", "04"])
@pytest.mark.parametrize("length", ["0000", "000b"])
def test_a_length_below_that_of_the_header_is_refused(kind: str, length: str) -> None:
    with pytest.raises(DecodeError, match="bad message length"):
        decode_message(bytes.fromhex("06" + kind + length + ID_HEX))


@pytest.mark.parametrize("word", ["00 00 0000", "02 00 0035", "01 01 0035", "0035 00 02", "0035 01 01"])
def test_four_bytes_that_fit_no_layout_are_refused(word: str) -> None:
    with pytest.raises(DecodeError, match="no address type"):
        decode_message(bytes.fromhex("06 03 0014" + ID_HEX + word + "00000000"))


@pytest.mark.parametrize("dialect", [DRAFT_12, GO_212])
@pytest.mark.parametrize(("kind", "port"), AMBIGUOUS)
def test_where_both_layouts_fit_the_dialects_counts(kind: int, port: int, dialect: Dialect) -> None:
    data = (
        bytes((dialect.version, 3, 0, 40)) + bytes.fromhex(ID_HEX) + bytes((kind, 0, 0, port, 3)) + b"a" * 23
    )
    _, layout = decode_message(data, dialect)
    assert layout is dialect.datagram_layout


@pytest.mark.parametrize("expected", DatagramLayout)
@pytest.mark.parametrize(("kind", "port"), AMBIGUOUS)
def test_where_both_layouts_fit_the_expected_counts(kind: int, port: int, expected: DatagramLayout) -> None:
    data = bytes.fromhex("06 03 0028" + ID_HEX) + bytes((kind, 0, 0, port, 3)) + b"a" * 23
    message, layout = decode_message(data, DRAFT_12, expected)
    assert layout is expected
    assert isinstance(message, Datagram)
    assert message.port == (port if expected is DRAFT else kind << 8)


@pytest.mark.parametrize(
    "text",
    [
        "06 04 001c" + ID_HEX + "03 00 0035 03616263 01 02 0000 0a000001",
        "06 04 001c" + ID_HEX + "01 00 0035 c0000201 03 02 0000 03616263",
        "06 04 0020" + ID_HEX + "03 00 0035 07312e322e332e34 01 02 0000 0a000001",
        "06 04 0020" + ID_HEX + "0035 00 01 c0000201 0000 02 03 07312e322e332e34",
    ],
)
def test_names_in_an_error_are_refused(text: str) -> None:
    with pytest.raises(DecodeError, match="a name in an Error"):
        decode_message(bytes.fromhex(text))


def test_padding_in_an_error_is_not_read() -> None:
    text = "06 04 001c" + ID_HEX + "01 00 0035 c0000201 01 02 ffff 0a000001"
    assert decode_message(bytes.fromhex(text)) == (UNREACHABLE, DRAFT)


def test_an_error_code_that_we_do_not_know_is_kept() -> None:
    message, _ = decode_message(
        bytes.fromhex("06 04 001c" + ID_HEX + "01 00 0035 c0000201 01 ff 0000 0a000001")
    )
    assert isinstance(message, DatagramError)
    assert message.code == 255


IMPOSSIBLE: dict[str, Callable[[], object]] = {
    "initialization": lambda: AssociationInitialization(association_id=2**64),
    "confirmation": lambda: AssociationConfirmation(association_id=-1),
    "datagram's id": lambda: Datagram(association_id=2**64, host="a", port=1, data=b""),
    "datagram's port": lambda: Datagram(association_id=1, host="a", port=65536, data=b""),
    "datagram's host": lambda: Datagram(association_id=1, host="a b", port=1, data=b"").encode(),
    "datagram's length": lambda: Datagram(association_id=1, host="a", port=1, data=bytes(65516)).encode(),
    "error's id": lambda: DatagramError(association_id=-1, host="::", port=1, code=1, reporter="::"),
    "error's port": lambda: DatagramError(association_id=1, host="::", port=-1, code=1, reporter="::"),
    "error's code": lambda: DatagramError(association_id=1, host="::", port=1, code=256, reporter="::"),
    "error's host": lambda: DatagramError(association_id=1, host="a", port=1, code=1, reporter="::"),
    "error's reporter": lambda: DatagramError(association_id=1, host="::", port=1, code=1, reporter="a"),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_impossible_values_are_the_callers_error(what: str) -> None:
    with pytest.raises(ValueError, match=r"is|do not fit"):
        IMPOSSIBLE[what]()


def test_the_longest_datagram_fits() -> None:
    longest = Datagram(association_id=ID, host="a", port=1, data=bytes(65515))
    assert decode_message(longest.encode()) == (longest, DRAFT)


@pytest.mark.parametrize(
    ("text", "size"), [("", 12), ("06 03 00", 12), ("06 03 0016", 22), ("06 01 000c" + ID_HEX + "06", 12)]
)
def test_size_of_a_message_on_a_stream(text: str, size: int) -> None:
    assert message_size(bytes.fromhex(text)) == size
    assert message_size(bytearray.fromhex(text)) == size


@pytest.mark.parametrize("text", ["06 01 000b", "06 01 0000", "05 01 000c", "d4 01 000c"])
def test_a_stream_whose_framing_is_lost_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        message_size(bytes.fromhex(text))


@pytest.mark.parametrize("expected", DatagramLayout)
@pytest.mark.parametrize(("text", "message", "layout"), DATAGRAMS)
def test_the_fast_path_finds_the_same(
    text: str, message: Datagram, layout: DatagramLayout, expected: DatagramLayout
) -> None:
    data = bytes.fromhex(text)
    header = parse_header(data + b"padding", DRAFT_12, expected)
    assert header is not None
    association_id, key, start, end = header
    assert association_id == message.association_id
    assert data[start:end] == message.data
    assert decode_destination(key, DRAFT_12, expected) == (message.host, message.port, layout)


@pytest.mark.parametrize("expected", DatagramLayout)
def test_the_fast_path_in_dialect_212(expected: DatagramLayout) -> None:
    data = bytes.fromhex("d4 03 001e" + ID_HEX + "0035 00 03 0c 6578616d706c652e636f6d 6869")
    header = parse_header(data, GO_212, expected)
    assert header is not None
    _, key, start, end = header
    assert data[start:end] == b"hi"
    assert decode_destination(key, GO_212, expected) == ("example.com", 53, CONSISTENT)


@pytest.mark.parametrize("text", [text for text, _, _ in DATAGRAMS])
def test_the_fast_path_refuses_a_datagram_cut_anywhere(text: str) -> None:
    data = bytes.fromhex(text)
    for end in range(len(data)):
        assert parse_header(data[:end], DRAFT_12, DRAFT) is None


@pytest.mark.parametrize("text", [text for text, message, _ in ENCODED if not isinstance(message, Datagram)])
def test_the_fast_path_refuses_other_messages(text: str) -> None:
    assert parse_header(bytes.fromhex(text) + bytes(20), DRAFT_12, DRAFT) is None


@pytest.mark.parametrize(
    "text",
    [
        "05 03 0014" + ID_HEX + "01 00 0035 c0000201",  # another version
        "06 03 0014" + ID_HEX + "02 00 0035 c0000201",  # no address type
        "06 03 0013" + ID_HEX + "01 00 0035 c0000201",  # ends before its address does
        "06 03 0014" + ID_HEX + "04 00 0035 c0000201",
        "06 03 0014" + ID_HEX + "03 00 0035 04616263",
        "06 03 0000" + ID_HEX + "01 00 0035 c0000201",
    ],
)
def test_the_fast_path_refuses_what_is_malformed(text: str) -> None:
    data = bytes.fromhex(text)
    assert parse_header(data, DRAFT_12, DRAFT) is None
    with pytest.raises(DecodeError):
        decode_message(data)


def test_a_short_name_is_no_short_datagram() -> None:
    data = bytes.fromhex("06 03 0012" + ID_HEX + "03 00 0035 01 61")
    assert parse_header(data, DRAFT_12, DRAFT) == (ID, data[12:], 18, 18)


def test_whether_a_name_is_plausible_is_found_out_later() -> None:
    header = parse_header(bytes.fromhex("06 03 0014" + ID_HEX + "03 00 0035 03 612062"), DRAFT_12, DRAFT)
    assert header is not None
    with pytest.raises(DecodeError, match="no host name"):
        decode_destination(header[1], DRAFT_12, DRAFT)


@pytest.mark.parametrize(("text", "message", "layout"), DATAGRAMS)
def test_the_fast_path_builds_the_same(text: str, message: Datagram, layout: DatagramLayout) -> None:
    prefix = datagram_prefix(message.association_id, message.host, message.port, DRAFT_12, layout)
    assert build_datagram(prefix, message.data) == bytes.fromhex(text)


def test_the_fast_path_builds_no_datagram_that_is_too_long() -> None:
    prefix = datagram_prefix(ID, "::1", 53, GO_212)
    assert len(build_datagram(prefix, bytes(65503)) or b"") == 65535
    assert build_datagram(prefix, bytes(65504)) is None


@pytest.mark.parametrize(
    "message",
    [
        Datagram(association_id=2**64 - 1, host="::", port=65535, data=b""),
        DatagramError(association_id=2**64 - 1, host="::", port=65535, code=255, reporter="::"),
    ],
)
def test_the_greatest_numbers(message: Datagram | DatagramError) -> None:
    assert decode_message(message.encode()) == (message, DRAFT)
