"""What strangers, thieves and floods can do to datagrams through a server: nothing that others notice."""

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from socks6.message.datagrams import AssociationConfirmation, Datagram
from socks6.net.resolve import THREADS
from socks6.policy.rules import Policy
from socks6.proxy.settings import Settings, UdpSettings
from tests.kit.datagram_forwarders import LOOP_OF
from tests.kit.footprint import eventually
from tests.kit.netns import Road, needs_namespaces, road
from tests.kit.proxies import Proxy, server
from tests.kit.udp_server import (
    PATIENCE,
    RawClient,
    RunningServer,
    peer_socket,
    place_of,
    received_by,
    udp_server,
)

pytestmark = pytest.mark.e2e

QUICK: Final = Settings(drain_timeout=0.1)
FLOOD: Final = 20_000


@pytest.fixture(params=["python", "compiled"])
def running(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """Run a server with each mover."""
    with udp_server(forwarder=request.param, loop=LOOP_OF[request.param]) as made:
        yield made


@pytest.fixture
def process() -> Iterator[Proxy]:
    """Run a server as a process of its own."""
    with server("--allow-private") as made:
        yield made


def exchange(client: RawClient, peer: socket.socket, data: bytes = b"there") -> tuple[str, int]:
    """Have a datagram go to a peer and back, and nothing else come."""
    client.send(data, place_of(peer))
    got, source = received_by(peer)
    assert got == data
    peer.sendto(b"back", source)
    assert client.received() == (b"back", place_of(peer))
    return source


def test_a_wrong_id_opens_and_reaches_nothing(running: RunningServer) -> None:
    with RawClient(("127.0.0.1", running.port)) as client, peer_socket() as peer:
        for number in (client.id ^ 1, client.id ^ 1 << 63, 0, 2**64 - 1):
            client.send_raw(client.message(b"stolen", place_of(peer), number=number))
        client.send(b"first", place_of(peer))
        assert received_by(peer)[0] == b"first"
        client.await_confirmation()


def test_who_knows_the_id_but_comes_by_another_way_is_dropped(running: RunningServer) -> None:
    with RawClient(("127.0.0.1", running.port)).opened() as client, peer_socket() as peer:
        exchange(client, peer)
        with client.another_socket() as thief:
            for data in (b"stolen", b""):
                thief.sendto(client.message(data, place_of(peer)), client.server)
            client.send_on_stream(b"by the stream", place_of(peer))
            exchange(client, peer)
            thief.settimeout(0)
            with pytest.raises(BlockingIOError):
                thief.recv(100)


def test_an_association_on_the_stream_is_not_to_be_had_over_udp(running: RunningServer) -> None:
    with RawClient(("127.0.0.1", running.port)).opened_on_stream() as client, peer_socket() as peer:
        client.send(b"over UDP", place_of(peer))
        client.send_on_stream(b"on the stream", place_of(peer))
        data, source = received_by(peer)
        assert data == b"on the stream"
        peer.sendto(b"back", source)
        assert isinstance(client.receive_on_stream(), Datagram)
        client.udp.settimeout(0)
        with pytest.raises(BlockingIOError):
            client.udp.recv(100)


def test_an_association_is_of_its_own_listener_alone(running: RunningServer) -> None:
    with udp_server() as other, RawClient(("127.0.0.1", running.port)) as client, peer_socket() as peer:
        client.udp.sendto(client.message(b"stray", place_of(peer)), ("127.0.0.1", other.port))
        client.send(b"first", place_of(peer))
        assert received_by(peer)[0] == b"first"


@pytest.mark.parametrize("listener", ["tcp", "unix"])
def test_an_association_is_not_had_by_way_of_another_listener_of_the_server(
    listener: str, tmp_path: Path
) -> None:
    path, anywhere = str(tmp_path / "socks6"), "socks6://127.0.0.1:0"
    own = anywhere if listener == "tcp" else f"socks6+unix://{path}"
    with server("--allow-private", "--listen", anywhere, "--listen", own) as made, peer_socket() as peer:
        other = made.place
        own_port = int(made.urls[1].rpartition(":")[2]) if listener == "tcp" else other.port
        with RawClient(("127.0.0.1", own_port), unix="" if listener == "tcp" else path) as client:
            client.udp.sendto(client.message(b"stray", place_of(peer)), (other.host, other.port))
            client.tcp.settimeout(0.1)
            with pytest.raises(TimeoutError):
                client.tcp.recv(1)
            client.tcp.settimeout(PATIENCE)
            client.opened_on_stream()
            client.send_on_stream(b"first", place_of(peer))
            assert received_by(peer)[0] == b"first"


def test_nothing_is_sent_to_anybody_before_the_confirmation(running: RunningServer) -> None:
    with RawClient(("127.0.0.1", running.port)) as client, peer_socket() as peer:
        for _ in range(3):
            peer.sendto(b"early", ("127.0.0.1", client.bound[1]))
        client.send_raw(b"")
        client.send_raw(client.message(b"", ("0.0.0.0", 0), number=7))
        client.udp.settimeout(0)
        with pytest.raises(BlockingIOError):
            client.udp.recv(100)
        client.tcp.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.tcp.recv(100)


def test_every_cut_of_a_message_is_dropped(running: RunningServer) -> None:
    with RawClient(("127.0.0.1", running.port)) as client, peer_socket() as peer:
        whole = client.message(b"data", place_of(peer))
        for size in range(len(whole)):
            client.send_raw(whole[:size])
        longer = whole[:2] + (len(whole) + 1).to_bytes(2) + whole[4:]
        client.send_raw(longer)
        client.opened()
        for size in range(len(whole)):
            client.send_raw(whole[:size])
        client.send_raw(longer)
        exchange(client, peer)


def test_rubbish_of_any_kind_is_dropped(running: RunningServer) -> None:
    dice = random.Random(6)
    with RawClient(("127.0.0.1", running.port)).opened() as client, peer_socket() as peer:
        whole = client.message(b"data", ("127.0.0.1", 1))
        for round_number in range(20):
            for _ in range(20):
                packet = bytearray(whole if dice.random() < 0.7 else dice.randbytes(dice.randrange(100)))
                for _ in range(dice.randrange(1, 4)):
                    if packet:
                        packet[dice.randrange(len(packet))] = dice.randrange(256)
                client.send_raw(bytes(packet))
            client.send(b"%d" % round_number, place_of(peer))
            while received_by(peer)[0] != b"%d" % round_number:
                pass


def test_messages_that_only_the_proxy_sends_are_dropped(running: RunningServer) -> None:
    """§ Reporting ICMP Errors: clients MUST NOT send Datagram Error messages."""
    with RawClient(("127.0.0.1", running.port)) as client, peer_socket() as peer:
        error = (
            bytes.fromhex("06 04 0020")
            + client.id.to_bytes(8)
            + bytes.fromhex("01 00 0035 7f000001 01 01 0000 7f000001")
        )
        confirmation = AssociationConfirmation(association_id=client.id).encode()
        for message in (error, confirmation):
            client.send_raw(message)
            client.tcp.sendall(message)
        client.send(b"first", place_of(peer))
        client.await_confirmation()
        assert received_by(peer)[0] == b"first"


@needs_namespaces
def test_a_forged_source_without_the_id_is_dropped() -> None:
    with (
        road() as made,
        udp_server(namespace=made.last, host=made.last_address()) as running,
        RawClient((made.last_address(), running.port), namespace=made.first).opened() as client,
        peer_socket(made.last_address(), namespace=made.last) as peer,
    ):
        exchange(client, peer)
        forge(made, client, client.message(b"forged", place_of(peer), number=client.id ^ 4))
        exchange(client, peer)


def forge(made: Road, client: RawClient, payload: bytes) -> None:
    """Send a UDP packet with the client's own source address and port from a raw socket."""
    with made.first.entered(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
        header = struct.pack("!HHHH", client.udp.getsockname()[1], client.server[1], 8 + len(payload), 0)
        raw.sendto(header + payload, (client.server[0], 0))


@contextlib.contextmanager
def flooding(place: tuple[str, int], packet: bytes) -> Iterator[None]:
    """Have a thread send a packet to a place without pause."""
    stopping = threading.Event()

    def flood() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while not stopping.is_set():
                for _ in range(100):
                    sock.sendto(packet, place)

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def test_a_flood_to_one_association_leaves_the_others_their_throughput(process: Proxy) -> None:
    place = (process.place.host, process.place.port)
    with RawClient(place).opened() as victim, RawClient(place).opened() as other, peer_socket() as peer:
        exchange(other, peer)
        before = process.footprint
        with flooding(("127.0.0.1", victim.bound[1]), bytes(500)):
            for number in range(300):
                exchange(other, peer, b"%d" % number)
        assert process.footprint.memory < before.memory + 8 * 2**20
        assert process.footprint.descriptors == before.descriptors
        while True:
            victim.send(b"still there", place_of(peer))
            if received_by(peer)[0] == b"still there":
                break


def test_a_flood_of_strangers_to_the_port_ends_nothing(process: Proxy) -> None:
    place = (process.place.host, process.place.port)
    with RawClient(place).opened() as client, peer_socket() as peer:
        before = process.footprint
        with flooding(place, client.message(b"x" * 100, place_of(peer), number=client.id ^ 1)):
            answered = 0
            client.udp.settimeout(0.02)
            peer.settimeout(0.02)
            for _ in range(
                400
            ):  # the port is one for all: where it overflows, datagrams are lost, as on any network
                client.send(b"there", place_of(peer))
                with contextlib.suppress(TimeoutError):
                    peer.sendto(b"back", received_by(peer)[1])
                    client.received()
                    answered += 1
        assert answered
        assert process.footprint.memory < before.memory + 8 * 2**20
        client.udp.settimeout(2)
        peer.settimeout(2)
        assert eventually(lambda: settled(client, peer))


def settled(client: RawClient, peer: socket.socket) -> bool:
    """Return whether an exchange works again, after what was still on its way."""
    client.send(b"after the flood", place_of(peer))
    with contextlib.suppress(TimeoutError):
        while received_by(peer)[0] != b"after the flood":
            pass
        return True
    return False


def test_a_client_cannot_have_the_server_remember_without_end(process: Proxy) -> None:
    """Thousands of destinations and names, all of them made up."""
    place = (process.place.host, process.place.port)
    with RawClient(place).opened() as client, peer_socket() as peer:
        exchange(client, peer)
        for number in range(FLOOD // 10):
            client.send(b"x", (f"n{number}.invalid", 9))
        before = process.footprint
        for number in range(FLOOD):
            client.send(b"x", (f"127.1.{number >> 8 & 0xFF}.{number & 0xFF}", 9))
            if number % 200 == 0:
                client.send(b"%d" % number, place_of(peer))
                received_by(peer)
        assert process.footprint.memory < before.memory + 8 * 2**20
        assert process.footprint.descriptors <= before.descriptors + THREADS + 2  # that look names up


def test_who_does_not_read_his_stream_loses_the_oldest_datagrams() -> None:
    with (
        udp_server() as running,
        RawClient(("127.0.0.1", running.port)).opened_on_stream() as client,
        peer_socket() as peer,
    ):
        client.send_on_stream(b"hello", place_of(peer))
        _, source = received_by(peer)
        for number in range(6_000):
            peer.sendto(number.to_bytes(4) + bytes(1_000), source)
            if number % 20 == 0:  # as many as fit the socket's buffer
                running.ask(lambda: None)
        peer.sendto(b"last", source)
        last = -1
        received = 0
        while True:
            message = client.receive_on_stream()
            assert isinstance(message, Datagram)
            if message.data == b"last":
                break
            number = int.from_bytes(message.data[:4])
            assert number > last
            last = number
            received += 1
        assert 0 < received < 6_000


def test_private_destinations_cost_a_client_nothing_but_his_datagrams() -> None:
    with udp_server(policy=Policy()) as running, RawClient(("127.0.0.1", running.port)).opened() as client:
        for number in range(500):
            client.send(b"x", ("10.0.0.1", 1 + number))
        with peer_socket() as peer:
            peer.sendto(b"knock", ("127.0.0.1", client.bound[1]))
            assert client.received()[0] == b"knock"


def test_associations_of_others_are_out_of_reach_of_one_users_greed() -> None:
    settings = replace(QUICK, udp=UdpSettings(associations=3))
    with udp_server(settings=settings) as running, contextlib.ExitStack() as held:
        place = ("127.0.0.1", running.port)
        clients = [held.enter_context(RawClient(place)) for _ in range(3)]
        with RawClient(place) as refused:
            assert refused.reply.code == 1
        clients[0].close()
        running.summaries.get(timeout=5)
        assert eventually(lambda: _succeeds(place))


def _succeeds(place: tuple[str, int]) -> bool:
    with RawClient(place) as client:
        return client.reply.code == 0
