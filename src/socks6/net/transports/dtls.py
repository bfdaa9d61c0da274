"""DTLS over whatever carries datagrams: one association's OpenSSL, without a socket and without a clock of ours.

A memory BIO keeps no borders of datagrams. So one datagram goes in at a time and all that it holds is taken out,
and what comes out is cut at its records.
"""

import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from socks6.errors import CertificateRefused, TlsFailed
from socks6.net.encryption.names import details_of, is_for_host, user_of
from socks6.net.encryption.pins import is_pinned
from socks6.net.encryption.settings import TlsParameters
from socks6.net.encryption.verification import name_fault
from socks6.net.transports.dtls_contexts import failure_of
from socks6.net.transports.dtls_records import APPLICATION_DATA, MOST_DATA, cut, is_one_record

if TYPE_CHECKING:
    from cryptography import x509

FLIGHT: Final = (
    1232  # bytes of a handshake's datagrams: what IPv6 takes on every path (RFC 8200 §5), less headers
)
OVERHEAD: Final = 64  # more than a record adds to its data
DRAIN: Final = 65536


class Resumable(NamedTuple):
    """What a later connection can go on with."""

    session: SSL.Session
    secret: bytes


class DtlsConversation:
    """One DTLS connection. Datagrams in, data out, and the other way round; what comes in never raises."""

    __slots__ = ("_expansion", "_offered", "_tls", "established", "failure", "has_output", "over")

    def __init__(self, tls: SSL.Connection, offered: Resumable | None = None) -> None:
        self._tls = tls
        self._offered = offered
        self._expansion = OVERHEAD
        self.has_output = False  # there may be something in `datagrams_to_send`
        self.established = False
        self.over = False  # nothing more will come: ended by the peer, or failed
        self.failure: TlsFailed | None = None  # why, unless the peer ended it in due form
        tls.set_ciphertext_mtu(FLIGHT)

    @classmethod
    def answering(cls, context: SSL.Context, hello: bytes) -> "DtlsConversation":
        """Return the server's side, which has received a ClientHello whose cookie was found good."""
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
        cls, context: SSL.Context, *, name: str, resume: Resumable | None = None
    ) -> "DtlsConversation":
        """Return the client's side, with its ClientHello to send; `name` is what the server is asked for, if any."""
        tls = SSL.Connection(context, None)
        tls.set_connect_state()
        if name:
            tls.set_tlsext_host_name(name.encode("ascii"))
        if resume is not None:
            tls.set_session(resume.session)
        conversation = cls(tls, resume)
        conversation._shake_hands()
        return conversation

    # What there is to know.

    @property
    def expansion(self) -> int:
        """How many bytes a datagram is longer than the data in it."""
        return self._expansion

    @property
    def certified_user(self) -> str:
        """Whom the peer's certificate names; "" without one."""
        certificate = self._certificate()
        return "" if certificate is None else user_of(details_of(certificate))

    @property
    def resumed(self) -> bool:
        """Whether the connection goes on with an earlier one's keys."""
        return self._offered is not None and self._offered.secret == self._tls.master_key()

    @property
    def resumable(self) -> Resumable | None:
        """What a later connection can go on with."""
        session, secret = self._tls.get_session(), self._tls.master_key()
        return None if session is None or secret is None else Resumable(session, secret)

    @property
    def cipher(self) -> str:
        """What encrypts; "" before the handshake."""
        return self._tls.get_cipher_name() or ""

    def check_peer(self, said: TlsParameters, host: str) -> None:
        """Check the server's certificate against what the client was told. Raises CertificateRefused."""
        certificate = self._certificate()
        if certificate is None:
            raise CertificateRefused("the proxy has no certificate")
        if not said.skips_verification and not is_for_host(details_of(certificate), host):
            raise CertificateRefused(f"the certificate does not hold: {name_fault(host)}")
        if said.pins and not is_pinned(certificate.public_bytes(Encoding.DER), said.pins):
            raise CertificateRefused(
                "the proxy's key is not the one of the pin: another server, or a new key"
            )

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
            return self._tls.bio_read(len(data) + OVERHEAD)
        except SSL.Error as error:
            self._fail(failure_of(error))
            return b""

    def datagrams_to_send(self) -> list[bytes]:
        """Return what there is to send besides data, and forget it."""
        flight = b""
        self.has_output = False
        with contextlib.suppress(SSL.WantReadError):
            while piece := self._tls.bio_read(DRAIN):
                flight += piece
        return cut(flight, FLIGHT)

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
        """Tell the peer, once, that nothing more comes. Idempotent."""
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
        self._expansion = FLIGHT - self._tls.get_cleartext_mtu()
        return True

    def _read_all(self) -> list[bytes]:
        found: list[bytes] = []
        while (data := self._read()) is not None:
            found.append(data)
        return found

    def _read(self) -> bytes | None:
        """Return one record's data; None if there is none."""
        try:
            return self._tls.recv(MOST_DATA)
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
