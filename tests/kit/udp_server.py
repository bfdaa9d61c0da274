"""A server that relays datagrams, in a thread and perhaps a network of its own, and a client of it made of bytes.

The client's sockets are blocking ones, with a limit: what does not come in time fails the test.
"""

import asyncio
import contextlib
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from typing_extensions import override

from socks6.client.client import Client
from socks6.client.outbound import UpstreamOutbound
from socks6.message.datagrams import (
    AssociationConfirmation,
    AssociationInitialization,
    AssociationMessage,
    Datagram,
    DatagramError,
    decode_message,
    message_size,
)
from socks6.message.dialect import DRAFT_12, DatagramLayout, Dialect
from socks6.message.options import Option
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.net.datagrams.direct import USUAL, DatagramSettings
from socks6.net.direct import DirectOutbound
from socks6.policy.rules import Policy, Rule
from socks6.proxy.service import Server
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import ConnectionEnded, Event, Observer, UnexpectedError
from tests.kit.datagram_forwarders import forwarder_named
from tests.kit.loops import LOOP_FACTORIES
from tests.kit.netns import Namespace

PATIENCE: Final = 5.0
OPENLY: Final = Policy(
    allow_private=True, rules=(Rule.parse("allow", commands=["bind"], ports=["1024-65535"]),)
)


class _Notes(Observer):
    wants = (UnexpectedError, ConnectionEnded)

    def __init__(self) -> None:
        self.faults: list[BaseException] = []
        self.summaries: queue.Queue[ConnectionEnded] = queue.Queue()

    @override
    def observe(self, event: Event) -> None:
        match event:
            case UnexpectedError():
                self.faults.append(event.error)
            case ConnectionEnded():
                self.summaries.put(event)
            case _:
                pass


@dataclass(kw_only=True)
class RunningServer:
    """A server in a thread."""

    worker: ServerWorker
    port: int
    summaries: "queue.Queue[ConnectionEnded]"
    faults: list[BaseException]
    _call: Callable[[Callable[[], object]], object] = field(repr=False)

    def ask(self, question: Callable[[], object]) -> object:
        """Return what a question gives in the server's thread."""
        answers: queue.Queue[object] = queue.Queue()
        self._call(lambda: answers.put(question()))
        return answers.get(timeout=PATIENCE)


@contextlib.contextmanager
def udp_server(
    *,
    namespace: Namespace | None = None,
    host: str = "127.0.0.1",
    inbound: str = "socks6",
    forwarder: str = "best",
    loop: str = "uvloop",
    policy: Policy = OPENLY,
    settings: Settings | None = None,
    datagrams: DatagramSettings = USUAL,
    via: str = "",
) -> Iterator[RunningServer]:
    """Run a server until the block ends; it must have had no fault. `via` is a proxy that it goes out through."""
    notes, make_forwarder = _Notes(), forwarder_named(forwarder)
    place = f"[{host}]" if ":" in host else host
    ready: queue.Queue[tuple[RunningServer, Callable[[], object]] | BaseException] = queue.Queue()

    async def serve() -> None:
        outbound = UpstreamOutbound(Client(via)) if via else DirectOutbound(datagrams=datagrams)
        worker = ServerWorker(
            policy=policy,
            settings=settings or Settings(drain_timeout=0.1),
            observers=[notes],
            outbound=outbound,
            forwarder=make_forwarder,
        )
        async with Server([f"{inbound}://{place}:0"], worker, open_to_all=True) as server:
            ready.put((_running(server, worker, notes), server.abort))
            await server.serve_forever()

    def run() -> None:
        with namespace.entered() if namespace else contextlib.nullcontext():
            try:
                with asyncio.Runner(loop_factory=LOOP_FACTORIES[loop]) as runner:
                    runner.run(serve())
            except BaseException as error:  # noqa: BLE001 - for the test's thread
                ready.put(error)

    with _in_thread(run, ready) as running:
        yield running
    assert not notes.faults, notes.faults


def _running(server: Server, worker: ServerWorker, notes: _Notes) -> RunningServer:
    return RunningServer(
        worker=worker,
        port=int(server.urls[0].rpartition(":")[2]),
        summaries=notes.summaries,
        faults=notes.faults,
        _call=asyncio.get_running_loop().call_soon_threadsafe,
    )


@contextlib.contextmanager
def _in_thread(
    run: Callable[[], None],
    ready: "queue.Queue[tuple[RunningServer, Callable[[], object]] | BaseException]",
) -> Iterator[RunningServer]:
    """Have a server run in a thread of its own until the block ends."""
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    started = ready.get(timeout=PATIENCE)
    if isinstance(started, BaseException):
        raise started
    running, abort = started
    try:
        yield running
    finally:
        running.ask(abort)
        thread.join(PATIENCE)
    assert not thread.is_alive()
    assert ready.empty(), ready.get()


