"""What the engines of both libraries share. qh3 descends from aioquic, so that their connections have one shape."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Generic, Protocol, TypeVar

from socks6.net.transports.quic.engine import Event, Terminated
from socks6.net.transports.quic.guard import FrameGuard


class LibraryConnection(Protocol):
    """A library's connection, with what ours adds. Its events are the library's."""

    host_cid: bytes
    guard: FrameGuard

    def prepare(self) -> None:
        """Set what no configuration can set; to be called before anything else."""

    @property
    def end(self) -> object | None:
        """The event of the connection's end, as soon as either side has ended it."""

    def next_event(self) -> object | None:
        """Return the next event; None for nothing yet."""

    def open_stream(self) -> int | None:
        """Return the id of a new stream; None if the peer allows no more."""

    def stop_stream(self, stream_id: int, error_code: int) -> None:
        """Ask the peer to send nothing more on a stream."""

    def send_ping(self, uid: int) -> None:
        """Send a PING."""


ConnectionT = TypeVar("ConnectionT", bound=LibraryConnection)


class LibraryEngine(ABC, Generic[ConnectionT]):
    """A QuicEngine's part that is the same for both libraries."""

    TOO_LATE: ClassVar[tuple[type[Exception], ...]]  # what calls raise about a stream that is over

    def __init__(self, connection: ConnectionT) -> None:
        self._connection = connection
        connection.prepare()
        self._failed: Terminated | None = None
        self._end_reported = False  # that the connection is over

    @abstractmethod
    def _translate(self, event: object) -> Event | None:
        """Return an event of the library as ours; None for one that means nothing here."""

    @property
    def cid(self) -> bytes:
        return self._connection.host_cid

    def next_event(self) -> Event | None:
        while (event := self._connection.next_event()) is not None:
            translated = self._translate(event)
            if translated is not None:
                return translated
        end = self._connection.end
        if end is not None and not self._end_reported:  # the library itself reports it when all is over
            return self._translate(end)
        failed, self._failed = self._failed, None
        return failed

    def open_stream(self) -> int | None:
        return self._connection.open_stream()

    def stop(self, stream_id: int, code: int) -> None:
        self._or_gone(lambda: self._connection.stop_stream(stream_id, code))

    def ping(self, number: int = 0) -> None:
        self._or_gone(lambda: self._connection.send_ping(number))

    def suspect(self) -> None:
        self._connection.guard.suspect()

    def _terminated(self, code: int, reason: str) -> Terminated | None:
        """Return the end of the connection, once."""
        reported, self._end_reported = self._end_reported, True
        return None if reported else Terminated(code, reason)

    def _or_gone(self, call: Callable[[], None]) -> None:
        try:
            call()
        except self.TOO_LATE as error:
            raise ConnectionError(f"the stream is over: {error}") from error
