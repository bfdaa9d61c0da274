"""Whatever bytes come where DTLS is spoken: nothing raises, nothing is believed, and who is connected stays so."""

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from socks6.net.transports.dtls import (
    HEADER_SIZE,
    DtlsConnector,
    DtlsConversation,
    cut,
    hello_verify_request,
    is_clear,
    is_one_record,
    read_client_hello,
)
from tests.kit.dtls import Couple, trusted

KINDS = st.sampled_from((20, 21, 22, 23, 24, 25, 63))


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """Return something like a record, whose length may be wrong."""
    body = draw(st.binary(max_size=80))
    size = draw(st.just(len(body)) | st.integers(0, 0xFFFF))
    version = draw(st.sampled_from((b"\xfe\xff", b"\xfe\xfd", b"\xfe\xfc", b"\x03\x03")))
    epoch = draw(st.integers(0, 2))
    number = draw(st.integers(0, 2**48 - 1))
    return bytes((draw(KINDS),)) + version + epoch.to_bytes(2) + number.to_bytes(6) + size.to_bytes(2) + body


RUBBISH = st.lists(records(), max_size=4).map(b"".join) | st.binary(max_size=200)


@cache
def couple() -> Couple:
    """Return two that are connected, for all examples: none of them may change that."""
    with trusted() as (files, said):
        return Couple(files, DtlsConnector("localhost", said))


@cache
def hello() -> bytes:
    """Return a ClientHello with a cookie."""
    client = couple().connector.call()
    first = read_client_hello(client.datagrams_to_send()[0])
    assert first is not None
    client.receive(hello_verify_request(first, b"a cookie"))
    return client.datagrams_to_send()[0]


@given(st.lists(st.binary(max_size=300), max_size=12), st.integers(20, 1500))
def test_flights_are_cut_without_loss(bodies: list[bytes], size: int) -> None:
    made = [b"\x16\xfe\xfd" + bytes(8) + len(body).to_bytes(2) + body for body in bodies]
    datagrams = cut(b"".join(made), size)
    assert b"".join(datagrams) == b"".join(made)
    for datagram in datagrams:
        assert len(datagram) <= size or is_one_record(datagram)
        assert cut(datagram, HEADER_SIZE) == [record for record in cut(datagram, 1) if record]
    assert sum(len(cut(datagram, 1)) for datagram in datagrams) == len(made)


@given(RUBBISH, st.integers(1, 2000))
def test_anything_can_be_cut_and_looked_at(data: bytes, size: int) -> None:
    assert b"".join(cut(data, size)) == data
    is_one_record(data)
    is_clear(data)
    read_client_hello(data)


@given(RUBBISH)
def test_strangers_end_no_connection_and_put_nothing_in(data: bytes) -> None:
    joined = couple()
    for end in (joined.server, joined.client):
        assert end.receive(data) == []
        assert not end.over
        end.datagrams_to_send()
    assert joined.server.receive(joined.client.encrypt(b"still")) == [b"still"]
    assert joined.client.receive(joined.server.encrypt(b"here")) == [b"here"]


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_changed_record_is_none(place: int, change: int) -> None:
    joined = couple()
    record = bytearray(joined.client.encrypt(b"some data that nobody changes"))
    record[place % len(record)] ^= change
    assert joined.server.receive(bytes(record)) == []
    assert not joined.server.over


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 400),
)
def test_hello_that_was_changed_raises_nothing(changes: list[tuple[int, int]], length: int) -> None:
    changed = bytearray(hello())
    for place, value in changes:
        changed[place % len(changed)] = value
    data = bytes(changed[: length or None])
    read_client_hello(data)
    answering = DtlsConversation.answering(couple().context, data)
    assert not answering.established
    answering.datagrams_to_send()


@given(st.lists(RUBBISH, max_size=4))
def test_handshake_with_anybody_raises_nothing(flights: list[bytes]) -> None:
    client = couple().connector.call()
    for data in flights:
        assert client.receive(data) == []
        client.datagrams_to_send()
        client.next_timeout()
    assert not client.established
