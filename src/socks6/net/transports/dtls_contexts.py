"""OpenSSL's contexts for DTLS, by pyOpenSSL: the standard library speaks TLS alone. Needs the extra `dtls`.

There is DTLS 1.2 and nothing newer in OpenSSL. Only suites that keep past traffic secret when a key is stolen
(ECDHE) and that authenticate what they encrypt (AEAD) are offered, as TLS 1.3 has them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from socks6.distribution import install_hint
from socks6.errors import CertificateRefused, ConfigurationError, TlsFailed
from socks6.net.encryption.contexts import (
    ABSENT,
    ALPN,
    ReloadingContext,
    TlsParameters,
    reason_of,
    words_for,
    words_for_certificate,
)

if TYPE_CHECKING:
    from OpenSSL import SSL

DtlsContexts: TypeAlias = "ReloadingContext[SSL.Context]"

NO_EXTRA: Final = f"DTLS needs an extra: {install_hint('dtls')}"
DTLS_1_2: Final = 0xFEFD
CIPHERS: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20"
UNVERIFIED: Final = "CERTIFICATE_VERIFY_FAILED"


def available() -> bool:
    """Return whether the extra is installed."""
    try:
        import OpenSSL  # noqa: F401, PLC0415 - an extra
    except ImportError:
        return False
    return True


def obstacle(parameters: TlsParameters) -> str:
    """Return why a listener with these files cannot have DTLS beside TLS; "" for nothing."""
    if not available():
        return NO_EXTRA
    try:
        server_context(parameters)
    except WrongKind as error:
        return str(error)
    except ConfigurationError:
        pass  # faults of the files are raised where they are needed
    except MemoryError:  # cffi makes pyOpenSSL's callbacks in memory that is both
        return "this system lets nothing be both written and executed (MemoryDenyWriteExecute, SELinux's execmem)"
    return ""


class WrongKind(ConfigurationError):
    """A key that is good for TLS, but not for DTLS."""


def server_context(parameters: TlsParameters) -> "SSL.Context":
    """Return what a listener's connections are made with. Raises ConfigurationError."""
    context = _context(parameters)
    from OpenSSL import SSL  # noqa: PLC0415 - an extra, which is there by now

    # A client that comes this far has returned our cookie; OpenSSL needs no other.
    context.set_cookie_generate_callback(lambda _: b"-")
    context.set_cookie_verify_callback(lambda _connection, _cookie: True)
    context.set_alpn_select_callback(_chosen)
    context.set_session_id(ALPN.encode())
    if parameters.client_ca is None:
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # clients keep what is to be kept, in tickets
    else:
        _load_authorities(context, parameters.client_ca)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        # A ticket would hold the client's certificate: the hello that brings it back would be too long for a packet.
        context.set_options(SSL.OP_NO_TICKET)
    return context


def client_context(parameters: TlsParameters) -> "SSL.Context":
    """Return what a client's connections are made with. Raises ConfigurationError.

    Names and pins are left for the caller to check; where only pins are given, any issuer is accepted.
    """
    context = _context(parameters)
    from OpenSSL import SSL  # noqa: PLC0415 - an extra, which is there by now

    context.set_alpn_protos([ALPN.encode()])
    context.set_session_cache_mode(SSL.SESS_CACHE_CLIENT | SSL.SESS_CACHE_NO_INTERNAL)
    if not parameters.skips_verification:
        context.set_verify(SSL.VERIFY_PEER, _verified)
        if parameters.ca is None:
            context.set_default_verify_paths()
        else:
            _load_authorities(context, parameters.ca)
    return context


def failure_of(error: "SSL.Error", fault: int = 0) -> TlsFailed:
    """Return what to raise for an error of pyOpenSSL; `fault` is what the certificate was found to lack."""
    reason = _reason_of(error)
    if reason == UNVERIFIED:
        return CertificateRefused(f"the certificate does not hold: {words_for_certificate(fault)}")
    if reason == ABSENT:
        return CertificateRefused("the client has no certificate")
    return TlsFailed(f"DTLS failed: {words_for(reason)}")


def _context(parameters: TlsParameters) -> "SSL.Context":
    try:
        from OpenSSL import SSL  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigurationError(NO_EXTRA) from None
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_min_proto_version(DTLS_1_2)
    context.set_cipher_list(CIPHERS)
    context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    if parameters.certificate is not None:
        _load_certificate(context, parameters.certificate, parameters.key or parameters.certificate)
    return context


def _load_certificate(context: "SSL.Context", certificate: str, key: str) -> None:
    from cryptography.hazmat.primitives.asymmetric import ed448, ed25519  # noqa: PLC0415 - comes with it
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - as above
    from OpenSSL import SSL  # noqa: PLC0415

    try:
        context.use_certificate_chain_file(certificate)
        # not by OpenSSL's own reading of files, which asks for passwords on the terminal
        loaded = load_pem_private_key(Path(key).read_bytes(), None)
        context.use_privatekey(loaded)  # type: ignore[arg-type]  # of a kind that fits, or it raises
        context.check_privatekey()
    except SSL.Error as error:
        raise _unusable(f"{certificate}, {key}", error) from error
    except (OSError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{key}: {error}") from error
    if isinstance(loaded, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        raise WrongKind(f"{key}: OpenSSL has no DTLS with keys of Ed25519 or Ed448: make one of P-256")


def _load_authorities(context: "SSL.Context", path: str) -> None:
    from OpenSSL import SSL  # noqa: PLC0415 - an extra, which is there by now

    try:
        context.load_verify_locations(path)
    except SSL.Error as error:
        raise _unusable(path, error) from error


def _unusable(path: str, error: "SSL.Error") -> ConfigurationError:
    return ConfigurationError(f"{path}: OpenSSL cannot use it for DTLS: {words_for(_reason_of(error))}")


def _verified(connection: "SSL.Connection", _: object, fault: int, _depth: int, holds: int) -> bool:
    if not holds:
        connection.set_app_data(fault)
    return bool(holds)


def _chosen(_: object, offered: list[bytes]) -> bytes:
    """Return the protocol for a client that offers some; b"", which is the end, if ours is not among them."""
    return ALPN.encode() if ALPN.encode() in offered else b""


def _reason_of(error: "SSL.Error") -> str:
    """Return OpenSSL's name for what went wrong."""
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return reason_of(str(queue[-1][2] if queue else "the peer ended it"))
