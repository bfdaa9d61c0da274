"""Names to addresses."""

import asyncio
import contextlib
import queue
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence

import pytest

from socks6.net.resolve import (
    FOR_MANY_NAMES,
    FOR_ONE_NAME,
    REMEMBERED,
    THREADS,
    Lifetimes,
    ResolvedAddress,
    Resolver,
    literal_address,
    system_lookup,
)
from tests.kit.loops import Run
from tests.kit.streams import turns, until

HERE = ResolvedAddress(socket.AF_INET, ("192.0.2.1", 80))
THERE = ResolvedAddress(socket.AF_INET6, ("2001:db8::1", 80, 0, 0))


class SlowLookup:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.answers: queue.Queue[Sequence[ResolvedAddress]] = queue.Queue()

    def __call__(self, name: bytes, port: int) -> Sequence[ResolvedAddress]:
        self.asked.append(name)
        return self.answers.get(timeout=10)


def refuse(name: bytes, port: int) -> Sequence[ResolvedAddress]:
    raise AssertionError("nothing is to be looked up")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", ResolvedAddress(socket.AF_INET, ("127.0.0.1", 80))),
        ("::1", ResolvedAddress(socket.AF_INET6, ("::1", 80, 0, 0))),
        ("::ffff:192.0.2.1", ResolvedAddress(socket.AF_INET6, ("::ffff:192.0.2.1", 80, 0, 0))),
        ("localhost", None),
        ("127.1", None),
        ("2130706433", None),
        ("fe80::1%lo", None),
        ("", None),
        ("a\0b", None),
    ],
)
def test_only_a_full_literal_is_an_address(host: str, expected: ResolvedAddress | None) -> None:
    assert literal_address(host, 80) == expected


def test_a_scope_is_no_part_of_the_host() -> None:
    assert ResolvedAddress(socket.AF_INET6, ("fe80::1%lo", 80, 0, 1)).host == "fe80::1"


def test_a_literal_is_not_looked_up(run: Run) -> None:
    async def play() -> None:
        assert await Resolver(lookup=refuse).resolve("192.0.2.1", 80) == (HERE,)
        assert await Resolver(lookup=refuse).resolve("2001:db8::1", 80) == (THERE,)

    run(play())


def test_a_name_has_the_addresses_that_the_lookup_gives_in_that_order(run: Run) -> None:
    async def play() -> None:
        resolver = Resolver(lookup=lambda name, port: [THERE, HERE, THERE])
        assert await resolver.resolve("example.com", 80) == (THERE, HERE)

    run(play())


def test_the_system_knows_localhost(run: Run) -> None:
    async def play() -> None:
        resolver = Resolver()
        addresses = await resolver.resolve("localhost", 80)
        assert {address.host for address in addresses} <= {"127.0.0.1", "::1"}

    run(play())


def test_an_odd_spelling_of_an_address_is_resolved_to_it() -> None:
    assert system_lookup(b"127.1", 80) == [ResolvedAddress(socket.AF_INET, ("127.0.0.1", 80))]


def test_a_failed_lookup_is_raised(run: Run) -> None:
    def fail(name: bytes, port: int) -> Sequence[ResolvedAddress]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    async def play() -> None:
        resolver = Resolver(lookup=fail)
        with pytest.raises(socket.gaierror, match="no such name"):
            await resolver.resolve("nowhere.invalid", 80)

    run(play())


def test_a_name_without_an_address_is_a_failed_lookup(run: Run) -> None:
    async def play() -> None:
        resolver = Resolver(lookup=lambda name, port: [])
        with pytest.raises(socket.gaierror, match="no address"):
            await resolver.resolve("example.com", 80)

    run(play())


def test_a_name_that_is_not_ascii_is_no_name(run: Run) -> None:
    async def play() -> None:
        with pytest.raises(socket.gaierror, match="not a host name"):
            await Resolver(lookup=refuse).resolve("bücher.example", 80)

    run(play())


def test_a_slow_lookup_is_given_up(run: Run) -> None:
    async def play() -> None:
        lookup = SlowLookup()
        resolver = Resolver(lookup=lookup, timeout=0.02)
        with pytest.raises(TimeoutError):
            await resolver.resolve("slow.example", 80)
        lookup.answers.put([HERE])

    run(play())


