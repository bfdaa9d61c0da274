"""TLS over any stream that can be asked without waiting.

OpenSSL works on buffers in memory; the bytes come and go by a stream of ours. So many records cross in one
system call, what is there is read without waiting, and the event loop's own TLS plays no part.
"""

import asyncio
import contextlib
import errno
import functools
import os
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeAlias

from socks6.compat import override
from socks6.errors import DecodeError, LocalProtocolError, TlsFailed
from socks6.message.address import without_trailing_dot
from socks6.message.buffer import Reader
from socks6.message.first_bytes import not_tls, refusal_for
from socks6.message.options import StackOption
from socks6.net.datagrams.shared import SharedPorts
from socks6.net.encryption.certificates import check_pin, user_of
from socks6.net.encryption.contexts import (
    ReloadingContext,
    TlsParameters,
    client_context,
    failure_of,
    server_context,
)
from socks6.net.scratch import Scratch
from socks6.net.sockets import SocketListener, SocketStream, WrappingListener
from socks6.net.stream import (
    SENDS_ALREADY,
    AttributeT,
    ByteStream,
    ClosableStream,
    Endpoint,
    PollableStream,
    Protection,
    PushbackStream,
    receive_in_turn,
)
from socks6.net.transports.base import (
    Connector,
    ConnectParameters,
    ListenParameters,
    OpenListeners,
    StreamRequest,
    refuse_without_certificate,
    send_first,
)
from socks6.net.transports.tcp import listen_tcp, reach_proxy
from socks6.net.turns import Turns

if TYPE_CHECKING:
    from OpenSSL import SSL

    from socks6.net.encryption.pyopenssl import IncomingBytes, OutgoingBytes, PyOpenSslObject

TlsObject: TypeAlias = "ssl.SSLObject | PyOpenSslObject"
Ticket: TypeAlias = "ssl.SSLSession | SSL.Session"

TICKET_SECONDS: Final = 60.0  # between two tickets of a client's: `ssl` takes 300 µs to hand one out
ANSWERS_BEFORE_PYOPENSSL: Final = (
    32  # of a proxy, before pyOpenSSL is imported for it: that takes 60 ms and 12 MB
)
ANSWERS_AFTER_FAILURE: Final = 1000  # of a proxy, before a handshake by pyOpenSSL is tried again
FIRST_OF_ML_KEM: Final = (
    3,
    5,
)  # releases of OpenSSL from which on `ssl` has a key exchange that quantum computers do not break
MAX_HELLO_BYTES: Final = 32768  # of the first records that are looked at; no ClientHello is longer

SILENT: Final = "something accepts connections there, but does not answer TLS"

_HANDSHAKE: Final = 22  # RFC 8446 §5.1
_CLIENT_HELLO: Final = 1  # §4
_ALPN: Final = 16  # RFC 7301 §3.1


def offered_protocols(data: bytes | bytearray) -> tuple[str, ...]:
    """Return the protocols that the ClientHello at the start of `data` offers (ALPN); none where it offers none, or is not one."""
    try:
        message = Reader(_handshake_bytes(data))
        if message.u8() != _CLIENT_HELLO:
            return ()
        return _offered(message.section(int.from_bytes(message.take(3))))
    except DecodeError:
        return ()


def _handshake_bytes(data: bytes | bytearray) -> bytes:
    """Return what the records hold together: a message may take several."""
    records, message = Reader(data), b""
    while records.remaining and records.u8() == _HANDSHAKE:
        records.u16()  # the version of the record layer
        size = records.u16()
        message += records.take(min(size, records.remaining))
    return message


def _offered(hello: Reader) -> tuple[str, ...]:
    hello.take(2 + 32)  # version, random
    hello.take(hello.u8())  # session id
    hello.take(hello.u16())  # cipher suites
    hello.take(hello.u8())  # compression methods
    extensions = hello.section(hello.u16())
    while extensions.remaining:
        kind, body = extensions.u16(), extensions.section(extensions.u16())
        if kind == _ALPN:
            names = body.section(body.u16())
            offered = []
            while names.remaining:
                offered.append(names.take(names.u8()).decode("ascii", "backslashreplace"))
            return tuple(offered)
    return ()


