"""What a connection of qh3 takes: first packets, peers with an empty id, storms, frames that nobody takes out."""

from collections.abc import Callable

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.tls import Epoch
from typing_extensions import override

from socks6.net.transports.quic.aioquic import AioquicBackend, AioquicEngine
from socks6.net.transports.quic.engine import (
    MAX_STREAMS,
    ClientParameters,
    HandshakeDone,
    ServerParameters,
    StreamBytes,
    Terminated,
    TicketStore,
    load_backend,
)
from socks6.net.transports.quic.guard import EXCESSIVE_CODE
from socks6.net.transports.quic.packets import read_header
from socks6.net.transports.quic.qh3 import Qh3Engine
from socks6.net.transports.quic.qh3_connection import EMPTY_ID, opens_initial
from tests.kit.quic_hostile import STORMS, NamelessBackend, packet_by_hand
from tests.kit.quic_link import CLIENT, SERVER, Link, identity, server_of, shaken


def first_packet() -> bytes:
    """Return the first datagram of a client."""
    client = load_backend("aioquic").client(ClientParameters(server_name="localhost"))
    client.connect(SERVER, 0.0)
    ((data, _), *_) = client.to_send(0.0)
    return data


def destination_of(packet: bytes) -> bytes:
    header = read_header(packet)
    assert header is not None
    return header.destination


def serving(packet: bytes) -> Qh3Engine:
    """Return the end that such a packet is for; it has not got it yet."""
    engine = load_backend("qh3").server(
        ServerParameters(
            identity=identity(),
            tickets=TicketStore(),
            first_cid=destination_of(packet),
            reset_token=lambda cid: cid + bytes(8),
        )
    )
    assert isinstance(engine, Qh3Engine)
    return engine


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "too short a datagram": lambda packet: packet[:1199],
    "another version": lambda packet: packet[:1] + b"\0\0\0\x09" + packet[5:],
    "a Handshake packet": lambda packet: bytes((packet[0] | 0x20,)) + packet[1:],
    "a short header": lambda packet: b"\x40" + packet[1:],
    "an id that is too long": lambda packet: packet[:5] + b"\xff" + packet[6:],
    "nothing": lambda packet: b"",
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_no_first_packet_begins_nothing_and_keeps_nobody_out(name: str) -> None:
    packet = first_packet()
    engine = serving(packet)
    engine.receive(SPOILT[name](packet), 1350, CLIENT, 0.0)
    assert engine._connection.native is None
    assert engine.next_event() is None
    engine.receive(packet, len(packet), CLIENT, 0.0)
    assert engine.to_send(0.0)


def test_a_packet_is_genuine_by_the_keys_of_its_destination() -> None:
    packet = first_packet()
    assert opens_initial(packet, destination_of(packet))
    assert not opens_initial(packet, bytes(8))
    assert not opens_initial(packet[:99] + bytes((packet[99] ^ 1,)) + packet[100:], destination_of(packet))
    assert not opens_initial(packet[:40], destination_of(packet))
    assert not opens_initial(b"", bytes(8))


def test_a_peer_may_have_as_many_streams_as_we_say() -> None:
    link = shaken("aioquic", "qh3")
    assert all(link.client.open_stream() is not None for _ in range(MAX_STREAMS))
    assert link.client.open_stream() is None


def test_ids_of_streams_that_sent_nothing_early_count_in_the_core_too() -> None:
    before = shaken("qh3", "qh3")
    before.until(lambda: before.tickets)
    link = Link("qh3", "qh3", before=before)
    assert [link.client.open_stream() for _ in range(3)] == [0, 4, 8]
    link.client.send(0, b"early", ended=True)
    link.until(lambda: link.of("client", HandshakeDone))
    assert link.client.open_stream() == 12
    link.client.send(12, b"last", ended=True)
    link.client.send(8, b"third", ended=True)
    link.rest()
    assert max(link.of("server", StreamBytes)) == StreamBytes(12, b"last", ended=True)


