"""What an inbound is: one protocol that clients speak, turned into requests; and what several inbounds share."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final, Protocol, TypeVar

from socks6.dataclass import dataclass
from socks6.errors import OperationFailed
from socks6.message.requests import MAX_INITIAL_DATA
from socks6.net.machine_io import flush
from socks6.net.scopes import on_failure
from socks6.net.stream import NO_ENDPOINT, AcceptedPeer, Binding, ByteStream, Endpoint
from socks6.net.transports.tls import TlsStream
from socks6.protocol.machine import Machine
from socks6.proxy.commands import ProxyRequest
from socks6.proxy.connection import ClientConnection
from socks6.relay.delivery import deliver
from socks6.telemetry import Ending

LINGER_SECONDS: Final = 2.0  # what a refused client gets to read its answer
LINGER_BYTES: Final = 262_144
EARLY_BYTES: Final = 65_536  # of the stream, ahead of the peer of a BIND; then the client is read no further
# A client near its converter speaks within a millisecond of its answer. Where the server speaks first, this is what is
# lost: less than one can notice.
FIRST_BYTES_SECONDS: Final = 0.05

EventT = TypeVar("EventT")


@dataclass(slots=True, kw_only=True)
class Tunnel:
    """The remote's stream, which the relay is to join with the client's."""

    remote: ByteStream
    initial_data: bytes = b""  # what the remote gets first

    def take_initial_data(self) -> bytes:
        """Return `initial_data`, and forget it: no relay need hold 64 KiB for as long as it lives."""
        data, self.initial_data = self.initial_data, b""
        return data


class Inbound(Protocol):
    """One protocol that clients speak. Has no state of its own: one object serves every connection."""

    alpn: tuple[
        str, ...
    ] = ()  # what its clients may offer over TLS; of SOCKS 6 clients that offer any, they must
    # whether its clients may send SOCKS 6 datagrams to a UDP port beside its listener
    datagrams: bool = False

    @property
    def name(self) -> str:
        """The inbound's name in URLs and logs: socks6, socks5, http, mixed."""

    async def serve(self, connection: ClientConnection, initial_data: bytes = b"") -> Tunnel | None:
        """Carry out one client's handshake, `initial_data` being what was already read from its stream.

        Before that came `connection.greeting`, if it is not empty, which was answered.

        Return the tunnel to relay, or None when all is done. Failures are answered here. Raises OSError when the client's
        stream breaks; does not close it.
        """


class ReadConnect(Protocol):
    """Reads a plain CONNECT."""

    def __call__(self, data: bytes, *, names: bool = False) -> tuple[str, int, int] | None:
        """Return its host, which is an address unless `names`, its port and its length; None for anything else."""


class PlainAdmission(Protocol):
    """One request whose client may have to authenticate, on its way to be admitted."""

    def admit_nowait(self) -> ProxyRequest | None:
        """Go on as far as that waits for nothing; return the request once it is admitted."""

    def form(self) -> "PlainForm":
        """Return how a request that is admitted is answered, instead of by `serve`; to be called once."""

    async def serve(self) -> Tunnel | None:
        """Go on from where it stands to the end; see `Inbound.serve`."""


class AdmitBySession(Protocol):
    """Admits a plain CONNECT that names its session."""

    def __call__(
        self, connection: ClientConnection, data: bytes, *, names: bool = False
    ) -> "tuple[ProxyRequest, PlainForm] | None":
        """Return the request, to an address unless `names`, and how it is answered; None for `PlainForm.admit` to decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainForm:
    """How a protocol writes a CONNECT that needs no conversation, and its answers: see `proxy.plain_connect`."""

    read_connect: ReadConnect
    success: Callable[[str, int], bytes]  # by the endpoint
    failure: Callable[[OperationFailed, ClientConnection], bytes]
    admitted: bytes = b""  # comes before either, at once where the remote takes time
    is_greeting: Callable[[bytes], bool] | None = None  # of protocols whose clients greet first
    welcome: bytes = b""  # the answer to that
    admit: Callable[[ClientConnection, bytes], PlainAdmission] | None = (
        None  # reads what is not plain, or who sends it
    )
    admit_by_session: "AdmitBySession | None" = None  # before that
    optimistic: bool = False  # success is answered first, as by `open_tunnel`


class PlainInbound(Inbound):
    """An inbound some of whose clients' CONNECTs need no conversation."""

    plain_forms: Mapping[int, PlainForm]  # by the first byte of what a client sends


async def open_tunnel(
    machine: Machine[EventT],
    connection: ClientConnection,
    request: ProxyRequest,
    *,
    succeed: Callable[[Endpoint], None],
    fail: Callable[[OperationFailed], None],
    optimistic: bool = False,
) -> Tunnel | None:
    """Carry out a CONNECT and answer; None when it failed. `succeed` and `fail` queue the inbound's answer.

    If `optimistic`, success is answered first, and the client's first bytes go along with the request; where that fails,
    the client is reset.
    """
    stream = connection.stream
    if optimistic:
        succeed(NO_ENDPOINT)
        await flush(machine, stream)
        request = replace(request, initial_data=request.initial_data or await first_bytes(stream))
    try:
        remote = await connection.connect(request)
    except OperationFailed as failure:
        if optimistic:
            stream.abort()
        else:
            fail(failure)
        return None
    if not optimistic:
        with on_failure(remote.stream.abort):
            succeed(remote.bound)
            await flush(machine, stream)
    return Tunnel(remote=remote.stream, initial_data=request.initial_data[remote.first_data_sent :])


