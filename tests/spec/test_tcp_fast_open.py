"""§ TCP Fast Open on the Client-Proxy Leg: what a client makes of a request that the network may have doubled."""

import pytest

from socks6.errors import TokenRejected
from socks6.message.options import IdempotenceExpenditure
from tests.kit.loops import Run
from tests.kit.session_proxy import BASE, SessionProxy, fast_opening


def test_where_a_syn_may_have_come_twice_a_rejected_request_is_not_repeated(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with fast_opening(proxy) as client:
            await client.open_session()
            proxy.rejects = 1
            with pytest.raises(TokenRejected, match="may have been carried out"):
                await client.connect("example.com", 80, initial_data=b"pay", idempotent=True)
            assert len(proxy.asked) == 2
            stream = await client.connect("example.com", 80, initial_data=b"pay", idempotent=True)
            stream.abort()
            assert proxy.tokens() == [BASE, BASE + 1]

    run(scene())


def test_where_no_session_was_known_nothing_ran_and_it_is_repeated_outside_of_the_syn(run: Run) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with fast_opening(proxy) as client:
            await client.open_session()
            proxy.sessions.clear()
            stream = await client.connect("example.com", 80, initial_data=b"pay", idempotent=True)
            await stream.send_eof()
            assert await proxy.ends[-1].receive() == b"pay"
            assert await proxy.ends[-1].receive() == b""
            stream.abort()
            assert [IdempotenceExpenditure in proxy.kinds(at) for at in range(3)] == [False, True, False]

    run(scene())
