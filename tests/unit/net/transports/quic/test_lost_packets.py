"""Engines without I/O, in a time of their own: whichever datagrams the network loses, delays or doubles, they connect."""

import functools
from collections.abc import Collection, Iterator

import pytest
from qh3._hazmat import QuicConnectionCore

from socks6.net.transports.quic.engine import (
    ClientParameters,
    Event,
    HandshakeDone,
    QuicEngine,
    ServerIdentity,
    ServerParameters,
    StreamBytes,
    Terminated,
    Ticket,
    TicketStore,
    load_backend,
    read_identity,
)
from socks6.net.transports.quic.packets import read_header
from socks6.net.transports.quic.qh3 import Qh3Engine
from tests.kit.certificates import certificate
from tests.kit.quic import BACKENDS

pytestmark = pytest.mark.e2e  # takes long, with real sockets

CLIENT, SERVER = ("192.0.2.1", 1000), ("192.0.2.2", 2000)
DELAY = 0.01
GIVE_UP = 20.0
DATA = bytes(range(256)) * 20
FIRST = 10  # datagrams of both ends of which one, or two one after the other, have a fate
FATES = {"lost": (), "late": (0.5,), "doubled": (DELAY, 2.5)}
"""How many seconds each copy of such a datagram is on its way."""


@functools.cache
def identity() -> ServerIdentity:
    with certificate() as files:
        return read_identity(files.server)


class Link:
    """Both ends, and the datagrams between them, of which those with the given numbers have a fate."""

    def __init__(
        self,
        client: str,
        server: str,
        chosen: Collection[int] = (),
        fate: str = "lost",
        before: "Link | None" = None,
    ) -> None:
        self.now = 0.0
        self.tickets: list[Ticket] = [] if before is None else before.tickets
        self.server_tickets: TicketStore = TicketStore() if before is None else before.server_tickets
        self.client = load_backend(client).client(
            ClientParameters(
                server_name="localhost",
                ticket=self.tickets.pop() if before else None,
                on_ticket=self.tickets.append,
            )
        )
        self.server: QuicEngine | None = None
        self.events: dict[str, list[Event]] = {"client": [], "server": []}
        self._server_backend = load_backend(server)
        self._chosen = chosen
        self._fate = FATES[fate]
        self._sent = 0
        self._flying: list[tuple[float, bool, bytes]] = []
        self.client.connect(SERVER, self.now)

    def _begin(self, first: bytes) -> QuicEngine | None:
        header = read_header(first)
        if header is None or not header.initial:
            return None
        return self._server_backend.server(
            ServerParameters(
                identity=identity(),
                tickets=self.server_tickets,
                first_cid=header.destination,
                reset_token=lambda cid: cid + bytes(8),
            )
        )

    def _ends(self) -> list[tuple[str, QuicEngine]]:
        return [("client", self.client), *([("server", self.server)] if self.server else [])]

    def turn(self) -> None:
        """Send what is to be sent; advance to what is due next, and do it."""
        for name, end in self._ends():
            while (event := end.next_event()) is not None:
                self.events[name].append(event)
            for data, _ in end.to_send(self.now):
                for delay in self._fate if self._sent in self._chosen else (DELAY,):
                    self._flying.append((self.now + delay, name == "client", data))
                self._sent += 1
        timers = [timer for _, end in self._ends() if (timer := end.timer()) is not None]
        self.now = max(self.now, min([*timers, *(at for at, _, _ in self._flying)]))
        self._deliver()
        for _, end in self._ends():
            if (timer := end.timer()) is not None and timer <= self.now:
                end.handle_timer(self.now)

    def _deliver(self) -> None:
        arrived = [entry for entry in self._flying if entry[0] <= self.now]
        self._flying = [entry for entry in self._flying if entry[0] > self.now]
        for _, upward, data in arrived:
            if upward:
                self.server = self.server or self._begin(data)
                if self.server is not None:
                    self.server.receive(data, len(data), CLIENT, self.now)
            else:
                self.client.receive(data, len(data), SERVER, self.now)

    def seen(self, name: str) -> bytes:
        """Return what came on streams; fail if the connection is over."""
        assert not [event for event in self.events[name] if isinstance(event, Terminated)]
        return b"".join(event.data for event in self.events[name] if isinstance(event, StreamBytes))


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
        link.turn()
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
    link = Link("qh3", "qh3")
    assert isinstance(link.client, Qh3Engine)
    while not all(
        any(isinstance(event, HandshakeDone) for event in events) for events in link.events.values()
    ):
        link.turn()
    core = link.client._connection.native
    assert core is not None
    link.client._connection._core = Forgetful(core)  # type: ignore[assignment]  # as good as one
    while not all(any(isinstance(event, Terminated) for event in events) for events in link.events.values()):
        link.turn()
    over = [event for events in link.events.values() for event in events if isinstance(event, Terminated)]
    assert [event.reason for event in over] == ["reserved stream is missing"] * 2
