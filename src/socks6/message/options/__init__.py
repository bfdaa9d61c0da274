"""SOCKS options: values, and the table of which messages may carry them."""

# fmt: off
# ruff: isort: off
from socks6.message.options.auth import (
    MAX_INITIAL_DATA, AuthenticationData, AuthenticationMethodAdvertisement,
    AuthenticationMethodSelection,
)
from socks6.message.options.base import (
    MAX_OPTIONS, MAX_OPTIONS_LENGTH, HandshakeMessage, Number, Option, UnknownOption, check_range,
    encode_options, find, find_all,
)
from socks6.message.options.idempotence import (
    MAX_WINDOW_SIZE, IdempotenceAccepted, IdempotenceExpenditure, IdempotenceRejected, IdempotenceRequest,
    IdempotenceWindow,
)
from socks6.message.options.session import (
    SessionId, SessionInvalid, SessionOk, SessionRequest, SessionTeardown, StreamId,
)
from socks6.message.options.stack import (
    HappyEyeballs, ListenBacklog, Multipath, NoFragmentation, PortParity, StackOption, Tfo, Tos, Ttl,
    UdpError,
)
from socks6.message.options.table import STANDARD, OptionTable

__all__ = [  # noqa: RUF022 - sorted without regard to what is a constant
    "AuthenticationData", "AuthenticationMethodAdvertisement", "AuthenticationMethodSelection",
    "HandshakeMessage", "HappyEyeballs", "IdempotenceAccepted", "IdempotenceExpenditure",
    "IdempotenceRejected", "IdempotenceRequest", "IdempotenceWindow", "ListenBacklog", "MAX_INITIAL_DATA",
    "MAX_OPTIONS", "MAX_OPTIONS_LENGTH", "MAX_WINDOW_SIZE", "Multipath", "NoFragmentation", "Number",
    "Option", "OptionTable", "PortParity", "STANDARD", "SessionId", "SessionInvalid", "SessionOk",
    "SessionRequest", "SessionTeardown", "StackOption", "StreamId", "Tfo", "Tos", "Ttl", "UdpError",
    "UnknownOption", "check_range", "encode_options", "find", "find_all",
]
# fmt: on
