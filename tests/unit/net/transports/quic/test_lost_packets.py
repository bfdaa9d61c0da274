"""Engines without I/O, in a time of their own: whichever datagrams the network loses, delays or doubles, they connect."""

import functools
from collections.abc import Collection

import pytest

from socks6.net.transports.quic.engine import (
    ClientParameters,
    Event,
    HandshakeDone,
    QuicEngine,
    ServerIdentity,
    ServerParameters,
    StreamBytes,
    Terminated,
    TicketStore,
    load_backend,
    read_identity,
)
from socks6.net.transports.quic.packets import read_header
from tests.kit.certificates import certificate
from tests.kit.quic import BACKENDS

CLIENT, SERVER = ("192.0.2.1", 1000), ("192.0.2.2", 2000)
DELAY = 0.01
GIVE_UP = 20.0
DATA = bytes(range(256)) * 20
FIRST = 14  # datagrams of both ends of which one, or two one after the other, have a fate
FATES = {"lost": (), "late": (0.5,), "doubled": (DELAY, 0.5), "doubled much later": (DELAY, 2.5)}
"""How many seconds each copy of such a datagram is on its way."""


@functools.cache
def identity() -> ServerIdentity:
    with certificate() as files:
        return read_identity(files.server)


class Link:
    """Both ends, and the datagrams between them, of which those with the given numbers have a fate."""

    def __init__(self, client: str, server: str, chosen: Collection[int], fate: str) -> None:
        self.now = 0.0
        self.client = load_backend(client).client(ClientParameters(server_name="localhost"))
        self.server: QuicEngine | None = None
        self.events: dict[str, list[Event]] = {"client": [], "server": []}
        self._server_backend = load_backend(server)
        self._chosen = chosen
        self._fate = FATES[fate]
        self._sent = 0
        self._flying: list[tuple[float, bool, bytes]] = []
        self.client.connect(SERVER, self.now)

    def _begin(self, first: bytes) -> QuicEngine:
        header = read_header(first)
        assert header is not None
        return self._server_backend.server(
            ServerParameters(
                identity=identity(),
                tickets=TicketStore(),
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
    for at in range(FIRST):
        for chosen in ((at,), (at, at + 1)):
            assert exchanged(Link(client, server, chosen, fate)) == (DATA, DATA), chosen


def exchanged(link: Link) -> tuple[bytes, bytes]:
    """Open a stream and carry data to and fro; return what came at the server and at the client."""
    asked = answered = False
    while link.now < GIVE_UP:
        link.turn()
        if not asked and any(isinstance(event, HandshakeDone) for event in link.events["client"]):
            asked = True
            assert link.client.open_stream() == 0
            link.client.send(0, DATA, ended=True)
        if not answered and link.seen("server") == DATA:
            answered = True
            assert link.server is not None
            link.server.send(0, DATA, ended=True)
        if link.seen("client") == DATA and link.now > 3:  # nothing is under way any more
            break
    return link.seen("server"), link.seen("client")
