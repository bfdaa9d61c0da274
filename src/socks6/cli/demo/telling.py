"""Says in words what recorded bytes mean, as arrows of a picture."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from socks6.cli.demo.drawing import Arrow
from socks6.cli.demo.recording import Piece
from socks6.message import socks5
from socks6.message.codes import AuthenticationType, Command, Method, ReplyCode
from socks6.message.options import AuthenticationData, AuthenticationMethodAdvertisement, Option
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.message.userpass import UsernamePassword, UsernamePasswordReply

LONGEST_LINE: Final = 30

METHOD_NAMES: Final = {
    Method.NONE.value: "none",
    Method.GSSAPI.value: "GSSAPI",
    Method.USERNAME_PASSWORD.value: "username/password",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of message: how long one is, and what it says."""

    size: Callable[[bytes], int]
    words: Callable[[bytes], Iterable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What is said on a connection: the messages each way, then anything, which begins with `rest`."""

    received: tuple[Kind, ...]
    sent: tuple[Kind, ...]
    rest: str


def tell(pieces: Sequence[Piece], script: Script, *, client: int, host: int, start: float) -> Iterator[Arrow]:
    """Return an arrow for each piece; a message in several pieces comes with its last one.

    `client` and `host` are the columns of who opened the connection and of who recorded it.
    """
    listeners = {True: _Listener(script.received, script.rest), False: _Listener(script.sent, script.rest)}
    for piece in pieces:
        listener = listeners[piece.received]
        words = tuple(listener.hear(piece.data))
        if words:
            yield Arrow(
                time=(piece.time - start) * 1000,
                source=client if piece.received else host,
                target=host if piece.received else client,
                words=words,
                label=f"{listener.size} bytes",
            )


class _Listener:
    """Hears one direction of a connection."""

    def __init__(self, kinds: tuple[Kind, ...], rest: str) -> None:
        self._kinds = list(kinds)
        self._rest = rest
        self._heard = b""
        self.size = 0  # of what was last told

    def hear(self, data: bytes) -> Iterator[str]:
        """Return what is said up to here; nothing while a message is not whole."""
        self._heard += data
        whole = len(self._heard)
        while self._kinds and self._heard:
            kind = self._kinds[0]
            size = kind.size(self._heard)
            if size > len(self._heard):
                return
            yield from kind.words(self._heard[:size])
            self._heard = self._heard[size:]
            del self._kinds[0]
        if self._heard:
            yield self._rest + first_line(self._heard)
        self._heard = b""
        self.size = whole


def first_line(data: bytes) -> str:
    """Return the first line of a text, cut where it is long."""
    line = data.partition(b"\r\n")[0].decode("latin-1")
    printable = "".join(letter if letter.isascii() and letter.isprintable() else "." for letter in line)
    return printable if len(printable) <= LONGEST_LINE else printable[: LONGEST_LINE - 3] + "..."


def place(host: str, port: int) -> str:
    """Return a host and port as in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def command_name(command: int) -> str:
    """Return a command's name."""
    return Command(command).name if command in set(Command) else f"command {command}"


def reply_name(code: int) -> str:
    """Return a reply code with its name."""
    name = ReplyCode(code).name.lower().replace("_", " ") if code in set(ReplyCode) else "unknown"
    return f"{code:02X} {name}"


def _request(data: bytes) -> Iterator[str]:
    request = Request.decode(data)
    yield f"Request: {command_name(request.command)}"
    yield f"  {place(request.host, request.port)}"
    yield from _options(request.options)


def _authentication_reply(data: bytes) -> Iterator[str]:
    reply = AuthenticationReply.decode(data)
    yield "Authentication Reply: " + ("succeeded" if reply.type == AuthenticationType.SUCCEEDED else "failed")
    yield from _options(reply.options)


def _operation_reply(data: bytes) -> Iterator[str]:
    reply = OperationReply.decode(data)
    yield f"Operation Reply: {reply_name(reply.code)}"
    yield f"  bound to {place(reply.host, reply.port)}"
    yield from _options(reply.options)


def _options(options: Iterable[Option]) -> Iterator[str]:
    for option in options:
        match option:
            case AuthenticationMethodAdvertisement():
                methods = ", ".join(METHOD_NAMES.get(method, str(method)) for method in option.methods)
                yield f"  Method Advertisement: {methods or 'none'}"
                yield f"    initial data: {option.initial_data_length} bytes"
            case AuthenticationData(method=Method.USERNAME_PASSWORD) if len(option.data) > 4:
                offer = UsernamePassword.decode(option.data)
                yield "  Authentication Data:"
                yield f"    user {offer.username.decode()}, password hidden"
            case AuthenticationData(method=Method.USERNAME_PASSWORD):
                yield f"  Authentication Data: status {UsernamePasswordReply.decode(option.data).status}"
            case _:
                yield f"  {type(option).__name__}"


def _greeting(data: bytes) -> Iterator[str]:
    methods = socks5.Greeting.decode(data).methods
    yield "SOCKS 5 greeting, methods:"
    yield "  " + ", ".join(METHOD_NAMES.get(method, str(method)) for method in methods)


def _selection(data: bytes) -> Iterator[str]:
    method = socks5.MethodSelection.decode(data).method
    yield f"method: {METHOD_NAMES.get(method, method)}"


def _socks5_request(data: bytes) -> Iterator[str]:
    request = socks5.Request.decode(data)
    yield f"request: {command_name(request.command)}"
    yield f"  {place(request.host, request.port)}"


def _socks5_reply(data: bytes) -> Iterator[str]:
    reply = socks5.Reply.decode(data)
    yield f"reply: {reply_name(reply.code)}"


SOCKS6: Final = Script(
    received=(Kind(size=Request.size, words=_request),),
    sent=(
        Kind(size=AuthenticationReply.size, words=_authentication_reply),
        Kind(size=OperationReply.size, words=_operation_reply),
    ),
    rest="initial data: ",
)
SOCKS5: Final = Script(
    received=(
        Kind(size=socks5.Greeting.size, words=_greeting),
        Kind(size=socks5.Request.size, words=_socks5_request),
    ),
    sent=(
        Kind(size=socks5.MethodSelection.size, words=_selection),
        Kind(size=socks5.Reply.size, words=_socks5_reply),
    ),
    rest="data: ",
)
HTTP: Final = Script(received=(), sent=(), rest="")
