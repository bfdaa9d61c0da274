"""Records of DTLS, and hellos that are answered without state."""

import pytest

from socks6.net.transports.dtls_records import (
    ClientHello,
    cut,
    hello_verify_request,
    is_clear,
    is_one_record,
    read_client_hello,
)

RANDOM = bytes(range(32))


def record(size: int, kind: int = 22, epoch: int = 0) -> bytes:
    return bytes((kind, 0xFE, 0xFD)) + epoch.to_bytes(2) + bytes(6) + size.to_bytes(2) + bytes(size)


def client_hello(
    *, cookie: bytes = b"", kind: int = 1, epoch: int = 0, offset: int = 0, part: int | None = None
) -> bytes:
    body = b"\xfe\xfd" + RANDOM + b"\x04abcd" + bytes((len(cookie),)) + cookie + b"\0\2\xc0\x2b\1\0"
    size = len(body)
    message = (
        bytes((kind,)) + size.to_bytes(3) + b"\0\0" + offset.to_bytes(3)
        + (size if part is None else part).to_bytes(3) + body
    )  # fmt: skip
    return b"\x16\xfe\xff" + epoch.to_bytes(2) + b"\0\0\0\0\0\7" + len(message).to_bytes(2) + message


def test_flights_are_cut_at_their_records() -> None:
    a, b, c = record(100), record(200), record(300)
    assert cut(a + b + c, 326) == [a + b, c]
    assert cut(a + b + c, 325) == [a, b, c]
    assert cut(a + b + c, 1000) == [a + b + c]
    assert cut(b"", 100) == []


def test_record_longer_than_a_datagram_goes_by_itself() -> None:
    a, b, c = record(10), record(500), record(10)
    assert cut(a + b + c, 100) == [a, b, c]


def test_flight_that_ends_within_a_record_is_cut_all_the_same() -> None:
    a, b = record(10), record(20)[:-5]
    assert cut(a + b, 1000) == [a + b]
    assert cut(a + b[:5], 20) == [a, b[:5]]


def test_one_record_is_told_from_several_and_from_a_part() -> None:
    assert is_one_record(record(10))
    assert is_one_record(record(0))
    assert not is_one_record(record(10) + record(1))
    assert not is_one_record(record(10)[:-1])
    assert not is_one_record(b"\x17")


def test_records_before_there_were_keys_are_clear() -> None:
    assert is_clear(record(1))
    assert not is_clear(record(1, epoch=1))


def test_client_hello_is_read() -> None:
    assert read_client_hello(client_hello(cookie=b"cookie")) == ClientHello(
        sequence=b"\0\0\0\0\0\7", random=RANDOM, cookie=b"cookie"
    )


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x16",
        client_hello()[:-8],
        client_hello()[:40],
        client_hello(kind=2),
        client_hello(epoch=1),
        client_hello(offset=1),
        client_hello(part=5),
        b"\x17" + client_hello()[1:],
        b"\x16\x03" + client_hello()[2:],
    ],
)
def test_anything_else_is_no_client_hello(datagram: bytes) -> None:
    assert read_client_hello(datagram) is None


def test_verify_request_repeats_the_sequence_number_and_holds_the_cookie() -> None:
    hello = ClientHello(sequence=b"\0\0\0\0\0\7", random=RANDOM, cookie=b"")
    assert hello_verify_request(hello, b"cake").hex(" ") == (
        "16 fe ff 00 00 00 00 00 00 00 07 00 13 03 00 00 07 00 00 00 00 00 00 00 07 fe ff 04 63 61 6b 65"
    )
