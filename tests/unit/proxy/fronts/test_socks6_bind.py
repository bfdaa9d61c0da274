"""BIND in the SOCKS 6 front, from the request to the log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from typing_extensions import override

from socks6.errors import GeneralFailure, NotAllowed, OperationFailed
from socks6.message.codes import Command
from socks6.message.dialect import DRAFT_12, GO_212, Dialect
from socks6.message.options import ListenBacklog, Option
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.net.stream import ByteStream, Endpoint, Protection
from socks6.net.transports.memory import memory_stream_pair
from socks6.policy.identity import ANONYMOUS
from socks6.proxy.fronts.waiting import EARLY_BYTES
from socks6.proxy.sessions import Session
from socks6.proxy.settings import BindSettings, Settings
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import ConnectionSummary, Ending
from tests.kit.bindings import BOUND, PEER, ScriptedBinding
from tests.kit.loops import Run
from tests.kit.outbounds import Recorder, ScriptedOutbound
from tests.kit.reading import receive_all, receive_exactly

ANYWHERE = Endpoint("0.0.0.0", 0)
OTHER = Endpoint("2001:db8::7", 9)
FOUR = ListenBacklog(backlog=4)


class Log(Recorder):
    """A log that one can wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.news = asyncio.Event()

    @override
    def connection_ended(self, summary: ConnectionSummary) -> None:
        super().connection_ended(summary)
        self.news.set()


class Scene:
    """A server whose listeners are the test's, and its clients."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        *,
        failure: OperationFailed | None = None,
        settings: BindSettings | None = None,
    ) -> None:
        self.binding = ScriptedBinding(backlog=4)
        self.outbound = ScriptedOutbound(failure)
        self.outbound.binding = self.binding
        self.log = Log()
        self.worker = ServerWorker(
            outbound=self.outbound,
            observer=self.log,
            settings=Settings(dialects=(DRAFT_12, GO_212), bind=settings or BindSettings()),
        )
        self._group = group

    async def ask(
        self,
        *options: Option,
        place: Endpoint = ANYWHERE,
        session: Session | None = None,
        dialect: Dialect = DRAFT_12,
        early: bytes = b"",
    ) -> ByteStream:
        """Make a request; return the client's stream, behind the Authentication Reply."""
        client, server = memory_stream_pair()
        self._group.create_task(self.worker.serve_stream(server, session=session))
        request = Request(command=Command.BIND, host=place.host, port=place.port, options=options)
        await client.send(request.encode(dialect) + early)
        reply = await receive_exactly(client, 4)
        assert AuthenticationReply.decode(reply, dialect).type == 0
        return client

    async def summaries(self, count: int = 1) -> list[ConnectionSummary]:
        """Return what the log says, once it has so many lines."""
        while len(self.log.summaries) < count:
            self.log.news.clear()
            await self.log.news.wait()
        assert not self.log.errors
        return self.log.summaries


@asynccontextmanager
async def serving(
    *, failure: OperationFailed | None = None, settings: BindSettings | None = None, backlog: int = 0
) -> AsyncIterator[Scene]:
    async with asyncio.TaskGroup() as group:
        scene = Scene(group, failure=failure, settings=settings)
        scene.binding._backlog = backlog
        yield scene
    assert scene.worker.listeners.count == 0


async def reply_from(client: ByteStream, dialect: Dialect = DRAFT_12) -> OperationReply:
    data = b""
    while len(data) < OperationReply.size(data, dialect):
        piece = await client.receive(OperationReply.size(data, dialect) - len(data))
        assert piece
        data += piece
    return OperationReply.decode(data, dialect)


def place_of(reply: OperationReply) -> Endpoint:
    assert reply.code == 0
    return Endpoint(reply.host, reply.port)


def session() -> Session:
    """Return a session that needs no id."""
    return Session(ANONYMOUS, Protection.MACHINE)


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
            one = session()
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
            one = session()
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
                    one.end(close=False)
            for client in waiting:
                assert (await reply_from(client)).code == 1
                await client.send_eof()
            await stage.summaries(5)
            assert stage.binding.closed

    run(scene())


def test_more_than_the_backlog_do_not_wait(run: Run) -> None:
    async def scene() -> None:
        async with serving(backlog=1) as stage:
            one = session()
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
            first = await stage.ask(FOUR, session=session())
            place = place_of(await reply_from(first))
            thief = await stage.ask(place=place, session=session())
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
            one = session()
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
            one = session()
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
            first = await stage.ask(FOUR, session=session())
            await reply_from(first)
            await first.send(bytes(5 * EARLY_BYTES))
            await first.send_eof()
            (line,) = await stage.summaries()
            assert (line.bytes_up, line.ending) == (0, Ending.DONE)

    run(scene())
