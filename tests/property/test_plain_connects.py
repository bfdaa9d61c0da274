"""Whatever pieces a request comes in, a client that is served by callbacks, by an eager task or by an ordinary task sees the same.

So do the host that it is connected to, and the observers.
"""

import asyncio
import contextlib
import dataclasses
import functools
import itertools
import socket
import ssl
import sys
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typing_extensions import override

from socks6.message.codes import Leg
from socks6.message.dialect import DRAFT_12
from socks6.message.options import (
    AuthenticationData,
    AuthenticationMethodAdvertisement,
    IdempotenceExpenditure,
    IdempotenceRequest,
    Option,
    SessionId,
    SessionRequest,
    SessionTeardown,
    Tos,
)
from socks6.message.requests import Request, read_plain_connect
from socks6.message.socks5 import Socks5Reply, Socks5Request, encode_success
from socks6.message.socks5 import read_plain_connect as read_plain_socks5
from socks6.message.userpass import UsernamePassword
from socks6.net.accept import ConnectionLimits
from socks6.net.direct import DirectOutbound
from socks6.net.eager import EagerTaskGroup
from socks6.net.encryption.contexts import TlsParameters, client_context, server_context
from socks6.net.sockets import SocketStream, reset_on_close
from socks6.net.stream import Protection
from socks6.net.transports.tls import TlsSession, TlsStream
from socks6.policy.identity import Identity
from socks6.policy.rules import Policy
from socks6.protocol.methods.base import Credentials
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.sessions import MemorySessionStore, SessionSettings
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import Event, Observer
from tests.kit.certificates import certificate
from tests.kit.joined import tcp_pair
from tests.kit.loops import LOOP_FACTORIES, Run
from tests.kit.origins import refusing_place, silent_place
from tests.kit.strategies import examples
from tests.kit.streams import turns

if sys.platform != "linux":
    pytest.skip("only Linux has the poller", allow_module_level=True)

from socks6.proxy.plain_connect import PlainConnects

WAYS: Final = ("task", "eager task", "callbacks", "callbacks, and a task for an upstream")
HERE: Final = b"\x7f\x00\x00\x01"
PORT: Final = b"PP"  # stands for the target's
CONNECT6: Final = b"\x06\x01\x00\x00" + PORT + b"\x00\x01" + HERE
GREETING: Final = b"\x05\x01\x00"
CONNECT5: Final = b"\x05\x01\x00\x01" + HERE + PORT
REQUESTS: Final[dict[str, tuple[bytes, ...]]] = {
    "socks6": (
        CONNECT6,
        b"\x06\x01\x00\x00" + PORT + b"\x77\x04" + bytes(15) + b"\x01",  # nothing listens there by IPv6
        b"\x06\x01\x00\x00\x00\x50\x00\x01\xff\xff\xff\xff",  # no network leads there
        b"\x06\x01\x00\x00\x00\x35\x00\x01\x00\x00\x00\x00",  # the DNS service
        b"\x06\x01\x00\x00\x00\x00\x00\x01" + HERE,  # port 0: refused
        b"\x06\x01\x00\x00" + PORT + b"\x00\x03\x0c127.0.0.1\x00\x00\x00",
        b"\x06\x01\x00\x04" + PORT + b"\x00\x01" + HERE + b"\xff\xff\x00\x04",  # an unknown option
        bytes.fromhex("06 00 0000 0000 00 01 00000000"),  # NOOP
        bytes.fromhex("06 09 0000 0000 00 01 00000000"),  # no such command
        bytes.fromhex("06 01 0000 0050 00 07 00000000"),  # no such address type
        bytes.fromhex("07 01"),
        b"GET / HTTP/1.1\r\n\r\n",
    ),
    "socks5": (
        GREETING + CONNECT5,
        b"\x05\x02\x02\x00" + CONNECT5,
        b"\x04\x01" + PORT + HERE + b"user\x00",
        GREETING + b"\x05\x01\x00\x01" + HERE + b"\x00\x00",
        GREETING + b"\x05\x01\x00\x01\xff\xff\xff\xff\x00\x50",
        GREETING + b"\x05\x01\x00\x03\x09127.0.0.1" + PORT,
        GREETING,
        GREETING + b"\x05",
        GREETING + b"\x09",
        b"\x05\x01\x02",
        GREETING + b"\x05\x07",
        b"\x09",
    ),
}
AS_NUMBER: Final = int.from_bytes(PORT)
SESSION: Final = bytes(15) + b"\x01"


