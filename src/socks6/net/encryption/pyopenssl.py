"""A client's TLS by pyOpenSSL, for connections that resume: they cost a fifth less CPU than by `ssl` (docs/decisions/0090).

`ssl` copies a session whenever one is set: it encodes it and decodes it again, with the certificate in it. OpenSSL itself
shares it. `TlsConnector` goes over to this once it has made enough connections to pay for the import, and goes back where a
handshake fails: `ssl` has the last word on every proxy, and all errors are in its words.

Of pyOpenSSL's binding of OpenSSL this uses what has no public call: the name that a certificate must have, the groups of the
key exchange, and reading and writing without another copy.
"""

import ssl
from typing import Final, overload

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from socks6.message.address import encode_address, is_literal
from socks6.net.encryption.contexts import TlsParameters, reason_of

GROUPS: Final = (
    b"X25519:P-256:P-384"  # as `ssl` offers them; OpenSSL 4 would begin with a key of ML-KEM, for 200 µs
)
WANTS_READ: Final = int(lib.SSL_ERROR_WANT_READ)
AT_END: Final = int(lib.SSL_ERROR_ZERO_RETURN)
NO_SUBJECT: Final = 0x20  # X509_CHECK_FLAG_NEVER_CHECK_SUBJECT: RFC 9525 §2
SCRATCH_BYTES: Final = 81_920  # what 64 KiB are when they are encrypted, and some more
MAX_RECORD_BYTES: Final = 16384  # that OpenSSL gives at a time
SHUT_DOWN: Final = SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN

_data = ffi.new("char **")  # where data are, which nobody asks


class IncomingBytes:
    """What came of the peer, as `ssl.MemoryBIO`."""

    __slots__ = ("_bio",)

    def __init__(self, connection: SSL.Connection) -> None:
        self._bio = connection._into_ssl

    @property
    def pending(self) -> int:
        """How many bytes OpenSSL has not read."""
        size: int = lib.BIO_get_mem_data(self._bio, _data)
        return size

    def write(self, data: bytes | memoryview, /) -> int:
        """Add bytes."""
        size: int = lib.BIO_write(self._bio, ffi.from_buffer(data), len(data))
        return size


class OutgoingBytes:
    """What goes to the peer, as `ssl.MemoryBIO`."""

    __slots__ = ("_bio", "_scratch")

    def __init__(self, connection: SSL.Connection, scratch: object) -> None:
        self._bio = connection._from_ssl
        self._scratch = scratch

    @property
    def pending(self) -> int:
        """How many bytes there are."""
        size: int = lib.BIO_get_mem_data(self._bio, _data)
        return size

    def read(self) -> bytes:
        """Return and forget all bytes."""
        size: int = lib.BIO_get_mem_data(self._bio, _data)
        if not size:
            return b""
        piece = self._scratch if size <= SCRATCH_BYTES else ffi.new("char[]", size)
        lib.BIO_read(self._bio, piece, size)
        return bytes(ffi.buffer(piece, size))


def _free(connection: object) -> None:
    """Free a connection whose session others share: OpenSSL resumes none that did not end both ways."""
    lib.SSL_set_shutdown(connection, SHUT_DOWN)
    lib.SSL_free(connection)


