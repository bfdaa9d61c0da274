"""qh3 through a proxy, for HTTP/3 and whatever else travels over QUIC: `async with connect(URL, HOST, PORT)`."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from socks6.adapters.base import AnyProxy, missing
from socks6.adapters.quic_base import REMOTE, quic_endpoint

try:
    from qh3.asyncio.protocol import QuicConnectionProtocol
    from qh3.quic.configuration import QuicConfiguration
    from qh3.quic.connection import QuicConnection
except ImportError as error:
    raise missing("qh3", "quic") from error

ProtocolT = TypeVar("ProtocolT", bound=QuicConnectionProtocol)


@asynccontextmanager
async def connect(
    proxy: AnyProxy,
    host: str,
    port: int,
    *,
    create_protocol: Callable[[QuicConnection], ProtocolT],
    configuration: QuicConfiguration | None = None,
    wait_connected: bool = True,
) -> AsyncIterator[ProtocolT]:
    """Connect to a QUIC server through a proxy, which resolves the name; give the protocol, as `qh3.asyncio.connect` does.

    `proxy` is a URL, or a `Client` that its maker enters and closes. `create_protocol` is a subclass of
    `QuicConnectionProtocol`, or makes one. The datagrams travel as the proxy's URL says: ?udp=. Has no time limit but QUIC's own.
    Raises what `Client.associate` does, and ConnectionError.
    """
    configuration = configuration or QuicConfiguration(is_client=True)
    if configuration.server_name is None:
        configuration.server_name = host
    connection = QuicConnection(configuration=configuration)
    async with quic_endpoint(proxy, lambda: create_protocol(connection), host, port) as protocol:
        protocol.connect(REMOTE)
        try:
            if wait_connected:
                await protocol.wait_connected()
            yield protocol
        finally:
            protocol.close()
            await protocol.wait_closed()
