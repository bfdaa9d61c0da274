"""What is bound for clients, and the queue for the peers of a place that stays bound."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from socks6.errors import GeneralFailure
from socks6.net.stream import AcceptedPeer, Endpoint
from socks6.proxy.backlog import MAX_DRAWN, BacklogListener, BindingRegistry
from socks6.proxy.settings import BindSettings
from tests.kit.bindings import BOUND, ScriptedBinding
from tests.kit.loops import Run

ALICE, BOB, SOMEBODY = ("alice", ""), ("bob", ""), ("", "192.0.2.1")
FIRST, SECOND, THIRD = (Endpoint("192.0.2.7", port) for port in (1, 2, 3))


def listening(
    binding: ScriptedBinding | None = None, *, bound: Endpoint = BOUND, asked_for: str = "0.0.0.0"
) -> BacklogListener:
    return BacklogListener(
        binding or ScriptedBinding(backlog=2),
        owner="me",
        bound=bound,
        options=(),
        backlog=2,
        announces=False,
        asked_for=asked_for,
        on_close=lambda: None,
    )


@asynccontextmanager
async def running(
    listener: BacklogListener, announce: Callable[[AcceptedPeer], Awaitable[None]] | None = None
) -> AsyncIterator[None]:
    """Run a listener as whoever keeps its place does."""
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(listener.run(announce))
        yield
        serving.cancel()
    await listener.aclose()


async def settle() -> None:
    """Let every task come as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_peers_come_to_who_waits_in_order(run: Run) -> None:
    async def scene() -> None:
        binding = ScriptedBinding(backlog=2)
        listener = listening(binding)
        async with running(listener):
            first, second = listener.enqueue(), listener.enqueue()
            binding.arrive(FIRST)
            binding.arrive(SECOND)
            assert (await second.wait()).peer == SECOND
            assert (await first.wait()).peer == FIRST

    run(scene())


def test_peers_wait_until_somebody_wants_them(run: Run) -> None:
    async def scene() -> None:
        binding = ScriptedBinding(backlog=2)
        listener = listening(binding)
        binding.arrive(FIRST)
        binding.arrive(SECOND)
        async with running(listener):
            await settle()
            assert binding.waiting == 2
            assert (await listener.accept()).peer == FIRST
            await settle()
            assert binding.waiting == 1

    run(scene())


def test_announced_peers_are_accepted_ahead_but_no_more_than_the_backlog(run: Run) -> None:
    async def scene() -> None:
        binding = ScriptedBinding(backlog=2)
        listener = listening(binding)
        for peer in (FIRST, SECOND, THIRD):
            binding.arrive(peer)
        announced: list[Endpoint] = []

        async def announce(accepted: AcceptedPeer) -> None:
            announced.append(accepted.peer)

        async with running(listener, announce):
            await settle()
            assert announced == [FIRST, SECOND]
            assert (await listener.accept()).peer == FIRST
            await settle()
            assert announced == [FIRST, SECOND, THIRD]

    run(scene())


def test_the_line_is_no_longer_than_the_backlog(run: Run) -> None:
    async def scene() -> None:
        listener = listening()
        turns = [listener.enqueue(), listener.enqueue()]
        with pytest.raises(GeneralFailure, match="2 wait for peers already"):
            listener.enqueue()
        turns[0].leave()
        listener.enqueue()
        await listener.aclose()

    run(scene())


def test_who_leaves_the_line_gets_nobody(run: Run) -> None:
    async def scene() -> None:
        binding = ScriptedBinding(backlog=2)
        listener = listening(binding)
        async with running(listener):
            listener.enqueue().leave()
            turn = listener.enqueue()
            binding.arrive(FIRST)
            assert (await turn.wait()).peer == FIRST
            turn.leave()
            turn.leave()

    run(scene())


