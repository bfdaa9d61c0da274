"""A server among hostile clients and origins, and clients of a hostile proxy: the fuzz runs' world.

Everything runs on one event loop over real sockets. Each visit draws from a generator of its own, whose seed is
the run's and the visit's number, so that a single one can be repeated.
"""

import asyncio
import contextlib
import dataclasses
import functools
import gc
import random
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

from typing_extensions import override

from socks6.client.client import Client
from socks6.errors import Socks6Error
from socks6.message.dialect import DRAFT_12, GO_212
from socks6.message.options import StackOption
from socks6.net.direct import DirectOutbound
from socks6.net.resolve import Address, Resolver
from socks6.net.stream import Connection, Judge, Outbound
from socks6.policy.rules import Policy, Rule
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.fronts.base import Front
from socks6.proxy.fronts.http import HttpFront, HttpSettings
from socks6.proxy.fronts.mixed import MixedFront
from socks6.proxy.service import Server
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker, standard_fronts
from socks6.relay.plane import RelaySettings
from socks6.telemetry import ConnectionSummary, NullObserver
from tests.kit.footprint import Footprint
from tests.kit.mutations import USER, Seeds, chunks, mutated

AT_ONCE: Final = 32  # visits under way
VISIT_SECONDS: Final = 2.0  # what a visitor waits for the server's end of the stream
QUIET_SECONDS: Final = 20.0  # within which the server must have got rid of everybody
RESET: Final = struct.pack("ii", 1, 0)
FRONTS: Final = ("socks6", "socks5", "http", "mixed")
SETTINGS: Final = Settings(
    handshake_timeout=0.5,
    dialects=(DRAFT_12, GO_212),
    connections_per_source=0,
    relay=RelaySettings(idle_timeout=1.0, fin_timeout=0.5),
)


class Tally(NullObserver):
    """Counts how connections end, and keeps the faults."""

    def __init__(self) -> None:
        self.endings: Counter[str] = Counter()
        self.errors: list[BaseException] = []

    @override
    def connection_ended(self, summary: ConnectionSummary) -> None:
        self.endings[f"ended {summary.ending.value}"] += 1

    @override
    def unexpected_error(self, where: str, error: BaseException) -> None:
        self.errors.append(error)


class FuzzedOutbound(Outbound):
    """Leads whatever is asked for to one of our own origins on loopback, by the number of the port."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._direct = DirectOutbound(Resolver(lookup=_lookup, timeout=0.3), connect_timeout=1.0)

    @property
    @override
    def resolves(self) -> bool:
        return True

    @override
    async def connect(
        self,
        host: str,
        port: int,
        *,
        judge: Judge,
        options: tuple[StackOption, ...] = (),
        first_data: bytes = b"",
    ) -> Connection:
        literal = ":" in host or host.replace(".", "").isdigit()
        return await self._direct.connect(
            "127.0.0.1" if literal else host,
            self._ports[port % len(self._ports)],
            judge=judge,
            options=options,
            first_data=first_data,
        )

    @override
    async def aclose(self) -> None:
        await self._direct.aclose()


def _lookup(name: bytes, port: int) -> Sequence[Address]:
    """Resolve names without asking anybody."""
    if name == b"nobody.invalid":
        raise socket.gaierror(socket.EAI_NONAME, "no such name")
    if name == b"slow.example":
        time.sleep(0.5)
    if name == b"example.com":
        return [Address(socket.AF_INET6, ("::1", port, 0, 0)), Address(socket.AF_INET, ("127.0.0.1", port))]
    return [Address(socket.AF_INET, ("127.0.0.1", port))]


class Hosts:
    """Hosts on loopback, whose connections all end with them."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._listeners: list[socket.socket] = []

    def start(
        self, serve: Callable[[socket.socket], Awaitable[None]], *, seconds: float = VISIT_SECONDS
    ) -> int:
        """Have `serve` called for each connection at a port, which is returned; it gets so many seconds."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        listener.setblocking(False)
        self._listeners.append(listener)
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept, listener, serve, seconds)
        port: int = listener.getsockname()[1]
        return port

    def close(self) -> None:
        """Accept nothing more."""
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener.fileno())
            listener.close()

    def _accept(
        self, listener: socket.socket, serve: Callable[[socket.socket], Awaitable[None]], seconds: float
    ) -> None:
        with contextlib.suppress(OSError):
            sock, _ = listener.accept()
            sock.setblocking(False)
            self._group.create_task(self._serve(sock, serve, seconds))

    async def _serve(
        self, sock: socket.socket, serve: Callable[[socket.socket], Awaitable[None]], seconds: float
    ) -> None:
        with sock, contextlib.suppress(OSError):
            async with asyncio.timeout(seconds):
                await serve(sock)


async def _echo(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(sock, 65536):
        await loop.sock_sendall(sock, data)


async def _reset(sock: socket.socket) -> None:
    await asyncio.get_running_loop().sock_recv(sock, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


class Dice:
    """Generators of randomness, one for each user, all following from the run's seed."""

    def __init__(self, seed: int) -> None:
        self.seed: Final = seed
        self._drawn = 0

    def next(self) -> random.Random:
        """Return the next one."""
        self._drawn += 1
        return random.Random(f"{self.seed} {self._drawn}")


