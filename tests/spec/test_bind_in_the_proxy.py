"""§ Handling BIND, § Listen Backlog options: what binds a proxy."""

import asyncio

import pytest

from socks6.message.options import ListenBacklog, Multipath, Tos
from socks6.net.direct import DirectOutbound
from socks6.net.stream import Endpoint
from tests.kit.bind_scene import FOUR, OTHER, place_of, reply_from, serving
from tests.kit.bindings import BOUND, PEER
from tests.kit.loops import Run
from tests.kit.reading import receive_exactly


def test_a_second_reply_tells_address_and_port_of_the_connecting_host(run: Run) -> None:
    async def scene() -> None:
        async with serving() as stage:
            client = await stage.ask()
            await reply_from(client)
            far = stage.binding.arrive(OTHER)
            assert place_of(await reply_from(client)) == OTHER
            far.abort()
            client.abort()

    run(scene())


def test_afterwards_application_data_may_pass(run: Run) -> None:
    async def scene() -> None:
        async with serving() as stage:
            client = await stage.ask()
            await reply_from(client)
            far = stage.binding.arrive(PEER)
            await reply_from(client)
            await client.send(b"up")
            await far.send(b"down")
            assert await receive_exactly(far, 2) == b"up"
            assert await receive_exactly(client, 4) == b"down"
            far.abort()
            client.abort()

    run(scene())


def test_the_place_is_the_one_that_was_required(run: Run) -> None:
    async def scene() -> None:
        async with serving(way=DirectOutbound()) as stage:
            client = await stage.ask(place=Endpoint("127.0.0.1", 0))
            bound = place_of(await reply_from(client))
            client.abort()
            await stage.summaries()
            again = await stage.ask(place=bound)
            assert place_of(await reply_from(again)) == bound
            again.abort()

    run(scene())


def test_the_first_reply_tells_whether_mptcp_is_accepted_the_second_whether_it_is_used(run: Run) -> None:
    async def scene() -> None:
        async with serving(way=DirectOutbound()) as stage:
            client = await stage.ask(Multipath(availability=2), place=Endpoint("127.0.0.1", 0))
            first = await reply_from(client)
            assert first.options == (Multipath(availability=2),)
            _, writer = await asyncio.open_connection(first.host, first.port)
            assert (await reply_from(client)).options == (Multipath(availability=1),)
            writer.close()
            client.abort()

    run(scene())


@pytest.mark.parametrize("asked", [1, 4, 65535])
def test_a_backlog_is_granted_and_not_longer_than_requested(run: Run, asked: int) -> None:
    async def scene() -> None:
        async with serving() as stage:
            stage.outbound.binding = None  # it grants what the server asks for
            client = await stage.ask(Tos(leg=2, tos=8), ListenBacklog(backlog=asked), session=stage.session())
            (granted,) = [
                option for option in (await reply_from(client)).options if isinstance(option, ListenBacklog)
            ]
            assert 0 < granted.backlog <= asked
            assert stage.outbound.bound[0].backlog <= asked
            client.abort()

    run(scene())


@pytest.mark.parametrize("asked", [(FOUR, False), (ListenBacklog(backlog=0), True)])
def test_where_no_backlog_is_issued_it_is_0_and_bind_is_as_ever(
    run: Run, asked: tuple[ListenBacklog, bool]
) -> None:
    option, in_session = asked

    async def scene() -> None:
        async with serving() as stage:
            client = await stage.ask(option, session=stage.session() if in_session else None)
            assert (await reply_from(client)).options == (ListenBacklog(backlog=0),)
            far = stage.binding.arrive(PEER)
            assert place_of(await reply_from(client)) == PEER
            far.abort()
            client.abort()

    run(scene())


def test_it_listens_as_long_as_the_initial_connection_stays_open(run: Run) -> None:
    async def scene() -> None:
        async with serving(backlog=4) as stage:
            one = stage.session()
            first = await stage.ask(FOUR, session=one)
            place = place_of(await reply_from(first))
            for _ in range(3):
                accepting = await stage.ask(place=place, session=one)
                await reply_from(accepting)
                far = stage.binding.arrive(PEER)
                await reply_from(accepting)
                far.abort()
                accepting.abort()
            assert not stage.binding.closed
            await first.send_eof()
            await stage.summaries(4)
            assert stage.binding.closed

    run(scene())


def test_the_initial_connection_relays_nothing(run: Run) -> None:
    async def scene() -> None:
        async with serving(backlog=4) as stage:
            one = stage.session()
            first = await stage.ask(FOUR, session=one)
            place = place_of(await reply_from(first))
            far = stage.binding.arrive(PEER)
            accepting = await stage.ask(place=place, session=one)
            await reply_from(accepting)
            await reply_from(accepting)
            await first.send(b"nobody's")
            await accepting.send(b"mine")
            assert await receive_exactly(far, 4) == b"mine"
            await far.send(b"answer")
            assert await receive_exactly(accepting, 6) == b"answer"
            assert first.receive_nowait(1) is None
            for stream in (far, accepting, first):
                stream.abort()

    run(scene())


def test_further_binds_must_belong_to_the_same_session(run: Run) -> None:
    async def scene() -> None:
        async with serving(backlog=4) as stage:
            first = await stage.ask(FOUR, session=stage.session())
            assert place_of(await reply_from(first)) == BOUND
            for other in (stage.session(), None):
                thief = await stage.ask(place=BOUND, session=other)
                assert (await reply_from(thief)).code == 2
                thief.abort()
            first.abort()

    run(scene())
