"""The accept loop and its limits."""

import asyncio
import contextlib
import errno
import functools
import os
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable

import pytest
from typing_extensions import override

from socks6.net.accept import ACCEPTS_PER_TURN, ConnectionLimits, accept_streams, source_of
from socks6.net.eager import EagerTaskGroup
from socks6.net.sockets import SocketListener, SocketStream
from socks6.net.stream import ByteStream, Endpoint, Listener
from socks6.telemetry import AcceptPaused, Event, LimitReached, Observer, UnexpectedError
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.streams import turns, until


class From:
    """A stream in memory that comes from an address."""

    def __init__(self, host: str = "192.0.2.1") -> None:
        self.ours, self.peers = memory_stream_pair()
        self.host = host

    @property
    def remote(self) -> Endpoint:
        return Endpoint(self.host, 1024)

    def __getattr__(self, name: str) -> object:
        return getattr(self.ours, name)


class ScriptedListener(Listener):
    """Gives what the test puts into it: streams and failures."""

    url = "script:"
    local = Endpoint("192.0.2.1", 1080)

    def __init__(self, *arrivals: object) -> None:
        self.arrivals = deque(arrivals)
        self.arrived = asyncio.Event()
        self.arrived.set()

    def put(self, *arrivals: object) -> None:
        self.arrivals.extend(arrivals)
        self.arrived.set()

    @override
    def accept_nowait(self) -> ByteStream | None:
        if not self.arrivals:
            self.arrived.clear()
            return None
        arrival = self.arrivals.popleft()
        if isinstance(arrival, Exception):
            raise arrival
        if isinstance(arrival, int):
            raise OSError(arrival, os.strerror(arrival))
        return arrival  # type: ignore[return-value]  # a From, which behaves like one

    @override
    async def wait_readable(self) -> None:
        await self.arrived.wait()

    @override
    async def aclose(self) -> None:
        self.put(errno.EBADF)


class Witness(Observer):
    """Keeps what went wrong."""

    def __init__(self) -> None:
        self.away: list[tuple[str, str]] = []
        self.paused: list[tuple[str, str]] = []
        self.errors: list[BaseException] = []

    @override
    def observe(self, event: Event) -> None:
        match event:
            case LimitReached():
                self.away.append((event.source, event.reason))
            case AcceptPaused():
                self.paused.append((event.url, event.reason))
            case UnexpectedError():
                self.errors.append(event.error)
            case _:
                pass


class Entrance:
    """An accept loop at work, and what comes of it. Handlers stay until told to leave."""

    def __init__(
        self,
        *arrivals: object,
        total: int = 0,
        per_source: int = 0,
        pause: float = 20.0,
        evict_unknown: bool = False,
    ) -> None:
        self.listener = ScriptedListener(*arrivals)
        self.limits = ConnectionLimits(total=total, per_source=per_source, evict_unknown=evict_unknown)
        self.witness = Witness()
        self.inside: list[object] = []
        self.entered = asyncio.Event()
        self.leave = asyncio.Event()
        self.failure: Exception | None = None
        self.group = EagerTaskGroup()
        self.pause = pause

    async def handle(self, stream: ByteStream) -> None:
        self.inside.append(stream)
        self.entered.set()
        if self.failure is not None:
            raise self.failure
        await self.leave.wait()
        await stream.aclose()

    async def __aenter__(self) -> "Entrance":
        await self.group.__aenter__()
        self.accepting = asyncio.ensure_future(
            accept_streams(
                self.listener,
                self.handle,
                limits=self.limits,
                observer=self.witness,
                group=self.group,
                pause=self.pause,
            )
        )
        await turns()
        return self

    async def __aexit__(self, *failure: object) -> None:
        self.leave.set()
        await self.listener.aclose()
        await self.group.__aexit__(None, None, None)
        await self.accepting


def aborted(stream: From) -> bool:
    try:
        stream.peers.receive_nowait(1)
    except ConnectionResetError:
        return True
    return False


def test_every_stream_gets_its_handler(run: Run) -> None:
    async def play() -> None:
        streams = [From(), From()]
        async with Entrance(*streams) as entrance:
            assert entrance.inside == streams
            assert entrance.limits.count == 2

    run(play())


def test_more_streams_than_a_batch_are_accepted_all_the_same(run: Run) -> None:
    async def play() -> None:
        async with Entrance(*(From() for _ in range(2 * ACCEPTS_PER_TURN + 1))) as entrance:
            assert len(entrance.inside) == 2 * ACCEPTS_PER_TURN + 1

    run(play())


