"""`ProxiedStream`: a stream through a proxy, which can be handed to other code as a socket."""

import asyncio
import socket
import ssl

from socks6.client.session import DELIVERY_SECONDS, SessionLease
from socks6.compat import override
from socks6.errors import LocalProtocolError, TlsFailed
from socks6.message.options import StackOption
from socks6.net.scopes import on_failure
from socks6.net.sockets import SocketStream
from socks6.net.stream import NO_ENDPOINT, AttributeT, ByteStream, ClosableStream, Endpoint, Protection
from socks6.net.turns import Turns


class ProxiedStream(ClosableStream):
    """A `ByteStream` to a remote host, through a proxy. An async context manager that closes it.

    `bound` is the proxy's end of the connection to the remote host, from its Operation Reply; `peer` is the remote host:
    the requested one, or the one that connected (§ Handling BIND). `options` are the stack options that are in force,
    as the proxy reports them (§ Stack options).
    """

    def __init__(
        self,
        stream: ByteStream,
        bound: Endpoint,
        options: tuple[StackOption, ...],
        *,
        peer: Endpoint = NO_ENDPOINT,
        lease: SessionLease | None = None,
    ) -> None:
        self._stream = stream
        self._lease = lease
        self.bound = bound
        self.peer = peer
        self.options = options

    def attribute(self, kind: type[AttributeT]) -> AttributeT | None:
        """Return what the stream to the proxy has of this kind, such as `socket.socket`; see `ByteStream`."""
        return self._stream.attribute(kind)

    @property
    def local(self) -> Endpoint:
        """Our end of the connection to the proxy."""
        return self._stream.local

    @property
    def remote(self) -> Endpoint:
        """The proxy's end of our connection to it."""
        return self._stream.remote

    @property
    def protection(self) -> Protection:
        """How well the connection to the proxy is protected."""
        return self._stream.protection

    @property
    def raw_socket(self) -> socket.socket | None:
        """The socket whose bytes are the stream's own; None over TLS, QUIC and other encodings."""
        return self._stream.raw_socket

    @property
    def unacknowledged(self) -> int:
        """How many sent bytes the proxy has not acknowledged; 0 where that is not known."""
        return self._stream.unacknowledged

    @property
    def turns(self) -> Turns:
        """The stream's share of the event loop."""
        return self._stream.turns

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        """Return what has arrived, without waiting; None if there is nothing. See `ByteStream`."""
        return self._stream.receive_nowait(max_bytes)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return at least one byte; b"" at the end of the stream. Raises OSError."""
        return await self._stream.receive(max_bytes)

    async def send(self, data: bytes | memoryview) -> None:
        """Send all of `data`. Raises OSError."""
        await self._stream.send(data)

    async def send_eof(self) -> None:
        """End the sending direction: the remote host sees an end of stream. Raises OSError."""
        await self._stream.send_eof()

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str | None = None) -> ssl.SSLObject:
        """Encrypt end to end, through the proxy, from now on; return what OpenSSL knows of the remote host.

        Has no time limit of its own. Raises ssl.SSLError where TLS fails, OSError where the connection does, and
        LocalProtocolError over a stream of `dial` that cannot carry TLS; the stream is aborted then.
        """
        from socks6.net.transports.tls import TlsSession, TlsStream, pollable  # noqa: PLC0415 - only where there is TLS

        with on_failure(self.abort):
            session = TlsSession(context, server_hostname=server_hostname)
            encrypted = TlsStream(pollable(self._stream), session, allow_cut=True)
            try:
                await encrypted.handshake()
            except TlsFailed as error:
                if isinstance(error.__cause__, ssl.SSLError):
                    raise error.__cause__ from None
                raise ssl.SSLError(str(error)) from error
        self._stream = encrypted
        assert isinstance(session.tls, ssl.SSLObject)  # noqa: S101
        return session.tls

    def stop_receiving(self) -> None:
        """Discard what arrives from now on, where the transport can: `receive` then returns b""."""
        self._stream.stop_receiving()

    async def aclose(self) -> None:
        """Close; what was sent is delivered. Idempotent; when cancelled, it aborts."""
        with on_failure(self.abort):
            await self._stream.aclose()
        self._release()

    @override
    def close_nowait(self) -> bool:
        """Close as `aclose` does, if that waits for nothing; return whether it was done."""
        stream = self._stream
        closed = isinstance(stream, ClosableStream) and stream.close_nowait()
        if closed:
            self._release()
        return closed

    def _release(self) -> None:
        """Give the session back, whose last bytes may still be on their way."""
        if self._lease is not None:
            self._lease.release(unsettled_until=asyncio.get_running_loop().time() + DELIVERY_SECONDS)

    def abort(self) -> None:
        """Close at once; the remote host sees a reset. Idempotent."""
        self._stream.abort()
        if self._lease is not None:
            self._lease.release()

    def was_reset(self) -> bool:
        """Return whether the stream is known to have been reset."""
        return self._stream.was_reset()

    def detach_socket(self) -> socket.socket:
        """Return the stream's non-blocking socket, which the caller owns now; the stream must not be used any more.

        For libraries that take `sock=`. Raises LocalProtocolError where the stream is no plain socket: use
        `Client.create_connection` there. The client does not tear its session down afterwards.
        """
        plain = self._stream.attribute(SocketStream)
        if plain is None or self._stream.raw_socket is None:
            raise LocalProtocolError(
                "this stream is no plain socket; use Client.create_connection() or open_connection()"
            )
        return plain.detach_socket()

    async def __aenter__(self) -> "ProxiedStream":
        """Return the stream."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the stream."""
        await self.aclose()