def test_a_lookup_given_up_before_a_thread_took_it_is_not_made(run: Run) -> None:
    async def play() -> None:
        lookup = SlowLookup()
        resolver = Resolver(lookup=lookup, threads=1, timeout=5)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(resolver.resolve("first.example", 80))
            await turns()
            second = group.create_task(resolver.resolve("second.example", 80))
            await turns()
            second.cancel()
            await turns()
            lookup.answers.put([HERE])
            await first
            lookup.answers.put([THERE])
            assert await resolver.resolve("third.example", 80) == (THERE,)
        assert lookup.asked == [b"first.example", b"third.example"]

    run(play())


def test_no_more_names_are_looked_up_at_a_time_than_allowed(run: Run) -> None:
    async def play() -> None:
        lookup = SlowLookup()
        resolver = Resolver(lookup=lookup, threads=4)
        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(resolver.resolve(f"c{number}.example", 80, holder=number % 4))
            await until(lambda: len(lookup.asked) == 4)
            for _ in range(8):
                lookup.answers.put([HERE])
        assert len(lookup.asked) == 8

    run(play())


def test_too_many_lookups_fail_at_once(run: Run) -> None:
    async def play() -> None:
        lookup = SlowLookup()
        resolver = Resolver(lookup=lookup, threads=1, waiting=1)
        async with asyncio.TaskGroup() as group:
            group.create_task(resolver.resolve("a.example", 80))
            group.create_task(resolver.resolve("b.example", 80))
            await turns()
            with pytest.raises(OSError, match="too many names"):
                await resolver.resolve("c.example", 80)
            lookup.answers.put([HERE])
            lookup.answers.put([HERE])
        lookup.answers.put([HERE])
        assert await resolver.resolve("d.example", 80) == (HERE,)

    run(play())