def test_a_closed_listener_ends_it_and_running_handlers_go_on(run: Run) -> None:
    async def play() -> None:
        async with Entrance(From()) as entrance:
            await entrance.listener.aclose()
            await entrance.accepting
            assert entrance.limits.count == 1

    run(play())


def test_a_fault_of_ours_pauses_accepting_and_does_not_end_it(run: Run) -> None:
    async def play() -> None:
        fault, stream = ZeroDivisionError(), From()
        async with Entrance(fault, stream, pause=0.001) as entrance:
            await entrance.entered.wait()
            assert entrance.inside == [stream]
            assert entrance.witness.errors == [fault]

    run(play())


class ShortListener(SocketListener):
    """Has no descriptor for the first client at first."""

    __slots__ = ("fails",)

    fails: bool

    @override
    def accept_nowait(self) -> SocketStream | None:
        fails, self.fails = self.fails, False
        if fails:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept_nowait()


@contextlib.asynccontextmanager
async def accepting_by_callbacks(
    listener: SocketListener,
    limits: ConnectionLimits,
    witness: Witness,
    serve: Callable[[ByteStream], bool],
) -> AsyncIterator[None]:
    async def handle(stream: ByteStream) -> None:
        await stream.aclose()

    async with EagerTaskGroup() as group, asyncio.TaskGroup() as tasks:
        tasks.create_task(
            accept_streams(
                listener,
                handle,
                limits=limits,
                observer=witness,
                group=group,
                by_callbacks=serve,
                pause=0.01,
            )
        )
        try:
            yield
        finally:
            await listener.aclose()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere accepted sockets inherit nothing")
@pytest.mark.parametrize("short", [False, True])
def test_closing_resets_those_too_that_came_before_accepting_began(run: Run, *, short: bool) -> None:
    async def play() -> None:
        offered: list[SocketStream] = []
        listener = ShortListener(socket.create_server(("127.0.0.1", 0)), url="tcp:")
        listener.fails = short
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(listener.local)) for _ in range(2)]

            def serve(stream: ByteStream) -> bool:
                assert isinstance(stream, SocketStream)
                offered.append(stream)
                return True

            async with accepting_by_callbacks(listener, ConnectionLimits(), Witness(), serve):
                await until(lambda: len(offered) == 2)
                clients.append(stack.enter_context(socket.create_connection(listener.local)))
                await until(lambda: len(offered) == 3)
            for stream in offered:
                stream.close()
            for client in clients:
                with pytest.raises(ConnectionResetError):
                    client.recv(1)

    run(play())


def test_a_fault_of_what_serves_by_callbacks_ends_one_client(run: Run) -> None:
    async def play() -> None:
        limits, witness = ConnectionLimits(), Witness()
        listener = SocketListener(socket.create_server(("127.0.0.1", 0)), url="tcp:")
        fault = ZeroDivisionError()

        def serve(_: ByteStream) -> bool:
            raise fault

        with contextlib.ExitStack() as stack:
            async with accepting_by_callbacks(listener, limits, witness, serve):
                clients = [stack.enter_context(socket.create_connection(listener.local)) for _ in range(2)]
                await until(lambda: len(witness.errors) == 2)
            assert witness.errors == [fault, fault]
            assert not limits.count
            for client in clients:
                with pytest.raises(ConnectionResetError):
                    client.recv(1)

    run(play())


def test_a_fault_of_one_handler_stays_its_own(run: Run) -> None:
    async def play() -> None:
        good, bad, late = From(), From(), From()
        async with Entrance(good) as entrance:
            entrance.failure = ZeroDivisionError("ours")
            entrance.listener.put(bad)
            await turns()
            entrance.failure = None
            entrance.listener.put(late)
            await turns()
            assert entrance.witness.errors == [entrance.witness.errors[0]]
            assert isinstance(entrance.witness.errors[0], ZeroDivisionError)
            assert aborted(bad)
            assert not aborted(good)
            assert entrance.limits.count == 2

    run(play())


def test_several_faults_of_one_handler_stay_its_own(run: Run) -> None:
    async def play() -> None:
        async with Entrance() as entrance:
            entrance.failure = ExceptionGroup("ours", [ValueError(), KeyError()])
            entrance.listener.put(From())
            await turns()
            assert entrance.witness.errors == [entrance.failure]

    run(play())


