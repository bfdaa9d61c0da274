"""Any bytes, in any chunks, give a value, a wish for more, or a DecodeError: never anything else."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from socks6.errors import DecodeError
from socks6.message.address import decode_address
from socks6.message.buffer import Reader
from socks6.message.datagrams import (
    Datagram,
    DatagramError,
    decode_destination,
    decode_message,
    message_size,
    parse_header,
)
from socks6.message.dialect import DatagramLayout, Dialect
from socks6.message.options import STANDARD, HandshakeMessage, UnknownOption, encode_options
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.message.userpass import UsernamePassword, UsernamePasswordReply
from tests.kit.strategies import (
    ASSOCIATION_MESSAGES,
    AUTHENTICATION_REPLIES,
    CLASSES_BY_PLACE,
    DIALECTS,
    OPERATION_REPLIES,
    REQUESTS,
    UNKNOWN_OPTIONS,
    known_options,
)

LAYOUTS: Final = st.sampled_from(DatagramLayout)
CUTS: Final = st.lists(st.integers(0, 80), max_size=6).map(sorted)


Message: TypeAlias = Request | AuthenticationReply | OperationReply

MESSAGES: Final[dict[type[Message], SearchStrategy[Message]]] = {
    Request: REQUESTS,
    AuthenticationReply: AUTHENTICATION_REPLIES,
    OperationReply: OPERATION_REPLIES,
}


@st.composite
def spoilt(draw: st.DrawFn, whole: SearchStrategy[bytes]) -> bytes:
    """Return bytes that were a message until some were changed, dropped or added."""
    data = bytearray(draw(whole))
    for position, value in draw(st.lists(st.tuples(st.integers(0, 63), st.integers(0, 255)), max_size=3)):
        if position < len(data):
            data[position] = value
    end = draw(st.integers(0, len(data)) | st.just(len(data)))
    return bytes(data[:end]) + draw(st.binary(max_size=4))


def hostile(messages: SearchStrategy[Message]) -> SearchStrategy[bytes]:
    """Return a strategy for bytes that may be messages."""
    whole = st.builds(lambda message, dialect: message.encode(dialect), messages, DIALECTS)
    return spoilt(whole) | st.binary(max_size=48).map(b"\x06".__add__)


OPTION_BYTES: Final = spoilt(
    st.lists(
        (st.sampled_from(HandshakeMessage).flatmap(known_options) | UNKNOWN_OPTIONS).map(
            lambda option: encode_options((option,))
        ),
        max_size=6,
    ).map(b"".join)
)
DATAGRAM_BYTES: Final = spoilt(
    st.builds(
        lambda message, dialect, layout: (
            message.encode(dialect, layout)
            if isinstance(message, Datagram | DatagramError)
            else message.encode(dialect)
        ),
        ASSOCIATION_MESSAGES,
        DIALECTS,
        LAYOUTS,
    )
) | st.binary(max_size=32).map(b"\x06\x03\x00".__add__)


def receive(kind: type[Message], chunks: list[bytes], dialect: Dialect) -> object:
    """Take chunks as a conversation does; return what came of them, and what was left over."""
    received = bytearray()
    try:
        for number, chunk in enumerate(chunks):
            received += chunk
            size = kind.size(received, dialect)
            assert size > 0
            if len(received) >= size:
                left = bytes(received[size:]) + b"".join(chunks[number + 1 :])
                return kind.decode(bytes(received[:size]), dialect), left
    except DecodeError as error:
        return str(error)
    return "more"


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *(min(at, len(data)) for at in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@pytest.mark.parametrize("kind", MESSAGES)
@given(data=st.data(), dialect=DIALECTS, cuts=CUTS)
def test_the_same_bytes_in_any_chunking_give_the_same(
    kind: type[Message], data: st.DataObject, dialect: Dialect, cuts: list[int]
) -> None:
    received = data.draw(hostile(MESSAGES[kind]))
    at_once = receive(kind, [received], dialect)
    assert receive(kind, cut(received, cuts), dialect) == at_once
    assert receive(kind, [bytes((byte,)) for byte in received] or [b""], dialect) == at_once


@pytest.mark.parametrize("kind", MESSAGES)
@given(data=st.data(), dialect=DIALECTS)
def test_reading_no_more_than_the_size_never_reads_too_much(
    kind: type[Message], data: st.DataObject, dialect: Dialect
) -> None:
    message = data.draw(MESSAGES[kind])
    whole = message.encode(dialect)
    size = kind.size(b"", dialect)
    while (more := kind.size(whole[:size], dialect)) > size:
        size = more
    assert size == len(whole)


@pytest.mark.parametrize("kind", MESSAGES)
@given(data=st.data(), dialect=DIALECTS)
def test_what_was_decoded_can_be_encoded_again(
    kind: type[Message], data: st.DataObject, dialect: Dialect
) -> None:
    received = data.draw(hostile(MESSAGES[kind]))
    try:
        message = kind.decode(received, dialect)
        again = message.encode(dialect)
    except ValueError:  # of options that may be read, but not written, too
        return
    assert kind.decode(again, dialect).encode(dialect) == again


@pytest.mark.parametrize("decode", [UsernamePassword.decode, UsernamePasswordReply.decode])
@given(data=st.binary(max_size=16) | st.binary(max_size=16).map(b"\x01".__add__))
def test_bytes_of_usernames_and_passwords(decode: Callable[[bytes], object], data: bytes) -> None:
    with suppress(DecodeError):
        decode(data)


@given(kind=st.integers(0, 5), data=st.binary(max_size=24), dialect=DIALECTS)
def test_bytes_of_addresses(kind: int, data: bytes, dialect: Dialect) -> None:
    try:
        host = decode_address(kind, Reader(data), dialect)
    except DecodeError:
        return
    assert host
    assert host.isascii()
    assert host.isprintable()


@given(data=OPTION_BYTES, place=st.sampled_from(HandshakeMessage), dialect=DIALECTS)
def test_bytes_of_options(data: bytes, place: HandshakeMessage, dialect: Dialect) -> None:
    try:
        options = STANDARD.decode(Reader(data), place, dialect)
    except DecodeError:
        return
    known = [option for option in options if not isinstance(option, UnknownOption)]
    assert {type(option) for option in known} <= set(CLASSES_BY_PLACE[place])
    claims = [claim for option in known for claim in option.claims()]
    assert len(set(claims)) == len(claims)


@given(data=DATAGRAM_BYTES, dialect=DIALECTS, layout=LAYOUTS)
def test_bytes_of_association_messages(data: bytes, dialect: Dialect, layout: DatagramLayout) -> None:
    try:
        message, found = decode_message(data, dialect, layout)
    except DecodeError:
        return
    assert message.association_id == int.from_bytes(data[4:12])
    assert (found is None) == (data[1] in (1, 2))


@given(data=DATAGRAM_BYTES, cuts=CUTS, dialect=DIALECTS)
def test_bytes_of_association_messages_on_a_stream(data: bytes, cuts: list[int], dialect: Dialect) -> None:
    sizes = set()
    for chunk_end in [*cuts, len(data)]:
        try:
            sizes.add(message_size(data[:chunk_end], dialect))
        except DecodeError:
            sizes.add(0)
    assert len(sizes - {12}) <= 1  # 12 until the length has arrived


@given(data=DATAGRAM_BYTES, dialect=DIALECTS, layout=LAYOUTS)
def test_the_fast_path_agrees_with_the_slow_one(
    data: bytes, dialect: Dialect, layout: DatagramLayout
) -> None:
    try:
        slow = decode_message(data, dialect, layout)
    except DecodeError:
        slow = None
    assert fast(data, dialect, layout) == (slow if slow and isinstance(slow[0], Datagram) else None)


def fast(data: bytes, dialect: Dialect, layout: DatagramLayout) -> object:
    """Decode a datagram as a relay does whose caches are empty."""
    header = parse_header(data, dialect, layout)
    if header is None:
        return None
    association_id, key, start, end = header
    try:
        host, port, found = decode_destination(key, dialect, layout)
    except DecodeError:
        return None
    return Datagram(association_id=association_id, host=host, port=port, data=data[start:end]), found
