"""Relays in which nothing moves."""

import asyncio
import time

import pytest

from socks6.relay.streams import RelayResult, RelaySettings
from socks6.telemetry import Ending
from tests.kit.joined import PATHS, joined
from tests.kit.loops import Run
from tests.kit.streams import BULK, receive_exactly

every_path = pytest.mark.parametrize("path", PATHS)


@every_path
def test_silence_in_both_directions_ends_it(run: Run, path: str) -> None:
    async def play() -> None:
        settings = RelaySettings(idle_timeout=0.02, splice=PATHS[path][1].splice, pipes=PATHS[path][1].pipes)
        async with joined(path, settings=settings) as scene:
            await scene.client.send(b"x")
            result = await scene.result()
            assert result == RelayResult(bytes_up=1, bytes_down=0, ending=Ending.IDLE, reason="idle")

    run(play())


@every_path
def test_silence_after_a_half_close_ends_it_sooner(run: Run, path: str) -> None:
    async def play() -> None:
        settings = RelaySettings(fin_timeout=0.02, splice=PATHS[path][1].splice, pipes=PATHS[path][1].pipes)
        async with joined(path, settings=settings) as scene:
            await scene.remote.send_eof()
            result = await scene.result()
            assert (result.ending, result.reason) == (Ending.IDLE, "half closed and silent")

    run(play())


def test_a_relay_ended_for_silence_resets_both_sides(run: Run) -> None:
    async def play() -> None:
        async with joined(settings=RelaySettings(idle_timeout=0.02)) as scene:
            await scene.result()
            for stream in (scene.client, scene.remote):
                with pytest.raises(ConnectionResetError):
                    await stream.receive()

    run(play())


def test_without_time_outs_nothing_ends_it(run: Run) -> None:
    async def play() -> None:
        async with joined(settings=RelaySettings(idle_timeout=0, fin_timeout=0)) as scene:
            await scene.client.send_eof()
            await asyncio.sleep(0.05)
            assert not scene.relaying.done()

    run(play())


@every_path
def test_a_half_closed_relay_costs_no_time(run: Run, path: str) -> None:
    async def play() -> None:
        async with joined(path) as scene:
            await scene.client.send(b"x")
            await scene.client.send_eof()
            await receive_exactly(scene.remote, 1)
            await scene.remote.receive()
            before = time.process_time()
            await asyncio.sleep(0.1)
            assert time.process_time() - before < 0.05
            assert not scene.relaying.done()

    run(play())


def test_a_relay_whose_receiver_is_stuck_costs_no_time(run: Run) -> None:
    async def play() -> None:
        async with joined() as scene, asyncio.TaskGroup() as group:
            sending = group.create_task(scene.client.send(BULK * 2))
            await asyncio.sleep(0.05)
            before = time.process_time()
            await asyncio.sleep(0.1)
            assert time.process_time() - before < 0.05
            sending.cancel()

    run(play())