@pytest.mark.parametrize("shortage", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_a_shortage_pauses_until_a_connection_ends(run: Run, shortage: int) -> None:
    async def play() -> None:
        async with Entrance(From(), shortage, From()) as entrance:
            assert entrance.witness.paused == [("script:", os.strerror(shortage))]
            assert len(entrance.inside) == 1
            entrance.leave.set()
            await turns()
            assert len(entrance.inside) == 2

    run(play())


def test_a_shortage_pauses_not_for_ever(run: Run) -> None:
    async def play() -> None:
        async with Entrance(errno.EMFILE, From(), pause=0.01) as entrance:
            assert not entrance.inside
            await entrance.entered.wait()

    run(play())


@pytest.mark.parametrize("gone", [errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ETIMEDOUT])
def test_a_client_that_is_gone_already_is_no_news(run: Run, gone: int) -> None:
    async def play() -> None:
        async with Entrance(gone, From()) as entrance:
            assert len(entrance.inside) == 1
            assert not entrance.witness.paused
            assert not entrance.witness.errors

    run(play())


def test_an_error_that_nobody_knows_is_told_and_survived(run: Run) -> None:
    async def play() -> None:
        async with Entrance(errno.EXDEV, From(), pause=0.01) as entrance:
            assert [type(error) for error in entrance.witness.errors] == [OSError]
            await entrance.entered.wait()

    run(play())


def test_who_is_too_many_is_turned_away(run: Run) -> None:
    async def play() -> None:
        first, second = From(), From("192.0.2.2")
        async with Entrance(first, second, total=1) as entrance:
            assert entrance.inside == [first]
            assert entrance.witness.away == [("192.0.2.2", "1 connections already")]
            assert aborted(second)

    run(play())


def test_who_leaves_makes_room(run: Run) -> None:
    async def play() -> None:
        async with Entrance(From(), total=1, per_source=1) as entrance:
            entrance.leave.set()
            await turns()
            entrance.listener.put(From())
            await turns()
            assert len(entrance.inside) == 2
            assert not entrance.witness.away

    run(play())


def test_one_source_does_not_crowd_out_the_others(run: Run) -> None:
    async def play() -> None:
        streams = [From("192.0.2.1"), From("192.0.2.1"), From("192.0.2.2")]
        async with Entrance(*streams, per_source=1) as entrance:
            assert entrance.inside == [streams[0], streams[2]]
            assert entrance.witness.away == [("192.0.2.1", "1 connections from 192.0.2.1 already")]

    run(play())


def test_a_task_that_is_cancelled_is_cleaned_up_after(run: Run) -> None:
    async def play() -> None:
        stream = From()
        entrance = Entrance()
        guests = ScriptedListener(stream, errno.EBADF)

        async def accept_and_fail() -> None:
            async with entrance.group as group:
                await accept_streams(
                    guests, entrance.handle, limits=entrance.limits, observer=entrance.witness, group=group
                )
                raise ValueError("enough")

        with pytest.raises(ValueError, match="enough"):
            await accept_and_fail()
        assert entrance.inside == [stream]
        assert entrance.limits.count == 0
        assert aborted(stream)

    run(play())


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%lo", "fe80::/64"),
        ("127.0.0.1", ""),
        ("127.9.9.9", ""),
        ("::ffff:127.0.0.1", ""),
        ("::1", ""),
        ("", ""),
    ],
)
def test_a_source_is_what_one_subscriber_has(host: str, source: str) -> None:
    assert source_of(host) == source


def test_an_ipv6_source_counts_as_its_network() -> None:
    limits = ConnectionLimits(per_source=1)
    assert limits.enter("2001:db8::1") == ""
    assert limits.enter("2001:db8::2") == "1 connections from 2001:db8::/64 already"
    assert limits.enter("2001:db8:0:1::1") == ""


@pytest.mark.parametrize("host", ["", "127.0.0.1", "::1"])
def test_local_clients_count_in_all_only(host: str) -> None:
    limits = ConnectionLimits(total=2, per_source=1)
    assert limits.enter(host) == ""
    assert limits.enter(host) == ""
    assert limits.enter("") == "2 connections already"
    limits.leave("")
    assert limits.count == 1


def test_the_table_holds_only_who_is_connected() -> None:
    limits = ConnectionLimits(per_source=2)
    for host in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
        limits.enter(host)
    for host in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
        limits.leave(host)
    assert limits._sources == {}


def test_a_refused_connection_is_not_counted() -> None:
    limits = ConnectionLimits(per_source=1)
    limits.enter("192.0.2.1")
    limits.enter("192.0.2.1")
    limits.leave("192.0.2.1")
    assert limits.count == 0
    assert limits.enter("192.0.2.1") == ""


