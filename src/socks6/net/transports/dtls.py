"""DTLS over whatever carries datagrams: one association's OpenSSL, without a socket and without a clock of ours.

A memory BIO keeps no borders of datagrams. So one datagram goes in at a time and all that it holds is taken out,
and what comes out is cut at its records. The little of DTLS 1.2 that is not OpenSSL's is here too: where records end, and
hellos that cost no state (RFC 6347). Needs the extra `dtls`.
"""

import contextlib
from struct import Struct
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from socks6.dataclass import dataclass
from socks6.errors import CertificateRefused, DecodeError, TlsFailed
from socks6.message.address import is_literal, without_trailing_dot
from socks6.message.buffer import Reader
from socks6.net.encryption.certificates import check_pin, details_of, is_for_host, name_fault, user_of
from socks6.net.encryption.contexts import TLS_DEFAULTS, TlsParameters
from socks6.net.transports.dtls_contexts import client_context, failure_of

if TYPE_CHECKING:
    from cryptography import x509

HEADER_SIZE: Final = 13  # type, version, epoch, sequence number, length
MAX_RECORD_BYTES: Final = 16384  # that a record can hold
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23
CLIENT_HELLO: Final = 1
HELLO_VERIFY_REQUEST: Final = 3
DTLS_1_0: Final = b"\xfe\xff"  # of a HelloVerifyRequest, whatever both sides speak (§4.2.1)
MAJOR_VERSION: Final = 0xFE

