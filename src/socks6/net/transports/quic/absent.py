"""A UDP port where nothing speaks QUIC: its clients are told so at once, and are named in the log."""

import secrets
from collections.abc import Callable, Sequence
from typing import Final

from socks6.net.datagrams.shared import Arrival, SharedPort
from socks6.net.transports.quic.packets import SMALLEST_INITIAL, read_header, version_negotiation

# RFC 9000 §15: reserved, so that no client takes it for one that it could speak
NO_VERSION: Final = (0x1A2A3A4A,)
REASON: Final = "a QUIC client: listen on socks6+quic:// for those"


def refuse(
    port: SharedPort, arrivals: Sequence[Arrival], refused: Callable[[str, str], None], *, quiet: bool = False
) -> None:
    """Answer the first packets of QUIC clients with a version that none of them has (Version Negotiation).

    `refused` is called with the source and the reason; with `quiet` that is all. An answer is shorter than what it answers, so that nothing is
    gained by forging sources.
    """
    for arrival in arrivals:
        header = read_header(arrival.data) if arrival.size >= SMALLEST_INITIAL else None
        if header is not None and header.version:
            if not quiet:
                answer = version_negotiation(header, secrets.randbits(8), NO_VERSION)
                port.send(answer, arrival.source, arrival.local)
            refused(arrival.source[0], REASON)
