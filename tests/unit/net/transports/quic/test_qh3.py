"""What is ours in an engine of qh3: how much it takes, and what it says of what has left."""

import pytest

from socks6.net.transports.quic import qh3
from socks6.net.transports.quic.engine import (
    DATAGRAM_OVERHEAD,
    ClientParameters,
    FrameArrived,
    StreamBytes,
    StreamReset,
    Terminated,
)
from socks6.net.transports.quic.guard import EXCESSIVE_CODE, ExcessiveFrames
from socks6.net.transports.quic.qh3 import FRAMES_FED, Qh3Backend, Qh3Engine
from tests.kit.quic_link import CLIENT, Link, server_of, shaken

UNREAD = 200_000
MANY = 1_000_000


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Link:
    """Give two ends, whose server takes less than usual before it is read."""
    monkeypatch.setattr(qh3, "MAX_UNREAD_BYTES", UNREAD)
    monkeypatch.setattr(qh3, "MAX_UNREAD_FOR_OTHERS_BYTES", 3 * UNREAD)
    return shaken("qh3", "qh3")


def received(link: Link, stream_id: int) -> int:
    return sum(len(event.data) for event in link.of("server", StreamBytes) if event.stream_id == stream_id)


def test_what_nobody_reads_is_not_taken(link: Link) -> None:
    assert link.client.open_stream() == 0
    link.client.send(0, bytes(MANY), ended=True)
    link.rest(2.0)
    taken = received(link, 0)
    assert UNREAD < taken < 2 * UNREAD
    server = server_of(link)
    server.consumed(0, taken - UNREAD)
    link.rest(2.0)
    assert received(link, 0) == taken  # more than half of it is still unread
    server.consumed(0, UNREAD)
    link.rest(2.0)
    assert received(link, 0) > taken
    while received(link, 0) < MANY:
        server.consumed(0, received(link, 0) - taken)
        taken = received(link, 0)
        link.rest()
    assert not server.stalled


def test_others_pass_what_nobody_reads_until_that_is_too_much(link: Link) -> None:
    assert [link.client.open_stream() for _ in range(3)] == [0, 4, 8]
    link.client.send(0, bytes(MANY), ended=True)
    link.rest(2.0)
    server = server_of(link)
    assert (server.stalled, received(link, 0) < 2 * UNREAD) == (False, True)
    link.client.send(4, b"small", ended=True)  # brings what waits before it along
    link.rest(2.0)
    assert (received(link, 0), received(link, 4)) == (MANY, 5)
    link.client.send(8, b"small", ended=True)
    link.rest(2.0)
    stalled = [server.stalled]
    assert received(link, 8) == 0
    server.consumed(0, MANY)
    link.take_events()
    assert ([*stalled, server.stalled], received(link, 8)) == ([True, False], 5)


def test_a_reset_passes_too(link: Link) -> None:
    assert (link.client.open_stream(), link.client.open_stream()) == (0, 4)
    link.client.send(4, b"x", ended=False)
    link.client.send(0, bytes(MANY), ended=True)
    link.rest(2.0)
    link.client.reset(4, 9)
    link.rest(2.0)
    assert StreamReset(4, 9) in link.events["server"]


def test_frames_are_as_long_as_a_packet_and_wait_in_bounds(link: Link) -> None:
    size = link.client.largest_frame
    assert 1_000 < size <= 1_500 - DATAGRAM_OVERHEAD
    room = []
    for _ in range(-(-FRAMES_FED // (size + DATAGRAM_OVERHEAD))):
        room.append(link.client.room_for_frames)
        link.client.send_frame(bytes(size))
    assert all(room)
    room = [link.client.room_for_frames]
    link.rest()
    assert [*room, link.client.room_for_frames] == [False, True]
    assert len(link.of("server", FrameArrived)) * size > FRAMES_FED // 2


def test_a_stream_is_acknowledged_once_its_last_packets_are(link: Link) -> None:
    assert (link.client.open_stream(), link.client.open_stream()) == (0, 4)
    link.client.send(0, b"x", ended=True)
    link.client.to_send(link.now)  # lost
    assert (link.client.unsent(0), link.client.unacknowledged(0)) == (0, 1)
    link.until(lambda: link.client.unacknowledged(0) == 0)
    assert received(link, 0) == 1


def test_what_costs_too_much_closes_and_any_other_fault_ends(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = server_of(link)
    assert isinstance(engine, Qh3Engine)
    connection = engine._connection

    def raises(error: Exception) -> None:
        def fails(*_: object) -> None:
            raise error

        monkeypatch.setattr(connection, "take", fails)

    raises(RuntimeError())
    engine.receive(b"x", 1, CLIENT, link.now)
    assert engine.next_event() == Terminated(1, "RuntimeError")
    raises(ExcessiveFrames("too many"))
    engine.receive(b"x", 1, CLIENT, link.now)
    assert engine.next_event() == Terminated(EXCESSIVE_CODE, "too many")
    raises(AssertionError("is not called after the end"))
    engine.receive(b"x", 1, CLIENT, link.now)
    assert engine.next_event() is None


def test_nothing_is_known_before_the_first_packet() -> None:
    engine = Qh3Backend().client(ClientParameters(server_name="localhost"))
    assert (engine.round_trip, engine.unanswered_probes, engine.certificate) == (0.0, 0, b"")
    assert (engine.quiet, engine.credit_blocked, engine.largest_frame) == (True, False, 0)
