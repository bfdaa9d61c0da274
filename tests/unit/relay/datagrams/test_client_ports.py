"""Where clients send their datagrams."""

import socket

from socks6.message.options import Tos, Ttl
from socks6.net.stream import Endpoint, FrameSink
from socks6.relay.datagrams.client_ports import PATH_LOST, QuicClientPort, UdpClientPort, client_control
from socks6.relay.datagrams.forwarder import PythonForwarder
from tests.kit.forwarding_scene import LATER, scene, udp_socket
from tests.kit.loops import Run


class Connection:
    """A QUIC connection, as far as a port of its frames goes."""

    remote = Endpoint("127.0.0.1", 1)
    carrier_socket = None

    def __init__(self, largest: int = 65535) -> None:
        self.sink: FrameSink | None = None
        self.sent: list[bytes] = []
        self.largest = largest

    def set_frame_sink(self, sink: FrameSink | None) -> None:
        self.sink = sink

    def send_frame(self, data: bytes) -> bool:
        if len(data) > self.largest:
            return False
        self.sent.append(data)
        return True


def test_a_port_is_forgotten_before_it_is_closed() -> None:
    forgotten: list[int] = []
    sock = udp_socket()
    port = UdpClientPort(sock, PythonForwarder(), lambda closing: forgotten.append(closing.fileno()))
    port.close()
    port.close()
    assert len(forgotten) == 1
    assert forgotten[0] >= 0
    assert sock.fileno() == -1


def test_frames_of_a_connection_meet_its_associations_alone(run: Run) -> None:
    async def play() -> None:
        connection = Connection()
        port = QuicClientPort(connection)  # type: ignore[arg-type] # as much of one as is needed
        with scene("python") as ours:
            entry = port.forwarder.open(ours.framing, ours.upstream, ours)
            assert connection.sink is not None
            connection.sink.frame_received(ours.message(b"ours"))
            connection.sink.frame_received(ours.message(b"another's", number=7))
            ((data, path),) = ours.up
            assert data == ours.message(b"ours")
            assert port.forwarder.dropped == 1
            assert path.send(b"back", [])
            assert connection.sent == [b"back"]
            entry.close()
        lost: list[str] = []
        left: list[str] = []
        stays, goes = lost.append, left.append
        assert path.join("", stays)
        assert path.join("", goes)
        path.leave(goes)
        connection.sink.connection_lost()
        connection.sink.connection_lost()
        assert (lost, left) == ([PATH_LOST], [])
        port.close()
        assert connection.sink is None

    run(play())


def test_what_fits_in_no_frame_is_handed_up_for_the_stream(run: Run) -> None:
    async def play() -> None:
        connection = Connection(largest=100)
        port = QuicClientPort(connection)  # type: ignore[arg-type] # as much of one as is needed
        with scene("python") as ours:
            entry = port.forwarder.open(ours.framing, ours.upstream, ours)
            entry.bind_client(port, ours.framing, [])
            entry.add_source(ours.remote.getsockname(), ours.prefix(), LATER)
            ours.answer(b"short", bytes(200))
            port.forwarder.forward_sockets([port.forwarder.handle(entry, ours.far)], 0.0)
            assert connection.sent == [ours.message(b"short")]
            assert ours.down == [(bytes(200), ours.remote.getsockname())]
            assert (entry.counts().down_datagrams, port.forwarder.dropped) == (1, 0)
            entry.close()

    run(play())


def test_options_of_the_clients_leg_go_with_each_datagram() -> None:
    options = (Ttl(leg=1, ttl=7), Tos(leg=1, tos=0x20))
    for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
        control = client_control(options, family)
        with udp_socket(host) as sock, udp_socket(host) as other:
            level, kind = (socket.IPPROTO_IP, 12) if family == socket.AF_INET else (socket.IPPROTO_IPV6, 51)
            other.setsockopt(level, kind, 1)  # to see the TTL
            sock.sendmsg((b"data",), control, 0, other.getsockname())
            _, seen, _, _ = other.recvmsg(10, 100)
            assert [int.from_bytes(data, "little") for _, _, data in seen] == [7]
