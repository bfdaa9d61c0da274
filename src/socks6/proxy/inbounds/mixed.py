"""The mixed inbound: one port for every protocol, distinguished by the first byte."""

import string
from collections.abc import Mapping
from typing import Final

from socks6.compat import override
from socks6.message import socks4, socks5
from socks6.proxy.connection import ClientConnection
from socks6.proxy.inbounds.base import Inbound, PlainInbound, Tunnel
from socks6.telemetry import Ending

# All other first bytes are SOCKS 6, which answers even garbage (§ Version Mismatch Replies).
INBOUND_FOR_FIRST_BYTE: Final[Mapping[int, str]] = {
    socks4.VERSION: "socks5",
    socks5.VERSION: "socks5",
    **dict.fromkeys(string.ascii_letters.encode(), "http"),
}
DEFAULT: Final = "socks6"


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
        """See `Inbound.serve`."""
        data = connection.greeting or initial_data or await connection.stream.receive()
        name = INBOUND_FOR_FIRST_BYTE.get(data[0], DEFAULT) if data else DEFAULT
        inbound = self._inbounds.get(name, self._inbounds.get(DEFAULT))
        if inbound is None and not data:
            connection.refused(Ending.NO_REQUEST, "the client closed its side")
            return None
        if inbound is None:
            connection.refused(Ending.MALFORMED, f"first byte {data[0]:#04x}: no inbound for it")
            return None
        return await inbound.serve(connection, initial_data if connection.greeting else data)
