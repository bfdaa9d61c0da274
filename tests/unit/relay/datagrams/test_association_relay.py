"""What the associations of an event loop share."""

import contextlib
import socket
from collections.abc import Iterator

from typing_extensions import override

from socks6.message.dialect import DRAFT_12
from socks6.message.framing import Framing, NoFraming, Socks6Framing
from socks6.net.datagrams.shared import read_error
from socks6.net.stream import Endpoint, FrameSink, SocketAddress
from socks6.relay.datagrams.association_relay import DatagramRelay
from socks6.relay.datagrams.client_ports import QuicClientPort
from socks6.relay.datagrams.forwarder import ClientPath, PythonForwarder, SlowPath
from tests.kit.loops import Run
from tests.kit.streams import until

NUMBER = 1000


class Connection:
    """A QUIC connection, as far as a port of its frames goes."""

    remote = Endpoint("127.0.0.1", 1)
    carrier_socket = None

    def set_frame_sink(self, sink: FrameSink | None) -> None:
        pass


class Owner(SlowPath):
    """Whose lane gets what the forwarder does not know."""

    def __init__(self) -> None:
        self.missed: list[bytes] = []

    @override
    def on_client_miss(self, data: bytes, path: ClientPath) -> None:
        pass

    @override
    def on_remote_miss(self, data: bytes, source: SocketAddress) -> None:
        self.missed.append(data)


def framing(number: int) -> Framing:
    """Return that of an association."""
    return Socks6Framing(number, DRAFT_12, DRAFT_12.datagram_layout)


@contextlib.contextmanager
def bound() -> Iterator[socket.socket]:
    """Give a UDP socket of loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        yield sock


def test_nothing_is_left_of_connections_that_are_gone(run: Run) -> None:
    """Each QUIC connection has a forwarder of its own; one more would be walked in every turn of the loop."""

    async def play() -> None:
        faults: list[Exception] = []
        plane = DatagramRelay(on_fault=faults.append, forwarder=PythonForwarder())
        for number in range(NUMBER):
            port = QuicClientPort(Connection())  # type: ignore[arg-type]  # as much of one as is needed
            entry = port.forwarder.open(framing(number), NoFraming(), Owner())
            with bound() as sock, bound() as other:
                for far in (sock, other):  # one for each family
                    plane.watch_socket(port.forwarder, entry, far, read_error)
                assert len(plane._sockets) == 1
                plane.forget(sock)
                assert len(plane._sockets) == 1
                plane.forget(other)
                plane.forget(other)
            entry.close()
            port.close()
        assert not plane._sockets
        assert not plane._forwarders
        plane.close()
        assert not faults

    run(play())


def test_who_is_there_still_gets_datagrams_when_another_goes(run: Run) -> None:
    async def play() -> None:
        faults: list[Exception] = []
        forwarder = PythonForwarder()
        plane = DatagramRelay(on_fault=faults.append, forwarder=forwarder)
        owner = Owner()
        with bound() as stays, bound() as goes, bound() as host:
            for number, sock in enumerate((goes, stays)):
                entry = forwarder.open(framing(number), NoFraming(), owner)
                plane.watch_socket(forwarder, entry, sock, read_error)
            plane.forget(goes)
            host.sendto(b"hello", stays.getsockname())
            await until(lambda: owner.missed)
            assert owner.missed == [b"hello"]
            plane.forget(stays)
        plane.close()
        assert not faults

    run(play())