# CPU seconds for a GB to encrypt and to decrypt, AES-256-GCM: with 64 KiB 0.46 and 0.52, with 16 KiB 0.58 and
# 0.71, with 256 KiB 0.43 and 0.47; what a connection's buffers have grown to they keep (docs/decisions/0020).
READ_BYTES: Final = 65536
MAX_RECORD_BYTES: Final = 16384  # what OpenSSL gives at a time at the most
MAX_RECORDS_PER_READ: Final = 64  # at 3 µs each: records of one byte cost others 0.2 ms at the most
MAX_EMPTY_READS: Final = 4  # pieces without a byte, but key updates and the like: then others have a turn
MAX_DISCARDED_READS: Final = 16  # pieces thrown away by a close, so that it does not reset the connection
MAX_UNSENT_BYTES: Final = 4 * READ_BYTES  # that OpenSSL may write by itself while the peer takes nothing


class TlsSession:
    """One connection's OpenSSL, the two buffers that it works on, and what it knows of the peer."""

    __slots__ = ("incoming", "outgoing", "refused_protocols", "tls")

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.refused_protocols: tuple[str, ...] = ()  # what a client offered (ALPN), if we speak none of it
        self.incoming: ssl.MemoryBIO | IncomingBytes = ssl.MemoryBIO()
        self.outgoing: ssl.MemoryBIO | OutgoingBytes = ssl.MemoryBIO()
        self.tls: TlsObject = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=server_side,
            server_hostname=server_hostname,
            session=session,
        )

    @classmethod
    def of(cls, tls: TlsObject, incoming: "IncomingBytes", outgoing: "OutgoingBytes") -> "TlsSession":
        """Return the session of a connection's object, and the buffers that this one works on."""
        session = cls.__new__(cls)
        session.refused_protocols = ()
        session.tls, session.incoming, session.outgoing = tls, incoming, outgoing
        return session

    def begin(self) -> bytes:
        """Shake hands as far as that goes; return what to send, which within a SYN does no harm either."""
        try:  # noqa: SIM105 - three Python calls less
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    @property
    def protocol(self) -> str:
        """What the two sides agreed to speak (ALPN); "" if they negotiated none."""
        return self.tls.selected_alpn_protocol() or ""

    @property
    def version(self) -> str:
        """The version of TLS; "" before the handshake."""
        return self.tls.version() or ""

    @property
    def cipher(self) -> str:
        """The name of the cipher suite; "" before the handshake."""
        cipher = self.tls.cipher()
        return "" if cipher is None else cipher[0]

    @property
    def ticket(self) -> "Ticket | None":
        """What a later connection can resume; TLS 1.3 has it only after something was received."""
        return self.tls.session

    @property
    def certified_user(self) -> str:
        """Whom a client's certificate names; "" without one."""
        return user_of(self.tls.getpeercert() or {}) if isinstance(self.tls, ssl.SSLObject) else ""

    @property
    def certificate(self) -> bytes:
        """The peer's certificate in DER; b"" without one."""
        if isinstance(self.tls, ssl.SSLObject):
            return self.tls.getpeercert(binary_form=True) or b""
        return self.tls.certificate()


