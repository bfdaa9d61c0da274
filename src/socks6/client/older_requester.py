"""Makes a client's requests of a proxy that speaks SOCKS 4, SOCKS 5 or HTTP: the counterpart of `Requester` for these.

They have no sessions, no tokens and no stack options. What of these a caller asks for is a ConfigurationError.
"""

import re
from collections.abc import Iterable
from typing import Final

from socks6.client.connector import ProxyConnector
from socks6.client.requester import NO_PASSWORD, GrantedRequest, receive_reply
from socks6.dataclass import dataclass
from socks6.errors import (
    AddressTypeNotSupported,
    AuthenticationFailed,
    CommandNotSupported,
    ConfigurationError,
    ProxyUnreachable,
)
from socks6.message.address import is_literal
from socks6.message.codes import Command, Leg
from socks6.message.first_bytes import SPOKEN
from socks6.message.options import ListenBacklog, Option, StackOption, find_all
from socks6.message.requests import Request
from socks6.message.userpass import UsernamePassword
from socks6.net.scopes import on_failure, waiting_for
from socks6.net.transports.base import NotAnswered, StreamRequest
from socks6.net.url import DIRECT, ProxyUrl
from socks6.net.wire_log import wire_trace
from socks6.protocol.events import OperationAnswered
from socks6.protocol.older_client import (
    HttpClientConversation,
    OlderConversation,
    Socks4ClientConversation,
    Socks5ClientConversation,
)

COMMANDS: Final[dict[str, frozenset[int]]] = {
    "socks5": frozenset(Command),
    "socks4": frozenset((Command.NOOP, Command.CONNECT, Command.BIND)),
    "http": frozenset((Command.NOOP, Command.CONNECT)),
}
_CONTROL: Final = re.compile(r"[\0-\x1f\x7f]")  # what credentials must not contain: RFC 7617, section 2


@dataclass(frozen=True, slots=True)
class OlderRequester:
    """Makes requests of one proxy. Any number may be under way at the same time."""

    connector: ProxyConnector
    credentials: UsernamePassword | None

    async def request(
        self,
        request: Request,
        initial_data: bytes = b"",
        *,
        idempotent: bool = False,
        needs_session: bool = False,  # noqa: ARG002 - as `Requester.request`: a backlog is not granted without one
        within: GrantedRequest | None = None,  # noqa: ARG002 - likewise
    ) -> GrantedRequest:
        """Make a request on a stream of its own; return it once the proxy has granted it, and the initial data are sent.

        Raises AuthenticationFailed, OperationFailed, VersionMismatch, RemoteProtocolError, ProxyUnreachable;
        ConfigurationError for what the protocol cannot carry; ValueError for a request that cannot be written.
        """
        spoken = SPOKEN[self.connector.url.spoken]
        if request.command not in COMMANDS[self.connector.url.spoken]:
            raise CommandNotSupported(f"{spoken} has no {Command(request.command).name.replace('_', ' ')}")
        if idempotent:
            raise ConfigurationError(f"{spoken} has no tokens: no request is idempotent")
        check_options(self.connector.url, request.options)
        try:
            granted = await self._exchange(request)
        except NotAnswered:
            self.connector.doubt()
            granted = await self._exchange(request, again=True)
        if initial_data:
            with on_failure(granted.abort):
                try:
                    await granted.stream.send(initial_data)
                except OSError as error:
                    raise ProxyUnreachable(f"the connection to the proxy broke: {error}") from error
        return granted

    async def open_session(self) -> bool:
        """Return that there is no session."""
        return False

    async def aclose(self) -> None:
        """Close what the client keeps for its next requests. Raises nothing."""
        try:
            await self.connector.aclose()
        finally:
            self.connector.abandon()

    async def _exchange(self, request: Request, *, again: bool = False) -> GrantedRequest:
        conversation = self._conversation(request)
        conversation.on_answer = self.connector.heard
        early = self.connector.may_send_early(has_token=False, doubling_is_safe=True)
        stream = await self.connector.connect(
            StreamRequest(
                request.command,
                tuple(option for option in find_all(request.options, StackOption)),
                conversation.data_to_send() if early else None,
                repeatable=not again,
                repeated=again,
            )
        )
        with on_failure(stream.abort), waiting_for(self.connector.silence):
            answer = receive_reply(conversation, stream, OperationAnswered)
            try:
                reply = await (answer if again else self.connector.first_answer(stream, answer))
            except AuthenticationFailed as error:
                raise self._refused_for(error, conversation) from error
            except ProxyUnreachable as error:
                if type(error) is not ProxyUnreachable or conversation.has_answered:
                    raise
                raise self.connector.explained(error) from error
            self.connector.answered(stream)
        return GrantedRequest(stream=stream, reply=reply, begun=conversation)

    def _conversation(self, request: Request) -> OlderConversation:
        url, trace = self.connector.url, wire_trace(self.connector.url)
        match url.spoken:
            case "socks5":
                return Socks5ClientConversation(request, credentials=self.credentials, trace=trace)
            case "socks4":
                if ":" in request.host and is_literal(request.host):
                    raise AddressTypeNotSupported("SOCKS 4 has no IPv6 addresses")
                user = b"" if self.credentials is None else self.credentials.username
                return Socks4ClientConversation(request, user=user, trace=trace)
            case _:
                return HttpClientConversation(request, credentials=self.credentials, trace=trace)

    def _refused_for(
        self, error: AuthenticationFailed, conversation: OlderConversation
    ) -> AuthenticationFailed:
        """Return the exception for a refusal, which says whose credentials were refused."""
        if self.connector.url.spoken == "socks4":
            return error
        if self.credentials is None:
            return AuthenticationFailed(NO_PASSWORD)
        if not conversation.were_judged:
            return error
        return AuthenticationFailed(f"the proxy refused the password of user {self.connector.url.username}")