def _asked(*options: Option, host: str = "127.0.0.1", command: int = 1) -> bytes:
    return Request(command=command, host=host, port=AS_NUMBER, options=options).encode()


def _password(word: bytes) -> AuthenticationData:
    return AuthenticationData(method=2, data=UsernamePassword(username=b"alice", password=word).encode())


CONNECT_HTTP: Final = b"CONNECT 127.0.0.1:%(port)d HTTP/1.1\r\nHost: 127.0.0.1:%(port)d\r\nUser-Agent: x\r\nProxy-Connection: keep-alive\r\n\r\n"
REQUESTS["http"] = (
    CONNECT_HTTP,
    CONNECT_HTTP.replace(b"\r\n\r\n", b"\r\nProxy-Authorization: Basic eDp5\r\n\r\n"),
    CONNECT_HTTP.replace(b"\r\n\r\n", b"\r\nHost: twice\r\n\r\n"),
    CONNECT_HTTP.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n"),
    CONNECT_HTTP.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
    CONNECT_HTTP.replace(b"HTTP/1.1", b"HTTP/1.0"),
    CONNECT_HTTP.replace(b"Host", b"Most"),
    CONNECT_HTTP.replace(b"127.0.0.1", b"localhost"),
    CONNECT_HTTP.replace(b"127.0.0.1", b"[::1]"),
    CONNECT_HTTP.replace(b"T 127.0.0.1", b"T 0.0.0.0"),
    CONNECT_HTTP.replace(b"%(port)d HTTP", b"0 HTTP"),
    CONNECT_HTTP.replace(b"CONNECT", b"connect"),
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
)
USERS: Final = "socks6 with users"
REQUESTS[USERS] = (
    CONNECT6,  # no credentials
    _asked(_password(b"right")),
    _asked(_password(b"right, but known by none at once")),
    _asked(_password(b"wrong")),
    _asked(_password(b"right"), SessionRequest(), IdempotenceRequest(size=10)),
    _asked(_password(b"right"), host="localhost"),
    _asked(_password(b"right"), command=0),
    _asked(_password(b"right"), Tos(leg=Leg.PROXY_REMOTE, tos=8)),
    _asked(SessionId(id=SESSION)),
    _asked(SessionId(id=SESSION), IdempotenceExpenditure(token=1)),
    _asked(SessionId(id=SESSION), IdempotenceExpenditure(token=99)),
    _asked(SessionId(id=SESSION), SessionTeardown()),
    _asked(SessionId(id=bytes(16))),
    _asked(AuthenticationMethodAdvertisement(methods=(2,))),
)
REQUESTS["mixed"] = REQUESTS["socks6"][:2] + REQUESTS["socks5"][:3] + REQUESTS["http"][:1]
CASES: Final = [(inbound, request) for inbound, requests in REQUESTS.items() for request in requests]
DESTINATIONS: Final = ("answers", "refuses", "is forbidden", "is silent", "answers late")
EARLY: Final = st.sampled_from([0, 1, 1_000, 65_520, 65_536, 3_000_000])
ANSWER: Final = b"answer" * 1_000


