"""Ways out that reach nothing but the test."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from typing_extensions import override

from socks6.errors import CommandNotSupported, NotAllowed, OperationFailed
from socks6.message.options import StackOption
from socks6.net.stream import (
    Binding,
    ByteStream,
    ConnectResult,
    DatagramChannel,
    DatagramJudge,
    Endpoint,
    Judge,
    Outbound,
)
from socks6.telemetry import ConnectionEnded, Event, Observer, UnexpectedError
from tests.kit.bindings import ScriptedBinding
from tests.kit.memory import memory_stream_pair

BOUND = Endpoint("192.0.2.1", 4711)


EventT = TypeVar("EventT", bound=Event)


@dataclass(frozen=True)
class ConnectedSocket:
    """What the outbound was asked for."""

    host: str
    port: int
    options: tuple[StackOption, ...]
    first_data: bytes


@dataclass(frozen=True)
class Bound:
    """What the outbound was asked to bind."""

    host: str
    port: int
    options: tuple[StackOption, ...]
    backlog: int


class ScriptedOutbound(Outbound):
    """Connects to memory: `far` is the remote's end of the last connection; or fails as told."""

    def __init__(
        self,
        failure: OperationFailed | None = None,
        *,
        sent: int = 0,
        addresses: tuple[str, ...] = (),
        resolves: bool = True,
    ) -> None:
        self._failure = failure
        self._sent = sent
        self._addresses = addresses
        self._resolves = resolves
        self.dialled: list[ConnectedSocket] = []
        self.bound: list[Bound] = []
        self.binding: ScriptedBinding | None = None  # what the next BIND gets
        self.instead: Sequence[Sequence[str]] = ()
        self.judge: Judge
        self.judge_peer: Judge
        self.closed = False
        self.far: ByteStream

    @property
    @override
    def resolves(self) -> bool:
        return self._resolves

    @override
    async def connect(
        self,
        host: str,
        port: int,
        *,
        judge: Judge,
        options: tuple[StackOption, ...] = (),
        first_data: bytes = b"",
        holder: Hashable = None,
    ) -> ConnectResult:
        self.dialled.append(ConnectedSocket(host, port, options, first_data))
        if self._failure is not None:
            raise self._failure
        if not all(judge(address, port) for address in self._addresses):
            raise NotAllowed("no address may be reached")
        near, self.far = memory_stream_pair()
        return ConnectResult(stream=near, bound=BOUND, first_data_sent=self._sent)

    @override
    async def bind(
        self,
        host: str,
        port: int,
        *,
        judge: Judge,
        judge_peer: Judge,
        options: tuple[StackOption, ...] = (),
        backlog: int = 0,
        holder: Hashable = None,
        instead: Sequence[Sequence[str]] = (),
    ) -> Binding:
        self.bound.append(Bound(host, port, options, backlog))
        self.instead = instead
        self.judge, self.judge_peer = judge, judge_peer
        if self._failure is not None:
            raise self._failure
        return self.binding or ScriptedBinding(backlog=backlog)

    @override
    async def associate(
        self,
        host: str,
        port: int,
        *,
        judge: DatagramJudge,
        options: tuple[StackOption, ...] = (),
        owner: Hashable = None,
        holder: Hashable = None,
    ) -> DatagramChannel:
        raise CommandNotSupported("no datagrams go this way")

    @override
    async def aclose(self) -> None:
        self.closed = True


class Recorder(Observer):
    """Keeps every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.summaries: list[ConnectionEnded] = []

    @override
    def observe(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, ConnectionEnded):
            self.summaries.append(event)

    def of(self, kind: type[EventT]) -> list[EventT]:
        """Return the events of a class."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def errors(self) -> list[BaseException]:
        return [event.error for event in self.of(UnexpectedError)]
