"""The pump's own decisions, with sides that give and take as told; whole relays are in test_streams."""

import socket
from collections import deque
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from typing_extensions import override

from socks6.net.poller import WRITABLE, Poller
from socks6.net.scratch import Scratch
from socks6.net.stream import EventStream
from socks6.relay.endpoints import StreamEndpoint
from socks6.relay.joined import DirectionState
from socks6.relay.polled import PIECES_PER_TURN, PolledStreams
from socks6.relay.pump import PumpDirection, pump_streams
from socks6.telemetry import Ending

READABLE = 1


class Side:
    """An end of the relay: `gives` is what it has, `takes` whether its socket takes what comes."""

    announces_end = False
    margin = 0

    def __init__(self) -> None:
        self.socket, self._peer = socket.socketpair()
        self.gives: deque[bytes | OSError | None] = deque()
        self.takes = True
        self.drained = False
        self.got: list[bytes] = []
        self.last: bool | None = None  # how it was ended
        self.broken: OSError | None = None

    def receive(self, scratch: Scratch) -> int | None:
        given = self.gives.popleft() if self.gives else None
        self.drained = not self.gives
        if isinstance(given, OSError):
            raise given
        if given is None:
            return None
        scratch.plain[: len(given)] = given
        return len(given)

    def put(self, data: bytes | memoryview) -> bool:
        if self.broken:
            raise self.broken
        self.got.append(bytes(data))
        return self.takes

    def flush(self) -> bool:
        return self.takes

    def end(self, *, last: bool) -> bool:
        self.last = last
        self.got.append(b"")
        return self.takes

    def close(self) -> None:
        self.socket.close()
        self._peer.close()


class Events:
    """The poller, as far as directions use it; `due` are those that go on in the next turn."""

    def __init__(self) -> None:
        self.due: list[object] = []
        self.writable: list[int] = []
        self.forgotten: list[int] = []
        self.scratch = Scratch()

    def add(self, descriptor: int, handler: object) -> None: ...

    def add_writable(self, descriptor: int) -> None:
        self.writable.append(descriptor)

    def forget(self, descriptor: int, handler: object) -> None:
        self.forgotten.append(descriptor)

    def later(self, handler: object) -> None:
        self.due.append(handler)


class Scene:
    """A client, a remote, and the relay between them."""

    def __init__(self) -> None:
        self.client, self.remote, self.events = Side(), Side(), Events()
        self.relay: PolledStreams = pump_streams(self.client, self.remote, cast("Poller", self.events))

    def turn(self) -> None:
        """Let whatever is due go on, as the poller does."""
        due, self.events.due = self.events.due, []
        for direction in due:
            assert isinstance(direction, PumpDirection)
            try:
                direction.go_on()
            except OSError as error:
                direction.fail(error)


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.client.close()
    made.remote.close()


def test_what_the_sides_hold_already_goes_without_an_event(scene: Scene) -> None:
    scene.client.gives.extend([b"a", b"b"])
    scene.relay.start(b"first")
    scene.turn()
    assert scene.remote.got == [b"first", b"a", b"b"]
    assert scene.relay.bytes_up == 7


def test_a_turn_has_an_end_and_another_follows(scene: Scene) -> None:
    scene.client.gives.extend([b"x"] * (PIECES_PER_TURN + 1))
    scene.relay.start()
    scene.turn()
    assert len(scene.remote.got) == PIECES_PER_TURN
    scene.turn()
    assert len(scene.remote.got) == PIECES_PER_TURN + 1


def test_a_piece_that_is_held_stops_its_source_and_counts_once_it_is_taken(scene: Scene) -> None:
    scene.remote.takes = False
    scene.client.gives.extend([b"held", b"next", b""])
    scene.relay.start()
    scene.turn()
    assert (scene.remote.got, scene.relay.bytes_up) == ([b"held"], 0)
    assert scene.events.writable == [scene.remote.socket.fileno()]
    scene.relay.down.on_events(WRITABLE)  # spurious: still nothing is taken
    assert scene.relay.bytes_up == 0
    scene.remote.takes = True
    scene.relay.down.on_events(WRITABLE)
    assert scene.remote.got == [b"held", b"next", b""]
    assert scene.relay.bytes_up == 8
    assert scene.relay.up.state is DirectionState.FINISHED


def test_an_end_that_is_held_is_passed_on_later(scene: Scene) -> None:
    scene.remote.takes = False
    scene.client.gives.append(b"")
    scene.relay.start()
    scene.turn()
    assert (scene.relay.up.state, scene.relay.up.complete) == (DirectionState.FINISHING, True)
    scene.remote.takes = True
    scene.relay.down.on_events(WRITABLE)
    assert scene.relay.up.state is DirectionState.FINISHED
    scene.remote.gives.append(b"")
    scene.relay.down.on_events(READABLE)
    assert (scene.relay.over, scene.relay.ending) == (True, Ending.DONE)
    assert (scene.remote.last, scene.client.last) == (False, True)
    assert sorted(scene.events.forgotten) == sorted(
        side.socket.fileno() for side in (scene.client, scene.remote)
    )


