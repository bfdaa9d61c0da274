"""Engines without I/O, in a time of their own: whichever datagrams the network loses, delays or doubles, they connect."""

from collections.abc import Iterator

import pytest
from qh3._hazmat import QuicConnectionCore

from socks6.net.transports.quic.engine import HandshakeDone, Terminated
from socks6.net.transports.quic.qh3 import Qh3Engine
from tests.kit.quic import BACKENDS
from tests.kit.quic_link import FATES, Link, shaken

pytestmark = pytest.mark.e2e  # takes long, with real sockets

GIVE_UP = 20.0
DATA = bytes(range(256)) * 20
FIRST = 10  # datagrams of both ends of which one, or two one after the other, have a fate


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("server", BACKENDS)
@pytest.mark.parametrize("client", BACKENDS)
def test_whichever_datagrams_of_a_handshake_have_a_fate_a_stream_arrives_both_ways(
    client: str, server: str, fate: str
) -> None:
    for chosen in choices(fate):
        assert exchanged(Link(client, server, chosen, fate)) == (DATA, DATA), chosen


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("server", BACKENDS)
@pytest.mark.parametrize("client", BACKENDS)
def test_whichever_datagrams_with_early_data_have_a_fate_it_arrives_once(
    client: str, server: str, fate: str
) -> None:
    for chosen in choices(fate):
        before = Link(client, server)
        assert exchanged(before) == (DATA, DATA)
        link = Link(client, server, chosen, fate, before)
        assert exchanged(link, early=True) == (DATA, DATA), chosen
        assert done(link).resumed


def choices(fate: str) -> Iterator[tuple[int, ...]]:
    """Yield the numbers of datagrams that have a fate together."""
    for at in range(FIRST):
        yield (at,)
        if fate == "lost":
            yield at, at + 1


def done(link: Link) -> HandshakeDone:
    """Return the client's event of its handshake."""
    return next(event for event in link.events["client"] if isinstance(event, HandshakeDone))


def exchanged(link: Link, *, early: bool = False) -> tuple[bytes, bytes]:
    """Open a stream and carry data to and fro; return what came at the server and at the client."""
    asked = answered = False
    while link.now < GIVE_UP:
        if not asked and (early or any(isinstance(event, HandshakeDone) for event in link.events["client"])):
            asked = True
            assert link.client.open_stream() == 0
            link.client.send(0, DATA, ended=True)
        link.turn(GIVE_UP)  # before a connection is idle for too long
        if not answered and link.seen("server") == DATA:
            answered = True
            assert link.server is not None
            link.server.send(0, DATA, ended=True)
        if link.seen("client") == DATA and link.now > 3:  # nothing is under way any more
            break
    return link.seen("server"), link.seen("client")


class Forgetful:
    """A native core that loses track of a stream at its next packet, as qh3's does where packets sent anew arrive late."""

    def __init__(self, core: QuicConnectionCore) -> None:
        self._core = core
        self._failed = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._core, name)

    def poll_transmit(self, now: float) -> object:
        if not self._failed:
            self._failed = True
            raise ValueError("reserved stream is missing")
        return self._core.poll_transmit(now)


def test_a_connection_that_has_lost_track_of_a_stream_is_closed_with_the_cause() -> None:
    link = shaken("qh3", "qh3")
    assert isinstance(link.client, Qh3Engine)
    core = link.client._connection.native
    assert core is not None
    link.client._connection._core = Forgetful(core)  # type: ignore[assignment]  # as good as one
    while not all(any(isinstance(event, Terminated) for event in events) for events in link.events.values()):
        link.turn()
    over = [event for events in link.events.values() for event in events if isinstance(event, Terminated)]
    assert [event.reason for event in over] == ["reserved stream is missing"] * 2