class TlsStream(PushbackStream, ClosableStream):
    """A ByteStream that TLS carries over a socket's stream, which it owns. `handshake` goes before all else.

    An end of the stream beneath that TLS did not announce is an error: the connection may have been cut. With `allow_cut` it
    is an end like any other.
    """

    protection: Final = Protection.ENCRYPTED
    raw_socket: Final = None
    __slots__ = (
        "__weakref__", "_accepted", "_agreed", "_ahead", "_allows_cut", "_at_end", "_closed", "_dry", "_ended", "_heard_tls",
        "_hello", "_make", "_plain", "_sends", "_short", "_unsent", "_unwanted", "beneath", "session", "turns",
    )  # fmt: skip

    def __init__(
        self,
        raw: PollableStream,
        session: TlsSession | Callable[[], TlsSession],
        *,
        allow_cut: bool = False,
    ) -> None:
        """`session` may be a factory: `handshake` calls it when the peer's first bytes are there."""
        self.beneath = raw  # the stream of encrypted bytes
        self._make: Callable[[], TlsSession] | None = None
        if isinstance(session, TlsSession):
            self.session = session  # else to be asked for after `handshake`
        else:
            self._make = session
        self._heard_tls = False  # the peer has begun to speak it
        self._hello: bytearray | None = None  # what a client's handshake began with, as long as that matters
        self._agreed = False  # the handshake is done
        self._accepted = 0  # bytes that `send_nowait` has encrypted, but not yet returned as sent
        self._plain = b""  # decrypted before it was asked for: when we ended our direction, or by `unread`
        self._unsent = memoryview(b"")  # encrypted, and not taken by the socket yet
        self._short = False  # the last piece from the socket was not a whole one
        self._dry = False  # OpenSSL can make no more of what is here
        self._at_end = False  # the peer sends nothing more
        self._allows_cut = allow_cut
        self._ended = False  # we send nothing more
        self._ahead = 0  # bytes of a long piece of ours that waited in OpenSSL's buffer when it was taken
        self._closed = False
        self._sends = False  # a call of `send` or `send_eof` is under way
        self.turns: Final[Turns] = raw.turns
        self._unwanted = False  # what comes is dropped

    def attribute(self, kind: type[AttributeT]) -> AttributeT | None:
        if isinstance(self, kind):
            return self
        if self._make is None and isinstance(self.session, kind):
            return self.session
        return self.beneath.attribute(kind)

    @property
    def local(self) -> Endpoint:
        return self.beneath.local

    @property
    def remote(self) -> Endpoint:
        return self.beneath.remote

    @property
    def unacknowledged(self) -> int:
        """How many encrypted bytes that were sent the peer has not acknowledged, as far as the kernel reports it."""
        return self.beneath.unacknowledged

    @property
    def drained(self) -> bool:
        """Whether nothing of what was received is left, not even the end, and the socket had no more at the time."""
        return self._dry and self._short and not (self._plain or self._at_end or self._unwanted)

    async def handshake(self, *, quiet: bool = False, keep_last: bool = False) -> None:
        """Agree with the peer on keys. Raises TlsFailed, CertificateRefused, and OSError of the socket.

        With `quiet` no alert tells the peer why it failed. With `keep_last` what this end sends last waits for the first
        call of `send`: its bytes leave in the same packet.
        """
        if self._make is not None:
            self._hear(await self.beneath.receive(READ_BYTES), quiet=quiet)
        while not (self._agreed or self._agree(quiet=quiet)):
            await self._flush()
            self._hear(await self.beneath.receive(READ_BYTES), quiet=quiet)
        if not keep_last:
            await self._flush()

    async def finish_handshake(self, *, keep_last: bool = False) -> None:
        """Go on with a handshake that `TlsSession.begin` began and whose first bytes were sent; see `handshake`."""
        while not self._agreed:
            data = self.beneath.receive_nowait(READ_BYTES)
            if data is None:
                await self.beneath.wait_readable()
                continue
            self._hear(data, quiet=False)
            if not self._agree(quiet=False):
                await self._flush()
        if not keep_last:
            await self._flush()

    def handshake_nowait(self, *, quiet: bool = False) -> bool:
        """Go on with the handshake as far as the peer's bytes that are here allow; return whether it is done. Raises as `handshake`.

        If the peer has sent more by then, what this end sends last waits for the first call of `send_nowait`. If it is not done,
        the socket is to be watched, for bytes that came meanwhile, too; `handshake` goes on where the socket takes no bytes (`stuck`).
        """
        while not self._agreed:
            data = self.beneath.receive_nowait(READ_BYTES)
            if data is None:
                return False
            self._hear(data, quiet=quiet)
            if not self._agree(quiet=quiet) and (not self.flush_nowait() or self._short):
                return False
        if self.drained:
            self.flush_nowait()
        return True

    @property
    def stuck(self) -> bool:
        """Whether the socket did not take all that there was to send."""
        return bool(self._unsent)

    def _agree(self, *, quiet: bool) -> bool:
        """Shake hands with what was heard; return whether that is done. What is to be sent is left to the caller."""
        session = self.session
        try:
            session.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise (failure_of(error) if quiet else self._broken(error)) from error
        hello, self._hello = self._hello, None
        if hello is not None and not session.protocol:
            session.refused_protocols = offered_protocols(hello)
        self._agreed = True
        self._dry = not session.incoming.pending
        return True

    def _hear(self, data: bytes, *, quiet: bool) -> None:
        """Take what the peer sent, a part of its handshake. Raises TlsFailed.

        A client that speaks something else is told so in its own protocol, unless `quiet`.
        """
        if not data:
            raise TlsFailed("the peer speaks no TLS: it closed the connection")
        if not self._heard_tls and data[0] == _HANDSHAKE:
            self._heard_tls = True
        elif not self._heard_tls:
            from_client = self._make is not None or self.session.tls.server_side
            if words := not_tls(data, from_client=from_client):
                if from_client and not quiet:
                    with contextlib.suppress(OSError):  # it is gone; what it spoke is known all the same
                        self.beneath.send_nowait(refusal_for(data, "tls"))
                raise TlsFailed(words)
            self._heard_tls = True
        if self._make is not None:
            self.session, self._make = self._make(), None
            self._hello = bytearray()
        self._short = len(data) < READ_BYTES
        self.session.incoming.write(data)
        if self._hello is not None and len(self._hello) < MAX_HELLO_BYTES:
            self._hello += data

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        if self._closed:
            raise _closed()
        if self._unwanted:
            return b""
        if self._plain:
            ready, self._plain = self._plain[:max_bytes], self._plain[max_bytes:]
            return ready
        for _ in range(MAX_EMPTY_READS):
            if (not self._dry or self._at_end) and (data := self._decrypted(max_bytes)) is not None:
                return data
            encrypted = self.beneath.receive_nowait(READ_BYTES)
            if encrypted is None:
                self._short = True
                return None
            if not encrypted:
                return self._cut()
            self.session.incoming.write(encrypted)
            self._dry = False
            self._short = len(encrypted) < READ_BYTES
        return self._decrypted(max_bytes)

    def _cut(self) -> bytes:
        if not self._allows_cut:
            raise ConnectionResetError(errno.ECONNRESET, "the connection was cut: TLS had not ended")
        self._at_end = True
        return b""

    receive = receive_in_turn

    def receive_into(self, scratch: Scratch) -> int | None:
        """Decrypt what is there into `scratch.plain`; return how much, 0 at the end, None for nothing yet. Raises OSError."""
        carrier = self.beneath.raw_socket
        if not self._dry or self._at_end or self._plain or self._closed or self._unwanted or carrier is None:
            data = self.receive_nowait(len(scratch.plain))
            if data:
                scratch.plain[: len(data)] = data
            return None if data is None else len(data)
        try:
            size = carrier.recv_into(scratch.encrypted)
        except BlockingIOError:
            self._short = True
            return None
        if not size:
            return len(self._cut())
        self._short = size < len(scratch.encrypted)
        made, dry = 0, True
        for start in range(0, size, READ_BYTES):  # so that OpenSSL's buffer does not grow
            self.session.incoming.write(scratch.encrypted[start : min(start + READ_BYTES, size)])
            if dry:
                made, dry = self._decrypt_into(scratch.plain, made)
        return made or self._nothing_made()

    def _nothing_made(self) -> int | None:
        return 0 if self._at_end else None

    def _decrypt_into(  # noqa: C901 - split, each record would cost a call more
        self, plain: memoryview, made: int
    ) -> tuple[int, bool]:
        """Decrypt what is here behind the `made` first bytes; return how many there are then, and whether that is all.

        Raises TlsFailed if there are none.
        """
        incoming, read = self.session.incoming, self.session.tls.read
        most = len(plain) - MAX_RECORD_BYTES
        self._dry = False
        try:
            for _ in range(MAX_RECORDS_PER_READ):
                size = int(read(len(plain) - made, plain[made:]))
                made += size
                if not size:
                    self._at_end = True
                    break
                if not incoming.pending:
                    self._dry = True
                    break
                if made > most:
                    break
        except ssl.SSLWantReadError:
            self._dry = True
            self._answer()
        except ssl.SSLZeroReturnError:
            self._at_end = True
        except ssl.SSLError as error:
            if not made:  # else it is raised the next time
                raise self._broken(error) from error
        return made, self._dry

    @override
    def unread(self, data: bytes) -> None:
        self._plain = data + self._plain

    def stop_receiving(self) -> None:
        """Refuse what comes: `receive` gives b"" from now on, and a pending call ends."""
        self._unwanted = True
        carrier = self.beneath.raw_socket
        if carrier is None:
            self.beneath.stop_receiving()
        else:
            with contextlib.suppress(OSError):  # gone already
                carrier.shutdown(socket.SHUT_RD)  # which the kernel keeps for itself

    async def send(self, data: bytes | memoryview) -> None:
        self._begin_sending()
        try:
            accepted, self._accepted = self._accepted, 0  # of these, by `send_nowait`
            if not data or accepted or self._unsent:  # of a cancelled call
                await self._flush()
            for start in range(accepted, len(data), READ_BYTES):
                self._encrypt(memoryview(data)[start : start + READ_BYTES])
                await self._flush()
        finally:
            self._sends = False

    def send_nowait(self, data: bytes | memoryview) -> int:
        if self._unsent and not self.flush_nowait():
            return 0
        if not self._accepted:
            self._encrypt(piece := data[:READ_BYTES])
            self._accepted = len(piece)  # it is encrypted once, and sent when it is taken whole beneath
            if not self.flush_nowait():
                return 0
        sent, self._accepted = self._accepted, 0
        return sent

    def wait_readable(self) -> Awaitable[None]:
        if not self._unwanted and self._dry and self._short and not self._plain:
            return self.beneath.wait_readable()
        return self.turns.take()  # there is more, but what came made no byte

    async def wait_writable(self) -> None:
        await self.beneath.wait_writable()

    def put_nowait(self, data: bytes | memoryview) -> bool:
        """Take all of `data`; return whether nothing of it is left to `flush_nowait`.

        Not to be called while anything is.
        """
        if len(data) <= READ_BYTES:
            if self._closed or self._ended or not data:
                self._encrypt(data)
                return self.flush_nowait()
            session = self.session  # the usual case: three calls less
            try:
                session.tls.write(data)
            except ssl.SSLError as error:
                raise self._broken(error) from error
            encrypted = session.outgoing.read()
            if (sent := self.beneath.send_nowait(encrypted)) < len(encrypted):
                self._unsent = memoryview(encrypted)[sent:]
                return False
            return True
        left = False
        for start in range(0, len(data), READ_BYTES):  # so that OpenSSL's buffer does not grow
            self._encrypt(data[start : start + READ_BYTES])
            left = left or not self.flush_nowait()
        self._ahead = self.session.outgoing.pending
        return not left

    def flush_nowait(self) -> bool:
        """Send what the stream beneath takes; return whether nothing is left."""
        if self._unsent:
            self._unsent = self._unsent[self.beneath.send_nowait(self._unsent) :]
            if self._unsent:
                return False
        data = self.session.outgoing.read()
        if data and (sent := self.beneath.send_nowait(data)) < len(data):
            self._unsent = memoryview(data)[sent:]
            return False
        return True

    def flush_before_close(self) -> bool:
        """As `flush_nowait`; what is sent shares a packet with the end of the socket's stream, which a close announces at once."""
        carrier = self.beneath.raw_socket
        if sys.platform != "linux" or self._unsent or carrier is None:
            return self.flush_nowait()
        data = self.session.outgoing.read()
        try:
            sent = carrier.send(data, socket.MSG_MORE)
        except BlockingIOError:
            sent = 0
        self._unsent = memoryview(data)[sent:]
        return sent == len(data)

    async def send_eof(self) -> None:
        self._begin_sending()
        try:
            if not self._ended:
                self.end_nowait()
            await self._flush()
            await self.beneath.send_eof()
        finally:
            self._sends = False

    def end_nowait(self) -> None:
        """Queue our end of stream, which `flush_nowait` sends."""
        if self._closed:
            raise _closed()
        # OpenSSL then looks for the peer's own end and takes no bytes for an answer: so none must be there
        while not (self._dry or self._at_end) and (data := self._decrypted(READ_BYTES)):
            self._plain += data
        self._ended = True
        try:  # noqa: SIM105 - three Python calls less, of every connection
            self.session.tls.unwrap()
        except ssl.SSLError:  # "want read", mostly: the peer has not ended
            pass

    async def aclose(self) -> None:
        if self._closed:
            return
        with contextlib.suppress(OSError):  # gone already
            if self._end_for_good():
                await self.beneath.send_eof()
            self.discard_received()
        self._closed = True
        await self.beneath.aclose()

    def close(self) -> None:
        """Close as `aclose` does, without a wait. Over a socket alone."""
        if self._closed:
            return
        assert isinstance(self.beneath, SocketStream)  # noqa: S101
        try:  # noqa: SIM105 - as in `end_nowait`
            self._end_for_good()
        except OSError:  # gone already
            pass
        self.discard_received()
        self._closed = True
        self.beneath.close()

    @override
    def close_nowait(self) -> bool:
        if not (self._closed or isinstance(self.beneath, SocketStream)):
            return False
        self.close()
        return True

    def _end_for_good(self) -> bool:
        """Announce our end, as far as the stream beneath takes it; return whether it did. Raises OSError."""
        if self._make is not None:
            raise OSError(errno.ENOTCONN, "there was no handshake")
        if not self._ended:
            self.end_nowait()
        return self.flush_nowait()

    def discard_received(self) -> None:
        """Drop what has come: a socket closed with bytes unread resets the connection."""
        try:
            for _ in range(MAX_DISCARDED_READS):
                if not self.beneath.receive_nowait(READ_BYTES):
                    return
        except OSError:  # gone already
            return

    def abort(self) -> None:
        self._closed = True
        self.beneath.abort()

    def _begin_sending(self) -> None:
        if self._sends:
            raise LocalProtocolError(SENDS_ALREADY)
        self._sends = True

    def was_reset(self) -> bool:
        """Return whether the connection beneath was reset."""
        return self.beneath.was_reset()

    def _decrypted(self, max_bytes: int) -> bytes | None:
        """Return what the bytes here make; b"" at the end, None if it takes more of them."""
        pieces: list[bytes] = []
        left = max_bytes
        try:
            while (
                left > 0
                and not self._dry
                and len(pieces) < MAX_RECORDS_PER_READ
                and (piece := self._decrypted_record(left))
            ):
                pieces.append(piece)
                left -= len(piece)
        except TlsFailed:
            if not pieces:  # else it is raised the next time
                raise
        if not pieces:
            return b"" if self._at_end else None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _decrypted_record(self, max_bytes: int) -> bytes:
        """Return at most a record's bytes; b"" if there are none now, or never will be."""
        session = self.session
        try:
            data = session.tls.read(min(max_bytes, MAX_RECORD_BYTES))
        except ssl.SSLWantReadError:
            self._dry = True
            self._answer()
            return b""
        except ssl.SSLZeroReturnError:
            data = b""
        except ssl.SSLError as error:
            raise self._broken(error) from error
        self._at_end = not data
        # to ask in vain costs an exception, as much as all the rest of a small message (benchmarks/load, messages)
        self._dry = not (session.incoming.pending or session.tls.pending())
        return data

    def _answer(self) -> None:
        """Send what OpenSSL writes by itself, as when the peer wants new keys."""
        if self.session.outgoing.pending and not self._ended:
            with contextlib.suppress(ConnectionError):  # the peer is gone; its earlier bytes are still here
                self.flush_nowait()
            if self.session.outgoing.pending > self._ahead + MAX_UNSENT_BYTES:
                raise TlsFailed("the peer asks for new keys all the time")

    def _encrypt(self, data: bytes | memoryview) -> None:
        if self._closed:
            raise _closed()
        if self._ended:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        if data:
            try:
                self.session.tls.write(data)
            except ssl.SSLError as error:
                raise self._broken(error) from error

    async def _flush(self) -> None:
        try:
            while not self.flush_nowait():
                await self.beneath.wait_writable()
        except ConnectionError as error:
            raise self._reason(error) from error

    def _reason(self, error: OSError) -> OSError:
        """Return the peer's alert from before the connection broke, if there was one; else the error itself."""
        try:
            if self._closed or self._plain or (data := self.receive_nowait(READ_BYTES)) is None:
                return error
            self._plain = data
        except TlsFailed as alert:
            return alert
        except OSError:
            pass
        return error

    def _broken(self, error: ssl.SSLError) -> OSError:
        """Send the peer the alert, as far as the socket takes it at once; return what to raise."""
        with contextlib.suppress(OSError):
            self.flush_nowait()
        return failure_of(error)


