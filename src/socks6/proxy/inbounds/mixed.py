"""The mixed inbound: one port for every protocol, told apart by the first byte."""

import string
from collections.abc import Mapping
from typing import Final

from typing_extensions import override

from socks6.message import socks4, socks5
from socks6.net.stream import ByteStream
from socks6.proxy.inbounds.base import Engine, Inbound, Tunnel
from socks6.telemetry import Ending

# What is not here is SOCKS 6, which has an answer even to rubbish (§ Version Mismatch Replies).
INBOUND_FOR_FIRST_BYTE: Final[Mapping[int, str]] = {
    socks4.VERSION: "socks5",
    socks5.VERSION: "socks5",
    **dict.fromkeys(string.ascii_letters.encode(), "http"),
}
DEFAULT: Final = "socks6"


class MixedInbound(Inbound):
    """Hands each client to the one of `inbounds`, by their names, whose protocol it speaks."""

    name: Final = "mixed"

    def __init__(self, inbounds: Mapping[str, Inbound]) -> None:
        self._inbounds = dict(inbounds)

    @override
    async def serve(self, stream: ByteStream, first: bytes, engine: Engine) -> Tunnel | None:
        """See `Inbound.serve`."""
        first = first or await stream.receive()
        name = INBOUND_FOR_FIRST_BYTE.get(first[0], DEFAULT) if first else DEFAULT
        inbound = self._inbounds.get(name, self._inbounds.get(DEFAULT))
        if inbound is None and not first:
            engine.refused(Ending.NO_REQUEST, "the client closed its side")
            return None
        if inbound is None:
            engine.refused(Ending.MALFORMED, f"first byte {first[0]:#04x}: no inbound for it")
            return None
        return await inbound.serve(stream, first, engine)
