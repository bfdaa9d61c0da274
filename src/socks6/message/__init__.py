"""The wire format: bytes to values and back.

Messages are frozen values with `encode`, `decode` and `size`; a `Dialect` and an `OptionTable` say how they are written and read.
"""

# fmt: off
# ruff: isort: off
from socks6.message.codes import (
    AddressType, AuthenticationType, Availability, Command, DatagramErrorCode, Leg, Level, MessageType,
    Method, OptionKind, Parity, ReplyCode,
)
from socks6.message.datagrams import (
    AssociationConfirmation, AssociationInitialization, Datagram, DatagramError, decode_message,
)
from socks6.message.dialect import DRAFT_12, GO_212, DatagramLayout, Dialect
from socks6.message.options import (
    STANDARD, AuthenticationData, AuthenticationMethodAdvertisement, AuthenticationMethodSelection,
    HandshakeMessage, HappyEyeballs, IdempotenceAccepted, IdempotenceExpenditure, IdempotenceRejected,
    IdempotenceRequest, IdempotenceWindow, ListenBacklog, Multipath, NoFragmentation, Number, Option,
    OptionTable, PortParity, SessionId, SessionInvalid, SessionOk, SessionRequest, SessionTeardown,
    StackOption, StreamId, Tfo, Tos, Ttl, UdpError, UnknownOption, find, find_all,
)
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request

__all__ = [  # noqa: RUF022 - sorted without regard to what is a constant
    "AddressType", "AssociationConfirmation", "AssociationInitialization", "AuthenticationData",
    "AuthenticationMethodAdvertisement", "AuthenticationMethodSelection", "AuthenticationReply",
    "AuthenticationType", "Availability", "Command", "DRAFT_12", "Datagram", "DatagramError",
    "DatagramErrorCode", "DatagramLayout", "Dialect", "GO_212", "HandshakeMessage", "HappyEyeballs",
    "IdempotenceAccepted", "IdempotenceExpenditure", "IdempotenceRejected", "IdempotenceRequest",
    "IdempotenceWindow", "Leg", "Level", "ListenBacklog", "MessageType", "Method", "Multipath",
    "NoFragmentation", "Number", "OperationReply", "Option", "OptionKind", "OptionTable", "Parity",
    "PortParity", "ReplyCode", "Request", "STANDARD", "SessionId", "SessionInvalid", "SessionOk",
    "SessionRequest", "SessionTeardown", "StackOption", "StreamId", "Tfo", "Tos", "Ttl", "UdpError",
    "UnknownOption", "decode_message", "find", "find_all",
]
# fmt: on
