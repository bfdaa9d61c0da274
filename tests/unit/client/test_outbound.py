"""The way out through an upstream proxy."""

import pytest

from socks6.client.outbound import Socks6Outbound
from socks6.errors import ConnectionRefused, GeneralFailure, OperationFailed, TTLExpired
from socks6.message.options import TTL
from socks6.message.requests import MAX_INITIAL_DATA
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run
from tests.kit.outbounds import BOUND, ScriptedOutbound
from tests.kit.proxied import proxied, scripted


def nobody_judges(address: str, port: int) -> bool:
    raise AssertionError(f"{address} port {port}: the upstream resolves, nobody here can judge")


def test_first_data_go_with_the_upstreams_request(run: Run) -> None:
    async def scene() -> None:
        far = ScriptedOutbound()
        async with proxied(ServerWorker(outbound=far)) as client:
            connection = await Socks6Outbound(client).connect(
                "example.com", 80, judge=nobody_judges, first_data=b"hi"
            )
            assert (connection.bound, connection.first_data_sent) == (BOUND, 2)
            assert await far.far.receive() == b"hi"
            connection.stream.abort()

    run(scene())


def test_no_more_than_the_drafts_amount_goes_ahead(run: Run) -> None:
    async def scene() -> None:
        async with proxied(ServerWorker(outbound=ScriptedOutbound())) as client:
            connection = await Socks6Outbound(client).connect(
                "example.com", 80, judge=nobody_judges, first_data=bytes(20_000)
            )
            assert connection.first_data_sent == MAX_INITIAL_DATA
            connection.stream.abort()

    run(scene())


def test_the_upstreams_reply_code_is_ours(run: Run) -> None:
    async def scene() -> None:
        async with proxied(ServerWorker(outbound=ScriptedOutbound(ConnectionRefused("")))) as client:
            with pytest.raises(ConnectionRefused):
                await Socks6Outbound(client).connect("example.com", 80, judge=nobody_judges)

    run(scene())


def test_the_router_that_the_upstream_names_is_named_on(run: Run) -> None:
    async def scene() -> None:
        expired = TTLExpired("", reporter="10.0.1.1")
        async with proxied(ServerWorker(outbound=ScriptedOutbound(expired))) as client:
            with pytest.raises(TTLExpired) as caught:
                await Socks6Outbound(client).connect(
                    "example.com", 80, judge=nobody_judges, options=(TTL(leg=2, ttl=1),)
                )
            assert caught.value.reporter == "10.0.1.1"

    run(scene())


def test_refused_credentials_at_the_upstream_are_a_general_failure(run: Run) -> None:
    async def scene() -> None:
        async with proxied(ServerWorker(authenticator=UserTable.from_plain({"bob": "x"}))) as client:
            with pytest.raises(GeneralFailure, match="credentials"):
                await Socks6Outbound(client).connect("example.com", 80, judge=nobody_judges)

    run(scene())


@pytest.mark.parametrize("answer", [b"", b"\x05", b"\x06", b"\x06\x00\xff\xff"])
def test_a_broken_upstream_is_a_general_failure(run: Run, answer: bytes) -> None:
    async def scene() -> None:
        async with scripted(answer) as client:
            with pytest.raises(OperationFailed) as caught:
                await Socks6Outbound(client).connect("example.com", 80, judge=nobody_judges)
            assert caught.value.code == 1

    run(scene())


def test_it_resolves_nothing(run: Run) -> None:
    async def scene() -> None:
        async with scripted() as client:
            outbound = Socks6Outbound(client)
            assert not outbound.resolves
            await outbound.aclose()

    run(scene())
