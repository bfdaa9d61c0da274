"""TLS as our sides want it: its parameters, SSL contexts that follow their files, and OpenSSL's errors in words."""

import dataclasses
import os
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Generic, TypeAlias, TypeVar

from socks6.dataclass import dataclass
from socks6.errors import CertificateRefused, ConfigurationError, TlsFailed
from socks6.setting import setting

MINIMUM_VERSIONS: Final[Mapping[str, ssl.TLSVersion]] = {
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
DEFAULT_MINIMUM: Final = "1.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsParameters:
    """What URLs and settings specify; None and empty where they do not. Files are PEM.

    A client's `ca`, `pins` and `insecure` say how it knows the proxy; without any of them the system's roots
    must vouch for its name. A pin alone is enough, whatever else the certificate says; together with `ca`,
    both must hold.
    """

    certificate: str | None = setting(
        None,
        "the certificate and its issuers, in PEM",
        flag="--tls-cert",
        unit="FILE",
        default_text="one that the server makes for itself",
        example='"proxy.pem"',
        common=True,
    )
    key: str | None = setting(
        None,
        "its key",
        unit="FILE",
        default_text="in the certificate's file",
        example='"proxy.key"',
        common=True,
    )
    client_ca: str | None = setting(
        None,
        "admit only clients with certificates of these authorities: they are the users that these name",
        unit="FILE",
        default_text="none",
        example='"users-ca.pem"',
    )
    min_version: str | None = setting(None, "the oldest version of TLS", values={"1.2": "1.2", "1.3": None})
    sni: str | None = None  # a client's: the name that the proxy's certificate must have
    ca: str | None = None
    pins: tuple[bytes, ...] = ()
    alpn_optional: bool = False  # a client's: a proxy over TLS need not say that it speaks SOCKS 6
    insecure: bool = False  # knows the proxy by nothing at all

    def merged_over(self, others: "TlsParameters") -> "TlsParameters":
        """Return what holds when this goes before `others`; a key always comes with its certificate."""
        parameters = {name: value for name in self.__dataclass_fields__ if (value := getattr(self, name))}
        if "certificate" in parameters:
            parameters["key"] = self.key
        return dataclasses.replace(others, **parameters)

    @property
    def skips_verification(self) -> bool:
        """Whether no authority needs to vouch for the proxy."""
        return self.insecure or (bool(self.pins) and self.ca is None)

    @property
    def minimum(self) -> ssl.TLSVersion:
        """The oldest version of TLS that will do."""
        return MINIMUM_VERSIONS[self.min_version or DEFAULT_MINIMUM]


TLS_DEFAULTS: Final = TlsParameters()


ABSENT: Final = "PEER_DID_NOT_RETURN_A_CERTIFICATE"
# By OpenSSL's names. Alerts are the peer's.
WORDS: Final = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the peer wants a client certificate, and there is none (cert=)",
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not know who issued our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the peer refuses our certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the peer cannot use a certificate like ours",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the peer says that our certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the peer says that our certificate was revoked",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the peer does not trust our certificate",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the peer finds nothing in common with us",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the peer speaks no version of TLS that we do (min-version=1.2?)",
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "the peer does not speak SOCKS 6 here",
    "NO_APPLICATION_PROTOCOL": "the peer does not speak SOCKS 6 here",
    "UNSUPPORTED_PROTOCOL": "the peer speaks no version of TLS that we do (min-version=1.2?)",
    "WRONG_SSL_VERSION": "the peer speaks no version of TLS that we do (min-version=1.2?)",
    "SSLV3_ALERT_UNEXPECTED_MESSAGE": "the peer does not speak TLS here: socks6:// instead of socks6+tls://?",
    "WRONG_VERSION_NUMBER": "the peer speaks no TLS",
    "RECORD_LAYER_FAILURE": "the peer speaks no TLS",
    "HTTP_REQUEST": "the peer speaks HTTP, not TLS",
    "NO_SHARED_CIPHER": "nothing in common with the peer",
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": "what came was changed on its way",
}
# What is wrong with a certificate, by the numbers of x509_vfy.h: each release of OpenSSL words it differently.
CERTIFICATE_WORDS: Final = {
    9: "certificate is not yet valid",
    10: "certificate has expired",
    18: "self-signed certificate",
    19: "self-signed certificate in certificate chain",
    20: "unable to get local issuer certificate",
    21: "unable to verify the first certificate",
    23: "certificate revoked",
    24: "invalid CA certificate",
    26: "unsuitable certificate purpose",
}


def failure_of(error: ssl.SSLError) -> TlsFailed:
    """Return what to raise for an error of `ssl`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        words = words_for_certificate(getattr(error, "verify_code", 0), error.verify_message)
        return CertificateRefused(f"the certificate does not hold: {words}")
    reason = error.reason or ""
    if reason == ABSENT:
        return CertificateRefused("the client has no certificate")
    return TlsFailed(f"TLS failed: {words_for(reason) or str(error)}")


def reason_of(text: str) -> str:
    """Return OpenSSL's name of a failure that it describes by `text`."""
    return text.replace("ssl/tls", "sslv3").upper().replace(" ", "_")


def words_for(reason: str) -> str:
    """Return OpenSSL's name of a failure in words."""
    return WORDS.get(reason) or reason.lower().replace("_", " ")


def words_for_certificate(code: int, otherwise: str = "") -> str:
    """Return what is wrong with a certificate; `otherwise` is what OpenSSL says, for faults without words of ours."""
    return CERTIFICATE_WORDS.get(code) or otherwise or f"fault {code}"


