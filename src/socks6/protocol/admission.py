"""How a request is authenticated: which proof to verify, which method to select, when to refuse."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from socks6.dataclass import dataclass
from socks6.errors import DecodeError
from socks6.message.codes import Method
from socks6.message.options import (
    AuthenticationData,
    AuthenticationMethodAdvertisement,
    AuthenticationMethodSelection,
    Option,
    find,
    find_all,
)
from socks6.protocol.methods.base import Credentials, ServerMethod, check_methods

MAX_NEGOTIATION: Final = 65536  # bytes that one method's slow exchange may take from the client


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """Nothing stands against the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialsPending:
    """A proof is here: verify it, and continue with `verified`."""

    credentials: Credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodSelected:
    """Slow authentication has begun: the method's bytes travel after the initial data.

    `options` go to the client at once.
    """

    options: tuple[Option, ...]
    initial_data_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionRefused:
    """The client is refused, with these options."""

    options: tuple[Option, ...]
    reason: str


Verdict: TypeAlias = Granted | CredentialsPending | MethodSelected | AdmissionRefused


class Admission:
    """Judges one request. `methods` are tried in their order; not `required` means that every client is admitted.

    Raises ValueError for method 6 (§ SSL Authentication).
    """

    def __init__(self, methods: Mapping[int, Callable[[], ServerMethod]], *, required: bool) -> None:
        check_methods(methods)
        self._methods = methods
        self._required = required
        self._offers: deque[AuthenticationData] = deque()
        self._advertisement: AuthenticationMethodAdvertisement | None = None
        self._method: ServerMethod | None = None
        self._offered: dict[
            int, ServerMethod
        ] = {}  # methods that were offered data, but found no proof in it
        self._slow = False
        self._negotiated = 0

    def begin(self, options: tuple[Option, ...]) -> Verdict:
        """Judge a request on its own options."""
        self._offers.extend(find_all(options, AuthenticationData))
        self._advertisement = find(options, AuthenticationMethodAdvertisement)
        return self._next_offer()

    def verified(self, *, accepted: bool) -> Verdict:
        """Judge on, knowing whether the offered credentials hold."""
        if accepted:
            return Granted()
        return self._wrong() if self._slow else self._next_offer()

    def receive_data(self, data: bytes) -> Credentials | None:
        """Take bytes of the slow exchange; return the credentials once they are whole. Raises DecodeError."""
        method = self._selected()
        self._negotiated += len(data)
        try:
            credentials = method.receive_data(data)
        except DecodeError as error:
            raise DecodeError(f"method {method.number}: {error}") from error
        if credentials is None and self._negotiated > MAX_NEGOTIATION:
            raise DecodeError(f"method {method.number}: more than {MAX_NEGOTIATION} bytes")
        return credentials

    def data_to_send(self) -> bytes:
        """Return the bytes of the slow exchange to write, and forget them."""
        return self._selected().data_to_send()

    def bytes_wanted(self) -> int:
        """Return how many bytes at least the slow exchange needs next."""
        return self._selected().bytes_wanted()

    def unread(self) -> bytes:
        """Return, and forget, bytes received past the end of the slow exchange."""
        return self._selected().unread()

    def reply_options(self, *, accepted: bool) -> tuple[Option, ...]:
        """Return the options of the method in use for the closing Authentication Reply."""
        method = self._method
        data = method.reply_data(accepted=accepted) if method is not None else None
        if method is None or data is None:
            return ()
        return (AuthenticationData(method=method.number, data=data),)

    def _selected(self) -> ServerMethod:
        assert self._method is not None  # noqa: S101 - only called once a method was selected
        return self._method

    def _next_offer(self) -> Verdict:
        while self._offers:
            offer = self._offers.popleft()
            make = self._methods.get(offer.method)
            if make is None:
                continue
            method = make()
            try:
                credentials = method.receive_offer(offer.data)
            except DecodeError:
                continue
            if credentials is not None:
                self._method = method
                return CredentialsPending(credentials=credentials)
            self._offered[offer.method] = method
        return self._without_offer()

    def _without_offer(self) -> Verdict:
        """No 0-RTT proof is left: refuse, or select an advertised method."""
        if not self._required:
            return Granted()
        if self._method is not None:
            return self._wrong()
        advertisement = self._advertisement
        if advertisement is None:
            return AdmissionRefused(options=(), reason="no credentials")
        for number, make in self._methods.items():
            method = self._offered.get(number) or make()
            if number in advertisement.methods and method.slow:
                self._method = method
                self._slow = True
                return self._select(method, advertisement.initial_data_length)
        none = AuthenticationMethodSelection(method=Method.NO_ACCEPTABLE)
        return AdmissionRefused(options=(none,), reason="no acceptable method")

    def _select(self, method: ServerMethod, initial_data_length: int) -> MethodSelected:
        method.begin()
        options: tuple[Option, ...] = (AuthenticationMethodSelection(method=method.number),)
        data = method.challenge_data()
        if data is not None:
            options = (*options, AuthenticationData(method=method.number, data=data))
        return MethodSelected(options=options, initial_data_length=initial_data_length)

    def _wrong(self) -> AdmissionRefused:
        return AdmissionRefused(options=self.reply_options(accepted=False), reason="wrong credentials")