@pytest.mark.parametrize("sends_empty_ids", [False, True])
def test_a_client_that_calls_itself_nothing_is_served(sends_empty_ids: bool) -> None:
    link = shaken(NamelessBackend(sends_empty_ids=sends_empty_ids), "qh3")
    assert link.client.open_stream() == 0
    link.client.send(0, bytes(50_000), ended=True)
    link.rest(1.0)
    assert len(link.seen("server")) == 50_000
    server_of(link).send(0, bytes(50_000), ended=True)
    link.rest(1.0)
    assert len(link.seen("client")) == 50_000
    server_of(link).trust()
    assert link.client.open_stream() == 4
    link.client.send(4, bytes(200_000), ended=True)
    link.rest(1.0)
    assert len(link.seen("server")) == 250_000


class NamelessServers(AioquicBackend):
    """Makes servers that call themselves nothing."""

    @override
    def _size(self, configuration: QuicConfiguration) -> None:
        super()._size(configuration)
        configuration.connection_id_length = 0


def test_a_server_that_calls_itself_nothing_is_refused_with_a_way_out() -> None:
    link = Link("qh3", NamelessServers())
    link.until(lambda: link.of("client", Terminated))
    ((_, reason),) = link.of("client", Terminated)
    assert reason == EMPTY_ID
    assert "backend=aioquic can" in reason


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("name", STORMS)
def test_storms_of_frames_close_the_connection(name: str, trusted: bool) -> None:
    link = shaken("aioquic", "qh3")
    if trusted:
        server_of(link).trust()
    assert link.client.open_stream() == 0
    link.client.send(0, b"x", ended=False)
    link.rest()
    for turn in range(400):
        packet = packet_by_hand(link.client, STORMS[name](turn))
        server_of(link).receive(packet, len(packet), CLIENT, link.now)
        link.take_events()
        if over := link.of("server", Terminated):
            break
    assert [event.code for event in over] == [EXCESSIVE_CODE]


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("library", ["qh3", "aioquic", "nameless"])
def test_a_client_moves_as_often_as_it_likes_and_back(library: str, trusted: bool) -> None:
    """Amid bytes on their way in both directions. The library itself knows four paths, and forgets none."""
    link = shaken(NamelessBackend() if library == "nameless" else library, "qh3")
    if trusted:
        server_of(link).trust()
    assert link.client.open_stream() == 0
    link.client.send(0, b"x", ended=False)
    link.rest()
    for turn in range(1, 13):
        link.client.send(0, bytes(20_000), ended=False)
        server_of(link).send(0, bytes(20_000), ended=False)
        link.turn()
        link.client_address = (f"192.0.2.{100 + turn % 7}", 1000)
        link.client.change_cid()
        link.client.ping()
        link.rest(3.0)
        assert len(link.seen("server")) == 1 + turn * 20_000
        assert len(link.seen("client")) == turn * 20_000


def test_a_probe_is_answered_where_it_comes_from_and_moves_nothing() -> None:
    link = shaken("aioquic", "qh3")
    link.rest()
    elsewhere = "192.0.2.77", 77
    question = b"question"
    packet = packet_by_hand(link.client, b"\x1a" + question + bytes(1200))
    server_of(link).receive(packet, len(packet), elsewhere, link.now)
    sent = server_of(link).to_send(link.now)
    answers = [data for data, address in sent if address == elsewhere]
    assert [len(data) for data in answers] == [1200]
    assert len(sent) > len(answers)
    assert {address for _, address in sent} == {elsewhere, CLIENT}
    assert isinstance(link.client, AioquicEngine)
    header, frames, _ = link.client._connection._cryptos[Epoch.ONE_RTT].decrypt_packet(answers[0], 9, 0)
    assert header[1:9] == answers[0][1:9]
    assert frames.startswith(b"\x1b" + question + b"\x1a")
    again = packet_by_hand(link.client, b"\x1b" + frames[10:18])
    server_of(link).receive(again, len(again), elsewhere, link.now)
    link.rest(0.1)
    assert {address for _, address in server_of(link).to_send(link.now)} <= {CLIENT}
