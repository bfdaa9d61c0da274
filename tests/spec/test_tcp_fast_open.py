"""§ TCP Fast Open on the Client-Proxy Leg: what a client makes of a request that the network may have doubled."""

import functools

import pytest

from socks6.errors import TokenRejected
from socks6.message.options import IdempotenceExpenditure
from socks6.net.sockets import SocketStream
from socks6.net.transports import tcp
from socks6.net.transports.tcp import connect_tcp
from tests.kit.loops import Run
from tests.kit.session_proxy import BASE, SessionProxy, fast_opening


@pytest.fixture
def in_syns(monkeypatch: pytest.MonkeyPatch) -> list[bytes | None]:
    """Return what connections to proxies may carry in their SYNs, None being nothing and no TCP Fast Open."""
    carried: list[bytes | None] = []

    @functools.wraps(connect_tcp)
    async def connect(*place: object, fast_open: bytes | None = None, **more: object) -> SocketStream:
        carried.append(fast_open)
        return await connect_tcp(*place, fast_open=fast_open, **more)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(tcp, "connect_tcp", connect)
    return carried


@pytest.mark.parametrize(
    ("data", "idempotent"),
    [(b"", False), (b"", True), (b"pay", True)],  # no application data: two connections at worst
)
def test_a_request_may_be_in_the_syn_with_a_token_or_without_application_data(
    run: Run, in_syns: list[bytes | None], data: bytes, idempotent: bool
) -> None:
    async def scene() -> None:
        proxy = SessionProxy()
        async with fast_opening(proxy) as client:
            await client.open_session()
            stream = await client.connect("example.com", 80, initial_data=data, idempotent=idempotent)
            stream.abort()
            assert in_syns[-1] == proxy.ran[-1].encode() + data

    run(scene())


@pytest.mark.parametrize(
    ("data", "idempotent", "window"),
    [
        (b"", True, 0),  # once was promised, and there is no token to keep that
        (b"pay", True, 0),
        (b"pay", False, 16),
    ],
)
def test_without_a_token_application_data_should_not_be_in_the_syn(
    run: Run, in_syns: list[bytes | None], data: bytes, idempotent: bool, window: int
) -> None:
    async def scene() -> None:
        proxy = SessionProxy(window=window)
        async with fast_opening(proxy) as client:
            await client.open_session()
            stream = await client.connect("example.com", 80, initial_data=data, idempotent=idempotent)
            stream.abort()
            assert in_syns[-1] is None

    run(scene())


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