def credentials_of(url: ProxyUrl) -> UsernamePassword | None:
    """Return the name and password of a URL. Raises ConfigurationError for what the protocol cannot carry."""
    if url.username is None:
        return None
    if url.spoken == "socks4" and url.password is not None:
        raise ConfigurationError(f"{url}: SOCKS 4 has a user id, and no password")
    if url.spoken == "socks4" and "\0" in url.username:
        raise ConfigurationError(f"{url}: SOCKS 4 has no NUL in user ids")
    if url.spoken == "http" and ":" in url.username:
        raise ConfigurationError(f"{url}: HTTP has no user names with a colon in them")
    if url.spoken == "http" and _CONTROL.search(url.username + (url.password or "")):
        raise ConfigurationError(f"{url}: HTTP has no control characters in user names and passwords")
    return UsernamePassword(username=url.username.encode(), password=(url.password or "").encode())


def check_asked(url: ProxyUrl, asked: object) -> None:
    """Raise ConfigurationError if settings of SOCKS 6 are `asked` for, where the URL's proxy speaks another protocol, or none."""
    if url.spoken == DIRECT:
        return
    if asked:
        raise ConfigurationError(
            f"{url.brief}: sessions, methods, dialects and option tables are of SOCKS 6, which {SPOKEN[url.spoken]} is not"
        )
    if url.udp == "stream":
        raise ConfigurationError(f"{url.brief}: datagrams on the stream (udp=stream) are of SOCKS 6")
    check_options(url, url.options)


def check_options(url: ProxyUrl, options: Iterable[Option]) -> None:
    """Raise ConfigurationError for options that need SOCKS 6; those about the client's leg alone are for our own socket."""
    for option in options:
        if isinstance(option, ListenBacklog):  # a wish: proxies may grant none in SOCKS 6, too
            continue
        if not isinstance(option, StackOption) or option.leg != Leg.CLIENT_PROXY:
            name = option.name if isinstance(option, StackOption) else type(option).__name__
            raise ConfigurationError(
                f"{url.brief} cannot be asked for the option {name}: {SPOKEN[url.spoken]} carries none;"
                " leg=client is for this end's own socket"
            )
