"""The direct outbound by itself."""

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from socks6.errors import (
    AddressTypeNotSupported,
    ConnectionRefused,
    ConnectionTimedOut,
    GeneralFailure,
    HostUnreachable,
    NotAllowed,
)
from socks6.net.direct import DirectOutbound
from socks6.net.resolve import ResolvedAddress, Resolver
from socks6.net.stream import Endpoint
from tests.kit.footprint import Footprint
from tests.kit.loops import Run
from tests.kit.streams import turns, until


class Rules:
    """A judge that keeps what it was asked."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.asked: list[tuple[str, int]] = []

    def __call__(self, address: str, port: int) -> bool:
        self.asked.append((address, port))
        return address not in self.refused


@contextmanager
def server(host: str = "127.0.0.1") -> Iterator[int]:
    """Listen on loopback; yield the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as sock:
        yield sock.getsockname()[1]


@contextmanager
def silence() -> Iterator[tuple[str, int]]:
    """Yield an address of a whole network that answers no SYN: a listener with a full backlog."""
    with socket.socket() as full:
        full.bind(("", 0))
        full.listen(0)
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            yield "127.0.0.1", port


def names(**table: Sequence[str]) -> Resolver:
    """Return a resolver that knows these names."""

    def look_up(name: bytes, port: int) -> Sequence[ResolvedAddress]:
        try:
            hosts = table[name.decode()]
        except KeyError:
            raise socket.gaierror(socket.EAI_NONAME, "no such name") from None
        return [
            ResolvedAddress(socket.AF_INET6, (host, port, 0, 0))
            if ":" in host
            else ResolvedAddress(socket.AF_INET, (host, port))
            for host in hosts
        ]

    return Resolver(lookup=look_up)


def outbound(
    run: Run, play: "Callable[[DirectOutbound], object]", made: DirectOutbound | None = None
) -> None:
    """Run a scene with an outbound, closed afterwards; nothing may be left open."""

    async def scene() -> None:
        before = Footprint.of().descriptors
        way = made or DirectOutbound()
        await play(way)  # type: ignore[misc]  # a coroutine function, said shortly
        await way.aclose()
        await way.aclose()
        assert Footprint.of().descriptors <= before

    run(scene())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_literal_is_judged_and_reached(run: Run, host: str) -> None:
    async def play(way: DirectOutbound) -> None:
        with server(host) as port:
            rules = Rules()
            connection = await way.connect(host, port, judge=rules)
            assert rules.asked == [(host, port)]
            assert connection.stream.remote == Endpoint(host, port)
            assert connection.bound == connection.stream.local
            assert connection.bound.port != port
            connection.stream.abort()

    outbound(run, play)


