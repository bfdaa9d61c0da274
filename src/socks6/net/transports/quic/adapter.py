"""What both libraries share. qh3 descends from aioquic: connections, events and configurations have one shape."""

import logging
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Final, Generic, Protocol, TypeVar

from socks6.net.stream import SocketAddress
from socks6.net.transports.quic.engine import (
    CidIssued,
    CidRetired,
    ClientParameters,
    Event,
    FrameArrived,
    HandshakeDone,
    PingAnswered,
    QuicEngine,
    ServerIdentity,
    ServerParameters,
    StreamBytes,
    StreamReset,
    StreamStopped,
    Terminated,
)
from socks6.net.transports.quic.guard import FrameGuard

EVENTS: Final[Mapping[str, tuple[Callable[..., Event], tuple[str, ...]]]] = {
    "StreamDataReceived": (StreamBytes, ("stream_id", "data", "end_stream")),
    "StreamReset": (StreamReset, ("stream_id", "error_code")),
    "StopSendingReceived": (StreamStopped, ("stream_id", "error_code")),
    "DatagramFrameReceived": (FrameArrived, ("data",)),
    "HandshakeCompleted": (HandshakeDone, ("alpn_protocol", "early_data_accepted", "session_resumed")),
    "PingAcknowledged": (PingAnswered, ("uid",)),
    "ConnectionIdIssued": (CidIssued, ("connection_id",)),
    "ConnectionIdRetired": (CidRetired, ("connection_id",)),
    "ConnectionTerminated": (Terminated, ("error_code", "reason_phrase")),
}
"""Ours by the names of the libraries' classes, and of the attributes that make them."""


class LibraryConnection(Protocol):
    """A library's connection, with what ours adds. Its events are the library's."""

    guard: FrameGuard

    def prepare(self) -> None:
        """Set what no configuration can set; to be called before anything else."""

    def tell_reset_token(self, token: bytes) -> None:
        """Send the peer the token of our stateless resets."""

    @property
    def end(self) -> object | None:
        """The event of the connection's end, as soon as either side has ended it."""

    def open_stream(self) -> int | None:
        """Return the id of a new stream; None if the peer allows no more."""

    # Of the library itself.

    host_cid: bytes

    def connect(self, addr: SocketAddress, now: float) -> None: ...
    def handle_timer(self, now: float) -> None: ...
    def next_event(self) -> object | None: ...
    def stop_stream(self, stream_id: int, error_code: int) -> None: ...
    def send_ping(self, uid: int) -> None: ...
    def send_datagram_frame(self, data: bytes) -> None: ...
    def close(self, error_code: int = ..., *, reason_phrase: str = ...) -> None: ...


ConnectionT = TypeVar("ConnectionT", bound=LibraryConnection)


