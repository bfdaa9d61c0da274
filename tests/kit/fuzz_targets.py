"""A server among hostile clients, origins and upstreams, and clients of a hostile proxy, over real sockets."""

import asyncio
import contextlib
import dataclasses
import functools
import random
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final

from typing_extensions import override

from socks6.client.association_factory import UdpPathChoice
from socks6.client.client import Client
from socks6.client.outbound import UpstreamOutbound
from socks6.errors import Socks6Error
from socks6.message.dialect import DRAFT_12, GO_212
from socks6.message.options import StackOption
from socks6.net.direct import DirectOutbound
from socks6.net.resolve import ResolvedAddress, Resolver
from socks6.net.stream import Binding, ConnectResult, DatagramChannel, DatagramJudge, Judge, Outbound
from socks6.policy.rules import Policy, Rule
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.inbounds.base import Inbound
from socks6.proxy.inbounds.http import HttpInbound
from socks6.proxy.inbounds.http_forward import HttpSettings
from socks6.proxy.inbounds.mixed import MixedInbound
from socks6.proxy.inbounds.registry import StandardInbounds
from socks6.proxy.service import Server
from socks6.proxy.sessions import SessionSettings
from socks6.proxy.settings import BindSettings, Settings
from socks6.proxy.worker import ServerWorker
from socks6.relay.streams import RelaySettings
from tests.kit.fuzzing import RESET, VISIT_SECONDS, Dice, Figures, Hosts, Tally, footprint_before, run_visits
from tests.kit.mutations import USER, Seeds, chunks, mutated

QUIET_SECONDS: Final = 20.0  # within which the servers must have got rid of everybody
INBOUNDS: Final = ("socks6", "socks5", "http", "mixed")
SETTINGS: Final = Settings(
    handshake_timeout=0.5,
    dialects=(DRAFT_12, GO_212),
    connections_per_source=0,
    bind=BindSettings(accept_timeout=0.5, listeners_per_user=0, backlog_without_session=True),
    sessions=SessionSettings(anonymous=True, total=64, idle_timeout=1.0),
    relay=RelaySettings(idle_timeout=1.0, fin_timeout=0.5),
)


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
        holder: Hashable = None,
    ) -> ConnectResult:
        literal = ":" in host or host.replace(".", "").isdigit()
        return await self._direct.connect(
            "127.0.0.1" if literal else host,
            self._ports[port % len(self._ports)],
            judge=judge,
            options=options,
            first_data=first_data,
        )

    @override
    async def bind(
        self,
        host: str,
        port: int,
        *,
        judge: Judge,
        judge_peer: Judge,
        options: tuple[StackOption, ...] = (),
        backlog: int = 0,
        holder: Hashable = None,
        instead: Sequence[Sequence[str]] = (),
    ) -> Binding:
        """Listen on loopback, wherever it is to be."""
        return await self._direct.bind(
            "127.0.0.1", 0, judge=judge, judge_peer=judge_peer, options=options, backlog=backlog
        )

    @override
    async def associate(
        self,
        host: str,
        port: int,
        *,
        judge: DatagramJudge,
        options: tuple[StackOption, ...] = (),
        owner: Hashable = None,
        holder: Hashable = None,
    ) -> DatagramChannel:
        """Open a port on loopback, wherever it is to be: nothing else is reached from there."""
        return await self._direct.associate("127.0.0.1", 0, judge=judge, options=options, owner=owner)

    @override
    async def aclose(self) -> None:
        await self._direct.aclose()


def _lookup(name: bytes, port: int) -> Sequence[ResolvedAddress]:
    """Resolve names without asking anybody."""
    if name == b"nobody.invalid":
        raise socket.gaierror(socket.EAI_NONAME, "no such name")
    if name == b"slow.example":
        time.sleep(0.5)
    if name == b"example.com":
        return [
            ResolvedAddress(socket.AF_INET6, ("::1", port, 0, 0)),
            ResolvedAddress(socket.AF_INET, ("127.0.0.1", port)),
        ]
    return [ResolvedAddress(socket.AF_INET, ("127.0.0.1", port))]


