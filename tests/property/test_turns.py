"""However much a peer sends, whatever reads it lets others run, and its deadline holds."""

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from itertools import repeat
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import Buffer, override

from socks6.errors import NotAllowed
from socks6.message.codes import Command
from socks6.message.datagrams import Datagram
from socks6.message.replies import OperationReply
from socks6.net.machine_io import next_event
from socks6.net.stream import ByteStream
from socks6.net.transports.tls import TlsStream
from socks6.net.turns import BUDGET, EVENT
from socks6.protocol.client import ClientConversation
from socks6.protocol.server import ServerConversation
from socks6.proxy.inbounds.base import linger, run_while_connected, stay_silent
from socks6.proxy.inbounds.http import HttpInbound
from socks6.proxy.inbounds.socks5 import Socks5Inbound
from socks6.relay.copy import CopiedStreams, CopyDirection
from socks6.relay.delivery import PIECE_BYTES, PIECES_PER_CHECK
from tests.kit.channels import EchoChannel
from tests.kit.connection import ScriptedConnection
from tests.kit.endless import EndlessStream
from tests.kit.http import GET
from tests.kit.joined import tls_conversations
from tests.kit.loops import Run
from tests.kit.playbook import received
from tests.kit.scenes import admitted, client
from tests.kit.socks_messages import socks5_greeting, socks5_request
from tests.kit.streams import until

TURNS = 40  # of the loop, after which a reader that has not ended by itself is cancelled
EVENTS = BUDGET // EVENT  # that one stream gives in one turn
RECORDS = 64  # of TLS, that one of these is made of at the most
DATAGRAM = Datagram(association_id=7, host="192.0.2.1", port=9, data=b"").encode()
NONSENSE = bytes.fromhex("06 03 0014 0102030405060708 ee 00 0000 00000000")

Reader: TypeAlias = Callable[[ByteStream], Coroutine[None, None, object]]


def serving_associated() -> ServerConversation:
    scene = admitted(command=Command.UDP_ASSOCIATE)
    scene.machine.send_reply(OperationReply(code=0, host="192.0.2.1", port=9))
    scene.machine.data_to_send()
    return scene.machine


def associated() -> ClientConversation:
    scene = client(Command.UDP_ASSOCIATE)
    scene >> received("06 00 0000", "06 00 0000 0438 00 01 7f000001")
    while scene.machine.next_event():
        pass
    return scene.machine


async def read_for_ever(stream: ByteStream) -> None:
    while await stream.receive(1):
        pass


async def read_pieces(stream: ByteStream) -> None:
    while await stream.receive():
        pass


async def serve_datagrams(stream: ByteStream) -> None:
    machine = serving_associated()
    while await next_event(machine, stream):
        pass


async def take_datagrams(stream: ByteStream) -> None:
    machine = associated()
    while await next_event(machine, stream):
        pass


async def refuse_requests(stream: ByteStream) -> None:
    failures = list(repeat(NotAllowed("no"), 10_000))
    await HttpInbound().serve(ScriptedConnection(stream, failures=failures))


async def demand_credentials(stream: ByteStream) -> None:
    await HttpInbound().serve(ScriptedConnection(stream, users={b"me": b"123"}))


async def watch(stream: ByteStream) -> None:
    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    await run_while_connected(stream, work, lambda _: None)


async def carry_socks5(stream: ByteStream) -> None:
    connection = ScriptedConnection(stream)
    connection.channel = EchoChannel()
    request = socks5_request(Command.UDP_ASSOCIATE, "0.0.0.0", 0)
    try:
        await Socks5Inbound().serve(connection, socks5_greeting(0) + request)
    finally:
        connection.proxy.close_datagrams()


async def be_silent(stream: ByteStream) -> None:
    await stay_silent(stream, asyncio.get_running_loop().time() + 60.0)


async def copy(stream: ByteStream) -> None:
    direction = CopiedStreams(stream, stream).up
    assert isinstance(direction, CopyDirection)
    await direction.copy()


READERS: dict[str, tuple[Reader, bytes]] = {
    "receive, a byte at a time": (read_for_ever, b"x"),
    "receive, as much as there is": (read_pieces, b"x"),
    "datagrams of a client": (serve_datagrams, DATAGRAM),
    "messages of a client that make no sense": (serve_datagrams, NONSENSE),
    "datagrams of a proxy": (take_datagrams, DATAGRAM),
    "messages of a proxy that make no sense": (take_datagrams, NONSENSE),
    "http requests that are refused": (refuse_requests, GET),
    "http requests without credentials": (demand_credentials, GET),
    "a client whose BIND waits": (watch, b"x"),
    "a SOCKS 5 client that has an association": (carry_socks5, b"x"),
    "a stranger to whom nothing is said": (be_silent, b"x"),
    "a refused client": (linger, b"x"),
    "copying": (copy, b"x"),
}


