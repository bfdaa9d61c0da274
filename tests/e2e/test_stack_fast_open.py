"""TCP Fast Open: what the SYN carries, never more than asked, never unasked."""

import secrets
import socket
from collections.abc import Iterator

import pytest

from socks6.client.client import Client
from socks6.message.codes import Command, ReplyCode
from socks6.message.options import HappyEyeballs, Tfo
from socks6.message.requests import Request
from socks6.net.direct import DirectOutbound
from socks6.net.transports.tcp import connect_tcp, listen_tcp
from socks6.net.url import ProxyUrl
from socks6.policy.rules import Policy
from socks6.proxy.service import Server
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from tests.kit.certificates import certificate
from tests.kit.loops import Run
from tests.kit.netns import Road, needs_namespaces, road
from tests.kit.packets import FAST_OPEN
from tests.kit.reach import accepted, exactly, knowing, port_of, reached
from tests.kit.streams import receive_exactly

pytestmark = [pytest.mark.e2e, needs_namespaces]

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
REQUEST = b"GET / HTTP/1.0\r\n\r\n"
NOOP = Request(command=Command.NOOP, host="0.0.0.0", port=0).encode()
WAITING = 16


@pytest.fixture
def two() -> Iterator[Road]:
    """Give two hosts, joined, the second of which takes data in SYNs."""
    with road() as made:
        made.last.set("net.ipv4.tcp_fastopen", 3)
        yield made


async def exchange(
    listener: socket.socket,
    host: str,
    *options: Tfo,
    first_data: bytes,
    outbound: DirectOutbound | None = None,
) -> int:
    """Connect, send what did not go ahead, see that all arrives once; return what was told of the SYN."""
    port = port_of(listener)
    async with reached(host, port, *options, first_data=first_data, outbound=outbound) as connection:
        await connection.stream.send(first_data[connection.first_data_sent :])
        await connection.stream.send_eof()
        with accepted(listener) as peer:
            assert exactly(peer, len(first_data) + 1) == first_data
        told = [option for option in connection.options if isinstance(option, Tfo)]
        assert len(told) == len(options)
        assert connection.first_data_sent == (told[0].payload_size if told else 0)
        return connection.first_data_sent


@FAMILIES
def test_the_first_connection_fetches_a_cookie_the_second_sends_data(
    run: Run, two: Road, family: int
) -> None:
    host = two.last_address(family)

    async def play() -> None:
        assert await exchange(listener, host, Tfo(payload_size=0), first_data=REQUEST) == 0
        assert await exchange(listener, host, Tfo(payload_size=0), first_data=REQUEST) == len(REQUEST)

    with (
        two.last.listener(host, fast_open=WAITING) as listener,
        two.first.capturing() as capture,
        two.first.entered(),
    ):
        run(play())
        first, second = capture.syns(port_of(listener))
    assert (first.payload, first.options[FAST_OPEN]) == (b"", b"")
    assert second.payload == REQUEST
    assert second.options[FAST_OPEN]
    assert two.first.counter("TCPFastOpenActive") == 1
    assert two.last.counter("TCPFastOpenPassive") == 1


@pytest.mark.parametrize(("asked", "expected"), [(3, 3), (len(REQUEST), len(REQUEST)), (500, len(REQUEST))])
def test_the_syn_carries_no_more_than_asked(run: Run, two: Road, asked: int, expected: int) -> None:
    host = two.last_address()

    async def play() -> None:
        await exchange(listener, host, Tfo(payload_size=0), first_data=b"")
        assert await exchange(listener, host, Tfo(payload_size=asked), first_data=REQUEST) == expected

    with (
        two.last.listener(host, fast_open=WAITING) as listener,
        two.first.capturing() as capture,
        two.first.entered(),
    ):
        run(play())
        assert capture.syns(port_of(listener))[-1].payload == REQUEST[:expected]