def _closed() -> OSError:
    return OSError(errno.EBADF, "the stream was closed")


class TlsListener(WrappingListener):
    """A Listener whose streams speak TLS; their `handshake` is left to whoever serves them."""

    def __init__(self, listener: SocketListener, contexts: ReloadingContext[ssl.SSLContext]) -> None:
        super().__init__(listener)
        self._contexts = contexts

    def accept_nowait(self) -> TlsStream | None:
        raw = self.beneath.accept_nowait()
        # an SSL object takes 50 KB: none is made before the client's first bytes
        return None if raw is None else TlsStream(raw, self._new_session)

    def _new_session(self) -> TlsSession:
        return TlsSession(self._contexts.current(), server_side=True)


def listen(parameters: ListenParameters) -> OpenListeners:
    """Return what listens with TLS over TCP, its context following the files. Raises ConfigurationError."""
    if parameters.tls.certificate is None:
        return refuse_without_certificate(parameters.url)
    make = functools.partial(server_context, alpn=parameters.alpn)
    contexts = ReloadingContext(parameters.tls, make, on_reload=parameters.on_reload)

    async def open_listeners(_: SharedPorts) -> list[TlsListener]:
        beneath = await listen_tcp(
            parameters.host,
            parameters.port,
            fast_open=parameters.fast_open,
            congestion=parameters.congestion,
            scheme=parameters.scheme,
        )
        return [TlsListener(listener, contexts) for listener in beneath]

    return open_listeners


