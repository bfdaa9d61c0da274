"""What is asked of a proxy from another thread."""

import asyncio
import threading

import pytest

from socks6.admin.proxy import SLICE, ProxyBridge, ProxyUnavailable
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import ConnectionEnded, Ending
from tests.kit.admin import bridge_of, connected
from tests.kit.loops import Run
from tests.kit.outbounds import Recorder


def test_thousands_of_connections_are_read_in_slices(run: Run) -> None:
    async def play() -> None:
        worker = ServerWorker()
        for number in range(5 * SLICE):
            connected(worker, "alice" if number % 2 else "bob", 3 if number < 2 else 1)
        bridge = bridge_of(worker)
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count_turns())
        found = await bridge.connections(lambda info: info.user == "bob")
        counting.cancel()
        assert [info.id for info in found] == list(range(1, 5 * SLICE, 2))
        assert turns >= 5
        status = await bridge.status()
        assert (status.connections, status.handshakes, status.associations, status.bindings) == (500, 0, 2, 0)

    run(play())


def test_connections_are_ended_by_number_and_by_what_they_are(run: Run) -> None:
    async def play() -> None:
        log = Recorder()
        worker = ServerWorker(observers=[log])
        connections = [connected(worker, user) for user in ("alice", "bob", "alice")]
        bridge = bridge_of(worker)
        assert await bridge.kick(2, "by root")
        assert not await bridge.kick(9, "by root")
        assert await bridge.kick_all(lambda info: info.user == "alice", "by root: enough") == [1, 3]
        for connection in connections:
            worker.close(connection)
        assert [(record.ending, record.reason) for record in log.of(ConnectionEnded)] == [
            (Ending.KICKED, "by root: enough"),
            (Ending.KICKED, "by root"),
            (Ending.KICKED, "by root: enough"),
        ]

    run(play())


def test_penalties_are_listed_and_lifted(run: Run) -> None:
    async def play() -> None:
        worker = ServerWorker()
        bridge = bridge_of(worker)
        now = asyncio.get_running_loop().time()
        for _ in range(worker.penalties.name_limit):
            worker.penalties.failed("192.0.2.7", now, name=b"alice")
        (penalty,) = await bridge.penalties()
        assert (penalty.source, penalty.user) == ("192.0.2.7", "alice")
        assert await bridge.lift("192.0.2.0/24") == 1
        assert await bridge.lift("192.0.2.7") == 0
        assert not await bridge.penalties()
        with pytest.raises(ValueError, match="nonsense"):
            await bridge.lift("nonsense")
        assert await bridge.reload() == ""
        assert not await bridge.sessions()

    run(play())


def test_a_proxy_that_does_not_answer_or_has_ended_is_waited_for_no_longer(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socks6.admin.proxy.ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(ProxyBridge._ask, "__defaults__", (0.05,))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    held = threading.Event()
    loop.call_soon_threadsafe(held.wait)

    async def play() -> None:
        bridge = bridge_of()
        bridge._loop = loop
        with pytest.raises(ProxyUnavailable, match=r"did not answer within 0\.05 s"):
            await bridge.sessions()
        held.set()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        with pytest.raises(ProxyUnavailable, match="has ended"):
            await bridge.sessions()

    run(play())