def test_a_peer_that_was_not_taken_is_the_next_ones(run: Run) -> None:
    async def scene() -> None:
        binding = ScriptedBinding(backlog=2)
        listener = listening(binding)
        async with running(listener):
            leaver, stayer = listener.enqueue(), listener.enqueue()
            binding.arrive(FIRST)
            await settle()
            leaver.leave()
            leaver.leave()
            assert (await stayer.wait()).peer == FIRST

    run(scene())


def test_cancelling_loses_nobody(run: Run) -> None:
    async def scene() -> None:
        binding = ScriptedBinding(backlog=2)
        listener = listening(binding)
        async with running(listener):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await listener.accept()
            waiting = asyncio.create_task(listener.accept())
            await settle()
            binding.arrive(FIRST)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert (await listener.accept()).peer == FIRST

    run(scene())


def test_a_peer_meant_for_whoever_was_cancelled_goes_on_to_the_next(run: Run) -> None:
    async def scene() -> None:
        listener = listening()
        waiting = asyncio.create_task(listener.accept())
        await settle()
        stayer = listener.enqueue()
        waiting.cancel()  # its future is cancelled, and it is still in line
        listener.give(await _peer())
        assert (await stayer.wait()).peer == FIRST
        await asyncio.wait([waiting])
        await listener.aclose()

    run(scene())


async def _peer() -> AcceptedPeer:
    binding = ScriptedBinding()
    binding.arrive(FIRST)
    return await binding.accept()


def test_closing_tells_who_waits_and_resets_who_came(run: Run) -> None:
    async def scene() -> None:
        binding = ScriptedBinding(backlog=2)
        closed: list[None] = []
        listener = BacklogListener(
            binding, owner="me", bound=BOUND, options=(), backlog=2, announces=False, asked_for="",
            on_close=lambda: closed.append(None),
        )  # fmt: skip
        listener.give(await _peer())
        far = binding.arrive(SECOND)
        listener.give(await binding.accept())
        taken = listener.enqueue()
        assert (await taken.wait()).peer == FIRST
        await listener.aclose()
        with pytest.raises(ConnectionResetError):
            await far.receive()
        for _ in range(2):
            await listener.aclose()
            assert closed == [None]
            with pytest.raises(GeneralFailure, match="gone"):
                listener.enqueue()
        assert binding.closed

    run(scene())


def test_who_waits_when_it_closes_is_disappointed(run: Run) -> None:
    async def scene() -> None:
        listener = listening()
        turn, other = listener.enqueue(), listener.enqueue()
        await listener.aclose()
        with pytest.raises(GeneralFailure, match="gone"):
            await turn.wait()
        other.leave()  # without ever waiting: nothing is left to complain of
        late = await _peer()
        listener.give(late)
        with pytest.raises(OSError, match="closed"):
            await late.stream.send(b"x")

    run(scene())


def test_failing_to_listen_is_told_to_its_keeper(run: Run) -> None:
    async def scene() -> None:
        binding = ScriptedBinding(backlog=2)
        listener = listening(binding)
        listener.enqueue()
        binding.fail(GeneralFailure("no more"))
        with pytest.raises(GeneralFailure, match="no more"):
            await listener.run()
        await listener.aclose()

    run(scene())


@pytest.mark.parametrize(
    ("bound", "told", "names", "others"),
    [
        ("192.0.2.1", "192.0.2.1", ["192.0.2.1", "::ffff:192.0.2.1", "0.0.0.0"], ["192.0.2.2", "::"]),
        ("0.0.0.0", "192.0.2.9", ["192.0.2.9", "0.0.0.0", "::ffff:0.0.0.0"], ["192.0.2.1", "::"]),
        ("::", "2001:db8::1", ["2001:db8::1", "::"], ["0.0.0.0", "2001:db8::2"]),
        ("0.0.0.0", "proxy.example", ["proxy.example", "PROXY.example", "0.0.0.0"], ["::", "other.example"]),
    ],
)
def test_a_place_has_several_names(
    run: Run, bound: str, told: str, names: list[str], others: list[str]
) -> None:
    async def scene() -> None:
        binding = ScriptedBinding(bound=Endpoint(bound, 4711), backlog=2)
        listener = listening(binding, bound=Endpoint(told, 4711), asked_for=bound)
        assert listener.port == 4711
        assert [name for name in names if not listener.is_at(name)] == []
        assert [name for name in others if listener.is_at(name)] == []
        await listener.aclose()

    run(scene())


