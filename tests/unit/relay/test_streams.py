"""Relaying, whatever the data path."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

import pytest

from socks6.net.stream import ByteStream
from socks6.relay.bandwidth import Meter
from socks6.relay.delivery import deliver
from socks6.relay.streams import RelayResult, StreamRelay
from socks6.telemetry import Ending
from tests.kit.clock import ManualScheduler
from tests.kit.footprint import Footprint
from tests.kit.joined import PATHS, RESETTING, SOCKETS, joined, tcp_pair
from tests.kit.loops import LOOP_FACTORIES, Run
from tests.kit.memory import memory_stream_pair
from tests.kit.streams import BULK, receive_all, receive_exactly, turns, until

RATE = 200_000


def on(paths: Iterable[str]) -> pytest.MarkDecorator:
    """Run a test on these data paths, each on one of the loops; `make deep` takes both, as do the properties of relays."""
    loops = sorted(LOOP_FACTORIES)
    rows = [
        pytest.param(loop, path, marks=() if loop == loops[number % 2] else pytest.mark.deep)
        for number, path in enumerate(PATHS)
        if path in paths
        for loop in loops
    ]
    return pytest.mark.parametrize(("run", "path"), rows, indirect=["run"])


every_path = on(PATHS)


@every_path
def test_small_pieces_go_both_ways(run: Run, path: str) -> None:
    async def play() -> None:
        async with joined(path) as scene:
            for _ in range(3):
                await scene.client.send(b"ping")
                assert await receive_exactly(scene.remote, 4) == b"ping"
                await scene.remote.send(b"pong!")
                assert await receive_exactly(scene.client, 5) == b"pong!"

    run(play())


@every_path
def test_bulk_goes_both_ways_at_once(run: Run, path: str) -> None:
    async def play() -> None:
        async with joined(path) as scene:
            async with asyncio.TaskGroup() as group:
                group.create_task(scene.client.send(BULK))
                group.create_task(scene.remote.send(BULK[::-1]))
                up = group.create_task(receive_exactly(scene.remote, len(BULK)))
                down = group.create_task(receive_exactly(scene.client, len(BULK)))
            assert up.result() == BULK
            assert down.result() == BULK[::-1]
            await scene.client.send(b"small again")
            assert await receive_exactly(scene.remote, 11) == b"small again"

    run(play())


@every_path
def test_a_meter_holds_at_once_for_what_is_open_and_is_kept_both_ways(run: Run, path: str) -> None:
    async def play() -> None:
        scheduler = ManualScheduler()
        meters = Meter(scheduler), Meter(scheduler)
        async with joined(path) as scene, asyncio.TaskGroup() as group:
            ends = scene.client, scene.remote
            tasks = [group.create_task(flood(end)) for end in ends]
            for end in ends:
                await receive_exactly(end, len(BULK) // 8)
            assert scene.streams is not None
            scene.streams.limit(*meters)
            for meter in meters:
                meter.set_limits(rate=RATE)
            tasks += [group.create_task(drain(end)) for end in ends]
            await pass_time(scheduler)
            before = sum(meter.carried for meter in meters)
            await pass_time(scheduler)
            went = sum(meter.carried for meter in meters) - before
            assert went == pytest.approx(2 * RATE, rel=0.2)  # TLS gives whole records
            for meter in meters:
                meter.set_limits()
            scheduler.advance(0)
            await until(lambda: sum(meter.carried for meter in meters) > len(BULK) // 2)
            for task in tasks:
                task.cancel()

    run(play())


async def flood(stream: ByteStream) -> None:
    """Send for ever."""
    while True:
        await stream.send(BULK)


async def drain(stream: ByteStream) -> None:
    """Receive for ever."""
    while await stream.receive():
        pass


async def pass_time(scheduler: ManualScheduler) -> None:
    """Let a second pass, and everybody do what can be done in it."""
    for _ in range(10):
        scheduler.advance(0.1)
        await turns()


@every_path
def test_first_bytes_go_before_all_others_once(run: Run, path: str) -> None:
    async def play() -> None:
        async with joined(path, first=b"first ") as scene:
            await scene.client.send(b"second")
            assert await receive_exactly(scene.remote, 12) == b"first second"
            assert scene.remote.receive_nowait(99) is None

    run(play())


@every_path
def test_first_bytes_may_be_more_than_the_remote_takes(run: Run, path: str) -> None:
    async def play() -> None:
        async with joined(path, first=BULK) as scene:
            await scene.client.send(b"!")
            assert await receive_exactly(scene.remote, len(BULK) + 1) == BULK + b"!"

    run(play())


@every_path
def test_the_clients_end_reaches_the_remote_and_the_answer_the_client(run: Run, path: str) -> None:
    async def play() -> None:
        async with joined(path) as scene:
            await scene.client.send(b"question")
            await scene.client.send_eof()
            assert await receive_all(scene.remote) == b"question"
            await scene.remote.send(b"answer")
            assert await receive_exactly(scene.client, 6) == b"answer"
            await scene.remote.aclose()
            assert await scene.client.receive() == b""
            assert await scene.result() == RelayResult(
                bytes_up=8, bytes_down=6, ending=Ending.DONE, reason=""
            )

    run(play())


@every_path
def test_the_remotes_end_reaches_the_client_and_more_the_remote(run: Run, path: str) -> None:
    async def play() -> None:
        async with joined(path) as scene:
            await scene.remote.send(b"hello")
            await scene.remote.send_eof()
            assert await receive_all(scene.client) == b"hello"
            await scene.client.send(b"and goodbye")
            await scene.client.send_eof()
            assert await receive_all(scene.remote) == b"and goodbye"
            assert (await scene.result()).ending is Ending.DONE

    run(play())


@every_path
def test_the_end_comes_after_bulk_that_is_still_on_its_way(run: Run, path: str) -> None:
    async def play() -> None:
        async with joined(path) as scene, asyncio.TaskGroup() as group:

            async def say_it_all() -> None:
                await scene.client.send(BULK)
                await scene.client.send_eof()

            group.create_task(say_it_all())
            await turns()
            assert await receive_all(scene.remote) == BULK
            await scene.remote.send_eof()
            result = await scene.result()
            assert (result.bytes_up, result.ending) == (len(BULK), Ending.DONE)

    run(play())


@every_path
def test_both_ends_close_together(run: Run, path: str) -> None:
    async def play() -> None:
        async with joined(path) as scene:
            await scene.client.send_eof()
            await scene.remote.send_eof()
            assert await scene.result() == RelayResult(
                bytes_up=0, bytes_down=0, ending=Ending.DONE, reason=""
            )
            assert await scene.client.receive() == b""
            assert await scene.remote.receive() == b""

    run(play())


@on(RESETTING)
def test_a_reset_by_the_client_reaches_the_remote(run: Run, path: str) -> None:
    async def play() -> None:
        async with joined(path) as scene:
            await scene.client.send(b"x")
            await receive_exactly(scene.remote, 1)
            scene.client.abort()
            with pytest.raises(ConnectionResetError):
                await scene.remote.receive()
            result = await scene.result()
            assert (result.bytes_up, result.ending) == (1, Ending.RESET)
            assert "reset by peer" in result.reason

    run(play())


@on(RESETTING)
def test_a_reset_by_the_remote_reaches_the_client(run: Run, path: str) -> None:
    async def play() -> None:
        async with joined(path) as scene:
            await scene.remote.send(b"x")
            await receive_exactly(scene.client, 1)
            scene.remote.abort()
            with pytest.raises(ConnectionResetError):
                await scene.client.receive()
            assert (await scene.result()).ending is Ending.RESET

    run(play())


@on(RESETTING)
def test_a_reset_after_a_half_close_reaches_the_other_side(run: Run, path: str) -> None:
    async def play() -> None:
        async with joined(path) as scene:
            await scene.client.send_eof()
            assert await scene.remote.receive() == b""
            scene.remote.abort()
            with pytest.raises(ConnectionResetError):
                await scene.client.receive()
            assert (await scene.result()).ending is Ending.RESET

    run(play())


@on(RESETTING)
def test_a_reset_behind_bytes_that_were_not_read_yet_ends_the_relay(run: Run, path: str) -> None:
    async def play() -> None:
        async with joined(path) as scene:
            await scene.client.send(bytes(50_000))
            scene.client.abort()
            with pytest.raises(ConnectionResetError):
                await receive_all(scene.remote)
            assert (await scene.result()).ending is Ending.RESET

    run(play())


@pytest.mark.parametrize("path", ["tcp", "tcp without pipes", "tcp copied", "tls", "tls to tcp"])
def test_a_client_that_goes_while_the_remote_takes_nothing_is_noticed(run: Run, path: str) -> None:
    async def play() -> None:
        settings = replace(
            PATHS[path][1], fin_timeout=0.2
        )  # what the client had sent would still be delivered
        async with joined(path, settings=settings) as scene, asyncio.TaskGroup() as group:
            sending = group.create_task(scene.client.send(BULK + BULK))
            while not sending.done() and scene.remote.receive_nowait(1) is None:
                await turns()
            sending.cancel()
            scene.client.abort()
            result = await scene.result()
            assert result.ending is Ending.RESET
            assert result.reason.startswith("client: ")

    run(play())


@contextlib.asynccontextmanager
async def uploading(stream: ByteStream) -> AsyncIterator[None]:
    """Send without an end, as long as that goes well."""

    async def upload() -> None:
        with contextlib.suppress(OSError):
            while True:
                await stream.send(BULK)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(upload())
        yield
        task.cancel()


async def say_and_reset(stream: ByteStream, data: bytes) -> None:
    """Read a little of what comes, answer, and reset."""
    await stream.receive()
    await stream.send(data)
    await deliver(stream)
    stream.abort()


@pytest.mark.parametrize("resetting", ["remote", "client"])
@pytest.mark.parametrize("size", [18, 1 << 20])
@on(RESETTING)
def test_what_a_side_says_before_it_resets_what_the_other_sends_arrives(
    run: Run, path: str, size: int, resetting: str
) -> None:
    """RFC 9112 §9.5: a server may answer early and close; the client had better read that."""

    async def play() -> None:
        async with joined(path) as scene:
            early, sender = scene.remote, scene.client
            if resetting == "client":
                early, sender = sender, early
            async with uploading(sender), asyncio.TaskGroup() as group:
                group.create_task(say_and_reset(early, BULK[:size]))
                assert await receive_exactly(sender, size) == BULK[:size]
                with pytest.raises(ConnectionResetError):
                    await sender.receive()
                result = await scene.result()
            passed_on = result.bytes_down if resetting == "remote" else result.bytes_up
            assert (result.ending, passed_on) == (Ending.RESET, size)
            assert result.reason.startswith(f"{resetting}: ")

    run(play())


@on(RESETTING)
def test_an_answer_that_ended_before_the_remote_broke_ends_for_the_client_too(run: Run, path: str) -> None:
    async def play() -> None:
        async with joined(path) as scene, uploading(scene.client):
            await scene.remote.receive()
            await scene.remote.send(b"413 and that is all")
            await scene.remote.send_eof()
            await deliver(scene.remote)
            scene.remote.abort()
            assert await receive_all(scene.client) == b"413 and that is all"
            assert (await scene.result()).ending is Ending.RESET

    run(play())


@on(RESETTING)
def test_a_client_that_reads_only_when_its_upload_is_through_gets_its_answer(run: Run, path: str) -> None:
    async def play() -> None:
        async with joined(path) as scene, asyncio.TaskGroup() as group:
            group.create_task(say_and_reset(scene.remote, b"413"))
            with contextlib.suppress(OSError):  # a reset tells it, too
                await scene.client.send(BULK)
            assert await receive_exactly(scene.client, 3) == b"413"

    run(play())


@on(set(RESETTING) & set(SOCKETS))
def test_small_pieces_that_are_taken_in_part_are_counted_once(run: Run, path: str) -> None:
    async def play() -> None:
        async with joined(path, client_buffers=32_768) as scene:
            for at in range(30):
                await scene.remote.send(BULK[10_000 * at : 10_000 * (at + 1)])
                await turns()
            await scene.remote.send_eof()
            await scene.client.send_eof()
            assert await receive_all(scene.client) == BULK[:300_000]
            assert (await scene.result()).bytes_down == 300_000

    run(play())


@on(set(RESETTING) & set(SOCKETS))
def test_an_upload_that_goes_nowhere_is_read_while_its_answer_waits_for_the_client(
    run: Run, path: str
) -> None:
    async def play() -> None:
        answer = BULK[
            :110_000
        ]  # more than there is room for at the client, and less than with the relay in between
        async with joined(path, client_buffers=32_768) as scene, asyncio.timeout(10):
            async with asyncio.TaskGroup() as group:
                group.create_task(say_and_reset(scene.remote, answer))
                # buffers smaller than loopback's segments: the kernel may ask for room five times a second, and no oftener
                await scene.client.send(BULK[: 1 << 21])
            assert await receive_exactly(scene.client, len(answer)) == answer

    run(play())


@on(SOCKETS)
def test_a_side_that_takes_nothing_stops_the_other(run: Run, path: str) -> None:
    async def play() -> None:
        data = BULK * 8
        async with joined(path) as scene, asyncio.TaskGroup() as group:
            before = Footprint.of().memory
            sending = group.create_task(scene.client.send(data))
            await asyncio.sleep(0.1)
            assert not sending.done()
            assert Footprint.of().memory - before < len(data) / 16
            sending.cancel()

    run(play())


@every_path
def test_a_cancelled_relay_closes_both_streams(run: Run, path: str) -> None:
    async def play() -> None:
        async with joined(path) as scene:
            await scene.client.send(b"x")
            await receive_exactly(scene.remote, 1)
            scene.relaying.cancel()
            for stream in (scene.client, scene.remote):
                with contextlib.suppress(ConnectionResetError):
                    assert await stream.receive() == b""

    run(play())


@every_path
def test_streams_that_are_closed_already_end_it(run: Run, path: str) -> None:
    async def play() -> None:
        plane = StreamRelay(PATHS[path][1])
        (client, ours), (theirs, remote) = PATHS[path][0](), PATHS[path][0]()
        await ours.aclose()
        result = await plane.relay(ours, theirs, first=b"hello")
        assert result.ending is Ending.RESET
        for stream in (client, remote):
            stream.abort()
        plane.close()

    run(play())


@pytest.mark.slow
@on(SOCKETS)
def test_nothing_is_left_open(run: Run, path: str) -> None:
    async def play() -> None:
        plane = StreamRelay(PATHS[path][1])
        await turns()
        before = Footprint.of().descriptors
        for _ in range(3):
            async with joined(path, plane=plane) as scene, asyncio.TaskGroup() as group:
                group.create_task(scene.client.send(BULK))
                await receive_exactly(scene.remote, len(BULK))
                await scene.client.send_eof()
                await scene.remote.send_eof()
                await scene.result()
        plane.close()
        plane.close()
        assert Footprint.of().descriptors <= before

    run(play())


def test_a_stream_without_a_socket_is_copied(run: Run) -> None:
    async def play() -> None:
        (client, ours), (theirs, remote) = memory_stream_pair(), tcp_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(StreamRelay().relay(ours, theirs))
            await client.send(b"hello")
            assert await receive_exactly(remote, 5) == b"hello"
            await client.aclose()
            await remote.aclose()

    run(play())


ELSEWHERE = """
import tests.kit.elsewhere
import asyncio
from socks6.net.transports.tcp import connect_tcp, listen_tcp
from socks6.net.transports.unix import listen_unix
from socks6.relay.streams import StreamRelay

