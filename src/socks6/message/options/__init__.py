"""SOCKS options: values, and the table of which messages may carry them."""

from socks6.message.options.auth import (
    MAX_INITIAL_DATA,
    AuthenticationData,
    AuthenticationMethodAdvertisement,
    AuthenticationMethodSelection,
)
from socks6.message.options.base import (
    MAX_OPTIONS,
    MAX_OPTIONS_LENGTH,
    Option,
    Place,
    UnknownOption,
    check_range,
    encode_options,
    find,
    find_all,
)
from socks6.message.options.experimental import StreamID
from socks6.message.options.idempotence import (
    MAX_WINDOW_SIZE,
    IdempotenceAccepted,
    IdempotenceExpenditure,
    IdempotenceRejected,
    IdempotenceRequest,
    IdempotenceWindow,
)
from socks6.message.options.session import (
    SessionID,
    SessionInvalid,
    SessionOK,
    SessionRequest,
    SessionTeardown,
)
from socks6.message.options.stack import (
    TFO,
    TOS,
    TTL,
    HappyEyeballs,
    ListenBacklog,
    Multipath,
    NoFragmentation,
    PortParity,
    StackOption,
    UDPError,
)
from socks6.message.options.table import STANDARD, OptionTable, Rule

__all__ = [
    "MAX_INITIAL_DATA",
    "MAX_OPTIONS",
    "MAX_OPTIONS_LENGTH",
    "MAX_WINDOW_SIZE",
    "STANDARD",
    "TFO",
    "TOS",
    "TTL",
    "AuthenticationData",
    "AuthenticationMethodAdvertisement",
    "AuthenticationMethodSelection",
    "HappyEyeballs",
    "IdempotenceAccepted",
    "IdempotenceExpenditure",
    "IdempotenceRejected",
    "IdempotenceRequest",
    "IdempotenceWindow",
    "ListenBacklog",
    "Multipath",
    "NoFragmentation",
    "Option",
    "OptionTable",
    "Place",
    "PortParity",
    "Rule",
    "SessionID",
    "SessionInvalid",
    "SessionOK",
    "SessionRequest",
    "SessionTeardown",
    "StackOption",
    "StreamID",
    "UDPError",
    "UnknownOption",
    "check_range",
    "encode_options",
    "find",
    "find_all",
]
