"""Two peers with a relay between them, on every data path."""

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from socks6.net.encryption.contexts import TlsParameters, client_context, server_context
from socks6.net.sockets import SocketStream
from socks6.net.stream import ByteStream
from socks6.net.transports.tls import TlsSession, TlsStream
from socks6.relay.joined import JoinedStreams
from socks6.relay.streams import RelayResult, RelaySettings, StreamRelay
from tests.kit.certificates import certificate
from tests.kit.memory import memory_stream_pair


class Joined:
    """A relay at work: `client` and `remote` are the peers at either end of it."""

    def __init__(self, client: ByteStream, remote: ByteStream) -> None:
        self.client = client
        self.remote = remote
        self.relaying: asyncio.Task[RelayResult]
        self.streams: JoinedStreams | None = None  # once it is at work

    def on_joined(self, streams: JoinedStreams) -> None:
        """Keep what moves the bytes."""
        self.streams = streams

    async def result(self) -> RelayResult:
        """Wait until the relay is over."""
        return await self.relaying


@asynccontextmanager
async def joined(
    path: str = "tcp",
    *,
    settings: RelaySettings | None = None,
    first: bytes = b"",
    plane: StreamRelay | None = None,
    client_buffers: int | None = None,
) -> AsyncIterator[Joined]:
    """Join a client and a remote by one of PATHS; whatever is open in the end is closed.

    `client_buffers` bounds what waits for the client in sockets.
    """
    make, usual_settings = PATHS[path]
    client, ours = make()
    if client_buffers is not None:
        for stream, buffer in ((client, socket.SO_RCVBUF), (ours, socket.SO_SNDBUF)):
            sock = stream.attribute(socket.socket)
            assert sock is not None
            sock.setsockopt(socket.SOL_SOCKET, buffer, client_buffers)
    theirs, remote = REMOTES.get(path, make)()
    own_plane = StreamRelay(settings or usual_settings)
    scene = Joined(client, remote)
    async with asyncio.TaskGroup() as group:
        relaying = scene.relaying = group.create_task(
            (plane or own_plane).relay(ours, theirs, first=first, on_joined=scene.on_joined)
        )
        try:
            yield scene
        finally:
            relaying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await relaying
            for stream in (client, remote):
                stream.abort()
            own_plane.close()


def tcp_pair() -> tuple[ByteStream, ByteStream]:
    """Return both ends of a connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        dialled = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        dialled.connect(server.getsockname())
        accepted, _ = server.accept()
    for sock in (dialled, accepted):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    accepted = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, accepted.detach())
    return SocketStream(dialled), SocketStream(accepted)


def unix_pair() -> tuple[ByteStream, ByteStream]:
    """Return both ends of a Unix connection."""
    left, right = socket.socketpair()
    return SocketStream(left), SocketStream(right)


def tls_pair() -> tuple[ByteStream, ByteStream]:
    """Return both ends of a connection over loopback with TLS on it, the client's first."""
    near, far = tcp_pair()
    assert isinstance(near, SocketStream)
    assert isinstance(far, SocketStream)
    client, server = tls_conversations()
    return TlsStream(near, client), TlsStream(far, server)


def tls_conversations() -> tuple[TlsSession, TlsSession]:
    """Return both ends of TLS that has shaken hands, the client's first; whoever has them carries the bytes."""
    client, server = tls_conversations_to_be()
    for _ in range(2):  # the hello and its answer; the client's last word, and tickets
        server.incoming.write(client.begin())
        client.incoming.write(server.begin())
    return client, server


def tls_conversations_to_be() -> tuple[TlsSession, TlsSession]:
    """Return both ends of TLS before they have shaken hands, the client's first."""
    client_side, server_side = _contexts()
    return (
        TlsSession(client_side, server_hostname="localhost"),
        TlsSession(server_side, server_side=True),
    )


@functools.cache
def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    with certificate() as files:
        return client_context(TlsParameters(ca=files.ca)), server_context(files.server)


PATHS: Final[dict[str, tuple[Callable[[], tuple[ByteStream, ByteStream]], RelaySettings]]] = {
    "tcp": (tcp_pair, RelaySettings()),
    "tcp without pipes": (tcp_pair, RelaySettings(pipes=0)),
    "tcp copied": (tcp_pair, RelaySettings(splice=False)),
    "unix": (unix_pair, RelaySettings()),
    "memory": (memory_stream_pair, RelaySettings()),
    "mixed": (tcp_pair, RelaySettings()),
    "tls": (tls_pair, RelaySettings()),
    "tls to tcp": (tls_pair, RelaySettings()),
}
REMOTES: Final = {"mixed": memory_stream_pair, "tls to tcp": tcp_pair}  # where they are of another kind
SOCKETS: Final = ("tcp", "tcp without pipes", "tcp copied", "unix", "tls", "tls to tcp")
RESETTING: Final = ("tcp", "tcp without pipes", "tcp copied", "memory", "mixed", "tls", "tls to tcp")