@dataclasses.dataclass(kw_only=True)
class Figures:
    """What a run has to show."""

    visits: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = dataclasses.field(default_factory=Counter)
    before: Footprint  # when everything was closed before and again after the run
    warm: Footprint  # after the first tenth of the run
    late: Footprint  # at the end of it, all visitors gone, the servers still there
    after: Footprint
    objects_warm: int = 0
    objects_late: int = 0

    def finished(self) -> "Figures":
        """Take down what the process holds now, and return these figures."""
        gc.collect()
        self.after = Footprint.of()
        return self

    def check(self) -> None:
        """Nothing leaks."""
        assert self.after.descriptors <= self.before.descriptors, self
        assert self.late.memory < self.warm.memory + 48 * 2**20, self
        assert self.late.descriptors <= self.warm.descriptors + 40, self


async def fuzz_server(seed: int, seconds: float) -> Figures:
    """Throw spoiled requests at every front of a server."""
    before = await footprint_before()
    dice = Dice(seed)
    log = Tally()
    async with asyncio.TaskGroup() as group, contextlib.AsyncExitStack() as running:
        hosts = Hosts(group)
        ports = _origins(hosts, dice)
        servers = [await running.enter_async_context(server) for server in _servers(ports, log)]
        addresses = [(_front(url), _address(url)) for server in servers for url in server.urls]
        visit = functools.partial(_visit_some, addresses, Seeds())
        figures = await run_visits(visit, dice, seconds, before, lambda: _check_well(servers, log))
        hosts.close()
    figures.outcomes.update(log.endings)
    return figures.finished()


async def fuzz_client(seed: int, seconds: float) -> Figures:
    """Have clients ask a proxy that answers with spoiled replies."""
    before = await footprint_before()
    dice, seeds = Dice(seed), Seeds()

    async def answer(sock: socket.socket) -> None:
        rng = dice.next()
        if rng.random() < 0.9:
            await asyncio.get_running_loop().sock_recv(sock, 65536)
        await _say(rng, mutated(rng, seeds.draw(rng, "replies")), sock)

    async with asyncio.TaskGroup() as group:
        hosts = Hosts(group)
        port = hosts.start(answer)
        # one context for all: uvloop forgets to free the context of a handshake that is cancelled early
        visit = functools.partial(_ask, port, ssl.create_default_context())
        figures = await run_visits(visit, dice, seconds, before, _nothing_to_check)
        hosts.close()
    return figures.finished()


async def footprint_before() -> Footprint:
    """Return what the process holds, with what an event loop holds for good once it has had a server."""
    async with await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0):
        pass
    gc.collect()
    return Footprint.of()


async def _nothing_to_check() -> None:
    """For runs without a server of ours."""


def _origins(hosts: Hosts, dice: Dice) -> list[int]:
    """Start the origins; return their ports, and one where nothing listens."""
    seeds = Seeds()

    async def respond(sock: socket.socket) -> None:
        rng = dice.next()
        for _ in range(rng.choice((1, 1, 2, 3))):
            if not await asyncio.get_running_loop().sock_recv(sock, 65536):
                return
            await _say(rng, mutated(rng, seeds.draw(rng, "responses")), sock)

    echo, reset, http = hosts.start(_echo), hosts.start(_reset), hosts.start(respond)
    return [echo, http, echo, reset, http, 1]


async def _say(rng: random.Random, data: bytes, sock: socket.socket) -> None:
    """Send in pieces, and end in one of several ways."""
    for piece in chunks(rng, data):
        await asyncio.get_running_loop().sock_sendall(sock, piece)
        await asyncio.sleep(rng.choice((0, 0, 0, 0.001)))
    match rng.randrange(4):
        case 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        case 1:
            sock.shutdown(socket.SHUT_WR)
            await asyncio.sleep(0.05)
        case 2:
            await asyncio.sleep(rng.choice((0, 0.05, 0.5)))
        case _:
            pass


def _servers(ports: Sequence[int], log: Tally) -> list[Server]:
    """Return servers of several settings, each with every front."""
    users = UserTable.from_plain({USER[0]: USER[1]})
    quiet = dataclasses.replace(SETTINGS, quiet=True, ignore_fragmented=True)
    rules = (Rule.parse("deny", ports=["53"]), Rule.parse("deny", hosts=["a"]))
    urls = [f"{front}://127.0.0.1:0" for front in FRONTS]

    def worker(settings: Settings, authenticator: UserTable | None) -> ServerWorker:
        fronts: dict[str, Front] = {
            **standard_fronts(settings),
            "http": HttpFront(HttpSettings(keep_alive_timeout=0.5, idle_timeout=1.0)),
        }
        del fronts["mixed"]
        return ServerWorker(
            authenticator=authenticator,
            policy=Policy(allow_private=True, rules=rules),
            outbound=FuzzedOutbound(ports),
            settings=settings,
            observer=log,
            fronts={**fronts, "mixed": MixedFront(fronts)},
        )

    workers = [worker(SETTINGS, None), worker(SETTINGS, users), worker(quiet, users)]
    return [Server(urls, each) for each in workers]