@functools.cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's and a client's."""
    with certificate() as files:
        return server_context(files.server), client_context(TlsParameters(ca=files.ca))


class SlowStream(SocketStream):
    """Takes a byte at a time, until it has taken as many as an answer of SOCKS has, or the first ones of TLS."""

    slow_bytes = 100

    @override
    def send_nowait(self, data: bytes | memoryview) -> int:
        if self.slow_bytes <= 0:
            return super().send_nowait(data)
        self.slow_bytes -= 1
        return super().send_nowait(data[:1])


class LateOutbound(DirectOutbound):
    """Never finds a remote connected at once."""

    @override
    def begin_connecting(
        self, host: str, port: int, holder: Hashable, *, tuned: bool = True
    ) -> tuple[socket.socket, bool]:
        return super().begin_connecting(host, port, holder, tuned=tuned)[0], False


class Known(Authenticator):
    """Knows alice by passwords that begin rightly, one of them at once."""

    required = True

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        assert isinstance(credentials, UsernamePasswordCredentials)
        return Identity(name="alice") if credentials.password.startswith(b"right") else None

    @override
    def cached_identity(self, credentials: Credentials, source: str = "") -> Identity | None:
        known = isinstance(credentials, UsernamePasswordCredentials) and credentials.password == b"right"
        return Identity(name="alice") if known else None

    @override
    def credential_version(self, identity: Identity) -> object:
        return 1


class Events(Observer):
    """Keeps what happened, without ports that the kernel chooses, and times."""

    wants = None

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, object]]] = []

    @override
    def observe(self, event: Event) -> None:
        facts = dataclasses.asdict(event)
        self.seen.append(
            (
                type(event).__name__,
                {
                    key: value > 0 if key.endswith("_seconds") else value
                    for key, value in facts.items()
                    if key not in {"port", "seconds"}
                },
            )
        )


@dataclass
class Target:
    """Where requests lead."""

    port: int
    listener: socket.socket | None = None


@contextlib.contextmanager
def target(destination: str) -> Iterator[Target]:
    """Give what a client is to be connected to."""
    if destination in {"answers", "answers late"}:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            yield Target(listener.getsockname()[1], listener)
    else:
        with refusing_place() if destination != "is silent" else silent_place() as place:
            yield Target(place.port)


async def seen_by_all(
    way: str,
    inbound: str,
    pieces: list[bytes],
    destination: str,
    *,
    slow: bool,
    tls: bool = False,
    optimistic: bool = False,
) -> tuple[bytes, bytes, list[tuple[str, dict[str, object]]]]:
    """Serve a client that sends its request in pieces and ends; return what it gets, what the host gets, and the events."""
    events = Events()
    outbound = (LateOutbound if destination == "answers late" else DirectOutbound)(connect_timeout=0.02 if destination == "is silent" else 10.0)  # fmt: skip
    policy = Policy(allow_private=destination != "is forbidden")
    numbers = itertools.count()
    store = MemorySessionStore(SessionSettings(), random=lambda size: next(numbers).to_bytes(size))
    worker = ServerWorker(
        policy=policy,
        outbound=outbound,
        observers=[events],
        authenticator=Known() if inbound == USERS else None,
        sessions=store,
        settings=Settings(optimistic=optimistic),
    )
    now = asyncio.get_running_loop().time()
    opened = store.create(Identity(name="alice"), source="", protection=Protection.CLEAR, now=now)
    assert opened is not None
    assert opened.id == SESSION
    opened.session.grant(10)
    inbound = "socks6" if inbound == USERS else inbound
    limits = ConnectionLimits()
    client, accepted = tcp_pair()
    assert isinstance(accepted, SocketStream)
    assert isinstance(client, SocketStream)
    ours: SocketStream | TlsStream = (SlowStream if slow else SocketStream)(accepted.detach_socket())
    theirs: SocketStream | TlsStream = client
    if tls:
        for_server, for_client = contexts()
        ours = TlsStream(ours, lambda: TlsSession(for_server, server_side=True))
        theirs = TlsStream(
            (SlowStream if slow else SocketStream)(client.detach_socket()),
            TlsSession(for_client, server_hostname="localhost"),
        )
    with target(destination) as place:
        text = b"".join(pieces)
        if text.startswith(b"CONNECT"):
            edges = list(itertools.accumulate(map(len, pieces)))
            pieces = pieces_of(text.replace(b"%(port)d", b"%d" % place.port), edges)
        whole = [piece.replace(PORT, place.port.to_bytes(2)) for piece in pieces]
        async with asyncio.TaskGroup() as tasks, EagerTaskGroup() as eager_tasks:
            _start(way, worker, ours, inbound, limits, tasks, eager_tasks, outbound)
            if isinstance(theirs, TlsStream):
                await theirs.handshake(keep_last=True)
            sending = tasks.create_task(_send(theirs, whole))
            serving = tasks.create_task(_accept(place.listener))
            received = await _receive(theirs)
            serving.cancel()
            await sending
        arrived = b"" if serving.cancelled() else serving.result()
        theirs.abort()
    assert not len(worker.connections)
    assert not limits.count
    await worker.aclose()
    return _without_port(received), arrived, events.seen


def _start(  # noqa: PLR0917
    way: str,
    worker: ServerWorker,
    stream: SocketStream | TlsStream,
    inbound: str,
    limits: ConnectionLimits,
    tasks: asyncio.TaskGroup,
    eager_tasks: EagerTaskGroup,
    outbound: DirectOutbound,
) -> None:
    if way == "task":
        tasks.create_task(worker.serve_stream(stream, inbound))
        return
    poller = worker.relay.shared_poller()
    assert poller is not None
    raw = stream.attribute(SocketStream)
    assert raw is not None
    raw.poll_with(poller)
    if way == "eager task":
        eager_tasks.start(worker.serve_stream(stream, inbound))
        return
    limits.admit(stream, stream.remote.host, stream.abort)
    direct = outbound if way == "callbacks" else None
    plain = PlainConnects(worker, inbound, outbound=direct, poller=poller, limits=limits, group=eager_tasks)
    reset_on_close(raw.raw_socket)
    assert plain.serve(stream)


async def _send(client: SocketStream | TlsStream, pieces: list[bytes]) -> None:
    with contextlib.suppress(OSError):  # the proxy may have answered and closed
        for piece in pieces[:-1]:
            await client.send(piece)
            await turns()
        await client.send(pieces[-1])
        await client.send_eof()  # right behind: both may come in one event


async def _receive(client: SocketStream | TlsStream) -> bytes:
    received = b""
    try:
        while data := await client.receive():
            received += data
    except ConnectionResetError:
        received += b"|reset"
    return received


async def _accept(listener: socket.socket | None) -> bytes:
    """Take all that one client sends, then answer; return what it sent."""
    loop = asyncio.get_running_loop()
    if listener is None:
        await asyncio.Event().wait()
        return b""
    remote, _ = await loop.sock_accept(listener)
    with remote:
        arrived = bytearray()
        while data := await loop.sock_recv(remote, 1 << 20):
            arrived += data
        await loop.sock_sendall(remote, ANSWER)
    return bytes(arrived)


def _without_port(received: bytes) -> bytes:
    """Return what the client got without the port of the proxy's end, where it was connected."""
    if not received.endswith(ANSWER):
        return received
    reply = received.removesuffix(ANSWER)
    options = int.from_bytes(reply[2:4])  # of the Authentication Reply
    if reply.startswith(b"HTTP"):
        return received
    at = {DRAFT_12.version: 8 + options, 0: 2}.get(reply[0], len(reply) - 2)  # SOCKS 6, 4, 5
    return reply[:at] + reply[at + 2 :] + ANSWER


