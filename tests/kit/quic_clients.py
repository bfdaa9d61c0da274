"""A server over QUIC, and clients that speak to it by hand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from typing_extensions import override

from socks6.client.client import Client
from socks6.message.codes import Command
from socks6.message.options import AuthenticationData, Option
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.message.userpass import UsernamePassword
from socks6.net.stream import ByteStream
from socks6.net.transports.quic.client import QuicConnector
from socks6.net.transports.quic.connection import QuicConnection
from socks6.net.transports.quic.engine import load_backend
from socks6.net.transports.quic.pool import QuicConnectionPool
from socks6.net.url import ProxyUrl
from socks6.policy.identity import Identity
from socks6.policy.rules import Policy
from socks6.protocol.methods.base import Credentials
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.service import Server
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from tests.kit.certificates import Files, write_certificate
from tests.kit.quic import connector


class Scene:
    """A server, and how to get there."""

    def __init__(self, server: Server, files: Files, library: str) -> None:
        self.server = server
        self.files = files
        self.url = ProxyUrl.parse(server.urls[0])
        self.dialler = self.another()
        self._library = library
        self.connections: list[QuicConnection] = []

    @property
    def address(self) -> tuple[str, int]:
        """Where the server is."""
        return (self.url.host, self.url.port)

    def another(self) -> QuicConnector:
        """Return a client of its own."""
        return connector(self.files, load_backend("qh3"))

    def begin(self) -> QuicConnection:
        """Return a connection that is shaking hands."""
        connection = self.dialler.begin(self.address)
        self.connections.append(connection)
        return connection

    async def connect(self) -> QuicConnection:
        """Return a connection."""
        connection = self.begin()
        await self.dialler.ready(connection)
        return connection


@asynccontextmanager
async def serving(folder: Path, worker: ServerWorker, library: str = "qh3") -> AsyncIterator[Scene]:
    """Run a server on loopback."""
    files = write_certificate(folder)
    listen = f"socks6+quic://127.0.0.1:0?{files.listener_query}&backend={library}"
    async with asyncio.timeout(15), Server([listen], worker) as server:
        scene = Scene(server, files, library)
        try:
            yield scene
        finally:
            for connection in scene.connections:
                connection.close()
            await asyncio.sleep(0)
            server.abort()


class Asked:
    """A request on a stream of its own, and what is answered."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self._data = b""

    async def authentication(self) -> AuthenticationReply:
        """Return the Authentication Reply."""
        return AuthenticationReply.decode(await self._message(AuthenticationReply))

    async def operation(self) -> OperationReply:
        """Return the next Operation Reply."""
        return OperationReply.decode(await self._message(OperationReply))

    async def replies(self) -> tuple[AuthenticationReply, OperationReply]:
        """Return both."""
        return await self.authentication(), await self.operation()

    async def _message(self, kind: type[AuthenticationReply] | type[OperationReply]) -> bytes:
        data = b""
        while (missing := kind.size(data) - len(data)) > 0:
            more = await self.stream.receive(missing)
            if not more:
                raise EOFError
            data += more
        return data


async def ask(
    connection: QuicConnection,
    *options: Option,
    command: int = Command.NOOP,
    host: str = "0.0.0.0",
    port: int = 0,
    after: bytes = b"",
) -> Asked:
    """Make a request on a new stream."""
    stream = await connection.open()
    request = Request(command=command, host=host, port=port, options=options)
    await stream.send(request.encode() + after)
    return Asked(stream)


def proof(password: str = "right") -> AuthenticationData:
    return AuthenticationData(
        method=2, data=UsernamePassword(username=b"alice", password=password.encode()).encode()
    )


class Slow(Authenticator):
    """An authenticator that counts, and takes its time until it is let go."""

    @property
    @override
    def required(self) -> bool:
        return True

    def __init__(self) -> None:
        self.table = UserTable.from_plain({"alice": "right"})
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        self.asked += 1
        await self.may_answer.wait()
        return await self.table.verify(credentials)

    @override
    def credential_version(self, identity: Identity) -> object:
        return self.table.credential_version(identity)


def a_worker(users: Slow, settings: Settings | None = None) -> ServerWorker:
    return ServerWorker(authenticator=users, policy=Policy(allow_private=True), settings=settings)


def pool_of(client: Client) -> QuicConnectionPool:
    """Return a client's QUIC connections."""
    pool = client._connector._connector
    assert isinstance(pool, QuicConnectionPool)
    return pool