def test_a_sink_that_breaks_leaves_its_answer_and_has_the_source_read_on(scene: Scene) -> None:
    scene.remote.broken = BrokenPipeError(32, "Broken pipe")
    scene.remote.gives.append(b"413")
    scene.client.gives.extend([b"upload", b"more"])
    scene.relay.start()
    scene.turn()
    scene.turn()
    assert scene.relay.up.state is DirectionState.DROPPING
    assert not scene.client.gives
    assert scene.client.got == [b"413"]
    assert (scene.relay.bytes_up, scene.relay.bytes_down, scene.relay.over) == (0, 3, False)
    scene.remote.gives.append(b"")
    scene.relay.down.on_events(READABLE)
    assert (scene.relay.ending, scene.relay.reason) == (Ending.RESET, "remote: Broken pipe")


def test_a_source_that_breaks_cuts_both(scene: Scene) -> None:
    scene.client.gives.append(ConnectionResetError(104, "reset"))
    scene.relay.start()
    scene.turn()
    assert (scene.relay.ending, scene.relay.reason) == (Ending.RESET, "client: reset")
    assert scene.relay.up.state is scene.relay.down.state is DirectionState.CUT


class Reporting(EventStream):
    """A stream that reports: `gives` is what it has, `room` how much it takes."""

    def __init__(self) -> None:
        self.gives: list[bytes | OSError] = []
        self.room = 1 << 20
        self.got = b""
        self.ended = False
        self.why: OSError | None = None
        self.on_event: Callable[[], None] | None = None

    @override
    def report_to(self, on_event: Callable[[], None] | None) -> None:
        self.on_event = on_event

    def report(self) -> None:
        """Report an event, if anybody wants to know."""
        if self.on_event is not None:
            self.on_event()

    @property
    @override
    def readable(self) -> bool:
        return bool(self.gives)

    @property
    @override
    def refusal(self) -> OSError | None:
        return self.why

    @override
    def receive_nowait(self, max_bytes: int) -> bytes | None:
        given = self.gives.pop(0) if self.gives else None
        if isinstance(given, OSError):
            raise given
        return given

    @override
    def send_nowait(self, data: bytes | memoryview) -> int:
        if self.why is not None:
            raise self.why
        taken = bytes(data[: min(self.room, 100)])  # a piece at a time
        self.room -= len(taken)
        self.got += taken
        return len(taken)

    @override
    def end_nowait(self) -> None:
        self.ended = True


@pytest.fixture
def reporting() -> Iterator[tuple[Reporting, Side, PolledStreams, Events]]:
    client, remote, events = Reporting(), Side(), Events()
    relay = pump_streams(StreamEndpoint(client), remote, cast("Poller", events))
    relay.up.watch()
    relay.down.watch()
    yield client, remote, relay, events
    remote.close()


def test_a_stream_that_reports_is_relayed_by_its_reports(
    reporting: tuple[Reporting, Side, PolledStreams, Events],
) -> None:
    client, remote, relay, events = reporting
    client.gives = [b"question", b""]
    client.report()
    assert remote.got == [b"question", b""]
    client.room = 250
    remote.gives.append(b"answer" * 100)
    relay.down.go_on()
    assert client.got == (b"answer" * 100)[:250]
    assert relay.down.held
    assert events.writable == []  # it reports that without being asked
    client.room = 1000
    client.report()
    assert client.got == b"answer" * 100
    remote.gives.append(b"")
    relay.down.on_events(READABLE)
    assert client.ended
    assert relay.ending is Ending.DONE
    assert client.on_event is None
    assert (relay.bytes_up, relay.bytes_down) == (8, 600)


def test_that_its_peer_takes_no_more_is_noticed_at_once(
    reporting: tuple[Reporting, Side, PolledStreams, Events],
) -> None:
    client, _, relay, _ = reporting
    client.gives = [b""]
    client.report()
    client.why = ConnectionResetError(104, "the peer wants no more")
    client.report()
    assert relay.down.state is DirectionState.DROPPING
    assert relay.ending is Ending.RESET
    assert relay.reason == "client: the peer wants no more"


def test_what_such_a_stream_raises_ends_the_relay(
    reporting: tuple[Reporting, Side, PolledStreams, Events],
) -> None:
    client, remote, relay, _ = reporting
    client.gives = [b"before", ConnectionResetError(104, "gone")]
    client.report()
    assert remote.got == [b"before"]
    assert relay.ending is Ending.RESET