async def watched(reader: Awaitable[object], stream: EndlessStream) -> None:
    """Read until the reader ends, or many turns have gone by."""
    reading = asyncio.ensure_future(reader)
    try:
        await until(lambda: reading.done() or stream.turns_seen >= TURNS)
        if reading.done():
            await reading
    finally:
        reading.cancel()
        await asyncio.wait((reading,))
        stream.abort()


@pytest.mark.parametrize("name", READERS)
def test_whoever_reads_a_stream_that_is_never_dry_lets_others_run(run: Run, name: str) -> None:
    reader, pattern = READERS[name]

    async def scene() -> None:
        stream = EndlessStream(lambda: pattern * (1 + 4096 // len(pattern)))
        await watched(reader(stream), stream)
        assert stream.longest <= 2 * EVENTS + 1  # each event may be answered
        thrown_away = (
            PIECES_PER_CHECK * PIECE_BYTES if reader is linger else 0
        )  # unseen, while what was said arrives
        assert stream.most_bytes <= BUDGET + PIECE_BYTES + thrown_away

    run(scene())


class Records(ssl.SSLObject):
    """OpenSSL; fails when too many records are decrypted within one turn."""

    def __init__(self, tls: ssl.SSLObject) -> None:
        self._tls = tls
        self.seen = 0
        self._in_this_turn = 0

    @override
    def read(self, len: int = 1024, buffer: Buffer | None = None) -> bytes:
        data = self._tls.read(len)
        if not self._in_this_turn:
            asyncio.get_running_loop().call_soon(self._end_turn)
        self.seen += 1
        self._in_this_turn += 1
        assert self._in_this_turn <= (EVENTS + 1) * RECORDS, "others got no turn"
        return data

    @override
    def pending(self) -> int:
        return self._tls.pending()

    @override
    def unwrap(self) -> None:
        self._tls.unwrap()

    def _end_turn(self) -> None:
        self._in_this_turn = 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["receive, as much as there is", "a refused client", "a stranger to whom nothing is said"]
)
def test_records_of_one_byte_let_others_run(run: Run, name: str) -> None:
    reader, _ = READERS[name]

    async def scene() -> None:
        ours, theirs = tls_conversations()
        assert isinstance(ours.tls, ssl.SSLObject)
        ours.tls = records = Records(ours.tls)

        def more() -> bytes:
            for _ in range(256):
                theirs.tls.write(b"x")
            return theirs.outgoing.read()

        raw = EndlessStream(more)
        await watched(reader(TlsStream(raw, ours)), raw)
        assert raw.longest <= 2 * EVENTS + 1
        assert (records.seen > 0) == (reader is read_pieces)  # what is thrown away is not decrypted

    run(scene())


class Counted:
    """A machine whose every ten bytes are an event; fails when too many are taken within one turn."""

    def __init__(self) -> None:
        self.buffer = 0
        self.taken = 0
        self.late = False

    def receive_data(self, data: bytes, now: float) -> None:
        self.buffer += len(data)

    def receive_eof(self, now: float) -> None:
        raise AssertionError("it never ends")

    def handle_timeout(self, now: float) -> None:
        self.late = True

    def next_timeout(self) -> float | None:
        return None

    def next_event(self) -> str | None:
        if self.buffer < 10:
            return None
        self.buffer -= 10
        self.taken += 1
        assert self.taken <= EVENTS + 1, "others got no turn"
        return "ten bytes"

    def data_to_send(self) -> bytes:
        return b""

    def bytes_wanted(self) -> int:
        return 10 - self.buffer

    def unread(self) -> bytes:
        return b""


@given(sizes=st.lists(st.integers(1, 40_000), min_size=1, max_size=8), exact=st.booleans())
def test_events_let_others_run_whatever_the_pieces(sizes: list[int], exact: bool) -> None:
    async def scene() -> None:
        left = deque(sizes)

        def more() -> bytes:
            left.rotate()
            return bytes(left[0])

        stream = EndlessStream(more)
        machine = Counted()

        def turn() -> None:
            machine.taken = 0
            if stream.turns_seen < TURNS:
                asyncio.get_running_loop().call_soon(turn)

        async def read() -> None:
            event: str | None = ""
            while event is not None:
                event = await next_event(machine, stream, exact=exact)

        turn()
        await watched(read(), stream)

    asyncio.run(scene())