@FAMILIES
def test_more_than_a_packet_holds_is_told_as_what_it_held(run: Run, two: Road, family: int) -> None:
    host, data = two.last_address(family), bytes(range(250)) * 40
    told: list[int] = []

    async def play() -> None:
        await exchange(listener, host, Tfo(payload_size=0), first_data=b"")
        told.append(await exchange(listener, host, Tfo(payload_size=0xFFFF), first_data=data))

    with (
        two.last.listener(host, fast_open=WAITING) as listener,
        two.first.capturing() as capture,
        two.first.entered(),
    ):
        run(play())
        payload = capture.syns(port_of(listener))[-1].payload
    assert 1000 < len(payload) < 1500
    assert payload == data[: len(payload)]
    assert told == [len(payload)]


def test_with_nothing_to_send_the_connection_is_made_all_the_same(run: Run, two: Road) -> None:
    host = two.last_address()

    async def play() -> None:
        assert await exchange(listener, host, Tfo(payload_size=0), first_data=b"") == 0
        assert await exchange(listener, host, Tfo(payload_size=0), first_data=b"") == 0

    with two.last.listener(host, fast_open=WAITING) as listener, two.first.entered():
        run(play())


def test_unasked_no_syn_says_anything_of_it(run: Run, two: Road) -> None:
    host = two.last_address()

    async def play() -> None:
        await exchange(listener, host, Tfo(payload_size=0), first_data=REQUEST)
        await exchange(listener, host, first_data=REQUEST)

    with (
        two.last.listener(host, fast_open=WAITING) as listener,
        two.first.capturing() as capture,
        two.first.entered(),
    ):
        run(play())
        last = capture.syns(port_of(listener))[-1]
    assert last.payload == b""
    assert FAST_OPEN not in last.options


def test_data_that_the_host_did_not_take_from_the_syn_arrives_later(run: Run, two: Road) -> None:
    """A host that was restarted knows its old cookies no more."""
    host = two.last_address()

    async def play() -> None:
        await exchange(listener, host, Tfo(payload_size=0), first_data=b"")
        key = secrets.token_hex(16)
        two.last.set("net.ipv4.tcp_fastopen_key", "-".join(key[at : at + 8] for at in range(0, 32, 8)))
        assert await exchange(listener, host, Tfo(payload_size=0), first_data=REQUEST) == len(REQUEST)

    with (
        two.last.listener(host, fast_open=WAITING) as listener,
        two.first.capturing() as capture,
        two.first.entered(),
    ):
        run(play())
        packets = capture.to_port(port_of(listener))
    assert [packet.payload for packet in packets if packet.payload] == [REQUEST, REQUEST]
    assert two.last.counter("TCPFastOpenPassive") == 0


def test_where_the_administrator_allows_none_there_is_none(run: Run, two: Road) -> None:
    host = two.last_address()
    two.first.set("net.ipv4.tcp_fastopen", 0)

    async def play() -> None:
        assert await exchange(listener, host, Tfo(payload_size=0), first_data=REQUEST) == 0

    with (
        two.last.listener(host, fast_open=WAITING) as listener,
        two.first.capturing() as capture,
        two.first.entered(),
    ):
        run(play())
        assert FAST_OPEN not in capture.syns(port_of(listener))[0].options


def test_in_a_race_only_the_first_host_gets_data_before_it_answers(run: Run, two: Road) -> None:
    """The first is silent; the second, whose cookie is there as well, must not get what the first may have."""
    six, four = two.last_address(socket.AF_INET6), two.last_address()

    async def play() -> None:
        await exchange(listener, four, Tfo(payload_size=0), first_data=b"")
        resolver = knowing({"both": [six, four]})
        way = DirectOutbound(resolver, attempt_delay=0.02)
        two.last.configure(f"address del {six}/64 dev left")
        async with reached(
            "both", port_of(listener), Tfo(payload_size=0), first_data=REQUEST, outbound=way
        ) as connection:
            assert connection.options == (Tfo(payload_size=0), HappyEyeballs(availability=2))
            assert connection.first_data_sent == 0

    with two.last.listener(four, fast_open=WAITING) as listener, two.first.entered():
        run(play())