def pieces_of(whole: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    return [whole[start:end] for start, end in itertools.pairwise(edges)]


@pytest.mark.parametrize("loop", LOOP_FACTORIES)
@examples(40)
@given(
    case=st.sampled_from(CASES),
    cuts=st.lists(st.one_of(st.just(3), st.integers(1, 64)), max_size=4),
    early=EARLY,
    destination=st.sampled_from(DESTINATIONS),
    slow=st.booleans(),
    tls=st.booleans(),
    optimistic=st.booleans(),
)
@example(
    case=("socks6", CONNECT6),
    cuts=[],
    early=0,
    destination="answers",
    slow=False,
    tls=False,
    optimistic=False,
)
@example(
    case=("socks6", CONNECT6),
    cuts=[],
    early=3_000_000,
    destination="answers",
    slow=False,
    tls=False,
    optimistic=False,
)
@example(
    case=("socks5", GREETING + CONNECT5),
    cuts=[3],
    early=0,
    destination="answers",
    slow=False,
    tls=False,
    optimistic=False,
)
@example(
    case=("socks5", GREETING + CONNECT5),
    cuts=[3, 6],
    early=0,
    destination="answers",
    slow=False,
    tls=False,
    optimistic=False,
)
@example(
    case=("socks5", GREETING + CONNECT5),
    cuts=[3],
    early=1,
    destination="is silent",
    slow=True,
    tls=False,
    optimistic=False,
)
@example(
    case=("socks5", GREETING),
    cuts=[],
    early=0,
    destination="answers",
    slow=False,
    tls=False,
    optimistic=False,
)
@example(
    case=("socks6", CONNECT6),
    cuts=[],
    early=1,
    destination="is silent",
    slow=True,
    tls=False,
    optimistic=False,
)
@example(
    case=("socks6", CONNECT6),
    cuts=[],
    early=65_536,
    destination="answers late",
    slow=True,
    tls=False,
    optimistic=False,
)
@example(
    case=("socks6", CONNECT6), cuts=[], early=0, destination="answers", slow=False, tls=True, optimistic=False
)
@example(
    case=("socks6", CONNECT6),
    cuts=[],
    early=3_000_000,
    destination="answers",
    slow=False,
    tls=True,
    optimistic=False,
)
@example(
    case=("socks6", CONNECT6),
    cuts=[3],
    early=1,
    destination="is silent",
    slow=True,
    tls=True,
    optimistic=False,
)
@example(
    case=("socks5", GREETING + CONNECT5),
    cuts=[3],
    early=0,
    destination="answers",
    slow=True,
    tls=True,
    optimistic=False,
)
@example(
    case=("http", CONNECT_HTTP),
    cuts=[],
    early=5,
    destination="answers",
    slow=False,
    tls=False,
    optimistic=False,
)
@example(
    case=("http", CONNECT_HTTP),
    cuts=[],
    early=9,
    destination="answers",
    slow=False,
    tls=True,
    optimistic=True,
)
@example(
    case=("socks5", GREETING + CONNECT5),
    cuts=[3, 13],
    early=9,
    destination="answers",
    slow=False,
    tls=False,
    optimistic=True,
)
@example(
    case=("socks5", GREETING + CONNECT5),
    cuts=[3],
    early=0,
    destination="refuses",
    slow=True,
    tls=False,
    optimistic=True,
)
@example(
    case=("http", CONNECT_HTTP),
    cuts=[],
    early=0,
    destination="refuses",
    slow=False,
    tls=False,
    optimistic=False,
)
@example(
    case=("http", CONNECT_HTTP),
    cuts=[],
    early=5,
    destination="answers late",
    slow=True,
    tls=True,
    optimistic=False,
)
@example(
    case=(USERS, REQUESTS[USERS][1]),
    cuts=[],
    early=5,
    destination="answers late",
    slow=True,
    tls=True,
    optimistic=False,
)
@example(
    case=(USERS, REQUESTS[USERS][2]),
    cuts=[],
    early=1,
    destination="answers",
    slow=False,
    tls=True,
    optimistic=False,
)
@example(
    case=(USERS, REQUESTS[USERS][4]),
    cuts=[],
    early=1,
    destination="answers",
    slow=False,
    tls=True,
    optimistic=False,
)
@example(
    case=(USERS, REQUESTS[USERS][9]),
    cuts=[],
    early=5,
    destination="answers",
    slow=False,
    tls=False,
    optimistic=False,
)
@example(
    case=(USERS, REQUESTS[USERS][10]),
    cuts=[],
    early=0,
    destination="answers",
    slow=False,
    tls=False,
    optimistic=False,
)
@example(
    case=(USERS, REQUESTS[USERS][8]),
    cuts=[],
    early=0,
    destination="refuses",
    slow=False,
    tls=False,
    optimistic=False,
)
def test_all_ways_give_the_same(  # noqa: PLR0917 - hypothesis names them
    loop: str,
    case: tuple[str, bytes],
    cuts: list[int],
    early: int,
    destination: str,
    slow: bool,
    tls: bool,
    optimistic: bool,
) -> None:
    inbound, request = case

    async def play() -> None:
        pieces = pieces_of(request + b"e" * early, cuts)
        seen = [
            await seen_by_all(way, inbound, pieces, destination, slow=slow, tls=tls, optimistic=optimistic)
            for way in WAYS
        ]
        assert seen[0] == seen[1] == seen[2] == seen[3]

    Run(loop)(play())


HOSTS: Final = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(
    lambda address: (address.version, address.packed)
)


@given(kind=st.integers(0, 5), port=st.integers(0, 0xFFFF), address=HOSTS, rest=st.binary(max_size=20), cut=st.integers(0, 30))  # fmt: skip
def test_a_plain_connect_reads_as_the_codec_reads_it(
    kind: int, port: int, address: tuple[int, bytes], rest: bytes, cut: int
) -> None:
    _, packed = address
    socks6 = (bytes((6, 1, 0, 0, *port.to_bytes(2), cut, kind)) + packed + rest)[: 8 + cut]
    if (plain := read_plain_connect(socks6)) is not None:
        host, found, size = plain
        assert Request.decode(socks6[:size]) == Request(command=1, host=host, port=found)
    else:
        assert kind not in {1, 4} or len(socks6) < 8 + (4 if kind == 1 else 16)
    socks5 = (bytes((5, 1, cut, kind)) + packed + port.to_bytes(2) + rest)[: 4 + cut]
    if (plain := read_plain_socks5(socks5)) is not None:
        host, found, size = plain
        assert Socks5Request.decode(socks5[:size]) == Socks5Request(command=1, host=host, port=found)
        assert encode_success(host, found) == Socks5Reply(code=0, host=host, port=found).encode()
    else:
        assert kind not in {1, 4} or len(socks5) < 4 + (6 if kind == 1 else 18)
