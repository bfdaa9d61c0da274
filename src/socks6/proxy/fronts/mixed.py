"""The mixed front: one port for every protocol, told apart by the first byte."""

import string
from collections.abc import Mapping
from typing import Final

from typing_extensions import override

from socks6.message import socks4, socks5
from socks6.net.stream import ByteStream
from socks6.proxy.fronts.base import Engine, Front, Tunnel
from socks6.telemetry import Ending

# What is not here is SOCKS 6, which has an answer even to rubbish (§ Version Mismatch Replies).
FRONT_FOR_FIRST_BYTE: Final[Mapping[int, str]] = {
    socks4.VERSION: "socks5",
    socks5.VERSION: "socks5",
    **dict.fromkeys(string.ascii_letters.encode(), "http"),
}
DEFAULT: Final = "socks6"


class MixedFront(Front):
    """Hands each client to the one of `fronts`, by their names, whose protocol it speaks."""

    name: Final = "mixed"

    def __init__(self, fronts: Mapping[str, Front]) -> None:
        self._fronts = dict(fronts)

    @override
    async def serve(self, stream: ByteStream, first: bytes, engine: Engine) -> Tunnel | None:
        """See `Front.serve`."""
        first = first or await stream.receive()
        name = FRONT_FOR_FIRST_BYTE.get(first[0], DEFAULT) if first else DEFAULT
        front = self._fronts.get(name, self._fronts.get(DEFAULT))
        if front is None and not first:
            engine.refused(Ending.NO_REQUEST, "the client closed its side")
            return None
        if front is None:
            engine.refused(Ending.MALFORMED, f"first byte {first[0]:#04x}: no front for it")
            return None
        return await front.serve(stream, first, engine)
