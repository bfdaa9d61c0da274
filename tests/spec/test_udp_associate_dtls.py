"""§ Handling UDP ASSOCIATE over an established DTLS session, which becomes the association's path."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from socks6.message.datagrams import Datagram, decode_message
from socks6.net.encryption.contexts import TlsParameters
from socks6.net.transports.dtls import DtlsConnector
from socks6.proxy.settings import Settings
from tests.kit.certificates import write_certificate
from tests.kit.dtls import DtlsSocket
from tests.kit.udp_server import PATIENCE, RawClient, peer_socket, place_of, udp_server


@dataclass(kw_only=True)
class Scene:
    """An association that was asked for over TLS, two DTLS connections, and a remote host."""

    client: RawClient
    near: DtlsSocket
    other: DtlsSocket
    peer: socket.socket

    def message(self, data: bytes) -> bytes:
        """Return a Datagram message to the remote host."""
        return self.client.message(data, place_of(self.peer))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Set it."""
    files = write_certificate(tmp_path)
    context = ssl.create_default_context(cafile=files.ca)
    context.set_alpn_protocols(["socks6"])
    settings = Settings(drain_timeout=0.1, tls=files.server)
    connector = DtlsConnector("localhost", TlsParameters(ca=files.ca))
    with udp_server(inbound="socks6+tls", settings=settings) as proxy, peer_socket() as peer:
        place = ("127.0.0.1", proxy.port)
        with (
            RawClient(place, tls=context) as client,
            _dtls(place, connector) as near,
            _dtls(place, connector) as other,
        ):
            yield Scene(client=client, near=near, other=other, peer=peer)


@contextmanager
def _dtls(place: tuple[str, int], connector: DtlsConnector) -> Iterator[DtlsSocket]:
    made = DtlsSocket(place, connector, PATIENCE)
    try:
        yield made
    finally:
        made.close()


def test_datagrams_may_be_sent_over_an_established_dtls_session(scene: Scene) -> None:
    scene.near.send(scene.message(b"question"))
    scene.client.await_confirmation()
    data, source = scene.peer.recvfrom(100)
    assert data == b"question"
    scene.peer.sendto(b"answer", source)
    answer, _ = decode_message(scene.near.receive())
    host, port = place_of(scene.peer)
    assert answer == Datagram(association_id=scene.client.id, host=host, port=port, data=b"answer")


def test_the_first_datagram_maps_the_association_to_the_dtls_connection(scene: Scene) -> None:
    scene.near.send(scene.message(b"first"))
    scene.client.await_confirmation()
    scene.other.send(scene.message(b"of another connection"))
    scene.client.send_on_stream(b"over TCP", place_of(scene.peer))
    scene.client.udp.sendto(scene.message(b"in plaintext"), scene.client.server)
    scene.near.send(scene.message(b"last"))
    assert [scene.peer.recv(100) for _ in range(2)] == [b"first", b"last"]


def test_padding_must_be_ignored(scene: Scene) -> None:
    scene.near.send(scene.message(b"padded") + b"arbitrary data")
    scene.client.await_confirmation()
    assert scene.peer.recv(100) == b"padded"


def test_a_message_longer_than_the_dtls_payload_must_be_silently_ignored(scene: Scene) -> None:
    scene.near.send(scene.message(b"too long for it")[:-1])
    scene.near.send(scene.message(b"whole"))
    scene.client.await_confirmation()
    assert scene.peer.recv(100) == b"whole"


def test_a_client_that_begins_anew_on_its_port_has_another_connection(scene: Scene) -> None:
    scene.near.send(scene.message(b"first"))
    scene.client.await_confirmation()
    scene.near.begin_anew()
    assert scene.client.ended()
    scene.near.send(scene.message(b"after that"))
    scene.peer.settimeout(0.2)
    assert scene.peer.recv(100) == b"first"
    with pytest.raises(TimeoutError):
        scene.peer.recv(100)
