"""Stack options on real sockets: setting them, and telling truthfully what came of it."""

from socks6.net.stackopts.connecting import Dialled, connect_prepared, prepared_socket
from socks6.net.stackopts.row import UNKNOWN_ORIGIN, Origin
from socks6.net.stackopts.table import accept_fast_open, concerning, in_force, merge, prepare, supported

__all__ = [
    "UNKNOWN_ORIGIN",
    "Dialled",
    "Origin",
    "accept_fast_open",
    "concerning",
    "connect_prepared",
    "in_force",
    "merge",
    "prepare",
    "prepared_socket",
    "supported",
]
