"""What is encoded comes back equal: every option and message, in every dialect and layout."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks6.message.address import decode_address, encode_address, ipv6_text, is_literal, normalize_host
from socks6.message.buffer import Reader
from socks6.message.datagrams import (
    AssociationConfirmation,
    AssociationInitialization,
    AssociationMessage,
    Datagram,
    DatagramError,
    build_datagram,
    datagram_prefix,
    decode_message,
    message_size,
)
from socks6.message.dialect import DatagramLayout, Dialect
from socks6.message.options import STANDARD, HandshakeMessage, Option, UnknownOption, encode_options
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.message.userpass import UsernamePassword, UsernamePasswordReply
from tests.kit.strategies import (
    ASSOCIATION_MESSAGES,
    AUTHENTICATION_REPLIES,
    DATAGRAM_ERRORS,
    DATAGRAMS,
    DIALECTS,
    HOSTS,
    LITERALS,
    OPERATION_REPLIES,
    OPTIONS_BY_CLASS,
    REQUESTS,
    UNKNOWN_OPTIONS,
    USERNAME_PASSWORD_REPLIES,
    USERNAMES_AND_PASSWORDS,
    examples,
)

LAYOUTS: Final = st.sampled_from(DatagramLayout)


def test_every_option_has_a_strategy() -> None:
    assert OPTIONS_BY_CLASS.keys() == set(STANDARD.options)


@pytest.mark.parametrize("kind", STANDARD.options, ids=[kind.__name__ for kind in STANDARD.options])
@examples(20)
@given(data=st.data(), dialect=DIALECTS)
def test_options(kind: type[Option], data: st.DataObject, dialect: Dialect) -> None:
    option = data.draw(OPTIONS_BY_CLASS[kind])
    encoded = encode_options((option,))
    assert len(encoded) % 4 == 0
    for place in HandshakeMessage:
        unknown = UnknownOption(kind=option.kind, body=encoded[4:])
        expected = option if place in kind.messages else unknown
        assert STANDARD.decode(Reader(encoded), place, dialect) == (expected,)


@given(option=UNKNOWN_OPTIONS, place=st.sampled_from(HandshakeMessage), dialect=DIALECTS)
def test_unknown_options(option: UnknownOption, place: HandshakeMessage, dialect: Dialect) -> None:
    encoded = encode_options((option,))
    assert STANDARD.decode(Reader(encoded), place, dialect) == (option,)


@given(request=REQUESTS, dialect=DIALECTS)
def test_requests(request: Request, dialect: Dialect) -> None:
    encoded = request.encode(dialect)
    assert Request.size(encoded, dialect) == len(encoded)
    assert Request.decode(encoded, dialect) == request


@given(reply=AUTHENTICATION_REPLIES, dialect=DIALECTS)
def test_authentication_replies(reply: AuthenticationReply, dialect: Dialect) -> None:
    encoded = reply.encode(dialect)
    assert AuthenticationReply.size(encoded, dialect) == len(encoded)
    assert AuthenticationReply.decode(encoded, dialect) == reply


@given(reply=OPERATION_REPLIES, dialect=DIALECTS)
def test_operation_replies(reply: OperationReply, dialect: Dialect) -> None:
    encoded = reply.encode(dialect)
    assert OperationReply.size(encoded, dialect) == len(encoded)
    assert OperationReply.decode(encoded, dialect) == reply


@given(host=HOSTS, dialect=DIALECTS)
def test_hosts(host: str, dialect: Dialect) -> None:
    kind, encoded = encode_address(host)
    assert decode_address(kind, Reader(encoded), dialect) == host
    assert kind == 3 or len(encoded) in (4, 16)
    assert kind != 3 or len(encoded) % 4 == 0


@given(host=HOSTS)
def test_a_canonical_host_stays_as_it_is(host: str) -> None:
    assert normalize_host(host) == host


@given(host=LITERALS)
def test_literals_are_literals(host: str) -> None:
    assert is_literal(host)
    assert encode_address(host)[0] != 3


@given(groups=st.lists(st.sampled_from([0, 0, 0, 1, 0x10, 0xFFFF]), min_size=8, max_size=8))
def test_ipv6_addresses_with_many_zeros(groups: list[int]) -> None:
    packed = b"".join(group.to_bytes(2) for group in groups)
    text = ipv6_text(packed)
    assert encode_address(text) == (4, packed)
    assert ":::" not in text


@given(message=ASSOCIATION_MESSAGES, dialect=DIALECTS, layout=LAYOUTS, padding=st.binary(max_size=8))
def test_association_messages(
    message: AssociationMessage, dialect: Dialect, layout: DatagramLayout, padding: bytes
) -> None:
    if isinstance(message, AssociationInitialization | AssociationConfirmation):
        encoded, expected = message.encode(dialect), None
    else:
        encoded, expected = message.encode(dialect, layout), layout
    assert message_size(encoded, dialect) == len(encoded)
    assert decode_message(encoded + padding, dialect, layout) == (message, expected)


@given(message=DATAGRAMS | DATAGRAM_ERRORS, dialect=DIALECTS)
def test_a_dialects_own_layout_needs_no_telling(message: Datagram | DatagramError, dialect: Dialect) -> None:
    assert decode_message(message.encode(dialect), dialect) == (message, dialect.datagram_layout)


@given(message=DATAGRAMS, dialect=DIALECTS, layout=LAYOUTS)
def test_the_fast_path_builds_the_same(message: Datagram, dialect: Dialect, layout: DatagramLayout) -> None:
    prefix = datagram_prefix(message.association_id, message.host, message.port, dialect, layout)
    assert build_datagram(prefix, message.data) == message.encode(dialect, layout)


@given(message=USERNAMES_AND_PASSWORDS, padding=st.binary(max_size=3))
def test_usernames_and_passwords(message: UsernamePassword, padding: bytes) -> None:
    assert UsernamePassword.decode(message.encode() + padding) == message


@given(message=USERNAME_PASSWORD_REPLIES, padding=st.binary(max_size=3))
def test_username_password_replies(message: UsernamePasswordReply, padding: bytes) -> None:
    assert UsernamePasswordReply.decode(message.encode() + padding) == message
