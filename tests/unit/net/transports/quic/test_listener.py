"""Who gets a place at a QUIC listener, and whose packets are whose."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from typing_extensions import override

from socks6.errors import ConfigurationError
from socks6.net.datagrams.poller import DatagramPoller
from socks6.net.datagrams.shared import Arrival, SharedPort
from socks6.net.stream import Endpoint, SocketAddress
from socks6.net.transports.base import ListenParameters
from socks6.net.transports.quic import listener as module
from socks6.net.transports.quic.engine import (
    Backend,
    ClientParameters,
    Event,
    QuicEngine,
    ServerIdentity,
    ServerParameters,
    load_backend,
)
from socks6.net.transports.quic.listener import QuicListener, backend_for
from socks6.net.transports.quic.packets import read_header
from tests.kit.loops import Run
from tests.kit.quic import BACKENDS
from tests.kit.streams import until

NEAR: SocketAddress = ("127.0.0.1", 9)


class Core(QuicEngine):
    """Keeps what it is given, and does nothing."""

    certificate = b""
    stalled = False
    credit_blocked = False
    round_trip = 0.0
    unanswered_probes = 0
    quiet = True
    largest_frame = 0
    room_for_frames = True

    def __init__(self, terms: ServerParameters, number: int) -> None:
        self.terms = terms
        self._cid = number.to_bytes(8, "big")
        self.got: list[tuple[bytes, int]] = []
        self.closed = 0

    @property
    @override
    def cid(self) -> bytes:
        return self._cid

    @override
    def receive(self, data: bytes, size: int, address: SocketAddress, now: float) -> None:
        self.got.append((data, size))

    @override
    def next_event(self) -> Event | None:
        return None

    @override
    def to_send(self, now: float) -> list[tuple[bytes, SocketAddress]]:
        return []

    @override
    def timer(self) -> float | None:
        return None

    @override
    def unsent(self, stream_id: int | None = None) -> int:
        return 0

    @override
    def close(self, code: int, reason: str) -> None:
        self.closed = code


class Library(Backend):
    """Takes every Initial packet for one that does not say "noise"."""

    name = "none"

    def __init__(self) -> None:
        self.cores: list[Core] = []
        self.tokens: list[tuple[bytes, bytes]] = []

    @override
    def client(self, parameters: ClientParameters) -> QuicEngine:
        raise AssertionError("nobody dials")

    @override
    def server(self, parameters: ServerParameters) -> QuicEngine:
        engine = Core(parameters, len(self.cores) + 1)  # type: ignore[abstract]  # nobody calls the rest
        self.cores.append(engine)
        return engine

    @override
    def check(self, identity: ServerIdentity) -> None:
        """It is good."""

    @override
    def is_genuine(self, packet: bytes, destination: bytes, number_at: int) -> bool:
        return b"noise" not in packet[number_at:]

    @override
    def retry_packet(
        self, version: int, source_cid: bytes, destination_cid: bytes, first_cid: bytes, token: bytes, /
    ) -> bytes:
        self.tokens.append((source_cid, token))
        return b"\xf0" + token


def initial(cid: bytes, token: bytes = b"", words: bytes = b"") -> bytes:
    head = bytes.fromhex("c0 00000001 08") + cid + b"\0" + bytes((len(token),)) + token
    body = words.ljust(1200 - len(head) - 2, b"\0")
    return head + (0x4000 | len(body)).to_bytes(2, "big") + body


def arrival(*datagrams: bytes, source: SocketAddress = NEAR) -> Arrival:
    return Arrival(b"".join(datagrams), source, b"", len(datagrams[0]))


@asynccontextmanager
async def listening(retry_from: int = 1000) -> AsyncIterator[tuple[QuicListener, Library]]:
    """Give a listener whose packets come by hand."""
    library = Library()
    poller = DatagramPoller(lambda error: None)
    port = SharedPort("127.0.0.1", 0, poller)
    identity = ServerIdentity(certificates=b"", key=b"key")
    listener = QuicListener(port, library, lambda: identity, url="test", retry_from=retry_from)
    try:
        yield listener, library
    finally:
        await listener.aclose()
        poller.close()


def test_a_row_of_two_connections_goes_to_both(run: Run) -> None:
    async def main() -> None:
        async with listening() as (listener, library):
            one, other = initial(b"AAAAAAAA"), initial(b"BBBBBBBB")
            listener.datagrams_received([arrival(one, other)])
            assert [engine.got for engine in library.cores] == [[(one, 1200)], [(other, 1200)]]
            first, second = library.cores
            mine, its = (b"\x40" + engine.cid + bytes(20) for engine in library.cores)
            listener.datagrams_received([arrival(mine, mine, its, its, mine[:-1])])
            assert first.got[1:] == [(mine + mine, 29), (mine[:-1], 28)]
            assert second.got[1:] == [(its + its, 29)]

    run(main())


def test_noise_that_looks_like_a_first_packet_gets_no_place(run: Run) -> None:
    async def main() -> None:
        async with listening() as (listener, library):
            listener.datagrams_received(
                [arrival(initial(bytes((number,)) * 8, words=b"noise")) for number in range(100)]
            )
            assert not library.cores
            assert (len(listener._connections), listener.noise) == (0, 100)
            cut = initial(b"AAAAAAAA")[:1199]
            listener.datagrams_received([arrival(cut)])
            assert not library.cores

    run(main())


def test_a_token_brings_one_connection_in_under_the_id_that_it_was_made_with(run: Run) -> None:
    async def main() -> None:
        async with listening(retry_from=0) as (listener, library):
            listener.datagrams_received([arrival(initial(b"AAAAAAAA"))])
            cid, token = library.tokens.pop()
            assert not library.cores
            for other in (b"AAAAAAAA", b"BBBBBBBB"):  # whoever uses it for another is asked for one again
                listener.datagrams_received([arrival(initial(other, token))])
                assert library.tokens.pop()
                assert not library.cores
            listener.datagrams_received([arrival(initial(cid, token, b"noise"))])
            assert not library.cores  # but the token is as good as before
            listener.datagrams_received([arrival(initial(cid, token))])
            assert [engine.terms.first_cid for engine in library.cores] == [b"AAAAAAAA"]
            assert [engine.terms.retry_cid for engine in library.cores] == [cid]
            for connection in [guest.connection for guest in listener._connections]:
                connection.abort()
            listener.datagrams_received([arrival(initial(cid, token))])
            assert len(library.cores) == 1

    run(main())


def test_the_biggest_sources_oldest_gives_way(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HANDSHAKES", 4)

    async def main() -> None:
        async with listening() as (listener, library):
            for number, host in enumerate(("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.1", "192.0.2.3")):
                listener.datagrams_received([arrival(initial(bytes((number,)) * 8), source=(host, 9))])
            assert [engine.closed for engine in library.cores] == [module.BUSY, 0, 0, 0, 0]
            assert len(listener._connections) == 4
            listener.datagrams_received([arrival(initial(b"AAAAAAAA"), source=("192.0.2.1", 9))])
            assert [engine.closed for engine in library.cores] == [module.BUSY, 0, module.BUSY, 0, 0, 0]

    run(main())


def test_handshakes_that_nobody_ends_are_swept_away(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANDSHAKE_SECONDS", 0.01)

    async def main() -> None:
        async with asyncio.timeout(10), listening() as (listener, library):
            listener.datagrams_received([arrival(initial(b"AAAAAAAA"))])
            await until(lambda: not listener._connections)
            assert library.cores[0].closed

    run(main())


@pytest.mark.parametrize("library", ["qh3", "aioquic"])
def test_libraries_know_a_first_packet_from_noise(library: str) -> None:
    backend = load_backend(library)
    client = backend.client(ClientParameters(server_name="localhost"))
    client.connect(NEAR, 0.0)
    packet = client.to_send(0.0)[0][0]
    header = read_header(packet)
    assert header is not None
    for name in ("qh3", "aioquic"):
        genuine = load_backend(name).is_genuine
        assert genuine(packet[: header.end], header.destination, header.number_at)
        assert not genuine(packet[: header.end], b"AAAAAAAA", header.number_at)
        assert not genuine(packet[: header.number_at], header.destination, header.number_at)
        for at in (header.number_at, header.number_at + 5, header.end - 1):
            spoilt = bytearray(packet[: header.end])
            spoilt[at] ^= 1
            assert not genuine(bytes(spoilt), header.destination, header.number_at)


@pytest.mark.parametrize(
    ("local", "host"),
    [(b"", "127.0.0.1"), (b"\xcb\x00\x71\x01", "203.0.113.1"), (bytes(15) + b"\x01", "::1")],
)
def test_a_connection_knows_by_which_address_it_arrived(run: Run, local: bytes, host: str) -> None:
    async def main() -> None:
        async with listening() as (listener, _):
            listener.datagrams_received([arrival(initial(b"AAAAAAAA"))._replace(local=local)])
            (guest,) = listener._connections
            assert guest.connection.local == Endpoint(host, listener.local.port)

    run(main())


@pytest.mark.parametrize("library", BACKENDS)
def test_a_version_that_was_not_examined_listens_on_loopback_only(
    monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    near, far = (
        ListenParameters(url="socks6+quic://x", scheme="socks6+quic", quic_backend=library, is_local=local)
        for local in (True, False)
    )
    for place in (near, far):
        assert backend_for(place).name == library
    monkeypatch.setattr("importlib.metadata.version", lambda _: "9.9")
    assert backend_for(near).name == library
    with pytest.raises(ConfigurationError, match=rf"{library} 9\.9 is not known: pip install 'pysocks6\["):
        backend_for(far)
