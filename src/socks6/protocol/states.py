"""Which steps a conversation may take: the transition tables of both sides, and nothing else.

A pair that is not in a table is refused: for our caller's steps with LocalProtocolError, for the peer's
with a Violation. `scripts/generate_docs.py` draws docs/reference/states.md from these tables.
"""

from enum import Enum
from typing import Final


class ServerState(Enum):
    """Where the server's conversation stands."""

    AWAITING_REQUEST = "awaiting request"
    DECIDING = "deciding how to authenticate"
    VERIFYING = "verifying credentials"
    NEGOTIATING = "negotiating"  # a method's own bytes travel on the stream
    AUTHENTICATED = "authenticated, success unsaid"
    OPERATING = "operating"
    AWAITING_PEER = "awaiting peer"  # BIND's first reply is out
    STREAMING = "streaming"
    ASSOCIATED = "associated"
    CLOSING = "closing"

    __hash__ = object.__hash__  # a key of the table below: Enum's own costs a Python call


class ServerStep(Enum):
    """What can happen to the server's conversation."""

    REQUEST = "request received"
    OFFER = "credentials offered"
    SETTLE = "credentials hold, or none needed"
    SELECT = "method selected"
    REFUSE = "authentication refused"
    ACCEPT = "authentication reply: success"
    DONE = "NOOP: success"
    CONNECT = "CONNECT: success"
    BIND = "BIND: success"
    ASSOCIATE = "UDP ASSOCIATE: success"
    ANNOUNCE = "peer announced"  # dialect 212: backlog peers are announced on the first connection
    PEER = "BIND: peer connected"
    FAIL = "operation failed"
    VIOLATION = "violation, deadline or end"

    __hash__ = object.__hash__  # a key of the table below: Enum's own costs a Python call


_S = ServerState
_SS = ServerStep

SERVER_TRANSITIONS: Final[dict[tuple[ServerState, ServerStep], ServerState]] = {
    (_S.AWAITING_REQUEST, _SS.REQUEST): _S.DECIDING,
    (_S.AWAITING_REQUEST, _SS.VIOLATION): _S.CLOSING,
    (_S.DECIDING, _SS.OFFER): _S.VERIFYING,
    (_S.DECIDING, _SS.SETTLE): _S.AUTHENTICATED,
    (_S.DECIDING, _SS.SELECT): _S.NEGOTIATING,
    (_S.DECIDING, _SS.REFUSE): _S.CLOSING,
    (_S.VERIFYING, _SS.OFFER): _S.VERIFYING,
    (_S.VERIFYING, _SS.SETTLE): _S.AUTHENTICATED,
    (_S.VERIFYING, _SS.REFUSE): _S.CLOSING,
    (_S.NEGOTIATING, _SS.OFFER): _S.VERIFYING,
    (_S.NEGOTIATING, _SS.REFUSE): _S.CLOSING,
    (_S.NEGOTIATING, _SS.VIOLATION): _S.CLOSING,
    (_S.AUTHENTICATED, _SS.ACCEPT): _S.OPERATING,
    (_S.AUTHENTICATED, _SS.REFUSE): _S.CLOSING,
    (_S.OPERATING, _SS.DONE): _S.CLOSING,
    (_S.OPERATING, _SS.CONNECT): _S.STREAMING,
    (_S.OPERATING, _SS.BIND): _S.AWAITING_PEER,
    (_S.OPERATING, _SS.ASSOCIATE): _S.ASSOCIATED,
    (_S.OPERATING, _SS.FAIL): _S.CLOSING,
    (_S.AWAITING_PEER, _SS.ANNOUNCE): _S.AWAITING_PEER,
    (_S.AWAITING_PEER, _SS.PEER): _S.STREAMING,
    (_S.AWAITING_PEER, _SS.FAIL): _S.CLOSING,
    (_S.AWAITING_PEER, _SS.VIOLATION): _S.CLOSING,
    (_S.ASSOCIATED, _SS.VIOLATION): _S.CLOSING,
}


class ClientState(Enum):
    """Where the client's conversation stands."""

    AWAITING_AUTHENTICATION = "awaiting authentication reply"
    NEGOTIATING = "negotiating"
    AWAITING_VERDICT = "awaiting second authentication reply"
    AWAITING_OPERATION = "awaiting operation reply"
    AWAITING_PEER = "awaiting peer"
    STREAMING = "streaming"
    ASSOCIATED = "associated"
    CLOSED = "closed"

    __hash__ = object.__hash__  # a key of the table below: Enum's own costs a Python call


class ClientStep(Enum):
    """What can happen to the client's conversation."""

    ACCEPTED = "authentication reply: success"
    SELECTED = "authentication reply: method selected"
    REFUSED = "authentication reply: failure"
    NEGOTIATED = "our last negotiation bytes queued"
    DONE = "NOOP: success"
    CONNECTED = "CONNECT: success"
    BOUND = "BIND: success"
    ASSOCIATED = "UDP ASSOCIATE: success"
    ANNOUNCED = "peer announced"
    PEER = "BIND: peer connected"
    FAILED = "operation failed"
    VIOLATION = "violation, deadline or end"

    __hash__ = object.__hash__  # a key of the table below: Enum's own costs a Python call


_C = ClientState
_CS = ClientStep

CLIENT_TRANSITIONS: Final[dict[tuple[ClientState, ClientStep], ClientState]] = {
    (_C.AWAITING_AUTHENTICATION, _CS.ACCEPTED): _C.AWAITING_OPERATION,
    (_C.AWAITING_AUTHENTICATION, _CS.SELECTED): _C.NEGOTIATING,
    (_C.AWAITING_AUTHENTICATION, _CS.REFUSED): _C.CLOSED,
    (_C.AWAITING_AUTHENTICATION, _CS.VIOLATION): _C.CLOSED,
    (_C.NEGOTIATING, _CS.NEGOTIATED): _C.AWAITING_VERDICT,
    (_C.NEGOTIATING, _CS.VIOLATION): _C.CLOSED,
    (_C.AWAITING_VERDICT, _CS.ACCEPTED): _C.AWAITING_OPERATION,
    (_C.AWAITING_VERDICT, _CS.REFUSED): _C.CLOSED,
    (_C.AWAITING_VERDICT, _CS.VIOLATION): _C.CLOSED,
    (_C.AWAITING_OPERATION, _CS.DONE): _C.CLOSED,
    (_C.AWAITING_OPERATION, _CS.CONNECTED): _C.STREAMING,
    (_C.AWAITING_OPERATION, _CS.BOUND): _C.AWAITING_PEER,
    (_C.AWAITING_OPERATION, _CS.ASSOCIATED): _C.ASSOCIATED,
    (_C.AWAITING_OPERATION, _CS.FAILED): _C.CLOSED,
    (_C.AWAITING_OPERATION, _CS.VIOLATION): _C.CLOSED,
    (_C.AWAITING_PEER, _CS.ANNOUNCED): _C.AWAITING_PEER,
    (_C.AWAITING_PEER, _CS.PEER): _C.STREAMING,
    (_C.AWAITING_PEER, _CS.FAILED): _C.CLOSED,
    (_C.AWAITING_PEER, _CS.VIOLATION): _C.CLOSED,
    (_C.ASSOCIATED, _CS.VIOLATION): _C.CLOSED,
}
