"""All transports, one row each: the only module that distinguishes transports.

QUIC's modules, which take 10 ms and then its library, are imported when a URL names it.
"""

from collections.abc import Mapping
from typing import Final

from socks6.net.transports import tcp, tls, unix
from socks6.net.transports.base import (
    Connector,
    ConnectParameters,
    ListenParameters,
    OpenConnectionListeners,
    Transport,
)
from socks6.net.transports.spares import SpareConnector

UNIX: Final = "unix"
TLS: Final = "tls"
QUIC: Final = "quic"
AUTO: Final = "auto"  # no transport, but a client's choice of two: QUIC, or else TLS


def _connect_by_tls(parameters: ConnectParameters) -> Connector:
    return SpareConnector(tls.TlsConnector(parameters), parameters.spares)


def _connect_by_quic(parameters: ConnectParameters) -> Connector:
    from socks6.net.transports.quic.pool import QuicConnectionPool  # noqa: PLC0415

    return QuicConnectionPool(parameters)


def _listen_for_quic(parameters: ListenParameters) -> OpenConnectionListeners:
    from socks6.net.transports.quic.listener import listen  # noqa: PLC0415

    return listen(parameters)


TRANSPORTS: Final[Mapping[str, Transport]] = {
    "": Transport(connect=tcp.TcpConnector, listen=tcp.listen, datagrams="datagram"),
    UNIX: Transport(connect=unix.UnixConnector, listen=unix.listen, at_path=True),
    TLS: Transport(connect=_connect_by_tls, listen=tls.listen, encrypted=True, datagrams="dtls"),
    QUIC: Transport(
        connect=_connect_by_quic,
        listen_for_connections=_listen_for_quic,
        encrypted=True,
        datagrams="quic",
        protocols=("socks6",),  # its streams are SOCKS 6 by themselves (ALPN)
    ),
}
"""By what stands behind the + of a URL's scheme; "" is TCP."""
