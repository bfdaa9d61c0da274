"""SSL contexts as our sides want them, and what may be wrong with the files that they are made of."""

import functools
import os
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Generic, TypeAlias, TypeVar

from socks6.errors import ConfigurationError
from socks6.net.encryption.settings import NOTHING_SAID, TlsParameters

ContextT = TypeVar("ContextT")

ALPN: Final = "socks6"
LOOK_SECONDS: Final = 1.0  # between two looks at the files, while clients come

ReloadCallback: TypeAlias = Callable[[str, str], None]
"""Called with a certificate's path when it is read anew, and with what is wrong, "" for nothing."""


def client_context(said: TlsParameters = NOTHING_SAID, *, alpn: Sequence[str] = (ALPN,)) -> ssl.SSLContext:
    """Return what a client's connections are made with. Raises ConfigurationError.

    Pins are left for the caller to check; where they are all that was asked for, the context trusts anybody.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False  # RFC 9525 §2
    context.minimum_version = said.minimum
    if alpn:
        context.set_alpn_protocols(alpn)
    if said.skips_verification:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif said.ca is not None:
        with _blaming(said.ca):
            context.load_verify_locations(cafile=said.ca)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if said.certificate is not None:
        _load_certificate(context, said.certificate, said.key)
    return context


def server_context(said: TlsParameters, *, alpn: Sequence[str] = (ALPN,)) -> ssl.SSLContext:
    """Return what a listener's connections are made with. Raises ConfigurationError.

    With `client_ca` clients without a certificate of these authorities get no connection.
    """
    assert said.certificate is not None  # noqa: S101 - whoever calls has made one if there was none
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = said.minimum
    context.options |= ssl.OP_NO_RENEGOTIATION
    if alpn:
        context.set_alpn_protocols(alpn)
    _load_files(context, said)
    if said.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def check_server_files(said: TlsParameters) -> None:
    """Raise ConfigurationError if a file that is named for listeners cannot be used."""
    _load_files(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), said)


def _load_files(context: ssl.SSLContext, said: TlsParameters) -> None:
    if said.certificate is not None:
        _load_certificate(context, said.certificate, said.key)
    if said.client_ca is not None:
        with _blaming(said.client_ca):
            context.load_verify_locations(cafile=said.client_ca)


class ReloadingContext(Generic[ContextT]):
    """A listener's context, made anew when its files have changed: for new connections, nobody is dropped.

    Files are looked at when a client comes, at most once a second. Those that cannot be used are told of and tried
    again, and the last good context stays.
    """

    def __init__(
        self,
        said: TlsParameters,
        make: Callable[[TlsParameters], ContextT],
        *,
        told: ReloadCallback = lambda _path, _fault: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the files. Raises ConfigurationError, as `make` does."""
        self._said = said
        self._make = make
        self._told = told
        self._clock = clock
        self._files = tuple(filter(None, (said.certificate, said.key, said.client_ca)))
        self._looked = clock()
        self._stamps = _stamps(self._files)
        self._fault = ""  # why the files could not be used when they were looked at last
        self._context = make(said)

    def current(self) -> ContextT:
        """Return the context for a new connection. Never raises: the files may be in a sorry state."""
        now = self._clock()
        if now - self._looked < LOOK_SECONDS:
            return self._context
        self._looked = now
        stamps = _stamps(self._files)
        changed, self._stamps = stamps != self._stamps, stamps
        if changed or self._fault:  # also where descriptors were short, say: the files need not change again
            fault = ""
            try:
                self._context = self._make(self._said)
            except ConfigurationError as error:
                fault = str(error)
            if changed or fault != self._fault:
                self._told(self._said.certificate or "", fault)
            self._fault = fault
        return self._context


class ServerContexts(ReloadingContext[ssl.SSLContext]):
    """The contexts of a listener with TLS."""

    def __init__(
        self,
        said: TlsParameters,
        *,
        alpn: Sequence[str] = (ALPN,),
        told: ReloadCallback = lambda _path, _fault: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the files. Raises ConfigurationError."""
        super().__init__(said, functools.partial(server_context, alpn=alpn), told=told, clock=clock)


Stamp: TypeAlias = tuple[int, int, int] | None


def _stamps(files: Iterable[str]) -> tuple[Stamp, ...]:
    return tuple(map(_stamp, files))


def _stamp(path: str) -> Stamp:
    """Return what changes when a file does, also one that is replaced by renaming; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _load_certificate(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    def no_password() -> str:  # OpenSSL would ask on the terminal
        raise ConfigurationError(f"{key or certificate}: the key is encrypted: decrypt it first")

    with _blaming(certificate if key is None else f"{certificate}, {key}"):
        context.load_cert_chain(certificate, key, password=no_password)


@contextmanager
def _blaming(path: str) -> Iterator[None]:
    """Have the errors of `ssl` about a file say which."""
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
