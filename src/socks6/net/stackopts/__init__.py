"""Stack options on real sockets: setting them, and reading back what is in force."""

from socks6.message.options.stack import UNKNOWN_FACTS, ConnectFacts
from socks6.net.stackopts.connecting import ConnectedSocket, connect_with_options, socket_with_options
from socks6.net.stackopts.table import (
    accept_fast_open,
    apply_options,
    effective_options,
    for_leg,
    merge_legs,
)

__all__ = [
    "UNKNOWN_FACTS",
    "ConnectFacts",
    "ConnectedSocket",
    "accept_fast_open",
    "apply_options",
    "connect_with_options",
    "effective_options",
    "for_leg",
    "merge_legs",
    "socket_with_options",
]