async def first_bytes(stream: ByteStream) -> bytes:
    """Return what the client sends soon; nothing if it waits for the server, or has ended its side."""
    try:
        async with asyncio.timeout(FIRST_BYTES_SECONDS):
            return await stream.receive(MAX_INITIAL_DATA)
    except TimeoutError:
        return b""


# Waiting for the peer of a BIND.


class ClientDisconnected(Exception):
    """The client closed its side, or its stream broke."""

    def __init__(self, reason: str, *, broke: bool) -> None:
        super().__init__(reason)
        self.ending: Final = Ending.RESET if broke else Ending.DONE


async def accept_peer(
    machine: Machine[EventT],
    connection: ClientConnection,
    binding: Binding,
    request: ProxyRequest,
    *,
    succeed: Callable[[AcceptedPeer], None],
    fail: Callable[[int], None],
) -> Tunnel | None:
    """Wait for a peer and answer the second time; None when there is nothing to relay.

    `succeed` and `fail` queue the inbound's answer, `fail` for a SOCKS 6 reply code.
    """
    loop = asyncio.get_running_loop()
    stream = connection.stream
    try:
        accepted = await accept_while_connected(
            binding, stream, lambda data: machine.receive_data(data, loop.time())
        )
    except ClientDisconnected as left:
        machine.receive_eof(loop.time())
        connection.refused(left.ending, str(left))
        return None
    except OperationFailed as failure:
        connection.failed(at_place(request, binding), failure)
        fail(failure.code)
        return None
    with on_failure(accepted.stream.abort):
        connection.peer_connected(accepted.peer)
        succeed(accepted)
        await flush(machine, stream)
    return Tunnel(remote=accepted.stream, initial_data=request.initial_data + machine.unread())


def at_place(request: ProxyRequest, binding: Binding) -> ProxyRequest:
    """Return a request as the record has it once it is bound."""
    return replace(request, host=binding.bound.host, port=binding.bound.port)


async def accept_while_connected(
    binding: Binding, stream: ByteStream, keep: Callable[[bytes], None]
) -> AcceptedPeer:
    """Wait for a peer; `keep` gets what the client sends meanwhile. Raises OperationFailed, ClientDisconnected."""
    arrived: list[AcceptedPeer] = []

    async def accept() -> None:
        arrived.append(await binding.accept())

    def abort_arrived() -> None:
        for accepted in arrived:
            accepted.stream.abort()

    with on_failure(abort_arrived):
        await run_while_connected(stream, accept, keep, EARLY_BYTES)
    return arrived[0]


async def run_while_connected(
    stream: ByteStream,
    work: Callable[[], Awaitable[None]],
    keep: Callable[[bytes], None],
    limit: int | None = None,
) -> None:
    """Work until it is done, or the client leaves. Raises ClientDisconnected, and what `work` raises, in no group.

    `keep` gets what the client sends. With a `limit`, so many bytes are read, and then no more: a client that
    has sent so much is found to have left only when it is written to.
    """
    failure: Exception | None = None
    left: ClientDisconnected | None = None
    try:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(_watch(stream, keep, limit), name="client of a BIND")
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - raised again, without a group around it
                failure = error
            watching.cancel()
    except* ClientDisconnected as leavings:
        left = next(error for error in leavings.exceptions if isinstance(error, ClientDisconnected))
    except* Exception as others:  # noqa: BLE001 - as above
        failure = failure or others.exceptions[0]
    if left is not None:
        raise left
    if failure is not None:
        raise failure


async def _watch(stream: ByteStream, keep: Callable[[bytes], None], limit: int | None) -> None:
    left = limit
    while left is None or left > 0:
        try:
            data = await stream.receive(65_536 if left is None else left)
        except OSError as error:
            raise ClientDisconnected(str(error), broke=True) from error
        if not data:
            raise ClientDisconnected("the client closed its side", broke=False)
        keep(data)
        if left is not None:
            left -= len(data)


# How a client is left.


async def linger(stream: ByteStream, *, patient: bool = False) -> None:
    """Close so that the client can read its answer: bytes still coming in would turn a close into a reset.

    With `patient`, a slow client gets as long as it takes its answer in.
    """
    # the bytes are dropped, so those of TLS are not decrypted: a peer's short records cost 3 µs each
    tls = stream.attribute(TlsStream)
    source = stream if tls is None else tls.beneath
    left = LINGER_BYTES
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            await stream.send_eof()
            while left > 0 and (data := await source.receive(min(left, 65536))):
                left -= len(data)
            if left > 0:
                await stream.aclose()
                return
    except (TimeoutError, OSError):
        pass
    if patient or left <= 0:
        await deliver(source)
    stream.abort()


async def stay_silent(stream: ByteStream, deadline: float) -> None:
    """Treat every stranger alike: send nothing until `deadline`, whatever it sends or ends, and then reset it.

    What came over TLS is not even decrypted. Raises OSError when the stream breaks.
    """
    tls = stream.attribute(TlsStream)
    source = stream if tls is None else tls.beneath
    try:
        async with asyncio.timeout_at(deadline):
            while await source.receive():
                pass
            await asyncio.get_running_loop().create_future()
    except TimeoutError:
        stream.abort()