async def run_visits(
    visit: Callable[[random.Random], Awaitable[str]],
    dice: Dice,
    seconds: float,
    before: Footprint,
    check_well: Callable[[], Awaitable[None]],
) -> Figures:
    """Make visits, many at once, for so long; see in between and at the end that all is well."""
    begin = time.monotonic()
    figures = Figures(before=before, warm=before, late=before, after=before)
    phases = [0.1 * seconds, *(seconds * share for share in (0.25, 0.5, 0.75, 1.0))]
    for number, until in enumerate(phases):
        deadline = begin + until

        async def visitor(deadline: float = deadline) -> None:
            while time.monotonic() < deadline:
                figures.outcomes[await visit(dice.next())] += 1
                figures.visits += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(visitor())
        await check_well()
        gc.collect()
        figures.late, figures.objects_late = Footprint.of(), len(gc.get_objects())
        if number == 0:
            figures.warm, figures.objects_warm = figures.late, figures.objects_late
    figures.seconds = time.monotonic() - begin
    return figures


async def _check_well(servers: Sequence[Server], log: Tally) -> None:
    """The servers have no fault and no client left, and serve good ones."""
    assert not log.errors, log.errors
    for _ in range(round(QUIET_SECONDS / 0.05)):
        if not any(server.connections for server in servers):
            break
        await asyncio.sleep(0.05)
    assert not any(server.connections for server in servers)
    for server in servers:
        for url in server.urls:
            if _front(url) in {"socks6", "mixed"}:
                await _fetch_echo(url.replace("mixed", "socks6").replace("://", f"://{USER[0]}:{USER[1]}@"))


async def _fetch_echo(url: str) -> None:
    async with await Client(url, timeout=5.0).connect("localhost", 60_000, initial_data=b"well?") as stream:
        assert await stream.receive() == b"well?"


def _front(url: str) -> str:
    return url.partition(":")[0]


def _address(url: str) -> tuple[str, int]:
    host, _, port = url.rpartition("/")[2].rpartition(":")
    return host, int(port)


async def _visit_some(
    addresses: Sequence[tuple[str, tuple[str, int]]], seeds: Seeds, rng: random.Random
) -> str:
    front, address = rng.choice(addresses)
    kind = front if rng.random() < 0.97 else rng.choice((*FRONTS, "responses"))
    return await _visit(rng, address, mutated(rng, seeds.draw(rng, kind)))


async def _visit(rng: random.Random, address: tuple[str, int], data: bytes) -> str:
    """Be a bad client; return what became of it."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        try:
            async with asyncio.timeout(VISIT_SECONDS):
                await loop.sock_connect(sock, address)
                for piece in chunks(rng, data):
                    await loop.sock_sendall(sock, piece)
                    await asyncio.sleep(rng.choice((0, 0, 0, 0, 0.001)))
                return await _leave(rng, sock)
        except TimeoutError:
            return "still open"
        except OSError as error:
            return type(error).__name__


async def _leave(rng: random.Random, sock: socket.socket) -> str:
    """End a visit in one of several ways."""
    match rng.randrange(6):
        case 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            return "reset"
        case 1:
            return "gone"
        case 2:
            sock.shutdown(socket.SHUT_WR)
            return "gone half closed"
        case 3 | 4:
            sock.shutdown(socket.SHUT_WR)
        case _:
            pass
    while await asyncio.get_running_loop().sock_recv(sock, 65536):
        pass
    return "read to the end"


async def _ask(port: int, tls: ssl.SSLContext, rng: random.Random) -> str:
    """Be a client of the library, whose proxy is not one; return what became of it."""
    login = rng.choice(("", "alice:123456@"))
    client = Client(
        f"socks6://{login}127.0.0.1:{port}", timeout=0.3, dialect=rng.choice((DRAFT_12, DRAFT_12, GO_212))
    )
    try:
        match rng.randrange(3):
            case 0:
                await client.noop()
            case 1:
                async with await client.connect("example.com", 80, initial_data=b"hello") as stream:
                    async with asyncio.timeout(0.1):
                        await stream.receive()
            case _:
                async with client:
                    chosen = rng.choice((tls, None))
                    _, writer = await client.open_connection("127.0.0.1", 443, ssl=chosen)
                    writer.close()
                    await writer.wait_closed()
    except (Socks6Error, OSError) as error:
        return type(error).__name__
    return "fine"


@contextlib.asynccontextmanager
async def no_task_left() -> AsyncIterator[None]:
    """Fail if tasks outlive the block."""
    yield
    await asyncio.sleep(0.05)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, left
