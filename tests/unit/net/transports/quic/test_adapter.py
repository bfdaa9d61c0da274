"""What both libraries share: the same is asked of each, on a network and in a time of their own."""

import pytest

from socks6.errors import ConfigurationError
from socks6.net.transports.quic.aioquic import AioquicEngine
from socks6.net.transports.quic.engine import (
    CidIssued,
    ClientParameters,
    FrameArrived,
    HandshakeDone,
    PingAnswered,
    QuicEngine,
    ServerIdentity,
    StreamBytes,
    StreamReset,
    StreamStopped,
    Terminated,
    load_backend,
)
from tests.kit.quic import BACKENDS
from tests.kit.quic_link import CLIENT, SERVER, Link, identity, server_of, shaken

SIZE = 200_000

pytestmark = pytest.mark.parametrize("library", BACKENDS)


def test_each_event_of_the_library_is_one_of_ours(library: str) -> None:
    link = shaken(library, library)
    client, server = link.client, server_of(link)
    (handshake,) = link.of("client", HandshakeDone)
    assert handshake == HandshakeDone("socks6", early_accepted=False, resumed=False)
    first, second = client.open_stream(), client.open_stream()
    assert (first, second) == (0, 4)
    client.send(0, memoryview(b"bytes"), ended=True)
    client.send(4, b"more", ended=False)
    client.send_frame(b"frame")
    client.ping(7)
    link.until(lambda: link.of("client", PingAnswered) and link.of("server", FrameArrived))
    client.reset(4, 11)
    server.stop(0, 12)
    link.until(lambda: link.of("server", StreamReset))
    assert StreamBytes(0, b"bytes", ended=True) in link.events["server"]
    assert StreamBytes(4, b"more", ended=False) in link.events["server"]
    assert link.of("server", FrameArrived) == [FrameArrived(b"frame")]
    assert link.of("client", PingAnswered) == [PingAnswered(7)]
    assert link.of("server", StreamReset) == [StreamReset(4, 11)]
    assert all(len(event.cid) == 8 for event in link.of("server", CidIssued))
    assert link.of("server", CidIssued)


def test_a_stop_is_told_to_who_sends(library: str) -> None:
    link = shaken(library, library)
    assert link.client.open_stream() == 0
    link.client.send(0, b"x", ended=False)
    link.until(lambda: link.of("server", StreamBytes))
    server_of(link).stop(0, 12)
    link.until(lambda: link.of("client", StreamStopped))
    assert link.of("client", StreamStopped) == [StreamStopped(0, 12)]


def test_the_end_is_told_at_once_and_once_on_either_side(library: str) -> None:
    link = shaken(library, library)
    link.client.close(3, "enough")
    assert link.client.next_event() == Terminated(3, "enough")
    assert link.client.next_event() is None
    link.client.close(4, "again")
    link.until(lambda: link.of("server", Terminated))
    link.rest(2.0)
    assert link.of("client", Terminated) == []  # no second one
    assert link.of("server", Terminated) == [Terminated(3, "enough")]


def test_what_is_asked_of_a_stream_that_is_over_is_a_connection_error(library: str) -> None:
    link = shaken(library, library)
    assert link.client.open_stream() == 0
    link.client.send(0, b"all", ended=True)
    with pytest.raises(ConnectionError, match="the stream is over"):
        link.client.send(0, b"more", ended=False)
    with pytest.raises(ConnectionError, match="the stream is over"):
        link.client.stop(401, 0)  # the server has opened none


@pytest.mark.parametrize("packet", [b"", b"\x00", b"\x40" * 30, b"\xc0" * 1_300, b"\xff" + bytes(1_299)])
def test_garbage_ends_no_connection(library: str, packet: bytes) -> None:
    link = shaken(library, library)
    for end, source in ((link.client, SERVER), (server_of(link), CLIENT)):
        end.receive(packet, max(1, len(packet)), source, link.now)
    link.client.ping(1)
    link.until(lambda: link.of("client", PingAnswered))
    assert not link.of("server", Terminated)


