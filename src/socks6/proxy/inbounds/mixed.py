"""The mixed inbound: one port for every protocol, distinguished by the first byte."""

from collections.abc import Mapping
from typing import Final

from socks6.compat import override
from socks6.message.first_bytes import client_of, describe_client
from socks6.proxy.connection import ClientConnection
from socks6.proxy.inbounds.base import Inbound, PlainInbound, Tunnel
from socks6.telemetry import Ending

DEFAULT: Final = "socks6"  # which answers even garbage (§ Version Mismatch Replies)


class MixedInbound(PlainInbound):
    """Serves each client by the one of `inbounds`, keyed by name, whose protocol it speaks."""

    name: Final = "mixed"

    def __init__(self, inbounds: Mapping[str, Inbound]) -> None:
        self._inbounds = dict(inbounds)
        self.alpn = tuple(dict.fromkeys(name for inbound in inbounds.values() for name in inbound.alpn))
        self.datagrams = any(inbound.datagrams for inbound in inbounds.values())
        self.plain_forms = {
            first: form
            for inbound in inbounds.values()
            if isinstance(inbound, PlainInbound)
            for first, form in inbound.plain_forms.items()
        }

    @override
    async def serve(self, connection: ClientConnection, initial_data: bytes = b"") -> Tunnel | None:
        data = connection.greeting or initial_data or await connection.stream.receive()
        known = client_of(data) if data else None
        name = known.inbound if known is not None else DEFAULT
        inbound = self._inbounds.get(name, self._inbounds.get(DEFAULT))
        if inbound is None and not data:
            connection.refused(Ending.NO_REQUEST, "the client closed its side")
            return None
        if inbound is None:
            connection.refused(Ending.MALFORMED, describe_client(data, self.name))
            return None
        return await inbound.serve(connection, initial_data if connection.greeting else data)