ContextT = TypeVar("ContextT")

ALPN: Final = "socks6"
MAX_PEM_BYTES: Final = 1 << 20  # of a file in PEM that are searched
LOOK_SECONDS: Final = 1.0  # between two looks at the files, while clients come

ReloadCallback: TypeAlias = Callable[[str, str], None]
"""Called with a certificate's path when it is read anew, and with what is wrong, "" for nothing."""


def client_context(
    parameters: TlsParameters = TLS_DEFAULTS, *, alpn: Sequence[str] = (ALPN,)
) -> ssl.SSLContext:
    """Return what a client's connections are made with. Raises ConfigurationError.

    Pins are left for the caller to check; where only they are given, the context accepts any issuer.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False  # RFC 9525 §2
    context.minimum_version = parameters.minimum
    if alpn:
        context.set_alpn_protocols(alpn)
    if parameters.skips_verification:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif parameters.ca is not None:
        check_pem(parameters.ca, "CERTIFICATE", "certificate")
        with _naming_file(parameters.ca):
            context.load_verify_locations(cafile=parameters.ca)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if parameters.certificate is not None:
        _load_certificate(context, parameters.certificate, parameters.key)
    return context


def server_context(parameters: TlsParameters, *, alpn: Sequence[str] = (ALPN,)) -> ssl.SSLContext:
    """Return what a listener's connections are made with. Raises ConfigurationError.

    With `client_ca` clients without a certificate of these authorities get no connection.
    """
    assert parameters.certificate is not None  # noqa: S101 - the caller has made one if there was none
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = parameters.minimum
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 1  # a client resumes by one, many times; OpenSSL would make two
    if alpn:
        context.set_alpn_protocols(alpn)
    _load_files(context, parameters)
    if parameters.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def check_server_files(parameters: TlsParameters) -> None:
    """Raise ConfigurationError if a file that is named for listeners cannot be used."""
    if (parameters.certificate, parameters.client_ca) != (None, None):  # the first context takes OpenSSL 5 ms
        _load_files(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), parameters)


def _load_files(context: ssl.SSLContext, parameters: TlsParameters) -> None:
    if parameters.certificate is not None:
        _load_certificate(context, parameters.certificate, parameters.key)
    if parameters.client_ca is not None:
        check_pem(parameters.client_ca, "CERTIFICATE", "certificate")
        with _naming_file(parameters.client_ca):
            context.load_verify_locations(cafile=parameters.client_ca)


class ReloadingContext(Generic[ContextT]):
    """A listener's context, rebuilt for new connections when its files have changed.

    Files are checked when a client comes, at most once a second. Those that cannot be used are reported and tried
    again, and the last good context stays.
    """

    def __init__(
        self,
        parameters: TlsParameters,
        make: Callable[[TlsParameters], ContextT],
        *,
        on_reload: ReloadCallback = lambda _path, _fault: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the files. Raises ConfigurationError, as `make` does."""
        self._parameters = parameters
        self._make = make
        self._on_reload = on_reload
        self._clock = clock
        self._files = tuple(filter(None, (parameters.certificate, parameters.key, parameters.client_ca)))
        self._looked = clock()
        self._stamps = tuple(map(_stamp, self._files))
        self._fault = ""  # why the files could not be used when they were looked at last
        self._context = make(parameters)

    def current(self) -> ContextT:
        """Return the context for a new connection. Never raises: the files may be in a sorry state."""
        now = self._clock()
        if now - self._looked < LOOK_SECONDS:
            return self._context
        self._looked = now
        stamps = tuple(map(_stamp, self._files))
        changed, self._stamps = stamps != self._stamps, stamps
        if changed or self._fault:  # also where descriptors were short, say: the files need not change again
            fault = ""
            try:
                self._context = self._make(self._parameters)
            except ConfigurationError as error:
                fault = str(error)
            if changed or fault != self._fault:
                self._on_reload(self._parameters.certificate or "", fault)
            self._fault = fault
        return self._context


def _stamp(path: str) -> tuple[int, int, int] | None:
    """Return what changes when a file does, also one that is replaced by renaming; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _load_certificate(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    def no_password() -> str:  # OpenSSL would ask on the terminal
        raise ConfigurationError(f"{key or certificate}: the key is encrypted: decrypt it first")

    check_pem(certificate, "CERTIFICATE", "certificate")
    check_pem(
        key or certificate, "PRIVATE KEY", "private key", hint="" if key else ": name it (--tls-key, key=)"
    )
    with _naming_file(certificate if key is None else f"{certificate}, {key}"):
        context.load_cert_chain(certificate, key, password=no_password)


def check_pem(path: str, label: str, words: str, *, hint: str = "") -> None:
    """Raise ConfigurationError unless a file can be read and has a block with such a label (RFC 7468)."""
    with _naming_file(path), open(path, "rb") as file:
        data = file.read(MAX_PEM_BYTES)
    if not re.search(rb"-----BEGIN [A-Z0-9 ]*" + label.encode() + rb"-----", data):
        raise ConfigurationError(f"{path} holds no {words} in PEM{hint}")


@contextmanager
def _naming_file(path: str) -> Iterator[None]:
    """Name the file in errors of `ssl`."""
    try:
        yield
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"{path}: {_FAULTS.get(error.reason or '', 'no such thing in PEM')}"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error


_FAULTS: Final = {
    "KEY_VALUES_MISMATCH": "the key is not the certificate's",
    "EE_KEY_TOO_SMALL": "the key is too short to be safe",
    "CA_MD_TOO_WEAK": "its signature is too weak to be safe",
}
