"""Listening on behalf of a client."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from socks6.errors import GeneralFailure, HostUnreachable, NotAllowed, OperationFailed
from socks6.message.options import HappyEyeballs, Multipath, NoFragmentation, StackOption, Tfo, Tos, Ttl
from socks6.net.bind import DirectBinding, unmapped
from socks6.net.direct import DirectOutbound
from socks6.net.resolve import ResolvedAddress, Resolver
from socks6.net.stream import Binding, Endpoint
from tests.kit.footprint import Footprint
from tests.kit.loops import Run
from tests.kit.reach import knowing

Play = Callable[[DirectOutbound], Awaitable[None]]


def anybody(address: str, port: int) -> bool:
    return True


def playing(run: Run, play: Play, made: DirectOutbound | None = None) -> None:
    """Run a scene with an outbound; nothing may be left open."""

    async def scene() -> None:
        before = Footprint.of().descriptors
        way = made or DirectOutbound()
        await play(way)
        await way.aclose()
        assert Footprint.of().descriptors <= before

    run(scene())


async def bound(
    way: DirectOutbound, host: str = "127.0.0.1", port: int = 0, *options: StackOption, backlog: int = 0
) -> Binding:
    return await way.bind(host, port, judge=anybody, judge_peer=anybody, options=options, backlog=backlog)


@contextmanager
def calling(place: Endpoint) -> Iterator[socket.socket]:
    """Connect as a peer does."""
    with socket.create_connection(place, timeout=10) as sock:
        yield sock


def refused(place: Endpoint) -> bool:
    """Tell whether nobody listens there."""
    with socket.socket(socket.AF_INET6 if ":" in place.host else socket.AF_INET) as sock:
        return sock.connect_ex(place) == errno.ECONNREFUSED


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_peer_comes_to_the_place_that_was_asked_for(run: Run, host: str) -> None:
    async def play(way: DirectOutbound) -> None:
        binding = await bound(way, host)
        assert binding.bound.host == host
        with calling(binding.bound) as peer:
            accepted = await binding.accept()
            assert accepted.peer == Endpoint(*peer.getsockname()[:2])
            assert accepted.stream.remote == accepted.peer
            peer.sendall(b"hello")
            assert await accepted.stream.receive() == b"hello"
            await accepted.stream.aclose()
        await binding.aclose()

    playing(run, play)


def test_without_a_backlog_there_is_one_peer(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        binding = await bound(way)
        assert binding.backlog == 0
        with calling(binding.bound):
            (await binding.accept()).stream.abort()
        assert refused(binding.bound)
        with pytest.raises(OperationFailed):
            await binding.accept()
        await binding.aclose()

    playing(run, play)


def test_with_a_backlog_peers_wait_and_come_in_order(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        binding = await bound(way, backlog=3)
        assert binding.backlog == 3
        with calling(binding.bound) as first, calling(binding.bound) as second:
            for peer in (first, second):
                accepted = await binding.accept()
                assert accepted.peer.port == peer.getsockname()[1]
                accepted.stream.abort()
        await binding.aclose()

    playing(run, play)


def test_no_more_wait_than_the_kernel_keeps_for_the_backlog(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        binding = await bound(way, backlog=2)
        callers = [socket.socket() for _ in range(6)]
        for caller in callers:
            caller.settimeout(0.02)
            caller.connect_ex(binding.bound)
        came = 0
        while True:
            try:
                async with asyncio.timeout(0.05):
                    (await binding.accept()).stream.abort()
                came += 1
            except TimeoutError:
                break
        assert came == 3  # Linux takes one more than it is told
        for caller in callers:
            caller.close()
        await binding.aclose()

    playing(run, play)


def test_closing_frees_the_port_and_resets_who_waits(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        binding = await bound(way, backlog=3)
        with calling(binding.bound) as waiting:
            await binding.aclose()
            await binding.aclose()
            with pytest.raises(ConnectionResetError):
                waiting.recv(1)
        assert refused(binding.bound)

    playing(run, play)


def test_closing_ends_an_accept_that_waits(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        binding = await bound(way)
        async with asyncio.TaskGroup() as group:

            async def wait() -> None:
                with pytest.raises(GeneralFailure):
                    await binding.accept()

            group.create_task(wait())
            asyncio.get_running_loop().call_soon(lambda: group.create_task(binding.aclose()))

    playing(run, play)


def test_a_cancelled_accept_loses_nobody(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        binding = await bound(way)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await binding.accept()
        with calling(binding.bound):
            (await binding.accept()).stream.abort()
        await binding.aclose()

    playing(run, play)


def test_who_may_not_connect_is_dropped_and_waiting_goes_on(run: Run) -> None:
    asked: list[tuple[str, int]] = []

    def judge_peer(address: str, port: int) -> bool:
        asked.append((address, port))
        return address != "127.0.0.1"

    async def play(way: DirectOutbound) -> None:
        binding = await way.bind("0.0.0.0", 0, judge=anybody, judge_peer=judge_peer)
        port = binding.bound.port
        with calling(Endpoint("127.0.0.1", port)) as stranger, socket.socket() as friend:
            friend.bind(("127.0.0.2", 0))
            friend.connect(("127.0.0.1", port))
            accepted = await binding.accept()
            assert accepted.peer == Endpoint(*friend.getsockname())
            assert asked == [stranger.getsockname(), friend.getsockname()]
            with pytest.raises(ConnectionResetError):
                stranger.recv(1)
            accepted.stream.abort()
        await binding.aclose()

    playing(run, play)


@pytest.mark.parametrize(
    ("host", "family"),
    [("0.0.0.0", socket.AF_INET), ("::", socket.AF_INET6), ("::ffff:0.0.0.0", socket.AF_INET)],
)
def test_an_unspecified_address_is_every_address_of_its_family(run: Run, host: str, family: int) -> None:
    mine, others = {socket.AF_INET: ("127.0.0.1", "::1"), socket.AF_INET6: ("::1", "127.0.0.1")}[
        socket.AddressFamily(family)
    ]

    async def play(way: DirectOutbound) -> None:
        binding = await bound(way, host)
        assert binding.bound.host == unmapped(host)
        assert refused(Endpoint(others, binding.bound.port))
        with calling(Endpoint(mine, binding.bound.port)):
            accepted = await binding.accept()
            assert accepted.peer.host == mine
            accepted.stream.abort()
        await binding.aclose()

    playing(run, play)


def test_the_port_that_was_asked_for_is_had_or_refused(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        first = await bound(way)
        with pytest.raises(GeneralFailure, match="in use"):
            await bound(way, "127.0.0.1", first.bound.port)
        await first.aclose()
        second = await bound(way, "127.0.0.1", first.bound.port)
        assert second.bound == first.bound
        await second.aclose()

    playing(run, play)


def test_any_port_is_one_of_those_for_it_and_another_if_it_is_taken(run: Run) -> None:
    free = _free()
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]

        async def play(way: DirectOutbound) -> None:
            first = await bound(way)
            assert first.bound.port == free
            with pytest.raises(GeneralFailure, match="in use"):
                await bound(way)
            elsewhere = await bound(way, "127.0.0.2")
            assert elsewhere.bound.port in {free, taken}
            asked = await bound(way, "127.0.0.1", _free())
            assert asked.bound.port not in {free, taken}
            for binding in (first, elsewhere, asked):
                await binding.aclose()

        playing(run, play, DirectOutbound(bind_ports=(free, taken)))


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_connections_of_before_do_not_keep_a_port(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        first = await bound(way)
        with calling(first.bound):
            accepted = await first.accept()
            await accepted.stream.aclose()  # ours is the end that lingers
            second = await bound(way, "127.0.0.1", first.bound.port)
            await second.aclose()

    playing(run, play)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_an_address_that_is_not_ours_is_a_general_failure(run: Run, host: str) -> None:
    async def play(way: DirectOutbound) -> None:
        with pytest.raises(GeneralFailure, match="assign"):
            await bound(way, host)

    playing(run, play)


def test_of_a_name_the_first_address_is_bound_that_may_be_and_can_be(run: Run) -> None:
    asked: list[str] = []

    def judge(address: str, port: int) -> bool:
        asked.append(address)
        return address != "127.0.0.1"

    async def play(way: DirectOutbound) -> None:
        binding = await way.bind("several", 0, judge=judge, judge_peer=anybody)
        assert binding.bound.host == "127.0.0.2"
        await binding.aclose()

    hosts = ["127.0.0.1", "192.0.2.1", "127.0.0.2"]
    playing(run, play, DirectOutbound(knowing({"several": hosts})))
    assert asked == hosts


def test_a_name_without_an_address_is_host_unreachable(run: Run) -> None:
    def look_up(name: bytes, port: int) -> Sequence[ResolvedAddress]:
        return []

    async def play(way: DirectOutbound) -> None:
        with pytest.raises(HostUnreachable):
            await bound(way, "nowhere")

    playing(run, play, DirectOutbound(Resolver(lookup=look_up)))


def test_what_may_not_be_bound_is_not_allowed(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        with pytest.raises(NotAllowed):
            await way.bind("127.0.0.1", 0, judge=lambda _address, _port: False, judge_peer=anybody)

    playing(run, play)


class Troubled(socket.socket):
    """A listening socket whose first calls fail."""

    troubles: list[int]

    def _accept(self) -> tuple[int, object]:
        if self.troubles:
            raise OSError(self.troubles.pop(0), "trouble")
        accepted: tuple[int, object] = super()._accept()  # type: ignore[misc]  # what `accept` is made of
        return accepted


def test_short_of_descriptors_it_waits_for_better_times(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        sock = Troubled()
        sock.troubles = [errno.EMFILE, errno.ECONNABORTED, errno.ENFILE]
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        binding = DirectBinding([sock], judge_peer=anybody, backlog=0, pause=0.01)
        with calling(binding.bound):
            (await binding.accept()).stream.abort()
        assert not sock.troubles

    playing(run, play)


def test_options_are_in_force_for_who_comes_and_told_both_times(run: Run) -> None:
    asked = (Tos(leg=2, tos=0x48), Ttl(leg=3, ttl=33), NoFragmentation(leg=2, availability=2))
    told = (Tos(leg=2, tos=0x48), Ttl(leg=2, ttl=33), NoFragmentation(leg=2, availability=2))

    async def play(way: DirectOutbound) -> None:
        binding = await bound(way, "127.0.0.1", 0, *asked, HappyEyeballs(availability=2), Tos(leg=1, tos=4))
        assert binding.options == told
        with calling(binding.bound):
            accepted = await binding.accept()
            assert accepted.options == told
            raw = accepted.stream.raw_socket
            assert raw is not None
            assert raw.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 33
            accepted.stream.abort()
        await binding.aclose()

    playing(run, play)


def test_a_peer_without_mptcp_is_told_apart_from_the_promise(run: Run) -> None:
    async def play(way: DirectOutbound) -> None:
        binding = await bound(way, "127.0.0.1", 0, Multipath(availability=2))
        assert binding.options == (Multipath(availability=2),)
        with calling(binding.bound):
            accepted = await binding.accept()
            assert accepted.options == (Multipath(availability=1),)
            accepted.stream.abort()
        await binding.aclose()

    playing(run, play)


@pytest.mark.parametrize(("asked", "waiting"), [((), 0), ((Tfo(payload_size=9),), 5)])
def test_fast_open_is_accepted_only_when_asked_for(
    run: Run, asked: tuple[StackOption, ...], waiting: int
) -> None:
    async def play(way: DirectOutbound) -> None:
        binding = await bound(way, "127.0.0.1", 0, *asked, backlog=5)
        assert isinstance(binding, DirectBinding)
        assert binding.options == ((Tfo(payload_size=0),) if asked else ())
        sock = binding._listeners[0]._socket
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN) == waiting
        await binding.aclose()

    playing(run, play)


def test_a_mapped_address_is_an_ipv4_one() -> None:
    assert unmapped("::ffff:192.0.2.1") == "192.0.2.1"
    assert unmapped("2001:db8::1") == "2001:db8::1"
    assert unmapped("example.com") == "example.com"
    assert unmapped("no:address") == "no:address"


class TestNoAddressInParticular:
    """Sockets at certain addresses instead of one at all of them."""

    def test_each_address_gets_a_socket_at_the_same_port_and_others_none(self, run: Run) -> None:
        async def play(way: DirectOutbound) -> None:
            binding = await way.bind(
                "0.0.0.0",
                0,
                judge=anybody,
                judge_peer=anybody,
                backlog=3,
                instead=(("192.0.2.77",), ("127.0.0.2", "192.0.2.78", "127.0.0.3"), ("127.0.0.4",)),
            )
            port = binding.bound.port
            assert binding.bound.host == "0.0.0.0"
            assert binding.endpoints == (Endpoint("127.0.0.2", port), Endpoint("127.0.0.3", port))
            assert refused(Endpoint("127.0.0.1", port))
            assert refused(Endpoint("127.0.0.4", port))
            for place in reversed(binding.endpoints):
                waiting = asyncio.ensure_future(binding.accept())
                await asyncio.sleep(0)
                with calling(place) as peer:
                    accepted = await waiting
                    assert accepted.peer == Endpoint(*peer.getsockname()[:2])
                    accepted.stream.abort()
            await binding.aclose()
            assert all(map(refused, binding.endpoints))

        playing(run, play)

    def test_a_wait_that_is_cancelled_loses_nobody_and_closing_ends_it(self, run: Run) -> None:
        async def play(way: DirectOutbound) -> None:
            binding = await way.bind(
                "0.0.0.0",
                0,
                judge=anybody,
                judge_peer=anybody,
                backlog=3,
                instead=(("127.0.0.2", "127.0.0.3"),),
            )
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await binding.accept()
            with calling(binding.endpoints[1]):
                (await binding.accept()).stream.abort()
            waiting = asyncio.ensure_future(binding.accept())
            await asyncio.sleep(0)
            await binding.aclose()
            with pytest.raises(GeneralFailure):
                await waiting

        playing(run, play)

    def test_where_the_machine_has_none_of_them_every_address_is_bound(self, run: Run) -> None:
        async def play(way: DirectOutbound) -> None:
            binding = await way.bind(
                "0.0.0.0",
                0,
                judge=anybody,
                judge_peer=anybody,
                instead=((), ("192.0.2.77", "proxy.example"), ("192.0.2.78",)),
            )
            assert binding.endpoints == (binding.bound,)
            with calling(Endpoint("127.0.0.1", binding.bound.port)):
                (await binding.accept()).stream.abort()

        playing(run, play)

    def test_a_port_that_is_taken_at_one_of_them_is_taken(self, run: Run) -> None:
        async def play(way: DirectOutbound) -> None:
            with socket.create_server(("127.0.0.3", 0)) as taken:
                port = taken.getsockname()[1]
                with pytest.raises(GeneralFailure):
                    await way.bind(
                        "0.0.0.0",
                        port,
                        judge=anybody,
                        judge_peer=anybody,
                        instead=(("127.0.0.2", "127.0.0.3"), ("127.0.0.4",)),
                    )

        playing(run, play)