class RawClient:
    """A client that has asked for an association: `udp` is its socket, `tcp` its connection."""

    def __init__(
        self,
        server: tuple[str, int],
        *,
        host: str = "0.0.0.0",
        port: int = 0,
        options: Sequence[Option] = (),
        dialect: Dialect = DRAFT_12,
        layout: DatagramLayout | None = None,
        namespace: Namespace | None = None,
        tls: ssl.SSLContext | None = None,
        unix: str = "",
    ) -> None:
        """`tls` is what a server with TLS is met with; `unix` is where to connect instead, if not for datagrams."""
        self.server = server
        self.dialect = dialect
        self.layout = layout
        self.last_layout: DatagramLayout | None = None
        with namespace.entered() if namespace else contextlib.nullcontext():
            self.tcp = _unix_connection(unix) if unix else socket.create_connection(server, timeout=PATIENCE)
            if tls is not None:
                self.tcp = tls.wrap_socket(self.tcp, server_hostname=server[0])
            self.udp = self.another_socket()
        with contextlib.ExitStack() as failing:
            failing.callback(self.close)
            self._ask(Request(command=3, host=host, port=port, options=tuple(options)))
            failing.pop_all()

    def _ask(self, request: Request) -> None:
        self.tcp.sendall(request.encode(self.dialect))
        self.authentication = AuthenticationReply.decode(self._reply(AuthenticationReply), self.dialect)
        self.reply = OperationReply.decode(self._reply(OperationReply), self.dialect)
        self.id = 0
        if self.reply.code == 0:
            first = self.receive_on_stream()
            assert isinstance(first, AssociationInitialization)
            self.id = first.association_id

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def bound(self) -> tuple[str, int]:
        """Where remote hosts reach it."""
        return self.reply.host, self.reply.port

    def another_socket(self) -> socket.socket:
        """Return a UDP socket of the server's family; the caller is in the right network."""
        sock = socket.socket(socket.AF_INET6 if ":" in self.server[0] else socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(PATIENCE)
        return sock

    def opened(self) -> Self:
        """Open the association over UDP, and wait for the Confirmation."""
        self.send(b"", ("0.0.0.0", 0))
        self.await_confirmation()
        return self

    def opened_on_stream(self) -> Self:
        """Open the association on its stream, and wait for the Confirmation."""
        self.send_on_stream(b"", ("0.0.0.0", 0))
        self.await_confirmation()
        return self

    def await_confirmation(self) -> None:
        """Fail unless the next message on the stream is the Confirmation."""
        assert self.receive_on_stream() == AssociationConfirmation(association_id=self.id)

    def message(self, data: bytes, remote: tuple[str, int], *, number: int | None = None) -> bytes:
        """Return a Datagram message."""
        datagram = Datagram(
            association_id=self.id if number is None else number, host=remote[0], port=remote[1], data=data
        )
        return datagram.encode(self.dialect, self.layout)

    def send(self, data: bytes, remote: tuple[str, int]) -> None:
        """Send a datagram over UDP."""
        self.send_raw(self.message(data, remote))

    def send_raw(self, packet: bytes) -> None:
        """Send any packet to the server's UDP port."""
        self.udp.sendto(packet, self.server)

    def send_on_stream(self, data: bytes, remote: tuple[str, int]) -> None:
        """Send a datagram on the stream."""
        self.tcp.sendall(self.message(data, remote))

    def receive(self) -> Datagram | DatagramError:
        """Return the next message that comes over UDP."""
        message, self.last_layout = decode_message(self.udp.recv(65536), self.dialect, self.layout)
        assert isinstance(message, Datagram | DatagramError)
        return message

    def received(self) -> tuple[bytes, tuple[str, int]]:
        """Return data and source of the next datagram over UDP."""
        message = self.receive()
        assert isinstance(message, Datagram), message
        return message.data, (message.host, message.port)

    def receive_on_stream(self) -> AssociationMessage:
        """Return the next message on the stream."""
        data = b""
        while len(data) < (size := message_size(data, self.dialect)):
            data += self._exactly(size - len(data))
        message, self.last_layout = decode_message(data, self.dialect, self.layout)
        return message

    def ended(self) -> bool:
        """Wait for the stream's end; return whether nothing came before."""
        try:
            return self.tcp.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        """Go away."""
        self.tcp.close()
        self.udp.close()

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.tcp.recv(size - len(data))
            assert piece, "the server has closed the connection"
            data += piece
        return data

    def _reply(self, kind: type[AuthenticationReply] | type[OperationReply]) -> bytes:
        data = b""
        while not data or len(data) < (size := kind.size(data, self.dialect)):
            data += self._exactly(1 if not data else size - len(data))
        return data


def _unix_connection(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    connection.connect(path)
    return connection


def peer_socket(
    host: str = "127.0.0.1", *, namespace: Namespace | None = None, port: int = 0
) -> socket.socket:
    """Return a remote host's UDP socket."""
    with namespace.entered() if namespace else contextlib.nullcontext():
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(PATIENCE)
        try:
            sock.bind((host, port))
        except OSError:
            sock.close()
            raise
    return sock


def place_of(sock: socket.socket) -> tuple[str, int]:
    """Return where a socket is."""
    host, port = sock.getsockname()[:2]
    return host, port


def received_by(peer: socket.socket) -> tuple[bytes, tuple[str, int]]:
    """Return data and source of the next datagram at a remote host."""
    data, source = peer.recvfrom(65536)
    return data, (source[0], source[1])