class LibraryEngine(ABC, Generic[ConnectionT]):
    """A QuicEngine's part that is the same for both libraries."""

    TOO_LATE: ClassVar[tuple[type[Exception], ...]]  # what calls raise about a stream that is over

    def __init__(self, connection: ConnectionT) -> None:
        self._connection = connection
        connection.prepare()
        self._failed: Terminated | None = None
        self._end_reported = False  # that the connection is over

    @property
    def cid(self) -> bytes:
        return self._connection.host_cid

    def next_event(self) -> Event | None:
        return self._next_event(self._connection.next_event())

    def _next_event(self, event: object | None) -> Event | None:
        """Return what an event of the library means, or the next one."""
        while event is not None:
            if (translated := self._translate(event)) is not None:
                return translated
            event = self._connection.next_event()
        end = self._connection.end
        if end is not None and not self._end_reported:  # the library itself reports it when all is over
            return self._translate(end)
        failed, self._failed = self._failed, None
        return failed

    def connect(self, address: SocketAddress, now: float) -> None:
        self._guarded(lambda: self._connection.connect(address, now))

    def handle_timer(self, now: float) -> None:
        self._guarded(lambda: self._connection.handle_timer(now))

    def open_stream(self) -> int | None:
        return self._connection.open_stream()

    def stop(self, stream_id: int, code: int) -> None:
        self._or_gone(lambda: self._connection.stop_stream(stream_id, code))

    def send_frame(self, data: bytes) -> None:
        self._or_gone(lambda: self._connection.send_datagram_frame(data))

    def ping(self, number: int = 0) -> None:
        self._or_gone(lambda: self._connection.send_ping(number))

    def close(self, code: int, reason: str) -> None:
        self._guarded(lambda: self._connection.close(error_code=code, reason_phrase=reason))

    def suspect(self) -> None:
        self._connection.guard.suspect()

    def _translate(self, event: object) -> Event | None:
        """Return an event of the library as ours; None for one that means nothing here, and for a second end."""
        make, attributes = EVENTS.get(type(event).__name__, (None, ()))
        if make is None:
            return None
        ours = make(*[getattr(event, name) for name in attributes])
        if isinstance(ours, Terminated):
            reported, self._end_reported = self._end_reported, True
            return None if reported else ours
        self._note(ours)
        return ours

    @abstractmethod
    def _note(self, event: Event) -> None:
        """Account for what an event brings."""

    @abstractmethod
    def _guarded(self, call: Callable[[], None]) -> None:
        """Confine a fault of the library, or of the peer's packets, to this connection."""

    def _or_gone(self, call: Callable[[], None]) -> None:
        try:
            call()
        except self.TOO_LATE as error:
            raise ConnectionError(f"the stream is over: {error}") from error


ConfigurationT = TypeVar("ConfigurationT")
EngineT = TypeVar("EngineT", bound=QuicEngine)


class LibraryBackend(ABC, Generic[ConfigurationT, ConnectionT, EngineT]):
    """A Backend's part that is the same for both libraries."""

    def __init__(
        self,
        configuration: Callable[..., ConfigurationT],
        connection: Callable[..., ConnectionT],
        engine: Callable[[ConnectionT], EngineT],
    ) -> None:
        logging.getLogger("quic").setLevel(logging.CRITICAL)  # the libraries log every connection
        self._new_configuration = configuration
        self._new_connection = connection
        self._new_engine = engine

    def client(self, parameters: ClientParameters) -> EngineT:
        configuration = self._configuration(
            parameters,
            server_name=parameters.server_name,
            verify_mode=ssl.CERT_NONE,  # the caller does it, by OpenSSL
            session_ticket=parameters.ticket,
        )
        return self._new_engine(
            self._new_connection(configuration=configuration, session_ticket_handler=parameters.on_ticket)
        )

    def server(self, parameters: ServerParameters) -> EngineT:
        connection = self._new_connection(
            configuration=self._configuration(parameters, is_client=False),
            original_destination_connection_id=parameters.first_cid,
            retry_source_connection_id=parameters.retry_cid,
            session_ticket_fetcher=parameters.tickets.take,
            session_ticket_handler=lambda ticket: parameters.tickets.put(ticket.ticket, ticket),
        )
        connection.tell_reset_token(parameters.reset_token(connection.host_cid))
        return self._new_engine(connection)

    def check(self, identity: ServerIdentity) -> None:
        self._identify(self._new_configuration(is_client=False), identity)

    def _configuration(
        self, parameters: ClientParameters | ServerParameters, **own: object
    ) -> ConfigurationT:
        configuration = self._new_configuration(
            alpn_protocols=[parameters.alpn], idle_timeout=parameters.idle_timeout, **own
        )
        self._size(configuration)
        if parameters.identity is not None:
            self._identify(configuration, parameters.identity)
        return configuration

    @abstractmethod
    def _size(self, configuration: ConfigurationT) -> None:
        """Set windows and other limits."""

    @abstractmethod
    def _identify(self, configuration: ConfigurationT, identity: ServerIdentity) -> None:
        """Set a certificate. Raises ConfigurationError for one, or its key, that cannot be used."""
