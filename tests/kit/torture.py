"""Tunnels in which both ends send what they like, as they like, and break off where they like.

Whatever arrives must be the beginning of what was sent; all of it, and then the end, if nobody broke off.
"""

import asyncio
import contextlib
import dataclasses
import random
import socket
from typing import Final

from socks6.policy.rules import Policy
from socks6.proxy.service import Server
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from socks6.relay.streams import RelaySettings
from tests.kit.fuzzing import RESET, Dice, Figures, Hosts, Tally, footprint_before, run_visits
from tests.kit.origins import Place
from tests.kit.proxies import CONNECTED, connect_request

BLOCK: Final = 1 << 22
PATTERN: Final = random.Random(6).randbytes(BLOCK + (1 << 20))
SIZES: Final = (0, 0, 1, 100, 8191, 16384, 16385, 65536, 300_000, 1_500_000)
HEADER: Final = 8  # bytes before the pattern: which plan the destination is to follow
READY: Final = b"!"  # that it knows
RELAYS: Final = {
    "splice": RelaySettings(fin_timeout=10.0),
    "few pipes": RelaySettings(fin_timeout=10.0, pipes=1),
    "copy": RelaySettings(fin_timeout=10.0, splice=False),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What one end does: sends so much, pausing or not, and ends its stream, or resets the connection."""

    size: int
    resets: bool
    resets_after_reading: int  # bytes
    piece: int  # how much it sends and reads at a time
    pause: float  # between pieces, of the first few

    @classmethod
    def draw(cls, rng: random.Random) -> "Plan":
        """Return any plan."""
        size = rng.choice(SIZES)
        return cls(
            size=size,
            resets=rng.random() < 0.2,
            resets_after_reading=rng.choice(SIZES),
            piece=rng.choice((1, 50, 5000, 16384, 65536, 1 << 20)),
            pause=rng.choice((0.0, 0.0, 0.001, 0.01)),
        )


def _both(one: Plan, other: Plan) -> tuple[Plan, Plan]:
    """Return the plans such that neither waits for more than it will get, nor takes ages."""
    least = max(one.size, other.size) // 500
    return _fitting(one, other.size, least), _fitting(other, one.size, least)


def _fitting(plan: Plan, comes: int, least: int) -> Plan:
    return dataclasses.replace(
        plan, resets_after_reading=min(plan.resets_after_reading, comes), piece=max(plan.piece, least)
    )


class End:
    """One end of a tunnel, following its plan."""

    def __init__(self, sock: socket.socket, plan: Plan, expected: int) -> None:
        self._sock = sock
        self._plan = plan
        self._expected = expected
        self.received = 0
        self.ended = False  # the stream came to its proper end
        self.broken = False

    async def run(self) -> None:
        """Send and receive at the same time, until both are over."""
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(self._send())
            await self._receive()
            if self._plan.resets:
                sending.cancel()
        if self._plan.resets:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._sock.close()

    def check(self, other: "End") -> None:
        """See that nothing was lost unless somebody broke off."""
        if not (self._plan.resets or other._plan.resets or self.broken or other.broken):
            assert self.received == self._expected, (self.received, self._expected)
            assert self.ended

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        plan = self._plan
        with contextlib.suppress(OSError):
            for number, start in enumerate(range(0, plan.size, plan.piece)):
                await loop.sock_sendall(self._sock, PATTERN[start : min(start + plan.piece, plan.size)])
                await asyncio.sleep(plan.pause if number < 20 else 0)
            if not plan.resets:
                self._sock.shutdown(socket.SHUT_WR)

    async def _receive(self) -> None:
        loop = asyncio.get_running_loop()
        plan = self._plan
        try:
            while not (plan.resets and self.received >= plan.resets_after_reading):
                data = await loop.sock_recv(self._sock, plan.piece)
                if not data:
                    self.ended = True
                    break
                assert data == PATTERN[self.received : self.received + len(data)]
                self.received += len(data)
                await asyncio.sleep(plan.pause if self.received < 20 * plan.piece else 0)
        except OSError:
            self.broken = not plan.resets


class Torture:
    """A server, and tunnels through it to a destination that follows the plans that it is told."""

    def __init__(self, hosts: Hosts) -> None:
        self._plans: dict[int, tuple[Plan, int]] = {}
        self._far: dict[int, asyncio.Future[End]] = {}
        self._count = 0
        self.destination = Place(host="127.0.0.1", port=hosts.start(self._serve, seconds=60.0))

    async def visit(self, address: tuple[str, int] | str, rng: random.Random) -> str:
        """Make a tunnel, have both ends follow their plans, check what came of it."""
        loop = asyncio.get_running_loop()
        near_plan, far_plan = _both(Plan.draw(rng), Plan.draw(rng))
        self._count += 1
        number = self._count
        self._plans[number] = far_plan, near_plan.size
        self._far[number] = loop.create_future()
        with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
            await loop.sock_sendall(sock, connect_request(self.destination))
            reply = await receive_exactly(sock, len(CONNECTED) + 8)
            assert reply.startswith(CONNECTED), reply
            await loop.sock_sendall(sock, number.to_bytes(HEADER, "big"))
            assert await receive_exactly(sock, 1) == READY
            near = End(sock, near_plan, far_plan.size)
            await near.run()
            far = await self._far[number]
            del self._far[number]
        near.check(far)
        far.check(near)
        return "broken off" if near_plan.resets or far_plan.resets else "whole"

    async def _serve(self, sock: socket.socket) -> None:
        number = int.from_bytes(await receive_exactly(sock, HEADER), "big")
        plan, expected = self._plans.pop(number)
        await asyncio.get_running_loop().sock_sendall(sock, READY)
        end = End(sock, plan, expected)
        try:
            await end.run()
        finally:
            self._far[number].set_result(end)


async def receive_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await asyncio.get_running_loop().sock_recv(sock, size - len(data))
        if not piece:
            break
        data += piece
    return data


async def torture_relays(seed: int, seconds: float, folder: str) -> Figures:
    """Have tunnels of all kinds; see that what arrives is what was sent."""
    before = await footprint_before()
    log = Tally()
    async with asyncio.TaskGroup() as group, contextlib.AsyncExitStack() as running:
        hosts = Hosts(group)
        torture = Torture(hosts)
        addresses: list[tuple[str, int] | str] = []
        servers = []
        for number, relay in enumerate(RELAYS.values()):
            urls = ["socks6://127.0.0.1:0", f"socks6+unix://{folder}/{number}.sock"]
            settings = Settings(relay=relay, connections_per_source=0)
            worker = ServerWorker(policy=Policy(allow_private=True), settings=settings, observers=[log])
            server = await running.enter_async_context(Server(urls, worker))
            servers.append(server)
            host, _, port = server.urls[0].rpartition("/")[2].rpartition(":")
            addresses += [(host, int(port)), f"{folder}/{number}.sock"]

        async def visit(rng: random.Random) -> str:
            return await torture.visit(rng.choice(addresses), rng)

        async def check_well() -> None:
            assert not log.errors, log.errors

        figures = await run_visits(visit, Dice(seed), seconds, before, check_well)
        hosts.close()
    figures.outcomes.update(log.endings)
    return figures.finished()
