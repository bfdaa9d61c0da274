"""A client's connection for tests of inbounds: it connects to streams in memory, and remembers what it was asked."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping

from typing_extensions import override

from socks6.errors import CommandNotSupported, OperationFailed
from socks6.net.stream import Binding, ByteStream, ConnectResult, DatagramChannel, Endpoint
from socks6.policy.identity import Identity
from socks6.protocol.methods.base import Credentials
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.commands import OpenedAssociation, ProxyRequest
from socks6.proxy.connection import ClientConnection
from socks6.proxy.inbounds.base import Inbound, Tunnel
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import Ending
from tests.kit.bindings import ScriptedBinding
from tests.kit.memory import memory_stream_pair
from tests.kit.reading import receive_exactly

BOUND = Endpoint("192.0.2.9", 4000)


class FakeAuthenticator(Authenticator):
    """Knows some users; remembers what it was asked to verify."""

    def __init__(self, users: Mapping[bytes, bytes]) -> None:
        self._users = users
        self.asked: list[Credentials] = []

    @property
    @override
    def required(self) -> bool:
        return bool(self._users)

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        self.asked.append(credentials)
        assert isinstance(credentials, UsernamePasswordCredentials)
        holds = self._users.get(credentials.username) == credentials.password
        return Identity(name=credentials.username.decode()) if holds else None


class ScriptedConnection(ClientConnection):
    """Fails with `failures` first, in their order; connects then, and sends so much of the initial data."""

    def __init__(
        self,
        stream: ByteStream | None = None,
        *,
        users: Mapping[bytes, bytes] | None = None,
        failures: Iterable[OperationFailed] = (),
        bound: Endpoint = BOUND,
        sends: int = 0,
        default_identity: Identity | None = None,
        settings: Settings = Settings(handshake_timeout=10.0),  # noqa: B008 - frozen
    ) -> None:
        self.authenticator = FakeAuthenticator(users or {})
        worker = ServerWorker(authenticator=self.authenticator, settings=settings)
        super().__init__(worker, stream or memory_stream_pair()[1], "scripted", 1)
        self.certified = default_identity
        self._failures = list(failures)
        self._bound = bound
        self._sends = sends
        self._remotes: asyncio.Queue[ByteStream] = asyncio.Queue()
        self.channel: DatagramChannel | None = None  # where associations lead
        self.requests: list[ProxyRequest] = []
        self.binding: Binding = ScriptedBinding()  # what a BIND gets
        self.peers: list[Endpoint] = []
        self.answers: list[tuple[int, str]] = []
        self.refusals: list[tuple[Ending, str]] = []
        self.standing = True

    @override
    def still_vouched(self, identity: Identity) -> bool:
        return self.standing

    def _next(self, request: ProxyRequest) -> None:
        self.requests.append(request)
        if self._failures:
            raise self._failures.pop(0)

    @override
    async def connect(self, request: ProxyRequest) -> ConnectResult:
        self._next(request)
        near, far = memory_stream_pair()
        first = request.initial_data[: self._sends]
        await near.send(first)
        self._remotes.put_nowait(far)
        return ConnectResult(stream=near, bound=self._bound, first_data_sent=len(first))

    @override
    async def bind(self, request: ProxyRequest) -> Binding:
        self._next(request)
        return self.binding

    @override
    async def associate(self, request: ProxyRequest) -> OpenedAssociation:
        self._next(request)
        if self.channel is None:
            raise CommandNotSupported("no datagrams here")
        return OpenedAssociation(channel=self.channel, bound=self.channel.bound)

    @override
    def peer_connected(self, peer: Endpoint) -> None:
        self.peers.append(peer)

    @override
    def answered(self, request: ProxyRequest, code: int, reason: str = "") -> None:
        self.answers.append((code, reason))

    @override
    def refused(self, ending: Ending, reason: str) -> None:
        self.refusals.append((ending, reason))

    async def remote(self) -> ByteStream:
        """Return the far end of the next connection, once there is one."""
        return await self._remotes.get()


class ServedClient:
    """A client of an inbound."""

    def __init__(self, client: ByteStream, serving: "asyncio.Task[Tunnel | OSError | None]") -> None:
        self.client = client
        self._serving = serving

    async def over(self) -> Tunnel | None:
        """Return what the inbound returned, once it has, or raise what it raised."""
        result = await self._serving
        if isinstance(result, OSError):
            raise result
        return result


@contextlib.asynccontextmanager
async def serving(
    inbound: Inbound, connection: ScriptedConnection, initial_data: bytes = b""
) -> AsyncIterator[ServedClient]:
    """Have `inbound` serve a client; one that is still there at the end goes then."""
    client, connection.stream = memory_stream_pair()

    async def serve() -> Tunnel | OSError | None:
        try:
            return await inbound.serve(connection, initial_data)
        except OSError as error:
            return error

    async with asyncio.TaskGroup() as group:
        served = ServedClient(client, group.create_task(serve()))
        yield served
        client.abort()


async def expect(stream: ByteStream, data: bytes) -> None:
    """Receive as many bytes as `data` has, and demand that they are the same."""
    assert await receive_exactly(stream, len(data)) == data