def pollable(stream: ByteStream) -> PollableStream:
    """Return a stream that TLS can go over. Raises LocalProtocolError for any other, which a caller's own code has dialled."""
    if isinstance(stream, SocketStream) or isinstance(stream, PollableStream):  # noqa: SIM101 - the latter takes a while
        return stream
    stream.abort()
    raise LocalProtocolError("there can be no TLS over a stream that cannot be used without waiting")


class TlsClient:
    """Makes a client's sessions with one server, each of which resumes by the ticket of an earlier one if both sides can."""

    def __init__(self, kind: "type[TlsObject]", make: Callable[["Ticket | None"], TlsSession]) -> None:
        """`make` makes one, with an object of this kind."""
        self._kind = kind
        self._make = make
        self.ticket: Ticket | None = None
        self._checked = -TICKET_SECONDS

    def begin(self) -> TlsSession:
        """Return the session of a new connection."""
        return self._make(self.ticket)

    def keep(self, session: TlsSession) -> None:
        """Resume by this session's ticket from now on, if it has one: tickets come ahead of the answers.

        A ticket is used for TICKET_SECONDS, unless the server refuses it.
        """
        if not isinstance(session.tls, self._kind):
            return
        now = time.monotonic()
        refused = self.ticket is not None and not session.tls.session_reused
        if not refused and now - self._checked < TICKET_SECONDS:
            return
        self._checked = now
        ticket = session.ticket
        self.ticket = None if isinstance(ticket, ssl.SSLSession) and not ticket.has_ticket else ticket


