"""Many connections: idle ones cost little, half-closed ones go away, too many do no harm."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from socks6.net.stream import ByteStream
from socks6.net.transports.tcp import connect_tcp, listen_tcp
from socks6.relay.streams import RelaySettings
from socks6.telemetry import Ending
from tests.kit.footprint import CLOSE_WAIT, Footprint, connections, eventually
from tests.kit.forwarder import forwarder_process, forwarding
from tests.kit.loops import LOOP_FACTORIES, Run
from tests.kit.streams import accept, until

HALF_CLOSED: Final = 2000  # 10 000 in the issue: as many in a second as in five
IDLE: Final = 2000
IDLE_BYTES: Final = 6 * 1024  # of memory for each idle relayed connection, at most
DESCRIPTORS: Final = 64

pytestmark = pytest.mark.e2e


@contextmanager
def holding() -> Iterator[tuple[int, list[socket.socket]]]:
    """Listen on a port and keep what arrives once `accept` was called; yield the port and the kept."""
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as server:
        kept.append(server)
        try:
            yield server.getsockname()[1], kept
        finally:
            for sock in kept:
                sock.close()


def test_half_closed_connections_leave_nothing_behind(run: Run) -> None:
    async def play() -> None:
        before = Footprint.of().descriptors
        (target,) = await listen_tcp("127.0.0.1", 0)
        settings = RelaySettings(fin_timeout=0.5)
        async with forwarding(target.local.port, settings) as forwarder:
            clients: list[ByteStream] = []
            remotes: list[ByteStream] = []
            for _ in range(HALF_CLOSED):
                clients.append(await connect_tcp("127.0.0.1", forwarder.port))
                remotes.append(await accept(target))
                await clients[-1].send_eof()
            await until(lambda: len(forwarder.results) == HALF_CLOSED)
            assert {result.ending for result in forwarder.results} == {Ending.IDLE}
            for stream in clients + remotes:
                stream.abort()
            await asyncio.sleep(0)
            assert connections(CLOSE_WAIT, forwarder.port, target.local.port) == 0
        await target.aclose()
        assert Footprint.of().descriptors <= before

    run(play())


@pytest.mark.parametrize("loop", sorted(LOOP_FACTORIES))
def test_an_idle_connection_costs_little_memory_and_no_time(loop: str) -> None:
    with holding() as (target, kept), forwarder_process(loop, target) as (process, port, _):
        kept.extend([connected(port), connected(port)])
        for sock in kept[1:3]:  # whatever is made once has been made
            sock.send(b"x")
        assert eventually(lambda: Footprint.of(process.pid).descriptors > 8)
        before = Footprint.of(process.pid)
        kept.extend([connected(port) for _ in range(IDLE)])
        assert eventually(lambda: Footprint.of(process.pid).descriptors >= before.descriptors + 2 * IDLE)
        after = Footprint.of(process.pid)
        assert (after.memory - before.memory) / IDLE < IDLE_BYTES
        busy = seconds_of(process.pid)
        time.sleep(0.2)
        assert seconds_of(process.pid) - busy <= 0.02


@pytest.mark.parametrize("loop", sorted(LOOP_FACTORIES))
def test_without_descriptors_accepting_waits_for_some(loop: str) -> None:
    with holding() as (target, kept), forwarder_process(loop, target, DESCRIPTORS) as (_, port, said):
        clients = [connected(port) for _ in range(DESCRIPTORS)]
        kept.extend(clients)
        assert said.readline().split()[0] in {"paused", "error"}
        for client in clients:
            client.close()
        assert eventually(lambda: _comes_through(port, kept))


def _comes_through(port: int, kept: list[socket.socket]) -> bool:
    """Connect and see whether that arrives: with few descriptors it may be refused; others come before it."""
    server = kept[0]
    server.settimeout(0.5)
    kept.append(connected(port))
    kept[-1].send(b"hello")
    while True:
        try:
            arrived, _ = server.accept()
            with arrived:
                arrived.settimeout(5)
                if arrived.recv(5) == b"hello":
                    return True
        except ConnectionResetError:
            continue
        except TimeoutError:
            return False


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port))


def seconds_of(pid: int) -> float:
    """Return the processor time that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