def test_unasked_nothing_is_told_and_no_data_goes_ahead(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        with server() as port:
            connection = await way.connect("127.0.0.1", port, judge=Rules(), first_data=b"hello")
            assert connection.options == ()
            assert connection.first_data_sent == 0
            connection.stream.abort()

    outbound(run, play)


def test_a_name_is_resolved_and_each_address_judged(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        with server() as port:
            rules = Rules("::1")
            connection = await way.connect("both", port, judge=rules)
            assert sorted(rules.asked) == [("127.0.0.1", port), ("::1", port)]
            assert connection.stream.remote == Endpoint("127.0.0.1", port)
            connection.stream.abort()

    outbound(run, play, DirectOutbound(names(both=("::1", "127.0.0.1"))))


def test_an_address_that_refuses_gives_way_to_the_next(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        with server() as port:
            connection = await way.connect("both", port, judge=Rules())
            assert connection.stream.remote.host == "127.0.0.1"
            connection.stream.abort()

    outbound(run, play, DirectOutbound(names(both=("::1", "127.0.0.1"))))


def test_a_family_can_be_preferred(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        with server() as port, socket.create_server(("::1", port), family=socket.AF_INET6):
            connection = await way.connect("both", port, judge=Rules())
            assert connection.stream.remote.host == "127.0.0.1"
            connection.stream.abort()

    outbound(run, play, DirectOutbound(names(both=("::1", "127.0.0.1")), first_family=socket.AF_INET))


def test_no_address_that_may_be_reached_is_not_allowed(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        with server() as port, pytest.raises(NotAllowed):
            await way.connect("both", port, judge=Rules("::1", "127.0.0.1"))

    outbound(run, play, DirectOutbound(names(both=("::1", "127.0.0.1"))))


def test_a_refused_literal_is_not_allowed(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        with server() as port, pytest.raises(NotAllowed):
            await way.connect("127.0.0.1", port, judge=Rules("127.0.0.1"))

    outbound(run, play)


def test_nobody_listening_is_a_refusal(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        with server() as port:
            pass
        with pytest.raises(ConnectionRefused):
            await way.connect("127.0.0.1", port, judge=Rules())

    outbound(run, play)


def test_port_0_is_refused_without_trying(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        with pytest.raises(ConnectionRefused):
            await way.connect("127.0.0.1", 0, judge=Rules())

    outbound(run, play)


def test_an_unknown_name_is_an_unreachable_host(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        with pytest.raises(HostUnreachable, match="no such name"):
            await way.connect("nowhere", 80, judge=Rules())

    outbound(run, play, DirectOutbound(names()))


def test_a_lookup_that_takes_too_long_is_a_time_out(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        with pytest.raises(ConnectionTimedOut):
            await way.connect("slow", 80, judge=Rules())

    outbound(run, play, DirectOutbound(Resolver(lookup=lambda name, port: [], timeout=0.0)))


def test_a_host_that_does_not_answer_is_a_time_out(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        with silence() as place, pytest.raises(ConnectionTimedOut):
            await way.connect(*place, judge=Rules())

    outbound(run, play, DirectOutbound(connect_timeout=0.03))


def test_one_holder_leaves_descriptors_to_connect_to_others(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        with silence() as place, server() as port:
            silent = [
                asyncio.create_task(way.connect(*place, judge=Rules(), holder="mallory")) for _ in range(4)
            ]
            await turns()
            with pytest.raises(GeneralFailure, match="too many connections"):
                await way.connect("127.0.0.1", port, judge=Rules(), holder="mallory")
            connection = await way.connect("127.0.0.1", port, judge=Rules(), holder="alice")
            connection.stream.abort()
            for task in silent:
                task.cancel()
            await asyncio.wait(silent)
            connection = await way.connect("127.0.0.1", port, judge=Rules(), holder="mallory")
            connection.stream.abort()

    outbound(run, play, DirectOutbound(descriptors=8))


def test_a_name_with_many_silent_addresses_takes_four_descriptors(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        with silence() as (_, port):
            before = Footprint.of().descriptors
            task = asyncio.create_task(way.connect("many", port, judge=Rules()))
            await until(lambda: Footprint.of().descriptors >= before + 4)
            for _ in range(20):
                await turns()
                await asyncio.sleep(0.001)
            assert Footprint.of().descriptors == before + 4
            task.cancel()
            await asyncio.wait((task,))

    hosts = [f"127.0.1.{number}" for number in range(1, 201)]
    outbound(run, play, DirectOutbound(names(many=hosts), attempt_delay=0.001))


def test_a_race_that_nobody_wins_in_time_is_a_time_out(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        with silence() as (_, port), pytest.raises(ConnectionTimedOut):
            await way.connect("twice", port, judge=Rules())

    made = DirectOutbound(names(twice=("127.0.0.1", "127.0.0.2")), connect_timeout=0.05, attempt_delay=0.01)
    outbound(run, play, made)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
def test_an_unspecified_address_is_no_destination(run: Run, host: str) -> None:
    async def play(way: DirectOutbound) -> None:
        with server() as port, pytest.raises(NotAllowed):
            await way.connect(host, port, judge=Rules())

    outbound(run, play)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_name_that_leads_nowhere_is_not_allowed(run: Run, host: str) -> None:
    async def play(way: DirectOutbound) -> None:
        with server() as port, pytest.raises(NotAllowed):
            await way.connect("blocked", port, judge=Rules())

    outbound(run, play, DirectOutbound(names(blocked=(host,))))


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_the_dns_service_is_refused_when_there_is_none(run: Run, host: str) -> None:
    async def play(way: DirectOutbound) -> None:
        with pytest.raises(ConnectionRefused):
            await way.connect(host, 53, judge=Rules())

    outbound(run, play)


def test_the_dns_service_is_the_configured_server(run: Run) -> None:
    async def play_with(port: int) -> None:
        way = DirectOutbound(dns_server=Endpoint("127.0.0.1", port))
        rules = Rules()
        connection = await way.connect("0.0.0.0", 53, judge=rules)
        assert rules.asked == []
        assert connection.stream.remote == Endpoint("127.0.0.1", port)
        assert connection.bound == Endpoint("0.0.0.0", 0)
        connection.stream.abort()
        await way.aclose()

    with server() as port:
        run(play_with(port))


def test_an_address_of_no_known_family_is_told_as_such(run: Run) -> None:
    def look_up(name: bytes, port: int) -> Sequence[ResolvedAddress]:
        return [
            ResolvedAddress(
                socket.AF_BLUETOOTH if hasattr(socket, "AF_BLUETOOTH") else 99, ("127.0.0.1", port)
            )
        ]

    async def play(way: DirectOutbound) -> None:
        with pytest.raises((AddressTypeNotSupported, GeneralFailure)):
            await way.connect("odd", 80, judge=Rules())

    outbound(run, play, DirectOutbound(Resolver(lookup=look_up)))
