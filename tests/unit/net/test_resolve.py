"""Names to addresses."""

import asyncio
import contextlib
import queue
import socket
import threading
from collections.abc import Iterator, Sequence

import pytest

from socks6.net.resolve import Address, Resolver, literal_address, system_lookup
from tests.kit.loops import Run
from tests.kit.streams import turns

HERE = Address(socket.AF_INET, ("192.0.2.1", 80))
THERE = Address(socket.AF_INET6, ("2001:db8::1", 80, 0, 0))


class SlowLookup:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.threads: set[str] = set()
        self.answers: queue.Queue[Sequence[Address]] = queue.Queue()

    def __call__(self, name: bytes, port: int) -> Sequence[Address]:
        self.asked.append(name)
        self.threads.add(threading.current_thread().name)
        return self.answers.get(timeout=10)


def refuse(name: bytes, port: int) -> Sequence[Address]:
    raise AssertionError("nothing is to be looked up")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", Address(socket.AF_INET, ("127.0.0.1", 80))),
        ("::1", Address(socket.AF_INET6, ("::1", 80, 0, 0))),
        ("::ffff:192.0.2.1", Address(socket.AF_INET6, ("::ffff:192.0.2.1", 80, 0, 0))),
        ("localhost", None),
        ("127.1", None),
        ("2130706433", None),
        ("fe80::1%lo", None),
        ("", None),
        ("a\0b", None),
    ],
)
def test_only_a_full_literal_is_an_address(host: str, expected: Address | None) -> None:
    assert literal_address(host, 80) == expected


def test_a_scope_is_no_part_of_the_host() -> None:
    assert Address(socket.AF_INET6, ("fe80::1%lo", 80, 0, 1)).host == "fe80::1"


def test_a_literal_is_not_looked_up(run: Run) -> None:
    async def play() -> None:
        assert await Resolver(lookup=refuse).resolve("192.0.2.1", 80) == (HERE,)
        assert await Resolver(lookup=refuse).resolve("2001:db8::1", 80) == (THERE,)

    run(play())


def test_a_name_has_the_addresses_that_the_lookup_gives_in_that_order(run: Run) -> None:
    async def play() -> None:
        resolver = Resolver(lookup=lambda name, port: [THERE, HERE, THERE])
        assert await resolver.resolve("example.com", 80) == (THERE, HERE)
        await resolver.aclose()

    run(play())


def test_the_system_knows_localhost(run: Run) -> None:
    async def play() -> None:
        resolver = Resolver()
        addresses = await resolver.resolve("localhost", 80)
        assert {address.host for address in addresses} <= {"127.0.0.1", "::1"}
        await resolver.aclose()

    run(play())


def test_an_odd_spelling_of_an_address_is_resolved_to_it() -> None:
    assert system_lookup(b"127.1", 80) == [Address(socket.AF_INET, ("127.0.0.1", 80))]


def test_a_failed_lookup_is_raised(run: Run) -> None:
    def fail(name: bytes, port: int) -> Sequence[Address]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    async def play() -> None:
        resolver = Resolver(lookup=fail)
        with pytest.raises(socket.gaierror, match="no such name"):
            await resolver.resolve("nowhere.invalid", 80)
        await resolver.aclose()

    run(play())


def test_a_name_without_an_address_is_a_failed_lookup(run: Run) -> None:
    async def play() -> None:
        resolver = Resolver(lookup=lambda name, port: [])
        with pytest.raises(socket.gaierror, match="no address"):
            await resolver.resolve("example.com", 80)
        await resolver.aclose()

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
        await resolver.aclose()

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
        await resolver.aclose()

    run(play())


def test_threads_are_started_when_they_are_needed_and_no_more_than_allowed(run: Run) -> None:
    async def play() -> None:
        lookup = SlowLookup()
        resolver = Resolver(lookup=lookup, threads=2)
        lookup.answers.put([HERE])
        await resolver.resolve("a.example", 80)
        lookup.answers.put([HERE])
        await resolver.resolve("b.example", 80)
        assert len(lookup.threads) == 1
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(resolver.resolve("c.example", 80))
            await turns()
            for _ in range(5):
                lookup.answers.put([HERE])
        assert len(lookup.threads) <= 2
        await resolver.aclose()

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
        await resolver.aclose()

    run(play())


def test_closing_ends_the_threads(run: Run) -> None:
    async def play() -> None:
        resolver = Resolver(lookup=lambda name, port: [HERE])
        before = set(threading.enumerate())
        await resolver.resolve("example.com", 80)
        (ours,) = set(threading.enumerate()) - before
        await resolver.aclose()
        await resolver.aclose()
        ours.join(timeout=5)
        assert not ours.is_alive()

    run(play())


def test_a_thread_outlives_its_loop(run: Run) -> None:
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
        resolver = Resolver(lookup=lambda name, port: [HERE])
        before = set(threading.enumerate())
        await resolver.resolve("example.com", 80)
        assert all(thread.daemon for thread in set(threading.enumerate()) - before)
        await resolver.aclose()

    run(play())


def test_without_threads_lookups_fail_until_there_are_some(run: Run) -> None:
    async def play() -> None:
        resolver = Resolver(threads=1, lookup=lambda _name, _port: [HERE])
        with no_threads_left():
            for _ in range(3):
                with pytest.raises(OSError, match="no thread"):
                    await resolver.resolve("a.example", 80)
        assert await resolver.resolve("a.example", 80) == (HERE,)
        await resolver.aclose()

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
        await resolver.aclose()

    run(play())


@contextlib.contextmanager
def no_threads_left() -> Iterator[None]:
    """Have the system refuse new threads meanwhile: none gets a stack as large as that."""
    usual = threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(usual)
