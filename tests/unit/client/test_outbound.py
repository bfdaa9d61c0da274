"""The outbound through an upstream proxy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from socks6.client.outbound import UpstreamOutbound
from socks6.errors import ConnectionRefused, GeneralFailure, OperationFailed, TtlExpired, UpstreamFailed
from socks6.message.codes import Availability, Command, Leg
from socks6.message.options import ListenBacklog, Multipath, Option, Ttl
from socks6.message.requests import MAX_INITIAL_DATA
from socks6.net.stream import Binding, Judge
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.worker import ServerWorker
from tests.kit.calls import Call, Calls, calls
from tests.kit.loops import Run
from tests.kit.outbounds import BOUND, ScriptedOutbound
from tests.kit.proxied import proxied, scripted
from tests.kit.session_proxy import SessionProxy, in_sessions


def nobody_judges(address: str, port: int) -> bool:
    raise AssertionError(f"{address} port {port}: the upstream resolves, nobody here can judge")


def test_first_data_go_with_the_upstreams_request(run: Run) -> None:
    async def scene() -> None:
        far = ScriptedOutbound()
        async with proxied(ServerWorker(outbound=far)) as client:
            connection = await UpstreamOutbound(client).connect(
                "example.com", 80, judge=nobody_judges, first_data=b"hi"
            )
            assert (connection.bound, connection.first_data_sent) == (BOUND, 2)
            assert await far.far.receive() == b"hi"
            connection.stream.abort()

    run(scene())


def test_no_more_than_the_drafts_amount_goes_ahead(run: Run) -> None:
    async def scene() -> None:
        async with proxied(ServerWorker(outbound=ScriptedOutbound())) as client:
            connection = await UpstreamOutbound(client).connect(
                "example.com", 80, judge=nobody_judges, first_data=bytes(20_000)
            )
            assert connection.first_data_sent == MAX_INITIAL_DATA
            connection.stream.abort()

    run(scene())


@pytest.mark.parametrize(
    ("fast_open", "data", "tokens"), [(True, b"hi", 1), (True, b"", 0), (False, b"hi", 0), (False, b"", 0)]
)
def test_a_token_is_spent_on_first_data_that_may_travel_in_a_syn(
    run: Run, fast_open: bool, data: bytes, tokens: int
) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy, fast_open=fast_open) as client:
            await client.open_session()
            connection = await UpstreamOutbound(client).connect(
                "example.com", 80, judge=nobody_judges, first_data=data
            )
            connection.stream.abort()
            assert len(proxy.tokens()) == tokens

    run(scene())


def test_in_the_end_the_upstreams_session_is_torn_down(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with in_sessions(proxy) as client:
            await client.open_session()
            await UpstreamOutbound(client).aclose()
            assert len(proxy.torn_down) == 1

    run(scene())


def test_a_name_that_no_host_can_have_is_a_general_failure(run: Run) -> None:
    async def scene() -> None:
        async with in_sessions(SessionProxy()) as client:
            with pytest.raises(GeneralFailure, match="upstream: "):
                await UpstreamOutbound(client).connect("a" * 300, 80, judge=nobody_judges)

    run(scene())


def test_the_upstreams_reply_code_is_ours(run: Run) -> None:
    async def scene() -> None:
        async with proxied(ServerWorker(outbound=ScriptedOutbound(ConnectionRefused("")))) as client:
            with pytest.raises(ConnectionRefused):
                await UpstreamOutbound(client).connect("example.com", 80, judge=nobody_judges)

    run(scene())


def test_the_router_that_the_upstream_names_is_named_on(run: Run) -> None:
    async def scene() -> None:
        expired = TtlExpired("", reporter="10.0.1.1")
        async with proxied(ServerWorker(outbound=ScriptedOutbound(expired))) as client:
            with pytest.raises(TtlExpired) as caught:
                await UpstreamOutbound(client).connect(
                    "example.com", 80, judge=nobody_judges, options=(Ttl(leg=2, ttl=1),)
                )
            assert caught.value.reporter == "10.0.1.1"

    run(scene())


def test_refused_credentials_at_the_upstream_are_a_general_failure(run: Run) -> None:
    async def scene() -> None:
        async with proxied(ServerWorker(authenticator=UserTable.from_plain({"bob": "x"}))) as client:
            with pytest.raises(UpstreamFailed, match="refused the password of user alice"):
                await UpstreamOutbound(client).connect("example.com", 80, judge=nobody_judges)

    run(scene())


@pytest.mark.parametrize("answer", [b"", b"\x05", b"\x06", b"\x06\x00\xff\xff"])
def test_a_broken_upstream_is_a_general_failure(run: Run, answer: bytes) -> None:
    async def scene() -> None:
        async with scripted(answer) as client:
            with pytest.raises(UpstreamFailed) as caught:
                await UpstreamOutbound(client).connect("example.com", 80, judge=nobody_judges)
            assert caught.value.code == 1

    run(scene())


def anybody(address: str, port: int) -> bool:
    return True


@asynccontextmanager
async def binding(
    *options: Option, backlog: int = 0, judge_peer: Judge = anybody
) -> AsyncIterator[tuple[Calls, Binding, Call]]:
    """Give an upstream, a place bound there, and the call that it took."""
    async with calls() as proxy, asyncio.TaskGroup() as group:
        task = group.create_task(
            UpstreamOutbound(proxy.client).bind(
                "192.0.2.1", 21, judge=nobody_judges, judge_peer=judge_peer, backlog=backlog
            )
        )
        call = await proxy.next()
        await call.reply("192.0.2.1", 21, *options)
        bound = await task
        try:
            yield proxy, bound, call
        finally:
            await bound.aclose()


def test_a_bind_is_carried_on_reply_by_reply(run: Run) -> None:
    async def scene() -> None:
        no, yes = Multipath(availability=Availability.NO), Multipath(availability=Availability.YES)
        both = Ttl(leg=Leg.BOTH, ttl=9)
        async with binding(yes, both) as (_, bound, call):
            assert (call.request.command, call.request.host, call.request.port) == (
                Command.BIND,
                "192.0.2.1",
                21,
            )
            assert bound.bound == ("192.0.2.1", 21)
            assert bound.backlog == 0
            assert bound.options == (yes, Ttl(leg=Leg.PROXY_REMOTE, ttl=9))
            await call.reply("203.0.113.8", 99, no)
            accepted = await bound.accept()
            assert accepted.peer == ("203.0.113.8", 99)
            assert accepted.options == (no, Ttl(leg=Leg.PROXY_REMOTE, ttl=9))
            await call.stream.send(b"hi")
            assert await accepted.stream.receive() == b"hi"
            with pytest.raises(GeneralFailure, match="has come"):
                await bound.accept()
            accepted.stream.abort()

    run(scene())


def test_the_upstreams_backlog_is_ours(run: Run) -> None:
    async def scene() -> None:
        async with binding(ListenBacklog(backlog=1), backlog=5) as (proxy, bound, _):
            assert bound.backlog == 1
            assert bound.options == ()
            for _ in range(2):
                call = await proxy.next()
                await call.reply("192.0.2.1", 21)
                await call.reply("203.0.113.8", 99)
                (await bound.accept()).stream.abort()

    run(scene())


def test_an_upstream_without_backlog_gets_one_bind(run: Run) -> None:
    async def scene() -> None:
        async with binding(backlog=5) as (proxy, bound, call):
            assert bound.backlog == 0
            await call.reply("203.0.113.8", 99)
            (await bound.accept()).stream.abort()
            assert proxy.nobody_calls

    run(scene())


def test_peers_who_may_not_connect_are_sent_away(run: Run) -> None:
    async def scene() -> None:
        async with (
            binding(judge_peer=lambda address, port: address == "203.0.113.8") as (proxy, bound, call),
            asyncio.TaskGroup() as group,
        ):
            await call.reply("203.0.113.66", 99)
            accepting = group.create_task(bound.accept())
            again = await proxy.next()
            await again.reply("192.0.2.1", 21)
            await again.reply("203.0.113.8", 99)
            accepted = await accepting
            assert accepted.peer.host == "203.0.113.8"
            with pytest.raises(ConnectionError):
                await call.stream.receive()
            accepted.stream.abort()

    run(scene())


@pytest.mark.parametrize("code", [2, 7, 8])
def test_the_upstreams_reply_code_to_a_bind_is_ours(run: Run, code: int) -> None:
    async def scene() -> None:
        async with calls() as proxy, asyncio.TaskGroup() as group:
            group.create_task(answer(proxy, code))
            with pytest.raises(OperationFailed) as caught:
                await UpstreamOutbound(proxy.client).bind(
                    "::", 0, judge=nobody_judges, judge_peer=nobody_judges
                )
            assert caught.value.code == code

    run(scene())


async def answer(proxy: Calls, code: int) -> None:
    await (await proxy.next()).reply(code=code)


def test_an_upstream_that_breaks_off_a_bind_is_a_general_failure(run: Run) -> None:
    async def scene() -> None:
        async with binding() as (_, bound, call):
            await call.stream.aclose()
            with pytest.raises(GeneralFailure):
                await bound.accept()

    run(scene())


def test_a_binding_that_is_closed_is_a_general_failure(run: Run) -> None:
    async def scene() -> None:
        async with binding() as (_, bound, _):
            await bound.aclose()
            with pytest.raises(GeneralFailure, match="closed"):
                await bound.accept()

    run(scene())


def test_it_resolves_nothing(run: Run) -> None:
    async def scene() -> None:
        async with scripted() as client:
            outbound = UpstreamOutbound(client)
            assert not outbound.resolves
            await outbound.aclose()

    run(scene())
