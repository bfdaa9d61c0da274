"""Names that are resolved on this machine, and not at the proxy."""

import pytest

from socks6.errors import ConnectionRefused, HostUnreachable
from tests.kit.loops import Run
from tests.kit.outbounds import ScriptedOutbound
from tests.kit.proxied import through


@pytest.mark.parametrize("url", ["socks5://m?resolve=local", "socks6://m?resolve=local", "socks4://m"])
def test_the_proxy_is_asked_for_an_address(run: Run, url: str) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        async with through(url, outbound) as client:
            (await client.connect("localhost", 80)).abort()
            assert outbound.dialled[0].host in ({"127.0.0.1"} if "socks4" in url else {"127.0.0.1", "::1"})
            (await client.connect("192.0.2.1", 80)).abort()
            assert outbound.dialled[1].host == "192.0.2.1"
            assert not await client.open_session()

    run(scene())


def test_a_name_that_leads_nowhere(run: Run) -> None:
    async def scene() -> None:
        async with through("socks5://m?resolve=local", ScriptedOutbound()) as client:
            with pytest.raises(HostUnreachable, match="no-such"):
                await client.connect("no-such.invalid", 80)

    run(scene())


def test_each_address_is_tried_and_the_last_failure_counts(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound(failure=ConnectionRefused("no"))
        async with through("socks5://m?resolve=local", outbound) as client:
            with pytest.raises(ConnectionRefused):
                await client.connect("localhost", 80)

    run(scene())