def test_a_fault_of_the_library_ends_its_connection_alone(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ValueError("a fault")

    link, other = shaken(library, library), shaken(library, library)
    connection = server_of(link)._connection  # type: ignore[attr-defined]  # of either library
    monkeypatch.setattr(connection, "receive_datagram", fails)
    link.client.ping(1)
    link.until(lambda: link.of("server", Terminated))
    ((code, reason),) = link.of("server", Terminated)
    assert code == 1
    assert "a fault" in reason
    other.client.ping(1)
    other.until(lambda: other.of("client", PingAnswered))


def test_a_connection_that_was_let_go_does_nothing_more(library: str) -> None:
    link = shaken(library, library)
    link.client.close(0, "")
    link.rest(2.0)
    for end in (link.client, server_of(link)):
        end.release()
        end.release()
        end.receive(bytes(100), 100, SERVER, link.now)
        assert end.to_send(link.now) == []
        assert end.timer() is None
        assert (end.unsent(), end.unsent(0), end.unacknowledged(0)) == (0, 0, 0)


def test_all_has_arrived_when_a_connection_is_quiet(library: str) -> None:
    link = shaken(library, library)
    link.rest()
    quiet = [link.client.quiet]
    assert link.client.open_stream() == 0
    link.client.send(0, bytes(100_000), ended=False)
    assert [*quiet, link.client.quiet] == [True, False]
    assert link.client.unsent(0) == link.client.unacknowledged(0) == link.client.unsent() == 100_000
    link.until(lambda: link.client.quiet)
    assert (link.client.unsent(0), link.client.unacknowledged(0)) == (0, 0)
    assert len(link.seen("server")) == 100_000
    assert 0.015 < link.client.round_trip < 0.1  # of 20 ms


def test_a_peer_that_is_gone_leaves_probes_unanswered(library: str) -> None:
    link = shaken(library, library)
    link.rest()
    link.client.ping(1)
    now = link.now
    for _ in range(3):
        link.client.to_send(now)
        timer = link.client.timer()
        assert timer is not None
        now = timer
        link.client.handle_timer(now)
    assert link.client.unanswered_probes >= 2


def test_beyond_a_peers_limit_there_is_no_stream(library: str) -> None:
    link = shaken(library, library)
    found = 0
    while link.client.open_stream() is not None:
        found += 1
        assert found <= 2_000
    assert found == 2_000


@pytest.mark.parametrize("spoiled", ["certificates", "key"])
def test_a_certificate_that_cannot_be_used_is_a_fault_of_the_settings(library: str, spoiled: str) -> None:
    whole = {"certificates": identity().certificates, "key": identity().key}
    wrong = ServerIdentity(**{**whole, spoiled: b"-----BEGIN NOTHING-----\n"})
    backend = load_backend(library)
    backend.check(identity())
    with pytest.raises(ConfigurationError, match=f"{library} cannot use the certificate or its key"):
        backend.check(wrong)
    with pytest.raises(ConfigurationError, match=f"{library} cannot use the certificate or its key"):
        backend.client(ClientParameters(server_name="localhost", identity=wrong))


def test_early_data_is_of_a_ticket_and_taken_once(library: str) -> None:
    first = shaken(library, library)
    first.until(lambda: first.tickets)
    again = Link(library, library, before=first)
    assert again.client.open_stream() == 0
    again.client.send(0, b"early", ended=True)
    again.until(lambda: again.of("client", HandshakeDone) and again.seen("server") == b"early")
    (done,) = again.of("client", HandshakeDone)
    assert (done.resumed, done.early_accepted) == (True, True)


def test_a_client_learns_the_token_of_stateless_resets(library: str) -> None:
    link = shaken("aioquic", library)
    assert isinstance(link.client, AioquicEngine)
    assert link.client._connection._peer_cid.stateless_reset_token == server_of(link).cid + bytes(8)


def certificate_of(end: QuicEngine) -> bytes:
    return end.certificate


def test_the_peers_certificate_is_there_to_be_checked(library: str) -> None:
    link = shaken(library, library)
    assert certificate_of(link.client).startswith(b"\x30\x82")  # DER
    assert certificate_of(server_of(link)) == b""
    assert not server_of(link).issuers


@pytest.mark.parametrize(("chosen", "least", "most"), [((), 0, 3), (range(30, 9999, 20), 3, 40)])
def test_packets_that_do_not_arrive_are_missed(library: str, chosen: range, least: int, most: int) -> None:
    """Also where only some of the packets are looked at."""
    link = Link(library, library, chosen)
    link.until(lambda: link.of("client", HandshakeDone))
    link.client.trust()
    link.client.open_stream()
    link.client.send(0, b"x", ended=False)
    link.until(lambda: link.seen("server"))
    server_of(link).send(0, bytes(SIZE), ended=True)
    link.until(lambda: link.seen("client") == bytes(SIZE))
    arrived, sent = link.client.received
    assert sent > 100
    assert least <= sent - arrived <= most