def test_whoever_waits_for_room_is_told(run: Run) -> None:
    async def play() -> None:
        limits = ConnectionLimits()
        limits.enter("192.0.2.1")
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(limits.wait_for_leave())
            await turns()
            assert not waiting.done()
            limits.leave("192.0.2.1")

    run(play())


def crowd(limits: ConnectionLimits, host: str, count: int) -> list[list[bool]]:
    """Take places for strangers; return what becomes true once each has lost its own."""
    lost: list[list[bool]] = []
    for _ in range(count):
        gone: list[bool] = []
        assert limits.admit(gone_key(gone), host, functools.partial(gone.append, True)) == ""
        lost.append(gone)
    return lost


def gone_key(gone: list[bool]) -> int:
    return id(gone)


def test_the_most_crowded_network_gives_way_and_newcomers_come_in(run: Run) -> None:
    async def scene() -> None:
        limits = ConnectionLimits(total=400, evict_unknown=True)
        honest = crowd(limits, "192.0.2.1", 20)
        crowds = [crowd(limits, f"2001:db8:a:{n:x}::1", 4) for n in range(200)]
        newcomers = crowd(limits, "198.51.100.1", 20)
        assert limits.count <= 300
        assert not any(map(any, honest))
        assert not any(map(any, newcomers))
        assert any(crowds[0])

    run(scene())


def test_who_is_known_gives_way_to_nobody(run: Run) -> None:
    async def scene() -> None:
        limits = ConnectionLimits(total=8, evict_unknown=True)
        known = crowd(limits, "192.0.2.1", 4)
        for gone in known:
            limits.mark_known(gone_key(gone))
        crowd(limits, "198.51.100.1", 100)
        assert not any(map(any, known))
        more: list[list[bool]] = []
        for _ in range(4):
            more += crowd(limits, "192.0.2.1", 1)
            limits.mark_known(gone_key(more[-1]))
        assert limits.count == 8
        assert limits.admit(None, "192.0.2.9", lambda: None) == "8 connections already"

    run(scene())


def test_who_is_known_no_more_gives_way_again(run: Run) -> None:
    async def scene() -> None:
        limits = ConnectionLimits(total=4, evict_unknown=True)
        (gone,) = crowd(limits, "192.0.2.1", 1)
        limits.mark_known(gone_key(gone))
        limits.mark_unknown(gone_key(gone), lambda: gone.append(True))
        for host in ("198.51.100.1", "198.51.101.1", "198.51.102.1"):
            crowd(limits, host, 1)
        assert gone
        limits.mark_unknown(gone_key(gone), lambda: None)  # has no place any more
        limits.release(gone_key(gone))
        assert limits.count == 3

    run(scene())


def test_a_stranger_that_is_unsettled_counts_once(run: Run) -> None:
    async def scene() -> None:
        limits = ConnectionLimits(total=40, evict_unknown=True)
        kept = crowd(limits, "192.0.2.1", 10)
        for gone in kept:
            limits.mark_unknown(gone_key(gone), functools.partial(gone.append, True))
        others = crowd(limits, "198.51.100.1", 22)
        assert not any(map(any, kept))
        assert sum(map(any, others)) == 2
        for gone in kept + others:
            limits.release(gone_key(gone))
        assert limits.count == 0

    run(scene())


def test_strangers_do_not_stay_long_where_they_are_many(run: Run) -> None:
    async def scene() -> None:
        limits = ConnectionLimits(total=400, evict_unknown=True, pressure_seconds=-1.0)
        old = crowd(limits, "192.0.2.1", 150)
        assert not any(map(any, old))
        crowd(limits, "198.51.100.1", 1)
        assert sum(map(any, old)) == ACCEPTS_PER_TURN

    run(scene())


def test_without_strangers_that_give_way_newcomers_are_turned_away(run: Run) -> None:
    async def scene() -> None:
        limits = ConnectionLimits(total=2)
        crowd(limits, "192.0.2.1", 2)
        assert limits.admit(None, "192.0.2.1", lambda: None) == "2 connections already"

    run(scene())


def test_a_stream_that_gives_way_is_reset_and_its_place_is_free(run: Run) -> None:
    async def scene() -> None:
        arrivals = [From("192.0.2.1") for _ in range(5)]
        async with Entrance(*arrivals, total=4, evict_unknown=True) as entrance:
            assert [aborted(stream) for stream in arrivals] == [True, True, False, False, False]
            assert entrance.limits.count == 3
        assert entrance.limits.count == 0

    run(scene())
