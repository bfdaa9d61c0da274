"""Hypothesis strategies for every option and message of the wire format, in canonical form.

Canonical: as decoding gives them, so that what is encoded comes back equal. Options are ordered by kind and
without contradictions, hosts are lower case, Authentication Data fills its option.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from socks6.message.address import ipv6_text
from socks6.message.datagrams import (
    AssociationConfirmation,
    AssociationInitialization,
    AssociationMessage,
    Datagram,
    DatagramError,
)
from socks6.message.dialect import DRAFT_12, GO_212, Dialect
from socks6.message.options import (
    MAX_INITIAL_DATA,
    MAX_WINDOW_SIZE,
    STANDARD,
    AuthenticationData,
    AuthenticationMethodAdvertisement,
    AuthenticationMethodSelection,
    HandshakeMessage,
    HappyEyeballs,
    IdempotenceAccepted,
    IdempotenceExpenditure,
    IdempotenceRejected,
    IdempotenceRequest,
    IdempotenceWindow,
    ListenBacklog,
    Multipath,
    NoFragmentation,
    Option,
    PortParity,
    SessionId,
    SessionInvalid,
    SessionOk,
    SessionRequest,
    SessionTeardown,
    StreamId,
    Tfo,
    Tos,
    Ttl,
    UdpError,
    UnknownOption,
)
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.message.userpass import UsernamePassword, UsernamePasswordReply

U8: Final = st.integers(0, 0xFF)
U16: Final = st.integers(0, 0xFFFF)
U32: Final = st.integers(0, 2**32 - 1)
U64: Final = st.integers(0, 2**64 - 1)

DIALECTS: Final[SearchStrategy[Dialect]] = st.sampled_from([DRAFT_12, GO_212])
PORTS: Final = U16

IPV4_ADDRESSES: Final = U32.map(lambda number: str(IPv4Address(number)))
IPV6_ADDRESSES: Final = st.binary(min_size=16, max_size=16).map(ipv6_text)
LITERALS: Final = IPV4_ADDRESSES | IPV6_ADDRESSES
LABELS: Final = st.from_regex(r"[a-z0-9_-]{1,63}", fullmatch=True)
NAMES: Final = st.builds(
    lambda labels, last: ".".join([*labels, last]),
    st.lists(LABELS, max_size=2),
    st.from_regex(r"[a-z_-][a-z0-9_-]{0,62}", fullmatch=True),
)
HOSTS: Final = LITERALS | NAMES

_LEGS: Final = st.integers(1, 3)
_AVAILABILITY: Final = st.integers(1, 2)
_ALIGNED_BYTES: Final = st.integers(1, 16).flatmap(
    lambda words: st.binary(min_size=4 * words, max_size=4 * words)
)

OPTIONS_BY_CLASS: Final[dict[type[Option], SearchStrategy[Option]]] = {
    Tos: st.builds(Tos, leg=_LEGS, tos=U8),
    HappyEyeballs: st.builds(HappyEyeballs, availability=_AVAILABILITY),
    Ttl: st.builds(Ttl, leg=_LEGS, ttl=st.integers(1, 0xFF)),
    NoFragmentation: st.builds(NoFragmentation, leg=_LEGS, availability=_AVAILABILITY),
    Tfo: st.builds(Tfo, payload_size=U16),
    Multipath: st.builds(Multipath, availability=_AVAILABILITY),
    ListenBacklog: st.builds(ListenBacklog, backlog=U16),
    UdpError: st.builds(UdpError, availability=_AVAILABILITY),
    PortParity: st.builds(PortParity, parity=st.integers(0, 2), reserve=st.integers(0, 1)),
    AuthenticationMethodAdvertisement: st.builds(
        AuthenticationMethodAdvertisement,
        methods=st.lists(st.integers(1, 0xFF), unique=True, max_size=8).map(tuple),
        initial_data_length=st.integers(0, MAX_INITIAL_DATA),
    ),
    AuthenticationMethodSelection: st.builds(AuthenticationMethodSelection, method=U8),
    AuthenticationData: st.builds(
        AuthenticationData, method=U8, data=_ALIGNED_BYTES.map(lambda data: data[1:])
    ),
    SessionRequest: st.just(SessionRequest()),
    SessionId: st.builds(SessionId, id=_ALIGNED_BYTES),
    SessionOk: st.just(SessionOk()),
    SessionInvalid: st.just(SessionInvalid()),
    SessionTeardown: st.just(SessionTeardown()),
    IdempotenceRequest: st.builds(IdempotenceRequest, size=U32),
    IdempotenceWindow: st.builds(IdempotenceWindow, base=U32, size=st.integers(1, MAX_WINDOW_SIZE)),
    IdempotenceExpenditure: st.builds(IdempotenceExpenditure, token=U32),
    IdempotenceAccepted: st.just(IdempotenceAccepted()),
    IdempotenceRejected: st.just(IdempotenceRejected()),
    StreamId: st.builds(StreamId, id=U32),
}
_KNOWN_KINDS: Final = {option.kind for option in STANDARD.options}
UNKNOWN_OPTIONS: Final = st.builds(
    UnknownOption,
    kind=U16.filter(lambda kind: kind not in _KNOWN_KINDS),
    body=st.just(b"") | _ALIGNED_BYTES,
)
CLASSES_BY_PLACE: Final[dict[HandshakeMessage, list[type[Option]]]] = {
    place: [option for option in STANDARD.options if place in option.messages] for place in HandshakeMessage
}


def examples(usual: int) -> settings:
    """Try so many examples where others try 100; fewer or more as the profile says (tests/conftest.py)."""
    return settings(max_examples=max(1, usual * settings().max_examples // 100))


def known_options(place: HandshakeMessage) -> SearchStrategy[Option]:
    """Return a strategy for one option that a message may carry."""
    return st.sampled_from(CLASSES_BY_PLACE[place]).flatmap(OPTIONS_BY_CLASS.__getitem__)


def options(place: HandshakeMessage) -> SearchStrategy[tuple[Option, ...]]:
    """Return a strategy for the options of a message, unknown ones among them."""
    return st.lists(known_options(place) | UNKNOWN_OPTIONS, max_size=6).map(_canonical)


def _canonical(options: Iterable[Option]) -> tuple[Option, ...]:
    claimed: set[object] = set()
    kept = []
    for option in sorted(options, key=lambda option: option.kind):
        if claimed.isdisjoint(option.claims()):
            claimed.update(option.claims())
            kept.append(option)
    return tuple(kept)


REQUESTS: Final = st.builds(
    Request, command=U8, host=HOSTS, port=PORTS, options=options(HandshakeMessage.REQUEST)
)
AUTHENTICATION_REPLIES: Final = st.builds(
    AuthenticationReply, type=U8, options=options(HandshakeMessage.AUTHENTICATION_REPLY)
)
OPERATION_REPLIES: Final = st.builds(
    OperationReply, code=U8, host=HOSTS, port=PORTS, options=options(HandshakeMessage.OPERATION_REPLY)
)

USERNAMES_AND_PASSWORDS: Final = st.builds(
    UsernamePassword, username=st.binary(max_size=255), password=st.binary(max_size=255)
)
USERNAME_PASSWORD_REPLIES: Final = st.builds(UsernamePasswordReply, status=U8)

INITIALIZATIONS: Final = st.builds(AssociationInitialization, association_id=U64)
CONFIRMATIONS: Final = st.builds(AssociationConfirmation, association_id=U64)
DATAGRAMS: Final = st.builds(
    Datagram, association_id=U64, host=HOSTS, port=PORTS, data=st.binary(max_size=64)
)
DATAGRAM_ERRORS: Final = st.builds(
    DatagramError, association_id=U64, host=LITERALS, port=PORTS, code=U8, reporter=LITERALS
)
ASSOCIATION_MESSAGES: Final[SearchStrategy[AssociationMessage]] = st.one_of(
    INITIALIZATIONS, CONFIRMATIONS, DATAGRAMS, DATAGRAM_ERRORS
)
