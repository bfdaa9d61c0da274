"""BIND over plain blocking sockets, byte by byte, against real proxies."""

import contextlib
import errno
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from socks6.message.codes import Command
from socks6.message.dialect import DRAFT_12, Dialect
from socks6.message.options import Option, SessionId, SessionRequest, find
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.net.stream import Endpoint
from tests.kit.origins import Place
from tests.kit.proxies import receive_exactly
from tests.kit.session_scene import credentials

PATIENCE: Final = 10.0
ANYWHERE: Final = Endpoint("0.0.0.0", 0)


@dataclass(kw_only=True)
class BindClient:
    """A client of a proxy that wants to listen there."""

    proxy: Place
    dialect: Dialect = DRAFT_12
    credentials: tuple[Option, ...] = ()  # what it authenticates with: a password, then the session
    sockets: list[socket.socket] = field(default_factory=list)

    def ask(
        self, *options: Option, place: Endpoint = ANYWHERE, command: int = Command.BIND
    ) -> tuple[socket.socket, AuthenticationReply]:
        """Make a request; return the connection, behind the Authentication Reply."""
        sock = socket.create_connection((self.proxy.host, self.proxy.port), timeout=PATIENCE)
        self.sockets.append(sock)
        request = Request(
            command=command, host=place.host, port=place.port, options=(*self.credentials, *options)
        )
        sock.sendall(request.encode(self.dialect))
        head = receive_exactly(sock, 4)
        body = receive_exactly(sock, AuthenticationReply.size(head, self.dialect) - len(head))
        return sock, AuthenticationReply.decode(head + body, self.dialect)

    def bind(self, *options: Option, place: Endpoint = ANYWHERE) -> tuple[socket.socket, OperationReply]:
        """Have it listen; return the connection, behind the first reply."""
        sock, _ = self.ask(*options, place=place)
        return sock, self.reply(sock)

    def reply(self, sock: socket.socket) -> OperationReply:
        """Receive an Operation Reply."""
        return reply_from(sock, self.dialect)

    def open_session(self, name: str, password: str) -> None:
        """Authenticate once, and from then on by the session."""
        self.credentials = ()
        _, reply = self.ask(credentials(name, password), SessionRequest(), command=Command.NOOP)
        session = find(reply.options, SessionId)
        assert session is not None
        self.credentials = (session,)


def reply_from(sock: socket.socket, dialect: Dialect = DRAFT_12) -> OperationReply:
    """Receive an Operation Reply, and not a byte more."""
    data = b""
    while len(data) < (size := OperationReply.size(data, dialect)):
        piece = sock.recv(size - len(data))
        assert piece, f"the stream ended after {data!r}"
        data += piece
    return OperationReply.decode(data, dialect)


def place_of(reply: OperationReply) -> Endpoint:
    """Return where a successful reply says."""
    assert reply.code == 0, reply
    return Endpoint(reply.host, reply.port)


@contextlib.contextmanager
def bind_client(proxy: Place, *session: str, dialect: Dialect = DRAFT_12) -> Iterator[BindClient]:
    """Give a client, with a session for a user and password; its connections are closed in the end."""
    client = BindClient(proxy=proxy, dialect=dialect)
    try:
        if session:
            client.open_session(*session)
        yield client
    finally:
        close_all(client.sockets)


@contextlib.contextmanager
def calling(place: Endpoint, *, source: str = "") -> Iterator[socket.socket]:
    """Connect to a place as a peer does."""
    with socket.create_connection(
        place, timeout=PATIENCE, source_address=(source, 0) if source else None
    ) as sock:
        yield sock


def is_turned_away(place: Endpoint, *, source: str) -> bool:
    """Connect, and tell whether the connection is reset without a byte."""
    try:
        with calling(place, source=source) as stranger:
            return stranger.recv(1) == b""
    except ConnectionResetError:
        return True


def listens(place: Endpoint) -> bool:
    """Tell whether somebody listens there."""
    with socket.socket(socket.AF_INET6 if ":" in place.host else socket.AF_INET) as sock:
        sock.settimeout(PATIENCE)
        return sock.connect_ex(place) != errno.ECONNREFUSED


def close_all(sockets: Iterable[socket.socket]) -> None:
    """Close them."""
    for sock in sockets:
        sock.close()