def ssl_client(context: ssl.SSLContext, server_name: str | bytes) -> TlsClient:
    """Return what makes sessions by `ssl`."""

    def make(ticket: "Ticket | None") -> TlsSession:
        session = ticket if isinstance(ticket, ssl.SSLSession) else None
        return TlsSession(context, server_hostname=server_name, session=session)

    return TlsClient(ssl.SSLObject, make)


def pyopenssl_client(parameters: TlsParameters, alpn: str, server_name: bytes) -> TlsClient | None:
    """Return what makes the same sessions for less CPU; None without pyOpenSSL."""
    try:
        from socks6.net.encryption.pyopenssl import (  # noqa: PLC0415 - an extra, which takes a while
            PyOpenSslObject,
            pyopenssl_context,
        )
    except (ImportError, AttributeError):  # another release of it
        return None
    context = pyopenssl_context(parameters, alpn, server_name)
    return (
        None
        if context is None
        else TlsClient(PyOpenSslObject, lambda ticket: TlsSession.of(*context.wrap(ticket)))
    )


class TlsConnector(Connector):
    """Connects to one proxy over TLS, each time going on with the keys of the last time if both sides can.

    Where pyOpenSSL is installed it is used after some answers, unless a setting wants what only `ssl` does here.
    """

    def __init__(self, proxy: ConnectParameters) -> None:
        """Read the files. Raises ConfigurationError.

        The parameters' `alpn` is always offered; unless they require it, a server that negotiates none will do.
        With `fast_open` the first bytes of TLS go within the SYN, which does no harm if it comes twice: they hold nothing
        of the application's (no early data).
        """
        self._proxy = proxy
        name = without_trailing_dot(proxy.tls.sni or proxy.host)  # RFC 6066 §3
        self._server_name = (
            name.encode() if name.isascii() else name
        )  # `ssl` has text encoded by IDNA each time
        self._alpn = alpn = proxy.alpn
        self._requires_alpn = proxy.require_alpn and not proxy.tls.alpn_optional
        self._client = ssl_client(client_context(proxy.tls, alpn=(alpn,) if alpn else ()), self._server_name)
        self._quick_client: TlsClient | None = None
        self._answers_left = ANSWERS_BEFORE_PYOPENSSL if self._is_ordinary() else -1

    @override
    async def open(self, request: StreamRequest) -> TlsStream:
        stream = await self.connect(request.client_leg_options, keep_last=True)
        if request.early_data is not None:
            await send_first(stream, request.early_data)
        return stream

    @override
    def answered(self, stream: ByteStream) -> None:
        """Resume by this stream's ticket from now on."""
        session = stream.session if isinstance(stream, TlsStream) else stream.attribute(TlsSession)
        if session is None:
            return
        (self._quick_client or self._client).keep(session)
        if self._answers_left > 0:
            self._answers_left -= 1
            if not self._answers_left:
                self._load()

    async def connect(self, options: Iterable[StackOption] = (), *, keep_last: bool = False) -> TlsStream:
        """Return a stream, its handshake done, as `TlsStream.handshake`. Raises TlsFailed, CertificateRefused, OSError."""
        if self._quick_client is not None:
            try:
                return await self._connect(self._quick_client, options, keep_last=keep_last)
            except TlsFailed:  # `ssl` has the last word
                self._quick_client, self._answers_left = None, ANSWERS_AFTER_FAILURE
        return await self._connect(self._client, options, keep_last=keep_last)

    async def _connect(
        self, client: TlsClient, options: Iterable[StackOption], *, keep_last: bool
    ) -> TlsStream:
        session = client.begin()
        hello = session.begin()
        raw = await reach_proxy(self._proxy, options, hello if self._proxy.fast_open else None)
        stream = TlsStream(pollable(raw), session)
        try:
            if not self._proxy.fast_open:
                await raw.send(hello)
            await stream.finish_handshake(keep_last=keep_last)
            self._check(session)
        except BaseException as error:
            stream.abort()
            if isinstance(error, asyncio.CancelledError):
                error.add_note(SILENT)  # see `waited_for`
            raise
        return stream

    def _is_ordinary(self) -> bool:
        """Return whether the quick client does all that the proxy's parameters want, and no key exchange is weaker than by `ssl`."""
        return (
            self._proxy.tls.certificate is None
            and self._proxy.tls.minimum is ssl.TLSVersion.TLSv1_3
            and isinstance(self._server_name, bytes)
            and ssl.OPENSSL_VERSION_INFO < FIRST_OF_ML_KEM
        )

    def _load(self) -> None:
        """Load the quick client in a thread; later, if the system has none left."""
        assert isinstance(self._server_name, bytes)  # noqa: S101
        arguments = self._proxy.tls, self._alpn, self._server_name
        try:
            loading = asyncio.get_running_loop().run_in_executor(None, pyopenssl_client, *arguments)
        except RuntimeError:
            self._answers_left = ANSWERS_AFTER_FAILURE
        else:
            loading.add_done_callback(self._loaded)

    def _loaded(self, loading: "asyncio.Future[TlsClient | None]") -> None:
        if not (loading.cancelled() or loading.exception()):  # with a file that is gone `ssl` goes on
            self._quick_client = loading.result()

    def _check(self, session: TlsSession) -> None:
        if (
            self._proxy.tls.pins and not session.tls.session_reused
        ):  # else it was checked when the session began
            check_pin(session.certificate, self._proxy.tls.pins)
        if self._alpn and self._requires_alpn and session.protocol != self._alpn:
            raise TlsFailed(f"there is TLS, but no {self._alpn} (ALPN)")