class PyOpenSslObject:
    """One connection, as `ssl.SSLObject` has it, with that one's exceptions."""

    server_side: Final = False
    __slots__ = ("_connection", "_failed", "_incoming", "_scratch", "_ssl")

    def __init__(self, connection: SSL.Connection, scratch: object) -> None:
        self._connection = connection
        ffi.gc(connection._ssl, None)  # no `__del__` instead: the collector might have freed it by then
        self._ssl = connection._ssl = ffi.gc(connection._ssl, _free)
        self._incoming = connection._into_ssl
        self._scratch = scratch
        self._failed = ""  # why, after what was read

    @property
    def session(self) -> SSL.Session | None:
        """What a later connection can resume."""
        return self._connection.get_session()

    @property
    def session_reused(self) -> bool:
        """Whether this one has resumed an earlier one."""
        return bool(lib.SSL_session_reused(self._ssl))

    def do_handshake(self) -> None:
        """See `ssl.SSLObject`."""
        if (result := lib.SSL_do_handshake(self._ssl)) <= 0:
            raise self._failure(result)

    @overload
    def read(self, size: int, /) -> bytes: ...
    @overload
    def read(self, size: int, buffer: memoryview, /) -> int: ...
    def read(self, size: int, buffer: memoryview | None = None, /) -> bytes | int:
        """See `ssl.SSLObject`; into a buffer, this reads whole records of the greatest length one after the other."""
        if self._failed:
            raise _error(self._failed)
        result: int
        if buffer is None:
            scratch = self._scratch
            result = lib.SSL_read(self._ssl, scratch, min(size, SCRATCH_BYTES))
            if result <= 0:
                raise self._failure(result)
            return bytes(ffi.buffer(scratch, result))
        made, most = 0, min(size, len(buffer))
        # released here: CPython crashes where the collector comes upon a memoryview that is still lent
        with ffi.from_buffer(buffer) as into:
            while (result := lib.SSL_read(self._ssl, into + made, most - made)) > 0:
                made += result
                if (
                    result < MAX_RECORD_BYTES
                    or most - made < MAX_RECORD_BYTES
                    or not lib.BIO_get_mem_data(self._incoming, _data)
                ):
                    return made
        if not made:
            raise self._failure(result)  # kept in a variable here, it would be a cycle, and all this with it
        self._failed = self._failure(result).reason  # which OpenSSL says once
        return made

    def write(self, data: bytes | memoryview, /) -> int:
        """See `ssl.SSLObject`; takes all of `data`."""
        result: int = lib.SSL_write(self._ssl, ffi.from_buffer(data), len(data))
        if result <= 0:
            raise self._failure(result)
        return result

    def pending(self) -> int:
        """See `ssl.SSLObject`."""
        size: int = lib.SSL_pending(self._ssl)
        return size

    def unwrap(self) -> None:
        """Announce our end. Raises ssl.SSLError."""
        if (result := lib.SSL_shutdown(self._ssl)) < 0:
            raise self._failure(result)

    def selected_alpn_protocol(self) -> str | None:
        """See `ssl.SSLObject`."""
        return self._connection.get_alpn_proto_negotiated().decode("ascii", "backslashreplace") or None

    def version(self) -> str | None:
        """See `ssl.SSLObject`."""
        return self._connection.get_protocol_version_name()

    def cipher(self) -> tuple[str, str, int] | None:
        """See `ssl.SSLObject`."""
        name = self._connection.get_cipher_name()
        return None if name is None else (name, self.version() or "", self._connection.get_cipher_bits() or 0)

    def certificate(self) -> bytes:
        """Return the peer's certificate in DER; b"" without one."""
        from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415 - pyOpenSSL brings it

        found = self._connection.get_peer_certificate(as_cryptography=True)
        return b"" if found is None else found.public_bytes(Encoding.DER)

    def _failure(self, result: int) -> ssl.SSLError:
        """Return the exception that `ssl` has for a call that failed."""
        kind = lib.SSL_get_error(self._ssl, result)
        if kind == WANTS_READ:
            return _error("", ssl.SSLWantReadError)
        if kind == AT_END:
            return _error("", ssl.SSLZeroReturnError)
        words = ""
        while number := lib.ERR_get_error():  # the first says the most
            text = lib.ERR_reason_error_string(number)
            words = words or (ffi.string(text).decode() if text != ffi.NULL else f"error {number}")
        return _error(reason_of(words))


def _error(reason: str, kind: type[ssl.SSLError] = ssl.SSLError) -> ssl.SSLError:
    error = kind(1, reason)
    error.reason = reason
    return error


class PyOpenSslContext:
    """What one client's connections to one server are made with."""

    def __init__(self, parameters: TlsParameters, alpn: str, server_name: bytes) -> None:
        """Read the files. Raises AttributeError in releases of pyOpenSSL that lack something, OSError, SSL.Error."""
        self._context = _context(parameters, alpn, server_name)
        self._scratch = ffi.new("char[]", SCRATCH_BYTES)  # of connections that one thread uses
        self._name = None if is_literal(server_name.decode()) else server_name  # RFC 6066 §3

    def wrap(self, session: object) -> tuple[PyOpenSslObject, IncomingBytes, OutgoingBytes]:
        """Return a connection's object and its buffers; it resumes `session`, if that is one of pyOpenSSL's."""
        connection = SSL.Connection(self._context, None)
        connection.set_connect_state()
        if self._name is not None:
            connection.set_tlsext_host_name(self._name)
        if isinstance(session, SSL.Session):
            connection.set_session(session)
        tls = PyOpenSslObject(connection, self._scratch)
        return tls, IncomingBytes(connection), OutgoingBytes(connection, self._scratch)


def pyopenssl_context(parameters: TlsParameters, alpn: str, server_name: bytes) -> PyOpenSslContext | None:
    """Return what a client's connections to a server are made with; None where pyOpenSSL does not do."""
    try:
        return PyOpenSslContext(parameters, alpn, server_name)
    except (
        AttributeError,
        OSError,
        SSL.Error,
    ):  # another release than those that this was written for, a file that is gone
        return None


def _context(parameters: TlsParameters, alpn: str, server_name: bytes) -> SSL.Context:
    """Return a context that accepts the same servers as `contexts.client_context`."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # else a session is dropped once it was resumed
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.clear_mode(lib.SSL_MODE_ENABLE_PARTIAL_WRITE)
    if alpn:
        context.set_alpn_protos([alpn.encode()])
    if not lib.SSL_CTX_set1_curves_list(context._context, GROUPS):
        raise AttributeError("no such groups")
    if not parameters.skips_verification:
        context.set_verify(SSL.VERIFY_PEER)
        if parameters.ca is not None:
            context.load_verify_locations(parameters.ca)
        else:
            system = ssl.get_default_verify_paths()
            context.load_verify_locations(system.cafile, system.capath)
        _expect(context, server_name)
    return context


def _expect(context: SSL.Context, server_name: bytes) -> None:
    """Accept certificates of one name alone. Raises AttributeError."""
    wanted = lib.SSL_CTX_get0_param(context._context)
    lib.X509_VERIFY_PARAM_set_hostflags(wanted, lib.X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | NO_SUBJECT)
    if is_literal(server_name.decode()):
        _, packed = encode_address(server_name.decode())
        done = lib.X509_VERIFY_PARAM_set1_ip(wanted, packed, len(packed))
    else:
        done = lib.X509_VERIFY_PARAM_set1_host(wanted, server_name, len(server_name))
    if not done:
        raise AttributeError("no such name")