_RECORD: Final = Struct("!BBBH6sH")  # type, version (2), epoch, sequence number, length
_HANDSHAKE: Final = Struct("!B3sH3s3s")  # type, length, number, and which part of the message this is
_NO_BYTES: Final = bytes(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientHello:
    """What an answer without state needs to know of a ClientHello."""

    sequence: bytes  # of its record
    random: bytes
    cookie: bytes


def is_one_record(datagram: bytes) -> bool:
    """Return whether a datagram is a single record."""
    return len(datagram) >= HEADER_SIZE and HEADER_SIZE + int.from_bytes(datagram[11:13]) == len(datagram)


def is_clear(datagram: bytes) -> bool:
    """Return whether a datagram begins with a record from before there were keys (epoch 0)."""
    return datagram[3:5] == b"\0\0"


def cut(flight: bytes, size: int) -> list[bytes]:
    """Return the records of a flight as datagrams of at most `size` bytes; a longer record goes by itself."""
    datagrams: list[bytes] = []
    begin = end = 0
    while end < len(flight):
        after = end + HEADER_SIZE + int.from_bytes(flight[end + 11 : end + 13])
        if after - begin > size and end > begin:
            datagrams.append(flight[begin:end])
            begin = end
        end = after
    if begin < len(flight):
        datagrams.append(flight[begin:])
    return datagrams


def read_client_hello(datagram: bytes) -> ClientHello | None:
    """Return the ClientHello that a datagram begins with; None for anything else, also for a part of one."""
    with contextlib.suppress(DecodeError):
        return _client_hello(Reader(datagram))
    return None


def hello_verify_request(hello: ClientHello, cookie: bytes) -> bytes:
    """Return the datagram that asks for the same ClientHello with a cookie (§4.2.1)."""
    body = DTLS_1_0 + bytes((len(cookie),)) + cookie
    size = len(body).to_bytes(3)
    message = _HANDSHAKE.pack(HELLO_VERIFY_REQUEST, size, 0, _NO_BYTES, size) + body
    return _RECORD.pack(HANDSHAKE, *DTLS_1_0, 0, hello.sequence, len(message)) + message


def _client_hello(reader: Reader) -> ClientHello:
    kind, major, _, epoch = reader.u8(), reader.u8(), reader.u8(), reader.u16()
    if kind != HANDSHAKE or major != MAJOR_VERSION or epoch:
        raise DecodeError("no handshake in the clear")
    sequence = reader.take(6)
    message = reader.section(reader.u16())
    kind, size = message.u8(), message.take(3)
    message.u16()  # the message's number
    if kind != CLIENT_HELLO or message.take(3) != _NO_BYTES or message.take(3) != size:
        raise DecodeError("no whole ClientHello")
    body = message.section(int.from_bytes(size))
    body.u16()  # the version
    random = body.take(32)
    body.take(body.u8())  # the session's id
    return ClientHello(sequence=sequence, random=random, cookie=body.take(body.u8()))


FLIGHT_BYTES: Final = 1232  # bytes of a handshake's datagrams: what IPv6 takes on every path (RFC 8200 §5)
RECORD_OVERHEAD_BYTES: Final = 64  # more than a record adds to its data
DRAIN_BYTES: Final = 65536


class DtlsConversation:
    """One DTLS connection. Datagrams in, data out, and the other way round; what comes in never raises."""

    __slots__ = ("_tls", "established", "expansion", "failure", "has_output", "over")

    def __init__(self, tls: SSL.Connection) -> None:
        self._tls = tls
        self.expansion = RECORD_OVERHEAD_BYTES  # bytes by which a datagram is longer than the data in it
        self.has_output = False  # there may be something in `datagrams_to_send`
        self.established = False
        self.over = False  # nothing more will come: ended by the peer, or failed
        self.failure: TlsFailed | None = None  # why, unless the peer ended it in due form
        tls.set_ciphertext_mtu(FLIGHT_BYTES)

    @classmethod
    def answering(cls, context: SSL.Context, hello: bytes) -> "DtlsConversation":
        """Return the server's side, which has received a ClientHello with a valid cookie."""
        tls = SSL.Connection(context, None)
        tls.set_accept_state()
        conversation = cls(tls)
        tls.bio_write(hello)
        try:
            tls.DTLSv1_listen()  # so that the handshake goes on with the second message
        except SSL.WantReadError:
            conversation._fail(TlsFailed("DTLS failed: a ClientHello that OpenSSL cannot read"))
        except SSL.Error as error:
            conversation._fail(failure_of(error))
        else:
            conversation._shake_hands()
        return conversation

    @classmethod
    def calling(
        cls, context: SSL.Context, *, name: str, resume: SSL.Session | None = None
    ) -> "DtlsConversation":
        """Return the client's side, with its ClientHello to send; `name` is what the server is asked for, if any."""
        tls = SSL.Connection(context, None)
        tls.set_connect_state()
        if name:
            tls.set_tlsext_host_name(name.encode("ascii"))
        if resume is not None:
            tls.set_session(resume)
        conversation = cls(tls)
        conversation._shake_hands()
        return conversation

    # What there is to know.

    @property
    def certified_user(self) -> str:
        """Whom the peer's certificate names; "" without one."""
        certificate = self._certificate()
        return "" if certificate is None else user_of(details_of(certificate))

    @property
    def session(self) -> SSL.Session | None:
        """What a later connection can resume."""
        return self._tls.get_session()

    def check_peer(self, parameters: TlsParameters, host: str) -> None:
        """Verify the server's certificate against the parameters. Raises CertificateRefused."""
        certificate = self._certificate()
        if certificate is None:
            raise CertificateRefused("the proxy has no certificate")
        if not parameters.skips_verification and not is_for_host(details_of(certificate), host):
            raise CertificateRefused(f"the certificate does not hold: {name_fault(host)}")
        check_pin(certificate.public_bytes(Encoding.DER), parameters.pins)

    # Datagrams.

    def receive(self, datagram: bytes) -> list[bytes]:
        """Return the data in a datagram; none for what is no part of this conversation."""
        if self.over or not datagram:
            return []
        self._tls.bio_write(datagram)
        if not self.established:
            return self._read_all() if self._shake_hands() else []
        if datagram[0] == APPLICATION_DATA and is_one_record(datagram):
            data = self._read()
            return [] if data is None else [data]
        self.has_output = True
        return self._read_all()

    def encrypt(self, data: bytes) -> bytes:
        """Return the datagram that carries data, at most MOST_DATA bytes; b"" where nothing goes any more."""
        if self.over or not self.established:
            return b""
        try:
            self._tls.send(data)
            return self._tls.bio_read(len(data) + RECORD_OVERHEAD_BYTES)
        except SSL.Error as error:
            self._fail(failure_of(error))
            return b""

    def datagrams_to_send(self) -> list[bytes]:
        """Return what there is to send besides data, and forget it."""
        flight = b""
        self.has_output = False
        with contextlib.suppress(SSL.WantReadError):
            while piece := self._tls.bio_read(DRAIN_BYTES):
                flight += piece
        return cut(flight, FLIGHT_BYTES)

    def next_timeout(self) -> float | None:
        """Return in how many seconds `handle_timeout` is due; None while nothing waits for an answer."""
        if self.over:
            return None
        return self._tls.DTLSv1_get_timeout()

    def handle_timeout(self) -> None:
        """Send the last flight again if it is time to; after many times, give up."""
        self.has_output = True
        try:
            self._tls.DTLSv1_handle_timeout()
        except SSL.Error as error:
            self._fail(failure_of(error))

    def close(self) -> None:
        """Send a close_notify, once. Idempotent."""
        if self.established and not self.over:
            self.has_output = True
            with contextlib.suppress(SSL.Error):
                self._tls.shutdown()
        self.over = True

    def _certificate(self) -> "x509.Certificate | None":
        try:
            return self._tls.get_peer_certificate(as_cryptography=True)
        except ValueError:  # what is no certificate to this library
            return None

    def _shake_hands(self) -> bool:
        """Go on with the handshake; return whether it is done."""
        self.has_output = True
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            fault = self._tls.get_app_data()
            self._fail(failure_of(error, fault if isinstance(fault, int) else 0))
            return False
        self.established = True
        self.expansion = FLIGHT_BYTES - self._tls.get_cleartext_mtu()
        return True

    def _read_all(self) -> list[bytes]:
        found: list[bytes] = []
        while (data := self._read()) is not None:
            found.append(data)
        return found

    def _read(self) -> bytes | None:
        """Return one record's data; None if there is none."""
        try:
            return self._tls.recv(MAX_RECORD_BYTES)
        except SSL.WantReadError:
            return None
        except SSL.ZeroReturnError:
            self.over = True
        except SSL.Error as error:
            self._fail(failure_of(error))
        return None

    def _fail(self, failure: TlsFailed) -> None:
        self.over = True
        self.failure = failure


class DtlsConnector:
    """Begins conversations with one proxy, each time going on with the keys of the last time if both sides can."""

    def __init__(self, host: str, parameters: TlsParameters = TLS_DEFAULTS) -> None:
        """Read the files. Raises ConfigurationError."""
        self._parameters: Final = parameters
        self._name: Final = without_trailing_dot(parameters.sni or host)
        self._context: Final = client_context(parameters)
        self._resume: SSL.Session | None = None

    def call(self) -> DtlsConversation:
        """Return a conversation with its first datagram to send."""
        name = "" if is_literal(self._name) else self._name
        return DtlsConversation.calling(self._context, name=name, resume=self._resume)

    def check(self, conversation: DtlsConversation) -> TlsFailed | None:
        """Return what is wrong with a conversation that has shaken hands; None if it is the proxy that is meant."""
        try:
            conversation.check_peer(self._parameters, self._name)
        except CertificateRefused as error:
            self._resume = None
            return error
        self._resume = conversation.session
        return None
