"""What is ours in aioquic's connection: credit that follows the reading, small windows for strangers."""

import pytest
from aioquic.quic.connection import QuicReceiveContext
from aioquic.tls import Epoch

from socks6.net.transports.quic.aioquic import (
    FRAMES_FED,
    STRANGERS_WINDOW,
    WORTH_TELLING,
    AioquicEngine,
)
from socks6.net.transports.quic.engine import (
    PingAnswered,
    StreamBytes,
    Terminated,
)
from socks6.net.transports.quic.guard import EXCESSIVE_CODE
from tests.kit.quic_hostile import STORMS
from tests.kit.quic_link import CLIENT, Link, server_of, shaken

STREAM = STRANGERS_WINDOW // 2


def flooded(link: Link) -> None:
    """Have a client send on a stream as much as it may."""
    assert link.client.open_stream() == 0
    link.client.send(0, bytes(2 * STREAM), ended=False)
    link.until(lambda: link.client.credit_blocked)
    link.rest()


def test_a_stranger_may_send_half_its_window_on_a_stream() -> None:
    link = shaken("aioquic", "aioquic")
    flooded(link)
    assert len(link.seen("server")) == STREAM
    assert link.client.open_stream() == 4
    link.client.send(4, bytes(2 * STREAM), ended=False)
    link.rest()
    assert len(link.seen("server")) == STRANGERS_WINDOW  # of all streams


def test_credit_comes_when_a_fourth_was_read_and_for_no_less() -> None:
    link = shaken("aioquic", "aioquic")
    flooded(link)
    server = server_of(link)
    assert isinstance(server, AioquicEngine)
    server.consumed(0, STREAM // WORTH_TELLING - 1)
    assert server._connection._local_max_data.value == STRANGERS_WINDOW
    link.client.ping(1)
    link.until(lambda: link.of("client", PingAnswered))
    link.rest()
    assert len(link.seen("server")) == STREAM
    server_of(link).consumed(0, 1)
    link.client.ping(2)
    link.rest()
    assert len(link.seen("server")) == STREAM + STREAM // WORTH_TELLING


def test_who_was_let_in_may_send_more() -> None:
    link = shaken("aioquic", "aioquic")
    server_of(link).trust()
    server_of(link).trust()
    assert link.client.open_stream() == 0
    link.client.send(0, bytes(3 * STREAM), ended=True)
    link.until(lambda: link.client.quiet)
    assert len(link.seen("server")) == 3 * STREAM


def test_reading_a_stream_that_is_forgotten_still_returns_credit_of_the_connection() -> None:
    link = shaken("aioquic", "aioquic")
    for turn in range(1, 5):  # twice as much as the connection's window in all
        at = link.client.open_stream()
        assert at is not None
        link.client.send(at, bytes(STREAM), ended=True)
        link.rest(1.0)
        assert len(link.seen("server")) == turn * STREAM
        server_of(link).send(at, b"", ended=True)
        link.rest(1.0)  # both sides have ended, and the library forgets it
        server_of(link).consumed(at, STREAM)
        link.client.ping(turn)
        link.rest(1.0)


@pytest.mark.parametrize("name", STORMS)
def test_storms_of_frames_close_the_connection(name: str) -> None:
    link = shaken("aioquic", "aioquic")
    assert link.client.open_stream() == 0
    link.client.send(0, b"x", ended=False)
    link.rest()
    server = server_of(link)
    assert isinstance(server, AioquicEngine)
    for turn in range(20):
        context = QuicReceiveContext(
            epoch=Epoch.ONE_RTT,
            host_cid=server.cid,
            network_path=server._connection._network_paths[0],
            quic_logger_frames=None,
            time=link.now,
            version=1,
        )
        server._connection._payload_received(context, STORMS[name](turn))
    link.until(lambda: link.of("client", Terminated))
    ((code, _),) = link.of("client", Terminated)
    assert code == EXCESSIVE_CODE


def test_frames_wait_in_bounds() -> None:
    link = shaken("aioquic", "aioquic")
    assert 1_000 < link.client.largest_frame < 1_350
    for _ in range(FRAMES_FED):
        assert link.client.room_for_frames
        link.client.send_frame(bytes(100))
    assert not link.client.room_for_frames
    link.rest()
    assert link.client.room_for_frames


def test_nothing_is_taken_after_the_end() -> None:
    link = shaken("aioquic", "aioquic")
    assert link.client.open_stream() == 0
    link.client.send(0, b"too late", ended=False)
    server_of(link).close(0, "over")
    for data, _ in link.client.to_send(link.now):
        server_of(link).receive(data, len(data), CLIENT, link.now)
    link.rest()
    assert not link.of("server", StreamBytes)