async def _echo(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(sock, 65536):
        await loop.sock_sendall(sock, data)


async def _reset(sock: socket.socket) -> None:
    await asyncio.get_running_loop().sock_recv(sock, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


async def fuzz_server(seed: int, seconds: float) -> Figures:
    """Throw spoiled requests at every inbound of a server."""
    before = await footprint_before()
    dice = Dice(seed)
    log = Tally()
    async with asyncio.TaskGroup() as group, contextlib.AsyncExitStack() as running:
        hosts = Hosts(group)
        ports, upstream = _origins(hosts, dice), hosts.start(_hostile_proxy(dice))
        servers = [await running.enter_async_context(each) for each in _servers(ports, upstream, log)]
        addresses = [(_inbound(url), _address(url)) for server in servers for url in server.urls]
        visit = functools.partial(_visit_some, addresses, Seeds())
        figures = await run_visits(visit, dice, seconds, before, lambda: _check_well(servers, log))
        hosts.close()
    figures.outcomes.update(log.endings)
    return figures.finished()


async def fuzz_client(seed: int, seconds: float) -> Figures:
    """Have clients ask a proxy that answers with spoiled replies."""
    before = await footprint_before()
    dice = Dice(seed)
    async with asyncio.TaskGroup() as group:
        hosts = Hosts(group)
        port = hosts.start(_hostile_proxy(dice))
        # one context for all: uvloop forgets to free the context of a handshake that is cancelled early
        visit = functools.partial(_ask, port, ssl.create_default_context())
        figures = await run_visits(visit, dice, seconds, before, _nothing_to_check)
        hosts.close()
    return figures.finished()


async def _nothing_to_check() -> None:
    """For runs without a server of ours."""


def _hostile_proxy(dice: Dice) -> Callable[[socket.socket], Awaitable[None]]:
    """Return what answers requests of SOCKS 6 with spoiled replies."""
    seeds = Seeds()

    async def answer(sock: socket.socket) -> None:
        rng = dice.next()
        if rng.random() < 0.9:
            await asyncio.get_running_loop().sock_recv(sock, 65536)
        await _say(rng, mutated(rng, seeds.draw(rng, "replies")), sock)

    return answer


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


def _servers(ports: Sequence[int], upstream: int, log: Tally) -> list[Server]:
    """Return servers of several settings, each with every inbound; the last goes out through a hostile proxy."""
    users = UserTable.from_plain({USER[0]: USER[1]})
    quiet = dataclasses.replace(SETTINGS, quiet=True, ignore_fragmented=True)
    rules = (Rule.parse("deny", ports=["53"]), Rule.parse("deny", hosts=["a"]))
    urls = [f"{inbound}://127.0.0.1:0" for inbound in INBOUNDS]

    def worker(
        settings: Settings, authenticator: UserTable | None, outbound: Outbound | None = None
    ) -> ServerWorker:
        inbounds: dict[str, Inbound] = {
            **StandardInbounds(settings),
            "http": HttpInbound(HttpSettings(keep_alive_timeout=0.5, idle_timeout=1.0)),
        }
        del inbounds["mixed"]
        return ServerWorker(
            authenticator=authenticator,
            policy=Policy(allow_private=True, rules=rules),
            outbound=outbound or FuzzedOutbound(ports),
            settings=settings,
            observers=[log],
            inbounds={**inbounds, "mixed": MixedInbound(inbounds)},
        )

    hostile = UpstreamOutbound(Client(f"socks6://{USER[0]}:{USER[1]}@127.0.0.1:{upstream}", timeout=0.5))
    workers = [
        worker(SETTINGS, None),
        worker(SETTINGS, users),
        worker(quiet, users),
        worker(SETTINGS, None, hostile),
    ]
    return [Server(urls, each) for each in workers]


async def _check_well(servers: Sequence[Server], log: Tally) -> None:
    """The servers have no fault and no client left, and serve good ones."""
    assert not log.errors, log.errors
    for _ in range(round(QUIET_SECONDS / 0.05)):
        if not any(len(server.connections) for server in servers):
            break
        await asyncio.sleep(0.05)
    assert not any(len(server.connections) for server in servers)
    for server in servers[:-1]:
        for url in server.urls:
            if _inbound(url) in {"socks6", "mixed"}:
                await _fetch_echo(url.replace("mixed", "socks6").replace("://", f"://{USER[0]}:{USER[1]}@"))


async def _fetch_echo(url: str) -> None:
    async with await Client(url, timeout=5.0).connect("localhost", 60_000, initial_data=b"well?") as stream:
        assert await stream.receive() == b"well?"


def _inbound(url: str) -> str:
    return url.partition(":")[0]


def _address(url: str) -> tuple[str, int]:
    host, _, port = url.rpartition("/")[2].rpartition(":")
    return host, int(port)


async def _visit_some(
    addresses: Sequence[tuple[str, tuple[str, int]]], seeds: Seeds, rng: random.Random
) -> str:
    inbound, address = rng.choice(addresses)
    kind = inbound if rng.random() < 0.97 else rng.choice((*INBOUNDS, "responses"))
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
        match rng.randrange(4):
            case 0:
                await client.noop()
            case 3:
                path: UdpPathChoice = rng.choice(("auto", "stream", "stream"))
                async with client.associate(udp=path, errors=True) as udp, asyncio.timeout(0.1):
                    await udp.send(b"hello", ("example.com", 53))
                    while True:
                        await udp.receive()
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
