"""BIND in the SOCKS 4 and 5 inbound (RFC 1928, sections 4 and 6)."""

from dataclasses import replace

from socks6.errors import OperationFailed
from socks6.message.address import is_literal, is_unspecified
from socks6.message.socks5 import NO_ADDRESS
from socks6.net.bind import ANYWHERE, family_of, unmapped
from socks6.net.machine_io import flush
from socks6.net.stream import ByteStream, Endpoint
from socks6.protocol.socks5 import Socks5Conversation
from socks6.proxy.inbounds.base import Call, Engine, Tunnel
from socks6.proxy.inbounds.waiting import await_peer


async def bind(
    conversation: Socks5Conversation, stream: ByteStream, engine: Engine, call: Call
) -> Tunnel | None:
    """Bind, say where, wait for the peer, say who it is; None when there is nothing to relay."""
    try:
        binding = await engine.bind(_place(call))
    except OperationFailed as failure:
        conversation.send_failure(failure.code)
        return None
    try:
        _succeed(conversation, binding.bound)
        await flush(conversation, stream)
        return await await_peer(
            conversation,
            stream,
            engine,
            binding,
            call,
            succeed=lambda accepted: _succeed(conversation, accepted.peer),
            fail=conversation.send_failure,
        )
    finally:
        await binding.aclose()


def _place(call: Call) -> Call:
    """Return the call for a place to bind.

    What a request of SOCKS 4 or 5 names is who will connect: the host that the client is connected to already.
    Only no address at all leaves that open, and then the port is the one to bind. So does a name, since nobody
    says whether what it leads to is what the client has seen.
    """
    host = unmapped(call.host)
    if is_unspecified(host):
        return replace(call, host=host)
    if is_literal(host):
        return replace(call, host=ANYWHERE[family_of(host)], port=0, only_peer=host)
    return replace(call, host=NO_ADDRESS, port=0)


def _succeed(conversation: Socks5Conversation, place: Endpoint) -> None:
    conversation.send_success(place.host or NO_ADDRESS, place.port)
