"""BIND in the SOCKS 6 inbound, from the request to the log."""

import asyncio

import pytest

from socks6.errors import GeneralFailure, NotAllowed
from socks6.message.dialect import DRAFT_12, GO_212, Dialect
from socks6.net.stream import AcceptedPeer, Endpoint
from socks6.proxy.backlog import BacklogListener
from socks6.proxy.inbounds.base import EARLY_BYTES
from socks6.proxy.inbounds.socks6 import _push
from socks6.proxy.settings import BindSettings
from socks6.telemetry import Ending
from tests.kit.bind_scene import FOUR, OTHER, place_of, reply_from, serving
from tests.kit.bindings import BOUND, PEER, ScriptedBinding
from tests.kit.loops import Run
from tests.kit.reading import receive_all, receive_exactly


def test_two_replies_and_then_the_stream(run: Run) -> None:
    async def scene() -> None:
        async with serving() as stage:
            client = await stage.ask(early=b"ear")
            assert place_of(await reply_from(client)) == BOUND
            await client.send(b"ly")
            far = stage.binding.arrive(OTHER)
            assert place_of(await reply_from(client)) == OTHER
            assert await receive_exactly(far, 5) == b"early"
            await far.send(b"hello")
            assert await receive_exactly(client, 5) == b"hello"
            assert stage.binding.closed
            await far.send_eof()
            await client.send_eof()
            (line,) = await stage.summaries()
            assert (line.command, line.host, line.port) == ("BIND", *BOUND)
            assert (line.peer, line.reply, line.ending) == ("[2001:db8::7]:9", 0, Ending.DONE)
            assert (line.bytes_up, line.bytes_down) == (5, 5)

    run(scene())


def test_a_place_that_is_not_to_be_had_is_told_in_the_first_reply(run: Run) -> None:
    async def scene() -> None:
        async with serving(failure=NotAllowed("no")) as stage:
            client = await stage.ask()
            assert (await reply_from(client)).code == 2
            await client.send_eof()
            assert await receive_all(client) == b""
            (line,) = await stage.summaries()
            assert (line.reply, line.ending, line.reason) == (2, Ending.REFUSED, "no")

    run(scene())


def test_nobody_in_time_is_told_in_the_second(run: Run) -> None:
    async def scene() -> None:
        async with serving(settings=BindSettings(accept_timeout=0.01)) as stage:
            client = await stage.ask()
            assert (await reply_from(client)).code == 0
            assert (await reply_from(client)).code == 9
            await client.send_eof()
            (line,) = await stage.summaries()
            assert (line.host, line.reply, line.ending) == (BOUND.host, 9, Ending.FAILED)
            assert stage.binding.closed

    run(scene())


@pytest.mark.parametrize(("resets", "ending"), [(False, Ending.DONE), (True, Ending.RESET)])
def test_a_client_that_leaves_frees_the_place_at_once(run: Run, resets: bool, ending: Ending) -> None:
    async def scene() -> None:
        async with serving() as stage:
            client = await stage.ask()
            await reply_from(client)
            if resets:
                client.abort()
            else:
                await client.send_eof()
            (line,) = await stage.summaries()
            assert (line.ending, line.reply) == (ending, 0)
            assert stage.binding.closed

    run(scene())


def test_of_a_client_that_talks_too_early_no_more_is_read_than_a_limit(run: Run) -> None:
    async def scene() -> None:
        async with serving() as stage:
            client = await stage.ask()
            await reply_from(client)
            async with asyncio.TaskGroup() as group:
                group.create_task(client.send(bytes(3 * EARLY_BYTES)))
                await asyncio.sleep(0.01)
                far = stage.binding.arrive(PEER)
                assert place_of(await reply_from(client)) == PEER
                assert len(await receive_exactly(far, 3 * EARLY_BYTES)) == 3 * EARLY_BYTES
            client.abort()
            far.abort()

    run(scene())


def test_with_a_backlog_others_of_the_session_get_the_peers(run: Run) -> None:
    async def scene() -> None:
        async with serving(backlog=4) as stage:
            one = stage.session()
            first = await stage.ask(FOUR, session=one)
            reply = await reply_from(first)
            assert reply.options == (FOUR,)
            near = [stage.binding.arrive(PEER)]
            accepting = [await stage.ask(place=place_of(reply), session=one) for _ in range(2)]
            for client in accepting:
                assert place_of(await reply_from(client)) == BOUND
            near.append(stage.binding.arrive(OTHER))
            for client, peer, far in zip(accepting, (PEER, OTHER), near, strict=True):
                assert place_of(await reply_from(client)) == peer
                await client.send(b"hi")
                assert await receive_exactly(far, 2) == b"hi"
                client.abort()
                far.abort()
            assert first.receive_nowait(1) is None
            await first.send_eof()
            lines = await stage.summaries(3)
            assert {line.peer for line in lines} == {"", "192.0.2.77:7777", "[2001:db8::7]:9"}
            assert stage.binding.closed

    run(scene())


