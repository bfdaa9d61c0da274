"""Waiting for a peer as long as the client is there."""

import asyncio

import pytest
from typing_extensions import override

from socks6.errors import ConnectionTimedOut
from socks6.net.stream import AcceptedPeer
from socks6.net.transports.memory import memory_stream_pair
from socks6.proxy.inbounds.base import ClientDisconnected, accept_while_connected, run_while_connected
from socks6.telemetry import Ending
from tests.kit.bindings import PEER, ScriptedBinding
from tests.kit.loops import Run


class Hasty(ScriptedBinding):
    """Has whoever accepts be cancelled right after the peer is there."""

    @override
    async def accept(self) -> AcceptedPeer:
        accepted = await super().accept()
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return accepted


def test_what_the_client_sends_is_kept_until_the_peer_comes(run: Run) -> None:
    async def scene() -> None:
        client, stream = memory_stream_pair()
        binding = ScriptedBinding()
        kept: list[bytes] = []

        def keep(data: bytes) -> None:
            kept.append(data)
            binding.arrive()

        await client.send(b"early")
        assert (await accept_while_connected(binding, stream, keep)).peer == PEER
        await client.send(b"late")
        assert (b"".join(kept), await stream.receive()) == (b"early", b"late")

    run(scene())


def test_a_peer_that_comes_as_the_client_leaves_is_not_left_alone(run: Run) -> None:
    async def scene() -> None:
        client, stream = memory_stream_pair()
        binding = ScriptedBinding()
        far = binding.arrive()
        await client.send_eof()
        try:
            accepted = await accept_while_connected(binding, stream, lambda _: None)
        except ClientDisconnected:
            with pytest.raises(ConnectionResetError):
                await far.receive()
        else:
            accepted.stream.abort()

    run(scene())


def test_a_wait_that_is_cancelled_when_the_peer_is_there_resets_it(run: Run) -> None:
    async def scene() -> None:
        _, stream = memory_stream_pair()
        binding = Hasty()
        far = binding.arrive()
        waiting = asyncio.create_task(accept_while_connected(binding, stream, lambda _: None))
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        with pytest.raises(ConnectionResetError):
            await far.receive()

    run(scene())


def test_leaving_and_breaking_are_told_apart(run: Run) -> None:
    async def scene() -> None:
        for break_off, ending in ((False, Ending.DONE), (True, Ending.RESET)):
            client, stream = memory_stream_pair()
            if break_off:
                client.abort()
            else:
                await client.send_eof()
            with pytest.raises(ClientDisconnected) as caught:
                await accept_while_connected(ScriptedBinding(), stream, lambda _: None)
            assert caught.value.ending is ending

    run(scene())


def test_a_failure_is_the_failure(run: Run) -> None:
    async def scene() -> None:
        _, stream = memory_stream_pair()
        binding = ScriptedBinding()
        binding.fail(ConnectionTimedOut("too late"))
        with pytest.raises(ConnectionTimedOut, match="too late"):
            await accept_while_connected(binding, stream, lambda _: None)

    run(scene())


def test_what_the_work_raises_comes_in_no_group(run: Run) -> None:
    async def work() -> None:
        raise ZeroDivisionError

    async def scene() -> None:
        _, stream = memory_stream_pair()
        with pytest.raises(ZeroDivisionError):
            await run_while_connected(stream, work, lambda _: None)

    run(scene())


def test_what_the_keeping_raises_comes_in_no_group(run: Run) -> None:
    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    def keep(_: bytes) -> None:
        raise ZeroDivisionError

    async def scene() -> None:
        client, stream = memory_stream_pair()
        await client.send(b"x")
        with pytest.raises(ZeroDivisionError):
            await run_while_connected(stream, work, keep)

    run(scene())