async def main():
    (listener,) = await listen_tcp("127.0.0.1", 0)
    async def pair():
        dialled = await connect_tcp("127.0.0.1", listener.local.port)
        await listener.wait_readable()
        return dialled, listener.accept_nowait()
    (client, ours), (theirs, remote) = await pair(), await pair()
    async with asyncio.TaskGroup() as group:
        group.create_task(StreamRelay().relay(ours, theirs))
        await client.send(b"hello")
        print((await remote.receive()).decode())
        await client.aclose()
        await remote.aclose()
    await listener.aclose()

loop = asyncio.SelectorEventLoop()
loop.run_until_complete(main())
loop.close()
"""


def test_other_systems_relay_without_what_only_linux_has() -> None:
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("hello\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="callers without a task need the relay's epoll")
@pytest.mark.parametrize("breaks", [False, True])
def test_streams_may_be_joined_without_a_task(run: Run, breaks: bool) -> None:
    async def play() -> None:
        relay = StreamRelay()
        (client, near), (far, remote) = tcp_pair(), tcp_pair()
        over = asyncio.Event()
        together = relay.join_streams(near, far, over.set)
        assert together is not None
        together.start(b"first ")
        await client.send(b"and last")
        assert await receive_exactly(remote, 14) == b"first and last"
        if breaks:
            remote.abort()
            await client.send(b"more")
        else:
            await remote.send(b"answer")
            await remote.send_eof()
        await client.send_eof()
        await over.wait()
        await relay.close_both(together, near, far)
        result = relay.release(together)
        near.abort()
        far.abort()
        assert result.ending is (Ending.RESET if breaks else Ending.DONE)
        if not breaks:
            assert (result.bytes_up, result.bytes_down) == (14, 6)
            assert await receive_all(client) == b"answer"
            assert await receive_all(remote) == b""
        client.abort()
        remote.abort()
        relay.close()

    run(play())