@pytest.mark.parametrize("way", ["eof", "reset", "session"])
def test_when_the_listener_goes_all_who_wait_are_told(run: Run, way: str) -> None:
    async def scene() -> None:
        async with serving(backlog=4) as stage:
            one = stage.session()
            first = await stage.ask(FOUR, session=one)
            place = place_of(await reply_from(first))
            waiting = [await stage.ask(place=place, session=one) for _ in range(4)]
            for client in waiting:
                await reply_from(client)
            match way:
                case "eof":
                    await first.send_eof()
                case "reset":
                    first.abort()
                case _:
                    stage.end(one)
            for client in waiting:
                assert (await reply_from(client)).code == 1
                await client.send_eof()
            await stage.summaries(5)
            assert stage.binding.closed

    run(scene())


def test_more_than_the_backlog_do_not_wait(run: Run) -> None:
    async def scene() -> None:
        async with serving(backlog=1) as stage:
            one = stage.session()
            first = await stage.ask(FOUR, session=one)
            place = place_of(await reply_from(first))
            waiting = await stage.ask(place=place, session=one)
            assert (await reply_from(waiting)).code == 0
            too_many = await stage.ask(place=place, session=one)
            assert (await reply_from(too_many)).code == 1
            for client in (first, waiting, too_many):
                client.abort()

    run(scene())


def test_another_session_gets_nobody(run: Run) -> None:
    async def scene() -> None:
        async with serving(backlog=4) as stage:
            first = await stage.ask(FOUR, session=stage.session())
            place = place_of(await reply_from(first))
            thief = await stage.ask(place=place, session=stage.session())
            assert (await reply_from(thief)).code == 2
            first.abort()
            thief.abort()

    run(scene())


@pytest.mark.parametrize(
    ("dialect", "setting", "announced"),
    [(DRAFT_12, False, False), (DRAFT_12, True, True), (GO_212, False, True)],
)
def test_peers_are_announced_in_the_older_dialect_and_by_setting(
    run: Run, dialect: Dialect, setting: bool, announced: bool
) -> None:
    async def scene() -> None:
        async with serving(backlog=4, settings=BindSettings(announce=setting)) as stage:
            one = stage.session()
            first = await stage.ask(FOUR, session=one, dialect=dialect)
            place = place_of(await reply_from(first, dialect))
            far = stage.binding.arrive(OTHER)
            if announced:
                assert place_of(await reply_from(first, dialect)) == OTHER
            accepting = await stage.ask(place=place, session=one)
            await reply_from(accepting)
            assert place_of(await reply_from(accepting)) == OTHER
            assert first.receive_nowait(1) is None
            for stream in (far, accepting, first):
                stream.abort()

    run(scene())


def test_a_listener_that_breaks_is_told_on_its_own_connection(run: Run) -> None:
    async def scene() -> None:
        async with serving(backlog=4) as stage:
            one = stage.session()
            first = await stage.ask(FOUR, session=one)
            place = place_of(await reply_from(first))
            accepting = await stage.ask(place=place, session=one)
            await reply_from(accepting)
            stage.binding.fail(GeneralFailure("the upstream is gone"))
            for client in (first, accepting):
                assert (await reply_from(client)).code == 1
                await client.send_eof()
            reasons = {line.reason for line in await stage.summaries(2)}
            assert reasons == {"the upstream is gone", "the listener is gone"}

    run(scene())


def test_what_comes_on_the_listeners_own_connection_is_nobodys(run: Run) -> None:
    async def scene() -> None:
        async with serving(backlog=4) as stage:
            first = await stage.ask(FOUR, session=stage.session())
            await reply_from(first)
            await first.send(bytes(5 * EARLY_BYTES))
            await first.send_eof()
            (line,) = await stage.summaries()
            assert (line.bytes_up, line.ending) == (0, Ending.DONE)

    run(scene())


class SlowCompany:
    """A client's connection that opens a stream when the test lets it."""

    def __init__(self) -> None:
        self.may_open = asyncio.Event()
        self.pushed: list[Endpoint] = []

    async def push(self, accepted: AcceptedPeer, reply: bytes) -> None:
        await self.may_open.wait()
        self.pushed.append(accepted.peer)


def test_pushing_outlives_a_line_that_was_full_for_a_while(run: Run) -> None:
    """An accept-BIND stands in the only place of the line while a stream is being opened for a peer."""

    async def scene() -> None:
        binding, company = ScriptedBinding(backlog=1), SlowCompany()
        listener = BacklogListener(
            binding,
            owner="me",
            bound=BOUND,
            options=(),
            backlog=1,
            announces=False,
            asked_for=BOUND.host,
            on_close=lambda: None,
        )
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(listener.run())
            pushing = group.create_task(_push(company, listener, DRAFT_12, None))  # type: ignore[arg-type]  # pushes
            binding.arrive(PEER)
            await settle()
            turn = listener.enqueue()
            company.may_open.set()
            await settle()
            assert company.pushed == [PEER]
            binding.arrive(OTHER)
            assert (await turn.wait()).peer == OTHER
            turn.leave()
            binding.arrive(PEER)
            await settle()
            assert company.pushed == [PEER, PEER]
            assert not pushing.done()
            serving.cancel()
            await listener.aclose()  # which ends it
            await pushing

    run(scene())


async def settle() -> None:
    """Let every task come as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)
