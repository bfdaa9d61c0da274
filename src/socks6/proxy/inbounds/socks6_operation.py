"""What a command of the SOCKS 6 inbound is given, and what a command is; one module each, listed in `socks6`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from socks6.net.stream import ByteStream
from socks6.protocol.server import ServerConversation
from socks6.proxy.inbounds.base import Call, Engine, Tunnel


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A request that was let in: its Authentication Reply is queued, and its Operation Reply is due."""

    conversation: ServerConversation
    stream: ByteStream
    engine: Engine
    call: Call


# Queues the Operation Reply, or has it sent; returns the tunnel to relay, or None when all is done.
CommandHandler: TypeAlias = Callable[[Operation], Awaitable[Tunnel | None]]