def test_who_calls_accept_waits_for_room_in_the_line(run: Run) -> None:
    async def scene() -> None:
        binding = ScriptedBinding(backlog=2)
        listener = listening(binding)
        async with running(listener):
            first, second = listener.enqueue(), listener.enqueue()
            over_and_over = asyncio.ensure_future(listener.accept())
            await settle()
            assert not over_and_over.done()
            for peer in (FIRST, SECOND, THIRD):
                binding.arrive(peer)
            assert (await over_and_over).peer == THIRD
            first.leave()
            second.leave()

    run(scene())


@pytest.mark.parametrize("end", ["somebody leaves", "the listener is closed"])
def test_it_wakes_when_somebody_leaves_the_line_or_there_is_none(run: Run, end: str) -> None:
    async def scene() -> None:
        binding = ScriptedBinding(backlog=2)
        listener = listening(binding)
        async with running(listener):
            turns = [listener.enqueue(), listener.enqueue()]
            waiting = asyncio.ensure_future(listener.accept())
            await settle()
            if end == "somebody leaves":
                for turn in turns:
                    turn.leave()
                binding.arrive(FIRST)
                assert (await waiting).peer == FIRST
        if end != "somebody leaves":
            with pytest.raises(GeneralFailure, match="gone"):
                await waiting

    run(scene())


def test_a_listener_is_found_by_its_place_until_it_goes(run: Run) -> None:
    async def scene() -> None:
        bindings = BindingRegistry(BindSettings())
        one, other = (
            BacklogListener(
                ScriptedBinding(bound=Endpoint(host, 80), backlog=1),
                owner=None,
                bound=Endpoint(host, 80),
                options=(),
                backlog=2,
                announces=False,
                asked_for=host,
                on_close=lambda: None,
            )
            for host in ("192.0.2.1", "2001:db8::1")
        )
        bindings.add(one)
        bindings.add(other)
        assert bindings.find(Endpoint("192.0.2.1", 80)) is one
        assert bindings.find(Endpoint("2001:db8::1", 80)) is other
        assert bindings.find(Endpoint("192.0.2.2", 80)) is None
        assert bindings.find(Endpoint("192.0.2.1", 81)) is None
        for _ in range(2):
            bindings.remove(one)
        assert bindings.find(Endpoint("192.0.2.1", 80)) is None
        bindings.remove(other)
        assert not bindings._by_port

    run(scene())


def test_a_backlog_is_what_an_option_can_say() -> None:
    with pytest.raises(ValueError, match="backlog"):
        BindSettings(backlog=65_536)


def test_a_port_is_remembered_for_whom_it_was_drawn_and_for_a_while() -> None:
    bindings = BindingRegistry(BindSettings())
    bindings.remember(ALICE, 5000, 0.0)
    assert bindings.remembers(ALICE, 5000, 599.0)
    assert not bindings.remembers(BOB, 5000, 0.0)
    assert not bindings.remembers(ALICE, 5001, 0.0)
    bindings.remember(ALICE, 5000, 500.0)
    assert bindings.remembers(ALICE, 5000, 1099.0)
    assert not bindings.remembers(ALICE, 5000, 1100.0)


def test_only_so_many_ports_are_remembered() -> None:
    bindings = BindingRegistry(BindSettings())
    for number in range(MAX_DRAWN + 1):
        bindings.remember(SOMEBODY, number, 0.0)
    assert not bindings.remembers(SOMEBODY, 0, 1.0)
    assert bindings.remembers(SOMEBODY, 1, 1.0)