def test_a_client_of_a_proxy_sends_its_request_in_the_syn(run: Run, two: Road) -> None:
    host = two.last_address()

    async def play() -> None:
        with two.last.entered():
            (listener,) = await listen_tcp(host, 0, fast_open=WAITING)
        for first in (b"", REQUEST):
            stream = await connect_tcp(host, listener.local.port, fast_open=first)
            while (peer := listener.accept_nowait()) is None:
                await listener.wait_readable()
            await stream.send(b"more")
            await stream.send_eof()
            got = b""
            while data := await peer.receive():
                got += data
            assert got == first + b"more"
            await peer.aclose()
            await stream.aclose()
        fetched, carried = capture.syns(listener.local.port)
        assert (fetched.payload, fetched.options[FAST_OPEN]) == (b"", b"")
        assert carried.payload == REQUEST
        await listener.aclose()

    with two.first.capturing() as capture, two.first.entered():
        run(play())


def test_over_tls_the_first_bytes_of_it_go_in_the_syn_and_none_of_the_request(run: Run, two: Road) -> None:
    host = two.last_address()

    async def play() -> None:
        with certificate(host) as files:
            worker = ServerWorker(settings=Settings(fast_open=WAITING, tls=files.server))
            with two.last.entered():
                server = Server([f"socks6+tls://{host}:0"], worker, open_to_all=True)
                await server.__aenter__()
            url = f"{server.urls[0]}?ca={files.ca}&spare=0"
            async with Client(url, fast_open=True) as client:
                for _ in range(2):
                    await client.noop()
            await server.__aexit__(None, None, None)
            fetched, carried = capture.syns(ProxyUrl.parse(url).port)
            assert fetched.payload == b""
            assert carried.payload[:1] == bytes.fromhex("16")  # a handshake record
            assert len(carried.payload) > 100

    with two.first.capturing() as capture, two.first.entered():
        run(play())


@pytest.mark.parametrize("served", [True, False])
def test_first_bytes_within_the_syn_are_refused_without_a_token_if_wanted(
    run: Run, two: Road, served: bool
) -> None:
    host = two.last_address()

    async def play() -> None:
        settings = Settings(fast_open=WAITING, tfo_without_token=served)
        worker = ServerWorker(settings=settings, policy=Policy(allow_private=True))
        with two.last.listener(host) as origin:
            request = Request(command=Command.CONNECT, host=host, port=port_of(origin)).encode()
            with two.last.entered():
                server = Server([f"socks6://{host}:0"], worker, open_to_all=True)
                await server.__aenter__()
            port = ProxyUrl.parse(server.urls[0]).port
            try:
                await answer(host, port, NOOP)  # which fetches the cookie
                assert await answer(host, port, request) == ReplyCode.SUCCEEDED
                doubtful = ReplyCode.SUCCEEDED if served else ReplyCode.NOT_ALLOWED
                assert await answer(host, port, request + REQUEST) == doubtful
                assert [syn.payload for syn in capture.syns(port)] == [b"", request, request + REQUEST]
            finally:
                await server.__aexit__(None, None, None)

    with two.first.capturing() as capture, two.first.entered():
        run(play())


async def answer(host: str, port: int, request: bytes) -> int:
    """Send a request within the SYN, or after it where there is no cookie; return the Operation Reply's code."""
    stream = await connect_tcp(host, port, fast_open=request)
    data = await receive_exactly(stream, 6)  # a short Authentication Reply, and the beginning of the next
    stream.abort()
    assert data[:2] == bytes.fromhex("06 00")
    return data[5]


def test_a_listener_takes_no_data_in_syns_unless_told_to(run: Run, two: Road) -> None:
    host = two.last_address()

    async def play() -> None:
        with two.last.entered():
            (listener,) = await listen_tcp(host, 0)
        for _ in range(2):
            stream = await connect_tcp(host, listener.local.port, fast_open=REQUEST)
            while (peer := listener.accept_nowait()) is None:
                await listener.wait_readable()
            assert await peer.receive() == REQUEST
            await peer.aclose()
            await stream.aclose()
        assert [syn.payload for syn in capture.syns(listener.local.port)] == [b"", b""]
        await listener.aclose()

    with two.first.capturing() as capture, two.first.entered():
        run(play())
