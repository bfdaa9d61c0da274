"""Happy Eyeballs, and which error is told."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Hashable, Sequence

import pytest

from socks6.compat import override
from socks6.errors import (
    AddressTypeNotSupported,
    ConfigurationError,
    ConnectionRefused,
    ConnectionTimedOut,
    GeneralFailure,
    HostUnreachable,
    NetworkUnreachable,
    NotAllowed,
    OperationFailed,
    TlsFailed,
    operation_failure,
)
from socks6.message.codes import ReplyCode
from socks6.net import dial
from socks6.net.dial import (
    REPLY_FOR_ERRNO,
    dial_address,
    failure_for,
    happy_eyeballs,
    interleaved,
    reach_known_or_fresh,
    reply_for,
)
from socks6.net.resolve import ResolvedAddress, Resolver
from socks6.net.stream import Endpoint
from tests.kit.footprint import Footprint
from tests.kit.loops import Run
from tests.kit.streams import turns

FOUR = tuple(ResolvedAddress(socket.AF_INET, (f"192.0.2.{n}", 80)) for n in range(1, 4))
SIX = tuple(ResolvedAddress(socket.AF_INET6, (f"2001:db8::{n}", 80, 0, 0)) for n in range(1, 4))
HOST = Endpoint("host.example", 80)
MANY = [ResolvedAddress(socket.AF_INET, (f"198.51.100.{n}", 80)) for n in range(1, 13)]
LONG = 20.0  # a delay that no test waits for


class Network:
    """Says how the attempts at each address go: a socket when told to, or an error."""

    def __init__(self) -> None:
        self.attempts: dict[ResolvedAddress, asyncio.Future[None]] = {}
        self.sockets: dict[ResolvedAddress, socket.socket] = {}
        self.cancelled: list[ResolvedAddress] = []
        self.at_once: dict[ResolvedAddress, int] = {}

    async def dial(self, address: ResolvedAddress) -> socket.socket:
        if error := self.at_once.get(address):
            raise OSError(error, "no")
        self.attempts[address] = asyncio.get_running_loop().create_future()
        try:
            await self.attempts[address]
        except asyncio.CancelledError:
            self.cancelled.append(address)
            raise
        self.sockets[address] = socket.socket()
        return self.sockets[address]

    def answer(self, address: ResolvedAddress) -> None:
        self.attempts[address].set_result(None)

    def fail(self, address: ResolvedAddress, error: int) -> None:
        self.attempts[address].set_exception(OSError(error, "no"))

    @property
    def tried(self) -> list[ResolvedAddress]:
        return list(self.attempts)


def race(
    run: Run,
    addresses: Sequence[ResolvedAddress],
    play: "Callable[[Network, asyncio.Task[socket.socket]], object]",
    *,
    delay: float = LONG,
    deadline: float | None = None,
    room: Callable[[], bool] = lambda: True,
) -> None:
    """Start a race, `deadline` being so many seconds from now; `play` is a coroutine function that plays the network and looks at the outcome."""

    async def scene() -> None:
        network = Network()
        async with asyncio.TaskGroup() as group:
            until = None if deadline is None else asyncio.get_running_loop().time() + deadline
            racing = group.create_task(
                happy_eyeballs(addresses, network.dial, delay=delay, deadline=until, room=room)
            )
            await turns()
            await play(network, racing)  # type: ignore[misc]  # an awaitable, said shortly
        for sock in network.sockets.values():
            sock.close()

    run(scene())


def test_families_take_turns_beginning_with_the_best_address() -> None:
    assert interleaved([*SIX[:2], *FOUR]) == [SIX[0], FOUR[0], SIX[1], FOUR[1], FOUR[2]]
    assert interleaved([*FOUR[:1], *SIX]) == [FOUR[0], *SIX]


def test_a_family_can_be_preferred() -> None:
    assert interleaved([*SIX[:2], *FOUR[:2]], socket.AF_INET) == [FOUR[0], SIX[0], FOUR[1], SIX[1]]
    assert interleaved(SIX, socket.AF_INET) == list(SIX)


def test_no_addresses_stay_none() -> None:
    assert interleaved([]) == []


def test_only_eight_addresses_are_tried_whatever_a_name_has() -> None:
    assert interleaved(MANY) == MANY[:8]
    assert interleaved([*MANY, *SIX]) == [
        MANY[0], SIX[0], MANY[1], SIX[1], MANY[2], SIX[2], MANY[3], MANY[4],
    ]  # fmt: skip


def test_only_four_attempts_are_under_way_at_a_time(run: Run) -> None:
    async def play(network: Network, racing: asyncio.Task[socket.socket]) -> None:
        while len(network.tried) < 4:
            await turns()
        for _ in range(20):  # many times the delay between attempts
            await turns()
            await asyncio.sleep(0.001)
        assert network.tried == MANY[:4]
        network.fail(MANY[1], errno.ECONNREFUSED)
        while len(network.tried) < 5:
            await turns()
        network.answer(MANY[4])
        assert await racing is network.sockets[MANY[4]]
        assert sorted(network.cancelled) == [MANY[0], MANY[2], MANY[3]]

    race(run, MANY, play, delay=0.001)


def test_silent_addresses_give_their_place_to_the_next_in_time(run: Run) -> None:
    async def play(network: Network, racing: asyncio.Task[socket.socket]) -> None:
        while len(network.tried) < 8:
            await turns()
        assert sorted(network.cancelled) == MANY[:4]
        network.answer(MANY[7])
        assert await racing is network.sockets[MANY[7]]

    race(run, MANY[:8], play, delay=0.001, deadline=0.2)


def test_without_room_there_is_one_attempt_at_a_time(run: Run) -> None:
    async def play(network: Network, racing: asyncio.Task[socket.socket]) -> None:
        for _ in range(20):
            await turns()
            await asyncio.sleep(0.001)
        assert network.tried == MANY[:1]
        network.fail(MANY[0], errno.ECONNREFUSED)
        while len(network.tried) < 2:
            await turns()
        network.answer(MANY[1])
        assert await racing is network.sockets[MANY[1]]

    race(run, MANY, play, delay=0.001, room=lambda: False)


def test_a_single_address_needs_no_race(run: Run) -> None:
    async def play(network: Network, racing: asyncio.Task[socket.socket]) -> None:
        assert len(asyncio.all_tasks()) == 2  # the race's own, and this
        network.answer(FOUR[0])
        assert await racing is network.sockets[FOUR[0]]

    race(run, FOUR[:1], play)


def test_the_first_address_that_answers_wins(run: Run) -> None:
    async def play(network: Network, racing: asyncio.Task[socket.socket]) -> None:
        network.answer(SIX[0])
        assert await racing is network.sockets[SIX[0]]
        assert network.tried == [SIX[0]]

    race(run, [SIX[0], FOUR[0]], play)


def test_the_next_address_is_tried_at_once_when_one_fails(run: Run) -> None:
    async def play(network: Network, racing: asyncio.Task[socket.socket]) -> None:
        network.fail(SIX[0], errno.ENETUNREACH)
        await turns()
        assert network.tried == [SIX[0], FOUR[0]]
        network.answer(FOUR[0])
        assert await racing is network.sockets[FOUR[0]]

    race(run, [SIX[0], FOUR[0]], play)


def test_the_next_address_is_tried_after_a_while_when_one_is_silent(run: Run) -> None:
    async def play(network: Network, racing: asyncio.Task[socket.socket]) -> None:
        while FOUR[0] not in network.attempts:
            await turns()
        network.answer(FOUR[0])
        assert await racing is network.sockets[FOUR[0]]
        assert network.cancelled == [SIX[0]]

    race(run, [SIX[0], FOUR[0]], play, delay=0.01)


def test_a_slow_first_address_may_still_win(run: Run) -> None:
    async def play(network: Network, racing: asyncio.Task[socket.socket]) -> None:
        while FOUR[0] not in network.attempts:
            await turns()
        network.answer(SIX[0])
        assert await racing is network.sockets[SIX[0]]
        assert network.cancelled == [FOUR[0]]

    race(run, [SIX[0], FOUR[0]], play, delay=0.01)


def test_of_two_that_answer_together_one_is_closed(run: Run) -> None:
    async def play(network: Network, racing: asyncio.Task[socket.socket]) -> None:
        while FOUR[0] not in network.attempts:
            await turns()
        network.answer(SIX[0])
        network.answer(FOUR[0])
        winner = await racing
        assert winner is network.sockets[SIX[0]]
        assert winner.fileno() >= 0
        assert network.sockets[FOUR[0]].fileno() == -1

    race(run, [SIX[0], FOUR[0]], play, delay=0.01)


def test_the_last_address_gets_all_the_time_it_needs(run: Run) -> None:
    async def play(network: Network, racing: asyncio.Task[socket.socket]) -> None:
        while FOUR[0] not in network.attempts:
            await turns()
        network.fail(SIX[0], errno.ECONNREFUSED)
        await turns()
        network.answer(FOUR[0])
        assert await racing is network.sockets[FOUR[0]]

    race(run, [SIX[0], FOUR[0]], play, delay=0.01)


def test_a_cancelled_race_cancels_its_attempts(run: Run) -> None:
    async def play(network: Network, racing: asyncio.Task[socket.socket]) -> None:
        while FOUR[0] not in network.attempts:
            await turns()
        racing.cancel()
        await turns()
        assert racing.cancelled()
        assert sorted(network.cancelled) == sorted([SIX[0], FOUR[0]])

    race(run, [SIX[0], FOUR[0]], play, delay=0.01)


def test_a_race_cancelled_as_it_is_won_closes_the_winner(run: Run) -> None:
    async def play(network: Network, racing: asyncio.Task[socket.socket]) -> None:
        network.answer(SIX[0])
        await asyncio.sleep(0)  # the attempt has its socket, the race does not know yet
        racing.cancel()
        await turns()
        assert racing.cancelled()
        assert network.sockets[SIX[0]].fileno() == -1

    race(run, [SIX[0], FOUR[0]], play)


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ((errno.ENETUNREACH, errno.ECONNREFUSED), errno.ECONNREFUSED),
        ((errno.ECONNREFUSED, errno.ENETUNREACH), errno.ECONNREFUSED),
        ((errno.ENETUNREACH, errno.EHOSTUNREACH), errno.EHOSTUNREACH),
        ((errno.ETIMEDOUT, errno.ENETUNREACH), errno.ETIMEDOUT),
        ((errno.EMFILE, errno.EAFNOSUPPORT), errno.EAFNOSUPPORT),
        ((errno.EACCES, errno.EMFILE), errno.EACCES),
        ((errno.EMFILE, errno.EADDRNOTAVAIL), errno.EMFILE),
    ],
)
def test_of_several_errors_the_most_telling_is_told(run: Run, errors: tuple[int, int], expected: int) -> None:
    async def scene() -> None:
        network = Network()
        network.at_once = dict(zip((SIX[0], FOUR[0]), errors, strict=True))
        with pytest.raises(OSError, match="no") as raised:
            await happy_eyeballs((SIX[0], FOUR[0]), network.dial, delay=LONG)
        assert raised.value.errno == expected

    run(scene())


def test_an_address_is_dialled(run: Run) -> None:
    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            sock = await dial_address(ResolvedAddress(socket.AF_INET, server.getsockname()))
            assert sock.getpeername() == server.getsockname()
            sock.close()

    run(scene())


def test_a_lost_race_leaves_no_socket(run: Run) -> None:
    async def scene() -> None:
        with socket.socket() as full, socket.create_server(("127.0.0.1", 0)) as server:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            with socket.create_connection(full.getsockname()):
                before = Footprint.of().descriptors
                silent = ResolvedAddress(socket.AF_INET, full.getsockname())
                there = ResolvedAddress(socket.AF_INET, server.getsockname())
                sock = await happy_eyeballs([silent, there], dial_address, delay=0.01)
                assert sock.getpeername() == server.getsockname()
                sock.close()
                assert Footprint.of().descriptors <= before

    run(scene())


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (OSError(errno.ENETUNREACH, "x"), NetworkUnreachable),
        (OSError(errno.ENETDOWN, "x"), NetworkUnreachable),
        (OSError(errno.EHOSTUNREACH, "x"), HostUnreachable),
        (OSError(errno.EHOSTDOWN, "x"), HostUnreachable),
        (OSError(errno.ECONNREFUSED, "x"), ConnectionRefused),
        (OSError(errno.EAFNOSUPPORT, "x"), AddressTypeNotSupported),
        (OSError(errno.ETIMEDOUT, "x"), ConnectionTimedOut),
        (TimeoutError(), ConnectionTimedOut),
        (OSError(errno.EACCES, "x"), NotAllowed),
        (OSError(errno.EPERM, "x"), NotAllowed),
        (OSError(errno.EMFILE, "x"), GeneralFailure),
        (OSError("x"), GeneralFailure),
        (socket.gaierror(socket.EAI_NONAME, "x"), HostUnreachable),
        (socket.gaierror(socket.EAI_AGAIN, "x"), HostUnreachable),
        (socket.gaierror(socket.EAI_FAMILY, "x"), AddressTypeNotSupported),
        (socket.gaierror(socket.EAI_MEMORY, "x"), GeneralFailure),
        (socket.gaierror("x"), GeneralFailure),
    ],
)
def test_an_error_of_the_system_has_its_reply(error: OSError, failure: type[OperationFailed]) -> None:
    failed = failure_for(error)
    assert type(failed) is failure
    assert failed.code == failure.default_code == reply_for(error)
    assert failed.reason


def test_a_reason_is_the_systems_words() -> None:
    assert failure_for(OSError(errno.ECONNREFUSED, "Connection refused")).reason == "Connection refused"


def test_a_failure_stays_what_it_is() -> None:
    failure = operation_failure(0x77, "odd")
    assert failure_for(failure) is failure
    assert reply_for(failure) == 0x77


def test_every_reply_for_an_error_is_a_failure() -> None:
    assert ReplyCode.SUCCEEDED not in REPLY_FOR_ERRNO.values()


class Known(Resolver):
    """Remembers four addresses; `newer` says whether there are others by now."""

    def __init__(self, newer: "Callable[[], Awaitable[Sequence[ResolvedAddress]]]") -> None:
        self._newer = newer

    @override
    async def resolve(self, host: str, port: int, *, holder: Hashable = None) -> tuple[ResolvedAddress, ...]:
        return FOUR

    @override
    async def newer(
        self, host: str, port: int, known: Sequence[ResolvedAddress]
    ) -> tuple[ResolvedAddress, ...]:
        assert known == FOUR
        return tuple(await self._newer())

    @override
    def doubt(self, host: str) -> None:
        pass


async def none() -> Sequence[ResolvedAddress]:
    return ()


async def six() -> Sequence[ResolvedAddress]:
    return SIX[:1]


async def given_up() -> Sequence[ResolvedAddress]:
    raise TimeoutError


class Reached:
    """Reaches addresses as it was told; keeps what was thrown away."""

    def __init__(self, **outcomes: str | Exception) -> None:
        self.outcomes = outcomes
        self.goes_on = asyncio.Event()
        self.discarded: list[str] = []

    async def __call__(self, addresses: Sequence[ResolvedAddress]) -> str:
        outcome = self.outcomes["known" if addresses == FOUR else "newer"]
        if isinstance(outcome, Exception):
            raise outcome
        if outcome == "late":
            await self.goes_on.wait()
        self.goes_on.set()
        return outcome


@pytest.mark.parametrize(
    ("reach", "newer", "reached"),
    [
        (Reached(known="first"), given_up, "first"),
        (Reached(known=OSError(errno.ECONNREFUSED, "no"), newer="moved"), six, "moved"),
    ],
)
def test_newer_addresses_are_asked_for_when_nobody_is_at_the_known_ones(
    run: Run, reach: Reached, newer: "Callable[[], Awaitable[Sequence[ResolvedAddress]]]", reached: str
) -> None:
    async def scene() -> None:
        assert await reach_known_or_fresh(Known(newer), HOST, reach, reach.discarded.append) == reached

    run(scene())


def test_what_is_known_and_what_is_newer_race(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "STALE_GRACE_SECONDS", 0.001)

    async def scene() -> None:
        reach = Reached(known="late", newer="newer")
        assert await reach_known_or_fresh(Known(six), HOST, reach, reach.discarded.append) == "newer"
        assert reach.discarded in ([], ["late"])
        for nothing in (none, given_up):
            reach = Reached(known="late")
            asyncio.get_running_loop().call_later(0.01, reach.goes_on.set)
            assert await reach_known_or_fresh(Known(nothing), HOST, reach, reach.discarded.append) == "late"

    run(scene())


def test_a_name_is_looked_up_again_while_nobody_answers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "STALE_GRACE_SECONDS", 0.001)
    monkeypatch.setattr(dial, "FRESH_LOOKUP_SECONDS", 0.001)
    asked: list[None] = []

    async def newer() -> Sequence[ResolvedAddress]:
        asked.append(None)
        return SIX[:1] if len(asked) > 3 else ()

    async def scene() -> None:
        reach = Reached(known="late", newer="newer")
        assert await reach_known_or_fresh(Known(newer), HOST, reach, reach.discarded.append) == "newer"
        assert len(asked) == 4

    run(scene())


@pytest.mark.parametrize(
    "failure", [TlsFailed("another"), ConfigurationError("no"), OSError(errno.EHOSTUNREACH, "no")]
)
def test_the_failure_that_tells_most_is_raised(run: Run, failure: Exception) -> None:
    async def scene() -> None:
        reach = Reached(known=failure, newer=OSError(errno.ENETUNREACH, "no"))
        with pytest.raises(type(failure)) as raised:
            await reach_known_or_fresh(Known(six), HOST, reach, reach.discarded.append)
        assert raised.value is failure

    run(scene())


def test_who_gives_up_keeps_nothing(run: Run) -> None:
    async def scene() -> None:
        reach = Reached(known="late")
        task = asyncio.create_task(reach_known_or_fresh(Known(none), HOST, reach, reach.discarded.append))
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(scene())
