"""An engine for tests of inbounds: it connects to streams in memory, and remembers what it was asked and told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping

from typing_extensions import override

from socks6.errors import CommandNotSupported, OperationFailed
from socks6.net.stream import Binding, ByteStream, ConnectResult, DatagramChannel, Endpoint
from socks6.net.transports.memory import memory_stream_pair
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.policy.rules import Policy
from socks6.protocol.methods.base import Credentials
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.inbounds.base import Call, Company, Engine, Inbound, OpenedAssociation, Tunnel
from socks6.proxy.sessions import Session
from socks6.relay.datagrams.association_relay import ClientPort, DatagramRelay
from socks6.telemetry import Ending
from tests.kit.bindings import ScriptedBinding
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
    async def verify(self, credentials: Credentials) -> Identity | None:
        self.asked.append(credentials)
        assert isinstance(credentials, UsernamePasswordCredentials)
        holds = self._users.get(credentials.username) == credentials.password
        return Identity(name=credentials.username.decode()) if holds else None


class FakeEngine(Engine):
    """Fails with `failures` first, in their order; connects then, and sends so much of the first data."""

    def __init__(
        self,
        *,
        users: Mapping[bytes, bytes] | None = None,
        failures: Iterable[OperationFailed] = (),
        bound: Endpoint = BOUND,
        sends: int = 0,
        stranger: Identity = ANONYMOUS,
    ) -> None:
        self._stranger = stranger
        self._authenticator = FakeAuthenticator(users or {})
        self._failures = list(failures)
        self._bound = bound
        self._sends = sends
        self._remotes: asyncio.Queue[ByteStream] = asyncio.Queue()
        self.channel: DatagramChannel | None = None  # where associations lead
        self.calls: list[Call] = []
        self.binding: Binding = ScriptedBinding()  # what a BIND gets
        self.peers: list[Endpoint] = []
        self.answers: list[tuple[int, str]] = []
        self.refusals: list[tuple[Ending, str]] = []
        self.bytes_up = 0
        self.bytes_down = 0
        self.credential_version = True
        self.rules = Policy()

    @property
    @override
    def policy(self) -> Policy:
        return self.rules

    @override
    def stands(self, identity: Identity) -> bool:
        return self.credential_version

    @override
    def admitted(self, identity: Identity, session: Session | None) -> Session | None:
        return session

    @override
    async def wait_handshake_confirmed(self) -> None:
        """Everybody is who he is."""

    @property
    @override
    def company(self) -> Company | None:
        return None

    @property
    @override
    def authenticator(self) -> FakeAuthenticator:
        return self._authenticator

    @property
    @override
    def stranger(self) -> Identity:
        return self._stranger

    @property
    @override
    def deadline(self) -> float:
        return asyncio.get_running_loop().time() + 10.0

    @property
    @override
    def session(self) -> None:
        return None

    @override
    def participate(self) -> None:
        return None

    @override
    async def connect(self, call: Call) -> ConnectResult:
        self.calls.append(call)
        if self._failures:
            raise self._failures.pop(0)
        near, far = memory_stream_pair()
        first = call.first_data[: self._sends]
        await near.send(first)
        self._remotes.put_nowait(far)
        return ConnectResult(stream=near, bound=self._bound, first_data_sent=len(first))

    @override
    async def bind(self, call: Call) -> Binding:
        self.calls.append(call)
        if self._failures:
            raise self._failures.pop(0)
        return self.binding

    @override
    def peer_came(self, peer: Endpoint) -> None:
        self.peers.append(peer)

    @override
    async def associate(self, call: Call) -> OpenedAssociation:
        self.calls.append(call)
        if self._failures:
            raise self._failures.pop(0)
        if self.channel is None:
            raise CommandNotSupported("no datagrams here")
        return OpenedAssociation(channel=self.channel, bound=self.channel.bound)

    @property
    @override
    def datagrams(self) -> DatagramRelay:
        raise AssertionError("nobody asked for datagrams")

    @property
    @override
    def client_port(self) -> ClientPort | None:
        return None

    @override
    def answered(self, call: Call, code: int, reason: str = "") -> None:
        self.answers.append((code, reason))

    @override
    def carried(self, bytes_up: int, bytes_down: int) -> None:
        self.bytes_up += bytes_up
        self.bytes_down += bytes_down

    @override
    def refused(self, ending: Ending, reason: str) -> None:
        self.refusals.append((ending, reason))

    async def remote(self) -> ByteStream:
        """Return the far end of the next connection, once there is one."""
        return await self._remotes.get()


class Visit:
    """A client of an inbound."""

    def __init__(self, client: ByteStream, serving: "asyncio.Task[Tunnel | OSError | None]") -> None:
        self.client = client
        self._serving = serving

    async def over(self) -> Tunnel | None:
        """Return what the inbound returned, once it has, or raise what it raised."""
        outcome = await self._serving
        if isinstance(outcome, OSError):
            raise outcome
        return outcome


@contextlib.asynccontextmanager
async def visiting(inbound: Inbound, engine: FakeEngine, first: bytes = b"") -> AsyncIterator[Visit]:
    """Have `inbound` serve a client; one that is still there at the end goes then."""
    client, stream = memory_stream_pair()

    async def serve() -> Tunnel | OSError | None:
        try:
            return await inbound.serve(stream, first, engine)
        except OSError as error:
            return error

    async with asyncio.TaskGroup() as group:
        visit = Visit(client, group.create_task(serve()))
        yield visit
        client.abort()


async def expect(stream: ByteStream, data: bytes) -> None:
    """Receive as many bytes as `data` has, and demand that they are the same."""
    assert await receive_exactly(stream, len(data)) == data