class Zone:
    """Knows every name but those of a dead zone, which are lookups without an answer until it is revived."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.alive = threading.Event()
        self.found: Sequence[ResolvedAddress] | OSError = (HERE,)

    def __call__(self, name: bytes, port: int) -> Sequence[ResolvedAddress]:
        self.asked.append(name)
        if name.endswith(b".dead") and not self.alive.wait(timeout=10):
            raise TimeoutError
        if isinstance(self.found, OSError):
            raise self.found
        return self.found


@contextlib.asynccontextmanager
async def zone(
    *,
    timeout: float = 5.0,
    threads: int = 64,
    lifetimes: Lifetimes = FOR_MANY_NAMES,
) -> AsyncIterator[tuple[Zone, Resolver]]:
    """Resolve names of a zone; all threads end afterwards."""
    names = Zone()
    resolver = Resolver(lookup=names, timeout=timeout, threads=threads, lifetimes=lifetimes)
    try:
        yield names, resolver
    finally:
        names.alive.set()


async def refused(*calls: Awaitable[object]) -> list[type[BaseException]]:
    """Return what some calls raise."""
    ended = await asyncio.gather(*calls, return_exceptions=True)
    return [type(error) for error in ended if isinstance(error, BaseException)]


def test_dead_names_of_one_holder_hold_up_nobody_else(run: Run) -> None:
    async def play() -> None:
        async with zone() as (names, resolver), asyncio.TaskGroup() as group:
            dead = [
                group.create_task(resolver.resolve(f"h{number}.dead", 80, holder="mallory"))
                for number in range(500)
            ]
            await turns()
            assert not any(task.done() for task in dead)
            for number in range(3):
                assert await resolver.resolve(f"good{number}.example", 80, holder="alice") == (HERE,)
            assert sum(name.endswith(b".dead") for name in names.asked) <= THREADS // 2
            names.alive.set()
        assert {task.result() for task in dead} == {(HERE,)}

    run(play())


def test_a_name_that_somebody_has_in_a_queue_is_looked_up_for_others_at_once(run: Run) -> None:
    async def play() -> None:
        async with zone(threads=4) as (names, resolver), asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(resolver.resolve(f"h{number}.dead", 80, holder="mallory"))
            queued = group.create_task(resolver.resolve("good.example", 80, holder="mallory"))
            await turns()
            assert b"good.example" not in names.asked
            assert await resolver.resolve("good.example", 80, holder="alice") == (HERE,)
            assert await queued == (HERE,)
            names.alive.set()

    run(play())


def test_all_who_ask_for_a_name_share_one_lookup(run: Run) -> None:
    async def play() -> None:
        async with zone() as (names, resolver), asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(resolver.resolve("one.dead", port, holder=port)) for port in range(1, 101)
            ]
            await turns()
            tasks[0].cancel()
            await turns()
            names.alive.set()
        assert [task.result() for task in tasks[1:]] == [(HERE.at(port),) for port in range(2, 101)]
        assert names.asked == [b"one.dead"]

    run(play())


def test_time_counts_from_the_beginning_of_a_lookup_not_of_waiting_for_it(run: Run) -> None:
    async def play() -> None:
        lookup = SlowLookup()
        resolver = Resolver(lookup=lookup, timeout=5.0, threads=1)
        async with asyncio.TaskGroup() as group:
            group.create_task(resolver.resolve("first.example", 80))
            group.create_task(resolver.resolve("second.example", 80))
            await turns()
            (waiter,) = resolver._lookups[b"second.example"].waiters
            assert waiter.limit is not None
            waiter.limit.reschedule(asyncio.get_running_loop().time() + 1.0)  # it has waited for 4 s
            lookup.answers.put([HERE])
            await until(lambda: waiter.lookup.started)
            assert waiter.limit.when() == waiter.lookup.started + 5.0
            lookup.answers.put([HERE])

    run(play())


def test_who_waits_for_a_thread_too_long_is_told_so(run: Run) -> None:
    async def play() -> None:
        async with zone(timeout=0.05, threads=1) as (_, resolver):
            first = asyncio.create_task(resolver.resolve("first.dead", 80))
            await turns()
            with pytest.raises(OSError, match="too many names"):
                await resolver.resolve("second.example", 80)
            assert await refused(first) == [TimeoutError]

    run(play())


def test_a_name_that_timed_out_does_so_at_once_until_its_lookup_is_back(run: Run) -> None:
    async def play() -> None:
        async with zone(timeout=0.05) as (names, resolver):
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await resolver.resolve("slow.dead", 80)
            assert names.asked == [b"slow.dead"]
            names.alive.set()
            await until(lambda: not resolver._lookups)
            assert await resolver.resolve("slow.dead", 80) == (HERE,)  # late, but an answer
            assert names.asked == [b"slow.dead"]

    run(play())


@pytest.mark.parametrize(
    ("code", "remembered"),
    [
        (socket.EAI_NONAME, True),
        (socket.EAI_NODATA, True),
        (socket.EAI_AGAIN, True),
        (socket.EAI_FAIL, True),
        (socket.EAI_MEMORY, False),
        (socket.EAI_SYSTEM, False),
    ],
)
def test_a_failure_is_remembered_where_it_is_about_the_name(run: Run, code: int, *, remembered: bool) -> None:
    async def play() -> None:
        async with zone() as (names, resolver):
            names.found = socket.gaierror(code, "no")
            for _ in range(3):
                with pytest.raises(socket.gaierror):
                    await resolver.resolve("a.example", 80)
            assert len(names.asked) == (1 if remembered else 3)

    run(play())


def test_a_lookup_that_was_refused_says_nothing_about_the_name(run: Run) -> None:
    async def play() -> None:
        async with zone(timeout=0.05, threads=1) as (names, resolver):
            first = asyncio.create_task(resolver.resolve("first.dead", 80))
            await turns()
            assert await refused(resolver.resolve("good.example", 80)) == [BlockingIOError]
            await asyncio.wait((first,))
            assert await refused(first) == [TimeoutError]
            names.alive.set()
            await until(lambda: not resolver._lookups)
            assert await resolver.resolve("good.example", 80) == (HERE,)

    run(play())


def test_answers_are_used_again_for_any_port(run: Run) -> None:
    async def play() -> None:
        async with zone() as (names, resolver):
            assert await resolver.resolve("a.example", 80) == (HERE,)
            assert await resolver.resolve("a.example", 443) == (HERE.at(443),)
            assert names.asked == [b"a.example"]

    run(play())


def test_only_so_many_answers_are_remembered_and_the_oldest_goes(run: Run) -> None:
    async def play() -> None:
        async with zone() as (names, resolver):
            for number in range(REMEMBERED + 1):
                await resolver.resolve(f"n{number}.example", 80)
            assert len(resolver._answers) == REMEMBERED
            await resolver.resolve(f"n{REMEMBERED}.example", 80)
            await resolver.resolve("n0.example", 80)
            assert len(names.asked) == REMEMBERED + 2

    run(play())


def test_an_old_answer_is_used_while_the_name_is_looked_up_again(run: Run) -> None:
    async def play() -> None:
        async with zone(lifetimes=Lifetimes(fresh=0.0, stale=60.0)) as (names, resolver):
            names.alive.set()
            assert await resolver.resolve("proxy.dead", 80) == (HERE,)
            names.alive.clear()
            names.found = (THERE,)
            for _ in range(3):
                assert await resolver.resolve("proxy.dead", 80) == (HERE,)
            await until(lambda: len(names.asked) > 1)
            names.alive.set()
            await until(lambda: not resolver._lookups)
            assert names.asked == [b"proxy.dead"] * 2  # once for all three
            assert await resolver.resolve("proxy.dead", 80) == (THERE,)

    run(play())


def test_a_failed_refresh_takes_no_addresses_away(run: Run) -> None:
    async def play() -> None:
        async with zone(lifetimes=Lifetimes(fresh=0.0, stale=60.0)) as (names, resolver):
            assert await resolver.resolve("proxy.example", 80) == (HERE,)
            names.found = socket.gaierror(socket.EAI_AGAIN, "no server")
            for _ in range(3):
                assert await resolver.resolve("proxy.example", 80) == (HERE,)
                await until(lambda: not resolver._lookups)
            assert len(names.asked) == 2  # not again at once

    run(play())


def test_who_reaches_nobody_asks_for_newer_addresses(run: Run) -> None:
    async def play() -> None:
        async with zone(lifetimes=FOR_ONE_NAME) as (names, resolver):
            known = await resolver.resolve("proxy.example", 80)
            names.found = (HERE, THERE)
            assert await resolver.newer("proxy.example", 80, known) == ()  # these were new
            resolver._answers[b"proxy.example"].since -= 60.0
            assert await resolver.newer("proxy.example", 80, known) == (THERE,)
            assert await resolver.resolve("proxy.example", 80) == (HERE, THERE)
            assert await resolver.newer("192.0.2.1", 80, known) == ()
            assert names.asked == [b"proxy.example"] * 2

    run(play())


def test_a_resolver_serves_one_loop_after_another(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.net.resolve.IDLE_SECONDS", 0.01)
    names = Zone()
    resolver = Resolver(lookup=names, timeout=0.05, threads=1)

    async def begin() -> None:
        with pytest.raises(TimeoutError):
            await resolver.resolve("a.dead", 80)

    async def go_on() -> None:
        assert await resolver.resolve("a.dead", 80) == (HERE,)

    before = set(threading.enumerate())
    run(begin())
    ours = set(threading.enumerate()) - before
    names.alive.set()
    for thread in ours:
        thread.join(timeout=5)
    run(go_on())


def test_a_thread_without_work_ends(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.net.resolve.IDLE_SECONDS", 0.01)

    async def play() -> None:
        async with zone() as (_, resolver):
            before = set(threading.enumerate())
            await resolver.resolve("a.example", 80)
            for thread in set(threading.enumerate()) - before:
                thread.join(timeout=5)
                assert not thread.is_alive()
            assert await resolver.resolve("b.example", 80) == (HERE,)

    run(play())


def test_a_thread_outlives_its_loop(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.net.resolve.IDLE_SECONDS", 0.01)
    lookup = SlowLookup()

    async def play() -> None:
        resolver = Resolver(lookup=lookup, timeout=0.01)
        with pytest.raises(TimeoutError):
            await resolver.resolve("slow.example", 80)

    before = set(threading.enumerate())
    run(play())
    lookup.answers.put([HERE])
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=5)
        assert not thread.is_alive()


def test_threads_never_hold_up_the_end_of_the_process(run: Run) -> None:
    async def play() -> None:
        async with zone(timeout=0.05) as (_, resolver):
            before = set(threading.enumerate())
            with pytest.raises(TimeoutError):
                await resolver.resolve("a.dead", 80)
            (thread,) = set(threading.enumerate()) - before
            assert thread.daemon

    run(play())


def test_without_threads_lookups_fail_until_there_are_some(run: Run) -> None:
    async def play() -> None:
        resolver = Resolver(threads=1, lookup=lambda _name, _port: [HERE])
        with no_threads_left():
            for _ in range(3):
                with pytest.raises(OSError, match="no thread"):
                    await resolver.resolve("a.example", 80)
        assert await resolver.resolve("a.example", 80) == (HERE,)

    run(play())


def test_without_more_threads_the_ones_there_are_do(run: Run) -> None:
    async def play() -> None:
        lookup = SlowLookup()
        resolver = Resolver(threads=2, lookup=lookup)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(resolver.resolve("a.example", 80))
            await turns()
            with no_threads_left():
                second = group.create_task(resolver.resolve("b.example", 80))
                await turns()
            lookup.answers.put([HERE])
            lookup.answers.put([THERE])
        assert (first.result(), second.result()) == ((HERE,), (THERE,))

    run(play())


@contextlib.contextmanager
def no_threads_left() -> Iterator[None]:
    """Have the system refuse new threads meanwhile: none gets a stack as large as that."""
    usual = threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(usual)
