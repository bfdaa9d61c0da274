"""Both ends of a QUIC connection without I/O, in a time of their own, and the datagrams between them."""

import functools
import math
from collections.abc import Callable, Collection
from typing import Final, TypeVar

from socks6.net.stream import SocketAddress
from socks6.net.transports.quic.engine import (
    Backend,
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
from tests.kit.certificates import certificate

CLIENT: Final[SocketAddress] = ("192.0.2.1", 1000)
SERVER: Final[SocketAddress] = ("192.0.2.2", 2000)
DELAY: Final = 0.01
LATENESS: Final = (
    1e-6  # seconds of a timer, as of a real one: at the very moment rounding may make it too early
)
FATES: Final = {"lost": (), "late": (0.5,), "doubled": (DELAY, 2.5)}
"""How many seconds each copy of such a datagram is on its way."""
GIVE_UP: Final = 25.0  # seconds of a link's time; before a connection is idle for too long


EventT = TypeVar("EventT", bound=Event)


@functools.cache
def identity() -> ServerIdentity:
    with certificate() as files:
        return read_identity(files.server)


def _backend(library: str | Backend) -> Backend:
    return load_backend(library) if isinstance(library, str) else library


class Link:
    """Both ends, and the datagrams between them, of which those with the given numbers have a fate."""

    def __init__(
        self,
        client: str | Backend,
        server: str | Backend,
        chosen: Collection[int] = (),
        fate: str = "lost",
        before: "Link | None" = None,
    ) -> None:
        self.now = 0.0
        self.client_address = CLIENT  # what goes to any other is lost
        self.tickets: list[Ticket] = [] if before is None else before.tickets
        self.server_tickets: TicketStore = TicketStore() if before is None else before.server_tickets
        self.client = _backend(client).client(
            ClientParameters(
                server_name="localhost",
                ticket=self.tickets.pop() if before else None,
                on_ticket=self.tickets.append,
            )
        )
        self.server: QuicEngine | None = None
        self.events: dict[str, list[Event]] = {"client": [], "server": []}
        self._server_backend = _backend(server)
        self._chosen = chosen
        self._fate = FATES[fate]
        self._sent = 0
        self._flying: list[
            tuple[float, SocketAddress, SocketAddress, bytes]
        ] = []  # arrival, where to, the client's
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

    def turn(self, latest: float = math.inf) -> None:
        """Send what is to be sent; advance to what is due next, or to `latest`, and do it."""
        self.take_events()
        for name, end in self._ends():
            for data, remote in end.to_send(self.now):
                at = (SERVER, self.client_address) if name == "client" else (remote, remote)
                for delay in self._fate if self._sent in self._chosen else (DELAY,):
                    self._flying.append((self.now + delay, *at, data))
                self._sent += 1
        timers = [timer + LATENESS for _, end in self._ends() if (timer := end.timer()) is not None]
        self.now = max(self.now, min([latest, *timers, *(at for at, *_ in self._flying)]))
        self._deliver()
        for _, end in self._ends():
            if (timer := end.timer()) is not None and timer <= self.now:
                end.handle_timer(self.now)
        self.take_events()

    def take_events(self) -> None:
        """Keep what has happened by now."""
        for name, end in self._ends():
            while (event := end.next_event()) is not None:
                self.events[name].append(event)

    def _deliver(self) -> None:
        arrived = [entry for entry in self._flying if entry[0] <= self.now]
        self._flying = [entry for entry in self._flying if entry[0] > self.now]
        for _, destination, client_address, data in arrived:
            if destination == SERVER:
                self.server = self.server or self._begin(data)
                if self.server is not None:
                    self.server.receive(data, len(data), client_address, self.now)
            elif destination == self.client_address:
                self.client.receive(data, len(data), SERVER, self.now)

    def seen(self, name: str) -> bytes:
        """Return what came on streams; fail if the connection is over."""
        assert not [event for event in self.events[name] if isinstance(event, Terminated)]
        return b"".join(event.data for event in self.events[name] if isinstance(event, StreamBytes))

    def until(self, condition: Callable[[], object]) -> None:
        """Take turns until this holds."""
        while not condition():
            self.turn()
            assert self.now < GIVE_UP

    def rest(self, seconds: float = 0.2) -> None:
        """Take turns for so long: what is on its way arrives, and is acknowledged."""
        end = self.now + seconds
        while self.now < end:
            self.turn(end)
        self.turn(end)

    def of(self, name: str, kind: type[EventT]) -> list[EventT]:
        """Return the events of an end that are of this kind."""
        return [event for event in self.events[name] if isinstance(event, kind)]


def shaken(client: str | Backend, server: str | Backend) -> Link:
    """Return both ends once each knows that the handshake is done."""
    link = Link(client, server)
    link.until(lambda: link.of("client", HandshakeDone) and link.of("server", HandshakeDone))
    return link


def server_of(link: Link) -> QuicEngine:
    """Return the server's end, which is there from the first packet on."""
    assert link.server is not None
    return link.server
